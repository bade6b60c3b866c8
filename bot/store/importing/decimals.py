"""Columns of exact decimals: out of text or floats, brought to one exponent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.store.importing.scan import BAD, DATED, LONG, MISSING

PLACES_MAX = 12  # decimals that a source may have without being told to; finer is a float's noise, or computed
_POWERS = np.array([10**power for power in range(19)], dtype=np.int64)
_I64_MAX = 2**63 - 1
_FINER = np.int8(LONG - 1)  # in place of `places`: more decimals than are taken


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decimals:
    """A column of numbers, value * 10**-places each; a negative `places` is one of `scan`'s reasons why there is none.

    Attributes:
        value: int64.
        places: int8.
        rounded: how many values were rounded: a float's noise was taken off, or more decimals than asked for.
    """

    value: NDArray[np.int64]
    places: NDArray[np.int8]
    rounded: int = 0

    def __len__(self) -> int:
        return len(self.value)

    def floats(self) -> NDArray[np.float64]:
        """Return the values as float64, NaN where there is none."""
        places = np.clip(self.places, 0, 22)
        result = self.value / 10.0 ** places.astype(np.float64)
        return np.where((self.places >= 0) & (self.places < DATED), result, np.nan)


def from_floats(values: NDArray[np.float64], places_max: int | None = None) -> Decimals:
    """Return the shortest decimals that the floats are nearest to.

    A float within four units of its last digit of a short decimal is that decimal, and counted: 0.30000000000000004 is
    0.3. Other floats with too many decimals are marked, or rounded where `places_max` asks for it.
    """
    value = np.empty(len(values), np.int64)
    places = np.empty(len(values), np.int8)
    cap = PLACES_MAX if places_max is None else places_max
    rounded = _shortest(np.ascontiguousarray(values, np.float64), value, places, cap, places_max is not None)
    return Decimals(value=value, places=places, rounded=rounded)


def from_text(value: NDArray[np.int64], places: NDArray[np.int8], places_max: int | None = None) -> Decimals:
    """Return scanned decimals, those with too many places treated as floats are."""
    cap = PLACES_MAX if places_max is None else places_max
    long = (places > cap) & (places < DATED)
    if not long.any():
        return Decimals(value=value, places=places)
    shorter = from_floats(value[long] / 10.0 ** places[long].astype(np.float64), places_max)
    value, places = value.copy(), places.copy()
    value[long], places[long] = shorter.value, shorter.places
    return Decimals(value=value, places=places, rounded=int((shorter.places >= 0).sum()))


def from_integers(values: NDArray[Any]) -> Decimals:
    """Return whole numbers."""
    return Decimals(value=values.astype(np.int64), places=np.zeros(len(values), np.int8))


def why_none(places: int) -> str:
    """Say why a field holds no number."""
    reasons = {
        MISSING: "is missing",
        BAD: "is not a number",
        LONG: "has more digits than can be kept",
        DATED: "is a date",
        int(_FINER): f"has more than {PLACES_MAX} decimals (--decimals N rounds to N)",
    }
    return reasons.get(places, "is not a number")


def to_exponent(
    columns: Sequence[Decimals], keep: NDArray[np.bool_]
) -> tuple[int, list[NDArray[np.int64]], NDArray[np.bool_]]:
    """Bring columns to the greatest exponent that keeps them exact.

    Args:
        columns: equally long.
        keep: the rows that count; in others there need not be a number.
    Returns:
        exponent: zero or less.
        mantissas: one array for each column; 0 in rows that do not count.
        too_long: rows whose mantissa does not fit int64 at that exponent.
    """
    places_max = max((int(column.places.max(where=keep, initial=0)) for column in columns), default=0)
    too_long = np.zeros(len(keep), np.bool_)
    mantissas = []
    for column in columns:
        mantissa = np.empty(len(keep), np.int64)
        _lift(column.value, column.places, keep, places_max, mantissa, too_long)
        mantissas.append(mantissa)
    return -places_max, mantissas, too_long


@njit(cache=True, nogil=True)
def _lift(value, places, keep, places_max, mantissa, too_long):  # type: ignore[no-untyped-def]
    for i in range(len(value)):
        mantissa[i] = 0
        if not keep[i] or value[i] == 0:
            continue
        shift = places_max - places[i]
        if shift >= len(_POWERS) or abs(value[i]) > _I64_MAX // _POWERS[shift]:
            too_long[i] = True
        else:
            mantissa[i] = value[i] * _POWERS[shift]


@njit(cache=True, nogil=True)
def times_to_ns(value, places, power, offset_ns, ns):  # type: ignore[no-untyped-def]
    """Write times in units of 10**power ns as ns; -1 where that is no int64. Written times are ns already."""
    for i in range(len(value)):
        shift = power - places[i]
        if places[i] == DATED:
            ns[i] = value[i] + offset_ns
        elif places[i] < 0 or abs(shift) >= len(_POWERS):
            ns[i] = -1
        elif shift < 0:
            ns[i] = value[i] // _POWERS[-shift] + offset_ns
        elif abs(value[i]) > _I64_MAX // _POWERS[shift]:
            ns[i] = -1
        else:
            ns[i] = value[i] * _POWERS[shift] + offset_ns


@njit(cache=True, nogil=True)
def _shortest(values, value, places, cap, may_round):  # type: ignore[no-untyped-def]
    rounded = 0
    for i in range(len(values)):
        x = values[i]
        value[i] = 0
        if np.isnan(x):
            places[i] = MISSING
            continue
        if not abs(x) < 2.0**53:
            places[i] = LONG
            continue
        found = -1
        whole = 0.0
        power = 1.0
        for k in range(cap + 1):  # the decimal of k places that the float is nearest to, exactly
            whole = np.rint(x * power)
            if not abs(whole) < 2.0**53:
                break
            if whole / power == x:
                found = k
                break
            power *= 10.0
        if found < 0 or (found >= 10 and abs(whole) >= 1e14):
            # A decimal of few places plus the noise of a few additions. Where the float is a long decimal as well, with
            # as many digits as a float can have, nobody wrote that one down.
            longest = cap if found < 0 else found - 3
            exact_power = power
            power = 1.0
            for k in range(longest + 1):
                scaled = x * power
                if not abs(scaled) < 2.0**46:
                    break
                if abs(np.rint(scaled) - scaled) <= abs(scaled) * 2.0**-50:
                    found = k
                    exact_power = power
                    rounded += 1
                    break
                power *= 10.0
            power = exact_power
        if found < 0 and may_round and abs(x) * 10.0**cap < 2.0**62:
            found = cap
            power = 10.0**cap
            rounded += 1
        if found < 0:
            places[i] = _FINER
        else:
            value[i] = np.int64(np.rint(x * power))
            places[i] = found
    return rounded
