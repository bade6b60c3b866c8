"""Losses of single forecasts: what each decision adds to a score. Lower is better.

Every function takes columns of decisions and returns one value each; means, intervals and comparisons are made of those
in `models.evaluation.bootstrap`. Units: pinball, CRPS, interval score and width are log returns, as the outcomes are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bot.domain.market import F64

# Shape letters in this file: N decision, Q quantile level.


def pinball(y_N: F64, quantiles_NQ: F64, levels: Sequence[float]) -> F64:
    """Return the pinball loss of each quantile: [N, Q].

    Source: Koenker and Bassett 1978, "Regression quantiles".
    """
    miss_NQ = y_N[:, None] - quantiles_NQ
    levels_Q = np.array(levels)
    return np.maximum(levels_Q * miss_NQ, (levels_Q - 1) * miss_NQ)


def crps(y_N: F64, quantiles_NQ: F64, levels: Sequence[float]) -> F64:
    """Return the continuous ranked probability score, read at the given levels: [N].

    CRPS is twice the integral of the pinball loss over all levels; here each level stands for the levels nearer to it
    than to another one. For the levels (i - 1/2) / Q that is exactly the CRPS of Q equally likely values (Bröcker
    2012). With few levels it is coarse, but a proper score all the same.

    Source: Gneiting and Ranjan 2011, "Comparing density forecasts using threshold- and quantile-weighted rules".
    """
    return 2 * (pinball(y_N, quantiles_NQ, levels) @ level_weights(levels))


def level_weights(levels: Sequence[float]) -> F64:
    """Return how much of (0, 1) is nearest to each level; sums to 1."""
    levels_Q = np.array(levels)
    edges = np.concatenate([[0.0], (levels_Q[1:] + levels_Q[:-1]) / 2, [1.0]])
    return np.diff(edges)


def interval_score(y_N: F64, low_N: F64, high_N: F64, nominal: float) -> F64:
    """Return the width of each interval, plus 2 / (1 - nominal) times how far the outcome lies outside.

    Source: Winkler 1972, "A decision-theoretic approach to interval estimation".
    """
    outside_N = np.maximum(low_N - y_N, 0.0) + np.maximum(y_N - high_N, 0.0)
    return high_N - low_N + 2 / (1 - nominal) * outside_N


def is_inside(y_N: F64, low_N: F64, high_N: F64) -> NDArray[np.bool_]:
    """Return whether each outcome lies in its interval, bounds included."""
    return (low_N <= y_N) & (y_N <= high_N)


def pit_cell(y_N: F64, quantiles_NQ: F64) -> NDArray[np.int64]:
    """Return between which levels each outcome fell: 0 at or below the lowest quantile, Q above the highest.

    These are the cells of the histogram of the probability integral transform that quantiles can tell apart. If the
    forecasts are calibrated, cell i holds the share levels[i] - levels[i - 1].
    """
    return np.asarray((y_N[:, None] > quantiles_NQ).sum(axis=1))


def has_direction(y_N: F64, dead_band: float) -> NDArray[np.bool_]:
    """Return whether the price went anywhere: by more than the dead band, a log return. A flat bar went nowhere."""
    return np.abs(y_N) > dead_band


def brier(up_N: F64, y_N: F64) -> F64:
    """Return the squared distance of each probability of a rise from what happened, 0 or 1.

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    return (up_N - (y_N > 0)) ** 2


def qlike(variance_N: F64, realised_N: F64) -> F64:
    """Return r - ln r - 1, r realised over forecast variance: 0 where they agree, and mild to a noisy `realised`.

    Of the losses that rank variance forecasts the same by a noisy proxy as by the truth, the one that depends on the
    quotient alone.

    Source: Patton 2011, "Volatility forecast comparison using imperfect volatility proxies".
    """
    quotient_N = realised_N / variance_N
    return quotient_N - np.log(quotient_N) - 1


def ranks(values: F64) -> F64:
    """Return the rank of each value from 1 on; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def equal_bins(values: F64, count: int) -> NDArray[np.int64]:
    """Return a bin number for each value: at most `count` bins of equal numbers of values, equal values together."""
    edges = np.unique(np.quantile(values, np.arange(1, count) / count))
    return np.searchsorted(edges, values, side="left")
