"""Writes one replay: its ledger and its tape.

Everything is written under names that end in `.part`, and renamed once the last row is in: what carries the final name
is whole. A run that was cut short keeps its parts, and nobody takes them for a run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from bot.domain.errors import StorageError
from bot.domain.ledger import LedgerEntry
from bot.domain.market import ForecastBatch
from bot.ports import TapeRows, Worker
from bot.store.ledger_process import RemoteLedger
from bot.store.sql_ledger import SqlLedger
from bot.store.tape_files import ForecastWriter, TapeWriter, combine_tape_hashes


class ReplayStore:
    """The ledger (SQLite) and the tape (Parquet) of one replay, in one directory; a `ports.LedgerStore`.

    Args:
        directory: the run's, existing.
        run: the row of the `runs` table, as far as it is known at the start.
        make_worker: starts a process that writes the ledger; None to write it in this one. The ledger is the same.
        worker_after: so many entries make it worth while; until then they wait in memory.
    """

    def __init__(
        self,
        directory: Path,
        run: dict[str, Any],
        make_worker: Callable[[], Worker] | None = None,
        *,
        worker_after: int = 4_000,
    ) -> None:
        self._directory = directory
        self._run = run
        self._make_worker = make_worker
        self._worker_after = worker_after
        self._waiting: list[LedgerEntry] = []
        self._ledger: SqlLedger | RemoteLedger | None = None
        if make_worker is None or not worker_after:
            self._open()
        else:
            with self._guarded():
                (directory / "ledger.sqlite.part").touch()  # a run that dies now is still seen to have been one
        self._tape = TapeWriter(directory / "tape.parquet.part")
        self._forecasts = ForecastWriter(directory / "forecasts.parquet.part")
        self._shadow = ForecastWriter(directory / "shadow.parquet.part")

    def tape_hash(self) -> str:
        """Return the hash of the tape's and the forecasts' columns so far."""
        return combine_tape_hashes(self._tape.hash(), self._forecasts.hash())

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerStore`."""
        if self._ledger is not None:
            self._ledger.write(entries)
            return
        self._waiting += entries
        if len(self._waiting) >= self._worker_after:
            self._open()

    def write_tape(self, rows: TapeRows | ForecastBatch) -> None:
        """See `ports.LedgerStore`."""
        with self._guarded():
            if isinstance(rows, TapeRows):
                self._tape.write(rows)
            else:
                self._forecasts.write(rows)

    def write_shadow(self, forecasts: ForecastBatch) -> None:
        """Add forecasts that nothing is traded on."""
        with self._guarded():
            self._shadow.write(forecasts)

    def shadow_hash(self) -> str:
        """Return the hash of the columns of those so far."""
        return self._shadow.hash()

    def commit(self) -> None:
        """See `ports.LedgerStore`."""
        if self._ledger is not None:
            self._ledger.commit()

    def finish(self, **known: Any) -> str:
        """Close the books and give all files their final names; return the ledger's hash.

        Args:
            known: columns of the `runs` table that are known only now.

        Raises:
            StorageError: the disk or the database refuses.
        """
        tape_hash = self.tape_hash()
        with self._guarded():
            self._tape.close()
            self._forecasts.close()
            self._shadow.close()
        ledger_hash = self._opened().finish(known | {"tape_hash": tape_hash})
        with self._guarded():
            for name in ("tape.parquet", "forecasts.parquet", "shadow.parquet"):  # none is there where it has no row
                part = self._directory / f"{name}.part"
                if part.exists():
                    part.replace(self._directory / name)
            (self._directory / "ledger.sqlite.part").replace(self._directory / "ledger.sqlite")
        return ledger_hash

    def interrupt(self) -> None:
        """Keep what is finished, as far as the disk lets us, marked as cut short, under its `.part` names."""
        with suppress(StorageError):
            self._opened().interrupt()
        with suppress(OSError, pa.ArrowException):
            self._tape.close()
            self._forecasts.close()
            self._shadow.close()

    def _opened(self) -> SqlLedger | RemoteLedger:
        """Return the ledger; it turns out now that a worker was never worth while, if it is not open yet."""
        if self._ledger is None:
            self._make_worker = None
            self._open()
        assert self._ledger is not None
        return self._ledger

    def _open(self) -> None:
        """Open the ledger, here or in a worker, and write what has been waiting for it."""
        worker = None if self._make_worker is None else self._make_worker()
        if worker is None:
            self._ledger = SqlLedger(self._directory, self._run)
        else:
            self._ledger = RemoteLedger(worker, self._directory, self._run)
        waiting, self._waiting = self._waiting, []
        self._ledger.write(waiting)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise StorageError(
                f"{self._directory}: the tape cannot be written ({error}); free space and run again"
            ) from error
