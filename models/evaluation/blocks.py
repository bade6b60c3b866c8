"""How long dependence lasts: the block length of a bootstrap and the reach of a Newey-West error.

Two things make neighbouring decisions tell the same story. Their outcomes overlap, which is known: the block is at
least `OVERLAPS` times the overlap. And markets remember, which is estimated from the data by the rule of Politis and
White. The longer of the two counts.

Why four overlaps: the covariance of overlapping sums falls off in a straight line over one overlap, and a block of b
of them captures the share 1 - 1 / (3 b) of the variance. Four leave 8 % of it out, 4 % of an interval's width; one
would leave out a third.
"""

import math

import numpy as np

from bot.domain.market import F64

OVERLAPS = 4
_SHARE_MAX = 8  # blocks that must fit into the data at the least


def block_length(values_T: F64, overlap: int) -> int:
    """Return the block length for a series, at most an eighth of it: what is longer cannot be told from a trend."""
    longest = max(1, len(values_T) // _SHARE_MAX)
    return int(min(longest, max(OVERLAPS * overlap if overlap > 1 else 1, math.ceil(politis_white(values_T)))))


def politis_white(values_T: F64, *, stationary: bool = False) -> float:
    """Return the block length that estimates the variance of a mean best: 1 for noise, more for what lasts.

    For blocks of one length on a circle, or for the stationary bootstrap's mean length. 1 for a constant series.

    Source:
        Politis and White 2004, "Automatic block-length selection for the dependent bootstrap", with the correction of
        Patton, Politis and White 2009.
    """
    count = len(values_T)
    if count < 10 or np.ptp(values_T) == 0:
        return 1.0
    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    reach_max = min(count - 1, math.ceil(math.sqrt(count)) + run)
    covariance = autocovariance(values_T, 2 * reach_max)
    reach = _last_lag(covariance / covariance[0], count, run, reach_max)
    lags = np.arange(1, min(2 * reach, len(covariance) - 1) + 1)
    taper = np.minimum(1.0, 2 * (1 - lags / (2 * max(reach, 1))))
    weighted = taper * covariance[lags]
    density = covariance[0] + 2 * weighted.sum()
    slope = 2 * (lags * weighted).sum()
    if not density > 0:
        return 1.0
    factor = 2.0 if stationary else 4 / 3
    length = (2 * slope**2 / (factor * density**2) * count) ** (1 / 3)
    return float(min(max(1.0, length), math.ceil(min(3 * math.sqrt(count), count / 3))))


def autocovariance(values_T: F64, lags: int) -> F64:
    """Return the autocovariances of lag 0 to `lags`, divided by the length whatever the lag."""
    count = len(values_T)
    centred = values_T - values_T.mean()
    size = 1 << (2 * count - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    return np.asarray(np.fft.irfft(power, size)[: min(lags, count - 1) + 1] / count)


def newey_west(values_T: F64, block: int) -> float:
    """Return the standard error of the mean of a series that depends on itself over less than `block` steps.

    The weights fall in a straight line to 0 at `block`; block = 1 is the error of independent values.

    Source: Newey and West 1987, "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent
    covariance matrix".
    """
    if block < 1:
        raise ValueError(f"a block of {block} steps is none")
    covariance = autocovariance(values_T, block - 1)
    weights = 1 - np.arange(len(covariance)) / block
    variance = 2 * float(weights @ covariance) - float(covariance[0])
    return math.sqrt(max(variance, 0.0) / len(values_T))


def _last_lag(correlation: F64, count: int, run: int, reach_max: int) -> int:
    """Return the lag after which `run` correlations in a row are no larger than chance."""
    bound = 2 * math.sqrt(math.log10(count) / count)
    is_small = np.abs(correlation[1 : reach_max + 1]) < bound
    quiet = np.convolve(is_small, np.ones(run), mode="valid") == run
    if quiet.any():
        return int(np.argmax(quiet))
    loud = np.flatnonzero(~is_small)
    return int(loud[-1]) + 1 if len(loud) else 0
