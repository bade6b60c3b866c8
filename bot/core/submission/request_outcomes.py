"""How requests end: taken, refused, given up by evidence, back again; every step an entry that moves the journal."""

from bot.core.submission import request_entries as entries
from bot.core.submission.journal import RequestJournal
from bot.core.submission.requests import (
    Kind,
    LookUpWanted,
    Phase,
    Request,
    Subject,
    Terms,
)
from bot.core.submission.steps import Steps, rejection
from bot.core.submission.watches import NEVER_NS, Watches
from bot.domain.answers import Answer, Cause
from bot.domain.ledger import (
    LedgerEntry,
)
from bot.domain.orders import (
    OrderResurfaced,
)

NOT_ACCEPTED = "NOT_ACCEPTED"
"""The code of what was given up by evidence."""

_TELL_AGAIN_NS = 60_000_000_000


class Outcomes:
    """The lower half of `Submissions`: the journal, what is watched, and what an outcome takes.

    Args:
        terms: windows, margins, waits.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.journal = RequestJournal(terms.margin_ms)
        self._watches = Watches()
        self._asking: dict[str, int] = {}  # client order ids that are being looked up, and since when
        self._cancels_told: dict[str, tuple[str, int]] = {}  # by order: how the venue refused, and when that was told

    def _again(self, request: Request, now_ns: int) -> None:
        """Go on: what the look-up did not find may be sent again."""
        self._watches.of(request.key).may_resend = True
        self._wait(request, now_ns)

    def _is_behind_fence(self, request: Request, server_time_ms: int) -> bool:
        """Count a look-up that found nothing; return whether it is the last that it takes."""
        return self._watches.is_behind_fence(request, server_time_ms, self.journal.margin_ms, self.terms)

    def _wait(self, request: Request, now_ns: int) -> None:
        self._watches.wait(request.key, now_ns, self.terms)

    def _accepted(self, request: Request, was: Phase, by: str, now_ns: int, steps: Steps) -> None:
        if was is Phase.UNKNOWN:
            self._resolve(request, "accepted", by, now_ns, steps)
        elif request.closed_ns:
            self._resurface(request, by, now_ns, steps)
        if request.kind is Kind.CREATE:
            self._watches.of(request.key).due_ns = now_ns + self.terms.seen_within_ns

    def _refused(self, request: Request, answer: Answer, now_ns: int, steps: Steps) -> None:
        """Take a refusal: of a create it is final where no earlier sending is in doubt."""
        now = self.journal.requests.get(request.key)
        is_done = answer.cause is Cause.UNCHANGED and request.kind in (Kind.AMEND, Kind.STOPS)
        if request.kind is Kind.AMEND and (is_done or answer.cause is Cause.NOT_FOUND):
            # Whether it is as asked, or gone, only the order itself tells.
            self._ask_for(request, now_ns, steps)
        if now is not None and now.phase is Phase.UNKNOWN:
            if is_done:
                self._resolve(request, "accepted", "it is as it was asked to be", now_ns, steps)
                return
            if not now.is_refused:
                return
            self._resolve(request, "refused", f"{answer.code} {answer.text}".strip(), now_ns, steps)
        if request.kind is Kind.CANCEL:
            self._ask_for(request, now_ns, steps)  # still wanted: it is asked again while the order lives
            if answer.cause not in (Cause.NOT_FOUND, Cause.LIMITED, Cause.BUSY, Cause.CLOCK, Cause.NETWORK):
                self._tell_cancel_refused(request, answer, now_ns, steps)
            return
        if is_done or (request.kind is Kind.CREATE and not request.is_open):
            return  # it is as it was asked to be; or a late word about a sending that no longer matters
        if answer.cause is Cause.MODE:
            detail = f"the account is in another position mode than execution.position_mode says: {answer.text}"
            self._alert("POSITION_MODE", request, detail, now_ns, steps)
            steps.hold_back.append((request.instrument, detail))
        self._reject(request, answer.code or answer.cause.value, answer.text, now_ns, steps)

    def _tell_cancel_refused(self, request: Request, answer: Answer, now_ns: int, steps: Steps) -> None:
        """Alert, once a minute at most for the same order and reason: it is asked again every few seconds."""
        name = request.client_order_id
        code, told_ns = self._cancels_told.get(name, ("", 0))
        if code == answer.code and now_ns - told_ns < _TELL_AGAIN_NS:
            return
        known = self.journal.by_order
        self._cancels_told = {each: told for each, told in self._cancels_told.items() if each in known}
        self._cancels_told[name] = answer.code, now_ns
        self._alert("CANCEL_REFUSED", request, f"{answer.code} {answer.text}", now_ns, steps)

    def _ask_for(self, request: Request, now_ns: int, steps: Steps) -> None:
        """Look up the order that a request is about, whatever became of the request."""
        if request.client_order_id not in self._asking:
            self._asking[request.client_order_id] = now_ns
            wanted = LookUpWanted(
                subject=Subject.ORDER, instrument=request.instrument, client_order_id=request.client_order_id
            )
            steps.look_up.append(wanted)

    def _give_up(self, request: Request, what: str, now_ns: int, steps: Steps) -> None:
        """Close a request as never accepted, with the evidence, and watch for it all the same."""
        behind = ", ".join(map(str, self._watches.of(request.key).behind_ms))
        fence_ms = request.fence_ms(self.journal.margin_ms)
        self._resolve(request, "not_accepted", f"{what}; looked at {behind}, fence {fence_ms}", now_ns, steps)
        if request.kind is Kind.CANCEL:
            return  # it is asked again while the order lives
        detail = f"the venue never took it: {what}, by look-ups behind the fence"
        self._reject(request, NOT_ACCEPTED, detail, now_ns, steps)

    def _resurface(self, request: Request, by: str, now_ns: int, steps: Steps) -> None:
        """Take back that a request was refused or never accepted: it lives, and nobody counts on it any more."""
        self._resolve(request, "resurfaced", by, now_ns, steps)
        detail = f"{request.client_order_id} was taken for {request.phase.value}, and lives: {by}"
        self._alert("ORDER_RESURFACED", request, detail, now_ns, steps)
        steps.tell.append(
            OrderResurfaced(
                ts_event_ns=now_ns,
                ts_recv_ns=now_ns,
                client_order_id=request.client_order_id,
                instrument=request.instrument,
                reason=by,
            )
        )
        steps.hold_back.append((request.instrument, detail))
        steps.cancel.append((request.client_order_id, detail))

    def _reject(self, request: Request, code: str, reason: str, now_ns: int, steps: Steps) -> None:
        """Tell that a request came to nothing."""
        name, instrument = request.client_order_id, request.instrument
        steps.tell.append(rejection(request.kind, name, instrument, code, reason, now_ns))

    def _resolve(self, request: Request, outcome: str, evidence: str, now_ns: int, steps: Steps) -> None:
        self._record(entries.resolved(request, outcome, evidence, self.journal.margin_ms, now_ns), steps)
        watch = self._watches.of(request.key)
        watch.due_ns = now_ns + self.terms.seen_within_ns if outcome == "accepted" else NEVER_NS

    def _alert(self, code: str, request: Request, detail: str, now_ns: int, steps: Steps) -> None:
        steps.record.append(entries.alert(code, request, detail, now_ns))

    def _record(self, entry: LedgerEntry, steps: Steps) -> None:
        self.journal.fold(entry)
        steps.record.append(entry)
