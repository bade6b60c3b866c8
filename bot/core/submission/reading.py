"""What a venue's record of an order of ours tells that we do not know yet, as events."""

from decimal import Decimal

from msgspec.structs import replace

from bot.core.order import Order, Status
from bot.domain.orders import (
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderEvent,
    OrderRejected,
    OrderTriggered,
    OrderType,
)
from bot.domain.venue_records import OrderRecord, OrderState

_MS = 1_000_000


def read_order(record: OrderRecord, order: Order, now_ns: int) -> list[OrderEvent]:
    """Return the events that take `order` to where the record says it is; none where it is there already.

    Fills are not among them: they are booked from executions alone. A limit or a quantity that nobody asked for is not
    either: `unasked` tells of those.
    """
    about = {
        "ts_event_ns": record.updated_ms * _MS,
        "ts_recv_ns": now_ns,
        "client_order_id": record.client_order_id,
        "instrument": record.instrument,
    }
    events: list[OrderEvent] = []
    if record.state is OrderState.REJECTED and not record.filled_qty and order.status is Status.SUBMITTED:
        code = record.reason or "REJECTED"
        return [OrderRejected(**about, code=code, reason=record.reason)]  # type: ignore[arg-type]
    if record.state is OrderState.UNKNOWN:
        return []
    if not order.is_accepted:
        accepted = OrderAccepted(**about, venue_order_id=record.venue_order_id)  # type: ignore[arg-type]
        events.append(replace(accepted, ts_event_ns=record.created_ms * _MS))
    waits = order.request.trigger is not None and order.status in (Status.SUBMITTED, Status.WAITING)
    if waits and record.state in (OrderState.OPEN, OrderState.FILLED):
        events.append(OrderTriggered(**about))  # type: ignore[arg-type]
    if _is_amended(record, order):
        limit = order.limit_price if order.request.order_type is OrderType.MARKET else record.limit_price
        events.append(OrderAmended(**about, qty=record.qty, limit_price=limit))  # type: ignore[arg-type]
    if record.state in (OrderState.CANCELED, OrderState.REJECTED):
        owed = max(record.filled_qty - order.filled_qty, Decimal(0))
        reason = record.reason or record.state.value
        events.append(OrderCanceled(**about, reason=reason, owed_qty=owed))  # type: ignore[arg-type]
    return events


def unasked(record: OrderRecord, order: Order) -> str | None:
    """Return in what the order rests otherwise than it was asked to, None if it does not.

    The venue moves a limit to the edge of its band unless told to refuse it: a price that nobody decided on.
    """
    if record.state not in (OrderState.OPEN, OrderState.WAITING):
        return None
    asked = order.amend_requested
    limits = {order.limit_price, order.request.limit_price, None if asked is None else asked.limit_price}
    if order.request.order_type is OrderType.LIMIT and record.limit_price not in (*limits, None):
        return f"it rests at {record.limit_price}, and was asked to at {order.limit_price}"
    most = max(order.qty, order.request.qty, (asked.qty if asked is not None else None) or order.qty)
    if record.qty is not None and record.qty > most:
        return f"it is of {record.qty}, and {most} was asked for"
    return None


def _is_amended(record: OrderRecord, order: Order) -> bool:
    """Return whether the record shows the terms that an amendment asked for, or a cut of a reduce-only order."""
    asked = order.amend_requested
    if record.qty is None or record.qty < order.filled_qty:
        return False
    is_limit = order.request.order_type is OrderType.LIMIT
    if asked is not None:
        limit = order.limit_price if asked.limit_price is None else asked.limit_price
        qty = order.qty if asked.qty is None else asked.qty
        is_trigger = asked.trigger_price is None or record.trigger_price == asked.trigger_price
        return record.qty == qty and is_trigger and (not is_limit or record.limit_price == limit)
    is_same_limit = not is_limit or record.limit_price == order.limit_price
    return order.request.reduce_only and 0 < record.qty < order.qty and is_same_limit
