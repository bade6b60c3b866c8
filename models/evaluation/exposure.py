"""What a series of exposures earns, to tell signals apart before a replay does it properly.

This knows closing prices and one rate of cost, no order books, funding or margin: the replay is the judge. What it is
careful about are the errors that make such sketches lie: costs are in the returns that ratios are made of, every step's
return is earned once however far the forecast looks, and only steps with a position can be won or lost.
"""

import math
from dataclasses import dataclass

import numpy as np

from bot.domain.errors import DataError
from bot.domain.market import F64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Earned:
    """One row per step, from a decision to the next; fractions of the equity at the step's beginning."""

    exposure_N: F64
    gross_N: F64  # before costs
    turnover_N: F64  # value traded at its beginning; the last step's includes leaving at its end
    net_N: F64

    @property
    def turnover(self) -> float:
        """Return the mean turnover of a step."""
        return float(self.turnover_N.mean())

    @property
    def break_even_cost(self) -> float:
        """Return the cost of one side at which nothing is left, as a fraction of the value traded.

        Sums, not compounded. Below zero: it loses even for free. NaN: nothing was traded.
        """
        traded = float(self.turnover_N.sum())
        return float(self.gross_N.sum()) / traded if traded > 0 else math.nan

    @property
    def win_rate(self) -> float:
        """Return the share of steps with a net profit among those with a position, or a cost; NaN for none."""
        counts = (self.exposure_N != 0) | (self.turnover_N > 0)
        return float((self.net_N[counts] > 0).mean()) if counts.any() else math.nan

    def equity(self, start: float = 1.0) -> F64:
        """Return the equity at every decision and after the last step: [N + 1]."""
        return start * np.concatenate([[1.0], np.cumprod(1 + self.net_N)])


def earn(exposure_N: F64, return_N: F64, *, cost: float) -> Earned:
    """Hold `exposure_N` from each decision to the next.

    Args:
        exposure_N: value of the position as a fraction of equity, signed, as wanted at each decision.
        return_N: the simple return of the price from each decision to the next, no horizon's.
        cost: of one side, a fraction of the value traded. Between decisions the price moves the exposure; going back
            to the one wanted is traded and paid for.

    Raises:
        DataError: a column is not finite, or the account is ruined.
    """
    if exposure_N.shape != return_N.shape or exposure_N.ndim != 1 or not len(exposure_N):
        raise ValueError("exposures and returns must be two columns of one length, and not none")
    if not (np.isfinite(exposure_N).all() and np.isfinite(return_N).all() and cost >= 0):
        raise DataError("an exposure or a return is not a number, or the cost is below zero; leave out what has none")
    gross = exposure_N * return_N
    growth = 1 + gross
    if (growth <= 0).any():
        raise DataError(f"the account is ruined in step {int(np.argmax(growth <= 0))}; take smaller exposures")
    drifted = exposure_N * (1 + return_N) / growth
    turnover = np.abs(exposure_N - np.concatenate([[0.0], drifted[:-1]]))
    kept = 1 - cost * turnover
    kept_at_end = 1 - cost * abs(drifted[-1])  # of leaving: worth what the position has become by then
    if (kept <= 0).any() or kept_at_end <= 0:
        raise DataError(f"costs ruin the account in step {int(np.argmin(kept))}; trade less")
    net = kept * growth
    net[-1] *= kept_at_end
    turnover[-1] += abs(drifted[-1]) * growth[-1]
    return Earned(exposure_N=exposure_N, gross_N=gross, turnover_N=turnover, net_N=net - 1)


def spread_over(signal_N: F64, overlap: int) -> F64:
    """Return the exposure that acts on forecasts over `overlap` steps: each decision moves 1 / overlap of the equity.

    A forecast of the next 24 steps, made at every step, is 24 opinions of the same time. Each part is held for its own
    24 steps, so no step's return is counted 24 times.

    Source: Jegadeesh and Titman 1993, "Returns to buying winners and selling losers", the overlapping portfolios.
    """
    if overlap < 1:
        raise ValueError(f"an overlap of {overlap} steps is none")
    return np.convolve(signal_N, np.full(overlap, 1.0))[: len(signal_N)] / overlap
