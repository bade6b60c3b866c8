"""The account's equity at every bar, what holding the market would have made of the same cash, and their ratios."""

import math
from dataclasses import dataclass

import numpy as np

from bot.report.frames import F64, I64, InstrumentTape, rows, tapes
from bot.report.run_data import RunData

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
YEAR_NS = 365 * DAY_NS
_DAILY_FROM_NS = 60 * DAY_NS  # a run this long is sampled daily, a shorter one hourly


@dataclass(frozen=True, kw_only=True, slots=True)
class EquityCurve:
    """One point for the start of the run and one for every bar close, of whichever instrument. Quote currency."""

    ts_ns: I64  # ascending
    equity: F64  # start cash + the last known profit of every instrument + what the venue's fund made good
    hold: F64  # the start cash split evenly over the instruments at their first open, without costs
    net_notional: F64  # signed value of all positions at the last close
    gross_notional: F64  # the same, unsigned

    @property
    def drawdown(self) -> F64:
        """Return how far below its highest point the equity is: a fraction, 0 at a new high."""
        return drawdown(self.equity)


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """A curve read at whole UTC hours or days."""

    every_ns: int
    ts_ns: I64
    equity: F64
    hold: F64


def equity_curve(data: RunData) -> EquityCurve:
    """Return the curve at the finest resolution there is."""
    bars = tapes(data)
    start_cash = float(data.start_cash)
    from_ns = int(data.run["from_ns"])
    if not bars:
        cash, nothing = np.array([start_cash]), np.zeros(1)
        return EquityCurve(
            ts_ns=np.array([from_ns]), equity=cash, hold=cash, net_notional=nothing, gross_notional=nothing
        )
    closes = bars[0].close_ns if len(bars) == 1 else np.unique(np.concatenate([tape.close_ns for tape in bars]))
    ts_ns = np.concatenate([[min(from_ns, int(closes[0]) - 1)], closes])
    notionals = [_stretched(tape, tape.position * tape.close, ts_ns, before=0.0) for tape in bars]
    profits = [_stretched(tape, tape.profit, ts_ns, before=0.0) for tape in bars]
    growths = [_stretched(tape, tape.close / tape.open[0], ts_ns, before=1.0) for tape in bars]
    return EquityCurve(
        ts_ns=ts_ns,
        equity=start_cash + np.sum(profits, axis=0) + _adjusted(data, ts_ns),
        hold=start_cash * np.mean(growths, axis=0),
        net_notional=np.sum(notionals, axis=0),
        gross_notional=np.sum(np.abs(notionals), axis=0),
    )


def sample(curve: EquityCurve, run_ns: int) -> Samples:
    """Return the curve at every whole day, or hour if the run is shorter than 60 days: the last value known then.

    The parts of an hour or a day before the first and after the last are left out.
    """
    every_ns = DAY_NS if run_ns >= _DAILY_FROM_NS else HOUR_NS
    first = -(-int(curve.ts_ns[0]) // every_ns)
    last = int(curve.ts_ns[-1]) // every_ns
    ts_ns = np.arange(first, last + 1, dtype=np.int64) * every_ns
    row = np.searchsorted(curve.ts_ns, ts_ns, side="right") - 1
    return Samples(every_ns=every_ns, ts_ns=ts_ns, equity=curve.equity[row], hold=curve.hold[row])


def drawdown(equity: F64) -> F64:
    """Return the fall from the highest value so far, as a fraction of it; 0 at a new high."""
    peak = np.maximum.accumulate(equity)
    fall: F64 = 1 - equity / np.where(peak > 0, peak, np.inf)
    return np.maximum(fall, 0.0)


def longest_drawdown_ns(ts_ns: I64, equity: F64) -> int:
    """Return the longest time from a high until it was reached again, or until the end."""
    is_high = equity >= np.maximum.accumulate(equity)
    since = np.maximum.accumulate(np.where(is_high, np.arange(len(equity)), 0))
    # A stretch under water ends with the high that ends it, so the wait is counted from the high before.
    before = np.concatenate([[0], since[:-1]])
    is_under = ~is_high | ~np.concatenate([[True], is_high[:-1]])
    return int((ts_ns - ts_ns[before])[is_under].max(initial=0))


def sharpe(equity: F64, every_ns: int) -> float | None:
    """Return mean over deviation of the simple returns, a year's worth; None where it means nothing."""
    returns = _returns(equity)
    if returns is None or len(returns) < 2:
        return None
    deviation = float(returns.std(ddof=1))
    return _ratio(float(returns.mean()), deviation, returns, every_ns)


def sortino(equity: F64, every_ns: int) -> float | None:
    """Return mean over downside deviation (root mean square of the losses, over all samples), a year's worth."""
    returns = _returns(equity)
    if returns is None or len(returns) < 2:
        return None
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    return _ratio(float(returns.mean()), downside, returns, every_ns)


def sharpe_error(equity: F64, every_ns: int) -> float | None:
    """Return the standard error of `sharpe`, if returns were independent (Lo, 2002)."""
    value = sharpe(equity, every_ns)
    if value is None:
        return None
    per_year = YEAR_NS / every_ns
    return math.sqrt((per_year + value**2 / 2) / (len(equity) - 1))


def _ratio(mean: float, deviation: float, returns: F64, every_ns: int) -> float | None:
    # Equal returns differ by rounding; what is left of their deviation is no variance.
    if deviation <= 1e-12 * float(np.abs(returns).max()):
        return None
    return mean / deviation * math.sqrt(YEAR_NS / every_ns)


def _returns(equity: F64) -> F64 | None:
    """Return the simple returns, None where the account was ruined on the way: no return describes what follows."""
    if len(equity) < 2 or not bool((equity > 0).all()):
        return None
    returns: F64 = equity[1:] / equity[:-1] - 1
    return returns


def _adjusted(data: RunData, ts_ns: I64) -> F64:
    """Return what the venue's fund has made good by each time; at a bar's close, what came before it."""
    made = list(rows(data.adjustments))
    since = np.array([int(row.ts_event_ns) for row in made], dtype=np.int64)
    total = np.cumsum([0.0, *(float(row.amount) for row in made)])
    found: F64 = total[np.searchsorted(since, ts_ns, side="left")]
    return found


def _stretched(tape: InstrumentTape, values: F64, ts_ns: I64, *, before: float) -> F64:
    """Return the last value known at each time, `before` where there is none yet."""
    row = np.searchsorted(tape.close_ns, ts_ns, side="right") - 1
    stretched: F64 = np.where(row >= 0, values[np.maximum(row, 0)], before)
    return stretched
