"""What each of several strategies has brought, by its own book."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, Engine, Float, case, cast, func, inspect, select

from bot.core.past_trades import BookedFill, BookedFunding, PastTrades
from bot.domain.history import Result
from bot.store import tables

_ROWS_AT_ONCE = 5_000
_ROWS_OF_A_FILL = 64  # of the journal, at most: its booking and what each strategy has of it


class StrategyPasts:
    """What the strategies' own books brought, folded as the account's fills are; it reads only what is new."""

    def __init__(self) -> None:
        self._seq = 0
        self._pasts: dict[str, PastTrades] = {}

    def catch_up(self, engine: Engine) -> None:
        """Read the moves that came since the last time; a ledger of an older schema has none."""
        moves = tables.book_moves
        if moves.name not in inspect(engine).get_table_names():
            return
        with engine.connect() as connection:
            query = select(moves).where(moves.c.seq > self._seq).order_by(moves.c.seq)
            rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
            for row in rows.mappings():
                self._seq = row["seq"]
                self._pasts.setdefault(row["strategy"], PastTrades(trades_max=0)).add([_booking(row)])

    def results(self) -> tuple[Result, ...]:
        """Return what each brought, the best first."""
        made = []
        for name, past in self._pasts.items():
            whole = past.total()
            made.append(replace(whole, name=name))
        return tuple(sorted(made, key=lambda each: (-each.net_pnl, each.name)))


def book_sums(connection: Connection, since: int, until: int) -> list[dict[str, Any]]:
    """Return for a page, of each strategy and instrument, what a stretch of the journal brought: floats, JSON-ready."""
    moves = tables.book_moves
    if moves.name not in inspect(connection).get_table_names():
        return []
    within = (moves.c.seq > since, moves.c.seq <= until)

    def total(column: Any) -> Any:
        return func.sum(cast(column, Float))

    def count(*causes: str) -> Any:
        return func.sum(case((moves.c.cause.in_(causes), 1), else_=0))

    grouped = (
        select(
            moves.c.strategy,
            moves.c.instrument,
            total(moves.c.realized_pnl).label("realized_pnl"),
            total(moves.c.fee).label("fees"),
            total(moves.c.amount).label("funding"),
            count("fill", "cut", "foreign").label("fills"),
            count("cross").label("crossings"),
            func.max(moves.c.seq).label("seq"),
        )
        .where(*within)
        .group_by(moves.c.strategy, moves.c.instrument)
        .order_by(func.min(moves.c.seq))
    )
    rows = [dict(row) for row in connection.execute(grouped).mappings()]
    last = select(moves.c.seq, cast(moves.c.position_qty, Float)).where(moves.c.seq.in_([row["seq"] for row in rows]))
    held = {int(row[0]): float(row[1]) for row in connection.execute(last)}
    return [{**row, "qty": held[row["seq"]]} for row in rows]


def owners_of(connection: Connection, fills: Mapping[str, int]) -> dict[str, list[tuple[str, Decimal]]]:
    """Return whose executions are, by the venue's id: each strategy and how much; nothing where one trades alone.

    Args:
        fills: the executions, each with its row of the journal: books move right after it.
    """
    moves = tables.book_moves
    if not fills or moves.name not in inspect(connection).get_table_names():
        return {}
    query = select(moves.c.event_id, moves.c.strategy, moves.c.qty).where(
        moves.c.seq > min(fills.values()),
        moves.c.seq <= max(fills.values()) + _ROWS_OF_A_FILL,
        moves.c.event_id.in_(fills),
        moves.c.qty.is_not(None),
    )
    found: dict[str, list[tuple[str, Decimal]]] = {}
    for trade_id, strategy, qty in connection.execute(query.order_by(moves.c.seq)):
        found.setdefault(trade_id, []).append((strategy, qty))
    return found


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


def _booking(row: Any) -> BookedFill | BookedFunding:
    if row["side"] is None:
        return BookedFunding(seq=row["seq"], ts_ns=row["ts_ns"], instrument=row["instrument"], amount=row["amount"])
    return BookedFill(
        seq=row["seq"],
        ts_ns=row["ts_ns"],
        instrument=row["instrument"],
        side=row["side"],
        price=row["price"],
        qty=row["qty"],
        fee=row["fee"],
        position_qty=row["position_qty"],
        realized_pnl=row["realized_pnl"],
        cause=row["cause"] if row["cause"] in ("cut", "foreign") else "",
    )
