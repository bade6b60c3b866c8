"""Forecast sets for the tests of evaluation."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bot.domain.market import F64
from models.evaluation.forecast_set import ForecastSet
from tests.support.training import HOUR, START

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def normal_quantiles(mean: ArrayLike, deviation: ArrayLike, levels: Sequence[float] = LEVELS) -> F64:
    """Return [N, Q]: the quantiles of normal distributions."""
    scores = np.array([NormalDist().inv_cdf(level) for level in levels])
    centre, width = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(deviation, dtype=np.float64))
    out: F64 = centre[:, None] + width[:, None] * scores
    return out


def set_of(
    target: ArrayLike,
    quantiles_NQ: ArrayLike,
    *,
    model: str = "model",
    horizon_ns: int = HOUR,
    every_ns: int | None = None,
    levels: Sequence[float] = LEVELS,
    **columns: Any,
) -> ForecastSet:
    """Return forecasts of one horizon, decided every horizon (nothing overlaps) or more often; columns are [N]."""
    y = np.asarray(target, dtype=np.float64)
    return ForecastSet(
        model=model,
        horizons_ns=(horizon_ns,),
        levels=tuple(levels),
        start_ns=START + np.arange(len(y)) * (every_ns or horizon_ns),
        target_NH=y[:, None],
        quantiles_NHQ=np.asarray(quantiles_NQ, dtype=np.float64)[:, None, :],
        **{name: np.asarray(value)[:, None] if name.endswith("_NH") else value for name, value in columns.items()},
    )
