"""Reading what clients send: strings that should be numbers, words that should be known."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import unquote

import msgspec

from bot.emulator import inferred
from bot.emulator.listing import CATEGORIES
from bot.emulator.wire import DAY_NS, MS_NS, Refused

BODY_MAX = 1 << 20
_TEXT_MAX = 4096
_DIGITS_MAX = 40
_TIME_MAX_MS = 95_617_584_000_000
_WINDOW_NS = 7 * DAY_NS

Body = Mapping[str, Any]


def read_query(query: str) -> dict[str, str]:
    """Return a query's parameters, percent-encoding undone once; of a repeated one the last counts."""
    params: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name:
            params[unquote(name)] = unquote(value.replace("+", " "))
    return params


def read_body(raw: bytes) -> dict[str, Any]:
    """Return a body's JSON object.

    Raises:
        Refused: it is none, or it is absurdly large.
    """
    if len(raw) > BODY_MAX:
        raise Refused(10001, "params error: body too large")
    try:
        body = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(10001, "params error: body is not valid JSON") from error
    if not isinstance(body, dict):
        raise Refused(10001, "params error: body must be an object")
    return body


def category(params: Body) -> str:
    """Return the category.

    Raises:
        Refused: it is none that the emulator lists.
    """
    value = params.get("category", "")
    if value not in CATEGORIES:
        raise Refused(10001, "Illegal category")
    return str(value)


def text(params: Body, name: str, default: str = "") -> str:
    """Return a string.

    Raises:
        Refused: it is something else.
    """
    value = params.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise Refused(10001, f"params error: {name} invalid")
    return value


def needed(params: Body, name: str) -> str:
    """Return a string that must be there.

    Raises:
        Refused: it is not.
    """
    value = text(params, name)
    if not value:
        raise Refused(10001, f"params error: {name} is required")
    return value


def choice(params: Body, name: str, known: tuple[str, ...], default: str | None = None) -> str:
    """Return one of several words.

    Raises:
        Refused: it is another, or it is missing and there is no default.
    """
    value = text(params, name)
    if not value and default is not None:
        return default
    if value not in known:
        raise Refused(10001, f"params error: {name} invalid")
    return value


def number(params: Body, name: str) -> Decimal | None:
    """Return a decimal that is written as a string; None where it is absent or empty.

    Raises:
        Refused: it is no finite number, or no string.
    """
    value = params.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _DIGITS_MAX or not value.isascii() or "_" in value:
        raise Refused(10001, f"params error: {name} invalid")
    try:
        parsed = Decimal(value)
    except InvalidOperation as error:
        raise Refused(10001, f"params error: {name} invalid") from error
    exponent = parsed.as_tuple().exponent
    if not parsed.is_finite() or not isinstance(exponent, int) or not -30 <= exponent <= 30 or value != value.strip():
        raise Refused(10001, f"params error: {name} invalid")
    return parsed


def integer(params: Body, name: str, default: int | None = None) -> int | None:
    """Return a whole number, written as one or as a string.

    Raises:
        Refused: it is none.
    """
    value = params.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Refused(10001, f"params error: {name} invalid")
    digits = str(value)
    if not digits.removeprefix("-").isdigit() or not digits.isascii() or len(digits) > 19:
        raise Refused(10001, f"params error: {name} invalid")
    return int(digits)


def time_ms(params: Body, name: str) -> int | None:
    """Return a time in milliseconds since the epoch, None where it is absent.

    Raises:
        Refused: it is none, or beyond the year 5000.
    """
    value = integer(params, name)
    if value is not None and not 0 <= value <= _TIME_MAX_MS:
        raise Refused(10001, f"params error: {name} invalid")
    return value


def flag(params: Body, name: str) -> bool:
    """Return a boolean, false where it is absent.

    Raises:
        Refused: it is no boolean.
    """
    value = params.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Refused(10001, f"params error: {name} invalid")
    return value


def limit(params: Body, default: int, most: int) -> int:
    """Return how many rows a page is to have; more than the most is taken for the most.

    Raises:
        Refused: it is no positive number.
    """
    value = integer(params, "limit", default)
    if value is None or value < 1:
        raise Refused(10001, "params error: limit invalid")
    return min(value, most)


def window(params: Body) -> tuple[int, int] | None:
    """Return the time range asked for, [start, end] in ns; None where none is.

    A start alone means seven days from it, an end alone seven days before it.

    Raises:
        Refused: it is upside down, or longer than seven days.
    """
    start, end = time_ms(params, "startTime"), time_ms(params, "endTime")
    if start is None and end is None:
        return None
    start_ns = None if start is None else start * MS_NS
    end_ns = None if end is None else end * MS_NS + MS_NS - 1
    if start_ns is None:
        assert end_ns is not None
        start_ns = end_ns - _WINDOW_NS
    elif end_ns is None:
        end_ns = start_ns + _WINDOW_NS
    if not 0 <= end_ns - start_ns <= _WINDOW_NS + MS_NS:
        raise Refused(*inferred.WINDOW_WRONG)
    return start_ns, end_ns


def recent_window(params: Body, now_ns: int, default_ns: int = _WINDOW_NS) -> tuple[int, int]:
    """Return the time range asked for, the last days where none is.

    Raises:
        Refused: see `window`.
    """
    return window(params) or (now_ns - default_ns, now_ns)
