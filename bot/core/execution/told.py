"""What strategies are told of what happened to the account: with several, each its own part."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from bot.core.effects import Notice
from bot.core.execution.strategy_books import OUTSIDE
from bot.core.money_state import MoneyState
from bot.core.order import Order
from bot.domain.ledger import BookMoved
from bot.domain.orders import AccountEvent, FundingPaid, OrderFilled, PositionCut


def notices(
    state: MoneyState, order: Order | None, event: AccountEvent | None, moves: Sequence[BookMoved] = ()
) -> list[Notice]:
    """Return what is told: with several strategies, each its own part; of orders that they share nothing else.

    Args:
        state: knows whose an order is.
        order: the event's, None where it is of none.
        event: None: the order has just been sent.
        moves: what the event has moved in the books of several strategies.
    """
    shared = state.strategy_books
    if shared is None:
        return [Notice(order=order, event=event)]
    if order is not None:
        owner = state.strategy_of.get(order.request.client_order_id, "")
        if owner in shared.strategies:
            return [Notice(order=order, event=event, strategy=owner)]
    if event is not None and moves:
        parts = [(move.strategy, part_of(event, move)) for move in moves if move.strategy != OUTSIDE]
        return [Notice(order=None, event=part, strategy=who) for who, part in parts if part is not None]
    return [] if order is not None else [Notice(order=None, event=event)]


def part_of(event: AccountEvent, move: BookMoved) -> AccountEvent | None:
    """Return an event as the owner of a moved book sees it; None where there is nothing to tell a strategy."""
    match event:
        case OrderFilled() | PositionCut() if move.qty is not None:
            return replace(event, qty=move.qty, fee=move.fee)
        case FundingPaid():
            return replace(event, amount=move.amount, position_qty=move.position_qty)
        case _:
            return None


def crossed(moves: Iterable[BookMoved]) -> list[tuple[str, OrderFilled]]:
    """Return what strategies whose wishes met are told: a fill without an order and without a fee."""
    told = []
    for move in moves:
        assert move.side is not None
        assert move.qty is not None
        assert move.price is not None
        told.append(
            (
                move.strategy,
                OrderFilled(
                    ts_event_ns=move.ts_ns,
                    ts_recv_ns=move.ts_ns,
                    client_order_id=move.event_id,
                    instrument=move.instrument,
                    trade_id=f"{move.event_id}-{move.strategy}",
                    side=move.side,
                    price=move.price,
                    qty=move.qty,
                    fee=move.fee,
                    is_maker=False,
                ),
            )
        )
    return told
