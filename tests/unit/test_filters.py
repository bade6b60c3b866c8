"""The venue's filters change while a bot runs: new orders fit into the new ones, and a person hears of it once."""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.actors.strategy_host import StrategyHost
from bot.core.filters import CHANGED, CLOSED, UNFIT, FiltersTold
from bot.core.risk import Denial
from bot.core.submission.work import Work
from bot.domain.instrument import Instrument
from bot.domain.ledger import AlertRaised, RiskDenied
from bot.venues.bybit.live_feed import FeedOptions, LiveFeed
from bot.venues.bybit.live_feed import FiltersTold as FeedTold
from bot.venues.bybit.market_streams import Wanted
from bot.venues.bybit.stream_effects import Alert
from strategies.registry import make_strategy
from tests.support.emulator import BTC as LISTED
from tests.support.emulator import SECOND
from tests.support.live_bench import Bench
from tests.support.market_sim import Simulation, Venue
from tests.support.money import BTC, NAME


def told(bench: Bench, status: str = "Trading", **filters: str) -> list[tuple[str, str]]:
    """Tell of filters; return what a person hears."""
    changed = replace(BTC, **{name: Decimal(value) for name, value in filters.items()})
    work = bench.desk.filters_told(FiltersTold(instrument=changed, status=status), bench.now_ns)
    return [(entry.code, entry.detail) for entry in work.record if isinstance(entry, AlertRaised)]


def denied(work: Work) -> list[str]:
    return [entry.code for entry in work.record if isinstance(entry, RiskDenied)]


def test_the_next_order_is_held_against_the_new_filters() -> None:
    bench = Bench()
    assert not denied(bench.place(qty="0.1", limit="100.1"))
    assert told(bench, tick_size="0.5", qty_min="0.2", notional_min="7") == [
        (CHANGED, "the venue changed the tick size from 0.1 to 0.5"),
        (CHANGED, "the venue changed the least quantity from 0.002 to 0.2"),
        (CHANGED, "the venue changed the least notional from 5 to 7"),
        (UNFIT, "order lr3n1 lies off the new grid: it can be canceled, not amended".replace("lr3n1", _only(bench))),
    ]
    assert told(bench, tick_size="0.5", qty_min="0.2", notional_min="7") == []
    assert denied(bench.place(qty="0.1", limit="100.5")) == [Denial.QTY_BELOW_MIN]
    assert denied(bench.place(qty="0.2", limit="100.1")) == [Denial.PRICE_OFF_TICK]
    assert not denied(bench.place(qty="0.2", limit="100.5"))


def _only(bench: Bench) -> str:
    (name,) = bench.desk.orders.state.live[NAME]
    return name


def test_a_position_that_no_order_can_close_is_told_once() -> None:
    bench = Bench()
    bench.hold(qty="0.105")
    assert told(bench) == []
    first = told(bench, qty_step="0.01")
    assert first[-1] == (UNFIT, "0.105 is held, and the step is 0.01: 0.005 of it no order can close")
    assert told(bench, qty_step="0.01") == []
    assert told(bench, qty_step="0.01", qty_min="0.2")[-1] == (
        UNFIT,
        "0.105 is held, and an order is at least 0.2: none can close it",
    )


def test_what_is_not_traded_any_more_is_told_with_what_is_held() -> None:
    bench = Bench()
    bench.hold(qty="1")
    assert told(bench, "Closed") == [(CLOSED, "the venue's status of it was Trading and is Closed; 1 is held")]
    assert told(bench, "Closed") == []
    assert told(bench) == [(CLOSED, "the venue's status of it was Closed and is Trading; 1 is held")]


def test_only_filters_change() -> None:
    """Nobody who tells of filters can make another instrument of it."""
    bench = Bench()
    other = Instrument(
        name=NAME,
        kind="spot",
        base="ETH",
        quote="EUR",
        tick_size=Decimal(1),
        qty_step=Decimal(1),
        qty_min=Decimal(1),
        qty_max=Decimal(9),
    )
    bench.desk.filters_told(FiltersTold(instrument=other), bench.now_ns)
    now = bench.desk.orders.state.instruments[NAME]
    assert (now.kind, now.base, now.quote, now.tick_size, now.qty_max) == ("linear", "BTC", "USDT", 1, 9)


def test_the_strategy_rounds_to_the_new_filters() -> None:
    host = StrategyHost(make_strategy("buy_and_hold", {}), [BTC])
    host.refit(FiltersTold(instrument=replace(BTC, qty_step=Decimal("0.01"))))
    assert host.instrument(NAME).round_qty(Decimal("0.129")) == Decimal("0.12")


def listed(sim: Simulation, **filters: Decimal) -> None:
    """Let the venue publish other filters."""
    exchange: Any = sim.venue.exchange
    listing = exchange.listings.find("linear", LISTED.name)
    instrument = replace(listing.contract.instrument, **filters)
    exchange.listings.change(replace(listing, contract=replace(listing.contract, instrument=instrument)))


def filters_told(sim: Simulation) -> list[FeedTold]:
    """Return what a feed told of the filters of one instrument, told once more from the events that it was told."""
    feed = LiveFeed([Wanted(instrument=each) for each in sim.venue.instruments], OPTIONS, start_ns=sim.venue.start_ns)
    made = [each for event, values, named in sim.events for each in getattr(feed, event)(*values, **named)]
    return [each for each in made if isinstance(each, FeedTold) and each.filters.symbol == LISTED.name]


OPTIONS = FeedOptions(filters_ns=20 * SECOND)


def test_the_feed_asks_again_and_again_and_a_capture_tells_the_same() -> None:
    """A coarser tick is read as before; a finer one is refused, and a person is told to start again."""
    sim = Simulation(Venue(seconds=90), OPTIONS, step_ns=100_000_000)
    sim.run(5)
    listed(sim, tick_size=LISTED.tick_size * 5, qty_min=LISTED.qty_step * 7)
    sim.run(20)
    assert not _changed(sim.alerts)
    listed(sim, tick_size=LISTED.tick_size / 2)
    sim.run(20)
    found = filters_told(sim)
    ticks = [each.filters.tick_size / LISTED.tick_size for each in found]
    assert ticks == [1, 5, Decimal("0.5")]
    assert [each.is_readable for each in found] == [True, True, False]
    assert found[1].filters.qty_min == LISTED.qty_step * 7
    (alert,) = _changed(sim.alerts)
    assert "start again" in alert.text


def _changed(alerts: list[Alert]) -> list[Alert]:
    return [each for each in alerts if each.code == "instrument.changed"]
