"""What one answer of Bybit's market history says: checked against the question, its numbers made exact.

Pure: decoded JSON comes in, rows come out. `history_walk` decides what to ask, `history` asks it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.domain.market import I64

MS = 1_000_000
PAGE_BARS = 1000  # most bars in one answer
PAGE_FUNDING = 200  # most funding rates in one answer

Endpoint = Literal["kline", "mark-price-kline", "index-price-kline", "funding/history"]

# The venue's spelling of the bars whose grid is the epoch's. Its weeks begin on Monday and its months are no length.
INTERVALS = {
    60_000 * MS: "1",
    180_000 * MS: "3",
    300_000 * MS: "5",
    900_000 * MS: "15",
    1_800_000 * MS: "30",
    3_600_000 * MS: "60",
    7_200_000 * MS: "120",
    14_400_000 * MS: "240",
    21_600_000 * MS: "360",
    43_200_000 * MS: "720",
    86_400_000 * MS: "D",
}

_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,12})?", re.ASCII)  # nearly all are
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,2})?", re.ASCII)
_TIME = re.compile(r"[0-9]{12,14}", re.ASCII)
_PLACES_MAX = 12  # a number with more decimal places is nobody's price; it would push the others out of int64


class BadPage(DataError):
    """An answer that cannot be one to the question; asked again it may come right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One question to the venue."""

    endpoint: Endpoint
    params: Mapping[str, str | int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A row of the venue's that cannot be right, and so is not kept."""

    ts_ns: int
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rows:
    """Rows in order of time, in the columns that the market store keeps: `value = mantissa * 10**exponent`."""

    price_exponent: int  # of prices; of rates for funding
    qty_exponent: int
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


BarTexts = tuple[str, ...]  # open, high, low, close and, of traded bars, volume and turnover, as the venue spells them


def read_bars(result: Any, ask: Ask, *, step_ns: int, width: int) -> dict[int, BarTexts]:
    """Return an answer's bars by the ms of their open, the newest first.

    Args:
        result: the answer's `result`.
        ask: the question.
        step_ns: the bars' length.
        width: how many columns a row must have: 7, or 5 without volume. A row may have more: the venue adds some.

    Raises:
        BadPage: it is about something else, not in order, off the grid, or says two things of one bar.
    """
    _check_about(result, ask)
    bars: dict[int, BarTexts] = {}
    last_ms: int | None = None
    for row in _list(result):
        if not isinstance(row, list | tuple) or len(row) < width or not all(isinstance(text, str) for text in row):
            raise BadPage(f"a bar is {_cut(row)}, not a list of {width} texts")
        open_ms = _time(row[0])
        if open_ms * MS % step_ns:
            raise BadPage(f"a bar opens at {iso(open_ms * MS)}, which is not on the grid of {step_ns / 1e9:g} s")
        if last_ms is not None and open_ms > last_ms:
            raise BadPage(f"the bar of {iso(open_ms * MS)} stands after an older one: not sorted newest first")
        texts = tuple(row[1:width])
        if bars.setdefault(open_ms, texts) != texts:
            raise BadPage(f"two different bars of {iso(open_ms * MS)}")
        last_ms = open_ms
    return bars


def read_funding(result: Any, ask: Ask) -> dict[int, str]:
    """Return an answer's funding rates by the ms of their settlement, the newest first.

    Raises:
        BadPage: it is about something else, not in order, or says two things of one settlement.
    """
    _check_about(result, ask)
    rates: dict[int, str] = {}
    last_ms: int | None = None
    for row in _list(result):
        if not isinstance(row, dict) or not isinstance(row.get("fundingRate"), str):
            raise BadPage(f"a funding rate is {_cut(row)}, without its fundingRate")
        if row.get("symbol") != ask.params["symbol"]:
            raise BadPage(f"asked for {ask.params['symbol']}, got a rate of {_cut(row.get('symbol'))}")
        ts_ms = _time(row.get("fundingRateTimestamp"))
        if last_ms is not None and ts_ms > last_ms:
            raise BadPage(f"the rate of {iso(ts_ms * MS)} stands after an older one: not sorted newest first")
        if rates.setdefault(ts_ms, row["fundingRate"]) != row["fundingRate"]:
            raise BadPage(f"two different rates of {iso(ts_ms * MS)}")
        last_ms = ts_ms
    return rates


def bar_complaint(texts: BarTexts) -> str | None:
    """Return what is wrong with a bar's numbers, None where nothing is."""
    if not all(map(_is_exact, texts)):
        return f"not numbers of at most {_PLACES_MAX} decimal places"
    open_, high, low, close, *flow = (Decimal(text) for text in texts)
    if low <= 0:
        return "a price that is not positive"
    if high < max(open_, close, low):
        return "a high below another of its prices"
    if low > min(open_, close):
        return "a low above another of its prices"
    if any(amount < 0 for amount in flow):
        return "a negative volume or turnover"
    return None


def rate_complaint(text: str) -> str | None:
    """Return what is wrong with a funding rate, None where nothing is."""
    if not _is_exact(text):
        return f"not a number of at most {_PLACES_MAX} decimal places"
    if abs(Decimal(text)) > Decimal("0.1"):
        return "a rate above 0.1, which is no fraction"
    return None


def bar_rows(bars: Mapping[int, BarTexts]) -> Rows:
    """Return bars, which `bar_complaint` passed, as columns in order of time; without volume where they have none."""
    opens_ms = sorted(bars)
    texts = list(zip(*(bars[open_ms] for open_ms in opens_ms), strict=True)) if opens_ms else [()] * 6
    rows = len(opens_ms)
    prices, price_exponent = mantissas([text for column in texts[:4] for text in column])
    columns: dict[str, NDArray[Any]] = {"open_ns": np.array(opens_ms, dtype=np.int64) * MS}
    for index, name in enumerate(("open", "high", "low", "close")):
        columns[name] = prices[index * rows : (index + 1) * rows]
    qty_exponent = 0
    if len(texts) > 4:
        columns["volume"], qty_exponent = mantissas(texts[4])
        columns["turnover"] = np.array([float(text) for text in texts[5]], dtype=np.float64)
        columns["count"] = np.full(rows, -1, dtype=np.int64)
        columns["buy_volume"] = np.full(rows, -1, dtype=np.int64)
    return Rows(price_exponent=price_exponent, qty_exponent=qty_exponent, columns=columns)


def funding_rows(rates: Mapping[int, str]) -> Rows:
    """Return funding rates, which `rate_complaint` passed, as columns in order of time."""
    times_ms = sorted(rates)
    rate, exponent = mantissas([rates[ts_ms] for ts_ms in times_ms])
    ts_ns = np.array(times_ms, dtype=np.int64) * MS
    return Rows(price_exponent=exponent, qty_exponent=0, columns={"ts_ns": ts_ns, "rate": rate})


def mantissas(texts: Sequence[str]) -> tuple[I64, int]:
    """Return numbers as whole mantissas of one power of ten, and its exponent: the greatest that keeps all exact.

    Trailing zeros do not count, so that "16661.50" and "16661.5" are one value and give one result.

    Raises:
        DataError: they are too far apart for 64 bits.
    """
    if any("e" in text or "E" in text for text in texts):
        texts = [_plain(text) for text in texts]
    parts = [text.partition(".") for text in texts]
    fractions = [fraction.rstrip("0") for _, _, fraction in parts]
    places = max(map(len, fractions), default=0)
    values = [
        int(whole + fraction.ljust(places, "0")) for (whole, _, _), fraction in zip(parts, fractions, strict=True)
    ]
    try:
        return np.array(values, dtype=np.int64), -places
    except OverflowError:
        raise DataError(
            f"the numbers {max(texts, key=len)} and {max(texts, key=lambda t: abs(Decimal(t)))} are too far apart to "
            "be kept exactly; ask for a shorter range"
        ) from None


def iso(ts_ns: int) -> str:
    """Return a time as text, to the second."""
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[s]")) + "Z"


def _is_exact(text: str) -> bool:
    if _PLAIN_NUMBER.fullmatch(text) is not None:
        return True
    if _NUMBER.fullmatch(text) is None:
        return False
    whole, _, fraction = _plain(text).partition(".")
    return len(fraction.rstrip("0")) <= _PLACES_MAX and len(whole) <= 18


def _plain(text: str) -> str:
    return format(Decimal(text), "f") if "e" in text.lower() else text


def _check_about(result: Any, ask: Ask) -> None:
    if not isinstance(result, dict):
        raise BadPage(f"the result is {_cut(result)}, not an object")
    for key in ("category", "symbol"):
        if result.get(key, ask.params[key]) != ask.params[key]:
            raise BadPage(f"asked for the {key} {ask.params[key]}, got {_cut(result[key])}")


def _list(result: dict[str, Any]) -> list[Any]:
    rows = result.get("list")
    if not isinstance(rows, list):
        raise BadPage(f"the result has no list of rows, but {_cut(rows)}")
    return rows


def _time(text: Any) -> int:
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        raise BadPage(f"{_cut(text)} is no time in ms")
    return int(text)


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
