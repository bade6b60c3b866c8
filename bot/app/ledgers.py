"""Live ledgers: opening one to trade on, looking into one while it is used, keeping copies."""

import csv
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import BotError, ConfigError, DataError, StorageError
from bot.domain.market import ForecastBatch
from bot.ports import TapeRows
from bot.runtime.env import SystemClock, monotonic_ns
from bot.runtime.host_lock import HostLock
from bot.runtime.processes import ProcessPool
from bot.store import tables
from bot.store.ledger_copies import back_up, restore, upgrade_ledger
from bot.store.live_audit_process import Found, Job
from bot.store.live_database import LedgerDatabase
from bot.store.live_ledger import LiveLedger
from bot.store.live_reader import (
    FILE,
    is_postgres,
    ledger_file,
    ledger_name,
    open_snapshot,
    reason_of,
    schema_of,
)
from bot.store.live_sqlite import SqliteLedger
from bot.store.migrate import versions
from bot.store.postgres_ledger import RECONNECT_S, PostgresLedger
from bot.store.strategy_results import strategy_results

if TYPE_CHECKING:
    from bot.store.audit import Audit

_PAGE_ROWS = 5_000


class OpenLedger:
    """A ledger that this process, and no other, may write.

    Attributes:
        store: the `ports.LedgerStore`.
        confirm_within_s: how long it may stay unconfirmed before trading stops; None where it cannot be taken away.
    """

    def __init__(self, lock: HostLock, store: LiveLedger, confirm_within_s: float | None) -> None:
        self._lock = lock
        self.store = store
        self.confirm_within_s = confirm_within_s

    def close(self, *, now_ns: int) -> None:
        """End in order: nothing is in flight, and the next start need not wait."""
        try:
            self.store.close(now_ns=now_ns)
        finally:
            self._lock.close()

    def abandon(self) -> None:
        """End after a failure: the next start waits as after a crash."""
        self.store.abandon()
        self._lock.close()


def open_live(
    where: str,
    run: dict[str, Any],
    *,
    lock_directory: Path,
    tape: Callable[[TapeRows | ForecastBatch], None] | None = None,
) -> OpenLedger:
    """Open a ledger to trade on; make it where there is none.

    Args:
        where: a directory, a file in one, or the address of a PostgreSQL database.
        run: the row of the `runs` table for a new ledger.
        lock_directory: where the host's lock on a PostgreSQL ledger lies; that on a file lies beside it.
        tape: where stretches of the tape go.

    Raises:
        ConfigError: another bot uses it; the message names the process.
        DataError: it is damaged, of another schema, or another account's.
        StorageError: the disk or the database refuses.
    """
    lock = lock_ledger(where, lock_directory)
    try:
        database: LedgerDatabase
        if is_postgres(where):
            database, within = PostgresLedger(where), RECONNECT_S
        else:
            database, within = SqliteLedger(_new_file(where)), None
        try:
            store = LiveLedger(database, run, monotonic_ns=monotonic_ns, tape=tape)
        except BotError:
            database.close()
            raise
    except BotError:
        lock.close()
        raise
    return OpenLedger(lock, store, within)


def lock_ledger(where: str, lock_directory: Path) -> HostLock:
    """Take the host's lock on a ledger.

    Raises:
        ConfigError: another process has it.
    """
    if is_postgres(where):
        name = hashlib.blake2b(ledger_name(where).encode(), digest_size=6).hexdigest()
        return HostLock(lock_directory / f"ledger-{name}.lock", ledger_name(where))
    path = _new_file(where)
    return HostLock(path.with_name(path.name + ".lock"), str(path))


def is_live(where: str) -> bool:
    """Return whether this is a live ledger: not a replay's run, which `bot.app.runs` reads."""
    if is_postgres(where):
        return True
    if not ledger_file(where).is_file():
        return False
    if Path(where).is_file():
        return True
    with _snapshot(where) as engine, engine.connect() as connection:
        mode = connection.execute(select(tables.runs.c.mode)).scalar()
    return mode is not None and mode != "replay"


def audit(where: str, on_progress: Callable[[float, str], None] | None = None) -> "Audit":
    """Return the audit of a live ledger as it stands now.

    Raises:
        DataError: there is none, or it cannot be read at all.
    """
    from bot.store.live_audit import audit_live  # a start need not wait for its libraries

    with _snapshot(where) as engine, engine.connect() as connection:
        total = connection.execute(select(func.max(tables.journal.c.seq))).scalar() or 1

    def tell(entries: int) -> None:
        if on_progress is not None:
            on_progress(min(entries / total, 1.0), f"{entries:,} entries")

    return audit_live(where, tell)


class AuditBeside:
    """Audits a live ledger in a process of its own."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._pool: ProcessPool | None = None

    def __call__(self) -> Found:
        """Return what it finds; blocks: call it off the loop.

        Raises:
            StorageError: the process died.
        """
        pool = self._pool = ProcessPool("bot.store.live_audit_process", [msgspec.json.encode(Job(self._where))])
        try:
            lines = [line for _, line in pool.lines() if line]
        finally:
            pool.close()
        if not lines:
            name = ledger_name(self._where)
            raise StorageError(f"{name}: the process that audits the ledger died; run `bot ledger check`")
        return msgspec.json.decode(lines[-1], type=Found)

    def stop(self) -> None:
        """End the process, from another thread: who waits for it is told that it died."""
        if self._pool is not None:
            self._pool.stop()


def audit_beside(where: str) -> Found:
    """Return what `AuditBeside` finds.

    Raises:
        StorageError: the process died.
    """
    return AuditBeside(where)()


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a ledger is."""

    newest_order: str | None  # our id of the order that was intended last; None: none ever was
    account: int | None  # the account's number at the venue; None: nobody has noted it yet


def owner_of(where: str) -> Owner:
    """Return whose a live ledger is.

    Raises:
        DataError: there is no ledger, or it cannot be read.
    """
    intents, epochs = tables.intents, tables.epochs
    order = select(intents.c.client_order_id).where(intents.c.kind == "submit").order_by(intents.c.seq.desc()).limit(1)
    account = select(epochs.c.account).where(epochs.c.account.is_not(None)).order_by(epochs.c.epoch.desc()).limit(1)
    with _snapshot(where) as engine, engine.connect() as connection:
        return Owner(newest_order=connection.execute(order).scalar(), account=connection.execute(account).scalar())


def describe(where: str) -> dict[str, Any]:
    """Return whose ledger it is, how far it goes, its starts and its balances, JSON-ready.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    with _snapshot(where) as engine, engine.connect() as connection:
        current, newest = versions(engine)
        present = schema_of(engine)
        shown: dict[str, Any] = {"ledger": ledger_name(where), "schema": current}
        if current != newest:
            shown["newest schema"] = newest
        for row in connection.execute(select(tables.runs)).mappings():
            shown |= {name: str(v) if isinstance(v, Decimal) else v for name, v in row.items() if v is not None}
        head = connection.execute(
            select(tables.journal.c.seq, tables.journal.c.ts_ns, tables.journal.c.hash)
            .order_by(tables.journal.c.seq.desc())
            .limit(1)
        ).first()
        if head is not None:
            shown |= {"entries": head.seq, "last_entry_ns": head.ts_ns, "ledger_hash": head.hash.hex()}
        if "epochs" in present:
            columns = tables.columns_in(engine, tables.epochs)
            last = connection.execute(select(*columns).order_by(tables.epochs.c.epoch.desc()).limit(1)).first()
            if last is not None:
                ended = "running, or crashed" if last.ended_ns is None else "ended in order"
                shown |= {"epoch": last.epoch, "epoch_began_ns": last.started_ns, "epoch_state": ended}
                if getattr(last, "account", None) is not None:
                    shown["account"] = last.account
        if "book_moves" in present:
            shown |= {f"strategy {name}": text for name, text in strategy_results(connection)}
        for balance in connection.execute(select(tables.balances).order_by("account", "currency")):
            shown[f"balance {balance.account}"] = f"{balance.amount:f} {balance.currency}"
    return shown


def export(where: str, out: Path) -> list[Path]:
    """Write every table of a live ledger, all as of one moment, as CSV into `out`; return the files.

    Raises:
        DataError: there is no ledger, or it cannot be read.
        ConfigError: `out` cannot be written.
    """
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _snapshot(where) as engine:
            present = schema_of(engine)
            for table in tables.metadata.sorted_tables:
                if table.name in present:
                    part = out / f"{table.name}.csv.part"
                    _write_csv(engine, table, present[table.name], part)
                    written.append(part.replace(out / f"{table.name}.csv"))
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}; choose a directory you may write") from error
    return written


def schema_versions(where: str) -> tuple[str | None, str | None]:
    """Return the schema version of a ledger, and the newest there is.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    with _snapshot(where) as engine:
        return versions(engine)


def upgrade(where: str, *, lock_directory: Path) -> dict[str, Any]:
    """Bring a ledger that nobody uses to the newest schema, a backup first; return what was done.

    Raises:
        ConfigError: a bot uses it.
        DataError: there is no ledger, or it does not verify.
        StorageError: it cannot be written.
    """
    with lock_ledger(where, lock_directory):
        old, new, kept = upgrade_ledger(where)
    return {"from": old, "to": new, "backup": None if kept is None else str(kept)}


def backup(where: str, out: Path) -> dict[str, Any]:
    """Write a checked copy of a ledger, also while it is used; return what was written.

    Raises:
        ConfigError, DataError, StorageError: see `ledger_copies.back_up`.
    """
    return {"backup": str(out), "entries": back_up(where, out)}


def restore_backup(kept: Path, where: str, *, lock_directory: Path) -> dict[str, Any]:
    """Put a backup in a ledger's place; return what was restored.

    Raises:
        ConfigError: a bot uses the ledger, or a database is not empty.
        DataError, StorageError: see `ledger_copies.restore`.
    """
    if is_postgres(where):
        entries = restore(kept, where, now_ns=SystemClock().now_ns())
    else:
        with lock_ledger(where, lock_directory):
            entries = restore(kept, str(_new_file(where)), now_ns=SystemClock().now_ns())
    return {"ledger": ledger_name(where), "entries": entries}


@contextmanager
def _snapshot(where: str) -> Iterator[Engine]:
    engine = open_snapshot(where)
    try:
        yield engine
    except SQLAlchemyError as error:
        raise DataError(f"{ledger_name(where)}: the ledger cannot be read ({reason_of(error)})") from error
    finally:
        engine.dispose()


def _write_csv(engine: Engine, table: Any, names: list[str], path: Path) -> None:
    columns = [column for column in table.columns if column.name in names]
    with path.open("w", encoding="utf-8", newline="") as file, engine.connect() as connection:
        writer = csv.writer(file)
        writer.writerow([column.name for column in columns])
        if "seq" not in table.c:
            writer.writerows(_cells(row) for row in connection.execute(select(*columns)))
            return
        last = connection.execute(select(func.max(table.c.seq))).scalar() or 0
        for after in range(0, last, _PAGE_ROWS):
            query = select(*columns).where(table.c.seq > after, table.c.seq <= after + _PAGE_ROWS)
            writer.writerows(_cells(row) for row in connection.execute(query.order_by(*table.primary_key.columns)))


def _cells(row: Any) -> list[Any]:
    cells: list[Any] = []
    for value in row:
        if isinstance(value, Decimal):
            cells.append(format(value, "f"))
        elif isinstance(value, bytes):
            cells.append(value.hex())
        else:
            cells.append(value)
    return cells


def _new_file(where: str) -> Path:
    """Return the file of a ledger that may not be there yet: a name without an ending is a directory."""
    path = Path(where)
    return path / FILE if path.is_dir() or not path.suffix else path
