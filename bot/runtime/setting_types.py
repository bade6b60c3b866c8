"""What settings of every kind are made of: sections that know their keys, times, fees."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class Section(BaseModel):
    """The root of all sections: frozen, and no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _parse_time(value: Any) -> int | None:
    if value in (None, ""):
        return None
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise ValueError("not a time; write it like 2024-03-01 or 2024-03-01T12:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def _format_time(value: int | None) -> str:
    if value is None:
        return ""
    return datetime.fromtimestamp(value / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[int | None, BeforeValidator(_parse_time), PlainSerializer(_format_time, return_type=str)]
"""A time, UTC; ns since the epoch once read."""


def _parse_rate(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        raise ValueError(f"{value!r} is a percentage; write the fraction: 0.055 % is 0.00055")
    return value


FeeRate = Annotated[Decimal, BeforeValidator(_parse_rate), Field(gt=Decimal("-0.01"), lt=Decimal("0.01"))]
"""A fraction of the value traded. Nothing charges 1 %: such a number is a percentage by mistake."""
