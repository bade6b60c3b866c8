"""Hedge mode: which of an instrument's two positions an order is about.

The venue keeps a long and a short side by side; we hold one leg at a time, so our signed position stays the whole truth
of what we hold. What adds to a position opens on its own side. What takes from it goes to the leg that is held, and
only reduces it. No order turns a position over: the other leg is opened once nothing of the first can come any more.
docs/decisions/0015-one-leg-at-a-time.md.
"""

from collections.abc import Collection, Iterable
from decimal import Decimal

from msgspec.structs import replace

from bot.core.order import Order
from bot.core.submission.requests import can_rest
from bot.domain.instrument import Side
from bot.domain.orders import Leg, SubmitOrder


def leg_of(position_qty: Decimal) -> Leg:
    """Return the leg that a signed position, which is not flat, is on."""
    return Leg.LONG if position_qty > 0 else Leg.SHORT


def on_leg(order: SubmitOrder, position_qty: Decimal, may_fill: Iterable[Order]) -> SubmitOrder | str:
    """Return the order as hedge mode has it, or in words why it cannot be.

    Args:
        order: as in one-way mode.
        position_qty: what is held, signed.
        may_fill: orders of the instrument of which an execution may still come.
    """
    opening, closing = (Leg.LONG, Leg.SHORT) if order.side is Side.BUY else (Leg.SHORT, Leg.LONG)
    if order.reduce_only:
        return replace(order, leg=closing)
    if not position_qty * order.side.sign < 0:
        others = opening_against(order.side, may_fill)
        if others:
            return f"{others[0].request.client_order_id} may still open the {closing.value} leg"
        return replace(order, leg=opening)
    if not order.qty.is_finite():
        return replace(order, leg=closing)  # the gate denies it as it is
    if order.qty > abs(position_qty):
        return f"it would turn over the {closing.value} leg of {abs(position_qty):f}: close that first"
    if order.take_profit is not None or order.stop_loss is not None:
        return f"it reduces the {closing.value} leg, and exits belong to an order that opens one"
    return replace(order, leg=closing, reduce_only=True)


def opening_against(side: Side, may_fill: Iterable[Order]) -> list[Order]:
    """Return the orders that may still open the leg that this side closes."""
    return [order for order in may_fill if not order.request.reduce_only and order.request.side is not side]


def must_wait(side: Side, position_qty: Decimal, may_fill: Iterable[Order], mine: Collection[str]) -> bool:
    """Return whether an order that opens has to wait for orders of the other leg that are soon over.

    Those are orders at the market, what is being canceled, what was sent for the same target, and what is done but for
    executions that have not been told. What else rests there stays as long as it likes: nobody waits for that, and the
    gate denies the order.
    """
    if position_qty * side.sign < 0:
        return False
    others = opening_against(side, may_fill)
    return bool(others) and all(
        not order.is_live
        or order.cancel_requested
        or not can_rest(order.request)
        or order.request.client_order_id in mine
        for order in others
    )
