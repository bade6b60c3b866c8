"""What became of each decision, told as soon as it is known: the live side of a label.

The outcome of a decision over the horizon h is the log return ln(P(c + h) / P(c)) from its bar's close c, the number
that `models.training.labels.returns_after` learns from, known with the bar that closes at c + h. A bar of unknown price
(GAP) between the two, at either end included, makes the outcome unknown: NaN. A hole that is still open cannot be
measured yet, so none is bridged, as with `hole_max_ns=0` there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import F64, GAP, I64, BarBatch, Columns


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OutcomeBatch(Columns):
    """Outcomes of one instrument, in the order they are known: one row per decision and horizon."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("bar_row", "horizon", "known_ns", "value")

    instrument: Instrument
    first_row: int
    horizons_ns: tuple[int, ...]
    bar_row: I64  # the decision bar's row number in its stream
    horizon: I64  # which of `horizons_ns`
    known_ns: I64  # when the outcome is known
    value: F64  # log return; NaN: nobody knows

    def __len__(self) -> int:
        return len(self.bar_row)


class OutcomeScan:
    """Turn the closed bars of one scale into the outcomes of the decisions taken at them.

    Args:
        instrument: what the bars are of.
        scale_ns: the bars' length.
        horizons_ns: whole multiples of it, and not none.

    Raises:
        ValueError: a horizon is impossible.
    """

    def __init__(self, instrument: Instrument, *, scale_ns: int, horizons_ns: Sequence[int]) -> None:
        if scale_ns <= 0:
            raise ValueError("outcomes are told by bars of one length, not by event bars")
        if not horizons_ns or any(horizon_ns <= 0 or horizon_ns % scale_ns for horizon_ns in horizons_ns):
            raise ValueError(f"horizons must be whole multiples of {format_duration(scale_ns)}, and not none")
        self._instrument = instrument
        self._scale_ns = scale_ns
        self._horizons_ns = tuple(horizons_ns)
        self._steps_H = np.array([horizon_ns // scale_ns for horizon_ns in horizons_ns], dtype=np.int64)
        self._close_ticks = np.empty(0, dtype=np.int64)  # of the newest bars, as many as the longest horizon needs
        self._next_open_ns: int | None = None
        self._first_bar_row = 0
        self._gap_row = -1  # the newest bar marked GAP, counted from the first bar
        self._bars = 0
        self._rows = 0

    def scan(self, bars: BarBatch) -> OutcomeBatch:
        """Return the outcomes that these bars tell.

        Raises:
            DataError: the bars do not follow one another; holes must be filled, as `BarAggregator` does.
        """
        self._check(bars)
        joined = np.concatenate([self._close_ticks, bars.close_ticks])
        columns, self._gap_row = _outcomes(
            joined, len(self._close_ticks), bars.flags & GAP != 0, self._bars, self._gap_row, self._steps_H
        )
        at, horizon, row, value = columns
        first_row, self._rows = self._rows, self._rows + len(at)
        self._bars += len(bars)
        self._close_ticks = joined[max(0, len(joined) - int(self._steps_H.max())) :]
        return OutcomeBatch(
            instrument=self._instrument,
            first_row=first_row,
            horizons_ns=self._horizons_ns,
            bar_row=row + self._first_bar_row,
            horizon=horizon,
            known_ns=bars.known_ns[at],
            value=value,
        )

    def _check(self, bars: BarBatch) -> None:
        if bars.scale_ns != self._scale_ns or bars.instrument != self._instrument:
            raise ValueError(f"these are not {format_duration(self._scale_ns)} bars of {self._instrument.name}")
        if not len(bars):
            return
        if self._next_open_ns is None:
            self._first_bar_row = bars.first_row
            self._next_open_ns = int(bars.open_ns[0])
        expected = self._next_open_ns + self._scale_ns * np.arange(len(bars))
        if not np.array_equal(bars.open_ns, expected):
            raise DataError(
                f"{self._instrument.name}: {format_duration(self._scale_ns)} bars leave a hole; fill it with bars "
                "marked GAP before outcomes are told"
            )
        self._next_open_ns += self._scale_ns * len(bars)


@njit(cache=True, nogil=True)
def _outcomes(close_ticks, before, is_gap, bars, gap_row, steps):  # type: ignore[no-untyped-def]
    """Return (bar that tells it, horizon, decision row, log return) of each outcome, and the newest gap's row."""
    most = is_gap.size * steps.size
    at, horizon, row = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    value = np.empty(most)
    made = 0
    for i in range(is_gap.size):
        if is_gap[i]:
            gap_row = bars + i
        for h in range(steps.size):
            decision = bars + i - steps[h]
            if decision < 0:
                continue
            start = close_ticks[before + i - steps[h]]
            is_known = gap_row < decision
            value[made] = math.log(close_ticks[before + i] / start) if is_known else math.nan
            at[made], horizon[made], row[made] = i, h, decision
            made += 1
    return (at[:made], horizon[:made], row[:made], value[:made]), gap_row
