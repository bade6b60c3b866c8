"""Market files made for a test, good but for what it spoils, and a history that reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bot.domain.errors import DataError
from bot.store.market_history import ParquetHistory
from tests.support.batches import INSTRUMENT, join

MS = 1_000_000
MINUTE_MS = 60_000
START_MS = 1_700_000_040_000  # on a minute
ROWS = 12
BAD = 7  # the row that is wrong in every damaged file

Table = dict[str, Any]


def good_trades(rows: int = ROWS) -> Table:
    return {
        "ts": np.arange(rows) * 10 + START_MS,
        "price": np.arange(1_000, 1_000 + rows) / 10,
        "size": np.arange(1, rows + 1) / 1_000,
        "side": (np.arange(rows) % 2).astype(np.int8),
    }


def good_bars(rows: int = ROWS) -> Table:
    ticks = np.arange(1_000, 1_000 + rows)
    return {
        "ts": np.arange(rows) * MINUTE_MS + START_MS,
        "open": ticks / 10,
        "high": (ticks + 5) / 10,
        "low": (ticks - 5) / 10,
        "close": (ticks + 1) / 10,
        "volume": np.arange(rows) / 1_000,
    }


GOOD: dict[str, Callable[[], Table]] = {"trades": good_trades, "bars": good_bars}


def with_value(table: Table, column: str, value: Any, row: int = BAD) -> Table:
    """Return the table with one value replaced; None makes it null."""
    values = list(table[column].tolist())
    values[row] = value
    return {**table, column: pa.array(values)}


@dataclass
class Store:
    """Writes tables to a file and opens it."""

    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / "market.parquet"

    def write(self, table: Table, **options: Any) -> Path:
        pq.write_table(pa.table(table), self.path, **options)
        return self.path

    def open(self, kind: Any, **options: Any) -> ParquetHistory:
        scale_ns = MINUTE_MS * MS if kind == "bars" else None
        return ParquetHistory(INSTRUMENT, self.path, kind=kind, **{"scale_ns": scale_ns, **options})

    def slabs(self, kind: Any, table: Table, **options: Any) -> list[Any]:
        """Write, open, and read as a replay does: the span first, then all of it."""
        self.write(table, **{key: options.pop(key) for key in ("row_group_size",) if key in options})
        history = self.open(kind, **options)
        history.span_ns()
        return list(history.slabs(5))

    def read(self, kind: Any, table: Table, **options: Any) -> Any:
        return join(self.slabs(kind, table, **options))

    def refusal(self, kind: Any, table: Table, **options: Any) -> str:
        """Return what is said when the file is opened and read; it must be one line that names the file."""
        with pytest.raises(DataError) as caught:
            self.slabs(kind, table, **options)
        return one_line(caught.value, self.path)


def one_line(error: DataError, path: Path) -> str:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    return message.removeprefix(f"{path}: ")
