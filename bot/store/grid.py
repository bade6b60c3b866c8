"""Exact decimals brought to an instrument's grid: mantissas to counts of ticks or steps, without a float's doubt."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OnGrid:
    """A column of counts.

    Attributes:
        counts: the nearest count to each value; of two equally near the even one.
        off_count, first_off: how many values lie between two counts, and the row of the first; -1 if none does.
        first_beyond: the row of the first value whose count is too large to be kept; -1 if there is none.
    """

    counts: I64
    off_count: int
    first_off: int
    first_beyond: int


def to_grid(mantissas: I64, exponent: int, unit: Decimal) -> OnGrid:
    """Return mantissa * 10**exponent in counts of `unit`, in a new array."""
    ratio = Fraction(10) ** exponent / Fraction(unit)
    numerator, denominator = ratio.numerator, ratio.denominator
    if max(numerator, denominator) >= 2**62:
        counts = np.zeros(len(mantissas), np.int64)
        wrong = int(np.argmax(mantissas != 0)) if mantissas.any() else -1
        return OnGrid(counts=counts, off_count=0, first_off=-1, first_beyond=wrong)
    counts = np.empty(len(mantissas), np.int64)
    off_count, first_off, first_beyond = _to_grid(mantissas, numerator, denominator, (2**62) // numerator, counts)
    return OnGrid(counts=counts, off_count=off_count, first_off=first_off, first_beyond=first_beyond)


@njit(cache=True, nogil=True)
def _to_grid(mantissas, numerator, denominator, largest, counts):  # type: ignore[no-untyped-def]
    off_count = 0
    first_off = -1
    first_beyond = -1
    inverse = 1.0 / denominator
    for i in range(len(mantissas)):
        mantissa = mantissas[i]
        if mantissa > largest or mantissa < -largest:
            counts[i] = 0
            if first_beyond < 0:
                first_beyond = i
            continue
        product = mantissa * numerator
        if denominator == 1:
            counts[i] = product
            continue
        # A division takes many times as long as a multiplication that is at most one off, put right after.
        if abs(product) < 2**50:
            count = np.int64(np.floor(product * inverse))
        else:
            count = product // denominator
        rest = product - count * denominator
        if rest < 0:
            count -= 1
            rest += denominator
        elif rest >= denominator:
            count += 1
            rest -= denominator
        if rest != 0:
            off_count += 1
            if first_off < 0:
                first_off = i
            above = rest - (denominator - rest)  # twice the rest, less the whole
            if above > 0 or (above == 0 and count % 2 != 0):
                count += 1
        counts[i] = count
    return off_count, first_off, first_beyond
