"""What closes a bar, as text: a length of time such as "5m", or a rule on the trades such as "volume:100".

    tick:500              500 trades
    volume:100            100 of the base currency
    dollar:1000000        1,000,000 of the quote currency
    tick_imbalance:50     buys and sells are 50 trades apart; volume_imbalance and dollar_imbalance the same
    tick_run:300          300 trades of one side; volume_run and dollar_run the same

The number of an imbalance or run rule is where its threshold starts; from the first bar on it follows the market, as
`core.event_bars` defines. Three words may follow it: span (of the averages, in bars), min and max (how far the
threshold may go, as factors of where it started), as in "volume_run:40,span=50,min=0.5,max=2".
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, PlainSerializer

from bot.core.durations import format_duration, parse_duration

Measure = Literal["tick", "volume", "dollar"]
Shape = Literal["sum", "imbalance", "run"]

_KIND = re.compile(r"(tick|volume|dollar)(?:_(imbalance|run))?")
_NUMBER = re.compile(r"[0-9][0-9_]{0,24}(?:\.[0-9]{1,18})?")
_SPAN, _SPAN_MAX = 20, 100_000
_FACTOR_MIN, _FACTOR_MAX = Decimal("0.25"), Decimal(4)
_FACTOR_LIMIT = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRule:
    """What closes a bar. `str` gives the one text that means it."""

    measure: Measure  # what is counted: trades, base currency, or quote currency
    shape: Shape  # of all trades, of buys less sells, or of the side that has more
    size: Decimal  # the threshold, or where it starts
    span: int = _SPAN  # bars; the averages weigh the newest by 2 / (span + 1)
    factor_min: Decimal = _FACTOR_MIN  # least threshold, a multiple of `size`
    factor_max: Decimal = _FACTOR_MAX  # greatest threshold, the same

    def __str__(self) -> str:
        kind = self.measure if self.shape == "sum" else f"{self.measure}_{self.shape}"
        told = [f"{kind}:{_plain(self.size)}"]
        if self.span != _SPAN:
            told.append(f"span={self.span}")
        if self.factor_min != _FACTOR_MIN:
            told.append(f"min={_plain(self.factor_min)}")
        if self.factor_max != _FACTOR_MAX:
            told.append(f"max={_plain(self.factor_max)}")
        return ",".join(told)


def parse_event_rule(text: str) -> EventRule:
    """Return the rule that a text means.

    Raises:
        ValueError: it means none; the message says what would be right.
    """
    head, *options = text.replace(" ", "").split(",")
    kind, _, size = head.partition(":")
    match = _KIND.fullmatch(kind)
    if match is None:
        raise ValueError(
            f"{text!r} is not a rule; write what is counted and how much, such as tick:500, volume:100, "
            "dollar:1000000, volume_imbalance:20 or tick_run:300"
        )
    measure, shape = cast(Measure, match[1]), cast(Shape, match[2] or "sum")
    told = _options(text, shape, options)
    rule = EventRule(
        measure=measure,
        shape=shape,
        size=_number(text, "the number after the colon", size),
        span=int(told.get("span", _SPAN)),
        factor_min=told.get("min", _FACTOR_MIN),
        factor_max=told.get("max", _FACTOR_MAX),
    )
    if measure == "tick" and rule.size != int(rule.size):
        raise ValueError(f"{text!r} counts trades; write a whole number of them")
    if not rule.factor_min <= 1 <= rule.factor_max:
        raise ValueError(f"{text!r}: the threshold starts at 1 times itself; let min be at most 1 and max at least 1")
    return rule


def _options(text: str, shape: Shape, options: list[str]) -> dict[str, Decimal]:
    told: dict[str, Decimal] = {}
    for option in options:
        word, _, value = option.partition("=")
        if shape == "sum":
            raise ValueError(
                f"{text!r}: nothing follows the number; only imbalance and run rules take span, min and max"
            )
        if word not in ("span", "min", "max") or word in told:
            raise ValueError(f"{text!r}: {option!r} is not understood; span=, min= and max= may follow, each once")
        told[word] = _number(text, word, value)
    span = told.get("span", Decimal(_SPAN))
    if span != int(span) or not 1 <= span <= _SPAN_MAX:
        raise ValueError(f"{text!r}: span is a whole number of bars, 1 to {_SPAN_MAX:,}")
    if told.get("max", Decimal(1)) > _FACTOR_LIMIT:
        raise ValueError(f"{text!r}: max is a factor, at most {_FACTOR_LIMIT:,}")
    return told


def _number(text: str, name: str, value: str) -> Decimal:
    if _NUMBER.fullmatch(value) is None or not (number := Decimal(value)):
        raise ValueError(f"{text!r}: {name} must be a number above 0, such as 500, 1_000_000 or 0.25")
    return number


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


def parse_scale(text: str) -> int | str:
    """Return a bar's length in ns, or the one text of the rule that closes it.

    Raises:
        ValueError: neither.
    """
    return str(parse_event_rule(text)) if ":" in text else parse_duration(text)


def format_scale(scale: int | str) -> str:
    """Return the text that `parse_scale` reads back."""
    return scale if isinstance(scale, str) else format_duration(scale)


def _read_rule(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a rule; write a text such as volume:100")
    return str(parse_event_rule(value))


def _read_scale(value: Any) -> int | str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} has no unit; write a length such as 30s or 5m, or a rule such as volume:100")
    return parse_scale(value)


EventRuleText = Annotated[str, BeforeValidator(_read_rule)]
"""A setting: a rule, in its one spelling once read."""

Scale = Annotated[int | str, BeforeValidator(_read_scale), PlainSerializer(format_scale, return_type=str)]
"""A setting: what closes a bar, a length in ns or a rule once read."""
