"""Intervals: block lengths, resampling, long-run errors and the comparison of two models."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.blocks import autocovariance, block_length, newey_west, politis_white
from models.evaluation.bootstrap import (
    Kind,
    Sampling,
    Statistic,
    correlation,
    estimate,
    influence,
    mean,
    per_time,
    resample,
    root_ratio,
    skill,
)
from models.evaluation.comparison import diebold_mariano
from models.evaluation.distributions import student_cdf

Floats = NDArray[np.float64]


def ar1(count: int, rho: float, seed: int) -> Floats:
    noise = np.random.default_rng(seed).normal(size=count)
    out = np.empty(count)
    out[0] = noise[0] / math.sqrt(1 - rho**2)
    for i in range(1, count):
        out[i] = rho * out[i - 1] + noise[i]
    return out


def overlapping(count: int, width: int, seed: int) -> Floats:
    """Return sums of `width` neighbouring draws: what overlapping horizons do to a loss."""
    return np.convolve(np.random.default_rng(seed).normal(size=count + width - 1), np.ones(width), "valid")


def mean_of(values: Floats, *, overlap: int, sampling: Sampling, time: Floats | None = None):  # type: ignore[no-untyped-def]
    columns = {"x": values, "one": np.ones(len(values))}
    at = np.arange(len(values)) if time is None else time
    return estimate({"mean": mean("x", "one")}, columns, at, overlap=overlap, sampling=sampling)["mean"]


# --- block lengths ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_the_automatic_block_is_that_of_theory(rho: float) -> None:
    """For an AR(1) the best circular block is (6 (r / (1 - r²))² N)^(1/3); the mean of the estimates is near it."""
    made = np.mean([politis_white(ar1(4_000, rho, seed)) for seed in range(30)])
    expected = (6 * (rho / (1 - rho**2)) ** 2 * 4_000) ** (1 / 3)
    assert made == pytest.approx(expected, rel=0.2)


def test_the_stationary_block_is_shorter_by_a_known_factor() -> None:
    """Its variance constant is 2 against 4/3, so its length is (2/3)^(1/3) of the other's."""
    values = ar1(4_000, 0.6, 1)
    assert politis_white(values, stationary=True) == pytest.approx(politis_white(values) * (2 / 3) ** (1 / 3))


def test_noise_needs_no_blocks_and_a_constant_none() -> None:
    lengths = [politis_white(np.random.default_rng(seed).normal(size=2_000)) for seed in range(30)]
    assert np.median(lengths) < 4
    assert politis_white(np.full(100, 3.0)) == 1


def test_a_block_spans_four_overlaps_but_not_the_data() -> None:
    noise = np.random.default_rng(1).normal(size=4_000)
    assert block_length(noise, 24) >= 96
    assert block_length(noise, 2_000) == 500


def test_autocovariance_is_the_plain_sum() -> None:
    x = np.random.default_rng(2).normal(size=37)
    centred = x - x.mean()
    expected = [sum(centred[i] * centred[i + k] for i in range(37 - k)) / 37 for k in range(6)]
    np.testing.assert_allclose(autocovariance(x, 5), expected, atol=1e-14)


# --- long-run errors --------------------------------------------------------------------------------------------------


def test_newey_west_by_hand() -> None:
    """With a block of 2 the variance is that of lag 0 plus twice half of that of lag 1."""
    x = np.array([1.0, 3.0, 2.0, 5.0])
    centred = x - 2.75
    gamma0 = float(centred @ centred) / 4
    gamma1 = float(centred[1:] @ centred[:-1]) / 4
    assert newey_west(x, 2) == pytest.approx(math.sqrt((gamma0 + gamma1) / 4))
    assert newey_west(x, 1) == pytest.approx(x.std() / 2)


def test_newey_west_knows_what_overlap_costs() -> None:
    """The error of the mean of sums over 24 is 24 times that of one draw, not sqrt(24) times."""
    errors = [newey_west(overlapping(20_000, 24, seed), 96) for seed in range(20)]
    assert np.mean(errors) == pytest.approx(24 / math.sqrt(20_000), rel=0.12)
    naive = overlapping(20_000, 24, 0).std() / math.sqrt(20_000)
    assert naive < 0.25 * np.mean(errors)


# --- the bootstrap ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["circular", "moving", "stationary"])
def test_resamples_are_blocks_of_the_data(kind: Kind) -> None:
    """Powers of two tell which rows a resample holds: as many as there are, in runs of the block's length."""
    count, block = 12, 4
    sums = np.column_stack([np.ones(count), 2.0 ** (4 * np.arange(count))])
    made = resample(sums, block, Sampling(resamples=200, kind=kind))
    assert (made[:, 0] == count).all()
    seen = set()
    for total in made[:, 1]:
        digits = [int(total) >> 4 * i & 15 for i in range(count)]
        assert sum(digits) == count
        seen.add(tuple(digits))
    assert len(seen) > 50
    if kind != "stationary":
        starts = range(count) if kind == "circular" else range(count - block + 1)
        possible = {
            tuple(np.bincount([(s + i) % count for s in chosen for i in range(block)], minlength=count).tolist())
            for chosen in itertools.product(starts, repeat=3)
        }
        assert seen <= possible


@pytest.mark.parametrize("kind", ["circular", "moving", "stationary"])
def test_the_error_is_the_long_run_error(kind: Kind) -> None:
    """The bootstrap's standard error agrees with Newey-West at the same reach, on dependent data."""
    x = ar1(5_000, 0.6, 3)
    made = mean_of(x, overlap=1, sampling=Sampling(resamples=2_000, kind=kind, block=40))
    assert made.value == pytest.approx(x.mean())
    assert made.error == pytest.approx(newey_west(x, 40), rel=0.15)


def test_independent_rows_give_the_textbook_error() -> None:
    x = np.random.default_rng(4).normal(size=2_000)
    made = mean_of(x, overlap=1, sampling=Sampling(resamples=4_000, block=1))
    assert made.error == pytest.approx(x.std() / math.sqrt(2_000), rel=0.05)
    assert made.low == pytest.approx(x.mean() - 1.96 * x.std() / math.sqrt(2_000), abs=2e-3)


def test_intervals_cover_the_truth_where_horizons_overlap() -> None:
    """Of 200 samples of overlapping outcomes about 95 % hold the truth; treating rows as independent, a third."""
    inside = {"ours": 0, "rows": 0}
    for seed in range(200):
        x = overlapping(3_000, 12, seed)
        ours = mean_of(x, overlap=12, sampling=Sampling(resamples=400, seed=seed))
        rows = mean_of(x, overlap=1, sampling=Sampling(resamples=400, seed=seed, block=1))
        inside["ours"] += ours.low <= 0 <= ours.high
        inside["rows"] += rows.low <= 0 <= rows.high
    assert 0.89 <= inside["ours"] / 200 <= 0.985
    assert inside["rows"] / 200 < 0.5


def test_the_same_seed_is_the_same_interval_and_more_resamples_continue_it() -> None:
    sums = np.random.default_rng(5).normal(size=(300, 2))
    few, many = (resample(sums, 7, Sampling(resamples=count, seed=9)) for count in (100, 300))
    assert few.tobytes() == many[:100].tobytes()
    assert resample(sums, 7, Sampling(resamples=100, seed=10)).tobytes() != few.tobytes()


def test_draws_are_splitmix64_written_out() -> None:
    """Any machine, any release: the blocks are a function of seed, resample and draw, here in plain integers."""
    mask, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(word: int) -> int:
        word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ word >> 27) * 0x94D049BB133111EB) & mask
        return word ^ word >> 31

    made = resample(np.arange(10.0)[:, None], 3, Sampling(resamples=100, seed=12_345))
    for r in (0, 1, 99):
        state = mix((mix((12_345 + golden) & mask) + r * golden) & mask)
        drawn: list[int] = []
        while len(drawn) < 10:
            state = (state + golden) & mask
            start = int((mix(state) >> 11) / 2**53 * 10)
            drawn += [(start + i) % 10 for i in range(3)]
        assert made[r, 0] == sum(drawn[:10])


def test_rows_of_one_time_stay_together() -> None:
    """Ten copies of every row are not ten times the data: the interval does not move."""
    x = ar1(800, 0.3, 6)
    alone = mean_of(x, overlap=1, sampling=Sampling(block=8))
    copies = mean_of(np.repeat(x, 10), overlap=1, sampling=Sampling(block=8), time=np.repeat(np.arange(800), 10))
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high))
    np.testing.assert_array_equal(
        per_time(np.array([[1.0], [2.0], [3.0]]), np.array([5, 5, 6])), np.array([[3.0], [3.0]])
    )


def test_too_few_rows_have_no_interval() -> None:
    made = mean_of(np.arange(6.0), overlap=1, sampling=Sampling())
    assert made.value == 2.5
    assert math.isnan(made.low)
    assert not made.is_above_zero
    long = mean_of(np.arange(60.0), overlap=1, sampling=Sampling(block=20))
    assert math.isnan(long.error)


def test_statistics_of_sums_are_the_plain_ones() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(2, 500))
    y = y + 0.3 * x
    columns = {"n": np.ones(500), "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y, "a": x**2, "b": y**2}
    made = estimate(
        {
            "correlation": correlation("n", "x", "y", "xx", "yy", "xy"),
            "skill": skill("a", "b"),
            "ratio": root_ratio("a", "b"),
        },
        columns,
        np.arange(500),
        overlap=1,
        sampling=Sampling(block=1),
    )
    assert made["correlation"].value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert made["skill"].value == pytest.approx(1 - (x**2).sum() / (y**2).sum())
    assert made["ratio"].value == pytest.approx(math.sqrt((x**2).mean() / (y**2).mean()))
    # Fisher: the error of a correlation of independent normal rows is (1 - r²) / sqrt N.
    assert made["correlation"].error == pytest.approx((1 - made["correlation"].value ** 2) / math.sqrt(500), rel=0.15)


def test_influence_of_a_mean_is_the_centred_row() -> None:
    """And of a quotient of means, the delta method's (a - θ b) / mean b."""
    rng = np.random.default_rng(8)
    a, b = rng.normal(3, 1, 200), rng.uniform(1, 2, 200)
    made = influence(Statistic(("a", "b"), lambda x, y: x / y), ("a", "b"), np.column_stack([a, b]))
    np.testing.assert_allclose(made, (a - a.mean() / b.mean() * b) / b.mean(), atol=1e-8)


def test_sampling_is_checked() -> None:
    for wrong in ({"resamples": 10}, {"confidence": 1.0}, {"kind": "iid"}, {"block": 0}):
        with pytest.raises(ValueError, match="must be"):
            Sampling(**wrong)


# --- comparison -------------------------------------------------------------------------------------------------------


def test_diebold_mariano_of_independent_losses_is_the_paired_t_test() -> None:
    """Without overlap, and with a reach of one, only the degrees of freedom of the variance differ."""
    rng = np.random.default_rng(9)
    a, b = rng.normal(1.0, 1, 150), rng.normal(1.2, 1, 150)
    made = diebold_mariano(a, b, np.arange(150), overlap=1, block=1)
    d = a - b
    t = d.mean() / (d.std(ddof=1) / math.sqrt(150))
    assert made.statistic == pytest.approx(t)  # (T - 1) / T of the correction is what makes ddof 1 of ddof 0
    assert made.p_value == pytest.approx(2 * student_cdf(-abs(t), 149))
    assert made.difference == pytest.approx(d.mean())


def test_diebold_mariano_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(10)
    a, b = rng.normal(1.0, 1, 80), rng.normal(1.3, 1, 80)
    expected = stats.ttest_rel(a, b)
    made = diebold_mariano(a, b, np.arange(80), overlap=1, block=1)
    assert (made.statistic, made.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_diebold_mariano_rejects_as_often_as_it_says() -> None:
    """Two equally good models with overlapping losses: about 5 % of p-values are below 0.05, not half of them."""
    p_ours, p_rows = [], []
    for seed in range(300):
        a, b = overlapping(2_000, 12, seed), overlapping(2_000, 12, 10_000 + seed)
        p_ours.append(diebold_mariano(a, b, np.arange(2_000), overlap=12).p_value)
        p_rows.append(diebold_mariano(a, b, np.arange(2_000), overlap=1, block=1).p_value)
    assert np.mean(np.array(p_ours) < 0.05) < 0.11
    assert np.mean(np.array(p_rows) < 0.05) > 0.4


def test_a_model_compared_with_itself_is_neither_better_nor_worse() -> None:
    x = np.random.default_rng(11).random(50)
    made = diebold_mariano(x, x, np.arange(50), overlap=1)
    assert made.difference == 0
    assert math.isnan(made.p_value)
