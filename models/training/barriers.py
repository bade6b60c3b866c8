"""The triple barrier: what a trade taken at a decision would have come to, after costs.

The trade is entered at the decision bar's close and left at the first of three barriers: a profit, a stop, or the end
of the horizon. The profit barrier is what the trade must *earn*: it lies the costs further out, so a trade that
reaches it has its profit after fees and spread. The stop is how far the *price* may go against it; the loss is that
and the costs.

Barriers are tried on the highs and lows of the finest bars, which do not tell what came first within a bar. The rule
is pessimistic: if a bar touches both, the trade was stopped. A profit fills at its barrier and never better; a stop
at its barrier, or at the bar's open where that is already beyond.

Source: López de Prado (2018), Advances in Financial Machine Learning, chapter 3.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.core.durations import format_duration
from bot.domain.instrument import Instrument
from bot.domain.market import F64, I64, BarBatch
from models.training.labels import Labels, reach

I8 = NDArray[np.int8]


class Barrier(IntEnum):
    """What ended a trade."""

    UNKNOWN = 0  # the data cannot tell
    PROFIT = 1
    STOP = 2
    TIME = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What entering and leaving a position costs.

    Raises:
        ValueError: a cost is negative, or as large as the price.
    """

    fee_rate: float  # of the notional, each way: 0.00055 for a taker
    spread_bps: float  # between best bid and ask, of the price: half of it is paid each way

    def __post_init__(self) -> None:
        if not (0 <= self.fee_rate < 1 and 0 <= self.spread_bps < 20_000):
            raise ValueError("fee_rate must be within 0 and 1, spread_bps within 0 and 20,000")

    @property
    def round_trip(self) -> float:
        """Return the log return that is lost on the way in and out, the same for a long and a short.

        ln[(1 + f)(1 + s) / ((1 - f)(1 - s))], f the fee rate and s half the spread as a fraction.
        """
        return 2 * math.atanh(self.fee_rate) + 2 * math.atanh(self.spread_bps / 20_000)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BarrierOutcomes:
    """How the trade of every decision ended: equally long columns, one row per decision bar."""

    instrument: Instrument
    horizon_ns: int
    bar_row: I64  # the decision bar's row number in its stream
    close_ns: I64  # its close: the trade's entry
    known_ns: I64  # when the decision is taken
    barrier: I8  # a `Barrier`
    label: I8  # +1 profit, -1 stop, at the end of time as asked for; 0 where unknown
    net_return: F64  # log return of the trade after costs; NaN where unknown
    touch_ns: I64  # the close of the bar that touched a barrier, or the horizon's end
    label_end_ns: I64  # when the label is known: as long after `touch_ns` as the decision after its bar's close

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Return which rows the data can tell."""
        return np.asarray(self.barrier != Barrier.UNKNOWN)

    def labels(self) -> Labels:
        """Return two columns to learn, the label and the net return, NaN where unknown."""
        horizon = format_duration(self.horizon_ns)
        return Labels(
            instrument=self.instrument,
            names=(f"barrier_{horizon}", f"barrier_return_{horizon}"),
            bar_row=self.bar_row,
            close_ns=self.close_ns,
            known_ns=self.known_ns,
            values=np.column_stack([np.where(self.is_known, self.label, np.nan), self.net_return]),
            label_end_ns=np.column_stack([self.label_end_ns, self.label_end_ns]),
        )

    def __len__(self) -> int:
        return len(self.bar_row)


def triple_barrier(
    decisions: BarBatch,
    path: BarBatch,
    *,
    horizon_ns: int,
    profit: float | F64,
    stop: float | F64,
    costs: Costs,
    hole_max_ns: int,
    side: int | I8 = 1,
    at_time: Literal["zero", "sign"] = "zero",
) -> BarrierOutcomes:
    """Return how a trade at every decision would have ended.

    With P0 the decision's close, k the round trip's costs, and the price's log return r = side * ln(P / P0): profit
    at r >= profit + k, stop at r <= -stop, else the close at the horizon's end. The net return is r - k.

    Rows are unknown where the data does not reach over the whole horizon, also if a barrier was touched before the
    data ends: keeping those alone would keep the quick ones. They are unknown where a width is NaN or not positive.

    Args:
        decisions, path, hole_max_ns: see `labels.returns_after`.
        horizon_ns: the barrier in time.
        profit: log return to earn after costs, one number or one per decision; inf for no such barrier. For
            multiples of volatility pass `m * ewma_volatility(...) * sqrt(horizon / scale)`, which is causal.
        stop: log return to lose before costs, likewise.
        costs: of entering and leaving.
        side: +1 for a long, -1 for a short, one or one per decision.
        at_time: the label at the end of time: 0, or the sign of the net return.

    Raises:
        ValueError: an argument is impossible.
        DataError: decisions and path contradict each other.
    """
    rows = len(decisions)
    profit_N, stop_N = _widths(profit, rows, "profit"), _widths(stop, rows, "stop")
    side_N = np.broadcast_to(np.asarray(side, dtype=np.int8), (rows,))
    if not (np.abs(side_N) == 1).all():
        raise ValueError("a side is +1 or -1")
    found = reach(decisions, path, horizon_ns, hole_max_ns)
    is_known = found.is_known & (profit_N > 0) & (stop_N > 0)
    barrier, net, last_row = _walk(
        decisions.close_ticks,
        decisions.close_ns,
        side_N,
        profit_N,
        stop_N,
        costs.round_trip,
        found.first,
        found.stop,
        is_known,
        path.open_ns,
        path.open_ticks,
        path.high_ticks,
        path.low_ticks,
        path.close_ticks,
    )
    end_ns = decisions.close_ns + horizon_ns
    is_touch = (barrier == Barrier.PROFIT) | (barrier == Barrier.STOP)
    touch_ns = np.where(is_touch, path.close_ns[last_row], end_ns)
    label = (barrier == Barrier.PROFIT).astype(np.int8) - (barrier == Barrier.STOP).astype(np.int8)
    if at_time == "sign":
        label = np.where(barrier == Barrier.TIME, np.sign(net), label).astype(np.int8)
    return BarrierOutcomes(
        instrument=decisions.instrument,
        horizon_ns=horizon_ns,
        bar_row=np.arange(decisions.first_row, decisions.first_row + rows),
        close_ns=decisions.close_ns,
        known_ns=decisions.known_ns,
        barrier=barrier,
        label=label,
        net_return=net,
        touch_ns=touch_ns,
        label_end_ns=touch_ns + (decisions.known_ns - decisions.close_ns),
    )


def signal_labels(long: BarrierOutcomes, short: BarrierOutcomes) -> Labels:
    """Return one column "signal": +1 buy, -1 sell, 0 hold: which trade, if any, would have earned its profit first.

    If both reached their profit within one bar it is 0: nobody can tell which came first. The label is known when both
    trades have ended.

    Args:
        long, short: outcomes of the same decisions with side +1 and -1, both with costs.

    Raises:
        ValueError: they are outcomes of different decisions.
    """
    if long.instrument != short.instrument or not np.array_equal(long.bar_row, short.bar_row):
        raise ValueError("long and short are outcomes of different decisions")
    never_ns = np.iinfo(np.int64).max
    long_ns = np.where(long.barrier == Barrier.PROFIT, long.touch_ns, never_ns)
    short_ns = np.where(short.barrier == Barrier.PROFIT, short.touch_ns, never_ns)
    signal = np.sign((short_ns > long_ns).astype(np.float64) - (long_ns > short_ns))
    signal[~(long.is_known & short.is_known)] = np.nan
    return Labels(
        instrument=long.instrument,
        names=("signal",),
        bar_row=long.bar_row,
        close_ns=long.close_ns,
        known_ns=long.known_ns,
        values=signal[:, None],
        label_end_ns=np.maximum(long.label_end_ns, short.label_end_ns)[:, None],
    )


def _widths(width: float | F64, rows: int, name: str) -> F64:
    given = np.asarray(width, dtype=np.float64)
    if given.ndim == 0 and not given > 0:
        raise ValueError(f"{name} must be positive")
    if given.ndim and given.shape != (rows,):
        raise ValueError(f"{name} has {given.shape} values for {rows} decisions; give one, or one per decision")
    return np.broadcast_to(given, (rows,))


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    start, start_ns, side, profit, stop, cost, first, stop_row, is_known, open_ns, open_, high, low, close
):
    barrier = np.zeros(start.size, dtype=np.int8)
    net = np.full(start.size, np.nan)
    last = np.zeros(start.size, dtype=np.int64)
    for i in range(start.size):
        if not is_known[i]:
            continue
        # Levels are compared with a whole number of ticks: the slack undoes the rounding of exp, less than any tick.
        up = profit[i] + cost if side[i] > 0 else stop[i]
        down = stop[i] if side[i] > 0 else profit[i] + cost
        upper = start[i] * math.exp(up) * (1 - 1e-12)
        lower = start[i] * math.exp(-down) * (1 + 1e-12)
        ended = 0
        gross = 0.0
        for row in range(first[i], stop_row[i]):
            if open_ns[row] < start_ns[i]:
                # The bar began before the decision: its high and low may too, only its close is surely later.
                bar_open = bar_high = bar_low = close[row]
            else:
                bar_open, bar_high, bar_low = open_[row], high[row], low[row]
            if bar_high < upper and bar_low > lower:
                continue
            is_stop = bar_low <= lower if side[i] > 0 else bar_high >= upper
            last[i] = row
            if is_stop:
                ended = 2
                gross = min(-stop[i], side[i] * math.log(bar_open / start[i]))
            else:
                ended = 1
                gross = profit[i] + cost
            break
        if ended == 0:
            ended = 3
            last[i] = stop_row[i] - 1
            gross = side[i] * math.log(close[last[i]] / start[i])
        barrier[i] = ended
        net[i] = gross - cost
    return barrier, net, last
