"""Messages of the account's streams to records: bytes in, a typed frame out, or a refusal with its reason.

`read_private` raises nothing, whatever it is given. One bad record refuses its whole message: what is lost with it is
asked for by REST.

Source: Bybit V5, private websocket topics; answers of private connections.
"""

from enum import StrEnum

import msgspec

from bot.domain.venue_records import ExecutionRecord, OrderRecord, PositionRecord, WalletRecord
from bot.venues.bybit.errors import clean
from bot.venues.bybit.record_fields import MARKETS, BadRecord, read_all
from bot.venues.bybit.record_shapes import WireExecution, WireOrder, WirePosition, WireWallet
from bot.venues.bybit.records import execution_record, order_record, position_record, wallet_record
from bot.venues.bybit.wire import Answer, Pong, Refused

FRAME_BYTES_MAX = 256 << 10
_TOPIC_MAX = 60


class PrivateKind(StrEnum):
    """What a topic of the account tells of."""

    ORDER = "order"
    EXECUTION = "execution"
    EXECUTION_FAST = "execution.fast"
    POSITION = "position"
    WALLET = "wallet"


PrivateRecords = (
    tuple[OrderRecord, ...] | tuple[ExecutionRecord, ...] | tuple[PositionRecord, ...] | tuple[WalletRecord, ...]
)


class PrivateFrame(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one kind, in the order in which the venue sent them."""

    kind: PrivateKind
    topic: str
    known_ns: int
    created_ms: int  # when the venue made the message
    records: PrivateRecords


class _Envelope(msgspec.Struct, gc=False):
    topic: str | None = None
    creationTime: int | None = None  # noqa: N815  # the venue's spelling
    data: msgspec.Raw = msgspec.Raw()
    op: str | None = None
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ORDERS = msgspec.json.Decoder(list[WireOrder])
_EXECUTIONS = msgspec.json.Decoder(list[WireExecution])
_POSITIONS = msgspec.json.Decoder(list[WirePosition])
_WALLETS = msgspec.json.Decoder(list[WireWallet])
_UNREAD = frozenset(["greeks", "dcp", "strategy"])
_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_MS_MIN, _MS_MAX = 978_307_200_000, 4_102_444_800_000


def read_private(raw: bytes, *, known_ns: int) -> PrivateFrame | Answer | Pong | Refused:
    """Return what a message of a private connection says."""
    if len(raw) > FRAME_BYTES_MAX:
        return _refuse(raw[:300], known_ns, f"{len(raw):,} bytes are too many", is_garbled=True)
    topic = ""
    try:
        envelope = _ENVELOPE.decode(raw.decode())  # bad text anywhere spoils the whole
        if envelope.topic is None:
            return _read_answer(raw, known_ns, envelope)
        topic = envelope.topic[:_TOPIC_MAX]
        return _read_records(raw, known_ns, envelope)
    except msgspec.ValidationError as error:
        return _refuse(raw, known_ns, str(error), topic=topic)
    except BadRecord as error:
        return _refuse(raw, known_ns, str(error), topic=topic)
    except _NOT_JSON as error:
        return _refuse(raw, known_ns, f"no JSON object ({error})", topic=topic, is_garbled=not topic)


def parse_private_topic(text: str) -> tuple[PrivateKind, str]:
    """Return what a topic tells of, and of which category; "" for all.

    Raises:
        BadRecord: nothing that is read here.
    """
    head, _, rest = text.partition(".")
    if head in _UNREAD:
        raise BadRecord(f"not read: {head}")
    if head == "execution" and rest.partition(".")[0] == "fast":
        head, rest = "execution.fast", rest.partition(".")[2]
    try:
        kind = PrivateKind(head)
    except ValueError:
        raise BadRecord(f"its topic is of no known kind: {text[:_TOPIC_MAX]!r}") from None
    if rest and (rest not in MARKETS or kind is PrivateKind.WALLET):
        raise BadRecord(f"its topic is of no known category: {text[:_TOPIC_MAX]!r}")
    return kind, rest


def _read_records(raw: bytes, known_ns: int, envelope: _Envelope) -> PrivateFrame:
    topic = envelope.topic or ""
    kind, category = parse_private_topic(topic)
    created = envelope.creationTime
    if created is None or not _MS_MIN <= created < _MS_MAX:
        raise BadRecord("it has no time")
    records: PrivateRecords
    match kind:
        case PrivateKind.ORDER:
            records = read_all(_ORDERS.decode(envelope.data), lambda wire: order_record(wire, category))
        case PrivateKind.EXECUTION:
            records = read_all(_EXECUTIONS.decode(envelope.data), lambda wire: execution_record(wire, category))
        case PrivateKind.EXECUTION_FAST:
            records = read_all(
                _EXECUTIONS.decode(envelope.data), lambda wire: execution_record(wire, category, is_fast=True)
            )
        case PrivateKind.POSITION:
            records = read_all(_POSITIONS.decode(envelope.data), lambda wire: position_record(wire, category))
        case PrivateKind.WALLET:
            records = read_all(_WALLETS.decode(envelope.data), wallet_record)
    if category and any(record.market != category for record in records):
        raise BadRecord("a record of another category than its topic's")
    return PrivateFrame(kind=kind, topic=topic, known_ns=known_ns, created_ms=created, records=records)


def _read_answer(raw: bytes, known_ns: int, envelope: _Envelope) -> Answer | Pong | Refused:
    op, req_id = (envelope.op or "")[:40], envelope.req_id[:40]
    if op == "pong" and envelope.success is not False:
        return Pong(req_id=req_id)
    if envelope.success is not None:
        return Answer(op=op, req_id=req_id, is_ok=envelope.success, text=clean(envelope.ret_msg))
    return _refuse(raw, known_ns, f"a request, not an answer: {op}" if op else "neither of a topic nor an answer")


def _refuse(raw: bytes, known_ns: int, reason: str, *, topic: str = "", is_garbled: bool = False) -> Refused:
    return Refused(raw=raw, known_ns=known_ns, reason=reason[:300], topic=topic, is_garbled=is_garbled)
