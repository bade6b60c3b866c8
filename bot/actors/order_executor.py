"""Async shell around `core.orders`: carries out what it decides, in the order record, send, publish."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import structlog

from bot.actors.inbox import Inbox, Stop
from bot.actors.tape_rows import tape_rows
from bot.core.calendar import Class
from bot.core.effects import Effects, Wish
from bot.core.equity import ProfitCurve
from bot.core.marks import MarkSeries
from bot.core.orders import Orders
from bot.core.risk import Mark
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, ForecastBatch, MarketSlab
from bot.domain.orders import AccountEvent, FundingPaid, OrderFilled, PositionCut, StopKind
from bot.ports import Calendar, Cancelable, LedgerWriter, TapeRows, Venue

log = structlog.get_logger()

_DAY_NS = 24 * 3_600_000_000_000
_TAPE_ROWS = 4_096  # bars written together
_AGAINST_US = (StopKind.LIQUIDATION, StopKind.DELEVERAGING)
_SETTLED_AFTER_NS = 10 * 60_000_000_000  # by then every fill of a bar's time has been reported


class DayEnded:
    """The calendar has reached midnight, UTC."""


class WorkDue:
    """It is time to go on with a target that is not reached yet."""


class CheckDue:
    """While something is held: it is time to look at what the account is worth."""


class OrderExecutor:
    """Serves wishes, venue answers and the market's marks, one message at a time.

    Args:
        inbox: everything comes home through it.
        strategy: is told of its orders.
        calendar: the clock, and the midnights.
        orders: decides.
        venue: where orders go.
        ledger: makes entries durable before anything is sent.
        record_tape: keeps what the charts need.
        instruments: what is traded, by name.
        tape_scale_ns: the scale of the tape's bars.
        cash: what the account starts with.
        check_ns: how often equity is looked at while something is held, besides at every wish and at midnight.
    """

    def __init__(
        self,
        *,
        inbox: Inbox[Wish | Sequence[AccountEvent] | MarketSlab | DayEnded | CheckDue | WorkDue | Stop],
        strategy: Inbox[Any],
        calendar: Calendar,
        orders: Orders,
        venue: Venue,
        ledger: LedgerWriter,
        record_tape: Callable[[TapeRows | ForecastBatch], None],
        instruments: Mapping[str, Instrument],
        tape_scale_ns: int,
        cash: Decimal,
        check_ns: int = 3_600_000_000_000,
    ) -> None:
        self._inbox = inbox
        self._strategy = strategy
        self._calendar = calendar
        self._orders = orders
        self._venue = venue
        self._ledger = ledger
        self._marks = {name: MarkSeries(instrument) for name, instrument in instruments.items()}
        self._read: tuple[int, dict[str, Mark | None]] | None = None  # the last look: much happens at one instant
        self._profits = {
            name: TapeMaker(instrument, tape_scale_ns, record_tape) for name, instrument in instruments.items()
        }
        self._record_tape = record_tape
        self._cash = cash
        self._check_ns = check_ns
        self._is_check_due = False  # one is on the calendar
        self._work_due: tuple[int, Cancelable] | None = None  # likewise

    async def run(self) -> None:
        """Serve until told to stop; what is left at the end is recorded as it stands."""
        now_ns = self._calendar.now_ns()
        await self._carry_out(self._orders.deposit(self._cash, now_ns))
        self._schedule_midnight(now_ns)
        while True:
            for message in await self._inbox.take():
                now_ns = self._calendar.now_ns()
                match message:
                    case Wish():
                        await self._carry_out(self._orders.wish(message, marks=self._read_marks(now_ns), now_ns=now_ns))
                    case MarketSlab():
                        name = message.instrument.name
                        self._marks[name].extend(message, now_ns)
                        self._read = None
                        self._profits[name].extend(message, now_ns)
                        if message.forecasts is not None:
                            self._record_tape(message.forecasts)
                    case DayEnded():
                        await self._carry_out(self._orders.mark_equity(self._read_marks(now_ns), now_ns))
                        await self._check(now_ns)
                        self._schedule_midnight(now_ns)
                    case WorkDue():
                        self._work_due = None
                        await self._go_on(now_ns)
                    case CheckDue():
                        self._is_check_due = False
                        await self._check(now_ns)
                        self._schedule_check(now_ns)
                    case Stop():
                        await self._finish(now_ns)
                        return
                    case _:
                        for event in message:
                            effects = self._orders.event(event, now_ns)
                            if effects.record:  # it is news
                                self._follow(event)
                            await self._carry_out(effects)
                        if self._orders.targets.is_due(now_ns):
                            await self._go_on(now_ns)
                        self._schedule_check(now_ns)
                self._schedule_work()

    async def _carry_out(self, effects: Effects) -> None:
        if effects.record:
            self._ledger.append(effects.record)
        if effects.send:
            await self._ledger.commit()  # durable before any byte is sent
            for command in effects.send:
                self._venue.send(command)
        for notice in effects.publish:
            if notice.event is None:
                self._strategy.leave(notice)  # nothing to act on: it is seen with what comes next
            else:
                self._strategy.deliver(notice)

    def _read_marks(self, now_ns: int) -> dict[str, Mark | None]:
        read = self._read
        if read is None or read[0] != now_ns:
            read = self._read = now_ns, {name: series.at(now_ns) for name, series in self._marks.items()}
        return read[1]

    def _follow(self, event: AccountEvent) -> None:
        match event:
            case OrderFilled() | PositionCut():
                self._profits[event.instrument].curve.trade(
                    event.ts_event_ns, event.qty * event.side.sign, event.price, event.fee
                )
                if isinstance(event, PositionCut) and event.cause in _AGAINST_US:
                    log.error(
                        "position.taken",
                        instrument=event.instrument,
                        cause=event.cause.value,
                        side=event.side.value,
                        qty=str(event.qty),
                        price=str(event.price),
                    )
            case FundingPaid():
                self._profits[event.instrument].curve.receive(event.ts_event_ns, event.amount)

    async def _check(self, now_ns: int) -> None:
        await self._carry_out(self._orders.rules.observe(self._read_marks(now_ns), now_ns, is_check=True))

    async def _go_on(self, now_ns: int) -> None:
        await self._carry_out(self._orders.targets.work(self._read_marks(now_ns), now_ns))

    def _schedule_work(self) -> None:
        """Have targets that are not reached yet looked at when it is time to."""
        due_ns, held = self._orders.targets.due_ns, self._work_due
        if due_ns is None or (held is not None and held[0] <= due_ns):
            return
        if held is not None:
            held[1].cancel()
        due = self._calendar.schedule((due_ns, Class.TIMER, 0, 2), self._inbox.deliver, WorkDue())
        self._work_due = due_ns, due

    def _schedule_check(self, now_ns: int) -> None:
        """Have equity looked at on the next round time, as long as it can move by itself."""
        if self._is_check_due or not self._orders.rules.wants_checks:
            return
        self._is_check_due = True
        due_ns = (now_ns // self._check_ns + 1) * self._check_ns
        self._calendar.schedule((due_ns, Class.TIMER, 0, 1), self._inbox.deliver, CheckDue())

    def _schedule_midnight(self, now_ns: int) -> None:
        midnight_ns = (now_ns // _DAY_NS + 1) * _DAY_NS
        self._calendar.schedule((midnight_ns, Class.TIMER, 0, 0), self._inbox.deliver, DayEnded())

    async def _finish(self, now_ns: int) -> None:
        await self._carry_out(self._orders.mark_equity(self._read_marks(now_ns), now_ns))
        for maker in self._profits.values():
            maker.finish()
        await self._ledger.commit()


class TapeMaker:
    """Join one instrument's bars with position and profit, once nothing of their time can come any more."""

    def __init__(
        self, instrument: Instrument, scale_ns: int, record: Callable[[TapeRows | ForecastBatch], None]
    ) -> None:
        self.curve = ProfitCurve(instrument)
        self._instrument = instrument
        self._scale_ns = scale_ns
        self._record = record
        self._waiting: list[BarBatch] = []
        self._rows = 0

    def extend(self, slab: MarketSlab, now_ns: int) -> None:
        """Add a slab's bars."""
        if self._rows >= _TAPE_ROWS:
            self._waiting = [BarBatch.join(self._waiting)]
            self._settle(now_ns - _SETTLED_AFTER_NS)
            self._rows = sum(len(bars) for bars in self._waiting)
        if self._scale_ns in slab.bars:
            self._waiting.append(slab.bars[self._scale_ns])
            self._rows += len(self._waiting[-1])

    def finish(self) -> None:
        """Write what is left."""
        self._settle(2**62)

    def _settle(self, until_ns: int) -> None:
        while self._waiting:
            bars = self._waiting[0]
            done = int(np.searchsorted(bars.open_ns, until_ns - self._scale_ns, side="right"))
            if done:
                self._write(bars.rows(0, done))
            if done < len(bars):
                self._waiting[0] = bars.rows(done, len(bars))
                return
            self._waiting.pop(0)

    def _write(self, bars: BarBatch) -> None:
        position, profit = self.curve.at(bars.close_ns, bars.close_ticks)
        self._record(tape_rows(self._instrument, bars, position, profit))
