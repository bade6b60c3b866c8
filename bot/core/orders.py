"""All orders of the run: from a strategy's wish through the gate to the venue, and from its answers to the books.

The executor's core. A message goes in, `Effects` come out: entries for the ledger, commands for the venue, events for
the strategy, to be carried out in this order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from bot.core.execution.chase import Chase, Step, View
from bot.core.execution.execution import Execution
from bot.core.execution.legs import leg_of, on_leg
from bot.core.execution.policy import MARKETABLE, ExecutionPolicy
from bot.core.execution.strategy_books import NET, OUTSIDE
from bot.core.execution.told import crossed, part_of
from bot.core.money_state import MoneyState
from bot.core.order import Order, apply, ask_amendment
from bot.core.portfolio import Portfolio
from bot.core.protections import ProtectionLimits, Protections
from bot.core.risk import Book, Denial, Mark, RiskLimits, judge, judge_amendment, judge_stops
from bot.core.stops import Stops
from bot.core.submission.ids import ClientOrderIds as ClientOrderIds
from bot.core.trading_state import Cause, TradingState
from bot.domain.account import ZERO
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import (
    AmendIntended,
    BookMoved,
    CancelIntended,
    DecisionMade,
    Deposited,
    ForecastUsed,
    LedgerEntry,
    LossBaseMoved,
    OrderIntended,
    OrderReported,
    RiskDenied,
    StopsIntended,
    StopsReported,
)
from bot.domain.orders import (
    AccountEvent,
    Action,
    AmendOpen,
    AmendOrder,
    CancelOpen,
    CancelOrder,
    CashAdjusted,
    ChangeStops,
    Command,
    FeePaid,
    ForeignFilled,
    FundingPaid,
    Leg,
    OrderFilled,
    OrderType,
    PlaceOrder,
    PositionCut,
    SetStops,
    StopsChanged,
    StopsRejected,
    SubmitOrder,
    Target,
    Transferred,
)

_ABSURD_QTY = Decimal(10**15)  # beyond it nothing is netted or rounded: the gate denies it as it is
RISK = "risk"
"""The strategy's name of what the rules do by themselves."""
EXECUTION = "execution"
"""The trigger of what is done for a target after the decision that set it."""

_SHARED_POSITION = (
    Denial.STOPS_INVALID,
    "the venue keeps exits for the whole position, which several strategies share here; watch them at bars instead",
)


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy wants, and what it saw when it decided."""

    strategy: str
    trigger: str
    action: Action
    bar_close_ns: int | None
    close_price: Decimal | None
    position_qty: Decimal
    forecast: ForecastUsed | None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy is told of its own orders."""

    order: Order | None  # as it is now; None where the event is not of an order
    event: AccountEvent | RiskDenied | None  # None: the order has just been sent
    strategy: str = ""  # whom to tell, where several trade the account; "": all of them


@dataclass(slots=True)
class Effects:
    """What is to be done, in this order: record and commit, send, publish."""

    record: list[LedgerEntry] = field(default_factory=list)
    send: list[Command] = field(default_factory=list)
    publish: list[Notice] = field(default_factory=list)


class Orders:
    """Decides everything the order executor does.

    Args:
        instruments: what may be traded, by name.
        portfolio: the account, empty.
        limits: the gate's.
        ids: names the orders.
        protections: watch the account; None for none.
        execution: how targets are reached.
        strategies: who trades; with several, each has a book of its own.
        is_restorable: record besides whatever it takes to take the run up again from its entries (paper, live).
        is_hedged: the account is in hedge mode: its perpetuals have a long and a short leg.
    """

    def __init__(
        self,
        *,
        instruments: Mapping[str, Instrument],
        portfolio: Portfolio,
        limits: RiskLimits,
        ids: ClientOrderIds,
        protections: Protections | None = None,
        execution: ExecutionPolicy = MARKETABLE,
        strategies: Sequence[str] = (),
        is_restorable: bool = False,
        is_hedged: bool = False,
    ) -> None:
        self._instruments = dict(instruments)
        self._portfolio = portfolio
        self._limits = limits
        self._ids = ids
        self._protections = Protections(ProtectionLimits()) if protections is None else protections
        self._is_restorable = is_restorable
        self._execution = Execution(execution)
        self._loss_base: tuple[int, Decimal | None, Decimal | None] | None = None  # as last recorded
        self.state = MoneyState(
            instruments=self._instruments,
            portfolio=portfolio,
            protections=self._protections,
            sends_max=limits.orders_per_second_max,
            strategies=strategies,
            hedged=[name for name, each in self._instruments.items() if is_hedged and each.kind != "spot"],
        )
        self._shared = self.state.strategy_books
        self._books = self.state.books
        self._orders = self.state.orders
        self._live = self.state.live

    def refit(self, instrument: Instrument) -> None:
        """Hold orders from now on against an instrument's new filters."""
        self._instruments[instrument.name] = instrument

    def deposit(self, amount: Decimal, now_ns: int) -> Effects:
        """Book the starting cash."""
        self._protections.deposit(amount, now_ns)
        return Effects(record=[Deposited(ts_ns=now_ns, postings=self._portfolio.deposit(amount))])

    def deposit_coins(self, coins: Mapping[str, Decimal], now_ns: int) -> Effects:
        """Book what the account owns of other coins to begin with."""
        if not coins:
            return Effects()
        return Effects(record=[Deposited(ts_ns=now_ns, postings=self._portfolio.deposit_coins(coins))])

    def wish(self, wish: Wish, *, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Turn a wish into the orders it takes, each judged by the gate at what the account is worth now."""
        effects = self.observe(marks, now_ns)
        self.state.decisions += 1
        forecast = wish.forecast
        if forecast is not None and self.state.forecasts.get(forecast.instrument) != forecast.forecast_id:
            self.state.forecasts[forecast.instrument] = forecast.forecast_id
            effects.record.append(forecast)
        effects.record.append(
            DecisionMade(
                ts_ns=now_ns,
                decision_id=self.state.decisions,
                strategy=wish.strategy,
                instrument=wish.action.instrument,
                trigger=wish.trigger,
                bar_close_ns=wish.bar_close_ns,
                close_price=wish.close_price,
                position_qty=wish.position_qty,
                forecast_id=None if forecast is None else forecast.forecast_id,
                action=msgspec.json.encode(wish.action).decode(),
                reason=wish.action.reason,
            )
        )
        match wish.action:
            case Target():
                self._reach(wish.action, wish.strategy, marks, now_ns, effects)
            case PlaceOrder():
                self._place(wish.action, wish.strategy, marks, now_ns, effects)
            case AmendOpen():
                self._amend(wish.action, wish.strategy, marks, now_ns, effects)
            case SetStops():
                self._set_stops(wish.action, wish.strategy, marks, now_ns, effects)
            case CancelOpen():
                self._cancel(wish.action, wish.strategy, now_ns, effects)
        if self._shared is not None and not isinstance(wish.action, Target):  # a denial is its own business
            effects.publish = [
                replace(each, strategy=wish.strategy) if isinstance(each.event, RiskDenied) else each
                for each in effects.publish
            ]
        return effects

    def event(self, event: AccountEvent, now_ns: int) -> Effects:
        """Book what the venue tells; `work` comes next, where `is_due` says so.

        Raises:
            InvariantBroken: it speaks of an order we do not know, or contradicts what we know.
        """
        match event:
            case FundingPaid():
                return self._booked(event, self._books.funding(event, now_ns), now_ns)
            case PositionCut():
                return self._booked(event, self._books.cut(event, now_ns), now_ns)
            case CashAdjusted():
                return self._booked(event, self._books.adjustment(event, now_ns), now_ns)
            case ForeignFilled():
                return self._booked(event, self._books.foreign(event, now_ns), now_ns)
            case FeePaid():
                forget_ns = self.state.forget_before_ns(now_ns)
                return self._booked(event, self._books.fee(event, now_ns, forget_before_ns=forget_ns), now_ns)
            case Transferred():
                return self._booked(event, self._books.transfer(event, now_ns), now_ns)
            case StopsChanged() | StopsRejected():
                return self._follow_stops(event, now_ns)
        before = self._orders.get(event.client_order_id)
        if before is None:
            raise InvariantBroken(f"{type(event).__name__} for an order we never sent: {event.client_order_id}")
        if isinstance(event, OrderFilled) and self._books.is_booked(event.instrument, event.trade_id):
            return Effects()  # it was told before without whose it is
        after = apply(before, event)
        if after is before:
            return Effects()  # a repeat
        self.state.keep(after, now_ns)
        self._execution.poke(event.instrument, now_ns)
        if isinstance(event, OrderFilled):
            if event.instrument in self.state.torn:
                self.state.move_leg(after.request, event)
            entries = self._books.fill(event, is_first=not before.filled_qty, order=after, now_ns=now_ns)
            if self._shared is None and not self.state.owing and event.instrument not in self.state.hedged:
                self._execution.drop_if_reached(after, self.position_qty(event.instrument))
            return self._booked(event, entries, now_ns, order=after)
        return Effects(
            record=[OrderReported(ts_ns=now_ns, status=after.status, event=event)],
            publish=self._notices(after, event),
        )

    def work(self, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Go on with the targets that are not reached yet, where time or an event has come to do so."""
        effects = Effects()
        for name in self._execution.due(now_ns):
            self._go_on(name, marks, now_ns, effects)
        return effects

    def is_due(self, now_ns: int) -> bool:
        """Return whether `work` has something to look at."""
        due_ns = self._execution.due_ns
        return due_ns is not None and due_ns <= now_ns

    def leave_targets(self, why: str, now_ns: int) -> None:
        """Want nothing more than what is held: `work` takes back what rests for a target."""
        self._execution.leave_all(why, now_ns)

    def forget_owing(self, before_ns: int, now_ns: int) -> None:
        """Wait no longer for executions that were to come before then: all that there were have been asked for."""
        for name, since_ns in list(self.state.owing.items()):
            if since_ns < before_ns:
                del self.state.owing[name]
                self._execution.poke(self._orders[name].request.instrument, now_ns)

    def is_working(self, instrument: str) -> bool:
        """Return whether an instrument's target is not reached yet."""
        return instrument in self._execution.chases

    @property
    def due_ns(self) -> int | None:
        """Return when `work` has something to do; None: when something has happened."""
        return self._execution.due_ns

    def mark_equity(self, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Record what the account is worth; nothing where a held instrument has no price yet."""
        return Effects(record=self._books.mark(marks, now_ns))

    def observe(self, marks: Mapping[str, Mark | None], now_ns: int, *, is_check: bool = False) -> Effects:
        """Look at what the account is worth, and do what the protections then ask for.

        Args:
            is_check: it is the clock that asks: a flattening order that did not come through is sent again.
        """
        equity = self._books.equity(marks) if self._protections.watches_equity else None
        changed = self._protections.see_equity(equity, now_ns)
        effects = Effects(record=list(changed))
        self._record_loss_base(now_ns, effects)
        self._enforce(now_ns, effects)
        if self._protections.wants_flat and (changed or is_check):
            self._flatten(marks, now_ns, effects)
        return effects

    def halt(self, why: str, *, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Halt the account because a person says so."""
        effects = Effects(record=list(self._protections.halt(why, now_ns)))
        self._enforce(now_ns, effects)
        if self._protections.wants_flat:
            self._flatten(marks, now_ns, effects)
        return effects

    def resume(self, why: str, now_ns: int) -> Effects:
        """Let everything trade again because a person says so."""
        effects = Effects(record=list(self._protections.resume(why, now_ns)))
        self._record_loss_base(now_ns, effects)
        return effects

    def hold_back(self, instrument: str, why: str, now_ns: int) -> Effects:
        """Halt one instrument until a person has looked into it: our picture and the venue's contradict each other."""
        effects = Effects(record=list(self._protections.halt(why, now_ns, scope=instrument, cause=Cause.RECONCILE)))
        self._enforce(now_ns, effects)
        return effects

    def reduce_account(self, why: str, now_ns: int, *, cause: Cause = Cause.PERSON) -> Effects:
        """Let only exits pass anywhere until a person says otherwise."""
        effects = Effects(record=list(self._protections.reduce(why, now_ns, cause=cause)))
        self._enforce(now_ns, effects)
        return effects

    def kill(self, why: str, *, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Halt everything, for no one but the host to open again, and cancel every order there is."""
        effects = Effects(record=list(self._protections.halt(why, now_ns, cause=Cause.KILL)))
        self._execution.leave_all("the kill switch is closed", now_ns)
        for name, live in self._live.items():
            doomed = [order for key, order in live.items() if not order.cancel_requested]
            doomed = [order for order in doomed if order.request.client_order_id not in self.state.closing]
            if doomed:
                self._decide(name, CancelOpen(instrument=name), now_ns, effects)
                for order in doomed:
                    self._send_cancel(order, now_ns, effects)
        if self._protections.wants_flat:
            self._flatten(marks, now_ns, effects)
        return effects

    def re_arm(self, why: str, now_ns: int) -> Effects:
        """Open the kill switch's latch; what else holds keeps holding."""
        return Effects(record=list(self._protections.re_arm(why, now_ns)))

    @property
    def is_killed(self) -> bool:
        """Return whether the kill switch is latched."""
        return any(latch.cause is Cause.KILL for latch in self._protections.states.latches())

    def cancel(self, client_order_id: str, why: str, now_ns: int) -> Effects:
        """Cancel one order because a rule says so, also where it has been asked for already."""
        effects = Effects()
        order = self._orders.get(client_order_id)
        if order is not None and order.is_live:
            self._decide_because(
                order.request.instrument,
                CancelOpen(instrument=order.request.instrument, client_order_id=client_order_id),
                trigger="rule",
                reason=why,
                now_ns=now_ns,
                effects=effects,
            )
            self._send_cancel(order, now_ns, effects)
        return effects

    def close_position(self, instrument: str, why: str, *, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Close one position at the market because a rule says so, where that is not under way already."""
        effects = Effects()
        self._close(instrument, marks, now_ns, effects, why=why)
        return effects

    @property
    def wants_checks(self) -> bool:
        """Return whether equity can move by itself in a way that the protections want to know of."""
        return self._protections.watches_equity and any(p.qty for p in self._portfolio.positions.values())

    def position_qty(self, instrument: str) -> Decimal:
        """Return the signed quantity held."""
        return self.state.position_qty(instrument)

    def _reach(
        self, target: Target, strategy: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects
    ) -> None:
        instrument = self._instruments.get(target.instrument)
        if instrument is not None and target.qty.is_finite() and abs(target.qty) < _ABSURD_QTY:
            qty, who = target.qty, strategy
            if self._shared is not None:
                self._shared.wish(strategy, instrument.name, target.qty)
                qty, who = self._shared.target(instrument.name), NET
            self._execution.aim(instrument.name, qty, strategy=who, number=self.state.decisions, now_ns=now_ns)
            if self._shared is not None:
                self._execution.wait_for_others(instrument.name, now_ns)
            else:
                self._go_on(instrument.name, marks, now_ns, effects, is_decided=True)
            return
        self._send(  # there is no netting with such a number: the gate denies it as it is
            strategy=strategy,
            instrument=target.instrument,
            side=Side.SELL if target.qty.is_signed() else Side.BUY,
            order_type=OrderType.MARKET,
            qty=target.qty.copy_abs(),
            marks=marks,
            now_ns=now_ns,
            effects=effects,
        )

    def _go_on(
        self, name: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects, *, is_decided: bool = False
    ) -> None:
        """Take the next steps towards an instrument's target.

        Args:
            is_decided: the decision they follow from has just been recorded; else each is recorded as one of its own.
        """
        chase = self._execution.chases[name]
        if self._shared is not None and not is_decided:
            self._cross(name, marks, now_ns, effects)
            chase.adjust(self._shared.target(name), now_ns)
        view = View(
            instrument=self._instruments[name],
            position_qty=self.position_qty(name),
            live=tuple(self._live[name].values()),
            orders=self._orders,
            mark=marks.get(name),
            now_ns=now_ns,
            is_hedged=name in self.state.hedged,
            owing=self.state.owing_of(name),
            is_doubtful=name in self.state.doubts,
        )
        for step in chase.step(view):
            if not is_decided:
                self._decide_because(
                    name,
                    step,
                    trigger=EXECUTION,
                    reason=step.reason,
                    now_ns=now_ns,
                    effects=effects,
                    strategy=chase.strategy,
                )
            self._take_step(step, chase, marks, now_ns, effects)
        if chase.is_done:
            del self._execution.chases[name]
            if self._shared is not None and chase.is_given_up:
                self._shared.want_no_more(name)
            if chase.dropped:
                detail = f"{chase.target_qty:f} of {chase.strategy}: {chase.dropped}"
                self._deny(name, (Denial.TARGET_DROPPED, detail), now_ns, effects)

    def _cross(self, name: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects) -> None:
        """Let opposite wishes of strategies meet at the last price, where there is a fresh one and nothing is held."""
        mark, shared = marks.get(name), self._shared
        is_fresh = mark is not None and 0 <= now_ns - mark.ts_ns <= self._limits.mark_age_ns_max
        if shared is None or mark is None or not is_fresh or not mark.price > 0 or self.state.hold(name) is not None:
            return
        moves = shared.cross(name, mark.price, self._live[name].values(), self.state.crossings + 1, now_ns)
        if moves:
            self.state.crossings += 1
        effects.record += moves
        effects.publish += [Notice(order=None, event=event, strategy=who) for who, event in crossed(moves)]

    def _take_step(
        self, step: Step, chase: Chase, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects
    ) -> None:
        outcome: Order | tuple[Denial, str] | None = None
        match step:
            case PlaceOrder(limit_price=None):
                for qty in self._cut_at_flat(step.instrument, step.side, step.qty):
                    outcome = self._place(replace(step, qty=qty), chase.strategy, marks, now_ns, effects)
                    if isinstance(outcome, Order):
                        chase.sent(outcome)
            case PlaceOrder():
                outcome = self._place(step, chase.strategy, marks, now_ns, effects)
                if isinstance(outcome, Order):
                    self.state.worked.add(outcome.request.client_order_id)
                    chase.sent(outcome)
            case AmendOpen():
                outcome = self._amend(step, chase.strategy, marks, now_ns, effects)
            case CancelOpen(client_order_id=str(order_id)):
                self._send_cancel(self._orders[order_id], now_ns, effects)
        if isinstance(outcome, tuple):
            chase.denied(*outcome, now_ns)

    def _cut_at_flat(self, instrument: str, side: Side, qty: Decimal) -> tuple[Decimal, ...]:
        """Return an order's quantity; while only exits pass, in two where it would turn the position over.

        The first part may then leave, and the second is denied: otherwise nothing could be closed by who always turns.
        """
        hold = self._protections.hold(instrument)
        if hold is None or hold.state is not TradingState.REDUCING or instrument not in self._instruments:
            return (qty,)
        position = self.position_qty(instrument)
        live = (o for o in self._live[instrument].values() if o.request.side is side and not o.request.reduce_only)
        room = abs(position) - sum((o.remaining_qty for o in live), ZERO)
        if not (qty.is_finite() and position * side.sign < 0 and 0 < room < qty):
            return (qty,)
        return room, qty - room

    def _place(
        self, place: PlaceOrder, strategy: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects
    ) -> Order | tuple[Denial, str]:
        if self._shared is not None and (place.take_profit is not None or place.stop_loss is not None):
            self._deny(place.instrument, _SHARED_POSITION, now_ns, effects)
            return _SHARED_POSITION
        return self._send(
            strategy=strategy,
            instrument=place.instrument,
            side=place.side,
            order_type=OrderType.MARKET if place.limit_price is None else OrderType.LIMIT,
            qty=place.qty,
            limit_price=place.limit_price,
            time_in_force=place.time_in_force,
            reduce_only=place.reduce_only,
            trigger=place.trigger,
            take_profit=place.take_profit,
            stop_loss=place.stop_loss,
            marks=marks,
            now_ns=now_ns,
            effects=effects,
        )

    def _send(
        self,
        *,
        strategy: str,
        marks: Mapping[str, Mark | None],
        now_ns: int,
        effects: Effects,
        is_rule: bool = False,
        **asked: object,
    ) -> Order | tuple[Denial, str]:
        """Send an order and return it, or why the gate would not let it pass."""
        client_order_id, number = self._ids.next(strategy)
        order = SubmitOrder(client_order_id=client_order_id, order_number=number, **asked)  # type: ignore[arg-type]
        mark = marks.get(order.instrument)
        book = self.state.book(order.instrument, marks, now_ns)
        if order.instrument in self.state.hedged:
            placed = self._on_leg(order, book)
            if isinstance(placed, str):
                self._deny(order.instrument, (Denial.OTHER_LEG, placed), now_ns, effects)
                return Denial.OTHER_LEG, placed
            order, book = placed
        denial = judge(
            order,
            instrument=self._instruments.get(order.instrument),
            mark=mark,
            book=book,
            limits=self._limits,
            hold=None if is_rule else self.state.hold(order.instrument),
        )
        if denial is not None:
            self._deny(order.instrument, denial, now_ns, effects)
            return denial
        assert mark is not None
        sent = self.state.sent(order, strategy, now_ns, is_rule=is_rule)
        effects.publish += self._notices(sent, None)
        effects.record.append(
            OrderIntended(ts_ns=now_ns, decision_id=self.state.decisions, mark_price=mark.price, order=order)
        )
        if self._shared is not None and strategy not in self._shared.strategies:
            effects.record.append(self._shared.share(sent, self._live[order.instrument].values(), now_ns))
        effects.send.append(order)
        return sent

    def _on_leg(self, order: SubmitOrder, book: Book) -> tuple[SubmitOrder, Book] | str:
        """Return an order of an instrument in hedge mode on its leg, and what it is judged by; or why it cannot be."""
        name = order.instrument
        if order.leg is Leg.NET:
            placed = on_leg(order, book.position.qty, self.state.may_fill(name))
            return placed if isinstance(placed, str) else (placed, book)
        held = dict(self.state.closable_legs(name))  # a rule closes a leg: it is the leg that it is held against
        return order, replace(book, position=replace(book.position, qty=held.get(order.leg, ZERO)))

    def _deny(self, instrument: str, denial: tuple[Denial, str], now_ns: int, effects: Effects) -> None:
        code, detail = denial
        denied = RiskDenied(
            ts_ns=now_ns,
            decision_id=self.state.decisions,
            instrument=instrument,
            code=code.value,
            detail=detail,
        )
        effects.record.append(denied)
        effects.publish.append(Notice(order=None, event=denied))

    def _amend(
        self, wish: AmendOpen, strategy: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects
    ) -> tuple[Denial, str] | None:
        """Ask for an order of the strategy's own to become another, if the gate would have it so; else return why."""
        live = self._live.get(wish.instrument)
        order = None if live is None else live.get(wish.client_order_id)
        if order is None or order.cancel_requested or self.state.strategy_of[wish.client_order_id] != strategy:
            detail = f"{wish.client_order_id} is no open order of yours, or is being canceled"
            self._deny(wish.instrument, (Denial.ORDER_NOT_OPEN, detail), now_ns, effects)
            return Denial.ORDER_NOT_OPEN, detail
        amend = AmendOrder(
            client_order_id=wish.client_order_id,
            order_number=order.request.order_number,
            amend_number=order.amend_count + 1,
            instrument=wish.instrument,
            qty=wish.qty,
            limit_price=wish.limit_price,
            trigger_price=wish.trigger_price,
        )
        mark = marks.get(wish.instrument)
        denial = judge_amendment(
            order,
            amend,
            instrument=self._instruments[wish.instrument],
            mark=mark,
            book=self.state.book(wish.instrument, marks, now_ns, without=wish.client_order_id),
            limits=self._limits,
            hold=self.state.hold(wish.instrument),
        )
        if denial is not None:
            self._deny(wish.instrument, denial, now_ns, effects)
            return denial
        self.state.sends_ns.append(now_ns)
        asked = ask_amendment(order, amend, now_ns)
        self.state.keep(asked, now_ns)
        effects.publish += self._notices(asked, None)
        price = None if mark is None else mark.price
        effects.record.append(
            AmendIntended(ts_ns=now_ns, decision_id=self.state.decisions, mark_price=price, amend=amend)
        )
        if self._shared is not None and wish.qty is not None and strategy not in self._shared.strategies:
            effects.record.append(self._shared.share(asked, self._live[wish.instrument].values(), now_ns))
        effects.send.append(amend)
        return None

    def _set_stops(
        self, wish: SetStops, strategy: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects
    ) -> None:
        """Ask for other exits of a position, if the gate would have it so."""
        if self._shared is not None:
            self._deny(wish.instrument, _SHARED_POSITION, now_ns, effects)
            return
        request_id, number = self._ids.next(strategy)
        change = ChangeStops(
            request_id=request_id,
            order_number=number,
            instrument=wish.instrument,
            take_profit=wish.take_profit,
            stop_loss=wish.stop_loss,
            trailing_distance=wish.trailing_distance,
            leg=leg_of(self.position_qty(wish.instrument)) if wish.instrument in self.state.hedged else Leg.NET,
        )
        mark = marks.get(wish.instrument)
        denial = judge_stops(
            change,
            self.state.stops.get(wish.instrument, Stops()),
            instrument=self._instruments.get(wish.instrument),
            mark=mark,
            book=self.state.book(wish.instrument, marks, now_ns),
            limits=self._limits,
            hold=self.state.hold(wish.instrument),
        )
        if denial is not None:
            self._deny(wish.instrument, denial, now_ns, effects)
            return
        self.state.sends_ns.append(now_ns)
        self.state.has_stops.add(wish.instrument)
        price = None if mark is None else mark.price
        effects.record.append(
            StopsIntended(ts_ns=now_ns, decision_id=self.state.decisions, mark_price=price, change=change)
        )
        effects.send.append(change)

    def _cancel(self, wish: CancelOpen, strategy: str, now_ns: int, effects: Effects) -> None:
        if self._shared is not None and wish.client_order_id is None and wish.instrument in self._instruments:
            self._shared.want_no_more(wish.instrument, strategy)
            self._execution.poke(wish.instrument, now_ns)
        chase = self._execution.chases.get(wish.instrument)
        if chase is not None and chase.strategy == strategy and wish.client_order_id in (None, *chase.mine):
            chase.leave("", now_ns)  # else what is canceled here would come back
        for order in list(self._live.get(wish.instrument, {}).values()):
            name = order.request.client_order_id
            if order.cancel_requested or self.state.strategy_of[name] != strategy:
                continue
            if wish.client_order_id not in (None, name):
                continue
            self._send_cancel(order, now_ns, effects)

    def _send_cancel(self, order: Order, now_ns: int, effects: Effects) -> None:
        self.state.keep(replace(order, cancel_requested=True), now_ns)
        cancel = CancelOrder(
            client_order_id=order.request.client_order_id,
            order_number=order.request.order_number,
            instrument=order.request.instrument,
        )
        effects.record.append(CancelIntended(ts_ns=now_ns, decision_id=self.state.decisions, cancel=cancel))
        effects.send.append(cancel)

    def _enforce(self, now_ns: int, effects: Effects) -> None:
        """Cancel what could still enter where only exits may, and everything where the account is to be flat."""
        if self._protections.states.is_quiet:
            return
        for name, live in self._live.items():
            if not live or self._protections.hold(name) is None:
                continue
            if self._protections.wants_flat:
                doomed = [order for key, order in live.items() if key not in self.state.closing]
            else:
                doomed = _entries(live.values(), self.position_qty(name))
            doomed = [order for order in doomed if not order.cancel_requested]
            if doomed:
                self._decide(name, CancelOpen(instrument=name), now_ns, effects)
                for order in doomed:
                    self._send_cancel(order, now_ns, effects)

    def _flatten(self, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects) -> None:
        """Send what closes every position, where it is not under way already."""
        for name in self._instruments:
            self._close(name, marks, now_ns, effects)

    def _close(
        self, name: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects, *, why: str = ""
    ) -> None:
        """Send what closes one position; `why` is its reason, the latch in force where none is given."""
        instrument = self._instruments[name]
        legs = self.state.closable_legs(name)
        if not legs or any(key in self.state.closing for key in self._live[name]):
            return
        self._execution.leave(name, "a rule closes the position", now_ns)
        flat = Target(instrument=name, qty=ZERO)
        if why:
            self._decide_because(name, flat, trigger="rule", reason=why, now_ns=now_ns, effects=effects)
        else:
            self._decide(name, flat, now_ns, effects)
        parts = [(leg, qty, part) for leg, qty in legs for part in _parts(abs(qty), instrument.qty_max)]
        for leg, qty, part in parts:
            self._send(
                strategy=RISK,
                instrument=name,
                side=Side.SELL if qty > 0 else Side.BUY,
                order_type=OrderType.MARKET,
                qty=part,
                reduce_only=True,
                leg=leg,
                marks=marks,
                now_ns=now_ns,
                effects=effects,
                is_rule=True,
            )

    def _decide(self, name: str, action: Action, now_ns: int, effects: Effects) -> None:
        """Record a decision that the rules made, with the latch in force as its reason."""
        hold = self._protections.hold(name)
        assert hold is not None
        reason = f"{hold.cause.value}: {hold.why.detail}"
        self._decide_because(
            name, action, trigger=f"state:{hold.state.value}", reason=reason, now_ns=now_ns, effects=effects
        )

    def _decide_because(
        self,
        name: str,
        action: Action,
        *,
        trigger: str,
        reason: str,
        now_ns: int,
        effects: Effects,
        strategy: str = RISK,
    ) -> None:
        self.state.decisions += 1
        effects.record.append(
            DecisionMade(
                ts_ns=now_ns,
                decision_id=self.state.decisions,
                strategy=strategy,
                instrument=name,
                trigger=trigger,
                bar_close_ns=None,
                close_price=None,
                position_qty=self.position_qty(name),
                forecast_id=None,
                action=msgspec.json.encode(action).decode(),
                reason=reason,
            )
        )

    def _record_loss_base(self, now_ns: int, effects: Effects) -> None:
        """Record what losses are measured from, where that has moved and somebody may need to know later."""
        base = self._protections.loss_base
        if self._is_restorable and base != self._loss_base:
            self._loss_base = base
            day, peak, day_start = base
            effects.record.append(LossBaseMoved(ts_ns=now_ns, day=day, peak=peak, day_start=day_start))

    def _booked(
        self, event: AccountEvent, entries: list[LedgerEntry], now_ns: int, *, order: Order | None = None
    ) -> Effects:
        """Return what follows once money has moved: nothing of a repeat, which leaves no entries."""
        if not entries:
            return Effects()
        moves = self._move_books(event, now_ns)
        effects = Effects(record=[*entries, *moves], publish=self._notices(order, event, moves))
        if isinstance(event, PositionCut | ForeignFilled):  # the position is not what the target was set upon
            self._execution.leave(event.instrument, f"execution {event.trade_id} was of no order of ours", now_ns)
        if isinstance(event, OrderFilled | PositionCut | ForeignFilled):
            self.state.moved(event.instrument)
            self._enforce(now_ns, effects)
        return effects

    def _move_books(self, event: AccountEvent, now_ns: int) -> list[BookMoved]:
        """Share out among several strategies what the account has booked."""
        shared = self._shared
        if shared is None:
            return []
        match event:
            case OrderFilled():
                return shared.fill(event, self.state.strategy_of.get(event.client_order_id, ""), now_ns)
            case PositionCut():
                return shared.cut(event, now_ns)
            case ForeignFilled():
                return shared.foreign(event, now_ns)
            case FundingPaid():
                return shared.funding(event, now_ns)
            case _:
                return []

    def _notices(
        self, order: Order | None, event: AccountEvent | None, moves: Sequence[BookMoved] = ()
    ) -> list[Notice]:
        """Return what is told: with several strategies, each its own part; of orders that they share nothing else."""
        if self._shared is None:
            return [Notice(order=order, event=event)]
        if order is not None:
            owner = self.state.strategy_of.get(order.request.client_order_id, "")
            if owner in self._shared.strategies:
                return [Notice(order=order, event=event, strategy=owner)]
        if event is not None and moves:
            parts = [(move.strategy, part_of(event, move)) for move in moves if move.strategy != OUTSIDE]
            return [Notice(order=None, event=part, strategy=who) for who, part in parts if part is not None]
        return [] if order is not None else [Notice(order=None, event=event)]

    def _follow_stops(self, event: StopsChanged | StopsRejected, now_ns: int) -> Effects:
        if event.instrument not in self.state.stops:
            raise InvariantBroken(f"stops of {event.instrument}, which is not traded in this run")
        if isinstance(event, StopsChanged) and not self.state.follow_stops(event):
            return Effects()  # a repeat, or overtaken, or the same for a position of another size
        return Effects(record=[StopsReported(ts_ns=now_ns, event=event)], publish=[Notice(order=None, event=event)])


def _parts(qty: Decimal, qty_max: Decimal) -> list[Decimal]:
    """Return a quantity in as many as it takes for none to be above the most."""
    parts = []
    while qty > 0:
        parts.append(min(qty, qty_max))
        qty -= parts[-1]
    return parts


def _entries(live: Iterable[Order], position: Decimal) -> list[Order]:
    """Return the orders that could enter or turn over the position, were all of their side to fill."""
    found = []
    for side in Side:
        mine = [order for order in live if order.request.side is side and not order.request.reduce_only]
        leaving = sum((order.remaining_qty for order in mine), ZERO)
        if not (position * side.sign < 0 and leaving <= abs(position)):
            found += mine
    return found
