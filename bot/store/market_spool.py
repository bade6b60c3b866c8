"""Rows on their way into the store: gathered by dataset and file until all of their source has been read.

Nothing of a source reaches the store before its end was seen, so a damaged or refused source changes nothing. What does
not fit the memory waits in a temporary folder inside the store.
"""

import fcntl
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import DataError, StorageError
from bot.store.importing.part import Part, Rejected
from bot.store.importing.sieve import TIME_FIRST_NS, TIME_LAST_NS
from bot.store.market_format import Columns, Layout, completed, layout_of, partition_keys, rescaled

_MEMORY_BYTES = 192 << 20
_FOLDER_PREFIX = ".spool-"
_VENUE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,39}")


@dataclass(kw_only=True, slots=True, eq=False)
class Piece:
    """Some rows of one file of the store; `columns` is None while they wait on the disk."""

    price_exponent: int
    qty_exponent: int
    source: str
    rows: int
    first_ns: int  # the least time
    last_ns: int  # the greatest
    columns: Columns | None
    folder: Path | None = None

    def load(self) -> Columns:
        """Return the rows, mapped from the disk where they wait there."""
        if self.columns is not None:
            return self.columns
        assert self.folder is not None
        return {path.stem: np.load(path, mmap_mode="r") for path in self.folder.iterdir()}


@dataclass(kw_only=True, slots=True, eq=False)
class Gathered:
    """What a source holds of one dataset.

    Attributes:
        pieces: by the number of the store's file; each in the source's order.
        descends: whether its times only ever go back: a source that lists the newest first.
    """

    venue: str
    symbol: str
    layout: Layout
    pieces: dict[int, list[Piece]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    repeated: int = 0
    rounded: int = 0
    descends: bool = True
    first_ns: int | None = None
    last_ns: int = 0

    def exponents(self, key: int) -> tuple[int, int]:
        """Return the exponents at which all rows of one file are exact."""
        pieces = self.pieces[key]
        return min(piece.price_exponent for piece in pieces), min(piece.qty_exponent for piece in pieces)

    def rows(self, key: int) -> Iterator[tuple[Piece, Columns]]:
        """Yield the rows of one file, piece by piece, oldest first where the source listed the newest first."""
        turn = self.descends and self.first_ns is not None and self.first_ns > self.last_ns
        pieces = self.pieces[key]
        for piece in reversed(pieces) if turn else pieces:
            columns = piece.load()
            yield piece, {name: values[::-1] for name, values in columns.items()} if turn else columns

    def scaled_rows(self, key: int, price_exponent: int, qty_exponent: int) -> Iterator[Columns]:
        """Yield the rows of one file at these exponents.

        Raises:
            DataError: a value does not fit.
        """
        for piece, columns in self.rows(key):
            powers = piece.price_exponent - price_exponent, piece.qty_exponent - qty_exponent
            scaled = rescaled(self.layout, columns, *powers)
            if scaled is None:
                raise DataError(
                    f"{self.venue} {self.symbol} {self.layout.kind}: values with {-price_exponent} decimals of a price "
                    f"and {-qty_exponent} of a quantity do not fit beside the largest; look for a wrong value"
                )
            yield scaled


class Spool:
    """The rows of one source. Use it in a `with` statement: it cleans up.

    Args:
        root: the store's folder.
        memory_bytes: how much may wait in memory.
    """

    def __init__(self, root: Path, *, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._root = root
        self._memory_bytes = memory_bytes
        self._held_bytes = 0
        self._folder: Path | None = None
        self._lock: Any = None
        self._count = 0
        self.datasets: dict[tuple[str, str, str], Gathered] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def rejected_count(self) -> int:
        """Return how many rows were refused so far."""
        return sum(len(each.rejected) for each in self.datasets.values())

    def add(self, part: Part) -> None:
        """Take in the next rows.

        Raises:
            DataError: they cannot be stored: an unknown kind, a name that is no folder's, a time that is none.
            StorageError: the disk refuses.
        """
        layout = layout_of(part.kind)
        if not _VENUE.fullmatch(part.venue):
            raise DataError(f"{part.venue!r} is no venue's name; write it like bybit-linear, with --venue")
        if not _SYMBOL.fullmatch(part.symbol):
            raise DataError(f"{part.symbol!r} cannot name a folder; give --symbol with letters, digits, . _ and - only")
        key = (part.venue, part.symbol, part.kind)
        into = self.datasets.setdefault(key, Gathered(venue=part.venue, symbol=part.symbol, layout=layout))
        into.rejected.extend(part.rejected)
        into.repeated += part.repeated
        into.rounded += part.rounded
        columns = completed(layout, part.columns)
        times = columns[layout.time]
        if not len(times):
            return
        if times.min() < TIME_FIRST_NS or times.max() >= TIME_LAST_NS:
            raise DataError(f"{part.venue} {part.symbol} {part.kind}: a time is not from 2001 to 2100")
        into.descends = into.descends and bool((np.diff(times, prepend=into.last_ns or times[0]) <= 0).all())
        into.first_ns = int(times[0]) if into.first_ns is None else into.first_ns
        if layout.family == "book":  # a message that goes back in time stays behind the one before it
            times = np.maximum.accumulate(np.concatenate([[into.last_ns], times]))[1:]
        into.last_ns = int(times[-1])
        keys = partition_keys(layout, times)
        for number, rows in _cut(keys):
            piece = {name: values[rows] for name, values in columns.items()}
            into.pieces.setdefault(number, []).append(
                Piece(
                    price_exponent=part.price_exponent,
                    qty_exponent=part.qty_exponent,
                    source=part.source,
                    rows=len(piece[layout.time]),
                    first_ns=int(piece[layout.time].min()),
                    last_ns=int(piece[layout.time].max()),
                    columns=piece,
                )
            )
        self._held_bytes += sum(values.nbytes for values in columns.values())
        if self._held_bytes > self._memory_bytes:
            self._spill()

    def _spill(self) -> None:
        """Move all that waits in memory to the disk."""
        try:
            folder = self._folder or self._make_folder()
            for gathered in self.datasets.values():
                for pieces in gathered.pieces.values():
                    for piece in pieces:
                        if piece.columns is not None:
                            self._count += 1
                            piece.folder = folder / str(self._count)
                            piece.folder.mkdir()
                            for name, values in piece.columns.items():
                                np.save(piece.folder / f"{name}.npy", values)
                            piece.columns = None
        except OSError as error:
            raise StorageError(f"{self._root}: no room for what is being imported ({error.strerror})") from error
        self._held_bytes = 0

    def _make_folder(self) -> Path:
        """Make a folder of our own, and remove those that killed imports have left behind."""
        self._root.mkdir(parents=True, exist_ok=True)
        for left in self._root.glob(f"{_FOLDER_PREFIX}*"):
            with suppress(OSError), (left / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        number = 0
        while True:
            number += 1
            with suppress(FileExistsError):
                folder = self._root / f"{_FOLDER_PREFIX}{number}"
                folder.mkdir()
                break
        self._folder = folder
        self._lock = (folder / "lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return folder


def _cut(keys: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
    """Yield each number and the rows that have it."""
    if keys[0] == keys[-1] and (keys == keys[0]).all():
        yield int(keys[0]), slice(None)
        return
    edges = np.flatnonzero(np.diff(keys)) + 1
    starts = [0, *edges.tolist()]
    numbers = keys[starts]
    if len(np.unique(numbers)) == len(numbers):
        for number, start, stop in zip(numbers.tolist(), starts, [*edges.tolist(), len(keys)], strict=True):
            yield number, slice(start, stop)
        return
    for number in np.unique(keys).tolist():
        yield number, keys == number
