"""Checks what a ledger says of requests in flight: the protocol of docs/submission.md, read from the entries alone.

None of the code that keeps the protocol is used here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from bot.domain.ledger import (
    AmendIntended,
    CancelIntended,
    DoubtOpened,
    DoubtResolved,
    IntentDropped,
    LedgerEntry,
    LookUpMade,
    OrderIntended,
    OrderReported,
    RequestAnswered,
    RequestSigned,
    StopsIntended,
)
from bot.domain.orders import OrderCanceled

_SENDS_MAX = 3  # of one request
_ROUNDS = 2  # negative look-ups that it takes to call a request never accepted
_GAP_MS = 1_000  # between two of them, by the venue's clock
_MISSING_ROUNDS = 5  # the same, to close an order that the venue had taken
_MISSING_MS = 10_000  # from the first of those to the last
_PLACES = {"open", "history"}  # where each of them must have looked


@dataclass(slots=True)
class _Request:
    attempts: int = 0
    content: str = ""
    last_signed: RequestSigned | None = None
    dropped: bool = False
    doubtful: bool = False
    against_ms: list[int] = field(default_factory=list)  # look-ups since the last sending, the venue's clock


def check_requests(entries: Iterable[LedgerEntry]) -> Iterator[str]:
    """Yield what contradicts the protocol; nothing where no request was recorded (a replay)."""
    intended: set[str] = set()
    requests: dict[str, _Request] = {}
    for seq, entry in enumerate(entries, start=1):
        match entry:
            case OrderIntended(order=order):
                intended.add(order.client_order_id)
            case StopsIntended(change=change):
                intended.add(change.request_id)
            case AmendIntended(amend=amend) if amend.client_order_id not in intended:
                yield f"journal: entry {seq} amends {amend.client_order_id}, which was never intended"
            case CancelIntended(cancel=cancel) if cancel.client_order_id not in intended:
                yield f"journal: entry {seq} cancels {cancel.client_order_id}, which was never intended"
            case RequestSigned():
                if entry.client_order_id not in intended:
                    yield f"journal: entry {seq} sends {entry.request}, which was never intended"
                yield from _sign(seq, entry, requests.setdefault(entry.request, _Request()))
            case OrderReported(event=OrderCanceled(reason="MISSING") as event):
                yield from _weigh_missing(seq, event.client_order_id, requests)
            case IntentDropped() if entry.request in requests:
                requests[entry.request].dropped = True
            case RequestAnswered() | LookUpMade() | DoubtOpened() | DoubtResolved():
                if entry.request not in requests:
                    yield f"journal: entry {seq} tells of {entry.request}, which was never sent"
                else:
                    yield from _follow(seq, entry, requests[entry.request])
            case _:
                pass


def _sign(seq: int, entry: RequestSigned, request: _Request) -> Iterator[str]:
    request.attempts += 1
    if request.attempts > _SENDS_MAX:
        yield f"journal: entry {seq} sends {entry.request} for the {request.attempts}th time"
    if entry.attempt != request.attempts:
        yield f"journal: entry {seq} calls itself attempt {entry.attempt} of {entry.request}, not {request.attempts}"
    if request.content and request.content != entry.content_hash:
        yield f"journal: entry {seq} sends {entry.request} again with another content"
    if request.dropped:
        yield f"journal: entry {seq} sends {entry.request}, which was dropped"
    request.content, request.last_signed = entry.content_hash, entry
    request.against_ms.clear()


def _follow(
    seq: int, entry: RequestAnswered | LookUpMade | DoubtOpened | DoubtResolved, request: _Request
) -> Iterator[str]:
    match entry:
        case DoubtOpened():
            request.doubtful = True
        case LookUpMade(server_time_ms=int() as at_ms) if _speaks_against(entry):
            request.against_ms.append(at_ms)
        case DoubtResolved():
            if not request.doubtful and entry.outcome != "resurfaced":
                yield f"journal: entry {seq} resolves a doubt about {entry.request} that was never opened"
            request.doubtful = False
            if entry.outcome == "not_accepted":
                yield from _weigh(seq, entry, request)
        case _:
            pass


def _speaks_against(entry: LookUpMade) -> bool:
    """Return whether a look-up is evidence that a request was not carried out.

    Of an order: it is nowhere, and all places were asked. Of a change: the order, or the position, is as it was.
    """
    if entry.request.startswith("create:"):
        return entry.result == "absent" and set(entry.places) >= _PLACES
    return entry.result == "found"


def _weigh(seq: int, entry: DoubtResolved, request: _Request) -> Iterator[str]:
    """Hold "never accepted" against its evidence: enough look-ups, far enough apart, all behind the fence."""
    signed = request.last_signed
    assert signed is not None
    fence_ms = signed.signed_ms + signed.recv_window_ms + entry.margin_ms
    behind = [at_ms for at_ms in request.against_ms if at_ms > fence_ms]
    apart = [at_ms for n, at_ms in enumerate(behind) if n == 0 or at_ms - behind[0] >= _GAP_MS]
    if len(apart) < _ROUNDS:
        yield f"journal: entry {seq} gives {entry.request} up on {len(apart)} look-ups behind the fence {fence_ms}"


def _weigh_missing(seq: int, name: str, requests: dict[str, _Request]) -> Iterator[str]:
    """Hold "the venue shows it nowhere" against its evidence: a lag of a list does not last so long."""
    looked = requests[f"create:{name}"].against_ms if f"create:{name}" in requests else []
    apart: list[int] = []
    for at_ms in looked:
        if not apart or at_ms - apart[-1] >= _GAP_MS:
            apart.append(at_ms)
    if len(apart) < _MISSING_ROUNDS or apart[-1] - apart[0] < _MISSING_MS:
        yield f"journal: entry {seq}: {name} is called missing on {len(apart)} look-ups"
