"""A strategy's equity curve in figures that allow for luck, length and the number of trials."""

import math

import msgspec
import numpy as np

from bot.domain.market import F64, I64
from models.evaluation.exposure import Earned
from models.evaluation.sharpe import deflated, minimum_bars, probabilistic, returns_of, sharpe_of


class StrategyStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one curve; NaN (null in JSON) where one means nothing."""

    total_return: float  # fraction
    bars: int
    bars_per_year: float  # observed
    sharpe_per_bar: float
    sharpe: float  # a year's
    sharpe_error: float  # standard error of that, from skew and kurtosis
    skew: float  # of a bar's return
    kurtosis: float  # 3: normal
    probabilistic_sharpe: float  # probability that the true ratio is above zero
    deflated_sharpe: float  # the same, of the best of `trials`
    trials: int
    minimum_track_record_years: float | None  # to tell the ratio from zero with 95 %; None: no length would do
    max_drawdown: float  # fraction of the high before
    longest_drawdown_ns: int
    turnover_per_year: float | None = None  # value traded over equity; None: the curve alone does not tell
    break_even_cost: float | None = None  # of one side, a fraction of the value traded
    win_rate: float | None = None  # of the steps with a position


def judge_equity(
    ts_ns: I64, equity: F64, *, trials: int, trial_deviation: float | None = None, confidence: float = 0.95
) -> StrategyStatistics:
    """Return the figures of an equity curve, one point a bar.

    Args:
        trials: how many strategies or settings were tried before this one was chosen, itself included; see
            `models.evaluation.trials`.
        trial_deviation: how much their Sharpe ratios per bar vary; None for what chance alone explains.

    Raises:
        DataError: the curve is too short, its times do not ascend, or it touches zero.
    """
    ratio = sharpe_of(returns_of(equity), ts_ns)
    bars = minimum_bars(ratio, confidence=confidence)
    return StrategyStatistics(
        total_return=float(equity[-1] / equity[0] - 1),
        bars=ratio.bars,
        bars_per_year=ratio.bars_per_year,
        sharpe_per_bar=ratio.value,
        sharpe=ratio.annual,
        sharpe_error=ratio.error * math.sqrt(ratio.bars_per_year),
        skew=ratio.skew,
        kurtosis=ratio.kurtosis,
        probabilistic_sharpe=probabilistic(ratio),
        deflated_sharpe=deflated(ratio, trials=trials, deviation=trial_deviation),
        trials=trials,
        minimum_track_record_years=bars / ratio.bars_per_year if math.isfinite(bars) else None,
        max_drawdown=float((1 - equity / np.maximum.accumulate(equity)).max()),
        longest_drawdown_ns=longest_drawdown_ns(ts_ns, equity),
    )


def judge_earned(
    ts_ns: I64, earned: Earned, *, trials: int, trial_deviation: float | None = None
) -> StrategyStatistics:
    """Return the figures of exposures held from each of `ts_ns` to the next: one time more than there are steps.

    Arguments and errors as for `judge_equity`.
    """
    made = judge_equity(ts_ns, earned.equity(), trials=trials, trial_deviation=trial_deviation)
    return msgspec.structs.replace(
        made,
        turnover_per_year=earned.turnover * made.bars_per_year,
        break_even_cost=earned.break_even_cost,
        win_rate=earned.win_rate,
    )


def longest_drawdown_ns(ts_ns: I64, equity: F64) -> int:
    """Return the longest time from a high until it was reached again, or until the end."""
    highs = np.flatnonzero(equity >= np.maximum.accumulate(equity))
    waits = np.diff(np.append(ts_ns[highs], ts_ns[-1]))
    # From one high straight to the next bar's is no wait.
    steps = np.diff(np.append(highs, len(equity) - 1))
    is_under = steps > 1
    is_under[-1] = highs[-1] < len(equity) - 1
    return int(waits[is_under].max(initial=0))
