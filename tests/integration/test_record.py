"""`bot record` as a user runs it, also when it is killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bot.app.live_market import capture_paths, capture_updates, describe
from bot.store.capture_files import CaptureLines
from tests.support.emulator import Served, served

CONFIG = Path(__file__).resolve().parents[2] / "config" / "record" / "default.toml"


@pytest.fixture(scope="module")
def venue() -> Iterator[Served]:
    with served() as running:
        yield running


def command(venue: Served, directory: Path, *more: str) -> list[str]:
    settings = [f"venue.url={venue.http}", "venue.environment=emulator", f"directory={directory}", *more]
    given = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "bot", "record", "--config", str(CONFIG), *given]


def test_it_records_and_says_what(venue: Served, tmp_path: Path) -> None:
    """The summary is JSON on stdout, the capture holds what the summary says, and a feed understands it."""
    run = subprocess.run(
        [*command(venue, tmp_path, "stop_after=3s"), "--json"], capture_output=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    told = json.loads(run.stdout)
    assert told["messages"] > 20
    paths = capture_paths(tmp_path)
    assert [str(path) for path in paths] == told["files"]
    seen = describe(paths)
    assert seen["on_messages"] == told["messages"]
    assert seen["broken"] == []
    updates = list(capture_updates(paths))
    assert {update.category for update in updates} == {"linear", "spot"}
    assert any(update.books is not None and update.books.is_trusted.any() for update in updates)


@pytest.mark.parametrize("lines", [4, 40])
def test_killed_at_any_moment_it_leaves_whole_blocks(venue: Served, tmp_path: Path, lines: int) -> None:
    """Killed without warning once the file has so many lines: every line that is read is whole, and replays."""
    process = subprocess.Popen(
        command(venue, tmp_path, "flush=10ms"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(3000):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
        found = list(tmp_path.glob("*.capture.gz"))
        if process.poll() is not None or (found and sum(1 for _ in CaptureLines(found[0])) >= lines):
            break
    assert process.poll() is None, "it ended by itself"
    process.kill()
    process.wait()
    paths = capture_paths(tmp_path)
    assert sum(1 for _ in CaptureLines(paths[0])) >= lines
    assert list(capture_updates(paths)) != [] or lines < 10


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bot", "record", "--config", str(CONFIG), "--set", "venue.environment=emulator"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert b"venue.url" in run.stderr
    assert b"Traceback" not in run.stderr
