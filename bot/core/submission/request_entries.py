"""The ledger's entries of a request's life: signed, answered, in doubt, looked for, settled."""

from bot.core.submission.content import name_of
from bot.core.submission.requests import Request, Send, content_hash
from bot.domain.answers import Absent, Answer, AnswerKind, Cause, Found, LookUp, Unknown
from bot.domain.ledger import (
    AlertRaised,
    DoubtOpened,
    DoubtResolved,
    IntentDropped,
    LookUpMade,
    RequestAnswered,
    RequestSigned,
)
from bot.domain.orders import Command
from bot.domain.venue_records import PositionRecord

UNSENT = "UNSENT"
"""The code of what was intended and never left."""


def signed(send: Send) -> RequestSigned:
    """Return that a sending was signed."""
    return RequestSigned(
        ts_ns=send.prepared_ns,
        request=send.request,
        client_order_id=name_of(send.command),
        instrument=send.command.instrument,
        attempt=send.attempt,
        signed_ms=send.signed_ms,
        recv_window_ms=send.recv_window_ms,
        channel=send.channel,
        content_hash=content_hash(send.command),
    )


def answered(key: str, attempt: int, answer: Answer, now_ns: int) -> RequestAnswered:
    """Return that a sending was answered."""
    return RequestAnswered(
        ts_ns=now_ns,
        request=key,
        attempt=attempt,
        kind=answer.kind.value,
        cause="" if answer.kind is AnswerKind.ACCEPTED else answer.cause.value,
        code=answer.code,
        text=answer.text[:200],
        server_time_ms=answer.server_time_ms,
    )


def unsent(send: Send, why: str, now_ns: int) -> RequestAnswered:
    """Return that a sending did not leave."""
    return RequestAnswered(
        ts_ns=now_ns,
        request=send.request,
        attempt=send.attempt,
        kind=AnswerKind.REFUSED.value,
        cause=Cause.UNSENT.value,
        code=UNSENT,
        text=why,
    )


def dropped(key: str, command: Command, why: str, now_ns: int) -> IntentDropped:
    """Return that what was intended is closed unsent."""
    return IntentDropped(
        ts_ns=now_ns, request=key, client_order_id=name_of(command), instrument=command.instrument, why=why
    )


def doubted(request: Request, why: str, now_ns: int) -> DoubtOpened:
    """Return that nobody knows what came of a request."""
    return DoubtOpened(
        ts_ns=now_ns,
        request=request.key,
        client_order_id=request.client_order_id,
        instrument=request.instrument,
        why=why.strip(),
    )


def resolved(request: Request, outcome: str, evidence: str, margin_ms: int, now_ns: int) -> DoubtResolved:
    """Return how a doubt ended, and by what evidence."""
    return DoubtResolved(
        ts_ns=now_ns,
        request=request.key,
        client_order_id=request.client_order_id,
        instrument=request.instrument,
        outcome=outcome,
        evidence=evidence,
        margin_ms=margin_ms,
    )


def looked_up(request: Request, result: LookUp, now_ns: int) -> LookUpMade:
    """Return a look-up of an order, kept as evidence."""
    return LookUpMade(
        ts_ns=now_ns,
        request=request.key,
        result=type(result).__name__.lower(),
        places=tuple(place.value for place in result.places) if isinstance(result, Absent) else (),
        server_time_ms=None if isinstance(result, Unknown) else result.server_time_ms,
        detail=f"{result.order.state.value} {result.order.venue_order_id}" if isinstance(result, Found) else "",
    )


def position_seen(request: Request, position: PositionRecord, server_time_ms: int, now_ns: int) -> LookUpMade:
    """Return a look-up of a position's stops, kept as evidence."""
    detail = f"profit {position.take_profit}, loss {position.stop_loss}, trail {position.trailing_distance}"
    return LookUpMade(ts_ns=now_ns, request=request.key, result="found", server_time_ms=server_time_ms, detail=detail)


def alert(code: str, request: Request, detail: str, now_ns: int) -> AlertRaised:
    """Return what a person is told of a request."""
    return AlertRaised(
        ts_ns=now_ns,
        code=code,
        instrument=request.instrument,
        client_order_id=request.client_order_id,
        detail=detail,
    )
