"""Split conformal calibration: exact in finite samples, and what it needs for that."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.domain.errors import DataError
from models.evaluation.conformal import apart, fit_offsets
from tests.support.evaluations import LEVELS, normal_quantiles, set_of
from tests.support.training import HOUR, MINUTE

Floats = NDArray[np.float64]


def covered(calibration: Floats, one: float, by: str, count: int) -> tuple[bool, bool]:
    """Return whether the outcome `one` lies in the calibrated 50 % interval, and below the 95 % quantile."""
    offsets = fit_offsets(set_of(calibration, normal_quantiles(np.zeros(count), np.ones(count))), by=by)  # type: ignore[arg-type]
    q = offsets.apply(normal_quantiles([0.0], [1.0])[:, None, :])[0, 0]
    return bool(q[1] <= one <= q[3]), bool(one <= q[4])


@pytest.mark.parametrize("by", ["level", "pair"])
def test_coverage_is_exact_for_any_order(by: str) -> None:
    """Leave each of n + 1 outcomes out in turn: exactly k of them lie below the quantile calibrated by the others.

    For exchangeable data the left-out one is equally likely any of them, so k / (n + 1) is the probability, whatever
    the forecasts and outcomes are. By levels k = ceil((n + 1) 0.95); a pair covers at least its nominal share.
    """
    outcomes = np.random.default_rng(1).standard_t(2, 40) * 3 + 1  # n + 1 = 40, nothing like the forecast
    made = [covered(np.delete(outcomes, n), outcomes[n], by, 39) for n in range(40)]
    inside, below = (sum(each) for each in zip(*made, strict=True))
    if by == "level":
        assert below == math.ceil(40 * 0.95)
        # Each tail is cut at ceil(40 * 0.75) from its side; the two leave 10 + 10 out.
        assert inside == 40 - 2 * (40 - math.ceil(40 * 0.75))
    else:
        assert inside == math.ceil(40 * 0.5)


def test_coverage_on_fresh_data_is_within_its_bound() -> None:
    """nominal <= coverage <= nominal + 2 / (n + 1), over many draws of calibration and test data."""
    rng = np.random.default_rng(2)
    share = []
    for _ in range(1_500):
        y = rng.exponential(2, 60)
        offsets = fit_offsets(set_of(y[:59], normal_quantiles(np.zeros(59), np.ones(59))))
        q = offsets.apply(normal_quantiles([0.0], [1.0])[:, None, :])[0, 0]
        share.append(q[0] <= y[59] <= q[4])
    assert 0.9 - 0.02 <= np.mean(share) <= 0.9 + 2 / 60 + 0.02


def test_offsets_are_relative_to_the_forecast_s_own_spread() -> None:
    """Fitted in quiet times, right in wild ones: coverage holds in both, which a fixed number would not do."""
    rng = np.random.default_rng(3)
    deviation = np.where(np.arange(4_000) < 2_000, 1.0, 6.0)
    y = rng.normal(0, 1.7 * deviation)  # the model is 1.7 times too sure of itself
    quantiles = normal_quantiles(np.zeros(4_000), deviation)
    offsets = fit_offsets(set_of(y[:2_000], quantiles[:2_000]))
    q = offsets.apply(quantiles[2_000:, None, :])[:, 0, :]
    assert np.mean((q[:, 0] <= y[2_000:]) & (y[2_000:] <= q[:, 4])) == pytest.approx(0.9, abs=0.02)
    assert np.mean((quantiles[2_000:, 0] <= y[2_000:]) & (y[2_000:] <= quantiles[2_000:, 4])) < 0.7


def test_levels_follow_a_skew_and_pairs_do_not() -> None:
    y = np.random.default_rng(4).exponential(1, 5_000)
    quantiles = normal_quantiles(np.zeros(5_000), np.ones(5_000))
    by_level = fit_offsets(set_of(y, quantiles)).values[0]
    by_pair = fit_offsets(set_of(y, quantiles), by="pair").values[0]
    assert by_pair[0] == -by_pair[4]
    assert by_level[0] > 0  # nothing falls: the lower quantiles come up
    assert by_level[4] > 0
    assert by_level[2] == by_pair[2] == 0


def test_too_few_decisions_for_a_tail_are_refused() -> None:
    """A 95 % quantile needs 19 outcomes: with 18 there is no finite bound."""
    quantiles = normal_quantiles(np.zeros(19), np.ones(19))
    y = np.linspace(-1, 1, 19)
    assert fit_offsets(set_of(y, quantiles)).values[0][4] == pytest.approx((1 - 1.6448536) / (2 * 1.6448536))
    with pytest.raises(DataError, match=r"18 decisions 1h apart are too few to calibrate a level of 0.95; .* 19 or"):
        fit_offsets(set_of(y[1:], quantiles[1:]))


def test_overlapping_decisions_do_not_count_as_many() -> None:
    """Two hundred decisions every 5 minutes are 17 hours: too few for hourly tails, however many rows."""
    y, quantiles = np.random.default_rng(5).normal(size=200), normal_quantiles(np.zeros(200), np.ones(200))
    with pytest.raises(DataError, match="17 decisions 1h apart"):
        fit_offsets(set_of(y, quantiles, every_ns=5 * MINUTE))
    assert fit_offsets(set_of(y, quantiles, every_ns=HOUR)).levels == LEVELS


def test_a_forecast_without_spread_cannot_be_calibrated() -> None:
    quantiles = normal_quantiles(np.zeros(30), np.ones(30))
    quantiles[7] = 0.0
    with pytest.raises(DataError, match="row 7 at 1h has no spread"):
        fit_offsets(set_of(np.zeros(30), quantiles))


def test_unknown_outcomes_are_left_out() -> None:
    rng = np.random.default_rng(6)
    y = rng.normal(size=60)
    whole = set_of(y, normal_quantiles(np.zeros(60), np.ones(60)))
    target = whole.target_NH.copy()
    target[30:] = np.nan
    assert fit_offsets(replace(whole, target_NH=target)) == fit_offsets(whole.rows(np.arange(30)))


def test_rows_apart() -> None:
    times = np.array([0, 1, 5, 9, 10, 11, 30])
    assert apart(times, 5).tolist() == [0, 2, 4, 6]
    assert apart(times[:0], 5).tolist() == []
