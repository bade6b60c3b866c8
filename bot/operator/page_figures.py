"""The columns of a run, thinned to what a chart can show. Shapes: N bars, M points of time, S time scales."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SECOND = 1_000_000_000
MINUTE_NS = 60 * SECOND
INTERVALS_NS = tuple(SECOND * each for each in (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 604800))


def interval_of(span_ns: int, bars: int) -> int:
    """Return the shortest interval at which a span has at most so many bars."""
    return next((each for each in INTERVALS_NS if span_ns <= each * bars), INTERVALS_NS[-1])


def candles(close_ns: I64, ohlcv: tuple[F64, F64, F64, F64, F64], interval_ns: int) -> dict[str, list[Any]]:
    """Return bars folded to an interval: `t` is when each begins, s since the epoch; prices, volume.

    Args:
        close_ns: ascending.
        ohlcv: of the same length.
    """
    if not len(close_ns):
        return {key: [] for key in "tohlcv"}
    open_, high, low, close, volume = ohlcv
    bucket = (close_ns - 1) // interval_ns
    first = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    last = np.append(first[1:], len(bucket)) - 1
    return {
        "t": (bucket[first] * interval_ns // SECOND).tolist(),
        "o": open_[first].tolist(),
        "h": np.maximum.reduceat(high, first).tolist(),
        "l": np.minimum.reduceat(low, first).tolist(),
        "c": close[last].tolist(),
        "v": np.add.reduceat(volume, first).tolist(),
    }


def equity_of(start: float, parts: list[tuple[I64, F64]], points: int) -> dict[str, list[Any]]:
    """Return equity and drawdown of several instruments' profits, at most so many points, the worst ones kept.

    Args:
        start: the cash it began with.
        parts: of each instrument, when each bar closed, and the profit since the start.
    """
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return {"t": [], "equity": [], "drawdown": []}
    times = np.unique(np.concatenate([close_ns for close_ns, _ in parts]))
    total = np.full(len(times), start)
    for close_ns, profit in parts:
        row = np.searchsorted(close_ns, times, side="right") - 1
        total += np.where(row >= 0, profit[np.maximum(row, 0)], 0.0)
    drawdown = 1 - total / np.maximum(np.maximum.accumulate(total), 1e-12)
    chosen = thin(drawdown, points)
    return {
        "t": (times[chosen] // SECOND).tolist(),
        "equity": total[chosen].tolist(),
        "drawdown": (-drawdown[chosen]).tolist(),
    }


def thin(values: F64, points: int) -> I64:
    """Return at most so many row numbers, ascending: of each stretch its greatest value, and the very last row."""
    if len(values) <= points:
        return np.arange(len(values), dtype=np.int64)
    edges = np.linspace(0, len(values) - 1, points, dtype=np.int64)
    rows = [start + int(np.argmax(values[start:end])) for start, end in pairwise(edges)]
    return np.array([*rows, len(values) - 1], dtype=np.int64)


def importance_of(close_ns: I64, weights_NS: F64, points: int) -> dict[str, Any]:
    """Return how much each scale weighed, averaged over at most so many stretches of time."""
    if not len(close_ns) or not weights_NS.shape[1]:
        return {"t": [], "weights": []}
    size = -(-len(close_ns) // points)
    first = np.arange(0, len(close_ns), size)
    counts = np.diff(np.append(first, len(close_ns)))
    mean_MS = np.add.reduceat(np.nan_to_num(weights_NS), first, axis=0) / counts[:, None]
    return {"t": (close_ns[first] // SECOND).tolist(), "weights": mean_MS.T.round(4).tolist()}
