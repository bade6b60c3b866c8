"""A real process that writes a live ledger is killed at random instants, again and again."""

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bot.app import ledgers
from bot.store.live_audit import audit_live
from tests.support.live_ledgers import history, open_ledger

ROOT = Path(__file__).resolve().parents[2]


class Writer:
    """The process, and what it said last."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ledger_writer", str(directory), str(directory)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        self.said = b""

    def listen(self, seconds: float) -> None:
        """Read what it says for so long; at once once it has gone."""
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], seconds)[0]:
            self.said += os.read(self._process.stdout.fileno(), 1 << 16)

    def kill(self) -> list[int]:
        """Kill it; return what it acknowledged."""
        self._process.send_signal(signal.SIGKILL)
        assert self._process.stdout is not None
        self.said += self._process.stdout.read()
        self._process.stdout.close()
        self._process.wait()
        lines = self.said.decode().split("\n")[:-1]
        return [int(line) for line in lines if line.isdigit()]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [4, pytest.param(300, marks=pytest.mark.soak)])
def test_a_writer_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path, kills: int) -> None:
    """While it writes, or while it opens: the next start finds all that was acknowledged, whole, and goes on."""
    chance = random.Random(3)
    sure = epochs = 0
    for kill in range(kills):
        writer = Writer(tmp_path)
        if kill % 3 < 2:  # the others die while they start
            for _ in range(chance.randrange(2, 60)):
                writer.listen(5)
        else:
            writer.listen(chance.random())
        acknowledged = writer.kill()
        epochs += bool(acknowledged)
        sure = max([sure, *acknowledged])
        ledger = open_ledger(tmp_path)
        length = ledger.head.seq
        assert sure <= length <= sure + 3
        assert [entry for _, entry in ledger.entries(after=0)] == history(length // 14 + 1)[:length]
        last = ledger.database.last_epoch()
        assert last is None or last.number >= epochs
        ledger.abandon()
        sure = length
    assert sure > 0
    assert not audit_live(str(tmp_path)).problems


def test_a_second_copy_is_refused_and_names_the_first(tmp_path: Path) -> None:
    """In one line; and when the first is gone, the next may start."""
    first = Writer(tmp_path)
    while b"\n" not in first.said:
        first.listen(30)
    second = subprocess.run(
        [sys.executable, "-m", "tests.support.ledger_writer", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 1
    refusal = second.stderr.strip().splitlines()[-1]
    assert f"is in use by process {first._process.pid}" in refusal
    assert str(tmp_path / "ledger.sqlite.lock") in refusal
    first.kill()


def test_the_audit_runs_beside_the_bot(tmp_path: Path) -> None:
    """In a process of its own, on a ledger in use; what it finds, and what it cannot read, comes back."""
    ledger = open_ledger(tmp_path)
    ledger.write(history(3))
    ledger.commit()
    found = ledgers.audit_beside(str(tmp_path))
    assert (found.entries, found.problems) == (ledger.head.seq, ())
    ledger.abandon()
    assert "no ledger here" in ledgers.audit_beside(str(tmp_path / "nothing")).problems[0]
