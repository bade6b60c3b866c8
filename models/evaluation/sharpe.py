"""How much of a Sharpe ratio to believe: what skew, length and the number of trials leave of it.

Everything is per bar until `annual`, which uses the bars that were observed in a year of 365 days: a market that never
closes has no 252 of anything, and bars that are missing are not counted. The risk-free rate is zero. Kurtosis is 3 for
a normal distribution.
"""

import math

import msgspec
import numpy as np

from bot.domain.errors import DataError
from bot.domain.market import F64, I64
from models.evaluation.distributions import NORMAL

YEAR_NS = 365 * 86_400_000_000_000
_EULER = 0.5772156649015329
_NO_VARIANCE = 1e-12  # of the largest return: what rounding leaves of equal ones


class SharpeRatio(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed of a series of returns to judge its Sharpe ratio."""

    value: float  # mean over deviation of one bar; NaN without variance
    skew: float
    kurtosis: float
    bars: int
    bars_per_year: float

    @property
    def annual(self) -> float:
        """Return the ratio of a year's returns, if bars were independent."""
        return self.value * math.sqrt(self.bars_per_year)

    @property
    def error(self) -> float:
        """Return the standard error per bar.

        Source: Mertens 2002, "Comments on variance of the IID estimator in Lo (2002)".
        """
        variance = 1 - self.skew * self.value + (self.kurtosis - 1) / 4 * self.value**2
        return math.sqrt(max(variance, 0.0) / (self.bars - 1)) if self.bars > 1 else math.nan


def returns_of(equity: F64) -> F64:
    """Return the simple returns of an equity curve.

    Raises:
        DataError: it has fewer than three points, or it touches zero: no ratio describes an account that was ruined.
    """
    if len(equity) < 3:
        raise DataError(f"an equity curve of {len(equity)} points has no ratio; judge a longer run")
    if not (np.isfinite(equity).all() and (equity > 0).all()):
        raise DataError("the equity is not above zero throughout; the account was ruined, and no ratio describes that")
    return equity[1:] / equity[:-1] - 1


def sharpe_of(returns: F64, ts_ns: I64) -> SharpeRatio:
    """Return the Sharpe ratio of returns earned from each of `ts_ns` to the next: one time more than returns.

    Raises:
        DataError: there are fewer than two returns, or time does not pass.
    """
    if len(ts_ns) != len(returns) + 1:
        raise ValueError("there must be one time more than returns")
    if len(returns) < 2 or not (np.diff(ts_ns) > 0).all():
        raise DataError("a Sharpe ratio needs two returns or more, one after another")
    years = (int(ts_ns[-1]) - int(ts_ns[0])) / YEAR_NS
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    is_flat = deviation <= _NO_VARIANCE * float(np.abs(returns).max())
    value = skew = kurtosis = math.nan
    if not is_flat:
        scaled = (returns - mean) / returns.std()
        value, skew, kurtosis = mean / deviation, float((scaled**3).mean()), float((scaled**4).mean())
    return SharpeRatio(value=value, skew=skew, kurtosis=kurtosis, bars=len(returns), bars_per_year=len(returns) / years)


def probabilistic(ratio: SharpeRatio, *, against: float = 0.0) -> float:
    """Return the probability that the true ratio exceeds `against`, per bar: Φ((SR - SR*) / error).

    Source: Bailey and López de Prado 2012, "The Sharpe ratio efficient frontier", eq. 11.
    """
    error = ratio.error
    return NORMAL.cdf((ratio.value - against) / error) if error > 0 else math.nan


def expected_best(trials: int, deviation: float) -> float:
    """Return the Sharpe ratio that the best of so many trials without any skill is expected to show.

    Args:
        trials: independent ones; counting dependent ones too errs on the safe side.
        deviation: of the trials' ratios around their mean, in the unit of the answer.

    Source:
        Bailey and López de Prado 2014, "The deflated Sharpe ratio", eq. 1.
    """
    if trials < 1 or not deviation >= 0:
        raise ValueError(f"{trials} trials of deviation {deviation} have no best one")
    if trials == 1:
        return 0.0
    first, second = NORMAL.inv_cdf(1 - 1 / trials), NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return deviation * ((1 - _EULER) * first + _EULER * second)


def deflated(ratio: SharpeRatio, *, trials: int, deviation: float | None = None) -> float:
    """Return the probability that a ratio chosen as the best of `trials` is more than luck.

    Args:
        deviation: of the trials' ratios, per bar; None for what ratios without skill vary by chance over so many bars.

    Source:
        Bailey and López de Prado 2014, "The deflated Sharpe ratio", eq. 2.
    """
    chance = 1 / math.sqrt(ratio.bars - 1) if deviation is None else deviation
    return probabilistic(ratio, against=expected_best(trials, chance))


def minimum_bars(ratio: SharpeRatio, *, against: float = 0.0, confidence: float = 0.95) -> float:
    """Return how many bars it takes to tell such a ratio from `against`; infinite if it is no better.

    Source: Bailey and López de Prado 2012, "The Sharpe ratio efficient frontier", eq. 13.
    """
    if not ratio.value > against:
        return math.nan if math.isnan(ratio.value) else math.inf
    variance = 1 - ratio.skew * ratio.value + (ratio.kurtosis - 1) / 4 * ratio.value**2
    return 1 + variance * (NORMAL.inv_cdf(confidence) / (ratio.value - against)) ** 2
