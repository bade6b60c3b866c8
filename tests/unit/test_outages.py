"""Holes that several sources share, and how much of the time is covered."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.data_quality.coverage import Coverage
from bot.core.data_quality.findings import Holes, Limits
from bot.core.data_quality.outages import common_holes, find_outages
from tests.support.planting import WARNING
from tests.support.quality import (
    MINUTE,
    START,
)

# --- outages ----------------------------------------------------------------------------------------------------------


def holes(first: int, last: int, *missing: tuple[int, int]) -> Holes:
    """Return the holes of one symbol: first missing interval and how many."""
    start, length = zip(*missing, strict=True) if missing else ((), ())
    return Holes(
        interval_ns=MINUTE,
        first=first,
        last=last,
        start=np.array(start, dtype=np.int64),
        length=np.array(length, dtype=np.int64),
    )


def test_common_holes_are_those_that_all_who_are_there_lack() -> None:
    """A symbol that has not begun yet, or has ended, has no say; one symbol alone is no venue."""
    stretches = common_holes(
        {
            "A": holes(0, 1000, (10, 30), (100, 50), (500, 20)),
            "B": holes(0, 600, (20, 30), (120, 10), (500, 20)),
            "C": holes(110, 1000, (115, 25), (700, 5)),
        }
    )
    found_at = [(each.start_ns // MINUTE, each.intervals, each.symbols) for each in stretches]
    assert found_at == [(20, 20, 2), (120, 10, 3)]
    assert not common_holes({"A": holes(0, 1000, (10, 30))})
    assert not common_holes({"A": holes(0, 100, (10, 30)), "B": holes(200, 300, (210, 5))})
    assert not common_holes({})


@settings(deadline=None)
@given(
    symbols=st.lists(st.tuples(st.integers(0, 15), st.sets(st.integers(1, 38), max_size=30)), min_size=1, max_size=4)
)
def test_common_holes_agree_with_counting_minute_by_minute(symbols: list[tuple[int, set[int]]]) -> None:
    """Every interval by itself: who is there, and who lacks it."""
    series = {}
    lacking = {}
    for name, (first, missing) in zip("ABCD", symbols, strict=False):
        absent = sorted(minute for minute in missing if first < minute < 39)
        runs: list[tuple[int, int]] = []
        for minute in absent:
            if runs and sum(runs[-1]) == minute:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((minute, 1))
        series[name], lacking[name] = holes(first, 39, *runs), set(absent)
    want = {
        minute
        for minute in range(40)
        if len(there := [name for name, each in series.items() if each.first <= minute <= each.last]) >= 2
        and all(minute in lacking[name] for name in there)
    }
    got = {each.start_ns // MINUTE + n for each in common_holes(series) for n in range(each.intervals)}
    assert got == want


def test_an_outage_is_long_and_names_all() -> None:
    """Short holes in common are counted, not called outages."""
    series = {
        "AUSDT": holes(
            START // MINUTE, START // MINUTE + 900, *((START // MINUTE + at, n) for at, n in ((60, 30), (200, 9)))
        ),
        "BUSDT": holes(
            START // MINUTE, START // MINUTE + 900, *((START // MINUTE + at, n) for at, n in ((70, 90), (200, 9)))
        ),
    }
    (finding,) = find_outages("somewhere", series, Limits())
    assert (finding.code, finding.severity, finding.count) == ("venue.outage", WARNING, 1)
    assert "20 1m intervals that AUSDT, BUSDT lack together" in finding.message
    assert "20m missing after 2024-01-01T01:09:00Z" in finding.message
    assert "1 shorter" in finding.message
    assert not find_outages("somewhere", series, Limits(outage_ns=21 * MINUTE))


# --- parts ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    chunks=st.lists(st.lists(st.one_of(st.integers(0, 60), st.integers(2**62, 2**62 + 9)), max_size=12), max_size=12)
)
def test_coverage_agrees_with_a_set(chunks: list[list[int]]) -> None:
    """What was seen before, which runs there are, where each began, and the holes between them."""
    coverage, first_row = Coverage(), {}
    row = 0
    for chunk in chunks:
        want = []
        for offset, value in enumerate(chunk):
            want.append(value in first_row)
            first_row.setdefault(value, row + offset)
        rows = np.arange(row, row + len(chunk))
        repeats = coverage.add(np.array(chunk, dtype=np.int64), rows, rows * 10)
        assert repeats.tolist() == want
        row += len(chunk)
    values = sorted(first_row)
    starts = [value for value in values if value - 1 not in first_row]
    ends = [value for value in values if value + 1 not in first_row]
    runs = coverage.runs()
    assert runs.T.tolist() == [[a, b, first_row[a], first_row[a] * 10] for a, b in zip(starts, ends, strict=True)]
    start, length, after, _ = coverage.holes()
    assert start.tolist() == [end + 1 for end in ends[:-1]]
    assert (start + length).tolist() == starts[1:]
    assert after.tolist() == [first_row[value] for value in starts[1:]]
