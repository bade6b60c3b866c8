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
    _scan_numbers(data, ends, 0, grid.places, grid.unit, values)
    return values


def read_prices_and_qtys(
    prices: list[msgspec.Raw], qtys: list[msgspec.Raw], price: Grid, qty: Grid
) -> tuple[I64, bool]:
    """Return [2, texts] prices and quantities in units of their grids, and whether all of them are above zero."""
    data, ends = joined(prices + qtys)
    values = np.empty((2, len(prices)), dtype=np.int64)
    is_good = _scan_numbers(data, ends[: len(prices)], 0, price.places, price.unit, values[0])
    start = ends[len(prices) - 1] if prices else 0
    return values, _scan_numbers(data, ends[len(prices) :], start, qty.places, qty.unit, values[1]) and is_good


def joined(texts: list[msgspec.Raw]) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], I64]:
    """Return texts one after another as bytes, and where each ends."""
    ends = np.fromiter(accumulate(map(len, texts)), dtype=np.int64, count=len(texts))
    return np.frombuffer(b"".join(texts), dtype=np.uint8), ends


@njit(cache=True, nogil=True)
def _scan_numbers(data, ends, start, places, unit, values):  # type: ignore[no-untyped-def]
    """Read texts, the first of which begins at `start`; return whether all are above zero."""
    is_good = True
    for i in range(ends.size):
        value, at = _number(data, start, ends[i], places, unit)
        start = ends[i]
        values[i] = value if value < 0 or at == start else NOT_A_NUMBER
        is_good &= values[i] > 0
    return is_good


@njit(cache=True, nogil=True)
def scan_levels(  # type: ignore[no-untyped-def]
    data, ends, heads, price_places, price_unit, qty_places, qty_unit, columns, flags, reasons
):
    """Read the levels of many messages; return how many rows they made, and how many messages were refused.

    A message without levels makes one row of zeros. One that is refused makes one row of price 0 and quantity 1,
    which no book takes: whoever applies it loses its trust there.

    Args:
        data: the JSON of each message's bids and asks, one after another.
        ends: [2 * messages] where each ends.
        heads: [at least 4, messages] time, time of receipt, number, and whether it is a snapshot.
        price_places, price_unit, qty_places, qty_unit: the grids.
        columns: [6, rows] receives what `heads` says of the row's message, the number before its, price and quantity.
        flags: [3, rows] receives whether the message is a snapshot, whether it ends here, and whether it is a bid.
        reasons: [messages] receives 0, or why a message was refused.
    """
    is_last, is_bid, price, qty = flags[1], flags[2], columns[4], columns[5]
    made = wrong = 0
    start = 0
    for m in range(reasons.size):
        first = made
        reason = 0
        for side in range(2):
            stop = ends[2 * m + side]
            if reason == 0:
                before = made
                made, reason = _side(
                    data, start, stop, price_places, price_unit, qty_places, qty_unit, price, qty, made
                )
                is_bid[before:made] = side == 0
            start = stop
        reasons[m] = reason
        if reason != 0 or made == first:
            made = first + 1
            price[first] = 0
            qty[first] = 1 if reason != 0 else 0
            is_bid[first] = False
            wrong += reason != 0
        for row in range(first, made):
            columns[0, row], columns[1, row], columns[2, row] = heads[0, m], heads[1, m], heads[2, m]
            columns[3, row] = -1 if heads[3, m] == 1 else heads[2, m] - 1
            flags[0, row] = heads[3, m] == 1
            is_last[row] = row == made - 1
    return made, wrong


@njit(cache=True, nogil=True)
def _side(data, at, stop, price_places, price_unit, qty_places, qty_unit, price, qty, made):  # type: ignore[no-untyped-def]
    """Read [["price","qty"],...]; return how many rows there are now, and 0 or a reason."""
    at = _blank(data, at, stop)
    if at >= stop or data[at] != 91:
        return made, NOT_LEVELS
    at = _blank(data, at + 1, stop)
    if at < stop and data[at] == 93:
        return made, 0
    while at < stop and data[at] == 91:
        value, at = _number(data, _blank(data, at + 1, stop), stop, price_places, price_unit)
        if value <= 0:
            return made, (value if value < 0 else NOT_POSITIVE)
        at = _blank(data, at, stop)
        if at >= stop or data[at] != 44:
            return made, NOT_LEVELS
        amount, at = _number(data, _blank(data, at + 1, stop), stop, qty_places, qty_unit)
        if amount < 0:
            return made, amount
        at = _blank(data, at, stop)
        if at >= stop or data[at] != 93:
            return made, NOT_LEVELS
        price[made] = value
        qty[made] = amount
        made += 1
        at = _blank(data, at + 1, stop)
        if at < stop and data[at] == 93:
            return made, 0
        if at >= stop or data[at] != 44:
            return made, NOT_LEVELS
        at = _blank(data, at + 1, stop)
    return made, NOT_LEVELS


@njit(cache=True, nogil=True)
def _blank(data, at, stop):  # type: ignore[no-untyped-def]
    while at < stop and (data[at] == 32 or data[at] == 9 or data[at] == 10 or data[at] == 13):
        at += 1
    return at


@njit(cache=True, nogil=True)
def _number(data, at, stop, places, unit):  # type: ignore[no-untyped-def]
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
