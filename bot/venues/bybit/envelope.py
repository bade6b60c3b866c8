"""Answers of REST, and of order entry over a websocket, to what they mean: bytes in, typed outcomes out.

Nothing here raises, whatever the bytes.

Source: Bybit V5, REST envelope, batch endpoints, order entry over a websocket.
"""

import msgspec

from bot.domain.answers import Answer, AnswerKind, Cause
from bot.venues.bybit.errors import TABLE, Write, clean, verdict_of_code, verdict_of_status
from bot.venues.bybit.requests import WriteRequest
from bot.venues.bybit.wire import Text

BODY_BYTES_MAX = 2 << 20

_MS_MIN, _MS_MAX = 978_307_200_000, 4_102_444_800_000  # 2001 to 2100
_NOTHING = msgspec.Raw(b"{}")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a question was answered with."""

    result: msgspec.Raw
    server_time_ms: int | None
    recv_ns: int


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """A question without an answer: it may be asked again, unless the cause forbids."""

    cause: Cause
    code: str
    text: str
    recv_ns: int
    wait_ns: int | None = None  # until it may be asked again, where that is known


PASSING = (Cause.NETWORK, Cause.BUSY, Cause.GARBLED, Cause.LIMITED, Cause.CLOCK, Cause.UNSENT)
"""Causes of an `Unread` that may be gone the next time."""


class Envelope(msgspec.Struct, gc=False, rename={"code": "retCode", "text": "retMsg", "extra": "retExtInfo"}):
    """What every answer comes in."""

    code: int
    text: str = ""
    result: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING  # order entry's name for the result
    extra: msgspec.Raw = _NOTHING
    time: int | None = None


class _Placed(msgspec.Struct, gc=False, rename={"order_id": "orderId", "link_id": "orderLinkId"}):
    order_id: Text = ""
    link_id: Text = ""


class _PlacedList(msgspec.Struct, gc=False):
    list: list[_Placed]


class _Code(msgspec.Struct, gc=False):
    code: int
    msg: str = ""


class _CodeList(msgspec.Struct, gc=False):
    list: list[_Code]


_ENVELOPE = msgspec.json.Decoder(Envelope)
_PLACED = msgspec.json.Decoder(_Placed | None)
_PLACED_LIST = msgspec.json.Decoder(_PlacedList)
_CODE_LIST = msgspec.json.Decoder(_CodeList)
NOT_READ = (msgspec.ValidationError, msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def read_reply(status: int, body: bytes, recv_ns: int) -> Reply | Unread:
    """Return what a question was answered with."""
    if status != 200:
        verdict = verdict_of_status(status)
        return Unread(cause=verdict.cause, code=f"HTTP {status}", text=_of_status(status), recv_ns=recv_ns)
    try:
        envelope = decode_rest(body)
    except NOT_READ as error:
        return Unread(cause=Cause.GARBLED, code="garbled", text=f"no envelope ({error})"[:200], recv_ns=recv_ns)
    if envelope.code != 0:
        # Nothing was to change: the row of a setting tells the cause.
        cause = _cause_of_code(envelope.code, envelope.text)
        return Unread(cause=cause, code=str(envelope.code), text=clean(envelope.text), recv_ns=recv_ns)
    return Reply(result=envelope.result, server_time_ms=_ms(envelope.time), recv_ns=recv_ns)


def read_answers(status: int, body: bytes, request: WriteRequest, recv_ns: int) -> tuple[Answer, ...]:
    """Return what a write has come to: one answer, or one for each item of a batch in the order of the request."""
    if status != 200:
        verdict = verdict_of_status(status)
        answer = Answer(
            kind=verdict.kind, cause=verdict.cause, code=f"HTTP {status}", text=_of_status(status), recv_ns=recv_ns
        )
        return (answer,) * request.count
    try:
        envelope = decode_rest(body)
    except NOT_READ as error:
        return (garbled(f"no envelope ({error})", recv_ns),) * request.count
    return answers_of(envelope, envelope.result, _ms(envelope.time), request, recv_ns)


def answers_of(
    envelope: "Envelope", result: msgspec.Raw, server_time_ms: int | None, request: WriteRequest, recv_ns: int
) -> tuple[Answer, ...]:
    """Return what a decoded envelope means for a request."""
    if envelope.code != 0 or not request.is_batch:
        answer = _answer(envelope.code, envelope.text, request, server_time_ms, recv_ns)
        if envelope.code == 0:
            answer = _with_order(answer, result, request)
        return (answer,) * request.count
    return _items(result, envelope.extra, server_time_ms, request, recv_ns)


def decode_rest(body: bytes) -> Envelope:
    """Return an answer of REST; raises one of `NOT_READ` where it is none."""
    # The decoder passes over what it does not know, bad text too: then the whole is not what the venue sent.
    return _ENVELOPE.decode(body.decode())


def decode_trade(raw: bytes) -> "TradeEnvelope | str":
    """Return a message of order entry, or why it is none."""
    try:
        return _TRADE.decode(raw.decode())
    except NOT_READ as error:
        return str(error)[:200]


class _Header(msgspec.Struct, gc=False):
    now: str = msgspec.field(default="", name="Timenow")
    limit: str = msgspec.field(default="", name="X-Bapi-Limit")
    left: str = msgspec.field(default="", name="X-Bapi-Limit-Status")
    reset: str = msgspec.field(default="", name="X-Bapi-Limit-Reset-Timestamp")


class TradeEnvelope(Envelope, gc=False, rename={"code": "retCode", "text": "retMsg", "extra": "retExtInfo"}):
    """A message of order entry."""

    op: str = ""
    req_id: str = msgspec.field(default="", name="reqId")
    header: _Header = msgspec.field(default_factory=_Header)

    @property
    def server_time_ms(self) -> int | None:
        """Return the venue's time, where it says it."""
        return _ms(number(self.header.now))


_TRADE = msgspec.json.Decoder(TradeEnvelope)


def number(text: str) -> int | None:
    """Return a header's whole number, None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 16 else None


def garbled(why: str, recv_ns: int, *, code: str = "garbled") -> Answer:
    """Return the outcome of a write whose answer cannot be read."""
    return Answer(kind=AnswerKind.UNKNOWN, cause=Cause.GARBLED, code=code, text=clean(why), recv_ns=recv_ns)


def _answer(code: int, text: str, request: WriteRequest, server_time_ms: int | None, recv_ns: int) -> Answer:
    verdict = verdict_of_code(code, text, request.write)
    return Answer(
        kind=verdict.kind,
        cause=verdict.cause,
        code=str(code),
        text=clean(text),
        server_time_ms=server_time_ms,
        recv_ns=recv_ns,
    )


def _with_order(answer: Answer, result: msgspec.Raw, request: WriteRequest) -> Answer:
    """Return an accepting answer with the venue's id; unknown if it is about another order than ours."""
    if not request.client_order_ids:
        return answer
    try:
        placed = _PLACED.decode(result)
    except NOT_READ as error:
        return garbled(f"accepted, but of what: {error}", answer.recv_ns)
    if placed is None:
        return answer
    if placed.link_id not in ("", request.client_order_ids[0]):
        return garbled("accepted, but it names another order", answer.recv_ns)
    return msgspec.structs.replace(answer, venue_order_id=placed.order_id)


def _items(
    result: msgspec.Raw, extra: msgspec.Raw, server_time_ms: int | None, request: WriteRequest, recv_ns: int
) -> tuple[Answer, ...]:
    """Return an answer for each item of a batch: by our id where it is named, by place where both lists are whole."""
    missing = garbled("the batch's answer does not tell of it", recv_ns)
    try:
        placed, codes = _PLACED_LIST.decode(result).list, _CODE_LIST.decode(extra).list
    except NOT_READ:
        return (missing,) * request.count
    if len(placed) != len(codes):  # which code is whose cannot be told
        return (missing,) * request.count
    is_whole = len(placed) == request.count
    named = {each.link_id: place for place, each in enumerate(placed) if each.link_id}
    if len(named) < sum(1 for each in placed if each.link_id):  # one id twice
        return (missing,) * request.count
    answers = []
    for place, order_id in enumerate(request.client_order_ids):
        at = named.get(order_id)
        if at is None and is_whole and not placed[place].link_id:
            at = place
        if at is None:
            answers.append(missing)
            continue
        answer = _answer(codes[at].code, codes[at].msg, request, server_time_ms, recv_ns)
        if answer.kind is AnswerKind.ACCEPTED:
            # An accepted item names its order: one without is no whole answer.
            venue_id = placed[at].order_id
            answer = msgspec.structs.replace(answer, venue_order_id=venue_id) if venue_id else missing
        answers.append(answer)
    return tuple(answers)


def _cause_of_code(code: int, text: str) -> Cause:
    return verdict_of_code(code, text, Write.SETTING).cause if code in TABLE else Cause.OTHER


def _of_status(status: int) -> str:
    return {
        401: "the key is unknown here, or of another environment",
        403: "this address is shut out: too many requests, or a country that is not served",
    }.get(status, "no answer of the application")


def _ms(value: int | None) -> int | None:
    return value if value is not None and _MS_MIN <= value < _MS_MAX else None
