"""All connections and instruments together: who goes where, and that what is wrong heals."""

import gzip

import msgspec
import pytest

from bot.domain.instrument import Instrument
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.instrument_feed import InstrumentFeed, MarketRows
from bot.venues.bybit.market_streams import (
    ForConnection,
    MarketEffect,
    MarketStreams,
    Notices,
    Wanted,
    plan_connections,
)
from bot.venues.bybit.stream_effects import Alert, Backfill, Connect, Distrust, Send
from bot.venues.bybit.stream_session import ARGS_CHARACTERS_MAX, StreamSession, characters
from bot.venues.bybit.wire import (
    BookFrame,
    NoticeState,
)
from tests.support.book_messages import deltas_of_frames
from tests.support.bybit_market import (
    INSTRUMENT,
    MS,
    START_NS,
    SYMBOL,
    SampleBookStream,
    book_message,
    kline_message,
    message,
    ticker_message,
    trade_message,
)
from tests.support.bybit_venue import FakeVenue
from tests.support.real_books import OB500, book_of
from tests.support.shared_data import shared_file

S = 1_000 * MS
BOOK = f"orderbook.50.{SYMBOL}"


# --- who goes where ---------------------------------------------------------------------------------------------------


def named(name: str) -> Instrument:
    return msgspec.structs.replace(INSTRUMENT, name=name)


def test_one_instrument_has_one_connection() -> None:
    (plan,) = plan_connections([Wanted(instrument=INSTRUMENT, kline_intervals=("1",), has_price_limits=True)])
    assert (plan.name, plan.path) == ("linear-0", "/v5/public/linear")
    assert [topic.text for topic in plan.topics] == [
        "publicTrade.BTCUSDT",
        "tickers.BTCUSDT",
        "orderbook.50.BTCUSDT",
        "orderbook.1.BTCUSDT",
        "kline.1.BTCUSDT",
        "priceLimit.BTCUSDT",
    ]


def test_many_instruments_are_spread_evenly_and_each_stays_whole() -> None:
    wanted = [Wanted(instrument=named(f"COIN{number}USDT")) for number in range(130)]
    wanted += [Wanted(instrument=named("BTCUSDT"), category="spot", book_levels=0)]
    plans = plan_connections(wanted, has_status=True)
    assert [plan.name for plan in plans] == ["linear-0", "linear-1", "linear-2", "spot-0", "status"]
    sizes = [len(plan.topics) for plan in plans[:3]]
    assert sum(sizes) == 130 * 4
    assert max(sizes) - min(sizes) <= 4
    homes: dict[str, set[str]] = {}
    for plan in plans[:3]:
        for topic in plan.topics:
            homes.setdefault(topic.symbol, set()).add(plan.name)
    assert all(len(each) == 1 for each in homes.values())
    assert [topic.text for topic in plans[3].topics] == ["publicTrade.BTCUSDT", "tickers.BTCUSDT"]
    assert (plans[4].path, [topic.text for topic in plans[4].topics]) == ("/v5/public/misc/status", ["system.status"])


def test_no_connection_carries_more_characters_than_it_may() -> None:
    wanted = [Wanted(instrument=named("A" * 30 + f"{number}USDT")) for number in range(300)]
    plans = plan_connections(wanted, topics_max=100_000)
    assert len(plans) > 1
    assert all(characters(plan.topics) <= ARGS_CHARACTERS_MAX for plan in plans)
    for plan in plans:
        StreamSession(plan.topics, category=plan.category, seed=1)


def test_what_cannot_be_planned_is_said() -> None:
    with pytest.raises(ValueError, match="wanted twice"):
        plan_connections([Wanted(instrument=INSTRUMENT), Wanted(instrument=INSTRUMENT)])
    with pytest.raises(ValueError, match="raise topics_max"):
        plan_connections([Wanted(instrument=INSTRUMENT)], topics_max=3)
    with pytest.raises(ValueError, match="no stream of books of 500 levels"):
        plan_connections([Wanted(instrument=INSTRUMENT, book_levels=500)])
    two = [*Wanted(instrument=INSTRUMENT).topics(), *Wanted(instrument=INSTRUMENT, book_levels=200).topics()]
    with pytest.raises(ValueError, match="two books"):
        InstrumentFeed(INSTRUMENT, two)


# --- together ---------------------------------------------------------------------------------------------------------


class Wired:
    """Streams wired to a venue of one connection, with a clock."""

    def __init__(self, wanted: Wanted | None = None, *, has_status: bool = False) -> None:
        self.wanted = Wanted(instrument=INSTRUMENT, kline_intervals=("1",)) if wanted is None else wanted
        self.streams = MarketStreams([self.wanted], seed=1, has_status=has_status, shown_levels=5)
        self.market = SampleBookStream(1)
        self.venue = FakeVenue(on_subscribed=self.first_data)
        self.now_ns = START_NS
        self.effects: list[MarketEffect] = []
        self.is_reachable = True

    def first_data(self, topic: str) -> list[bytes]:
        kind = topic.partition(".")[0]
        return {
            "orderbook": [self.market.level1().raw if ".1." in topic else self.market.snapshot().raw],
            "publicTrade": [trade_message(self.now_ns, [(600_000, 1, True)], first_id=self.now_ns // MS % 10**9)],
            "tickers": [self.market.ticker(is_snapshot=True).raw],
            "kline": [kline_message(self.minute_ns, self.now_ns, confirm=False)],
        }.get(kind, [])

    @property
    def minute_ns(self) -> int:
        return self.now_ns // (60 * S) * 60 * S

    def start(self) -> None:
        self.carry_out(self.streams.start(self.now_ns))

    def carry_out(self, effects: list[MarketEffect]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if not isinstance(effect, ForConnection) or effect.name == "status":
                continue
            match effect.effect:
                case Connect(connection=number) if self.is_reachable:
                    self.venue.connect()
                    self.carry_out(self.streams.on_open(effect.name, number, self.now_ns))
                case Send(data=data):
                    self.say(*self.venue.receive(data))

    def say(self, *raws: bytes) -> None:
        session = self.streams.sessions["linear-0"]
        messages = [(self.now_ns, raw) for raw in raws]
        self.carry_out(self.streams.on_messages("linear-0", session.connection, messages))

    def tick(self, seconds: float = 0.02) -> None:
        self.now_ns += int(seconds * S)
        self.market.now_ns = self.now_ns - self.market.step_ns
        self.carry_out(self.streams.on_time(self.now_ns))

    def of(self, kind: type) -> list:  # type: ignore[type-arg]
        return [e.effect for e in self.effects if isinstance(e, ForConnection) and isinstance(e.effect, kind)]

    @property
    def rows(self) -> list[MarketRows]:
        return [effect for effect in self.effects if isinstance(effect, MarketRows)]

    @property
    def doubts(self) -> list[str]:
        return self.streams.doubts("linear", SYMBOL)


def ready() -> Wired:
    wired = Wired()
    assert wired.doubts == [
        "publicTrade.BTCUSDT: wanted",
        "tickers.BTCUSDT: wanted",
        "orderbook.50.BTCUSDT: wanted",
        "orderbook.1.BTCUSDT: wanted",
        "book: unseeded",
    ]
    wired.start()
    assert wired.streams.is_ready
    assert wired.doubts == []
    wired.effects.clear()
    return wired


def test_from_nothing_to_rows() -> None:
    wired = ready()
    wired.tick()
    wired.say(
        wired.market.delta().raw,
        wired.market.level1().raw,
        trade_message(wired.now_ns, [(600_001, 7, False)], first_id=9),
    )
    (rows,) = wired.rows
    assert rows.books is not None
    assert rows.books.is_trusted.tolist() == [True]
    assert rows.books.depth == 5
    assert rows.quotes is not None
    assert (rows.quotes.bid_ticks[0], rows.quotes.ask_ticks[0]) == wired.streams.feeds["linear", SYMBOL].sync.top  # type: ignore[union-attr]
    assert rows.trades is not None
    assert rows.trades.price_ticks.tolist() == [600_001]
    assert rows.tickers is None


def test_a_connection_that_comes_and_goes_is_said_to_have_to_last() -> None:
    wired = ready()
    for _ in range(3):
        number = wired.streams.sessions["linear-0"].connection
        wired.carry_out(wired.streams.on_closed("linear-0", number, "gone", wired.now_ns))
        while wired.streams.sessions["linear-0"].connection == number:
            wired.tick()
    assert wired.doubts[0] == (
        "publicTrade.BTCUSDT: the connection has come and gone, and must last 60 s before it is trusted again"
    )


def test_a_gap_closes_the_book_at_once_and_it_is_whole_again_within_a_second() -> None:
    wired = ready()
    wired.tick()
    wired.market.delta()  # is lost
    wired.venue.is_mute = True  # the answers take their time
    wired.say(wired.market.delta().raw)
    assert wired.doubts == ["orderbook.50.BTCUSDT: leaving", "book: gap"]
    assert not wired.streams.is_ready
    (lost,) = wired.of(Distrust)
    assert lost.reason == "gap after update 1002"
    wired.venue.is_mute = False
    request = wired.venue.requests[-1]
    assert (request["op"], request["args"]) == ("unsubscribe", [BOOK])
    wired.tick(0.3)
    wired.say(*wired.venue.receive(msgspec.json.encode(request)))
    assert wired.doubts == []
    assert wired.streams.is_ready


def test_a_snapshot_that_came_right_after_the_gap_is_believed_but_the_topic_begins_anew() -> None:
    """Both lie in one batch: the book is right again, and trust waits for the subscription."""
    wired = ready()
    wired.tick()
    wired.venue.is_mute = True
    wired.market.delta()
    wired.say(wired.market.delta().raw, wired.market.snapshot().raw)
    assert wired.doubts == ["orderbook.50.BTCUSDT: leaving"]


def test_a_lost_connection_closes_the_book_with_a_row_that_says_so() -> None:
    wired = ready()
    wired.is_reachable = False
    wired.now_ns += S
    wired.carry_out(wired.streams.on_closed("linear-0", 1, "reset", wired.now_ns))
    (rows,) = wired.rows
    assert rows.books is not None
    assert (rows.books.is_trusted.tolist(), rows.books.known_ns.tolist()) == ([False], [wired.now_ns])
    assert rows.books.bid_steps.sum() == 0
    assert "book: outside" in wired.doubts
    wired.is_reachable = True
    wired.tick(0.3)
    assert wired.streams.is_ready
    assert {effect.topic for effect in wired.of(Backfill)} == {"publicTrade.BTCUSDT", "kline.1.BTCUSDT"}


def test_another_server_may_count_from_anywhere() -> None:
    wired = ready()
    wired.now_ns += S
    wired.market.seq = 7
    wired.carry_out(wired.streams.on_closed("linear-0", 1, "reset", wired.now_ns))
    wired.tick(0.3)
    assert {effect.reason for effect in wired.of(Distrust)} == {"connection lost: reset"}
    assert wired.streams.is_ready


def test_a_ticker_or_a_quote_that_is_not_trusted_is_forgotten() -> None:
    """Neither is a witness against the book any more, and changes of the ticker wait for a whole one."""
    wired = ready()
    feed = wired.streams.feeds["linear", SYMBOL]
    assert feed.sync is not None
    wired.say(ticker_message(wired.now_ns, markPrice="1", bid1Price="1"), level1(wired.now_ns))
    for topic in Wanted(instrument=INSTRUMENT).topics():
        if topic.text in (f"tickers.{SYMBOL}", f"orderbook.1.{SYMBOL}"):
            assert feed.distrust(topic, wired.now_ns) is None
    for _ in range(60):
        wired.tick(0.1)
        wired.say(wired.market.delta().raw, ticker_message(wired.now_ns, lastPrice="60000.0"))
    assert feed.sync.is_trusted
    assert feed.tickers.unseeded == 60


def level1(ns: int) -> bytes:
    return book_message(ns, 5, [(1, 1)], [(2, 1)], is_snapshot=True, levels=1)


def test_a_stale_book_is_closed_by_the_clock_alone() -> None:
    wired = ready()
    for _ in range(100):  # the venue goes on about all but the books
        wired.tick(0.1)
        wired.say(ticker_message(wired.now_ns, lastPrice="60000.0"), trade_message(wired.now_ns, []))
    assert wired.doubts == []
    wired.venue.is_mute = True
    wired.tick(0.2)
    assert "book: stale" in wired.doubts
    assert wired.rows[-1].books is not None
    assert wired.rows[-1].books.is_trusted.tolist() == [False]


def test_a_trade_off_the_grid_is_told_and_its_hole_asked_for() -> None:
    wired = ready()
    bad = trade_message(wired.now_ns, [(600_000, 5, True)], first_id=77, p="60000.05")
    wired.say(bad)
    (alert,) = wired.of(Alert)
    assert (alert.code, alert.raw) == ("values.refused", bad)
    assert [effect.topic for effect in wired.of(Backfill)] == ["publicTrade.BTCUSDT"]
    assert wired.streams.is_ready  # asked for again and there


def test_bars_that_never_came_are_asked_for() -> None:
    wired = ready()
    start_ns = wired.minute_ns
    for minute in (0, 3):
        closed_ns = start_ns + minute * 60 * S
        wired.say(kline_message(closed_ns, closed_ns + 60 * S, confirm=True))
    (backfill,) = wired.of(Backfill)
    assert (backfill.topic, backfill.from_ns, backfill.to_ns) == (
        "kline.1.BTCUSDT",
        start_ns + 60 * S,
        start_ns + 180 * S,
    )
    bars = [rows.klines["1"] for rows in wired.rows if rows.klines]
    assert [len(each) for each in bars] == [1, 1]


def test_what_the_venue_says_of_itself_is_handed_on() -> None:
    wired = Wired(has_status=True)
    wired.start()
    notice = {"id": "1", "state": "ongoing", "begin": "1751596902000", "end": "1751597011000"}
    (number,) = [e.effect.connection for e in wired.effects if isinstance(e, ForConnection) and e.name == "status"]  # type: ignore[union-attr]
    wired.carry_out(wired.streams.on_open("status", number, wired.now_ns))
    assert not wired.streams.is_ready
    answer = b'{"success":true,"ret_msg":"","op":"subscribe","req_id":"1"}'
    wired.carry_out(wired.streams.on_messages("status", number, [(wired.now_ns, answer)]))
    assert wired.streams.is_ready  # news is rare: none is waited for
    raw = message("system.status", "x", wired.now_ns, [notice])
    wired.carry_out(wired.streams.on_messages("status", number, [(wired.now_ns, raw)]))
    (told,) = [effect for effect in wired.effects if isinstance(effect, Notices)]
    assert told.notices[0].state is NoticeState.ONGOING


def test_price_limits() -> None:
    wired = Wired(Wanted(instrument=INSTRUMENT, has_price_limits=True))
    wired.start()
    for buy, sell in (("114450.00", "103550.00"), ("", "0")):
        data = {"symbol": SYMBOL, "buyLmt": buy, "sellLmt": sell}
        wired.say(message(f"priceLimit.{SYMBOL}", "x", wired.now_ns, data))
    limits = [each for rows in wired.rows for each in rows.price_limits]
    assert [(str(each.buy_max), each.sell_min) for each in limits][1] == ("None", None)
    assert (limits[0].buy_max, limits[0].sell_min) == (114450, 103550)


def test_stopping_says_that_nothing_is_believed_any_more() -> None:
    wired = ready()
    wired.carry_out(wired.streams.stop(wired.now_ns))
    assert "book: outside" in wired.doubts
    assert wired.streams.next_time_ns() == 2**62


def test_the_budget_is_shared() -> None:
    budget = ConnectBudget(count=1)
    wanted = [Wanted(instrument=INSTRUMENT), Wanted(instrument=INSTRUMENT, category="spot")]
    streams = MarketStreams(wanted, seed=1, budget=budget)
    effects = streams.start(START_NS)
    assert sum(isinstance(e.effect, Connect) for e in effects if isinstance(e, ForConnection)) == 1


# --- the venue's own archive ------------------------------------------------------------------------------------------


def test_the_archive_reads_as_the_importer_reads_it() -> None:
    """Two readers of the same real frames, written apart: every column agrees."""
    path = shared_file(f"data/{OB500.file}")
    with gzip.open(path) as lines:
        frames = [read_frame(line) for line in lines]
    books = [frame for frame in frames if isinstance(frame, BookFrame)]
    assert len(books) == len(frames) == 50
    ours, refused = deltas_of_frames(books, OB500.instrument)
    assert not any(refused)
    imported = book_of(OB500)
    for name in ("ts_ns", "update", "previous", "is_snapshot", "is_last", "is_bid", "price_ticks", "qty_steps"):
        assert getattr(ours, name).tolist() == getattr(imported, name).tolist(), name
