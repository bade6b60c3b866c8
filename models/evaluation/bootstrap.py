"""Intervals for any statistic that is a function of sums: block bootstrap over time, vectorised.

A statistic names the columns it sums and says what to make of the sums: a mean is one sum over another, a correlation a
function of six. Resampling is then a matter of block sums, which are differences of running sums, and ten thousand
resamples of thirty thousand decisions take seconds. All statistics of one call share their resamples, and rows of one
decision time (several instruments) stay together.

Random numbers are a function of the seed, the resample and the draw alone (SplitMix64), so that a result can be had
again on any machine and a smaller number of resamples is the beginning of a larger one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numba import njit

from bot.domain.market import F64, I64
from models.evaluation.blocks import block_length

# Shape letters in this file: N decision, T decision time, K column, R resample.
Kind = Literal["circular", "moving", "stationary"]
_KINDS: dict[Kind, int] = {"circular": 0, "moving": 1, "stationary": 2}
_BLOCKS_MIN = 8  # fewer tell nothing of how much a statistic varies


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How intervals are made.

    Raises:
        ValueError: a setting is impossible.
    """

    seed: int = 0
    resamples: int = 2_000
    confidence: float = 0.95
    kind: Kind = "circular"
    block: int | None = None  # decision times; None: by `block_length`

    def __post_init__(self) -> None:
        if not (100 <= self.resamples <= 1_000_000 and 0 < self.confidence < 1 and self.kind in _KINDS):
            raise ValueError("resamples must be 100 to 1,000,000, confidence within 0 and 1, kind a known one")
        if self.block is not None and self.block < 1:
            raise ValueError("a block must be at least 1")


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number and how sure it is; NaN (null in JSON) where it cannot be said."""

    value: float
    low: float  # percentile interval
    high: float
    error: float  # standard error
    block: int  # decision times resampled together

    @property
    def is_above_zero(self) -> bool:
        """Return whether the whole interval is."""
        return self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """Return whether the whole interval is."""
        return self.high < 0


@dataclass(frozen=True, slots=True)
class Statistic:
    """A function of the sums of some columns, that does not change if all sums are multiplied by one number."""

    columns: tuple[str, ...]
    of: Callable[..., F64]  # as many arrays of sums as there are columns, to an array of the statistic


def mean(value: str, count: str) -> Statistic:
    """Return the mean of a column over the rows that `count` marks with 1; `value` is 0 elsewhere."""
    return Statistic((value, count), _quotient)


def skill(loss: str, reference: str) -> Statistic:
    """Return 1 - sum(loss) / sum(reference): 0 as good as the reference, above 0 better."""
    return Statistic((loss, reference), lambda own, other: 1 - _quotient(own, other))


def root_ratio(loss: str, reference: str) -> Statistic:
    """Return sqrt(sum(loss) / sum(reference)), such as a quotient of RMSEs."""
    return Statistic((loss, reference), lambda own, other: np.sqrt(_quotient(own, other)))


def correlation(count: str, x: str, y: str, xx: str, yy: str, xy: str) -> Statistic:
    """Return Pearson's correlation from its sums; centre x and y first, so that they do not cancel."""

    def of(n: F64, sx: F64, sy: F64, sxx: F64, syy: F64, sxy: F64) -> F64:
        return _quotient(n * sxy - sx * sy, np.sqrt(np.maximum((n * sxx - sx**2) * (n * syy - sy**2), 0.0)))

    return Statistic((count, x, y, xx, yy, xy), of)


def estimate(
    statistics: Mapping[str, Statistic], columns: Mapping[str, F64], time_N: I64, *, overlap: int, sampling: Sampling
) -> dict[str, Estimate]:
    """Return each statistic with its interval.

    Args:
        columns: [N] each, finite; rows that do not count are 0.
        time_N: decision times, ascending; the unit of resampling is one of them with all its rows.
        overlap: decision times whose outcomes overlap.
        sampling: where it names no block, each statistic has its own: how long it remembers differs a lot.
    """
    names = tuple(columns)
    sums_TK = per_time(np.column_stack([columns[name] for name in names]), time_N)
    total_1K = sums_TK.sum(axis=0, keepdims=True)
    by_block: dict[int, list[str]] = {}
    for name, each in statistics.items():
        block = sampling.block or _coarse(block_length(influence(each, names, sums_TK), overlap), len(sums_TK))
        by_block.setdefault(block, []).append(name)
    made = {}
    for block, group in by_block.items():
        used = [at for at, name in enumerate(names) if any(name in statistics[each].columns for each in group)]
        resampled_RK = np.full((1, len(names)), np.nan)
        if len(sums_TK) >= _BLOCKS_MIN * block:
            resampled_RK = np.full((sampling.resamples, len(names)), np.nan)
            resampled_RK[:, used] = resample(sums_TK[:, used], block, sampling)
        for name in group:
            value_1, value_R = (_apply(statistics[name], names, sums) for sums in (total_1K, resampled_RK))
            made[name] = _estimate(value_1, value_R, sampling.confidence, block)
    return {name: made[name] for name in statistics}


def _coarse(block: int, times: int) -> int:
    """Round up to the next power of the root of two: few lengths are resampled, none shorter than asked for."""
    return min(math.ceil(2 ** (math.ceil(2 * math.log2(block)) / 2)), max(1, times // _BLOCKS_MIN))


def resample(sums_TK: F64, block: int, sampling: Sampling) -> F64:
    """Return the column sums of each resample: [R, K].

    Sources:
        moving blocks: Künsch 1989; circular: Politis and Romano 1992; stationary, with blocks of geometric length and
        mean `block`: Politis and Romano 1994.
    """
    # Row by row in memory: a block's end is one place to look at, not one per column.
    running = np.zeros((len(sums_TK) + 1, sums_TK.shape[1]))
    np.cumsum(sums_TK, axis=0, out=running[1:])
    seed = np.uint64(sampling.seed & 0xFFFF_FFFF_FFFF_FFFF)
    out: F64 = _resample(running, min(block, len(sums_TK)), _KINDS[sampling.kind], sampling.resamples, seed)
    return out


def per_time(columns_NK: F64, time_N: I64) -> F64:
    """Return the sums over the rows of each decision time: [T, K]."""
    first = np.flatnonzero(np.diff(time_N, prepend=time_N[0] - 1))
    return columns_NK if len(first) == len(time_N) else np.add.reduceat(columns_NK, first, axis=0)


def influence(statistic: Statistic, names: Sequence[str], sums_TK: F64) -> F64:
    """Return how much each decision time moves a statistic: [T], of mean 0; its mean's error is the statistic's.

    The derivative with respect to the mean sums, by central differences.
    """
    used = sums_TK[:, [names.index(name) for name in statistic.columns]]
    centre = used.mean(axis=0)
    step = 1e-4 * np.where((deviation := used.std(axis=0)) > 0, deviation, 1.0)
    ahead, behind = centre + np.diag(step), centre - np.diag(step)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (statistic.of(*ahead.T) - statistic.of(*behind.T)) / (2 * step)
    return np.asarray((used - centre) @ np.where(np.isfinite(slope), slope, 0.0))


def _apply(statistic: Statistic, names: Sequence[str], sums_RK: F64) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistic.of(*(sums_RK[:, names.index(name)] for name in statistic.columns))


def _estimate(value_1: F64, resampled_R: F64, confidence: float, block: int) -> Estimate:
    value = float(value_1[0])
    finite = resampled_R[np.isfinite(resampled_R)]
    # A statistic that a hundredth of the resamples cannot tell has no interval that means what it says.
    if not math.isfinite(value) or len(finite) < 0.99 * len(resampled_R):
        return Estimate(value=value, low=math.nan, high=math.nan, error=math.nan, block=block)
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=value, low=float(low), high=float(high), error=float(finite.std(ddof=1)), block=block)


def _quotient(numerator: F64, denominator: F64) -> F64:
    return np.where(denominator != 0, numerator / np.where(denominator != 0, denominator, 1.0), np.nan)


@njit(cache=True, nogil=True)
def _mix(word):  # type: ignore[no-untyped-def]
    """Finalise SplitMix64 (Steele, Lea and Flood 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@njit(cache=True, nogil=True)
def _resample(running, block, kind, resamples, seed):  # type: ignore[no-untyped-def]
    count, width = running.shape[0] - 1, running.shape[1]
    golden = np.uint64(0x9E3779B97F4A7C15)
    out = np.zeros((resamples, width))
    starts = count - block + 1 if kind == 1 else count
    for r in range(resamples):
        state = _mix(_mix(seed + golden) + np.uint64(r) * golden)
        filled = 0
        while filled < count:
            state += golden
            start = int(np.float64(_mix(state) >> np.uint64(11)) / 9007199254740992.0 * starts)
            length = block
            if kind == 2 and block > 1:
                state += golden
                unit = np.float64(_mix(state) >> np.uint64(11)) / 9007199254740992.0
                length = 1 + int(math.log1p(-unit) / math.log1p(-1.0 / block))
            length = min(length, count - filled)
            stop = start + length
            for k in range(width):
                if stop <= count:
                    out[r, k] += running[stop, k] - running[start, k]
                else:  # round the circle
                    out[r, k] += running[count, k] - running[start, k] + running[stop - count, k]
            filled += length
    return out
