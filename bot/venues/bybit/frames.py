"""Messages of a public connection to frames: bytes in, a typed frame out, or a refusal with its reason.

`read_frame` raises nothing, whatever it is given. Keys that are not known are passed over, for the venue adds some
every week; a missing key, another type, a time that cannot be or a frame about another symbol is a refusal, which
keeps the bytes.

Source: Bybit V5, websocket connect and public topics.
"""

from collections.abc import Mapping

import msgspec

from bot.venues.bybit.topics import Kind, Topic, UnknownTopic, parse_topic
from bot.venues.bybit.wire import (
    Answer,
    BookFrame,
    Counter,
    Frame,
    KlineFrame,
    Ms,
    Notice,
    NoticeState,
    Pong,
    PriceLimitFrame,
    Refused,
    StatusFrame,
    Text,
    TickerFrame,
    TickerValues,
    TradeFrame,
    WireKline,
    WireTrade,
)

FRAME_BYTES_MAX = 1 << 20
TEXT_MAX = 300  # characters kept of what the venue says in words

_MS = 1_000_000
_NOTHING = msgspec.Raw()


class _Envelope(msgspec.Struct, gc=False, rename={"ret_msg_trade": "retMsg"}):
    """Every message is looked at through this first: those of topics, and answers in all dialects."""

    topic: str | None = None
    type: str | None = None
    ts: Ms | None = None
    cts: Ms | None = None
    data: msgspec.Raw = _NOTHING
    op: str | None = None
    success: bool | None = None
    ret_msg: str | None = None
    ret_msg_trade: str | None = None  # order entry's and REST's spelling
    req_id: str | None = None


class _TopicOnly(msgspec.Struct, gc=False):
    topic: Text = ""


class _Book(msgspec.Struct, gc=False):
    s: Text
    b: msgspec.Raw
    a: msgspec.Raw
    u: Counter
    seq: Counter = 0


class _PriceLimit(msgspec.Struct, gc=False, rename="camel"):
    symbol: Text
    buy_lmt: Text
    sell_lmt: Text


class _Notice(msgspec.Struct, gc=False):
    id: str
    state: str
    begin: str
    end: str
    title: str = ""


class _Listed(msgspec.Struct, gc=False, rename="camel"):
    fail_topics: list[str] = []
    success_topics: list[str] = []


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_TOPIC_ONLY = msgspec.json.Decoder(_TopicOnly)
_BOOK = msgspec.json.Decoder(_Book)
_TRADES = msgspec.json.Decoder(list[WireTrade])
_TICKER = msgspec.json.Decoder(TickerValues)
_KLINES = msgspec.json.Decoder(list[WireKline])
_PRICE_LIMIT = msgspec.json.Decoder(_PriceLimit)
_NOTICES = msgspec.json.Decoder(list[_Notice])
_LISTED = msgspec.json.Decoder(_Listed)

_SIDES = frozenset(["Buy", "Sell"])
_STATES = {state.value: state for state in NoticeState}
_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def read_frame(raw: bytes, *, known_ns: int = 0, topics: Mapping[str, Topic] | None = None) -> Frame:
    """Return what a message says.

    Args:
        raw: the message.
        known_ns: when it was received.
        topics: those that were asked for, by their text; frames of others are refused. None takes any that is read.
    """
    if len(raw) > FRAME_BYTES_MAX:
        return _refuse(raw[:TEXT_MAX], known_ns, f"{len(raw):,} bytes are too many", is_garbled=True)
    name: str | None = None
    try:
        envelope = _ENVELOPE.decode(raw)
        name = envelope.topic
        if name is None:
            return _read_answer(raw, known_ns, envelope)
        topic = parse_topic(name) if topics is None else topics.get(name)
        if topic is None:
            parse_topic(name)  # tells better why, where it is of no kind that is read
            return _refuse(raw, known_ns, "its topic was not asked for", topic=name)
        return _READERS[topic.kind](raw, known_ns, topic, envelope)
    except UnknownTopic as error:
        return _refuse(raw, known_ns, str(error), topic=(name or "")[:TEXT_MAX])
    except msgspec.ValidationError as error:
        return _refuse_invalid(raw, known_ns, str(error))
    except _NOT_JSON as error:
        return _refuse(raw, known_ns, f"no JSON object ({error})", is_garbled=True)


def _refuse(raw: bytes, known_ns: int, reason: str, *, topic: str = "", is_garbled: bool = False) -> Refused:
    return Refused(raw=raw, known_ns=known_ns, reason=reason[:TEXT_MAX], topic=topic, is_garbled=is_garbled)


def _refuse_invalid(raw: bytes, known_ns: int, reason: str) -> Refused:
    """Refuse a message whose keys are not what they were, and find out whose it is."""
    if raw.lstrip()[:1] != b"{":
        return _refuse(raw, known_ns, f"no JSON object ({reason})", is_garbled=True)
    try:
        return _refuse(raw, known_ns, reason, topic=_TOPIC_ONLY.decode(raw).topic)
    except (msgspec.ValidationError, *_NOT_JSON):
        return _refuse(raw, known_ns, reason)


def _read_answer(raw: bytes, known_ns: int, envelope: _Envelope) -> Frame:
    """Read a message without a topic.

    A pong has `op` "pong" on private connections and those for orders; public ones say "ping" there and "pong" in
    `ret_msg`. Options list topics in an answer of type COMMAND_RESP.
    """
    op, req_id = envelope.op or "", (envelope.req_id or "")[:TEXT_MAX]
    text = (envelope.ret_msg or "")[:TEXT_MAX]
    if (op == "pong" and envelope.success is not False) or (text == "pong" and envelope.success):
        return Pong(req_id=req_id)
    if envelope.type == "COMMAND_RESP" and envelope.success is not None:
        failed = tuple(name[:TEXT_MAX] for name in _LISTED.decode(envelope.data).fail_topics)
        return Answer(op=op, req_id=req_id, is_ok=envelope.success and not failed, text=text, failed=failed)
    if envelope.success is not None:
        return Answer(op=op, req_id=req_id, is_ok=envelope.success, text=text)
    if envelope.ret_msg_trade is not None:
        return _refuse(raw, known_ns, "not a market stream: an answer of REST or of order entry")
    if op:
        return _refuse(raw, known_ns, f"a request, not an answer: {op}")
    return _refuse(raw, known_ns, "neither of a topic nor an answer")


def _read_book(raw: bytes, known_ns: int, topic: Topic, envelope: _Envelope) -> Frame:
    book = _BOOK.decode(envelope.data)
    # After a restart of the service the number is 1, and the message holds the whole book.
    is_snapshot = _is_snapshot(envelope) or book.u == 1
    sent_ms = _ms(envelope.ts)
    return BookFrame(
        raw=raw,
        known_ns=known_ns,
        topic=_about(topic, book.s),
        ts_ns=(sent_ms if envelope.cts is None else envelope.cts) * _MS,
        is_snapshot=is_snapshot,
        update=book.u,
        seq=book.seq,
        bids=book.b,
        asks=book.a,
        sent_ns=sent_ms * _MS,
    )


def _read_trades(raw: bytes, known_ns: int, topic: Topic, envelope: _Envelope) -> Frame:
    trades = _TRADES.decode(envelope.data)
    symbol = topic.symbol
    for trade in trades:
        if trade.s != symbol:
            raise msgspec.ValidationError(f"it is about {trade.s!r}")
        if trade.S not in _SIDES:
            raise msgspec.ValidationError(f"a trade whose taker's side is {trade.S!r}")
    return TradeFrame(raw=raw, known_ns=known_ns, topic=topic, ts_ns=_ms(envelope.ts) * _MS, trades=trades)


def _read_ticker(raw: bytes, known_ns: int, topic: Topic, envelope: _Envelope) -> Frame:
    values = _TICKER.decode(envelope.data)
    return TickerFrame(
        raw=raw,
        known_ns=known_ns,
        topic=_about(topic, values.symbol),
        ts_ns=_ms(envelope.ts) * _MS,
        is_snapshot=_is_snapshot(envelope),
        values=values,
    )


def _read_klines(raw: bytes, known_ns: int, topic: Topic, envelope: _Envelope) -> Frame:
    klines = _KLINES.decode(envelope.data)
    for kline in klines:
        if kline.interval != topic.detail:
            raise msgspec.ValidationError(f"a kline of interval {kline.interval!r}")
    return KlineFrame(raw=raw, known_ns=known_ns, topic=topic, ts_ns=_ms(envelope.ts) * _MS, klines=klines)


def _read_price_limit(raw: bytes, known_ns: int, topic: Topic, envelope: _Envelope) -> Frame:
    limit = _PRICE_LIMIT.decode(envelope.data)
    return PriceLimitFrame(
        raw=raw,
        known_ns=known_ns,
        topic=_about(topic, limit.symbol),
        ts_ns=_ms(envelope.ts) * _MS,
        buy_max=limit.buy_lmt,
        sell_min=limit.sell_lmt,
    )


def _read_status(raw: bytes, known_ns: int, topic: Topic, envelope: _Envelope) -> Frame:
    notices = tuple(
        Notice(
            id=each.id[:TEXT_MAX],
            title=each.title[:TEXT_MAX],
            state=_STATES.get(each.state, NoticeState.UNKNOWN),
            begin_ns=_written_ms(each.begin) * _MS,
            end_ns=_written_ms(each.end) * _MS,
        )
        for each in _NOTICES.decode(envelope.data)
    )
    return StatusFrame(raw=raw, known_ns=known_ns, topic=topic, ts_ns=_ms(envelope.ts) * _MS, notices=notices)


_READERS = {
    Kind.BOOK: _read_book,
    Kind.TRADES: _read_trades,
    Kind.TICKER: _read_ticker,
    Kind.KLINE: _read_klines,
    Kind.PRICE_LIMIT: _read_price_limit,
    Kind.STATUS: _read_status,
}


def _about(topic: Topic, symbol: str) -> Topic:
    if symbol != topic.symbol:
        raise msgspec.ValidationError(f"it is about {symbol!r}")
    return topic


def _is_snapshot(envelope: _Envelope) -> bool:
    if envelope.type not in ("snapshot", "delta"):
        raise msgspec.ValidationError(f"its type is {str(envelope.type)[:40]!r}, neither snapshot nor delta")
    return envelope.type == "snapshot"


def _ms(ms: int | None) -> int:
    if ms is None:
        raise msgspec.ValidationError("it has no time")
    return ms


def _written_ms(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 14):
        raise msgspec.ValidationError(f"{text[:40]!r} is no time in ms")
    return int(text)
