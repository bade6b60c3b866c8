"""What a live ledger reads of its own tables, in SQL that SQLite and PostgreSQL understand alike."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Table

from bot.core.epochs import PastEpoch
from bot.store import tables
from bot.store.live_database import Checkpoint, Head
from bot.store.projection_rows import Row

_PAGE_ROWS = 5_000


class LedgerRows(ABC):
    """The reading half of a `LedgerDatabase`."""

    @abstractmethod
    def _place(self, number: int) -> str:
        """Return how the database spells the place of a value in a statement, counted from 1."""

    @abstractmethod
    def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement.

        Raises:
            StorageError: the database refuses.
        """

    def _one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        rows = self._all(sql, *values)
        return rows[0] if rows else None

    def head(self) -> Head | None:
        """See `LedgerDatabase`."""
        row = self._one("SELECT seq, ts_ns, hash FROM journal ORDER BY seq DESC LIMIT 1")
        return None if row is None else Head(seq=row[0], ts_ns=row[1], digest=row[2])

    def balances(self) -> list[tuple[str, str, Decimal]]:
        """See `LedgerDatabase`."""
        rows = self._all("SELECT account, currency, amount FROM balances")
        return [(account, currency, Decimal(amount)) for account, currency, amount in rows]

    def order(self, name: str) -> Row | None:
        """See `LedgerDatabase`."""
        row = self._one(
            f"SELECT {column_names(tables.orders)} FROM orders WHERE client_order_id = {self._place(1)}", name
        )
        return None if row is None else tuple(format(v, "f") if isinstance(v, Decimal) else v for v in row)

    def run_row(self) -> dict[str, Any] | None:
        """See `LedgerDatabase`."""
        row = self._one(f"SELECT {column_names(tables.runs)} FROM runs")
        return None if row is None else dict(zip((c.name for c in tables.runs.columns), row, strict=True))

    def last_epoch(self) -> PastEpoch | None:
        """See `LedgerDatabase`."""
        row = self._one("SELECT epoch, started_ns, ended_ns FROM epochs ORDER BY epoch DESC LIMIT 1")
        return None if row is None else PastEpoch(number=row[0], started_ns=row[1], ended_ns=row[2])

    def last_checkpoint(self, *, with_state: bool) -> Checkpoint | None:
        """See `LedgerDatabase`."""
        where = "WHERE state IS NOT NULL" if with_state else ""
        row = self._one(f"SELECT seq, hash, state FROM checkpoints {where} ORDER BY seq DESC LIMIT 1")
        return None if row is None else Checkpoint(seq=row[0], digest=row[1], state=row[2])

    def journal(self, after: int, until: int) -> Iterator[Sequence[tuple[int, int, str, str, bytes]]]:
        """See `LedgerDatabase`."""
        return self._pages("seq, ts_ns, kind, body, hash", after, until)

    def bodies(self, after: int, until: int) -> Iterator[Sequence[tuple[int, str]]]:
        """See `LedgerDatabase`."""
        return self._pages("seq, body", after, until)

    def _pages(self, columns: str, after: int, until: int) -> Iterator[Sequence[Any]]:
        first, last, most = (self._place(number) for number in (1, 2, 3))
        sql = f"SELECT {columns} FROM journal WHERE seq > {first} AND seq <= {last} ORDER BY seq LIMIT {most}"
        while after < until:
            rows = self._all(sql, after, until, _PAGE_ROWS)
            if not rows:
                return
            yield rows
            after = rows[-1][0]


def column_names(table: Table) -> str:
    """Return the table's columns as SQL, in the order of the rows."""
    return ", ".join(f'"{column.name}"' for column in table.columns)
