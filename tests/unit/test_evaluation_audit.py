"""Outcomes from a run's tape are those that labels give, and unknown where the tape cannot tell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import DataError
from models.evaluation.audit import kept_set, live_coverage, outcomes_on
from models.training.labels import returns_after, volatility_after
from tests.support.training import MINUTE, START, make_bars

HORIZONS = [5 * MINUTE, 15 * MINUTE]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), missing=st.sets(st.integers(1, 118), max_size=4))
def test_outcomes_are_those_of_the_labels(seed: int, missing: set[int]) -> None:
    """Also with bars missing: a horizon that touches a hole has no outcome, by either way."""
    rows = [row for row in range(120) if row not in missing]
    closes = 1_000_000 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, len(rows))))
    bars = make_bars(np.rint(closes), rows=rows)
    target, variance = outcomes_on(bars.close_ns, bars.close_ticks.astype(np.float64), bars.close_ns, HORIZONS)
    common = {"horizons_ns": HORIZONS, "hole_max_ns": 0}
    labels = returns_after(bars, bars, **common)  # type: ignore[arg-type]
    np.testing.assert_allclose(target, labels.values, rtol=1e-9, atol=1e-15)
    expected = np.exp(2 * volatility_after(bars, bars, **common).values)  # type: ignore[arg-type]
    np.testing.assert_allclose(variance, expected, rtol=1e-9)


def test_a_decision_off_the_tape_has_no_outcome() -> None:
    bars = make_bars(range(1000, 1060))
    decided_ns = np.array([START, START + MINUTE // 2, START + MINUTE, START + 59 * MINUTE, START + 99 * MINUTE])
    target, _ = outcomes_on(bars.close_ns, bars.close_ticks.astype(np.float64), decided_ns, [MINUTE])
    assert np.isfinite(target[:, 0]).tolist() == [False, False, True, True, False]


def test_a_price_that_stands_still_has_a_return_and_no_variance() -> None:
    closes = np.array([100.0, 101.0, 101.0, 101.0])
    target, variance = outcomes_on(START + MINUTE * np.arange(4), closes, START + MINUTE * np.arange(4), [MINUTE])
    np.testing.assert_allclose(target[:, 0], [np.log(1.01), 0.0, 0.0, np.nan])
    assert np.isfinite(variance[:, 0]).tolist() == [True, False, False, False]


@pytest.mark.parametrize("tape", [([1, 1], [1.0, 1.0]), ([1, 2], [1.0, 0.0]), ([1], [1.0]), ([1, 2], [1.0, np.nan])])
def test_a_tape_that_is_none_is_refused(tape: tuple[list[int], list[float]]) -> None:
    with pytest.raises(DataError, match="tape: must be two bars"):
        outcomes_on(np.array(tape[0]), np.array(tape[1]), np.array([1]), [MINUTE])


def test_instruments_stand_side_by_side_in_order_of_time() -> None:
    decided_ns = START + MINUTE * np.arange(3)
    quantiles = np.array([[[-1.0, 0.0, 1.0]]] * 3)
    parts = [(decided_ns + shift, quantiles + shift, np.full((3, 1), 0.1), np.full((3, 1), 0.2)) for shift in (0, 1)]
    made = kept_set("one", parts, horizons_ns=[MINUTE], levels=[0.1, 0.5, 0.9])
    assert made.instrument_N is not None
    assert made.instrument_N.tolist() == [0, 1] * 3
    assert (np.diff(made.start_ns) > 0).all()
    assert made.quantiles_NHQ[:, 0, 1].tolist() == [0, 1] * 3


def test_bookkeeping_is_read_by_its_names() -> None:
    names = ("up:5m", "coverage:5m", "shrink:5m", "drift:5m")
    answers = np.array([[0.5, 0.9, 1.0, 0.0], [0.5, 0.7, 0.6, 1.0], [0.5, 0.8, 0.8, 0.0], [0.5, 0.85, 0.9, 0.0]])
    (found,) = live_coverage("shadow", "BTCUSDT", names, answers, HORIZONS)
    assert (found.last, found.least, found.greatest) == (0.85, 0.7, 0.9)
    assert (found.drifting, found.shrink_least, found.decisions) == (0.25, 0.6, 4)
    assert live_coverage("shadow", "BTCUSDT", names[:1], answers[:, :1], HORIZONS) == []
