"""Checks a live ledger as it stands at one moment, while it is being written, in memory that does not grow with it.

What is held against what: the hash chain against the entries; every table against the journal, drawn again; the
postings against each other; positions, fees, profit and cash against the executions, by the plainest rule; orders and
requests against what was intended.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec
from sqlalchemy import Engine, Table, select
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import DataError
from bot.domain.ledger import LedgerEntry
from bot.store import tables
from bot.store.audit import Audit, _check_intents
from bot.store.books_audit import check_strategy_books
from bot.store.live_reader import journal_pages, ledger_name, open_snapshot, reason_of, schema_of
from bot.store.live_rows import column_names
from bot.store.projection import Projection
from bot.store.projection_rows import Row
from bot.store.request_audit import check_requests
from bot.store.sql_ledger import GENESIS, chain

_STATE = ("orders", "balances")
_MOVES = ("fills", "fees", "funding", "adjustments", "transfers")


def audit_live(where: str, on_entries: Callable[[int], None] | None = None) -> Audit:
    """Return the audit of a live ledger.

    Args:
        where: a path, or a PostgreSQL address.
        on_entries: told now and then how many entries were checked.

    Raises:
        DataError: there is no ledger, or it cannot be read at all.
    """
    engine = open_snapshot(where)
    audit = Audit()
    try:
        if engine.dialect.name == "sqlite":
            audit.check("pages of the file", _check_file(engine))
        with engine.connect() as connection:
            row = connection.execute(select(tables.runs.c.start_cash, tables.runs.c.currency)).first()
        if row is None:
            raise DataError(f"{ledger_name(where)}: the ledger describes no run")
        walk = _Walk(engine, audit, Decimal(row[0]), row[1], on_entries)
        audit.check("hash chain, tables against the journal, double entry and positions", walk.problems())
        audit.check("checkpoints against the journal", walk.check_checkpoints())
        audit.check("balances from the executions", walk.check_balances())
        entries = cast("list[LedgerEntry]", _entries(engine))  # it reads them once, from front to back
        audit.check("fills, amendments and stops against what was intended", _check_intents(entries))
        audit.check("requests against what was intended", check_requests(_entries(engine)))
        audit.check("the strategies' books against the account's", check_strategy_books(_entries(engine)))
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise DataError(
            f"{ledger_name(where)}: the ledger is damaged ({reason_of(error)}); restore a backup (bot db restore)"
        ) from error
    finally:
        engine.dispose()
    return audit


def _check_file(engine: Engine) -> Iterator[str]:
    with engine.connect() as connection:
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(5)"):
            if line != "ok":
                yield f"file: {' '.join(line.split())}"


def _entries(engine: Engine) -> Iterator[LedgerEntry]:
    decode = msgspec.json.Decoder(LedgerEntry).decode
    for page in journal_pages(engine):
        for _, _, _, body, _ in page:
            try:
                yield decode(body)
            except msgspec.DecodeError:
                return  # the chain's check has said so


class _Walk:
    """Goes through the journal once, page by page, with the rows that the tables hold of that page."""

    def __init__(
        self,
        engine: Engine,
        audit: Audit,
        start_cash: Decimal,
        currency: str,
        on_entries: Callable[[int], None] | None,
    ) -> None:
        self._engine = engine
        self._audit = audit
        self._start_cash = start_cash
        self._currency = currency
        self._on_entries = on_entries
        self._projection = Projection()
        self._decode = msgspec.json.Decoder(LedgerEntry).decode
        self._digest = GENESIS
        self._seq = 0
        self._orders = 0
        self._present = schema_of(engine)
        self._tables = [t for t in tables.metadata.sorted_tables if t.name not in (*tables.UNDRAWN, *_STATE)]
        self._sums: dict[str, Decimal] = defaultdict(Decimal)  # of the plain books, by what they are of
        self._held: dict[str, Decimal] = defaultdict(Decimal)  # position by instrument
        self._coins: dict[tuple[str, str], Decimal] = defaultdict(Decimal)  # postings, by account and currency
        self._other_fees: dict[str, Decimal] = defaultdict(Decimal)  # by currency, of coins that are no position

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, in the order of the journal; after a broken chain nothing more is read."""
        for page in journal_pages(self._engine):
            before = self._seq
            try:
                self._link(page)
            except DataError as error:
                yield str(error)
                return
            drawn = self._projection.take()
            moves: list[tuple[str, Row]] = []
            for table in self._tables:
                stored = self._stored(table, before)
                yield from _compare(table, stored, drawn[table.name])
                if table.name == "postings":
                    yield from self._weigh(stored)
                elif table.name in _MOVES:
                    moves += [(table.name, row) for row in stored]
            for name, row in sorted(moves, key=lambda move: int(move[1][0])):
                yield from self._reckon(name, row)
            yield from self._check_orders(drawn["orders"])
            if self._on_entries is not None:
                self._on_entries(self._seq)
        self._audit.entries, self._audit.ledger_hash = self._seq, self._digest.hex()
        self._projection.close()
        drawn = self._projection.take()
        yield from self._check_orders(drawn["orders"])
        yield from self._check_state(drawn["balances"])

    def check_checkpoints(self) -> Iterator[str]:
        """Yield the checkpoints that are not the journal's: a start would trust them."""
        if "checkpoints" not in self._present:
            return
        journal, kept = tables.journal, tables.checkpoints
        query = (
            select(kept.c.seq)
            .outerjoin(journal, journal.c.seq == kept.c.seq)
            .where(journal.c.hash.is_(None) | (journal.c.hash != kept.c.hash))
        )
        with self._engine.connect() as connection:
            for (seq,) in connection.execute(query):
                yield f"checkpoints: that of entry {seq} is not the journal's"

    def check_balances(self) -> Iterator[str]:
        """Yield the balances that the executions do not make."""
        books = self._sums
        wanted = {
            "fees": books["fees"],
            "funding": -books["funding"],
            "realized_pnl": -books["realized_pnl"],
            "insurance": -books["adjustments"],
            "transfers": -books["transfers"],
            "cash": self._start_cash
            + books["realized_pnl"]
            + books["funding"]
            + books["adjustments"]
            + books["transfers"]
            - books["fees"],
        }
        with self._engine.connect() as connection:
            query = select(tables.balances).where(tables.balances.c.currency == self._currency)
            held = {row.account: Decimal(row.amount) for row in connection.execute(query)}
        for name, amount in wanted.items():
            if self._seq and held.get(name, Decimal(0)) != amount:
                yield f"balances: {name} is {held.get(name, Decimal(0))}, the executions make {amount}"
        yield from self._check_coins()

    def _link(self, page: Sequence[tuple[int, int, str, str, bytes]]) -> None:
        for seq, ts_ns, kind, body, stored in page:
            self._seq += 1
            if seq != self._seq:
                raise DataError(f"journal: entry {self._seq} is missing")
            self._digest = chain(self._digest, body.encode())
            if self._digest != stored:
                raise DataError(
                    f"journal: entry {seq} ({kind}) or one before it was changed: the hash chain breaks there"
                )
            try:
                entry = self._decode(body)
            except msgspec.DecodeError as error:
                raise DataError(f"journal: entry {seq} cannot be read: {error}") from error
            if type(entry).__name__ != kind or entry.ts_ns != ts_ns:
                raise DataError(f"journal: entry {seq} is filed as {kind} at {ts_ns}, but says otherwise")
            self._projection.add(seq, entry)

    def _stored(self, table: Table, after: int) -> list[Row]:
        """Return the table's rows of the page that follows entry `after`, a Decimal as text."""
        if table.name not in self._present:
            return []
        columns = [c for c in table.columns if c.name in self._present[table.name]]
        names = ", ".join(f'"{column.name}"' for column in columns)
        key = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        missing = (None,) * (len(table.columns) - len(columns))
        sql = f"SELECT {names} FROM {table.name} WHERE seq > {after:d} AND seq <= {self._seq:d} ORDER BY {key}"
        with self._engine.connect() as connection:
            return [(*_texts(row), *missing) for row in connection.exec_driver_sql(sql)]

    def _weigh(self, rows: list[Row]) -> Iterator[str]:
        """Yield the bookings whose legs do not balance; sum up coins other than the quote currency."""
        sums: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
        for seq, _, account, currency, amount in rows:
            sums[seq, currency] += Decimal(amount)
            if currency != self._currency:
                self._coins[account, currency] += Decimal(amount)
        for (seq, currency), total in sums.items():
            if total:
                yield f"postings: entry {seq} does not balance: {total} {currency}"

    def _reckon(self, name: str, values: Row) -> Iterator[str]:
        """Keep the plain books of what moved money."""
        fields = [column.name for column in tables.metadata.tables[name].columns]
        row: dict[str, Any] = dict(zip(fields, values, strict=True))
        if name == "fees" and row["value"] is None:  # of a coin that is no position
            self._other_fees[row["currency"]] += Decimal(row["amount"])
            return
        if name not in ("fills", "fees"):
            if row.get("currency") is None:
                self._sums[name] += Decimal(row["amount"])
            return
        is_fill = name == "fills"
        self._audit.fills += is_fill
        self._sums["fees"] += Decimal(row["fee"] if is_fill else row["value"])
        self._sums["realized_pnl"] += Decimal(row["realized_pnl"])
        if is_fill:
            self._held[row["instrument"]] += Decimal(row["qty"]) * (1 if row["side"] == "buy" else -1)
        else:
            self._held[row["instrument"]] -= Decimal(row["amount"])
        if self._held[row["instrument"]] != Decimal(row["position_qty"]):
            held = self._held[row["instrument"]]
            yield f"{name}: after {row['trade_id']} the position is {held}, not {row['position_qty']}"

    def _check_coins(self) -> Iterator[str]:
        """Yield what other coins' fees do not add up to."""
        paid_in = {name for account, name in self._coins if account == "fees"} | self._other_fees.keys()
        for currency in sorted(paid_in):
            booked, paid = self._coins["fees", currency], self._other_fees[currency]
            if booked != paid:
                yield f"postings: fees in {currency} are {booked}, the table fees makes {paid}"

    def _check_orders(self, drawn: list[Row]) -> Iterator[str]:
        """Hold orders that are done, or at the end all others, against the table."""
        self._orders += len(drawn)
        with self._engine.connect() as connection:
            for start in range(0, len(drawn), 500):
                wanted = {row[0]: row for row in drawn[start : start + 500]}
                query = select(tables.orders).where(tables.orders.c.client_order_id.in_(list(wanted)))
                stored = {row[0]: _texts(row) for row in connection.execute(query)}
                for name, row in wanted.items():
                    if stored.get(name) != row:
                        yield f"orders: {name} is {stored.get(name)}, the journal makes {row}"

    def _check_state(self, balances: list[Row]) -> Iterator[str]:
        with self._engine.connect() as connection:
            sql = f"SELECT {column_names(tables.balances)} FROM balances"
            stored = sorted(_texts(row) for row in connection.exec_driver_sql(sql))
            orders = connection.exec_driver_sql("SELECT count(*) FROM orders").scalar_one()
        yield from _compare(tables.balances, stored, sorted(balances))
        if orders != self._orders:
            yield f"orders: {orders} rows, the journal makes {self._orders}"


def _compare(table: Table, stored: list[Row], drawn: list[Row]) -> Iterator[str]:
    if len(stored) != len(drawn):
        where = f" up to entry {stored[-1][0]}" if stored else ""
        yield f"{table.name}: {len(stored)} rows{where}, the journal makes {len(drawn)}"
    for row, wanted in zip(stored, drawn, strict=False):
        if row != wanted:
            yield f"{table.name}: row {row[0]} is {row}, the journal makes {wanted}"
            return


def _texts(row: Any) -> Row:
    """Return a row with its Decimals and booleans as the projection makes them."""
    return tuple(format(value, "f") if isinstance(value, Decimal) else value for value in row)
