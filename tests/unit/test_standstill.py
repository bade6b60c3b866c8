"""A test that fails in a pause of the machine is begun again; one that fails otherwise has failed, at once."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Pauses of a busy machine are shorter than those that are made here.
CONFTEST = """
from tests import conftest
from tests.conftest import *

conftest._PAUSE_S = 1.0
"""
TESTS = """
import os, subprocess, sys, time

def stand_still():
    wake = f"import os, time; time.sleep(1.8); os.kill({os.getpid()}, 18)"
    with subprocess.Popen([sys.executable, "-c", wake]):
        time.sleep(0.1)
        os.kill(os.getpid(), 19)

def attempts(name):
    with open(name, "a+") as file:
        file.write("x")
        file.seek(0)
        return len(file.read())

def test_disturbed_once():
    if attempts("once") == 1:
        stand_still()
        assert False, "too late"

def test_always_wrong():
    attempts("always")
    stand_still()
    assert False, "wrong"

def test_wrong_while_the_machine_runs():
    attempts("runs")
    assert False, "wrong"

def test_right_in_a_pause():
    stand_still()
"""


def test_what_failed_in_a_pause_is_begun_again_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "test_them.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    output = ended.stdout + ended.stderr
    attempts = {name: len((tmp_path / name).read_text()) for name in ("once", "always", "runs")}
    assert attempts == {"once": 2, "always": 3, "runs": 1}, output
    assert "2 failed, 2 passed, 3 rerun" in output
    again = output.split("begun again ===", 1)[1]
    assert "test_disturbed_once: AssertionError: too late" in again
    assert "test_always_wrong: AssertionError: wrong" in again
    assert "test_right_in_a_pause" not in again
