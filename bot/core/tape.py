"""The market's recent past and near future as a simulated venue sees it: columns that run ahead of the clock.

Rows are numbered through the whole stream. Chunks the clock has left behind are dropped; a row that has not been read
yet is simply not there.
"""

from typing import Protocol

from numba import njit

from bot.domain.market import I64, BarBatch, TradeBatch


class Tape(Protocol):
    """What matching asks of trades and of bars alike. Prices in ticks, times in ns."""

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int) -> None:
        """Append `batch`, and drop what lies before `now_ns` but for the last price."""

    def take_row(self, at_ns: int) -> int:
        """Return the row that an order taking at `at_ns` meets; it may not be there yet."""

    def take(self, row: int, at_ns: int) -> tuple[int, int] | None:
        """Return when and at what price an order that came at `at_ns` takes from `row`, None if it is not there."""

    def rest_row(self, at_ns: int) -> int:
        """Return the first row that can trade through an order resting since `at_ns`."""

    def find_through(self, row: int, limit_ticks: int, *, is_buy: bool) -> tuple[int, bool]:
        """Return the first row from `row` on that trades beyond the limit, and True; or where to go on, and False."""

    def through_ns(self, row: int) -> int:
        """Return when it is certain that `row` traded through."""

    def last_price(self, at_ns: int) -> int | None:
        """Return the newest price at `at_ns`, None before the first."""


class TradeTape:
    """A tape of trades."""

    def __init__(self) -> None:
        self._chunks: list[TradeBatch] = []

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int) -> None:
        """See `Tape`."""
        assert isinstance(batch, TradeBatch)
        while len(self._chunks) > 1 and self._chunks[1].ts_ns[0] < now_ns:
            self._chunks.pop(0)
        if len(batch):
            self._chunks.append(batch)

    def take_row(self, at_ns: int) -> int:
        """See `Tape`: the first trade at or after the order's arrival."""
        for chunk in self._chunks:
            if chunk.ts_ns[-1] >= at_ns:
                return chunk.first_row + int(chunk.ts_ns.searchsorted(at_ns))
        return self._end()

    def take(self, row: int, at_ns: int) -> tuple[int, int] | None:
        """See `Tape`."""
        for chunk in self._chunks:
            index = row - chunk.first_row
            if 0 <= index < len(chunk):
                return int(chunk.ts_ns[index]), int(chunk.price_ticks[index])
        return None

    def rest_row(self, at_ns: int) -> int:
        """See `Tape`."""
        return self.take_row(at_ns)

    def find_through(self, row: int, limit_ticks: int, *, is_buy: bool) -> tuple[int, bool]:
        """See `Tape`."""
        for chunk in self._chunks:
            start = max(row - chunk.first_row, 0)
            if start < len(chunk):
                index = _first_beyond(chunk.price_ticks, start, limit_ticks, is_buy)
                if index >= 0:
                    return chunk.first_row + index, True
        return max(row, self._end()), False

    def through_ns(self, row: int) -> int:
        """See `Tape`."""
        taken = self.take(row, 0)
        assert taken is not None
        return taken[0]

    def last_price(self, at_ns: int) -> int | None:
        """See `Tape`: of the last trade before `at_ns`."""
        for chunk in reversed(self._chunks):
            if chunk.ts_ns[0] < at_ns:
                return int(chunk.price_ticks[chunk.ts_ns.searchsorted(at_ns) - 1])
        return None

    def _end(self) -> int:
        return self._chunks[-1].first_row + len(self._chunks[-1]) if self._chunks else 0


class BarTape:
    """A tape of bars, where nothing finer is known."""

    def __init__(self) -> None:
        self._chunks: list[BarBatch] = []

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int) -> None:
        """See `Tape`."""
        assert isinstance(batch, BarBatch)
        while len(self._chunks) > 1 and self._chunks[1].open_ns[0] < now_ns:
            self._chunks.pop(0)
        if len(batch):
            self._chunks.append(batch)

    def take_row(self, at_ns: int) -> int:
        """See `Tape`: the bar that the order arrives in, or the next after a hole."""
        return self._first_open_after(at_ns, -self._scale_ns())

    def take(self, row: int, at_ns: int) -> tuple[int, int] | None:
        """See `Tape`: at the bar's open, the only price inside it whose time is known."""
        found = self._find(row)
        if found is None:
            return None
        chunk, index = found
        return max(at_ns, int(chunk.open_ns[index])), int(chunk.open_ticks[index])

    def rest_row(self, at_ns: int) -> int:
        """See `Tape`: what the bar of the arrival did after it is not known, so it does not count."""
        return self._first_open_after(at_ns, -1)

    def find_through(self, row: int, limit_ticks: int, *, is_buy: bool) -> tuple[int, bool]:
        """See `Tape`."""
        for chunk in self._chunks:
            start = max(row - chunk.first_row, 0)
            if start < len(chunk):
                prices = chunk.low_ticks if is_buy else chunk.high_ticks
                index = _first_beyond(prices, start, limit_ticks, is_buy)
                if index >= 0:
                    return chunk.first_row + index, True
        return max(row, self._end()), False

    def through_ns(self, row: int) -> int:
        """See `Tape`: the bar's close."""
        found = self._find(row)
        assert found is not None
        chunk, index = found
        return int(chunk.open_ns[index]) + chunk.scale_ns

    def last_price(self, at_ns: int) -> int | None:
        """See `Tape`: the open of the bar that `at_ns` falls into, or the close of the last one before it."""
        for chunk in reversed(self._chunks):
            if chunk.open_ns[0] <= at_ns:
                index = int(chunk.open_ns.searchsorted(at_ns, side="right")) - 1
                is_inside = at_ns < chunk.open_ns[index] + chunk.scale_ns
                return int(chunk.open_ticks[index] if is_inside else chunk.close_ticks[index])
        return None

    def _find(self, row: int) -> tuple[BarBatch, int] | None:
        for chunk in self._chunks:
            index = row - chunk.first_row
            if 0 <= index < len(chunk):
                return chunk, index
        return None

    def _first_open_after(self, at_ns: int, offset_ns: int) -> int:
        """Return the first row whose open is later than `at_ns` + `offset_ns`."""
        for chunk in self._chunks:
            if chunk.open_ns[-1] > at_ns + offset_ns:
                return chunk.first_row + int(chunk.open_ns.searchsorted(at_ns + offset_ns, side="right"))
        return self._end()

    def _scale_ns(self) -> int:
        return self._chunks[0].scale_ns if self._chunks else 0

    def _end(self) -> int:
        return self._chunks[-1].first_row + len(self._chunks[-1]) if self._chunks else 0


@njit(cache=True, nogil=True)
def _first_beyond(prices: I64, start: int, limit: int, is_buy: bool) -> int:
    for i in range(start, prices.size):
        if (prices[i] < limit) if is_buy else (prices[i] > limit):
            return i
    return -1
