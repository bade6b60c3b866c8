"""Numbers, times and spans as a person reads them. Text only: whoever puts it into HTML escapes it."""

import math
from decimal import Decimal

import pandas as pd

MINUS = "\N{MINUS SIGN}"
_THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
_MISSING = "n/a"
_DAY_NS = 86_400_000_000_000
_UNITS_NS = (("d", _DAY_NS), ("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000))


def number(value: float | Decimal | None, digits: int = 2, *, signed: bool = False) -> str:
    """Return `value` with thousand separators; "n/a" for None."""
    if value is None:
        return _MISSING
    text = f"{abs(value):,.{digits}f}"
    is_zero = not any(digit in text for digit in "123456789")
    if value < 0 and not is_zero:
        return MINUS + text
    return f"+{text}" if signed and not is_zero else text


def amount(value: float | Decimal | None, currency: str = "", *, signed: bool = False) -> str:
    """Return an amount of money: two digits, more where it is less than a cent."""
    digits = 6 if value is not None and 0 < abs(float(value)) < 0.01 else 2
    text = number(value, digits, signed=signed)
    return f"{text}{_THIN_SPACE}{currency}" if currency and value is not None else text


def share(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Return a fraction in hundredths: 0.123 is "12.3 %"."""
    return _MISSING if value is None else f"{number(100 * value, digits, signed=signed)}{_THIN_SPACE}%"


def rate(per_second: float) -> str:
    """Return how many a second, in three digits: "1.18 M/s"."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if per_second >= size:
            return f"{per_second / size:.3g}{_THIN_SPACE}{unit}/s"
    return f"{per_second:.3g}{_THIN_SPACE}/s"


def price(value: float | Decimal) -> str:
    """Return a price to seven significant digits, without the zeros at the end."""
    magnitude = math.floor(math.log10(abs(float(value)))) if value else 0
    text = number(value, min(max(6 - magnitude, 0), 12))
    return text.rstrip("0").rstrip(".") if "." in text else text


def qty(value: Decimal) -> str:
    """Return a quantity with all its digits."""
    return f"{value.normalize():,f}"


def span(duration_ns: int) -> str:
    """Return a duration in its two largest units: "3 d 4 h", "12 min"."""
    parts: list[str] = []
    rest = duration_ns
    for unit, unit_ns in _UNITS_NS:
        count, rest_after = divmod(rest, unit_ns)
        if count and len(parts) < 2:
            parts.append(f"{count:,}{_THIN_SPACE}{unit}")
            rest = rest_after
        elif parts:
            break
    if parts:
        return " ".join(parts)
    return "0 s" if not duration_ns else f"{number(duration_ns / 1e6, 1)}{_THIN_SPACE}ms"


def days(duration_ns: int) -> str:
    """Return a duration for a sentence: "45 days"; what is shorter than two, as `span`."""
    whole = round(duration_ns / _DAY_NS)
    return f"{whole:,} days" if whole >= 2 else span(duration_ns)


def utc(ts_ns: int, *, seconds: bool = False) -> str:
    """Return a time in UTC, to the minute or the second."""
    return pd.Timestamp(ts_ns, unit="ns").strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def day(ts_ns: int) -> str:
    """Return the UTC day as "4 March 2024"."""
    at = pd.Timestamp(ts_ns, unit="ns")
    return f"{at.day} {at.strftime('%B %Y')}"


def count(value: int, one: str, many: str | None = None) -> str:
    """Return "1 round trip", "213 round trips"."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def short(text: str, length: int) -> str:
    """Return `text`, cut at `length` characters with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
