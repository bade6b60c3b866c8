"""The order book's recent past and near future as a simulated venue sees it: changes that run ahead of the clock.

Slabs of changes are judged when they come, by `core.order_book`: which messages count, where trust ends. They are
applied when the clock gets there, so that reading tells the book of that moment and following a level tells what
will become of it.

* A message takes effect whole, at the venue's time, and never before the messages ahead of it. `advance(t)` applies
  those earlier than t: at equal times what happens at t meets the book before it.
* A message that a slab's border cuts waits for its rest. How the stream is cut changes no answer.
* A book that is not trusted shows nothing, and what rests at a price is then not known: None, which is not zero.
* A feed of N levels a side does not tell what rests beyond the N-th: that is not known either. Such a feed takes a
  level out of sight with a quantity of zero; followed, it reads as unknown.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.core.order_book import OrderBook
from bot.core.sorted_levels import blank_levels, clear_levels, copy_best, set_level, with_room
from bot.domain.instrument import Instrument, Side
from bot.domain.market import I64, BookDeltaBatch

BookSide = Literal["bid", "ask"]

# What a message does to the book.
_VOID, _SET, _REPLACE, _LOSE = range(4)  # nothing; some levels; all of them; trust ends, and nothing is left

_UNKNOWN = -1  # a quantity that nobody can tell
_LEVELS_AT_ONCE = 16  # so many levels are looked at before more are
_CELLS = 1 << 20  # room for this many levels when messages are judged
_EVER_NS = -(2**62)


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelChange:
    """One message's effect on one price level."""

    row: int  # the message's last row: go on from the next
    ts_ns: int  # from when on it is so, the venue's clock
    qty_steps: int | None  # what rests there then; None: no longer known


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Chunk:
    """Whole messages: M of them, of N rows together."""

    first_row: int
    edges: I64  # [M + 1] where each message begins, rows from the chunk's first
    ts_ns: I64  # [M] when each takes effect, ascending
    deeds: I64  # [M] what each does
    # [M] the worst price in sight after each message where the feed's window is full, else beyond any price.
    lowest_bid: I64
    highest_ask: I64
    is_bid: NDArray[np.bool_]  # [N]
    price_ticks: I64  # [N]
    qty_steps: I64  # [N]

    @property
    def end_row(self) -> int:
        return self.first_row + len(self.price_ticks)


class BookTape:
    """The order book of one instrument under the clock, and what lies ahead of it.

    Args:
        instrument: what the batches are of.
        window: how many levels a side the feed tells, such as 50 of Bybit's `orderbook.50`; None where it tells all.

    Raises:
        ValueError: the window is not positive.
    """

    def __init__(self, instrument: Instrument, *, window: int | None = None) -> None:
        self._judge = _Judge(instrument, window)
        self._window = window
        self._chunks: list[_Chunk] = []
        self._place, self._message = 0, 0  # the next message to apply: of which chunk, which
        self._bids = blank_levels(1024)
        self._asks = blank_levels(1024)
        self._is_trusted = False
        self._row = self._end_row = 0
        self._known: dict[tuple[BookSide, int], tuple[I64, I64]] = {}  # what `levels` has told since it changed

    @property
    def is_trusted(self) -> bool:
        """Return whether the book may be believed: not before the first snapshot, nor in a gap."""
        return self._is_trusted

    @property
    def row(self) -> int:
        """Return the first row that has not been applied: what becomes of a level begins here."""
        return self._row

    @property
    def end_row(self) -> int:
        """Return the row after the last that is here: where to ask again once more has come."""
        return self._end_row

    def extend(self, batch: BookDeltaBatch, now_ns: int) -> None:
        """Append `batch`, apply what is earlier than `now_ns` and forget it: nothing of then will be asked for."""
        chunk = self._judge.take(batch)
        if chunk is not None:
            if not self._chunks:
                self._row = chunk.first_row
            self._chunks.append(chunk)
            self._end_row = chunk.end_row
        self.advance(now_ns)
        while self._place and self._chunks[0].ts_ns[-1] < now_ns:
            del self._chunks[0]
            self._place -= 1

    def advance(self, until_ns: int) -> None:
        """Apply all messages that are earlier than `until_ns`."""
        while self._place < len(self._chunks):
            chunk = self._chunks[self._place]
            stop = int(chunk.ts_ns.searchsorted(until_ns))
            if stop > self._message:
                self._apply(chunk, self._message, stop)
                self._message = stop
                self._row = chunk.first_row + int(chunk.edges[stop])
            if stop < len(chunk.ts_ns):
                return
            self._place, self._message = self._place + 1, 0

    def best_bid(self) -> int | None:
        """Return the highest bid in ticks, None if there is none or the book is not trusted."""
        return self._best("bid")

    def best_ask(self) -> int | None:
        """Return the lowest ask in ticks, None if there is none or the book is not trusted."""
        return self._best("ask")

    def levels(self, side: BookSide, count: int) -> tuple[I64, I64]:
        """Return prices (ticks) and quantities (steps) of at most `count` levels, the best first."""
        known = self._known.get((side, count))
        if known is not None:
            return known
        ticks, steps = np.zeros((2, count if self._is_trusted else 0), dtype=np.int64)
        if self._is_trusted:
            if side == "bid":
                copy_best(self._bids, 1, ticks, steps)
            else:
                copy_best(self._asks, -1, ticks, steps)
            made = int(np.count_nonzero(steps))
            ticks, steps = ticks[:made], steps[:made]
        ticks.flags.writeable = steps.flags.writeable = False  # whoever asks next is given the same
        self._known[side, count] = ticks, steps
        return ticks, steps

    def qty_at(self, side: BookSide, ticks: int) -> int | None:
        """Return what rests at a price, in steps; None if that is not known: see the module's rules."""
        if not self._is_trusted:
            return None
        count = _LEVELS_AT_ONCE
        while True:
            prices, steps = self.levels(side, count)
            if not len(prices):
                return 0
            if (prices[-1] <= ticks) if side == "bid" else (prices[-1] >= ticks):
                found = np.flatnonzero(prices == ticks)
                return int(steps[found[0]]) if len(found) else 0
            if len(prices) < count:
                return None if self._window is not None and len(prices) >= self._window else 0
            count *= 4

    def walk(self, side: Side, qty_steps: int, limit_ticks: int | None = None) -> list[tuple[int, int]]:
        """Return what a taker of `side` would take of the other side, as (ticks, steps), the best first.

        It ends with the quantity, with the limit, or with what is in sight. Nothing is taken: the book stays as the
        market left it.
        """
        taken: list[tuple[int, int]] = []
        count, seen = _LEVELS_AT_ONCE, 0
        while True:
            prices, steps = self.levels("ask" if side is Side.BUY else "bid", count)
            for price, step in zip(prices[seen:].tolist(), steps[seen:].tolist(), strict=True):
                if qty_steps <= 0 or (limit_ticks is not None and (price - limit_ticks) * side.sign > 0):
                    return taken
                taken.append((price, min(step, qty_steps)))
                qty_steps -= step
            if len(prices) < count:
                return taken
            count, seen = count * 4, count

    def next_change(self, row: int, side: BookSide, ticks: int) -> LevelChange | None:
        """Return the first message from `row` on that touches a price level, None if none is here up to `end_row`.

        A message that names the level touches it, a snapshot always does, and so does the end of trust, after which
        the quantity is None until the next snapshot. `row` must begin a message: `row` of the tape, or the row after
        an earlier change.
        """
        for chunk in self._chunks:
            if row < chunk.end_row:
                first = int(chunk.edges.searchsorted(row - chunk.first_row))
                worst = chunk.lowest_bid if side == "bid" else -chunk.highest_ask
                message, qty = _next_touch(
                    chunk.edges,
                    chunk.deeds,
                    worst,
                    chunk.is_bid,
                    chunk.price_ticks,
                    chunk.qty_steps,
                    first,
                    side == "bid",
                    ticks,
                )
                if message >= 0:
                    return LevelChange(
                        row=chunk.first_row + int(chunk.edges[message + 1]) - 1,
                        ts_ns=int(chunk.ts_ns[message]),
                        qty_steps=None if qty == _UNKNOWN else qty,
                    )
        return None

    def _best(self, side: BookSide) -> int | None:
        ticks, _ = self.levels(side, 1)
        return int(ticks[0]) if len(ticks) else None

    def _apply(self, chunk: _Chunk, start: int, stop: int) -> None:
        """Bring messages `start` to `stop` of a chunk into the book."""
        self._known.clear()
        is_bid = chunk.is_bid[chunk.edges[start] : chunk.edges[stop]]
        bids = int(np.count_nonzero(is_bid))
        self._bids = with_room(self._bids, bids)
        self._asks = with_room(self._asks, len(is_bid) - bids)
        self._is_trusted = bool(
            _apply(
                chunk.edges,
                chunk.deeds,
                chunk.is_bid,
                chunk.price_ticks,
                chunk.qty_steps,
                start,
                stop,
                self._bids,
                self._asks,
                self._is_trusted,
            )
        )


class _Judge:
    """Batches as they come to chunks of whole messages, each with what it does to the book."""

    def __init__(self, instrument: Instrument, window: int | None) -> None:
        self._depth = 1 if window is None else window
        self._is_whole = window is None
        self._book = OrderBook(instrument, depth=self._depth)
        self._next_row: int | None = None
        self._rest: BookDeltaBatch | None = None  # the beginning of a message that has not ended
        self._ts_ns = _EVER_NS  # the latest so far
        self._newest = (_EVER_NS, _EVER_NS)  # the greatest number and time of any message so far

    def take(self, batch: BookDeltaBatch) -> _Chunk | None:
        """Return the messages that end in `batch`, None if none does."""
        assert self._next_row in (None, batch.first_row), "slabs leave out rows, or repeat them"
        self._next_row = batch.first_row + len(batch)
        if self._rest is not None:
            batch = BookDeltaBatch.join([self._rest, batch])
        ends = np.flatnonzero(batch.is_last) + 1
        stop = int(ends[-1]) if len(ends) else 0
        self._rest = batch.rows(stop, len(batch)) if stop < len(batch) else None
        if not stop:
            return None
        batch = batch.rows(0, stop)
        deeds, lowest_bid, highest_ask = self._deeds(batch, ends)
        ts_ns = np.maximum(np.maximum.accumulate(batch.ts_ns[ends - 1]), self._ts_ns)
        self._ts_ns = int(ts_ns[-1])
        return _Chunk(
            first_row=batch.first_row,
            edges=np.append(0, ends),
            ts_ns=ts_ns,
            deeds=deeds,
            lowest_bid=lowest_bid,
            highest_ask=highest_ask,
            is_bid=batch.is_bid,
            price_ticks=batch.price_ticks,
            qty_steps=batch.qty_steps,
        )

    def _deeds(self, batch: BookDeltaBatch, ends: I64) -> tuple[I64, I64, I64]:
        """Return what each message does and the worst prices in sight after it."""
        is_snapshot = batch.is_snapshot[ends - 1]
        deeds = np.full(len(ends), _VOID, dtype=np.int64)
        lowest_bid = np.full(len(ends), -(2**62), dtype=np.int64)
        highest_ask = np.full(len(ends), 2**62, dtype=np.int64)
        for start, stop in self._stretches(batch, ends, is_snapshot):
            was_trusted = self._book.is_trusted
            first = int(ends[start - 1]) if start else 0
            rows = self._book.on_deltas(batch.rows(first, int(ends[stop - 1])))
            if not len(rows):
                continue  # a repeat, which stands alone in its stretch
            assert len(rows) == stop - start
            before = np.append(was_trusted, rows.is_trusted[:-1])
            deeds[start:stop] = np.where(
                rows.is_trusted,
                np.where(is_snapshot[start:stop], _REPLACE, _SET),
                np.where(before, _LOSE, _VOID),
            )
            if not self._is_whole:
                is_full = rows.bid_steps[:, -1] > 0, rows.ask_steps[:, -1] > 0
                lowest_bid[start:stop][is_full[0]] = rows.bid_ticks[is_full[0], -1]
                highest_ask[start:stop][is_full[1]] = rows.ask_ticks[is_full[1], -1]
        return deeds, lowest_bid, highest_ask

    def _stretches(self, batch: BookDeltaBatch, ends: I64, is_snapshot: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Return stretches of messages to judge at once, so that what may be a repeat stands alone.

        The book gives no row for a repeat: a change newer neither by number nor by time than the last one applied.
        One that is newer, by either, than all before it cannot be one.
        """
        update, ts_ns = batch.update[ends - 1], batch.ts_ns[ends - 1]
        newest = np.maximum.accumulate(np.append(self._newest[0], update))
        latest = np.maximum.accumulate(np.append(self._newest[1], ts_ns))
        self._newest = int(newest[-1]), int(latest[-1])
        suspects = np.flatnonzero(~is_snapshot & (update <= newest[:-1]) & (ts_ns <= latest[:-1]))
        regular = np.arange(0, len(ends), max(1, _CELLS // self._depth))
        edges = np.unique(np.concatenate([regular, suspects, suspects + 1, [len(ends)]])).tolist()
        return list(itertools.pairwise(edges))


@njit(cache=True, nogil=True)
def _apply(edges, deeds, is_bid, price, qty, start, stop, bids, asks, is_trusted):  # type: ignore[no-untyped-def]
    """Apply messages to the sides; return whether the book is trusted after them."""
    for message in range(start, stop):
        deed = deeds[message]
        if deed == _VOID:
            continue
        if deed != _SET:
            clear_levels(bids)
            clear_levels(asks)
        is_trusted = deed != _LOSE
        if is_trusted:
            for row in range(edges[message], edges[message + 1]):
                if price[row] > 0:  # 0 is the row of a message without levels
                    if is_bid[row]:
                        set_level(bids, price[row], qty[row])
                    else:
                        set_level(asks, -price[row], qty[row])
    return is_trusted


@njit(cache=True, nogil=True)
def _next_touch(edges, deeds, worst, is_bid, price, qty, first, of_bids, ticks):  # type: ignore[no-untyped-def]
    """Return the first message that touches the level and what rests there after it; -1 where none does.

    `worst` is the worst price in sight after each message, of asks negated.
    """
    for message in range(first, deeds.size):
        deed = deeds[message]
        if deed == _VOID:
            continue
        if deed == _LOSE:
            return message, _UNKNOWN
        is_touched = deed == _REPLACE
        rests = 0
        for row in range(edges[message], edges[message + 1]):
            if price[row] == ticks and is_bid[row] == of_bids:
                is_touched = True
                rests = qty[row]
        if is_touched:
            is_hidden = rests == 0 and (ticks if of_bids else -ticks) < worst[message]
            return message, _UNKNOWN if is_hidden else rests
    return -1, 0
