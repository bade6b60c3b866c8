"""What each of several strategies has brought, by its own book."""

from collections.abc import Iterator
from decimal import Decimal

from sqlalchemy import Connection, select

from bot.store import tables


def strategy_results(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield each strategy that has a book, and in words what it has brought and what it holds."""
    moves = tables.book_moves.c
    columns = (moves.strategy, moves.instrument, moves.realized_pnl, moves.fee, moves.amount, moves.position_qty)
    sums: dict[str, list[Decimal]] = {}
    held: dict[str, dict[str, Decimal]] = {}
    for row in connection.execute(select(*columns).order_by(moves.seq)):
        parts = sums.setdefault(row.strategy, [Decimal(0)] * 3)
        for index, amount in enumerate((row.realized_pnl, row.fee, row.amount)):
            parts[index] += amount
        held.setdefault(row.strategy, {})[row.instrument] = row.position_qty
    for name, (realized, fees, funding) in sums.items():
        holds = ", ".join(f"{qty:f} {each}" for each, qty in held[name].items() if qty) or "nothing"
        net = realized - fees + funding
        yield name, f"net {net:.2f}: realized {realized:.2f}, fees {fees:.2f}, funding {funding:.2f}; holds {holds}"
