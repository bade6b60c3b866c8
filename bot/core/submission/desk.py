"""The live order desk: `Orders` decides, `Submissions` gets it to the venue once, and what the venue tells comes home.

Sans-IO. A message goes in; `Work` comes out, to be carried out in its order. Whoever carries it out calls `release`
with the sends once they are durable, and lets go only of those that it returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from bot.core.account_setup import SetupWatch
from bot.core.balancing import Balance, told
from bot.core.checkpoint import Checkpoint, restore
from bot.core.effects import Wish
from bot.core.filters import FiltersTold, FilterWatch, refit
from bot.core.orders import Orders
from bot.core.reconcile import Finding, Reconciler, Remedy, VenueSnapshot, unprotected
from bot.core.restoring import Restorer
from bot.core.risk import Marks
from bot.core.submission.desk_books import DeskBooks
from bot.core.submission.reading import read_order, unasked
from bot.core.submission.requests import Kind, LookUpWanted, Send, Subject, Terms
from bot.core.submission.submissions import DONE, ORDER_DONE
from bot.core.submission.work import DeskPolicy, Work
from bot.core.trading_state import Cause
from bot.domain.account_events import (
    AccountUnsure,
    ExternalFill,
    ExternalOrder,
    FillSighted,
    LiveEvent,
    PositionReported,
    TransferBooked,
    WalletReported,
)
from bot.domain.answers import Answer, Found, LookUp
from bot.domain.ledger import FlattenWanted, LedgerEntry, Reconciled
from bot.domain.orders import (
    AmendRejected,
    FeePaid,
)
from bot.domain.venue_records import OrderRecord, PositionRecord

_MS = 1_000_000
_COMPARE_AGAIN_NS = 2_000_000_000


class LiveDesk(DeskBooks):
    """All of one account's money half but the clock, the disk and the network.

    Args:
        orders: decides; made with `is_restorable=True`.
        terms: see `Submissions`.
        environment: the letter of this bot's order ids.
        currency: the account's.
        policy: about what it did not ask for.
    """

    def __init__(
        self,
        orders: Orders,
        terms: Terms,
        *,
        environment: str,
        currency: str = "USDT",
        policy: DeskPolicy | None = None,
    ) -> None:
        super().__init__(orders, terms, currency=currency, policy=policy or DeskPolicy())
        self._differs: set[str] = set()  # what differs, as a person has been told of it
        self._reconciler = Reconciler(environment=environment, currency=currency)
        self._filters = FilterWatch()
        self._setup = SetupWatch(self.policy.leverage, self.policy.margin_mode)

    # --- taking up -------------------------------------------------------------------------------------------------

    def restore(self, entries: Iterable[LedgerEntry], checkpoint: Checkpoint | None = None) -> Restorer:
        """Take up where a ledger's entries end; nothing may have been done with the desk before.

        Args:
            entries: all of them, or those after the checkpoint, in order.
            checkpoint: to begin at, None for the beginning.

        Returns:
            What knows the highest epoch and number in any order id.

        Raises:
            InvariantBroken: the entries contradict each other.
        """
        restorer = Restorer(self.orders.state)
        if checkpoint is not None:
            restore(checkpoint, self.orders.state, self.submissions.journal)
            restorer.last_epoch, restorer.last_count = checkpoint.last_epoch, checkpoint.last_count
        for entry in entries:
            restorer.add(entry)
            self.submissions.fold(entry)
        return restorer

    def recover(self, now_ns: int, *, creates_from_ns: int = 0) -> Work:
        """Return what a start takes, the first one too: doubts to resolve, unsent intents to close, a comparison.

        Args:
            creates_from_ns: before that, what the last epoch signed may still be admitted: no create leaves.
        """
        self.submissions.creates_from_ns = creates_from_ns
        work = Work(reconcile="the bot has started")
        self._take(self.submissions.recover(now_ns), now_ns, work)
        for live in self.orders.state.live.values():
            self._looks.amends_ns |= {name: now_ns for name, order in live.items() if order.amend_requested is not None}
        for name in sorted(self.orders.state.worked):  # the target it was for is as old as the decision
            self._absorb(
                self.orders.rules.cancel(name, "it rested for a target before a restart", now_ns), now_ns, work
            )
        if self.orders.rules.is_killed:
            work.cancel_all = sorted(self.orders.state.instruments)
        return work

    # --- what comes in ----------------------------------------------------------------------------------------------

    def deposit(self, amount: Decimal, now_ns: int, coins: Mapping[str, Decimal] | None = None) -> Work:
        """Book what the account starts with: cash, and what it owns of other coins."""
        work = self._work(self.orders.deposit(amount, now_ns), now_ns)
        self._absorb(self.orders.deposit_coins(coins or {}, now_ns), now_ns, work)
        return work

    def wish(self, wish: Wish, marks: Marks, now_ns: int) -> Work:
        """Turn a strategy's wish into what it takes."""
        return self._work(self.orders.wish(wish, marks=marks, now_ns=now_ns), now_ns)

    def work(self, marks: Marks, now_ns: int) -> Work:
        """Go on with the targets that are not reached yet."""
        return self._work(self.orders.targets.work(marks, now_ns), now_ns)

    def observe(self, marks: Marks, now_ns: int) -> Work:
        """Look at what the account is worth."""
        return self._work(self.orders.rules.observe(marks, now_ns, is_check=True), now_ns)

    def mark_equity(self, marks: Marks, now_ns: int) -> Work:
        """Record what the account is worth."""
        return self._work(self.orders.mark_equity(marks, now_ns), now_ns)

    def halt(self, why: str, marks: Marks, now_ns: int) -> Work:
        """Halt because a person says so."""
        return self._work(self.orders.rules.halt(why, marks=marks, now_ns=now_ns), now_ns)

    def key_refused(self, why: str, marks: Marks, now_ns: int) -> Work:
        """Halt, and tell a person: the venue takes the key no more."""
        work = Work()
        self._alert("KEY_REFUSED", "", why, now_ns, work)
        self._absorb(self.orders.rules.halt(why, marks=marks, now_ns=now_ns), now_ns, work)
        return work

    def resume(self, why: str, now_ns: int) -> Work:
        """Let everything but a killed account trade again because a person says so."""
        return self._work(self.orders.rules.resume(why, now_ns), now_ns)

    def pause(self, why: str, now_ns: int) -> Work:
        """Let only exits pass because a person says so."""
        return self._work(self.orders.rules.reduce_account(why, now_ns), now_ns)

    def close(self, instrument: str, why: str, marks: Marks, now_ns: int) -> Work:
        """Close a position at the market because a person says so, whatever latch holds."""
        return self._work(self.orders.rules.close_position(instrument, why, marks=marks, now_ns=now_ns), now_ns)

    def flatten(self, instrument: str, why: str, marks: Marks, now_ns: int) -> Work:
        """Close a position because a person says so, and keep in the ledger that it is to be closed until it is."""
        work = Work()
        state = self.orders.state
        if instrument not in state.flattening:
            state.flattening[instrument] = why
            work.record.append(FlattenWanted(ts_ns=now_ns, instrument=instrument, why=why, is_wanted=True))
        self._absorb(self.orders.rules.close_position(instrument, why, marks=marks, now_ns=now_ns), now_ns, work)
        return work

    def end_flatten(self, instrument: str, why: str, now_ns: int) -> Work:
        """Want a position closed no more: it is, or a person says otherwise."""
        work = Work()
        if self.orders.state.flattening.pop(instrument, None) is not None:
            work.record.append(FlattenWanted(ts_ns=now_ns, instrument=instrument, why=why, is_wanted=False))
        return work

    def kill(self, why: str, marks: Marks, now_ns: int) -> Work:
        """Latch the kill switch: no create leaves from now on, not even one that is durable; cancel everything."""
        work = self._work(self.orders.rules.kill(why, marks=marks, now_ns=now_ns), now_ns)
        work.cancel_all = sorted(self.orders.state.instruments)
        return work

    def re_arm(self, why: str, now_ns: int) -> Work:
        """Open the kill switch's latch: for the host's own command alone."""
        return self._work(self.orders.rules.re_arm(why, now_ns), now_ns)

    def answered(self, request: str, attempt: int, answer: Answer, now_ns: int) -> Work:
        """Take the answer to a sending."""
        work = Work()
        self._take(self.submissions.answered(request, attempt, answer, now_ns), now_ns, work)
        return work

    def looked_up(self, client_order_id: str, result: LookUp, now_ns: int) -> Work:
        """Take the result of looking for an order."""
        work = Work()
        submissions = self.submissions
        self._take(submissions.looked_up(client_order_id, result, now_ns), now_ns, work)
        if isinstance(result, Found):
            self._read(result.order, now_ns, work)
        self._take(submissions.changes_looked_up(client_order_id, result, now_ns), now_ns, work)
        return work

    def position_looked_up(
        self, instrument: str, position: PositionRecord | None, server_time_ms: int | None, now_ns: int
    ) -> Work:
        """Take the result of looking at a position; None: it could not be found out."""
        work = Work()
        self._take(self.submissions.position_looked_up(instrument, position, server_time_ms, now_ns), now_ns, work)
        return work

    def told(self, event: LiveEvent, now_ns: int) -> Work:
        """Take what the venue tells by itself, on a stream or in an answer."""
        work = Work()
        match event:
            case ExternalOrder():
                self._see_foreign_order(event.order, now_ns, work)
            case ExternalFill():
                self._book_foreign(event, now_ns, work)
            case FeePaid():
                self._book_fee(event, now_ns, work)
            case TransferBooked():
                self._book_transfer(event, now_ns, work)
            case AccountUnsure():
                self.orders.state.unsure[event.instrument] = event.reason
                work.reconcile = event.reason
            case FillSighted() | PositionReported() | WalletReported():
                pass  # news, not yet money; compared at the next reconciliation
            case _:
                self._event(event, now_ns, work)
        return work

    def filters_told(self, told: FiltersTold, now_ns: int) -> Work:
        """Hold new orders against the venue's filters of today; say what changed, and what no longer fits."""
        work = Work()
        name = told.instrument.name
        for code, line in self._filters.see(told, self.orders.state):
            self._alert(code, name, line, now_ns, work)
        self.orders.refit(refit(self.orders.state.instruments[name], told.instrument))
        return work

    def release(self, sends: Sequence[Send], marks: Marks, now_ns: int) -> tuple[list[Send], Work]:
        """Return which of the sends, durable now, may leave, and what else is to be done."""
        work = Work()
        going, steps = self.submissions.release(sends, marks, now_ns)
        self._take(steps, now_ns, work)
        return going, work

    def tick(self, marks: Marks, now_ns: int) -> Work:
        """Do what is due by time."""
        work = Work()
        if self.orders.targets.is_due(now_ns):
            self._absorb(self.orders.targets.work(marks, now_ns), now_ns, work)
        self._take(self.submissions.tick(marks, now_ns), now_ns, work)
        self._ask_again(now_ns, work)
        self._look_for_amended(now_ns, work)
        self._protect(marks, now_ns, work)
        if self._looks.compare_ns is not None and self._looks.compare_ns <= now_ns:
            self._looks.compare_ns = None
            work.reconcile = "what differed a moment ago is looked at again"
        for name in self._looks.owed_due(self.orders.state, now_ns):
            instrument = self.orders.state.orders[name].request.instrument
            work.look_up.append(LookUpWanted(subject=Subject.FILLS, instrument=instrument, client_order_id=name))
        return work

    @property
    def next_due_ns(self) -> int | None:
        """Return when `tick` has something to do; None: not by time."""
        dues = (
            self.submissions.next_due_ns,
            self.orders.targets.due_ns,
            self._looks.next_due_ns(self.policy.protect_within_ns),
        )
        return min((due_ns for due_ns in dues if due_ns is not None), default=None)

    def reconcile(self, snapshot: VenueSnapshot, now_ns: int) -> Work:
        """Compare the books with the venue's; what executions and bookings it shows has been told before."""
        work = Work()
        state = self.orders.state
        state.see_legs(snapshot.positions, snapshot.began_ns)
        self.orders.forget_owing(snapshot.began_ns, now_ns)
        in_flight = [each.client_order_id for each in self.submissions.journal.requests.values() if each.is_open]
        self._ended_ns = {name: at_ns for name, at_ns in self._ended_ns.items() if name in state.orders}
        found = self._reconciler.compare(
            state, snapshot, in_flight=in_flight, moved_ns=self._moved_ns, ended_ns=self._ended_ns
        )
        for finding in found:
            self._remedy(finding, now_ns, work)
        checked = ["open orders", "positions", *(["balance"] if snapshot.wallet is not None else [])]
        work.record.append(
            Reconciled(
                ts_ns=now_ns,
                at_ms=snapshot.at_ms,
                checked=tuple(checked),
                healed=tuple(f"{each.code}: {each.line}" for each in found if each.is_healing),
                differences=tuple(f"{each.code}: {each.line}" for each in found if not each.is_healing),
            )
        )
        state.compared_ns, state.compared_ms = now_ns, snapshot.at_ms
        for code, name, line in self._setup.see(snapshot.positions, state.instruments, snapshot.margin_mode):
            self._alert(code, name, line, now_ns, work)
        state.unsure.clear()
        state.unsure.update(self._setup.differs)
        return work

    def balanced(self, balance: Balance, explained: Sequence[str], now_ns: int) -> Work:
        """Keep what holding the books against the venue's own ledger has found; book its lines that were not known."""
        work = Work()
        for booking in balance.unbooked:
            ts_ns = booking.booked_ms * _MS
            self._book_transfer(TransferBooked(ts_event_ns=ts_ns, ts_recv_ns=now_ns, booking=booking), now_ns, work)
        booked = [f"{told(booking)}: booked as it is" for booking in balance.unbooked]
        entry = balance.entry(now_ns, explained=(*explained, *booked))
        self.orders.state.balanced_ms = balance.to_ms
        work.record.append(entry)
        for line in entry.differences:
            if line not in self._differs:
                self._differs.add(line)
                self._alert("LOG_DIFFERS", "", line, now_ns, work)
        return work

    def _remedy(self, finding: Finding, now_ns: int, work: Work) -> None:
        name, instrument = finding.client_order_id, finding.instrument
        match finding.remedy:
            case Remedy.LOOK_UP:
                wanted = LookUpWanted(subject=Subject.ORDER, instrument=instrument, client_order_id=name)
                work.look_up.append(wanted)
            case Remedy.LOOK_UP_FILLS:
                wanted = LookUpWanted(subject=Subject.FILLS, instrument=instrument)
                work.look_up.append(wanted)
            case Remedy.LOOK_AGAIN:
                self._looks.compare_ns = now_ns + _COMPARE_AGAIN_NS
            case Remedy.CANCEL:
                self._absorb(self.orders.rules.cancel(name, finding.line, now_ns), now_ns, work)
            case Remedy.HOLD_BACK:
                self._hold_back(finding.code, instrument, finding.line, now_ns, work, name=name)
            case Remedy.REDUCE_ACCOUNT:
                if finding.line not in self._differs:  # it is found again at every comparison
                    self._differs.add(finding.line)
                    self._alert(finding.code, instrument, finding.line, now_ns, work)
                self._absorb(
                    self.orders.rules.reduce_account(finding.line, now_ns, cause=Cause.RECONCILE), now_ns, work
                )
            case Remedy.ALERT:
                self._alert(finding.code, instrument, finding.line, now_ns, work, name=name)

    def _protect(self, marks: Marks, now_ns: int, work: Work) -> None:
        """Close what has been without protection for too long."""
        within_ns = self.policy.protect_within_ns
        if within_ns is None:
            return
        for name in self.orders.state.instruments:
            if not unprotected(self.orders.state, name):
                self._looks.bare_ns.pop(name, None)
            elif now_ns - self._looks.bare_ns.setdefault(name, now_ns) >= within_ns:
                self._looks.bare_ns[name] = now_ns  # if it cannot be sent now, again after as long
                detail = f"{self.orders.state.position_qty(name):f} has had neither a stop nor an exit: it is closed"
                self._alert("UNPROTECTED", name, detail, now_ns, work)
                self._absorb(self.orders.rules.close_position(name, detail, marks=marks, now_ns=now_ns), now_ns, work)

    # --- what the venue shows ---------------------------------------------------------------------------------------

    def _read(self, record: OrderRecord, now_ns: int, work: Work) -> None:
        """Take a record of an order of ours for what it tells."""
        name = record.client_order_id
        order = self.orders.state.orders.get(name)
        if order is None:
            return
        strange = unasked(record, order)
        if strange is not None:
            self._alert("NOT_AS_ASKED", record.instrument, strange, now_ns, work, name=name)
            self._absorb(self.orders.rules.cancel(name, strange, now_ns), now_ns, work)
        for event in read_order(record, order, now_ns):
            self._event(event, now_ns, work, is_ours=True)
        after = self.orders.state.orders.get(name, order)
        if after.is_live and after.amend_requested is not None and record.state in DONE:
            if not self._has_open_amend(name):  # it was taken, and had it been carried out the record would show it
                about = {"ts_event_ns": record.updated_ms * _MS, "ts_recv_ns": now_ns, "client_order_id": name}
                reason = f"the order is {record.state.value}"
                rejected = AmendRejected(**about, instrument=record.instrument, code=ORDER_DONE, reason=reason)  # type: ignore[arg-type]
                self._event(rejected, now_ns, work, is_ours=True)
                after = self.orders.state.orders.get(name, after)
        if record.filled_qty > after.filled_qty:
            self._looks.owed_ns.setdefault(name, now_ns + self.policy.owed_after_ns)
        else:
            self._looks.owed_ns.pop(name, None)

    def _ask_again(self, now_ns: int, work: Work) -> None:
        """Cancel again whatever is to be canceled and lives, as long as no cancel of it is on its way."""
        again_ns = self.submissions.terms.cancel_again_ns
        for name in self._looks.cancels_due(self.orders.state, now_ns, again_ns):
            if not self.submissions.has_open_cancel(name):
                self._absorb(self.orders.rules.cancel(name, "it was to be canceled, and lives", now_ns), now_ns, work)

    def _look_for_amended(self, now_ns: int, work: Work) -> None:
        """Look up orders whose amendment was taken and that no stream has shown as amended."""
        again_ns = self.submissions.terms.seen_within_ns
        for name in self._looks.amends_due(self.orders.state, now_ns, again_ns):
            if not self._has_open_amend(name):
                instrument = self.orders.state.orders[name].request.instrument
                work.look_up.append(LookUpWanted(subject=Subject.ORDER, instrument=instrument, client_order_id=name))

    def _has_open_amend(self, name: str) -> bool:
        return any(each.kind is Kind.AMEND and each.is_open for each in self.submissions.journal.of_order(name))
