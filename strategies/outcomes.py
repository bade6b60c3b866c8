"""What a return may turn out to be: weighted values from quantiles, from a mean and a deviation, or of a plain bet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numba import njit

from bot.domain.market import F64, I64

_NORMAL = NormalDist()
# Where a distribution is read: standard normal scores, and the probability that each stands for. Equal steps against
# the normal density integrate smooth functions to 1e-7, and 6 deviations is as far as ruin is looked for.
_SCORES = np.arange(-24, 25) / 4
_WEIGHTS = np.exp(-(_SCORES**2) / 2) / np.exp(-(_SCORES**2) / 2).sum()
for _array in (_SCORES, _WEIGHTS):
    _array.flags.writeable = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcomes:
    """Returns that are possible over a horizon, and how probable each is. Values are NaN where the forecast is.

    A return is a fraction of the price. A forecast's log return is taken for it as it is: the two differ by half the
    square, and counting that would turn a forecast that favours neither side into a wish to be half invested.
    """

    values: F64  # returns, fractions, ascending
    weights: F64  # of the same shape; sums to 1
    up: float  # the probability that the return is above zero
    mean: float
    deviation: float

    @property
    def is_usable(self) -> bool:
        """Return whether it says anything: finite, and not certain of one value."""
        return self.deviation > 0 and self.mean - self.mean == 0 and self.deviation - self.deviation == 0

    @classmethod
    def of_quantiles(cls, levels: Sequence[float], quantiles: Sequence[float] | F64) -> "Outcomes":
        """Return the distribution that has these quantiles.

        Between two levels the quantile is linear in the normal score of the level, and beyond the outermost it goes on
        as between the last two: so any two levels of a normal distribution give back that distribution. Quantiles that
        cross are put into order first.

        Raises:
            ValueError: there are fewer than two levels, they do not ascend within 0 and 1, or the lengths differ.

        Source:
            the reordering: Chernozhukov, Fernandez-Val and Galichon 2010, "Quantile and probability curves without
            crossing".
        """
        places = _places(tuple(levels))
        ordered = np.sort(np.asarray(quantiles, dtype=np.float64))
        if len(ordered) != len(places.scores):
            raise ValueError(f"there are {len(ordered)} quantiles for {len(places.scores)} levels")
        if not np.isfinite(ordered).all():
            return cls(values=np.full(len(_SCORES), np.nan), weights=_WEIGHTS, up=np.nan, mean=np.nan, deviation=np.nan)
        low, high = ordered[places.below], ordered[places.below + 1]
        return cls._make(low + places.share * (high - low), _WEIGHTS, _up(places.scores, ordered.tolist()))

    @classmethod
    def normal(cls, mean: float, deviation: float) -> "Outcomes":
        """Return a normal distribution."""
        return cls.of_quantiles(_ONE_DEVIATION, [mean - deviation, mean, mean + deviation])

    @classmethod
    def bet(cls, *, up: float, gain: float, loss: float) -> "Outcomes":
        """Return a bet that returns `gain` with probability `up`, and else `-loss`; both fractions above zero.

        Raises:
            ValueError: that is no bet.
        """
        if not (0 <= up <= 1 and gain > 0 and loss > 0):
            raise ValueError(f"up must be within 0 and 1, gain and loss above 0, not {up}, {gain}, {loss}")
        return cls._make(np.array([-loss, gain]), np.array([1 - up, up]), up)

    @classmethod
    def _make(cls, values: F64, weights: F64, up: float) -> "Outcomes":
        mean, deviation = _moments(values, weights)
        return cls(values=values, weights=weights, up=up, mean=float(mean), deviation=float(deviation))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Places:
    """How values at `_SCORES` follow from quantiles at some levels."""

    scores: tuple[float, ...]  # of the levels
    below: I64  # the quantile to start from
    share: F64  # how far to go towards the next; below 0 and above 1 beyond the outermost


@lru_cache(maxsize=64)
def _places(levels: tuple[float, ...]) -> _Places:
    if len(levels) < 2 or list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1:
        raise ValueError(f"at least two levels that ascend within 0 and 1 make a distribution, not {levels}")
    scores = np.array([_NORMAL.inv_cdf(level) for level in levels])
    below = (np.searchsorted(scores, _SCORES, side="right") - 1).clip(0, len(scores) - 2)
    share = (_SCORES - scores[below]) / (scores[below + 1] - scores[below])
    return _Places(scores=tuple(scores.tolist()), below=below, share=share)


_ONE_DEVIATION = (_NORMAL.cdf(-1), 0.5, _NORMAL.cdf(1))


@njit(cache=True, nogil=True)
def _moments(values, weights):  # type: ignore[no-untyped-def]
    """Return mean and deviation; of a single value exactly 0, which rounding would not leave."""
    mean = 0.0
    for i in range(values.size):
        mean += weights[i] * values[i]
    variance = 0.0
    if values[0] == values[-1]:
        return mean, variance
    for i in range(values.size):
        variance += weights[i] * (values[i] - mean) ** 2
    return mean, math.sqrt(variance)


def _up(scores: Sequence[float], quantiles: Sequence[float]) -> float:
    """Return the probability above zero: of the normal scores from where the quantiles cross zero."""
    last = len(quantiles) - 2
    below = min(max(sum(quantile <= 0 for quantile in quantiles) - 1, 0), last)
    rise = quantiles[below + 1] - quantiles[below]
    if rise == 0:
        return float(quantiles[below] > 0)
    crossing = scores[below] - quantiles[below] * (scores[below + 1] - scores[below]) / rise
    return _NORMAL.cdf(-crossing)
