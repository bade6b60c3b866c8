"""Durations with their unit: "250ms", "5m", "1d"."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PATTERN = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)(ns|us|ms|s|m|h|d|w)")


def parse_duration(text: str) -> int:
    """Return a duration in ns.

    Raises:
        ValueError: not a number followed by its unit.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a number and its unit, such as 250ms, 30s, 5m, 1h or 1d")
    whole, _, fraction = str(match[1]).partition(".")
    unit_ns = _UNITS_NS[match[2]]
    scale: int = 10 ** len(fraction)
    value, rest = divmod(int(whole + fraction) * unit_ns, scale)
    if rest:
        raise ValueError(f"{text!r} is not a whole number of nanoseconds")
    if value >= 2**63:
        raise ValueError(f"{text!r} is more than 292 years")
    return value


def format_duration(duration_ns: int) -> str:
    """Return the shortest text that `parse_duration` reads back."""
    for unit, unit_ns in sorted(_UNITS_NS.items(), key=lambda item: -item[1]):
        if duration_ns and duration_ns % unit_ns == 0:
            return f"{duration_ns // unit_ns}{unit}"
    return "0s"


def _parse(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} has no unit; write it with one, such as 250ms, 30s, 5m, 1h or 1d")
    return parse_duration(value)


Duration = Annotated[int, BeforeValidator(_parse), PlainSerializer(format_duration, return_type=str)]
"""A setting: a text with its unit, in ns once read."""
