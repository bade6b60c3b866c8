"""The distribution functions that intervals and tests need, without a statistics library."""

import math
from statistics import NormalDist

import numpy as np
from numba import njit

from bot.domain.market import F64

NORMAL = NormalDist()
_STEPS_MAX = 300  # of the continued fraction; it ends long before
_TINY = 1e-300


def normal_cdf(values: F64) -> F64:
    """Return the standard normal distribution function of each value, of any shape."""
    out: F64 = _normal_cdf(np.ascontiguousarray(values, dtype=np.float64).ravel())
    return out.reshape(np.shape(values))


@njit(cache=True, nogil=True)
def _normal_cdf(values):  # type: ignore[no-untyped-def]
    out = np.empty(values.size)
    for i in range(values.size):
        out[i] = 0.5 * math.erfc(-values[i] / math.sqrt(2.0))
    return out


def student_cdf(value: float, freedom: float) -> float:
    """Return the distribution function of Student's t with `freedom` degrees of freedom.

    Source: Abramowitz and Stegun 1964, 26.7.1 and, for the incomplete beta function, 26.5.8.
    """
    if not freedom > 0:
        raise ValueError(f"degrees of freedom must be above 0, not {freedom}")
    if math.isnan(value):
        return math.nan
    if math.isinf(value):
        return float(value > 0)
    tail = 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value))
    return 1 - tail if value > 0 else tail


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side only
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(front) / a * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """Return 1 / (1 + d1 / (1 + d2 / (1 + ...))) of A&S 26.5.8, evaluated forwards (Lentz 1976)."""
    value, above, below = 1.0, 1.0, 0.0
    for step in range(1, _STEPS_MAX):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / _off_zero(1 + term * below)
        above = _off_zero(1 + term / above)
        value *= above * below
        if abs(above * below - 1) < 1e-15:
            return 1 / value
    raise ArithmeticError(f"the incomplete beta function of ({a}, {b}, {x}) does not converge")


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
