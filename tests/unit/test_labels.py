"""Returns and volatility after a decision: when they start, when they end, and when nobody can know them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import DataError
from bot.domain.market import GAP, BarBatch, EventBarBatch
from models.training.labels import (
    Labels,
    ewma_volatility,
    join_labels,
    returns_after,
    volatility_after,
)
from tests.support.batches import INSTRUMENT
from tests.support.training import FOREVER, HOUR, MINUTE, SECOND, START, fold, instrument, make_bars, random_walk


def returns(decisions: BarBatch, path: BarBatch, *minutes: int, hole_max_ns: int = FOREVER) -> Labels:
    return returns_after(decisions, path, horizons_ns=[MINUTE * count for count in minutes], hole_max_ns=hole_max_ns)


# --- returns ----------------------------------------------------------------------------------------------------------


def test_a_return_is_cumulative_from_the_decisions_close() -> None:
    """One column per horizon, each ln(P(c + h) / P0); the first bar after the decision is part of it."""
    bars = make_bars([100, 110, 99, 120, 60])
    labels = returns(bars, bars, 1, 2, 3)
    nan = math.nan
    expected = [
        [math.log(110 / 100), math.log(99 / 100), math.log(120 / 100)],
        [math.log(99 / 110), math.log(120 / 110), math.log(60 / 110)],
        [math.log(120 / 99), math.log(60 / 99), nan],
        [math.log(60 / 120), nan, nan],
        [nan, nan, nan],
    ]
    np.testing.assert_array_equal(labels.values, expected)
    assert labels.names == ("return_1m", "return_2m", "return_3m")


def test_a_label_ends_a_horizon_after_its_decision() -> None:
    """Decisions are taken when the bar is known; lateness moves both ends and no value."""
    prompt, late = (random_walk(50, seed=1, lateness_ns=lateness) for lateness in (0, 3 * SECOND))
    labels, labels_late = returns(prompt, prompt, 1, 7), returns(late, late, 1, 7)
    np.testing.assert_array_equal(labels_late.known_ns, labels_late.close_ns + 3 * SECOND)
    np.testing.assert_array_equal(labels_late.label_end_ns, labels_late.known_ns[:, None] + [MINUTE, 7 * MINUTE])
    np.testing.assert_array_equal(labels.values, labels_late.values)


def test_coarse_decisions_are_measured_on_the_finest_bars() -> None:
    """An hour's decisions with a horizon of seven minutes: seven one-minute bars after the hour's close."""
    path = random_walk(600, seed=2)
    hours = fold(path, HOUR)[HOUR]
    labels = returns(hours, path, 7)
    closes = np.arange(59, 600, 60)
    expected = np.log(path.close_ticks[closes[:-1] + 7] / path.close_ticks[closes[:-1]])
    np.testing.assert_array_equal(labels.values[:-1, 0], expected)
    assert math.isnan(labels.values[-1, 0])
    np.testing.assert_array_equal(labels.bar_row, np.arange(10))


def event_bars(bars: BarBatch, *, first_row: int, end_ns: Sequence[int]) -> EventBarBatch:
    """Return as many of these bars, ended by the market at these times."""
    rows = bars.rows(0, len(end_ns))
    return EventBarBatch(
        **{name: getattr(rows, name) for name in BarBatch.COLUMNS if name != "known_ns"},
        instrument=INSTRUMENT,
        scale_ns=0,
        first_row=first_row,
        rule="volume:1",
        known_ns=np.array(end_ns),
        end_ns=np.array(end_ns),
    )


def test_a_decision_in_the_middle_of_a_path_bar() -> None:
    """An event bar ends when it ends: the return counts from its own close to the last bar closed by then."""
    path = make_bars([100, 110, 120, 130])
    decision = event_bars(path, first_row=7, end_ns=[START + 90 * SECOND])
    labels = returns(decision, path, 1, 2)
    np.testing.assert_array_equal(labels.values, [[math.log(110 / 100), math.log(120 / 100)]])
    np.testing.assert_array_equal(labels.bar_row, [7])


def test_a_path_of_event_bars() -> None:
    """Where the path is of event bars a horizon may hold none of them: the price known stands, if there is one."""
    bars = make_bars([100, 110, 120])
    path = event_bars(bars, first_row=0, end_ns=[START + 5 * MINUTE, START + 5 * MINUTE + 1, START + 20 * MINUTE])
    decisions = event_bars(bars, first_row=0, end_ns=[START, START + 5 * MINUTE])
    labels = returns(decisions, path, 2, 15)
    np.testing.assert_array_equal(labels.values[:, 0], [math.nan, 0.0])  # before the first has ended nothing is known
    np.testing.assert_array_equal(labels.values[:, 1], [math.log(110 / 100), math.log(120 / 110)])


@pytest.mark.parametrize("marked", [True, False], ids=["marked GAP", "without rows"])
def test_no_label_reaches_over_a_long_hole(marked: bool) -> None:
    """Three minutes are missing: unknown are the horizons that touch them, from within too, and no others."""
    closes, rows = [100, 101, 102, 103, 104, 105], [0, 1, 2, 6, 7, 8]
    path = make_bars(closes, rows=rows)
    if marked:
        path = make_bars([100, 101, 102, 102, 102, 102, 103, 104, 105], gaps=[3, 4, 5])
    decisions = make_bars([100, 101, 102, 102, 102, 102, 103, 104, 105])
    long = returns(decisions, path, 2, hole_max_ns=3 * MINUTE - 1).values[:, 0]
    # Bar 5 closes where the hole ends, but the price it has is from before.
    np.testing.assert_array_equal(np.isnan(long), [False, True, True, True, True, True, False, True, True])
    short = returns(decisions, path, 2, hole_max_ns=3 * MINUTE).values[:, 0]
    np.testing.assert_array_equal(np.isnan(short), [False] * 7 + [True] * 2)
    assert short[1] == math.log(102 / 101)  # the last price known stands
    assert short[2] == 0.0
    assert short[4] == math.log(103 / 102)


def test_rows_missing_at_the_datas_end_are_a_hole_too() -> None:
    """A source that fills its end with marked rows has not told the price there."""
    bars = make_bars([100, 101, 102, 102, 102], gaps=[3, 4])
    assert np.isnan(returns(bars, bars, 1, hole_max_ns=MINUTE).values[:, 0]).tolist() == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert not np.isnan(returns(bars, bars, 1, hole_max_ns=2 * MINUTE).values[:4]).any()


def test_decisions_before_the_path_have_no_label() -> None:
    decisions = make_bars([90, 95, 100, 110, 120])
    path = make_bars([100, 110, 120], rows=[2, 3, 4])
    values = returns(decisions, path, 1).values[:, 0]
    assert np.isnan(values).tolist() == [True, False, False, False, True]


def test_a_path_of_nothing_but_gaps_tells_nothing() -> None:
    bars = make_bars([100, 100, 100], gaps=[0, 1, 2])
    assert np.isnan(returns(bars, bars, 1).values).all()
    assert len(returns(bars.rows(0, 0), bars, 1)) == 0


@st.composite
def markets(draw: st.DrawFn) -> tuple[BarBatch, BarBatch, int]:
    """Draw a path with absent and marked rows, the two-minute bars it makes, and the longest hole allowed."""
    rows = draw(st.lists(st.sampled_from(["bar", "gap", "absent"]), min_size=6, max_size=40))
    rows[0] = "bar"
    closes, places, gaps = [], [], []
    price = 1000
    for place, kind in enumerate(rows):
        if kind == "absent":
            continue
        if kind == "gap":
            gaps.append(len(closes))
        else:
            price += draw(st.integers(-5, 5))
        closes.append(price)
        places.append(place)
    path = make_bars(closes, rows=places, gaps=gaps, lateness_ns=draw(st.sampled_from([0, SECOND])))
    return path, fold(path, 2 * MINUTE).get(2 * MINUTE, path.rows(0, 0)), draw(st.integers(0, 4)) * MINUTE


def slow_labels(decisions: BarBatch, path: BarBatch, horizon_ns: int, hole_max_ns: int) -> list[tuple[float, float]]:
    """Return (return, log volatility) decision by decision, in plain words."""
    known = [
        (open_ns, close_ns, ticks)
        for open_ns, close_ns, ticks, flags in zip(
            path.open_ns.tolist(), path.close_ns.tolist(), path.close_ticks.tolist(), path.flags.tolist(), strict=True
        )
        if not flags & GAP
    ]
    out = []
    for close_ns, ticks in zip(decisions.close_ns.tolist(), decisions.close_ticks.tolist(), strict=True):
        end_ns = close_ns + horizon_ns
        # Every instant of [close, end] must have a price that is no older than the longest hole, or one to come soon.
        edges = [*known, (int(path.close_ns[-1]), 0, 0)]
        holes = [(a[1], b[0]) for a, b in zip(known, edges[1:], strict=True) if b[0] - a[1] > hole_max_ns]
        unknown = any(until >= close_ns and from_ns < end_ns for from_ns, until in holes)
        if unknown or close_ns < known[0][0] or end_ns > path.close_ns[-1] or not any(b[1] <= end_ns for b in known):
            out.append((math.nan, math.nan))
            continue
        after = [ticks, *(b[2] for b in known if close_ns < b[1] <= end_ns)]
        steps = [math.log(b) - math.log(a) for a, b in itertools.pairwise(after)]
        volatility = max(math.sqrt(sum(step * step for step in steps)), 1 / ticks)
        out.append((math.log(after[-1] / ticks), math.log(volatility)))
    return out


@settings(deadline=None)
@given(market=markets(), minutes=st.integers(1, 9), coarse=st.booleans())
def test_labels_agree_with_their_plain_definition(
    market: tuple[BarBatch, BarBatch, int], minutes: int, coarse: bool
) -> None:
    """On any path, with rows absent and marked anywhere, for decisions of its own and of a coarser scale."""
    path, coarser, hole_max_ns = market
    decisions = coarser if coarse else path
    horizon_ns = minutes * MINUTE
    expected = slow_labels(decisions, path, horizon_ns, hole_max_ns)
    arguments = {"horizons_ns": [horizon_ns], "hole_max_ns": hole_max_ns}
    found = [returns_after(decisions, path, **arguments), volatility_after(decisions, path, **arguments)]
    for column, labels in enumerate(found):
        np.testing.assert_allclose(labels.values[:, 0], [row[column] for row in expected], rtol=1e-13, atol=1e-15)


@settings(deadline=None)
@given(at=st.integers(0, 98), minutes=st.integers(1, 20), factor=st.sampled_from([0.5, 1.001, 3.0]))
def test_a_label_depends_on_its_own_time_alone(at: int, minutes: int, factor: float) -> None:
    """Change every price before the decision, and every one after the horizon: the label is the same, bit for bit."""
    bars = random_walk(100, seed=3)
    outside = np.ones(100, dtype=bool)
    outside[at : at + minutes + 1] = False
    closes = np.where(outside, np.rint(bars.close_ticks * factor).astype(np.int64), bars.close_ticks)
    changed = replace(bars, close_ticks=closes)
    arguments = {"horizons_ns": [minutes * MINUTE], "hole_max_ns": 0}
    for label in (returns_after, volatility_after):
        before, after = label(bars, bars, **arguments).values[at], label(changed, changed, **arguments).values[at]
        assert before.tobytes() == after.tobytes()


# --- volatility -------------------------------------------------------------------------------------------------------


def test_realised_volatility_is_the_root_of_the_sum_of_squares() -> None:
    bars = make_bars([100, 110, 99, 120])
    labels = volatility_after(bars, bars, horizons_ns=[2 * MINUTE], hole_max_ns=0)
    first = math.sqrt(math.log(1.1) ** 2 + math.log(0.9) ** 2)
    assert labels.values[0, 0] == pytest.approx(math.log(first), rel=1e-14)
    assert labels.names == ("log_volatility_2m",)


def test_a_halt_counts_as_one_tick() -> None:
    """Nothing moved: a small number of the market's own grid, and not minus infinity."""
    bars = make_bars([5000] * 10)
    labels = volatility_after(bars, bars, horizons_ns=[3 * MINUTE], hole_max_ns=0)
    np.testing.assert_array_equal(labels.values[:7, 0], np.log(1 / 5000))
    assert np.isnan(labels.values[7:]).all()


def test_ewma_volatility_by_hand() -> None:
    """Half the weight one bar ago; NaN until it has warmed up; the newest bar counts."""
    bars = make_bars([100, 110, 99, 120])
    steps = np.diff(np.log([100, 110, 99, 120])) ** 2
    volatility = ewma_volatility(bars, half_life=1, warm_up=2)
    assert np.isnan(volatility[:2]).all()
    assert volatility[2] == pytest.approx(math.sqrt((steps[1] + steps[0] / 2) / 1.5))
    assert volatility[3] == pytest.approx(math.sqrt((steps[2] + steps[1] / 2 + steps[0] / 4) / 1.75))


def test_a_jump_across_a_hole_is_not_one_bars_return() -> None:
    """Rows absent or marked GAP: the price may have gone anywhere meanwhile, and that is not volatility per bar."""
    quiet = [1000, 1001, 1000, 1001]
    absent = make_bars([*quiet, 5000, 5001], rows=[0, 1, 2, 3, 9, 10])
    marked = make_bars([*quiet, 1001, 1001, 5000, 5001], gaps=[4, 5])
    found = [ewma_volatility(bars, half_life=5, warm_up=1) for bars in (absent, marked)]
    assert np.nanmax(found[0]) < 2e-3
    np.testing.assert_array_equal(np.delete(found[1], [4, 5]), found[0])
    np.testing.assert_array_equal(found[1][4:6], found[0][3])  # nothing learned, nothing forgotten


@settings(deadline=None)
@given(cut=st.integers(0, 60))
def test_ewma_volatility_knows_the_past_alone(cut: int) -> None:
    bars = random_walk(60, seed=4)
    whole = ewma_volatility(bars, half_life=7, warm_up=5)
    assert ewma_volatility(bars.rows(0, cut), half_life=7, warm_up=5).tobytes() == whole[:cut].tobytes()


# --- joining and refusing ---------------------------------------------------------------------------------------------


def test_labels_of_one_decision_stand_side_by_side() -> None:
    bars = random_walk(30, seed=5)
    returns_, volatility = returns(bars, bars, 1, 5), volatility_after(bars, bars, horizons_ns=[HOUR], hole_max_ns=0)
    joined = join_labels([returns_, volatility])
    assert joined.names == ("return_1m", "return_5m", "log_volatility_1h")
    np.testing.assert_array_equal(joined.values, np.hstack([returns_.values, volatility.values]))
    np.testing.assert_array_equal(joined.label_end_ns[:, 2], bars.known_ns + HOUR)
    with pytest.raises(ValueError, match="one name"):
        join_labels([returns_, returns_])
    with pytest.raises(ValueError, match="different decisions"):
        join_labels([returns_, returns(bars.rows(1, 30), bars, 2)])


@pytest.mark.parametrize("horizon_ns", [0, -MINUTE, 90 * SECOND])
def test_a_horizon_is_a_whole_number_of_the_finest_bars(horizon_ns: int) -> None:
    """90 s measured on minutes would be called 90 s and be 60."""
    bars = random_walk(10, seed=6)
    with pytest.raises(ValueError, match="multiple of 1m"):
        returns_after(bars, bars, horizons_ns=[horizon_ns], hole_max_ns=0)
    with pytest.raises(ValueError, match="negative"):
        returns_after(bars, bars, horizons_ns=[MINUTE], hole_max_ns=-1)


def shifted(bars: BarBatch, by: int) -> BarBatch:
    return replace(bars, close_ticks=np.roll(bars.close_ticks, by))


def test_two_series_that_contradict_each_other_are_refused() -> None:
    """Shifted by one bar, of another instrument, out of order, known later than the decisions: each says so."""
    path = random_walk(100, seed=7)
    for wrong in (shifted(path, 1), shifted(path, -1)):
        with pytest.raises(DataError, match="make both from one source"):
            returns(wrong, path, 1)
    with pytest.raises(ValueError, match="decisions are of ETHUSDT"):
        returns(replace(path, instrument=instrument("ETHUSDT")), path, 1)
    with pytest.raises(DataError, match="go back in time"):
        returns(path, replace(path, open_ns=path.open_ns[::-1]), 1)
    with pytest.raises(DataError, match="one lateness"):
        returns(path, replace(path, known_ns=path.known_ns + SECOND), 1)
    with pytest.raises(DataError, match="no bars"):
        returns(path, path.rows(0, 0), 1)


@pytest.mark.parametrize(("half_life", "warm_up"), [(0.0, 1), (math.nan, 1), (5.0, 0)])
def test_impossible_volatility_settings(half_life: float, warm_up: int) -> None:
    with pytest.raises(ValueError, match="half_life"):
        ewma_volatility(random_walk(5, seed=8), half_life=half_life, warm_up=warm_up)


def test_many_horizons_are_many_targets() -> None:
    """No two horizons of a random walk agree; each is the sum of the bars within it and no fewer."""
    bars = random_walk(200, seed=9)
    minutes: Sequence[int] = (1, 5, 15, 60)
    values = returns(bars, bars, *minutes).values
    steps = np.diff(np.log(bars.close_ticks))
    for column, count in enumerate(minutes):
        sums = np.convolve(steps, np.ones(count), mode="valid")
        np.testing.assert_allclose(values[: len(sums), column], sums, atol=1e-12)
    assert np.abs(np.corrcoef(values[:140].T) - np.eye(4)).max() < 0.9
