"""What requests say: their commands, and whether what the venue has is what was asked for."""

from bot.core.submission.journal import Intent
from bot.core.submission.requests import Request
from bot.domain.ledger import AmendIntended, CancelIntended, OrderIntended, StopsIntended
from bot.domain.orders import ChangeStops, Command, SubmitOrder
from bot.domain.venue_records import OrderRecord, PositionRecord


def content_difference(order: SubmitOrder, record: OrderRecord) -> str | None:
    """Return in what the venue's order is not the one we asked for, None if it is; what was amended since is not held
    against it.

    A quantity may be smaller for a reduce-only order, which the venue fits to the position.
    """
    if (record.instrument, record.side) != (order.instrument, order.side):
        return f"a {record.side.value} of {record.instrument}"
    if record.order_type is not None and record.order_type is not order.order_type:
        return f"a {record.order_type.value} order"
    if record.reduce_only is not None and record.reduce_only is not order.reduce_only:
        return "reduce-only" if record.reduce_only else "not reduce-only"
    if record.leg is not None and record.leg is not order.leg:
        return f"of the {record.leg.value} leg"
    return None


def command_of(intent: Intent) -> Command:
    """Return what is intended."""
    match intent:
        case OrderIntended():
            return intent.order
        case AmendIntended():
            return intent.amend
        case CancelIntended():
            return intent.cancel
        case StopsIntended():
            return intent.change


def name_of(command: Command) -> str:
    """Return the id that a command is about."""
    return command.request_id if isinstance(command, ChangeStops) else command.client_order_id


def keeps(position: PositionRecord, request: Request) -> bool:
    """Return whether a position has the exits that a change asked for."""
    change = request.command
    pairs = (
        (getattr(change, "take_profit", None), position.take_profit),
        (getattr(change, "stop_loss", None), position.stop_loss),
    )
    for asked, held in pairs:
        if asked is not None and (asked.price or None) != (held or None):
            return False
    distance = getattr(change, "trailing_distance", None)
    return distance is None or (distance or None) == (position.trailing_distance or None)
