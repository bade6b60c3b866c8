"""SQLAlchemy on PostgreSQL through asyncpg, without an event loop of the caller's.

Migrations, audits and exports are plain synchronous code and want an ordinary engine. SQLAlchemy's own asyncpg driver
needs coroutines switched under it (greenlet); here each connection has a small event loop of its own instead, which
runs only while a call waits for the server. So a connection belongs to one thread at a time that runs no loop itself.

This is the part of PEP 249 that SQLAlchemy asks for.
"""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.pool import StaticPool

T = TypeVar("T")

ASKED: dict[str, Any] = {
    "timeout": 10,
    "statement_cache_size": 0,
    "server_settings": {"application_name": "multiscale-bot", "timezone": "UTC"},
}
"""What every connection asks for."""

apilevel = "2.0"
threadsafety = 0
paramstyle = "numeric_dollar"


class Error(Exception):
    """The server refused, or has gone; `orig` is what asyncpg said."""

    def __init__(self, message: str, orig: BaseException | None = None) -> None:
        super().__init__(message)
        self.orig = orig
        self.sqlstate: str | None = getattr(orig, "sqlstate", None)


class DatabaseError(Error):
    """See PEP 249."""


class OperationalError(DatabaseError):
    """See PEP 249."""


class ProgrammingError(DatabaseError):
    """See PEP 249."""


class IntegrityError(DatabaseError):
    """See PEP 249."""


class NotSupportedError(DatabaseError):
    """See PEP 249."""


class InvalidCachedStatementError(NotSupportedError):
    """SQLAlchemy asks whether an error is one; none is: statements are not kept here."""


class InternalServerError(DatabaseError):
    """SQLAlchemy asks whether an error is one; none is told apart here."""


InterfaceError = DataError = InternalError = Warning = DatabaseError  # noqa: A001


def Binary(value: bytes) -> bytes:  # noqa: N802
    """See PEP 249."""
    return value


class Connection:
    """A connection and the event loop that it lives on.

    Args:
        is_snapshot: everything is read in one transaction that sees the database as it is now, and writes nothing.
        asked: what `asyncpg.connect` takes.
    """

    def __init__(self, *, is_snapshot: bool = False, **asked: Any) -> None:
        self._runner = asyncio.Runner()
        self._is_snapshot = is_snapshot
        self._is_open = True
        self._transaction: Any = None
        try:
            self.raw = self.run(asyncpg.connect(**asked))
        except BaseException:  # purity: only to close the loop; it goes on
            self._runner.close()
            raise
        if is_snapshot:
            self._begin()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine of this connection returns.

        Raises:
            Error: the server refuses, or cannot be reached.
        """
        try:
            return self._runner.run(work)
        except asyncpg.exceptions.IntegrityConstraintViolationError as error:
            raise IntegrityError(_line(error), error) from error
        except asyncpg.exceptions.SyntaxOrAccessError as error:
            raise ProgrammingError(_line(error), error) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise OperationalError(_line(error), error) from error

    def cursor(self) -> "Cursor":
        """See PEP 249."""
        return Cursor(self)

    def commit(self) -> None:
        """See PEP 249."""
        self._end("commit")

    def rollback(self) -> None:
        """See PEP 249."""
        self._end("rollback")

    def close(self) -> None:
        """See PEP 249."""
        if self._is_open:
            self._is_open = False
            with suppress(Error):
                self.run(self.raw.close(timeout=2))
            self._runner.close()

    def terminate(self) -> None:
        """Drop the connection without a word to the server."""
        if self._is_open:
            self._is_open = False
            self.raw.terminate()
            self._runner.close()

    def execute(self, sql: str, values: Sequence[Any]) -> tuple[list[Any], list[Any], str]:
        """Return the rows, the columns and the server's word on what was done."""
        if self._transaction is None:
            self._begin()

        async def work() -> tuple[list[Any], list[Any], str]:
            statement = await self.raw.prepare(sql)
            rows = await statement.fetch(*values)
            return rows, list(statement.get_attributes()), statement.get_statusmsg() or ""

        return self.run(work())

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for every row."""
        if self._transaction is None:
            self._begin()
        self.run(self.raw.executemany(sql, rows))

    def _begin(self) -> None:
        if self._is_snapshot:
            self._transaction = self.raw.transaction(isolation="repeatable_read", readonly=True)
        else:
            self._transaction = self.raw.transaction()
        self.run(self._transaction.start())

    def _end(self, how: str) -> None:
        if self._transaction is None or self._is_snapshot:
            return
        transaction, self._transaction = self._transaction, None
        self.run(getattr(transaction, how)())


class Cursor:
    """See PEP 249."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1

    def execute(self, sql: str, values: Sequence[Any] | None = None) -> None:
        """See PEP 249."""
        rows, attributes, status = self._connection.execute(sql, values or ())
        self._rows = [tuple(row) for row in reversed(rows)]
        self.description = [(a.name, a.type.oid, None, None, None, None, None) for a in attributes] or None
        count = status.rpartition(" ")[2]
        self.rowcount = int(count) if count.isdigit() else -1

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See PEP 249."""
        self._connection.executemany(sql, rows)
        self._rows, self.description, self.rowcount = [], None, -1

    def fetchone(self) -> tuple[Any, ...] | None:
        """See PEP 249."""
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """See PEP 249."""
        return [self._rows.pop() for _ in range(min(size or self.arraysize, len(self._rows)))]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """See PEP 249."""
        rows, self._rows = self._rows[::-1], []
        return rows

    def close(self) -> None:
        """See PEP 249."""
        self._rows = []


def connect(**asked: Any) -> Connection:
    """See PEP 249."""
    return Connection(**asked)


class SyncAsyncpg(PGDialect_asyncpg):
    """SQLAlchemy's asyncpg dialect with the driver above under it."""

    supports_statement_cache = True
    supports_server_side_cursors = False
    is_async = False

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return this module."""
        return sys.modules[__name__]

    def on_connect(self) -> Any:
        """Return what PostgreSQL asks of any driver."""
        return PGDialect.on_connect(self)

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Return whether the server has gone."""
        return connection is not None and connection.raw.is_closed()

    def get_driver_connection(self, connection: Any) -> Any:
        """Return asyncpg's connection."""
        return connection.raw


def postgres_engine(url: str, *, is_snapshot: bool = False) -> Engine:
    """Return an engine that has one connection; `dispose` closes it.

    Args:
        url: such as postgresql://user@host/database.
        is_snapshot: everything is read as it was at the first question, whoever writes meanwhile; nothing is written.
    """
    registry.register("postgresql.syncpg", __name__, "SyncAsyncpg")
    return create_engine(
        "postgresql+syncpg://",
        poolclass=StaticPool,
        creator=lambda: Connection(dsn=url, is_snapshot=is_snapshot, **ASKED),
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
