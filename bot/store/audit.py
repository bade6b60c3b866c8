"""Checks a finished run's ledger. Money is reckoned here by the plainest rule, not by the code that booked it.

What is recomputed, from the journal and from the fills alone, and compared with what is stored: the hash chain, every
table drawn from the journal, double entry, positions, fees, realized PnL, cash, equity, and the tape's profit at every
bar.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from sqlalchemy import Engine, inspect, select

from bot.core.digest import ColumnDigest
from bot.domain.errors import DataError
from bot.domain.ledger import (
    AmendIntended,
    BookMoved,
    EquityMarked,
    FillBooked,
    LedgerEntry,
    OrderIntended,
    OrderReported,
    RunClosed,
    StopsIntended,
    StopsReported,
)
from bot.domain.orders import OrderAmended, StopsRejected, SubmitOrder
from bot.store import tables
from bot.store.books_audit import check_strategy_books
from bot.store.projection import Projection
from bot.store.request_audit import check_requests
from bot.store.run_reader import RunReader, open_ledger
from bot.store.sql_ledger import GENESIS, chain
from bot.store.tape_files import TAPE_FIELDS, combine_tape_hashes, forecast_hash

_TOLERANCE = 1e-8  # of a float64 profit against exact arithmetic, quote currency


@dataclass(slots=True)
class Audit:
    """What was checked, and what was found wrong."""

    entries: int = 0
    fills: int = 0
    bars: int = 0
    ledger_hash: str = ""
    checks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def check(self, what: str, problems: Iterator[str]) -> None:
        """Note a check and the first few things it found."""
        found = [problem for problem, _ in zip(problems, range(5), strict=False)]
        self.checks.append(what)
        self.problems += found


def audit_run(directory: Path) -> Audit:
    """Return the audit of a finished run.

    Raises:
        DataError: it is no finished run, or its files cannot be read at all.
    """
    audit = Audit()
    reader = RunReader(directory)
    engine = open_ledger(directory)
    try:
        run = reader.run()
        entries: list[LedgerEntry] = []
        audit.check("hash chain", _check_chain(engine, run, entries, audit))
        audit.check("tables against the journal", _check_projection(engine, entries))
        audit.check("double entry", _check_double_entry(reader))
        fills, funding, adjustments = reader.fills(), reader.frame("funding"), reader.frame("adjustments")
        moves = _records(fills) + _records(funding) + _records(adjustments) + _records(reader.frame("transfers"))
        moves = sorted(moves + _records(reader.frame("fees")), key=lambda row: int(row["seq"]))
        audit.fills = len(fills)
        if run["status"] != "finished":
            audit.problems.append(f"the run is {run['status']}, not finished")
        audit.check("positions, fees, PnL and cash from the fills", _check_books(reader, moves, run))
        audit.check("fills, amendments and stops against what was intended", _check_intents(entries))
        audit.check("requests against what was intended", check_requests(entries))
        if any(isinstance(entry, BookMoved) for entry in entries):
            audit.check("the strategies' books against the account's", check_strategy_books(entries))
        audit.check("equity entries", _check_equity(entries, moves, run["start_cash"]))
        tape = reader.tape()
        audit.bars = len(tape)
        audit.check("profit at every bar of the tape", _check_tape(tape, fills, funding))
        audit.check("tape hash", _check_tape_hash(tape, directory, entries, run))
    finally:
        reader.close()
        engine.dispose()
    return audit


def _check_chain(engine: Engine, run: dict[str, Any], entries: list[LedgerEntry], audit: Audit) -> Iterator[str]:
    decoder = msgspec.json.Decoder(LedgerEntry)
    digest, expected = GENESIS, 0
    with engine.connect() as connection:
        for seq, ts_ns, kind, body, stored in connection.execute(select(tables.journal).order_by("seq")):
            expected += 1
            if seq != expected:
                yield f"journal: entry {expected} is missing"
                return
            digest = chain(digest, body.encode())
            if digest != stored:
                yield f"journal: entry {seq} ({kind}) or one before it was changed: the hash chain breaks there"
                return
            try:
                entry = decoder.decode(body)
            except msgspec.DecodeError as error:
                yield f"journal: entry {seq} cannot be read: {error}"
                return
            if type(entry).__name__ != kind or entry.ts_ns != ts_ns:
                yield f"journal: entry {seq} is filed as {kind} at {ts_ns}, but says otherwise"
            entries.append(entry)
    audit.entries, audit.ledger_hash = expected, digest.hex()
    if digest.hex() != run["ledger_hash"]:
        yield f"runs: ledger_hash is {run['ledger_hash']}, the journal's is {digest.hex()}"


def _check_projection(engine: Engine, entries: list[LedgerEntry]) -> Iterator[str]:
    projection = Projection()
    for seq, entry in enumerate(entries, start=1):
        projection.add(seq, entry)
    projection.close()
    drawn = projection.take()
    present = inspect(engine).get_table_names()
    with engine.connect() as connection:
        for table in tables.metadata.sorted_tables:
            if table.name in tables.UNDRAWN:
                continue
            if table.name in tables.LATER and table.name not in present:
                if drawn[table.name]:
                    yield f"{table.name}: the table is missing, the journal makes {len(drawn[table.name])} rows"
                continue
            held = tables.columns_in(engine, table)
            columns = ", ".join(f'"{column.name}"' for column in held)
            key = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
            stored = connection.exec_driver_sql(f"SELECT {columns} FROM {table.name} ORDER BY {key}").all()
            width = len(table.primary_key.columns) if table.name in ("postings", "balances") else 1
            wanted = sorted(drawn.get(table.name, []), key=lambda row: row[:width])
            if len(stored) != len(wanted):
                yield f"{table.name}: {len(stored)} rows, the journal makes {len(wanted)}"
            if any(value is not None for row in wanted for value in row[len(held) :]):
                yield f"{table.name}: columns are missing, the journal makes rows with them"
            wanted = [row[: len(held)] for row in wanted]
            for row, expected in zip(stored, wanted, strict=False):
                if tuple(row) != expected:
                    yield f"{table.name}: row {row[0]} is {tuple(row)}, the journal makes {expected}"
                    break


def _check_double_entry(reader: RunReader) -> Iterator[str]:
    sums: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for seq, currency, amount in reader.frame("postings")[["seq", "currency", "amount"]].itertuples(index=False):
        sums[seq, currency] += amount
    for (seq, currency), total in sums.items():
        if total != 0:
            yield f"postings: entry {seq} does not balance: {total} {currency}"


@dataclass(slots=True)
class _Account:
    """An account kept by the plainest rule there is: what was paid for what is held."""

    cash_flow: Decimal = Decimal(0)  # of buying and selling, fees, funding and adjustments included
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    insurance: Decimal = Decimal(0)
    transfers: Decimal = Decimal(0)
    qty: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def apply(self, row: dict[str, Any]) -> None:
        """Book a row of the fills, of the fees in other coins, of the funding, the adjustments or the transfers."""
        if "fee_number" in row:
            if isinstance(row["value"], Decimal):  # so much of what is held was given away, for what it was worth
                self.qty[row["instrument"]] -= row["amount"]
                self.fees += row["value"]
            return
        if isinstance(row.get("currency"), str):
            return  # of another coin
        if "trade_id" not in row:
            if "funding_id" in row:
                self.funding += row["amount"]
            elif "transfer_id" in row:
                self.transfers += row["amount"]
            else:
                self.insurance += row["amount"]
            self.cash_flow += row["amount"]
            return
        signed = row["qty"] if row["side"] == "buy" else -row["qty"]
        self.qty[row["instrument"]] += signed
        self.cash_flow -= signed * row["price"] + row["fee"]
        self.fees += row["fee"]


def _check_books(reader: RunReader, moves: list[dict[str, Any]], run: dict[str, Any]) -> Iterator[str]:
    account = _Account()
    realized = Decimal(0)
    for row in moves:
        account.apply(row)
        if "trade_id" not in row or ("fee_number" in row and not isinstance(row["value"], Decimal)):
            continue
        realized += row["realized_pnl"]
        held = account.qty[row["instrument"]]
        if held != row["position_qty"]:
            yield f"fills: after {row['trade_id']} the position is {held}, not {row['position_qty']}"
    rows = _records(reader.frame("balances"))
    balances = {row["account"]: row["amount"] for row in rows if row["currency"] == run["currency"]}
    wanted = {
        "fees": account.fees,
        "funding": -account.funding,
        "realized_pnl": -realized,
        "equity": -run["start_cash"],
        "insurance": -account.insurance,
        "transfers": -account.transfers,
        "cash": run["start_cash"] + realized + account.funding + account.insurance + account.transfers - account.fees,
    }
    for name, amount in wanted.items():
        if balances.get(name, Decimal(0)) != amount:
            yield f"balances: {name} is {balances.get(name, Decimal(0))}, the fills make {amount}"


def _check_intents(entries: list[LedgerEntry]) -> Iterator[str]:
    """Hold what became of orders and stops against what was sent, by the plainest rule: nothing beyond it."""
    sent: dict[str, SubmitOrder] = {}
    most: dict[str, Decimal] = {}  # the largest quantity that was ever asked for
    filled: dict[str, Decimal] = defaultdict(Decimal)
    requests: set[str] = set()
    for seq, entry in enumerate(entries, start=1):
        match entry:
            case OrderIntended(order=order):
                sent[order.client_order_id], most[order.client_order_id] = order, order.qty
            case AmendIntended(amend=amend):
                name = amend.client_order_id
                if name not in sent:
                    yield f"journal: entry {seq} amends {name}, which was never intended"
                most[name] = max(most.get(name, Decimal(0)), amend.qty or Decimal(0))
            case StopsIntended(change=change):
                requests.add(change.request_id)
            case OrderReported(event=OrderAmended() as event):
                if event.qty > most.get(event.client_order_id, Decimal(0)):
                    yield f"journal: entry {seq}: {event.client_order_id} became {event.qty}, more than was asked for"
            case StopsReported(event=StopsRejected() as refused):
                if refused.request_id not in requests:
                    yield f"journal: entry {seq} refuses {refused.request_id}, which was never intended"
            case FillBooked(fill=fill):
                name = fill.client_order_id
                filled[name] += fill.qty
                if name not in sent or (sent[name].side, sent[name].instrument) != (fill.side, fill.instrument):
                    yield f"journal: entry {seq} fills {name}, which was never intended like that"
                elif filled[name] > most[name]:
                    yield f"journal: entry {seq}: {name} filled {filled[name]}, more than was asked for"
            case _:
                pass


def _check_equity(entries: list[LedgerEntry], moves: list[dict[str, Any]], start_cash: Decimal) -> Iterator[str]:
    account = _Account()
    ordered = iter(sorted(moves, key=lambda row: int(row["seq"])))
    following = next(ordered, None)
    for seq, entry in enumerate(entries, start=1):
        while following is not None and following["seq"] <= seq:
            account.apply(following)
            following = next(ordered, None)
        if isinstance(entry, EquityMarked):
            value = sum((qty * price for _, qty, price in entry.marks), Decimal(0))
            if {name: qty for name, qty, _ in entry.marks} != {n: q for n, q in account.qty.items() if q}:
                yield f"equity: entry {seq} marks other positions than the fills make"
            if abs(start_cash + account.cash_flow + value - entry.equity) > Decimal("1e-8"):
                yield f"equity: entry {seq} says {entry.equity}, not {start_cash + account.cash_flow + value}"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dicts."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _check_tape(tape: pd.DataFrame, fills: pd.DataFrame, funding: pd.DataFrame) -> Iterator[str]:
    for name, bars in tape.groupby("instrument", sort=True):
        account = _Account()
        since, qty, flow = [-(2**62)], [0.0], [0.0]
        mine = [row for row in _records(fills) + _records(funding) if row["instrument"] == name]
        for row in sorted(mine, key=lambda row: int(row["ts_event_ns"])):
            account.apply(row)
            since.append(int(row["ts_event_ns"]))
            qty.append(float(account.qty[str(name)]))
            flow.append(float(account.cash_flow))
        close_ns = bars["close_ns"].to_numpy()
        at = np.searchsorted(np.array(since), close_ns, side="left") - 1
        profit = np.array(flow)[at] + np.array(qty)[at] * bars["close"].to_numpy()
        wrong = ~(np.abs(profit - bars["profit"].to_numpy()) <= _TOLERANCE)
        if wrong.any():
            first = int(np.argmax(wrong))
            stored = bars["profit"].iloc[first]
            yield f"tape: {name} at {close_ns[first]} says a profit of {stored}, the fills make {profit[first]}"


def _check_tape_hash(
    tape: pd.DataFrame, directory: Path, entries: list[LedgerEntry], run: dict[str, Any]
) -> Iterator[str]:
    closed = entries[-1] if entries else None
    if not isinstance(closed, RunClosed):
        yield "journal: the last entry does not close the run"
        return
    parts = []
    for name in sorted(tape["instrument"].unique()):
        bars = tape[tape["instrument"] == name]
        digest = ColumnDigest(name)
        digest.update({column: bars[column].to_numpy() for column in TAPE_FIELDS})
        parts.append(digest.hexdigest())
    for name in ("tape_hash", "data_hash", "model_id", "in_sample", "from_ns", "to_ns"):
        if run[name] != getattr(closed, name):
            yield f"runs: {name} is not the one that the journal's last entry holds"
    try:
        found = combine_tape_hashes("".join(parts), forecast_hash(directory))
    except DataError as error:
        yield str(error)
        return
    if found != closed.tape_hash:
        yield f"tape: its hash is {found}, the journal's last entry says {closed.tape_hash}"
