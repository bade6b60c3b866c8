"""What a run has done so far, counted from its ledger entries: outcomes, refusals, and how long answers take."""

from collections.abc import Iterable
from typing import TypeVar

from bot.core.latency_window import LatencyWindow
from bot.core.order import Status
from bot.core.submission.requests import Kind
from bot.domain.ledger import (
    AlertRaised,
    AmendIntended,
    CancelIntended,
    DoubtOpened,
    DoubtResolved,
    ExternalFillBooked,
    FillBooked,
    IntentDropped,
    LedgerEntry,
    OrderIntended,
    OrderReported,
    PositionCutBooked,
    Reconciled,
    RequestAnswered,
    RequestSigned,
    RiskDenied,
    StopsIntended,
)
from bot.domain.operation import Counter

_WAITING_MAX = 8_192  # orders and requests that are waited for: what is never answered is forgotten at last
_ENDED_MAX = 1_000  # orders whose end is remembered, so that an end told twice counts once
_CREATE = f"{Kind.CREATE.value}:"  # how requests for new orders begin
_DONE = (Status.FILLED, Status.CANCELED, Status.REJECTED)

Key = tuple[str, tuple[tuple[str, str], ...]]
V = TypeVar("V")


class RunTally:
    """Counts what durable entries tell, each of them once.

    Attributes:
        decision_to_ack: of new orders, from the intent's entry to the first that tells that the venue has answered,
            over whichever way that came first; by the bot's clock.
    """

    def __init__(self) -> None:
        self.decision_to_ack = LatencyWindow()
        self._counts: dict[Key, int] = {}
        self._intended: dict[str, int] = {}  # client order id: when
        self._created: dict[str, str] = {}  # request for a new order: its client order id
        self._ended: dict[str, None] = {}
        for outcome in ("filled", "canceled", "rejected", "dropped"):  # there from the first, so a rate can be taken
            self._count("orders_total", 0, outcome=outcome)
        for name in ("fills_total", "doubts_opened_total", "doubts_resolved_total", "reconciliations_total"):
            self._count(name, 0)

    def see(self, entries: Iterable[LedgerEntry]) -> None:
        """Count them."""
        for entry in entries:
            self._count("ledger_entries_total", kind=type(entry).__name__)
            self._see(entry)

    def counters(self) -> tuple[Counter, ...]:
        """Return all counts, by name and labels."""
        return tuple(
            Counter(name=name, labels=labels, value=value) for (name, labels), value in sorted(self._counts.items())
        )

    def _see(self, entry: LedgerEntry) -> None:
        match entry:
            case OrderIntended(order=order, ts_ns=ts_ns):
                self._count("requests_total", kind="create")
                _keep(self._intended, order.client_order_id, ts_ns)
            case AmendIntended():
                self._count("requests_total", kind="amend")
            case CancelIntended():
                self._count("requests_total", kind="cancel")
            case StopsIntended():
                self._count("requests_total", kind="stops")
            case RequestSigned(client_order_id=name, request=request, attempt=attempt):
                if request.startswith(_CREATE) and name in self._intended:
                    _keep(self._created, request, name)
                self._count("requests_sent_again_total", int(attempt > 1))
            case RequestAnswered(request=request, kind=kind):
                self._count("answers_total", kind=kind)
                name = self._created.pop(request, "")
                if kind != "unknown":
                    self._acknowledged(name, entry.ts_ns)
            case OrderReported(event=event, status=status):
                self._acknowledged(event.client_order_id, entry.ts_ns)
                if status in _DONE:
                    self._end(event.client_order_id, status)
            case FillBooked(fill=fill, status=status):
                self._count("fills_total")
                self._acknowledged(fill.client_order_id, entry.ts_ns)
                if status == Status.FILLED:
                    self._end(fill.client_order_id, status)
            case PositionCutBooked():
                self._count("position_cuts_total")
            case ExternalFillBooked():
                self._count("external_fills_total")
            case IntentDropped(client_order_id=name, request=request):
                self._created.pop(request, None)
                if request.startswith(_CREATE) and self._intended.pop(name, None) is not None:
                    self._end(name, "dropped")
            case RiskDenied(code=code):
                self._count("denials_total", code=code)
            case DoubtOpened():
                self._count("doubts_opened_total")
            case DoubtResolved(outcome=outcome):
                self._count("doubts_resolved_total")
                self._count("doubts_by_outcome_total", outcome=outcome)
            case Reconciled():
                self._count("reconciliations_total")
                self._count("reconciliation_differences_total", len(entry.differences))
            case AlertRaised(code=code):
                self._count("alerts_total", code=code)
            case _:
                pass

    def _acknowledged(self, client_order_id: str, now_ns: int) -> None:
        intended_ns = self._intended.pop(client_order_id, None)
        if intended_ns is not None:
            self.decision_to_ack.note(now_ns - intended_ns, now_ns)

    def _end(self, client_order_id: str, outcome: str) -> None:
        if client_order_id not in self._ended:
            _keep(self._ended, client_order_id, None, most=_ENDED_MAX)
            self._count("orders_total", outcome=str(outcome))

    def _count(self, name: str, more: int = 1, **labels: str) -> None:
        key = name, tuple(sorted(labels.items()))
        self._counts[key] = self._counts.get(key, 0) + more


def _keep(held: dict[str, V], key: str, value: V, *, most: int = _WAITING_MAX) -> None:
    held[key] = value
    if len(held) > most:
        held.pop(next(iter(held)))
