"""Frames of one instrument to columns: exact, many at a time, and the same however they are cut into batches.

A decoder keeps what the next frame needs: row numbers, which trades were seen. A frame that turns out not to be right
when its numbers are read is refused with its reason, as `wire` refuses frames; what that means for trust is told in
each decoder. Nothing here raises on what a venue sends.

Books and trades, which come in thousands; `tickers` and `klines` have the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bot.core.order_book import OrderBook
from bot.domain.instrument import Instrument
from bot.domain.market import I64, BookBatch, BookDeltaBatch, TradeBatch
from bot.venues.bybit.numbers import NOT_POSITIVE, REASONS, grid_of, joined, read_prices_and_qtys, scan_levels
from bot.venues.bybit.wire import BookFrame, Data, Refused, TradeFrame, WireTrade

_MS = 1_000_000
_LEVEL_BYTES_MIN = 9  # ["1","2"]
_TRADE_IDS = 8192  # of so many trades at least it is known whether they were seen


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BookMessages:
    """Whole messages of one book.

    Shapes: `deltas` has a row per level; the others have M, one per message.
    """

    deltas: BookDeltaBatch
    arrival: I64  # its number among all frames of the instrument: what came before what
    ts_ns: I64
    known_ns: I64
    update: I64
    seq: I64  # 0 where not told
    is_snapshot: I64
    sent_ns: I64  # when it was sent, where that is told; else 0

    def __len__(self) -> int:
        return len(self.arrival)


class BookDecoder:
    """Messages of one book to rows.

    One that is refused becomes a row that no book takes, so that whoever builds the book loses trust at its place.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._price, self._qty = grid_of(instrument.tick_size), grid_of(instrument.qty_step)
        self._rows = 0

    def decode(self, frames: Sequence[BookFrame], arrivals: Sequence[int]) -> tuple[BookMessages, list[Refused]]:
        """Return the messages of frames, in order, and those frames that were refused."""
        count = len(frames)
        data, ends = joined([side for frame in frames for side in (frame.bids, frame.asks)])
        told = np.array([(f.ts_ns, f.known_ns, f.update, f.is_snapshot, f.seq, f.sent_ns) for f in frames], np.int64)
        heads = np.ascontiguousarray(told.reshape(count, 6).T)
        room = len(data) // _LEVEL_BYTES_MIN + count
        columns, flags = np.empty((6, room), dtype=np.int64), np.empty((3, room), dtype=np.bool_)
        reasons = np.empty(count, dtype=np.int64)
        grids = (self._price.places, self._price.unit, self._qty.places, self._qty.unit)
        made, refused = scan_levels(data, ends, heads, *grids, columns, flags, reasons)
        columns, flags = columns[:, :made], flags[:, :made]
        first_row, self._rows = self._rows, self._rows + made
        deltas = BookDeltaBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=columns[0],
            known_ns=columns[1],
            update=columns[2],
            previous=columns[3],
            is_snapshot=flags[0],
            is_last=flags[1],
            is_bid=flags[2],
            price_ticks=columns[4],
            qty_steps=columns[5],
        )
        ts_ns, known_ns, update, is_snapshot, seq, sent_ns = heads
        messages = BookMessages(
            deltas=deltas,
            arrival=np.array(arrivals, dtype=np.int64),
            ts_ns=ts_ns,
            known_ns=known_ns,
            update=update,
            seq=seq,
            is_snapshot=is_snapshot,
            sent_ns=sent_ns,
        )
        wrong = np.flatnonzero(reasons).tolist() if refused else ()
        return messages, [refuse(frames[at], REASONS[int(reasons[at])]) for at in wrong]


def apply_messages(book: OrderBook, messages: BookMessages) -> tuple[BookBatch, I64]:
    """Return a book after each message that is news, and the places of those messages."""
    return book.on_messages(messages.deltas)


@dataclass(kw_only=True, slots=True)
class TradeCounts:
    """What was left out of a stream of trades, and why."""

    blocks: int = 0  # made off the book
    repeated: int = 0  # seen before
    refused: int = 0  # numbers that cannot be


class TradeDecoder:
    """Trades to rows, each trade once.

    A refused trade is a hole: its row is missing, and its range must be asked for again.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._price, self._qty = grid_of(instrument.tick_size), grid_of(instrument.qty_step)
        self._rows = 0
        self._seen: tuple[set[str], set[str]] = (set(), set())  # the newest ids, and those before
        self.counts = TradeCounts()
        self.ids: list[str] = []  # of the rows that were returned last

    def has_seen(self, trade_id: str) -> bool:
        """Return whether a trade is among the newest that came: one that is asked for again must not count twice."""
        return trade_id in self._seen[0] or trade_id in self._seen[1]

    def decode(self, frames: Sequence[TradeFrame]) -> tuple[TradeBatch, list[Refused]]:
        """Return the trades of frames, in order, and the frames that hold one which was refused."""
        trades: list[WireTrade] = []
        ends: list[int] = []  # of each frame's trades among them
        for frame in frames:
            self._add_news(frame.trades, trades)
            ends.append(len(trades))
        batch, wrong = self._rows_of(trades)
        refused: list[Refused] = []
        for at, reason in wrong:
            owner = frames[int(np.searchsorted(ends, at, side="right"))]
            refused.append(refuse(owner, REASONS[reason]))
        return batch, refused

    def decode_again(self, trades: Sequence[WireTrade]) -> TradeBatch:
        """Return trades that were asked for once more, also those that have been seen; refused ones are left out.

        None of them will be taken for news again.
        """
        self._add_news(trades, [])
        return self._rows_of([trade for trade in trades if not trade.BT])[0]

    def _rows_of(self, trades: list[WireTrade]) -> tuple[TradeBatch, list[tuple[int, int]]]:
        """Return the rows of trades, and place and reason of those that are refused; keep the ids of the rows."""
        (price, qty), is_good = read_prices_and_qtys(
            [trade.p for trade in trades], [trade.v for trade in trades], self._price, self._qty
        )
        ts_ns = np.array([trade.T for trade in trades], dtype=np.int64) * _MS
        is_buy = np.array([trade.S == "Buy" for trade in trades], dtype=np.bool_)
        self.ids = [trade.i for trade in trades]
        wrong: list[tuple[int, int]] = []
        if not is_good:
            keep = (price > 0) & (qty > 0)
            for at in np.flatnonzero(~keep).tolist():
                worst = min(int(price[at]), int(qty[at]))
                wrong.append((at, worst if worst < 0 else NOT_POSITIVE))
            self.counts.refused += len(wrong)
            price, qty, ts_ns, is_buy = price[keep], qty[keep], ts_ns[keep], is_buy[keep]
            self.ids = [trade_id for trade_id, kept in zip(self.ids, keep.tolist(), strict=True) if kept]
        first_row, self._rows = self._rows, self._rows + len(price)
        batch = TradeBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=ts_ns,
            price_ticks=price,
            qty_steps=qty,
            is_buy=is_buy,
        )
        return batch, wrong

    def _add_news(self, told: Sequence[WireTrade], trades: list[WireTrade]) -> None:
        """Append the trades that were made on the book and have not been seen."""
        newest, before = self._seen
        for trade in told:
            if trade.BT:
                self.counts.blocks += 1
            elif trade.i in newest or trade.i in before:
                self.counts.repeated += 1
            else:
                newest.add(trade.i)
                trades.append(trade)
        if len(newest) >= _TRADE_IDS:
            self._seen = set(), newest


def refuse(frame: Data, reason: str) -> Refused:
    """Return a frame as refused, with the reason."""
    return Refused(raw=frame.raw, known_ns=frame.known_ns, reason=reason, topic=frame.topic.text)
