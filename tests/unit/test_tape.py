"""The simulated venue's view of the market: every question answered as by a search through all rows, however cut."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.matching import make_tape
from bot.core.tape import BarTape, Tape, TradeTape
from bot.domain.market import BarBatch, TradeBatch
from tests.support.money import bars, trades

SCALE_NS = 10
LATE = 10**15  # after everything

Trade = tuple[int, int]
Bar = tuple[int, int, int, int, int]

TRADES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), min_size=1, max_size=14).map(
    lambda rows: sorted(rows, key=lambda row: row[0])
)


@st.composite
def bar_rows(draw: st.DrawFn) -> list[Bar]:
    """Return bars with holes between some of them."""
    opens = sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=7)))
    rows = []
    for k in opens:
        low, a, b, high = sorted(draw(st.lists(st.integers(1, 7), min_size=4, max_size=4)))
        first, last = draw(st.permutations([a, b]))
        rows.append((k * SCALE_NS, first, high, low, last))
    return rows


def cut(batch: Any, cuts: list[int]) -> list[Any]:
    """Return the batch in pieces; an empty one wherever two cuts meet."""
    edges = [0, *sorted(min(c, len(batch)) for c in cuts), len(batch)]
    return [batch.rows(a, b) for a, b in pairwise(edges)]


def loaded(tape: Tape, batch: TradeBatch | BarBatch, cuts: list[int]) -> Tape:
    """Return the tape with all of the batch on it, in pieces."""
    for piece in cut(batch, cuts):
        tape.extend(piece, now_ns=0)
    return tape


CUTS = st.lists(st.integers(0, 14), max_size=5)


@given(rows=TRADES, cuts=CUTS, at=st.integers(-1, 42), limit=st.integers(0, 7), start=st.integers(0, 15))
@settings(max_examples=200, deadline=None)
def test_trades_answer_as_a_search_through_all_rows(
    rows: list[Trade], cuts: list[int], at: int, limit: int, start: int
) -> None:
    """Times meet at `>=` for taking and at `<` for the last price; through means strictly beyond."""
    tape = loaded(TradeTape(), trades(rows), cuts)
    count = len(rows)
    expected = next((i for i, (ts, _) in enumerate(rows) if ts >= at), count)
    assert tape.take_row(at) == expected
    assert tape.rest_row(at) == expected
    assert tape.take(start, at) == (rows[start] if start < count else None)
    assert tape.last_price(at) == next((price for ts, price in reversed(rows) if ts < at), None)
    for is_buy in (True, False):
        beyond = [i for i in range(start, count) if (rows[i][1] < limit if is_buy else rows[i][1] > limit)]
        row, is_found = tape.find_through(start, limit, is_buy=is_buy)
        assert is_found == bool(beyond)
        assert row == (beyond[0] if beyond else max(start, count))
        if is_found:
            assert tape.through_ns(row) == rows[row][0]


@given(rows=bar_rows(), cuts=CUTS, at=st.integers(-1, 110), limit=st.integers(0, 8), start=st.integers(0, 8))
@settings(max_examples=200, deadline=None)
def test_bars_answer_as_a_search_through_all_rows(
    rows: list[Bar], cuts: list[int], at: int, limit: int, start: int
) -> None:
    """Taking meets the open of the bar that holds the moment; what goes through is certain at a bar's close."""
    tape = loaded(BarTape(), bars(rows, scale_ns=SCALE_NS), cuts)
    count = len(rows)
    taking = next((i for i, row in enumerate(rows) if row[0] + SCALE_NS > at), count)
    assert tape.take_row(at) == taking
    assert tape.take(taking, at) == ((max(at, rows[taking][0]), rows[taking][1]) if taking < count else None)
    assert tape.rest_row(at) == next((i for i, row in enumerate(rows) if row[0] >= at), count)
    begun = [row for row in rows if row[0] <= at]
    price = None
    if begun:
        price = begun[-1][1] if at < begun[-1][0] + SCALE_NS else begun[-1][4]
    assert tape.last_price(at) == price
    for is_buy in (True, False):
        beyond = [i for i in range(start, count) if (rows[i][3] < limit if is_buy else rows[i][2] > limit)]
        row, is_found = tape.find_through(start, limit, is_buy=is_buy)
        assert is_found == bool(beyond)
        assert row == (beyond[0] if beyond else max(start, count))
        if is_found:
            assert tape.through_ns(row) == rows[row][0] + SCALE_NS


def check_read_ahead(tape: Tape, whole: Tape, batch: Any, times: Any, cuts: list[int]) -> None:
    """Walk the clock as the replay feed does, and ask both tapes the same at every moment.

    The feed reads a piece when the clock reaches the first row of the piece before it, so a row later than now is
    always there unless all have been read; what lies before is dropped meanwhile.
    """
    pieces = [piece for piece in cut(batch, cuts) if len(piece)]
    tape.extend(pieces.pop(0), now_ns=0)
    newest = 0
    for at in range(int(times[-1]) + 2 * SCALE_NS):
        while pieces and int(times[newest]) <= at:
            newest = pieces[0].first_row
            tape.extend(pieces.pop(0), now_ns=at)
        row = whole.take_row(at)
        assert tape.take_row(at) == row
        assert tape.take(row, at) == whole.take(row, at)
        assert tape.last_price(at) == whole.last_price(at)
        rests = whole.rest_row(at)
        if whole.take(rests, at) is not None and tape.take(rests, at) is not None:
            assert tape.rest_row(at) == rests
        for limit in (2, 4):
            found, is_found = tape.find_through(row, limit, is_buy=True)
            expected = whole.find_through(row, limit, is_buy=True)
            if is_found:
                assert (found, is_found) == expected
                assert tape.through_ns(found) == whole.through_ns(found)
            elif expected[1]:  # not read yet: it goes on where the pieces end, and leaves out nothing
                assert found <= expected[0]


@given(rows=TRADES, cuts=CUTS)
@settings(max_examples=100, deadline=None)
def test_trades_read_just_ahead_of_the_clock_are_enough(rows: list[Trade], cuts: list[int]) -> None:
    """No question about now or later is answered differently because rows are dropped behind and missing ahead."""
    batch = trades(rows)
    check_read_ahead(TradeTape(), loaded(TradeTape(), batch, []), batch, batch.ts_ns, cuts)


@given(rows=bar_rows(), cuts=CUTS)
@settings(max_examples=100, deadline=None)
def test_bars_read_just_ahead_of_the_clock_are_enough(rows: list[Bar], cuts: list[int]) -> None:
    """The same for bars."""
    batch = bars(rows, scale_ns=SCALE_NS)
    check_read_ahead(BarTape(), loaded(BarTape(), batch, []), batch, batch.open_ns, cuts)


@pytest.mark.parametrize("is_bars", [False, True])
def test_an_empty_tape_knows_nothing(is_bars: bool) -> None:
    """Before the first row there is no price, nothing to take and nothing that traded through."""
    tape = make_tape(is_bars=is_bars)
    assert tape.last_price(LATE) is None
    assert tape.take(tape.take_row(5), 5) is None
    assert tape.find_through(0, 10**9, is_buy=True) == (0, False)
    tape.extend(bars([]) if is_bars else trades([]), now_ns=0)
    assert tape.last_price(LATE) is None
    assert tape.take(tape.take_row(5), 5) is None


@pytest.mark.parametrize("is_bars", [False, True])
def test_what_the_clock_has_left_behind_is_dropped_but_for_the_last_price(is_bars: bool) -> None:
    """A long run holds no more than a few pieces, and still knows the newest price."""
    tape = make_tape(is_bars=is_bars)
    for k in range(100):
        row = [(k * 10, k + 1, k + 1, k + 1, k + 1)]
        batch = bars(row, first_row=k) if is_bars else trades([(k * 10, k + 1)], first_row=k)
        tape.extend(batch, now_ns=max(k - 1, 0) * 10)
        assert tape.last_price(k * 10 + 9) == k + 1
    assert tape.take(0, 0) is None
    assert tape.take(99, 0) is not None
    assert tape.last_price(LATE) == 100
