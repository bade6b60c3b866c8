"""What a download remembers: stretches of nothing, and stretches that were answered in full."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import DataError
from bot.store.download_log import DownloadLog, union, without

DAY = 86_400_000_000_000
YEAR_2024 = 1_704_067_200_000_000_000
SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def inside(stretches: list[tuple[int, int]]) -> set[int]:
    return {at for lo, hi in stretches for at in range(lo, hi)}


@given(SPANS)
def test_a_union_holds_the_same_in_order_and_apart(spans: list[tuple[int, int]]) -> None:
    joined = union(spans)
    assert inside(joined) == inside(spans)
    assert all(lo < hi for lo, hi in joined)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(joined))


@given(st.tuples(st.integers(0, 40), st.integers(0, 40)), SPANS)
def test_what_is_left_is_what_is_not_taken(stretch: tuple[int, int], taken: list[tuple[int, int]]) -> None:
    assert inside(without(stretch, taken)) == inside([stretch]) - inside(taken)


def test_what_is_saved_is_remembered(tmp_path: Path) -> None:
    log = DownloadLog(tmp_path / "BTCUSDT")
    log.add_absent("bars-1m", (0, 10))
    log.add_absent("bars-1m", (10, 20))
    log.add_answer("funding", (0, 100), 7)
    assert not (tmp_path / "BTCUSDT").exists()
    log.save()
    again = DownloadLog(tmp_path / "BTCUSDT")
    assert again.absent("bars-1m") == [(0, 20)]
    assert again.answered("funding", lambda span: 7) == [(0, 100)]
    assert (again.absent("funding"), again.answered("trades", lambda span: 0)) == ([], [])
    assert not list(tmp_path.rglob("*.part"))


def test_an_answer_whose_rows_are_gone_is_not_believed(tmp_path: Path) -> None:
    log = DownloadLog(tmp_path)
    log.add_answer("funding", (0, 100), 7)
    log.add_answer("funding", (200, 300), 2)
    assert log.answered("funding", lambda span: 6 if span == (0, 100) else 3) == [(200, 300)]


def test_answers_grow_day_by_day_within_a_year(tmp_path: Path) -> None:
    """A daily download leaves one line a year, not one a day."""
    log = DownloadLog(tmp_path)
    for day in range(-2, 3):
        log.add_answer("funding", (YEAR_2024 + day * DAY, YEAR_2024 + (day + 1) * DAY), 3)
    asked: list[tuple[int, int]] = []

    def count(span: tuple[int, int]) -> int:
        asked.append(span)
        return 3 * (span[1] - span[0]) // DAY

    assert log.answered("funding", count) == [(YEAR_2024 - 2 * DAY, YEAR_2024 + 3 * DAY)]
    assert asked == [(YEAR_2024 - 2 * DAY, YEAR_2024), (YEAR_2024, YEAR_2024 + 3 * DAY)]


def test_a_newer_answer_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    log = DownloadLog(tmp_path)
    log.add_answer("funding", (YEAR_2024, YEAR_2024 + DAY), 3)
    log.add_answer("funding", (YEAR_2024, YEAR_2024 + DAY), 2)
    assert log.answered("funding", lambda span: 2) == [(YEAR_2024, YEAR_2024 + DAY)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"kinds": {"x": {"absent": [[1]]}}}'])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "downloads.json").write_text(text)
    with pytest.raises(DataError, match="delete it"):
        DownloadLog(tmp_path)
