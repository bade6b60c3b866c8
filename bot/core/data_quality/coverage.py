"""Which of many integers have been seen: intervals of a grid, or trade ids."""

import numpy as np

from bot.core.data_quality.findings import Bools
from bot.domain.market import I64

_START, _END, _ROW, _TS = range(4)


class Coverage:
    """The integers seen so far, as runs of consecutive ones, each run with the row and time of its smallest.

    A run costs 32 bytes however long it is, so what is complete costs nothing. What arrives in order is appended;
    what does not is merged. The runs do not depend on how the integers came cut.
    """

    def __init__(self) -> None:
        self._parts: list[I64] = []  # [4, K] each, ascending
        self._last = -1

    def add(self, values: I64, rows: I64, ts_ns: I64) -> Bools:
        """Take values from 0 to 2**63 - 1 with their rows and times; return which had been seen before."""
        if not len(values):
            return np.zeros(0, dtype=np.bool_)
        if values[0] > self._last and (np.diff(values) > 0).all():
            self._append(_runs(values, rows, ts_ns))
            return np.zeros(len(values), dtype=np.bool_)
        order = np.argsort(values, kind="stable")
        ascending = values[order]
        seen = np.zeros(len(values), dtype=np.bool_)
        seen[1:] = ascending[1:] == ascending[:-1]
        runs = self.runs()
        at = np.searchsorted(runs[_START], ascending, side="right") - 1
        inside = at >= 0
        seen[inside] |= ascending[inside] <= runs[_END, at[inside]]
        new = order[~seen]
        if len(new):
            merged = np.concatenate([runs, _runs(values[new], rows[new], ts_ns[new])], axis=1)
            self._parts = [_joined(merged[:, np.argsort(merged[_START], kind="stable")])]
            self._last = int(self._parts[0][_END, -1])
        is_repeat = np.empty(len(values), dtype=np.bool_)
        is_repeat[order] = seen
        return is_repeat

    def runs(self) -> I64:
        """Return [4, K]: the first and the last value of each run, ascending, and the first's row and time."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate([np.empty((4, 0), dtype=np.int64), *self._parts], axis=1)]
        return self._parts[0]

    def holes(self) -> tuple[I64, I64, I64, I64]:
        """Return of each hole its first missing value, its length, and the row and time of the value after it."""
        runs = self.runs()
        start = runs[_END, :-1] + 1
        return start, runs[_START, 1:] - start, runs[_ROW, 1:], runs[_TS, 1:]

    def _append(self, runs: I64) -> None:
        if self._parts and self._parts[-1].shape[1] and runs[_START, 0] - self._last == 1:
            self._parts[-1][_END, -1] = runs[_END, 0]
            self._last = int(runs[_END, 0])
            runs = runs[:, 1:]
        if runs.shape[1]:
            self._parts.append(runs)
            self._last = int(runs[_END, -1])


def _runs(values: I64, rows: I64, ts_ns: I64) -> I64:
    """Return strictly ascending values as runs."""
    breaks = np.flatnonzero(np.diff(values) != 1)
    starts = np.concatenate([[0], breaks + 1])
    ends = np.concatenate([breaks, [len(values) - 1]])
    return np.stack([values[starts], values[ends], rows[starts], ts_ns[starts]]).astype(np.int64, copy=False)


def _joined(runs: I64) -> I64:
    """Return runs that are ascending and disjoint with those that touch made one."""
    is_first = np.ones(runs.shape[1], dtype=np.bool_)
    is_first[1:] = runs[_START, 1:] - runs[_END, :-1] != 1
    starts = np.flatnonzero(is_first)
    joined = runs[:, starts]
    joined[_END] = runs[_END, np.concatenate([starts[1:], [runs.shape[1]]]) - 1]
    return joined
