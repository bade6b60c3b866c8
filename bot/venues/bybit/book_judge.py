"""The compiled half of `book_sync`: messages of a book and what checks it, in one pass to rows that may be believed.

Three tables go in, each with the number of its rows' arrival among all frames: the book's own messages, the level-1
book's best prices, and tickers. They are gone through as they arrived. What closes trust is told in `book_sync`.
"""

from enum import IntEnum

import numpy as np
from numba import njit

from bot.core.order_book import scan_table
from bot.core.sorted_levels import has_room
from bot.venues.bybit import level1
from bot.venues.bybit.book_messages import (
    ARRIVAL,
    IS_SNAPSHOT,
    KNOWN,
    SENT,
    SEQ,
    TS,
    UPDATE,
    heads_of,
    room_for,
    scan_levels,
)


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


# Where things stand in the state.
OPEN, HAS_BEGUN, LAST_SEQ, LAST_TS, LAST_UPDATE, BID, ASK, HEARD = range(8)  # of the book; prices 0 where not known
L1_BID, L1_ASK, T_BID, T_ASK, MARK = range(8, 13)  # what other topics say; the mark in thousandths of a tick
L1_SINCE, T_SINCE, MARK_SINCE = range(13, 16)  # since when they disagree, -1 if they do not
STATE_SIZE = 16

# The limits, in the order of `BookLimits`.
LIMITS = ("late_ns", "future_ns", "level1_ns", "ticker_ns", "ticker_ppm", "mark_ns", "mark_ppm", "stale_ns")
_LATE_NS, _FUTURE_NS, _L1_NS, _T_NS, _T_PPM, _MARK_NS, _MARK_PPM, _STALE_NS = range(8)

# Of the book after a message; its row is -1 for a repeat, which has none.
_IS_RIGHT, _BID, _ASK, _IS_DEEP, _ROW = range(5)

_NEVER = np.int64(2**62)

# The numbers of `Break`, for compiled code.
_GAP, _BAD, _SEQUENCE, _TIME, _DEPTH = 1, 2, 3, 4, 5
_LATE, _FUTURE, _LEVEL1, _TICKER, _MARK_FAR, _STALE = 6, 7, 8, 9, 10, 11


# What is told of each row that is shown, of each break, and of each message.
SHOWN_TS, SHOWN_KNOWN, SHOWN_UPDATE, BROKEN_WHY, BROKEN_KNOWN, BROKEN_UPDATE, REASON = range(7)


@njit(cache=True, nogil=True)
def follow(  # type: ignore[no-untyped-def]
    packed,
    count,
    price_places,
    price_unit,
    qty_places,
    qty_unit,
    depth,
    bids,
    asks,
    book,
    quoted,
    quotes,
    ticked,
    tickers,
    limits,
    state,
    told,
    levels,
    is_open,
):
    """Apply messages to a book; return how many rows may be shown, how many breaks there were, how many were refused.

    Where the book lacks the room, nothing is done, and how much is needed is returned below zero.

    Args:
        packed, count: messages of the book.
        price_places, price_unit, qty_places, qty_unit: the grids.
        depth: the topic's.
        bids, asks, book: what `OrderBook.lend` lends; it shows one level more.
        quoted, quotes: what the level-1 book says, rows and table of a `Witness`.
        ticked, tickers: what tickers say.
        limits: in the order of `LIMITS`.
        state: changed.
        told: [7, room] receives times and number of each row, reason, time and number of each break, and of each
            message 0 or why it was refused; room for two of every message, quote and ticker.
        levels: [4, room, shown] receives prices and quantities of bids and asks.
        is_open: [room] receives whether a row may be believed.
    """
    room = room_for(packed, count)
    columns, flags = np.empty((6, room), dtype=np.int64), np.empty((3, room), dtype=np.bool_)
    rows, refused = scan_levels(
        packed, count, price_places, price_unit, qty_places, qty_unit, columns, flags, told[REASON, :count]
    )
    if not (has_room(bids, rows) and has_room(asks, rows)):
        return -rows, 0, 0
    times = np.empty((4, count), dtype=np.int64)
    books = np.zeros((4, count, depth + 1), dtype=np.int64)
    is_right = np.zeros(count, dtype=np.bool_)
    made = scan_table(rows, columns, flags, bids, asks, book, times, books, is_right)
    after = np.zeros((_ROW + 1, count), dtype=np.int64)
    after[_ROW] = -1  # repeats have no book
    for row in range(made):
        message = times[3, row]
        after[_ROW, message] = row
        after[_IS_RIGHT, message] = is_right[row]
        after[_BID, message], after[_ASK, message] = books[0, row, 0], books[2, row, 0]
        after[_IS_DEEP, message] = books[1, row, depth] > 0 or books[3, row, depth] > 0
    shown = np.empty(is_open.size, dtype=np.int64)
    heads = heads_of(packed, count)
    made, breaks = _judge(heads, after, quoted, quotes, ticked, tickers, limits, state, told, shown, is_open)
    for i in range(made):
        for what in range(4):
            for level in range(levels.shape[2]):
                levels[what, i, level] = books[what, shown[i], level] if is_open[i] else 0
    return made, breaks, refused


@njit(cache=True, nogil=True)
def _judge(  # type: ignore[no-untyped-def]
    heads, after, quoted, quotes, ticked, tickers, limits, state, told, shown, is_open
):
    """Go through the rows of three topics as they arrived; return how many rows are shown, and breaks.

    `shown` receives which book a row shows.
    """
    b = q = t = made = breaks = 0
    while b < heads.shape[0] or q < quoted or t < ticked:
        at_b = heads[b, ARRIVAL] if b < heads.shape[0] else _NEVER
        at_q = quotes[level1.ARRIVED, q] if q < quoted else _NEVER
        at_t = tickers[level1.ARRIVED, t] if t < ticked else _NEVER
        is_book = at_b <= at_q and at_b <= at_t
        is_quote = not is_book and at_q <= at_t
        known = heads[b, KNOWN] if is_book else quotes[level1.KNOWN, q] if is_quote else tickers[level1.KNOWN, t]
        # What the time alone would have closed is closed, whether or not anybody asked in between.
        reason = overdue(limits, state, known)
        if reason != 0:
            state[OPEN] = 0
            shown[made], is_open[made] = -1, False  # a row without a book says so, between two messages
            told[SHOWN_TS, made], told[SHOWN_KNOWN, made] = state[LAST_TS], known
            told[SHOWN_UPDATE, made] = state[LAST_UPDATE]
            made += 1
            breaks = _note_break(told, breaks, reason, known, state[LAST_UPDATE])
        if is_book and after[_ROW, b] < 0:
            b += 1
            continue
        if is_book:
            reason = _on_message(heads, after, b, limits, state)
        elif is_quote:
            _on_quote(quotes[level1.BID, q], quotes[level1.ASK, q], known, state)
            reason = 0
        else:
            state[T_BID], state[T_ASK], state[MARK] = (
                tickers[level1.BID, t],
                tickers[level1.ASK, t],
                tickers[level1.MARK, t],
            )
            reason = 0
        if reason != 0:
            state[OPEN] = 0
            breaks = _note_break(told, breaks, reason, known, heads[b, UPDATE])
        _compare(limits, state, known)  # while trust is closed nothing disagrees with it
        if is_book:
            shown[made], is_open[made] = after[_ROW, b], state[OPEN] == 1
            told[SHOWN_TS, made], told[SHOWN_KNOWN, made] = heads[b, TS], known
            told[SHOWN_UPDATE, made] = heads[b, UPDATE]
            made += 1
            b += 1
        elif is_quote:
            q += 1
        else:
            t += 1
    return made, breaks


@njit(cache=True, nogil=True)
def _note_break(told, breaks, reason, known, update):  # type: ignore[no-untyped-def]
    """Write down a break; return how many there are."""
    told[BROKEN_WHY, breaks], told[BROKEN_KNOWN, breaks], told[BROKEN_UPDATE, breaks] = reason, known, update
    return breaks + 1


@njit(cache=True, nogil=True)
def _on_message(heads, after, b, limits, state):  # type: ignore[no-untyped-def]
    """Take a message of the book; return 0, or why it cannot be believed."""
    is_snapshot = heads[b, IS_SNAPSHOT] != 0
    if not is_snapshot and state[OPEN] == 0:
        return 0  # nothing to be believed before the next snapshot
    ts, seq, update, known = heads[b, TS], heads[b, SEQ], heads[b, UPDATE], heads[b, KNOWN]
    reason = 0
    if after[_IS_RIGHT, b] == 0:
        reason = _GAP if not is_snapshot and update != state[LAST_UPDATE] + 1 else _BAD
    elif state[HAS_BEGUN] != 0 and not (is_snapshot and update == 1):  # 1: the service began its numbers anew
        if seq != 0 and seq < state[LAST_SEQ]:
            reason = _SEQUENCE
        elif ts < state[LAST_TS]:
            reason = _TIME
    # The snapshot of a quiet book tells of long ago, and is the present state all the same.
    told_ns = max(ts, heads[b, SENT]) if is_snapshot else ts
    if reason == 0:
        if after[_IS_DEEP, b] != 0:
            reason = _DEPTH
        elif known - told_ns > limits[_LATE_NS]:
            reason = _LATE
        elif told_ns - known > limits[_FUTURE_NS]:
            reason = _FUTURE
    if is_snapshot:
        # Also one that is refused: the next is held against this one, so that no single one can shut the book for ever.
        state[OPEN] = state[HAS_BEGUN] = 1
        state[LAST_SEQ] = seq
    state[LAST_SEQ] = max(seq, state[LAST_SEQ]) if reason == 0 else seq
    state[LAST_TS], state[LAST_UPDATE], state[HEARD] = ts, update, known
    state[BID], state[ASK] = after[_BID, b], after[_ASK, b]
    return reason


@njit(cache=True, nogil=True)
def _on_quote(bid, ask, known, state):  # type: ignore[no-untyped-def]
    state[L1_BID], state[L1_ASK] = bid, ask
    if state[OPEN] != 0 and bid == state[BID] and ask == state[ASK]:
        state[HEARD] = known


@njit(cache=True, nogil=True)
def _compare(limits, state, known):  # type: ignore[no-untyped-def]
    """Note since when others have disagreed with the book; where either is not known they cannot."""
    bid, ask = state[BID], state[ASK]
    is_known = state[OPEN] != 0 and bid > 0 and ask > 0
    differs = is_known and state[L1_BID] > 0 and state[L1_ASK] > 0 and (bid != state[L1_BID] or ask != state[L1_ASK])
    state[L1_SINCE] = _since(differs, state[L1_SINCE], known)
    differs = is_known and state[T_BID] > 0 and state[T_ASK] > 0
    ppm = limits[_T_PPM]
    differs = differs and (_is_far(bid, state[T_BID], ppm) or _is_far(ask, state[T_ASK], ppm))
    state[T_SINCE] = _since(differs, state[T_SINCE], known)
    differs = is_known and state[MARK] > 0 and _is_far(500.0 * (bid + ask), state[MARK], limits[_MARK_PPM])
    state[MARK_SINCE] = _since(differs, state[MARK_SINCE], known)


@njit(cache=True, nogil=True)
def _since(differs, since, known):  # type: ignore[no-untyped-def]
    if not differs:
        return np.int64(-1)
    return since if since >= 0 else known


@njit(cache=True, nogil=True)
def _is_far(value, other, ppm):  # type: ignore[no-untyped-def]
    return abs(np.float64(value) - np.float64(other)) * 1e6 > np.float64(ppm) * np.float64(other)


@njit(cache=True, nogil=True)
def overdue(limits, state, now):  # type: ignore[no-untyped-def]
    """Return why trust has run out by now, 0 if it has not."""
    if state[OPEN] == 0:
        return 0
    if state[L1_SINCE] >= 0 and now - state[L1_SINCE] > limits[_L1_NS]:
        return _LEVEL1
    if state[T_SINCE] >= 0 and now - state[T_SINCE] > limits[_T_NS]:
        return _TICKER
    if state[MARK_SINCE] >= 0 and now - state[MARK_SINCE] > limits[_MARK_NS]:
        return _MARK_FAR
    if now - state[HEARD] > limits[_STALE_NS]:
        return _STALE
    return 0
