"""Exactly once, or we know why not: the protocol between deciding on a request and knowing what came of it.

Nothing leaves before it is durable. An answer is yes, no, or nobody knows, and silence is the third. A doubt ends by a
sighting; by sending the very same thing again, which the venue takes once; or by the fence: once the venue's own clock
has passed the end of the last sending's window, and a margin, nothing of it can be admitted any more, and two look-ups
that find nothing are evidence. docs/submission.md tells it in full.

Every durable change is an entry, and the entry moves `RequestJournal`; so recovery is reading the entries again. What
is kept here besides (timers, who is being asked) may be lost.
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from bot.core.risk import Marks
from bot.core.submission import request_entries as entries
from bot.core.submission.content import command_of, content_difference, keeps, name_of
from bot.core.submission.missing import MISSING, Missing, is_remembered
from bot.core.submission.request_entries import UNSENT
from bot.core.submission.request_outcomes import Outcomes
from bot.core.submission.requests import (
    Kind,
    LookUpWanted,
    Outcome,
    Phase,
    Request,
    Send,
    Subject,
    Terms,
    can_rest,
)
from bot.core.submission.steps import Steps, join, rejection
from bot.core.submission.wanting import why_not
from bot.core.submission.watches import NEVER_NS, Watch
from bot.domain.answers import Absent, Answer, AnswerKind, Cause, Found, LookUp, Place, Unknown
from bot.domain.ledger import (
    LedgerEntry,
)
from bot.domain.orders import (
    ChangeStops,
    OrderCanceled,
    SubmitOrder,
)
from bot.domain.venue_records import OrderRecord, OrderState, PositionRecord

ORDER_DONE = "ORDER_DONE"
"""The code of an amendment that came too late."""
_NEEDED = {Place.OPEN, Place.HISTORY}  # a look-up that has not been to both says nothing
DONE = (OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED)
_MISSED = 20  # look-ups in vain for an order that the venue accepted, before a person is told


class Submissions(Outcomes):
    """All requests in flight.

    Args:
        terms: windows, margins, waits.
        may_create: whether an order may be sent (again) now, by the latches in force.
    """

    def __init__(self, terms: Terms, may_create: Callable[[SubmitOrder], bool]) -> None:
        super().__init__(terms)
        self._may_create = may_create
        self._missing = Missing(terms)
        self._offset_ms = 0  # the venue's clock less ours
        self.creates_from_ns = 0  # before that, what the last epoch signed may still be admitted

    # --- in ---------------------------------------------------------------------------------------------------------

    def set_clock(self, offset_ms: int) -> None:
        """Sign from now on with our clock plus `offset_ms`."""
        self._offset_ms = offset_ms

    def fold(self, entry: LedgerEntry) -> None:
        """See an entry of a ledger that is being read again."""
        self.journal.fold(entry)

    def see(self, entry: LedgerEntry, now_ns: int) -> Steps:
        """See an entry that others have just written: intents, and what became of orders."""
        steps = Steps()
        for request in self.journal.fold(entry):
            self._resolve(request, "moot", "its order is done", now_ns, steps)
        return steps

    def recover(self, now_ns: int) -> Steps:
        """Return what restarting takes: whatever may have left is in doubt, whatever cannot have is closed unsent."""
        steps = Steps()
        for key in list(self.journal.unsigned):
            self._drop(key, "it was decided before a restart, and no byte of it had left", now_ns, steps)
        for request in list(self.journal.requests.values()):
            watch = self._watches.begin(
                request.key, Watch(released=True, wanted=request.kind is Kind.CANCEL, due_ns=now_ns)
            )
            if request.phase is Phase.SIGNED:
                self._doubt(request, "the bot was started again before an answer was recorded", now_ns, steps)
            elif request.closed_ns:
                watch.due_ns = NEVER_NS
            self._give_up_wanting(request, steps)
        return steps

    def ask(self, now_ns: int) -> Steps:
        """Sign everything that is intended and not signed yet."""
        steps = Steps()
        for key in list(self.journal.unsigned):
            self._sign(key, now_ns, steps)
        return steps

    def release(self, sends: Sequence[Send], marks: Marks, now_ns: int) -> tuple[list[Send], Steps]:
        """Return which of these, durable now, may leave, and what is to be done about the others.

        The world has moved while the disk worked: a create that is no longer wanted is closed unsent, and what only
        makes the account safer is signed again where its window has nearly passed.
        """
        going, steps = [], Steps()
        for send in sends:
            request = self.journal.requests.get(send.request)
            watch = self._watches.find(send.request)
            if request is None or watch is None or not request.is_open:
                continue  # it has been settled meanwhile
            late_ns = now_ns - send.prepared_ns
            why = self._why_not(request, marks, now_ns) if isinstance(send.command, SubmitOrder) else None
            if why is None and isinstance(send.command, SubmitOrder) and late_ns > self.terms.commit_ns_max:
                why = f"it took {late_ns / 1e9:.3f} s to make it durable"
            if why is not None:
                self._take_back(request, send, why, now_ns, steps)
            elif late_ns > send.recv_window_ms * 500_000 and len(request.attempts) < self.terms.sends_max:
                self._sign_again(request.key, now_ns, steps)
                self._record(entries.unsent(send, "its window had nearly passed", now_ns), steps)
            else:
                watch.released = True
                watch.due_ns = now_ns + self.terms.answer_within_ns
                going.append(send)
        return going, steps

    def answered(self, key: str, attempt: int, answer: Answer, now_ns: int) -> Steps:
        """Take an answer: late, repeated and overtaken ones too."""
        steps = Steps()
        request = self.journal.requests.get(key)
        if request is None:
            return steps
        held = next((each for each in request.attempts if each.number == attempt), None)
        if held is None or held.outcome not in (None, Outcome.UNKNOWN) or held.outcome == answer.kind.value:
            return steps  # a repeat, or silence after a word
        was = request.phase
        if request.kind is Kind.CREATE and answer.kind is AnswerKind.REFUSED and answer.cause is Cause.CLOCK:
            # Too late is what a copy that the network made is, too; the first may have been in time.
            answer = replace(answer, kind=AnswerKind.UNKNOWN)
        self._record(entries.answered(key, attempt, answer, now_ns), steps)
        match answer.kind:
            case AnswerKind.ACCEPTED:
                self._accepted(request, was, "the venue took it", now_ns, steps)
            case AnswerKind.REFUSED:
                self._refused(request, answer, now_ns, steps)
            case AnswerKind.EXISTS if request.closed_ns:
                self._ask_for(request, now_ns, steps)
            case AnswerKind.EXISTS if request.is_open:
                self._doubt(request, "the venue has one of this id: is it this one?", now_ns, steps)
            case AnswerKind.UNKNOWN if request.is_open:
                self._doubt(request, f"{answer.cause.value}: {answer.code} {answer.text}"[:200], now_ns, steps)
        return steps

    def sighted(self, client_order_id: str, created_ms: int | None, by: str, now_ns: int) -> Steps:
        """See that the venue has an order of ours: whatever was in doubt of its coming to be no longer is.

        Args:
            created_ms: when, by the venue's clock; None where it does not say.
            by: what showed it.
        """
        steps = Steps()
        request = self.journal.create(client_order_id)
        if request is None:
            return steps
        watch = self._watches.of(request.key)
        watch.is_seen = True
        self._missing.see(client_order_id)
        if request.phase is Phase.ACCEPTED:
            return steps
        if created_ms is not None and watch.negative_ms and max(watch.negative_ms) > created_ms:
            lag_ms = (max(watch.negative_ms) - created_ms) * 3 // 2  # a look-up missed what was there already
            self.journal.margin_ms = min(max(self.journal.margin_ms, lag_ms), self.terms.margin_ms_max)
        if request.closed_ns:
            self._resurface(request, by, now_ns, steps)
        elif request.phase is Phase.UNKNOWN:
            self._resolve(request, "accepted", by, now_ns, steps)
        return steps

    def looked_up(self, client_order_id: str, result: LookUp, now_ns: int) -> Steps:
        """Weigh what a look-up of an order says of its coming to be; `changes_looked_up` comes next."""
        steps = Steps()
        self._asking.pop(client_order_id, None)
        request = self.journal.create(client_order_id)
        if request is None:
            return steps
        is_lost = isinstance(result, Absent) and request.phase is Phase.ACCEPTED
        if request.phase is Phase.UNKNOWN or is_lost:
            self._record(entries.looked_up(request, result, now_ns), steps)
        match result:
            case Found():
                self._found(request, result.order, now_ns, steps)
            case Absent() if not request.closed_ns:
                self._absent(request, result, now_ns, steps)
            case Unknown() if not request.closed_ns:
                self._wait(request, now_ns)
            case _:
                pass
        return steps

    def changes_looked_up(self, client_order_id: str, result: LookUp, now_ns: int) -> Steps:
        """Weigh what a look-up says of doubtful amendments and cancels, once `Orders` knows what it shows."""
        steps = Steps()
        for request in self.journal.of_order(client_order_id):
            if request.kind not in (Kind.AMEND, Kind.CANCEL) or request.phase is not Phase.UNKNOWN:
                continue
            self._record(entries.looked_up(request, result, now_ns), steps)
            if not isinstance(result, Found):
                self._again(request, now_ns)
            elif result.order.state in DONE:
                self._resolve(request, "moot", "its order is done", now_ns, steps)
                if request.kind is Kind.AMEND:  # had it been carried out, the record would have shown it
                    self._reject(request, ORDER_DONE, f"the order is {result.order.state.value}", now_ns, steps)
            elif self._is_behind_fence(request, result.server_time_ms):
                self._give_up(request, f"the order is {result.order.state.value}, as it was", now_ns, steps)
            else:
                self._again(request, now_ns)
        return steps

    def position_looked_up(
        self, instrument: str, position: PositionRecord | None, server_time_ms: int | None, now_ns: int
    ) -> Steps:
        """Weigh what a look-up of a position says of doubtful changes of its stops; None: it could not be found out."""
        steps = Steps()
        self._asking.pop(f"position:{instrument}", None)
        for request in list(self.journal.requests.values()):
            if request.kind is not Kind.STOPS or request.instrument != instrument or request.phase is not Phase.UNKNOWN:
                continue
            if position is None or server_time_ms is None:
                self._wait(request, now_ns)
                continue
            if isinstance(request.command, ChangeStops) and request.command.leg is not position.leg:
                continue  # in hedge mode there is another
            entry = entries.position_seen(request, position, server_time_ms, now_ns)
            self._record(entry, steps)
            if keeps(position, request):
                self._resolve(request, "accepted", f"the position has them: {entry.detail}", now_ns, steps)
            elif self._is_behind_fence(request, server_time_ms):
                self._give_up(request, entry.detail, now_ns, steps)
            else:
                self._again(request, now_ns)
        return steps

    def tick(self, marks: Marks, now_ns: int) -> Steps:
        """Do what is due: open doubts where nobody answered, look up, send again, forget."""
        steps = Steps()
        self.journal.forget_closed(now_ns - self.terms.zombie_watch_ns)
        for key in self._watches.keep_only(self.journal.requests):
            self._missing.see(key.partition(":")[2])
        for request in list(self.journal.requests.values()):
            watch = self._watches.of(request.key)
            if watch.due_ns > now_ns:
                continue
            match request.phase:
                case Phase.SIGNED if watch.released:
                    self._doubt(request, "no answer", now_ns, steps)
                case Phase.UNKNOWN:
                    self._pursue(request, marks, now_ns, steps)
                case Phase.ACCEPTED if request.kind is Kind.CREATE and not watch.is_seen:
                    self._look_up(request, now_ns, steps)
                case _:
                    watch.due_ns = NEVER_NS
        return steps

    @property
    def next_due_ns(self) -> int | None:
        """Return when `tick` has something to do; None: not by time."""
        return self._watches.next_due_ns

    @property
    def doubtful(self) -> list[Request]:
        """Return the requests of which nobody knows what came of them."""
        return [each for each in self.journal.requests.values() if each.phase is Phase.UNKNOWN]

    def has_open_cancel(self, client_order_id: str) -> bool:
        """Return whether a cancel of the order is on its way or in doubt."""
        return any(each.kind is Kind.CANCEL and each.is_open for each in self.journal.of_order(client_order_id))

    # --- sending ----------------------------------------------------------------------------------------------------

    def _sign(self, key: str, now_ns: int, steps: Steps) -> None:
        intent = self.journal.unsigned[key]
        order = getattr(intent, "order", None)
        if order is not None and now_ns < self.creates_from_ns:
            self._drop(key, "what the last start of the bot signed may still be admitted", now_ns, steps)
            return
        self._sign_again(key, now_ns, steps)

    def _sign_again(self, key: str, now_ns: int, steps: Steps) -> None:
        """Sign a sending, the first or the next one, with everything but the time as it was."""
        held = self.journal.requests.get(key)
        command = held.command if held is not None else command_of(self.journal.unsigned[key])
        send = Send(
            request=key,
            attempt=1 if held is None else len(held.attempts) + 1,
            command=command,
            signed_ms=now_ns // 1_000_000 + self._offset_ms,
            recv_window_ms=self.terms.recv_window_ms,
            channel=self.terms.channel,
            prepared_ns=now_ns,
        )
        self._record(entries.signed(send), steps)
        watch = self._watches.of(key)
        watch.may_resend = False
        watch.behind_ms = ()  # the fence has moved
        steps.send.append(send)

    def _take_back(self, request: Request, send: Send, why: str, now_ns: int, steps: Steps) -> None:
        """Close a sending of a create that did not leave; with it the order, where no other sending did."""
        if send.attempt == 1:
            self._drop(request.key, why, now_ns, steps)
            return
        self._record(entries.unsent(send, why, now_ns), steps)
        now = self.journal.requests.get(request.key)
        if now is not None and now.phase is Phase.REFUSED:  # no sending of it has left, this one neither
            self._reject(request, UNSENT, why, now_ns, steps)
            return
        self._wait(request, now_ns)

    def _drop(self, key: str, why: str, now_ns: int, steps: Steps) -> None:
        """Close what was intended unsent, and tell so."""
        request = self.journal.requests.get(key)
        command = request.command if request is not None else command_of(self.journal.unsigned[key])
        self._record(entries.dropped(key, command, why, now_ns), steps)
        kind = Kind(key.partition(":")[0])
        steps.tell.append(rejection(kind, name_of(command), command.instrument, UNSENT, why, now_ns))

    def _why_not(self, request: Request, marks: Marks, now_ns: int) -> str | None:
        """Return why a create is not wanted any more, None if it still is."""
        order = request.command
        assert isinstance(order, SubmitOrder)
        if not self._watches.of(request.key).wanted:
            return "it was decided before a restart"
        if self.journal.cancel_number(request.client_order_id):
            return "a cancel has been asked for"
        return why_not(request, order, marks.get(order.instrument), now_ns, self.terms, self._may_create)

    # --- doubts -----------------------------------------------------------------------------------------------------

    def _doubt(self, request: Request, why: str, now_ns: int, steps: Steps) -> None:
        """Open a doubt, or go on with it, and look soon."""
        if self.journal.requests[request.key].phase is not Phase.UNKNOWN:
            self._record(entries.doubted(request, why, now_ns), steps)
            self._watches.of(request.key).tries = 0
        self._wait(request, now_ns)

    def _pursue(self, request: Request, marks: Marks, now_ns: int, steps: Steps) -> None:
        """Send the very same thing again while that is wanted and the last look found nothing; else look."""
        watch = self._watches.of(request.key)
        if not watch.may_resend or len(request.attempts) >= self.terms.sends_max or not watch.wanted:
            self._look_up(request, now_ns, steps)
            return
        if request.kind is Kind.CREATE and self._why_not(request, marks, now_ns) is not None:
            watch.wanted = False
            self._give_up_wanting(request, steps)
            self._look_up(request, now_ns, steps)
            return
        self._sign_again(request.key, now_ns, steps)
        self._wait(request, now_ns)

    def _give_up_wanting(self, request: Request, steps: Steps) -> None:
        """Ask for a cancel of what may still come to rest though nobody wants it any more."""
        order = request.command
        if isinstance(order, SubmitOrder) and request.is_open and can_rest(order):
            steps.cancel.append((request.client_order_id, "nobody knows whether it was taken, nor wants it any more"))

    def _look_up(self, request: Request, now_ns: int, steps: Steps) -> None:
        is_stops = request.kind is Kind.STOPS
        name = f"position:{request.instrument}" if is_stops else request.client_order_id
        since_ns = self._asking.get(name)
        self._wait(request, now_ns)
        if since_ns is not None and now_ns - since_ns < self.terms.look_up_within_ns:
            return  # it is on its way
        self._asking[name] = now_ns
        if is_stops:
            steps.look_up.append(LookUpWanted(subject=Subject.POSITION, instrument=request.instrument))
            return
        wanted = LookUpWanted(
            subject=Subject.ORDER, instrument=request.instrument, client_order_id=request.client_order_id
        )
        steps.look_up.append(wanted)

    def _found(self, request: Request, record: OrderRecord, now_ns: int, steps: Steps) -> None:
        """Adopt the order that was found, if it is the one that was asked for."""
        assert isinstance(request.command, SubmitOrder)
        difference = content_difference(request.command, record)
        if difference is not None and request.is_open:
            detail = f"at the venue, {request.client_order_id} is {difference}"
            self._alert("CONTENT_DIFFERS", request, detail, now_ns, steps)
            steps.hold_back.append((request.instrument, detail))
            if request.phase is Phase.UNKNOWN:
                self._resolve(request, "refused", detail, now_ns, steps)
                self._reject(request, "CONTENT_DIFFERS", detail, now_ns, steps)
            return
        join(steps, self.sighted(request.client_order_id, record.created_ms, "a look-up found it", now_ns))

    def _absent(self, request: Request, absent: Absent, now_ns: int, steps: Steps) -> None:
        watch = self._watches.of(request.key)
        watch.negative_ms += (absent.server_time_ms,)
        watch.is_seen = False  # if it was: it is looked for until it is found, or certainly gone
        if request.phase is Phase.ACCEPTED or request.is_known_to_exist:
            evidence = self._missing.weigh(request, absent, self.journal.margin_ms)
            if evidence is not None:
                self._close_missing(request, evidence, absent.server_time_ms, now_ns, steps)
                return
        if request.phase is Phase.ACCEPTED and watch.tries == _MISSED:
            detail = f"{request.client_order_id} was accepted, and {watch.tries} look-ups have not found it"
            self._alert("ORDER_MISSING", request, detail, now_ns, steps)
        is_evidence = (
            request.phase is Phase.UNKNOWN
            and not request.is_known_to_exist
            and set(absent.places) >= _NEEDED
            and self._is_behind_fence(request, absent.server_time_ms)
        )
        if is_evidence:
            self._give_up(request, "it is nowhere", now_ns, steps)
        else:
            self._again(request, now_ns)

    def _close_missing(self, request: Request, evidence: str, now_ms: int, now_ns: int, steps: Steps) -> None:
        """Close an order that the venue had taken and shows nowhere: its fills, should there be any, are still booked.

        Whatever is in doubt of canceling or amending it is settled with it. Where the venue ought to remember it, our
        picture is wrong in a way that nobody has thought of: a person looks before anything new is opened there.
        """
        name = request.client_order_id
        self._missing.see(name)
        self._alert("ORDER_MISSING", request, f"{name}: {evidence}", now_ns, steps)
        canceled = OrderCanceled(
            ts_event_ns=now_ns, ts_recv_ns=now_ns, client_order_id=name, instrument=request.instrument, reason=MISSING
        )
        steps.tell.append(canceled)
        if is_remembered(request, now_ms):
            steps.hold_back.append((request.instrument, f"{name} is gone, and was neither filled nor canceled"))
