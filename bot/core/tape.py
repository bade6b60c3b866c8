"""The market's recent past and near future as a venue model sees it: columns that run ahead of its clock.

Rows are numbered through the whole stream; one that has not been read yet is simply not there. Chunks that the clock
has left behind are dropped. A venue says what it waits for (`Watch`) and the tape finds the first row where it happens;
each chunk knows the lowest and the highest price of its blocks, so a search that is begun anew, because an order has
changed, skips what cannot matter.
"""

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from numba import njit

from bot.domain.market import I64, BarBatch, TradeBatch

FAR = 2**62
"""Further than any price or quantity."""

_BLOCK = 256  # rows whose extremes are kept together


class Watch(NamedTuple):
    """What a venue waits for in one instrument's prices. Ticks and steps."""

    falls: int = -FAR  # a price at or below it
    rises: int = FAR  # a price at or above it
    bid: int = -FAR  # the highest of our resting buys: a price below it, or
    bid_ahead: int = FAR  # more than this much sold at it
    ask: int = FAR  # the lowest of our resting sells, likewise
    ask_ahead: int = FAR


class Found(NamedTuple):
    """Where a search ended."""

    row: int  # of the event, or the first that is not searched yet
    is_event: bool
    bid_traded: int = 0  # sold at the watched bid in the rows before `row`
    ask_traded: int = 0


class Trail(msgspec.Struct, frozen=True):
    """A stop that follows the best price at a distance. Ticks."""

    sign: int  # +1 below a long position, -1 above a short one
    distance: int
    peak: int  # the best price so far, in the position's direction

    @property
    def stop(self) -> int:
        """Return the price that triggers it."""
        return self.peak - self.sign * self.distance


Batch = TypeVar("Batch", TradeBatch, BarBatch)


class _Chunk(Generic[Batch]):
    """A stretch of rows with what is known of each of its blocks.

    Args:
        batch: the rows, at least one.
        ts_ns: the time that rows are found by, in order.
        low_ticks, high_ticks: the lowest and highest price of each row.
    """

    __slots__ = ("batch", "end", "first_ns", "first_row", "high", "last_ns", "low", "ts_ns")

    def __init__(self, batch: Batch, ts_ns: I64, low_ticks: I64, high_ticks: I64) -> None:
        self.batch: Batch = batch
        self.first_row = batch.first_row
        self.end = batch.first_row + len(batch)
        self.ts_ns = ts_ns
        self.first_ns, self.last_ns = int(ts_ns[0]), int(ts_ns[-1])
        whole = len(batch) // _BLOCK
        self.low = low_ticks[: whole * _BLOCK].reshape(whole, _BLOCK).min(axis=1)
        self.high = high_ticks[: whole * _BLOCK].reshape(whole, _BLOCK).max(axis=1)


class Tape(Protocol):
    """What a venue model asks of trades and of bars alike. Prices in ticks, times in ns."""

    @property
    def end(self) -> int:
        """Return the first row that is not there yet."""

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int) -> None:
        """Append `batch`, and drop what lies before `now_ns` but for the last price."""

    def scan(self, row: int, stop: int, watch: Watch) -> Found:
        """Search rows [row, stop) for the first event that `watch` names."""

    def follow(self, row: int, stop: int, trail: Trail) -> tuple[int, bool, Trail]:
        """Search rows [row, stop) for the first that may trigger the trail; return it as it is before that row."""

    def seen_ns(self, row: int) -> int:
        """Return when all of the row has happened."""

    def unseen_row(self, now_ns: int) -> int:
        """Return the first row that has not wholly happened by `now_ns`; it may not be there yet."""

    def take_row(self, at_ns: int) -> int:
        """Return the row that an order taking at `at_ns` meets; it may not be there yet."""

    def take(self, row: int, at_ns: int) -> tuple[int, int] | None:
        """Return when and at what price an order that came at `at_ns` takes from `row`, None if it is not there."""

    def rest_row(self, at_ns: int) -> int:
        """Return the first row of which all happens at or after `at_ns`."""

    def last_price(self, at_ns: int) -> int | None:
        """Return the newest price at `at_ns`, None before the first."""


class TradeTape:
    """A tape of trades."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk[TradeBatch]] = []
        self._asked = (-FAR, 0)  # the last search: a time, and the first row at or after it

    @property
    def end(self) -> int:
        """See `Tape`."""
        return self._chunks[-1].end if self._chunks else 0

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int) -> None:
        """See `Tape`."""
        assert isinstance(batch, TradeBatch)
        self._asked = -FAR, 0
        while len(self._chunks) > 1 and self._chunks[1].first_ns < now_ns:
            self._chunks.pop(0)
        if len(batch):
            self._chunks.append(_Chunk(batch, batch.ts_ns, batch.price_ticks, batch.price_ticks))

    def scan(self, row: int, stop: int, watch: Watch) -> Found:
        """See `Tape`: a trade at the bid counts against what is ahead of it if its taker sold."""
        bid_traded = ask_traded = 0
        for chunk in self._chunks:
            if chunk.end <= row or chunk.first_row >= stop:
                continue
            trades = chunk.batch
            index, is_event, bids, asks = _scan_trades(
                trades.price_ticks,
                trades.qty_steps,
                trades.is_buy,
                chunk.low,
                chunk.high,
                max(row - chunk.first_row, 0),
                min(stop, chunk.end) - chunk.first_row,
                watch.falls,
                watch.rises,
                watch.bid,
                watch.bid_ahead - bid_traded,
                watch.ask,
                watch.ask_ahead - ask_traded,
            )
            bid_traded += bids
            ask_traded += asks
            if is_event:
                return Found(chunk.first_row + index, True, bid_traded, ask_traded)
        return Found(max(row, min(stop, self.end)), False, bid_traded, ask_traded)

    def follow(self, row: int, stop: int, trail: Trail) -> tuple[int, bool, Trail]:
        """See `Tape`."""
        peak = trail.peak
        for chunk in self._chunks:
            if chunk.end <= row or chunk.first_row >= stop:
                continue
            prices = chunk.batch.price_ticks
            start, last = max(row - chunk.first_row, 0), min(stop, chunk.end) - chunk.first_row
            index, is_event, peak = _follow(
                prices, prices, chunk.low, chunk.high, start, last, trail.sign, trail.distance, peak, False
            )
            if is_event:
                return chunk.first_row + index, True, Trail(trail.sign, trail.distance, peak)
        return max(row, min(stop, self.end)), False, Trail(trail.sign, trail.distance, peak)

    def seen_ns(self, row: int) -> int:
        """See `Tape`."""
        ts_ns, _ = self._row(row)
        return ts_ns

    def unseen_row(self, now_ns: int) -> int:
        """See `Tape`."""
        return self.take_row(now_ns + 1)

    def trade(self, row: int) -> tuple[int, int, bool]:
        """Return price, quantity and whether the taker bought."""
        trades, index = _find(self._chunks, row)
        return int(trades.price_ticks[index]), int(trades.qty_steps[index]), bool(trades.is_buy[index])

    def take_row(self, at_ns: int) -> int:
        """See `Tape`: the first trade at or after the order's arrival."""
        if self._asked[0] == at_ns:
            return self._asked[1]
        row = self.end
        for chunk in self._chunks:
            if chunk.last_ns >= at_ns:
                row = chunk.first_row + int(chunk.ts_ns.searchsorted(at_ns))
                break
        self._asked = at_ns, row
        return row

    def take(self, row: int, at_ns: int) -> tuple[int, int] | None:
        """See `Tape`."""
        if not self._chunks or not self._chunks[0].first_row <= row < self.end:
            return None
        return self._row(row)

    def rest_row(self, at_ns: int) -> int:
        """See `Tape`."""
        return self.take_row(at_ns)

    def last_price(self, at_ns: int) -> int | None:
        """See `Tape`: of the last trade before `at_ns`."""
        for chunk in reversed(self._chunks):
            if chunk.first_ns < at_ns:
                return int(chunk.batch.price_ticks[chunk.ts_ns.searchsorted(at_ns) - 1])
        return None

    def _row(self, row: int) -> tuple[int, int]:
        trades, index = _find(self._chunks, row)
        return int(trades.ts_ns[index]), int(trades.price_ticks[index])


class BarTape:
    """A tape of bars, where nothing finer is known."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk[BarBatch]] = []
        self._asked = (-FAR, 0)  # the last search: a time, and the first row that opens after it

    @property
    def end(self) -> int:
        """See `Tape`."""
        return self._chunks[-1].end if self._chunks else 0

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int) -> None:
        """See `Tape`."""
        assert isinstance(batch, BarBatch)
        self._asked = -FAR, 0
        while len(self._chunks) > 1 and self._chunks[1].first_ns < now_ns:
            self._chunks.pop(0)
        if len(batch):
            self._chunks.append(_Chunk(batch, batch.open_ns, batch.low_ticks, batch.high_ticks))

    def scan(self, row: int, stop: int, watch: Watch) -> Found:
        """See `Tape`: nobody knows how much traded at a price, so only an `ahead` of 0 is reached by a touch."""
        falls = max(watch.falls, watch.bid if watch.bid_ahead <= 0 else watch.bid - 1)
        rises = min(watch.rises, watch.ask if watch.ask_ahead <= 0 else watch.ask + 1)
        for chunk in self._chunks:
            if chunk.end <= row or chunk.first_row >= stop:
                continue
            bars = chunk.batch
            start, last = max(row - chunk.first_row, 0), min(stop, chunk.end) - chunk.first_row
            index = _scan_bars(bars.low_ticks, bars.high_ticks, chunk.low, chunk.high, start, last, falls, rises)
            if index >= 0:
                return Found(chunk.first_row + index, True)
        return Found(max(row, min(stop, self.end)), False)

    def follow(self, row: int, stop: int, trail: Trail) -> tuple[int, bool, Trail]:
        """See `Tape`: whether a bar triggers it depends on the path through it, so the first that might is returned."""
        peak = trail.peak
        for chunk in self._chunks:
            if chunk.end <= row or chunk.first_row >= stop:
                continue
            bars = chunk.batch
            start, last = max(row - chunk.first_row, 0), min(stop, chunk.end) - chunk.first_row
            index, is_event, peak = _follow(
                bars.low_ticks,
                bars.high_ticks,
                chunk.low,
                chunk.high,
                start,
                last,
                trail.sign,
                trail.distance,
                peak,
                True,
            )
            if is_event:
                return chunk.first_row + index, True, Trail(trail.sign, trail.distance, peak)
        return max(row, min(stop, self.end)), False, Trail(trail.sign, trail.distance, peak)

    def seen_ns(self, row: int) -> int:
        """See `Tape`: the bar's close."""
        bars, index = _find(self._chunks, row)
        return bars.close_at(index)

    def unseen_row(self, now_ns: int) -> int:
        """See `Tape`: the first bar that closes later."""
        return self.take_row(now_ns)

    def open_ns(self, row: int) -> int:
        """Return when the bar begins."""
        bars, index = _find(self._chunks, row)
        return int(bars.open_ns[index])

    def bar(self, row: int) -> tuple[int, int, int, int]:
        """Return open, high, low and close."""
        bars, index = _find(self._chunks, row)
        return (
            int(bars.open_ticks[index]),
            int(bars.high_ticks[index]),
            int(bars.low_ticks[index]),
            int(bars.close_ticks[index]),
        )

    def take_row(self, at_ns: int) -> int:
        """See `Tape`: the bar that the order arrives in, or the next after a hole."""
        if not self._chunks:
            return 0
        return self._first_open_after(at_ns - self._chunks[0].batch.scale_ns)

    def take(self, row: int, at_ns: int) -> tuple[int, int] | None:
        """See `Tape`: at the bar's open, the only price inside it whose time is known."""
        if not self._chunks or not self._chunks[0].first_row <= row < self.end:
            return None
        bars, index = _find(self._chunks, row)
        return max(at_ns, int(bars.open_ns[index])), int(bars.open_ticks[index])

    def rest_row(self, at_ns: int) -> int:
        """See `Tape`."""
        return self._first_open_after(at_ns - 1)

    def last_price(self, at_ns: int) -> int | None:
        """See `Tape`: the open of the bar that `at_ns` falls into, or the close of the last one before it."""
        for chunk in reversed(self._chunks):
            if chunk.first_ns <= at_ns:
                bars = chunk.batch
                index = int(chunk.ts_ns.searchsorted(at_ns, side="right")) - 1
                is_inside = at_ns < bars.close_at(index)
                return int(bars.open_ticks[index] if is_inside else bars.close_ticks[index])
        return None

    def _first_open_after(self, time_ns: int) -> int:
        if self._asked[0] == time_ns:
            return self._asked[1]
        row = self.end
        for chunk in self._chunks:
            if chunk.last_ns > time_ns:
                row = chunk.first_row + int(chunk.ts_ns.searchsorted(time_ns, side="right"))
                break
        self._asked = time_ns, row
        return row


def _find(chunks: Sequence[_Chunk[Batch]], row: int) -> tuple[Batch, int]:
    """Return the batch that holds a row, and the row's index in it."""
    for chunk in chunks:
        if chunk.first_row <= row < chunk.end:
            return chunk.batch, row - chunk.first_row
    raise IndexError(f"row {row} is not on the tape")


@njit(cache=True, nogil=True)
def _scan_trades(  # type: ignore[no-untyped-def]
    price, qty, is_buy, low, high, start, stop, falls, rises, bid, bid_ahead, ask, ask_ahead
):
    """Return where the first event is and True, or where to go on and False; then what traded at bid and ask before."""
    down, up = max(falls, bid), min(rises, ask)
    bid_traded = ask_traded = np.int64(0)
    i = start
    while i < stop:
        if i % _BLOCK == 0 and i + _BLOCK <= stop:
            block = i // _BLOCK
            if low[block] > down and high[block] < up:
                i += _BLOCK
                continue
        p = price[i]
        if p <= down or p >= up:
            if p <= falls or p >= rises or p < bid or p > ask:
                return i, True, bid_traded, ask_traded
            if p == bid and not is_buy[i]:
                if bid_traded + qty[i] > bid_ahead:
                    return i, True, bid_traded, ask_traded
                bid_traded += qty[i]
            elif p == ask and is_buy[i]:
                if ask_traded + qty[i] > ask_ahead:
                    return i, True, bid_traded, ask_traded
                ask_traded += qty[i]
        i += 1
    return i, False, bid_traded, ask_traded


@njit(cache=True, nogil=True)
def _scan_bars(low_ticks, high_ticks, low, high, start, stop, falls, rises):  # type: ignore[no-untyped-def]
    """Return the first bar that reaches down to `falls` or up to `rises`, -1 if none does."""
    i = start
    while i < stop:
        if i % _BLOCK == 0 and i + _BLOCK <= stop:
            block = i // _BLOCK
            if low[block] > falls and high[block] < rises:
                i += _BLOCK
                continue
        if low_ticks[i] <= falls or high_ticks[i] >= rises:
            return i
        i += 1
    return -1


@njit(cache=True, nogil=True)
def _follow(  # type: ignore[no-untyped-def]
    low_ticks, high_ticks, low, high, start, stop, sign, distance, peak, is_range
):
    """Return the first row that reaches the stop, True and the peak before it; or where to go on, False and the peak.

    In rows that are ranges the best price may come before the worst, so the peak counts with the row's own best.
    """
    i = start
    while i < stop:
        if i % _BLOCK == 0 and i + _BLOCK <= stop:
            block = i // _BLOCK
            best = high[block] if sign > 0 else low[block]
            worst = low[block] if sign > 0 else high[block]
            ahead = max(peak * sign, best * sign)
            if worst * sign > ahead - distance:
                peak = ahead * sign
                i += _BLOCK
                continue
        best = high_ticks[i] if sign > 0 else low_ticks[i]
        worst = low_ticks[i] if sign > 0 else high_ticks[i]
        ahead = max(peak * sign, best * sign)
        if worst * sign <= (ahead if is_range else peak * sign) - distance:
            return i, True, peak
        peak = ahead * sign
        i += 1
    return i, False, peak
