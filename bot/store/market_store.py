"""The native market store: imports merge into it, and what it holds is listed and read.

`market_format` describes its files. A file of it is replaced as a whole or not at all; importing something twice
changes nothing.
"""

import csv
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bot.domain.errors import DataError, StorageError
from bot.store.importing.part import Part, Rejected
from bot.store.market_dataset import Dataset
from bot.store.market_format import (
    Columns,
    Partition,
    in_groups,
    is_kind,
    join,
    layout_of,
    make_header,
    partition_name,
    rescaled,
    write_partition,
)
from bot.store.market_merge import is_equal, is_sorted, merge
from bot.store.market_spool import Gathered, Piece, Spool

REJECTED = "rejected"  # the folder of refused rows, beside the datasets of a symbol
_REJECTED_TOLD = 3
_FROM_NS, _TO_NS = -(2**62), 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What an import did to one dataset.

    Attributes:
        venue, symbol, kind: which.
        new, repeated, replaced: of the rows that came, how many were not there, were there already, and took the place
            of another value.
        rejected: rows refused; `rejected_path` is the file that holds all of them, `rejected_first` are a few.
        rounded: values that the reader had to round.
        files: how many files of the store were written.
    """

    venue: str
    symbol: str
    kind: str
    new: int = 0
    repeated: int = 0
    replaced: int = 0
    rejected: int = 0
    rounded: int = 0
    files: int = 0
    rejected_path: Path | None = None
    rejected_first: tuple[Rejected, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One dataset: what it holds, and how much room it takes."""

    venue: str
    symbol: str
    kind: str
    rows: int
    first_ns: int
    last_ns: int
    files: int
    bytes: int


class MarketStore:
    """The store in a folder, which need not exist before the first import."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, venue: str, symbol: str, kind: str) -> Path:
        """Return the folder of a dataset."""
        return self.root / venue / symbol / kind

    def dataset(self, venue: str, symbol: str, kind: str) -> Dataset:
        """Open a dataset for reading.

        Raises:
            DataError: there is none such.
        """
        return Dataset(self.directory(venue, symbol, kind))

    def datasets(self) -> list[Listed]:
        """Return what the store holds, by venue, symbol and kind.

        Raises:
            DataError: a file is damaged.
        """
        found = []
        for directory in sorted(self.root.glob("*/*/*/")):
            venue, symbol, kind = directory.parts[-3:]
            if venue.startswith(".") or not is_kind(kind):
                continue
            dataset = Dataset(directory)
            partitions = [dataset.open(path) for path in dataset.paths()]
            spans = [span for each in partitions if (span := each.span_ns()) is not None]
            if spans:
                found.append(
                    Listed(
                        venue=venue,
                        symbol=symbol,
                        kind=kind,
                        rows=sum(each.rows for each in partitions),
                        first_ns=min(span[0] for span in spans),
                        last_ns=max(span[1] for span in spans),
                        files=len(partitions),
                        bytes=sum(each.path.stat().st_size for each in partitions),
                    )
                )
        return found

    def read(
        self,
        venue: str,
        symbol: str,
        kind: str,
        *,
        columns: Sequence[str] | None = None,
        from_ns: int = _FROM_NS,
        to_ns: int = _TO_NS,
    ) -> Iterator[Part]:
        """Yield rows within [from_ns, to_ns) in order, a few at a time; the exponents may differ from part to part.

        Raises:
            DataError: there is no such dataset, or a file of it is damaged.
        """
        for stretch in self.dataset(venue, symbol, kind).read(columns, from_ns, to_ns):
            yield Part(
                venue=venue,
                symbol=symbol,
                kind=kind,
                price_exponent=stretch.header.exponent,
                qty_exponent=stretch.header.qty_exponent,
                columns=stretch.columns,
            )

    def write(self, parts: Part | Iterable[Part], *, name: str, strict: bool = False) -> list[Written]:
        """Merge rows into the store: all parts of one source, of whatever datasets, in the source's order.

        Nothing is written before the last part has come; then each file of the store is replaced as a whole.

        Args:
            parts: the rows. Of rows without a number of their own, equal ones are told apart only within one call.
            name: of the source; the file of refused rows is called by it.
            strict: refuse all if a row was rejected.

        Returns:
            What it did to each dataset.

        Raises:
            DataError: the rows cannot be stored beside those that are there, or `strict` and a row was rejected.
            StorageError: the disk refuses.
        """
        with Spool(self.root) as spool:
            for part in [parts] if isinstance(parts, Part) else parts:
                spool.add(part)
            if strict and spool.rejected_count:
                first = next(each.rejected[0] for each in spool.datasets.values() if each.rejected)
                raise DataError(
                    f"{name}: {spool.rejected_count:,} rows cannot be right, the first: row {first.row:,}: "
                    f"{first.reason} ({first.text}); correct the file, or leave --strict out to import the others"
                )
            with self._locked():
                for gathered in spool.datasets.values():
                    self._check_sources(gathered)
                return [self._write_dataset(gathered, name) for gathered in spool.datasets.values()]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait until nobody else writes to this store, and keep others waiting."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("wb")
        except OSError as error:
            raise StorageError(f"{self.root}: {error.strerror}; choose a folder you may write with --store") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _check_sources(self, gathered: Gathered) -> None:
        """Refuse rows that cannot be told from those of another source: one file holds trades or books of one only."""
        layout = gathered.layout
        if layout.family not in ("trades", "book"):
            return
        for key, pieces in gathered.pieces.items():
            path = self._path(gathered, key)
            there = Partition(path, layout).header.sources if path.exists() else {}
            sources = {**there, **_spans(pieces)}
            if len(sources) > 1:
                names = " and ".join(source or "the venue's own stream" for source in sources)
                raise DataError(
                    f"{path}: would hold {layout.family} of {names}; they number and time them differently, so nobody "
                    "can tell which are the same; import one of them into another --store, or delete that file first"
                )

    def _path(self, gathered: Gathered, key: int) -> Path:
        directory = self.directory(gathered.venue, gathered.symbol, gathered.layout.kind)
        return directory / f"{partition_name(gathered.layout, key)}.parquet"

    def _write_dataset(self, gathered: Gathered, name: str) -> Written:
        directory = self.directory(gathered.venue, gathered.symbol, gathered.layout.kind)
        for left in directory.glob("*.part"):
            left.unlink(missing_ok=True)
        new = replaced = files = 0
        repeated = gathered.repeated
        for key in sorted(gathered.pieces):
            added = self._write_partition(gathered, key)
            new, repeated, replaced = new + added[0], repeated + added[1], replaced + added[2]
            files += added[3]
        rejected_path = self._write_rejected(gathered, name)
        return Written(
            venue=gathered.venue,
            symbol=gathered.symbol,
            kind=gathered.layout.kind,
            new=new,
            repeated=repeated,
            replaced=replaced,
            rejected=len(gathered.rejected),
            rounded=gathered.rounded,
            files=files,
            rejected_path=rejected_path,
            rejected_first=tuple(gathered.rejected[:_REJECTED_TOLD]),
        )

    def _write_partition(self, gathered: Gathered, key: int) -> tuple[int, int, int, int]:
        """Merge the rows of one file; return how many were new, repeated and replaced, and the files written."""
        layout, pieces = gathered.layout, gathered.pieces[key]
        path = self._path(gathered, key)
        price_exponent, qty_exponent = gathered.exponents(key)
        old, sources = None, _spans(pieces)
        if path.exists():
            partition = Partition(path, layout)
            header = partition.header
            if _is_there(gathered, key, partition):
                return 0, partition.rows, 0, 0
            price_exponent = min(price_exponent, header.exponent)
            qty_exponent = min(qty_exponent, header.qty_exponent)
            old = rescaled(
                layout,
                partition.read_all(),
                header.exponent - price_exponent,
                header.qty_exponent - qty_exponent,
            )
            if old is None:
                raise DataError(
                    f"{path}: its values do not fit beside the decimals of those that come; look for a slip"
                )
            sources = _joined(header.sources, sources)
        header = make_header(
            layout,
            venue=gathered.venue,
            symbol=gathered.symbol,
            price_exponent=price_exponent,
            qty_exponent=qty_exponent,
            sources=sources,
        )
        if old is None and _is_clean(gathered, key):
            write_partition(path, layout, header, gathered.scaled_rows(key, price_exponent, qty_exponent))
            return sum(piece.rows for piece in pieces), 0, 0, 1
        came = join(list(gathered.scaled_rows(key, price_exponent, qty_exponent)))
        pieces.clear()  # the memory is needed
        merged = merge(layout, old, came)
        if merged.columns is old:
            return merged.new, merged.repeated, merged.replaced, 0
        write_partition(path, layout, header, [merged.columns])
        return merged.new, merged.repeated, merged.replaced, 1

    def _write_rejected(self, gathered: Gathered, name: str) -> Path | None:
        """Write the refused rows of a source beside its dataset; without any, remove what it left before."""
        folder = self.root / gathered.venue / gathered.symbol / REJECTED
        path = folder / f"{gathered.layout.kind}-{name}.csv"
        try:
            if not gathered.rejected:
                path.unlink(missing_ok=True)
                return None
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(("row", "reason", "text"))
                writer.writerows((each.row, each.reason, each.text) for each in gathered.rejected)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            return path
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def read_columns(parts: Iterable[Part]) -> tuple[int, int, Columns]:
    """Return the rows of parts as whole columns, with the exponents that all of them have then.

    Raises:
        DataError: there are no rows, or values do not fit at one exponent.
    """
    pieces = list(parts)
    if not pieces:
        raise DataError("no rows in the range asked for; `bot data list` shows what there is")
    price_exponent = min(part.price_exponent for part in pieces)
    qty_exponent = min(part.qty_exponent for part in pieces)
    columns = []
    for part in pieces:
        powers = part.price_exponent - price_exponent, part.qty_exponent - qty_exponent
        scaled = rescaled(layout_of(part.kind), part.columns, *powers)
        if scaled is None:
            raise DataError(f"{part.venue} {part.symbol} {part.kind}: values do not fit at one exponent")
        columns.append(scaled)
    return price_exponent, qty_exponent, join(columns)


def _is_clean(gathered: Gathered, key: int) -> bool:
    """Return whether the rows of a new file can be written as they came: in order, and surely none twice."""
    layout = gathered.layout
    if layout.family not in ("trades", "quotes", "book"):
        return False
    is_trades = layout.family == "trades"
    last_ns = -(2**62)
    last_number: int | None = None
    for _, columns in gathered.rows(key):
        times = columns[layout.time]
        if times[0] < last_ns or not is_sorted(times):
            return False
        last_ns = int(times[-1])
        if layout.family == "quotes":
            continue
        numbers = columns["trade_id" if is_trades else "update"]
        if is_trades and last_number in (None, 0) and not numbers.any():
            last_number = 0  # none has a number
            continue
        if (is_trades and last_number == 0) or (last_number is not None and numbers[0] <= last_number):
            return False
        if (np.diff(numbers) < (1 if is_trades else 0)).any():  # the rows of a book's message share theirs
            return False
        last_number = int(numbers[-1])
    return True


def _is_there(gathered: Gathered, key: int, partition: Partition) -> bool:
    """Return whether a file holds just the rows that came, in their order: found out without loading all of them."""
    layout, header = gathered.layout, partition.header
    price_exponent, qty_exponent = gathered.exponents(key)
    if price_exponent < header.exponent or qty_exponent < header.qty_exponent:
        return False
    if sum(piece.rows for piece in gathered.pieces[key]) != partition.rows:
        return False
    came = in_groups(gathered.scaled_rows(key, header.exponent, header.qty_exponent), layout)
    for group, columns in enumerate(came):
        there = partition.read(group, list(layout.columns)) if group < partition.group_count else {}
        if not there or not is_equal(layout, there, columns):
            return False
    return True


def _spans(pieces: Sequence[Piece]) -> dict[str, tuple[int, int]]:
    """Return the sources of pieces, each with the first and last time of its rows."""
    spans: dict[str, tuple[int, int]] = {}
    for piece in pieces:
        spans = _joined(spans, {piece.source: (piece.first_ns, piece.last_ns)})
    return spans


def _joined(spans: dict[str, tuple[int, int]], more: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    joined = dict(spans)
    for source, (first, last) in more.items():
        before = joined.get(source, (first, last))
        joined[source] = (min(first, before[0]), max(last, before[1]))
    return dict(sorted(joined.items()))
