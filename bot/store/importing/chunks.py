"""Text and Parquet files in stretches of rows, both read alike: numbers exact, times in ns, words compared.

A reader of market data names the columns that it wants and what each is; whether they came from a CSV file, a packed
one or Parquet makes no difference to it.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.store.importing.decimals import Decimals, from_floats, from_integers, from_text
from bot.store.importing.options import ImportOptions
from bot.store.importing.scan import DATED, MISSING, NUMBER, SKIP, TIME, WORD, scan, word_of

_BLOCK_BYTES = 8 << 20
_PARQUET_ROWS = 1 << 17
_HEAD_BYTES = 1 << 14
_TEXT_MAX = 200
_LINE_MAX = 1 << 20
_DATE = re.compile(r"\d{4}([-./])\d\d\1\d\d")
_UNSAFE = re.compile(r"[\r\n\t\"]")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chunk:
    """A stretch of rows.

    Attributes:
        first_row: the file's number of the first, from 0; a header does not count.
        columns: by the file's own names; of words, `value` is `scan.word_of` each.
        text: gives what the file says in a row of this stretch, cut to 200 characters.
        field: gives what the file says in one column of a row.
    """

    first_row: int
    rows: int
    columns: Mapping[str, Decimals]
    text: Callable[[int], str]
    field: Callable[[int, str], str]


@contextmanager
def told_as_data_error(path: Path) -> Iterator[None]:
    """Turn what a damaged file causes into one line about it."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({reason}); copy or download it again") from error


class TextFile:
    """A delimited text file: plain, packed by gzip, or alone in a zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told_as_data_error(path):
            self._bytes_all = max(1, path.stat().st_size)
            with path.open("rb") as file:
                self._magic = file.read(4)
            with self._open() as (stream, _):
                head = stream.read(_HEAD_BYTES)
        if len(head) == _HEAD_BYTES:
            head = head[: head.rfind(b"\n") + 1]
        self.is_text = bool(head) and b"\0" not in head
        self._bom = 3 if head.startswith(b"\xef\xbb\xbf") else 0
        self.head = head[self._bom :].decode("utf-8", "replace").splitlines() if self.is_text else []
        first = self.head[0] if self.head else ""
        self.delimiter = max(",;\t", key=first.count)
        fields = [field.strip().strip('"') for field in first.split(self.delimiter)]
        self.has_header = bool(first) and not any(map(_is_value, fields))
        self.names = fields if self.has_header else [str(number) for number in range(len(fields))]

    def first_fields(self) -> list[str]:
        """Return the fields of the first row; none if there is no row."""
        lines = self.head[1:] if self.has_header else self.head
        return [field.strip().strip('"') for field in lines[0].split(self.delimiter)] if lines else []

    def chunks(self, wanted: Mapping[str, int], options: ImportOptions) -> Iterator[Chunk]:
        """Yield all rows.

        Args:
            wanted: the columns, and what each is read as (`scan.NUMBER`, `TIME` or `WORD`).
            options: how numbers are rounded, and who is told of progress.

        Raises:
            DataError: the file is damaged or no text.
        """
        kinds = np.array([wanted.get(name, SKIP) for name in self.names], np.int8)
        kinds = kinds[: int(np.flatnonzero(kinds)[-1]) + 1]  # what follows need not be cut into fields
        order = [name for name in self.names if name in wanted]
        first_row = 0
        for block, used in options.ahead(self._blocks()):
            data = np.frombuffer(block, np.uint8)
            lines = int(np.count_nonzero(data == 10))
            value = np.empty((len(order), lines), np.int64)
            places = np.empty((len(order), lines), np.int8)
            starts = np.empty(lines + 1, np.int64)
            rows = scan(data, len(data), np.uint8(ord(self.delimiter)), kinds, value, places, starts)
            columns = {
                name: from_text(value[slot, :rows], places[slot, :rows], options.decimals)
                if wanted[name] == NUMBER
                else Decimals(value=value[slot, :rows], places=places[slot, :rows])
                for slot, name in enumerate(order)
            }
            lines_of = _Lines(block, starts, self.delimiter, self.names)
            yield Chunk(first_row=first_row, rows=rows, columns=columns, text=lines_of.text, field=lines_of.field)
            first_row += rows
            options.on_read(used / self._bytes_all)

    def _blocks(self) -> Iterator[tuple[bytes, int]]:
        """Yield whole lines, and how many bytes of the file have been used up for them."""
        rest = b""
        skip_header = self.has_header
        with told_as_data_error(self.path), self._open() as (stream, position):
            stream.read(self._bom)
            while block := stream.read(_BLOCK_BYTES):
                end = block.rfind(b"\n") + 1
                if end == 0:
                    rest += block
                    if len(rest) > _LINE_MAX + _BLOCK_BYTES:
                        raise DataError(f"{self.path}: a line of more than {_LINE_MAX:,} bytes; this is no table")
                    continue
                whole, rest = rest + block[:end], block[end:]
                if skip_header:
                    whole = whole[whole.index(b"\n") + 1 :]
                    skip_header = False
                yield whole, position()
            if rest and not skip_header:
                yield rest + b"\n", self._bytes_all

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Callable[[], int]]]:
        if self._magic == b"PK\x03\x04":
            with self.path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
                names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
                if len(names) != 1:
                    raise DataError(f"{self.path}: holds {len(names)} files; unpack it and import them one by one")
                with archive.open(names[0]) as unpacked:
                    yield unpacked, raw.tell
            return
        with pa.OSFile(str(self.path)) as file:
            if self._magic[:2] == b"\x1f\x8b":
                with pa.CompressedInputStream(file, "gzip") as unpacked:
                    yield unpacked, file.tell
            else:
                yield file, file.tell


class TableFile:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told_as_data_error(path):
            self._file = pq.ParquetFile(path, memory_map=True)
        self.names: list[str] = list(self._file.schema_arrow.names)
        self.metadata: dict[bytes, bytes] = dict(self._file.schema_arrow.metadata or {})

    def first_fields(self) -> list[str]:
        """Return the fields of the first row as text; none if there is no row, or one that is no plain value."""
        with told_as_data_error(self.path):
            batch = next(self._file.iter_batches(1), None)
        if batch is None or batch.num_rows == 0:
            return []
        return [str(batch.column(index)[0].as_py())[:_TEXT_MAX] for index in range(batch.num_columns)]

    def chunks(self, wanted: Mapping[str, int], options: ImportOptions) -> Iterator[Chunk]:
        """See `TextFile.chunks`."""
        order = [name for name in self.names if name in wanted]
        rows_all = max(1, self._file.metadata.num_rows)
        first_row = 0
        with told_as_data_error(self.path):
            for batch in self._file.iter_batches(_PARQUET_ROWS, columns=order):
                columns = {
                    name: self._column(name, batch.column(name), wanted[name], options.decimals) for name in order
                }
                yield Chunk(
                    first_row=first_row,
                    rows=batch.num_rows,
                    columns=columns,
                    text=_row_of(batch),
                    field=_field_of(batch),
                )
                first_row += batch.num_rows
                options.on_read(first_row / rows_all)

    def _column(self, name: str, column: Any, kind: int, decimals: int | None) -> Decimals:
        found = column.type
        if pa.types.is_dictionary(found):
            column = column.cast(found.value_type)
            found = column.type
        empty = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        if kind == WORD:
            result = _words(column)
        elif pa.types.is_string(found) or pa.types.is_large_string(found):
            result = _scanned(column, kind, decimals)
        elif pa.types.is_timestamp(found) or pa.types.is_date(found):
            ns = column.cast(pa.timestamp("ns", tz=getattr(found, "tz", None))).cast(pa.int64())
            value = ns.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
            result = Decimals(value=value, places=np.full(len(value), DATED, np.int8))
        elif pa.types.is_integer(found) or pa.types.is_boolean(found):
            result = from_integers(column.fill_null(0).to_numpy(zero_copy_only=False))
        elif pa.types.is_floating(found):
            result = from_floats(column.to_numpy(zero_copy_only=False).astype(np.float64), decimals)
        elif pa.types.is_decimal(found):
            result = _scanned(column.cast(pa.string()), kind, decimals)
        else:
            raise DataError(f"{self.path}: column {name} is {found}; convert it to numbers, texts or times")
        if empty is not None:
            result = Decimals(
                value=result.value,
                places=np.where(empty, np.int8(MISSING), result.places),
                rounded=result.rounded,
            )
        return result


class Tables:
    """Opens files, each once for all who want to look at it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def table(self) -> TextFile | TableFile | None:
        """Return the file as rows and columns, None if it is neither text nor Parquet."""
        with told_as_data_error(self.path), self.path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        if is_parquet:
            return TableFile(self.path)
        text = TextFile(self.path)
        return text if text.is_text else None


def _is_value(field: str) -> bool:
    """Return whether a field is a number or a date, which the name of a column is not."""
    if _DATE.match(field):
        return True
    try:
        float(field)
    except ValueError:
        return False
    return field.lower() not in ("nan", "inf", "infinity")


class _Lines:
    """The lines of a block, for the few that somebody wants to see."""

    def __init__(self, block: bytes, starts: NDArray[np.int64], delimiter: str, names: Sequence[str]) -> None:
        self._block = block
        self._starts = starts
        self._delimiter = delimiter
        self._names = names

    def text(self, row: int) -> str:
        return self._line(row)[:_TEXT_MAX]

    def field(self, row: int, name: str) -> str:
        return self._line(row).split(self._delimiter)[self._names.index(name)].strip().strip('"')

    def _line(self, row: int) -> str:
        start = int(self._starts[row])
        return self._block[start : self._block.index(b"\n", start)].decode("utf-8", "replace").strip()


def _row_of(batch: Any) -> Callable[[int], str]:
    def text(row: int) -> str:
        values = batch.slice(row, 1).to_pylist()[0]
        return ", ".join(f"{name}={value}" for name, value in values.items())[:_TEXT_MAX]

    return text


def _field_of(batch: Any) -> Callable[[int, str], str]:
    return lambda row, name: str(batch.column(name)[row].as_py())


def _words(column: Any) -> Decimals:
    texts = column.cast(pa.string()).dictionary_encode()
    words = np.array([word_of(text or "") for text in texts.dictionary.to_pylist()] or [0], np.int64)
    codes = texts.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return Decimals(value=words[codes], places=np.zeros(len(column), np.int8))


def _scanned(column: Any, kind: int, decimals: int | None) -> Decimals:
    """Read texts as numbers or times, as if they stood in a text file."""
    texts = [_UNSAFE.sub(" ", text or "") for text in column.to_pylist()]
    data = "".join(f"x\t{text}\n" for text in texts).encode()
    value = np.empty((1, len(texts)), np.int64)
    places = np.empty((1, len(texts)), np.int8)
    kinds = np.array([SKIP, TIME if kind == TIME else NUMBER], np.int8)
    rows = scan(
        np.frombuffer(data, np.uint8), len(data), np.uint8(9), kinds, value, places, np.empty(len(texts) + 1, np.int64)
    )
    assert rows == len(texts)
    if kind == TIME:
        return Decimals(value=value[0], places=places[0])
    return from_text(value[0], places[0], decimals)
