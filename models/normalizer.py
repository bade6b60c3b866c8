"""Features and targets brought to the size that networks learn well: one implementation for training and trading.

Everything here is float32 from the first operation on, element by element, so that a batch of thousands and one live
row give the same bits. What is fitted is fitted on a stated stretch of time, which is written down with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.core.features.normalise import FittedNormalizer, fit_normalizer
from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64, I64

# Shape letters in this file: N row, F feature, H horizon, K volatility column, C coefficient.
F32 = NDArray[np.float32]
Kind = Literal["standard", "robust"]
_VOLATILITY_LEAST = 1e-6  # of a bar's return: below, a market that stands still would make targets explode


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Normalizer:
    """Centre and scale of the features of one time scale; see `fit`.

    Raises:
        DataError: the numbers are not one finite pair for each feature, or a scale is not above zero.
    """

    names: tuple[str, ...]
    center_F: F32
    scale_F: F32
    limit: float  # the greatest absolute result: a market can always do what it never did

    def __post_init__(self) -> None:
        for what, values in (("center", self.center_F), ("scale", self.scale_F)):
            if values.dtype != np.float32 or values.shape != (len(self.names),):
                raise DataError(
                    f"normaliser: {what} is {values.dtype} {list(values.shape)} for {len(self.names)} features"
                )
            if not np.isfinite(values).all():
                raise DataError(f"normaliser: {what} of {self.names[int(np.argmin(np.isfinite(values)))]} is no number")
        if not (self.scale_F > 0).all():
            raise DataError(f"normaliser: scale of {self.names[int(np.argmin(self.scale_F > 0))]} is not above zero")

    def apply(self, values_NF: NDArray[np.floating]) -> F32:
        """Return (x - center) / scale within the limit, float32; NaN stays NaN, an infinity becomes the limit."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled_NF = (np.asarray(values_NF, dtype=np.float32) - self.center_F) / self.scale_F
        limit = np.float32(self.limit)
        made: F32 = np.clip(scaled_NF, -limit, limit)
        return made


def fit(
    parts: Sequence[tuple[NDArray[np.floating], I64]],
    names: Sequence[str],
    *,
    from_ns: int,
    to_ns: int,
    kind: Kind,
    limit: float,
) -> tuple[Normalizer, FittedNormalizer]:
    """Return a normaliser of the rows of all instruments known in [from_ns, to_ns), and the record of its fit.

    Args:
        parts: values [N, F] and times known [N] of each instrument.

    Raises:
        DataError: a feature has too few values in the stretch.
    """
    picked = [(values, (known_ns >= from_ns) & (known_ns < to_ns)) for values, known_ns in parts]
    known = np.concatenate([known_ns[rows] for (_, rows), (_, known_ns) in zip(picked, parts, strict=True)])
    columns = []
    for column, name in enumerate(names):  # one at a time: a copy of a column is small, of a year of minutes it is not
        pooled: F64 = np.concatenate([values[rows, column].astype(np.float64) for values, rows in picked])
        try:
            columns.append(fit_normalizer(pooled[:, None], known, [name], from_ns=from_ns, to_ns=to_ns, kind=kind))
        except ValueError as error:
            raise DataError(f"normaliser: {error}, or leave the feature out") from error
    fitted = FittedNormalizer(
        kind=kind,
        names=tuple(names),
        from_ns=from_ns,
        to_ns=to_ns,
        rows=len(known),
        center=tuple(each.center[0] for each in columns),
        scale=tuple(each.scale[0] for each in columns),
    )
    scale_F = np.maximum(np.array(fitted.scale, dtype=np.float32), np.float32(1e-30))
    made = Normalizer(
        names=fitted.names, center_F=np.array(fitted.center, dtype=np.float32), scale_F=scale_F, limit=limit
    )
    return made, fitted


class TargetUnit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one unit of a network's answer is as a log return: the base that a network corrects.

    "fixed": the deviation of the horizon's returns in training. "volatility": that of returns divided by what was known
    of the volatility at the decision, the one column times sqrt(horizon / bar); then a network need not learn that
    quiet and wild times differ. "blend": a product of powers of several columns, the powers of each horizon fitted in
    training: volatilities of a short, a longer and a long past, as in HAR.

    Raises:
        ValueError: numbers and names do not fit together.
    """

    kind: Literal["fixed", "volatility", "blend"]
    horizons_ns: tuple[int, ...]
    scale: tuple[float, ...]  # [H]
    bar_ns: int  # of the decision bars
    columns: tuple[str, ...] = ()  # features of the decision scale, each a deviation of a bar, in the order of `powers`
    powers: tuple[tuple[float, ...], ...] = ()  # [H][K], of a blend

    def __post_init__(self) -> None:
        counts = {"fixed": (0,), "volatility": (1,), "blend": range(1, 65)}[self.kind]
        if len(self.columns) not in counts or len(self.scale) != len(self.horizons_ns):
            raise ValueError(f"a {self.kind} unit of {len(self.horizons_ns)} horizons, columns {self.columns}")
        shape = [len(self.columns)] * len(self.horizons_ns) if self.kind == "blend" else []
        if [len(each) for each in self.powers] != shape:
            raise ValueError(f"a {self.kind} unit has powers {self.powers} for columns {self.columns}")
        numbers = [*self.scale, *(each for row in self.powers for each in row)]
        if not np.isfinite(numbers).all() or min(self.scale, default=0.0) <= 0:
            raise ValueError("a unit is made of numbers, and its scales are above zero")

    def of(self, volatility_NK: NDArray[np.floating] | None, rows: int) -> F64:
        """Return [N, H], the unit at each decision.

        Args:
            volatility_NK: the columns' values as they are, not normalised; None for the kind "fixed".
        """
        scale_H = np.array(self.scale, dtype=np.float64)
        if self.kind == "fixed":
            return np.broadcast_to(scale_H, (rows, len(scale_H)))
        if volatility_NK is None or volatility_NK.shape != (rows, len(self.columns)):
            raise ValueError(f"the unit needs {rows} rows of {', '.join(self.columns)}")
        bar_NK = np.maximum(np.asarray(volatility_NK, dtype=np.float64), _VOLATILITY_LEAST)
        root_H = np.sqrt(np.array(self.horizons_ns) / self.bar_ns) * scale_H
        if self.kind == "volatility":
            return bar_NK * root_H
        made_NH = np.empty((rows, len(scale_H)))
        log_NK = np.log(bar_NK)
        for column, powers in enumerate(self.powers):
            # Summed column by column: one row and a slab of thousands give the same bits, a matrix product need not.
            total_N = np.zeros(rows)
            for number, power in enumerate(powers):
                total_N += power * log_NK[:, number]
            made_NH[:, column] = np.exp(total_N)
        return made_NH * root_H

    def read(self, names: Sequence[str], values_NF: NDArray[np.floating]) -> F64:
        """Return [N, H], the unit at rows of the decision scale's features as the engine gives them.

        Raises:
            ConfigError: a column is not among the features.
        """
        at = [column_of(names, column) for column in self.columns]
        return self.of(values_NF[:, at] if at else None, len(values_NF))


def fit_unit(
    returns_NH: F64,
    *,
    horizons_ns: Sequence[int],
    bar_ns: int,
    columns: Sequence[str] = (),
    volatility_NK: F64 | None = None,
    variance_NH: F64 | None = None,
) -> TargetUnit:
    """Return the unit that gives training targets the deviation 1 around zero.

    Args:
        columns: none for a fixed unit, one for its own volatility, several for a blend of them.
        variance_NH: realised variances, which the powers of a blend are fitted to.

    Raises:
        ConfigError: the returns never move.
    """
    kind: Literal["fixed", "volatility", "blend"] = ("fixed", "volatility", "blend")[min(len(columns), 2)]
    powers: tuple[tuple[float, ...], ...] = ()
    if kind == "blend":
        if volatility_NK is None or variance_NH is None:
            raise ValueError("a blend is fitted to volatilities and realised variances")
        log_NK = np.log(np.maximum(volatility_NK, _VOLATILITY_LEAST))
        powers = tuple(_fit_powers(log_NK, variance_N) for variance_N in variance_NH.T)
    plain = TargetUnit(
        kind=kind,
        horizons_ns=tuple(horizons_ns),
        scale=(1.0,) * len(horizons_ns),
        bar_ns=bar_ns,
        columns=tuple(columns),
        powers=powers,
    )
    scaled_NH = returns_NH / plain.of(volatility_NK, len(returns_NH))
    scale = np.sqrt(np.mean(scaled_NH**2, axis=0))
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ConfigError("the returns to be learned never move, or are no numbers; choose another range of time")
    return msgspec.structs.replace(plain, scale=tuple(map(float, scale)))


def _fit_powers(log_NK: F64, variance_N: F64) -> tuple[float, ...]:
    """Return the powers p that make exp(c + 2 log p) the best forecast of the variance by quasi-likelihood.

    That is the loss QLIKE, convex in (c, p); Newton's method from the regression of log variances. It is told apart
    from that regression by what it makes of single bars, whose squared return may be next to nothing.

    Source: Patton 2011 for the loss; Corsi 2009 for the regression on volatilities of several pasts.
    """
    mean_K = log_NK.mean(axis=0)
    x_NC = np.column_stack([np.ones(len(log_NK)), log_NK - mean_K])
    # A little towards equal shares: columns that say the same do not take from one another what they then give back.
    share = np.full(x_NC.shape[1], 1 / log_NK.shape[1])
    ridge_C = np.full(x_NC.shape[1], 1e-4)
    share[0], ridge_C[0] = 0.0, 0.0
    beta_C = share.copy()
    beta_C[0] = 0.5 * np.log(np.mean(variance_N * np.exp(-2 * x_NC[:, 1:] @ beta_C[1:])))
    for _ in range(100):
        quotient_N = variance_N * np.exp(-2 * x_NC @ beta_C)
        slope_C = x_NC.T @ (1 - quotient_N) / len(x_NC) + ridge_C * (beta_C - share)
        curve_CC = (x_NC * (2 * quotient_N)[:, None]).T @ x_NC / len(x_NC) + np.diag(ridge_C + 1e-12)
        step_C = np.linalg.solve(curve_CC, slope_C)
        beta_C = beta_C - step_C * min(1.0, 0.5 / max(1e-300, float(np.abs(step_C).max())))
        if np.abs(step_C).max() < 1e-9:
            break
    return tuple(float(each) for each in beta_C[1:])


def column_of(names: Sequence[str], column: str) -> int:
    """Return where a feature stands.

    Raises:
        ConfigError: it is not there.
    """
    if column not in names:
        raise ConfigError(f"the feature {column} is not among {', '.join(names)}; add it to features.use")
    return list(names).index(column)


Normalizers = Mapping[str, Normalizer]
"""By time scale."""
