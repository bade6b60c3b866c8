"""How likely the best of several strategies is the best by luck: combinatorially symmetric cross-validation.

Source: Bailey, Borwein, López de Prado and Zhu 2017, "The probability of backtest overfitting", section 3.
"""

import itertools
import math

import msgspec
import numpy as np

from bot.domain.errors import DataError
from bot.domain.market import F64

_BLOCKS_MAX = 20  # 184,756 halves


class Overfitting(msgspec.Struct, frozen=True, kw_only=True):
    """What became, on the other half, of the strategy that was best on one half."""

    probability: float  # that it is no better than the median there
    loss_probability: float  # that it has a Sharpe ratio below zero there
    degradation: float  # slope of its ratio there over its ratio here; NaN if always the same
    halves: int  # how many were tried
    logits: tuple[float, ...]  # of its rank there; below zero it is in the lower half


def overfitting(returns_TN: F64, *, blocks: int = 16) -> Overfitting:
    """Cut time into blocks, choose the best Sharpe ratio on each half of them, and look at it on the other half.

    Args:
        returns_TN: the returns of N strategies, all that were tried, over the same T bars; rows that do not fill the
            blocks are left out at the beginning.
        blocks: an even number; 16 give 12,870 halves.

    Raises:
        DataError: there are fewer than two strategies or two bars a block, or a return is not a number.
    """
    if blocks < 2 or blocks % 2 or blocks > _BLOCKS_MAX:
        raise ValueError(f"blocks must be an even number from 2 to {_BLOCKS_MAX}, not {blocks}")
    count, strategies = returns_TN.shape
    length = count // blocks
    if strategies < 2 or length < 2:
        raise DataError(
            f"{strategies} strategies over {count} bars cannot be cut into {blocks} blocks; take two strategies and "
            f"{2 * blocks} bars at the least"
        )
    if not np.isfinite(returns_TN).all():
        raise DataError("a return is not a number; leave out what has none")
    # Centred before squaring: a sum of squares less a squared sum would lose the digits that a ratio is made of.
    kept = returns_TN[count - length * blocks :]
    centre = kept.mean(axis=0)
    cut = (kept - centre).reshape(blocks, length, strategies)
    sums_BN, squares_BN = cut.sum(axis=1), (cut**2).sum(axis=1)
    is_in_CB = _halves(blocks)
    inside_CN = _ratios(is_in_CB @ sums_BN, is_in_CB @ squares_BN, centre, length * blocks // 2)
    outside_CN = _ratios((1 - is_in_CB) @ sums_BN, (1 - is_in_CB) @ squares_BN, centre, length * blocks // 2)
    best_C = inside_CN.argmax(axis=1)
    there_C = outside_CN[np.arange(len(best_C)), best_C]
    below_C = (outside_CN < there_C[:, None]).sum(axis=1)
    same_C = (outside_CN == there_C[:, None]).sum(axis=1)
    rank_C = (below_C + (same_C + 1) / 2) / (strategies + 1)
    logit_C = np.log(rank_C / (1 - rank_C))
    return Overfitting(
        probability=float((logit_C <= 0).mean()),
        loss_probability=float((there_C < 0).mean()),
        degradation=_slope(inside_CN.max(axis=1), there_C),
        halves=len(best_C),
        logits=tuple(logit_C.tolist()),
    )


def _halves(blocks: int) -> F64:
    """Return every way to choose half of the blocks, as rows of 0 and 1."""
    chosen = list(itertools.combinations(range(blocks), blocks // 2))
    out = np.zeros((len(chosen), blocks))
    np.put_along_axis(out, np.array(chosen), 1.0, axis=1)
    return out


def _ratios(sums_CN: F64, squares_CN: F64, centre_N: F64, bars: int) -> F64:
    """Return mean over deviation; 0 where nothing varies."""
    variance_CN = np.maximum(squares_CN - sums_CN**2 / bars, 0.0) / (bars - 1)
    mean_CN = centre_N + sums_CN / bars
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance_CN > 0, mean_CN / np.sqrt(variance_CN), 0.0)


def _slope(x: F64, y: F64) -> float:
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred)) if np.ptp(x) > 0 else math.nan
