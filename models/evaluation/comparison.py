"""Is one forecast better than another, or was it luck: tests of two columns of losses of the same decisions."""

import math

import msgspec
import numpy as np

from bot.domain.market import F64, I64
from models.evaluation.blocks import block_length, newey_west
from models.evaluation.bootstrap import per_time
from models.evaluation.distributions import student_cdf


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The mean loss of a model less that of a baseline: below zero the model is better."""

    difference: float
    error: float  # Newey-West standard error of the difference
    statistic: float  # Diebold-Mariano with the small-sample correction, Student t with times - 1 degrees of freedom
    p_value: float  # two-sided, of no difference; NaN where the losses are the same
    times: int  # decision times
    block: int  # reach of the Newey-West error, in decision times


def diebold_mariano(loss_N: F64, baseline_N: F64, time_N: I64, *, overlap: int, block: int | None = None) -> Comparison:
    """Compare two columns of losses, row by row of the same decisions.

    Rows of one decision time are averaged first: what several instruments do in the same hour is not independent. The
    error reaches over `block` decision times, by `block_length` if it is not given, with weights that fall to zero:
    the equal weights of the original test may give a negative variance.

    Sources:
        Diebold and Mariano 1995, "Comparing predictive accuracy"; the correction: Harvey, Leybourne and Newbold 1997.
    """
    if not len(loss_N) == len(baseline_N) == len(time_N) or not len(time_N):
        raise ValueError("the losses must be of the same decisions, and not none")
    sums_T2 = per_time(np.column_stack([loss_N - baseline_N, np.ones(len(time_N))]), time_N)
    count = len(sums_T2)
    difference = float(sums_T2[:, 0].sum() / sums_T2[:, 1].sum())
    deviation_T = (sums_T2[:, 0] - difference * sums_T2[:, 1]) / sums_T2[:, 1].mean()
    reach = block_length(deviation_T, overlap) if block is None else block
    error = newey_west(deviation_T, reach)
    correction = count + 1 - 2 * overlap + overlap * (overlap - 1) / count
    statistic = p_value = math.nan
    if error > 0 and correction > 0 and count > 1:
        statistic = difference / error * math.sqrt(correction / count)
        p_value = 2 * student_cdf(-abs(statistic), count - 1)
    return Comparison(
        difference=difference, error=error, statistic=statistic, p_value=p_value, times=count, block=reach
    )
