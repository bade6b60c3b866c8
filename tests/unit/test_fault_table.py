"""The page of faults: every row is there once, and every test that it names exists."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = {"N": 18, "X": 30, "C": 7, "PR": 17, "B": 16}  # how many there are of each kind

_ROW = re.compile(r"^\| (N|X|C|PR|B)(\d+) \|(.*)\|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> dict[str, str]:
    text = (ROOT / "docs/fault_table.md").read_text(encoding="utf-8")
    found = [(f"{kind}{number}", rest) for kind, number, rest in _ROW.findall(text)]
    assert len(dict(found)) == len(found), "a row is there twice"
    return dict(found)


@cache
def defined_in(path: str) -> frozenset[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE))


def test_every_row_is_there() -> None:
    assert list(rows()) == [f"{kind}{n}" for kind, count in ROWS.items() for n in range(1, count + 1)]


@pytest.mark.parametrize("row", rows())
def test_every_named_test_exists(row: str) -> None:
    """A row without one says so in words."""
    named = _TEST.findall(rows()[row])
    assert named or "no test" in rows()[row]
    missing = [f"{path}::{name}" for path, name in named if name not in defined_in(path)]
    assert not missing
