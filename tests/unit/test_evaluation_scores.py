"""Losses of single forecasts, each beside an independent way to the same number."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.domain.market import ForecastBatch
from models.evaluation import scores
from models.evaluation.distributions import normal_cdf, student_cdf
from models.evaluation.forecast_set import ForecastSet, join_outcomes
from models.training.labels import join_labels, returns_after, volatility_after
from strategies.outcomes import Outcomes
from tests.support.evaluations import LEVELS, normal_quantiles, set_of
from tests.support.training import HOUR, MINUTE, START, instrument, random_walk

Floats = NDArray[np.float64]
NORMAL = NormalDist()


def grid(count: int) -> tuple[float, ...]:
    """Return the levels (i - 1/2) / count."""
    return tuple((np.arange(count) + 0.5) / count)


# --- of distributions -------------------------------------------------------------------------------------------------


def test_pinball_by_hand() -> None:
    loss = scores.pinball(np.array([1.0, -1.0]), np.array([[0.0, 2.0], [0.0, 2.0]]), (0.1, 0.9))
    np.testing.assert_allclose(loss, [[0.1, 0.1], [0.9, 0.3]])


def test_the_expected_pinball_loss_is_least_at_the_true_quantile() -> None:
    """Proper: in a large sample no constant scores better than the sample's own quantile."""
    y = np.random.default_rng(1).standard_t(4, 4_001)
    for level in (0.05, 0.5, 0.9):
        best = float(np.quantile(y, level, method="inverted_cdf"))
        losses = [scores.pinball(y, np.full((4_001, 1), best + off), (level,)).mean() for off in (-0.05, 0.0, 0.05)]
        assert min(losses) == losses[1]


def test_crps_of_equally_likely_values_is_exact() -> None:
    """Quantiles at (i - 1/2) / Q are an ensemble: E|X - y| - E|X - X'| / 2, summed by brute force."""
    rng = np.random.default_rng(2)
    ensemble = np.sort(rng.normal(size=(50, 7)), axis=1)
    y = rng.normal(size=50)
    expected = np.abs(ensemble - y[:, None]).mean(axis=1)
    expected -= np.abs(ensemble[:, :, None] - ensemble[:, None, :]).mean(axis=(1, 2)) / 2
    np.testing.assert_allclose(scores.crps(y, ensemble, grid(7)), expected, rtol=1e-12)


def test_crps_tends_to_the_closed_form_of_a_normal() -> None:
    """s (z (2 cdf(z) - 1) + 2 pdf(z) - 1 / sqrt pi), s the deviation: Gneiting and Raftery 2007, eq. 21."""
    y = np.array([-2.0, -0.3, 0.0, 1.0, 3.0])
    levels = grid(2_000)
    made = scores.crps(y, normal_quantiles(np.full(5, 0.2), np.full(5, 1.5), levels), levels)
    z = (y - 0.2) / 1.5
    expected = 1.5 * np.array(
        [x * (2 * NORMAL.cdf(x) - 1) + 2 * NORMAL.pdf(x) - 1 / math.sqrt(math.pi) for x in z.tolist()]
    )
    np.testing.assert_allclose(made, expected, rtol=2e-3)


def test_level_weights_are_the_nearest_shares() -> None:
    np.testing.assert_allclose(scores.level_weights((0.1, 0.5, 0.9)), [0.3, 0.4, 0.3])
    assert scores.level_weights(LEVELS).sum() == pytest.approx(1)


def test_the_interval_score_is_made_of_pinball_losses() -> None:
    """Winkler = (pinball low + pinball high) * 2 / (1 - nominal), whatever the outcome."""
    rng = np.random.default_rng(3)
    y = rng.normal(0, 2, 200)
    bounds = np.sort(rng.normal(size=(200, 2)), axis=1)
    expected = scores.pinball(y, bounds, (0.05, 0.95)).sum(axis=1) * 2 / 0.1
    np.testing.assert_allclose(scores.interval_score(y, bounds[:, 0], bounds[:, 1], 0.9), expected, rtol=1e-9)


def test_pit_cells_of_a_calibrated_forecast_hold_their_share() -> None:
    rng = np.random.default_rng(4)
    deviation = rng.uniform(0.5, 2, 40_000)
    y = rng.normal(0, deviation)
    cell = scores.pit_cell(y, normal_quantiles(np.zeros(40_000), deviation))
    shares = np.bincount(cell, minlength=6) / 40_000
    np.testing.assert_allclose(shares, np.diff([0, *LEVELS, 1]), atol=0.01)
    edges = scores.pit_cell(np.array([-9.0, -1.0, 0.0, 9.0]), np.array([[-1.0, 0.0, 1.0]] * 4))
    assert edges.tolist() == [0, 0, 1, 3]


# --- of directions, ranks and volatility ------------------------------------------------------------------------------


def test_a_flat_outcome_has_no_direction() -> None:
    """Counting a bar that went nowhere as a fall makes an error of every forecast of a rise."""
    assert scores.has_direction(np.array([0.0, 1e-4, -1e-3, 2e-3]), 1e-4).tolist() == [False, False, True, True]


def test_ranks_share_their_mean_where_values_are_equal() -> None:
    assert scores.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_qlike_is_least_at_the_truth_even_with_a_noisy_proxy() -> None:
    """The mean over squared returns, a wild proxy, is least where the forecast is the variance."""
    r = np.random.default_rng(5).normal(0, 1, 100_000) ** 2
    r = np.maximum(r, 1e-12)
    loss = {v: scores.qlike(np.full(len(r), v), r).mean() for v in (0.8, 0.9, 1.0, 1.1, 1.25)}
    assert min(loss, key=lambda v: loss[v]) == 1.0
    assert scores.qlike(np.array([2.0]), np.array([2.0]))[0] == 0


def test_equal_bins_hold_equal_numbers() -> None:
    bins = scores.equal_bins(np.random.default_rng(6).random(1_000), 10)
    assert np.bincount(bins).tolist() == [100] * 10
    assert set(scores.equal_bins(np.full(9, 0.5), 10).tolist()) == {0}


# --- distribution functions -------------------------------------------------------------------------------------------


def test_normal_and_student_against_known_values() -> None:
    """The normal, the Cauchy (t with 1), the closed form of t with 2, and the limit."""
    x = np.array([-3.0, -0.5, 0.0, 1.0, 8.0])
    np.testing.assert_allclose(normal_cdf(x), [NORMAL.cdf(each) for each in x.tolist()], rtol=1e-12)
    for t in (-40.0, -2.0, -0.1, 0.0, 0.7, 5.0):
        assert student_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-13)
        assert student_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-13)
        assert student_cdf(t, 1e6) == pytest.approx(NORMAL.cdf(t), abs=2e-6)
    assert [student_cdf(t, 5) for t in (-math.inf, math.inf)] == [0.0, 1.0]


def test_student_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 3, 10.5, 99, 29_999):
        for t in (-12.0, -2.2, -0.3, 0.4, 1.9, 6.0):
            assert student_cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), rel=1e-9)


# --- sets -------------------------------------------------------------------------------------------------------------


def test_what_quantiles_imply_is_what_strategies_read() -> None:
    """Probability of a rise and deviation agree with `strategies.outcomes`, for odd shapes too."""
    rng = np.random.default_rng(7)
    quantiles = np.sort(rng.normal(0.3, 1, (300, 5)), axis=1)
    quantiles[0] = 0.5
    quantiles[1] = [-1, -1, 0, 0, 0]
    made = set_of(np.zeros(300), quantiles)
    for n, row in enumerate(quantiles):
        expected = Outcomes.of_quantiles(LEVELS, row)
        assert made.up_NH[n, 0] == pytest.approx(expected.up, abs=1e-12)
        assert made.volatility_NH[n, 0] == pytest.approx(expected.deviation, abs=1e-12)


def test_a_normal_forecast_gives_back_its_moments() -> None:
    made = set_of(np.zeros(3), normal_quantiles([0.0, 0.1, -2.0], [1.0, 0.2, 3.0]))
    np.testing.assert_allclose(made.volatility_NH[:, 0], [1.0, 0.2, 3.0], rtol=1e-6)
    np.testing.assert_allclose(made.up_NH[:, 0], [NORMAL.cdf(0), NORMAL.cdf(0.5), NORMAL.cdf(-2 / 3)], rtol=1e-9)
    assert made.point_NH[:, 0].tolist() == pytest.approx([0.0, 0.1, -2.0])


def test_a_point_without_a_median_lies_between() -> None:
    made = set_of(np.zeros(1), normal_quantiles([0.7], [2.0], (0.1, 0.4, 0.8)), levels=(0.1, 0.4, 0.8))
    assert made.point_NH[0, 0] == pytest.approx(0.7)


def test_own_columns_come_before_implied_ones() -> None:
    made = set_of(
        np.zeros(2),
        normal_quantiles([0.0, 0.0], [1.0, 1.0]),
        mean_NH=[0.5, -0.5],
        up_probability_NH=[0.9, 0.1],
        deviation_NH=[2.0, 3.0],
    )
    assert made.point_NH[:, 0].tolist() == [0.5, -0.5]
    assert made.up_NH[:, 0].tolist() == [0.9, 0.1]
    assert made.volatility_NH[:, 0].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(("every", "expected"), [(HOUR, 1), (5 * MINUTE, 12), (7 * MINUTE, 9), (2 * HOUR, 1)])
def test_overlap_counts_decisions_within_a_horizon(every: int, expected: int) -> None:
    made = set_of(np.zeros(100), normal_quantiles(np.zeros(100), np.ones(100)), every_ns=every)
    assert made.overlap(0) == expected


def good() -> ForecastSet:
    return set_of(np.linspace(-1, 1, 6), normal_quantiles(np.zeros(6), np.ones(6)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": (0.5,)}, "at least two"),
        ({"levels": (0.1, 0.9)}, "quantiles_NHQ has the shape"),
        ({"horizons_ns": (0,)}, "different horizons above zero"),
        ({"start_ns": START - np.arange(6)}, "go back in time at row 1"),
        ({"start_ns": np.full(6, START)}, "repeats a decision"),
        ({"target_NH": np.full((6, 1), np.nan)}, "no outcome is known"),
        ({"target_NH": np.array([[0.0]] * 5 + [[np.inf]])}, "an outcome is infinite"),
        ({"quantiles_NHQ": np.full((6, 1, 5), np.nan)}, "6 decisions with a known outcome have no quantile"),
        ({"quantiles_NHQ": np.array([[[0.0, 2.0, 1.0, 3.0, 4.0]]] * 6)}, "no non-crossing quantile"),
        ({"mean_NH": np.full((6, 1), np.nan)}, "have no mean"),
        ({"mean_NH": np.zeros(6)}, "mean_NH has the shape"),
        ({"up_probability_NH": np.full((6, 1), 1.5)}, "no probability within 0 and 1"),
        ({"deviation_NH": np.zeros((6, 1))}, "no deviation above 0"),
        ({"realised_variance_NH": np.zeros((6, 1))}, "must be above zero"),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(good(), **changes)  # type: ignore[arg-type]


def test_a_model_does_not_choose_what_it_is_judged_on() -> None:
    """A forecast may be missing only where nobody knows the outcome."""
    quantiles = good().quantiles_NHQ.copy()
    quantiles[5] = np.nan
    target = good().target_NH.copy()
    with pytest.raises(DataError, match="1 decisions with a known outcome have no quantile, the first of them row 5"):
        replace(good(), quantiles_NHQ=quantiles)
    target[5] = np.nan
    assert int(replace(good(), quantiles_NHQ=quantiles, target_NH=target).is_known_NH.sum()) == 5


def test_models_of_other_decisions_are_not_compared() -> None:
    good().require_same_decisions(replace(good(), model="other", quantiles_NHQ=2 * good().quantiles_NHQ))
    for changes in (
        {"start_ns": good().start_ns + 1},
        {"target_NH": good().target_NH * 1.01},
        {"realised_variance_NH": np.ones((6, 1))},
        {"horizons_ns": (2 * HOUR,)},
    ):
        with pytest.raises(DataError, match=r"differ in|different horizons"):
            good().require_same_decisions(replace(good(), **changes))  # type: ignore[arg-type]


def test_rows_keep_every_column() -> None:
    whole = replace(good(), mean_NH=np.arange(6.0)[:, None])
    cut = whole.rows(np.array([1, 4]))
    assert cut.start_ns.tolist() == whole.start_ns[[1, 4]].tolist()
    assert cut.mean_NH is not None
    assert cut.mean_NH[:, 0].tolist() == [1.0, 4.0]


def test_forecasts_of_two_instruments_join_their_labels() -> None:
    """Rows go by time, then instrument; the outcome and the realised variance are the labels'."""
    parts = []
    for number, name in enumerate(("AAAUSDT", "BBBUSDT")):
        bars = random_walk(200, seed=number, of=instrument(name))
        horizons_ns = (5 * MINUTE, HOUR)
        labels = join_labels(
            [make(bars, bars, horizons_ns=horizons_ns, hole_max_ns=0) for make in (returns_after, volatility_after)]
        )
        row = np.arange(50, 200)
        batch = ForecastBatch(
            instrument=bars.instrument,
            first_row=0,
            model_id="m",
            scale_ns=MINUTE,
            horizons_ns=horizons_ns,
            levels=LEVELS,
            scales_ns=(MINUTE,),
            bar_row=row,
            close_ns=bars.close_ns[row],
            known_ns=bars.known_ns[row],
            quantiles=np.stack([normal_quantiles(np.full(150, number), np.ones(150))] * 2, axis=1),
            importance=np.ones((150, 1)),
        )
        parts.append((batch, labels))
    made = join_outcomes("m", parts)
    assert len(made) == 300
    assert made.instrument_N is not None
    assert made.instrument_N[:4].tolist() == [0, 1, 0, 1]
    assert made.overlap(1) == 60  # decision times, not rows
    for number, (batch, labels) in enumerate(parts):
        rows = made.instrument_N == number
        np.testing.assert_array_equal(made.target_NH[rows], labels.values[batch.bar_row][:, :2])
        assert made.realised_variance_NH is not None
        np.testing.assert_allclose(made.realised_variance_NH[rows], np.exp(2 * labels.values[batch.bar_row][:, 2:]))
        np.testing.assert_array_equal(made.point_NH[rows], number)
    wrong = replace(parts[0][0], close_ns=parts[0][0].close_ns + 1)
    with pytest.raises(DataError, match="are of no labelled bar"):
        join_outcomes("m", [(wrong, parts[0][1])])
    with pytest.raises(DataError, match="beside labels of BBBUSDT"):
        join_outcomes("m", [(parts[0][0], parts[1][1])])
    bars = random_walk(200, seed=0, of=instrument("AAAUSDT"))
    labels = returns_after(bars, bars, horizons_ns=[5 * MINUTE], hole_max_ns=0)
    with pytest.raises(DataError, match="no label return_1h"):
        join_outcomes("m", [(parts[0][0], labels)])
