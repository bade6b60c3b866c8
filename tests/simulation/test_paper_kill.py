"""A real `bot paper` is killed at random instants, a third of them while it recovers; nothing is lost or doubled.

What is true is asked of the venue, another process that lives on; see `tests/support/truth.py`. Hundreds of kills are
gathered, over several runs if need be, with `python -m tests.support.kill_campaign`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.kill_campaign import CHAPTER_KILLS, Campaign, count, draws


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "is_faulty"),
    [
        pytest.param(3, False, id="few"),
        pytest.param(300, False, id="many", marks=pytest.mark.soak),
        pytest.param(300, True, id="many-faulty", marks=pytest.mark.soak),
    ],
)
def test_a_bot_that_is_killed_loses_and_doubles_nothing(tmp_path: Path, kills: int, is_faulty: bool) -> None:
    """After each restart the ledger has all that the venue had done by the kill; while it trades and at the end they
    are equal."""
    told: list[str] = []
    counted = Campaign(tmp_path / "kills", seed=7, is_faulty=is_faulty, tell=told.append).gather(kills)
    assert counted.kills == kills == len(told)
    assert not counted.failed
    assert counted.executions >= kills
    assert counted.recovering >= kills // 3 or kills < CHAPTER_KILLS


def test_what_is_drawn_depends_on_seed_chapter_and_number_alone() -> None:
    """A kill can be had again; a third and more come while the bot recovers."""
    drawn = draws(5, 2)
    assert drawn == draws(5, 2)
    assert drawn != draws(5, 3)
    assert drawn != draws(6, 2)
    assert [each.number for each in drawn] == list(range(CHAPTER_KILLS))
    assert sum(each.while_recovering for each in drawn) == 5


@pytest.fixture
def note(tmp_path: Path) -> Callable[..., None]:
    """Return what writes a line into a campaign's folder."""

    def write(what: str, chapter: int, **fields: Any) -> None:
        with (tmp_path / "kills.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"is": what, "chapter": chapter, **fields}) + "\n")

    return write


def test_kills_count_once_their_chapter_has_ended_well(tmp_path: Path, note: Callable[..., None]) -> None:
    """One that was cut off does not count and is not numbered again; one that failed is told for ever."""
    kill = {"while": "recovering", "unheard": 1, "unanswered": 2}
    note("begun", 0)
    note("kill", 0, **kill)
    note("kill", 0, **kill | {"while": "trading"})
    note("ended", 0, executions=7, verified=1, rows=60, seconds=30.0)
    note("begun", 1)
    note("kill", 1, **kill)  # the power went
    note("begun", 2)
    note("kill", 2, **kill)
    note("failed", 2, kill=1, why="lost")
    note("begun", 3)
    note("kill", 3, **kill)
    note("broken off", 3, kill=1, why="the emulator did not answer")
    counted = count(tmp_path)
    assert (counted.kills, counted.recovering, counted.chapters, counted.next_chapter) == (2, 1, 1, 4)
    assert (counted.unheard, counted.unanswered, counted.executions) == (2, 4, 7)
    assert (counted.failed, counted.broken_off) == (["chapter 2: lost"], 1)


def test_a_folder_without_anything_has_no_kills(tmp_path: Path) -> None:
    assert count(tmp_path / "none").kills == 0
