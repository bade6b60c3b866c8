"""Our desk at the modeled venue: one account's commands and facts in our own words.

What we send reaches the model at the time the caller says; what the model tells of the account comes back as account
events, each with the time at which it becomes known to us. Those delays are a function of what is told, never of what
came before.
"""

from collections.abc import Iterable
from decimal import Decimal

from bot.core.delays import Delay
from bot.core.matching import VenueModel
from bot.core.venue.facts import (
    CancelType,
    CreateType,
    Execution,
    FundingSettled,
    InsurancePaid,
    PositionIndex,
    Refusal,
)
from bot.core.venue.orders import (
    Amendment,
    ExitLeg,
    Exits,
    Kind,
    NewOrder,
    OrderChanged,
    OrderRecord,
    PriceSource,
    RejectReason,
    Status,
    StopsWanted,
    Tif,
    Told,
)
from bot.core.venue.orders import Trigger as VenueTrigger
from bot.domain.market import BarBatch, BookDeltaBatch, FundingBatch, TradeBatch
from bot.domain.orders import (
    AccountEvent,
    AmendOrder,
    AmendRejected,
    CancelOrder,
    CancelRejected,
    CashAdjusted,
    ChangeStops,
    Command,
    Exit,
    FundingPaid,
    Leg,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    OrderType,
    PositionCut,
    StopKind,
    StopsChanged,
    StopsRejected,
    SubmitOrder,
    TimeInForce,
    TriggerSource,
)

_EVENTS_PER_ORDER = 16  # room for one order's events in the numbering that their delays are a function of
_REFUSED = _EVENTS_PER_ORDER - 1  # the place of a refused cancel or amendment
_VENUES_OWN = 1 << 40  # where the numbering of what the venue does by itself begins

_TIF = {
    TimeInForce.GTC: Tif.GTC,
    TimeInForce.IOC: Tif.IOC,
    TimeInForce.FOK: Tif.FOK,
    TimeInForce.POST_ONLY: Tif.POST_ONLY,
}
_SOURCE = {
    TriggerSource.LAST: PriceSource.LAST,
    TriggerSource.MARK: PriceSource.MARK,
    TriggerSource.INDEX: PriceSource.INDEX,
}
_INDEX = {Leg.NET: PositionIndex.ONE_WAY, Leg.LONG: PositionIndex.LONG, Leg.SHORT: PositionIndex.SHORT}
_LEG = {index: leg for leg, index in _INDEX.items()}
_OF_LEG = {PositionIndex.ONE_WAY: "", PositionIndex.LONG: "-long", PositionIndex.SHORT: "-short"}
_CAUSE = {
    CreateType.TAKE_PROFIT: StopKind.TAKE_PROFIT,
    CreateType.PARTIAL_TAKE_PROFIT: StopKind.TAKE_PROFIT,
    CreateType.STOP_LOSS: StopKind.STOP_LOSS,
    CreateType.PARTIAL_STOP_LOSS: StopKind.STOP_LOSS,
    CreateType.TRAILING_STOP: StopKind.TRAILING_STOP,
    CreateType.LIQUIDATION: StopKind.LIQUIDATION,
    CreateType.TAKE_OVER: StopKind.LIQUIDATION,
    CreateType.ADL: StopKind.DELEVERAGING,
}
_WHY = {
    RejectReason.POST_ONLY: "post only would take",
    RejectReason.NOTHING: "nothing to take at once",
    RejectReason.NOT_ENOUGH: "not enough to fill all of it",
    RejectReason.BY_USER: "asked for",
    RejectReason.OTHERS: "refused when it was triggered",
}
_WHY_CANCELED = {
    CancelType.REDUCE_ONLY: "reduce-only order has nothing more to reduce",
    CancelType.LIQUIDATION: "the account is being liquidated",
    CancelType.ADL: "the position is being deleveraged",
    CancelType.SELF_MATCH: "it would have met another order of the account",
}


class _Sent:
    """An order of ours that may still bring events."""

    __slots__ = ("client_order_id", "events", "number", "qty", "status")

    def __init__(self, client_order_id: str, number: int, qty: Decimal) -> None:
        self.client_order_id = client_order_id
        self.number = number
        self.qty = qty
        self.status = Status.NEW
        self.events = 0  # told of it so far


class Desk:
    """Trade one account of a venue model.

    Args:
        model: the venue.
        account: ours, by name.
        answer_delay: from an event at the venue to our knowing it.
    """

    def __init__(self, model: VenueModel, account: str, answer_delay: Delay) -> None:
        self._model = model
        self._account = account
        self._answer_delay = answer_delay
        self._sent: dict[str, _Sent] = {}  # by the venue's order id, while it lives
        self._made: dict[str, CreateType] = {}  # the venue's own orders for us, likewise
        self._own_events = 0

    def extend(self, batch: TradeBatch | BarBatch, *, now_ns: int) -> None:
        """Append prices that run ahead of the clock."""
        self._model.extend(batch, now_ns)

    def extend_book(self, batch: BookDeltaBatch, *, now_ns: int) -> None:
        """Append changes of a book that run ahead of the clock."""
        self._model.extend_book(batch, now_ns)

    def set_funding(self, funding: FundingBatch) -> None:
        """Settle an instrument's funding at these rates."""
        self._model.set_funding(funding)

    def next_ns(self) -> int | None:
        """Return when the next thing happens that the tape so far tells of, None if nothing does."""
        return self._model.next_ns()

    def advance(self, now_ns: int) -> list[AccountEvent]:
        """Return what happens to the account up to and at `now_ns`."""
        return self._translate(self._model.advance(now_ns))

    def handle(self, command: Command, now_ns: int) -> list[AccountEvent]:
        """Return what a command's arrival at `now_ns` brings about by `now_ns`."""
        match command:
            case SubmitOrder():
                return self.submit(command, now_ns)
            case CancelOrder():
                return self.cancel(command, now_ns)
            case AmendOrder():
                return self.amend(command, now_ns)
            case ChangeStops():
                return self.change_stops(command, now_ns)

    def submit(self, order: SubmitOrder, now_ns: int) -> list[AccountEvent]:
        """Return what the order's arrival at `now_ns` brings about by `now_ns`."""
        events = self.advance(now_ns)
        sent = _Sent(order.client_order_id, order.order_number, order.qty)
        answer, told = self._model.submit(self._account, _request_of(order), now_ns)
        if isinstance(answer, Refusal):
            rejected = OrderRejected(
                ts_event_ns=now_ns,
                ts_recv_ns=self._recv_ns(sent, now_ns),
                client_order_id=order.client_order_id,
                instrument=order.instrument,
                code=answer.code,
                reason=answer.reason,
            )
            return [*events, rejected, *self._translate(told)]
        self._sent[answer.order_id] = sent
        accepted = OrderAccepted(
            ts_event_ns=now_ns,
            ts_recv_ns=self._recv_ns(sent, now_ns),
            client_order_id=order.client_order_id,
            instrument=order.instrument,
            venue_order_id=answer.order_id,
        )
        return [*events, accepted, *self._translate(told)]

    def cancel(self, cancel: CancelOrder, now_ns: int) -> list[AccountEvent]:
        """Return what a cancel request's arrival at `now_ns` brings about."""
        answer, told = self._model.cancel(self._account, cancel.instrument, cancel.client_order_id, now_ns)
        events = self._translate(told)
        if isinstance(answer, Refusal):
            delay_ns = self._answer_delay.of(cancel.order_number * _EVENTS_PER_ORDER + _REFUSED)
            events.append(
                CancelRejected(
                    ts_event_ns=now_ns,
                    ts_recv_ns=now_ns + delay_ns,
                    client_order_id=cancel.client_order_id,
                    instrument=cancel.instrument,
                    reason=f"{answer.code}: {answer.reason}",
                )
            )
        return events

    def amend(self, amend: AmendOrder, now_ns: int) -> list[AccountEvent]:
        """Return what an amendment's arrival at `now_ns` brings about."""
        change = Amendment(qty=amend.qty, price=amend.limit_price, trigger_price=amend.trigger_price)
        answer, told = self._model.amend(self._account, amend.instrument, amend.client_order_id, change, now_ns)
        if isinstance(answer, Refusal):
            events = self._translate(told)
            delay_ns = self._answer_delay.of(amend.order_number * _EVENTS_PER_ORDER + _REFUSED)
            events.append(
                AmendRejected(
                    ts_event_ns=now_ns,
                    ts_recv_ns=now_ns + delay_ns,
                    client_order_id=amend.client_order_id,
                    instrument=amend.instrument,
                    code=answer.code,
                    reason=answer.reason,
                )
            )
            return events
        return self._translate(told, amended=answer.order_id)

    def change_stops(self, change: ChangeStops, now_ns: int) -> list[AccountEvent]:
        """Return what a change of a position's exits brings about on its arrival at `now_ns`."""
        wanted = StopsWanted(
            instrument=change.instrument,
            take_profit=_leg_of(change.take_profit),
            stop_loss=_leg_of(change.stop_loss),
            trailing_distance=change.trailing_distance,
            position_index=_INDEX[change.leg],
        )
        refusal, told = self._model.set_stops(self._account, wanted, now_ns)
        events = self._translate(told)
        if refusal is not None:
            delay_ns = self._answer_delay.of(change.order_number * _EVENTS_PER_ORDER + _REFUSED)
            events.append(
                StopsRejected(
                    ts_event_ns=now_ns,
                    ts_recv_ns=now_ns + delay_ns,
                    instrument=change.instrument,
                    request_id=change.request_id,
                    code=refusal.code,
                    reason=refusal.reason,
                )
            )
        return events

    # The model's facts in our words

    def _translate(self, told: Iterable[Told], amended: str = "") -> list[AccountEvent]:
        events: list[AccountEvent] = []
        stops: dict[tuple[str, int], int] = {}  # by position
        for account, fact in told:
            if account != self._account:
                continue
            match fact:
                case OrderChanged(order=record):
                    if record.create_type is CreateType.USER:
                        events += self._of_order(record, fact.ts_ns, is_amended=record.order_id == amended)
                    else:
                        self._note_own(record)
                        if record.status is not Status.TRIGGERED:
                            stops[record.instrument, record.position_index] = fact.ts_ns
                case Execution():
                    events.append(self._of_execution(fact))
                case FundingSettled():
                    events.append(self._of_funding(fact))
                case InsurancePaid(ts_ns=ts_ns, amount=amount):
                    number = self._next_own()
                    events.append(
                        CashAdjusted(
                            ts_event_ns=ts_ns,
                            ts_recv_ns=self._own_recv_ns(number, ts_ns),
                            adjustment_id=f"fund-{number}",
                            amount=amount,
                            reason="the insurance fund made good what the account owed",
                        )
                    )
                case _:
                    pass  # an order's cut or end comes as the order's change as well
        for (instrument, index), ts_ns in stops.items():
            events.append(self._stops_now(instrument, index, ts_ns))
        return events

    def _of_order(self, record: OrderRecord, ts_ns: int, *, is_amended: bool) -> list[AccountEvent]:
        sent = self._sent.get(record.order_id)
        if sent is None:
            return []
        before, sent.status = sent.status, record.status
        if not record.is_open:
            del self._sent[record.order_id]
            if record.status is Status.FILLED:
                return []
            reason = _WHY.get(record.reject_reason, "")
            if record.cancel_type is not None:
                reason = _WHY_CANCELED.get(record.cancel_type, reason)
            return [
                OrderCanceled(
                    ts_event_ns=ts_ns,
                    ts_recv_ns=self._recv_ns(sent, ts_ns),
                    client_order_id=sent.client_order_id,
                    instrument=record.instrument,
                    reason=reason or record.status.value,
                )
            ]
        if record.status is Status.TRIGGERED and before is not Status.TRIGGERED:
            return [
                OrderTriggered(
                    ts_event_ns=ts_ns,
                    ts_recv_ns=self._recv_ns(sent, ts_ns),
                    client_order_id=sent.client_order_id,
                    instrument=record.instrument,
                )
            ]
        if is_amended or record.qty != sent.qty:
            sent.qty = record.qty
            return [
                OrderAmended(
                    ts_event_ns=ts_ns,
                    ts_recv_ns=self._recv_ns(sent, ts_ns),
                    client_order_id=sent.client_order_id,
                    instrument=record.instrument,
                    qty=record.qty,
                    limit_price=record.price if record.kind is Kind.LIMIT else None,
                )
            ]
        return []

    def _of_execution(self, execution: Execution) -> AccountEvent:
        sent = self._sent.get(execution.order_id)
        if sent is not None:
            return OrderFilled(
                ts_event_ns=execution.ts_ns,
                ts_recv_ns=self._recv_ns(sent, execution.ts_ns),
                client_order_id=sent.client_order_id,
                instrument=execution.instrument,
                trade_id=execution.trade_id,
                side=execution.side,
                price=execution.price,
                qty=execution.qty,
                fee=execution.fee,
                is_maker=execution.is_maker,
            )
        number = self._next_own()
        return PositionCut(
            ts_event_ns=execution.ts_ns,
            ts_recv_ns=self._own_recv_ns(number, execution.ts_ns),
            instrument=execution.instrument,
            trade_id=execution.trade_id or f"own-{number}",
            cause=_CAUSE[self._made.get(execution.order_id, execution.create_type)],
            side=execution.side,
            price=execution.price,
            qty=execution.qty,
            fee=execution.fee,
        )

    def _of_funding(self, fact: FundingSettled) -> FundingPaid:
        return FundingPaid(
            ts_event_ns=fact.ts_ns,
            ts_recv_ns=fact.ts_ns + self._answer_delay.of(fact.ts_ns),
            instrument=fact.instrument,
            funding_id=f"{fact.instrument}-funding-{fact.ts_ns}{_OF_LEG[fact.position_index]}",
            position_qty=fact.position_qty,
            mark_price=fact.mark_price,
            rate=fact.rate,
            amount=-fact.exec_fee,
        )

    def _note_own(self, record: OrderRecord) -> None:
        if record.is_open:
            self._made[record.order_id] = record.create_type
        elif record.status is not Status.FILLED:
            self._made.pop(record.order_id, None)

    def _stops_now(self, instrument: str, index: int, ts_ns: int) -> StopsChanged:
        stops = self._model.stops(self._account, instrument, index)
        return StopsChanged(
            ts_event_ns=ts_ns,
            ts_recv_ns=self._own_recv_ns(self._next_own(), ts_ns),
            instrument=instrument,
            take_profit=stops.take_profit,
            stop_loss=stops.stop_loss,
            trailing_distance=stops.trailing_distance,
            leg=_LEG[index],
        )

    # When we learn of it

    def _recv_ns(self, sent: _Sent, ts_ns: int) -> int:
        row = sent.number * _EVENTS_PER_ORDER + min(sent.events, _REFUSED - 1)
        sent.events += 1
        return ts_ns + self._answer_delay.of(row)

    def _next_own(self) -> int:
        self._own_events += 1
        return self._own_events

    def _own_recv_ns(self, number: int, ts_ns: int) -> int:
        return ts_ns + self._answer_delay.of(_VENUES_OWN + number)


def _request_of(order: SubmitOrder) -> NewOrder:
    is_limit = order.order_type is OrderType.LIMIT
    exits = None
    if order.take_profit is not None or order.stop_loss is not None:
        exits = Exits(take_profit=_leg_of(order.take_profit), stop_loss=_leg_of(order.stop_loss))
    trigger = None
    if order.trigger is not None:
        asked = order.trigger
        trigger = VenueTrigger(price=asked.price, is_rise=asked.is_rise, source=_SOURCE[asked.source])
    return NewOrder(
        instrument=order.instrument,
        side=order.side,
        kind=Kind.LIMIT if is_limit else Kind.MARKET,
        qty=order.qty,
        price=order.limit_price,
        time_in_force=_TIF[order.time_in_force] if is_limit else Tif.IOC,
        client_order_id=order.client_order_id,
        reduce_only=order.reduce_only,
        trigger=trigger,
        exits=exits,
        position_index=_INDEX[order.leg],
    )


def _leg_of(exit_: Exit | None) -> ExitLeg | None:
    return None if exit_ is None else ExitLeg(price=exit_.price, source=_SOURCE[exit_.source])
