"""Whether one instrument's book may be believed: the venue's own numbers, and what other topics say of the same market.

`core.order_book` builds the book and notices a hole in the numbers (`u`), a crossed book and a level that cannot be.
This adds what one topic alone cannot show, or what only this venue promises:

* the matching engine's sequence and time must not run backwards (SEQUENCE, TIME);
* a side never holds more levels than the topic's depth: the venue removes what falls out (DEPTH);
* a change must not come long after it happened, nor before, nor a snapshot after it was sent (LATE, FUTURE): a reader
  that lags must not trade on the past, however fresh a message looks by the time it is read;
* its best prices must agree with the level-1 book and with the ticker, and its middle lie near the mark price, not at
  every moment, for topics are sent at their own pace, but once within a limit of time (LEVEL1, TICKER, MARK);
* it must be told again, or confirmed by the level-1 book, within a limit of time (STALE).

Each closes trust until the next snapshot that is right by itself. From the row on at which it closes, books show no
levels. Whoever holds this asks for a new snapshot when it has closed.

Source: Bybit V5, order book topics; faults M1 to M4, M11 and M12 of the fault catalogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

import msgspec
import numpy as np
from numba import njit

from bot.core.order_book import OrderBook
from bot.domain.instrument import Instrument
from bot.domain.market import I64, BookBatch
from bot.venues.bybit.decode import BookMessages, apply_messages
from bot.venues.bybit.rows import QuoteBatch, TickerBatch

R = TypeVar("R")

_MS = 1_000_000
_S = 1_000 * _MS


class Break(IntEnum):
    """Why trust in a book closed."""

    UNSEEDED = 0  # no snapshot has come yet
    GAP = 1  # a message is missing, or the numbers ran backwards
    BAD = 2  # it crossed, or a level could not be
    SEQUENCE = 3
    TIME = 4
    DEPTH = 5
    LATE = 6
    FUTURE = 7
    LEVEL1 = 8
    TICKER = 9
    MARK = 10
    STALE = 11
    OUTSIDE = 12  # told from outside: the connection, a frame that was refused


class BookLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a book is held to."""

    late_ns: int = 2 * _S  # from the venue's clock to ours; ours must be right to a fraction of that
    future_ns: int = 1 * _S
    level1_ns: int = 1 * _S  # how long the best prices may differ from the level-1 book's
    ticker_ns: int = 5 * _S  # how long they may differ from the ticker's, which is sent every 100 ms
    ticker_ppm: int = 1_000  # by more than so many millionths
    mark_ns: int = 1 * _S  # how long the middle may lie far from the mark price
    mark_ppm: int = 20_000  # farther than so many millionths
    stale_ns: int = 10 * _S  # level-1 books are repeated every 3 s, and stand for the book that they agree with


class BookBreak(msgspec.Struct, frozen=True, kw_only=True):
    """Trust that closed."""

    reason: Break
    known_ns: int  # when we learned of it
    update: int  # the last message that had been applied


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Arrived(Generic[R]):
    """Rows of another topic, and the number of each among all frames of the instrument."""

    rows: R
    arrival: I64

    @staticmethod
    def of(rows: R, arrivals: Sequence[int]) -> "Arrived[R]":
        """Return rows with their numbers."""
        return Arrived(rows=rows, arrival=np.array(arrivals, dtype=np.int64))


# Where things stand in the state.
_OPEN, _HAS_BEGUN, _SEQ, _TS, _UPDATE, _BID, _ASK, _HEARD = range(8)  # of the book; prices 0 where not known
_L1_BID, _L1_ASK, _T_BID, _T_ASK, _MARK = range(8, 13)  # what other topics say; the mark in thousandths of a tick
_L1_SINCE, _T_SINCE, _MARK_SINCE = range(13, 16)  # since when they disagree, -1 if they do not

_LIMITS = ("late_ns", "future_ns", "level1_ns", "ticker_ns", "ticker_ppm", "mark_ns", "mark_ppm", "stale_ns")
_LATE_NS, _FUTURE_NS, _L1_NS, _T_NS, _T_PPM, _MARK_NS, _MARK_PPM, _STALE_NS = range(8)

# Rows of the tables that the scan reads, and of the one it writes.
_ARRIVAL, _KNOWN, _ROW_TS, _ROW_UPDATE, _ROW_SEQ, _IS_SNAPSHOT = range(6)  # of a message
_IS_RIGHT, _ROW_BID, _ROW_ASK, _IS_DEEP, _ROW = range(6, 11)  # of the book after it
_SENT = 11  # when a message was sent, 0 where that is not told
_OUT_ROW, _OUT_TS, _OUT_KNOWN, _OUT_UPDATE, _OUT_OPEN = range(5)


class BookSync:
    """The book of one instrument from one topic, and whether it may be believed.

    Args:
        instrument: whose.
        levels: the topic's depth.
        depth: how many of them are shown; None for all.
        limits: what it is held to.
    """

    def __init__(
        self, instrument: Instrument, *, levels: int, depth: int | None = None, limits: BookLimits | None = None
    ) -> None:
        self._instrument = instrument
        self._levels = levels
        self._depth = levels if depth is None else min(depth, levels)
        # One level more than there may be: where it is filled, a removal was lost.
        self._book = OrderBook(instrument, depth=levels + 1)
        limits = BookLimits() if limits is None else limits
        self._limits = np.array([getattr(limits, name) for name in _LIMITS], dtype=np.int64)
        self._state = np.zeros(_MARK_SINCE + 1, dtype=np.int64)
        self._state[_L1_SINCE:] = -1
        tick = instrument.tick_size.as_integer_ratio()
        self._marks_per_tick = 1_000 * tick[1] / tick[0]
        self._rows = 0
        self.reason: Break | None = Break.UNSEEDED  # why it is not trusted, None where it is

    @property
    def is_trusted(self) -> bool:
        """Return whether it may be believed by what was handed over; `check` asks what the time says."""
        return bool(self._state[_OPEN])

    @property
    def update(self) -> int:
        """Return the number of the message that the book is the state after; meaningless while it is not trusted."""
        return int(self._state[_UPDATE])

    @property
    def top(self) -> tuple[int, int] | None:
        """Return the best bid and ask in ticks; None unless trusted and with two sides."""
        bid, ask = int(self._state[_BID]), int(self._state[_ASK])
        return (bid, ask) if self.is_trusted and bid and ask else None

    @property
    def book(self) -> OrderBook:
        """Return the book itself; what it says of its own trust is only a part of the whole."""
        return self._book

    def on_rows(
        self,
        messages: BookMessages,
        quotes: Arrived[QuoteBatch] | None = None,
        tickers: Arrived[TickerBatch] | None = None,
    ) -> tuple[BookBatch, list[BookBreak]]:
        """Return the book after each message, with a row wherever trust closes between two, and why it closed.

        Args:
            messages: the book's next.
            quotes: the level-1 book's best prices among them.
            tickers: the tickers among them. All three are merged by their arrival numbers.
        """
        books, places = apply_messages(self._book, messages)
        told = np.empty((_SENT + 1, len(messages)), dtype=np.int64)
        told[_ARRIVAL], told[_KNOWN], told[_ROW_SEQ] = messages.arrival, messages.known_ns, messages.seq
        told[_ROW_TS], told[_ROW_UPDATE], told[_IS_SNAPSHOT] = messages.ts_ns, messages.update, messages.is_snapshot
        told[_SENT] = messages.sent_ns
        levels = (books.bid_ticks, books.bid_steps, books.ask_ticks, books.ask_steps)
        _tell_books(places, books.is_trusted, *levels, self._levels, told)
        quoted, ticked = _quote_table(quotes), self._ticker_table(tickers)
        room = told.shape[1] + 2 * (told.shape[1] + quoted.shape[1] + ticked.shape[1])
        shown, broken = np.empty((_OUT_OPEN + 1, room), dtype=np.int64), np.empty((3, room), dtype=np.int64)
        made, breaks = _judge(told, quoted, ticked, self._limits, self._state, shown, broken)
        found = [
            BookBreak(reason=Break(reason), known_ns=known_ns, update=update)
            for reason, known_ns, update in (broken[:, :breaks].T.tolist() if breaks else ())
        ]
        self.reason = None if self.is_trusted else found[-1].reason if found else self.reason
        return self._show(levels, shown[:, :made]), found

    def check(self, now_ns: int) -> tuple[BookBatch, BookBreak] | None:
        """Close trust if the book has become too old, or others have disagreed with it for too long."""
        reason = _overdue(self._limits, self._state, now_ns)
        return self.close(Break(reason), now_ns) if reason else None

    def close(self, reason: Break, now_ns: int) -> tuple[BookBatch, BookBreak] | None:
        """Close trust until the next snapshot; return the row that says so, None where it was closed."""
        if not self.is_trusted:
            return None
        self._state[_OPEN] = 0
        self._state[[_L1_SINCE, _T_SINCE, _MARK_SINCE]] = -1
        self.reason = reason
        row = np.array([[-1], [self._state[_TS]], [now_ns], [self._state[_UPDATE]], [0]], dtype=np.int64)
        return self._show(_NO_LEVELS, row), BookBreak(reason=reason, known_ns=now_ns, update=self.update)

    def forget_sequence(self) -> None:
        """Take any number and time that comes next: from another connection, perhaps of another server."""
        self._state[_HAS_BEGUN] = 0

    def forget_quote(self) -> None:
        """Compare no more with the level-1 book that was told last: its topic is not trusted."""
        self._state[[_L1_BID, _L1_ASK]] = 0
        self._state[_L1_SINCE] = -1

    def forget_ticker(self) -> None:
        """Compare no more with the ticker that was told last: its topic is not trusted."""
        self._state[[_T_BID, _T_ASK, _MARK]] = 0
        self._state[[_T_SINCE, _MARK_SINCE]] = -1

    def _ticker_table(self, tickers: Arrived[TickerBatch] | None) -> I64:
        if tickers is None:
            return _NO_TICKERS
        rows = tickers.rows
        marks = np.rint(rows.marks() * self._marks_per_tick).astype(np.int64)
        return np.stack([tickers.arrival, rows.known_ns, rows.bid_ticks, rows.ask_ticks, marks])

    def _show(self, books: tuple[I64, I64, I64, I64], shown: I64) -> BookBatch:
        """Return rows of books' levels, and rows without levels where trust is closed."""
        count = shown.shape[1]
        first_row, self._rows = self._rows, self._rows + count
        times = np.empty((3, count), dtype=np.int64)
        levels = np.empty((4, count, self._depth), dtype=np.int64)
        is_open = np.empty(count, dtype=np.bool_)
        _copy_shown(*books, shown, times, levels, is_open)
        return BookBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=times[0],
            known_ns=times[1],
            update=times[2],
            bid_ticks=levels[0],
            bid_steps=levels[1],
            ask_ticks=levels[2],
            ask_steps=levels[3],
            is_trusted=is_open,
        )


_NO_LEVELS = (np.empty((0, 1), dtype=np.int64),) * 4
_NO_QUOTES = np.empty((4, 0), dtype=np.int64)
_NO_TICKERS = np.empty((5, 0), dtype=np.int64)


def _quote_table(quotes: Arrived[QuoteBatch] | None) -> I64:
    if quotes is None:
        return _NO_QUOTES
    rows = quotes.rows
    return np.stack([quotes.arrival, rows.known_ns, rows.bid_ticks, rows.ask_ticks])


@njit(cache=True, nogil=True)
def _tell_books(places, is_trusted, bid_ticks, bid_steps, ask_ticks, ask_steps, levels, told):  # type: ignore[no-untyped-def]
    """Put beside each message what the book is after it; repeats have no book."""
    for message in range(told.shape[1]):
        told[_ROW, message] = -1
        for what in range(_IS_RIGHT, _ROW):
            told[what, message] = 0
    for row in range(places.size):
        message = places[row]
        told[_ROW, message] = row
        told[_IS_RIGHT, message] = is_trusted[row]
        told[_ROW_BID, message], told[_ROW_ASK, message] = bid_ticks[row, 0], ask_ticks[row, 0]
        told[_IS_DEEP, message] = bid_steps[row, levels] > 0 or ask_steps[row, levels] > 0


@njit(cache=True, nogil=True)
def _copy_shown(bid_ticks, bid_steps, ask_ticks, ask_steps, shown, times, levels, is_open):  # type: ignore[no-untyped-def]
    """Copy what is shown: times of every row, levels of those that may be believed."""
    for i in range(shown.shape[1]):
        times[0, i], times[1, i], times[2, i] = shown[_OUT_TS, i], shown[_OUT_KNOWN, i], shown[_OUT_UPDATE, i]
        is_open[i] = shown[_OUT_OPEN, i] == 1
        row = shown[_OUT_ROW, i]
        for level in range(levels.shape[2]):
            levels[0, i, level] = bid_ticks[row, level] if is_open[i] else 0
            levels[1, i, level] = bid_steps[row, level] if is_open[i] else 0
            levels[2, i, level] = ask_ticks[row, level] if is_open[i] else 0
            levels[3, i, level] = ask_steps[row, level] if is_open[i] else 0


@njit(cache=True, nogil=True)
def _judge(told, quoted, ticked, limits, state, shown, broken):  # type: ignore[no-untyped-def]
    """Go through the rows of three topics as they arrived; return how many rows are shown, and breaks."""
    b = q = t = made = breaks = 0
    while b < told.shape[1] or q < quoted.shape[1] or t < ticked.shape[1]:
        at_b = told[_ARRIVAL, b] if b < told.shape[1] else _NEVER
        at_q = quoted[0, q] if q < quoted.shape[1] else _NEVER
        at_t = ticked[0, t] if t < ticked.shape[1] else _NEVER
        is_book = at_b <= at_q and at_b <= at_t
        is_quote = not is_book and at_q <= at_t
        known = told[_KNOWN, b] if is_book else quoted[1, q] if is_quote else ticked[1, t]
        # What the time alone would have closed is closed, whether or not anybody asked in between.
        reason = _overdue(limits, state, known)
        if reason != 0:
            made, breaks = _break(state, reason, known, shown, made, broken, breaks)
        if is_book and told[_ROW, b] < 0:
            b += 1
            continue
        if is_book:
            reason = _on_message(told, b, limits, state)
        elif is_quote:
            _on_quote(quoted[2, q], quoted[3, q], known, state)
            reason = 0
        else:
            state[_T_BID], state[_T_ASK], state[_MARK] = ticked[2, t], ticked[3, t], ticked[4, t]
            reason = 0
        if reason != 0:
            state[_OPEN] = 0
            broken[0, breaks], broken[1, breaks], broken[2, breaks] = reason, known, told[_ROW_UPDATE, b]
            breaks += 1
        _compare(limits, state, known)  # while trust is closed nothing disagrees with it
        if is_book:
            shown[_OUT_ROW, made] = told[_ROW, b]
            shown[_OUT_TS, made] = told[_ROW_TS, b]
            shown[_OUT_KNOWN, made] = known
            shown[_OUT_UPDATE, made] = told[_ROW_UPDATE, b]
            shown[_OUT_OPEN, made] = state[_OPEN]
            made += 1
            b += 1
        elif is_quote:
            q += 1
        else:
            t += 1
    return made, breaks


_NEVER = np.int64(2**62)


@njit(cache=True, nogil=True)
def _break(state, reason, known, shown, made, broken, breaks):  # type: ignore[no-untyped-def]
    """Close trust between two messages: a row without a book says so."""
    state[_OPEN] = 0
    shown[_OUT_ROW, made] = -1
    shown[_OUT_TS, made] = state[_TS]
    shown[_OUT_KNOWN, made] = known
    shown[_OUT_UPDATE, made] = state[_UPDATE]
    shown[_OUT_OPEN, made] = 0
    broken[0, breaks], broken[1, breaks], broken[2, breaks] = reason, known, state[_UPDATE]
    return made + 1, breaks + 1


@njit(cache=True, nogil=True)
def _on_message(told, b, limits, state):  # type: ignore[no-untyped-def]
    """Take a message of the book; return 0, or why it cannot be believed."""
    is_snapshot = told[_IS_SNAPSHOT, b] != 0
    if not is_snapshot and state[_OPEN] == 0:
        return 0  # nothing to be believed before the next snapshot
    ts, seq, update, known = told[_ROW_TS, b], told[_ROW_SEQ, b], told[_ROW_UPDATE, b], told[_KNOWN, b]
    reason = 0
    if told[_IS_RIGHT, b] == 0:
        reason = _GAP if not is_snapshot and update != state[_UPDATE] + 1 else _BAD
    elif state[_HAS_BEGUN] != 0 and not (is_snapshot and update == 1):  # 1: the service began its numbers anew
        if seq != 0 and seq < state[_SEQ]:
            reason = _SEQUENCE
        elif ts < state[_TS]:
            reason = _TIME
    # The snapshot of a quiet book tells of long ago, and is the present state all the same.
    told_ns = max(ts, told[_SENT, b]) if is_snapshot else ts
    if reason == 0:
        if told[_IS_DEEP, b] != 0:
            reason = _DEPTH
        elif known - told_ns > limits[_LATE_NS]:
            reason = _LATE
        elif told_ns - known > limits[_FUTURE_NS]:
            reason = _FUTURE
    if is_snapshot:
        # Also one that is refused: the next is held against this one, so that no single one can shut the book for ever.
        state[_OPEN] = state[_HAS_BEGUN] = 1
        state[_SEQ] = seq
    state[_SEQ] = max(seq, state[_SEQ]) if reason == 0 else seq
    state[_TS], state[_UPDATE], state[_HEARD] = ts, update, known
    state[_BID], state[_ASK] = told[_ROW_BID, b], told[_ROW_ASK, b]
    return reason


# The numbers of `Break`, for compiled code.
_GAP, _BAD, _SEQUENCE, _TIME, _DEPTH = 1, 2, 3, 4, 5
_LATE, _FUTURE, _LEVEL1, _TICKER, _MARK_FAR, _STALE = 6, 7, 8, 9, 10, 11


@njit(cache=True, nogil=True)
def _on_quote(bid, ask, known, state):  # type: ignore[no-untyped-def]
    state[_L1_BID], state[_L1_ASK] = bid, ask
    if state[_OPEN] != 0 and bid == state[_BID] and ask == state[_ASK]:
        state[_HEARD] = known


@njit(cache=True, nogil=True)
def _compare(limits, state, known):  # type: ignore[no-untyped-def]
    """Note since when others have disagreed with the book; where either is not known they cannot."""
    bid, ask = state[_BID], state[_ASK]
    is_known = state[_OPEN] != 0 and bid > 0 and ask > 0
    differs = (
        is_known and state[_L1_BID] > 0 and state[_L1_ASK] > 0 and (bid != state[_L1_BID] or ask != state[_L1_ASK])
    )
    state[_L1_SINCE] = _since(differs, state[_L1_SINCE], known)
    differs = is_known and state[_T_BID] > 0 and state[_T_ASK] > 0
    ppm = limits[_T_PPM]
    differs = differs and (_is_far(bid, state[_T_BID], ppm) or _is_far(ask, state[_T_ASK], ppm))
    state[_T_SINCE] = _since(differs, state[_T_SINCE], known)
    differs = is_known and state[_MARK] > 0 and _is_far(500.0 * (bid + ask), state[_MARK], limits[_MARK_PPM])
    state[_MARK_SINCE] = _since(differs, state[_MARK_SINCE], known)


@njit(cache=True, nogil=True)
def _since(differs, since, known):  # type: ignore[no-untyped-def]
    if not differs:
        return np.int64(-1)
    return since if since >= 0 else known


@njit(cache=True, nogil=True)
def _is_far(value, other, ppm):  # type: ignore[no-untyped-def]
    return abs(np.float64(value) - np.float64(other)) * 1e6 > np.float64(ppm) * np.float64(other)


@njit(cache=True, nogil=True)
def _overdue(limits, state, now):  # type: ignore[no-untyped-def]
    """Return why trust has run out by now, 0 if it has not."""
    if state[_OPEN] == 0:
        return 0
    if state[_L1_SINCE] >= 0 and now - state[_L1_SINCE] > limits[_L1_NS]:
        return _LEVEL1
    if state[_T_SINCE] >= 0 and now - state[_T_SINCE] > limits[_T_NS]:
        return _TICKER
    if state[_MARK_SINCE] >= 0 and now - state[_MARK_SINCE] > limits[_MARK_NS]:
        return _MARK_FAR
    if now - state[_HEARD] > limits[_STALE_NS]:
        return _STALE
    return 0
