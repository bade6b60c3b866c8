"""The durable ledger of paper and live: what `commit` returned for is on the disk, come what may.

One transaction holds all that was handed over since the last: journal, tables, balances. It is written whole or not at
all. The hash chain goes on where the last start left it.

A failure ends the ledger: it refuses everything from then on, with the same line. Nobody can trade whose intents cannot
be made durable. What was written is found out by opening the ledger again, never by trying the same commit twice.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from bot.core.epochs import EpochPlan, plan_epoch
from bot.domain.errors import DataError, StorageError
from bot.domain.ledger import LedgerEntry
from bot.domain.market import ForecastBatch
from bot.ports import TapeRows
from bot.store import tables
from bot.store.commit_times import CommitTimes
from bot.store.live_database import Checkpoint, Head, LedgerDatabase
from bot.store.live_projection import LiveProjection
from bot.store.projection_rows import Row
from bot.store.sql_ledger import GENESIS, chain

CHECKPOINT_ENTRIES = 10_000
WAL_BYTES_ALERT = 64 << 20

_RUN_COLUMNS = tuple(column.name for column in tables.runs.columns)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants to know of a live ledger."""

    entries: int
    commits: int
    commit_ms_p50: float
    commit_ms_p99: float
    commit_ms_max: float
    wal_bytes: int | None
    alerts: tuple[str, ...]


class LiveLedger:
    """A `ports.LedgerStore` on a durable database.

    Args:
        database: open, and ours alone to write.
        run: the row of the `runs` table for a new ledger; an old one keeps its own.
        monotonic_ns: measures how long commits take.
        tape: where stretches of the tape go; None to keep none.

    Raises:
        StorageError: the database refuses.
        DataError: the journal does not hold since its last checkpoint, or belongs to another account.
    """

    def __init__(
        self,
        database: LedgerDatabase,
        run: dict[str, Any],
        *,
        monotonic_ns: Callable[[], int],
        tape: Callable[[TapeRows | ForecastBatch], None] | None = None,
    ) -> None:
        self.database = database
        self._monotonic_ns = monotonic_ns
        self._tape = tape
        self._times = CommitTimes()
        self._failure: StorageError | None = None
        self._epoch: EpochPlan | None = None
        self._journal: list[Row] = []
        self._more: dict[str, list[Row]] = {}
        head = database.head()
        self._head = head or Head(seq=0, ts_ns=0, digest=GENESIS)
        self._durable_seq = self._head.seq
        self._checkpoint_seq = self._verify_tail()
        self._projection = LiveProjection(database.balances(), database.order)
        self._describe(run)

    @property
    def head(self) -> Head:
        """Return the journal's end, of what was handed over so far."""
        return self._head

    @property
    def epoch(self) -> EpochPlan:
        """Return this start's epoch."""
        assert self._epoch is not None, "begin_epoch comes first"
        return self._epoch

    def begin_epoch(
        self,
        *,
        now_ns: int,
        venue_epoch: int | None,
        recv_window_ns: int,
        send_timeout_ns: int,
        run_id: str,
        host: str,
        pid: int,
        version: str,
        config_hash: str,
        account: int | None,
    ) -> EpochPlan:
        """Give this start its number, durably, before it signs anything; return from when it may create orders.

        Args:
            now_ns, venue_epoch, recv_window_ns, send_timeout_ns: see `plan_epoch`.
            run_id, host, pid, version, config_hash: who starts.
            account: its number at the venue, None if the venue does not say.
        """
        plan = plan_epoch(
            self.database.last_epoch(),
            venue_epoch=venue_epoch,
            now_ns=now_ns,
            recv_window_ns=recv_window_ns,
            send_timeout_ns=send_timeout_ns,
        )
        row = (plan.number, now_ns, None, self._head.seq, run_id, host, pid, version, config_hash, account)
        self._more.setdefault("epochs", []).append(row)
        self.commit()
        self._epoch = plan
        return plan

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerStore`."""
        self._refuse_after_failure()
        for entry in entries:
            body = msgspec.json.encode(entry)
            seq = self._head.seq + 1
            self._projection.add(seq, entry)
            self._head = Head(seq=seq, ts_ns=entry.ts_ns, digest=chain(self._head.digest, body))
            self._journal.append((seq, entry.ts_ns, type(entry).__name__, body.decode(), self._head.digest))

    def write_tape(self, rows: TapeRows | ForecastBatch) -> None:
        """See `ports.LedgerStore`."""
        if self._tape is not None:
            self._tape(rows)

    def checkpoint(self, state: bytes, *, now_ns: int) -> None:
        """Keep, with the next commit, what the money half wrote down of itself after all that was handed over.

        Before the first entry there is nothing to keep.
        """
        if self._head.seq:
            self._add_checkpoint(now_ns, state)

    def commit(self) -> None:
        """See `ports.LedgerStore`.

        Raises:
            CommitUnknown: all that was handed over may be durable, or none of it.
        """
        self._refuse_after_failure()
        if not self._journal and not self._more:
            return
        if self._head.seq - self._checkpoint_seq >= CHECKPOINT_ENTRIES:
            self._add_checkpoint(self._head.ts_ns, None)
        rows = {"journal": self._journal} | self._projection.take()
        for name, more in self._more.items():
            rows[name] = [*rows.get(name, []), *more]
        start_ns = self._monotonic_ns()
        with _Remembering(self):
            self.database.save(rows, head=self._head)
        self._times.add(self._monotonic_ns() - start_ns)
        self._journal, self._more = [], {}
        self._durable_seq = self._head.seq

    def confirm(self) -> None:
        """Return if the ledger is still there and still ours: to be asked every half second by who trades.

        Raises:
            StorageError: it is not; stop trading at once.
        """
        self._refuse_after_failure()
        with _Remembering(self):
            self.database.confirm()

    def recovery(self) -> tuple[Checkpoint | None, Iterator[tuple[int, LedgerEntry]]]:
        """Return the newest checkpoint that holds a state, and the entries after it, numbered.

        Without such a checkpoint these are all entries there are.
        """
        found = self.database.last_checkpoint(with_state=True)
        return found, self.entries(after=0 if found is None else found.seq)

    def entries(self, *, after: int) -> Iterator[tuple[int, LedgerEntry]]:
        """Yield the durable entries after number `after`, numbered.

        Raises:
            DataError: one cannot be read.
        """
        decode = msgspec.json.Decoder(LedgerEntry).decode
        for rows in self.database.bodies(after, self._durable_seq):
            for seq, body in rows:
                try:
                    yield seq, decode(body)
                except msgspec.DecodeError as error:
                    raise DataError(f"{self.database.name}: entry {seq} cannot be read: {error}") from error

    def health(self) -> Health:
        """Return how the ledger does."""
        wal_bytes = self.database.wal_bytes()
        alerts = []
        if wal_bytes is not None and wal_bytes > WAL_BYTES_ALERT:
            alerts.append(f"the log beside the ledger grew to {wal_bytes >> 20} MiB: a reader holds it open")
        if self._failure is not None:
            alerts.append(str(self._failure))
        return Health(
            entries=self._head.seq,
            commits=self._times.count,
            commit_ms_p50=self._times.quantile_ns(0.5) / 1e6,
            commit_ms_p99=self._times.quantile_ns(0.99) / 1e6,
            commit_ms_max=self._times.max_ns / 1e6,
            wal_bytes=wal_bytes,
            alerts=tuple(alerts),
        )

    def close(self, *, now_ns: int) -> None:
        """Commit, note the orderly end of the epoch, and let go.

        Only a start that got here may be followed by one that trades at once: call it when nothing is in flight.
        """
        try:
            self.commit()
            if self._epoch is not None:
                self.database.end_epoch(self._epoch.number, now_ns)
            self.database.set_run_status("stopped")
        finally:
            self.database.close()

    def abandon(self) -> None:
        """Let go of the database without a word: for an end that is not orderly."""
        self.database.close()

    def _add_checkpoint(self, ts_ns: int, state: bytes | None) -> None:
        self._more.setdefault("checkpoints", []).append((self._head.seq, ts_ns, self._head.digest, state))
        self._checkpoint_seq = self._head.seq

    def _verify_tail(self) -> int:
        """Hold the chain since the last checkpoint against the entries; return the checkpoint's number."""
        last = self.database.last_checkpoint(with_state=False)
        seq, digest = (0, GENESIS) if last is None else (last.seq, last.digest)
        begun = seq
        for rows in self.database.journal(begun, self._head.seq):
            for number, _, _, body, stored in rows:
                seq += 1
                digest = chain(digest, body.encode())
                if number != seq or digest != stored:
                    raise DataError(
                        f"{self.database.name}: entry {number} of the journal, or one before it, is not what was "
                        "written; do not trade on it: restore a backup (bot db restore)"
                    )
        if (seq, digest) != (self._head.seq, self._head.digest):
            raise DataError(
                f"{self.database.name}: the journal does not end as it was written, at entry {seq}; "
                "do not trade on it: restore a backup (bot db restore)"
            )
        return begun

    def _describe(self, run: dict[str, Any]) -> None:
        known = self.database.run_row()
        if known is None:
            row = tuple((run | {"status": "running"}).get(name) for name in _RUN_COLUMNS)
            self._more["runs"] = [tuple(_text(value) for value in row)]
            self.commit()
            return
        for name in ("mode", "currency"):
            if known[name] != run[name]:
                raise DataError(
                    f"{self.database.name}: the ledger is of {name} {known[name]}, not {run[name]}; give each its own"
                )
        self.database.set_run_status("running")

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))

    def fail(self, failure: StorageError) -> None:
        """Refuse everything from now on."""
        self._failure = failure


class _Remembering:
    """Ends the ledger with the failure that leaves the block."""

    def __init__(self, ledger: LiveLedger) -> None:
        self._ledger = ledger

    def __enter__(self) -> None:
        """Do nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, StorageError):
            self._ledger.fail(error)


def _text(value: Any) -> Any:
    return format(value, "f") if hasattr(value, "as_tuple") else value
