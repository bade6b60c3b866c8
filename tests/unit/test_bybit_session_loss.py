"""One public connection: how it is lost, how it comes back, and when it is left alone."""

import json

import pytest

from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.connection_life import Phase
from bot.venues.bybit.stream_effects import Alert, Backfill, Distrust, Send
from bot.venues.bybit.subscriptions import Status
from bot.venues.bybit.topics import kline_topic
from tests.support.bybit_market import (
    MS,
    START_NS,
    SYMBOL,
    SampleBookStream,
    kline_message,
    trade_message,
)
from tests.support.bybit_venue import FakeVenue
from tests.support.session_desk import ALL, BOOK, LEVEL1, TICKER, TRADES, S, desk, first_data, keep_alive, live


@pytest.mark.parametrize("seed", range(20))
def test_the_first_attempt_comes_within_250_ms(seed: int) -> None:
    made = live(seed)
    keep_alive(made, 61)
    made.carry_out(made.session.on_closed(1, "reset", made.now_ns))
    lost_ns = made.now_ns
    assert made.session.phase is Phase.WAITING
    made.wait(250 * MS)
    assert made.connects[-1] - lost_ns <= 250 * MS
    assert made.session.is_ready


def test_nothing_of_the_old_connection_reaches_the_new_one() -> None:
    """Neither what it still says, nor a request that had no answer, nor its closing."""
    made = live()
    made.venue.is_mute = True
    made.carry_out(made.session.resubscribe(BOOK.text, "test", made.now_ns))
    made.venue.is_mute = False
    made.carry_out(made.session.on_closed(1, "reset", made.now_ns))
    keep_alive(made, 12)
    assert made.session.connection == 2
    sent = [json.loads(effect.data) for effect in made.of(Send) if effect.connection == 2]
    assert [request["op"] for request in sent] == ["subscribe"]
    before = len(made.effects)
    assert made.session.on_messages(1, [(made.now_ns, first_data(TRADES.text)[0])]) == []
    assert made.session.on_closed(1, "again", made.now_ns) == []
    assert made.session.on_open(1, made.now_ns) == []
    assert len(made.effects) == before
    assert made.session.is_ready


def test_after_a_loss_all_is_distrusted_subscribed_again_and_the_hole_of_trades_and_bars_filled() -> None:
    kline = kline_topic(SYMBOL, "1")

    def data(topic: str) -> list[bytes]:
        return [kline_message(START_NS, START_NS + S, confirm=False)] if topic == kline.text else first_data(topic)

    made = desk([*ALL, kline], venue=FakeVenue(on_subscribed=data))
    made.start()
    made.say(trade_message(START_NS + 3 * S, [(600_000, 1, True), (600_000, 1, True)], first_id=5))
    made.wait(S)
    made.effects.clear()
    made.carry_out(made.session.on_closed(1, "reset", made.now_ns))
    assert [effect.topic for effect in made.of(Distrust)] == [topic.text for topic in [*ALL, kline]]
    made.wait(S)
    assert [(effect.topic, effect.from_ns) for effect in made.of(Backfill)] == [
        (TRADES.text, START_NS + 3 * S + MS),  # when the last trade was made
        (kline.text, START_NS),  # the bar that was not finished
    ]
    assert all(effect.to_ns == made.connects[-1] for effect in made.of(Backfill))
    assert made.session.is_ready


def test_a_refused_reconnect_backs_off_to_half_a_minute() -> None:
    made = live()
    made.is_reachable = False
    made.carry_out(made.session.on_closed(1, "reset", made.now_ns))
    made.wait(3600 * S)
    waits = [later - before for before, later in zip(made.connects[1:], made.connects[2:], strict=False)]
    assert max(waits) <= 30 * S
    assert 100 < len(waits) < 500
    assert "connection.flapped" in [effect.code for effect in made.of(Alert)]
    made.is_reachable = True
    keep_alive(made, 31)
    assert {made.session.status(topic.text) for topic in ALL} == {Status.LIVE}
    assert not made.session.is_ready  # after so many failures the connection has to last first
    keep_alive(made, 61)
    assert made.session.is_ready


@pytest.mark.parametrize("seed", range(5))
def test_connections_that_die_young_count_as_failures(seed: int) -> None:
    """One that opens, is ready and dies after two seconds, again and again, is waited for longer and longer."""
    made = live(seed)
    for _ in range(60):
        made.carry_out(made.session.on_closed(made.session.connection, "flap", made.now_ns))
        while made.session.phase is not Phase.OPEN:
            made.wait(S // 10)
        keep_alive(made, 2)
    waits = [later - before - 2 * S for before, later in zip(made.connects, made.connects[1:], strict=False)]
    assert sum(waits[20:]) / len(waits[20:]) > 8 * S
    assert not made.session.is_ready


@pytest.mark.parametrize("seed", range(5))
def test_never_more_connections_than_the_budget(seed: int) -> None:
    """A connection that dies as soon as it is ready, for an hour, beside another that shares the budget."""
    budget = ConnectBudget(count=40)
    desks = [desk(seed=seed, budget=budget), desk(seed=seed + 100, budget=budget)]
    for made in desks:
        made.start()
    for _ in range(3600):
        for made in desks:
            made.wait(S)
            if made.session.phase is Phase.OPEN:
                made.carry_out(made.session.on_closed(made.session.connection, "flap", made.now_ns))
    connects = sorted(made_ns for made in desks for made_ns in made.connects)
    assert len(connects) > 150
    for first, beyond in zip(connects, connects[40:], strict=False):
        assert beyond - first >= 300 * S


def test_the_venue_that_shuts_us_out_is_left_alone_for_ten_minutes() -> None:
    made = desk()
    made.session.start(START_NS)
    made.carry_out(made.session.on_closed(1, "HTTP 403", START_NS, is_banned=True))
    assert made.session.next_time_ns() >= START_NS + 600 * S
    assert made.of(Alert)[0].code == "connection.banned"


def test_a_clock_that_steps_back_stands_still() -> None:
    made = live()
    made.carry_out(made.session.on_time(START_NS - 3600 * S))
    made.say(*first_data(TRADES.text))
    assert made.of(Distrust) == []


def test_a_pause_of_the_machine_voids_what_was_believed() -> None:
    """After a minute without us the first message is not taken as if nothing had been."""
    made = live()
    made.now_ns += 60 * S
    made.say(SampleBookStream(1).level1().raw)
    assert {LEVEL1.text, TICKER.text} <= {effect.topic for effect in made.of(Distrust)}


def test_stopping_closes_and_stays_closed() -> None:
    made = live()
    made.carry_out(made.session.stop(made.now_ns))
    assert made.closes == ["stopped"]
    assert made.session.next_time_ns() == 2**62
    made.wait(100 * S)
    assert made.session.phase is Phase.IDLE
