"""Bars of a time in which trades were lost: what the trades that are known say, put right by the source's own bars.

The source's own bars tell the prices and the volume of a minute, not where in it they were. So of each minute with a
hole its first base bar is given the minute's open and its last the minute's close, extremes and the volume that is
missing; both are PARTIAL. Bars of a minute and longer are then right in open, high, low, close, volume and turnover;
counts and the bought volume are those of the trades that are known, which PARTIAL says. Shorter bars within a hole are
PARTIAL, or GAP where nothing of them is known.
"""

import numpy as np
from numba import njit

from bot.core.bar_folds import CLOSE, FLAGS, HIGH, LOW, OPEN, OPEN_NS, TURNOVER, VOLUME
from bot.domain.market import EMPTY, GAP, I64, PARTIAL, BarBatch

KLINE_COLUMNS = 7  # open_ns, open, high, low, close, volume, turnover


class Tail:
    """What is already known of the source's bar that is being made: sums over the base bars that have gone by.

    Args:
        length_ns: of the source's own bars.
    """

    def __init__(self, length_ns: int) -> None:
        self.length_ns = length_ns
        # Its open_ns, base bars in it, volume, turnover, and the open_ns of the first that traded, -1 for none.
        self.known = np.array([-1, 0, 0, 0, -1], dtype=np.int64)

    def pass_on(self, base: I64) -> None:
        """Take note of base bars that go on."""
        if base.shape[1]:
            first = int(np.searchsorted(base[OPEN_NS], base[OPEN_NS, -1] // self.length_ns * self.length_ns))
            open_ns = int(base[OPEN_NS, -1]) // self.length_ns * self.length_ns
            if open_ns != self.known[0]:
                self.known[:] = open_ns, 0, 0, 0, -1
            volume = base[VOLUME, first:]
            self.known[1:4] += (len(volume), int(volume.sum()), int(base[TURNOVER, first:].sum()))
            if self.known[4] < 0 and (volume > 0).any():
                self.known[4] = base[OPEN_NS, first + int(np.argmax(volume > 0))]


def kline_table(klines: BarBatch) -> I64:
    """Return the source's bars as `repair` wants them; shape [KLINE_COLUMNS, N]."""
    return np.stack(
        [
            klines.open_ns,
            klines.open_ticks,
            klines.high_ticks,
            klines.low_ticks,
            klines.close_ticks,
            klines.volume_steps,
            klines.turnover,
        ]
    )


@njit(cache=True, nogil=True)
def repair(base, base_ns, from_ns, to_ns, klines, length_ns, known, close):  # type: ignore[no-untyped-def]
    """Flag base bars of a hole, and make them agree with the source's own bars, where there are any.

    A minute in which the trades that are known make up the whole volume has lost none: it is left as it is.

    Args:
        base: whole base bars, changed in place; those of the last of `klines` are all there.
        base_ns: their length.
        from_ns, to_ns: the hole [from_ns, to_ns).
        klines: of the minutes that the hole touches; see `KLINE_COLUMNS`.
        length_ns: their length, a multiple of the base bars'.
        known: `Tail.known`: what of the first minute has gone by.
        close: the close before the first base bar, 0 for none.
    Returns:
        The last close.
    """
    first = k = 0
    while first < base.shape[1]:
        minute = base[OPEN_NS, first] // length_ns * length_ns
        last = first
        volume, turnover = (known[2], known[3]) if known[0] == minute else (np.int64(0), np.int64(0))
        while last < base.shape[1] and base[OPEN_NS, last] < minute + length_ns:
            volume += base[VOLUME, last]
            turnover += base[TURNOVER, last]
            last += 1
        while k < klines.shape[1] and klines[0, k] < minute:
            k += 1
        is_told = k < klines.shape[1] and klines[0, k] == minute
        is_whole = base[OPEN_NS, last - 1] + base_ns == minute + length_ns
        if is_told and klines[5, k] == volume:
            pass
        else:
            is_behind = False  # behind the hole, where the price is not known until it trades
            for i in range(first, last):
                if base[OPEN_NS, i] + base_ns > from_ns and base[OPEN_NS, i] < to_ns:
                    base[FLAGS, i] |= GAP if base[FLAGS, i] & EMPTY else PARTIAL
                    is_behind = True
                elif is_behind and base[FLAGS, i] & EMPTY:
                    base[FLAGS, i] |= PARTIAL
                else:
                    is_behind = False
            if is_told and is_whole:
                _put_open(base, base_ns, first, last, minute, from_ns, klines[1, k])
                _put_rest(base, last - 1, klines[:, k], klines[5, k] - volume, klines[6, k] - turnover)
        for i in range(first, last):
            if base[FLAGS, i] & EMPTY and close > 0:
                base[OPEN, i] = base[HIGH, i] = base[LOW, i] = base[CLOSE, i] = close
            close = base[CLOSE, i]
        first = last
    return close


@njit(cache=True, nogil=True)
def _put_open(base, base_ns, first, last, minute, from_ns, open_):  # type: ignore[no-untyped-def]
    """Let the minute's first base bar open at the minute's open, unless its first trade is known.

    The bars without a trade behind it carry that price before anyone traded at it, so they are marked too.
    """
    if base[OPEN_NS, first] != minute:
        return  # it has gone by
    for i in range(first, last):
        if not base[FLAGS, i] & EMPTY:
            if base[OPEN, i] == open_ or base[OPEN_NS, i] + base_ns <= from_ns:
                return
            break
    _touch(base, first, open_, open_)
    base[OPEN, first] = open_
    for i in range(first + 1, last):
        if not base[FLAGS, i] & EMPTY:
            return
        if not base[FLAGS, i] & GAP:
            base[FLAGS, i] |= PARTIAL


@njit(cache=True, nogil=True)
def _put_rest(base, i, kline, volume, turnover):  # type: ignore[no-untyped-def]
    """Let the minute's last base bar have what is missing of the minute."""
    _touch(base, i, kline[2], kline[3])
    base[CLOSE, i] = kline[4]
    base[VOLUME, i] = max(base[VOLUME, i] + volume, 0)
    base[TURNOVER, i] = max(base[TURNOVER, i] + turnover, 0)


@njit(cache=True, nogil=True)
def _touch(base, i, high, low):  # type: ignore[no-untyped-def]
    """Let a base bar have traded at two prices."""
    if base[FLAGS, i] & EMPTY:
        base[OPEN, i] = base[CLOSE, i] = low
        base[HIGH, i], base[LOW, i] = high, low
    base[HIGH, i] = max(base[HIGH, i], high)
    base[LOW, i] = min(base[LOW, i], low)
    base[FLAGS, i] = (base[FLAGS, i] & ~(EMPTY | GAP)) | PARTIAL
