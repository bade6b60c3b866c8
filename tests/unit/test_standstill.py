"""A test that fails in a pause of the machine is begun again; one that fails otherwise has failed, at once."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = "from tests.conftest import *\nfrom tests.conftest import _logging_as_before\n"
TESTS = """
import os, subprocess, sys, time

def stand_still():
    wake = f"import os, time; time.sleep(0.6); os.kill({os.getpid()}, 18)"
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

def test_wrong_after_long_work():
    attempts("works")
    sum(range(30_000_000))  # one call, which keeps the interpreter to itself
    assert False, "wrong"

def test_right_in_a_pause():
    stand_still()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return where these tests ran, and what was printed."""
    folder = tmp_path_factory.mktemp("tests")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_them.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return folder, ended.stdout + ended.stderr


def test_what_failed_in_a_pause_is_begun_again(told: tuple[Path, str]) -> None:
    folder, output = told
    attempts = {name: len((folder / name).read_text()) for name in ("once", "always", "runs", "works")}
    assert attempts == {"once": 2, "always": 3, "runs": 1, "works": 1}, output
    assert "3 failed, 2 passed, 3 rerun" in output


def test_it_is_told_of(told: tuple[Path, str]) -> None:
    _, output = told
    again = output.split("begun again ===", 1)[1]
    assert "test_disturbed_once: AssertionError: too late" in again
    assert "test_always_wrong: AssertionError: wrong" in again
    assert "test_right_in_a_pause" not in again
