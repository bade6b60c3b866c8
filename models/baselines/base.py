"""What fitted baselines share: one interface, checked arrays in and out, and quantiles that do not cross.

    model = Har(horizons=2, levels=LEVELS, columns=(0, 1, 2))
    model.fit(x_NF, returns_NH, weights_N, log_volatility_NH=...)
    model.predict(x_NF)                        # [N, H, Q]
    Har(horizons=2, ...).load(model.state())   # arrays by name: no pickle

Everything is exact about what it was fitted on: give it the training range, and nothing else.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bot.core.offsets import check_levels
from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64

# Shape letters in this package: N decision, F feature, H horizon, Q quantile level.

ROWS_MIN = 30  # decisions with a known outcome that a horizon needs to be fitted
State = dict[str, NDArray[Any]]


class Baseline:
    """The base.

    Args:
        horizons: H, how many.
        levels: of the quantiles, ascending within (0, 1).

    Attributes:
        name: what tables call it.
        features: how many columns `x` had when it was fitted; None before.
    """

    name = ""

    def __init__(self, *, horizons: int, levels: Sequence[float]) -> None:
        try:
            check_levels(tuple(levels))
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}") from error
        if not 1 <= horizons <= 64:
            raise ConfigError(f"{self.name}: {horizons} horizons; there are 1 to 64")
        self.horizons, self.levels = horizons, tuple(float(level) for level in levels)
        self.features: int | None = None
        self._state: State = {}

    def fit(
        self, x_NF: F64, targets_NH: F64, weights_N: F64 | None = None, *, log_volatility_NH: F64 | None = None
    ) -> Self:
        """Learn from decisions; a target that is NaN is left out, horizon by horizon.

        Args:
            targets_NH: log return over each horizon.
            weights_N: what each decision counts for; None: all alike.
            log_volatility_NH: log of the realised deviation over each horizon, for those who learn it.

        Raises:
            DataError: shapes disagree, a feature or weight is no number, or a horizon has too few outcomes.
        """
        weights = np.ones(len(x_NF)) if weights_N is None else np.asarray(weights_N, dtype=np.float64)
        self._check_inputs(x_NF)
        if targets_NH.shape != (len(x_NF), self.horizons) or weights.shape != (len(x_NF),):
            raise DataError(
                f"{self.name}: targets {targets_NH.shape} and weights {weights.shape} for {len(x_NF)} decisions of "
                f"{self.horizons} horizons"
            )
        if np.isinf(targets_NH).any():
            raise DataError(f"{self.name}: a target is infinite; NaN says that one is not known")
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise DataError(f"{self.name}: a weight is negative, NaN or infinite")
        counted = (np.isfinite(targets_NH) & (weights > 0)[:, None]).sum(axis=0)
        if counted.min() < ROWS_MIN:
            raise DataError(
                f"{self.name}: horizon {int(counted.argmin())} has {int(counted.min())} known outcomes; {ROWS_MIN} are "
                "needed"
            )
        self._state = self._fit(np.asarray(x_NF, dtype=np.float64), targets_NH, weights, log_volatility_NH)
        self.features = x_NF.shape[1]
        return self

    def predict(self, x_NF: F64) -> F64:
        """Return quantiles of the log return [N, H, Q], ascending in Q.

        Raises:
            DataError: it is not fitted, or the features are others.
        """
        if self.features is None:
            raise DataError(f"{self.name}: is not fitted; call fit or load first")
        self._check_inputs(x_NF)
        if x_NF.shape[1] != self.features:
            raise DataError(f"{self.name}: was fitted on {self.features} features, and these are {x_NF.shape[1]}")
        made = self._predict(np.asarray(x_NF, dtype=np.float64))
        return np.maximum.accumulate(made, axis=2)

    def state(self) -> State:
        """Return all that was learned, as arrays by name.

        Raises:
            DataError: nothing was.
        """
        if self.features is None:
            raise DataError(f"{self.name}: is not fitted, so there is nothing to keep")
        about = {"levels": np.array(self.levels), "features": np.array([self.features], dtype=np.int64)}
        return about | {name: array.copy() for name, array in self._state.items()}

    def load(self, state: Mapping[str, NDArray[Any]]) -> Self:
        """Take what another of the same kind and settings has learned.

        Raises:
            DataError: the arrays are not what this kind keeps; the message names the first that is not.
        """
        told = dict(state)
        levels, features = told.pop("levels", None), told.pop("features", None)
        if levels is None or features is None or not np.array_equal(levels, self.levels):
            raise DataError(f"{self.name}: the state is of other levels than {list(self.levels)}")
        if features.shape != (1,) or features.dtype != np.int64 or not 0 < int(features[0]) < 1 << 16:
            raise DataError(f"{self.name}: the state says {features!r} features")
        shapes = self._shapes(int(features[0]))
        if told.keys() != shapes.keys():
            raise DataError(f"{self.name}: the state has {sorted(told)}, and {sorted(shapes)} are needed")
        for name, (shape, dtype) in shapes.items():
            array = told[name]
            if len(array.shape) != len(shape) or array.dtype != dtype:
                raise DataError(f"{self.name}: {name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}")
            if any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
                raise DataError(f"{self.name}: {name} is of shape {array.shape}, not {shape}")
            if dtype == np.float64 and not np.isfinite(array).all():
                raise DataError(f"{self.name}: {name} holds NaN or an infinity")
        self._accept(told)
        self._state = {name: array.copy() for name, array in told.items()}
        self.features = int(features[0])
        return self

    def _check_inputs(self, x_NF: F64) -> None:
        if x_NF.ndim != 2 or x_NF.shape[1] == 0:
            raise DataError(f"{self.name}: features are [N, F]; got {list(x_NF.shape)}")
        if not np.isfinite(x_NF).all():
            row = int(np.argmin(np.isfinite(x_NF).all(axis=1)))
            raise DataError(f"{self.name}: a feature of decision {row} is NaN or infinite; leave that decision out")

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        raise NotImplementedError

    def _predict(self, x_NF: F64) -> F64:
        raise NotImplementedError

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Return shape (-1: any length) and dtype of every array of the state."""
        raise NotImplementedError

    def _accept(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Check more than shapes, and take what is not an array."""

    def _each(self, targets_NH: F64, weights_N: F64) -> list[tuple[NDArray[np.bool_], F64, F64]]:
        """Return for each horizon where its outcome is known, those outcomes and their weights."""
        found = []
        for y_N in targets_NH.T:
            known = np.isfinite(y_N) & (weights_N > 0)
            found.append((known, y_N[known], weights_N[known]))
        return found


def weighted_quantiles(y_N: F64, weights_N: F64, levels: Sequence[float] | F64) -> F64:
    """Return quantiles of a weighted sample, linear between its values: [Q].

    Value i of the sorted sample stands at the middle of its weight; with equal weights that is level (i - 1/2) / n,
    Hazen's rule. Beyond the outermost values these are returned.
    """
    order = np.argsort(y_N, kind="stable")
    weights = weights_N[order]
    middle = (np.cumsum(weights) - weights / 2) / weights.sum()
    made: F64 = np.interp(np.asarray(levels), middle, y_N[order])
    return made


def symmetric_quantiles(y_N: F64, weights_N: F64, levels: Sequence[float]) -> F64:
    """Return quantiles of the sample and its mirror image together, whose median is zero."""
    return weighted_quantiles(np.concatenate([y_N, -y_N]), np.concatenate([weights_N, weights_N]), levels)


def column_of(columns: Sequence[int], x_NF: F64, name: str) -> F64:
    """Return some columns of the features.

    Raises:
        DataError: there are fewer.
    """
    if max(columns) >= x_NF.shape[1] or min(columns) < 0:
        raise DataError(f"{name}: reads columns {list(columns)}, and there are {x_NF.shape[1]}")
    return x_NF[:, list(columns)]


def least_squares(x_NF: F64, y_N: F64, weights_N: F64, *, penalty: float = 0.0) -> F64:
    """Return the coefficients [1 + F] of a weighted ridge regression, the constant first and without penalty.

    Args:
        penalty: of the squared coefficients of features in units of their deviation, beside the mean squared error.
    """
    share = weights_N / weights_N.sum()
    mean_F = share @ x_NF
    spread_F = np.sqrt(share @ (x_NF - mean_F) ** 2)
    used = spread_F > 1e-12 * np.maximum(1.0, np.abs(mean_F))  # a constant column is the constant's
    z_NF = np.where(used, (x_NF - mean_F) / np.where(used, spread_F, 1.0), 0.0)
    mean = float(share @ y_N)
    matrix = (z_NF * share[:, None]).T @ z_NF + (penalty + 1e-12) * np.eye(len(mean_F))
    slope_F = np.linalg.solve(matrix, (z_NF * share[:, None]).T @ (y_N - mean)) / np.where(used, spread_F, 1.0)
    return np.concatenate([[mean - math.fsum(slope_F * mean_F)], slope_F])
