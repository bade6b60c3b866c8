"""Backups, their restoring, and upgrades of live ledgers in SQLite: checked, whole, and never in a bot's way."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from bot.app import ledgers
from bot.core.epochs import GAP
from bot.domain.errors import BotError, ConfigError, DataError, StorageError
from bot.store import ledger_copies
from bot.store.live_audit import audit_live
from bot.store.migrate import all_versions, upgrade, versions
from tests.support.live_ledgers import RUN, begin, history, open_ledger, write_one_by_one

LIFE = history(4)
FILL = """
INSERT INTO fills (seq, ts_event_ns, ts_recv_ns, client_order_id, instrument, trade_id, side, price, qty, fee,
                   is_maker, position_qty, realized_pnl)
VALUES (1, 1, 1, 'o1', 'BTCUSDT', 't1', 'buy', '0.10', '1', '0', 0, '1', '0')
"""


def test_a_backup_is_one_moment_of_a_ledger_in_use(tmp_path: Path) -> None:
    """What is still in the log is in it; what is written later is not; and it is a ledger like any other."""
    ledger = open_ledger(tmp_path)
    begin(ledger)
    write_one_by_one(ledger, LIFE[:40])
    out = tmp_path / "kept" / "backup.sqlite"
    assert ledgers.backup(str(tmp_path), out) == {"backup": str(out), "entries": 40}
    write_one_by_one(ledger, LIFE[40:])
    ledger.abandon()
    assert [path.name for path in out.parent.iterdir()] == ["backup.sqlite"]
    assert out.stat().st_mode & 0o077 == 0
    audit = audit_live(str(out))
    assert (audit.entries, audit.problems) == (40, [])
    with pytest.raises(ConfigError, match="exists"):
        ledgers.backup(str(tmp_path), out)


def test_a_restored_ledger_starts_carefully(tmp_path: Path) -> None:
    """It waits, and its ids lie above all that the lost piece can have used; the old file is kept."""
    ledger = open_ledger(tmp_path)
    begin(ledger)
    write_one_by_one(ledger, LIFE[:30])
    ledger.close(now_ns=3)
    kept = tmp_path / "backup.sqlite"
    ledgers.backup(str(tmp_path), kept)
    ledger = open_ledger(tmp_path)
    begin(ledger)
    write_one_by_one(ledger, LIFE[30:])
    ledger.abandon()
    ledgers.restore_backup(kept, str(tmp_path), lock_directory=tmp_path)
    assert audit_live(str(tmp_path / "ledger.sqlite.replaced")).entries == len(LIFE)
    ledger = open_ledger(tmp_path)
    assert ledger.head.seq == 30
    assert begin(ledger) == 1 + GAP + 1
    assert ledger.epoch.is_after_crash
    write_one_by_one(ledger, LIFE[30:])
    ledger.close(now_ns=4)
    assert not audit_live(str(tmp_path)).problems
    ledgers.restore_backup(kept, str(tmp_path), lock_directory=tmp_path)
    assert (tmp_path / "ledger.sqlite.replaced-2").exists()


def test_a_ledger_goes_to_a_place_of_its_own(tmp_path: Path) -> None:
    """Restoring works where nothing was."""
    open_ledger(tmp_path).close(now_ns=1)
    ledgers.backup(str(tmp_path), tmp_path / "backup.sqlite")
    (tmp_path / "new").mkdir()
    ledgers.restore_backup(tmp_path / "backup.sqlite", str(tmp_path / "new"), lock_directory=tmp_path)
    open_ledger(tmp_path / "new").abandon()


def test_nothing_is_put_under_a_bot_that_runs(tmp_path: Path) -> None:
    opened = ledgers.open_live(str(tmp_path), RUN, lock_directory=tmp_path)
    begin(opened.store)
    kept = tmp_path / "backup.sqlite"
    ledgers.backup(str(tmp_path), kept)
    with pytest.raises(ConfigError, match="is in use by process"):
        ledgers.restore_backup(kept, str(tmp_path), lock_directory=tmp_path)
    with pytest.raises(ConfigError, match="is in use by process"):
        ledgers.upgrade(str(tmp_path), lock_directory=tmp_path)
    opened.close(now_ns=1)
    assert not list(tmp_path.glob("*.replaced"))
    again = ledgers.open_live(str(tmp_path), RUN, lock_directory=tmp_path)
    begin(again.store)
    assert not again.store.epoch.is_after_crash
    again.abandon()


def tampered(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE journal SET body = replace(body, 'BTC', 'ETH') WHERE seq = 5")
    connection.commit()
    connection.close()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20_000])


@pytest.mark.parametrize("harm", [tampered, truncated])
def test_what_does_not_verify_is_no_backup(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """Neither made of a damaged ledger, nor restored; a half-made one never carries the name."""
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE, size=20)
    ledger.close(now_ns=1)
    ledgers.backup(str(tmp_path), tmp_path / "good.sqlite")
    harm(tmp_path / "ledger.sqlite")
    with pytest.raises((DataError, StorageError)):
        ledgers.backup(str(tmp_path), tmp_path / "bad.sqlite")
    assert not (tmp_path / "bad.sqlite").exists()
    harm(tmp_path / "good.sqlite")
    with pytest.raises((DataError, StorageError)):
        ledgers.restore_backup(tmp_path / "good.sqlite", str(tmp_path), lock_directory=tmp_path)
    assert not list(tmp_path.glob("*.replaced"))


def old_ledger(directory: Path, version: str) -> Path:
    """Return a ledger of an old schema with a few rows, some of them still in its log."""
    path = directory / "ledger.sqlite"
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    upgrade(engine, version)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO balances VALUES ('cash', 'USDT', '1.50')"))
        connection.execute(text(FILL))
    engine.dispose()
    writing = sqlite3.connect(path)
    writing.execute("PRAGMA journal_mode = WAL")
    writing.execute("INSERT INTO balances VALUES ('fees', 'USDT', '0')")
    writing.commit()
    held = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    held.execute("SELECT * FROM balances").fetchone()
    writing.close()
    held.close()
    return path


@pytest.mark.parametrize("version", all_versions()[:-1])
def test_every_old_schema_is_upgraded_with_its_rows(tmp_path: Path, version: str) -> None:
    """By a copy that takes its place, with a backup of what was there."""
    path = old_ledger(tmp_path, version)
    with pytest.raises(DataError, match=f"has schema {version}.*bot db upgrade"):
        open_ledger(tmp_path)
    done = ledgers.upgrade(str(tmp_path), lock_directory=tmp_path)
    assert done["from"] == version
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    current, newest = versions(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT amount FROM balances ORDER BY account")).scalars().all() == ["1.50", "0"]
        assert connection.execute(text("SELECT price FROM fills")).scalars().all() == ["0.10"]
    engine.dispose()
    assert current == newest == done["to"]
    backup = create_engine(f"sqlite:///{done['backup']}", poolclass=NullPool)
    assert versions(backup)[0] == version
    backup.dispose()
    assert ledgers.upgrade(str(tmp_path), lock_directory=tmp_path)["backup"] is None


def test_an_upgrade_that_dies_leaves_the_old_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a migration is in a copy that nobody opens; the next try begins anew."""
    path = old_ledger(tmp_path, "0003")

    def die(engine: object, to: str = "head") -> None:
        upgrade(engine, "0004")  # type: ignore[arg-type]
        raise StorageError("died")

    with monkeypatch.context() as patched:
        patched.setattr(ledger_copies, "upgrade", die)
        with pytest.raises(StorageError, match="died"):
            ledgers.upgrade(str(tmp_path), lock_directory=tmp_path)
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    assert versions(engine)[0] == "0003"
    engine.dispose()
    assert ledgers.upgrade(str(tmp_path), lock_directory=tmp_path)["from"] == "0003"


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    open_ledger(tmp_path).close(now_ns=1)
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for work in (
        lambda: open_ledger(tmp_path),
        lambda: ledgers.upgrade(str(tmp_path), lock_directory=tmp_path),
    ):
        with pytest.raises(BotError, match="update the bot"):
            work()
