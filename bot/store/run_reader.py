"""Reads a finished run: the ledger's tables and the tape, as frames."""

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import Column, ColumnElement, Engine, Table, create_engine, inspect, select
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bot.domain.errors import DataError
from bot.store import tables
from bot.store.tape_parts import read_rows


def open_ledger(directory: Path) -> Engine:
    """Return a read-only engine on a finished run's ledger.

    Raises:
        DataError: there is no run, or it was cut short.
    """
    path = directory / "ledger.sqlite"
    if not path.is_file():
        if (directory / "ledger.sqlite.part").exists():
            raise DataError(f"{directory}: the run was cut short and is not whole; replay it again")
        raise DataError(f"{directory}: no run here (there is no ledger.sqlite)")
    address = path.resolve().as_uri() + "?mode=ro"  # a path may hold what means something in an address
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool)


class RunReader:
    """One finished run; or any ledger, whose files lie in no directory of a run.

    Args:
        directory: the run's; of another ledger, what to call it.
        engine: on the other ledger; the reader disposes of it.

    Raises:
        DataError: it is no finished run, or its files are damaged.
    """

    def __init__(self, directory: Path, engine: Engine | None = None) -> None:
        self.directory = directory
        self._engine = open_ledger(directory) if engine is None else engine

    def run(self) -> dict[str, Any]:
        """Return the run's row of `runs`."""
        rows = self._rows(select(tables.runs))
        if len(rows) != 1:
            raise DataError(f"{self.directory}: the ledger describes {len(rows)} runs instead of one")
        return rows[0]

    def frame(self, name: str) -> pd.DataFrame:
        """Return a table's rows in order; a Decimal stays one, in an object column.

        A table that came later than the run's schema is empty, and so is a column.
        """
        table = tables.metadata.tables[name]
        if name in tables.LATER and name not in self._names():
            return pd.DataFrame(columns=[c.name for c in table.columns])
        key = table.c.seq if "seq" in table.c else next(iter(table.primary_key.columns))
        present = select(*self._columns(table)).where(*self._within(table)).order_by(key)
        return pd.DataFrame(self._rows(present), columns=[c.name for c in table.columns])

    def fills(self) -> pd.DataFrame:
        """Return the executions, each with the decision it came from and the mark it was decided at.

        One of the venue's own (it has a `cause`) came from no decision.
        """
        fills, intents = tables.fills, tables.intents
        joined = fills.outerjoin(
            intents, (intents.c.client_order_id == fills.c.client_order_id) & (intents.c.kind == "submit")
        )
        columns = (*self._columns(fills), intents.c.decision_id, intents.c.mark_price)
        query = select(*columns).select_from(joined).where(*self._within(fills)).order_by(fills.c.seq)
        return pd.DataFrame(self._rows(query), columns=[*(c.name for c in fills.columns), "decision_id", "mark_price"])

    def tape(self) -> pd.DataFrame:
        """Return the bars with position and profit; empty where the run closed none."""
        table = read_rows(self.directory, "tape")
        if table is None:
            return pd.DataFrame(columns=["instrument", *_TAPE])
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def forecasts(self) -> dict[str, dict[str, Any]]:
        """Return by instrument what `report.run_data.ForecastTable` is made of; empty without a model."""
        table = read_rows(self.directory, "forecasts")
        if table is None:
            return {}
        about = msgspec.json.decode((table.schema.metadata or {})[b"forecasts"])
        horizons, levels = tuple(about["horizons_ns"]), tuple(about["levels"])
        if not horizons:
            return {}  # the model said nothing of returns, so there is nothing to judge by what became of them
        names = table["instrument"].to_numpy(zero_copy_only=False)
        found = {}
        for name in sorted(set(names)):
            part = table.filter(pa.array(names == name))
            rows = part.num_rows
            found[str(name)] = {
                "instrument": str(name),
                "model_id": about["model_id"],
                "scale_ns": about["scale_ns"],
                "horizons_ns": horizons,
                "levels": levels,
                "scales_ns": tuple(about["scales_ns"]),
                "close_ns": part["close_ns"].to_numpy(),
                "quantiles": _flat(part["quantiles"]).reshape(rows, len(horizons), len(levels)),
                "importance": _flat(part["importance"]).reshape(rows, len(about["scales_ns"])),
            }
        return found

    def books_before(self) -> dict[tuple[str, str], Decimal]:
        """Return what each strategy's book held of an instrument before the run: nothing in a ledger of its own."""
        return {}

    def _within(self, table: Table) -> list[ColumnElement[bool]]:
        """Return what picks this run's rows of a table: nothing, where the ledger is of this run alone."""
        return []

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    def _names(self) -> list[str]:
        try:
            return inspect(self._engine).get_table_names()
        except DatabaseError as error:
            raise DataError(f"{self.directory / 'ledger.sqlite'}: damaged ({error.orig})") from error

    def _columns(self, table: Table) -> list[Column[Any]]:
        try:
            return tables.columns_in(self._engine, table)
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise DataError(f"{self.directory / 'ledger.sqlite'}: damaged ({reason})") from error

    def _rows(self, query: Any) -> list[dict[str, Any]]:
        try:
            with self._engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]
        except DatabaseError as error:
            raise DataError(f"{self.directory / 'ledger.sqlite'}: damaged ({error.orig})") from error


LEDGER_TABLES = tuple(table.name for table in tables.metadata.sorted_tables)
_TAPE = ("close_ns", "open", "high", "low", "close", "volume", "position", "profit")


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    values: np.ndarray = column.combine_chunks().flatten().to_numpy()
    return values
