"""What answers of the public REST interface say: bytes in, rows or a reason out. Nothing here raises anything else.

Source: Bybit V5, market endpoints; faults N16 and M13 of the fault catalogue.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch
from bot.venues.bybit.history_pages import INTERVALS, PAGE_BARS, Ask, BadPage, read_bars
from bot.venues.bybit.instruments import InstrumentFilters, read_instruments
from bot.venues.bybit.klines import KlineDecoder
from bot.venues.bybit.topics import Category, kline_topic
from bot.venues.bybit.wire import Counter, KlineFrame, Ms, Text, WireKline, WireTrade

BODY_BYTES_MAX = 2 << 20
RECENT_MAX = {"spot": 60}  # trades in one answer
_RECENT_MAX = 1000
_MS = 1_000_000


class Unusable(Exception):
    """An answer that says nothing that was asked for; `is_banned` where the venue shuts the address out."""

    def __init__(self, reason: str, *, is_banned: bool = False) -> None:
        super().__init__(reason)
        self.is_banned = is_banned


class _Envelope(msgspec.Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")
    time: int = 0


class _Trade(msgspec.Struct, rename="camel"):
    exec_id: Text
    symbol: Text
    price: Text
    size: Text
    side: str
    time: str
    is_block_trade: bool = False
    seq: str = "0"


class _Trades(msgspec.Struct):
    list: list[_Trade]


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_TRADES = msgspec.json.Decoder(_Trades)
_MS_TEXT = msgspec.json.Decoder(Ms, strict=False)
_COUNTER_TEXT = msgspec.json.Decoder(Counter, strict=False)


def recent_path(category: Category, symbol: str) -> str:
    """Return what asks for the newest trades, as many as there are in one answer."""
    return _path("recent-trade", category=category, symbol=symbol, limit=RECENT_MAX.get(category, _RECENT_MAX))


def kline_path(category: Category, symbol: str, scale_ns: int, from_ns: int, to_ns: int) -> str:
    """Return what asks for the venue's own bars that open within [from_ns, to_ns); at most a page of them."""
    span = {"start": from_ns // _MS, "end": to_ns // _MS - 1, "limit": PAGE_BARS}
    return _path("kline", category=category, symbol=symbol, interval=INTERVALS[scale_ns], **span)


def instruments_path(category: Category, symbol: str) -> str:
    """Return what asks for the filters of an instrument."""
    return _path("instruments-info", category=category, symbol=symbol)


TIME_PATH = "/v5/market/time"


def _path(endpoint: str, **params: str | int) -> str:
    return f"/v5/market/{endpoint}?{urlencode(params)}"


def read_result(status: int, body: bytes) -> tuple[msgspec.Raw, int]:
    """Return an answer's result, undecoded, and the venue's time in ms, 0 where it is not told.

    Raises:
        Unusable: it is a refusal, or no answer of the venue's.
    """
    if status == 403:
        raise Unusable("HTTP 403: the venue shut this address out", is_banned=True)
    if status != 200:
        raise Unusable(f"HTTP {status}")
    if len(body) > BODY_BYTES_MAX:
        raise Unusable(f"an answer of {len(body):,} bytes")
    try:
        envelope = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unusable(f"no answer of the venue's ({str(error)[:100]})") from error
    if envelope.ret_code != 0:
        raise Unusable(f"{envelope.ret_code}: {envelope.ret_msg[:100]}")
    return envelope.result, envelope.time


def read_time(status: int, body: bytes) -> int:
    """Return the venue's time in ms.

    Raises:
        Unusable: it is not told.
    """
    _, time_ms = read_result(status, body)
    if not 978_307_200_000 <= time_ms < 4_102_444_800_000:
        raise Unusable(f"a time of {time_ms} ms")
    return time_ms


def read_recent(status: int, body: bytes, symbol: str) -> list[WireTrade]:
    """Return the newest trades, the oldest first.

    Raises:
        Unusable: they cannot be that.
    """
    result, _ = read_result(status, body)
    try:
        trades = [
            WireTrade(
                T=_MS_TEXT.decode(each.time),
                s=each.symbol,
                S=each.side,
                v=msgspec.Raw(msgspec.json.encode(each.size)),
                p=msgspec.Raw(msgspec.json.encode(each.price)),
                i=each.exec_id,
                BT=each.is_block_trade,
                seq=_COUNTER_TEXT.decode(each.seq or "0"),
            )
            for each in reversed(_TRADES.decode(result).list)
        ]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unusable(f"no list of trades ({str(error)[:100]})") from error
    if any(trade.s != symbol or trade.S not in ("Buy", "Sell") for trade in trades):
        raise Unusable("trades of something else, or of no side")
    if any(one.T > after.T for one, after in pairwise(trades)):
        raise Unusable("trades that are not in order of time")
    return trades


def read_klines(
    status: int, body: bytes, instrument: Instrument, *, category: Category, scale_ns: int, from_ns: int, to_ns: int
) -> BarBatch:
    """Return the venue's own bars that open within [from_ns, to_ns), the oldest first; those that are not told lack.

    They say nothing of counts and of who bought, which are 0.

    Raises:
        Unusable: they cannot be that.
    """
    result, _ = read_result(status, body)
    ask = Ask(endpoint="kline", params={"category": category, "symbol": instrument.name})
    try:
        bars = read_bars(_decoded(result), ask, step_ns=scale_ns, width=7)
    except BadPage as error:
        raise Unusable(str(error)) from error
    topic = kline_topic(instrument.name, INTERVALS[scale_ns])
    klines = [
        _kline(open_ms, texts, scale_ns, INTERVALS[scale_ns])
        for open_ms, texts in sorted(bars.items())
        if from_ns <= open_ms * _MS < to_ns
    ]
    frame = KlineFrame(raw=b"", known_ns=0, topic=topic, ts_ns=0, klines=klines)
    made, _, refused = KlineDecoder(instrument, INTERVALS[scale_ns]).decode([frame])
    if refused:
        raise Unusable(refused[0].reason)
    return made


def read_filters(status: int, body: bytes, category: Category, symbol: str) -> InstrumentFilters:
    """Return the filters of an instrument.

    Raises:
        Unusable: they are not told.
    """
    result, _ = read_result(status, body)
    try:
        found, _ = read_instruments(_decoded(result), category)
    except BadPage as error:
        raise Unusable(str(error)) from error
    for each in found:
        if each.symbol == symbol:
            return each
    raise Unusable(f"{symbol} is not listed")


def without_flow(bars: BarBatch, no_flow: int) -> BarBatch:
    """Return bars flagged as telling neither turnover, count nor who bought."""
    nothing = np.zeros(len(bars), dtype=np.int64)
    columns = {name: getattr(bars, name) for name in BarBatch.COLUMNS}
    columns |= {"turnover": nothing, "count": nothing, "buy_steps": nothing}
    columns["flags"] = bars.flags | np.uint8(no_flow)
    return BarBatch(instrument=bars.instrument, scale_ns=bars.scale_ns, first_row=bars.first_row, **columns)


def _decoded(result: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(result)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unusable(f"a result that cannot be read ({str(error)[:100]})") from error


def _kline(open_ms: int, texts: Sequence[str], scale_ns: int, interval: str) -> WireKline:
    open_, high, low, close, volume, turnover = texts
    end = open_ms + scale_ns // _MS - 1
    return WireKline(
        start=open_ms,
        end=end,
        interval=interval,
        open=open_,
        close=close,
        high=high,
        low=low,
        volume=volume,
        turnover=turnover,
        confirm=True,
        timestamp=end,
    )
