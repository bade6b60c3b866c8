"""Moves that were taken back at once: suspect prices, which may be real.

How large an ordinary move is, is measured block by block, and blocks are counted from the first row: that, and every
price found suspect, is the same however the rows came cut.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bot.core.data_quality.findings import Limits, Tally, number
from bot.domain.market import F64, I64

_AROUND = 10  # trades on either side that say what the price was


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Window:
    """Rows `start` to `stop` to be judged, with the rows around them."""

    row: int  # number of the columns' first row
    columns: list[NDArray[Any]]
    start: int
    stop: int
    is_last: bool


class _Blocks:
    """Whole blocks of rows, each with so many rows before and after it as there are, up to a number."""

    def __init__(self, rows: int, *, before: int, after: int) -> None:
        self._rows, self._before, self._after = rows, before, after
        self._columns: list[NDArray[Any]] = []
        self._row = 0
        self._lead = 0  # rows before the next block

    def add(self, columns: list[NDArray[Any]]) -> _Window | None:
        if self._columns:
            columns = [np.concatenate(pair) for pair in zip(self._columns, columns, strict=True)]
        self._columns = columns
        blocks = (len(columns[0]) - self._lead - self._after) // self._rows
        if blocks <= 0:
            return None
        stop = self._lead + blocks * self._rows
        window = _Window(row=self._row, columns=columns, start=self._lead, stop=stop, is_last=False)
        cut = max(0, stop - self._before)
        self._columns = [column[cut:].copy() for column in columns]
        self._row += cut
        self._lead = stop - cut
        return window

    def finish(self) -> _Window | None:
        if not self._columns or len(self._columns[0]) == self._lead:
            return None
        stop = len(self._columns[0])
        return _Window(row=self._row, columns=self._columns, start=self._lead, stop=stop, is_last=True)


def _usual(sizes: F64, window: _Window, rows: int) -> Any:
    """Return for each row to be judged what nine of ten rows of its block stay below."""
    if window.is_last:
        last = sizes[max(0, window.stop - rows) : window.stop]
        return np.partition(last, len(last) * 9 // 10)[len(last) * 9 // 10]
    blocks = sizes[window.start : window.stop].reshape(-1, rows)
    return np.repeat(np.partition(blocks, rows * 9 // 10, axis=1)[:, rows * 9 // 10], rows)


class BarSpikes:
    """Bars whose high or low stands far out of their body, and closes that the next bar takes back.

    Attributes:
        suspects: by the size of the move.
        steps: closes that changed by a large factor and stayed there.
    """

    def __init__(self, limits: Limits) -> None:
        self.suspects = Tally(limits.examples)
        self.steps = Tally(limits.examples)
        self._limits = limits
        self._blocks = _Blocks(limits.block_rows, before=limits.block_rows + 1, after=1)

    def add(self, ts_ns: I64, body_high: F64, high: F64, body_low: F64, low: F64, close: F64) -> None:
        """Take the next bars; the body lies between open and close."""
        self._judge(self._blocks.add([ts_ns, body_high, high, body_low, low, close]))

    def finish(self) -> None:
        """Judge the rows that still waited for the end of their block."""
        self._judge(self._blocks.finish())

    def _judge(self, window: _Window | None) -> None:
        if window is None:
            return
        limits = self._limits
        ts_ns, body_high, high, body_low, low, close = window.columns
        before, after = np.append(close[:1], close[:-1]), np.append(close[1:], close[-1:])
        away = _apart(close, before)
        above = np.where(high > body_high, _apart(high, body_high), 0.0)
        below = np.where(low < body_low, _apart(low, body_low), 0.0)
        is_known = (close > 0) & (before > 0) & (after > 0)
        is_taken_back = np.abs(after - before) <= (1 - limits.spike_taken_back) * np.abs(close - before)
        is_taken_back &= is_known
        away_back = np.where(is_taken_back, away, 0.0)
        size = np.maximum(np.maximum(above, below), away_back)
        here = slice(window.start, window.stop)
        least = np.maximum(limits.spike_ratio * _usual(away, window, limits.block_rows), limits.bar_spike_min)

        def suspect(i: int) -> str:
            i += window.start
            if away_back[i] >= max(above[i], below[i]):
                return f"close {number(close[i])} between {number(before[i])} and {number(after[i])}"
            if above[i] >= below[i]:
                return f"high {number(high[i])} over open and close up to {number(body_high[i])}"
            return f"low {number(low[i])} under open and close down to {number(body_low[i])}"

        first_row = window.row + window.start
        self.suspects.add(size[here] > least, first_row, ts_ns[here], suspect, size[here])
        # A move that takes back the one before it is that one's other half.
        stays = is_known & ~is_taken_back & ~np.append(False, is_taken_back[:-1])
        self.steps.add(
            (stays & (away >= limits.step_factor - 1))[here],
            first_row,
            ts_ns[here],
            lambda i: f"close {number(close[window.start + i])} after {number(before[window.start + i])}",
            away[here],
        )


class TradeSpikes:
    """Trades far from the middle of the trades around them: so a price that stays is none.

    Attributes:
        suspects: by the distance.
    """

    def __init__(self, limits: Limits) -> None:
        self.suspects = Tally(limits.examples)
        self._limits = limits
        self._blocks = _Blocks(limits.block_rows, before=limits.block_rows + 2 * _AROUND, after=_AROUND)

    def add(self, ts_ns: I64, price: F64) -> None:
        """Take the next trades."""
        self._judge(self._blocks.add([ts_ns, price]))

    def finish(self) -> None:
        """Judge the rows that still waited for the end of their block."""
        self._judge(self._blocks.finish())

    def _judge(self, window: _Window | None) -> None:
        if window is None:
            return
        limits = self._limits
        ts_ns, price = window.columns
        middle = _middles(price)
        sizes = _apart(price, middle)
        usual = _usual(sizes, window, limits.block_rows)
        here = slice(window.start, window.stop)
        least = np.maximum(limits.spike_ratio * usual, limits.trade_spike_min)
        self.suspects.add(
            sizes[here] > least,
            window.row + window.start,
            ts_ns[here],
            lambda i: f"{number(price[window.start + i])} among trades at {number(middle[window.start + i])}",
            sizes[here],
        )


def _middles(price: F64) -> F64:
    """Return the median of the trades around each; near an end, of as many from that end."""
    width = 2 * _AROUND + 1
    if len(price) < width:
        return np.full(len(price), np.partition(price, len(price) // 2)[len(price) // 2])
    inner = np.partition(sliding_window_view(price, width), _AROUND, axis=1)[:, _AROUND]
    ends = np.full(_AROUND, inner[0]), np.full(_AROUND, inner[-1])
    return np.concatenate([ends[0], inner, ends[1]])


def _apart(left: F64, right: F64) -> F64:
    """Return by how much the larger price exceeds the smaller, as a fraction of it: 1 is a factor of two."""
    apart = np.ones(len(left))
    np.divide(np.maximum(left, right), np.minimum(left, right), out=apart, where=np.minimum(left, right) > 0)
    return apart - 1
