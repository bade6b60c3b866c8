"""What the order book says of closed bars: its statistics at each close, and what happened in it since the one before.

`book_statistics` has the formulas.
"""

from typing import Final

import numpy as np
from numba import njit

from bot.core.book_statistics import (
    depth_steps,
    flow_between,
    imbalance,
    is_known,
    microprice_bps,
    mid,
    pressure,
    slopes,
    spread_bps,
)
from bot.domain.market import F64, I64, BarBatch, BookBatch

LEVELS: Final = 10  # a side, for what speaks of the book's depth; a batch must hold as many
FLOW_LEVELS: Final = 5  # a side, for the order flow of several levels

BOOK_COLUMNS: Final[dict[str, str]] = {
    "book_mid": "quote/base",  # at the close, as all without another word
    "book_spread_bps": "bps",
    "book_spread_mean_bps": "bps",  # over the bar, each spread by how long it stood
    "book_microprice_bps": "bps",
    "book_imbalance_1": "1",
    "book_imbalance_5": "1",
    "book_imbalance_10": "1",
    "book_pressure": "1",
    "book_bid_slope": "base/bps",
    "book_ask_slope": "base/bps",
    "book_bid_depth": "base",
    "book_ask_depth": "base",
    "book_ofi_1": "base",  # sum over the bar
    "book_ofi_5": "base",  # sum over the bar and the best five levels
    "book_updates": "1",  # rows of the book within the bar
    "book_age": "s",  # since the last row
    "book_coverage": "1",  # the part of the bar's time in which the book was trusted and had two sides
}
"""What `BookBarScan` says of each bar, with its unit."""


class BookBarScan:
    """What the order book was at the close of each bar, and what happened in it since the close before.

    A bar sees the rows with `ts_ns` before its close that are known by the time at which the bar is. Rows that are
    known later are seen by the next bar: nothing comes from the future, and no order flow is lost. What is summed or
    averaged runs from the close of the bar before, of the first from its open; bars of time leave no room between.

    Rows must be handed over before the bars that may see them. Then neither their cut nor the bars' matters. Rows wait
    in memory for the bar that takes them.
    """

    def __init__(self) -> None:
        self._waiting: list[BookBatch] = []
        self._is_carried = False  # the first row waiting has been taken already: it is the state that goes on
        self._newest = np.full(2, -(2**62), dtype=np.int64)  # ts and known time of the rows taken
        self._closed_ns = -1  # of the last bar, -1 before the first

    def on_book(self, rows: BookBatch) -> None:
        """Learn of the book's next rows."""
        if len(rows):
            self._waiting.append(rows)

    def on_bars(self, bars: BarBatch) -> dict[str, F64]:
        """Return the columns of `BOOK_COLUMNS`, a value for each bar; NaN where nothing is known.

        `book_ofi_*` sum the changes between trusted rows, and are NaN for a bar throughout which none was trusted.
        Columns that need more levels than the rows hold are NaN.
        """
        count = len(bars)
        if not count or not self._waiting:
            self._closed_ns = int(bars.close_ns[-1]) if count else self._closed_ns
            return {name: np.full(count, np.nan) for name in BOOK_COLUMNS}
        rows = BookBatch.join(self._waiting)
        last_row = np.empty(count, dtype=np.int64)
        flows = np.zeros((2, count), dtype=np.int64)
        counts = np.zeros(count, dtype=np.int64)
        columns = np.full((4, count), np.nan)  # mean spread, age, coverage, whether the flow is known
        taken = _fold_bars(
            rows.ts_ns,
            rows.known_ns,
            rows.is_trusted,
            rows.bid_ticks,
            rows.bid_steps,
            rows.ask_ticks,
            rows.ask_steps,
            min(FLOW_LEVELS, rows.depth),
            self._is_carried,
            bars.open_ns,
            bars.close_ns,
            bars.known_ns,
            self._closed_ns,
            self._newest,
            last_row,
            flows,
            counts,
            columns,
        )
        self._closed_ns = int(bars.close_ns[-1])
        self._is_carried = taken > 0
        self._waiting = [rows.rows(max(0, taken - 1), len(rows))]
        return self._columns(rows, last_row, flows, counts, columns)

    @staticmethod
    def _columns(rows: BookBatch, last_row: I64, flows: I64, counts: I64, columns: F64) -> dict[str, F64]:
        made = _at_close(rows, last_row)
        spread, age, coverage, has_flow = columns
        qtys = rows.instrument.qtys
        made["book_spread_mean_bps"] = spread
        made["book_ofi_1"] = np.where(has_flow == 1, qtys(flows[0]), np.nan)
        is_deep = rows.depth >= FLOW_LEVELS
        made["book_ofi_5"] = np.where((has_flow == 1) & is_deep, qtys(flows[1]), np.nan)
        made["book_updates"] = np.where(last_row >= 0, counts.astype(np.float64), np.nan)
        made["book_age"] = age
        made["book_coverage"] = coverage
        return {name: made[name] for name in BOOK_COLUMNS}


def _at_close(rows: BookBatch, last_row: I64) -> dict[str, F64]:
    """Return the statistics of the rows named, NaN for those numbered -1."""
    states = BookBatch(
        instrument=rows.instrument,
        first_row=0,
        ts_ns=rows.ts_ns[last_row],
        known_ns=rows.known_ns[last_row],
        update=rows.update[last_row],
        bid_ticks=rows.bid_ticks[last_row],
        bid_steps=rows.bid_steps[last_row],
        ask_ticks=rows.ask_ticks[last_row],
        ask_steps=rows.ask_steps[last_row],
        is_trusted=rows.is_trusted[last_row] & (last_row >= 0),
    )
    made = {
        "book_mid": mid(states),
        "book_spread_bps": spread_bps(states),
        "book_microprice_bps": microprice_bps(states),
    }
    nothing = np.full(len(last_row), np.nan)
    for levels in (1, 5, 10):
        made[f"book_imbalance_{levels}"] = imbalance(states, levels) if rows.depth >= levels else nothing
    deep = ("book_pressure", "book_bid_slope", "book_ask_slope", "book_bid_depth", "book_ask_depth")
    if rows.depth < LEVELS:
        return made | dict.fromkeys(deep, nothing)
    known = is_known(states)
    depths = (np.where(known, rows.instrument.qtys(steps), np.nan) for steps in depth_steps(states, LEVELS))
    return made | dict(zip(deep, (pressure(states, LEVELS), *slopes(states, LEVELS), *depths), strict=True))


@njit(cache=True, nogil=True)
def _fold_bars(  # type: ignore[no-untyped-def]
    ts_ns,
    known_ns,
    is_trusted,
    bid_ticks,
    bid_steps,
    ask_ticks,
    ask_steps,
    flow_levels,
    is_carried,
    open_ns,
    close_ns,
    bar_known_ns,
    closed_ns,
    newest,
    last_row,
    flows,
    counts,
    columns,
):
    """Take rows for each bar; return how many rows of these have been taken, the carried one included."""
    row = 1 if is_carried else 0  # the next to take
    was_known, spread = False, 0.0  # of the row before
    if is_carried:
        was_known, spread = _state(is_trusted, bid_ticks, bid_steps, ask_ticks, ask_steps, 0)
    for bar in range(open_ns.size):
        is_first = closed_ns < 0
        start = open_ns[bar] if is_first else closed_ns
        close = close_ns[bar]
        since = start  # until when the time is accounted for
        weighted = covered = 0.0
        has_flow = False
        while row < ts_ns.size:
            ts, learned = max(ts_ns[row], newest[0]), max(known_ns[row], newest[1])
            if ts >= close or learned > bar_known_ns[bar]:
                break
            newest[0], newest[1] = ts, learned
            now_known, spread_now = _state(is_trusted, bid_ticks, bid_steps, ask_ticks, ask_steps, row)
            if ts >= start or not is_first:
                at = max(ts, since)
                if was_known:
                    weighted += spread * np.float64(at - since)
                    covered += np.float64(at - since)
                since = at
                counts[bar] += 1
                if was_known and now_known:
                    has_flow = True
                    for m in range(flow_levels):
                        flow = flow_between(bid_ticks, bid_steps, ask_ticks, ask_steps, row, m)
                        flows[1, bar] += flow
                        if m == 0:
                            flows[0, bar] += flow
            was_known, spread = now_known, spread_now
            row += 1
        last_row[bar] = row - 1
        if row > 0:
            if was_known:
                weighted += spread * np.float64(close - since)
                covered += np.float64(close - since)
            if covered > 0:
                columns[0, bar] = weighted / covered
            elif was_known:
                columns[0, bar] = spread  # a bar without length: two ended at one time
            columns[1, bar] = np.float64(close - newest[0]) / 1e9
            columns[2, bar] = covered / np.float64(close - start) if close > start else np.float64(was_known)
            columns[3, bar] = 1.0 if has_flow or was_known or covered > 0 else 0.0
        closed_ns = close
    return row


@njit(cache=True, nogil=True)
def _state(is_trusted, bid_ticks, bid_steps, ask_ticks, ask_steps, row):  # type: ignore[no-untyped-def]
    """Return whether a row is known, and its spread in basis points."""
    if not is_trusted[row] or bid_steps[row, 0] <= 0 or ask_steps[row, 0] <= 0:
        return False, 0.0
    bid, ask = bid_ticks[row, 0], ask_ticks[row, 0]
    return True, 2e4 * np.float64(ask - bid) / np.float64(bid + ask)
