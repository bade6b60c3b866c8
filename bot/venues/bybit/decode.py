"""Frames of one instrument to columns: exact, many at a time, and the same however they are cut into batches.

A decoder keeps what the next frame needs: row numbers, which trades were seen. A frame that turns out not to be right
when its numbers are read is refused with its reason, as `wire` refuses frames; what that means for trust is told in
each decoder. Nothing here raises on what a venue sends.

Books and trades, which come in thousands; `tickers` and `klines` have the others.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from bot.domain.instrument import Instrument
from bot.domain.market import TradeBatch
from bot.venues.bybit.numbers import NOT_POSITIVE, REASONS, grids_of, whole_text
from bot.venues.bybit.wire import Data, Refused, TradeFrame, WireTrade

_MS = 1_000_000
_HEAD = struct.Struct("=4q")  # of a trade: time, whether the taker bought, the lengths of its price and quantity
_HEAD_BYTES = _HEAD.size
_TRADE_IDS = 2_048  # so many of the newest trades are known again: twice what the longest answer holds


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
        self._grids = grids_of(instrument)
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
        count = len(trades)
        parts: list[object] = [
            _HEAD.pack(trade.T * _MS, trade.S == "Buy", len(trade.p), len(trade.v)) for trade in trades
        ]
        for trade in trades:
            parts += (trade.p, trade.v)
        packed = np.frombuffer(b"".join(parts), dtype=np.uint8)  # type: ignore[arg-type]  # `Raw` is a buffer
        columns, is_buy = np.empty((3, count), dtype=np.int64), np.empty(count, dtype=np.bool_)
        is_good = _scan_trades(packed, *self._grids, columns, is_buy)
        ids = [trade.i for trade in trades]
        wrong: list[tuple[int, int]] = []
        if not is_good:
            keep = (columns[1] > 0) & (columns[2] > 0)
            for at in np.flatnonzero(~keep).tolist():
                worst = int(columns[1:, at].min())
                wrong.append((at, worst if worst < 0 else NOT_POSITIVE))
            self.counts.refused += len(wrong)
            columns, is_buy = np.ascontiguousarray(columns[:, keep]), is_buy[keep]
            ids = [trade_id for trade_id, kept in zip(ids, keep.tolist(), strict=True) if kept]
        self.ids = ids
        first_row, self._rows = self._rows, self._rows + len(ids)
        batch = TradeBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=columns[0],
            price_ticks=columns[1],
            qty_steps=columns[2],
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


@njit(cache=True, nogil=True)
def _scan_trades(packed, price_places, price_unit, qty_places, qty_unit, columns, is_buy):  # type: ignore[no-untyped-def]
    """Read trades; return whether all prices and quantities are above zero.

    Args:
        packed: a head of each, then the JSON of each one's price and quantity.
        price_places, price_unit, qty_places, qty_unit: the grids.
        columns: [3, trades] receives time, price and quantity.
        is_buy: [trades] receives whether the taker bought.
    """
    start = is_buy.size * _HEAD_BYTES
    heads = packed[:start].view(np.int64).reshape(is_buy.size, 4)
    is_good = True
    for i in range(is_buy.size):
        columns[0, i], is_buy[i] = heads[i, 0], heads[i, 1] != 0
        stop = start + heads[i, 2]
        columns[1, i] = whole_text(packed, start, stop, price_places, price_unit)
        start = stop + heads[i, 3]
        columns[2, i] = whole_text(packed, stop, start, qty_places, qty_unit)
        is_good &= columns[1, i] > 0 and columns[2, i] > 0
    return is_good
