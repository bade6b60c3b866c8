"""Plain tools for the second opinion on features: windows laid out as a whole, and pandas' recursive means.

What is made of an unknown value, NaN, is unknown.
"""

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def ago(x: F64, bars: int) -> F64:
    """Return the values of so many bars ago."""
    return np.concatenate([np.full(bars, np.nan), x])[: len(x)]


def windows(x: F64, bars: int) -> F64:
    """Return [rows, bars]: for every row the last bars, the oldest first, NaN before the first."""
    return sliding_window_view(np.concatenate([np.full(bars - 1, np.nan), x]), bars)


def average(x: F64, bars: int) -> F64:
    """Return the simple mean of the last bars."""
    mean: F64 = windows(x, bars).mean(axis=1)
    return mean


def spread_of(x: F64, bars: int) -> F64:
    """Return the deviation of the last bars, one degree of freedom off."""
    deviation: F64 = windows(x, bars).std(axis=1, ddof=1)
    return deviation


def recursive_mean(x: F64, alpha: float) -> F64:
    """Return the mean of all values so far, weights falling by 1 - alpha; hidden while the start still counts."""
    needed, left = 0, 1.0  # what would have come before the first value weighs `left` of the whole
    while left > 0.01:
        left *= 1.0 - alpha
        needed += 1
    known = ~np.isnan(x)
    mean = pd.Series(x).ewm(alpha=alpha, adjust=True, ignore_na=True).mean().to_numpy(dtype=np.float64)
    return np.where(known & (known.cumsum() >= needed), mean, np.nan)


def by_span(x: F64, span: int) -> F64:
    """Return the recursive mean of a span, as charts call it."""
    return recursive_mean(x, 2.0 / (span + 1))


def log_ratio(x: F64, y: F64) -> F64:
    """Return ln(x / y), exactly also where they are nearly equal."""
    return np.log1p((x - y) / y)


def where_zero(y: F64, instead: float, otherwise: F64) -> F64:
    """Return `instead` where y is zero."""
    return np.where(y == 0.0, instead, otherwise)


def has_moved(returns: F64, bars: int) -> NDArray[np.bool_]:
    """Return whether a return of the window is not zero; True where they are not known."""
    moved: NDArray[np.bool_] = (windows(returns, bars) != 0.0).any(axis=1)
    return moved
