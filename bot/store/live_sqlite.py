"""A live ledger's database in one SQLite file, durable with every commit.

The journal mode is WAL: a commit is one sync, and who reads never holds up who writes. SQLite before 3.51.3 can lose a
part of such a log where two connections write or checkpoint at once; here one connection writes, and all others are
opened `mode=ro`, which do neither. What we ask of SQLite is read back, and a file that answers otherwise is refused.
"""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Table, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from bot.domain.errors import DataError, StorageError
from bot.store import tables
from bot.store.live_database import CommitUnknown, Head, Rows
from bot.store.live_projection import REPLACED
from bot.store.live_rows import LedgerRows, column_names
from bot.store.migrate import upgrade, versions

BUSY_MS = 2_000  # how long a commit waits for a stranger's lock, before trading halts
_ASKED = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: a commit returns when it is on the disk
    "busy_timeout": BUSY_MS,
    "foreign_keys": 1,
    "fullfsync": 1,  # where fsync alone does not reach the disk
    "checkpoint_fullfsync": 1,
    "wal_autocheckpoint": 1_000,  # pages
    "cell_size_check": 1,
    "trusted_schema": 0,
}
_UNANSWERED = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT)


class SqliteLedger(LedgerRows):
    """A `LedgerDatabase` in a file. Hold the host lock first: one process writes.

    Args:
        path: the file; made where it is absent, with the newest schema.

    Raises:
        StorageError: it cannot be opened, or SQLite does not do as it is asked.
        DataError: it is no ledger, or of another schema; the message says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        _prepare(path)
        self._connection = _connect(path, self.name)
        try:
            self._configure()
            self._file = self._identity()
        except StorageError:
            self._connection.close()
            raise
        self._tables = [table for table in tables.metadata.sorted_tables if table.name != "journal"]
        self._tables.insert(0, tables.journal)
        self._sql = {table.name: insert_sql(table) for table in self._tables}

    def save(self, rows: Rows, *, head: Head) -> None:
        """See `LedgerDatabase`."""
        self.confirm()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for table in self._tables:
                if values := rows.get(table.name):
                    self._connection.executemany(self._sql[table.name], values)
        except sqlite3.Error as error:
            self._roll_back()
            raise self._refusal(error) from error
        self._commit()

    def end_epoch(self, number: int, ended_ns: int) -> None:
        """See `LedgerDatabase`."""
        self._update("UPDATE epochs SET ended_ns = ? WHERE epoch = ?", (ended_ns, number))

    def set_run_status(self, status: str) -> None:
        """See `LedgerDatabase`."""
        self._update("UPDATE runs SET status = ?", (status,))

    def confirm(self) -> None:
        """See `LedgerDatabase`. The file may have been deleted, or replaced by a backup, under us."""
        if self._identity() != self._file:
            raise StorageError(
                f"{self.name}: the ledger was deleted or replaced while the bot used it; stop and restore it"
            )

    def wal_bytes(self) -> int | None:
        """See `LedgerDatabase`."""
        with suppress(OSError):
            return Path(f"{self.path}-wal").stat().st_size
        return 0

    def close(self) -> None:
        """See `LedgerDatabase`."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _configure(self) -> None:
        for name, wanted in _ASKED.items():
            self._all(f"PRAGMA {name} = {wanted}")
        for name, wanted in _ASKED.items():
            row = self._one(f"PRAGMA {name}")
            if row is None or row[0] != wanted:
                said = "nothing" if row is None else row[0]
                raise StorageError(
                    f"{self.name}: SQLite keeps {name} at {said} instead of {wanted}; "
                    "put the ledger on a local disk, and let no other program have it open"
                )
        # What an earlier process wrote and could not sync may be in the memory of this machine alone. Moving the log
        # into the file writes and syncs it anew. A reader may hold a part back: that part stays in the log.
        self._all("PRAGMA wal_checkpoint(TRUNCATE)")

    def _update(self, sql: str, values: tuple[Any, ...]) -> None:
        self.confirm()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(sql, values)
        except sqlite3.Error as error:
            self._roll_back()
            raise self._refusal(error) from error
        self._commit()

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            self._roll_back()
            if code in _UNANSWERED:
                raise CommitUnknown(
                    f"{self.name}: the disk failed during a commit ({error}): it may or may not be durable; "
                    "check the disk, then start again: what it holds is read then"
                ) from error
            raise self._refusal(error) from error

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def _refusal(self, error: sqlite3.Error) -> StorageError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = {
            sqlite3.SQLITE_FULL: "free space, then start again",
            sqlite3.SQLITE_BUSY: f"another program held it for {BUSY_MS / 1000:g} s; close that program",
            sqlite3.SQLITE_READONLY: "the file or its disk became read-only",
            sqlite3.SQLITE_CONSTRAINT: "it holds that already: a fault of the bot, please report it",
            sqlite3.SQLITE_CORRUPT: "restore a backup (bot db restore)",
            sqlite3.SQLITE_NOTADB: "restore a backup (bot db restore)",
        }.get(code, "check the disk, then start again")
        return StorageError(f"{self.name}: the ledger cannot be written ({error}); {advice}")

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _place(self, number: int) -> str:
        return "?"

    def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._refusal(error) from error


def insert_sql(table: Table) -> str:
    """Return SQLite's INSERT of whole rows by position; rows that hold state replace the ones before."""
    verb = "INSERT OR REPLACE" if table.name in REPLACED else "INSERT"
    return f"{verb} INTO {table.name} ({column_names(table)}) VALUES ({', '.join('?' * len(table.columns))})"


def _connect(path: Path, name: str) -> sqlite3.Connection:
    try:
        # Opened in one thread, used by another; never by two at a time.
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    except sqlite3.Error as error:
        raise StorageError(f"{name}: cannot be opened ({error})") from error


def _prepare(path: Path) -> None:
    """Make a new ledger, or see that an old one has the newest schema.

    A new one gets its name when it is whole: who was killed on the way left nothing that looks like a ledger.
    """
    fresh = path.with_name(path.name + ".new")
    made = path
    if not path.exists() and Path(f"{path}-wal").exists():
        raise StorageError(
            f"{path}: the ledger is gone and its log is left; put it back, or restore a backup (bot db restore)"
        )
    try:
        if not path.exists():
            fresh.unlink(missing_ok=True)
            os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            made = fresh
    except OSError as error:
        raise StorageError(f"{path}: the ledger cannot be made ({error.strerror})") from error
    engine = create_engine("sqlite://", creator=lambda: _connect_plain(made), poolclass=NullPool)
    try:
        if made is fresh:
            upgrade(engine)
        require_newest(str(path), *versions(engine))
        if made is fresh:
            fresh.replace(path)
            sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: the ledger cannot be made ({error.strerror})") from error
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        if getattr(reason, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DataError(
                f"{path}: is no ledger, or damaged ({reason}); restore a backup (bot db restore)"
            ) from error
        is_full = getattr(reason, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        advice = "; make room on its disk" if is_full else ""
        raise StorageError(f"{path}: the ledger cannot be opened ({reason}){advice}") from error
    finally:
        engine.dispose()


def require_newest(name: str, current: str | None, newest: str | None) -> None:
    """Refuse a ledger of another schema.

    Raises:
        DataError: it is older, or newer than this program.
    """
    if current == newest:
        return
    if current is None:
        raise DataError(f"{name}: is no ledger of this bot")
    if newest is None or current > newest:
        raise DataError(
            f"{name}: was written by a newer version (schema {current}, this one knows {newest}); update the bot"
        )
    raise DataError(f"{name}: has schema {current}, the newest is {newest}; run `bot db upgrade {name}` first")


def _connect_plain(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_MS / 1000)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a new file's name is not, by syncing the file."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
