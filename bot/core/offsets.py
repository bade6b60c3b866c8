"""Conformal offsets: by how much each quantile of a forecast is moved so that its intervals hold what they promise.

A quantile q is moved to q + offset * spread, where the spread is the distance between the forecast's own outermost
levels. In units of the spread an offset means the same in quiet and in wild times. The median is never moved:
calibration speaks of how far the price may go, the model of where to. Quantiles that would cross are pushed outward,
away from the median, so that an interval may come out wider than asked for but never narrower.

Source: Romano, Patterson and Candès 2019, "Conformalized quantile regression"; here with scores relative to the spread.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numba import njit

from bot.domain.market import F64

# Shape letters in this file: N forecast, H horizon, Q quantile level.
_HALF = 1e-9  # how near to 0.5 a level is the median


class Offsets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how much each quantile is moved, in spreads of the forecast: the constant part of a calibration.

    Raises:
        ValueError: they are not one finite number for each horizon and level, or the median's is not 0.
    """

    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]  # [H][Q]

    def __post_init__(self) -> None:
        check_levels(self.levels)
        shape = [len(values) for values in self.values]
        if not self.horizons_ns or min(self.horizons_ns) < 0 or shape != [len(self.levels)] * len(self.horizons_ns):
            raise ValueError(f"offsets of shape {shape} are not for {len(self.horizons_ns)} x {len(self.levels)}")
        for values in self.values:
            for level, value in zip(self.levels, values, strict=True):
                if not math.isfinite(value) or (value != 0 and abs(level - 0.5) < _HALF):
                    raise ValueError(f"an offset of {value} is none for the level {level}")

    @classmethod
    def none(cls, horizons_ns: Sequence[int], levels: Sequence[float]) -> "Offsets":
        """Return offsets that move nothing."""
        zeros = (0.0,) * len(levels)
        return cls(horizons_ns=tuple(horizons_ns), levels=tuple(levels), values=(zeros,) * len(horizons_ns))

    def apply(self, quantiles_NHQ: F64) -> F64:
        """Return the quantiles moved, none crossing; a forecast that is no distribution stays as it is.

        Raises:
            ValueError: they are of other horizons or levels.
        """
        if quantiles_NHQ.shape[1:] != (len(self.horizons_ns), len(self.levels)):
            raise ValueError(f"quantiles of shape {quantiles_NHQ.shape} are of other horizons or levels")
        return np.stack(
            [
                _moved(np.ascontiguousarray(quantiles_NHQ[:, h, :]), np.array(self.values[h]), middle_of(self.levels))
                for h in range(len(self.horizons_ns))
            ],
            axis=1,
        )


def check_levels(levels: Sequence[float]) -> None:
    """Raise ValueError unless these are at least two levels that ascend within 0 and 1."""
    if len(levels) < 2 or list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1:
        raise ValueError(f"quantile levels must be at least two and ascend within 0 and 1, not {tuple(levels)}")


def middle_of(levels: Sequence[float]) -> tuple[int, int]:
    """Return how many levels lie below the median, and how many not above it."""
    return sum(level < 0.5 - _HALF for level in levels), sum(level < 0.5 + _HALF for level in levels)


@njit(cache=True, nogil=True)
def push_outward(quantiles, middle):  # type: ignore[no-untyped-def]
    """Put quantiles that cross into order by moving them away from the median, in place."""
    low, high = middle  # the median is at `low` if there is one, and then high = low + 1
    if low == high and 0 < low < quantiles.size and quantiles[low - 1] > quantiles[low]:
        quantiles[low - 1], quantiles[low] = quantiles[low], quantiles[low - 1]
    for q in range(min(high, quantiles.size) - 2, -1, -1):
        quantiles[q] = min(quantiles[q], quantiles[q + 1])
    for q in range(low + 1, quantiles.size):
        quantiles[q] = max(quantiles[q], quantiles[q - 1])


@njit(cache=True, nogil=True)
def _moved(quantiles, offsets, middle):  # type: ignore[no-untyped-def]
    moved = quantiles.copy()
    for n in range(len(quantiles)):
        spread = quantiles[n, -1] - quantiles[n, 0]
        if spread > 0.0 and math.isfinite(spread):
            for q in range(offsets.size):
                moved[n, q] = quantiles[n, q] + offsets[q] * spread
            push_outward(moved[n], middle)
    return moved
