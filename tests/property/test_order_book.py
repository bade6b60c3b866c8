"""Laws of the order book: any cut gives the same rows, and the rows are those of a slow book of dictionaries."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.order_book import BookCounts, OrderBook
from bot.domain.market import BookBatch, BookDeltaBatch, is_same
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import Message, ReferenceBook, books_of, deltas_of
from tests.support.examples import examples

bid_levels = st.tuples(st.integers(90, 100), st.sampled_from([0, 0, 1, 2, 5]))
ask_levels = st.tuples(st.integers(100, 110), st.sampled_from([0, 0, 1, 2, 5]))
broken = st.sampled_from([(0, 1), (-3, 1), (95, -1)])
places = st.lists(st.integers(0, 120), max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> list[Message]:
    """Return messages of a book that now and then lose one, repeat one, cross, break or begin anew."""
    messages: list[Message] = []
    ts_ns, update = 100, draw(st.integers(1, 50))
    for _ in range(draw(st.integers(1, 30))):
        ts_ns += draw(st.sampled_from([0, 1, 5]))
        bids, asks = draw(st.lists(bid_levels, max_size=4)), draw(st.lists(ask_levels, max_size=4))
        what = draw(st.sampled_from(["next"] * 12 + ["snapshot"] * 3 + ["gap", "repeat", "untold", "broken", "anew"]))
        previous = update
        update += draw(st.sampled_from([1, 1, 3]))
        is_snapshot = not messages and draw(st.booleans())
        if what == "snapshot":
            is_snapshot = True
        elif what == "gap":
            previous -= 1
        elif what == "untold":
            previous = -1
        elif what == "broken":
            bids.append(draw(broken))
        elif what == "anew":
            update = draw(st.integers(1, 5))
        elif what == "repeat" and messages:
            messages.append(messages[-1])
            update = previous
            continue
        messages.append(
            Message(ts_ns=ts_ns, update=update, previous=previous, is_snapshot=is_snapshot, bids=bids, asks=asks)
        )
    return messages


def run(parts: list[BookDeltaBatch], depth: int) -> tuple[BookBatch, BookCounts]:
    book = OrderBook(INSTRUMENT, depth=depth)
    made = [book.on_deltas(part) for part in parts]
    for earlier, later in itertools.pairwise(made):
        assert later.first_row == earlier.first_row + len(earlier)
    return BookBatch.join(made), book.counts


def pieces(batch: BookDeltaBatch, cuts: list[int]) -> list[BookDeltaBatch]:
    edges = [0, *sorted(min(place, len(batch)) for place in cuts), len(batch)]
    return [batch.rows(start, stop) for start, stop in itertools.pairwise(edges)]


@given(messages=streams(), cuts=places, depth=st.integers(1, 6))
@settings(max_examples=examples(60), deadline=None)
def test_books_do_not_depend_on_the_cut(messages: list[Message], cuts: list[int], depth: int) -> None:
    """Whole, cut anywhere, also within a message, and a row at a time."""
    batch = deltas_of(messages)
    whole, counts = run([batch], depth)
    for edges in (cuts, list(range(1, len(batch)))):
        rows, same_counts = run(pieces(batch, edges), depth)
        assert is_same(rows, whole)
        assert same_counts == counts


@given(messages=streams(), depth=st.integers(1, 6))
@settings(max_examples=examples(100), deadline=None)
def test_books_are_those_of_dictionaries(messages: list[Message], depth: int) -> None:
    """Rows, trust, the whole depth and the counts of what went wrong."""
    reference = ReferenceBook()
    expected = [row for message in messages if (row := reference.apply(message)) is not None]
    book = OrderBook(INSTRUMENT, depth=depth)
    rows = book.on_deltas(deltas_of(messages))
    assert is_same(rows, books_of(expected, depth=depth))
    for side, levels in (
        ("bid", sorted(reference.bids.items(), reverse=True)),
        ("ask", sorted(reference.asks.items())),
    ):
        ticks, steps = book.levels("bid" if side == "bid" else "ask")
        assert list(zip(ticks.tolist(), steps.tolist(), strict=True)) == levels
    for name, count in reference.counts.items():
        assert getattr(book.counts, name) == count, name
    assert book.counts.messages == len(messages)


@given(messages=streams())
@settings(max_examples=examples(40), deadline=None)
def test_a_trusted_book_is_never_crossed_and_always_in_order(messages: list[Message]) -> None:
    rows, _ = run([deltas_of(messages)], 5)
    for row in range(len(rows)):
        bids = [t for t, q in zip(rows.bid_ticks[row].tolist(), rows.bid_steps[row].tolist(), strict=True) if q]
        asks = [t for t, q in zip(rows.ask_ticks[row].tolist(), rows.ask_steps[row].tolist(), strict=True) if q]
        assert bids == sorted(set(bids), reverse=True)
        assert asks == sorted(set(asks))
        assert not bids or not asks or bids[0] < asks[0]
        assert rows.is_trusted[row] or not bids + asks
