"""What traded in whole hours, and what it costs to take."""

import math
from decimal import Decimal

import numpy as np
import pytest

from bot.core.venue.impact import (
    HOUR_NS,
    FixedSpread,
    FractionalSpread,
    QuotedSpread,
    SquareRootImpact,
    TradedHours,
    square_root_impact,
)
from bot.domain.instrument import Side
from bot.domain.market import EMPTY, TradeBatch
from tests.support.bars_reference import ReferenceBar, ReferenceTrade
from tests.support.batches import bars_of, trades_of
from tests.support.event_batches import event_bars

MINUTE_NS = 60_000_000_000
BUY, SELL = True, False


def trades(*rows: tuple[float, int, int, bool]) -> TradeBatch:
    """Return trades told as (hours, ticks, steps, whether the taker bought)."""
    return trades_of(
        [ReferenceTrade(ts_ns=int(hours * HOUR_NS), price=p, qty=q, is_buy=is_buy) for hours, p, q, is_buy in rows]
    )


def counted(*rows: tuple[float, int, int, bool], hours_max: int = 24) -> TradedHours:
    hours = TradedHours(hours_max=hours_max)
    hours.extend(trades(*rows), now_ns=0)
    return hours


def bar(open_ns: int, high: int, low: int, volume: int, count: int) -> ReferenceBar:
    return ReferenceBar(
        open_ns=open_ns,
        open=low,
        high=high,
        low=low,
        close=high,
        volume=volume,
        turnover=0,
        count=count,
        buy=0,
        flags=0,
    )


# --- whole hours ------------------------------------------------------------------------------------------------------


def test_only_hours_that_have_ended_count() -> None:
    hours = counted((0.0, 100, 1, BUY), (0.99, 100, 2, BUY), (1.0, 100, 4, BUY), (2.5, 100, 8, BUY))
    at = [0.0, 0.5, 1.0, 1.99, 2.0, 2.9, 3.0, 24.0, 25.0, 26.0, 27.0, 100.0]
    assert [hours.volume(int(each * HOUR_NS)) for each in at] == [0, 0, 3, 3, 7, 7, 15, 15, 12, 8, 0, 0]
    assert [hours.volume(3 * HOUR_NS, hours=n) for n in (1, 2, 3)] == [8, 12, 15]


@pytest.mark.parametrize("hours", [0, -1, 25])
def test_no_more_hours_than_are_kept(hours: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 24"):
        TradedHours().volume(0, hours=hours)


def test_without_history_nothing_is_known() -> None:
    hours = counted((5.5, 100, 1, BUY))
    assert hours.volume(5 * HOUR_NS) == 0
    assert hours.range_volatility(5 * HOUR_NS) is None
    assert hours.level_qty(5 * HOUR_NS) is None


def test_volatility_is_that_of_the_range() -> None:
    """Over the hours asked for, whichever of them holds the high and the low."""
    hours = counted((0.1, 100, 1, BUY), (1.1, 110, 1, BUY), (2.1, 99, 1, BUY))
    root = 2 * math.sqrt(math.log(2))
    assert hours.range_volatility(3 * HOUR_NS) == pytest.approx(math.log(110 / 99) / root, rel=1e-15)
    assert hours.range_volatility(2 * HOUR_NS) == pytest.approx(math.log(110 / 100) / root, rel=1e-15)
    assert hours.range_volatility(3 * HOUR_NS, hours=1) == 0.0


def test_volatility_of_a_random_walk() -> None:
    """Squared and averaged over many days it is near the variance of the day's return: below, as steps are finite."""
    generator = np.random.default_rng(5)
    found = []
    for _ in range(300):
        steps = generator.normal(0, 0.03 / math.sqrt(1_440), 1_440)
        path = np.rint(1e6 * np.exp(np.cumsum(steps))).astype(np.int64)
        hours = TradedHours()
        rows = zip((np.arange(1_440) * MINUTE_NS).tolist(), path.tolist(), strict=True)
        hours.extend(trades_of([ReferenceTrade(ts_ns=t, price=p, qty=1, is_buy=True) for t, p in rows]), now_ns=0)
        found.append(hours.range_volatility(24 * HOUR_NS))
    assert math.sqrt(np.mean(np.square(np.array(found, dtype=np.float64)))) == pytest.approx(0.03, rel=0.06)


def test_a_visit_ends_when_its_side_trades_elsewhere() -> None:
    """Buyers at 101 and 102, sellers at 100 twice: what the other side does in between ends nothing."""
    hours = counted(
        (0.1, 101, 4, BUY), (0.2, 100, 3, SELL), (0.3, 101, 2, BUY), (0.4, 100, 1, SELL), (0.5, 102, 6, BUY),
        (0.6, 99, 1, SELL), (0.7, 100, 4, SELL),
    )  # fmt: skip
    assert hours.level_qty(HOUR_NS) == 5  # 21 steps in the visits 101, 102, 100, 99, 100, rounded up


def test_a_visit_counts_where_it_begins() -> None:
    hours = counted((0.1, 100, 4, BUY), (1.1, 100, 5, BUY))
    assert hours.level_qty(HOUR_NS) == 4
    assert hours.level_qty(2 * HOUR_NS) == 9
    assert hours.level_qty(2 * HOUR_NS, hours=1) == 5  # none began: all at one price


def test_what_has_no_volume_or_no_price_does_not_count() -> None:
    hours = counted((0.1, 100, 4, BUY), (0.2, 500, 0, BUY), (0.3, 0, 9, BUY), (1.5, 70, 0, BUY))
    assert (hours.volume(2 * HOUR_NS), hours.level_qty(2 * HOUR_NS)) == (4, 4)
    assert hours.range_volatility(2 * HOUR_NS) == 0.0
    assert hours.range_volatility(2 * HOUR_NS, hours=1) is None


def test_bars_count_prices_from_low_to_high_but_no_more_than_trades() -> None:
    hours = TradedHours()
    rows = [bar(0, 103, 101, 30, 9), bar(MINUTE_NS, 110, 101, 50, 4), bar(2 * MINUTE_NS, 101, 101, 0, 0)]
    hours.extend(bars_of(rows, scale_ns=MINUTE_NS), now_ns=0)
    assert hours.volume(HOUR_NS) == 80
    assert hours.level_qty(HOUR_NS) == 12  # 3 + 4 visits
    assert hours.range_volatility(HOUR_NS) == pytest.approx(math.log(110 / 101) / (2 * math.sqrt(math.log(2))))
    untold = TradedHours()
    untold.extend(bars_of([bar(0, 103, 101, 30, 0)], scale_ns=MINUTE_NS), now_ns=0)
    assert untold.level_qty(HOUR_NS) == 10


def test_flat_bars_between_trades_do_not_count() -> None:
    flat = ReferenceBar(
        open_ns=0, open=90, high=90, low=90, close=90, volume=0, turnover=0, count=0, buy=0, flags=EMPTY
    )
    hours = TradedHours()
    hours.extend(bars_of([flat, bar(MINUTE_NS, 101, 101, 5, 1)], scale_ns=MINUTE_NS), now_ns=0)
    assert hours.range_volatility(HOUR_NS) == 0.0


def test_a_bar_longer_than_an_hour_is_known_at_its_close() -> None:
    hours = TradedHours()
    hours.extend(bars_of([bar(0, 103, 101, 30, 9)], scale_ns=4 * HOUR_NS), now_ns=0)
    assert [hours.volume(n * HOUR_NS) for n in (1, 3, 4, 27, 28)] == [0, 0, 30, 30, 0]


def test_bars_without_a_clock_are_refused() -> None:
    made = event_bars(trades((0.1, 100, 4, BUY), (5.0, 101, 4, BUY)), "tick:2")
    with pytest.raises(ValueError, match="count the trades"):
        TradedHours().extend(made, now_ns=0)


def test_old_hours_are_forgotten_but_none_that_may_be_asked_for() -> None:
    hours = TradedHours(hours_max=3)
    for hour in range(100):
        hours.extend(trades((hour + 0.5, 100, 1 << (hour % 8), BUY)), now_ns=hour * HOUR_NS)
        assert hours.volume(hour * HOUR_NS, hours=3) == sum(1 << (n % 8) for n in range(max(0, hour - 3), hour))
        assert hours.volume((hour + 1) * HOUR_NS, hours=3) == sum(
            1 << (n % 8) for n in range(max(0, hour - 2), hour + 1)
        )
    assert hours.volume(50 * HOUR_NS, hours=3) == 0


# --- impact -----------------------------------------------------------------------------------------------------------


def test_square_root_law() -> None:
    assert square_root_impact(qty=1, volume=10_000, volatility=0.03) == pytest.approx(0.0003)
    assert square_root_impact(qty=4, volume=10_000, volatility=0.03, coefficient=0.5) == pytest.approx(0.0003)
    assert square_root_impact(qty=0, volume=1, volatility=1) == 0.0


@pytest.mark.parametrize(
    ("qty", "volume", "volatility", "coefficient"),
    [
        (-1, 1, 1, 1),
        (1, 0, 1, 1),
        (1, -1, 1, 1),
        (1, 1, -1, 1),
        (1, 1, 1, -1),
        (1, 1, math.nan, 1),
        (1, math.nan, 1, 1),
    ],
)
def test_no_impact_of_what_cannot_be(qty: float, volume: float, volatility: float, coefficient: float) -> None:
    with pytest.raises(ValueError, match="no impact"):
        square_root_impact(qty=qty, volume=volume, volatility=volatility, coefficient=coefficient)


def test_impact_of_the_day_before() -> None:
    hours = counted((0.1, 1_000, 5_000, BUY), (1.1, 1_030, 5_000, BUY))
    impact = SquareRootImpact(coefficient=0.8)
    day = math.log(1.03) / (2 * math.sqrt(math.log(2)))
    assert impact.fraction(hours, 100, 2 * HOUR_NS) == pytest.approx(0.8 * day * 0.1)
    assert impact.fraction(hours, 0, 2 * HOUR_NS) == 0.0


def test_impact_without_history_and_of_more_than_trades() -> None:
    hours = counted((0.1, 1_000, 1, BUY), (0.2, 1_500, 1, BUY))
    impact = SquareRootImpact(fraction_unknown=0.004, fraction_max=0.02)
    assert impact.fraction(hours, 1, HOUR_NS - 1) == 0.004
    assert impact.fraction(hours, 1_000_000, HOUR_NS) == 0.02


@pytest.mark.parametrize(
    "wrong",
    [
        {"coefficient": -1.0},
        {"coefficient": math.nan},
        {"fraction_unknown": 0.06},
        {"fraction_unknown": -0.1},
        {"fraction_max": 1.0},
    ],
)
def test_impacts_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="fraction_unknown <= fraction_max"):
        SquareRootImpact(**wrong)


# --- spreads ----------------------------------------------------------------------------------------------------------


def test_a_fixed_spread_stands_half_on_either_side_rounded_against_the_taker() -> None:
    spreads = [FixedSpread(spread_ticks=n) for n in (0, 1, 2, 3)]
    assert [each.taker_ticks(Side.BUY, 100) for each in spreads] == [100, 101, 101, 102]
    assert [each.taker_ticks(Side.SELL, 100) for each in spreads] == [100, 99, 99, 98]


def test_a_fractional_spread_is_rounded_up_to_ticks() -> None:
    spread = FractionalSpread(fraction=Decimal("0.0002"))
    assert spread.taker_ticks(Side.BUY, 100_000) == 100_010
    assert spread.taker_ticks(Side.SELL, 100_000) == 99_990
    assert spread.taker_ticks(Side.BUY, 100_001) == 100_012
    assert FractionalSpread(fraction=Decimal(0)).taker_ticks(Side.SELL, 7) == 7


def test_a_price_stays_a_price() -> None:
    assert FixedSpread(spread_ticks=50).taker_ticks(Side.SELL, 3) == 1


def test_quotes_are_taken_where_there_are_any() -> None:
    spread = QuotedSpread(otherwise=FixedSpread(spread_ticks=4))
    assert spread.taker_ticks(Side.BUY, 100, (90, 95)) == 95
    assert spread.taker_ticks(Side.SELL, 100, (90, 95)) == 90
    assert spread.taker_ticks(Side.BUY, 100) == 102
    assert FixedSpread(spread_ticks=4).taker_ticks(Side.BUY, 100, (90, 95)) == 102


def test_spreads_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        FixedSpread(spread_ticks=-1)
    with pytest.raises(ValueError, match="fraction"):
        FractionalSpread(fraction=Decimal(1))
