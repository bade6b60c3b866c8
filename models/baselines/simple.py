"""The baselines that need next to no features: no change, the mean of history, the last sign, scaled volatility."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64
from models.baselines.base import (
    Baseline,
    State,
    column_of,
    symmetric_quantiles,
    weighted_quantiles,
)


class Naive(Baseline):
    """No change: the median is zero, and the spread that of the newest training outcomes, mirrored.

    Args:
        trailing: how many newest decisions the spread is of; None: all.
    """

    name = "naive"

    def __init__(self, *, horizons: int, levels: Sequence[float], trailing: int | None = None) -> None:
        super().__init__(horizons=horizons, levels=levels)
        if trailing is not None and trailing < 100:
            raise ConfigError(f"{self.name}: trailing = {trailing}; a spread needs 100 decisions at least")
        self.trailing = trailing

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        each = self._each(targets_NH, weights_N)
        start = -(self.trailing or len(x_NF))
        return {"q_HQ": np.stack([symmetric_quantiles(y[start:], w[start:], self.levels) for _, y, w in each])}

    def _predict(self, x_NF: F64) -> F64:
        return np.repeat(self._state["q_HQ"][None], len(x_NF), axis=0)

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {"q_HQ": ((self.horizons, len(self.levels)), np.float64)}


class HistoricalMean(Baseline):
    """The mean of all training outcomes, and their spread about it."""

    name = "historical_mean"

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        made = []
        for _, y, w in self._each(targets_NH, weights_N):
            mean = np.average(y, weights=w)
            made.append(mean + symmetric_quantiles(y - mean, w, self.levels))
        return {"q_HQ": np.stack(made)}

    def _predict(self, x_NF: F64) -> F64:
        return np.repeat(self._state["q_HQ"][None], len(x_NF), axis=0)

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {"q_HQ": ((self.horizons, len(self.levels)), np.float64)}


class LastSign(Baseline):
    """The price goes on as it went: the median has the sign of one feature, such as the last return.

    Its size is the mean return in that direction, or next to nothing where the market rather turned: this baseline is
    about the sign, and learns no reversal.

    Args:
        column: which feature.
    """

    name = "last_sign"

    def __init__(self, *, horizons: int, levels: Sequence[float], column: int = 0) -> None:
        super().__init__(horizons=horizons, levels=levels)
        self.column = column

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        sign_N = np.sign(column_of((self.column,), x_NF, self.name)[:, 0])
        size_H, q_HQ = [], []
        for known, y, w in self._each(targets_NH, weights_N):
            least = 1e-4 * float(np.sqrt(np.average(y**2, weights=w)))
            size = max(float(np.average(y * sign_N[known], weights=w)), least)
            size_H.append(size)
            q_HQ.append(symmetric_quantiles(y - size * sign_N[known], w, self.levels))
        return {"size_H": np.array(size_H), "q_HQ": np.stack(q_HQ)}

    def _predict(self, x_NF: F64) -> F64:
        sign_N = np.sign(column_of((self.column,), x_NF, self.name)[:, 0])
        made: F64 = sign_N[:, None, None] * self._state["size_H"][:, None] + self._state["q_HQ"]
        return made

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {"size_H": ((self.horizons,), np.float64), "q_HQ": ((self.horizons, len(self.levels)), np.float64)}


class Ewma(Baseline):
    """No change, in units of a volatility that is a feature, such as the EWMA volatility at the decision.

    The quantiles are those of outcome over volatility, so the tails are the data's own.

    Args:
        column: which feature; above zero.
    """

    name = "ewma"

    def __init__(self, *, horizons: int, levels: Sequence[float], column: int = 0) -> None:
        super().__init__(horizons=horizons, levels=levels)
        self.column = column

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        volatility_N = self._volatility(x_NF)
        each = self._each(targets_NH, weights_N)
        return {"z_HQ": np.stack([symmetric_quantiles(y / volatility_N[k], w, self.levels) for k, y, w in each])}

    def _predict(self, x_NF: F64) -> F64:
        made: F64 = self._volatility(x_NF)[:, None, None] * self._state["z_HQ"]
        return made

    def _volatility(self, x_NF: F64) -> F64:
        found = column_of((self.column,), x_NF, self.name)[:, 0]
        if (found <= 0).any():
            raise DataError(f"{self.name}: column {self.column} is a volatility and must be above 0")
        return found

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {"z_HQ": ((self.horizons, len(self.levels)), np.float64)}


__all__ = ["Ewma", "HistoricalMean", "LastSign", "Naive", "weighted_quantiles"]
