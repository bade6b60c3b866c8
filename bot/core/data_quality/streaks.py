"""Stretches of rows that all repeat the row before."""

import numpy as np

from bot.core.data_quality.findings import Bools, Tally
from bot.domain.market import I64


class Streaks:
    """Streaks of equal rows that are longer than a number of rows.

    Attributes:
        long: the streaks, by their length, each at the row that it begins with.
    """

    def __init__(self, rows_max: int, keep: int) -> None:
        self.long = Tally(keep)
        self._rows_max = rows_max
        self._row, self._ts_ns, self._length = 0, 0, 0  # of the streak that goes on

    def add(self, is_same: Bools, first_row: int, ts_ns: I64) -> None:
        """Take the next rows; `is_same` says which repeat the row before."""
        starts = np.flatnonzero(~is_same)
        if not len(starts):
            if not self._length and len(is_same):
                self._row, self._ts_ns = first_row, int(ts_ns[0])
            self._length += len(is_same)
            return
        self._length += int(starts[0])
        self._close()
        ends = np.append(starts[1:], len(is_same))
        lengths = ends - starts
        closed = lengths[:-1]
        for i in np.flatnonzero(closed > self._rows_max).tolist():
            self._row, self._ts_ns, self._length = first_row + int(starts[i]), int(ts_ns[starts[i]]), int(closed[i])
            self._close()
        self._row, self._ts_ns = first_row + int(starts[-1]), int(ts_ns[starts[-1]])
        self._length = int(lengths[-1])

    def finish(self) -> None:
        """Close the streak that goes on."""
        self._close()

    def _close(self) -> None:
        length = self._length
        if length > self._rows_max:
            one = np.ones(1, dtype=np.bool_)
            self.long.add(one, self._row, np.array([self._ts_ns]), lambda _: f"{length:,} rows", np.array([length]))
        self._length = 0
