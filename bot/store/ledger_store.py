"""Writes one run's ledger and tape.

Everything is written under names that end in `.part`, and renamed once the last row is in: what carries the final name
is whole. A run that was cut short keeps its parts, and nobody takes them for a run.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from sqlalchemy import Connection, Engine, create_engine, event, insert, update
from sqlalchemy.exc import SQLAlchemyError

from bot.core.digest import ColumnDigest
from bot.domain.errors import DataError, StorageError
from bot.domain.ledger import LedgerEntry
from bot.domain.market import ForecastBatch
from bot.ports import TapeRows
from bot.store import tables
from bot.store.migrate import upgrade
from bot.store.projection import Projection

GENESIS = hashlib.blake2b(b"multiscale-bot ledger 1", digest_size=32).digest()
_GROUP_ROWS = 1 << 17
TAPE_FIELDS = ("close_ns", "open", "high", "low", "close", "volume", "position", "profit")


def chain(before: bytes, body: bytes) -> bytes:
    """Return the hash of an entry's canonical JSON together with the hash of the entry before it."""
    return hashlib.blake2b(before + body, digest_size=32).digest()


def combine_tape_hashes(tape: str, forecasts: str) -> str:
    """Return the one hash that the ledger's last entry holds of tape and forecasts."""
    return xxhash.xxh3_128_hexdigest((tape + forecasts).encode())


def forecast_hash(directory: Path) -> str:
    """Return the hash of the forecasts that a run's directory holds.

    Raises:
        DataError: the file is damaged.
    """
    digest = ColumnDigest("forecasts")
    path = directory / "forecasts.parquet"
    if path.is_file():
        try:
            for group in range((file := pq.ParquetFile(path)).num_row_groups):
                table = file.read_row_group(group)
                for name in sorted(set(table["instrument"].to_pylist())):
                    mine = table.filter(pc.equal(table["instrument"], name))
                    digest.update({f"{name}.{column}": _column(mine, column) for column in _FORECAST_FIELDS})
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: damaged ({error})") from error
    return digest.hexdigest()


def _column(table: pa.Table, name: str) -> Any:
    values = table[name].combine_chunks()
    return (values.flatten() if isinstance(values, pa.FixedSizeListArray) else values).to_numpy()


class ReplayStore:
    """The ledger (SQLite) and the tape (Parquet) of one replay, in one directory; a `ports.LedgerStore`.

    SQLite's own safety is switched off: a replay that dies is run again, and `.part` says that it died.

    Args:
        directory: the run's, existing.
        run: the row of the `runs` table, as far as it is known at the start.
    """

    def __init__(self, directory: Path, run: dict[str, Any]) -> None:
        self._directory = directory
        self._run_id = run["run_id"]
        with _guarded(directory):
            self._engine = _create(directory / "ledger.sqlite.part")
            self._connection: Connection = self._engine.connect()
            self._connection.execute(insert(tables.runs), run | {"status": "running"})
        self._projection = Projection()
        self._digest = GENESIS
        self._seq = 0
        self._tape = _TapeWriter(directory / "tape.parquet.part")
        self._forecasts = _ForecastWriter(directory / "forecasts.parquet.part")
        self._sql = {table.name: _insert_sql(self._engine, table) for table in tables.metadata.sorted_tables}

    @property
    def ledger_hash(self) -> str:
        """Return the hash of the newest entry, which covers all before it."""
        return self._digest.hex()

    def tape_hash(self) -> str:
        """Return the hash of the tape's and the forecasts' columns so far."""
        return combine_tape_hashes(self._tape.hash(), self._forecasts.hash())

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerStore`."""
        encode = msgspec.json.encode
        journal = []
        for entry in entries:
            self._seq += 1
            body = encode(entry)
            self._digest = chain(self._digest, body)
            journal.append((self._seq, entry.ts_ns, type(entry).__name__, body.decode(), self._digest))
            self._projection.add(self._seq, entry)
        self._insert({"journal": journal} | self._projection.take())

    def write_tape(self, rows: TapeRows | ForecastBatch) -> None:
        """See `ports.LedgerStore`."""
        with _guarded(self._directory):
            if isinstance(rows, TapeRows):
                self._tape.write(rows)
            else:
                self._forecasts.write(rows)

    def commit(self) -> None:
        """See `ports.LedgerStore`."""
        with _guarded(self._directory):
            self._connection.commit()

    def finish(self, **known: Any) -> None:
        """Close the books: write what is left, complete the run's row, and give all files their final names.

        Args:
            known: columns of the `runs` table that are known only now.
        """
        self._projection.close()
        self._insert(self._projection.take())
        with _guarded(self._directory):
            row = known | {"status": "finished", "ledger_hash": self.ledger_hash, "tape_hash": self.tape_hash()}
            self._connection.execute(update(tables.runs).values(row))
            self._connection.commit()
            self.close()
            for name in ("tape.parquet", "forecasts.parquet", "ledger.sqlite"):
                part = self._directory / f"{name}.part"
                if part.exists():
                    part.replace(self._directory / name)

    def interrupt(self) -> None:
        """Keep what is finished, as far as the disk lets us, marked as cut short, under its `.part` names."""
        with suppress(SQLAlchemyError, OSError, pa.ArrowException):
            self._connection.commit()
            self._connection.execute(update(tables.runs).values(status="interrupted"))
            self._connection.commit()
        with suppress(SQLAlchemyError, OSError, pa.ArrowException):
            self.close()

    def close(self) -> None:
        """Release files and database."""
        self._tape.close()
        self._forecasts.close()
        self._connection.close()
        self._engine.dispose()

    def _insert(self, rows: dict[str, list[tuple[Any, ...]]]) -> None:
        with _guarded(self._directory):
            for table, values in rows.items():
                if values:
                    self._connection.exec_driver_sql(self._sql[table], values)


def _create(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        # The rollback journal is what a dying replay would need and does not: its ledger stays a `.part`.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA page_size = 32768")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA cache_size = -65536")

    upgrade(engine)
    return engine


def _insert_sql(engine: Engine, table: Any) -> str:
    """Return the INSERT of whole rows, values by position: much cheaper than by name, for the many."""
    return str(insert(table).compile(engine, column_keys=[column.name for column in table.columns]))


@contextmanager
def _guarded(directory: Path) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise StorageError(f"{directory}: the ledger cannot be written ({reason}); free space and run again") from error
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{directory}: {error}; free space and run again") from error


class _GroupWriter:
    """Tables as Parquet, gathered into large row groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        table = pa.concat_tables(self._waiting)
        self._waiting, self._rows = [], 0
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, table.schema, compression="lz4", use_dictionary=["instrument"], write_statistics=False
            )
        self._writer.write_table(table)


class _TapeWriter(_GroupWriter):
    """The tape: one row per bar."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._digests: dict[str, ColumnDigest] = {}

    def write(self, rows: TapeRows) -> None:
        columns = {name: getattr(rows, name) for name in TAPE_FIELDS}
        self._digests.setdefault(rows.instrument, ColumnDigest(rows.instrument)).update(columns)
        self.add(pa.table({"instrument": _repeat(rows.instrument, len(rows.close_ns))} | columns))

    def hash(self) -> str:
        return "".join(self._digests[name].hexdigest() for name in sorted(self._digests))


class _ForecastWriter(_GroupWriter):
    """All forecasts: one row per decision bar, quantiles and importance as fixed-size lists."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._digest = ColumnDigest("forecasts")

    def write(self, forecasts: ForecastBatch) -> None:
        rows, horizons, levels = forecasts.quantiles.shape
        name = forecasts.instrument.name
        self._digest.update({f"{name}.{field}": getattr(forecasts, field).ravel() for field in _FORECAST_FIELDS})
        columns = {
            "instrument": _repeat(name, rows),
            "close_ns": forecasts.close_ns,
            "known_ns": forecasts.known_ns,
            "quantiles": _fixed_list(forecasts.quantiles.reshape(rows, horizons * levels)),
            "importance": _fixed_list(forecasts.importance),
        }
        description = {
            "model_id": forecasts.model_id,
            "scale_ns": forecasts.scale_ns,
            "horizons_ns": forecasts.horizons_ns,
            "levels": forecasts.levels,
            "scales_ns": forecasts.scales_ns,
        }
        self.add(pa.table(columns, metadata={"forecasts": msgspec.json.encode(description)}))

    def hash(self) -> str:
        return self._digest.hexdigest()


def _repeat(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)


_FORECAST_FIELDS = ("close_ns", "known_ns", "quantiles", "importance")


def _fixed_list(rows_by_items: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows_by_items.ravel()), rows_by_items.shape[1])
