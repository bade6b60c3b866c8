"""All requests of which a ledger tells, as far as they are not done: the fold that live and recovery share."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from bot.core.order import Status
from bot.core.submission.requests import Attempt, Kind, Outcome, Phase, Request, identify
from bot.domain.ledger import (
    AmendIntended,
    CancelIntended,
    DoubtOpened,
    DoubtResolved,
    FillBooked,
    IntentDropped,
    LedgerEntry,
    OrderIntended,
    OrderReported,
    RequestAnswered,
    RequestSigned,
    StopsIntended,
)
from bot.domain.orders import Command

Intent = OrderIntended | AmendIntended | CancelIntended | StopsIntended
_OVER = {Status.FILLED.value, Status.CANCELED.value, Status.REJECTED.value}
_PHASES = {
    "accepted": Phase.ACCEPTED,
    "resurfaced": Phase.ACCEPTED,
    "refused": Phase.REFUSED,
    "not_accepted": Phase.NOT_ACCEPTED,
    "moot": Phase.ACCEPTED,
}


class RequestJournal:
    """Requests by key, moved by entries alone, so that whoever reads the entries again has the same.

    Args:
        margin_ms: beyond the window of admission, until a worse lag is seen.
    """

    def __init__(self, margin_ms: int) -> None:
        self.margin_ms = margin_ms
        self.requests: dict[str, Request] = {}
        self.unsigned: dict[str, Intent] = {}  # intended, by the request's key; no sending of it is recorded yet
        self.by_order: dict[str, dict[str, None]] = defaultdict(dict)  # keys by client order id, in order
        self._cancels: dict[str, int] = defaultdict(int)  # how many of each order

    def of_order(self, client_order_id: str) -> list[Request]:
        """Return the requests about an order, oldest first."""
        return [self.requests[key] for key in self.by_order.get(client_order_id, ()) if key in self.requests]

    def create(self, client_order_id: str) -> Request | None:
        """Return the request that made an order, while it is of interest."""
        return self.requests.get(f"create:{client_order_id}")

    def cancel_number(self, client_order_id: str) -> int:
        """Return the number of an order's newest cancel."""
        return self._cancels.get(client_order_id, 0)

    def cancel_numbers(self) -> dict[str, int]:
        """Return the numbers of all newest cancels."""
        return dict(self._cancels)

    def restore(
        self,
        requests: Iterable[Request],
        unsigned: Mapping[str, Intent],
        cancel_numbers: Mapping[str, int],
        margin_ms: int,
    ) -> None:
        """Go on from what was kept of another journal."""
        for request in requests:
            self.requests[request.key] = request
            self.by_order[request.client_order_id][request.key] = None
        self.unsigned.update(unsigned)
        self._cancels.update(cancel_numbers)
        self.margin_ms = max(self.margin_ms, margin_ms)

    def fold(self, entry: LedgerEntry) -> list[Request]:
        """Move what an entry tells of; all others move nothing.

        Returns:
            The requests in doubt of which nothing is wanted any more: their order is done.
        """
        match entry:
            case OrderIntended() | AmendIntended() | CancelIntended() | StopsIntended():
                self._intend(entry)
            case RequestSigned():
                self._sign(entry)
            case RequestAnswered():
                self._answer(entry)
            case DoubtOpened():
                self._move(entry.request, Phase.UNKNOWN, entry.ts_ns)
            case DoubtResolved():
                self.margin_ms = max(self.margin_ms, entry.margin_ms)
                self._move(entry.request, _PHASES[entry.outcome], entry.ts_ns)
            case IntentDropped():
                self.unsigned.pop(entry.request, None)
                self._forget(entry.request)
            case OrderReported(event=event, status=status):
                return self._follow(event.client_order_id, status, entry.ts_ns)
            case FillBooked(fill=fill, status=status):
                return self._follow(fill.client_order_id, status, entry.ts_ns)
            case _:
                pass
        return []

    def forget_closed(self, until_ns: int) -> None:
        """Forget what was refused or given up until then."""
        closed = [key for key, each in self.requests.items() if each.closed_ns and each.closed_ns <= until_ns]
        for key in closed:
            self._forget(key)

    def _intend(self, entry: Intent) -> None:
        number = 0
        command: Command
        match entry:
            case OrderIntended(order=command) | AmendIntended(amend=command) | StopsIntended(change=command):
                pass
            case CancelIntended(cancel=command):
                self._cancels[entry.cancel.client_order_id] += 1
                number = self._cancels[entry.cancel.client_order_id]
        self.unsigned[identify(command, number)[1]] = entry

    def _sign(self, entry: RequestSigned) -> None:
        request = self.requests.get(entry.request)
        if request is None:
            request = _begin(entry.request, self.unsigned.pop(entry.request))
            self.by_order[request.client_order_id][entry.request] = None
        attempt = Attempt(number=entry.attempt, signed_ms=entry.signed_ms, recv_window_ms=entry.recv_window_ms)
        self.requests[entry.request] = replace(request, attempts=(*request.attempts, attempt))

    def _answer(self, entry: RequestAnswered) -> None:
        request = self.requests.get(entry.request)
        if request is None:
            return
        outcome = Outcome(entry.kind)
        attempts = tuple(
            replace(attempt, outcome=outcome) if attempt.number == entry.attempt else attempt
            for attempt in request.attempts
        )
        request = self.requests[entry.request] = replace(request, attempts=attempts)
        if outcome is Outcome.ACCEPTED and request.phase is Phase.SIGNED:
            self._move(entry.request, Phase.ACCEPTED, entry.ts_ns)
        elif outcome is Outcome.REFUSED and request.phase is Phase.SIGNED and request.is_refused:
            self._move(entry.request, Phase.REFUSED, entry.ts_ns)

    def _move(self, key: str, phase: Phase, now_ns: int) -> None:
        request = self.requests.get(key)
        if request is None:
            return
        is_closed = phase in (Phase.REFUSED, Phase.NOT_ACCEPTED)
        self.requests[key] = replace(request, phase=phase, closed_ns=now_ns if is_closed else 0)
        # A create is watched on: accepted until its order is done, given up in case it comes to life after all.
        if request.kind is not Kind.CREATE and phase not in (Phase.UNKNOWN, Phase.SIGNED):
            self._forget(key)

    def _follow(self, client_order_id: str, status: str, now_ns: int) -> list[Request]:
        """Take what became of an order: one that the venue tells of was accepted, one that is done asks for no more."""
        moot: list[Request] = []
        create = self.create(client_order_id)
        if status in _OVER:
            for request in self.of_order(client_order_id):
                if request.closed_ns:
                    continue  # a create that came to nothing by our own word is watched on
                if request.phase is Phase.UNKNOWN:
                    moot.append(request)
                self._forget(request.key)
        elif status != Status.SUBMITTED.value and create is not None and create.phase is Phase.SIGNED:
            self._move(create.key, Phase.ACCEPTED, now_ns)  # the venue has told of it; a refused change tells nothing
        return moot

    def _forget(self, key: str) -> None:
        request = self.requests.pop(key, None)
        if request is None:
            return
        keys = self.by_order[request.client_order_id]
        keys.pop(key, None)
        if not keys:
            del self.by_order[request.client_order_id]
            self._cancels.pop(request.client_order_id, None)


def _begin(key: str, intent: Intent) -> Request:
    match intent:
        case OrderIntended(order=command, mark_price=mark_price):
            return _request(key, intent, command, mark_price)
        case AmendIntended(amend=command, mark_price=mark_price):
            return _request(key, intent, command, mark_price)
        case CancelIntended(cancel=command):
            return _request(key, intent, command, None)
        case StopsIntended(change=command, mark_price=mark_price):
            return _request(key, intent, command, mark_price)


def _request(key: str, intent: Intent, command: Command, mark_price: Decimal | None) -> Request:
    kind, _, name = identify(command)
    return Request(
        key=key,
        kind=kind,
        command=command,
        client_order_id=name,
        instrument=command.instrument,
        decided_ns=intent.ts_ns,
        mark_price=mark_price,
    )
