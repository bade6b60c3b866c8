"""`bot demo` as `make demo` runs it: two real processes, one of them killed, and nothing amiss at the end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.soak
def test_the_story_comes_out_as_it_must(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bot", "demo", "--out", str(tmp_path), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["findings"] == []
    assert told["fills"] >= 7
    assert len(told["runs"]) == 2
    for words in ("in doubt", "out of doubt: accepted", "all connections are cut", "kill -9"):
        assert words in run.stderr


def test_it_says_where_it_must_be_run(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bot", "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 2
    assert "not found; run bot demo in the project's directory" in run.stderr
    assert list(tmp_path.iterdir()) == []
