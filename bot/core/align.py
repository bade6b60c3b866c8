"""Several streams of bars on one clock: which row of each was known at the times that matter.

A row counts from the time it is known, never from its open or close: at time t the newest row known at or before t
stands for its stream. What a stream has not told by then is not filled in: a row says how old it is, and whether it may
be taken for the present.

A time is decided once no stream can tell of an earlier or equal one any more: when it lies before the lowest of the
streams' watermarks. So the result depends neither on how the streams are cut nor on how they interleave, and a stream
that falls silent holds up all until its watermark moves: whoever feeds the streams decides how long to wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import InvariantBroken
from bot.domain.market import GAP, I64, BarBatch, Columns

NEVER_NS = 2**63 - 1
"""The age of a row that is not there."""

_FIRST_NS = -(2**63)
_NO_TIMES = np.empty(0, dtype=np.int64)


def as_of(left_ns: I64, right_ns: I64) -> I64:
    """Return for each left time the row of the newest right row known at or before it, -1 where there is none.

    Args:
        left_ns: times, in any order.
        right_ns: when each right row became known; of rows known at one time the last is the newest.

    Raises:
        ValueError: the right rows are not in order.
    """
    if (right_ns[1:] < right_ns[:-1]).any():
        raise ValueError("the right rows must be in the order in which they became known")
    return right_ns.searchsorted(left_ns, side="right") - 1


class Found(NamedTuple):
    """What a stream had told by the times asked for, one entry each."""

    row: I64  # the stream's row number, -1 for none
    known_ns: I64  # when it became known; meaningless where there is none
    is_gap: NDArray[np.bool_]  # it stands for a hole in the source


class AsOfJoin:
    """The streaming form of `as_of`: one stream, told batch by batch, and asked about times that only move on."""

    def __init__(self) -> None:
        self.watermark_ns = _FIRST_NS  # later batches hold no row known before it
        self._known: list[I64] = []
        self._gaps: list[NDArray[np.bool_]] = []
        self._first_row = 0  # number of the first row that is kept
        self._next_row: int | None = None
        self._newest_ns = _FIRST_NS  # when the newest row became known
        self._asked_ns = _FIRST_NS

    def extend(
        self,
        known_ns: I64,
        watermark_ns: int,
        *,
        first_row: int | None = None,
        is_gap: NDArray[np.bool_] | None = None,
    ) -> None:
        """Append the next rows of the stream, which may be none.

        Args:
            known_ns: when each became known; never decreasing, also from batch to batch.
            watermark_ns: later calls bring no row known before it; an older one changes nothing.
            first_row: the number of the first of these rows; None where they are counted from 0.
            is_gap: which of them stand for a hole; None for none.

        Raises:
            InvariantBroken: a row was known before an earlier watermark or row, or row numbers leave a hole.
        """
        if len(known_ns):
            if known_ns[0] < max(self.watermark_ns, self._newest_ns) or (known_ns[1:] < known_ns[:-1]).any():
                raise InvariantBroken("a row to align was known before an earlier watermark, or before an earlier row")
            number = (self._next_row or 0) if first_row is None else first_row
            if self._next_row is None:
                self._first_row = number
            elif number != self._next_row:
                raise InvariantBroken(f"rows to align go on at {number} instead of {self._next_row}")
            self._next_row = number + len(known_ns)
            self._newest_ns = int(known_ns[-1])
            self._known.append(known_ns)
            self._gaps.append(np.zeros(len(known_ns), dtype=np.bool_) if is_gap is None else is_gap)
        self.watermark_ns = max(self.watermark_ns, watermark_ns)

    def at(self, times_ns: I64) -> Found:
        """Return the newest row known at or before each time.

        Args:
            times_ns: before the watermark, in order, and not before a time that was forgotten.

        Raises:
            ValueError: a time is not decided yet, or is asked too late.
        """
        known, gaps = self._kept()
        if len(times_ns):
            if times_ns[-1] >= self.watermark_ns:
                raise ValueError(f"what is known at {times_ns[-1]} is not decided before the watermark has passed it")
            if times_ns[0] < self._asked_ns or (times_ns[1:] < times_ns[:-1]).any():
                raise ValueError("times to align must move on")
        at = as_of(times_ns, known)
        if not len(known):
            nothing = np.zeros(len(times_ns), dtype=np.int64)
            return Found(at, nothing, nothing.astype(np.bool_))
        return Found(np.where(at >= 0, at + self._first_row, -1), known[at], gaps[at])

    def between(self, from_ns: int, until_ns: int) -> Found:
        """Return the rows that became known from `from_ns` on and before `until_ns`, of those not forgotten."""
        known, gaps = self._kept()
        start, stop = known.searchsorted([from_ns, until_ns]).tolist()
        return Found(np.arange(self._first_row + start, self._first_row + stop), known[start:stop], gaps[start:stop])

    def forget(self, before_ns: int) -> None:
        """Drop the rows that no time from `before_ns` on needs; nothing earlier may be asked any more."""
        self._asked_ns = max(self._asked_ns, before_ns)
        known, gaps = self._kept()
        drop = int(known.searchsorted(self._asked_ns)) - 1  # what is known at that very time may be a time itself
        if drop > 0:
            # Copies: a view would keep the whole batch in memory for the sake of its last row.
            self._known, self._gaps = [known[drop:].copy()], [gaps[drop:].copy()]
            self._first_row += drop

    def _kept(self) -> tuple[I64, NDArray[np.bool_]]:
        if len(self._known) != 1:
            self._known = [np.concatenate([_NO_TIMES, *self._known])]
            self._gaps = [np.concatenate([_NO_TIMES.astype(np.bool_), *self._gaps])]
        return self._known[0], self._gaps[0]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AlignedBatch(Columns):
    """What was known of several streams at the same times. Shapes: N times, S streams, in the order of `streams`."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("ts_ns", "row", "age_ns", "is_present")

    streams: tuple[str, ...]
    first_row: int
    ts_ns: I64  # [N] when all this was known
    row: I64  # [N, S] the newest row of each stream known by then; -1 for none
    age_ns: I64  # [N, S] since when it had been known; NEVER_NS for none
    is_present: NDArray[np.bool_]  # [N, S] it is there, no older than allowed, and no hole of its source

    def __len__(self) -> int:
        return len(self.ts_ns)


class Aligner:
    """Lay streams of bars side by side, one row per time of decision.

    Args:
        streams: their names; columns come in this order.
        lead: the stream whose rows are the times: one aligned row for each of them, at the time it became known.
        grid_ns: instead, a row at each multiple of it (plus `offset_ns`) up to which any stream has told something
            new since the multiple before. Quiet stretches have no rows; 1 is the union of all times.
        offset_ns: from the multiple to the time; bars known `lateness` after their close want that.
        age_max_ns: how old a row may be and still count as present.

    Raises:
        ValueError: neither `lead` nor `grid_ns` is given, or both; or they make no sense.
    """

    def __init__(
        self,
        streams: Sequence[str],
        *,
        lead: str | None = None,
        grid_ns: int | None = None,
        offset_ns: int = 0,
        age_max_ns: int,
    ) -> None:
        if (lead is None) == (grid_ns is None):
            raise ValueError("give either a leading stream or a grid")
        if lead is not None and lead not in streams:
            raise ValueError(f"{lead} leads, but is not among the streams: {', '.join(streams)}")
        if grid_ns is not None and grid_ns < 1:
            raise ValueError("a grid has a positive step")
        if age_max_ns < 0:
            raise ValueError("an age is not negative")
        self._joins = {name: AsOfJoin() for name in streams}
        if not streams or len(self._joins) != len(streams):
            raise ValueError(f"streams must have names of their own: {', '.join(streams) or 'none'}")
        self._lead = lead
        self._grid_ns = grid_ns
        self._offset_ns = offset_ns
        self._age_max_ns = age_max_ns
        self._decided_ns = _FIRST_NS  # all times before it are decided
        self._rows = 0

    def extend(self, stream: str, bars: BarBatch | None, watermark_ns: int) -> AlignedBatch:
        """Learn the next bars of a stream, None for none, and return the rows that are decided now.

        Args:
            stream: which.
            bars: its next closed bars.
            watermark_ns: later calls bring no bar of this stream known before it, as `MarketSlab` promises; the largest
                int64 at its end.

        Raises:
            InvariantBroken: the bars break an earlier promise, or leave a hole in their row numbers.
        """
        join = self._joins[stream]
        if bars is None:
            join.extend(_NO_TIMES, watermark_ns)
        else:
            join.extend(bars.known_ns, watermark_ns, first_row=bars.first_row, is_gap=(bars.flags & GAP) != 0)
        before_ns, until_ns = self._decided_ns, min(each.watermark_ns for each in self._joins.values())
        if until_ns == before_ns:
            return self._batch(_NO_TIMES, [])
        self._decided_ns = until_ns
        leading = None if self._lead is None else self._joins[self._lead].between(before_ns, until_ns)
        times_ns = self._grid_times(before_ns, until_ns) if leading is None else leading.known_ns
        found = [
            leading if leading is not None and name == self._lead else each.at(times_ns)
            for name, each in self._joins.items()
        ]
        for each in self._joins.values():
            each.forget(until_ns)
        return self._batch(times_ns, found)

    def _grid_times(self, before_ns: int, until_ns: int) -> I64:
        assert self._grid_ns is not None
        known = np.concatenate([join.between(_FIRST_NS, until_ns).known_ns for join in self._joins.values()])
        # Upwards to the grid: a row counts from the first of its times at which it is known.
        times_ns = -((self._offset_ns - known) // self._grid_ns) * self._grid_ns + self._offset_ns
        return np.unique(times_ns[(times_ns >= before_ns) & (times_ns < until_ns)])

    def _batch(self, times_ns: I64, found: Sequence[Found]) -> AlignedBatch:
        shape = len(times_ns), len(self._joins)
        row, age_ns, is_present = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.bool_)
        for column, each in enumerate(found):
            row[:, column] = each.row
            age_ns[:, column] = np.where(each.row >= 0, times_ns - each.known_ns, NEVER_NS)
            is_present[:, column] = (age_ns[:, column] <= self._age_max_ns) & ~each.is_gap & (each.row >= 0)
        first_row = self._rows
        self._rows += len(times_ns)
        return AlignedBatch(
            streams=tuple(self._joins),
            first_row=first_row,
            ts_ns=times_ns,
            row=row,
            age_ns=age_ns,
            is_present=is_present,
        )
