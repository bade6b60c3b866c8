"""What is joined to closed bars by the time at which it was known, streaming: nothing is seen too early.

Each of these is added to ahead of the bars, and asked for rows of bars that never go back; what no later bar can ask
for is dropped.
"""

import math

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
        rows = self._known_ns.searchsorted(at_ns, side="right") - 1
        if not len(self._values):
            return np.full(len(at_ns), np.nan)
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


class VarianceFold:
    """Squared log returns of the smallest bars, summed over the intervals of a scale."""

    def __init__(self) -> None:
        self._state = np.array([np.nan, 0.0])  # the last close, the sum since the interval began
        self._open_ns: I64 = np.empty(0, dtype=np.int64)  # of the intervals that are whole and not taken yet
        self._sums: F64 = np.empty(0)

    def add(self, close_ns: I64, closes: F64, scale_ns: int) -> None:
        sums = np.empty(len(closes))
        ends = np.empty(len(closes), dtype=np.int64)
        made = _sum_squares(close_ns, closes, scale_ns, self._state, ends, sums)
        if not made:
            return
        self._open_ns = np.concatenate([self._open_ns, ends[:made] - scale_ns])
        self._sums = np.concatenate([self._sums, sums[:made]])

    def take(self, bars: BarBatch) -> F64:
        if not len(self._sums):
            return np.full(len(bars), np.nan)
        rows = np.minimum(self._open_ns.searchsorted(bars.open_ns), len(self._sums) - 1)
        values: F64 = np.where(self._open_ns[rows] == bars.open_ns, self._sums[rows], np.nan)
        done = int(self._open_ns.searchsorted(bars.open_ns[-1], side="right"))
        self._open_ns, self._sums = self._open_ns[done:], self._sums[done:]
        return values


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_squares(close_ns, closes, scale_ns, state, ends, sums):  # type: ignore[no-untyped-def]
    made = 0
    before, since = state[0], state[1]
    for i in range(closes.size):
        change = math.log(closes[i] / before)
        since += change * change
        before = closes[i]
        if close_ns[i] % scale_ns == 0:
            ends[made] = close_ns[i]
            sums[made] = since
            made += 1
            since = 0.0
    state[0] = before
    state[1] = since
    return made
