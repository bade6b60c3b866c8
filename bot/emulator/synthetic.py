"""Market data where the recording has none: trades out of bars, and an order book around trades.

Both are scans: rows in, rows out, a state between them, and however the input is cut the output is the same. Neither
says anything about a real market's depth; `docs/emulator.md` says what is made up.
"""

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.domain.instrument import Instrument
from bot.domain.market import I64, BarBatch, BookDeltaBatch, TradeBatch

# Where in a bar its trades are, in sixteenths, and between which of its four prices: open, extreme, extreme, close.
_AT_16 = (0, 3, 6, 8, 10, 13, 15)
_FROM = (0, 0, 1, 1, 2, 2, 3)
_TO = (0, 1, 1, 2, 2, 3, 3)


class TradesOfBars:
    """Makes the trades of bars: from the open to the nearer extreme, to the other, to the close.

    Seven a bar share its volume, so that candles folded of them are the bars again: prices exactly, and volume but for
    bars of fewer than seven steps, where each trade has one. A bar without volume has no trades.
    """

    def __init__(self) -> None:
        self._rows = 0

    def make(self, bars: BarBatch) -> TradeBatch:
        """Return the trades of the next bars."""
        traded = bars.rows(0, len(bars)) if np.all(bars.volume_steps > 0) else _without_empty(bars)
        is_down = traded.open_ticks - traded.low_ticks <= traded.high_ticks - traded.open_ticks
        first = np.where(is_down, traded.low_ticks, traded.high_ticks)
        second = np.where(is_down, traded.high_ticks, traded.low_ticks)
        path = np.stack([traded.open_ticks, first, second, traded.close_ticks], axis=1)
        price = (path[:, _FROM] + path[:, _TO]) // 2
        count = len(_AT_16)
        each, rest = np.divmod(traded.volume_steps, count)
        qty = np.maximum(each[:, None] + (np.arange(count) < rest[:, None]), 1)
        ts_ns = traded.open_ns[:, None] + bars.scale_ns * np.array(_AT_16) // 16
        prices: I64 = price.reshape(-1)
        before = np.concatenate([prices[:1], prices[:-1]])
        is_buy = prices >= before
        is_buy[::count] = traded.close_ticks >= traded.open_ticks  # by its own bar alone, so that no cut shows
        first_row, self._rows = self._rows, self._rows + len(prices)
        return TradeBatch(
            instrument=bars.instrument,
            first_row=first_row,
            ts_ns=ts_ns.reshape(-1),
            price_ticks=prices,
            qty_steps=qty.reshape(-1),
            is_buy=is_buy,
        )


def _without_empty(bars: BarBatch) -> BarBatch:
    keep = np.flatnonzero(bars.volume_steps > 0)
    columns = {name: getattr(bars, name)[keep] for name in type(bars).COLUMNS}
    return BarBatch(instrument=bars.instrument, scale_ns=bars.scale_ns, first_row=bars.first_row, **columns)


@dataclass(kw_only=True)
class BookMaker:
    """Makes an order book around the prices that trade.

    A buyer's trade is at the best ask, a seller's at the best bid; the other side is `spread_ticks` away, and each side
    has `levels` levels one tick apart. Every trade changes something: the size at its own price, and the window where
    the price has moved. Sizes are a function of price and trade alone.
    """

    instrument: Instrument
    levels: int = 50
    spread_ticks: int = 1
    size_steps: int = 500  # about what rests at one price
    _rows: int = 0
    _trades: int = 0
    _touch: I64 = field(default_factory=lambda: np.array([-1, -1], dtype=np.int64))

    def make(self, trades: TradeBatch) -> BookDeltaBatch:
        """Return the changes that the next trades bring, one message each, at their times."""
        room = len(trades) * (4 * self.levels + 1)
        columns = np.empty((4, room), dtype=np.int64)
        flags = np.empty((3, room), dtype=np.bool_)
        made = _make_book(
            trades.price_ticks,
            trades.is_buy,
            self._trades,
            self._touch,
            self.levels,
            self.spread_ticks,
            self.size_steps,
            columns,
            flags,
        )
        trade, update, price, qty = columns[:, :made].copy()
        is_snapshot, is_last, is_bid = flags[:, :made].copy()
        ts_ns = trades.ts_ns[trade]
        first_row, self._rows = self._rows, self._rows + made
        self._trades += len(trades)
        return BookDeltaBatch(
            instrument=self.instrument,
            first_row=first_row,
            ts_ns=ts_ns,
            known_ns=ts_ns,
            update=update,
            previous=update - 1,
            is_snapshot=is_snapshot,
            is_last=is_last,
            is_bid=is_bid,
            price_ticks=price,
            qty_steps=qty,
        )


@njit(cache=True, nogil=True)
def _size(ticks, row, is_bid, size):  # type: ignore[no-untyped-def]
    """Return what rests at a price from a row on: from a fifth of `size` to twice that."""
    mixed = (ticks * 2654435761 + row * 40503 + (977 if is_bid else 0)) % 1_000_003
    mixed = (mixed * 48271) % 1_000_003
    return max(1, size // 5 + mixed % (2 * size))


@njit(cache=True, nogil=True)
def _make_book(  # type: ignore[no-untyped-def]
    price: NDArray[np.int64], is_buy: NDArray[np.bool_], row, touch, levels, spread, size, columns, flags
):
    """Write the rows of each trade's message; return how many there are. `touch` is the best bid and ask so far."""
    made = 0
    for i in range(len(price)):
        start = made
        bid = price[i] - spread if is_buy[i] else price[i]
        bid = max(bid, 1)
        ask = price[i] if is_buy[i] and price[i] > bid else bid + spread
        for side in range(2):
            is_bid = side == 0
            sign = 1 if is_bid else -1
            new = bid if is_bid else ask
            old = touch[side]
            for offset in range(levels):
                ticks = new - sign * offset
                was = old > 0 and 0 <= (old - ticks) * sign < levels
                if ticks > 0 and (not was or ticks == price[i]):
                    columns[2, made], columns[3, made] = ticks, _size(ticks, row + i, is_bid, size)
                    flags[2, made] = is_bid
                    made += 1
            if old > 0:
                for offset in range(levels):
                    ticks = old - sign * offset
                    if ticks > 0 and not 0 <= (new - ticks) * sign < levels:
                        columns[2, made], columns[3, made] = ticks, 0
                        flags[2, made] = is_bid
                        made += 1
        for k in range(start, made):
            columns[0, k], columns[1, k] = i, row + i + 1
            flags[0, k] = touch[0] < 0
            flags[1, k] = k == made - 1
        touch[0], touch[1] = bid, ask
    return made
