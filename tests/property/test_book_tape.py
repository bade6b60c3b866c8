"""Laws of the book tape: no cut changes an answer, it is the book of dictionaries, and what it claims to know is so."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.venue.book_tape import BookSide, BookTape
from bot.domain.instrument import Side
from bot.domain.market import BookDeltaBatch
from tests.property.test_order_book import pieces, places, streams
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import Message, ReferenceBook, delta, deltas_of, snapshot
from tests.support.examples import examples

SIDES: tuple[BookSide, BookSide] = ("bid", "ask")
TICKS = range(88, 113)
clocks = st.lists(st.integers(95, 200), min_size=1, max_size=5).map(sorted)


def tape_of(parts: list[BookDeltaBatch], window: int | None = None) -> BookTape:
    tape = BookTape(INSTRUMENT, window=window)
    for part in parts:
        tape.extend(part, now_ns=0)
    return tape


def moment(tape: BookTape) -> list[object]:
    """Return all that a tape says of its moment."""
    told: list[object] = [tape.is_trusted, tape.best_bid(), tape.best_ask()]
    for side in SIDES:
        told += [each.tolist() for each in tape.levels(side, 30)]
        told += [tape.qty_at(side, ticks) for ticks in TICKS]
    for taker in Side:
        told += [tape.walk(taker, 7), tape.walk(taker, 100, limit_ticks=100)]
    return told


def future(tape: BookTape, side: BookSide, ticks: int) -> list[tuple[int, int, int | None]]:
    """Return row, time and quantity of all that becomes of a level from the tape's moment on."""
    found, row = [], tape.row
    while (change := tape.next_change(row, side, ticks)) is not None:
        found.append((change.row, change.ts_ns, change.qty_steps))
        row = change.row + 1
    return found


@given(messages=streams(), cuts=places, clock=clocks)
@settings(max_examples=examples(60), deadline=None)
def test_no_cut_changes_an_answer(messages: list[Message], cuts: list[int], clock: list[int]) -> None:
    """One slab, slabs cut anywhere, also within a message, and rows one by one, just in time while the clock runs."""
    batch = deltas_of(messages)
    ts_ns = np.maximum.accumulate(batch.ts_ns)
    for edges in (cuts, list(range(1, len(batch)))):
        whole, running, arrivals, fed, then_ns = tape_of([batch]), BookTape(INSTRUMENT), pieces(batch, edges), 0, 0
        for now_ns in clock:
            while arrivals and fed < ts_ns.searchsorted(now_ns):
                fed += len(arrivals[0])
                running.extend(arrivals.pop(0), now_ns=then_ns)
            whole.advance(now_ns)
            running.advance(now_ns)
            assert moment(running) == moment(whole)
            then_ns = now_ns
        for part in arrivals:
            running.extend(part, now_ns=then_ns)
        assert running.end_row == whole.end_row
        for side in SIDES:
            for ticks in TICKS:
                assert future(running, side, ticks) == future(whole, side, ticks)


@given(messages=streams(), clock=clocks)
@settings(max_examples=examples(60), deadline=None)
def test_the_moment_is_that_of_dictionaries(messages: list[Message], clock: list[int]) -> None:
    reference, latest_ns, waiting = ReferenceBook(), 0, list(messages)
    tape = tape_of([deltas_of(messages)])
    for now_ns in clock:
        while waiting and max(latest_ns, waiting[0].ts_ns) < now_ns:
            latest_ns = max(latest_ns, waiting[0].ts_ns)
            reference.apply(waiting.pop(0))
        tape.advance(now_ns)
        assert tape.is_trusted == reference.is_trusted
        for side, held, sign in (("bid", reference.bids, -1), ("ask", reference.asks, 1)):
            levels = sorted(held.items(), key=lambda level, by=sign: by * level[0])  # type: ignore[misc]
            ticks, steps = tape.levels("bid" if side == "bid" else "ask", 30)
            assert list(zip(ticks.tolist(), steps.tolist(), strict=True)) == levels
            for price in TICKS:
                rests = held.get(price, 0) if reference.is_trusted else None
                assert tape.qty_at("bid" if side == "bid" else "ask", price) == rests


@given(messages=streams(), ticks=st.integers(90, 110))
@settings(max_examples=examples(60), deadline=None)
def test_the_future_of_a_level_is_what_the_dictionaries_will_say(messages: list[Message], ticks: int) -> None:
    """Every message that matters to it is told, in order, with what rests there after it, and no other."""
    tape = tape_of([deltas_of(messages)])
    for side in SIDES:
        reference, latest_ns, row = ReferenceBook(), 0, 0
        expected: list[tuple[int, int, int | None]] = []
        for message in messages:
            was_trusted = reference.is_trusted
            is_news = reference.apply(message) is not None
            row += max(1, len(message.bids) + len(message.asks))
            latest_ns = max(latest_ns, message.ts_ns)
            named = {price for price, _ in (message.bids if side == "bid" else message.asks)}
            held = reference.bids if side == "bid" else reference.asks
            if reference.is_trusted and is_news and (message.is_snapshot or ticks in named):
                expected.append((row - 1, latest_ns, held.get(ticks, 0)))
            elif was_trusted and not reference.is_trusted:
                expected.append((row - 1, latest_ns, None))
        assert future(tape, side, ticks) == expected


books = st.dictionaries(st.integers(90, 99), st.integers(1, 5), max_size=8)


@given(states=st.lists(st.tuples(books, books), min_size=1, max_size=12), window=st.integers(1, 5))
@settings(max_examples=examples(80), deadline=None)
def test_what_a_window_tells_is_so_in_the_whole_book(
    states: list[tuple[dict[int, int], dict[int, int]]], window: int
) -> None:
    """A venue sends the differences of its best levels; what is said to be known, then and ahead, is the whole's."""
    whole = [(bids, {200 - ticks: steps for ticks, steps in asks.items()}) for bids, asks in states]
    shown = [
        (dict(sorted(bids.items(), reverse=True)[:window]), dict(sorted(asks.items())[:window])) for bids, asks in whole
    ]
    messages = [snapshot(100, 1, list(shown[0][0].items()), list(shown[0][1].items()))]
    for number, (before, after) in enumerate(itertools.pairwise(shown), 2):
        gone = [[(ticks, 0) for ticks in old if ticks not in new] for old, new in zip(before, after, strict=True)]
        come = [
            [(ticks, steps) for ticks, steps in new.items() if old.get(ticks) != steps]
            for old, new in zip(before, after, strict=True)
        ]
        messages.append(delta(99 + number, number, gone[0] + come[0], gone[1] + come[1]))
    tape = tape_of([deltas_of(messages)], window)
    aheads = {(side, ticks): future(tape, side, ticks) for side in SIDES for ticks in TICKS}
    for number, (truth, seen) in enumerate(zip(whole, shown, strict=True)):
        tape.advance(101 + number)
        assert tape.is_trusted
        for side, true_side, seen_side in zip(SIDES, truth, seen, strict=True):
            for ticks in TICKS:
                told = tape.qty_at(side, ticks)
                worst = [*seen_side][-1] if seen_side else 0
                is_hidden = len(seen_side) == window and (ticks < worst if side == "bid" else ticks > worst)
                assert told == (None if is_hidden else true_side.get(ticks, 0))
                for _, ts_ns, qty in aheads[side, ticks]:
                    if ts_ns == 100 + number:
                        assert qty == told
