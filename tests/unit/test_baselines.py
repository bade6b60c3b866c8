"""Fitted baselines recover what is in synthetic data, keep it as arrays, and refuse what they cannot use."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64
from models.baselines.base import Baseline, least_squares, symmetric_quantiles, weighted_quantiles
from models.baselines.boosted import LightGbm
from models.baselines.kinds import KINDS, make
from models.baselines.linear import Har, Logistic, Ridge
from models.baselines.simple import Ewma, HistoricalMean, LastSign, Naive

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SCORES = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
SETTINGS: dict[str, dict[str, Any]] = {"har": {"columns": (1, 2)}, "ewma": {"column": 3}, "lightgbm": {"trees": 5}}


def _data(rows: int = 4000, seed: int = 0) -> tuple[F64, F64, F64]:
    """Return features [N, 4] (the last above zero), returns [N, 2] and log volatilities [N, 2]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    log_volatility = np.column_stack([-5 + 0.6 * x[:, 1] + 0.3 * x[:, 2], -4 + 0.2 * x[:, 1]])
    x[:, 3] = np.exp(log_volatility[:, 0])
    y = 0.001 * x[:, :1] + np.exp(log_volatility) * rng.normal(size=(rows, 2))
    return x, y, log_volatility


def _fitted(name: str, **data: Any) -> Baseline:
    x, y, log_volatility = _data(**data)
    model = make(name, horizons=2, levels=LEVELS, **SETTINGS.get(name, {}))
    return model.fit(x, y, log_volatility_NH=log_volatility)


@pytest.mark.parametrize("name", KINDS)
def test_quantiles_are_finite_and_never_cross(name: str) -> None:
    """Also far outside what was fitted."""
    x = _data(rows=300, seed=1)[0]
    x[:, :3] *= 5
    made = _fitted(name).predict(x)
    assert made.shape == (300, 2, len(LEVELS))
    assert np.isfinite(made).all()
    assert (np.diff(made, axis=2) >= 0).all()


@pytest.mark.parametrize("name", KINDS)
def test_what_was_learned_travels_as_arrays(name: str) -> None:
    """Another object with the same settings answers the same to the bit, and a damaged state is refused."""
    x, model = _data(rows=200, seed=2)[0], _fitted(name, rows=1000)
    state = model.state()
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in state.values())
    other = make(name, horizons=2, levels=LEVELS, **SETTINGS.get(name, {}))
    np.testing.assert_array_equal(other.load(state).predict(x), model.predict(x))
    first = next(key for key in state if key not in ("levels", "features"))
    for damaged in (
        {key: array for key, array in state.items() if key != first},
        state | {"more": np.zeros(1)},
        state | {first: state[first][:-1]},
        state | {first: state[first].astype(np.float32)},
        state | {"levels": np.array([0.1, 0.5])},
        state | {"features": np.array([1.5])},
    ):
        with pytest.raises(DataError):
            make(name, horizons=2, levels=LEVELS, **SETTINGS.get(name, {})).load(damaged)


@pytest.mark.parametrize("name", KINDS)
def test_unknown_targets_and_weightless_decisions_teach_nothing(name: str) -> None:
    """A fit with NaN outcomes and weights of zero is the fit without them."""
    x, y, log_volatility = _data(rows=1000)
    weights = np.ones(1000)
    weights[::3] = 0.0
    kept = weights > 0
    y[::3] = 1e3
    left = make(name, horizons=2, levels=LEVELS, **SETTINGS.get(name, {}))
    right = make(name, horizons=2, levels=LEVELS, **SETTINGS.get(name, {}))
    left.fit(x, y, weights, log_volatility_NH=log_volatility)
    right.fit(x[kept], y[kept], log_volatility_NH=log_volatility[kept])
    np.testing.assert_allclose(left.predict(x[:50]), right.predict(x[:50]), rtol=1e-9)
    y[::3] = np.nan
    left.fit(x, y, log_volatility_NH=log_volatility)
    np.testing.assert_allclose(left.predict(x[:50]), right.predict(x[:50]), rtol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_what_cannot_be_used_is_refused_by_name(name: str) -> None:
    x, y, log_volatility = _data(rows=200)
    model = make(name, horizons=2, levels=LEVELS, **SETTINGS.get(name, {}))
    with pytest.raises(DataError, match=f"{name}: is not fitted"):
        model.predict(x)
    with pytest.raises(DataError, match="nothing to keep"):
        model.state()
    with pytest.raises(DataError, match="targets"):
        model.fit(x, y[:, :1])
    with pytest.raises(DataError, match="decision 7 is NaN"):
        model.fit(np.where(np.arange(200)[:, None] == 7, np.nan, x), y)
    with pytest.raises(DataError, match="weight"):
        model.fit(x, y, -np.ones(200))
    with pytest.raises(DataError, match="known outcomes"):
        model.fit(x[:20], y[:20])
    model.fit(x, y, log_volatility_NH=log_volatility)
    with pytest.raises(DataError, match="fitted on 4 features"):
        model.predict(x[:, :3])


def test_naive_forecasts_no_change_and_the_spread_of_the_newest() -> None:
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(0, 1, 3000), rng.normal(0.5, 2, 3000)])[:, None]
    x = np.zeros((6000, 1))
    made = Naive(horizons=1, levels=LEVELS, trailing=3000).fit(x, y).predict(x[:1])[0, 0]
    assert made[2] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(made, -made[::-1], atol=1e-12)
    assert made[4] == pytest.approx(np.quantile(np.abs(y[3000:]), 0.9), rel=0.02)


def test_the_historical_mean_is_the_weighted_mean() -> None:
    x, y = np.zeros((100, 1)), np.repeat([[1.0], [4.0]], 50, axis=0)
    weights = np.repeat([1.0, 2.0], 50)
    made = HistoricalMean(horizons=1, levels=LEVELS).fit(x, y, weights).predict(x[:1])[0, 0]
    assert made[2] == pytest.approx(3.0)


def test_last_sign_goes_on_as_it_went_and_learns_no_reversal() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 1))
    for drift, size in ((0.3, 0.3), (-0.3, None)):
        y = drift * np.sign(x) + rng.normal(size=(5000, 1))
        median = LastSign(horizons=1, levels=LEVELS).fit(x, y).predict(np.array([[2.0], [-0.1], [0.0]]))[:, 0, 2]
        assert median[0] > 0 > median[1]
        assert median[2] == pytest.approx(0.0, abs=1e-12)
        assert median[0] == pytest.approx(size, rel=0.15) if size else median[0] < 1e-3


def test_ewma_holds_its_intervals_in_quiet_and_in_wild_times() -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.normal(size=(20_000, 1)))
    y = 3 * x * rng.normal(size=(20_000, 1))
    made = Ewma(horizons=1, levels=LEVELS).fit(x, y).predict(np.array([[0.1], [10.0]]))[:, 0]
    np.testing.assert_allclose(made, np.array([[0.3], [30.0]]) * SCORES, rtol=0.05, atol=0.02 * 30)
    with pytest.raises(DataError, match="above 0"):
        Ewma(horizons=1, levels=LEVELS).fit(x - 1, y)


def test_har_recovers_its_coefficients() -> None:
    x, y, log_volatility = _data()
    model = Har(horizons=2, levels=LEVELS, columns=(1, 2)).fit(x, y, log_volatility_NH=log_volatility)
    np.testing.assert_allclose(model.state()["coefficients_HC"], [[-5, 0.6, 0.3], [-4, 0.2, 0]], atol=1e-8)
    np.testing.assert_allclose(model.log_volatility(x), log_volatility, atol=1e-8)
    with pytest.raises(DataError, match="learns log_volatility_NH"):
        Har(horizons=2, levels=LEVELS, columns=(1,)).fit(x, y)
    with pytest.raises(DataError, match="reads columns"):
        Har(horizons=2, levels=LEVELS, columns=(9,)).fit(x, y, log_volatility_NH=log_volatility)


def test_ridge_recovers_a_line_and_shrinks_it_as_it_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(5000, 3))
    x[:, 2] = 7.0  # a constant column is no trouble
    y = (1 + 0.5 * x[:, :1] - 2 * x[:, 1:2]) + 0.1 * rng.normal(size=(5000, 1))
    line = Ridge(horizons=1, levels=LEVELS, penalty=0.0).fit(x, y)
    np.testing.assert_allclose(line.state()["coefficients_HC"][0], [1, 0.5, -2, 0], atol=0.02)
    np.testing.assert_allclose(line.predict(x[:1])[0, 0] - line.predict(x[:1])[0, 0, 2], 0.1 * SCORES, atol=0.01)
    alone = least_squares(x[:, :1], x[:, 0], np.ones(5000), penalty=1.0)
    assert alone[1] == pytest.approx(0.5)


def test_logistic_recovers_odds_and_its_median_lies_on_the_probable_side() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40_000, 2))
    up = rng.random(40_000) < 1 / (1 + np.exp(-(0.3 + 0.8 * x[:, 0])))
    y = (np.where(up, 1, -1) * np.abs(rng.normal(size=40_000)))[:, None]
    model = Logistic(horizons=1, levels=LEVELS, penalty=1e-6).fit(x, y)
    np.testing.assert_allclose(model.state()["coefficients_HC"][0], [0.3, 0.8, 0.0], atol=0.05)
    told = model.predict(x[:2000])[:, 0]
    probable = model.up_probability(x[:2000])[:, 0] > 0.5
    assert ((told[:, 2] > 0) == probable).mean() > 0.99
    below = (y[:2000] <= told).mean(axis=0)
    np.testing.assert_allclose(below, LEVELS, atol=0.03)


def test_logistic_survives_data_that_a_line_separates() -> None:
    x = np.linspace(-1, 1, 400)[:, None]
    model = Logistic(horizons=1, levels=LEVELS).fit(x, np.where(x > 0, 0.01, -0.01))
    assert np.isfinite(model.predict(100 * x)).all()
    assert model.up_probability(np.array([[1.0]]))[0, 0] > 0.9


def test_lightgbm_finds_a_step_in_the_spread_and_repeats_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(6000, 2))
    y = (np.where(x[:, 0] > 0, 0.03, 0.01) * rng.normal(size=6000))[:, None]
    model = LightGbm(horizons=1, levels=LEVELS, trees=100).fit(x, y)
    made = model.predict(np.array([[-0.5, 0.0], [0.5, 0.0]]))[:, 0]
    np.testing.assert_allclose(made, np.array([[0.01], [0.03]]) * SCORES, atol=0.006)
    again = LightGbm(horizons=1, levels=LEVELS, trees=100).fit(x, y)
    np.testing.assert_array_equal(again.state()["text"], model.state()["text"])


def test_lightgbm_refuses_a_text_that_is_no_tree() -> None:
    state = _fitted("lightgbm", rows=500).state()
    broken = state | {"ends": state["ends"][::-1].copy()}
    with pytest.raises(DataError, match="cut in places"):
        make("lightgbm", horizons=2, levels=LEVELS, trees=5).load(broken)


def test_weighted_quantiles_are_hazens_and_a_weight_is_so_many_copies() -> None:
    y = np.array([3.0, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(weighted_quantiles(y, np.ones(4), (0.125, 0.5, 0.9)), [1, 2.5, 4])
    assert symmetric_quantiles(y, np.ones(4), (0.5,))[0] == pytest.approx(0.0)
    many = weighted_quantiles(np.repeat(y, 1000), np.ones(4000), (0.3,))
    assert weighted_quantiles(np.repeat(y, 500), np.full(2000, 2.0), (0.3,)) == pytest.approx(many)


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(ConfigError, match="there is none; choose of naive"):
        make("magic", horizons=1, levels=LEVELS)
    with pytest.raises(ConfigError, match="colour"):
        make("naive", horizons=1, levels=LEVELS, colour="red")
    for name, settings in (
        ("naive", {"trailing": 5}),
        ("har", {"columns": ()}),
        ("ridge", {"penalty": -1.0}),
        ("logistic", {"penalty": 0.0}),
        ("lightgbm", {"leaves": 1}),
        ("lightgbm", {"rate": 0.0}),
    ):
        with pytest.raises(ConfigError, match=name):
            make(name, horizons=1, levels=LEVELS, **settings)
    with pytest.raises(ConfigError):
        make("naive", horizons=0, levels=LEVELS)
    with pytest.raises(ConfigError):
        make("naive", horizons=1, levels=(0.5, 0.1))
