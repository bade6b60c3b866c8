"""One instrument's order book, from messages to the best levels after each, and whether it may be believed.

The rules, each with its test in `tests/unit/test_order_book.py`:

* A snapshot replaces the whole book and opens trust. A change sets the quantity at a price; 0 removes the level.
* The levels of a message take effect as one, with the row that says `is_last`: a message that a batch's border cuts
  in two gives its row with the batch that ends it, and until then nothing is shown of it.
* Trust closes, the book is emptied, and changes are ignored until the next snapshot, when
    - a message's `previous` is not the number of the message before it, or its own number runs backwards (GAP),
    - the best bid reaches the best ask (CROSSED),
    - a price or a quantity cannot be (IMPOSSIBLE), or rows of different messages stand in one.
* A change that is neither newer by number nor by time is a repeat: it is left out, gives no row, and costs no trust.
* Removing a level that is not there changes nothing and is counted: venues do it.

Nothing here raises on what a venue sends. All that went wrong is counted by its cause.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.core.sorted_levels import (
    all_levels,
    best_key,
    blank_levels,
    clear_levels,
    copy_best,
    has_levels,
    set_level,
    with_room,
)
from bot.domain.instrument import Instrument
from bot.domain.market import I64, BookBatch, BookDeltaBatch

# Where things stand in the scan's state.
_TRUSTED, _FAULT = 0, 1  # whether the book is trusted, and why not
_UPDATE, _TS = 2, 3  # of the last message that was applied
_DOING, _IS_SNAPSHOT, _MESSAGE = 4, 5, 6  # with the message at hand: what, which kind, its number
_COUNTS = 7  # the counts begin here, in the order of `BookCounts`
_MESSAGES, _CHANGES, _SNAPSHOTS, _GAPS, _CROSSED, _IMPOSSIBLE, _UNSEEDED, _IGNORED, _REPEATED, _ABSENT = range(7, 17)

# What is being done with the message at hand: from _APPLY on it changes the book.
_NOTHING, _FAIL, _IGNORE, _SKIP, _APPLY, _REPLACE = range(6)

# Prices in ticks and quantities in steps beyond this are nonsense, and sums of them might not fit.
_LARGEST = 2**53

_STRIDE_ROWS = 1 << 13


class BookFault(StrEnum):
    """Why a book is not trusted."""

    UNSEEDED = "unseeded"  # no snapshot has come yet
    GAP = "gap"  # a message is missing
    CROSSED = "crossed"  # the best bid is not below the best ask
    IMPOSSIBLE = "impossible"  # a level that cannot be


_FAULTS = (None, BookFault.UNSEEDED, BookFault.GAP, BookFault.CROSSED, BookFault.IMPOSSIBLE)
_NO_SNAPSHOT, _GAP, _CROSS, _NONSENSE = 1, 2, 3, 4  # places in `_FAULTS`


@dataclass(frozen=True, kw_only=True, slots=True)
class BookCounts:
    """What an order book has met so far."""

    messages: int
    changes: int  # levels set or removed
    snapshots: int
    gaps: int
    crossed: int
    impossible: int
    unseeded: int  # changes that came before any snapshot, messages
    ignored: int  # changes that came while the book was not trusted for another reason, messages
    repeated: int  # changes that were old news, messages
    absent: int  # levels removed that were not there


class OrderBook:
    """The full order book of one instrument, and the best `depth` levels after each message.

    A message at a time live, thousands in a replay: the rows that come out are the same.
    """

    def __init__(self, instrument: Instrument, *, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"a book of {depth} levels shows nothing; ask for one or more")
        self._instrument = instrument
        self._depth = depth
        # Both sides have their best level last: bids by their price, asks by the negative of it.
        self._bids = blank_levels(1024)
        self._asks = blank_levels(1024)
        self._state = np.zeros(_ABSENT + 1, dtype=np.int64)
        self._state[_UPDATE] = self._state[_TS] = -(2**62)
        self._state[_FAULT] = _NO_SNAPSHOT
        self._rows = 0

    @property
    def is_trusted(self) -> bool:
        """Return whether the book is whole: False also while a message is only half here."""
        return bool(self._state[_TRUSTED]) and self._state[_DOING] == _NOTHING

    @property
    def fault(self) -> BookFault | None:
        """Return why the book is not trusted, None where it is or only waits for the rest of a message."""
        return _FAULTS[self._state[_FAULT]]

    @property
    def update(self) -> int:
        """Return the number of the last message applied; meaningless before the first."""
        return int(self._state[_UPDATE])

    @property
    def counts(self) -> BookCounts:
        """Return what was met so far."""
        return BookCounts(**dict(zip(BookCounts.__slots__, self._state[_COUNTS:].tolist(), strict=True)))

    def levels(self, side: Literal["bid", "ask"]) -> tuple[I64, I64]:
        """Return all prices (ticks) and quantities (steps) of a side, the best first; none unless trusted."""
        keys, qtys = all_levels(self._bids if side == "bid" else self._asks)
        if not self.is_trusted:
            keys, qtys = keys[:0], qtys[:0]
        return keys[::-1] * (1 if side == "bid" else -1), qtys[::-1]

    def on_deltas(self, batch: BookDeltaBatch) -> BookBatch:
        """Return the best levels after each message that ends in `batch`."""
        return self.on_messages(batch)[0]

    def on_messages(self, batch: BookDeltaBatch) -> tuple[BookBatch, I64]:
        """Return the best levels after each message that ends in `batch`, and its place there; repeats give none."""
        ends = int(np.count_nonzero(batch.is_last))
        times = np.empty((4, ends), dtype=np.int64)
        levels = np.zeros((4, ends, self._depth), dtype=np.int64)
        is_trusted = np.zeros(ends, dtype=np.bool_)
        made = passed = 0
        for start in range(0, len(batch), _STRIDE_ROWS):  # room is made for the case that every row is a new level
            stop = min(start + _STRIDE_ROWS, len(batch))
            bids = int(np.count_nonzero(batch.is_bid[start:stop]))
            self._bids = with_room(self._bids, bids)
            self._asks = with_room(self._asks, stop - start - bids)
            made, passed = _scan(
                start,
                stop,
                batch.ts_ns,
                batch.known_ns,
                batch.update,
                batch.previous,
                batch.is_snapshot,
                batch.is_last,
                batch.is_bid,
                batch.price_ticks,
                batch.qty_steps,
                self._bids,
                self._asks,
                self._state,
                times,
                levels,
                is_trusted,
                made,
                passed,
            )
        first_row, self._rows = self._rows, self._rows + made
        times, levels = times[:, :made], levels[:, :made]
        books = BookBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=times[0],
            known_ns=times[1],
            update=times[2],
            bid_ticks=levels[0],
            bid_steps=levels[1],
            ask_ticks=levels[2],
            ask_steps=levels[3],
            is_trusted=is_trusted[:made],
        )
        return books, times[3]

    def lend(self) -> tuple[I64, I64, I64]:
        """Return bids, asks and state for compiled code, which may call `scan_table` where both sides have the room."""
        return self._bids, self._asks, self._state

    def make_room(self, rows: int) -> None:
        """Make room for so many rows more."""
        self._bids = with_room(self._bids, rows)
        self._asks = with_room(self._asks, rows)


def is_crossed(batch: BookBatch) -> NDArray[np.bool_]:
    """Return the rows whose best bid is not below their best ask: a cheap check of books from elsewhere."""
    both = (batch.bid_steps[:, 0] > 0) & (batch.ask_steps[:, 0] > 0)
    crossed: NDArray[np.bool_] = both & (batch.bid_ticks[:, 0] >= batch.ask_ticks[:, 0])
    return crossed


@njit(cache=True, nogil=True)
def _scan(  # type: ignore[no-untyped-def]
    start,
    stop,
    ts,
    known,
    update,
    previous,
    is_snapshot,
    is_last,
    is_bid,
    price,
    qty,
    bids,
    asks,
    state,
    times,
    levels,
    is_trusted,
    made,
    passed,
):
    """Apply rows `start` to `stop`; return how many books there are now, and how many messages have ended."""
    for i in range(start, stop):
        if state[_DOING] == _NOTHING:
            state[_DOING] = _begin(ts[i], update[i], previous[i], is_snapshot[i], bids, asks, state)
            state[_IS_SNAPSHOT] = is_snapshot[i]
            state[_MESSAGE] = update[i]
        elif update[i] != state[_MESSAGE] or is_snapshot[i] != state[_IS_SNAPSHOT]:
            _distrust(bids, asks, state, _NONSENSE)
        if state[_DOING] >= _APPLY:
            p, q = price[i], qty[i]
            if 0 < p <= _LARGEST and 0 <= q <= _LARGEST:
                is_there = set_level(bids, p, q) if is_bid[i] else set_level(asks, -p, q)
                state[_CHANGES] += 1
                state[_ABSENT] += q == 0 and not is_there
            elif p != 0 or q != 0:
                _distrust(bids, asks, state, _NONSENSE)
        if is_last[i]:
            if state[_DOING] != _SKIP:
                _end(ts[i], update[i], bids, asks, state)
                times[0, made] = ts[i]
                times[1, made] = known[i]
                times[2, made] = update[i]
                times[3, made] = passed
                is_trusted[made] = state[_TRUSTED] != 0
                copy_best(bids, 1, levels[0, made], levels[1, made])
                copy_best(asks, -1, levels[2, made], levels[3, made])
                made += 1
            state[_DOING] = _NOTHING
            state[_MESSAGES] += 1
            passed += 1
    return made, passed


@njit(cache=True, nogil=True)
def scan_table(rows, columns, flags, bids, asks, state, times, levels, is_trusted):  # type: ignore[no-untyped-def]
    """Apply rows of whole messages that stand in tables; return how many books there are.

    Args:
        rows: how many.
        columns: [6, >= rows] time, time of receipt, number, the one before, price, quantity.
        flags: [3, >= rows] of a snapshot, the last of its message, a bid.
        bids, asks, state: what `OrderBook.lend` lends.
        times: [4, messages] receives time, time of receipt, number and place of each message that is news.
        levels: [4, messages, depth] receives prices and quantities of bids and asks; zeros so far.
        is_trusted: [messages] receives whether the book is.
    """
    made, _ = _scan(
        0,
        rows,
        columns[0],
        columns[1],
        columns[2],
        columns[3],
        flags[0],
        flags[1],
        flags[2],
        columns[4],
        columns[5],
        bids,
        asks,
        state,
        times,
        levels,
        is_trusted,
        0,
        0,
    )
    return made


@njit(cache=True, nogil=True)
def _begin(ts, update, previous, is_snapshot, bids, asks, state):  # type: ignore[no-untyped-def]
    """Return what to do with a message that begins."""
    if is_snapshot:
        clear_levels(bids)
        clear_levels(asks)
        return _REPLACE
    if state[_TRUSTED] == 0:
        state[_UNSEEDED if state[_FAULT] == _NO_SNAPSHOT else _IGNORED] += 1
        return _IGNORE
    if update <= state[_UPDATE] and ts <= state[_TS]:
        state[_REPEATED] += 1
        return _SKIP
    # Where the venue tells no `previous`, numbers must rise. One that told the right `previous` and yet does not rise
    # has started its sequence anew, which is a hole too.
    if update <= state[_UPDATE] or (previous >= 0 and previous != state[_UPDATE]):
        _distrust(bids, asks, state, _GAP)
        return _FAIL
    return _APPLY


@njit(cache=True, nogil=True)
def _end(ts, update, bids, asks, state):  # type: ignore[no-untyped-def]
    """Let a message take effect."""
    doing = state[_DOING]
    if doing == _REPLACE:
        state[_TRUSTED] = 1
        state[_FAULT] = 0
        state[_SNAPSHOTS] += 1
    if doing >= _APPLY:
        state[_UPDATE] = update
        state[_TS] = ts
        if has_levels(bids) and has_levels(asks) and best_key(bids) >= -best_key(asks):
            _distrust(bids, asks, state, _CROSS)


@njit(cache=True, nogil=True)
def _distrust(bids, asks, state, fault):  # type: ignore[no-untyped-def]
    """Empty the book until the next snapshot; the rest of the message at hand changes nothing."""
    if _NOTHING < state[_DOING] < _APPLY:
        return
    if fault == _GAP:
        state[_GAPS] += 1
    elif fault == _CROSS:
        state[_CROSSED] += 1
    else:
        state[_IMPOSSIBLE] += 1
    state[_DOING] = _FAIL
    state[_TRUSTED] = 0
    state[_FAULT] = fault
    clear_levels(bids)
    clear_levels(asks)
