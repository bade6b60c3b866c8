"""The baselines that a model stands beside: fitted to its own training stretch, calibrated on its calibration stretch.

Each is given what the models are given: the newest row of every scale's features, and the stretch to learn from. Each
is calibrated as the models are, so that none loses by a constant: conformal offsets for its quantiles, and for its
volatility the one factor that QLIKE likes best in training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bot.domain.errors import ConfigError
from bot.domain.market import F64, I64
from models.baselines.base import Baseline
from models.baselines.kinds import make
from models.evaluation.conformal import fit_offsets
from models.evaluation.forecast_set import ForecastSet

# Shape letters in this file: N sample, F feature, H horizon, Q level.
ROWS_MAX = 60_000  # of training, for those that learn trees; evenly spaced
_VOLATILITY_LEAST = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Known:
    """All samples of a panel, as the references read them."""

    names: tuple[str, ...]  # of the features, "5m/log_return_1" and so on
    x_NF: F64  # as computed, not normalised
    unit_NH: F64  # what one unit of the first model's answers is: the base that it corrects
    unit_columns: tuple[int, ...]  # the features that the unit is made of, in `names`
    returns_NH: F64
    variance_NH: F64
    train: I64  # rows
    calibration: I64
    judged: I64


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A fitted reference: rows of samples to quantiles of the log return [N, H, Q]."""

    name: str
    quantiles_of: Callable[[I64], F64]


def fit_references(known: Known, levels: Sequence[float], *, kinds: Sequence[str] = ()) -> list[Ready]:
    """Return the fitted references; all that the features allow unless some are named.

    `base` is where every network begins: the quantiles of the training returns in the model's own unit.

    Raises:
        ConfigError: one is named that does not exist, or whose features are missing.
    """
    recipes = _recipes(known)
    unknown = [kind for kind in kinds if kind not in recipes]
    if unknown:
        raise ConfigError(f"baseline {unknown[0]!r}: there is none here; choose of {', '.join(recipes)}")
    return [
        Ready(name=kind, quantiles_of=recipe(known, tuple(levels)))
        for kind, recipe in recipes.items()
        if not kinds or kind in kinds
    ]


def answer(ready: Ready, known: Known, template: ForecastSet, calibration: ForecastSet | None) -> ForecastSet:
    """Return what a reference says at the judged rows, calibrated.

    Args:
        template: any forecast of the judged rows, in their order: it lends times and outcomes.
        calibration: the same of the calibration rows; None leaves the quantiles as they are.
    """
    thinned = known.train[:: max(1, len(known.train) // ROWS_MAX)]
    factor_H = _variance_factor(ready, known, thinned, template)
    said = _set(ready.name, template, ready.quantiles_of(known.judged))
    said = replace(said, deviation_NH=said.volatility_NH * np.sqrt(factor_H))
    if calibration is None:
        return said
    offsets = fit_offsets(_set(ready.name, calibration, ready.quantiles_of(known.calibration)))
    return replace(said, quantiles_NHQ=offsets.apply(said.quantiles_NHQ))


def _set(name: str, template: ForecastSet, quantiles_NHQ: F64) -> ForecastSet:
    return replace(
        template,
        model=name,
        quantiles_NHQ=quantiles_NHQ,
        mean_NH=None,
        up_probability_NH=None,
        deviation_NH=None,
    )


def _variance_factor(ready: Ready, known: Known, rows: I64, template: ForecastSet) -> F64:
    """Return [H], the mean of realised over forecast variance in training: the factor that makes QLIKE least."""
    trained = ForecastSet(
        model=ready.name,
        horizons_ns=template.horizons_ns,
        levels=template.levels,
        start_ns=np.arange(len(rows)),  # no score of this set goes by time
        target_NH=known.returns_NH[rows],
        quantiles_NHQ=ready.quantiles_of(rows),
    )
    made: F64 = np.mean(known.variance_NH[rows] / trained.volatility_NH**2, axis=0)
    return made


Recipe = Callable[[Known, tuple[float, ...]], Callable[[I64], F64]]


def _recipes(known: Known) -> dict[str, Recipe]:
    """Return what can be fitted to these features, by name."""
    scale = known.names[0].partition("/")[0]  # the decisions' own
    ewma = [at for at, name in enumerate(known.names) if name.startswith(f"{scale}/ewma_volatility")]
    returns = [at for at, name in enumerate(known.names) if name.startswith(f"{scale}/log_return")]
    past = known.unit_columns if len(known.unit_columns) > 1 else ()
    made: dict[str, Recipe] = {"naive": _fitted("naive", columns=None), "base": _base}
    if ewma:
        made["ewma"] = _fitted("ewma", columns=ewma[:1], at_least=_VOLATILITY_LEAST)
    if past:
        made["har"] = _fitted("har", columns=past, is_log=True, settings={"columns": tuple(range(len(past)))})
    if returns:
        made["last_sign"] = _fitted("last_sign", columns=returns[:1])
    made["ridge"] = _in_units("ridge")
    made["logistic"] = _in_units("logistic")
    made["lightgbm"] = _in_units("lightgbm", rows_max=ROWS_MAX)
    return made


def _fitted(
    kind: str,
    *,
    columns: Sequence[int] | None,
    is_log: bool = False,
    at_least: float | None = None,
    settings: dict[str, object] | None = None,
) -> Recipe:
    """Return how a baseline is fitted to some of the features, to returns as they are."""

    def recipe(known: Known, levels: tuple[float, ...]) -> Callable[[I64], F64]:
        def x_of(rows: I64) -> F64:
            x_NF: F64 = known.x_NF[rows][:, [0] if columns is None else list(columns)]
            if is_log:
                return np.log(np.maximum(x_NF, _VOLATILITY_LEAST))
            return x_NF if at_least is None else np.maximum(x_NF, at_least)

        made = make(kind, horizons=known.returns_NH.shape[1], levels=levels, **(settings or {}))
        made.fit(
            x_of(known.train), known.returns_NH[known.train], log_volatility_NH=_log_volatility(known, known.train)
        )
        return lambda rows: made.predict(x_of(rows))

    return recipe


def _in_units(kind: str, *, rows_max: int | None = None) -> Recipe:
    """Return how a baseline is fitted to all features, to returns in the models' own units: the networks' own task."""

    def recipe(known: Known, levels: tuple[float, ...]) -> Callable[[I64], F64]:
        rows = known.train if rows_max is None else known.train[:: max(1, len(known.train) // rows_max)]
        made: Baseline = make(kind, horizons=known.returns_NH.shape[1], levels=levels)
        made.fit(known.x_NF[rows], known.returns_NH[rows] / known.unit_NH[rows])
        return lambda asked: made.predict(known.x_NF[asked]) * known.unit_NH[asked][:, :, None]

    return recipe


def _base(known: Known, levels: tuple[float, ...]) -> Callable[[I64], F64]:
    z_NH = (known.returns_NH / known.unit_NH)[known.train]
    z_HQ = np.quantile(z_NH, np.array(levels), axis=0).T
    return lambda rows: known.unit_NH[rows][:, :, None] * z_HQ


def _log_volatility(known: Known, rows: I64) -> F64:
    made: F64 = np.log(known.variance_NH[rows]) / 2
    return made
