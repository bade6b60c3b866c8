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

# Shape letters in this file: N row, F feature, H horizon.
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
    """What one unit of a network's answer is as a log return.

    "fixed": the deviation of the horizon's returns in training. "volatility": that of returns divided by what was known
    of the volatility at the decision, `column` times sqrt(horizon / bar); then a network need not learn that quiet and
    wild times differ.
    """

    kind: Literal["fixed", "volatility"]
    horizons_ns: tuple[int, ...]
    scale: tuple[float, ...]  # [H]
    bar_ns: int  # of the decision bars
    column: str | None = None  # the feature of the decision scale that tells a bar's deviation

    def of(self, volatility_N: NDArray[np.floating] | None, rows: int) -> F64:
        """Return [N, H], the unit at each decision.

        Args:
            volatility_N: the column's values as they are, not normalised; None for the kind "fixed".
        """
        scale_H = np.array(self.scale, dtype=np.float64)
        if self.kind == "fixed":
            return np.broadcast_to(scale_H, (rows, len(scale_H)))
        if volatility_N is None:
            raise ValueError(f"the unit needs the feature {self.column}")
        bar_N = np.maximum(np.asarray(volatility_N, dtype=np.float64), _VOLATILITY_LEAST)
        return bar_N[:, None] * np.sqrt(np.array(self.horizons_ns) / self.bar_ns) * scale_H


def fit_unit(
    returns_NH: F64,
    *,
    horizons_ns: Sequence[int],
    bar_ns: int,
    column: str | None,
    volatility_N: F64 | None,
) -> TargetUnit:
    """Return the unit that gives training targets the deviation 1 around zero; with a column, of kind "volatility".

    Raises:
        ConfigError: the returns never move.
    """
    kind: Literal["fixed", "volatility"] = "fixed" if column is None else "volatility"
    plain = TargetUnit(
        kind=kind, horizons_ns=tuple(horizons_ns), scale=(1.0,) * len(horizons_ns), bar_ns=bar_ns, column=column
    )
    scaled_NH = returns_NH / plain.of(volatility_N, len(returns_NH))
    scale = np.sqrt(np.mean(scaled_NH**2, axis=0))
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ConfigError("the returns to be learned never move, or are no numbers; choose another range of time")
    return msgspec.structs.replace(plain, scale=tuple(map(float, scale)))


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
