"""One order's life."""

from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from bot.domain.errors import InvalidTransition, InvariantBroken
from bot.domain.orders import (
    AmendOrder,
    AmendRejected,
    CancelRejected,
    Event,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderEvent,
    OrderFilled,
    OrderRejected,
    OrderResurfaced,
    OrderTriggered,
    SubmitOrder,
)


class Status(StrEnum):
    """What the venue last told us of the order."""

    SUBMITTED = "submitted"  # nothing yet
    WAITING = "waiting"  # for the price that triggers it
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"


_NEXT: dict[tuple[Status, type[Event]], Status] = {
    (Status.SUBMITTED, OrderAccepted): Status.OPEN,
    (Status.SUBMITTED, OrderRejected): Status.REJECTED,
    (Status.SUBMITTED, OrderCanceled): Status.CANCELED,  # IOC, post only: it never rested
    (Status.SUBMITTED, OrderAmended): Status.SUBMITTED,  # a change overtook the ack
    (Status.OPEN, OrderAccepted): Status.OPEN,  # resent after a reconnect
    (Status.OPEN, OrderAmended): Status.OPEN,
    (Status.OPEN, OrderCanceled): Status.CANCELED,
    (Status.CANCELED, OrderCanceled): Status.CANCELED,  # resent
    (Status.CANCELED, OrderAccepted): Status.CANCELED,  # the cancel overtook the ack
    (Status.CANCELED, OrderAmended): Status.CANCELED,  # or a change
    (Status.FILLED, OrderAccepted): Status.FILLED,  # the fills overtook the ack
    (Status.FILLED, OrderAmended): Status.FILLED,  # or a change; one that leaves something to fill opens it again
    (Status.FILLED, OrderCanceled): Status.FILLED,  # a cancel that raced the last fill
    (Status.REJECTED, OrderRejected): Status.REJECTED,  # resent
    (Status.REJECTED, OrderResurfaced): Status.SUBMITTED,  # our evidence that it was never accepted was wrong
    (Status.SUBMITTED, OrderResurfaced): Status.SUBMITTED,  # resent
    (Status.OPEN, OrderResurfaced): Status.OPEN,
    (Status.CANCELED, OrderResurfaced): Status.CANCELED,
    (Status.FILLED, OrderResurfaced): Status.FILLED,
}

_NEXT_CONDITIONAL = _NEXT | {
    (Status.SUBMITTED, OrderAccepted): Status.WAITING,
    (Status.SUBMITTED, OrderTriggered): Status.OPEN,  # the trigger overtook the ack
    (Status.WAITING, OrderAccepted): Status.WAITING,  # resent
    (Status.WAITING, OrderResurfaced): Status.WAITING,
    (Status.WAITING, OrderAmended): Status.WAITING,
    (Status.WAITING, OrderTriggered): Status.OPEN,
    (Status.WAITING, OrderCanceled): Status.CANCELED,  # asked for, or refused when it was triggered
    (Status.OPEN, OrderTriggered): Status.OPEN,  # resent, or a fill overtook it
    (Status.CANCELED, OrderTriggered): Status.CANCELED,  # the cancel overtook the trigger
    (Status.FILLED, OrderTriggered): Status.FILLED,  # the fills did
}

_LIVE = (Status.SUBMITTED, Status.WAITING, Status.OPEN)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What an order is after the venue has changed it."""

    qty: Decimal
    limit_price: Decimal | None
    trigger_price: Decimal | None
    ts_event_ns: int  # of the change


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What we asked for, and how far it has come."""

    request: SubmitOrder
    status: Status = Status.SUBMITTED
    is_accepted: bool = False  # the venue has acknowledged it
    cancel_requested: bool = False  # what we asked and the venue has not refused
    amend_requested: AmendOrder | None = None  # what we asked and the venue has not answered
    amend_sent_ns: int = 0  # when we asked it
    amend_count: int = 0  # how often we have asked for any
    qty_max_asked: Decimal | None = None  # the most that an amendment has ever asked for
    terms: Terms | None = None  # what the venue has made of it; None: as requested
    filled_qty: Decimal = Decimal(0)
    filled_value: Decimal = Decimal(0)  # quote currency
    trade_ids: tuple[str, ...] = ()  # of its executions, sorted: their order of arrival says nothing
    owed_qty: Decimal = Decimal(0)  # of what is done: has filled by the venue's word, and was not told as executions

    @property
    def is_live(self) -> bool:
        """Return whether it may still fill as far as we know."""
        return self.status in _LIVE

    @property
    def qty(self) -> Decimal:
        """Return its total as the venue has it."""
        return self.request.qty if self.terms is None else self.terms.qty

    @property
    def limit_price(self) -> Decimal | None:
        """Return its limit as the venue has it."""
        return self.request.limit_price if self.terms is None else self.terms.limit_price

    @property
    def trigger_price(self) -> Decimal | None:
        """Return what a conditional order waits for, as the venue has it."""
        if self.terms is not None:
            return self.terms.trigger_price
        return None if self.request.trigger is None else self.request.trigger.price

    @property
    def remaining_qty(self) -> Decimal:
        """Return the most that may still fill: of old and new total the larger until the venue has answered."""
        if self.status not in _LIVE:
            return Decimal(0)
        asked, terms = self.amend_requested, self.terms
        qty = self.request.qty if terms is None else terms.qty
        if asked is not None and asked.qty is not None:
            qty = max(qty, asked.qty)
        return qty - self.filled_qty


def ask_amendment(order: Order, amend: AmendOrder, now_ns: int) -> Order:
    """Return the order as it is once we have asked for `amend`."""
    most = order.request.qty if order.qty_max_asked is None else order.qty_max_asked
    return replace(
        order,
        amend_requested=amend,
        amend_sent_ns=now_ns,
        amend_count=amend.amend_number,
        qty_max_asked=most if amend.qty is None else max(most, amend.qty),
    )


def apply(order: Order, event: OrderEvent) -> Order:
    """Return the order as it is after `event`: the very same object where the event is no news.

    Raises:
        InvalidTransition: the event cannot happen in this status.
        InvariantBroken: it contradicts the order, or the fills add up to more than was ordered.
    """
    match event:
        case OrderFilled():
            return _fill(order, event)
        case CancelRejected():
            return replace(order, cancel_requested=False)
        case AmendRejected():
            return _keep_terms(order, event)
    table = _NEXT if order.request.trigger is None else _NEXT_CONDITIONAL
    status = table.get((order.status, type(event)))
    if status is None or (status is Status.REJECTED and order.filled_qty):
        raise InvalidTransition(f"{order.request.client_order_id}: {order.status}, {type(event).__name__}")
    if isinstance(event, OrderAmended):
        return _change_terms(order, event)
    if status is Status.WAITING and order.filled_qty:
        status = Status.OPEN  # a fill overtook the ack: it has been triggered
    is_accepted = order.is_accepted or isinstance(event, OrderAccepted)
    if status is order.status and is_accepted == order.is_accepted:
        return order  # resent, so no news
    if isinstance(event, OrderCanceled) and status is Status.CANCELED and event.owed_qty:
        order = replace(order, owed_qty=event.owed_qty)
    return replace(order, status=status, is_accepted=is_accepted)


def _fill(order: Order, fill: OrderFilled) -> Order:
    if fill.trade_id in order.trade_ids:
        return order  # streams resend, so a repeat is no news
    _refuse_nonsense(order, fill)
    filled_qty = order.filled_qty + fill.qty
    if filled_qty > _most(order):
        raise InvariantBroken(f"{order.request.client_order_id}: filled {filled_qty} of {order.qty}")
    if order.owed_qty:
        order = replace(order, owed_qty=max(order.owed_qty - fill.qty, Decimal(0)))
    # A fill may precede the ack or follow a cancel: it matched first, and it is real money.
    return replace(
        order,
        status=_status_of(order, order.status, filled_qty, order.qty),
        filled_qty=filled_qty,
        filled_value=order.filled_value + fill.price * fill.qty,
        trade_ids=tuple(sorted((*order.trade_ids, fill.trade_id))),
    )


def _change_terms(order: Order, event: OrderAmended) -> Order:
    """Take the venue's word for what the order is now."""
    request, terms = order.request, order.terms
    if terms is not None and event.ts_event_ns < terms.ts_event_ns:
        return order  # a later change overtook it
    is_answer = _answers(order, event)
    asked = order.amend_requested
    if terms is not None and not is_answer and (terms.qty, terms.limit_price) == (event.qty, event.limit_price):
        return order  # resent
    name = request.client_order_id
    if not (event.qty.is_finite() and event.qty > 0 and event.instrument == request.instrument):
        raise InvariantBroken(f"{name}: it cannot be changed to {event.qty} of {event.instrument}")
    if event.qty < order.filled_qty:
        if order.filled_qty > order.qty:
            return order  # the venue's cut of before our raise, whose fills overtook it
        raise InvariantBroken(f"{name}: cut to {event.qty}, and {order.filled_qty} have filled")
    if event.qty > _most(order):
        raise InvariantBroken(f"{name}: raised to {event.qty}, and nobody asked for more than {_most(order)}")
    trigger_price = order.trigger_price
    if is_answer and asked is not None and asked.trigger_price is not None:
        trigger_price = asked.trigger_price
    elif not is_answer and event.limit_price != order.limit_price:
        raise InvariantBroken(f"{name}: its limit became {event.limit_price}, and nobody asked for that")
    changed = replace(
        order,
        amend_requested=None if is_answer else asked,
        terms=Terms(
            qty=event.qty,
            limit_price=event.limit_price,
            trigger_price=trigger_price,
            ts_event_ns=event.ts_event_ns,
        ),
    )
    return replace(changed, status=_status_of(changed, order.status, order.filled_qty, event.qty))


def _keep_terms(order: Order, event: AmendRejected) -> Order:
    """Leave the order as it was: what we asked was refused."""
    if order.amend_requested is None or event.ts_recv_ns < order.amend_sent_ns:
        return order  # resent: it answers an earlier one
    name = order.request.client_order_id
    if order.filled_qty > order.qty:
        raise InvariantBroken(f"{name}: a raise was refused, and {order.filled_qty} of {order.qty} have filled")
    kept = replace(order, amend_requested=None)
    return replace(kept, status=_status_of(kept, order.status, order.filled_qty, order.qty))


def _answers(order: Order, event: OrderAmended) -> bool:
    """Return whether a change is the one we asked for, not the venue's own: nothing in it but its content tells."""
    asked = order.amend_requested
    if asked is None or event.ts_recv_ns < order.amend_sent_ns:
        return False
    limit_price = order.limit_price if asked.limit_price is None else asked.limit_price
    qty = order.qty if asked.qty is None else asked.qty
    # A reduce-only order is fitted to the position, so it may become less than we asked for.
    return event.limit_price == limit_price and (event.qty == qty or (order.request.reduce_only and event.qty < qty))


def _status_of(order: Order, status: Status, filled_qty: Decimal, qty: Decimal) -> Status:
    """Return the status with what has filled of `qty`."""
    if status is Status.WAITING and filled_qty:
        status = Status.OPEN  # it has been triggered: the fill overtook the word of it
    if filled_qty < qty:
        return Status.OPEN if status is Status.FILLED else status
    asked = order.amend_requested
    # All that we know of has filled; with a raise on its way nobody knows whether that is all of it.
    is_raising = asked is not None and asked.qty is not None and asked.qty > filled_qty
    return status if is_raising or filled_qty > qty else Status.FILLED


def _most(order: Order) -> Decimal:
    """Return the most that the order may total.

    A reduce-only order can be cut by the venue while our raise is on its way, and which of the two a change answers is
    a guess: for those it is the most that was ever asked for.
    """
    asked = order.amend_requested
    if order.request.reduce_only and order.qty_max_asked is not None:
        return max(order.qty, order.qty_max_asked)
    return order.qty if asked is None or asked.qty is None else max(order.qty, asked.qty)


def _refuse_nonsense(order: Order, fill: OrderFilled) -> None:
    request = order.request
    if order.status is Status.REJECTED or fill.side is not request.side or fill.instrument != request.instrument:
        raise InvariantBroken(f"{request.client_order_id}: fill {fill.trade_id} contradicts the order ({order.status})")
    is_finite = fill.qty.is_finite() and fill.price.is_finite() and fill.fee.is_finite()
    if not (is_finite and fill.qty > 0 and fill.price > 0):
        raise InvariantBroken(f"{request.client_order_id}: fill {fill.trade_id} has impossible numbers")
