"""All orders of the run: from a strategy's wish through the gate to the venue, and from its answers to the books.

The executor's core. A message goes in, `Effects` come out: entries for the ledger, commands for the venue, events for
the strategy, to be carried out in this order. `Sender` lets through what the gate would have, `Targets` turn what is to
be held into orders, `Rules` act for the protections and for people.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from bot.core.effects import Effects, Notice, Wish
from bot.core.execution.policy import MARKETABLE, ExecutionPolicy
from bot.core.execution.targets import Targets
from bot.core.execution.told import notices
from bot.core.money_state import MoneyState
from bot.core.order import Order, apply
from bot.core.portfolio import Portfolio
from bot.core.protections import ProtectionLimits, Protections
from bot.core.risk import Marks, RiskLimits
from bot.core.rules import Rules
from bot.core.sender import Sender
from bot.core.submission.ids import ClientOrderIds
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Instrument
from bot.domain.ledger import (
    BookMoved,
    DecisionMade,
    Deposited,
    LedgerEntry,
    OrderReported,
    RiskDenied,
    StopsReported,
)
from bot.domain.orders import (
    AccountEvent,
    AmendOpen,
    CancelOpen,
    CashAdjusted,
    FeePaid,
    ForeignFilled,
    FundingPaid,
    OrderFilled,
    PlaceOrder,
    PositionCut,
    SetStops,
    StopsChanged,
    StopsRejected,
    Target,
    Transferred,
)


class Orders:
    """Decides everything the order executor does.

    Attributes:
        state: what the money half knows.
        targets: what is to be held and is not yet; `work` and when it is due.
        rules: what happens whatever the strategies wish: `observe`, `halt`, `kill`, `close_position`.

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
        self._protections = Protections(ProtectionLimits()) if protections is None else protections
        self.state = MoneyState(
            instruments=self._instruments,
            portfolio=portfolio,
            protections=self._protections,
            sends_max=limits.orders_per_second_max,
            strategies=strategies,
            hedged=[name for name, each in self._instruments.items() if is_hedged and each.kind != "spot"],
        )
        self._sender = Sender(self.state, limits=limits, ids=ids)
        self.targets = Targets(self.state, self._sender, execution)
        self.rules = Rules(self.state, self._sender, self.targets, is_restorable=is_restorable)
        self._shared = self.state.strategy_books
        self._books = self.state.books
        self._orders = self.state.orders

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

    def mark_equity(self, marks: Marks, now_ns: int) -> Effects:
        """Record what the account is worth; nothing where a held instrument has no price yet."""
        return Effects(record=self._books.mark(marks, now_ns))

    # --- what strategies want ---------------------------------------------------------------------------------------

    def wish(self, wish: Wish, *, marks: Marks, now_ns: int) -> Effects:
        """Turn a wish into the orders it takes, each judged by the gate at what the account is worth now."""
        effects = self.rules.observe(marks, now_ns)
        self._record_decision(wish, now_ns, effects)
        match wish.action:
            case Target():
                self.targets.reach(wish.action, wish.strategy, marks, now_ns, effects)
            case PlaceOrder():
                self._sender.place(wish.action, wish.strategy, marks, now_ns, effects)
            case AmendOpen():
                self._sender.amend(wish.action, wish.strategy, marks, now_ns, effects)
            case SetStops():
                self._sender.set_stops(wish.action, wish.strategy, marks, now_ns, effects)
            case CancelOpen():
                self._cancel(wish.action, wish.strategy, now_ns, effects)
        if self._shared is not None and not isinstance(wish.action, Target):  # a denial is its own business
            effects.publish = [
                replace(each, strategy=wish.strategy) if isinstance(each.event, RiskDenied) else each
                for each in effects.publish
            ]
        return effects

    def _record_decision(self, wish: Wish, now_ns: int, effects: Effects) -> None:
        """Record a strategy's decision, and the forecast before the first one that has seen it."""
        state, forecast = self.state, wish.forecast
        state.decisions += 1
        if forecast is not None and state.forecasts.get(forecast.instrument) != forecast.forecast_id:
            state.forecasts[forecast.instrument] = forecast.forecast_id
            effects.record.append(forecast)
        effects.record.append(
            DecisionMade(
                ts_ns=now_ns,
                decision_id=state.decisions,
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

    def _cancel(self, wish: CancelOpen, strategy: str, now_ns: int, effects: Effects) -> None:
        """Cancel the strategy's own orders of an instrument, or the one it names."""
        self.targets.withdraw(wish, strategy, now_ns)
        for order in list(self.state.live.get(wish.instrument, {}).values()):
            name = order.request.client_order_id
            if order.cancel_requested or self.state.strategy_of[name] != strategy:
                continue
            if wish.client_order_id not in (None, name):
                continue
            self._sender.cancel(order, now_ns, effects)

    # --- what the venue tells ---------------------------------------------------------------------------------------

    def event(self, event: AccountEvent, now_ns: int) -> Effects:
        """Book what the venue tells; the targets' `work` comes next, where `is_due` says so.

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
        self.targets.poke(event.instrument, now_ns)
        if isinstance(event, OrderFilled):
            if event.instrument in self.state.torn:
                self.state.move_leg(after.request, event)
            entries = self._books.fill(event, is_first=not before.filled_qty, order=after, now_ns=now_ns)
            self.targets.drop_if_reached(after)
            return self._booked(event, entries, now_ns, order=after)
        return Effects(
            record=[OrderReported(ts_ns=now_ns, status=after.status, event=event)],
            publish=notices(self.state, after, event),
        )

    def forget_owing(self, before_ns: int, now_ns: int) -> None:
        """Wait no longer for executions that were to come before then: all that there were have been asked for."""
        for name, since_ns in list(self.state.owing.items()):
            if since_ns < before_ns:
                del self.state.owing[name]
                self.targets.poke(self._orders[name].request.instrument, now_ns)

    def _booked(
        self, event: AccountEvent, entries: list[LedgerEntry], now_ns: int, *, order: Order | None = None
    ) -> Effects:
        """Return what follows once money has moved: nothing of a repeat, which leaves no entries."""
        if not entries:
            return Effects()
        moves = self._move_books(event, now_ns)
        effects = Effects(record=[*entries, *moves], publish=notices(self.state, order, event, moves))
        if isinstance(event, PositionCut | ForeignFilled):  # the position is not what the target was set upon
            self.targets.leave(event.instrument, f"execution {event.trade_id} was of no order of ours", now_ns)
        if isinstance(event, OrderFilled | PositionCut | ForeignFilled):
            self.state.moved(event.instrument)
            self.rules.enforce(now_ns, effects)
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

    def _follow_stops(self, event: StopsChanged | StopsRejected, now_ns: int) -> Effects:
        if event.instrument not in self.state.stops:
            raise InvariantBroken(f"stops of {event.instrument}, which is not traded in this run")
        if isinstance(event, StopsChanged) and not self.state.follow_stops(event):
            return Effects()  # a repeat, or overtaken, or the same for a position of another size
        return Effects(record=[StopsReported(ts_ns=now_ns, event=event)], publish=[Notice(order=None, event=event)])
