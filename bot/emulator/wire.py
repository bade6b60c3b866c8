"""What goes over the wire: requests, answers, and the texts that numbers and times become."""

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from bot.domain.instrument import Instrument, Side

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

_CENT_E8 = Decimal("1e-8")


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """What the shell is to do to the bytes of an answer or a frame."""

    kind: str  # "reset", "half_open", "slow" or "split"
    after_bytes: int = 0  # reset: so many are sent first
    chunk_bytes: int = 1  # slow and split: so many at a time
    pause_ns: int = 0  # between two chunks


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request, as it came."""

    method: str
    path: str
    query: str = ""  # raw, as after the question mark
    headers: Mapping[str, str] = {}  # names in lower case
    body: bytes = b""
    ip: str = "127.0.0.1"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP answer. Without a status there is none: the connection is held until the client gives up."""

    status: int | None = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    delay_ns: int = 0  # the venue's clock
    damage: Damage | None = None


class Refused(Exception):
    """The venue says no: a code and a text in an envelope of HTTP status 200."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class HttpRefused(Exception):
    """The venue's gateway says no: a status, and a body that need not be JSON."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(str(status))
        self.status = status
        self.body = body


def envelope(
    result: Any, now_ns: int, *, code: int = 0, text: str = "OK", extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return an answer's JSON object."""
    return {
        "retCode": code,
        "retMsg": text,
        "result": result,
        "retExtInfo": {} if extra is None else extra,
        "time": to_ms(now_ns),
    }


_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """Return a JSON text."""
    return _encoder.encode(value)


def encode_text(value: Any) -> str:
    """Return a JSON text for a frame."""
    return _encoder.encode(value).decode()


def to_ms(ts_ns: int) -> int:
    """Return a time in whole milliseconds."""
    return ts_ns // MS_NS


def ms_text(ts_ns: int) -> str:
    """Return a time in whole milliseconds, as a string."""
    return str(ts_ns // MS_NS)


def plain(value: Decimal) -> str:
    """Return a number without an exponent and without zeros at its end."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0", "-") else text


def plain_e8(value: Decimal) -> str:
    """Return a reckoned amount, rounded to the eight places that the venue shows."""
    return plain(value.quantize(_CENT_E8)) if value.is_finite() else ""


def side_text(side: Side) -> str:
    """Return the venue's word for a side."""
    return "Buy" if side is Side.BUY else "Sell"


class Grid:
    """Turns ticks or steps into text, fast: with a fixed number of places, or without zeros at the end.

    Args:
        unit: what one tick or step is worth.
        places: how many places are shown, at least those of the unit; None: no zeros at the end.
    """

    def __init__(self, unit: Decimal, places: int | None) -> None:
        exponent = unit.normalize().as_tuple().exponent
        assert isinstance(exponent, int)
        self._is_fixed = places is not None
        self._places = max(0, -exponent, places or 0)
        self._factor = int(unit.scaleb(self._places))
        self._divisor = 10**self._places
        self.text = lru_cache(maxsize=65_536)(self._text)

    def _text(self, count: int) -> str:
        whole, rest = divmod(count * self._factor, self._divisor)
        if not self._places or (not self._is_fixed and not rest):
            return str(whole)
        text = f"{whole}.{rest:0{self._places}d}"
        return text if self._is_fixed else text.rstrip("0")


def places_of(unit: Decimal) -> int:
    """Return how many places a tick or step is written with."""
    exponent = unit.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def value_text(instrument: Instrument, turnover: int) -> str:
    """Return a sum of ticks times steps in quote currency."""
    return plain(instrument.tick_size * instrument.qty_step * turnover)
