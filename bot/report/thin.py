"""Draw fewer points and lose no extreme: what makes a page of a million bars light."""

from dataclasses import dataclass

import numpy as np

from bot.report.frames import F64, I64, InstrumentTape

_MINUTE_NS = 60_000_000_000
_LADDER_NS = tuple(_MINUTE_NS * minutes for minutes in (1, 5, 15, 30, 60, 120, 240, 480, 720, 1440, 4320, 10080))


@dataclass(frozen=True, kw_only=True, slots=True)
class Candles:
    """Bars folded into longer ones, all of one length."""

    scale_ns: int
    open_ns: I64
    open: F64
    high: F64
    low: F64
    close: F64


def extremes(values: F64, limit: int) -> I64:
    """Return at most `limit` rows, ascending: the first, the last, and the least and greatest of equal stretches."""
    total = len(values)
    if total <= limit:
        return np.arange(total)
    stretches = max((limit - 2) // 2, 1)
    size = -(-total // stretches)
    padded = np.pad(values, (0, -total % size), mode="edge").reshape(-1, size)
    starts = np.arange(len(padded)) * size
    found = np.concatenate([[0, total - 1], starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)])
    return np.unique(np.minimum(found, total - 1))


def stretch_means(values: F64, limit: int) -> tuple[I64, F64]:
    """Return at most `limit` first rows of equal stretches, and the mean of each stretch along the first axis."""
    size = max(-(-len(values) // limit), 1)
    starts = np.arange(0, len(values), size)
    lengths = np.diff(np.append(starts, len(values)))
    means: F64 = np.add.reduceat(values, starts, axis=0) / lengths.reshape(-1, *[1] * (values.ndim - 1))
    return starts, means


def candles(tape: InstrumentTape, limit: int) -> Candles:
    """Fold the bars into at most `limit` candles of the shortest round length that suffices."""
    steps = np.diff(tape.close_ns)
    native_ns = int(steps.min()) if len(steps) else _MINUTE_NS
    scale_ns, starts, keys = native_ns, np.arange(0), tape.close_ns
    for scale_ns in (native_ns, *(scale for scale in _LADDER_NS if scale > native_ns)):
        keys = (tape.close_ns - 1) // scale_ns
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        if len(starts) <= limit:
            break
    return Candles(
        scale_ns=scale_ns,
        open_ns=keys[starts] * scale_ns,
        open=tape.open[starts],
        high=np.maximum.reduceat(tape.high, starts),
        low=np.minimum.reduceat(tape.low, starts),
        close=tape.close[np.append(starts[1:], len(keys)) - 1],
    )
