"""Reads one run out of an account's ledger, which outlives runs: its stretch of the journal, while it runs or after."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select

from bot.domain.errors import DataError
from bot.store import tables
from bot.store.live_reader import ledger_name, open_snapshot
from bot.store.run_reader import RunReader


class LiveRunReader(RunReader):
    """One run of paper or live trading.

    Args:
        directory: the run's.
        where: its ledger: a directory, a file, or a database's address.
        is_running: whether the bot that made it still runs.

    Raises:
        DataError: there is no ledger, the run is not in it, or it cannot be read.
    """

    def __init__(self, directory: Path, where: str, *, is_running: bool = False) -> None:
        super().__init__(directory, open_snapshot(where))
        self._where, self._is_running = where, is_running
        epochs = self._rows(select(*tables.columns_in(self._engine, tables.epochs)).order_by(tables.epochs.c.epoch))
        own = [number for number, row in enumerate(epochs) if row["run_id"] == directory.name]
        if not own:
            self.close()
            raise DataError(f"{directory}: {ledger_name(where)} holds no run of this name")
        self._since = int(epochs[own[0]]["after_seq"])
        after = epochs[own[-1] + 1 :]
        self._until = int(after[0]["after_seq"]) if after else 2**62
        self._first, self._last = epochs[own[0]], epochs[own[-1]]

    def run(self) -> dict[str, Any]:
        """Return what `runs` would say of this run: that table describes the ledger's first."""
        rows = self._rows(select(tables.runs))
        if not rows:
            raise DataError(f"{self.directory}: {ledger_name(self._where)} describes no run")
        journal = tables.journal
        ends = self._rows(
            select(journal.c.ts_ns, journal.c.hash)
            .where(*self._within(journal))
            .order_by(journal.c.seq.desc())
            .limit(1)
        )
        from_ns = int(self._first["started_ns"])
        is_over = self._last["ended_ns"] is not None
        return rows[0] | {
            "run_id": self.directory.name,
            "status": "finished" if is_over else "running" if self._is_running else "interrupted",
            "version": self._last["version"],
            "config_hash": self._last["config_hash"],
            "from_ns": from_ns,
            "to_ns": max([from_ns, *(int(row["ts_ns"]) for row in ends)]),
            "start_cash": self._start_equity(rows[0]["start_cash"]),
            "rows_in": 0,
            "late_trades": 0,
            "data_hash": None,
            "tape_hash": None,
            "ledger_hash": ends[0]["hash"].hex() if ends else None,
            "wall_seconds": None,
        }

    def books_before(self) -> dict[tuple[str, str], Decimal]:
        """See `RunReader`: the books as the runs before left them."""
        moves = tables.book_moves
        if moves.name not in self._names():
            return {}
        last = (
            select(func.max(moves.c.seq))
            .where(moves.c.seq <= self._since)
            .group_by(moves.c.strategy, moves.c.instrument)
        )
        rows = self._rows(select(moves).where(moves.c.seq.in_(last)))
        return {(row["strategy"], row["instrument"]): row["position_qty"] for row in rows if row["position_qty"]}

    def _start_equity(self, otherwise: Any) -> Any:
        """Return what the account was worth when the run began: by the last mark before."""
        equity = tables.equity
        before = self._rows(
            select(equity.c.equity).where(equity.c.seq <= self._since).order_by(equity.c.seq.desc()).limit(1)
        )
        return before[0]["equity"] if before else otherwise

    def _within(self, table: Table) -> list[ColumnElement[bool]]:
        if "seq" in table.c:
            return [table.c.seq > self._since, table.c.seq <= self._until]
        if table is tables.orders:
            intents = tables.intents
            own = select(intents.c.client_order_id).where(intents.c.kind == "submit", *self._within(intents))
            return [table.c.client_order_id.in_(own)]
        return []
