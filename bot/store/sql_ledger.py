"""The ledger of one replay in SQLite: the journal, chained, and the tables drawn from it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, update
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import StorageError
from bot.domain.ledger import LedgerEntry
from bot.store import tables
from bot.store.migrate import upgrade
from bot.store.projection import Projection

GENESIS = hashlib.blake2b(b"multiscale-bot ledger 1", digest_size=32).digest()


def chain(before: bytes, body: bytes) -> bytes:
    """Return the hash of an entry's canonical JSON together with the hash of the entry before it."""
    return hashlib.blake2b(before + body, digest_size=32).digest()


class SqlLedger:
    """A ledger under construction, in `ledger.sqlite.part`.

    SQLite's own safety is switched off: a replay that dies is run again, and `.part` says that it died.

    Args:
        directory: the run's, existing.
        run: the row of the `runs` table, as far as it is known at the start.

    Raises:
        StorageError: here and in every method: the disk or the database refuses.
    """

    def __init__(self, directory: Path, run: dict[str, Any]) -> None:
        self._directory = directory
        with self._guarded():
            self._engine = _create(directory / "ledger.sqlite.part")
            self._connection: Connection = self._engine.connect()
            self._connection.execute(insert(tables.runs), run | {"status": "running"})
        self._projection = Projection()
        self._digest = GENESIS
        self._seq = 0
        self._sql = {table.name: _insert_sql(self._engine, table) for table in tables.metadata.sorted_tables}

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Add entries, in order."""
        self.write_encoded(entries, [msgspec.json.encode(entry) for entry in entries])

    def write_encoded(self, entries: Sequence[LedgerEntry], bodies: Sequence[bytes]) -> None:
        """Add entries whose canonical JSON is known already."""
        journal = []
        for entry, body in zip(entries, bodies, strict=True):
            self._seq += 1
            self._digest = chain(self._digest, body)
            journal.append((self._seq, entry.ts_ns, type(entry).__name__, body.decode(), self._digest))
            self._projection.add(self._seq, entry)
        self._insert({"journal": journal} | self._projection.take())

    def commit(self) -> None:
        """Make all that was written durable."""
        with self._guarded():
            self._connection.commit()

    def finish(self, known: dict[str, Any]) -> str:
        """Close the books: write what is left and complete the run's row; return the ledger's hash.

        Args:
            known: columns of the `runs` table that are known only now.
        """
        self._projection.close()
        self._insert(self._projection.take())
        with self._guarded():
            row = known | {"status": "finished", "ledger_hash": self._digest.hex()}
            self._connection.execute(update(tables.runs).values(row))
            self._connection.commit()
            self._connection.close()
            self._engine.dispose()
        return self._digest.hex()

    def interrupt(self) -> None:
        """Keep what is written, as far as the disk lets us, marked as cut short."""
        with suppress(SQLAlchemyError, OSError):
            self._connection.commit()
            self._connection.execute(update(tables.runs).values(status="interrupted"))
            self._connection.commit()
        with suppress(SQLAlchemyError, OSError):
            self._connection.close()
            self._engine.dispose()

    def _insert(self, rows: dict[str, list[tuple[Any, ...]]]) -> None:
        with self._guarded():
            for table, values in rows.items():
                if values:
                    self._connection.exec_driver_sql(self._sql[table], values)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            reason = getattr(error, "orig", None) or error
            raise StorageError(
                f"{self._directory}: the ledger cannot be written ({reason}); free space and run again"
            ) from error


def _create(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)))

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
