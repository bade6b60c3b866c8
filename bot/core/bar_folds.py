"""Bars of a source to contiguous ones, and those to bars of every scale: what `core.bars` does once trades are bars."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numba import njit

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import EMPTY, GAP, I64, NO_FLOW, PARTIAL, BarBatch

# Columns of the accumulators and of the scans' output.
OPEN, HIGH, LOW, CLOSE, VOLUME, TURNOVER, COUNT, BUY, FLAGS = range(9)
TURNOVER_MAX = 2.0**62  # well inside an int64, even after the float's own rounding
OPEN_NS, KNOWN_NS = 9, 10  # of the output only


class GapFiller:
    """A source's bars to contiguous ones."""

    def __init__(self, base_ns: int, gap_max_ns: int) -> None:
        self._base_ns = base_ns
        self._gap_max_ns = gap_max_ns
        self._next_open_ns = -1  # -1 before the first bar
        self._close_ticks = 0

    def fill(self, batch: BarBatch) -> tuple[I64, int]:
        """Return the bars and what lies between them, and where the next one opens.

        Raises:
            DataError: bars repeat, leave their grid, or lie further apart than is filled.
        """
        if not len(batch):
            return np.empty((10, 0), dtype=np.int64), max(self._next_open_ns, 0)
        last_ns = int(batch.open_ns[-1])
        expected_ns = self._next_open_ns if self._next_open_ns >= 0 else int(batch.open_ns[0])
        widest_ns = _widest_hole(batch.open_ns, expected_ns, self._base_ns)
        if widest_ns < 0:
            raise DataError(f"{batch.instrument.name}: bars from row {batch.first_row} repeat or leave their grid")
        if widest_ns > self._gap_max_ns:
            ends_ns = np.concatenate([[expected_ns], batch.open_ns[:-1] + self._base_ns])
            refuse_hole(batch.instrument, ends_ns, batch.open_ns, self._gap_max_ns)
        filled = np.empty((10, (last_ns - expected_ns) // self._base_ns + 1), dtype=np.int64)
        self._close_ticks = _fill_gaps(
            batch.open_ns,
            batch.open_ticks,
            batch.high_ticks,
            batch.low_ticks,
            batch.close_ticks,
            batch.volume_steps,
            batch.turnover,
            batch.count,
            batch.buy_steps,
            batch.flags,
            self._close_ticks,
            expected_ns,
            self._base_ns,
            filled,
        )
        self._next_open_ns = last_ns + self._base_ns
        return filled, self._next_open_ns


@njit(cache=True, nogil=True)
def _widest_hole(open_ns, expected_ns, base_ns):  # type: ignore[no-untyped-def]
    """Return the longest stretch between two bars, or before the first; -1 if bars repeat or leave their grid."""
    widest = 0
    for i in range(open_ns.size):
        hole = open_ns[i] - expected_ns
        if hole < 0 or open_ns[i] % base_ns != 0:
            return -1
        widest = max(widest, hole)
        expected_ns = open_ns[i] + base_ns
    return widest


@njit(cache=True, nogil=True)
def _fill_gaps(  # type: ignore[no-untyped-def]
    opens_ns, open_, high, low, close, volume, turnover, count, buy, flags, close_ticks, open_ns, base_ns, out
):
    """Write the bars and what lies between them; return the last close."""
    row = 0
    for i in range(out.shape[1]):
        if opens_ns[row] == open_ns:
            out[OPEN, i], out[HIGH, i], out[LOW, i], out[CLOSE, i] = open_[row], high[row], low[row], close[row]
            out[VOLUME, i], out[TURNOVER, i] = volume[row], turnover[row]
            out[COUNT, i], out[BUY, i] = count[row], buy[row]
            out[FLAGS, i] = flags[row]
            close_ticks = close[row]
            row += 1
        else:
            for column in range(CLOSE + 1):
                out[column, i] = close_ticks
            for column in range(VOLUME, FLAGS):
                out[column, i] = 0
            out[FLAGS, i] = EMPTY | GAP
        out[OPEN_NS, i] = open_ns
        open_ns += base_ns
    return close_ticks


class Folds:
    """Contiguous base bars to bars of every scale."""

    def __init__(self, instrument: Instrument, scales_ns: Sequence[int], base_ns: int, lateness_ns: int) -> None:
        self._instrument = instrument
        self._scales_ns = tuple(scales_ns)
        self._lengths_ns = np.array(scales_ns, dtype=np.int64)
        self._share = sum(base_ns / scale_ns for scale_ns in scales_ns)  # bars made of each base bar
        self._base_ns = base_ns
        self._lateness_ns = lateness_ns
        self._acc = np.zeros((len(scales_ns), 9), dtype=np.int64)
        # Of each scale: whether a bar is being made, base bars in it, EMPTY, GAP and broken (GAP or PARTIAL) ones
        # among them, its open.
        self._state = np.zeros((len(scales_ns), 6), dtype=np.int64)
        self._value = np.zeros(len(scales_ns))  # turnover once more, as a float, which cannot wrap
        self._rows = [0] * len(scales_ns)

    def fold(self, base: I64) -> dict[int, BarBatch]:
        """Return the bars that are made, by scale.

        Raises:
            DataError: a bar's turnover outgrows 62 bits.
        """
        if not base.shape[1]:
            return {}
        room = int(base.shape[1] * self._share) + len(self._scales_ns) + 1
        out = np.empty((11, room), dtype=np.int64)
        made = np.zeros(len(self._scales_ns), dtype=np.int64)
        if not _fold_all(
            base, self._lengths_ns, self._base_ns, self._lateness_ns, self._acc, self._value, self._state, out, made
        ):
            refuse_overflow(self._instrument)
        bars: dict[int, BarBatch] = {}
        start = 0
        for index, count in enumerate(made.tolist()):
            if count:
                columns = out[:, start : start + count]
                # Who keeps the days need not keep the minutes: they lie in memory of their own.
                bars[self._scales_ns[index]] = self._batch(index, columns.copy() if start else columns)
                start += count
        return bars

    def fold_coarse(self, base: I64, base_ns: int) -> dict[int, BarBatch]:
        """Return the bars that base bars of another length make, of the scales that are multiples of it.

        Before any other: finer base bars may go on where these end.
        """
        coarse = np.flatnonzero(self._lengths_ns % base_ns == 0)
        part = Folds(self._instrument, self._lengths_ns[coarse].tolist(), base_ns, self._lateness_ns)
        bars = part.fold(base)
        self._acc[coarse], self._state[coarse], self._value[coarse] = part._acc, part._state, part._value
        for index, rows in zip(coarse.tolist(), part._rows, strict=True):
            self._rows[index] = rows
        return bars

    def correct(self, klines: I64, length_ns: int) -> None:
        """Let bars that are being made open where the source's own bars say, where trades at their open were lost.

        Args:
            klines: the source's own bars; see `bar_repair.KLINE_COLUMNS`.
            length_ns: their length.
        """
        opens = dict(zip(klines[0].tolist(), klines[1].tolist(), strict=True))
        for acc, state in zip(self._acc, self._state, strict=True):
            open_ticks = opens.get(int(state[5]))
            if state[0] == 0 or open_ticks is None or not 0 < state[1] * self._base_ns < length_ns:
                continue
            if state[1] == state[2]:
                state[2] -= 1  # one of them traded after all, and we do not know which
                acc[OPEN : CLOSE + 1] = open_ticks
            acc[OPEN] = open_ticks
            acc[HIGH], acc[LOW] = max(acc[HIGH], open_ticks), min(acc[LOW], open_ticks)

    def _batch(self, index: int, columns: I64) -> BarBatch:
        open_, high, low, close, volume, turnover, count, buy, flags, open_ns, known_ns = columns
        first_row = self._rows[index]
        self._rows[index] += len(open_ns)
        return BarBatch(
            instrument=self._instrument,
            scale_ns=self._scales_ns[index],
            first_row=first_row,
            open_ns=open_ns,
            known_ns=known_ns,
            open_ticks=open_,
            high_ticks=high,
            low_ticks=low,
            close_ticks=close,
            volume_steps=volume,
            turnover=turnover,
            count=count,
            buy_steps=buy,
            flags=flags.astype(np.uint8),
        )


@njit(cache=True, nogil=True)
def _fold_all(base, lengths_ns, base_ns, lateness_ns, acc, values, state, out, made):  # type: ignore[no-untyped-def]
    """Write the bars of one scale after those of another; return whether every turnover fits."""
    at = 0
    for scale in range(lengths_ns.size):
        until = _fold(base, lengths_ns[scale], base_ns, lateness_ns, acc[scale], values, scale, state[scale], out, at)
        if until < 0:
            return False
        made[scale] = until - at
        at = until
    return True


@njit(cache=True, nogil=True)
def _fold(base, scale_ns, base_ns, lateness_ns, acc, values, scale, state, out, made):  # type: ignore[no-untyped-def]
    """Return where the next bar would be written; -1 if a turnover does not fit."""
    value = values[scale]
    for i in range(base.shape[1]):
        open_ns = base[OPEN_NS, i]
        flags = base[FLAGS, i]
        if state[0] == 0:
            if open_ns % scale_ns != 0:
                continue
            state[0] = 1
            state[1:5] = 0
            state[5] = open_ns
            acc[:] = 0
            value = 0.0
        state[1] += 1
        if flags & EMPTY:
            state[2] += 1
        if flags & GAP:
            state[3] += 1
        if flags & (GAP | PARTIAL):
            state[4] += 1
        acc[FLAGS] |= flags & NO_FLOW
        if (state[1] - state[2] <= 1 and not flags & EMPTY) or state[1] == 1:
            # The first bar that traded, or the very first: if none traded, it alone says what the price was.
            acc[OPEN] = base[OPEN, i]
            acc[HIGH] = base[HIGH, i]
            acc[LOW] = base[LOW, i]
            acc[CLOSE] = base[CLOSE, i]
        elif not flags & EMPTY:
            acc[HIGH] = max(acc[HIGH], base[HIGH, i])
            acc[LOW] = min(acc[LOW], base[LOW, i])
            acc[CLOSE] = base[CLOSE, i]
        for column in range(VOLUME, FLAGS):
            acc[column] += base[column, i]
        value += np.float64(base[TURNOVER, i])
        if value >= TURNOVER_MAX:
            return -1
        if open_ns + base_ns == state[5] + scale_ns:
            if state[2] == state[1]:
                acc[FLAGS] |= EMPTY
            if state[3] == state[1]:
                acc[FLAGS] |= GAP
            if state[4] > 0:
                acc[FLAGS] |= PARTIAL if state[3] < state[1] else 0
            for column in range(FLAGS + 1):
                out[column, made] = acc[column]
            out[OPEN_NS, made] = state[5]
            out[KNOWN_NS, made] = state[5] + scale_ns + lateness_ns
            made += 1
            state[0] = 0
    values[scale] = value
    return made


def refuse_overflow(instrument: Instrument) -> NoReturn:
    """Raise DataError: a bar's turnover has outgrown 62 bits."""
    raise DataError(
        f"{instrument.name}: a bar's turnover does not fit into 63 bits as ticks x steps; give the instrument a "
        "coarser tick_size or qty_step"
    )


def refuse_hole(instrument: Instrument, from_ns: I64, until_ns: I64, gap_max_ns: int) -> None:
    """Raise DataError if any of the stretches from `from_ns` until `until_ns` is too long."""
    lengths_ns = until_ns - from_ns
    widest = int(np.argmax(lengths_ns))
    if lengths_ns[widest] > gap_max_ns:
        hole_start = from_ns[widest].astype("datetime64[ns]").astype("datetime64[s]")
        raise DataError(
            f"{instrument.name}: nothing for {lengths_ns[widest] / 3.6e12:.1f} h after {hole_start}Z, more than "
            "bars.gap_max; replay the parts separately with --from and --to, or raise bars.gap_max"
        )
