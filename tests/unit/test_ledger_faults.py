"""The durable ledger on a disk that fails: what was acknowledged stays, and nothing is torn.

The faults strike beneath the SQLite library that the store really uses (tests/support/sqlite_faults.py).
"""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.domain.errors import BotError, StorageError
from bot.domain.ledger import LedgerEntry
from bot.store import live_sqlite
from bot.store.live_audit import audit_live
from bot.store.live_database import CommitUnknown
from tests.support.live_ledgers import begin, history, open_ledger
from tests.support.sqlite_faults import Faults, faulty_sqlite

SCRIPT = history(15)[:200]  # one transaction each
KINDS = {
    "io error": (sqlite3.SQLITE_IOERR_WRITE, False),
    "disk full": (sqlite3.SQLITE_FULL, False),
    "short write": (sqlite3.SQLITE_IOERR_WRITE, True),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger of no entries, to begin each run from."""
    directory = tmp_path_factory.mktemp("template")
    open_ledger(directory).close(now_ns=1)
    return directory / "ledger.sqlite"


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Return the disk's faults, none asked for yet."""
    with faulty_sqlite() as found:
        yield found


def run_script(directory: Path, entries: list[LedgerEntry]) -> tuple[int, int, BotError | None]:
    """Write a script, one transaction for each entry; return what was acknowledged, what was tried, and the end."""
    acknowledged = tried = 0
    ledger = None
    try:
        ledger = open_ledger(directory)
        begin(ledger)
        for entry in entries:
            ledger.write([entry])
            tried += 1
            ledger.commit()
            acknowledged += 1
        ledger.close(now_ns=2)
    except BotError as error:
        if ledger is not None:
            ledger.abandon()
        return acknowledged, tried, error
    return acknowledged, tried, None


def check_after(directory: Path, entries: list[LedgerEntry], acknowledged: int, tried: int) -> int:
    """Open the ledger again: all that was acknowledged is there, in order, and it verifies; return its length."""
    ledger = open_ledger(directory)
    found = [entry for _, entry in ledger.entries(after=0)]
    assert acknowledged <= len(found) <= tried
    assert found == entries[: len(found)]
    ledger.abandon()
    audit = audit_live(str(directory))
    assert not audit.problems
    assert audit.entries == len(found)
    return len(found)


def sweep(faults: Faults, template: Path, tmp_path: Path, *, points: Iterator[int], entries: list[LedgerEntry]) -> int:
    """Fail one operation after the other, of all kinds in turn; return how many runs it took."""
    runs = 0
    for runs, point in enumerate(points, start=1):
        directory = tmp_path / str(point)
        directory.mkdir()
        shutil.copy(template, directory)
        code, is_short = list(KINDS.values())[runs % len(KINDS)]
        faults.arm(point, code, is_short=is_short)
        acknowledged, tried, end = run_script(directory, entries)
        assert faults.failed, f"operation {point} never came"
        what = faults.failed
        faults.arm(0)
        # A failing checkpoint moves the log into the file a little later, and nobody needs to know.
        assert end is None or isinstance(end, StorageError), (point, what, end)
        assert end is not None or acknowledged == len(entries)
        check_after(directory, entries, acknowledged, tried)
        shutil.rmtree(directory)
    return runs


def count_operations(faults: Faults, template: Path, tmp_path: Path, entries: list[LedgerEntry]) -> int:
    """Return how many writes and syncs the script takes when nothing fails."""
    directory = tmp_path / "whole"
    directory.mkdir()
    shutil.copy(template, directory)
    faults.arm(0)
    assert run_script(directory, entries) == (len(entries), len(entries), None)
    return faults.operations


def test_any_single_fault_loses_nothing_that_was_acknowledged(faults: Faults, template: Path, tmp_path: Path) -> None:
    """Every eleventh write and sync of a script of 20 transactions fails once; the soak fails each of 200."""
    entries = SCRIPT[:20]
    total = count_operations(faults, template, tmp_path, entries)
    points = iter(range(1, total + 1, 11))
    assert sweep(faults, template, tmp_path, points=points, entries=entries) > 15


@pytest.mark.soak
def test_every_single_fault_loses_nothing_that_was_acknowledged(faults: Faults, template: Path, tmp_path: Path) -> None:
    total = count_operations(faults, template, tmp_path, SCRIPT)
    assert sweep(faults, template, tmp_path, points=iter(range(1, total + 1)), entries=SCRIPT) == total


def cut_power(faults: Faults, template: Path, tmp_path: Path, cuts: int) -> list[tuple[Path, int]]:
    """Write a script; return what power cuts on the way left, each with how many entries were acknowledged then."""
    entries = SCRIPT[:60]
    total = count_operations(faults, template, tmp_path, entries)
    chance = random.Random(7)
    directory = tmp_path / "run"
    directory.mkdir()
    shutil.copy(template, directory)
    acknowledged = 0
    taken: list[tuple[Path, int]] = []

    def cut() -> None:
        to = tmp_path / f"cut-{len(taken)}"
        faults.power_cut(to, chance)
        taken.append((to, acknowledged))

    faults.disks.clear()
    faults.arm(0)
    ledger = open_ledger(directory)
    begin(ledger)
    places = range(faults.operations + 1, total - 5)
    faults.at = dict.fromkeys(chance.sample(places, min(cuts, len(places))), cut)
    for entry in entries:
        ledger.write([entry])
        ledger.commit()
        acknowledged += 1
    ledger.abandon()
    return taken


@pytest.mark.parametrize("cuts", [30, pytest.param(2_000, marks=pytest.mark.soak)])
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    faults: Faults, template: Path, tmp_path: Path, cuts: int
) -> None:
    """Whatever was not synced is gone, kept, torn or out of order: what was acknowledged is there, and verifies."""
    taken = cut_power(faults, template, tmp_path, cuts)
    lengths = {check_after(to, SCRIPT, sure, sure + 1) for to, sure in taken}
    assert len(lengths) > 5


def test_power_cuts_would_show_a_commit_that_does_not_sync(
    faults: Faults, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With synchronous at NORMAL instead of FULL the same cuts do lose what was acknowledged."""
    monkeypatch.setitem(live_sqlite._ASKED, "synchronous", 1)
    taken = cut_power(faults, template, tmp_path, 12)
    lost = 0
    for to, acknowledged in taken:
        ledger = open_ledger(to)
        lost += ledger.head.seq < acknowledged
        ledger.abandon()
    assert lost > 0


def test_a_failing_sync_leaves_the_outcome_unknown(faults: Faults, template: Path, tmp_path: Path) -> None:
    """It is never tried again: the ledger ends, and says so to whoever asks next."""
    shutil.copy(template, tmp_path)
    ledger = open_ledger(tmp_path)
    ledger.write(SCRIPT[:1])
    ledger.commit()
    ledger.write(SCRIPT[1:2])
    faults.fail_next = "sync"
    with pytest.raises(CommitUnknown, match="may or may not be durable"):
        ledger.commit()
    assert faults.failed == "sync"
    for again in (ledger.commit, ledger.confirm, lambda: ledger.write(SCRIPT[2:3])):
        with pytest.raises(CommitUnknown):
            again()
    ledger.abandon()
    reopened = open_ledger(tmp_path)
    assert reopened.head.seq in (1, 2)
    reopened.abandon()


def test_a_full_disk_ends_the_ledger_with_one_line(faults: Faults, template: Path, tmp_path: Path) -> None:
    """The line names the file and says what to do; whoever starts again after making room goes on."""
    shutil.copy(template, tmp_path)
    ledger = open_ledger(tmp_path)
    ledger.write(SCRIPT[:3])
    faults.arm(1, sqlite3.SQLITE_FULL)
    with pytest.raises(StorageError) as refused:
        ledger.commit()
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)
    ledger.abandon()
    acknowledged, tried, end = run_script(tmp_path, SCRIPT[:5])
    assert (acknowledged, tried, end) == (5, 5, None)
