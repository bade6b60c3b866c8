"""What is joined to closed bars by the time at which it was known, streaming: nothing is seen too early.

Each of these is added to ahead of the bars, and asked for rows of bars that never go back; what no later bar can ask
for is dropped.
"""

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from bot.domain.market import F64, I64, BarBatch


class Newest:
    """The newest of a series' values that was known at given times. Times asked for never go back."""

    def __init__(self) -> None:
        self._known_ns: I64 = np.empty(0, dtype=np.int64)
        self._values: F64 = np.empty(0)

    def add(self, known_ns: I64, values: F64) -> None:
        self._known_ns = np.concatenate([self._known_ns, known_ns])
        self._values = np.concatenate([self._values, values])

    def take(self, at_ns: I64) -> F64:
        if not len(self._values):
            return np.full(len(at_ns), np.nan)
        if len(at_ns) == 1:
            row = int(self._known_ns.searchsorted(at_ns[0], side="right")) - 1
            if row > 0:
                self._known_ns, self._values = self._known_ns[row:], self._values[row:]
            return self._values[:1] if row >= 0 else np.full(1, np.nan)
        rows = self._known_ns.searchsorted(at_ns, side="right") - 1
        values: F64 = np.where(rows >= 0, self._values[rows], np.nan)
        done = max(0, int(rows[-1]))
        self._known_ns, self._values = self._known_ns[done:], self._values[done:]
        return values


class SameInterval:
    """Another instrument's bars of the same intervals: what closed at another time, or is known later, is not known."""

    def __init__(self) -> None:
        self._close_ns: I64 = np.empty(0, dtype=np.int64)
        self._known_ns: I64 = np.empty(0, dtype=np.int64)
        self._prices: F64 = np.empty(0)

    def add(self, bars: BarBatch) -> None:
        self._close_ns = np.concatenate([self._close_ns, bars.close_ns])
        self._known_ns = np.concatenate([self._known_ns, bars.known_ns])
        self._prices = np.concatenate([self._prices, bars.closes])

    def take(self, bars: BarBatch) -> F64:
        close_ns = bars.close_ns
        if not len(self._close_ns):
            return np.full(len(close_ns), np.nan)
        rows = np.minimum(self._close_ns.searchsorted(close_ns), len(self._close_ns) - 1)
        is_known = (self._close_ns[rows] == close_ns) & (self._known_ns[rows] <= bars.known_ns)
        found: F64 = np.where(is_known, self._prices[rows], np.nan)
        done = int(self._close_ns.searchsorted(close_ns[-1]))  # another of our bars may end at the same time
        self._close_ns, self._known_ns = self._close_ns[done:], self._known_ns[done:]
        self._prices = self._prices[done:]
        return found


class VarianceFolds:
    """Squared log returns of the smallest bars, summed over the intervals of several scales.

    Args:
        lengths_ns: of the scales' bars.
        finest_ns: of the smallest bars; a scale that is no multiple of it gets nothing.
    """

    def __init__(self, lengths_ns: Sequence[int], finest_ns: int) -> None:
        self._lengths_ns = np.array([ns for ns in lengths_ns if ns % finest_ns == 0], dtype=np.int64)
        self._last_close = np.array([np.nan])
        self._since = np.zeros(len(self._lengths_ns))  # summed since the interval began
        nothing = np.empty(0, dtype=np.int64), np.empty(0)
        # By length: the opens of the intervals that are whole and not taken yet, and their sums.
        self._whole: dict[int, tuple[I64, F64]] = {int(ns): nothing for ns in self._lengths_ns}

    def add(self, close_ns: I64, close_ticks: I64, units: F64) -> None:
        scales = len(self._lengths_ns)
        ends, sums = np.empty((scales, len(close_ns)), dtype=np.int64), np.empty((scales, len(close_ns)))
        made = np.zeros(scales, dtype=np.int64)
        _sum_squares(close_ns, close_ticks, units, self._lengths_ns, self._last_close, self._since, ends, sums, made)
        for row, count in enumerate(made.tolist()):
            if count:
                length_ns = int(self._lengths_ns[row])
                open_ns, before = self._whole[length_ns]
                self._whole[length_ns] = (
                    np.concatenate([open_ns, ends[row, :count] - length_ns]),
                    np.concatenate([before, sums[row, :count]]),
                )

    def take(self, bars: BarBatch) -> F64:
        whole = self._whole.get(bars.scale_ns)
        if whole is None or not len(whole[0]):
            return np.full(len(bars), np.nan)
        open_ns, sums = whole
        if len(bars) == 1 and open_ns[0] == bars.open_ns[0]:
            self._whole[bars.scale_ns] = open_ns[1:], sums[1:]
            return sums[:1]
        rows = np.minimum(open_ns.searchsorted(bars.open_ns), len(sums) - 1)
        values: F64 = np.where(open_ns[rows] == bars.open_ns, sums[rows], np.nan)
        done = int(open_ns.searchsorted(bars.open_ns[-1], side="right"))
        self._whole[bars.scale_ns] = open_ns[done:], sums[done:]
        return values


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_squares(  # type: ignore[no-untyped-def]
    close_ns, close_ticks, units, lengths_ns, last_close, since, ends, sums, made
):
    before = last_close[0]
    for i in range(close_ns.size):
        close = close_ticks[i] * units[0] / units[1]
        change = math.log(close / before)
        before = close
        for scale in range(lengths_ns.size):
            since[scale] += change * change
            if close_ns[i] % lengths_ns[scale] == 0:
                ends[scale, made[scale]] = close_ns[i]
                sums[scale, made[scale]] = since[scale]
                made[scale] += 1
                since[scale] = 0.0
    last_close[0] = before
