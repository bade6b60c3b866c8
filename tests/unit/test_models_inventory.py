"""`docs/models.md` maps every component of the sources to code: no row is lacking, and every name it gives exists."""

import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS_OF = {"0": 31, "1": 36, "2": 23, "3": 15, "4": 6}
FEATURES = tuple(f"0.3{letter}" for letter in "abcdefghij")
MISSING: set[str] = set()
NAME = re.compile(r"`((?:bot|models|strategies|benchmarks|tests)(?:\.\w+)+)`")


class Row(NamedTuple):
    """One line of the tables."""

    number: str
    names: tuple[str, ...]
    status: str
    note: str


def _rows() -> list[Row]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line[:1] == "|"]
    return [
        Row(number=row[0], names=tuple(NAME.findall(row[2])), status=row[3], note=row[4])
        for row in cells
        if re.fullmatch(r"\d\.\d+[a-j]?", row[0])
    ]


def _find(name: str) -> object:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_no_row_is_lacking_and_none_stands_twice() -> None:
    expected = [f"{source}.{number}" for source, count in ROWS_OF.items() for number in range(1, count + 1)]
    assert sorted(row.number for row in _rows()) == sorted([*expected, *FEATURES])


def test_every_row_says_what_became_of_it() -> None:
    """What is built names where; every row has a word on why it is so."""
    for row in _rows():
        assert row.status in ("built", "replaced", "refused", "missing"), row
        assert row.names or row.status in ("replaced", "refused"), row
        assert row.note, row


def test_what_is_missing_is_counted() -> None:
    assert {row.number for row in _rows() if row.status == "missing"} == MISSING


@pytest.mark.parametrize("name", sorted({name for row in _rows() if row.status != "missing" for name in row.names}))
def test_the_name_exists(name: str) -> None:
    assert _find(name) is not None


@pytest.mark.parametrize("number", range(1, 13))
def test_each_of_the_tests_to_write_first_exists(number: int) -> None:
    line = next(line for line in TEXT.splitlines() if line.startswith(f"| {number} ") and "`tests." in line)
    for name in NAME.findall(line):
        assert callable(_find(name))
