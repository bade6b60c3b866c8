"""Copies of live ledgers: backups, their restoring, moves between SQLite and PostgreSQL, and upgrades of the schema.

A copy is taken at one moment while the bot writes on. It is checked before it gets its name: a backup that does not
verify is no backup.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from bot.core.epochs import GAP
from bot.domain.errors import ConfigError, DataError, StorageError
from bot.store import tables
from bot.store.live_reader import (
    is_postgres,
    journal_pages,
    ledger_file,
    ledger_name,
    open_snapshot,
    reason_of,
    schema_of,
)
from bot.store.live_sqlite import sync_directory
from bot.store.migrate import upgrade, versions
from bot.store.postgres_dialect import postgres_engine
from bot.store.postgres_ledger import LOCK_KEY
from bot.store.sql_ledger import GENESIS, chain

_PAGE_ROWS = 2_000


def back_up(where: str, out: Path) -> int:
    """Write a checked copy of a ledger as a SQLite file; return how many entries it holds.

    Raises:
        ConfigError: there is such a file already.
        DataError: there is no ledger, or it does not verify.
        StorageError: the file cannot be written.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists; name another file")
    part = out.with_name(out.name + ".part")
    with _storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _discard(part)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if is_postgres(where):
            with _disposing(open_snapshot(where)) as source, _disposing(_sqlite(part)) as target:
                _copy(source, target, to=versions(source)[0])
        else:
            _copy_file(ledger_file(where), part)
        entries = _verify(part)
        _name(part, out)
    return entries


def restore(backup: Path, where: str, *, now_ns: int) -> int:
    """Put a backup in a ledger's place; return how many entries it holds.

    What is restored may be older than what the venue has seen. So the next start takes an epoch well above any that
    the lost piece can have held, and waits as after a crash.

    Args:
        backup: made by `back_up`.
        where: a path, whose old file is kept beside it; or the address of an empty PostgreSQL database. Nobody may
            have it open.
        now_ns: noted as the time of the restoring.

    Raises:
        ConfigError: the database is not empty.
        DataError: the backup does not verify.
        StorageError: the ledger cannot be written.
    """
    entries = _verify(backup)
    if is_postgres(where):
        with _storing(ledger_name(where)), _disposing(postgres_engine(where)) as target:
            if schema_of(target):
                raise ConfigError(f"{ledger_name(where)}: is not empty; restore into an empty database")
            with _disposing(open_snapshot(str(backup))) as source:
                _copy(source, target, to=versions(source)[0])
            _mark_restored(target, now_ns)
        return entries
    path = ledger_file(where) if Path(where).is_file() or Path(where).is_dir() else Path(where)
    part = path.with_name(path.name + ".part")
    with _storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _discard(part)
        _copy_file(backup, part)
        with _disposing(_sqlite(part)) as target:
            _mark_restored(target, now_ns)
        _set_aside(path)
        _name(part, path)
    return entries


def upgrade_ledger(where: str) -> tuple[str | None, str | None, Path | None]:
    """Bring a ledger to the newest schema, a backup first; return its old version, the new one, and the backup.

    A SQLite ledger is upgraded in a copy, which takes its place when it is whole. PostgreSQL changes its tables within
    transactions. Nobody may have the ledger open.

    Raises:
        DataError: there is no ledger, or it does not verify.
        StorageError: it cannot be written.
    """
    with _disposing(open_snapshot(where)) as engine:
        old, newest = versions(engine)
    if old == newest:
        return old, newest, None
    if old is None or newest is None or old > newest:
        raise DataError(f"{ledger_name(where)}: has schema {old}, which this version does not know; update the bot")
    backup = _backup_path(where, old)
    back_up(where, backup)
    with _storing(ledger_name(where)):
        if is_postgres(where):
            with _disposing(postgres_engine(where)) as engine:
                with engine.connect() as connection:
                    is_ours = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({LOCK_KEY})").scalar_one()
                if not is_ours:
                    raise ConfigError(f"{ledger_name(where)}: a bot is using the ledger; stop it first")
                upgrade(engine)
        else:
            path = ledger_file(where)
            _empty_log(path)
            part = path.with_name(path.name + ".part")
            _discard(part)
            _copy_file(backup, part)
            with _disposing(_sqlite(part)) as engine:
                upgrade(engine)
            _verify(part)
            for end in ("-wal", "-shm"):
                Path(f"{path}{end}").unlink(missing_ok=True)
            _name(part, path)
    return old, newest, backup


def _backup_path(where: str, version: str) -> Path:
    base = Path.cwd() / "ledger.sqlite" if is_postgres(where) else ledger_file(where)
    first = base.with_name(f"{base.name}.schema-{version}.backup")
    return _free(first)


def _set_aside(path: Path) -> None:
    """Rename a ledger that is in the way. Its log goes first: left behind, it would be read into the next file."""
    with suppress(StorageError, sqlite3.Error):  # it may be what is damaged
        _empty_log(path)
    aside = _free(path.with_name(path.name + ".replaced"))
    for end in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{end}").rename(f"{aside}{end}")


def _empty_log(path: Path) -> None:
    """Move what is in a ledger's log into the file.

    Raises:
        StorageError: somebody has the file open.
    """
    if not path.is_file():
        return
    connection = sqlite3.connect(path, timeout=5)
    try:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    if busy:
        raise StorageError(f"{path}: another program has it open; close that program")


def _free(path: Path) -> Path:
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def _mark_restored(engine: Engine, now_ns: int) -> None:
    """Note the restoring as a start that crashed, with a number beyond any that the lost piece can have held."""
    if "epochs" not in schema_of(engine):
        return  # of an older schema, from before there were any
    epochs = tables.epochs
    with engine.begin() as connection:
        last = connection.execute(select(epochs.c.epoch).order_by(epochs.c.epoch.desc()).limit(1)).scalar()
        after = connection.execute(select(tables.journal.c.seq).order_by(tables.journal.c.seq.desc()).limit(1)).scalar()
        connection.execute(
            insert(epochs).values(
                epoch=(last or 0) + GAP,
                started_ns=now_ns,
                ended_ns=None,
                after_seq=after or 0,
                run_id="restored",
                host="",
                pid=0,
                version="",
                config_hash="",
            )
        )


def _copy(source: Engine, target: Engine, *, to: str | None) -> None:
    """Write all that one ledger holds into an empty one of another kind of database."""
    upgrade(target, to or "head")
    present = schema_of(source)
    with target.begin() as connection:
        for table in sorted(tables.metadata.sorted_tables, key=lambda table: table.name != "journal"):
            if table.name in present:
                columns = [column for column in table.columns if column.name in present[table.name]]
                statement = insert(table)
                for rows in _pages(source, table, columns):
                    connection.execute(statement, rows)


def _pages(engine: Engine, table: Table, columns: Sequence[Any]) -> Iterator[list[dict[str, Any]]]:
    if "seq" not in table.c:
        with engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(select(*columns)).mappings()]
        for start in range(0, len(rows), _PAGE_ROWS):
            yield rows[start : start + _PAGE_ROWS]
        return
    after, step = 0, _PAGE_ROWS
    with engine.connect() as connection:
        last = connection.execute(select(table.c.seq).order_by(table.c.seq.desc()).limit(1)).scalar() or 0
        while after < last:
            query = select(*columns).where(table.c.seq > after, table.c.seq <= after + step).order_by(table.c.seq)
            rows = [dict(row) for row in connection.execute(query).mappings()]
            if rows:
                yield rows
            after += step


def _verify(path: Path) -> int:
    """Return how many entries a SQLite ledger holds.

    Raises:
        DataError: its pages or its chain are not what was written.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    seq, digest = 0, GENESIS
    with _disposing(open_snapshot(str(path))) as engine:
        try:
            with engine.connect() as connection:
                said = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
            if said != "ok":
                raise DataError(f"{path}: damaged ({said}); it is no use as a backup")
            for page in journal_pages(engine):
                for number, _, kind, body, stored in page:
                    seq += 1
                    digest = chain(digest, body.encode())
                    if number != seq or digest != stored:
                        raise DataError(f"{path}: entry {number} ({kind}), or one before it, is not what was written")
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise DataError(f"{path}: damaged ({reason_of(error)}); it is no use as a backup") from error
    return seq


def _copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is at one moment, page by page, also while it is written."""
    if not source.is_file():
        raise DataError(f"{source}: no ledger here")
    reading = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    try:
        writing = sqlite3.connect(target)
        try:
            reading.backup(writing)
            # In a file that nobody writes to, a log beside it would only be lost on the way.
            writing.execute("PRAGMA journal_mode = DELETE")
        finally:
            writing.close()
    finally:
        reading.close()
    target.chmod(0o600)


def _name(part: Path, path: Path) -> None:
    """Give a finished file its name, durably."""
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    part.replace(path)
    sync_directory(path.parent)


def _discard(path: Path) -> None:
    for end in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def _sqlite(path: Path) -> Engine:
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(path), poolclass=NullPool)


@contextmanager
def _disposing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _storing(what: Path | str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StorageError(f"{what}: cannot be written ({reason_of(error)}); free space and try again") from error
