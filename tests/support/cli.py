"""The command line in tests: in this process where that shows the same, in one of its own where it matters."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from bot.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def bot(*arguments: str, cwd: Path) -> Done:
    """Run a command in this process, from the directory `cwd`."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["bot", *arguments]),
    ):
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
    return Done(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def bot_process(*arguments: str, cwd: Path, prepare: Callable[[], None] | None = None) -> Done:
    """Run a command in a process of its own; `prepare` runs in it first."""
    done = subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        check=False,
        timeout=120,
    )
    return Done(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def assert_refused(done: Done, code: int, *words: str) -> None:
    """Assert that it failed with this code and said these words in one line, without a traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("bot: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]
