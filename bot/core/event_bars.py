"""Trades to bars whose end the market decides: so many trades, so much volume, such an imbalance.

Source: López de Prado, Advances in Financial Machine Learning (2018), chapter 2. The rules, each with its test in
`tests/unit/test_event_bars.py`:

* Trades count in the order in which they arrive. Each belongs to exactly one bar; the one that reaches the threshold
  belongs wholly to the bar it closes and is never split. A bar that has not reached its threshold is not made.
* A bar is known at the newest trade time or watermark seen when its last trade came, plus `lateness`. So bars are
  known in order, whatever the disorder of the trades; `open_ns` and `end_ns` are the times of its first and last trade.
  No trade is late here: one that the time bars leave out still counts.
* The taker's side is known, so it is the sign b of a trade, where the book has to guess it by the tick rule.

With v = 1 (tick), quantity (volume) or price times quantity (dollar) of each trade, a bar closes at the first trade
with which, over its own trades,

    sum          sum of v                                     >= size
    imbalance    |sum of v of buys - sum of v of sells|       >= threshold
    run          max(sum of v of buys, sum of v of sells)     >= threshold   (sides add up, breaks do not end a run)

The threshold is `size` until the first bar has closed, then what the bars before lead to expect:

    imbalance    E[T] * |E[b v]|
    run          E[T] * max(P * E[v of a buy], (1 - P) * E[v of a sell])

Each average is taken over bars and updated when one closes, A += (x - A) * 2 / (span + 1), starting at its first x:
T the number of trades of the bar, b v its mean of b v, P its share of trades that bought, v of a buy its mean v of
those (a bar without a buy leaves that average alone), v of a sell the same. Left to itself such a threshold feeds on
what it causes: longer bars raise it, a balanced market takes it to nothing. So it stays within [min, max] times `size`,
and is rounded up to a whole trade, step or tick times step, after a part in 2**40 is taken off, so that a float's last
bit does not decide.
"""

import math
from fractions import Fraction

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.core.event_rules import EventRule
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import I64, PARTIAL, EventBarBatch, TradeBatch

U8 = NDArray[np.uint8]

_MEASURES = {"tick": 0, "volume": 1, "dollar": 2}
_SHAPES = {"sum": 0, "imbalance": 1, "run": 2}
_IMBALANCE, _RUN = _SHAPES["imbalance"], _SHAPES["run"]
_TICK, _VOLUME = _MEASURES["tick"], _MEASURES["volume"]
_SUM_MAX = 2**62  # sums stay below, well inside an int64 even after the float's own rounding
_ROOM = 4_096  # bars made before they are copied out
_COLUMNS = 11
_DUST = 1.0 - 2.0**-40


class EventBarScan:
    """Fold the trades of one instrument into the bars of one rule.

    Args:
        instrument: what the batches are of.
        rule: what closes a bar.
        lateness_ns: how long after its last trade a bar becomes known.

    Raises:
        ValueError: no bar of this instrument could ever reach the threshold.
    """

    def __init__(self, instrument: Instrument, rule: EventRule, *, lateness_ns: int) -> None:
        self._instrument = instrument
        self._rule = rule
        self._lateness_ns = lateness_ns
        self._measure, self._shape = _MEASURES[rule.measure], _SHAPES[rule.shape]
        size = _units(instrument, rule, 1)
        factors = (1, 1) if rule.shape == "sum" else (rule.factor_min, rule.factor_max)
        self._least, self._most = (_units(instrument, rule, Fraction(factor)) for factor in factors)
        if self._most >= _SUM_MAX:
            raise ValueError(f"{rule}: {instrument.name} never trades so much in one bar; ask for less")
        # The forming bar: trades, open_ns, open, high, low, volume, turnover, bought steps, bought trades, and what the
        # rule counts of all and of buys; the newest time so far, the threshold, whether the turnover has overflown.
        self._state = np.zeros(14, dtype=np.int64)
        self._state[12] = size
        self._value = np.zeros(1)  # the forming bar's turnover once more, as a float, which cannot wrap
        self._averages = np.full(4, np.nan)
        self._room = np.empty((_COLUMNS, _ROOM), dtype=np.int64)
        self._rows = 0
        self._lost_to_ns = -1  # trades before it were lost
        self._is_broken = False  # and the bar that is being made began before it

    @property
    def rule(self) -> str:
        """Return the rule as text."""
        return str(self._rule)

    @property
    def threshold(self) -> int:
        """Return what the forming bar must reach, in trades, steps, or ticks times steps."""
        return int(self._state[12])

    def scan(self, batch: TradeBatch) -> EventBarBatch:
        """Return the bars that the trades of `batch` close; often none.

        Raises:
            DataError: a bar's turnover outgrows 62 bits.
        """
        parts = []
        row = 0
        while row < len(batch):
            row, made = _scan(
                batch.ts_ns,
                batch.price_ticks,
                batch.qty_steps,
                batch.is_buy,
                row,
                self._measure,
                self._shape,
                2.0 / (self._rule.span + 1),
                self._least,
                self._most,
                self._lateness_ns,
                self._state,
                self._value,
                self._averages,
                self._room,
            )
            if self._state[13]:
                raise DataError(
                    f"{self._instrument.name}: a {self._rule} bar's turnover does not fit into 62 bits as ticks x "
                    "steps; ask for smaller bars, or give the instrument a coarser tick_size or qty_step"
                )
            if made:
                parts.append(self._room[:, :made].copy())
        return self._batch(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0] if parts else _NOTHING)

    def pass_watermark(self, watermark_ns: int) -> None:
        """Learn that later messages hold nothing known before `watermark_ns`; it closes no bar."""
        self._state[11] = max(int(self._state[11]), watermark_ns)

    def lose(self, to_ns: int) -> None:
        """Learn that trades before `to_ns` were lost: the bars that they would have been in are PARTIAL."""
        self._lost_to_ns = max(self._lost_to_ns, to_ns)
        self._is_broken = True

    def _flags(self, open_ns: I64) -> U8:
        flags = np.zeros(len(open_ns), dtype=np.uint8)
        if self._is_broken and len(open_ns):
            flags[open_ns < self._lost_to_ns] = PARTIAL
            flags[0] = PARTIAL  # it was being made
            self._is_broken = bool(open_ns[-1] < self._lost_to_ns)
        return flags

    def _batch(self, columns: I64) -> EventBarBatch:
        first_row = self._rows
        self._rows += columns.shape[1]
        open_ns, end_ns, known_ns, open_, high, low, close, volume, turnover, count, buy = columns
        return EventBarBatch(
            instrument=self._instrument,
            scale_ns=0,
            rule=self.rule,
            first_row=first_row,
            open_ns=open_ns,
            end_ns=end_ns,
            known_ns=known_ns,
            open_ticks=open_,
            high_ticks=high,
            low_ticks=low,
            close_ticks=close,
            volume_steps=volume,
            turnover=turnover,
            count=count,
            buy_steps=buy,
            flags=self._flags(open_ns),
        )


_NOTHING = np.empty((_COLUMNS, 0), dtype=np.int64)


def _units(instrument: Instrument, rule: EventRule, factor: Fraction | int) -> int:
    """Return `factor` times the rule's size in what the scan counts, rounded up: whole sums reach both at once."""
    unit = Fraction(1)
    if rule.measure != "tick":
        unit *= Fraction(instrument.qty_step)
    if rule.measure == "dollar":
        unit *= Fraction(instrument.tick_size)
    return math.ceil(Fraction(rule.size) * factor / unit)


@njit(cache=True, nogil=True)
def _scan(  # type: ignore[no-untyped-def]
    ts_ns,
    price,
    qty,
    is_buy,
    row,
    measure,
    shape,
    weight,
    least,
    most,
    lateness_ns,
    state,
    values,
    averages,
    out,
):
    """Return the row to go on from, and how many bars were made: all rows are done, or `out` is full."""
    count, open_ns, open_, high, low = state[0], state[1], state[2], state[3], state[4]
    volume, turnover, bought, buys = state[5], state[6], state[7], state[8]
    size, buy_size = state[9], state[10]
    newest_ns, threshold = state[11], state[12]
    value = values[0]
    made = 0
    while row < ts_ns.size and made < out.shape[1]:
        ts = ts_ns[row]
        p = price[row]
        q = qty[row]
        b = np.int64(is_buy[row])
        row += 1
        newest_ns = max(newest_ns, ts)
        if count == 0:
            open_ns = ts
            open_ = high = low = p
        high = max(high, p)
        low = min(low, p)
        worth = p * q
        value += np.float64(p) * np.float64(q)
        if value >= _SUM_MAX:
            state[13] = 1
            break
        count += 1
        volume += q
        turnover += worth
        bought += q * b
        buys += b
        v = 1 if measure == _TICK else q if measure == _VOLUME else worth
        size += v
        buy_size += v * b
        reached = size
        if shape == _IMBALANCE:
            reached = abs(buy_size - (size - buy_size))
        elif shape == _RUN:
            reached = max(buy_size, size - buy_size)
        if reached < threshold:
            continue
        out[0, made], out[1, made], out[2, made] = open_ns, ts, newest_ns + lateness_ns
        out[3, made], out[4, made], out[5, made], out[6, made] = open_, high, low, p
        out[7, made], out[8, made], out[9, made], out[10, made] = volume, turnover, count, bought
        made += 1
        if shape == _IMBALANCE:
            threshold = _expect_imbalance(averages, weight, count, 2 * buy_size - size, least, most)
        elif shape == _RUN:
            threshold = _expect_run(averages, weight, count, buys, buy_size, size - buy_size, least, most)
        count = volume = turnover = bought = buys = size = buy_size = 0
        value = 0.0
    state[0], state[1], state[2], state[3], state[4] = count, open_ns, open_, high, low
    state[5], state[6], state[7], state[8] = volume, turnover, bought, buys
    state[9], state[10] = size, buy_size
    state[11], state[12] = newest_ns, threshold
    values[0] = value
    return row, made


@njit(cache=True, nogil=True)
def _follow(averages, which, x, weight):  # type: ignore[no-untyped-def]
    before = averages[which]
    averages[which] = x if np.isnan(before) else before + (x - before) * weight


@njit(cache=True, nogil=True)
def _expect_imbalance(averages, weight, count, imbalance, least, most):  # type: ignore[no-untyped-def]
    _follow(averages, 0, np.float64(count), weight)
    _follow(averages, 1, np.float64(imbalance) / np.float64(count), weight)
    return _bounded(averages[0] * abs(averages[1]), least, most)


@njit(cache=True, nogil=True)
def _expect_run(averages, weight, count, buys, buy_size, sell_size, least, most):  # type: ignore[no-untyped-def]
    _follow(averages, 0, np.float64(count), weight)
    _follow(averages, 1, np.float64(buys) / np.float64(count), weight)
    if buys:
        _follow(averages, 2, np.float64(buy_size) / np.float64(buys), weight)
    if count > buys:
        _follow(averages, 3, np.float64(sell_size) / np.float64(count - buys), weight)
    # A side that has never traded expects nothing; its share is zero as well.
    up = 0.0 if np.isnan(averages[2]) else averages[1] * averages[2]
    down = 0.0 if np.isnan(averages[3]) else (1.0 - averages[1]) * averages[3]
    return _bounded(averages[0] * max(up, down), least, most)


@njit(cache=True, nogil=True)
def _bounded(expected, least, most):  # type: ignore[no-untyped-def]
    if expected >= most:  # before it becomes an integer: it may be larger than any
        return most
    return max(least, np.int64(np.ceil(expected * _DUST)))
