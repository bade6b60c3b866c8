"""Answers an operator's questions about a ledger while it is written, read-only: a `ports.LedgerQueries`.

Each call reads the rows that came since the last one, in a snapshot that cannot hold the writer up, and folds them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from bot.core.past_trades import BookedFill, BookedFunding, PastTrades, Unit
from bot.domain.errors import DataError
from bot.domain.history import EquityPoint, PastOrder, PastTrade, Result
from bot.store import tables
from bot.store.live_reader import ledger_name, open_snapshot, reason_of
from bot.store.strategy_results import StrategyPasts

_PAGE_ROWS = 5_000


class LedgerHistory:
    """One ledger's past. Every method blocks on the database: call it off the event loop, from one thread at a time.

    Args:
        where: a run's directory, a ledger's file, or a database's address.

    Raises:
        DataError: in every method: there is no ledger, or it cannot be read.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._past = PastTrades()
        self._books = StrategyPasts()

    def total(self) -> Result:
        """See `ports.LedgerQueries`."""
        return self._caught_up().total()

    def by_instrument(self) -> tuple[Result, ...]:
        """See `ports.LedgerQueries`."""
        return self._caught_up().by_instrument()

    def by_strategy(self) -> tuple[Result, ...]:
        """See `ports.LedgerQueries`."""
        with self._reading() as engine:
            self._books.catch_up(engine)
        return self._books.results()

    def periods(self, unit: Unit, count: int, now_ns: int) -> tuple[Result, ...]:
        """See `ports.LedgerQueries`."""
        return self._caught_up().periods(unit, count, now_ns)

    def trades(self, count: int) -> tuple[PastTrade, ...]:
        """See `ports.LedgerQueries`."""
        return self._caught_up().trades(count)

    def orders(self, count: int) -> tuple[PastOrder, ...]:
        """See `ports.LedgerQueries`."""
        orders, intents = tables.orders, tables.intents
        joined = orders.join(
            intents, (intents.c.client_order_id == orders.c.client_order_id) & (intents.c.kind == "submit")
        )
        query = select(*orders.c, intents.c.ts_ns).select_from(joined).order_by(intents.c.seq.desc()).limit(count)
        return tuple(
            PastOrder(
                client_order_id=row["client_order_id"],
                intended_ns=row["ts_ns"],
                instrument=row["instrument"],
                side=row["side"],
                order_type=row["order_type"],
                qty=row["qty"],
                filled_qty=row["filled_qty"],
                limit_price=row["limit_price"],
                status=row["status"],
            )
            for row in self._read(query)
        )

    def equity(self, since_ns: int, count: int) -> tuple[EquityPoint, ...]:
        """See `ports.LedgerQueries`."""
        table = tables.equity
        query = select(table.c.ts_ns, table.c.equity).where(table.c.ts_ns >= since_ns)
        rows = self._read(query.order_by(table.c.seq.desc()).limit(count))
        return tuple(EquityPoint(ts_ns=row["ts_ns"], equity=row["equity"]) for row in reversed(rows))

    def _caught_up(self) -> PastTrades:
        with self._reading() as engine:
            for page in _bookings(engine, self._past.seq):
                self._past.add(page)
        return self._past

    def _read(self, query: Any) -> list[dict[str, Any]]:
        with self._reading() as engine, engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def _reading(self) -> Iterator[Engine]:
        engine = open_snapshot(self._where)
        try:
            yield engine
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise DataError(f"{ledger_name(self._where)}: the ledger cannot be read ({reason_of(error)})") from error
        finally:
            engine.dispose()


def _bookings(engine: Engine, after: int) -> Iterator[list[BookedFill | BookedFunding]]:
    """Yield the bookings after a row of the journal, in its order, some thousands at a time."""
    fills, funding = tables.fills, tables.funding
    with engine.connect() as connection:
        newest = connection.execute(select(tables.journal.c.seq).order_by(tables.journal.c.seq.desc()).limit(1))
        last = newest.scalar() or 0
        while after < last:
            stop = min(after + _PAGE_ROWS, last)
            page: list[BookedFill | BookedFunding] = []
            for row in connection.execute(
                select(*tables.columns_in(engine, fills)).where(fills.c.seq > after, fills.c.seq <= stop)
            ).mappings():
                page.append(_fill(row))
            for row in connection.execute(
                select(funding).where(funding.c.seq > after, funding.c.seq <= stop)
            ).mappings():
                page.append(
                    BookedFunding(
                        seq=row["seq"], ts_ns=row["ts_event_ns"], instrument=row["instrument"], amount=row["amount"]
                    )
                )
            yield sorted(page, key=lambda booking: booking.seq)
            after = stop


def _fill(row: Any) -> BookedFill:
    return BookedFill(
        seq=row["seq"],
        ts_ns=row["ts_event_ns"],
        instrument=row["instrument"],
        side=row["side"],
        price=row["price"],
        qty=row["qty"],
        fee=row["fee"],
        position_qty=row["position_qty"],
        realized_pnl=row["realized_pnl"],
        cause=row.get("cause") or "",
    )
