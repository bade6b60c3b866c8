"""A real `bot paper` is killed at random instants, a third of them while it recovers; nothing is lost or doubled.

What is true is asked of the venue, another process that lives on; see `tests/support/truth.py`.
"""

import random
import signal
from pathlib import Path

import pytest

from bot.app.verify import verify_run
from bot.domain.errors import DataError
from tests.support.paper import KEY, SECRET, Emulator, Paper, bot
from tests.support.truth import Ledger, Venue, differences

_FAULTS = (
    {"kind": "lost_ack", "probability": 0.03, "where": {"path": "*order*"}},
    {"kind": "lost_ack", "probability": 0.03, "where": {"op": "order*"}},
    {"kind": "lost_request", "probability": 0.03, "where": {"op": "order*"}},
    {"kind": "late_request", "probability": 0.03, "where": {"op": "order*"}, "delay_ns": 1_500_000_000},
    {"kind": "drop_frame", "probability": 0.02, "where": {"topic": "execution*"}},
    {"kind": "drop_frame", "probability": 0.02, "where": {"topic": "order"}},
    {"kind": "duplicate_frame", "probability": 0.05, "where": {"topic": "execution*"}},
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "is_faulty"),
    [
        pytest.param(2, False, id="few"),
        pytest.param(300, False, id="many", marks=pytest.mark.soak),
        pytest.param(300, True, id="many-faulty", marks=pytest.mark.soak),
    ],
)
def test_a_bot_that_is_killed_loses_and_doubles_nothing(tmp_path: Path, kills: int, is_faulty: bool) -> None:
    """After each restart the ledger has all that the venue had done by the kill; at the end they are equal."""
    chance = random.Random(5)
    emulator = Emulator(tmp_path)
    venue, ledger = Venue(emulator.url, KEY, SECRET), tmp_path / "ledger"
    paper: Paper | None = None
    try:
        for fault in _FAULTS if is_faulty else ():
            emulator.add_fault(**fault)
        done: dict[str, tuple[str, object, object, object, str]] = {}
        for kill in range(kills):
            paper = Paper(tmp_path, emulator)
            if kill % 3 == 1:
                paper.until("recovering")
                paper.wait(chance.uniform(0.0, 1.5))
            else:
                paper.until("ready ")
                _assert_has(ledger, done, kill)
                paper.wait(chance.uniform(1.5, 4.0))
            paper.end(signal.SIGKILL)
            _assert_verifies(tmp_path / "runs", ledger, has_traded=kill % 3 != 1)
            done = dict(venue.executions())
        emulator.clear_faults()
        paper = Paper(tmp_path, emulator)
        paper.until("ready ")
        _assert_has(ledger, done, kills)
        paper.wait(3.0)
        assert bot("pause", str(ledger)).returncode == 0
        paper.wait(4.0 if is_faulty else 1.5)  # what is in doubt is found out
        assert paper.end(signal.SIGTERM) == 0, paper.said[-2000:]
        assert not differences(venue, Ledger(ledger)), differences(venue, Ledger(ledger))
        checked = bot("ledger", "check", str(ledger))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert len(venue.executions()) >= kills, "it did not trade"
        codes = {entry["code"] for entry in Ledger(ledger).entries("AlertRaised")}
        assert not codes & {"ORDER_RESURFACED", "CONTENT_DIFFERS", "CONTRADICTION", "UNKNOWN_OF_OURS"}, codes
    finally:
        if paper is not None:
            paper.end(signal.SIGKILL)
        emulator.end(signal.SIGKILL)


def _assert_verifies(runs: Path, ledger: Path, *, has_traded: bool) -> None:
    """Assert that what a killed run had recorded comes out the same."""
    newest = max(path for path in runs.iterdir() if not path.is_symlink())
    try:
        verified = verify_run(newest, ledger=str(ledger))
    except DataError:
        if has_traded:
            raise
        return  # it was killed before its record began
    assert verified.differences == []
    assert any("the run was cut short" in each for each in verified.cautions)
    assert not has_traded or verified.rows > 10


def _assert_has(ledger: Path, done: dict[str, tuple[str, object, object, object, str]], kill: int) -> None:
    fills = Ledger(ledger).fills()
    wrong = {each: (done[each], fills.get(each)) for each in done if fills.get(each) != done[each]}
    assert not wrong, f"after kill {kill}: {wrong}"
