"""The embedded sample market: the same on every machine, well formed, and shaped like a real one."""

import hashlib
import math
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.core.sample_market import order_flow, portable, weather
from bot.core.sample_market.funding import FUNDING_CAP_E8, FUNDING_INTERVAL_NS, generate_funding
from bot.core.sample_market.market import generate_days, generate_trades
from bot.core.sample_market.spec import SampleMarketSpec, SampleTrades
from bot.domain.market import F64

DAY_NS = 86_400 * 1_000_000_000
MINUTE_NS = 60 * 1_000_000_000
THIN = SampleMarketSpec(days=56, trades_per_day=3_000, jumps_per_day=1.0)
SMALL = SampleMarketSpec(days=2, trades_per_day=3_000)
COMPILED: list[tuple[ModuleType, str]] = [
    (order_flow, "_round_lot"),
    (order_flow, "_scan_orders"),
    (order_flow, "_scan_sizes"),
    (order_flow, "exp"),
    (weather, "_next_regime"),
    (weather, "_poisson"),
    (weather, "_scan_weather"),
    (weather, "exp"),
]


class Market(NamedTuple):
    """Three weeks of a market, and its minutes."""

    spec: SampleMarketSpec
    trades: SampleTrades
    return_M: F64  # log return of each minute
    volume_M: F64  # steps traded in it
    flow_M: F64  # buys less sells in it, by count


@pytest.fixture(scope="module")
def market() -> Market:
    """Return 21 days, Monday to Sunday three times, at 20,000 trades a day."""
    spec = SampleMarketSpec(days=21, trades_per_day=20_000)
    trades = generate_trades(spec, np.random.default_rng(20_240_101))
    minutes = spec.days * 1_440
    minute = (trades.ts_ns - spec.start_ns) // MINUTE_NS
    last = np.searchsorted(minute, np.arange(minutes), side="right")
    closes = np.concatenate(([spec.price_start_ticks], trades.price_ticks))[np.concatenate(([0], last))]
    return Market(
        spec,
        trades,
        np.diff(np.log(closes)),
        np.bincount(minute, trades.qty_steps, minutes).astype(np.float64),
        np.bincount(minute, np.where(trades.is_buy, 1.0, -1.0), minutes).astype(np.float64),
    )


@pytest.fixture(scope="module")
def thin_trades() -> SampleTrades:
    """Return eight weeks of few trades and a jump a day."""
    return small_trades(spec=THIN)


def digest(columns: tuple[NDArray[Any], ...]) -> str:
    """Return one hash of the bytes of all columns."""
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()


def small_trades(seed: int = 7, spec: SampleMarketSpec = SMALL) -> SampleTrades:
    """Return a market of one seed."""
    return generate_trades(spec, np.random.default_rng(seed))


def autocorrelation(x: F64, lag: int) -> float:
    """Return the correlation of x with itself `lag` rows earlier."""
    return float(np.corrcoef(x[lag:], x[:-lag])[0, 1])


def test_a_seed_is_a_market() -> None:
    """One seed gives the same bytes however often, another seed another market."""
    assert digest(small_trades()) == digest(small_trades())
    assert digest(small_trades()) != digest(small_trades(seed=8))


def test_the_bytes_are_those_of_every_other_machine() -> None:
    """The sample that ships does not move unnoticed.

    A difference here is either a change of the generator, and then the hash is renewed on purpose and every
    golden file made from the sample with it, or a numpy whose distributions draw otherwise (NEP 19).
    """
    trades = small_trades()
    funding = generate_funding(SMALL, np.random.default_rng(8), ts_ns=trades.ts_ns, price_ticks=trades.price_ticks)
    assert digest(trades)[:16] == "7e4705b21c615106"
    assert digest(funding)[:16] == "4cb81572d846a59e"


def test_compiled_and_plain_python_agree_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler has fused, reordered or approximated anything: the plain Python gives the same bytes."""
    spec = SampleMarketSpec(days=1, trades_per_day=3_000, jumps_per_day=5.0)
    compiled = small_trades(spec=spec)
    for module, name in COMPILED:
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    assert digest(small_trades(spec=spec)) == digest(compiled)


def test_the_portable_exp_is_exp() -> None:
    """Our exp differs from the machine's by a few units of the last place, and never overflows."""
    for x in np.random.default_rng(0).uniform(-690.0, 690.0, 2_000).tolist():
        assert portable.portable_exp(x) == pytest.approx(math.exp(x), rel=1e-14)
    assert portable.portable_exp(-1e9) == 0.0
    assert math.isfinite(portable.portable_exp(1e9))


def test_day_by_day_is_all_at_once() -> None:
    """The days joined are the whole, each within its own UTC day."""
    days = list(generate_days(SMALL, np.random.default_rng(7)))
    assert len(days) == SMALL.days
    for number, day in enumerate(days):
        assert np.all((day.ts_ns - SMALL.start_ns) // DAY_NS == number)
    for column, whole in zip(zip(*days, strict=True), small_trades(), strict=True):
        np.testing.assert_array_equal(np.concatenate(column), whole)


def test_a_longer_market_begins_with_the_shorter() -> None:
    """Days that are still to come change nothing about those before."""
    longer = generate_days(SampleMarketSpec(days=4, trades_per_day=3_000), np.random.default_rng(7))
    for early, late in zip(generate_days(SMALL, np.random.default_rng(7)), longer, strict=False):
        assert digest(early) == digest(late)


@pytest.mark.parametrize(
    "spec",
    [
        SMALL,
        SampleMarketSpec(days=2, trades_per_day=100, volatility_annual=3.0, jumps_per_day=10.0),
        SampleMarketSpec(days=2, trades_per_day=5_000, price_start_ticks=100, volatility_annual=3.0),
        SampleMarketSpec(days=1, trades_per_day=300_000, qty_median_steps=1, jumps_per_day=0.0),
        SampleMarketSpec(days=2, trades_per_day=5_000, price_start_ticks=10**12, qty_median_steps=10**9),
    ],
    ids=["usual", "thin and wild", "penny", "busy", "huge numbers"],
)
def test_every_trade_is_well_formed(spec: SampleMarketSpec) -> None:
    """Time never goes back, prices and quantities are at least one, whatever the spec."""
    ts_ns, price_ticks, qty_steps, is_buy = small_trades(spec=spec)
    assert len(ts_ns) == len(price_ticks) == len(qty_steps) == len(is_buy) > 0
    assert [c.dtype for c in (ts_ns, price_ticks, qty_steps, is_buy)] == [np.int64] * 3 + [np.bool_]
    assert np.all(np.diff(ts_ns) >= 0)
    assert np.all(ts_ns % 1_000_000 == 0)
    assert ts_ns[0] >= spec.start_ns
    assert ts_ns[-1] < spec.end_ns
    assert price_ticks.min() >= 1
    assert qty_steps.min() >= 1
    assert qty_steps.max() <= 5_000 * spec.qty_median_steps
    assert is_buy.any()
    assert not is_buy.all()


def test_volatility_and_trade_count_are_those_asked_for(market: Market) -> None:
    """Over three weeks both come within the luck of the regimes."""
    volatility_annual = float(np.std(market.return_M)) * math.sqrt(365 * 1_440)
    assert 0.40 < volatility_annual < 0.85
    assert 0.6 < len(market.trades.ts_ns) / (market.spec.days * market.spec.trades_per_day) < 1.6


def test_returns_have_heavy_tails(market: Market) -> None:
    """The kurtosis of minutes is far above the normal 3, and still above it for hours (Cont 2001)."""
    for minutes, least in ((1, 7.0), (60, 3.5)):
        r = market.return_M.reshape(-1, minutes).sum(axis=1)
        assert np.mean((r - r.mean()) ** 4) / np.var(r) ** 2 > least


def test_volatility_clusters_while_returns_do_not(market: Market) -> None:
    """Sizes of returns remember minutes best but also hours, their signs remember nothing (Cont 2001)."""
    size = np.abs(market.return_M)
    assert autocorrelation(size, 1) > 0.15
    assert autocorrelation(size, 60) > 0.05
    assert autocorrelation(size, 1) > autocorrelation(size, 60) + 0.10
    for lag in (1, 2, 5):
        assert abs(autocorrelation(market.return_M, lag)) < 0.05


def test_busy_minutes_are_volatile(market: Market) -> None:
    """Volume goes with the size of returns."""
    assert np.corrcoef(np.abs(market.return_M), market.volume_M)[0, 1] > 0.25


def test_the_day_has_a_shape(market: Market) -> None:
    """The American open is busier and wilder than the early morning."""
    volume_DH = market.volume_M.reshape(21, 24, 60).sum(axis=2)
    size_DH = np.abs(market.return_M).reshape(21, 24, 60).mean(axis=2)
    assert volume_DH[:, 13:17].sum() > 1.5 * volume_DH[:, 3:7].sum()
    assert size_DH[:, 13:17].sum() > 1.3 * size_DH[:, 3:7].sum()


def test_weekends_are_quiet(thin_trades: SampleTrades) -> None:
    """The usual Saturday or Sunday has well fewer trades than the usual weekday."""
    count_D = np.bincount((thin_trades.ts_ns - THIN.start_ns) // DAY_NS, minlength=THIN.days)
    is_weekend_D = np.arange(THIN.days) % 7 >= 5  # the default start is a Monday
    assert np.median(count_D[~is_weekend_D]) > 1.2 * np.median(count_D[is_weekend_D])


def test_takers_keep_their_side_and_move_the_price_once(market: Market) -> None:
    """The side remembers for many trades and goes with its own minute's return, not with the next one's."""
    side = np.where(market.trades.is_buy, 1.0, -1.0)
    assert autocorrelation(side, 1) > 0.3
    assert autocorrelation(side, 50) > 0.02
    assert np.corrcoef(market.flow_M, market.return_M)[0, 1] > 0.1
    assert abs(np.corrcoef(market.flow_M[:-1], market.return_M[1:])[0, 1]) < 0.03


def test_prices_bounce_one_tick_between_bid_and_ask(market: Market) -> None:
    """When the side turns in a quiet moment the price most often steps exactly one tick its way."""
    turned = np.flatnonzero(np.diff(market.trades.is_buy.astype(np.int8)) != 0)
    step_ticks = np.diff(market.trades.price_ticks)[turned]
    to_buy = market.trades.is_buy[turned + 1]
    for side, expected in ((to_buy, 1), (~to_buy, -1)):
        values, counts = np.unique(step_ticks[side], return_counts=True)
        assert values[np.argmax(counts)] == expected
        assert counts.max() > 0.3 * counts.sum()


def test_trades_and_orders_come_in_bursts(market: Market) -> None:
    """Trades per second vary far more than a Poisson's; an order is followed by more within seconds."""
    second = (market.trades.ts_ns - market.spec.start_ns) // 1_000_000_000
    trade_count = np.bincount(second, minlength=21 * 86_400).astype(np.float64)
    assert trade_count.var() > 3.0 * trade_count.mean()  # a Poisson's variance is its mean

    is_order = np.diff(market.trades.ts_ns, prepend=-1) > 0
    order_count = np.bincount(second[is_order], minlength=21 * 86_400).astype(np.float64)
    assert autocorrelation(order_count, 1) > autocorrelation(order_count, 120) + 0.05


def test_trade_sizes_are_heavy_tailed_and_like_round_numbers(market: Market) -> None:
    """The median is the spec's, a hundredth of the trades carries a fifth of the volume, lots are round."""
    qty_steps = np.sort(market.trades.qty_steps)
    assert 0.7 < np.median(qty_steps) / market.spec.qty_median_steps < 1.3
    assert qty_steps[-len(qty_steps) // 100 :].sum() > 0.2 * qty_steps.sum()
    for lot in (20, 50, 100, 200):
        assert np.sum(qty_steps == lot) > 4 * np.sum(qty_steps == lot + 1)


def test_jumps_shake_the_market_afterwards(thin_trades: SampleTrades) -> None:
    """Half an hour, from five minutes after a jump, is wilder than the half hour before it.

    A jump is one order, all in one millisecond, whose trades span far more than those of any other order.
    """
    trades = thin_trades
    first = np.flatnonzero(np.diff(trades.ts_ns, prepend=-1) > 0)
    low = np.minimum.reduceat(trades.price_ticks, first)
    high = np.maximum.reduceat(trades.price_ticks, first)
    jumped_ns = trades.ts_ns[first][high > 1.003 * low]
    assert 15 < len(jumped_ns) < 60  # of 56 jumps in the mean, about half are so large
    calmer = 0
    for at_ns in jumped_ns:
        before = quadratic_variation(trades, at_ns - 30 * MINUTE_NS, at_ns - 1)
        after = quadratic_variation(trades, at_ns + 5 * MINUTE_NS, at_ns + 35 * MINUTE_NS)
        calmer += after <= before
    assert calmer < 0.35 * len(jumped_ns)


def quadratic_variation(trades: SampleTrades, from_ns: int, to_ns: int) -> float:
    """Return the sum of squared log returns between the trades after `from_ns` and up to `to_ns`."""
    first, last = np.searchsorted(trades.ts_ns, [from_ns, to_ns], side="right")
    return float(np.sum(np.diff(np.log(trades.price_ticks[first:last])) ** 2))


def test_the_trend_moves_prices_and_nothing_else() -> None:
    """With the same draws a stronger trend changes prices only, and without one the tape is as busy."""
    calm = small_trades(spec=SampleMarketSpec(days=4, trades_per_day=3_000, trend_drift_ratio=0.0))
    trending = small_trades(spec=SampleMarketSpec(days=4, trades_per_day=3_000, trend_drift_ratio=2.0))
    assert digest((calm.ts_ns, calm.qty_steps, calm.is_buy)) == digest(
        (trending.ts_ns, trending.qty_steps, trending.is_buy)
    )
    assert digest((calm.price_ticks,)) != digest((trending.price_ticks,))


def test_funding_is_settled_every_eight_hours_around_one_bp(market: Market) -> None:
    """Rates stand on 00:00, 08:00 and 16:00 UTC, take both signs, rest at 1 bp, and persist."""
    spec = SampleMarketSpec(days=2_000)
    rates = []
    for seed in range(4):
        funding = generate_funding(
            spec,
            np.random.default_rng(seed),
            ts_ns=market.trades.ts_ns,
            price_ticks=market.trades.price_ticks,
        )
        assert funding.ts_ns[0] == spec.start_ns
        assert np.all(np.diff(funding.ts_ns) == FUNDING_INTERVAL_NS)
        assert len(funding.ts_ns) == 3 * spec.days
        rates.append(funding.rate_e8)
    rate_e8 = np.concatenate(rates)
    assert np.median(rate_e8) == 10_000
    assert 0.4 < np.mean(rate_e8 == 10_000) < 0.8
    assert 0.03 < np.mean(rate_e8 < 0) < 0.25
    assert np.abs(rate_e8).max() < FUNDING_CAP_E8
    assert autocorrelation(rates[0].astype(np.float64), 1) > 0.5


@pytest.mark.parametrize(("factor", "cap_e8"), [(100.0, FUNDING_CAP_E8), (0.01, -FUNDING_CAP_E8)])
def test_funding_follows_the_last_day_and_is_capped(factor: float, cap_e8: int) -> None:
    """Longs pay after a rise, shorts after a fall, never more than 0.75 %; only the past counts."""
    spec = SampleMarketSpec(days=3)
    moved_ns = spec.start_ns + DAY_NS
    start_to_moved = np.array([spec.start_ns, moved_ns], dtype=np.int64)
    prices = np.array([spec.price_start_ticks, int(spec.price_start_ticks * factor)], dtype=np.int64)
    moved = generate_funding(spec, np.random.default_rng(1), ts_ns=start_to_moved, price_ticks=prices)
    still = generate_funding(spec, np.random.default_rng(1), ts_ns=start_to_moved[:1], price_ticks=prices[:1])
    # The price moves in the very instant of settlement 3, which does not see it; 4, 5 and 6 do.
    np.testing.assert_array_equal(moved.rate_e8[:4], still.rate_e8[:4])
    np.testing.assert_array_equal(moved.rate_e8[4:7], [cap_e8] * 3)
    np.testing.assert_array_equal(moved.rate_e8[7:], still.rate_e8[7:])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_ns", -DAY_NS),
        ("start_ns", SMALL.start_ns + 1),
        ("days", 0),
        ("trades_per_day", 99),
        ("trades_per_day", 20_000_001),
        ("price_start_ticks", 0),
        ("ticks_per_unit", 0),
        ("qty_median_steps", 0),
        ("steps_per_unit", 0),
        ("volatility_annual", 0.0),
        ("volatility_annual", math.nan),
        ("jumps_per_day", -0.1),
        ("trend_drift_ratio", math.inf),
    ],
)
def test_a_market_that_cannot_be_made_is_refused_by_name(field: str, value: float) -> None:
    """The message names the field, what it was and what it must be."""
    with pytest.raises(ValueError, match=rf"^{field} is .*, it must be "):
        SampleMarketSpec(**cast("dict[str, Any]", {field: value}))
