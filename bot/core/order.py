"""One order's life."""

from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from bot.domain.errors import InvalidTransition, InvariantBroken
from bot.domain.orders import (
    CancelRejected,
    Event,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderFilled,
    OrderRejected,
    SubmitOrder,
)


class Status(StrEnum):
    """What the venue last told us of the order."""

    SUBMITTED = "submitted"  # nothing yet
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"


_NEXT: dict[tuple[Status, type[Event]], Status] = {
    (Status.SUBMITTED, OrderAccepted): Status.OPEN,
    (Status.SUBMITTED, OrderRejected): Status.REJECTED,
    (Status.SUBMITTED, OrderCanceled): Status.CANCELED,  # IOC, post only: it never rested
    (Status.OPEN, OrderAccepted): Status.OPEN,  # resent after a reconnect
    (Status.OPEN, OrderCanceled): Status.CANCELED,
    (Status.CANCELED, OrderCanceled): Status.CANCELED,  # resent
    (Status.CANCELED, OrderAccepted): Status.CANCELED,  # the cancel overtook the ack
    (Status.FILLED, OrderAccepted): Status.FILLED,  # the fills overtook the ack
    (Status.FILLED, OrderCanceled): Status.FILLED,  # a cancel that raced the last fill
    (Status.REJECTED, OrderRejected): Status.REJECTED,  # resent
}

_LIVE = (Status.SUBMITTED, Status.OPEN)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What we asked for, and how far it has come."""

    request: SubmitOrder
    status: Status = Status.SUBMITTED
    is_accepted: bool = False  # the venue has acknowledged it
    cancel_requested: bool = False  # what we asked and the venue has not refused
    filled_qty: Decimal = Decimal(0)
    filled_value: Decimal = Decimal(0)  # quote currency
    trade_ids: frozenset[str] = frozenset()

    @property
    def is_live(self) -> bool:
        """Return whether it may still fill as far as we know."""
        return self.status in _LIVE

    @property
    def remaining_qty(self) -> Decimal:
        """Return what may still fill: nothing once the order is done."""
        return self.request.qty - self.filled_qty if self.is_live else Decimal(0)


def apply(order: Order, event: OrderEvent) -> Order:
    """Return the order as it is after `event`: the very same object where the event is no news.

    Raises:
        InvalidTransition: the event cannot happen in this status.
        InvariantBroken: a fill contradicts the order, or the fills add up to more than was ordered.
    """
    match event:
        case OrderFilled():
            return _fill(order, event)
        case CancelRejected():
            return replace(order, cancel_requested=False)
    status = _NEXT.get((order.status, type(event)))
    if status is None or (status is Status.REJECTED and order.filled_qty):
        raise InvalidTransition(f"{order.request.client_order_id}: {order.status}, {type(event).__name__}")
    is_accepted = order.is_accepted or isinstance(event, OrderAccepted)
    if status is order.status and is_accepted == order.is_accepted:
        return order  # resent, so no news
    return replace(order, status=status, is_accepted=is_accepted)


def _fill(order: Order, fill: OrderFilled) -> Order:
    if fill.trade_id in order.trade_ids:
        return order  # streams resend, so a repeat is no news
    _refuse_nonsense(order, fill)
    filled_qty = order.filled_qty + fill.qty
    if filled_qty > order.request.qty:
        raise InvariantBroken(f"{order.request.client_order_id}: filled {filled_qty} of {order.request.qty}")
    # A fill may precede the ack or follow a cancel: it matched first, and it is real money.
    status = Status.FILLED if filled_qty == order.request.qty else order.status
    return replace(
        order,
        status=status,
        filled_qty=filled_qty,
        filled_value=order.filled_value + fill.price * fill.qty,
        trade_ids=order.trade_ids | {fill.trade_id},
    )


def _refuse_nonsense(order: Order, fill: OrderFilled) -> None:
    request = order.request
    if order.status is Status.REJECTED or fill.side is not request.side or fill.instrument != request.instrument:
        raise InvariantBroken(f"{request.client_order_id}: fill {fill.trade_id} contradicts the order ({order.status})")
    is_finite = fill.qty.is_finite() and fill.price.is_finite() and fill.fee.is_finite()
    if not (is_finite and fill.qty > 0 and fill.price > 0):
        raise InvariantBroken(f"{request.client_order_id}: fill {fill.trade_id} has impossible numbers")
