"""What is joined to closed bars by the time at which it was known, streaming: nothing is seen too early.

Each of these is added to ahead of the bars, and asked for rows of bars that never go back; what no later bar can ask
for is dropped. A live bar asks every one of them, so each answers by one compiled call, into the caller's memory.
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
        self._next = 0  # the first row that was not known at the last time asked for

    def add(self, known_ns: I64, values: F64) -> None:
        done = max(0, self._next - 1)
        self._known_ns = np.concatenate([self._known_ns[done:], known_ns])
        self._values = np.concatenate([self._values[done:], values])
        self._next -= done

    def take(self, at_ns: I64, out_N: F64) -> None:
        """Write the value at each of these times; NaN where none was known."""
        self._next = _take_newest(self._known_ns, self._values, self._next, at_ns, out_N)


class SameInterval:
    """Another instrument's bars of the same intervals: what closed at another time, or is known later, is not known."""

    def __init__(self) -> None:
        self._close_ns: I64 = np.empty(0, dtype=np.int64)
        self._known_ns: I64 = np.empty(0, dtype=np.int64)
        self._prices: F64 = np.empty(0)
        self._next = 0  # the first row that did not close before the last bar asked for

    def add(self, bars: BarBatch) -> None:
        self._close_ns = np.concatenate([self._close_ns[self._next :], bars.close_ns])
        self._known_ns = np.concatenate([self._known_ns[self._next :], bars.known_ns])
        self._prices = np.concatenate([self._prices[self._next :], bars.closes])
        self._next = 0

    def take(self, close_ns: I64, known_ns: I64, out_N: F64) -> None:
        """Write the price of each interval that closed then, as known then; NaN where there is none."""
        self._next = _take_same(self._close_ns, self._known_ns, self._prices, self._next, close_ns, known_ns, out_N)


class VarianceFolds:
    """Squared log returns of the smallest bars, summed over the intervals of several scales.

    Args:
        lengths_ns: of the scales' bars.
        finest_ns: of the smallest bars, None if there are none; a scale that is no multiple of it gets nothing.
    """

    def __init__(self, lengths_ns: Sequence[int], finest_ns: int | None) -> None:
        lengths_ns = [ns for ns in lengths_ns if finest_ns is not None and ns % finest_ns == 0]
        self._lengths_ns = np.array(lengths_ns, dtype=np.int64)
        self._row = {length_ns: row for row, length_ns in enumerate(lengths_ns)}
        scales = len(self._row)
        self._last_close = np.array([np.nan])
        self._since = np.zeros(scales)  # summed since the interval began
        # The intervals that are whole and not taken yet, oldest first: how many, and their opens and sums.
        self._held = np.zeros(scales, dtype=np.int64)
        self._open_ns = np.empty((scales, 64), dtype=np.int64)
        self._sums = np.empty((scales, 64))
        self._held_max = 0  # of any scale, when bars were last added

    def add(self, finest: BarBatch, units: F64) -> None:
        if self._held_max + len(finest) > self._sums.shape[1]:
            self._grow(len(finest))
        self._held_max = _sum_squares(
            finest.open_ns,
            finest.scale_ns,
            finest.close_ticks,
            units,
            self._lengths_ns,
            self._last_close,
            self._since,
            self._held,
            self._open_ns,
            self._sums,
        )

    def take(self, bars: BarBatch, out_N: F64) -> None:
        """Write the sum over each bar's interval; NaN where it is not whole."""
        row = self._row.get(bars.scale_ns)
        if row is None:
            out_N[:] = np.nan
        else:
            _take_sums(self._held, self._open_ns, self._sums, row, bars.open_ns, out_N)

    def _grow(self, more: int) -> None:
        held = int(self._held.max(initial=0))
        shape = len(self._row), 2 * (held + more)
        open_ns, sums = np.empty(shape, dtype=np.int64), np.empty(shape)
        open_ns[:, :held], sums[:, :held] = self._open_ns[:, :held], self._sums[:, :held]
        self._open_ns, self._sums = open_ns, sums


@njit(cache=True, nogil=True, error_model="numpy")
def _take_newest(known_ns, values, row, at_ns, out):  # type: ignore[no-untyped-def]
    """Return the first row that is not known at the last of the times."""
    for i in range(at_ns.size):
        while row < known_ns.size and known_ns[row] <= at_ns[i]:
            row += 1
        out[i] = values[row - 1] if row > 0 else math.nan
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def _take_same(its_close_ns, its_known_ns, prices, row, close_ns, known_ns, out):  # type: ignore[no-untyped-def]
    """Return the first row that does not close before the last of the bars: another of ours may end when it does."""
    for i in range(close_ns.size):
        while row < its_close_ns.size and its_close_ns[row] < close_ns[i]:
            row += 1
        out[i] = math.nan
        if row < its_close_ns.size and its_close_ns[row] == close_ns[i] and its_known_ns[row] <= known_ns[i]:
            out[i] = prices[row]
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_squares(  # type: ignore[no-untyped-def]
    open_ns, finest_ns, close_ticks, units, lengths_ns, last_close, since, held, opens, sums
):
    """Return how many intervals the scale holds that holds the most."""
    before = last_close[0]
    for i in range(open_ns.size):
        close = close_ticks[i] * units[0] / units[1]
        change = math.log(close / before)
        before = close
        close_ns = open_ns[i] + finest_ns
        for scale in range(lengths_ns.size):
            since[scale] += change * change
            if close_ns % lengths_ns[scale] == 0:
                opens[scale, held[scale]] = close_ns - lengths_ns[scale]
                sums[scale, held[scale]] = since[scale]
                held[scale] += 1
                since[scale] = 0.0
    last_close[0] = before
    most = 0
    for scale in range(lengths_ns.size):
        most = max(most, held[scale])
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def _take_sums(held, opens, sums, scale, open_ns, out):  # type: ignore[no-untyped-def]
    row = 0
    count = held[scale]
    for i in range(open_ns.size):
        while row < count and opens[scale, row] < open_ns[i]:
            row += 1
        is_whole = row < count and opens[scale, row] == open_ns[i]
        out[i] = sums[scale, row] if is_whole else math.nan
    if row < count and open_ns.size and opens[scale, row] == open_ns[open_ns.size - 1]:
        row += 1
    for left in range(row, count):
        opens[scale, left - row] = opens[scale, left]
        sums[scale, left - row] = sums[scale, left]
    held[scale] = count - row
