"""The level-1 book: the best prices after each of its messages, as a batch and as a witness to the deeper book."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numba import njit

from bot.core.order_book import OrderBook, scan_table
from bot.core.sorted_levels import has_room
from bot.domain.instrument import Instrument
from bot.domain.market import I64, QuoteBatch, TickerBatch
from bot.venues.bybit.book_messages import ARRIVAL, heads_of, pack_books, room_for, scan_levels
from bot.venues.bybit.decode import refuse
from bot.venues.bybit.numbers import REASONS, grids_of
from bot.venues.bybit.wire import BookFrame, Refused

# The rows of a witness's table.
TS, KNOWN, BID, BID_STEPS, ASK, ASK_STEPS, ARRIVED, MARK = range(8)


class Witness(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What another topic says of a book's market: rows of it, and the place of each among all frames."""

    rows: int
    table: I64  # [8, >= rows] times, best prices in ticks, quantities, arrival; mark price in thousandths of a tick


SILENT = Witness(0, np.empty((MARK + 1, 0), dtype=np.int64))


def ticker_witness(tickers: TickerBatch, arrivals: Sequence[int], marks_per_tick: float) -> Witness:
    """Return what tickers say; `marks_per_tick` brings a mark price to thousandths of a tick."""
    table = np.zeros((MARK + 1, len(tickers)), dtype=np.int64)
    table[KNOWN], table[BID], table[ASK], table[ARRIVED] = (
        tickers.known_ns,
        tickers.bid_ticks,
        tickers.ask_ticks,
        arrivals,
    )
    table[MARK] = np.rint(tickers.marks() * marks_per_tick)
    return Witness(len(tickers), table)


class Level1:
    """Of one instrument. A message that is refused costs it its trust, as any book."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._book = OrderBook(instrument, depth=1)
        self._grids = grids_of(instrument)
        self._rows = 0

    def decode(self, frames: Sequence[BookFrame], arrivals: Sequence[int]) -> tuple[QuoteBatch, Witness, list[Refused]]:
        """Return a row after each message that is news, the same as a witness, and the frames that were refused."""
        count = len(frames)
        packed = pack_books(frames, arrivals)
        table, reasons = np.zeros((MARK + 1, count), dtype=np.int64), np.empty(count, dtype=np.int64)
        made, refused = -1, 0
        while made < 0:
            made, refused = _apply(packed, *self._grids, *self._book.lend(), table, reasons)
            if made < 0:
                self._book.make_room(-made)
        first_row, self._rows = self._rows, self._rows + made
        told = table[:, :made]
        rows = QuoteBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=told[TS],
            known_ns=told[KNOWN],
            bid_ticks=told[BID],
            bid_steps=told[BID_STEPS],
            ask_ticks=told[ASK],
            ask_steps=told[ASK_STEPS],
        )
        wrong = np.flatnonzero(reasons).tolist() if refused else ()
        return rows, Witness(made, table), [refuse(frames[at], REASONS[int(reasons[at])]) for at in wrong]


@njit(cache=True, nogil=True)
def _apply(  # type: ignore[no-untyped-def]
    packed, price_places, price_unit, qty_places, qty_unit, bids, asks, book, table, reasons
):
    """Apply packed messages and write the best prices after each that is news; return how many, and how many refused.

    Where the book lacks the room, nothing is done, and how much is needed is returned below zero.
    """
    count = reasons.size
    room = room_for(packed, count)
    columns, flags = np.empty((6, room), dtype=np.int64), np.empty((3, room), dtype=np.bool_)
    rows, refused = scan_levels(packed, count, price_places, price_unit, qty_places, qty_unit, columns, flags, reasons)
    if not (has_room(bids, rows) and has_room(asks, rows)):
        return -rows, 0
    times = np.empty((4, count), dtype=np.int64)
    levels = np.zeros((4, count, 1), dtype=np.int64)
    is_trusted = np.zeros(count, dtype=np.bool_)
    made = scan_table(rows, columns, flags, bids, asks, book, times, levels, is_trusted)
    heads = heads_of(packed, count)
    for row in range(made):
        table[TS, row], table[KNOWN, row] = times[0, row], times[1, row]
        table[BID, row], table[BID_STEPS, row] = levels[0, row, 0], levels[1, row, 0]
        table[ASK, row], table[ASK_STEPS, row] = levels[2, row, 0], levels[3, row, 0]
        table[ARRIVED, row] = heads[times[3, row], ARRIVAL]
    return made, refused
