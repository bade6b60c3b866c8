"""Regressions: HAR for volatility, ridge for the mean, logistic for the direction."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64
from models.baselines.base import Baseline, State, column_of, least_squares, symmetric_quantiles, weighted_quantiles

_STEPS = 100  # of Newton; a dozen are usual


class Har(Baseline):
    """Log volatility by regression on past log volatilities of a day, a week and a month; no change in the median.

    Args:
        columns: the features that are logarithms of realised volatility, the nearest past first.

    Source: Corsi 2009, "A simple approximate long-memory model of realized volatility", in logarithms.
    """

    name = "har"

    def __init__(self, *, horizons: int, levels: Sequence[float], columns: Sequence[int]) -> None:
        super().__init__(horizons=horizons, levels=levels)
        if not columns:
            raise ConfigError(f"{self.name}: needs a column at least")
        self.columns = tuple(columns)

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        if log_volatility_NH is None or log_volatility_NH.shape != targets_NH.shape:
            raise DataError(f"{self.name}: learns log_volatility_NH; give one for each return")
        x = column_of(self.columns, x_NF, self.name)
        coefficients, scores = [], []
        for column, (known, y, w) in enumerate(self._each(targets_NH, weights_N)):
            told = np.isfinite(log_volatility_NH[known, column])
            if told.sum() <= len(self.columns):
                raise DataError(f"{self.name}: horizon {column} has {int(told.sum())} known volatilities")
            fitted = least_squares(x[known][told], log_volatility_NH[known, column][told], w[told])
            coefficients.append(fitted)
            scores.append(symmetric_quantiles(y / np.exp(fitted[0] + x[known] @ fitted[1:]), w, self.levels))
        return {"coefficients_HC": np.stack(coefficients), "z_HQ": np.stack(scores)}

    def log_volatility(self, x_NF: F64) -> F64:
        """Return the forecast log volatility over each horizon, [N, H]."""
        coefficients = self._state["coefficients_HC"]
        made: F64 = coefficients[:, 0] + column_of(self.columns, x_NF, self.name) @ coefficients[:, 1:].T
        return made

    def _predict(self, x_NF: F64) -> F64:
        made: F64 = np.exp(self.log_volatility(x_NF))[:, :, None] * self._state["z_HQ"]
        return made

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {
            "coefficients_HC": ((self.horizons, 1 + len(self.columns)), np.float64),
            "z_HQ": ((self.horizons, len(self.levels)), np.float64),
        }


class Ridge(Baseline):
    """The mean by regression on all features, and the spread of what it missed.

    Args:
        penalty: of squared coefficients, features and outcomes in units of their deviation; 0.1 shrinks a lone feature
            by a tenth.
    """

    name = "ridge"

    def __init__(self, *, horizons: int, levels: Sequence[float], penalty: float = 0.1) -> None:
        super().__init__(horizons=horizons, levels=levels)
        if not 0 <= penalty <= 1e9:
            raise ConfigError(f"{self.name}: penalty = {penalty} must be 0 to 1e9")
        self.penalty = penalty

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        coefficients, misses = [], []
        for known, y, w in self._each(targets_NH, weights_N):
            fitted = least_squares(x_NF[known], y, w, penalty=self.penalty)
            coefficients.append(fitted)
            misses.append(symmetric_quantiles(y - fitted[0] - x_NF[known] @ fitted[1:], w, self.levels))
        return {"coefficients_HC": np.stack(coefficients), "q_HQ": np.stack(misses)}

    def _predict(self, x_NF: F64) -> F64:
        coefficients = self._state["coefficients_HC"]
        mean_NH = coefficients[:, 0] + x_NF @ coefficients[:, 1:].T
        made: F64 = mean_NH[:, :, None] + self._state["q_HQ"]
        return made

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {
            "coefficients_HC": ((self.horizons, 1 + features), np.float64),
            "q_HQ": ((self.horizons, len(self.levels)), np.float64),
        }


class Logistic(Baseline):
    """The probability of a rise by logistic regression, and what rises and falls looked like.

    A level below the probability of a fall is a quantile of the falls, one above it of the rises, so the median lies on
    the side that is more probable. Returns of zero are neither.

    Args:
        penalty: of squared coefficients, features in units of their deviation, beside the mean cross entropy.
    """

    name = "logistic"
    _grid = 201  # points at which the distribution of rises and of falls is kept

    def __init__(self, *, horizons: int, levels: Sequence[float], penalty: float = 0.01) -> None:
        super().__init__(horizons=horizons, levels=levels)
        if not 1e-9 <= penalty <= 1e9:
            raise ConfigError(f"{self.name}: penalty = {penalty} must be 1e-9 to 1e9, or separable data has no fit")
        self.penalty = penalty

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        levels = (np.arange(self._grid) + 0.5) / self._grid
        coefficients, rises, falls = [], [], []
        for column, (known, y, w) in enumerate(self._each(targets_NH, weights_N)):
            up, down = y > 0, y < 0
            if min(up.sum(), down.sum()) < 10:
                raise DataError(f"{self.name}: horizon {column} has {up.sum()} rises and {down.sum()} falls")
            moved = up | down
            coefficients.append(_newton(x_NF[known][moved], up[moved].astype(np.float64), w[moved], self.penalty))
            rises.append(weighted_quantiles(y[up], w[up], levels))
            falls.append(weighted_quantiles(y[down], w[down], levels))
        return {"coefficients_HC": np.stack(coefficients), "rises_HG": np.stack(rises), "falls_HG": np.stack(falls)}

    def up_probability(self, x_NF: F64) -> F64:
        """Return the probability of a rise, [N, H]."""
        coefficients = self._state["coefficients_HC"]
        return _sigmoid(coefficients[:, 0] + x_NF @ coefficients[:, 1:].T)

    def _predict(self, x_NF: F64) -> F64:
        levels = (np.arange(self._grid) + 0.5) / self._grid
        up_NH, levels_Q = self.up_probability(x_NF), np.array(self.levels)
        made = np.empty((*up_NH.shape, len(levels_Q)))
        for column in range(self.horizons):
            up = np.clip(up_NH[:, column : column + 1], 1e-9, 1 - 1e-9)
            fallen = np.interp(levels_Q / (1 - up), levels, self._state["falls_HG"][column])
            risen = np.interp((levels_Q - (1 - up)) / up, levels, self._state["rises_HG"][column])
            made[:, column] = np.where(levels_Q < 1 - up, fallen, risen)
        return made

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {
            "coefficients_HC": ((self.horizons, 1 + features), np.float64),
            "rises_HG": ((self.horizons, self._grid), np.float64),
            "falls_HG": ((self.horizons, self._grid), np.float64),
        }


def _newton(x_NF: F64, up_N: F64, weights_N: F64, penalty: float) -> F64:
    """Return the coefficients [1 + F] of a penalised logistic regression, the constant without penalty."""
    share = weights_N / weights_N.sum()
    mean_F = share @ x_NF
    spread_F = np.sqrt(share @ (x_NF - mean_F) ** 2)
    used = spread_F > 1e-12 * np.maximum(1.0, np.abs(mean_F))
    z_NC = np.column_stack([np.ones(len(x_NF)), np.where(used, (x_NF - mean_F) / np.where(used, spread_F, 1.0), 0.0)])
    ridge_C = np.concatenate([[0.0], np.full(len(mean_F), penalty)])
    beta_C = np.zeros(len(ridge_C))
    for _ in range(_STEPS):
        up = _sigmoid(z_NC @ beta_C)
        slope_C = z_NC.T @ (share * (up - up_N)) + ridge_C * beta_C
        curve_CC = (z_NC * (share * np.maximum(up * (1 - up), 1e-9))[:, None]).T @ z_NC + np.diag(ridge_C + 1e-12)
        step_C = np.linalg.solve(curve_CC, slope_C)
        # A step of more than a few units of the logit is Newton far from home.
        beta_C = beta_C - step_C * min(1.0, 4.0 / max(1e-300, float(np.abs(step_C).max())))
        if np.abs(step_C).max() < 1e-10:
            break
    slope_F = beta_C[1:] / np.where(used, spread_F, 1.0)
    return np.concatenate([[beta_C[0] - slope_F @ mean_F], slope_F])


def _sigmoid(values: F64) -> F64:
    made: F64 = np.exp(-np.logaddexp(0.0, -values))
    return made
