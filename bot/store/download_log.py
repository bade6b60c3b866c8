"""What a symbol's venue was asked for, where the rows in the store alone cannot tell: `downloads.json` beside them.

Two things are remembered: stretches of which the venue has nothing, and stretches that were answered in full, each with
the number of its rows. The store's own files remain the truth: of an answer whose rows are no longer all there, nothing
is believed.
"""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from bot.domain.errors import DataError, StorageError

Stretch = tuple[int, int]  # [from_ns, to_ns)
NAME = "downloads.json"
_FORMAT = 1


class Answer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One stretch that was answered in full."""

    from_ns: int
    to_ns: int
    rows: int


class _Remembered(msgspec.Struct, kw_only=True):
    absent: list[Stretch] = []
    answered: list[Answer] = []


class _File(msgspec.Struct, kw_only=True):
    format: int = _FORMAT
    kinds: dict[str, _Remembered] = {}


class DownloadLog:
    """The file of one symbol, read when made and written as a whole by `save`.

    Args:
        directory: the symbol's folder in the store.

    Raises:
        DataError: the file is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        try:
            self._file = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            self._file = _File()
        except (OSError, msgspec.MsgspecError) as error:
            raise DataError(f"{self._path}: cannot be read ({error}); delete it: it saves questions only") from error
        if self._file.format != _FORMAT:
            raise DataError(f"{self._path}: format {self._file.format}, known is {_FORMAT}; delete it")

    def absent(self, kind: str) -> list[Stretch]:
        """Return the stretches of which the venue has nothing, in order and apart."""
        return self._file.kinds[kind].absent if kind in self._file.kinds else []

    def add_absent(self, kind: str, stretch: Stretch) -> None:
        """Remember that the venue has nothing of a stretch."""
        of_kind = self._file.kinds.setdefault(kind, _Remembered())
        of_kind.absent = union([*of_kind.absent, stretch])

    def answered(self, kind: str, count: Callable[[Stretch], int]) -> list[Stretch]:
        """Return the stretches whose rows are all there, in order and apart.

        Args:
            kind: which rows.
            count: tells how many rows of a stretch the store holds.
        """
        answers = self._file.kinds[kind].answered if kind in self._file.kinds else []
        spans = [(each.from_ns, each.to_ns) for each in answers if count((each.from_ns, each.to_ns)) >= each.rows]
        return union(spans)

    def add_answer(self, kind: str, stretch: Stretch, rows: int) -> None:
        """Remember that the store holds all that the venue has of a stretch, in place of what was known of it.

        Stretches that meet within a year become one, so that a daily download does not leave a line each day.
        """
        from_ns, to_ns = stretch
        of_kind = self._file.kinds.setdefault(kind, _Remembered())
        kept = [each for each in of_kind.answered if each.to_ns <= from_ns or to_ns <= each.from_ns]
        before = next(
            (each for each in kept if each.to_ns == from_ns and _year(each.from_ns) == _year(to_ns - 1)), None
        )
        if before is not None:
            kept.remove(before)
            from_ns, rows = before.from_ns, rows + before.rows
        of_kind.answered = sorted(
            [*kept, Answer(from_ns=from_ns, to_ns=to_ns, rows=rows)], key=lambda each: each.from_ns
        )

    def save(self) -> None:
        """Write the file.

        Raises:
            StorageError: the disk refuses.
        """
        part = self._path.with_name(self._path.name + ".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(msgspec.json.encode(self._file) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror})") from error


def union(stretches: list[Stretch]) -> list[Stretch]:
    """Return stretches in order and apart, those that touch joined."""
    joined: list[Stretch] = []
    for lo, hi in sorted(each for each in stretches if each[0] < each[1]):
        if joined and lo <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(hi, joined[-1][1])
        else:
            joined.append((lo, hi))
    return joined


def without(stretch: Stretch, taken: list[Stretch]) -> list[Stretch]:
    """Return what is left of a stretch once others are taken from it."""
    left, at = [], stretch[0]
    for lo, hi in union(taken):
        if lo > at:
            left.append((at, min(lo, stretch[1])))
        at = max(at, hi)
        if at >= stretch[1]:
            break
    if at < stretch[1]:
        left.append((at, stretch[1]))
    return [each for each in left if each[0] < each[1]]


def _year(ts_ns: int) -> int:
    return int(np.datetime64(ts_ns, "ns").astype("datetime64[Y]").astype(np.int64))
