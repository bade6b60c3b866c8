"""What a page shows of a ledger: the newest rows and counts, read-only, bounded, while the bot writes on."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Float, cast, func, select
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import DataError
from bot.store import tables
from bot.store.live_reader import ledger_name, open_snapshot, reason_of
from bot.store.strategy_results import book_sums, owners_of

_NEVER = 2**62


class PageReader:
    """One run's part of a ledger. Every method blocks on the database, and reads a snapshot of its own.

    Args:
        where: a run's directory, a ledger's file, or a database's address.
        run_id: of a live ledger, the run whose rows are wanted; a replay's ledger holds one run.

    Raises:
        DataError: in every method: there is no ledger, or it cannot be read.
    """

    def __init__(self, where: str, run_id: str) -> None:
        self._where = where
        self._run_id = run_id

    def run(self) -> dict[str, Any]:
        """Return the row of `runs`, JSON-ready, and how many rows of each kind the run has."""
        with self._reading() as (connection, since, until):
            row = connection.execute(select(tables.runs)).mappings().first()
            about = (
                {
                    key: value if isinstance(value, str | int | float | None) else str(value)
                    for key, value in row.items()
                }
                if row
                else {}
            )
            counts = {}
            for name in ("decisions", "fills", "denials", "intents"):
                table = tables.metadata.tables[name]
                rows = select(func.count()).select_from(table).where(table.c.seq > since, table.c.seq <= until)
                counts[name] = int(connection.execute(rows).scalar() or 0)
            last = connection.execute(select(func.max(tables.journal.c.seq))).scalar()
            return {**about, "counts": counts, "seq": int(last or 0)}

    def trades(self, before: int, count: int) -> list[dict[str, Any]]:
        """Return at most `count` executions older than the journal's row `before`, newest first, with their reasons."""
        fills, intents, decisions = tables.fills, tables.intents, tables.decisions
        with self._reading() as (connection, since, until):
            newest = (
                select(*tables.columns_in(connection.engine, fills))
                .where(fills.c.seq > since, fills.c.seq <= until, fills.c.seq < before)
                .order_by(fills.c.seq.desc())
                .limit(count)
            )
            rows = [dict(row) for row in connection.execute(newest).mappings()]
            ids = {row["client_order_id"] for row in rows}
            wanted = (
                select(
                    intents.c.client_order_id,
                    intents.c.mark_price,
                    intents.c.reduce_only,
                    decisions.c.decision_id,
                    decisions.c.reason,
                    decisions.c.trigger,
                    decisions.c.ts_ns,
                )
                .select_from(intents.outerjoin(decisions, decisions.c.decision_id == intents.c.decision_id))
                .where(intents.c.kind == "submit", intents.c.client_order_id.in_(ids))
            )
            reasons = {row["client_order_id"]: row for row in connection.execute(wanted).mappings()}
            owners = owners_of(connection, {row["trade_id"]: row["seq"] for row in rows})
        return [_trade(row, reasons.get(row["client_order_id"]), owners.get(row["trade_id"], [])) for row in rows]

    def books(self) -> list[dict[str, Any]]:
        """Return what each of several strategies brought in each instrument by its own book; none where one trades."""
        with self._reading() as (connection, since, until):
            return book_sums(connection, since, until)

    def marks(self, instrument: str, from_ns: int, to_ns: int, count: int) -> list[tuple[int, str, float, float]]:
        """Return the newest executions of an instrument in a stretch of time, newest first: time, side, price, qty."""
        fills = tables.fills
        with self._reading() as (connection, since, until):
            query = (
                select(fills.c.ts_event_ns, fills.c.side, cast(fills.c.price, Float), cast(fills.c.qty, Float))
                .where(fills.c.seq > since, fills.c.seq <= until, fills.c.instrument == instrument)
                .where(fills.c.ts_event_ns >= from_ns, fills.c.ts_event_ns < to_ns)
                .order_by(fills.c.seq.desc())
                .limit(count)
            )
            return [(int(row[0]), str(row[1]), float(row[2]), float(row[3])) for row in connection.execute(query)]

    def equity(self, count: int) -> list[tuple[int, float]]:
        """Return the newest equity marks, oldest first: time, equity."""
        table = tables.equity
        with self._reading() as (connection, since, until):
            query = (
                select(table.c.ts_ns, cast(table.c.equity, Float))
                .where(table.c.seq > since, table.c.seq <= until)
                .order_by(table.c.seq.desc())
                .limit(count)
            )
            return [(int(row[0]), float(row[1])) for row in reversed(list(connection.execute(query)))]

    @contextmanager
    def _reading(self) -> Iterator[tuple[Connection, int, int]]:
        """Yield a connection, and between which rows of the journal the run lies: after the first, up to the second."""
        engine = open_snapshot(self._where)
        try:
            with engine.connect() as connection:
                yield connection, *self._stretch(connection)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise DataError(f"{ledger_name(self._where)}: the ledger cannot be read ({reason_of(error)})") from error
        finally:
            engine.dispose()

    def _stretch(self, connection: Connection) -> tuple[int, int]:
        epochs = tables.epochs
        if not connection.dialect.has_table(connection, epochs.name):
            return -1, _NEVER
        rows = list(connection.execute(select(epochs.c.run_id, epochs.c.after_seq).order_by(epochs.c.epoch)))
        own = [number for number, row in enumerate(rows) if row[0] == self._run_id]
        if not own:
            return (-1, _NEVER) if not rows else (_NEVER, _NEVER)
        until = rows[own[-1] + 1][1] if own[-1] + 1 < len(rows) else _NEVER
        return int(rows[own[0]][1]), int(until)


def _trade(fill: dict[str, Any], why: Any, owners: Sequence[tuple[str, Decimal]]) -> dict[str, Any]:
    return {
        "seq": fill["seq"],
        "ts_ns": fill["ts_event_ns"],
        "instrument": fill["instrument"],
        "side": fill["side"],
        "price": f"{fill['price']:f}",
        "qty": f"{fill['qty']:f}",
        "fee": f"{fill['fee']:f}",
        "is_maker": fill["is_maker"],
        "position_qty": f"{fill['position_qty']:f}",
        "realized_pnl": f"{fill['realized_pnl']:f}",
        "cause": fill.get("cause") or "",
        "mark_price": None if why is None or why["mark_price"] is None else f"{why['mark_price']:f}",
        "decision_id": None if why is None else why["decision_id"],
        "decided_ns": None if why is None else why["ts_ns"],
        "trigger": "" if why is None else why["trigger"] or "",
        "reason": "" if why is None else why["reason"] or "",
        "owners": [[name, f"{qty:f}"] for name, qty in owners],
    }
