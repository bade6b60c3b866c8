"""What `Submissions` wants done, and the events that tell that a request came to nothing."""

from dataclasses import dataclass, field

from bot.core.submission.requests import Kind, LookUpWanted, Send
from bot.domain.ledger import LedgerEntry
from bot.domain.orders import AccountEvent, AmendRejected, CancelRejected, OrderRejected, StopsRejected


@dataclass(slots=True)
class Steps:
    """What is to be done, in this order: record and commit, then send; look up; tell `Orders`; cancel; hold back."""

    record: list[LedgerEntry] = field(default_factory=list)
    send: list[Send] = field(default_factory=list)
    look_up: list[LookUpWanted] = field(default_factory=list)
    tell: list[AccountEvent] = field(default_factory=list)
    cancel: list[tuple[str, str]] = field(default_factory=list)  # an order's id, and why
    hold_back: list[tuple[str, str]] = field(default_factory=list)  # an instrument, and why


def rejection(
    kind: Kind, name: str, instrument: str, code: str, reason: str, now_ns: int
) -> OrderRejected | AmendRejected | CancelRejected | StopsRejected:
    """Return the event that tells that a request came to nothing."""
    about = {"ts_event_ns": now_ns, "ts_recv_ns": now_ns, "instrument": instrument}
    match kind:
        case Kind.CREATE:
            return OrderRejected(**about, client_order_id=name, code=code, reason=reason)  # type: ignore[arg-type]
        case Kind.AMEND:
            return AmendRejected(**about, client_order_id=name, code=code, reason=reason)  # type: ignore[arg-type]
        case Kind.CANCEL:
            return CancelRejected(**about, client_order_id=name, reason=reason)  # type: ignore[arg-type]
        case Kind.STOPS:
            return StopsRejected(**about, request_id=name, code=code, reason=reason)  # type: ignore[arg-type]


def join(steps: Steps, more: Steps) -> None:
    """Add what else is wanted done."""
    steps.record += more.record
    steps.send += more.send
    steps.look_up += more.look_up
    steps.tell += more.tell
    steps.cancel += more.cancel
    steps.hold_back += more.hold_back
