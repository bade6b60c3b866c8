"""Parquet files that people bring along, opened and checked: what is wrong with one is said in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bot.domain.errors import DataError
from bot.domain.market import I64

MS = 1_000_000
# Times outside are in another unit, or nonsense: a ts in seconds lies before, one in microseconds after.
EARLIEST_MS = 10**12
LATEST_MS = 4_102_444_800_000


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file.

    Raises:
        DataError: it is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path in [market]")
    return guarded(path, lambda: pq.ParquetFile(path, memory_map=True))


def guarded(path: Path, read: Any) -> Any:
    """Return what `read` returns; what a damaged file causes becomes one line about it."""
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a whole Parquet file ({reason}); copy or download it again") from error


def check_schema(file: pq.ParquetFile, path: Path, need: Sequence[str], kind: str) -> None:
    """Raise DataError unless the file has the columns needed, each of a type that can hold what it must."""
    schema = file.schema_arrow
    missing = [name for name in need if name not in schema.names]
    if missing:
        needs = "needs" if kind == "funding" else "need"
        raise DataError(
            f"{path}: no column {', '.join(missing)}; {kind} {needs} {', '.join(need)}, the file has "
            f"{', '.join(schema.names[:30])}; rename or add columns"
        )
    for name in need:
        found = schema.field(name).type
        is_whole = pa.types.is_integer(found)
        is_text = pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_dictionary(found)
        if name == "ts" and not is_whole:
            raise DataError(f"{path}: column ts is {found}; convert it to whole milliseconds since 1970, UTC, as int64")
        if name == "side" and not (is_whole or pa.types.is_boolean(found) or is_text):
            raise DataError(f"{path}: column side is {found}; convert it to 1 and 0, or to buy and sell")
        if name == "symbol" and not is_text:
            raise DataError(f"{path}: column symbol is {found}; convert it to text")
        if name not in ("ts", "side", "symbol") and not (is_whole or pa.types.is_floating(found)):
            raise DataError(f"{path}: column {name} is {found}; convert it to numbers, float64")


def times_ns(table: Any, path: Path, file_row: int) -> I64:
    """Return the column `ts` in ns; `file_row` is the number of the table's first row in the file.

    Raises:
        DataError: a row has none, or one in another unit.
    """
    column = table.column("ts")
    if column.null_count:
        first = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{path}: row {file_row + first:,} has no ts; correct or drop it")
    ts_ms = column.to_numpy(zero_copy_only=False)
    bad = (ts_ms < EARLIEST_MS) | (ts_ms >= LATEST_MS)
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{path}: row {file_row + first:,} has the ts {ts_ms[first]}, which in ms is not a time from 2001 to 2100; "
            "convert ts to whole milliseconds since 1970, UTC"
        )
    ts_ns: I64 = ts_ms.astype(np.int64) * MS
    return ts_ns


def when(ts_ns: int) -> str:
    """Return a time as a person writes it."""
    if abs(ts_ns) >= 2**61:
        return "the beginning" if ts_ns < 0 else "the end"
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[s]")) + "Z"
