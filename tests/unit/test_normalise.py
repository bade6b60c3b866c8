"""Normalisers use what they say they use: a stated stretch, the past, or the window itself."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.features.normalise import CausalNormalizer, fit_normalizer, instance_statistics
from bot.domain.market import F64

NAMES = ("a", "b")


def walk(rows: int, seed: int = 0) -> F64:
    """Return two features: a random walk, and noise around 100, with a few values not known."""
    generator = np.random.default_rng(seed)
    values: F64 = np.column_stack([generator.normal(size=rows).cumsum(), 100 + generator.normal(size=rows)])
    values[::17, 0] = np.nan
    return values


def test_fitted_uses_its_stretch_alone() -> None:
    """Whatever lies outside the stretch changes neither centre nor scale."""
    values, known_ns = walk(500), np.arange(500) * 10
    fitted = fit_normalizer(values, known_ns, NAMES, from_ns=1_000, to_ns=3_000)
    other = values.copy()
    other[:100], other[300:] = 1e6, -1e6
    assert fit_normalizer(other, known_ns, NAMES, from_ns=1_000, to_ns=3_000) == fitted
    assert fitted.rows == 200
    inside = fitted.apply(values)[100:300]
    assert np.allclose(np.nanmean(inside, axis=0), 0, atol=1e-12)
    assert np.allclose(np.nanstd(inside, axis=0), 1)
    assert np.array_equal(np.isnan(inside), np.isnan(values[100:300]))
    assert np.allclose(fitted.invert(fitted.apply(values)), values, equal_nan=True)


def test_robust_is_median_and_quartiles() -> None:
    """For a normal distribution both kinds agree; an outlier moves only the first."""
    values = np.random.default_rng(1).normal(5, 2, size=(100_000, 1))
    values[0] = 1e9
    fitted = fit_normalizer(values, np.arange(100_000), ("a",), from_ns=0, to_ns=100_000, kind="robust")
    assert fitted.center[0] == pytest.approx(5, abs=0.03)
    assert fitted.scale[0] == pytest.approx(2, abs=0.03)


def test_fitted_knows_what_it_has_seen() -> None:
    fitted = fit_normalizer(walk(10), np.arange(10), NAMES, from_ns=2, to_ns=8)
    assert fitted.has_seen(0, 3)
    assert fitted.has_seen(7, 100)
    assert not fitted.has_seen(8, 100)
    assert not fitted.has_seen(0, 2)


def test_a_constant_is_not_divided_by_nothing() -> None:
    fitted = fit_normalizer(np.full((5, 1), 3.0), np.arange(5), ("a",), from_ns=0, to_ns=5)
    assert fitted.apply(np.array([[3.0], [4.0]])).tolist() == [[0.0], [1.0]]


def test_too_short_a_stretch_is_refused() -> None:
    with pytest.raises(ValueError, match="b has 1 values"):
        fit_normalizer(np.array([[1.0, np.nan], [2.0, 1.0]]), np.arange(2), NAMES, from_ns=0, to_ns=2)


@settings(deadline=None)  # it compiles
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
def test_causal_in_any_cut(cuts: list[int]) -> None:
    """Law 1, bit for bit."""
    values = walk(300)
    whole = CausalNormalizer(2, halflife=10).update(values)
    stage = CausalNormalizer(2, halflife=10)
    edges = [0, *sorted(cuts), 300]
    parts = [stage.update(values[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_causal_is_the_past_without_the_value_itself() -> None:
    """The same as pandas' exponentially weighted mean and deviation, shifted by one row."""
    values = walk(400)[:, 1]
    ours = CausalNormalizer(1, halflife=12).update(values[:, None])[:, 0]
    weighted = pd.Series(values).ewm(halflife=12)
    theirs = (values - weighted.mean().shift(1)) / weighted.var(bias=True).shift(1) ** 0.5
    warm = CausalNormalizer(1, halflife=12).warmup
    assert np.isnan(ours[:warm]).all()
    assert np.allclose(ours[warm:], theirs[warm:], rtol=1e-9)


def test_causal_sees_no_future() -> None:
    """Other values after a row leave the rows up to it as they were."""
    values = walk(200)
    before = CausalNormalizer(2, halflife=5).update(values)[:150].copy()
    values[150:] *= -7
    assert CausalNormalizer(2, halflife=5).update(values)[:150].tobytes() == before.tobytes()


def test_causal_holds_its_limit() -> None:
    """A value that leaves where it has always been gives the limit, not infinity; one that stays gives zero."""
    values = np.full((100, 1), 2.0)
    values[90], values[91] = 3.0, -1e300
    out = CausalNormalizer(1, halflife=3, limit=8.0).update(values)[:, 0]
    assert out[89] == 0.0
    assert out[90] == 8.0
    assert out[91] == -8.0


def test_instance_statistics_gate_what_stands_still() -> None:
    """A dead feature passes as it is; the others come out with mean 0 and deviation 1."""
    x_BTF = np.random.default_rng(3).normal(50, 4, size=(3, 20, 2))
    x_BTF[1, :, 0] = 7.0
    mean_B1F, std_B1F, gate_B1F = instance_statistics(x_BTF)
    assert gate_B1F[:, 0, :].tolist() == [[1, 1], [0, 1], [1, 1]]
    out = (1 - gate_B1F) * x_BTF + gate_B1F * (x_BTF - mean_B1F) / std_B1F
    assert (out[1, :, 0] == 7.0).all()
    assert np.allclose(out[0].mean(axis=0), 0)
    assert np.allclose(out[0].std(axis=0), 1)
