"""The triple barrier: which barrier, when, for how much, and what is known at all."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.market import BarBatch, EventBarBatch
from models.training.barriers import Barrier, BarrierOutcomes, Costs, signal_labels, triple_barrier
from models.training.labels import ewma_volatility, returns_after
from tests.support.batches import INSTRUMENT
from tests.support.training import FOREVER, MINUTE, SECOND, START, make_bars, random_walk

FREE = Costs(fee_rate=0, spread_bps=0)
TAKER = Costs(fee_rate=0.00055, spread_bps=1)
TEN = math.log(1.1)  # of 1000 ticks, 100 up
NINE = -math.log(0.9)  # 100 down


def outcomes(
    bars: BarBatch,
    *,
    profit: float = TEN,
    stop: float = NINE,
    minutes: int = 3,
    costs: Costs = FREE,
    side: int = 1,
    hole_max_ns: int = FOREVER,
) -> BarrierOutcomes:
    return triple_barrier(
        bars,
        bars,
        horizon_ns=minutes * MINUTE,
        profit=profit,
        stop=stop,
        costs=costs,
        side=side,
        hole_max_ns=hole_max_ns,
    )


def path(*bars: tuple[int, int, int, int]) -> BarBatch:
    """Return a bar that closes at 1000 and these (open, high, low, close) after it."""
    open_, high, low, close = zip((1000, 1000, 1000, 1000), *bars, strict=True)
    return make_bars(close, opens=open_, highs=high, lows=low)


FLAT = (1000, 1000, 1000, 1000)


@pytest.mark.parametrize(
    ("bars", "barrier", "net", "minute"),
    [
        pytest.param([FLAT, (1000, 1100, 990, 1050), FLAT], Barrier.PROFIT, TEN, 2, id="the high reaches the profit"),
        pytest.param([FLAT, (1000, 1099, 901, 950), FLAT], Barrier.TIME, 0.0, 3, id="one tick short of both"),
        pytest.param([(1000, 1010, 900, 950), FLAT, FLAT], Barrier.STOP, -NINE, 1, id="the low reaches the stop"),
        pytest.param([(1000, 1200, 800, 1200), FLAT, FLAT], Barrier.STOP, -NINE, 1, id="both in one bar: stopped"),
        pytest.param([FLAT, FLAT, (1000, 1200, 1000, 1200)], Barrier.PROFIT, TEN, 3, id="in the last bar"),
        pytest.param([FLAT, FLAT, (1000, 1050, 990, 1010)], Barrier.TIME, math.log(1.01), 3, id="the time is up"),
        pytest.param([FLAT, (850, 870, 800, 860), FLAT], Barrier.STOP, math.log(0.85), 2, id="opens beyond the stop"),
        pytest.param([FLAT, (1300, 1300, 1250, 1250), FLAT], Barrier.PROFIT, TEN, 2, id="opens beyond the profit"),
        pytest.param([FLAT, FLAT, FLAT, (1000, 1200, 800, 900)], Barrier.TIME, 0.0, 3, id="too late"),
    ],
)
def test_the_first_barrier_ends_a_long(
    bars: list[tuple[int, int, int, int]], barrier: Barrier, net: float, minute: int
) -> None:
    """Exactly on a barrier touches it; a gap through the stop costs the gap, one through the profit pays nothing."""
    found = outcomes(path(*bars))
    assert found.barrier[0] == barrier
    assert found.net_return[0] == pytest.approx(net, abs=1e-15)
    assert found.touch_ns[0] == START + MINUTE + minute * MINUTE
    assert found.label[0] == {Barrier.PROFIT: 1, Barrier.STOP: -1, Barrier.TIME: 0}[barrier]


@pytest.mark.parametrize(
    ("bar", "barrier", "net"),
    [
        ((1000, 1050, 900, 950), Barrier.PROFIT, NINE),
        ((1000, 1100, 950, 1050), Barrier.STOP, -TEN),
        ((1000, 1100, 900, 950), Barrier.STOP, -TEN),
        ((1200, 1250, 1200, 1200), Barrier.STOP, -math.log(1.2)),
        ((1000, 1020, 980, 980), Barrier.TIME, -math.log(0.98)),
    ],
)
def test_a_short_is_the_mirror(bar: tuple[int, int, int, int], barrier: Barrier, net: float) -> None:
    found = outcomes(path(bar), side=-1, profit=NINE, stop=TEN, minutes=1)
    assert found.barrier[0] == barrier
    assert found.net_return[0] == pytest.approx(net, abs=1e-15)


def test_costs_are_what_a_round_trip_loses() -> None:
    """Buy at the ask, sell at the bid, pay the fee twice: the price alone must rise that much to break even."""
    buy, sell = 1.00005 * 1.00055, 0.99995 * 0.99945
    assert TAKER.round_trip == pytest.approx(math.log(buy / sell), rel=1e-12)
    assert FREE.round_trip == 0.0
    for fee_rate, spread_bps in ((-0.1, 0), (1, 0), (0, -1), (0, 20_000), (math.nan, 0)):
        with pytest.raises(ValueError, match="fee_rate"):
            Costs(fee_rate=fee_rate, spread_bps=spread_bps)


def test_the_profit_is_net_and_the_loss_is_not_smaller_for_costs() -> None:
    """The profit barrier lies the costs further out; the stop stays where it is and loses the costs as well."""
    touching = path((1000, 1100, 1000, 1050))
    assert outcomes(touching, costs=TAKER, minutes=1).barrier[0] == Barrier.TIME
    beyond = path((1000, 1102, 1000, 1050))
    assert outcomes(beyond, costs=TAKER, minutes=1).barrier[0] == Barrier.PROFIT
    assert outcomes(beyond, costs=TAKER, minutes=1).net_return[0] == pytest.approx(TEN, abs=1e-15)
    stopped = path((1000, 1000, 900, 1000))
    assert outcomes(stopped, costs=TAKER, minutes=1).net_return[0] == pytest.approx(-NINE - TAKER.round_trip)
    flat = outcomes(path(FLAT), costs=TAKER, minutes=1)
    assert flat.net_return[0] == -TAKER.round_trip


def test_the_label_at_the_end_of_time() -> None:
    """Zero, or who won after costs: a move smaller than the costs is a loss."""
    bars = path((1000, 1000, 1000, 1001), (1001, 1020, 1001, 1020), (1020, 1020, 990, 990))
    arguments = {"horizon_ns": MINUTE, "profit": TEN, "stop": NINE, "costs": TAKER, "hole_max_ns": 0}
    assert triple_barrier(bars, bars, **arguments).label.tolist() == [0, 0, 0, 0]
    signed = triple_barrier(bars, bars, at_time="sign", **arguments)
    assert signed.label.tolist() == [-1, 1, -1, 0]
    assert signed.barrier.tolist() == [Barrier.TIME] * 3 + [Barrier.UNKNOWN]


def test_what_the_data_does_not_reach_is_unknown_though_touched() -> None:
    """A quick profit just before the data ends is not kept: the slow ones beside it could not be."""
    bars = path(FLAT, (1000, 1200, 1000, 1200), FLAT)
    found = outcomes(bars, minutes=3)
    assert found.barrier.tolist() == [Barrier.PROFIT, Barrier.UNKNOWN, Barrier.UNKNOWN, Barrier.UNKNOWN]
    assert np.isnan(found.net_return).tolist() == [False, True, True, True]
    holed = make_bars([1000, 1200, 1200, 1200, 1200], rows=[0, 1, 2, 6, 7])
    assert not outcomes(holed, minutes=6, hole_max_ns=2 * MINUTE).is_known[0]
    assert outcomes(holed, minutes=6, hole_max_ns=3 * MINUTE).barrier[0] == Barrier.PROFIT


def test_a_label_is_known_when_its_barrier_is_touched() -> None:
    """`label_end_ns` is what purging goes by: the touch, as late as the bars are."""
    bars = replace(path(FLAT, (1000, 1200, 1000, 1000), FLAT, FLAT), known_ns=START + MINUTE * np.arange(1, 6) + SECOND)
    found = outcomes(bars, minutes=3)
    assert (found.label_end_ns[:2] - START).tolist() == [3 * MINUTE + SECOND, 3 * MINUTE + SECOND]
    labels = found.labels()
    assert labels.names == ("barrier_3m", "barrier_return_3m")
    np.testing.assert_array_equal(labels.values[0], [1.0, found.net_return[0]])
    assert np.isnan(labels.values[2:]).all()
    np.testing.assert_array_equal(labels.label_end_ns[:, 1], found.label_end_ns)


def test_a_bar_that_began_before_the_decision_counts_by_its_close_alone() -> None:
    """Its high and low may lie before the decision: only its close is surely after."""
    bars = path((1000, 1200, 800, 1000), FLAT, FLAT)
    decision = EventBarBatch(
        **{name: getattr(bars, name)[:1] for name in BarBatch.COLUMNS if name != "known_ns"},
        instrument=INSTRUMENT,
        scale_ns=0,
        first_row=0,
        rule="volume:1",
        known_ns=np.array([START + 90 * SECOND]),
        end_ns=np.array([START + 90 * SECOND]),
    )
    arguments = {"horizon_ns": 2 * MINUTE, "profit": TEN, "stop": NINE, "costs": FREE, "hole_max_ns": 0}
    assert triple_barrier(decision, bars, **arguments).barrier[0] == Barrier.TIME
    ended = path((1000, 1200, 1000, 1100), FLAT, FLAT)
    assert triple_barrier(decision, ended, **arguments).barrier[0] == Barrier.PROFIT


def test_widths_in_multiples_of_volatility() -> None:
    """One width per decision; where the volatility has not warmed up, or is nothing, nobody knows."""
    bars = random_walk(300, seed=1)
    width = ewma_volatility(bars, half_life=20, warm_up=30) * math.sqrt(10)
    arguments = {"horizon_ns": 10 * MINUTE, "costs": FREE, "hole_max_ns": 0}
    found = triple_barrier(bars, bars, profit=2 * width, stop=width, **arguments)
    assert found.is_known.tolist() == [False] * 30 + [True] * 260 + [False] * 10
    stopped = found.barrier == Barrier.STOP
    assert stopped.any()
    assert (found.net_return[stopped] <= -width[stopped] + 1e-15).all()
    still = np.where(np.arange(300) == 50, 0.0, width)
    assert not triple_barrier(bars, bars, profit=width, stop=still, **arguments).is_known[50]
    assert not triple_barrier(bars, bars, profit=still, stop=width, **arguments).is_known[50]


def test_an_infinite_width_is_no_barrier() -> None:
    """Without profit and stop, the net return is the return over the horizon less the costs."""
    bars = random_walk(200, seed=2)
    found = outcomes(bars, profit=math.inf, stop=math.inf, minutes=5, costs=TAKER)
    plain = returns_after(bars, bars, horizons_ns=[5 * MINUTE], hole_max_ns=0).values[:, 0]
    assert set(found.barrier[:-5].tolist()) == {Barrier.TIME}
    np.testing.assert_allclose(found.net_return, plain - TAKER.round_trip, rtol=1e-12)


def slow_outcome(bars: BarBatch, at: int, minutes: int, profit: float, stop: float, cost: float, side: int) -> tuple:
    """Return (barrier, net, minutes until the touch) of one decision, in plain words and prices as a long sees them."""
    if at + minutes >= len(bars):
        return Barrier.UNKNOWN, math.nan, minutes
    start = int(bars.close_ticks[at])
    for later in range(at + 1, at + minutes + 1):
        open_, high, low = (int(column[later]) for column in (bars.open_ticks, bars.high_ticks, bars.low_ticks))
        worst, best = (low, high) if side > 0 else (high, low)
        gained = [side * math.log(price / start) for price in (open_, worst, best)]
        if gained[1] <= -stop + 1e-12:
            return Barrier.STOP, min(gained[0], -stop) - cost, later - at
        if gained[2] >= profit + cost - 1e-12:
            return Barrier.PROFIT, profit, later - at
    return Barrier.TIME, side * math.log(int(bars.close_ticks[at + minutes]) / start) - cost, minutes


@settings(deadline=None)
@given(data=st.data(), side=st.sampled_from([1, -1]), minutes=st.integers(1, 8), fee=st.sampled_from([0.0, 0.002]))
def test_outcomes_agree_with_their_plain_definition(data: st.DataObject, side: int, minutes: int, fee: float) -> None:
    """Any bars, either side: barrier, net return and time, decision by decision."""
    ticks = st.integers(970, 1030)
    rows = data.draw(st.lists(st.tuples(ticks, ticks, ticks, ticks), min_size=2, max_size=25))
    opens, closes = [row[0] for row in rows], [row[1] for row in rows]
    bars = make_bars(closes, opens=opens, highs=[max(row) for row in rows], lows=[min(row) for row in rows])
    profit, stop = (data.draw(st.sampled_from([0.002, 0.01, 0.03])) for _ in range(2))
    costs = Costs(fee_rate=fee, spread_bps=0)
    found = outcomes(bars, profit=profit, stop=stop, minutes=minutes, costs=costs, side=side)
    for at in range(len(rows)):
        barrier, net, lasted = slow_outcome(bars, at, minutes, profit, stop, costs.round_trip, side)
        assert found.barrier[at] == barrier
        assert found.net_return[at] == pytest.approx(net, abs=1e-12, nan_ok=True)
        assert found.touch_ns[at] - found.close_ns[at] == lasted * MINUTE


@settings(deadline=None)
@given(at=st.integers(1, 40), factor=st.sampled_from([0.5, 2.0]))
def test_nothing_outside_the_horizon_matters(at: int, factor: float) -> None:
    """Change all bars up to the decision but its close, and all after the touch: the outcome is the same."""
    bars = random_walk(60, seed=3)
    before = outcomes(bars, profit=0.003, stop=0.002, minutes=10)
    touched = int((before.touch_ns[at] - START) // MINUTE) - 1
    outside = np.ones(60, dtype=bool)
    outside[at + 1 : touched + 1] = False
    names = ("open_ticks", "high_ticks", "low_ticks", "close_ticks")
    columns = {name: np.where(outside, getattr(bars, name) * factor, getattr(bars, name)).astype(int) for name in names}
    columns["close_ticks"][at] = bars.close_ticks[at]
    after = outcomes(replace(bars, **columns), profit=0.003, stop=0.002, minutes=10)
    for name in ("barrier", "net_return", "touch_ns", "label"):
        assert getattr(before, name)[at].tobytes() == getattr(after, name)[at].tobytes()


def test_a_coin_toss_earns_its_costs_in_reverse() -> None:
    """On a random walk no barriers make money: the mean is the costs lost, and a little more for the pessimism.

    The walk goes on within the bars, a hundred steps each, as prices do: barriers are touched, not jumped over.
    """
    steps = np.random.default_rng(4).normal(0, 1e-4, (30_000, 100))
    walk = np.rint(10_000_000 * np.exp(np.cumsum(steps))).astype(np.int64).reshape(steps.shape)
    bars = make_bars(walk[:, -1], opens=walk[:, 0], highs=walk.max(axis=1), lows=walk.min(axis=1))
    found = outcomes(bars, profit=0.004, stop=0.002, minutes=30, costs=TAKER)
    gross = found.net_return[found.is_known] + TAKER.round_trip
    error = gross.std() / math.sqrt(len(gross) / 30)  # outcomes overlap: so many are independent
    assert -1e-4 - 3 * error < gross.mean() < 3 * error


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_signal_is_the_trade_that_earns_first() -> None:
    """Buy where a long earns, sell where a short does, hold where neither covers its costs."""
    bars = path((1000, 1200, 1000, 1200), (1200, 1200, 1000, 1000), FLAT, FLAT)
    arguments = {"profit": math.log(1.05), "stop": math.log(1.05), "minutes": 1, "costs": TAKER}
    labels = signal_labels(outcomes(bars, side=1, **arguments), outcomes(bars, side=-1, **arguments))
    np.testing.assert_array_equal(labels.values[:, 0], [1, -1, 0, 0, np.nan])
    assert labels.names == ("signal",)


def test_a_signal_with_wide_stops_goes_to_the_earlier_profit() -> None:
    """Down and then up: with stops out of reach both would earn, the short first; within one bar nobody knows."""
    arguments = {"profit": math.log(1.05), "stop": math.inf, "minutes": 2}
    turn = path((1000, 1000, 900, 900), (900, 1200, 900, 1200))
    long, short = (outcomes(turn, side=side, **arguments) for side in (1, -1))
    signal = signal_labels(long, short)
    assert signal.values[0, 0] == -1
    assert signal.label_end_ns[0, 0] == long.label_end_ns[0] > short.label_end_ns[0]
    both = path((1000, 1200, 900, 1000), FLAT)
    assert signal_labels(*(outcomes(both, side=side, **arguments) for side in (1, -1))).values[0, 0] == 0
    with pytest.raises(ValueError, match="different decisions"):
        signal_labels(long, outcomes(both.rows(1, 3), side=-1, **arguments))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"profit": 0.0}, "profit must be positive"),
        ({"stop": math.nan}, "stop must be positive"),
        ({"stop": np.ones(2)}, "for 3 decisions"),
        ({"side": 0}, "a side is"),
        ({"minutes": 0}, "horizon"),
    ],
)
def test_impossible_arguments(wrong: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        outcomes(path(FLAT, FLAT), **wrong)
