"""Trust in a book, rule by rule."""

from collections.abc import Sequence
from fractions import Fraction

import pytest

from bot.domain.market import BookBatch
from bot.venues.bybit.book_judge import Break
from bot.venues.bybit.book_sync import BookBreak, BookLimits, BookSync
from tests.support.batches import INSTRUMENT
from tests.support.book_messages import tell
from tests.support.book_sync_reference import Told

S = 1_000_000_000
NOW = 1_000 * S
BIDS, ASKS = ((99, 5), (98, 7)), ((101, 4), (103, 6))


def snapshot(
    ns: int = NOW,
    update: int = 10,
    *,
    seq: int = 0,
    late_ns: int = 0,
    bids: tuple[tuple[int, int], ...] = BIDS,
    asks: tuple[tuple[int, int], ...] = ASKS,
) -> Told:
    return Told(
        kind="book", known_ns=ns, ts_ns=ns - late_ns, update=update, seq=seq, is_snapshot=True, bids=bids, asks=asks
    )


def change(
    ns: int,
    update: int,
    *,
    seq: int = 0,
    late_ns: int = 0,
    bids: tuple[tuple[int, int], ...] = (),
    asks: tuple[tuple[int, int], ...] = (),
) -> Told:
    return Told(kind="book", known_ns=ns, ts_ns=ns - late_ns, update=update, seq=seq, bids=bids, asks=asks)


def quote(ns: int, bid: int, ask: int) -> Told:
    return Told(kind="quote", known_ns=ns, bid=bid, ask=ask)


def ticker(ns: int, bid: int = 0, ask: int = 0, mark: int = 0) -> Told:
    return Told(kind="ticker", known_ns=ns, bid=bid, ask=ask, mark=Fraction(mark))


class Book:
    """A book that events are told to, in their order."""

    def __init__(self, limits: BookLimits | None = None) -> None:
        self.sync = BookSync(INSTRUMENT, levels=3, depth=2, limits=limits)
        self.count = 0

    def tell(self, *events: Told) -> tuple[BookBatch, list[Break]]:
        rows, breaks = tell(self.sync, events, first=self.count)
        self.count += len(events)
        return rows, [each.reason for each in breaks]


def test_it_begins_without_trust_and_a_snapshot_opens_it() -> None:
    book = Book()
    assert (book.sync.is_trusted, book.sync.reason, book.sync.top) == (False, Break.UNSEEDED, None)
    rows, breaks = book.tell(change(NOW, 9), snapshot())
    assert rows.is_trusted.tolist() == [False, True]
    assert breaks == []
    assert rows.bid_ticks.tolist() == [[0, 0], [99, 98]]
    assert (book.sync.reason, book.sync.top, book.sync.update) == (None, (99, 101), 10)


def test_a_gap_closes_until_the_next_snapshot_wherever_it_comes() -> None:
    book = Book()
    rows, breaks = book.tell(
        snapshot(), change(NOW, 11), change(NOW, 13), change(NOW, 14), snapshot(update=14), change(NOW, 15)
    )
    assert rows.is_trusted.tolist() == [True, True, False, False, True, True]
    assert rows.bid_steps[2:4].sum() == 0
    assert breaks == [Break.GAP]


def test_a_restart_of_the_service_is_a_snapshot_whatever_its_sequence() -> None:
    book = Book()
    rows, breaks = book.tell(snapshot(seq=500), snapshot(NOW, 1, seq=3, late_ns=S), change(NOW, 2, seq=4))
    assert (rows.is_trusted.all(), breaks) == (True, [])


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (change(NOW + 1, 11, seq=499), Break.SEQUENCE),
        (change(NOW + 1, 11, seq=501, late_ns=2), Break.TIME),
        (change(NOW + 1, 11, seq=501, bids=((101, 1),)), Break.BAD),
        (change(NOW + 1, 11, seq=501, bids=((102, 1),)), Break.BAD),
        (change(NOW + 1, 11, seq=501, bids=((97, 1), (96, 1))), Break.DEPTH),
        (change(NOW + 1, 9, seq=501), Break.GAP),
        (change(NOW + 9 * S, 11, seq=501, late_ns=2 * S + 1), Break.LATE),
        (change(NOW + 1, 11, seq=501, late_ns=-S - 1), Break.FUTURE),
        (snapshot(NOW + 1, 50, seq=499), Break.SEQUENCE),
        (snapshot(NOW + 1, 50, seq=501, late_ns=2), Break.TIME),
        (snapshot(NOW + 1, 50, bids=((99, 5), (101, 1))), Break.BAD),
        (snapshot(NOW + 1, 50, bids=((99, 5), (98, 5), (97, 5), (96, 5))), Break.DEPTH),
    ],
)
def test_what_closes_it(second: Told, reason: Break) -> None:
    book = Book()
    rows, breaks = book.tell(snapshot(seq=500), second)
    assert breaks == [reason]
    assert (rows.is_trusted.tolist(), book.sync.reason) == ([True, False], reason)
    assert rows.ask_steps[1].sum() == 0


@pytest.mark.parametrize("second", [change(NOW + 1, 11, seq=500), change(NOW + 1, 11), change(NOW, 11, seq=501)])
def test_what_does_not(second: Told) -> None:
    """The same sequence twice, none told, and the same time."""
    book = Book()
    assert book.tell(snapshot(seq=500), second)[1] == []
    assert book.sync.is_trusted


def test_a_snapshot_from_the_past_is_refused_once() -> None:
    """The next is held against it, so that no single one can shut the book for ever."""
    book = Book()
    rows, breaks = book.tell(snapshot(seq=500), snapshot(NOW, 50, seq=90), snapshot(NOW, 51, seq=91))
    assert rows.is_trusted.tolist() == [True, False, True]
    assert breaks == [Break.SEQUENCE]


def test_another_connection_may_begin_with_any_sequence() -> None:
    book = Book()
    book.tell(snapshot(seq=500))
    book.sync.close(Break.OUTSIDE, NOW + 5)
    book.sync.forget_sequence()
    assert book.tell(snapshot(NOW + 6, 50, seq=90, late_ns=S))[1] == []
    assert book.sync.is_trusted


def test_the_level_1_book_may_differ_for_a_second_and_no_longer() -> None:
    book = Book()
    assert book.tell(snapshot(), quote(NOW, 99, 102), quote(NOW + S, 99, 102))[1] == []
    rows, breaks = book.tell(quote(NOW + S + 1, 99, 102))
    assert breaks == [Break.LEVEL1]
    assert (rows.is_trusted.tolist(), rows.known_ns.tolist(), rows.update.tolist()) == ([False], [NOW + S + 1], [10])


def test_one_moment_of_agreement_begins_the_second_anew() -> None:
    book = Book()
    events: list[Told] = [snapshot()]
    for step in range(1, 50):
        events.append(quote(NOW + step * S // 2, 99, 101 if step % 2 else 102))
    assert book.tell(*events)[1] == []


def test_time_that_passed_between_two_events_counts() -> None:
    """They differed all the while: that the next event agrees comes too late."""
    book = Book()
    book.tell(snapshot(), quote(NOW, 99, 102))
    rows, breaks = book.tell(quote(NOW + 3 * S, 99, 101))
    assert breaks == [Break.LEVEL1]
    assert rows.is_trusted.tolist() == [False]


def test_the_ticker_may_differ_a_little_for_ever_and_much_for_five_seconds() -> None:
    limits = BookLimits(ticker_ppm=20_000)
    book = Book(limits)
    assert book.tell(snapshot(), ticker(NOW, 98, 102), change(NOW + 9 * S, 11))[1] == []
    assert book.tell(ticker(NOW + 9 * S, 96, 101), change(NOW + 14 * S, 12))[1] == []
    assert book.tell(change(NOW + 14 * S + 1, 13))[1] == [Break.TICKER]


def test_a_middle_far_from_the_mark_is_not_believed() -> None:
    book = Book()
    assert book.tell(snapshot(), ticker(NOW, mark=102), change(NOW + S, 11))[1] == []  # 100 is 1.96 % from 102
    book = Book()
    assert book.tell(snapshot(), ticker(NOW, mark=103), change(NOW + S + 1, 11))[1] == [Break.MARK]


@pytest.mark.parametrize("forget", ["forget_quote", "forget_ticker"])
def test_what_is_not_trusted_itself_is_no_witness(forget: str) -> None:
    book = Book()
    told = quote(NOW, 99, 102) if forget == "forget_quote" else ticker(NOW, 90, 92, mark=50)
    book.tell(snapshot(), told)
    getattr(book.sync, forget)()
    assert book.tell(change(NOW + 9 * S, 11))[1] == []


def test_a_side_that_is_empty_is_compared_with_nobody() -> None:
    book = Book()
    assert book.tell(snapshot(asks=()), quote(NOW, 99, 102), change(NOW + 9 * S, 11))[1] == []
    assert book.sync.is_trusted
    assert book.sync.top is None


def test_silence_closes_it_after_ten_seconds() -> None:
    book = Book()
    book.tell(snapshot())
    assert book.sync.check(NOW + 10 * S) is None
    closed = book.sync.check(NOW + 10 * S + 1)
    assert closed is not None
    rows, why = closed
    assert why == BookBreak(reason=Break.STALE, known_ns=NOW + 10 * S + 1, update=10)
    assert (rows.first_row, rows.is_trusted.tolist(), rows.ts_ns.tolist()) == (1, [False], [NOW])
    assert book.sync.check(NOW + 99 * S) is None  # once


def test_a_level_1_book_that_agrees_stands_for_the_book() -> None:
    """In a quiet market nothing changes, and the best quote is repeated every 3 s."""
    book = Book()
    events: Sequence[Told] = [quote(NOW + step * 3 * S, 99, 101) for step in range(100)]
    assert book.tell(snapshot(), *events)[1] == []
    assert book.sync.check(NOW + 297 * S + 10 * S) is None


def test_closing_from_outside_says_so_once() -> None:
    book = Book()
    book.tell(snapshot())
    assert book.sync.close(Break.OUTSIDE, NOW + 1) is not None
    assert book.sync.close(Break.OUTSIDE, NOW + 2) is None
    rows, breaks = book.tell(change(NOW + 3, 11))
    assert (rows.is_trusted.tolist(), breaks, rows.first_row) == ([False], [], 2)


def test_snapshots_do_not_put_off_a_disagreement() -> None:
    """However often the whole is sent: what disagrees all the while is found."""
    book = Book()
    book.tell(snapshot(), quote(NOW, 99, 102))
    events = [snapshot(NOW + step * S // 10, 10 + step) for step in range(1, 12)]
    rows, breaks = book.tell(*events)
    assert breaks == [Break.LEVEL1]
    assert rows.is_trusted.tolist() == [True] * 10 + [False, True]  # and the next begins a second of its own


def test_what_was_closed_from_outside_begins_a_disagreement_anew() -> None:
    book = Book()
    book.tell(snapshot(), quote(NOW, 99, 102))
    book.sync.close(Break.OUTSIDE, NOW + S)
    assert book.tell(snapshot(NOW + 2 * S, 20), change(NOW + 3 * S, 21))[1] == []


def test_a_message_that_closes_it_begins_no_disagreement() -> None:
    """The next snapshot is given its time, however long it takes to come."""
    book = Book()
    book.tell(snapshot(seq=500), quote(NOW, 99, 102), change(NOW, 11, seq=499))
    assert book.tell(snapshot(NOW + 5 * S, 20), quote(NOW + 5 * S, 99, 102), quote(NOW + 6 * S, 99, 102))[1] == []
