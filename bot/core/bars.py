"""Trades, or smaller bars, to closed bars of every time scale, in one pass.

The rules, each with its test in `tests/unit/test_bars*.py`:

* Intervals are half open, [open, open + scale), and aligned to the epoch: a trade exactly on a minute opens it.
* A bar closes when the watermark (the newest trade time seen, or an explicit one) reaches its close plus `lateness`,
  and it is known from exactly then on. Until then trades still join it in any order; its open is the price of the
  earliest trade, its close that of the latest (of equal times the first and the last to arrive).
* A trade whose interval has closed is late: it changes no bar and is counted.
* An interval without trades becomes a flat bar at the previous close, marked EMPTY. Nothing precedes the first trade.
* A hole in a source of bars becomes flat bars marked EMPTY | GAP. A hole longer than `gap_max` is an error.
* A coarser bar is made of its smaller ones, so sixty 1 s bars are exactly the 1 m bar: EMPTY ones count for nothing
  unless all are, and one GAP or PARTIAL makes it PARTIAL. A coarser bar whose beginning the source does not cover is
  not made at all; nor is one that the source's end cuts off.

Bars that the market closes rather than the clock are made beside them, of trades alone: see `core.event_bars`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from bot.core.bar_folds import (
    BUY,
    CLOSE,
    COUNT,
    FLAGS,
    HIGH,
    LOW,
    OPEN,
    OPEN_NS,
    TURNOVER,
    TURNOVER_MAX,
    VOLUME,
    Folds,
    GapFiller,
    refuse_hole,
    refuse_overflow,
)
from bot.core.bar_repair import KLINE_COLUMNS, Tail, kline_table, repair
from bot.core.durations import format_duration
from bot.core.event_bars import EventBarScan
from bot.core.event_rules import parse_event_rule
from bot.domain.instrument import Instrument
from bot.domain.market import EMPTY, I64, BarBatch, EventBarBatch, MarketSlab, TradeBatch, TradeHole

_NO_KLINES = np.empty((KLINE_COLUMNS, 0), dtype=np.int64)
_NOTHING_KNOWN = np.array([-1, 0, 0, 0, -1], dtype=np.int64)
_FIRST_TS, _LAST_TS = 9, 10  # of the accumulators only: when the open and the close traded


class BarAggregator:
    """Fold the market of one instrument into closed bars of every scale.

    Args:
        instrument: what the batches are of.
        scales_ns: the bars' lengths, each a multiple of the smallest part it is built from.
        lateness_ns: how long after its close a bar stays open for late trades.
        gap_max_ns: the longest stretch without a row that is filled with flat bars.
        source_scale_ns: the length of the source's bars; None where the source is trades.
        event_rules: what closes the bars that the clock does not, such as "volume:100"; only of trades.
        repair_ns: the length of the source's own bars that `warm_up` and `on_hole` will be given; None for none.

    Raises:
        ValueError: a scale is not positive, or not a multiple of the source's bars; a rule is none, or cannot be
            followed without trades.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        scales_ns: Sequence[int],
        lateness_ns: int,
        gap_max_ns: int,
        source_scale_ns: int | None = None,
        event_rules: Sequence[str] = (),
        repair_ns: int | None = None,
    ) -> None:
        if not scales_ns or min(scales_ns) <= 0:
            raise ValueError(f"time scales must be positive and not none: {list(scales_ns)}")
        self._base_ns = source_scale_ns or math.gcd(*scales_ns)
        for scale_ns in scales_ns:
            if scale_ns % self._base_ns:
                made, source = format_duration(scale_ns), format_duration(self._base_ns)
                raise ValueError(f"{made} bars cannot be made of {source} bars; ask for multiples of {source}")
        if event_rules and source_scale_ns:
            source = format_duration(source_scale_ns)
            raise ValueError(
                f"{event_rules[0]} bars are made of trades, and {instrument.name} has {source} bars; give it a source "
                "of trades, or ask for lengths alone"
            )
        events = [EventBarScan(instrument, parse_event_rule(rule), lateness_ns=lateness_ns) for rule in event_rules]
        self._events = {event.rule: event for event in events}
        self._instrument = instrument
        self._lateness_ns = lateness_ns
        self._trades = _TradeScan(self._base_ns, lateness_ns, gap_max_ns)
        self._filler = GapFiller(self._base_ns, gap_max_ns)
        self._folds = Folds(instrument, sorted(set(scales_ns)), self._base_ns, lateness_ns)
        self._gap_max_ns = gap_max_ns
        self._tail = Tail(repair_ns) if repair_ns is not None and repair_ns % self._base_ns == 0 else None

    @property
    def late_count(self) -> int:
        """Return how many trades came too late for their bar so far."""
        return self._trades.late_count

    def on_trades(self, batch: TradeBatch) -> MarketSlab:
        """Return the bars that `batch` closes, with the trades themselves.

        Raises:
            DataError: the batch would need flat bars over more than the longest gap allowed.
        """
        late_before = self._trades.late_count
        base = self._trades.scan(batch)
        return MarketSlab(
            instrument=self._instrument,
            watermark_ns=self._trades.watermark_ns,
            trades=batch,
            bars=self._fold(base),
            event_bars=self._scan_events(batch),
            late_trades=self._trades.late_count - late_before,
        )

    def on_bars(self, batch: BarBatch) -> MarketSlab:
        """Return the bars that the source's own smaller bars close, with those themselves.

        Raises:
            DataError: a hole in the source is longer than the longest gap allowed.
        """
        base, next_open_ns = self._filler.fill(batch)
        return MarketSlab(
            instrument=self._instrument,
            watermark_ns=next_open_ns + self._lateness_ns,
            base_bars=batch,
            bars=self._folds.fold(base),
        )

    def on_watermark(self, watermark_ns: int) -> MarketSlab:
        """Return the bars that close because no trade before `watermark_ns` will come any more."""
        base = self._trades.close_until(self._instrument, watermark_ns)
        for event in self._events.values():
            event.pass_watermark(watermark_ns)
        return MarketSlab(instrument=self._instrument, watermark_ns=watermark_ns, bars=self._fold(base))

    def warm_up(self, klines: BarBatch) -> MarketSlab:
        """Return the bars that the source's own bars of the past make; trades go on where those end.

        Only before the first trade. Scales that are no multiple of the source's bars begin with the trades.

        Raises:
            DataError: a hole among them is longer than the longest gap allowed.
            ValueError: trades came before.
        """
        if self._trades.has_begun or self._tail is None:
            raise ValueError("only an aggregator that repairs holes is warmed up, and before the first trade")
        if klines.scale_ns != self._tail.length_ns:
            raise ValueError(f"bars of {format_duration(klines.scale_ns)} are not what holes are repaired with")
        base, next_open_ns = GapFiller(klines.scale_ns, self._gap_max_ns).fill(klines)
        bars = self._folds.fold_coarse(base, klines.scale_ns)
        if base.shape[1]:
            self._trades.begin(next_open_ns, int(base[CLOSE, -1]))
        return MarketSlab(
            instrument=self._instrument,
            watermark_ns=self._trades.watermark_ns,
            base_bars=klines,
            bars=bars,
        )

    def on_hole(self, hole: TradeHole) -> MarketSlab:
        """Return the bars up to the end of a stretch in which trades were lost, put right as far as is known.

        Raises:
            DataError: the stretch is longer than the longest gap allowed.
        """
        late_before = self._trades.late_count
        close = self._trades.last_close
        base = self._trades.scan(hole.trades)
        rest = self._trades.close_until(self._instrument, hole.until_ns + self._lateness_ns)
        base = np.concatenate([base, rest], axis=1)
        table, length_ns, known = _NO_KLINES, self._base_ns, _NOTHING_KNOWN
        if hole.klines is not None and self._tail is not None and hole.klines.scale_ns % self._base_ns == 0:
            table, length_ns, known = kline_table(hole.klines), hole.klines.scale_ns, self._tail.known
            if known[4] < 0 or hole.from_ns < known[4] + self._base_ns:
                self._folds.correct(table, length_ns)
        if base.shape[1]:
            self._trades.last_close = repair(
                base, self._base_ns, hole.from_ns, hole.to_ns, table, length_ns, known, close
            )
        for event in self._events.values():
            event.lose(hole.to_ns)
            event.pass_watermark(hole.until_ns)
        bars = self._fold(base)
        return MarketSlab(
            instrument=self._instrument,
            watermark_ns=self._trades.watermark_ns,
            trades=hole.trades if len(hole.trades) else None,
            bars=bars,
            event_bars=self._scan_events(hole.trades),
            late_trades=self._trades.late_count - late_before,
        )

    def _fold(self, base: I64) -> dict[int, BarBatch]:
        if self._tail is not None:
            self._tail.pass_on(base)
        return self._folds.fold(base)

    def _scan_events(self, batch: TradeBatch) -> dict[str, EventBarBatch]:
        made = {rule: event.scan(batch) for rule, event in self._events.items()}
        return {rule: bars for rule, bars in made.items() if len(bars)}


class _TradeScan:
    """Trades to contiguous bars of the base length."""

    def __init__(self, base_ns: int, lateness_ns: int, gap_max_ns: int) -> None:
        slots = lateness_ns // base_ns + 2  # so many intervals may be open at once
        self._base_ns = base_ns
        self._lateness_ns = lateness_ns
        self._gap_max_ns = gap_max_ns
        self._open = np.zeros((slots, 11), dtype=np.int64)
        self._value = np.zeros(slots)  # turnover once more, as a float, which cannot wrap
        # next interval to close (-1 before the first trade), watermark, previous close, late trades, overflown
        self._state = np.array([-1, 0, 0, 0, 0], dtype=np.int64)

    @property
    def has_begun(self) -> bool:
        return bool(self._state[0] >= 0)

    @property
    def last_close(self) -> int:
        return int(self._state[2])

    @last_close.setter
    def last_close(self, ticks: int) -> None:
        self._state[2] = ticks

    def begin(self, open_ns: int, close_ticks: int) -> None:
        """Let the interval that opens at `open_ns` be the next, after such a close."""
        self._state[:3] = open_ns // self._base_ns, open_ns, close_ticks

    @property
    def watermark_ns(self) -> int:
        return int(self._state[1])

    @property
    def late_count(self) -> int:
        return int(self._state[3])

    def scan(self, batch: TradeBatch) -> I64:
        if not len(batch):
            return np.empty((10, 0), dtype=np.int64)
        out = self._room(batch.instrument, batch.ts_ns)
        made = _scan_trades(
            batch.ts_ns,
            batch.price_ticks,
            batch.qty_steps,
            batch.is_buy,
            self._base_ns,
            self._lateness_ns,
            self._open,
            self._value,
            self._state,
            out,
        )
        if self._state[4]:
            refuse_overflow(batch.instrument)
        return out[:, :made]

    def close_until(self, instrument: Instrument, watermark_ns: int) -> I64:
        if self._state[0] < 0:
            self._state[1] = max(self._state[1], watermark_ns)
            return np.empty((10, 0), dtype=np.int64)
        out = self._room(instrument, np.array([watermark_ns]))
        self._state[1] = max(self._state[1], watermark_ns)
        made = _close_until(
            watermark_ns, self._base_ns, self._lateness_ns, self._open, self._value, self._state, out, 0
        )
        return out[:, :made]

    def _room(self, instrument: Instrument, ts_ns: I64) -> I64:
        """Return room for all bars that these times can close.

        Raises:
            DataError: two of them, one after another, lie further apart than is filled with flat bars.
        """
        start, since_ns = int(self._state[0]), self.watermark_ns
        if start < 0:
            # Bars begin with the first trade that no earlier watermark has shut out; so do holes.
            is_taken = ts_ns // self._base_ns >= (since_ns - self._lateness_ns) // self._base_ns
            if not is_taken.any():
                return np.empty((10, 0), dtype=np.int64)
            ts_ns = ts_ns[int(np.argmax(is_taken)) :]
            start = int(ts_ns[0]) // self._base_ns
            since_ns = max(since_ns, int(ts_ns[0]))
        last_ns = max(int(ts_ns.max()), since_ns)
        if last_ns - since_ns > self._gap_max_ns:
            newest_ns = np.maximum.accumulate(np.concatenate([[since_ns], ts_ns]))
            refuse_hole(instrument, newest_ns[:-1], newest_ns[1:], self._gap_max_ns)
        return np.empty((10, max(0, (last_ns - self._lateness_ns) // self._base_ns - start)), dtype=np.int64)


@njit(cache=True, nogil=True)
def _scan_trades(ts_ns, price, qty, is_buy, base_ns, lateness_ns, acc, values, state, out):  # type: ignore[no-untyped-def]
    # The bar that the last trade fell into lives in local variables, which is what makes this loop fast; it goes back
    # to `acc` when another takes its place or bars are closed.
    slots = acc.shape[0]
    made = 0
    watermark = state[1]
    first = 0
    if state[0] < 0:
        # Bars begin with the first trade that no earlier watermark has shut out.
        while first < ts_ns.size and ts_ns[first] // base_ns < (watermark - lateness_ns) // base_ns:
            first += 1
        state[3] += first
        if first == ts_ns.size:
            return 0
        state[0] = ts_ns[first] // base_ns
    close_at = (state[0] + 1) * base_ns + lateness_ns
    slot = -1
    low_ns = high_ns = 0  # of the local bar
    open_ = high = low = close = volume = turnover = count = buy = first_ts = last_ts = 0
    value = 0.0
    for i in range(first, ts_ns.size):
        ts = ts_ns[i]
        if ts > watermark:
            watermark = ts
            if ts >= close_at:
                if slot >= 0:
                    _put(acc, slot, open_, high, low, close, volume, turnover, count, buy, first_ts, last_ts)
                    values[slot] = value
                    slot = -1
                    low_ns = high_ns = 0
                made = _close_until(ts, base_ns, lateness_ns, acc, values, state, out, made)
                close_at = (state[0] + 1) * base_ns + lateness_ns
        p = price[i]
        q = qty[i]
        if ts < low_ns or ts >= high_ns:
            interval = ts // base_ns
            if interval < state[0]:
                state[3] += 1
                continue
            if slot >= 0:
                _put(acc, slot, open_, high, low, close, volume, turnover, count, buy, first_ts, last_ts)
                values[slot] = value
            slot = interval % slots
            value = values[slot]
            low_ns = interval * base_ns
            high_ns = low_ns + base_ns
            volume, turnover, count, buy = acc[slot, VOLUME], acc[slot, TURNOVER], acc[slot, COUNT], acc[slot, BUY]
            if count == 0:
                open_ = high = low = close = p
                first_ts = last_ts = ts
            else:
                open_, high, low, close = acc[slot, OPEN], acc[slot, HIGH], acc[slot, LOW], acc[slot, CLOSE]
                first_ts, last_ts = acc[slot, _FIRST_TS], acc[slot, _LAST_TS]
        if ts >= last_ts:
            close = p
            last_ts = ts
        elif ts < first_ts:
            open_ = p
            first_ts = ts
        high = max(high, p)
        low = min(low, p)
        volume += q
        turnover += p * q
        value += np.float64(p) * np.float64(q)
        if value >= TURNOVER_MAX:
            state[4] = 1
            return made
        count += 1
        buy += q * is_buy[i]
    if slot >= 0:
        _put(acc, slot, open_, high, low, close, volume, turnover, count, buy, first_ts, last_ts)
        values[slot] = value
    state[1] = watermark
    return made


@njit(cache=True, nogil=True)
def _put(acc, slot, open_, high, low, close, volume, turnover, count, buy, first_ts, last_ts):  # type: ignore[no-untyped-def]
    acc[slot, OPEN] = open_
    acc[slot, HIGH] = high
    acc[slot, LOW] = low
    acc[slot, CLOSE] = close
    acc[slot, VOLUME] = volume
    acc[slot, TURNOVER] = turnover
    acc[slot, COUNT] = count
    acc[slot, BUY] = buy
    acc[slot, _FIRST_TS] = first_ts
    acc[slot, _LAST_TS] = last_ts


@njit(cache=True, nogil=True)
def _close_until(watermark_ns, base_ns, lateness_ns, acc, values, state, out, made):  # type: ignore[no-untyped-def]
    slots = acc.shape[0]
    while (state[0] + 1) * base_ns + lateness_ns <= watermark_ns:
        bar = acc[state[0] % slots]
        if bar[COUNT] == 0:
            for column in range(CLOSE + 1):
                bar[column] = state[2]
            bar[FLAGS] = EMPTY
        for column in range(FLAGS + 1):
            out[column, made] = bar[column]
        out[OPEN_NS, made] = state[0] * base_ns
        state[2] = bar[CLOSE]
        bar[:] = 0
        values[state[0] % slots] = 0.0
        state[0] += 1
        made += 1
    return made
