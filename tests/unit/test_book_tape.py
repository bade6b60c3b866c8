"""The book under a venue's clock, and what it tells of a level's future."""

import weakref
from dataclasses import replace

import pytest

from bot.core.venue.book_tape import BookSide, BookTape, LevelChange
from bot.domain.instrument import Side
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import Message, delta, deltas_of, snapshot

SEED = snapshot(10, 1, bids=[(99, 5), (98, 7)], asks=[(101, 4), (103, 6)])
FAR = 2**62


def tape_of(*messages: Message, window: int | None = None) -> BookTape:
    tape = BookTape(INSTRUMENT, window=window)
    tape.extend(deltas_of(messages), now_ns=0)
    return tape


def levels(tape: BookTape, count: int = 10) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    bids, asks = tape.levels("bid", count), tape.levels("ask", count)
    return [(int(t), int(q)) for t, q in zip(*bids, strict=True)], [
        (int(t), int(q)) for t, q in zip(*asks, strict=True)
    ]


def changes(tape: BookTape, side: BookSide, ticks: int) -> list[tuple[int, int | None]]:
    """Return (time, quantity) of all that becomes of a level."""
    found, row = [], tape.row
    while (change := tape.next_change(row, side, ticks)) is not None:
        found.append((change.ts_ns, change.qty_steps))
        row = change.row + 1
    return found


# --- what is so at a moment -------------------------------------------------------------------------------------------


def test_before_the_first_snapshot_nothing_is_known() -> None:
    tape = tape_of(delta(5, 0, bids=[(99, 1)]), SEED)
    tape.advance(10)
    assert not tape.is_trusted
    assert tape.best_bid() is tape.best_ask() is None
    assert tape.qty_at("bid", 99) is None
    assert levels(tape) == ([], [])
    assert tape.walk(Side.BUY, 1) == []


def test_what_happens_at_a_time_comes_after_who_asks_at_it() -> None:
    tape = tape_of(SEED, delta(20, 2, bids=[(100, 1)]))
    tape.advance(10)
    assert not tape.is_trusted
    tape.advance(20)
    assert (tape.best_bid(), tape.best_ask()) == (99, 101)
    tape.advance(21)
    assert tape.best_bid() == 100


def test_levels_come_best_first() -> None:
    tape = tape_of(SEED, delta(11, 2, bids=[(97, 1)], asks=[(102, 2)]))
    tape.advance(FAR)
    assert levels(tape) == ([(99, 5), (98, 7), (97, 1)], [(101, 4), (102, 2), (103, 6)])
    assert levels(tape, 1) == ([(99, 5)], [(101, 4)])


def test_quantity_at_a_price() -> None:
    """Also between levels, on the other side's prices, and beyond the last level: there rests nothing."""
    tape = tape_of(SEED)
    tape.advance(FAR)
    assert [tape.qty_at("bid", ticks) for ticks in (101, 100, 99, 98, 97)] == [0, 0, 5, 7, 0]
    assert [tape.qty_at("ask", ticks) for ticks in (99, 101, 102, 103, 104)] == [0, 4, 0, 6, 0]


@pytest.mark.parametrize("place", [0, 15, 16, 17, 63, 64, 199])
def test_quantity_deep_in_the_book(place: int) -> None:
    tape = tape_of(
        snapshot(1, 1, bids=[(500 - n, n + 1) for n in range(200)], asks=[(501 + n, n + 1) for n in range(200)])
    )
    tape.advance(FAR)
    assert tape.qty_at("bid", 500 - place) == tape.qty_at("ask", 501 + place) == place + 1


def test_a_side_may_be_empty() -> None:
    tape = tape_of(snapshot(1, 1, bids=[(99, 5)], asks=[]))
    tape.advance(FAR)
    assert tape.is_trusted
    assert tape.best_ask() is None
    assert tape.qty_at("ask", 100) == 0
    assert tape.walk(Side.BUY, 1) == []


def test_walk_takes_the_best_first_and_leaves_the_book_alone() -> None:
    tape = tape_of(SEED)
    tape.advance(FAR)
    assert tape.walk(Side.BUY, 6) == [(101, 4), (103, 2)]
    assert tape.walk(Side.SELL, 5) == [(99, 5)]
    assert tape.walk(Side.SELL, 6) == [(99, 5), (98, 1)]
    assert levels(tape) == ([(99, 5), (98, 7)], [(101, 4), (103, 6)])


def test_walk_ends_with_the_limit_and_with_the_book() -> None:
    tape = tape_of(SEED)
    tape.advance(FAR)
    assert tape.walk(Side.BUY, 100) == [(101, 4), (103, 6)]
    assert tape.walk(Side.BUY, 100, limit_ticks=102) == [(101, 4)]
    assert tape.walk(Side.BUY, 100, limit_ticks=103) == [(101, 4), (103, 6)]
    assert tape.walk(Side.SELL, 100, limit_ticks=99) == [(99, 5)]
    assert tape.walk(Side.SELL, 100, limit_ticks=100) == []
    assert tape.walk(Side.BUY, 0) == []


def test_walk_goes_as_deep_as_it_must() -> None:
    asks = [(501 + n, 2) for n in range(300)]
    tape = tape_of(snapshot(1, 1, bids=[(500, 1)], asks=asks))
    tape.advance(FAR)
    for count in (15, 16, 17, 64, 65, 299, 300):
        assert tape.walk(Side.BUY, 2 * count) == asks[:count]
    assert tape.walk(Side.BUY, 1_000) == asks


# --- messages and slabs -----------------------------------------------------------------------------------------------


def test_a_message_takes_effect_whole() -> None:
    """Its second half comes with the next slab; until then it has not happened."""
    batch = deltas_of([SEED, delta(20, 2, bids=[(99, 0), (100, 3)])])
    tape = BookTape(INSTRUMENT)
    tape.extend(batch.rows(0, 5), now_ns=0)
    tape.advance(FAR)
    assert tape.is_trusted
    assert (tape.best_bid(), tape.row, tape.end_row) == (99, 4, 4)
    assert tape.next_change(tape.row, "bid", 99) is None
    tape.extend(batch.rows(5, 6), now_ns=0)
    assert tape.next_change(4, "bid", 99) == LevelChange(row=5, ts_ns=20, qty_steps=0)
    tape.advance(FAR)
    assert (tape.best_bid(), tape.row, tape.end_row) == (100, 6, 6)


def test_a_message_without_levels_keeps_the_chain() -> None:
    tape = tape_of(SEED, delta(11, 2), delta(12, 3, bids=[(100, 1)]))
    tape.advance(FAR)
    assert tape.is_trusted
    assert tape.best_bid() == 100
    assert changes(tape_of(SEED, delta(11, 2)), "bid", 99) == [(10, 5)]


def test_a_message_waits_for_those_ahead_of_it() -> None:
    """The venue's order counts; a time that runs back does not bring a message forward."""
    first = [SEED, delta(30, 2, bids=[(100, 1)]), delta(25, 3, bids=[(100, 2)]), delta(40, 4, bids=[(100, 3)])]
    tape = tape_of(*first)
    tape.extend(replace(deltas_of([delta(35, 5, bids=[(100, 4)])]), first_row=7), now_ns=0)
    tape.advance(30)
    assert tape.best_bid() == 99
    assert changes(tape, "bid", 100) == [(30, 1), (30, 2), (40, 3), (40, 4)]
    tape.advance(31)
    assert tape.qty_at("bid", 100) == 2
    tape.advance(40)
    assert tape.qty_at("bid", 100) == 2


def test_slabs_must_follow_one_another() -> None:
    batch = deltas_of([SEED, delta(20, 2, bids=[(99, 0), (100, 3)])])
    for start in (0, 3, 5):
        tape = BookTape(INSTRUMENT)
        tape.extend(batch.rows(0, 4), now_ns=0)
        with pytest.raises(AssertionError, match="leave out rows"):
            tape.extend(batch.rows(start, 6), now_ns=0)


def test_what_the_clock_has_left_behind_is_forgotten() -> None:
    """The memory of slabs is let go, but of none that is not wholly earlier than the clock."""
    tape, kept = BookTape(INSTRUMENT), []
    messages = [SEED, delta(20, 2, bids=[(99, 6)]), delta(30, 3, bids=[(99, 7)])]
    for number, message in enumerate(messages):
        batch = replace(deltas_of([message]), first_row=0 if number == 0 else 3 + number)
        kept.append(weakref.ref(batch.price_ticks))
        tape.extend(batch, now_ns=0)
        del batch
    tape.advance(FAR)
    assert all(each() is not None for each in kept)  # applied, but the clock may still ask
    assert tape.next_change(4, "bid", 99) == LevelChange(row=4, ts_ns=20, qty_steps=6)
    tape.extend(replace(deltas_of([]), first_row=6), now_ns=30)
    assert [each() is None for each in kept] == [True, True, False]
    assert tape.qty_at("bid", 99) == 7


# --- trust ------------------------------------------------------------------------------------------------------------


def test_in_a_gap_nothing_is_known() -> None:
    tape = tape_of(SEED, delta(20, 5, bids=[(99, 1)], previous=3), snapshot(30, 9, bids=[(97, 2)], asks=[(98, 3)]))
    tape.advance(20)
    assert tape.qty_at("bid", 99) == 5
    tape.advance(21)
    assert not tape.is_trusted
    assert tape.qty_at("bid", 99) is tape.best_ask() is None
    assert tape.walk(Side.SELL, 3) == []
    tape.advance(31)
    assert tape.is_trusted
    assert levels(tape) == ([(97, 2)], [(98, 3)])
    assert tape.qty_at("bid", 99) == 0


def test_a_crossed_book_is_not_believed() -> None:
    tape = tape_of(SEED, delta(20, 2, bids=[(101, 1)]))
    assert changes(tape, "ask", 103) == [(10, 6), (20, None)]
    tape.advance(FAR)
    assert not tape.is_trusted


def test_a_repeat_is_no_news() -> None:
    """A change that comes again, among others or alone in its slab, does not bring its old quantity back."""
    old = delta(20, 2, bids=[(99, 6)])
    messages = [SEED, old, delta(21, 3, bids=[(99, 2)]), old, old, delta(22, 4, bids=[(99, 3)])]
    tape = tape_of(*messages)
    assert changes(tape, "bid", 99) == [(10, 5), (20, 6), (21, 2), (22, 3)]
    tape.advance(22)
    assert tape.is_trusted
    assert tape.qty_at("bid", 99) == 2


# --- what will become of a level --------------------------------------------------------------------------------------


def test_next_change_tells_what_a_message_leaves_at_a_level() -> None:
    """The last of what it says of the price, 0 where it removes it; other prices and the other side do not count."""
    tape = tape_of(
        SEED,
        delta(11, 2, bids=[(98, 1)], asks=[(104, 1)]),
        delta(12, 3, bids=[(99, 1), (99, 3)]),
        delta(13, 4, bids=[(99, 0)]),
        delta(14, 5, asks=[(99, 9)]),
    )
    assert changes(tape, "bid", 99) == [(10, 5), (12, 3), (13, 0)]
    assert changes(tape, "ask", 99) == [(10, 0), (14, 9)]
    assert changes(tape, "bid", 50) == [(10, 0)]


def test_next_change_goes_on_from_a_row() -> None:
    tape = tape_of(SEED, delta(11, 2, bids=[(98, 1), (97, 1)]), delta(12, 3, bids=[(99, 3)]))
    tape.advance(11)
    assert tape.row == 4
    assert tape.next_change(tape.row, "bid", 99) == LevelChange(row=6, ts_ns=12, qty_steps=3)
    assert tape.next_change(7, "bid", 99) is None
    assert tape.end_row == 7


def test_next_change_goes_over_slabs() -> None:
    batch = deltas_of([SEED, *(delta(10 + n, 1 + n, bids=[(98, n), (97, n)]) for n in range(1, 5))])
    tape = BookTape(INSTRUMENT)
    for row in range(len(batch)):
        tape.extend(batch.rows(row, row + 1), now_ns=0)
    assert changes(tape, "bid", 97) == [(10, 0), (11, 1), (12, 2), (13, 3), (14, 4)]


def test_a_snapshot_touches_every_level_and_the_end_of_trust_too() -> None:
    tape = tape_of(
        SEED,
        snapshot(20, 2, bids=[(98, 1)], asks=[(101, 1)]),
        delta(30, 9, bids=[(98, 4)], previous=7),
        delta(31, 10, bids=[(98, 5)]),
        snapshot(40, 11, bids=[(98, 2)], asks=[(101, 1)]),
    )
    assert changes(tape, "bid", 98) == [(10, 7), (20, 1), (30, None), (40, 2)]
    assert changes(tape, "bid", 99) == [(10, 5), (20, 0), (30, None), (40, 0)]


# --- a feed that tells only the best levels ---------------------------------------------------------------------------


def test_a_level_out_of_sight_is_unknown_and_not_empty() -> None:
    """The venue removes what leaves its window, and says it again when it is back."""
    tape = tape_of(
        snapshot(10, 1, bids=[(99, 5), (98, 7)], asks=[(101, 4), (102, 6)]),
        delta(20, 2, bids=[(100, 1), (98, 0)]),  # a better bid pushes the second out
        delta(30, 3, bids=[(99, 0), (98, 8)]),
        delta(40, 4, bids=[(98, 0), (97, 3)]),  # this time it is really gone
        window=2,
    )
    assert changes(tape, "bid", 98) == [(10, 7), (20, None), (30, 8), (40, 0)]
    tape.advance(20)
    assert [tape.qty_at("bid", ticks) for ticks in (100, 99, 98, 97)] == [0, 5, 7, None]
    assert [tape.qty_at("ask", ticks) for ticks in (100, 101, 102, 103)] == [0, 4, 6, None]
    tape.advance(21)
    assert tape.qty_at("bid", 98) is None
    tape.advance(41)
    assert [tape.qty_at("bid", ticks) for ticks in (98, 97, 96)] == [0, 3, None]


def test_a_window_that_is_not_full_hides_nothing() -> None:
    tape = tape_of(SEED, delta(20, 2, bids=[(98, 0)]), window=3)
    assert changes(tape, "bid", 98) == [(10, 7), (20, 0)]
    tape.advance(FAR)
    assert tape.qty_at("bid", 50) == 0


def test_a_window_holds_at_least_one_level() -> None:
    with pytest.raises(ValueError, match="0 levels"):
        BookTape(INSTRUMENT, window=0)
