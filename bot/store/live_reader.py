"""Reads a live ledger while it is written: everything as it stood at one moment, and the writer is not held up."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from bot.domain.errors import DataError
from bot.store.postgres_dialect import postgres_engine
from bot.store.postgres_ledger import address

FILE = "ledger.sqlite"
_PAGE_ROWS = 5_000


def is_postgres(where: str) -> bool:
    """Return whether a ledger's place is a database's address, not a path."""
    return where.startswith(("postgresql://", "postgres://"))


def ledger_name(where: str) -> str:
    """Return what to call a ledger in a message: without a password."""
    return address(where) if is_postgres(where) else where


def ledger_file(where: str) -> Path:
    """Return the file of a ledger that is kept in one: the path itself, or the one in a run's directory."""
    path = Path(where)
    return path / FILE if path.is_dir() else path


def open_snapshot(where: str) -> Engine:
    """Return an engine that sees a ledger as it is now, whoever writes meanwhile; `dispose` ends it.

    Raises:
        DataError: there is no ledger, or it cannot be read.
    """
    engine = postgres_engine(where, is_snapshot=True) if is_postgres(where) else _sqlite_snapshot(ledger_file(where))
    try:
        names = inspect(engine).get_table_names()
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise DataError(f"{ledger_name(where)}: the ledger cannot be read ({reason_of(error)})") from error
    if "journal" not in names:
        engine.dispose()
        raise DataError(f"{ledger_name(where)}: holds no ledger of this bot")
    return engine


def journal_pages(engine: Engine) -> Iterator[list[tuple[int, int, str, str, bytes]]]:
    """Yield the journal's rows in order, some thousands at a time."""
    after = 0
    with engine.connect() as connection:
        while True:
            rows = connection.exec_driver_sql(
                "SELECT seq, ts_ns, kind, body, hash FROM journal "
                f"WHERE seq > {after:d} ORDER BY seq LIMIT {_PAGE_ROWS:d}"
            ).all()
            if not rows:
                return
            yield [tuple(row) for row in rows]
            after = int(rows[-1][0])


def reason_of(error: BaseException) -> str:
    """Return what the database said, in one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


class _Snapshot(sqlite3.Connection):
    """A connection in one long reading transaction: what would end it does nothing."""

    def commit(self) -> None:
        """Do nothing."""

    def rollback(self) -> None:
        """Do nothing."""


def _sqlite_snapshot(path: Path) -> Engine:
    if not path.is_file():
        raise DataError(f"{path}: no ledger here")

    def connect() -> sqlite3.Connection:
        # A reader that cannot write can neither lock the writer out nor touch its log.
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, factory=_Snapshot, timeout=5)
        connection.isolation_level = None
        connection.execute("BEGIN")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=StaticPool)


def schema_of(engine: Engine) -> dict[str, Any]:
    """Return the tables that a ledger has, each with the names of its columns."""
    look = inspect(engine)
    return {name: [column["name"] for column in look.get_columns(name)] for name in look.get_table_names()}
