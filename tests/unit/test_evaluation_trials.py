"""The list of evaluations on the hold-out: only ever longer, and never wrong about how long."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.domain.errors import DataError, StorageError
from models.evaluation.trials import FILE_NAME, open_trial, read_trials, score_trial


def look(directory: Path, ts_ns: int = 5, **changes: object) -> int:
    values = {"model_id": "m-1", "instruments": ["XUSDT"], "from_ns": 1, "to_ns": 2} | changes
    return open_trial(directory, ts_ns=ts_ns, **values)  # type: ignore[arg-type]


def test_every_look_counts_scored_or_not(tmp_path: Path) -> None:
    assert read_trials(tmp_path).count == 0
    assert [look(tmp_path, ts_ns) for ts_ns in (5, 6, 7)] == [1, 2, 3]
    assert read_trials(tmp_path).sharpe_deviation() is None
    score_trial(tmp_path, 1, ts_ns=8, sharpe_per_bar=0.1, bars=100)
    score_trial(tmp_path, 3, ts_ns=9, sharpe_per_bar=0.3, bars=100)
    score_trial(tmp_path, 2, ts_ns=9, sharpe_per_bar=math.nan)
    made = read_trials(tmp_path)
    assert made.count == 3
    assert made.sharpe_deviation() == pytest.approx(math.sqrt(0.02))
    assert len(made.records) == 6


def test_lines_are_plain_json_and_stay_as_they_are(tmp_path: Path) -> None:
    look(tmp_path, settings="abc")
    before = (tmp_path / FILE_NAME).read_bytes()
    assert json.loads(before) == {
        "type": "opened",
        "trial": 1,
        "ts_ns": 5,
        "model_id": "m-1",
        "instruments": ["XUSDT"],
        "from_ns": 1,
        "to_ns": 2,
        "settings": "abc",
    }
    look(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes().startswith(before)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_last_line_is_no_record_and_the_next_takes_its_place(tmp_path: Path, cut: int) -> None:
    """Whatever a crash left of the last line, the others count, and so does what follows."""
    look(tmp_path)
    look(tmp_path)
    path = tmp_path / FILE_NAME
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    torn = read_trials(tmp_path)
    assert torn.count == 1
    assert torn.torn_bytes > 0
    assert look(tmp_path, ts_ns=77) == 2
    made = read_trials(tmp_path)
    assert (made.count, made.torn_bytes) == (2, 0)
    assert path.read_bytes().startswith(content[: content.index(b"\n") + 1])


def test_a_long_torn_line_leaves_nothing_behind(tmp_path: Path) -> None:
    look(tmp_path)
    look(tmp_path, settings="x" * 500)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-3])
    assert look(tmp_path) == 2
    assert read_trials(tmp_path).count == 2
    assert b"xxx" not in path.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [lines[0], "{", lines[2]], "line 2: .*restore the file"),
        (lambda lines: [lines[0], lines[2]], "line 2: trial 3 stands where trial 2 should"),
        (lambda lines: [lines[0], lines[0]], "missing or repeated"),
        (lambda lines: [lines[0], lines[1].replace('"to_ns":2', '"to_ns":"2"')], "line 2: Expected `int`"),
        (lambda lines: [lines[0].replace('"ts_ns"', '"extra":1,"ts_ns"')], "unknown field"),
        (lambda lines: [lines[0].replace("opened", "other")], "line 1"),
        (lambda lines: [lines[0].replace('"m-1"', '""')], "needs a model"),
        (lambda lines: ['{"type":"scored","trial":1,"ts_ns":3}', *lines], "scored before it was opened"),
        (lambda lines: ["\udcff"], "line 1"),
        (lambda lines: ["", *lines], "line 1"),
    ],
)
def test_what_cannot_be_read_is_not_skipped(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    """A count that leaves out what it does not understand would be too low; nothing is added to such a file."""
    for _ in range(3):
        look(tmp_path)
    path = tmp_path / FILE_NAME
    lines = spoil(path.read_text(encoding="utf-8").splitlines())
    content = ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_trials(tmp_path)
    with pytest.raises(DataError, match=message):
        look(tmp_path)
    assert path.read_bytes() == content


def test_a_record_that_makes_no_sense_is_not_written(tmp_path: Path) -> None:
    look(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(DataError, match="needs a model"):
        look(tmp_path, to_ns=1)
    with pytest.raises(DataError, match="before it was opened"):
        score_trial(tmp_path, 2, ts_ns=1)
    with pytest.raises(DataError, match="too long"):
        look(tmp_path, settings="x" * 70_000)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    score_trial(tmp_path, 1, ts_ns=1)
    with pytest.raises(DataError, match="or twice"):
        score_trial(tmp_path, 1, ts_ns=1)


def test_many_at_once_are_all_counted(tmp_path: Path) -> None:
    """The file is locked while a number is given out."""
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda ts_ns: look(tmp_path, ts_ns), range(64)))
    assert sorted(numbers) == list(range(1, 65))
    assert read_trials(tmp_path).count == 64


def test_a_place_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StorageError, match="cannot be opened"):
        look(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_trials(tmp_path)
