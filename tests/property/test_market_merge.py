"""Merging imports: nothing twice, nothing lost, the newer wins; against plain Python and against itself."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.store.market_format import Columns, completed, layout_of
from bot.store.market_merge import Merged, merge
from tests.support.market_parts import Row, part_of, rows_of

# Small ranges, so that rows collide in every way there is.
TRADES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 2), st.integers(1, 2), st.booleans(), st.just(0)), max_size=14
)
NUMBERED = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 2), st.integers(1, 2), st.booleans(), st.integers(1, 9)), max_size=14
)
MIXED = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 2), st.just(1), st.booleans(), st.integers(0, 5)), max_size=14
)
BARS = st.lists(
    st.tuples(st.integers(0, 9), *[st.integers(1, 2)] * 5, st.sampled_from([1.0, float("nan")]), st.integers(-1, 1)),
    max_size=14,
)
BOOK = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans(), st.booleans(), st.integers(1, 2), st.integers(0, 2)),
    max_size=14,
)
_TRADE_NAMES = ("ts_ns", "price", "qty", "is_buy", "trade_id")
_BAR_NAMES = ("open_ns", "open", "high", "low", "close", "volume", "turnover", "count")
_BOOK_NAMES = ("ts_ns", "update", "is_snapshot", "is_bid", "price", "qty")


def columns_of(kind: str, rows: list[Row], names: tuple[str, ...]) -> Columns:
    return completed(layout_of(kind), part_of(kind, rows, names=names).columns)


def merged(kind: str, names: tuple[str, ...], old: list[Row], came: list[Row]) -> Merged:
    """Merge rows as two imports would: the first into nothing."""
    layout = layout_of(kind)
    there = merge(layout, None, columns_of(kind, old, names)).columns if old else None
    result = merge(layout, there, columns_of(kind, came, names))
    assert result.new + result.repeated + result.replaced == len(came)
    times = result.columns[layout.time]
    if kind != "book":
        assert (np.diff(times) >= 0).all()
    again = merge(layout, result.columns, columns_of(kind, came, names))
    assert again.new == again.replaced == 0, "a second import changes nothing"
    assert again.columns is result.columns
    return result


@settings(deadline=None)  # the first example compiles
@given(old=TRADES, came=TRADES)
def test_equal_trades_without_a_number_are_kept_as_often_as_one_side_has_them(old: list[Row], came: list[Row]) -> None:
    result = merged("trades", _TRADE_NAMES, old, came)
    assert Counter(rows_of(result.columns, _TRADE_NAMES)) == Counter(old) | Counter(came)
    assert result.repeated == (Counter(old) & Counter(came)).total()
    assert result.replaced == 0


@settings(deadline=None)  # the first example compiles
@given(old=NUMBERED, came=NUMBERED)
def test_of_one_number_the_last_to_come_is_kept(old: list[Row], came: list[Row]) -> None:
    last: dict[int, Row] = {}
    for rows in (old, came):
        for row in sorted(rows, key=lambda row: row[0]):  # what comes at once is put in order first
            last[row[4]] = row
    result = merged("trades", _TRADE_NAMES, old, came)
    assert Counter(rows_of(result.columns, _TRADE_NAMES)) == Counter(last.values())


@settings(deadline=None)  # the first example compiles
@given(old=MIXED, came=MIXED)
def test_trades_with_and_without_numbers_do_not_mix(old: list[Row], came: list[Row]) -> None:
    """Each half is merged by its own rule."""
    result = rows_of(merged("trades", _TRADE_NAMES, old, came).columns, _TRADE_NAMES)
    without = [[row for row in rows if row[4] == 0] for rows in (old, came)]
    assert Counter(row for row in result if row[4] == 0) == Counter(without[0]) | Counter(without[1])
    numbers = [row[4] for row in result if row[4] != 0]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == {row[4] for row in (*old, *came) if row[4] != 0}


@settings(deadline=None)  # the first example compiles
@given(rows=TRADES, cut=st.integers(0, 14))
def test_trades_of_one_time_keep_their_order(rows: list[Row], cut: int) -> None:
    """However a file is cut into two imports at a change of time, the order of the whole file is what is stored."""
    rows = sorted(rows, key=lambda row: row[0])
    while 0 < cut < len(rows) and rows[cut - 1][0] == rows[cut][0]:
        cut += 1
    for old, came in ((rows[:cut], rows[cut:]), (rows[cut:], rows[:cut])):
        if rows:
            result = merged("trades", _TRADE_NAMES, *((old, came) if came else (came, old)))
            assert rows_of(result.columns, _TRADE_NAMES) == rows


@settings(deadline=None)  # the first example compiles
@given(old=BARS, came=BARS)
def test_of_bars_of_one_time_the_last_to_come_is_kept(old: list[Row], came: list[Row]) -> None:
    """What only the older one told is kept where the newer one agrees with all else."""
    last: dict[int, list[Any]] = {}
    for rows in (old, came):
        ranked = {row[0]: list(row) for row in rows}  # inside one import the last wins outright
        for time, row in ranked.items():
            before = last.get(time)
            if before is not None and before[:6] == row[:6]:
                row[6] = before[6] if np.isnan(row[6]) else row[6]
                row[7] = before[7] if row[7] == -1 else row[7]
            last[time] = row
    result = merged("bars-1m", _BAR_NAMES, old, came)
    expected = [tuple(last[time]) for time in sorted(last)]
    assert repr(rows_of(result.columns, _BAR_NAMES)) == repr(expected)


@settings(deadline=None)  # the first example compiles
@given(old=BOOK, came=BOOK)
def test_a_book_keeps_every_message_once_and_each_side_in_its_order(old: list[Row], came: list[Row]) -> None:
    """A message that came again takes the place of the one there; inside one import no row is dropped."""

    def key(row: Row) -> Row:
        return row[:3]

    result = rows_of(merged("book", _BOOK_NAMES, old, came).columns, _BOOK_NAMES)
    assert merged("book", _BOOK_NAMES, [], came).repeated == 0
    kept = [row for row in old if key(row) not in set(map(key, came))]
    assert Counter(result) == Counter(kept) + Counter(came)
    for message in set(map(key, came)):
        assert [row for row in result if key(row) == message] == [row for row in came if key(row) == message]


@pytest.mark.parametrize("kind", ["trades", "quotes", "book"])
def test_times_before_and_after(kind: str) -> None:
    """What comes earlier than all that is there goes before it, what comes later behind it."""
    layout = layout_of(kind)
    template = {name: np.ones(1, dtype=of) for name, of in layout.columns.items()}

    def at(time: int) -> Columns:
        return {**template, layout.time: np.array([time])} | (
            {"trade_id": np.array([time])} if kind == "trades" else {}
        )

    columns = merge(layout, at(5), at(3)).columns
    columns = merge(layout, columns, at(9)).columns
    assert columns[layout.time].tolist() == [3, 5, 9]


def test_numbers_decide_between_trades_of_one_time() -> None:
    """Two imports meet inside one millisecond: whichever comes first, the venue's order is what is stored."""
    rows = [(7, 1, 1, True, number) for number in range(1, 7)]
    for old, came in ((rows[:3], rows[3:]), (rows[3:], rows[:3]), (rows[::2], rows[1::2])):
        assert rows_of(merged("trades", _TRADE_NAMES, old, came).columns, _TRADE_NAMES) == rows


def test_a_file_keeps_its_own_order_where_its_numbers_disagree() -> None:
    rows = [(7, 1, 1, True, 5), (7, 1, 1, True, 3)]
    assert rows_of(merged("trades", _TRADE_NAMES, [], rows).columns, _TRADE_NAMES) == rows
