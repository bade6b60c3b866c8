"""docs/configuration.md is what the settings are."""

import re
from pathlib import Path

from bot.app.configuration import PAGES, reference

ROOT = Path(__file__).parents[2]


def test_the_page_is_fresh() -> None:
    kept = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert kept == reference(), "run: python -m bot.app.configuration > docs/configuration.md"


def test_the_files_that_it_names_are_there() -> None:
    for _, _, _, examples in PAGES:
        for each in examples.split(", "):
            assert (ROOT / each).is_file()


def test_units_and_limits_are_readable() -> None:
    """Time spans as people write them, never in ns; every row has four cells."""
    page = reference()
    assert '| `mark_age_max` | time span, above 0 | `"2m"` |' in page
    assert "| `leverage_max` | number, above 0, at most 100 | `3` |" in page
    assert not re.search(r"\d{9,}", page)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
