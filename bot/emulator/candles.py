"""Candles: one-minute bars kept as columns, folded into any interval when they are asked for."""

from typing import Final, NamedTuple

import numpy as np

from bot.domain.market import I64, TradeBatch
from bot.emulator.wire import MS_NS

MINUTE_MS: Final = 60_000
DAY_MS: Final = 1440 * MINUTE_MS
_MONDAY_MS: Final = 4 * DAY_MS  # 1970-01-05

INTERVALS: Final = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")


class Candle(NamedTuple):
    """One candle. Ticks and steps; turnover is ticks times steps."""

    start_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int


_START, _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _TURNOVER = range(7)


class Candles:
    """The candles of one instrument, fed with its trades in order; minutes without trades are flat."""

    def __init__(self) -> None:
        self.version = 0  # rises with every change
        self._rows: I64 = np.empty((7, 1024), dtype=np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, trades: TradeBatch) -> None:
        """Fold trades in."""
        if not len(trades):
            return
        self.version += 1
        minute = trades.ts_ns // MS_NS // MINUTE_MS * MINUTE_MS
        starts = np.flatnonzero(np.diff(minute, prepend=-1))
        ends = np.append(starts[1:], len(minute)) - 1
        price, qty = trades.price_ticks, trades.qty_steps
        folded = np.stack(
            [
                minute[starts],
                price[starts],
                np.maximum.reduceat(price, starts),
                np.minimum.reduceat(price, starts),
                price[ends],
                np.add.reduceat(qty, starts),
                np.add.reduceat(price * qty, starts),
            ]
        )
        first = 0
        if self._count and folded[_START, 0] <= self._rows[_START, self._count - 1]:
            last = self._rows[:, self._count - 1]
            last[_HIGH] = max(last[_HIGH], folded[_HIGH, 0])
            last[_LOW] = min(last[_LOW], folded[_LOW, 0])
            last[_CLOSE] = folded[_CLOSE, 0]
            last[_VOLUME] += folded[_VOLUME, 0]
            last[_TURNOVER] += folded[_TURNOVER, 0]
            first = 1
        self._append(folded[:, first:])

    def fill(self, now_ms: int) -> None:
        """Add flat candles for the minutes that have begun by `now_ms`, once anything has traded."""
        if self._count:
            begun = now_ms // MINUTE_MS * MINUTE_MS
            if begun > self._rows[_START, self._count - 1]:
                self.version += 1
                self._append(np.empty((7, 0), dtype=np.int64), up_to=begun + MINUTE_MS)

    def page(self, interval: str, *, start_ms: int | None, end_ms: int | None, limit: int, now_ms: int) -> list[Candle]:
        """Return candles, the newest first: those whose interval holds or follows `start_ms`, up to `end_ms`.

        With a start alone they are counted from it, else from the end: of more than `limit` the newest are returned.
        """
        newest = bucket(interval, min(now_ms, now_ms if end_ms is None else end_ms))
        if start_ms is None:
            oldest = step(interval, newest, 1 - limit)
        else:
            oldest = bucket(interval, start_ms)
            if end_ms is None:
                newest = min(newest, step(interval, oldest, limit - 1))
            else:
                oldest = max(oldest, step(interval, newest, 1 - limit))
        rows = self._rows[:, : self._count]
        first, last = np.searchsorted(rows[_START], [oldest, step(interval, newest, 1)])
        return fold(interval, rows[:, first:last])[::-1]

    def at(self, interval: str, at_ms: int) -> Candle | None:
        """Return the candle that holds a time, as far as it is known."""
        rows = self._rows[:, : self._count]
        start = bucket(interval, at_ms)
        first = int(np.searchsorted(rows[_START], start))
        last = int(np.searchsorted(rows[_START], at_ms, side="right"))
        if first >= last:
            return None
        inside = rows[:, first:last]
        return Candle(
            start,
            int(inside[_OPEN, 0]),
            int(inside[_HIGH].max()),
            int(inside[_LOW].min()),
            int(inside[_CLOSE, -1]),
            int(inside[_VOLUME].sum()),
            int(inside[_TURNOVER].sum()),
        )

    def window(self, from_ms: int, to_ms: int) -> Candle | None:
        """Return all minutes within [from_ms, to_ms) as one candle, None without any."""
        rows = self._rows[:, : self._count]
        first, last = np.searchsorted(rows[_START], [from_ms, to_ms])
        if first >= last:
            return None
        inside = rows[:, first:last]
        return Candle(
            int(inside[_START, 0]),
            int(inside[_OPEN, 0]),
            int(inside[_HIGH].max()),
            int(inside[_LOW].min()),
            int(inside[_CLOSE, -1]),
            int(inside[_VOLUME].sum()),
            int(inside[_TURNOVER].sum()),
        )

    def _append(self, folded: I64, up_to: int | None = None) -> None:
        """Append minutes, with flat ones in every hole before them and, without any, before `up_to`."""
        if not folded.shape[1] and up_to is None:
            return
        if self._count:
            begin = int(self._rows[_START, self._count - 1]) + MINUTE_MS
        else:
            begin = int(folded[_START, 0])
        end = int(folded[_START, -1]) + MINUTE_MS if up_to is None else up_to
        starts = np.arange(begin, end, MINUTE_MS, dtype=np.int64)
        needed = self._count + len(starts)
        if needed > self._rows.shape[1]:
            grown = np.empty((7, max(needed, 2 * self._rows.shape[1])), dtype=np.int64)
            grown[:, : self._count] = self._rows[:, : self._count]
            self._rows = grown
        added = self._rows[:, self._count : needed]
        # The close before each minute: of the newest minute with trades that is not after it.
        index = np.searchsorted(folded[_START], starts, side="right") - 1
        before = int(self._rows[_CLOSE, self._count - 1]) if self._count else 0
        closes = np.append(folded[_CLOSE], before)[index]
        added[:] = 0
        added[_START] = starts
        added[_OPEN : _CLOSE + 1] = closes
        at = np.searchsorted(starts, folded[_START])
        added[:, at] = folded
        self._count = needed


def bucket(interval: str, at_ms: int) -> int:
    """Return the start of the candle that holds a time."""
    return int(_buckets(interval, np.array([at_ms]))[0])


def step(interval: str, start_ms: int, count: int) -> int:
    """Return the start of the candle that is `count` after the one that starts at `start_ms`."""
    if interval == "M":
        month = np.datetime64(start_ms, "ms").astype("datetime64[M]") + count
        return int(month.astype("datetime64[ms]").astype(np.int64))
    return start_ms + count * _length_ms(interval)


def fold(interval: str, rows: I64) -> list[Candle]:
    """Return minutes folded into candles, the oldest first."""
    if not rows.shape[1]:
        return []
    begun = _buckets(interval, rows[_START])
    starts = np.flatnonzero(np.diff(begun, prepend=-1))
    ends = np.append(starts[1:], len(begun)) - 1
    columns = [
        begun[starts],
        rows[_OPEN, starts],
        np.maximum.reduceat(rows[_HIGH], starts),
        np.minimum.reduceat(rows[_LOW], starts),
        rows[_CLOSE, ends],
        np.add.reduceat(rows[_VOLUME], starts),
        np.add.reduceat(rows[_TURNOVER], starts),
    ]
    return [Candle(*row) for row in np.stack(columns, axis=1).tolist()]


def _buckets(interval: str, times_ms: I64) -> I64:
    if interval == "M":
        months = times_ms.astype("datetime64[ms]").astype("datetime64[M]")
        begun: I64 = months.astype("datetime64[ms]").astype(np.int64)
        return begun
    offset = _MONDAY_MS if interval == "W" else 0
    length = _length_ms(interval)
    return (times_ms - offset) // length * length + offset


def _length_ms(interval: str) -> int:
    return 7 * DAY_MS if interval == "W" else DAY_MS if interval == "D" else int(interval) * MINUTE_MS
