"""The exponential function in the same bits on every machine."""

from math import factorial, floor

from numba import njit

_EXP_SERIES = tuple(1.0 / factorial(n) for n in range(13, -1, -1))


def portable_exp(x: float) -> float:
    """Return e**x to about 1e-15, in the same bits on every machine; 0 below -700, x capped at 700.

    Splits x = k ln 2 + r with |r| <= ln 2 / 2, sums Taylor's series of e**r and doubles or halves k times.
    """
    if x < -700.0:
        return 0.0
    x = min(x, 700.0)
    doublings = floor(x * 1.4426950408889634 + 0.5)
    r = (x - doublings * 0.6931471803691238) - doublings * 1.9082149292705877e-10  # ln 2, high and low part
    total = _EXP_SERIES[0]
    for coefficient in _EXP_SERIES[1:]:
        total = total * r + coefficient
    factor = 2.0 if doublings > 0 else 0.5
    for _ in range(abs(doublings)):
        total *= factor
    return total


exp = njit(cache=True, nogil=True)(portable_exp)  # in the scans; the plain one keeps importing quick
