"""Decimals out of JSON bytes as whole ticks and steps, in compiled code, without a text, a float or a Decimal between.

Bybit spells prices and quantities as decimals in quotes: digits, and a point with digits behind it. Signs, exponents,
blanks, other scripts' digits and all else that Python's own parsers would let pass are refused. A value that is not on
its instrument's grid is refused too: a tick size that changed must be noticed, not rounded away.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate

import msgspec
import numpy as np
from numba import njit

from bot.domain.instrument import Instrument
from bot.domain.market import I64

VALUE_MAX = 2**53  # ticks or steps: more is nonsense, and sums of them might not fit

# Why there is no value, in its place.
NOT_A_NUMBER, OFF_GRID, TOO_LARGE, NOT_POSITIVE, NOT_LEVELS = -1, -2, -3, -4, -5
REASONS = {
    NOT_A_NUMBER: "a value is no decimal in quotes",
    OFF_GRID: "a value is not on the instrument's grid; ask the venue for its filters again",
    TOO_LARGE: "a value is too large",
    NOT_POSITIVE: "a price or a quantity is not positive",
    NOT_LEVELS: "its levels are not a list of pairs",
}

_LAST_DIGIT_FITS = (2**62) // 10
_PLAIN = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?", re.ASCII)
_SIGNED = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)


class Grid(msgspec.Struct, frozen=True):
    """Multiples of `unit * 10**-places`."""

    unit: int
    places: int


def grid_of(step: Decimal) -> Grid:
    """Return the grid of a tick size or a quantity step."""
    _, digits, exponent = step.normalize().as_tuple()
    assert isinstance(exponent, int)  # an instrument's steps are finite
    unit = int("".join(map(str, digits)))
    grid = Grid(unit * 10 ** max(0, exponent), max(0, -exponent))
    if not 0 < grid.unit < 10**15 or grid.places > 17:
        raise ValueError(f"a step of {step} is none that a venue has")
    return grid


def grids_of(instrument: Instrument) -> tuple[int, int, int, int]:
    """Return places and unit of an instrument's prices, and of its quantities, as compiled code takes them."""
    price, qty = grid_of(instrument.tick_size), grid_of(instrument.qty_step)
    return price.places, price.unit, qty.places, qty.unit


def units_of(text: str, grid: Grid) -> int:
    """Return a decimal's text in units of a grid: what the compiled code does, for a value now and then.

    Raises:
        ValueError: it is none, or not on the grid.
    """
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise ValueError(REASONS[NOT_A_NUMBER])
    whole, fraction = found[1], found[2] or ""
    if fraction[grid.places :].strip("0"):
        raise ValueError(REASONS[OFF_GRID])
    count, rest = divmod(int(whole + fraction[: grid.places].ljust(grid.places, "0")), grid.unit)
    if rest:
        raise ValueError(REASONS[OFF_GRID])
    if count > VALUE_MAX:
        raise ValueError(REASONS[TOO_LARGE])
    return count


def decimal_of(text: str) -> Decimal:
    """Return a decimal's text exactly: for sums of money, which lie on no grid and outgrow 62 bits at many places.

    Raises:
        ValueError: it is no decimal.
    """
    if _SIGNED.fullmatch(text) is None:
        raise ValueError(REASONS[NOT_A_NUMBER])
    return Decimal(text)


def nearest(text: str, places: int) -> int:
    """Return a decimal's text in units of 10**-places, the nearest; of two equally near the even one.

    For what lies on no grid: mark and index prices, rates.

    Raises:
        ValueError: it is no decimal, or does not fit.
    """
    if _SIGNED.fullmatch(text) is None:
        raise ValueError(REASONS[NOT_A_NUMBER])
    value = int(Decimal(text).scaleb(places).to_integral_value(ROUND_HALF_EVEN))
    if abs(value) >= 2**62:
        raise ValueError(REASONS[TOO_LARGE])
    return value


def read_numbers(texts: list[msgspec.Raw], grid: Grid) -> I64:
    """Return JSON texts in units of a grid; below zero a reason of `REASONS`."""
    data, ends = joined(texts)
    values = np.empty(len(texts), dtype=np.int64)
    _scan_numbers(data, ends, grid.places, grid.unit, values)
    return values


def joined(texts: list[msgspec.Raw]) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], I64]:
    """Return texts one after another as bytes, and where each ends."""
    ends = np.fromiter(accumulate(map(len, texts)), dtype=np.int64, count=len(texts))
    return np.frombuffer(b"".join(texts), dtype=np.uint8), ends


@njit(cache=True, nogil=True)
def _scan_numbers(data, ends, places, unit, values):  # type: ignore[no-untyped-def]
    start = 0
    for i in range(ends.size):
        values[i] = whole_text(data, start, ends[i], places, unit)
        start = ends[i]


@njit(cache=True, nogil=True)
def whole_text(data, start, stop, places, unit):  # type: ignore[no-untyped-def]
    """Return a text that is one decimal in quotes and nothing else, or a reason."""
    value, at = number_at(data, start, stop, places, unit)
    return value if value < 0 or at == stop else np.int64(NOT_A_NUMBER)


@njit(cache=True, nogil=True)
def skip_blanks(data, at, stop):  # type: ignore[no-untyped-def]
    """Return the place of the next byte that is no blank."""
    while at < stop and (data[at] == 32 or data[at] == 9 or data[at] == 10 or data[at] == 13):
        at += 1
    return at


@njit(cache=True, nogil=True)
def number_at(data, at, stop, places, unit):  # type: ignore[no-untyped-def]
    """Return a decimal in quotes in units of a grid, or a reason, and the place behind it."""
    if at >= stop or data[at] != 34:
        return np.int64(NOT_A_NUMBER), at
    at += 1
    value = np.int64(0)
    whole = 0
    decimals = -1  # digits behind the point; -1 before it
    while at < stop and data[at] != 34:
        byte = data[at]
        if 48 <= byte <= 57:
            if decimals < 0:
                whole += 1
            else:
                decimals += 1
            if decimals <= places:
                if value > _LAST_DIGIT_FITS:
                    return np.int64(TOO_LARGE), at
                value = value * 10 + (np.int64(byte) - 48)
            elif byte != 48:
                return np.int64(OFF_GRID), at
        elif byte == 46 and decimals < 0 and whole > 0:
            decimals = 0
        else:
            return np.int64(NOT_A_NUMBER), at
        at += 1
    if at >= stop or whole == 0 or decimals == 0:
        return np.int64(NOT_A_NUMBER), at
    for _ in range(places - max(decimals, 0)):
        if value > _LAST_DIGIT_FITS:
            return np.int64(TOO_LARGE), at
        value *= 10
    if unit != 1:
        if value % unit != 0:
            return np.int64(OFF_GRID), at
        value //= unit
    return (value if value <= VALUE_MAX else np.int64(TOO_LARGE)), at + 1
