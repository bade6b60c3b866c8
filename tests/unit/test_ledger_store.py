"""The ledger on disk: the schema, exact numbers, the hash chain, and that nothing half-written passes for a run."""

import io
import json
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, insert, inspect, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable

from bot.core.order import Status
from bot.domain.account import Posting
from bot.domain.errors import DataError, StorageError
from bot.domain.instrument import Side
from bot.domain.ledger import (
    AlertRaised,
    BookMoved,
    Deposited,
    DoubtOpened,
    DoubtResolved,
    EquityMarked,
    ExternalFillBooked,
    FeeBooked,
    FillBooked,
    FlattenWanted,
    ForecastUsed,
    IntentDropped,
    LedgerBalanced,
    LedgerEntry,
    LookUpMade,
    LossBaseMoved,
    OrderIntended,
    OrderReported,
    OrderShared,
    PositionCutBooked,
    Reconciled,
    RequestAnswered,
    RequestSigned,
    RunClosed,
    TradingStateChanged,
    TransferBooked,
)
from bot.domain.orders import AmendOpen, CancelOpen, ChangeStops, OrderAmended, SetStops
from bot.ports import TapeRows, Worker
from bot.runtime.env import ProcessWorker
from bot.store import tables
from bot.store.audit import audit_run
from bot.store.ledger_process import serve
from bot.store.ledger_store import ReplayStore
from bot.store.migrate import upgrade, versions
from bot.store.run_reader import RunReader
from bot.store.sql_ledger import GENESIS, chain
from tests.support.desk import NOW_NS, Desk
from tests.support.money import NAME, accepted, canceled, dec, filled, funding_paid, rejected, submit
from tests.support.venue_side import (
    adjusted,
    amend_rejected,
    amended,
    cut,
    exit_at,
    fee_paid,
    foreign,
    stops_changed,
    stops_rejected,
    transferred,
    trigger_at,
    triggered,
)

ROOT = Path(__file__).resolve().parents[2]
RUN: dict[str, Any] = {
    "run_id": "r1",
    "mode": "replay",
    "version": "1",
    "strategy": "sma",
    "parameters": "{}",
    "seed": 7,
    "config_hash": "c",
    "model_id": "none",
    "in_sample": False,
    "currency": "USDT",
    "start_cash": dec("100000.10"),
    "source": "trades",
    "from_ns": 0,
    "to_ns": 1,
}
CLOSED = RunClosed(ts_ns=NOW_NS, data_hash="d", tape_hash="t", model_id="none", in_sample=False, from_ns=0, to_ns=1)


def life(*, is_old: bool = False) -> list[LedgerEntry]:
    """Return a run's entries of all kinds: fills of every fate, a denial, cancels, a forecast, funding, equity.

    An old one knows nothing of amendments, triggers and what the venue does by itself.
    """
    desk = Desk(cash="100000.10")
    forecast = ForecastUsed(
        ts_ns=NOW_NS,
        forecast_id=f"{NAME}-1m-1",
        model_id="m",
        instrument=NAME,
        bar_close_ns=NOW_NS,
        horizons_ns=(60, 300),
        levels=(0.1, 0.9),
        quantiles=((-0.001, 0.001), (-0.1, 1e-17)),
        importance=(0.25, 0.75),
    )
    desk.target("0.001", forecast=forecast)  # denied
    done, part, refused, resting = (desk.place(qty="1.5") for _ in range(4))
    desk.place(Side.SELL, qty="0.2", limit="101")  # never answered
    desk.event(filled(done.client_order_id, trade=1, qty="0.5", price="98.9", fee="-0.00123"))
    desk.event(accepted(done.client_order_id))
    desk.event(filled(done.client_order_id, trade=2, qty="1", price="99", fee="0.0495"))
    desk.event(accepted(part.client_order_id))
    desk.event(canceled(part.client_order_id))
    desk.event(filled(part.client_order_id, trade=3, qty="0.7", price="99", fee="0.01"))  # matched before the cancel
    desk.event(rejected(refused.client_order_id))
    desk.event(accepted(resting.client_order_id))
    desk.wish(CancelOpen(instrument=NAME, client_order_id=resting.client_order_id))
    desk.event(funding_paid("-0.0123"))
    desk.fill(desk.place(Side.SELL, qty="0.3", limit="100"), trade=4, price="101.7")
    if not is_old:
        venue_side(desk)
    desk.record += desk.orders.mark_equity(desk.marks(), NOW_NS).record
    desk.record.append(
        TradingStateChanged(
            ts_ns=NOW_NS,
            scope="account",
            cause="drawdown",
            signal="reduce",
            before="active",
            after="reducing",
            in_force="reducing",
            value=dec("79999.9"),
            threshold=dec("80000.08"),
            detail="too much was lost",
        )
    )
    desk.halt()
    return [*desk.record, CLOSED]


def venue_side(desk: Desk) -> None:
    """Live through amendments, a trigger, stops, and what the venue does by itself."""
    order = desk.place(qty="1", limit="99", trigger=trigger_at("105"), stop_loss=exit_at("90"))
    name = order.client_order_id
    desk.event(accepted(name))
    desk.wish(
        AmendOpen(
            instrument=NAME, client_order_id=name, qty=dec("1.2"), limit_price=dec("104"), trigger_price=dec("106")
        )
    )
    desk.event(amended(name, qty="1.2", limit="104", at_ns=NOW_NS))
    desk.event(triggered(name))
    desk.event(filled(name, trade=5, qty="0.2", price="104"))
    desk.wish(AmendOpen(instrument=NAME, client_order_id=name, qty=dec("0.9")))
    desk.event(amend_rejected(name, at_ns=NOW_NS))
    stops = SetStops(instrument=NAME, take_profit=exit_at("120"), stop_loss=exit_at("91"), trailing_distance=dec("5"))
    desk.wish(stops)
    desk.event(stops_changed(profit="120", loss="91", trail="5"))
    (again,) = desk.wish(stops).send
    assert isinstance(again, ChangeStops)
    desk.event(stops_rejected(again.request_id))
    desk.event(cut(qty="0.5", price="91", fee="0.02"))
    desk.event(adjusted("0.007"))
    desk.event(foreign(qty="0.1", price="92", fee="0.01"))
    desk.event(transferred("250"))
    desk.event(fee_paid("f1", "0.25", "MNT"))
    desk.event(transferred("-0.5", number=2, currency="ETH"))
    desk.record += requests(order.client_order_id)


def requests(name: str) -> list[LedgerEntry]:
    """Return what is recorded of a request that nobody answered, and of a comparison with the venue."""
    create = f"create:{name}"
    about = {"request": create, "client_order_id": name, "instrument": NAME}
    places = ("open", "history")
    return [
        RequestSigned(
            ts_ns=NOW_NS, **about, attempt=1, signed_ms=1_000, recv_window_ms=2_500, channel="rest", content_hash="ab"
        ),
        RequestAnswered(ts_ns=NOW_NS, request=create, attempt=1, kind="unknown", cause="network", code="timeout"),
        DoubtOpened(ts_ns=NOW_NS, **about, why="network: timeout"),
        LookUpMade(ts_ns=NOW_NS, request=create, result="absent", places=places, server_time_ms=5_501),
        LookUpMade(ts_ns=NOW_NS, request=create, result="absent", places=places, server_time_ms=6_501),
        DoubtResolved(ts_ns=NOW_NS, **about, outcome="not_accepted", evidence="it is nowhere", margin_ms=2_000),
        IntentDropped(ts_ns=NOW_NS, **(about | {"request": "create:x"}), why="late"),
        AlertRaised(ts_ns=NOW_NS, code="FOREIGN_FILL", instrument=NAME, detail="somebody traded"),
        Reconciled(ts_ns=NOW_NS, at_ms=7, checked=("positions",), healed=("a fill",), differences=("cash",)),
        LossBaseMoved(ts_ns=NOW_NS, day=1, peak=dec(5), day_start=None),
        OrderShared(ts_ns=NOW_NS, client_order_id="x", shares=(("fast", dec(1)), ("slow", dec(2)))),
        *(
            BookMoved(
                ts_ns=NOW_NS,
                strategy=name,
                instrument=NAME,
                cause="cross",
                event_id="cross-1",
                side=side,
                qty=dec(1),
                price=dec(100),
                position_qty=dec(side.sign),
                realized_pnl=dec(0),
            )
            for name, side in (("fast", Side.BUY), ("slow", Side.SELL))
        ),
        LedgerBalanced(ts_ns=NOW_NS, from_ms=1, to_ms=9, lines=3, matched=2, sums=(("USDT", dec(1), dec(2)),)),
        FlattenWanted(ts_ns=NOW_NS, instrument=NAME, why="home", is_wanted=True),
    ]


LIFE = life()


def write(
    directory: Path, entries: Sequence[LedgerEntry], *, size: int = 100, worker: Worker | None = None, **run: Any
) -> ReplayStore:
    """Return a store that was given the entries, some at a time."""
    directory.mkdir(parents=True, exist_ok=True)
    store = ReplayStore(directory, RUN | run, None if worker is None else lambda: worker, worker_after=0)
    for start in range(0, len(entries), size):
        store.write(entries[start : start + size])
        store.commit()
    return store


def finished(directory: Path, entries: Sequence[LedgerEntry] = LIFE, **asked: Any) -> RunReader:
    """Return the reader of a whole run."""
    ledger_hash = write(directory, entries, **asked).finish(data_hash="d", rows_in=3, late_trades=0, wall_seconds=0.1)
    reader = RunReader(directory)
    assert reader.run()["ledger_hash"] == ledger_hash
    return reader


def tape_rows(count: int, start: int = 0) -> TapeRows:
    """Return a stretch of the tape."""
    close_ns = np.arange(start, start + count, dtype=np.int64)
    price = close_ns / 7.0
    return TapeRows(
        instrument=NAME,
        close_ns=close_ns,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=price,
        position=price,
        profit=price,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunReader]:
    """Return the reader of a run with all kinds of entries."""
    reader = finished(tmp_path_factory.mktemp("whole"))
    yield reader
    reader.close()


def database(path: Path) -> Engine:
    """Return an engine on a file of its own."""
    return create_engine(f"sqlite:///{path}")


# --- schema -----------------------------------------------------------------------------------------------------------


def alembic_config(connection: Any) -> Config:
    """Return what Alembic's commands need."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["connection"] = connection
    return config


def shape(engine: Engine) -> dict[str, Any]:
    """Return all that the database says of its tables, names of constraints included."""
    inspector = inspect(engine)
    return {
        name: {
            "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(name)],
            "primary key": inspector.get_pk_constraint(name),
            "unique": sorted(inspector.get_unique_constraints(name), key=str),
            "foreign keys": sorted(inspector.get_foreign_keys(name), key=str),
            "indexes": sorted(inspector.get_indexes(name), key=str),
        }
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }


def test_the_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    """Alembic finds nothing to do after its own migrations, and both ways of making the tables look the same."""
    engine, plain = database(tmp_path / "migrated"), database(tmp_path / "plain")
    upgrade(engine)
    tables.metadata.create_all(plain)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
    assert shape(engine) == shape(plain)
    current, newest = versions(engine)
    assert current == newest is not None
    upgrade(engine)  # once more changes nothing
    assert shape(engine) == shape(plain)
    engine.dispose()
    plain.dispose()


def test_downgrade_drops_everything_and_upgrade_comes_back(tmp_path: Path) -> None:
    engine = database(tmp_path / "ledger")
    upgrade(engine)
    before = shape(engine)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert versions(engine)[0] is None
    upgrade(engine)
    assert shape(engine) == before
    engine.dispose()


def test_the_newer_table_comes_and_goes_by_itself(tmp_path: Path) -> None:
    """From the first schema up and back down, with rows in the other tables, which stay."""
    engine = database(tmp_path / "ledger")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        connection.execute(text("INSERT INTO journal VALUES (1, 2, 'Deposited', '{}', x'00')"))
    old = shape(engine)
    assert not set(tables.LATER) & set(old)
    upgrade(engine)
    new = shape(engine)
    assert set(new) == set(old) | set(tables.LATER)
    for name, before in old.items():
        added = [column[0] for column in new[name]["columns"][len(before["columns"]) :]]
        assert added == list(tables.COLUMNS_LATER.get(name, ())), name
    assert versions(engine)[0] == versions(engine)[1]
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0001")
        assert connection.execute(text("SELECT count(*) FROM journal")).scalar_one() == 1
    assert shape(engine) == old
    engine.dispose()


def first_schema(directory: Path, entries: Sequence[LedgerEntry]) -> Path:
    """Return a finished run whose ledger was taken back to the first schema; its journal is as it was."""
    finished(directory, entries).close()
    engine = database(directory / "ledger.sqlite")
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0001")
    engine.dispose()
    return directory


def test_a_ledger_of_the_first_schema_still_opens(tmp_path: Path) -> None:
    """What it does not have is empty, and its books are checked like any other's."""
    old = [entry for entry in life(is_old=True) if not isinstance(entry, TradingStateChanged)]
    directory = first_schema(tmp_path, old)
    reader = RunReader(directory)
    for table in tables.metadata.sorted_tables:
        frame = reader.frame(table.name)
        assert list(frame.columns) == [column.name for column in table.columns]
        assert bool(len(frame)) is (table.name not in tables.LATER)
        for name in tables.COLUMNS_LATER.get(table.name, ()):
            assert frame[name].isna().all()
    fills = reader.fills()
    assert len(fills) == 4
    assert fills["decision_id"].notna().all()
    reader.close()
    late = [*tables.LATER, "columns are missing"]
    assert not [problem for problem in audit_run(directory).problems if any(name in problem for name in late)]


def test_a_table_that_was_dropped_is_noticed(tmp_path: Path) -> None:
    """The journal tells of rows that the table should hold, or the column."""
    booked = {PositionCutBooked, ExternalFillBooked, TransferBooked, FeeBooked}
    later = {type(entry) for entry in requests("x")} | booked
    entries = [entry for entry in LIFE if type(entry) not in later]
    problems = audit_run(first_schema(tmp_path, entries)).problems
    assert "trading_states: the table is missing, the journal makes 2 rows" in problems
    assert "stops: the table is missing, the journal makes 2 rows" in problems
    assert "intents: columns are missing, the journal makes rows with them" in problems


def test_a_schema_without_room_for_the_venues_own_executions_is_refused(tmp_path: Path) -> None:
    """Going back would make fills of ours of them; and cash of other coins."""
    with pytest.raises(RuntimeError, match="1 are of other coins"):
        first_schema(tmp_path / "coins", LIFE)
    cash = [entry for entry in LIFE if not (isinstance(entry, TransferBooked) and entry.transfer.currency)]
    with pytest.raises(RuntimeError, match="2 executions are the venue's own"):
        first_schema(tmp_path / "cash", cash)


def test_no_column_of_money_is_a_float() -> None:
    """TEXT in SQLite, NUMERIC without a limit in Postgres; the only float anywhere is how long the run took."""
    for table in tables.metadata.sorted_tables:
        floats = {c.name for c in table.columns if any(w in str(c.type).upper() for w in ("FLOAT", "REAL", "DOUBLE"))}
        assert floats <= {"wall_seconds"}, table.name
    ddl = str(CreateTable(tables.fills).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "price NUMERIC NOT NULL" in ddl


# --- exact numbers ----------------------------------------------------------------------------------------------------

EXACT = [
    "0.1",
    "0.10",
    "1E-12",
    "1234567890123456789012345678",
    "0.1234567890123456789012345678",
    "12345678901234.56789012345678",
    "-0.000000000000000000000000001",
    "9.999999999999999999999999999E+20",
    "1E+3",
    "0",
]


@pytest.mark.parametrize("number", EXACT)
def test_numbers_come_back_as_they_went_in(number: str, tmp_path: Path) -> None:
    """Through the store and out of its tables: text in the file, the same Decimal outside, to the last digit."""
    value = dec(number)
    fill = replace(filled(qty="1"), price=value, qty=value, fee=value)
    entries: list[LedgerEntry] = [
        Deposited(
            ts_ns=1,
            postings=(
                Posting(account="cash", currency="USDT", amount=value),
                Posting(account="equity", currency="USDT", amount=-value),
            ),
        ),
        FillBooked(ts_ns=1, status="filled", fill=fill, position_qty=value, realized_pnl=-value, postings=()),
        EquityMarked(ts_ns=1, cash=value, unrealized_pnl=value, equity=value, marks=()),
    ]
    reader = finished(tmp_path, entries, start_cash=value)
    assert reader.run()["start_cash"] == value
    (row,) = reader.frame("fills").to_dict("records")
    for name in ("price", "qty", "fee", "position_qty"):
        assert row[name] == value
        assert isinstance(row[name], Decimal)
    assert row["realized_pnl"] == -value
    assert list(reader.frame("equity")["equity"]) == [value]
    assert dict(reader.frame("balances")[["account", "amount"]].itertuples(index=False)) == {
        "cash": value,
        "equity": -value,
    }
    body = msgspec.json.decode(reader.frame("journal")["body"][1], type=FillBooked)
    assert body == entries[1]
    reader.close()
    engine = database(tmp_path / "ledger.sqlite")
    with engine.connect() as connection:
        types = connection.execute(text("SELECT DISTINCT typeof(price), typeof(qty), typeof(fee) FROM fills")).all()
        stored = connection.execute(text("SELECT price FROM fills")).scalar_one()
    engine.dispose()
    assert types == [("text", "text", "text")]
    assert "E" not in stored


MEMORY = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
NUMBERS = Table("numbers", MetaData(), Column("id", Integer, primary_key=True), Column("value", tables.ExactDecimal))


@given(
    value=st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**15), max_value=10**15),
        st.builds(
            lambda digits, exponent: Decimal(digits).scaleb(exponent),
            st.integers(-(10**28) + 1, 10**28 - 1),
            st.integers(-40, 20),
        ),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_number_comes_back_as_it_went_in(value: Decimal) -> None:
    """28 digits at any scale: the column gives back an equal Decimal, and None for none."""
    with MEMORY.connect() as connection:
        NUMBERS.create(connection)
        connection.execute(insert(NUMBERS), [{"id": 1, "value": value}, {"id": 2, "value": None}])
        rows = connection.execute(select(NUMBERS.c.value).order_by(NUMBERS.c.id)).scalars().all()
        connection.rollback()
        NUMBERS.drop(connection, checkfirst=True)
    assert rows == [value, None]


# --- what the tables say ----------------------------------------------------------------------------------------------


def test_every_order_is_told_as_it_ended(whole: RunReader) -> None:
    """Filled, canceled with a late fill, refused, resting, never answered: status and quantity add up."""
    orders = whole.frame("orders").set_index("client_order_id")
    told: dict[str, tuple[str, Decimal]] = {}
    for entry in LIFE:
        match entry:
            case OrderIntended():
                told[entry.order.client_order_id] = Status.SUBMITTED, Decimal(0)
            case OrderReported():
                name = entry.event.client_order_id
                told[name] = entry.status, told[name][1]
            case FillBooked():
                name = entry.fill.client_order_id
                told[name] = entry.status, told[name][1] + entry.fill.qty
            case _:
                pass
    assert {name: (row["status"], row["filled_qty"]) for name, row in orders.iterrows()} == told
    assert sorted(status for status, _ in told.values()) == [
        "canceled",
        "filled",
        "filled",
        "open",
        "open",
        "rejected",
        "submitted",
    ]
    (changed,) = [
        entry.event for entry in LIFE if isinstance(entry, OrderReported) and isinstance(entry.event, OrderAmended)
    ]
    row = orders.loc[changed.client_order_id]
    assert (row["qty"], row["limit_price"], row["filled_qty"]) == (dec("1.2"), dec(104), dec("0.2"))


def test_what_was_asked_of_the_venue_is_told_in_full(whole: RunReader) -> None:
    """An order's trigger and exits, what an amendment and a change of stops would have; None for what stays."""
    intents = whole.frame("intents")
    columns = ["kind", "qty", "limit_price", *tables.COLUMNS_LATER["intents"]]
    rows = [tuple(None if pd.isna(v) else v for v in row) for row in intents[columns].itertuples(index=False)]
    assert ("submit", dec(1), dec(99), dec(105), None, dec(90), None) in rows
    assert ("amend", dec("1.2"), dec(104), dec(106), None, None, None) in rows
    assert ("amend", dec("0.9"), None, None, None, None, None) in rows
    assert rows.count(("stops", None, None, None, dec(120), dec(91), dec(5))) == 2
    stops = whole.frame("stops")
    assert list(stops["kind"]) == ["StopsChanged", "StopsRejected"]
    assert list(stops.iloc[0][["take_profit", "stop_loss", "trailing_distance"]]) == [dec(120), dec(91), dec(5)]
    assert stops["detail"].iloc[1].endswith("10001: no")
    (made,) = whole.frame("adjustments").to_dict("records")
    assert (made["adjustment_id"], made["amount"], made["reason"]) == ("fund-1", dec("0.007"), "owed")
    balances = whole.frame("balances").set_index("account")["amount"]
    assert balances["insurance"] == dec("-0.007")


def test_the_books_on_disk_balance(whole: RunReader) -> None:
    """Each booking sums to zero, balances are the sums of the postings, and cash is what the account says it is."""
    postings = whole.frame("postings")
    for _, legs in postings.groupby(["seq", "currency"]):
        assert sum(legs["amount"], Decimal(0)) == 0
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for account, currency, amount in postings[["account", "currency", "amount"]].itertuples(index=False):
        sums[account, currency] += amount
    balances = whole.frame("balances")
    stored = {(row["account"], row["currency"]): row["amount"] for row in balances.to_dict("records")}
    assert stored == sums
    (marked,) = [entry for entry in LIFE if isinstance(entry, EquityMarked)]
    assert stored["cash", "USDT"] == marked.cash
    assert list(whole.frame("equity")["equity"]) == [marked.equity]


def test_all_that_happened_is_in_the_tables(whole: RunReader) -> None:
    """One row each, under the journal's number, and a fill joined to the decision it came from."""
    kinds = [type(entry).__name__ for entry in LIFE]
    for name, kind in {
        "decisions": ["DecisionMade"],
        "denials": ["RiskDenied"],
        "forecasts": ["ForecastUsed"],
        "intents": ["OrderIntended", "AmendIntended", "StopsIntended", "CancelIntended"],
        "order_events": ["OrderReported"],
        "stops": ["StopsReported"],
        "adjustments": ["AdjustmentBooked"],
        "fills": ["FillBooked", "PositionCutBooked", "ExternalFillBooked"],
        "transfers": ["TransferBooked"],
        "request_events": [type(entry).__name__ for entry in requests("x")[:7]],
        "alerts": ["AlertRaised"],
        "fees": ["FeeBooked"],
        "reconciliations": ["Reconciled"],
        "balancings": ["LedgerBalanced"],
        "order_shares": ["OrderShared"],
        "book_moves": ["BookMoved"],
        "funding": ["FundingBooked"],
        "equity": ["EquityMarked"],
        "trading_states": ["TradingStateChanged"],
    }.items():
        assert list(whole.frame(name)["seq"]) == [seq for seq, k in enumerate(kinds, start=1) if k in kind], name
    journal = whole.frame("journal")
    assert list(journal["seq"]) == list(range(1, len(LIFE) + 1))
    assert list(journal["kind"]) == kinds
    assert list(journal["ts_ns"]) == [entry.ts_ns for entry in LIFE]
    decoded = [msgspec.json.decode(body, type=LedgerEntry) for body in journal["body"]]
    assert decoded == LIFE
    fills = whole.fills()
    intents = {e.order.client_order_id: e for e in LIFE if isinstance(e, OrderIntended)}
    assert len(fills) == len(whole.frame("fills")) == 7
    own, others = [row for row in fills.to_dict("records") if isinstance(row["cause"], str)]
    assert (others["cause"], others["client_order_id"], others["trade_id"]) == ("foreign", "", "f1")
    assert (own["cause"], own["client_order_id"], own["trade_id"]) == ("stop_loss", "", "own-1")
    for row in fills.to_dict("records"):
        if row is own or isinstance(row["cause"], str):
            continue
        assert row["decision_id"] == intents[row["client_order_id"]].decision_id
        assert row["mark_price"] == intents[row["client_order_id"]].mark_price


def test_the_run_describes_itself(whole: RunReader) -> None:
    run = whole.run()
    assert run["status"] == "finished"
    assert run["start_cash"] == dec("100000.10")
    assert (run["data_hash"], run["rows_in"], run["seed"]) == ("d", 3, 7)
    assert run["ledger_hash"] == whole.frame("journal")["hash"].iloc[-1].hex()


def contents(directory: Path) -> dict[str, list[Any]]:
    """Return every row of every table but the run's own, as stored."""
    engine = database(directory / "ledger.sqlite")
    with engine.connect() as connection:
        rows = {
            table.name: sorted(connection.exec_driver_sql(f"SELECT * FROM {table.name}").all(), key=str)
            for table in tables.metadata.sorted_tables
            if table.name != "runs"
        }
    engine.dispose()
    return rows


@pytest.mark.parametrize("size", [1, 3, 7])
def test_however_the_entries_are_batched_the_ledger_is_the_same(size: int, whole: RunReader, tmp_path: Path) -> None:
    """Law 2: batches of any size leave the same rows in every table, and the same hash."""
    reader = finished(tmp_path, size=size)
    assert reader.run()["ledger_hash"] == whole.run()["ledger_hash"]
    assert contents(tmp_path) == contents(whole.directory)
    reader.close()


def test_the_ledger_hash_does_not_depend_on_the_run(whole: RunReader, tmp_path: Path) -> None:
    """Run id, seed and wall time are not what happened."""
    reader = finished(tmp_path, run_id="another", seed=8)
    assert reader.run()["ledger_hash"] == whole.run()["ledger_hash"]
    reader.close()


# --- the chain --------------------------------------------------------------------------------------------------------


def first_break(rows: Sequence[tuple[int, str, bytes]], ledger_hash: str) -> int | None:
    """Return the number of the first entry that the chain does not bear out, None if it bears out all of them."""
    digest = GENESIS
    for expected, (seq, body, stored) in enumerate(rows, start=1):
        digest = chain(digest, body.encode())
        if seq != expected or digest != stored:
            return expected
    return None if digest.hex() == ledger_hash else len(rows) + 1


@pytest.fixture(scope="module")
def journal(whole: RunReader) -> tuple[list[tuple[int, str, bytes]], str]:
    """Return the journal's rows and the run's hash of them."""
    frame = whole.frame("journal")
    rows = [(int(seq), str(body), bytes(stored)) for seq, body, stored in frame[["seq", "body", "hash"]].to_numpy()]
    return rows, str(whole.run()["ledger_hash"])


def test_the_chain_recomputes(journal: tuple[list[tuple[int, str, bytes]], str]) -> None:
    rows, ledger_hash = journal
    assert first_break(rows, ledger_hash) is None
    assert len({stored for _, _, stored in rows}) == len(rows)
    assert all(len(stored) == 32 for _, _, stored in rows)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_changed_byte_of_the_journal_is_noticed(
    journal: tuple[list[tuple[int, str, bytes]], str], data: st.DataObject
) -> None:
    """A body's character, a hash's bit, an entry left out, doubled, moved or cut off the end: the chain breaks, at or
    before the place."""
    rows, ledger_hash = list(journal[0]), journal[1]
    at = data.draw(st.integers(0, len(rows) - 1), label="entry")
    seq, body, stored = rows[at]
    match data.draw(st.sampled_from(["body", "hash", "drop", "double", "swap", "cut"]), label="what"):
        case "body":
            place = data.draw(st.integers(0, len(body) - 1), label="character")
            other = data.draw(st.characters(codec="ascii").filter(lambda c: c != body[place]), label="other")
            rows[at] = seq, body[:place] + other + body[place + 1 :], stored
        case "hash":
            bit = data.draw(st.integers(0, 255), label="bit")
            flipped = bytearray(stored)
            flipped[bit // 8] ^= 1 << bit % 8
            rows[at] = seq, body, bytes(flipped)
        case "drop":
            del rows[at]
        case "double":
            rows.insert(at, rows[at])
        case "swap":
            other_at = (at + 1) % len(rows)
            rows[at], rows[other_at] = rows[other_at], rows[at]
        case _:
            del rows[at:]
    broken = first_break(rows, ledger_hash)
    assert broken is not None
    assert broken <= max(at + 2, len(rows) + 1)


def test_an_entry_rewritten_with_its_hash_breaks_the_next() -> None:
    """Whoever changes an entry and its hash must change all that follow, and the run's own hash."""
    bodies = [b"a", b"b", b"c"]
    hashes = [GENESIS]
    for body in bodies:
        hashes.append(chain(hashes[-1], body))
    forged = chain(hashes[1], b"B")
    assert forged != hashes[2]
    assert chain(forged, b"c") != hashes[3]
    assert chain(GENESIS, b"ab") != chain(chain(GENESIS, b"a"), b"b")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Return a run in which an audit finds nothing wrong, and its ledger's bytes."""
    directory = tmp_path_factory.mktemp("audited")
    store = write(directory, LIFE[:-1])
    store.write([replace(CLOSED, tape_hash=store.tape_hash())])
    store.finish(data_hash="d", rows_in=3, late_trades=0, wall_seconds=0.1)
    assert audit_run(directory).problems == []
    return directory, (directory / "ledger.sqlite").read_bytes()


def is_noticed(audited: tuple[Path, bytes], statement: str, *values: Any) -> bool:
    """Return whether an audit finds something after one change behind the ledger's back."""
    directory, content = audited
    path = directory / "ledger.sqlite"
    try:
        engine = database(path)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement, values)
        engine.dispose()
        return bool(audit_run(directory).problems)
    except DataError:
        return True
    finally:
        path.write_bytes(content)


def other_than(value: Any) -> Any:
    """Return a value of the same kind that is another."""
    match value:
        case None:
            return "7"
        case bytes():
            return bytes(32)
        case str():
            return value + "1"
        case _:
            return value + 1000


DRAWN = ["journal", *(table.name for table in tables.metadata.sorted_tables if table.name not in tables.UNDRAWN)]


@pytest.mark.parametrize("name", DRAWN)
def test_an_audit_notices_any_changed_cell(name: str, audited: tuple[Path, bytes]) -> None:
    """Whatever column of whatever table is changed behind the ledger's back, or a row of it removed."""
    row = contents(audited[0])[name][0]
    columns = [column.name for column in tables.metadata.tables[name].columns]
    where = f'"{columns[0]}" = ?' + (f' AND "{columns[1]}" = ?' if name in ("postings", "balances") else "")
    key = tuple(row[: where.count("?")])
    for column, value in zip(columns, row, strict=True):
        update = f'UPDATE {name} SET "{column}" = ? WHERE {where}'
        assert is_noticed(audited, update, other_than(value), *key), column
    assert is_noticed(audited, f"DELETE FROM {name} WHERE {where}", *key)


FORGED: dict[str, tuple[Any, str]] = {
    "an amendment of nothing": (
        lambda: [e for e in LIFE if not (isinstance(e, OrderIntended) and e.order.trigger is not None)],
        "which was never intended",
    ),
    "an order that became more than was asked": (
        lambda: [
            replace(e, event=replace(e.event, qty=dec("1.201")))
            if isinstance(e, OrderReported) and isinstance(e.event, OrderAmended)
            else e
            for e in LIFE
        ],
        "became 1.201, more than was asked for",
    ),
    "a refusal of stops that were not sent": (
        lambda: [e for e in LIFE if type(e).__name__ != "StopsIntended"],
        "refuses r000000-sma",
    ),
    "a fill of the other side": (
        lambda: [replace(e, fill=replace(e.fill, side=Side.SELL)) if isinstance(e, FillBooked) else e for e in LIFE],
        "which was never intended like that",
    ),
    "more filled than was ordered": (
        lambda: [replace(e, fill=replace(e.fill, qty=dec("1.501"))) if isinstance(e, FillBooked) else e for e in LIFE],
        "more than was asked for",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_an_audit_holds_what_became_against_what_was_asked(name: str, tmp_path: Path) -> None:
    """Of a journal that is whole in itself, chain and all, and still can not be true."""
    make, words = FORGED[name]
    finished(tmp_path, make()).close()
    assert any(words in problem for problem in audit_run(tmp_path).problems)


@pytest.mark.parametrize("column", ["ledger_hash", "tape_hash", "data_hash", "model_id", "start_cash", "status"])
def test_an_audit_notices_a_run_that_says_otherwise_than_its_journal(column: str, audited: tuple[Path, bytes]) -> None:
    """What the journal's entries hold of the run, its own row cannot be made to contradict."""
    assert is_noticed(audited, f"UPDATE runs SET {column} = {column} || '1'")


# --- parts ------------------------------------------------------------------------------------------------------------


def names(directory: Path) -> set[str]:
    """Return the names of all files."""
    return {path.name for path in directory.iterdir()}


def test_nothing_has_its_final_name_before_the_end(tmp_path: Path) -> None:
    """Until `finish` returns there are only parts; after it there are none."""
    store = write(tmp_path, LIFE[:5])
    store.write_tape(tape_rows(10))
    assert all(name.endswith(".part") for name in names(tmp_path))
    with pytest.raises(DataError):
        RunReader(tmp_path)
    store.write(LIFE[5:])
    store.commit()
    assert all(name.endswith(".part") for name in names(tmp_path))
    store.finish()
    assert names(tmp_path) == {"ledger.sqlite", "tape.parquet"}
    reader = RunReader(tmp_path)
    assert reader.run()["status"] == "finished"
    assert list(reader.tape()["close_ns"]) == list(range(10))
    reader.close()


def test_a_run_without_bars_has_no_tape(whole: RunReader) -> None:
    """No tape and no forecasts is an empty table, not an error."""
    assert names(whole.directory) == {"ledger.sqlite"}
    assert len(whole.tape()) == 0
    assert whole.forecasts() == {}


def test_the_tape_comes_back_and_its_hash_ignores_the_cuts(tmp_path: Path) -> None:
    hashes = set()
    for size in (1, 3, 10):
        directory = tmp_path / str(size)
        store = write(directory, [])
        for start in range(0, 10, size):
            store.write_tape(tape_rows(min(size, 10 - start), start))
        hashes.add(store.tape_hash())
        store.finish()
        reader = RunReader(directory)
        assert list(reader.tape()["profit"]) == [n / 7.0 for n in range(10)]
        assert reader.run()["tape_hash"] in hashes
        reader.close()
    assert len(hashes) == 1
    store = write(tmp_path / "other", [])
    store.write_tape(tape_rows(10, 1))
    assert store.tape_hash() not in hashes
    store.interrupt()


def test_an_interrupted_run_keeps_its_parts_and_is_no_run(tmp_path: Path) -> None:
    """What was committed is still there, marked as cut short; a reader refuses it in one line that says what to do."""
    store = write(tmp_path, LIFE[:7])
    store.write_tape(tape_rows(10))
    store.interrupt()
    assert names(tmp_path) == {"ledger.sqlite.part", "tape.parquet.part"}
    engine = database(tmp_path / "ledger.sqlite.part")
    with engine.connect() as connection:
        assert connection.execute(select(tables.runs.c.status)).scalar_one() == "interrupted"
        assert len(connection.execute(select(tables.journal.c.seq)).all()) == 7
    engine.dispose()
    with pytest.raises(DataError) as refused:
        RunReader(tmp_path)
    message = str(refused.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    assert "cut short" in message


def test_where_there_is_no_run_the_reader_says_so(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError) as refused:
            RunReader(directory)
        assert str(directory) in str(refused.value)
        assert "\n" not in str(refused.value)


def read_all(directory: Path) -> None:
    """Read every table of a run."""
    reader = RunReader(directory)
    for table in tables.metadata.sorted_tables:
        reader.frame(table.name)


@pytest.mark.parametrize("damage", ["empty", "junk", "truncated", "header"])
def test_a_damaged_ledger_is_a_data_error(damage: str, tmp_path: Path) -> None:
    """Whatever is wrong with the file, the reader says so in one line and never gives rows that are not there."""
    finished(tmp_path).close()
    path = tmp_path / "ledger.sqlite"
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "junk": b"this is no database, " * 1000,
            "truncated": content[: len(content) // 3],
            "header": b"X" * 100 + content[100:],
        }[damage]
    )
    with pytest.raises(DataError) as refused:
        read_all(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_damaged_tape_is_a_data_error(tmp_path: Path) -> None:
    store = write(tmp_path, LIFE)
    store.write_tape(tape_rows(1000))
    store.finish()
    path = tmp_path / "tape.parquet"
    content = path.read_bytes()
    for junk in (b"", b"PAR1junkPAR1", content[: len(content) // 2]):
        path.write_bytes(junk)
        with pytest.raises(DataError):
            RunReader(tmp_path).tape()


def test_a_finished_run_is_read_only(whole: RunReader) -> None:
    """Reading leaves the file alone, byte for byte, and beside it nothing new."""
    path = whole.directory / "ledger.sqlite"
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    for table in tables.metadata.sorted_tables:
        whole.frame(table.name)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == stamp
    assert names(whole.directory) == {"ledger.sqlite"}


@pytest.mark.parametrize("name", ["plain", "with space", "50%", "a%20b", "run#1", "what?", "ünï", "a&b=c;d"])
def test_a_run_lives_in_a_directory_of_any_name(name: str, tmp_path: Path) -> None:
    """The path is a path, not a URL: nothing is written beside the run's own directory, and it is read back."""
    directory = tmp_path / "runs" / name
    reader = finished(directory)
    assert names(tmp_path / "runs") == {name}
    assert names(directory) == {"ledger.sqlite"}
    assert reader.run()["status"] == "finished"
    assert len(reader.frame("journal")) == len(LIFE)
    reader.close()


# --- a process of its own ---------------------------------------------------------------------------------------------


class Loopback:
    """A `ports.Worker` without a process: what was sent is served when somebody waits for it."""

    def __init__(self) -> None:
        self._requests, self._answers = io.BytesIO(), io.BytesIO()
        self._is_served = False

    def send(self, frame: bytes) -> None:
        """See `ports.Worker`."""
        self._requests.write(len(frame).to_bytes(4, "little") + frame)

    def receive(self) -> bytes | None:
        """See `ports.Worker`."""
        self._serve()
        header = self._answers.read(4)
        return self._answers.read(int.from_bytes(header, "little")) if header else None

    def close(self) -> None:
        """See `ports.Worker`."""
        self._serve()

    def _serve(self) -> None:
        if not self._is_served:
            self._is_served = True
            self._requests.seek(0)
            serve(self._requests, self._answers)
            self._answers.seek(0)


class Gone:
    """A `ports.Worker` that has died; it may have left an answer behind."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._is_born = False

    def send(self, frame: bytes) -> None:
        """See `ports.Worker`."""
        if self._is_born:
            raise BrokenPipeError
        self._is_born = True

    def receive(self) -> bytes | None:
        """See `ports.Worker`."""
        return self._answer

    def close(self) -> None:
        """See `ports.Worker`."""


@pytest.mark.parametrize("size", [1, 100])
def test_a_process_of_its_own_writes_the_same_ledger(size: int, whole: RunReader, tmp_path: Path) -> None:
    """Whoever writes it, from the entries or from their JSON: the same rows, the same run, the same hash."""
    reader = finished(tmp_path, size=size, worker=Loopback())
    assert contents(tmp_path) == contents(whole.directory)
    assert reader.run() == whole.run()
    reader.close()


def test_a_real_process_writes_the_same_ledger(whole: RunReader, tmp_path: Path) -> None:
    """Over pipes, too; and an interrupted one keeps what it was sent, under names that nobody takes for a run."""
    reader = finished(tmp_path / "run", worker=ProcessWorker("bot.store.ledger_process"))
    assert contents(tmp_path / "run") == contents(whole.directory)
    assert reader.run() == whole.run()
    reader.close()
    store = write(tmp_path / "cut", LIFE[:7], worker=ProcessWorker("bot.store.ledger_process"))
    store.interrupt()
    assert names(tmp_path / "cut") == {"ledger.sqlite.part"}
    engine = database(tmp_path / "cut" / "ledger.sqlite.part")
    with engine.connect() as connection:
        assert connection.execute(select(tables.runs.c.status)).scalar_one() == "interrupted"
        assert len(connection.execute(select(tables.journal.c.seq)).all()) == 7
    engine.dispose()


@pytest.mark.parametrize("answer", [None, b"-no space left"])
def test_a_process_that_died_is_a_storage_error(answer: bytes | None, tmp_path: Path) -> None:
    """With its own words if it had time for some, in one line; and abandoning the run does not fail a second time."""
    store = ReplayStore(tmp_path, RUN, lambda: Gone(answer), worker_after=0)
    with pytest.raises(StorageError) as refused:
        store.write(LIFE)
    assert "\n" not in str(refused.value)
    assert ("no space left" if answer else str(tmp_path)) in str(refused.value)
    with pytest.raises(StorageError):
        store.finish()
    store.interrupt()
    assert not any(name.startswith("ledger") for name in names(tmp_path))


# --- a full disk ------------------------------------------------------------------------------------------------------

FULL_DISK = textwrap.dedent(
    """
    import json, resource, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from bot.domain.errors import StorageError
    from tests.unit.test_ledger_store import LIFE, RUN, ProcessWorker, ReplayStore, replace, tape_rows

    def limit(size):  # Python ignores SIGXFSZ: the write fails with EFBIG, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def many(n):
        return [replace(LIFE[0], ts_ns=k) for k in range(n)]

    def scenario(name, directory):
        if name == "create":
            limit(8192)
            ReplayStore(directory, RUN)
            return
        if name.startswith("process"):  # the limit is inherited: too little to open the ledger, or for all of it
            limit(8192 if name == "process create" else 2 << 20)
            store = ReplayStore(directory, RUN, lambda: ProcessWorker("bot.store.ledger_process"), worker_after=0)
            store.write(many(20000))
            store.finish()
            return
        store = ReplayStore(directory, RUN)
        store.write(LIFE)
        store.commit()
        size = max(path.stat().st_size for path in directory.iterdir())
        if name == "commit":
            limit(size + 65536)
            store.write(many(5000))
            store.commit()
        elif name == "finish":
            store.write(many(5000))
            limit(size + 65536)
            store.finish()
        elif name == "tape":
            limit(size + 65536)
            store.write_tape(tape_rows(100000))
            store.finish()
        elif name == "tape group":
            limit(size + 65536)
            for k in range(4):
                store.write_tape(tape_rows(100000, k * 100000))

    for name in sys.argv[2:]:
        directory = Path(sys.argv[1]) / name
        directory.mkdir()
        try:
            scenario(name, directory)
            result = "nothing was noticed"
        except StorageError as error:
            result = "StorageError: " + str(error)
        except BaseException as error:
            result = type(error).__name__ + ": " + str(error)
        limit(resource.RLIM_INFINITY)
        print(json.dumps([name, result, sorted(path.name for path in directory.iterdir())]))
    """
)
SCENARIOS = ["create", "commit", "finish", "tape", "tape group", "process create", "process finish"]


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[str]]]:
    """Return what each scenario ended in, and what files it left; in a process of its own, whose files are limited."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(root=str(ROOT)), str(tmp_path_factory.mktemp("full")), *SCENARIOS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (result, files) for name, result, files in rows}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_full_disk_is_a_storage_error(name: str, full_disk: dict[str, tuple[str, list[str]]]) -> None:
    """Whenever the disk refuses, the run ends with one line that names the directory, and leaves parts only."""
    result, files = full_disk[name]
    assert result.startswith("StorageError: "), result
    assert "\n" not in result
    assert f"/{name}" in result
    assert all(file.endswith(".part") for file in files)


@pytest.mark.parametrize("entry", [submit(), None, 7])
def test_what_is_no_entry_is_not_written(entry: Any, tmp_path: Path) -> None:
    """A slip of ours never becomes a row: it fails before anything of it is stored."""
    store = write(tmp_path, LIFE[:2])
    with pytest.raises((AttributeError, KeyError, TypeError)):
        store.write([entry])
    store.interrupt()
    engine = database(tmp_path / "ledger.sqlite.part")
    with engine.connect() as connection:
        assert len(connection.execute(select(tables.journal.c.seq)).all()) == 2
    engine.dispose()


def test_a_store_whose_directory_is_gone_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        ReplayStore(tmp_path / "gone", RUN)


@pytest.mark.parametrize("after", [1, 3, 1_000])
def test_a_worker_that_starts_late_or_never_writes_the_same_ledger(tmp_path: Path, after: int) -> None:
    """Entries that waited for it come first, and where it never starts they are written here."""
    hashes = set()
    for name, make_worker in (("here", None), ("there", lambda: ProcessWorker("bot.store.ledger_process"))):
        directory = tmp_path / name
        directory.mkdir()
        store = ReplayStore(directory, RUN, make_worker, worker_after=after)
        for entry in LIFE:
            store.write([entry])
        hashes.add(store.finish(rows_in=1))
        assert (directory / "ledger.sqlite").exists()
    assert len(hashes) == 1
