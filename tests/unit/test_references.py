"""The baselines that models stand beside: fitted and calibrated on the models' own stretches, blind to all else."""

from dataclasses import replace

import numpy as np
import pytest

from bot.domain.errors import ConfigError
from bot.domain.market import F64
from models.evaluation.forecast_set import ForecastSet
from models.evaluation.references import Known, answer, fit_references
from models.evaluation.scores import qlike

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HOUR = 3_600_000_000_000
TRAIN, ASIDE, ROWS = 1500, 2000, 2600


def known(seed: int = 1) -> Known:
    """Return a market of one instrument whose volatility is a product of two that are known."""
    generator = np.random.default_rng(seed)
    log_N2 = generator.normal(-6, 0.5, (ROWS, 2))
    deviation_N: F64 = np.exp(log_N2 @ [0.7, 0.3])
    returns_N = generator.standard_t(5, ROWS) * deviation_N
    x_NF = np.column_stack([generator.normal(0, 1, ROWS), np.exp(log_N2)])
    rows = np.arange(ROWS)
    return Known(
        names=("5m/log_return_1", "5m/ewma_volatility_0_94", "5m/volatility_50"),
        x_NF=x_NF,
        unit_NH=deviation_N[:, None],
        unit_columns=(1, 2),
        returns_NH=returns_N[:, None],
        variance_NH=(deviation_N**2 * generator.chisquare(12, ROWS) / 12)[:, None],
        train=rows[:TRAIN],
        calibration=rows[TRAIN:ASIDE],
        judged=rows[ASIDE:],
    )


def outcomes(told: Known, rows: np.ndarray) -> ForecastSet:
    return ForecastSet(
        model="outcomes",
        horizons_ns=(HOUR,),
        levels=LEVELS,
        start_ns=rows * HOUR,
        target_NH=told.returns_NH[rows],
        quantiles_NHQ=np.zeros((len(rows), 1, len(LEVELS))),
        realised_variance_NH=told.variance_NH[rows],
    )


def answers(told: Known, *kinds: str) -> dict[str, ForecastSet]:
    judged, aside = outcomes(told, told.judged), outcomes(told, told.calibration)
    return {each.name: answer(each, told, judged, aside) for each in fit_references(told, LEVELS, kinds=kinds)}


def test_all_that_the_features_allow_are_fitted() -> None:
    said = answers(known())
    assert list(said) == ["naive", "base", "ewma", "har", "last_sign", "ridge", "logistic", "lightgbm"]
    for each in said.values():
        assert each.quantiles_NHQ.shape == (ROWS - ASIDE, 1, 5)
    without = replace(known(), names=("5m/a", "5m/b", "5m/c"), unit_columns=())
    names = [each.name for each in fit_references(without, LEVELS)]
    assert names == ["naive", "base", "ridge", "logistic", "lightgbm"]


def test_they_are_calibrated_as_models_are() -> None:
    """Intervals hold what they say on later data, and no constant would make the variance better in training."""
    told = known()
    for name, said in answers(told, "naive", "base", "ewma", "har").items():
        inside = (said.quantiles_NHQ[:, 0, 0] <= said.target_NH[:, 0]) & (
            said.target_NH[:, 0] <= said.quantiles_NHQ[:, 0, -1]
        )
        assert abs(inside.mean() - 0.9) < 0.04, name
    har = answers(told, "har")["har"]
    assert har.realised_variance_NH is not None
    losses = [
        qlike(har.volatility_NH[:, 0] ** 2 * factor, har.realised_variance_NH[:, 0]).mean() for factor in (0.8, 1, 1.25)
    ]
    assert losses[1] < min(losses[0], losses[2])


def test_better_ones_are_better() -> None:
    """The truth is a product of two volatilities: what knows both beats what knows one, and that what knows none."""
    said = answers(known(), "naive", "ewma", "har", "base")
    loss = {
        name: qlike(each.volatility_NH[:, 0] ** 2, each.realised_variance_NH[:, 0]).mean()  # type: ignore[index]
        for name, each in said.items()
    }
    assert loss["base"] < loss["ewma"] < loss["naive"]
    assert loss["har"] < loss["ewma"]


@pytest.mark.parametrize("kind", ["naive", "base", "ewma", "har", "ridge", "logistic", "lightgbm"])
def test_none_of_them_knows_an_outcome_that_it_is_judged_on(kind: str) -> None:
    """Features of later rows move no forecast of earlier ones, and outcomes that are judged move none at all."""
    told = known()
    later = told.judged[300:]
    returns_NH, variance_NH, x_NF = told.returns_NH.copy(), told.variance_NH.copy(), told.x_NF.copy()
    returns_NH[told.judged] *= -7
    variance_NH[told.judged] *= 50
    x_NF[later] *= 3
    other = replace(told, returns_NH=returns_NH, variance_NH=variance_NH, x_NF=x_NF)
    first, second = answers(told, kind)[kind], answers(other, kind)[kind]
    np.testing.assert_array_equal(first.quantiles_NHQ[:300], second.quantiles_NHQ[:300])
    np.testing.assert_array_equal(first.volatility_NH[:300], second.volatility_NH[:300])


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(ConfigError, match="'oracle': there is none here; choose of naive, base"):
        fit_references(known(), LEVELS, kinds=["oracle"])
