"""How to divide risk between instruments: by the inverse of their volatility, or so that each adds the same risk."""

import math
from collections.abc import Sequence

import numpy as np

from bot.domain.market import F64

_SWEEPS_MAX = 1_000
_TOLERANCE = 1e-12


def inverse_volatility(deviations: Sequence[float] | F64) -> F64:
    """Return weights w_i = (1 / s_i) / sum_j (1 / s_j), which sum to 1: risk parity of what is uncorrelated.

    Args:
        deviations: of the instruments' returns over one common time, above zero.

    Raises:
        ValueError: a deviation is not above zero and finite.
    """
    inverse = 1 / _positive(deviations)
    return np.asarray(inverse / inverse.sum())


def risk_parity(covariance: F64, budgets: Sequence[float] | F64 | None = None) -> F64:
    """Return the positive weights, summing to 1, whose risk contributions are equal, or as the budgets say.

    The contribution of i is w_i (C w)_i / w' C w. The weights minimise x' C x / 2 - sum_i b_i ln x_i, one coordinate
    after the other: x_i = (-c + sqrt(c^2 + 4 C_ii b_i)) / (2 C_ii) with c the sum of C_ij x_j over all j but i.

    Args:
        covariance: [N, N] of the returns, symmetric; what is to be held short enters with its sign reversed.
        budgets: shares of the risk, above zero; only their ratios count.

    Raises:
        ValueError: the matrix is not square, symmetric and finite with a positive diagonal, or a budget is
            not positive.

    Source:
        Maillard, Roncalli and Teiletche 2010, "The properties of equally weighted risk contribution portfolios"; the
        iteration: Griveau-Billion, Richard and Roncalli 2013. Where instruments hedge each other to no risk at all,
        no such weights exist, and those of the last of 1,000 rounds are returned.
    """
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"a covariance matrix is square, not {matrix.shape}")
    deviations = np.sqrt(_positive(np.diag(matrix)))
    correlation = matrix / np.outer(deviations, deviations)
    if not np.isfinite(correlation).all() or np.abs(correlation - correlation.T).max() > 1e-9:
        raise ValueError("a covariance matrix is symmetric and finite")
    shares = _positive(np.ones(len(matrix)) if budgets is None else budgets)
    if len(shares) != len(matrix):
        raise ValueError(f"there are {len(shares)} budgets for {len(matrix)} instruments")
    # Of the correlations: the weights of the covariance are these over the deviations, and the rounds are fewer.
    weights = _solve(correlation, shares / shares.sum()) / deviations
    return np.asarray(weights / weights.sum())


def risk_contributions(weights: F64, covariance: F64) -> F64:
    """Return w_i (C w)_i / w' C w, the share of the variance that each instrument brings; sums to 1."""
    parts = weights * (covariance * weights).sum(axis=1)
    return np.asarray(parts / parts.sum())


def correlations(returns_TN: F64) -> F64:
    """Return the correlation matrix [N, N] of returns, one column per instrument; 0 with what never moved."""
    centered = returns_TN - returns_TN.mean(axis=0)
    # Sums of products column by column: a matrix product may add in another order on another machine.
    products = np.array([[(a * b).sum() for b in centered.T] for a in centered.T])
    norms = np.sqrt(np.diag(products))
    scale = np.outer(norms, norms)
    matrix: F64 = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _solve(correlation: F64, shares: F64) -> F64:
    rows = correlation.tolist()
    x = np.sqrt(shares).tolist()
    for _ in range(_SWEEPS_MAX):
        for i, row in enumerate(rows):
            others = math.fsum(row[j] * x[j] for j in range(len(x)) if j != i)
            x[i] = float((-others + np.sqrt(others * others + 4 * shares[i])) / 2)
        off = max(abs(x[i] * math.fsum(row[j] * x[j] for j in range(len(x))) - shares[i]) for i, row in enumerate(rows))
        if off <= _TOLERANCE:
            break
    return np.array(x)


def _positive(values: Sequence[float] | F64) -> F64:
    array = np.asarray(values, dtype=np.float64)
    if not ((array > 0) & np.isfinite(array)).all():
        raise ValueError(f"deviations, variances and budgets must be above zero and finite, not {array.tolist()}")
    return array
