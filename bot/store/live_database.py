"""What a live ledger asks of a database: whole transactions that are durable, and a few rows back.

`live_sqlite.py` and `postgres_ledger.py` are the two there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from bot.core.epochs import PastEpoch
from bot.domain.errors import StorageError
from bot.store.projection_rows import Row

Rows = Mapping[str, Sequence[Row]]
"""Rows by table, in the order of the table's columns; a Decimal as text."""


class CommitUnknown(StorageError):
    """A commit was not answered: it may have happened. Stop, open the ledger again, and read what it holds."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the journal."""

    seq: int  # 0 for an empty one
    ts_ns: int
    digest: bytes


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the journal up to which it need not be read again."""

    seq: int
    digest: bytes
    state: bytes | None


class LedgerDatabase(Protocol):
    """The tables of a ledger, and the right to write them. Used by one thread at a time.

    Every method raises StorageError where the database refuses, in one line that names it.
    """

    name: str  # what to call it in a message: a path, or an address without its password

    def head(self) -> Head | None:
        """Return the journal's last entry, None if there is none."""

    def balances(self) -> list[tuple[str, str, Decimal]]:
        """Return account, currency and amount of every balance."""

    def order(self, name: str) -> Row | None:
        """Return the row of an order, its quantities as text; None if there is none."""

    def run_row(self) -> dict[str, Any] | None:
        """Return the row that describes the ledger, None in a new one."""

    def last_epoch(self) -> PastEpoch | None:
        """Return the newest epoch, None before the first."""

    def last_checkpoint(self, *, with_state: bool) -> Checkpoint | None:
        """Return the newest checkpoint, or the newest that holds a state; None if there is none."""

    def journal(self, after: int, until: int) -> Iterator[Sequence[tuple[int, int, str, str, bytes]]]:
        """Yield the journal's rows in (after, until], some thousands at a time."""

    def bodies(self, after: int, until: int) -> Iterator[Sequence[tuple[int, str]]]:
        """Yield number and canonical JSON of the entries in (after, until], some thousands at a time."""

    def save(self, rows: Rows, *, head: Head) -> None:
        """Write rows in one transaction; return when they are durable.

        Args:
            rows: what to write.
            head: the journal's end once they are written.

        Raises:
            StorageError: refused; nothing of it was written.
            CommitUnknown: not answered; all of it was written, or nothing.
        """

    def end_epoch(self, number: int, ended_ns: int) -> None:
        """Note the orderly end of an epoch."""

    def set_run_status(self, status: str) -> None:
        """Note what became of the run."""

    def confirm(self) -> None:
        """Return if the ledger is still there and still ours to write."""

    def wal_bytes(self) -> int | None:
        """Return how much a SQLite log has grown; None where there is none."""

    def close(self) -> None:
        """Let go of the database."""
