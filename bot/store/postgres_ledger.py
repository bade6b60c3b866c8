"""A live ledger's database on PostgreSQL: the same tables and migrations as in SQLite.

The right to write is an advisory lock of the very session that writes: who commits, holds it. When the session is lost,
so is the right. Then the lock is taken again, it is seen that no other start came between, and the commit that had no
answer is looked up by its primary key; all within two seconds, or trading stops.
"""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, make_url
from sqlalchemy.exc import ArgumentError

from bot.domain.errors import ConfigError, DataError, StorageError
from bot.store import tables
from bot.store.live_database import CommitUnknown, Head, Rows
from bot.store.live_projection import REPLACED
from bot.store.live_rows import LedgerRows, column_names
from bot.store.live_sqlite import require_newest
from bot.store.migrate import upgrade, versions
from bot.store.postgres_dialect import ASKED, Connection, Error, postgres_engine
from bot.store.projection_rows import Row

RECONNECT_S = 2.0  # from a lost session to trading stopped
_ANSWER_S = 1.5  # of a single statement
_ATTEMPTS = 5
LOCK_KEY = 0x6D756C7469626F74  # "multibot": advisory locks of a database are told apart by number
_AGAIN = ("40001", "40P01")  # serialization failure, deadlock: the whole transaction is run again
_GONE = ("08", "57P")  # classes of SQLSTATE: connection, shutdown
_SERVER = {"synchronous_commit": ("on", "remote_write", "remote_apply"), "fsync": ("on",), "full_page_writes": ("on",)}


class PostgresLedger(LedgerRows):
    """A `LedgerDatabase` on a server. Used by one thread at a time, which runs no event loop itself.

    Args:
        url: such as postgresql://bot@host/database, of the server itself: not of a pooler. An empty database gets the
            newest schema.

    Raises:
        ConfigError: another bot has this ledger open, or the address cannot be used.
        StorageError: the server cannot be reached, or does not keep what it commits.
        DataError: it holds no ledger, or one of another schema; the message says what to do.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = address(url)
        self._epoch: int | None = None
        self._tables = [tables.journal, *(t for t in tables.metadata.sorted_tables if t.name != "journal")]
        self._sql = {table.name: _insert_sql(table) for table in self._tables}
        self._convert = {table.name: _converter(table) for table in self._tables}
        self._connection = self._connect()
        try:
            self._take_lock()
            _prepare(url, self.name)
        except (StorageError, ConfigError, DataError):
            self._connection.close()
            raise

    def save(self, rows: Rows, *, head: Head) -> None:
        """See `LedgerDatabase`."""

        async def work(raw: Any) -> None:
            for table in self._tables:
                if values := rows.get(table.name):
                    convert = self._convert[table.name]
                    await raw.executemany(self._sql[table.name], [convert(row) for row in values])

        self._whole(work, head if rows.get("journal") else None)
        for row in rows.get("epochs", ()):
            self._epoch = row[0]

    def end_epoch(self, number: int, ended_ns: int) -> None:
        """See `LedgerDatabase`."""
        self._whole(lambda raw: raw.execute("UPDATE epochs SET ended_ns = $2 WHERE epoch = $1", number, ended_ns), None)

    def set_run_status(self, status: str) -> None:
        """See `LedgerDatabase`."""
        self._whole(lambda raw: raw.execute("UPDATE runs SET status = $1", status), None)

    def confirm(self) -> None:
        """See `LedgerDatabase`. Asks the server whether this session holds the lock."""
        try:
            held = self._connection.run(self._connection.raw.fetchval(_HOLDS_LOCK, timeout=_ANSWER_S))
        except Error as error:
            if not self._is_lost(error):
                raise self._refusal(error) from error
            self._reconnect(error)
            return
        if not held:
            raise StorageError(f"{self.name}: the lock on the ledger is not ours any more; trading stops")

    def wal_bytes(self) -> int | None:
        """See `LedgerDatabase`."""
        return None

    def close(self) -> None:
        """See `LedgerDatabase`. The lock goes with the session."""
        self._connection.close()

    def _whole(self, work: Callable[[Any], Coroutine[Any, Any, Any]], head: Head | None) -> None:
        """Run a transaction, again from its start where the server asks for that or went away.

        Args:
            work: what it does.
            head: the journal's end once it is done, None where it adds nothing to the journal.
        """

        async def transaction() -> None:
            raw = self._connection.raw
            async with asyncio.timeout(_ANSWER_S), raw.transaction():
                await work(raw)

        failure: Error | None = None
        for _ in range(_ATTEMPTS):
            try:
                self._connection.run(transaction())
                return
            except Error as error:
                failure = error
                if error.sqlstate in _AGAIN:
                    continue
                if not self._is_lost(error):
                    raise self._refusal(error) from error
            self._reconnect(failure)
            if head is None:
                raise CommitUnknown(f"{self.name}: the connection was lost during a commit; start again") from failure
            if self._holds(head):
                return
        raise self._refusal(failure or Error("no answer"))

    def _holds(self, head: Head) -> bool:
        """Return whether the entry that a lost commit ended with is there.

        Raises:
            StorageError: another one is there.
        """
        row = self._one("SELECT hash FROM journal WHERE seq = $1", head.seq)
        if row is not None and row[0] != head.digest:
            raise StorageError(f"{self.name}: entry {head.seq} was written by somebody else; trading stops")
        return row is not None

    def _connect(self) -> Connection:
        try:
            connection = Connection(
                dsn=self._url,
                timeout=RECONNECT_S,
                server_settings=ASKED["server_settings"] | {"synchronous_commit": "on"},
            )
        except Error as error:
            raise StorageError(f"{self.name}: the database cannot be reached ({error}); see that it runs") from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self.name}: not a usable address ({error})") from error
        try:
            if connection.run(connection.raw.fetchval("SELECT pg_backend_pid()")) != connection.raw.get_server_pid():
                raise ConfigError(
                    f"{self.name}: a connection pooler stands before the database, and a lock needs a session of its "
                    "own; give the address of the server itself"
                )
            for name, wanted in _SERVER.items():
                said = connection.run(connection.raw.fetchval(f"SHOW {name}"))
                if said not in wanted:
                    raise StorageError(
                        f"{self.name}: the server runs with {name} = {said}: what it commits can be lost"
                    )
        except (ConfigError, StorageError):
            connection.close()
            raise
        except Error as error:
            connection.close()
            raise StorageError(f"{self.name}: the database cannot be asked ({error}); see that it runs") from error
        return connection

    def _take_lock(self) -> None:
        if self._one("SELECT pg_try_advisory_lock($1)", LOCK_KEY) == (True,):
            return
        holder = self._one(_WHO_HOLDS)
        who = "another bot" if holder is None else f"another bot (database process {holder[0]}, from {holder[1]})"
        raise ConfigError(f"{self.name}: the ledger is in use by {who}; stop that one first")

    def _reconnect(self, cause: Error) -> None:
        """Open a new session and take the lock again, if no other start came between.

        Raises:
            StorageError: it was not done in time, or one did.
        """
        self._connection.terminate()

        async def pause() -> None:
            await asyncio.sleep(0.05)

        with asyncio.Runner() as waiting:
            loop = waiting.get_loop()
            until = loop.time() + RECONNECT_S
            while True:
                try:
                    self._connection = self._connect()
                    self._take_lock()
                    break
                except (StorageError, ConfigError) as error:
                    if loop.time() > until:
                        raise StorageError(
                            f"{self.name}: the session was lost ({cause}) and not regained in {RECONNECT_S} s "
                            f"({error}); trading stops"
                        ) from cause
                    self._connection.close()
                    waiting.run(pause())
        last = self.last_epoch()
        if self._epoch is not None and (last is None or last.number != self._epoch):
            raise StorageError(f"{self.name}: another bot took the ledger over; trading stops")

    def _is_lost(self, error: Error) -> bool:
        state = error.sqlstate or ""
        return self._connection.raw.is_closed() or state.startswith(_GONE) or isinstance(error.orig, OSError)

    def _refusal(self, error: Error) -> StorageError:
        return StorageError(f"{self.name}: the ledger cannot be written ({error}); see the server's log")

    def _place(self, number: int) -> str:
        return f"${number}"

    def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return [tuple(row) for row in self._connection.run(self._connection.raw.fetch(sql, *values))]
        except Error as error:
            raise StorageError(f"{self.name}: the database did not answer ({error}); see that it runs") from error


_HOLDS_LOCK = f"""
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objsubid = 1
      AND classid = {LOCK_KEY >> 32} AND objid = {LOCK_KEY & 0xFFFFFFFF}
)
"""
_WHO_HOLDS = f"""
SELECT l.pid, coalesce(host(a.client_addr), 'this host')
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.classid = {LOCK_KEY >> 32} AND l.objid = {LOCK_KEY & 0xFFFFFFFF}
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def address(url: str) -> str:
    """Return a database's address without its password.

    Raises:
        ConfigError: it is none.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise ConfigError(
            "the ledger's address cannot be read; it looks like postgresql://user@host/database"
        ) from None


def _prepare(url: str, name: str) -> None:
    """Make the tables in an empty database, or see that they are of the newest schema."""
    engine = postgres_engine(url)
    try:
        current, newest = versions(engine)
        if current is None:
            with engine.connect() as connection:
                count = connection.exec_driver_sql(
                    "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"
                ).scalar_one()
            if count:
                raise DataError(f"{name}: the database holds other tables; give the ledger a database of its own")
            upgrade(engine)
            current, newest = versions(engine)
        require_newest(name, current, newest)
    finally:
        engine.dispose()


def _insert_sql(table: Table) -> str:
    places = ", ".join(f"${n}" for n in range(1, len(table.columns) + 1))
    sql = f"INSERT INTO {table.name} ({column_names(table)}) VALUES ({places})"
    if table.name in REPLACED:
        key = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        rest = [c.name for c in table.columns if c.name not in table.primary_key.columns]
        sql += f" ON CONFLICT ({key}) DO UPDATE SET " + ", ".join(f'"{n}" = EXCLUDED."{n}"' for n in rest)
    return sql


def _converter(table: Table) -> Callable[[Row], Row]:
    """Return what makes a Decimal of the texts that stand for one."""
    exact = [n for n, column in enumerate(table.columns) if isinstance(column.type, tables.ExactDecimal)]
    if not exact:
        return lambda row: row

    def convert(row: Row) -> Row:
        values = list(row)
        for n in exact:
            if values[n] is not None:
                values[n] = Decimal(values[n])
        return tuple(values)

    return convert
