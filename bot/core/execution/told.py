"""What each of several strategies is told of what happened to the account: its own part."""

from collections.abc import Iterable

from msgspec.structs import replace

from bot.domain.ledger import BookMoved
from bot.domain.orders import AccountEvent, FundingPaid, OrderFilled, PositionCut


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
