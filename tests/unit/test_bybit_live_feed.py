"""When a feed of several instruments wants to know the time, and whose gates a message moves."""

from typing import Any

import msgspec

from bot.domain.market import MarketUpdate
from bot.venues.bybit.live_feed import PACE_NS, FeedOptions, Fetch, LiveFeed, Opening
from bot.venues.bybit.market_streams import ForConnection, Wanted
from bot.venues.bybit.stream_effects import Send
from tests.support.bybit_market import INSTRUMENT, MS, START_NS, trade_message

OTHER = msgspec.structs.replace(INSTRUMENT, name="ETHUSDT")
NAME = "linear-0"


class Feed:
    """Two instruments on one connection, which is open, and whose subscriptions are confirmed."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.feed = LiveFeed(
            [Wanted(instrument=INSTRUMENT), Wanted(instrument=OTHER)], FeedOptions(), start_ns=START_NS
        )
        openings = [each for each in self.feed.start(START_NS) if isinstance(each, Opening)]
        assert [each.name for each in openings] == [NAME]
        self.told: list[Any] = []
        for effect in self.feed.on_open(NAME, 1, START_NS):
            if isinstance(effect, ForConnection) and isinstance(effect.effect, Send):
                asked = msgspec.json.decode(effect.effect.data)
                answer = {"success": True, "ret_msg": "", "op": "subscribe", "req_id": asked["req_id"]}
                self.hear(msgspec.json.encode(answer))

    def hear(self, raw: bytes) -> list[Any]:
        """Tell it of one message, 10 ms after the last."""
        self.now_ns += 10 * MS
        effects = self.feed.on_messages(NAME, 1, [(self.now_ns, raw)])
        self.told += effects
        return effects


def test_messages_do_not_put_off_the_look_at_the_clocks() -> None:
    """However many come: what waits for the time is done in time."""
    own = Feed()
    looked_ns = own.now_ns
    own.feed.on_time(looked_ns)
    for number in range(30):
        own.hear(trade_message(own.now_ns, [(600_000, 1, True)], first_id=number))
    assert own.feed.next_time_ns() <= looked_ns + PACE_NS < own.now_ns


def test_a_trade_has_its_own_shut_gate_ask_at_once_and_no_other() -> None:
    """The first trade after the confirmation is what the newest are held against."""
    own = Feed()
    effects = own.hear(trade_message(own.now_ns, [(600_000, 1, True)]))
    (asked,) = [each for each in effects if isinstance(each, Fetch)]
    assert "symbol=BTCUSDT" in asked.path
    assert not any(isinstance(each, MarketUpdate) for each in effects)
    assert own.feed.gates["linear", "BTCUSDT"].is_asking
    assert not own.feed.gates["linear", "ETHUSDT"].is_asking
