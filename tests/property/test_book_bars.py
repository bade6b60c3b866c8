"""The book at closed bars: against a slow reference, in any cut, and never with anything from the future."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.book_features import BOOK_COLUMNS, BookBarScan
from bot.domain.market import BarBatch, BookBatch, EventBarBatch
from tests.support.batches import INSTRUMENT
from tests.support.book_bars_reference import Bar, book_bar
from tests.support.book_reference import Row, books_of
from tests.support.examples import examples
from tests.unit.test_book_statistics import book_rows


def bars_of(bars: list[Bar]) -> BarBatch:
    """Return bars that the market ended: any times will do."""
    nothing = np.zeros(len(bars), dtype=np.int64)
    columns = {name: nothing for name in BarBatch.COLUMNS if name.endswith(("_ticks", "_steps"))}
    return EventBarBatch(
        instrument=INSTRUMENT,
        scale_ns=0,
        first_row=0,
        rule="volume:1",
        open_ns=np.array([bar.open_ns for bar in bars], dtype=np.int64),
        known_ns=np.array([bar.known_ns for bar in bars], dtype=np.int64),
        end_ns=np.array([bar.close_ns for bar in bars], dtype=np.int64),
        turnover=nothing,
        count=nothing,
        flags=nothing.astype(np.uint8),
        **columns,
    )


@st.composite
def some_bars(draw: st.DrawFn) -> list[Bar]:
    """Return bars side by side, apart, without length, and known at once or later."""
    bars: list[Bar] = []
    close_ns = draw(st.integers(0, 60))
    known_ns = 0
    for _ in range(draw(st.integers(1, 8))):
        open_ns = close_ns + draw(st.sampled_from([0, 0, 0, 4]))
        close_ns = open_ns + draw(st.sampled_from([0, 10, 10, 10, 50]))
        known_ns = max(known_ns, close_ns + draw(st.sampled_from([0, 0, 5, 25])))
        bars.append(Bar(open_ns=open_ns, close_ns=close_ns, known_ns=known_ns))
    return bars


def run(books: BookBatch, bars: BarBatch, book_cuts: list[int], bar_cuts: list[int]) -> dict[str, bytes]:
    """Return the bytes of every column; each piece of bars is handed over as soon as its rows have been."""
    scan = BookBarScan()
    edges = [0, *sorted(min(cut, len(books)) for cut in book_cuts), len(books)]
    waiting = [books.rows(*edge) for edge in itertools.pairwise(edges)]
    cuts = [0, *sorted(min(cut, len(bars)) for cut in bar_cuts), len(bars)]
    made = []
    for start, stop in itertools.pairwise(cuts):
        piece = bars.rows(start, stop)
        needed = int(piece.close_ns[-1]) if len(piece) else 0
        while waiting and (not len(waiting[0]) or int(waiting[0].ts_ns[0]) < needed):
            scan.on_book(waiting.pop(0))
        made.append(scan.on_bars(piece))
    return {name: np.concatenate([part[name] for part in made]).tobytes() for name in BOOK_COLUMNS}


cuts = st.lists(st.integers(0, 20), max_size=6)


@given(rows=book_rows(), bars=some_bars(), depth=st.sampled_from([1, 5, 12]))
@settings(max_examples=examples(80), deadline=None)
def test_bars_say_what_the_slow_way_finds(rows: list[Row], bars: list[Bar], depth: int) -> None:
    shown = [replace(row, bids=row.bids[:depth], asks=row.asks[:depth]) for row in rows]
    scan = BookBarScan()
    scan.on_book(books_of(rows, depth=depth))
    made = scan.on_bars(bars_of(bars))
    assert list(made) == list(BOOK_COLUMNS)
    for place in range(len(bars)):
        expected = book_bar(shown, bars, place, depth=depth)
        for name, values in made.items():
            assert values.dtype == np.float64
            assert values[place] == pytest.approx(expected[name], rel=1e-12, abs=1e-12, nan_ok=True), (place, name)


@given(rows=book_rows(), bars=some_bars(), book_cuts=cuts, bar_cuts=cuts)
@settings(max_examples=examples(60), deadline=None)
def test_bars_do_not_depend_on_the_cut(
    rows: list[Row], bars: list[Bar], book_cuts: list[int], bar_cuts: list[int]
) -> None:
    """All rows before all bars, row by row and bar by bar, and anything between."""
    books, batch = books_of(rows, depth=10), bars_of(bars)
    whole = run(books, batch, [], [])
    assert run(books, batch, book_cuts, bar_cuts) == whole
    assert run(books, batch, list(range(len(books))), list(range(len(bars)))) == whole


@given(rows=book_rows(), bars=some_bars(), place=st.integers(0, 7), data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_nothing_known_after_a_bar_is_seen_by_it(
    rows: list[Row], bars: list[Bar], place: int, data: st.DataObject
) -> None:
    """Neither what happens from its close on, nor what happened before and is known later than the bar is."""
    place = min(place, len(bars) - 1)
    bar = bars[place]
    other = data.draw(book_rows(), label="another future")
    past = [row for row in rows if row.known_ns <= bar.known_ns]
    later = bar.known_ns + 1
    future = [
        replace(row, ts_ns=max(row.ts_ns, past[-1].ts_ns if past else 0), known_ns=later + row.known_ns)
        for row in other
    ]
    scans = []
    for each in (rows, past, past + future):
        scan = BookBarScan()
        scan.on_book(books_of(each, depth=10))
        made = scan.on_bars(bars_of(bars))
        scans.append({name: values[: place + 1].tobytes() for name, values in made.items()})
    assert scans[0] == scans[1] == scans[2]


def test_no_book_at_all_is_nan() -> None:
    bars = bars_of([Bar(open_ns=0, close_ns=10, known_ns=10), Bar(open_ns=10, close_ns=20, known_ns=20)])
    made = BookBarScan().on_bars(bars)
    assert all(np.isnan(values).all() and len(values) == 2 for values in made.values())


def test_flow_known_too_late_for_its_bar_is_in_the_next() -> None:
    """A change that is on its way when the bar is known is not lost: the next bar has it."""
    rows = [
        Row(ts_ns=1, known_ns=2, update=1, bids=[(99, 1)], asks=[(101, 1)], is_trusted=True),
        Row(ts_ns=9, known_ns=14, update=2, bids=[(99, 4)], asks=[(101, 1)], is_trusted=True),
    ]
    bars = [Bar(open_ns=0, close_ns=10, known_ns=10), Bar(open_ns=10, close_ns=20, known_ns=20)]
    scan = BookBarScan()
    scan.on_book(books_of(rows, depth=5))
    made = scan.on_bars(bars_of(bars))
    assert made["book_ofi_1"].tolist() == [0.0, 0.003]
    assert made["book_imbalance_1"].tolist() == [0.0, 0.6]
    assert made["book_updates"].tolist() == [1.0, 1.0]
