"""The durable ledger in SQLite: it goes on where it ended, its tables are current, and it refuses what is wrong."""

import shutil
import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.epochs import GAP
from bot.domain.errors import DataError, StorageError
from bot.store import live_ledger, live_sqlite
from bot.store.live_audit import audit_live
from bot.store.live_sqlite import SqliteLedger
from bot.store.projection import Projection
from bot.store.sql_ledger import GENESIS, chain
from tests.support.live_ledgers import RUN, STARTED_NS, begin, history, open_ledger, round_trip, write_one_by_one

LIFE = history(6)


def rows(directory: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return what is in every table that the journal makes, and in the journal."""
    connection = sqlite3.connect(f"file:{directory / 'ledger.sqlite'}?mode=ro", uri=True)
    found = {}
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if name not in ("runs", "epochs", "checkpoints", "alembic_version"):
            found[name] = sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
    connection.close()
    return found


def drawn() -> dict[str, list[tuple[Any, ...]]]:
    """Return the same, drawn from the entries by a replay's projection."""
    projection, digest = Projection(), GENESIS
    made: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for seq, entry in enumerate(LIFE, start=1):
        body = msgspec.json.encode(entry)
        digest = chain(digest, body)
        made["journal"].append((seq, entry.ts_ns, type(entry).__name__, body.decode(), digest))
        projection.add(seq, entry)
    projection.close()
    return {name: sorted(values, key=repr) for name, values in (made | projection.take()).items()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger of no entries, to begin from: making one takes longer than what is done with it."""
    directory = tmp_path_factory.mktemp("template")
    open_ledger(directory).close(now_ns=1)
    return directory / "ledger.sqlite"


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_however_it_is_cut_and_restarted_the_tables_are_the_same(template: Path, data: st.DataObject) -> None:
    """Commits anywhere, starts anywhere, orderly or not: the ledger is the one that a replay of the entries makes."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copy(template, directory)
        ledger = open_ledger(directory)
        begin(ledger)
        left = list(LIFE)
        while left:
            size = data.draw(st.integers(1, 20), label="entries in a commit")
            ledger.write(left[:size])
            ledger.commit()
            left = left[size:]
            end = data.draw(st.sampled_from(["none", "none", "none", "orderly", "crash"]), label="end")
            if end != "none":
                ledger.close(now_ns=STARTED_NS) if end == "orderly" else ledger.abandon()
                ledger = open_ledger(directory)
        assert rows(directory) == drawn()
        ledger.abandon()
        assert not audit_live(str(directory)).problems


def test_what_was_not_committed_is_not_there(tmp_path: Path) -> None:
    """A crash between two commits leaves whole transactions; what was handed over since is gone."""
    ledger = open_ledger(tmp_path)
    ledger.write(LIFE[:5])
    ledger.commit()
    ledger.write(LIFE[5:])
    ledger.abandon()
    again = open_ledger(tmp_path)
    assert [entry for _, entry in again.entries(after=0)] == LIFE[:5]
    assert [seq for seq, _ in again.entries(after=3)] == [4, 5]
    again.abandon()


def test_epochs_count_starts_and_remember_how_they_ended(tmp_path: Path) -> None:
    """After an orderly end the next start may trade at once; after a crash, or behind the venue, it waits."""
    ledger = open_ledger(tmp_path)
    assert begin(ledger) == 1
    assert ledger.epoch.ready_ns == STARTED_NS
    ledger.close(now_ns=STARTED_NS + 1)
    ledger = open_ledger(tmp_path)
    assert begin(ledger) == 2
    assert not ledger.epoch.is_after_crash
    ledger.abandon()
    ledger = open_ledger(tmp_path)
    assert begin(ledger) == 3
    assert ledger.epoch.is_after_crash
    assert ledger.epoch.ready_ns == STARTED_NS + 10_000_000_000
    ledger.close(now_ns=STARTED_NS + 1)
    ledger = open_ledger(tmp_path)
    assert begin(ledger, venue_epoch=7) == 7 + GAP
    assert ledger.epoch.is_behind_venue
    ledger.abandon()


def test_recovery_reads_from_the_newest_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a state it reads all; plain checkpoints on the way, which hold none, do not count."""
    monkeypatch.setattr(live_ledger, "CHECKPOINT_ENTRIES", 10)
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE[:40])
    found, entries = ledger.recovery()
    assert found is None
    assert len(list(entries)) == 40
    ledger.checkpoint(b"first thoughts", now_ns=1)
    ledger.checkpoint(b"state of 40", now_ns=1)
    write_one_by_one(ledger, LIFE[40:])
    ledger.abandon()
    ledger = open_ledger(tmp_path)
    found, entries = ledger.recovery()
    assert found is not None
    assert (found.seq, found.state) == (40, b"state of 40")
    assert [entry for _, entry in entries] == LIFE[40:]
    ledger.abandon()


def test_a_start_verifies_what_came_after_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older, the audit reads: in another process, while the bot trades."""
    monkeypatch.setattr(live_ledger, "CHECKPOINT_ENTRIES", 20)
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE[:25])
    ledger.close(now_ns=1)
    for seq, is_refused in ((3, False), (24, True)):
        directory = tmp_path / str(seq)
        directory.mkdir()
        shutil.copy(tmp_path / "ledger.sqlite", directory)
        connection = sqlite3.connect(directory / "ledger.sqlite")
        connection.execute("UPDATE journal SET body = replace(body, 'BTC', 'ETH') WHERE seq = ?", (seq,))
        connection.commit()
        connection.close()
        assert any("hash chain breaks" in problem for problem in audit_live(str(directory)).problems)
        if is_refused:
            with pytest.raises(DataError, match="not what was written"):
                open_ledger(directory)
        else:
            open_ledger(directory).abandon()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE orders SET status = 'open' WHERE status = 'filled'", "orders:"),
        ("DELETE FROM orders WHERE status = 'canceled'", "orders:"),
        ("UPDATE balances SET amount = '1' WHERE account = 'cash'", "balances:"),
        ("UPDATE fills SET price = '1' WHERE seq = 5", "fills:"),
        ("UPDATE fills SET position_qty = '9' WHERE seq = 5", "the position is"),
        ("UPDATE postings SET amount = '1' WHERE seq = 5 AND leg = 0", "does not balance"),
        ("DELETE FROM journal WHERE seq = 7", "entry 7 is missing"),
        ("DELETE FROM decisions", "decisions:"),
        ("UPDATE checkpoints SET hash = x'00'", "checkpoints:"),
    ],
)
def test_a_row_that_was_changed_by_hand_is_found(tmp_path: Path, change: str, told: str) -> None:
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE, size=9)
    ledger.checkpoint(b"state", now_ns=1)
    ledger.close(now_ns=1)
    assert not audit_live(str(tmp_path)).problems
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute(change)
    connection.commit()
    connection.close()
    assert any(told in problem for problem in audit_live(str(tmp_path)).problems)


def test_flipped_bits_are_found(tmp_path: Path) -> None:
    """Wherever in the file's pages a bit flips: opening, or the audit, says so; neither fails in another way."""
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, history(40), size=50)
    ledger.close(now_ns=1)
    whole = (tmp_path / "ledger.sqlite").read_bytes()
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'journal'").fetchone()
    connection.close()
    body = whole.index(b'"OrderIntended"')
    noticed = 0
    places = [body, 4096 * (root - 1) + 3, *range(4096 + 7, len(whole), len(whole) // 15)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        (tmp_path / "ledger.sqlite").write_bytes(flipped)
        try:
            open_ledger(tmp_path).abandon()
            problems = audit_live(str(tmp_path)).problems
        except (DataError, StorageError) as error:
            problems = [str(error)]
        assert not any("\n" in problem for problem in problems)
        noticed += bool(problems)
        if place in places[:2]:
            assert problems
    assert noticed >= len(places) // 2  # the others hit room that no row uses


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    """A reader sees one moment, whole, whatever is written meanwhile; and the writer is not held up."""
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE[:20], size=20)
    reader = sqlite3.connect(f"file:{tmp_path / 'ledger.sqlite'}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    count = "SELECT count(*) FROM journal"
    assert reader.execute(count).fetchone() == (20,)
    write_one_by_one(ledger, LIFE[20:])
    assert reader.execute(count).fetchone() == (20,)
    reader.execute("ROLLBACK")
    assert reader.execute(count).fetchone() == (len(LIFE),)
    reader.close()
    audit = audit_live(str(tmp_path))
    assert (audit.entries, audit.problems) == (len(LIFE), [])
    ledger.abandon()


def test_a_stranger_who_holds_the_lock_halts_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded, and the line says what to do."""
    monkeypatch.setattr(live_sqlite, "BUSY_MS", 20)
    monkeypatch.setitem(live_sqlite._ASKED, "busy_timeout", 20)
    ledger = open_ledger(tmp_path)
    stranger = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    ledger.write(LIFE[:1])
    with pytest.raises(StorageError, match="close that program"):
        ledger.commit()
    stranger.close()
    with pytest.raises(StorageError):
        ledger.commit()
    ledger.abandon()


@pytest.mark.parametrize("name", ["journal_mode", "foreign_keys", "fullfsync", "trusted_schema"])
def test_a_setting_that_does_not_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What SQLite was asked is read back."""
    open_ledger(tmp_path).abandon()
    asked = dict(live_sqlite._ASKED)
    monkeypatch.setattr(live_sqlite, "_ASKED", asked)

    class Deaf(SqliteLedger):
        def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
            return [] if sql.startswith(f"PRAGMA {name} = ") and name != "journal_mode" else super()._all(sql, *values)

    if name == "journal_mode":
        asked[name] = "nonsense"
    with pytest.raises(StorageError, match=f"keeps {name} at"):
        Deaf(tmp_path / "ledger.sqlite")


def test_a_file_that_was_replaced_or_deleted_under_us_is_noticed(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE[:3])
    ledger.confirm()
    (tmp_path / "ledger.sqlite").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="deleted or replaced"):
        ledger.confirm()
    ledger.abandon()


def test_what_is_no_ledger_of_ours_is_refused(tmp_path: Path) -> None:
    """By one line each: garbage, another database, another account's, one whose file is gone but whose log is left."""
    for name, content in (("garbage", b"x" * 5000), ("short", b"SQLite format 3\0" + bytes(84))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ledger.sqlite").write_bytes(content)
        with pytest.raises((DataError, StorageError)) as refused:
            open_ledger(tmp_path / name)
        assert "\n" not in str(refused.value)
    other = tmp_path / "other"
    other.mkdir()
    sqlite3.connect(other / "ledger.sqlite").execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(DataError, match="is no ledger"):
        open_ledger(other)
    mine = tmp_path / "mine"
    mine.mkdir()
    open_ledger(mine).close(now_ns=1)
    with pytest.raises(DataError, match="of mode paper, not live"):
        open_ledger(mine, mode="live")
    orphan = tmp_path / "orphan"
    orphan.mkdir()
    (orphan / "ledger.sqlite-wal").write_bytes(b"log")
    with pytest.raises(StorageError, match="its log is left"):
        open_ledger(orphan)


def test_who_died_while_making_it_left_nothing_in_the_way(tmp_path: Path) -> None:
    """A ledger gets its name when it is whole."""
    (tmp_path / "ledger.sqlite.new").write_bytes(b"half of one")
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE[:2])
    ledger.close(now_ns=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.sqlite"]
    assert (tmp_path / "ledger.sqlite").stat().st_mode & 0o077 == 0


def test_health_tells_what_an_operator_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits and how long they took; and a log that a reader keeps from shrinking."""
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE[:10])
    health = ledger.health()
    assert (health.entries, health.commits, health.alerts) == (10, 11, ())
    assert 0 < health.commit_ms_p50 <= health.commit_ms_p99 <= health.commit_ms_max
    monkeypatch.setattr(live_ledger, "WAL_BYTES_ALERT", 1_000)
    assert "a reader holds it open" in ledger.health().alerts[0]
    ledger.abandon()


def test_one_execution_is_not_booked_twice(tmp_path: Path) -> None:
    """The tables' own keys refuse it, in whole: nothing of that commit is kept."""
    ledger = open_ledger(tmp_path)
    write_one_by_one(ledger, LIFE)
    ledger.write(round_trip(1)[3:4])
    with pytest.raises(StorageError, match="holds that already"):
        ledger.commit()
    ledger.abandon()
    again = open_ledger(tmp_path)
    assert again.head.seq == len(LIFE)
    again.abandon()


def test_a_first_row_describes_the_ledger(tmp_path: Path) -> None:
    """Later starts keep it."""
    open_ledger(tmp_path).close(now_ns=1)
    ledger = open_ledger(tmp_path, run_id="another", seed=8)
    row = ledger.database.run_row()
    assert row is not None
    assert (row["run_id"], row["seed"], row["status"]) == (RUN["run_id"], 7, "running")
    assert row["start_cash"] == "100000.10"
    ledger.abandon()
