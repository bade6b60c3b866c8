"""The values of Bybit's records: one gate for each kind of text, through which nothing passes that cannot be right.

Numbers are digits and a point, no exponent, nothing infinite. "No value" is spelled "", "0", "UNKNOWN" or not at all,
and becomes None where 0 is no value of its kind.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from bot.domain.instrument import Side
from bot.domain.orders import Leg

MARKETS = frozenset(["linear", "spot", "inverse", "option"])
ABSENT = frozenset(["", "UNKNOWN"])

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,24})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._\-]{1,60}", re.ASCII)
_ID_MAX = 100
_MS_MIN, _MS_MAX = 978_307_200_000, 4_102_444_800_000  # 2001 to 2100
_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_LEGS = {0: Leg.NET, 1: Leg.LONG, 2: Leg.SHORT}


class BadRecord(ValueError):
    """A record is not what it should be; the message says in what."""


def number(text: str) -> Decimal:
    """Return a decimal's exact value.

    Raises:
        BadRecord: it is none: digits, and a point with digits behind it.
    """
    if _NUMBER.fullmatch(text) is None:
        raise BadRecord(f"{text[:30]!r} is no number")
    return Decimal(text)


def read_all(records: list[Any], read: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return all records read, in order; one bad one spoils them.

    Raises:
        BadRecord: naming its place.
    """
    made = []
    for place, record in enumerate(records):
        try:
            made.append(read(record))
        except BadRecord as error:
            raise BadRecord(f"record {place}: {error}") from error
    return tuple(made)


def market_of(category: str) -> str:
    """Return a market's name.

    Raises:
        BadRecord: there is no such one.
    """
    if category not in MARKETS:
        raise BadRecord(f"of category {category[:20]!r}")
    return category


def side_of(text: str) -> Side:
    """Return a side.

    Raises:
        BadRecord: it is neither.
    """
    side = _SIDES.get(text)
    if side is None:
        raise BadRecord(f"of side {text[:20]!r}")
    return side


def name_of(text: str) -> str:
    """Return a name: of an instrument, a coin, a kind.

    Raises:
        BadRecord: it is none.
    """
    if _NAME.fullmatch(text) is None:
        raise BadRecord(f"{text[:30]!r} is no name")
    return text


def id_of(text: str, *, is_needed: bool = False) -> str:
    """Return an id, "" where there is none and none is needed.

    Raises:
        BadRecord: it is none.
    """
    if not text.isascii() or not (text.isprintable() or not text) or len(text) > _ID_MAX or (is_needed and not text):
        raise BadRecord(f"{text[:30]!r} is no id")
    return text


def ms_of(text: str) -> int:
    """Return a time in ms since the epoch.

    Raises:
        BadRecord: it is none of this century.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= 14 and _MS_MIN <= int(text) < _MS_MAX):
        raise BadRecord(f"{text[:30]!r} is no time in ms")
    return int(text)


def optional(text: str) -> Decimal | None:
    """Return a number, None where there is none.

    Raises:
        BadRecord: it is no number.
    """
    return None if text in ABSENT else number(text)


def or_zero(text: str) -> Decimal:
    """Return a number, 0 where there is none.

    Raises:
        BadRecord: it is no number.
    """
    return Decimal(0) if text in ABSENT else number(text)


def not_negative(text: str) -> Decimal:
    """Return a number that is at least 0.

    Raises:
        BadRecord: it is not.
    """
    value = number(text)
    if value < 0:
        raise BadRecord(f"{text[:30]!r} is negative")
    return value


def positive(text: str) -> Decimal:
    """Return a number above 0.

    Raises:
        BadRecord: it is not.
    """
    value = number(text)
    if value <= 0:
        raise BadRecord(f"{text[:30]!r} is not positive")
    return value


def price_of(text: str) -> Decimal | None:
    """Return a price or a distance; None for 0 and "", which say that there is none.

    Raises:
        BadRecord: it is negative, or no number.
    """
    value = optional(text)
    if value is not None and value < 0:
        raise BadRecord(f"{text[:30]!r} is negative")
    return value or None


def leg_of(position_idx: int) -> Leg:
    """Return which position of an instrument a number means.

    Raises:
        BadRecord: there is no such one.
    """
    if position_idx not in _LEGS:
        raise BadRecord(f"a position of index {position_idx}; there are 0, 1 and 2")
    return _LEGS[position_idx]
