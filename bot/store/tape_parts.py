"""The tape of a run that goes on: small Parquet files, each whole, of which a reader makes one table at any moment.

`tape.parts/` holds rows that never change any more in files of some thousands, and in `newest.parquet` the rest, which
is replaced whole each time. Files appear by a rename, so a process that dies leaves all that was written last. At the
end of the run they become the one file that a replay writes, `tape.parquet`, and the directory goes. `forecasts` and
`shadow` likewise. A bar that stands in two files counts once, as the later one has it.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bot.domain.errors import DataError, StorageError
from bot.domain.market import ForecastBatch
from bot.ports import TapeRows
from bot.store.tape_files import forecast_table, tape_table

PART_ROWS = 4_096
_MERGED = 16  # small files that become one
_NEWEST = "newest.parquet"
_NAME = re.compile(r"([0-9]{8})-([0-9]{8})\.parquet")
_FORMAT = {"compression": "zstd", "use_dictionary": ["instrument"], "write_statistics": False}
_TRIES = 5  # files may be merged while they are read


class TapeParts:
    """Writes one kind of rows. All methods block: call them off the event loop, one at a time.

    Args:
        directory: the run's.
        name: "tape", "forecasts" or "shadow".
        part_rows: of the files that are never touched again.
    """

    def __init__(self, directory: Path, name: str, *, part_rows: int = PART_ROWS) -> None:
        self._whole = directory / f"{name}.parquet"
        self._directory = directory / f"{name}.parts"
        self._part_rows = part_rows
        self._kept: pa.Table | None = None  # settled rows that are in no file of their own yet
        self._files: list[tuple[int, int]] = []  # by number, the first and the last small file in each

    def write(self, settled: Sequence[TapeRows | ForecastBatch], newest: Sequence[TapeRows | ForecastBatch]) -> None:
        """Write rows that will not change, and those that may, which take the place of the last ones.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            if settled:
                # In one table at all times: one of a single row takes as much memory as a hundred rows do.
                self._kept = _joined([*self._kept_tables, *map(_table, settled)])
            self._directory.mkdir(exist_ok=True)
            if self._kept is not None and self._kept.num_rows >= self._part_rows:
                self._keep(self._kept)
                self._kept = None
            rest = [*self._kept_tables, *map(_table, newest)]
            if rest:
                _put(_joined(rest), self._directory / _NEWEST)
            else:
                (self._directory / _NEWEST).unlink(missing_ok=True)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self._directory}: the tape cannot be written ({error})") from error

    def finish(self) -> None:
        """Make one file of all of them.

        Raises:
            StorageError: the disk refuses; the files stay as they are.
        """
        try:
            paths = _paths(self._whole.parent, self._whole.stem)
            if not paths or paths == [self._whole]:
                return
            part = self._whole.with_name(self._whole.name + ".part")
            with pq.ParquetWriter(part, pq.read_schema(paths[-1]), **_FORMAT) as writer:
                for path in paths:  # one after another: a long run is larger than memory ought to be
                    writer.write_table(pq.read_table(path).cast(writer.schema))
            part.replace(self._whole)
            for path in self._directory.iterdir():
                path.unlink()
            self._directory.rmdir()
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self._whole}: the tape cannot be written ({error})") from error

    @property
    def _kept_tables(self) -> list[pa.Table]:
        return [] if self._kept is None else [self._kept]

    def _keep(self, rows: pa.Table) -> None:
        """Give settled rows a file of their own; of many small files make one."""
        number = self._files[-1][1] + 1 if self._files else 0
        _put(rows, self._path(number, number))
        self._files.append((number, number))
        small = [each for each in self._files if each[0] == each[1]]
        if len(small) < _MERGED:
            return
        first, last = small[0][0], small[-1][1]
        paths = [self._path(*each) for each in small]
        _put(_joined([pq.read_table(path) for path in paths]), self._path(first, last))
        self._files = [*(each for each in self._files if each not in small), (first, last)]
        for path in paths:
            path.unlink()

    def _path(self, first: int, last: int) -> Path:
        return self._directory / f"{first:08d}-{last:08d}.parquet"


def read_rows(directory: Path, name: str) -> pa.Table | None:
    """Return a run's "tape", "forecasts" or "shadow", whether it is finished, cut short or goes on; None without a row.

    Raises:
        DataError: a file is damaged.
    """
    for attempt in range(_TRIES):
        paths = _paths(directory, name)
        try:
            tables = [table for path in paths if (table := _read(path)) is not None]
            if len(tables) == 1 and paths[0].parent == directory:  # whole, and each bar in it once
                return tables[0]
            return _without_doubles(_joined(tables)) if tables else None
        except FileNotFoundError as error:  # merged meanwhile
            if attempt == _TRIES - 1:
                raise DataError(f"{error.filename}: it is gone") from error
    return None


def rows_stamp(directory: Path, name: str) -> int:
    """Return what differs once there are other rows."""
    stamps = [0]
    for path in (directory / f"{name}.parquet", directory / f"{name}.parts"):
        with suppress(OSError):
            stamps.append(path.stat().st_mtime_ns)
    return max(stamps)


def _paths(directory: Path, name: str) -> list[Path]:
    whole, parts = directory / f"{name}.parquet", directory / f"{name}.parts"
    if whole.is_file():
        return [whole]
    try:
        found = {
            (int(match[1]), int(match[2])): path
            for path in parts.iterdir()
            if (match := _NAME.fullmatch(path.name)) is not None
        }
    except (FileNotFoundError, NotADirectoryError):
        return []
    is_inner = {
        each for each in found for other in found if each != other and other[0] <= each[0] and each[1] <= other[1]
    }
    newest = [parts / _NEWEST] if (parts / _NEWEST).is_file() else []
    return [*(found[each] for each in sorted(found) if each not in is_inner), *newest]


def _read(path: Path) -> pa.Table | None:
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        if path.name == _NEWEST:  # the machine went down while it was being replaced; what is older is whole
            return None
        raise DataError(f"{path}: damaged ({error})") from error


def _without_doubles(table: pa.Table) -> pa.Table:
    """Return each instrument's bars once, the last of each, in order of time."""
    names, close_ns = table["instrument"].to_numpy(zero_copy_only=False), table["close_ns"].to_numpy()
    _, codes = np.unique(names.astype(str), return_inverse=True)
    order = np.lexsort((np.arange(len(names)), close_ns, codes))
    is_last = np.ones(len(order), dtype=np.bool_)
    is_last[:-1] = (np.diff(codes[order]) != 0) | (np.diff(close_ns[order]) != 0)
    kept = np.sort(order[is_last])
    rows = kept[np.argsort(close_ns[kept], kind="stable")]
    return table.take(pa.array(rows))


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Return one table; what is said of the forecasts is what is said of the newest."""
    joined = pa.concat_tables([each.replace_schema_metadata(None) for each in tables], promote_options="default")
    return joined.combine_chunks().replace_schema_metadata(tables[-1].schema.metadata)


def _table(rows: TapeRows | ForecastBatch) -> pa.Table:
    if isinstance(rows, TapeRows):
        return tape_table(rows)
    # A run may change its model; the description says the newest one's.
    return forecast_table(rows).append_column("model_id", pa.repeat(pa.scalar(rows.model_id), len(rows)))


def _put(table: pa.Table, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part, **_FORMAT)
    part.replace(path)
