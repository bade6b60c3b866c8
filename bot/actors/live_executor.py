"""Async shell around the live order desk: record, commit, send, look up, publish, in this order and nothing else.

Wishes, answers, the account's news, marks and a person's commands come through one inbox. Every entry is durable before
what follows from it leaves. The kill switch is asked again at the very moment a request would leave: it may have closed
while the disk worked.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
import structlog

from bot.actors.inbox import Inbox, Stop
from bot.actors.quote_watch import quoted
from bot.core.calendar import Class
from bot.core.effects import Notice, Wish
from bot.core.filters import TRADING, FiltersTold
from bot.core.marks import MarkSeries
from bot.core.risk import Mark
from bot.core.submission.desk import LiveDesk
from bot.core.submission.messages import (
    AccountBalanced,
    AccountCompared,
    AccountTold,
    Answered,
    ClockTold,
    HomeMessage,
    KeyRefused,
    LinkChanged,
    LookedUp,
    PositionSeen,
    QuoteTold,
)
from bot.core.submission.requests import Send, can_rest
from bot.core.submission.work import Work
from bot.domain.answers import Answer, AnswerKind, Cause
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Instrument
from bot.domain.ledger import LedgerEntry
from bot.domain.market import MarketSlab
from bot.domain.operation import CommandDone, Flatten, Kill, OperatorCommand, Pause, Resume
from bot.domain.orders import SubmitOrder
from bot.ports import AccountVenue, Calendar, Cancelable, Clock, LedgerWriter

log = structlog.get_logger()

HOST = "host"
"""Who asks on the machine itself, and may open the kill switch."""

_DAY_NS = 24 * 3_600_000_000_000
_TICK_NS = 100_000_000  # between two looks at what is due, at the least
_FLATTEN_NS = 1_000_000_000  # between two looks at whether what is to be flat is
_COMPARED_WITHIN = 3  # times what is between two comparisons; after that, only exits pass
_COMPARE_AGAIN_NS = 2_000_000_000  # after a comparison that could not be made, or found something
_COMPARE_BLIND_NS = 5_000_000_000  # between two while the account's stream is down: they are all that we see


class Pulse(StrEnum):
    """What the calendar tells."""

    TICK = "tick"  # something may be due
    CHECK = "check"  # it is time to look at what the account is worth
    COMPARE = "compare"  # it is time to compare the account with the venue's
    COMPARE_AGAIN = "compare_again"  # the last comparison came to nothing, or is all that we see
    MIDNIGHT = "midnight"  # UTC
    FLATTEN = "flatten"  # it is time to see whether what a person wants flat is
    LEAVE = "leave"  # the run ends: nobody will mind what rests for a target


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A person's command, and whom to tell what came of it."""

    command: OperatorCommand
    by: str
    done: Callable[[CommandDone], None]


Message = Wish | HomeMessage | MarketSlab | Pulse | Asked | Stop


class LiveExecutor:
    """Carries out what the desk decides.

    Args:
        inbox: everything comes home through it.
        strategy: is told of its orders.
        calendar: the clock, and what is due.
        desk: decides; restored already.
        venue: the account.
        ledger: makes entries durable.
        instruments: what is traded, by name.
        is_killed: whether the kill switch is closed, whatever this actor has heard so far.
        doubts: why no new exposure in an instrument may rest on its data now.
        on_entries: sees the entries once they are durable, for those who tell people.
        check_ns: how often equity is looked at.
        compare_ns: how often the account is compared with the venue's.
        clock: for those outside who ask how things stand: what the actor itself reads is `calendar` alone, so that all
            that it acts upon can be recorded. None for the same.
    """

    def __init__(
        self,
        *,
        inbox: Inbox[Message],
        strategy: Inbox[Any],
        calendar: Calendar,
        desk: LiveDesk,
        venue: AccountVenue,
        ledger: LedgerWriter,
        instruments: Mapping[str, Instrument],
        is_killed: Callable[[], bool] = lambda: False,
        doubts: Callable[[str], Sequence[str]] = lambda instrument: (),
        on_entries: Callable[[Sequence[LedgerEntry]], None] = lambda entries: None,
        check_ns: int = 60_000_000_000,
        compare_ns: int = 60_000_000_000,
        clock: Clock | None = None,
    ) -> None:
        self.desk = desk
        self.offset_ms: int | None = None
        self.compared_ns = 0  # when the account was last compared
        self.decided_ns = 0  # when a strategy last wanted something
        self.links: dict[str, bool] = {}
        self.troubles: dict[str, str] = {}  # why no new exposure is taken, by what is in trouble
        self._inbox = inbox
        self._strategy = strategy
        self._calendar = calendar
        self._clock = calendar if clock is None else clock
        self._venue = venue
        self._ledger = ledger
        self._marks = {name: MarkSeries(instrument) for name, instrument in instruments.items()}
        self._quotes: dict[str, QuoteTold] = {}  # where orders are to be kept at the best prices
        self._is_killed = is_killed
        self._doubts = doubts
        self._on_entries = on_entries
        self._check_ns = check_ns
        self._compare_ns = compare_ns
        self._executed_ms = 0  # up to then all executions are booked
        self._is_comparing = False
        self._is_again_due = False
        self._link_up_ns = 0  # when the account's stream came last
        self._fed: dict[str, str] = {}  # by instrument, what the gate was told of its data
        self._closed: dict[str, str] = {}  # instruments that the venue does not trade now, and its word for that
        self._is_key_refused = False
        self._is_ready = False
        self._timer: Cancelable | None = None
        self._timer_ns = 0

    @property
    def is_ready(self) -> bool:
        """Return whether the account has been compared since the start, and orders may leave; nothing is in trouble."""
        is_known = self._is_ready and all(self.links.values()) and self.offset_ms is not None and not self.troubles
        return is_known and self._clock.now_ns() >= self.desk.submissions.creates_from_ns

    @property
    def is_settled(self) -> bool:
        """Return whether every request has its answer, and nothing is open but what may rest."""
        desk = self.desk
        if any(each.is_open for each in desk.submissions.journal.requests.values()):
            return False
        return all(can_rest(order.request) for live in desk.orders.state.live.values() for order in live.values())

    def marks(self) -> dict[str, Mark | None]:
        """Return the newest price of every instrument."""
        return self._marks_at(self._clock.now_ns())

    def _marks_at(self, now_ns: int) -> dict[str, Mark | None]:
        return {name: quoted(series.at(now_ns), self._quotes.get(name)) for name, series in self._marks.items()}

    async def start(
        self,
        *,
        executed_ms: int,
        creates_from_ns: int,
        first_cash: Decimal | None,
        first_coins: Mapping[str, Decimal] | None = None,
    ) -> None:
        """Begin: close or doubt what the last run left, and have the account compared.

        Args:
            executed_ms: by the venue's clock, up to when all executions are booked.
            creates_from_ns: before that, what the last epoch signed may still be admitted.
            first_cash: what a new ledger begins with; None for one that is taken up.
            first_coins: and of other coins.
        """
        now_ns = self._calendar.now_ns()
        self._executed_ms = executed_ms
        if first_cash is not None:
            await self._carry_out(self.desk.deposit(first_cash, now_ns, first_coins))
        self.troubles["account"] = "the account has not been compared with the venue's yet"
        await self._carry_out(self.desk.recover(now_ns, creates_from_ns=creates_from_ns))
        if self.desk.orders.state.flattening:  # what the last run was told to do, and has not done
            self._calendar.schedule((now_ns + _FLATTEN_NS, Class.TIMER, 0, 5), self._inbox.deliver, Pulse.FLATTEN)
        self._schedule(Pulse.CHECK, self._check_ns)
        self._schedule(Pulse.COMPARE, self._compare_ns)
        self._schedule(Pulse.MIDNIGHT, _DAY_NS)

    async def run(self) -> None:
        """Serve until told to stop."""
        while True:
            for message in await self._inbox.take():
                if isinstance(message, Stop):
                    await self._finish()
                    return
                await self._serve(message)
            self._arm()

    async def _serve(self, message: Message) -> None:
        now_ns = self._calendar.now_ns()
        desk = self.desk
        match message:
            case Wish():
                self.decided_ns = now_ns
                self._learn_doubts(message.action.instrument)
                await self._carry_out(desk.wish(message, self._marks_at(now_ns), now_ns))
            case MarketSlab():
                self._marks[message.instrument.name].extend(message, now_ns)
            case Answered():
                await self._carry_out(desk.answered(message.request, message.attempt, message.answer, now_ns))
                answer = message.answer
                if answer.kind is AnswerKind.REFUSED and answer.cause is Cause.KEY:
                    await self._key_refused(answer.code, answer.text, now_ns)
            case AccountTold():
                told = Work()  # in one transaction: a fill and its fee in another coin, or hundreds of cancels
                for event in message.events:
                    told.add(desk.told(event, now_ns))
                await self._carry_out(told)
            case LookedUp():
                await self._carry_out(desk.looked_up(message.client_order_id, message.result, now_ns))
            case PositionSeen():
                await self._carry_out(
                    desk.position_looked_up(message.instrument, message.position, message.server_time_ms, now_ns)
                )
            case AccountCompared():
                await self._compared(message, now_ns)
            case AccountBalanced():
                await self._carry_out(self.desk.balanced(message.balance, message.explained, now_ns))
            case ClockTold():
                self._hear_clock(message)
            case LinkChanged():
                await self._link_changed(message, now_ns)
            case KeyRefused():
                await self._key_refused(message.code, message.text, now_ns)
            case QuoteTold():
                self._quotes[message.instrument] = message
            case FiltersTold():
                await self._refit(message, now_ns)
            case Pulse():
                await self._pulse(message, now_ns)
            case Asked():
                await self._obey(message, now_ns)
            case _:
                raise InvariantBroken(f"the executor has no use for a {type(message).__name__}")
        if desk.orders.targets.is_due(now_ns):
            await self._carry_out(desk.work(self._marks_at(now_ns), now_ns))

    # --- carrying out -----------------------------------------------------------------------------------------------

    async def _carry_out(self, work: Work) -> None:
        if work.record:
            self._ledger.append(work.record)
            await self._ledger.commit()  # durable before anything follows from it
            self._on_entries(work.record)
        more: Work | None = None
        if work.send:
            now_ns = self._calendar.now_ns()
            going, more = self.desk.release(work.send, self._marks_at(now_ns), now_ns)
            for send in going:
                self._let_go(send)
        for wanted in work.look_up:
            self._venue.look_up(wanted)
        if work.cancel_all:
            self._venue.cancel_all(work.cancel_all)
        for notice in work.publish:
            self._publish(notice)
        if work.reconcile:
            self._compare(work.reconcile)
        if more is not None and not more.is_empty:
            await self._carry_out(more)

    def _let_go(self, send: Send) -> None:
        if self._is_killed() and isinstance(send.command, SubmitOrder) and not self._is_closing(send.command):
            answer = Answer(
                kind=AnswerKind.REFUSED,
                cause=Cause.UNSENT,
                code="KILLED",
                text="the kill switch closed before it left",
                recv_ns=self._calendar.now_ns(),
            )
            self._inbox.deliver(Answered(request=send.request, attempt=send.attempt, answer=answer))
            return
        self._venue.send(send)

    def _is_closing(self, order: SubmitOrder) -> bool:
        return order.reduce_only and order.client_order_id in self.desk.orders.state.closing

    def _publish(self, notice: Notice) -> None:
        if notice.event is None:
            self._strategy.leave(notice)  # nothing to act on: it is seen with what comes next
        else:
            self._strategy.deliver(notice)

    async def _key_refused(self, code: str, text: str, now_ns: int) -> None:
        """Halt the account, once, where the venue refuses the key: no order will pass until a person has seen to it."""
        if not self._is_key_refused:
            self._is_key_refused = True
            log.error("key.refused", code=code, text=text)
            why = f"the venue refuses the key: {code} {text}".strip()
            await self._carry_out(self.desk.key_refused(why, self._marks_at(now_ns), now_ns))

    # --- what is due ------------------------------------------------------------------------------------------------

    async def _pulse(self, pulse: Pulse, now_ns: int) -> None:
        match pulse:
            case Pulse.TICK:
                self._timer = None
                await self._carry_out(self.desk.tick(self._marks_at(now_ns), now_ns))
            case Pulse.CHECK:
                self._schedule(pulse, self._check_ns)
                await self._carry_out(self.desk.observe(self._marks_at(now_ns), now_ns))
            case Pulse.COMPARE:
                self._schedule(pulse, self._compare_ns)
                self._compare("it is time to")
            case Pulse.COMPARE_AGAIN:
                self._is_again_due = False
                self._compare("the last comparison came to nothing, or the account's stream is down")
            case Pulse.LEAVE:
                self.desk.orders.targets.leave_all("the bot is stopped", now_ns)
            case Pulse.FLATTEN:
                await self._flatten_again(now_ns)
            case Pulse.MIDNIGHT:
                self._schedule(pulse, _DAY_NS)
                await self._carry_out(self.desk.mark_equity(self._marks_at(now_ns), now_ns))

    def _arm(self) -> None:
        """Have the calendar wake us when something is due."""
        due_ns = self.desk.next_due_ns
        if due_ns is None:
            return
        due_ns = max(due_ns, self._calendar.now_ns() + _TICK_NS)
        if self._timer is not None:
            if self._timer_ns <= due_ns:
                return
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self._calendar.schedule((due_ns, Class.TIMER, 0, 2), self._inbox.deliver, Pulse.TICK)

    def _schedule(self, pulse: Pulse, every_ns: int) -> None:
        due_ns = (self._calendar.now_ns() // every_ns + 1) * every_ns
        self._calendar.schedule((due_ns, Class.TIMER, 0, 3), self._inbox.deliver, pulse)

    # --- comparing --------------------------------------------------------------------------------------------------

    def _compare(self, why: str) -> None:
        if not self._is_comparing:
            self._is_comparing = True
            self._venue.compare(why, self._executed_ms)

    def _compare_again(self, at_ns: int) -> None:
        if not self._is_again_due:
            self._is_again_due = True
            self._calendar.schedule((at_ns, Class.TIMER, 0, 4), self._inbox.deliver, Pulse.COMPARE_AGAIN)

    async def _compared(self, message: AccountCompared, now_ns: int) -> None:
        self._is_comparing = False
        if message.snapshot is None:
            log.warning("account.not_compared", why=message.why)
            if now_ns - self.compared_ns > _COMPARED_WITHIN * self._compare_ns:
                self.troubles["account"] = f"the account could not be compared for long: {message.why}"
            self._compare_again(now_ns + _COMPARE_AGAIN_NS)
            return
        self._executed_ms = max(self._executed_ms, message.executed_ms)
        await self._carry_out(self.desk.reconcile(message.snapshot, now_ns))
        self.compared_ns = now_ns
        if self.links.get("account") is False:
            self._note("stream", "the account's stream is down")
            self._compare_again(now_ns + _COMPARE_BLIND_NS)
        elif message.snapshot.began_ns >= self._link_up_ns:  # what was asked before it came may have missed something
            self.troubles.pop("stream", None)
        self.troubles.pop("account", None)
        if not self._is_ready:
            self._is_ready = True
            log.info("account.compared", orders=len(message.snapshot.open_orders))

    async def _link_changed(self, message: LinkChanged, now_ns: int) -> None:
        was_up = self.links.get(message.name)
        self.links[message.name] = message.is_up
        if message.name != "account":
            return
        if not message.is_up:
            # Until it is back and has been compared, what we hold is a guess: only exits pass.
            self.troubles["stream"] = f"the account's stream is down: {message.reason}"
            self._compare("the account's stream is down")
        elif not was_up:
            self._link_up_ns = now_ns
            self.troubles["stream"] = "the account's stream is back, and has not been compared yet"
            self._is_comparing = False  # what was asked before it came may have missed something
            self._compare("the account's stream has come")

    def _hear_clock(self, message: ClockTold) -> None:
        self.offset_ms = message.offset_ms
        if message.offset_ms is not None:
            self.desk.submissions.set_clock(message.offset_ms)
        self._note("clock", message.trouble)

    async def _refit(self, told: FiltersTold, now_ns: int) -> None:
        """Hold new orders against today's filters; the strategy rounds to them from now on."""
        name = told.instrument.name
        self._closed.pop(name, None)
        if told.status != TRADING:
            self._closed[name] = f"the venue's status of {name} is {told.status}"
        await self._carry_out(self.desk.filters_told(told, now_ns))
        self._strategy.leave(told)

    def _note(self, what: str, trouble: str) -> None:
        if trouble:
            self.troubles[what] = trouble
        else:
            self.troubles.pop(what, None)

    def _learn_doubts(self, instrument: str) -> None:
        """Let the gate know, before it judges, what its data and connections are in doubt of."""
        unsure, fed = self.desk.orders.state.unsure, self._fed.pop(instrument, None)
        if fed is not None and unsure.get(instrument) == fed:
            del unsure[instrument]  # what the account is unsure of stays until it has been compared
        closed = [self._closed[instrument]] if instrument in self._closed else []
        doubts = [*self.troubles.values(), *closed, *self._doubts(instrument)]
        if doubts and instrument not in unsure:
            unsure[instrument] = self._fed[instrument] = doubts[0]

    # --- a person ---------------------------------------------------------------------------------------------------

    async def _obey(self, asked: Asked, now_ns: int) -> None:
        marks, why = self._marks_at(now_ns), f"{asked.by}: {asked.command.why}"
        match asked.command:
            case Kill(is_flattening=is_flattening):
                await self._carry_out(self.desk.kill(why, marks, now_ns))
                if is_flattening:
                    await self._flatten(why, "", now_ns)
                asked.done(CommandDone(is_done=True, text="killed: nothing new is sent, everything is being canceled"))
            case Pause():
                await self._carry_out(self.desk.pause(why, now_ns))
                asked.done(CommandDone(is_done=True, text="paused: only exits pass"))
            case Resume():
                if self.desk.orders.rules.is_killed:
                    if asked.by != HOST or self._is_killed():
                        why_not = "the kill switch is closed; only the host opens it: bot resume --re-arm"
                        asked.done(CommandDone(is_done=False, text=why_not))
                        return
                    await self._carry_out(self.desk.re_arm(why, now_ns))
                self._is_key_refused = False
                for name in list(self.desk.orders.state.flattening):
                    await self._carry_out(self.desk.end_flatten(name, why, now_ns))
                await self._carry_out(self.desk.resume(why, now_ns))
                asked.done(CommandDone(is_done=True, text="resumed"))
            case Flatten(instrument=instrument) if instrument and instrument not in self._marks:
                why_not = f"{instrument} is not traded here: nothing was done; choose of {', '.join(self._marks)}"
                asked.done(CommandDone(is_done=False, text=why_not))
            case Flatten(instrument=instrument):
                await self._carry_out(self.desk.pause(why, now_ns))
                await self._flatten(why, instrument, now_ns)
                asked.done(CommandDone(is_done=True, text="flattening, and paused"))
            case _:
                asked.done(CommandDone(is_done=False, text="this cannot be done while running"))

    async def _flatten(self, why: str, instrument: str, now_ns: int) -> None:
        names = [instrument] if instrument else sorted(self.desk.orders.state.instruments)
        if not self.desk.orders.state.flattening:
            self._calendar.schedule((now_ns + _FLATTEN_NS, Class.TIMER, 0, 5), self._inbox.deliver, Pulse.FLATTEN)
        for name in names:
            await self._carry_out(self.desk.flatten(name, why, self._marks_at(now_ns), now_ns))

    async def _flatten_again(self, now_ns: int) -> None:
        """Ask again for what is still held: the exit may have been refused, or not have been let go."""
        state = self.desk.orders.state
        for name, why in list(state.flattening.items()):
            if name not in state.instruments:
                await self._carry_out(self.desk.end_flatten(name, "it is not traded any more", now_ns))
                continue
            live = state.live[name]
            if any(each in state.closing for each in live):
                continue
            if not state.closable_legs(name) and not live:
                if self._is_ready and name not in state.touched:  # until it was compared, what looks flat may not be
                    await self._carry_out(self.desk.end_flatten(name, "it is flat", now_ns))
                continue
            await self._carry_out(self.desk.close(name, why, self._marks_at(now_ns), now_ns))
        if state.flattening:
            self._calendar.schedule((now_ns + _FLATTEN_NS, Class.TIMER, 0, 5), self._inbox.deliver, Pulse.FLATTEN)

    async def _finish(self) -> None:
        """Leave with everything written; what is open at the venue stays, for the next start to take up."""
        now_ns = self._calendar.now_ns()
        await self._carry_out(self.desk.mark_equity(self._marks_at(now_ns), now_ns))
        await self._ledger.commit()
