"""The ledger's tables: what the migrations make, and that numbers come back exactly as they went in."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, insert, inspect, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable

from bot.domain.account import Posting
from bot.domain.ledger import (
    Deposited,
    EquityMarked,
    ExternalFillBooked,
    FeeBooked,
    FillBooked,
    LedgerEntry,
    PositionCutBooked,
    TradingStateChanged,
    TransferBooked,
)
from bot.store import tables
from bot.store.audit import audit_run
from bot.store.migrate import upgrade, versions
from bot.store.run_reader import RunReader
from tests.support.examples import examples
from tests.support.money import dec, filled
from tests.support.written_ledgers import LIFE, alembic_config, engine_of, finished_run, life, requests

# --- schema -----------------------------------------------------------------------------------------------------------


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
    engine, plain = engine_of(tmp_path / "migrated"), engine_of(tmp_path / "plain")
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
    engine = engine_of(tmp_path / "ledger")
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
    engine = engine_of(tmp_path / "ledger")
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
    finished_run(directory, entries).close()
    engine = engine_of(directory / "ledger.sqlite")
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
    reader = finished_run(tmp_path, entries, start_cash=value)
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
    engine = engine_of(tmp_path / "ledger.sqlite")
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
@settings(max_examples=examples(200), deadline=None)
def test_any_number_comes_back_as_it_went_in(value: Decimal) -> None:
    """28 digits at any scale: the column gives back an equal Decimal, and None for none."""
    with MEMORY.connect() as connection:
        NUMBERS.create(connection)
        connection.execute(insert(NUMBERS), [{"id": 1, "value": value}, {"id": 2, "value": None}])
        rows = connection.execute(select(NUMBERS.c.value).order_by(NUMBERS.c.id)).scalars().all()
        connection.rollback()
        NUMBERS.drop(connection, checkfirst=True)
    assert rows == [value, None]
