"""The rules of the order book, one by one."""

from dataclasses import replace

import numpy as np
import pytest

from bot.core.order_book import BookFault, OrderBook, is_crossed
from bot.domain.market import BookBatch, BookDeltaBatch
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import Message, delta, deltas_of, snapshot

SEED = snapshot(1, 10, bids=[(99, 5), (98, 7)], asks=[(101, 4), (103, 6)])


def feed(*messages: Message, depth: int = 3) -> tuple[OrderBook, BookBatch]:
    book = OrderBook(INSTRUMENT, depth=depth)
    return book, book.on_deltas(deltas_of(messages))


def sides(rows: BookBatch, row: int = -1) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the levels of a row that exist."""
    bids = zip(rows.bid_ticks[row].tolist(), rows.bid_steps[row].tolist(), strict=True)
    asks = zip(rows.ask_ticks[row].tolist(), rows.ask_steps[row].tolist(), strict=True)
    return [level for level in bids if level[1]], [level for level in asks if level[1]]


def test_a_snapshot_replaces_the_book() -> None:
    book, rows = feed(SEED, snapshot(2, 11, bids=[(95, 1)], asks=[(96, 2)]))
    assert sides(rows, 0) == ([(99, 5), (98, 7)], [(101, 4), (103, 6)])
    assert sides(rows, 1) == ([(95, 1)], [(96, 2)])
    assert rows.is_trusted.all()
    assert rows.ts_ns.tolist() == [1, 2]
    assert rows.update.tolist() == [10, 11]
    assert book.counts.snapshots == 2


def test_a_change_sets_and_zero_removes() -> None:
    _, rows = feed(SEED, delta(2, 11, bids=[(99, 0), (100, 3), (98, 8)], asks=[(103, 0), (105, 1)]))
    assert sides(rows) == ([(100, 3), (98, 8)], [(101, 4), (105, 1)])


def test_a_snapshot_may_come_in_any_order_of_its_levels() -> None:
    """Best first, worst first or mixed, and a price named twice is what it was named last."""
    _, rows = feed(snapshot(1, 1, bids=[(97, 1), (99, 2), (98, 3), (97, 4)], asks=[(103, 1), (101, 2), (102, 3)]))
    assert sides(rows) == ([(99, 2), (98, 3), (97, 4)], [(101, 2), (102, 3), (103, 1)])


def test_only_the_best_levels_are_shown_and_missing_ones_are_zero() -> None:
    _, rows = feed(SEED, depth=1)
    assert sides(rows) == ([(99, 5)], [(101, 4)])
    _, rows = feed(SEED, depth=3)
    assert rows.bid_ticks[0].tolist() == [99, 98, 0]
    assert rows.ask_steps[0].tolist() == [4, 6, 0]


def test_all_levels_are_there_for_who_wants_them() -> None:
    book, _ = feed(SEED, delta(2, 11, bids=[(90, 1)]), depth=1)
    ticks, steps = book.levels("bid")
    assert (ticks.tolist(), steps.tolist()) == ([99, 98, 90], [5, 7, 1])
    ticks, steps = book.levels("ask")
    assert (ticks.tolist(), steps.tolist()) == ([101, 103], [4, 6])


def test_a_message_without_levels_keeps_the_chain() -> None:
    book, rows = feed(SEED, delta(2, 11), delta(3, 12, bids=[(99, 1)]))
    assert rows.is_trusted.all()
    assert sides(rows, 1) == sides(rows, 0)
    assert book.counts.gaps == 0


def test_an_empty_side_is_no_fault() -> None:
    """A book of one side is a fact about a quiet market; what is computed from two sides is then not known."""
    book, rows = feed(SEED, delta(2, 11, asks=[(101, 0), (103, 0)]))
    assert rows.is_trusted.all()
    assert sides(rows) == ([(99, 5), (98, 7)], [])
    assert book.fault is None


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (delta(2, 12, bids=[(99, 6)]), BookFault.GAP),
        (delta(2, 10, bids=[(99, 6)], previous=9), BookFault.GAP),  # its number does not rise, and it is no repeat
        (delta(2, 3, bids=[(99, 6)], previous=10), BookFault.GAP),  # the sequence began anew, unannounced
        (delta(2, 11, bids=[(101, 1)]), BookFault.CROSSED),  # locked
        (delta(2, 11, asks=[(97, 1)]), BookFault.CROSSED),
        (delta(2, 11, bids=[(99, -1)]), BookFault.IMPOSSIBLE),
        (delta(2, 11, bids=[(-5, 1)]), BookFault.IMPOSSIBLE),
        (delta(2, 11, bids=[(0, 1)]), BookFault.IMPOSSIBLE),
        (delta(2, 11, asks=[(2**60, 1)]), BookFault.IMPOSSIBLE),
        (delta(2, 11, asks=[(102, 2**60)]), BookFault.IMPOSSIBLE),
        (snapshot(2, 11, bids=[(101, 1)], asks=[(101, 1)]), BookFault.CROSSED),
        (snapshot(2, 11, bids=[(99, -3)], asks=[(101, 1)]), BookFault.IMPOSSIBLE),
    ],
)
def test_a_fault_closes_trust_until_the_next_snapshot(message: Message, fault: BookFault) -> None:
    """An untrusted book shows nothing, ignores changes, and counts why."""
    after = delta(3, message.update + 1, bids=[(98, 1)])
    book, rows = feed(SEED, message, after, depth=2)
    assert rows.is_trusted.tolist() == [True, False, False]
    assert sides(rows, 1) == sides(rows, 2) == ([], [])
    assert not book.is_trusted
    assert book.fault is fault
    assert len(book.levels("bid")[0]) == len(book.levels("ask")[0]) == 0
    found = {BookFault.GAP: "gaps", BookFault.CROSSED: "crossed", BookFault.IMPOSSIBLE: "impossible"}
    for cause, name in found.items():
        assert getattr(book.counts, name) == (cause is fault), name
    assert book.counts.ignored == 1

    rows = book.on_deltas(deltas_of([replace(SEED, ts_ns=4, update=2), delta(5, 3, bids=[(97, 1)])]))
    assert rows.is_trusted.all()
    assert sides(rows) == ([(99, 5), (98, 7)], [(101, 4), (103, 6)])
    assert book.fault is None


def test_one_faulty_message_is_one_fault() -> None:
    book, _ = feed(SEED, delta(2, 11, bids=[(99, -1), (98, -1), (0, 4)]))
    assert book.counts.impossible == 1


def test_changes_before_any_snapshot_are_not_trusted() -> None:
    book, rows = feed(delta(1, 5, bids=[(99, 1)]), delta(2, 6, asks=[(100, 1)]), replace(SEED, ts_ns=3))
    assert rows.is_trusted.tolist() == [False, False, True]
    assert sides(rows, 1) == ([], [])
    assert book.counts.unseeded == 2
    assert OrderBook(INSTRUMENT, depth=1).fault is BookFault.UNSEEDED


def test_a_repeat_is_left_out() -> None:
    """A change that is newer neither by number nor by time was here before: streams resend."""
    book, rows = feed(SEED, delta(2, 11, bids=[(99, 1)]), delta(2, 11, bids=[(99, 1)]), delta(1, 9, bids=[(99, 9)]))
    assert len(rows) == 2
    assert rows.is_trusted.all()
    assert book.counts.repeated == 2
    assert sides(rows)[0][0] == (99, 1)


def test_numbers_only_have_to_rise_where_the_venue_tells_no_predecessor() -> None:
    _, rows = feed(SEED, delta(2, 15, bids=[(99, 1)], previous=-1), delta(3, 16, bids=[(99, 2)], previous=-1))
    assert rows.is_trusted.all()
    assert sides(rows)[0][0] == (99, 2)


def test_a_message_that_names_itself_its_predecessor_shows_a_gap() -> None:
    """That is how a source without a chain marks a message that could not be read."""
    book, _ = feed(SEED, delta(2, 15, bids=[(99, 1)], previous=15))
    assert book.fault is BookFault.GAP


def test_bybits_restart_is_a_snapshot_with_a_lower_number() -> None:
    _, rows = feed(SEED, snapshot(5, 1, bids=[(90, 1)], asks=[(91, 1)]), delta(6, 2, bids=[(89, 1)]))
    assert rows.is_trusted.all()
    assert sides(rows)[0] == [(90, 1), (89, 1)]


def test_a_snapshot_sent_again_is_no_fault() -> None:
    """Bybit's first level is sent again under its number when nothing has changed for 3 s."""
    book, rows = feed(SEED, replace(SEED, ts_ns=4))
    assert rows.is_trusted.all()
    assert len(rows) == 2
    assert book.counts.gaps == 0


def test_removing_what_is_not_there_is_counted_and_changes_nothing() -> None:
    book, rows = feed(SEED, delta(2, 11, bids=[(50, 0)], asks=[(150, 0)]))
    assert rows.is_trusted.all()
    assert book.counts.absent == 2
    assert sides(rows, 1) == sides(rows, 0)


def test_half_a_message_shows_nothing() -> None:
    """What a border between batches cuts off is withheld, and the book is not trusted meanwhile."""
    batch = deltas_of([SEED, delta(2, 11, bids=[(99, 0), (98, 0)], asks=[(102, 1)])])
    book = OrderBook(INSTRUMENT, depth=2)
    made, rows = [], book.on_deltas(batch.rows(0, 0))
    for start, stop in ((0, 2), (2, 5), (5, 6), (6, 7)):
        rows = book.on_deltas(batch.rows(start, stop))
        made.append((len(rows), book.is_trusted, book.fault, len(book.levels("bid")[0])))
    unseeded = BookFault.UNSEEDED
    assert made == [(0, False, unseeded, 0), (1, False, None, 0), (0, False, None, 0), (1, True, None, 0)]
    assert sides(rows) == ([], [(101, 4), (102, 1)])


def test_rows_of_another_message_inside_one_are_a_fault() -> None:
    batch = deltas_of([SEED, delta(2, 11, bids=[(99, 1), (98, 1)])])
    update = batch.update.copy()
    update[-1] = 12
    book = OrderBook(INSTRUMENT, depth=2)
    rows = book.on_deltas(replace(batch, update=update))
    assert rows.is_trusted.tolist() == [True, False]
    assert book.fault is BookFault.IMPOSSIBLE


def test_a_book_grows_as_needed() -> None:
    """More levels than there was room for, in one message and over many."""
    book = OrderBook(INSTRUMENT, depth=1)
    book.on_deltas(deltas_of([SEED]))
    wide = delta(2, 11, bids=[(10_000 + i, 1) for i in range(20_000)], asks=[(40_000 + i, 1) for i in range(20_000)])
    book.on_deltas(deltas_of([delta(2, 11, asks=[(101, 0), (103, 0)])]))
    rows = book.on_deltas(deltas_of([replace(wide, update=12, previous=11)]))
    assert rows.is_trusted.all()
    assert len(book.levels("bid")[0]) == 20_002
    assert len(book.levels("ask")[0]) == 20_000
    for i in range(5000):
        book.on_deltas(deltas_of([delta(3 + i, 13 + i, bids=[(i + 100, 1)])]))
    assert len(book.levels("bid")[0]) == 25_002
    assert book.counts.changes == 4 + 2 + 40_000 + 5000


def test_crossed_rows_of_any_books_are_found() -> None:
    _, rows = feed(SEED, delta(2, 11, asks=[(101, 0), (103, 0)]))
    assert not is_crossed(rows).any()
    locked = replace(rows, ask_ticks=rows.bid_ticks, ask_steps=rows.bid_steps)
    assert is_crossed(locked).all()


def test_a_book_without_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="ask for one or more"):
        OrderBook(INSTRUMENT, depth=0)


def test_a_batch_without_rows_changes_nothing() -> None:
    book, rows = feed(SEED)
    empty: BookDeltaBatch = deltas_of([])
    assert len(book.on_deltas(empty)) == 0
    assert np.array_equal(book.levels("bid")[0], [99, 98])
    assert len(rows) == 1
