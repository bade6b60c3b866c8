"""Market history in Parquet files: trades or bars of one instrument, read in slabs and checked as they are read.

Two kinds of columns are understood, told apart by name:

* trades: `ts` (UTC, ms, int64), `price`, `size` or `qty`, `side` (1 or "buy": the taker bought)
* bars: `ts` (the bar's OPEN, UTC, ms), `open`, `high`, `low`, `close`, `volume` (base currency)

Only the row groups that the range of time touches are read. A row that cannot be right stops the reading with its
number and what is wrong: nothing is repaired silently.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import I64, NO_FLOW, BarBatch, FundingBatch, TradeBatch

_READ_ROWS = 1 << 17  # rows decoded at a time, whatever the slabs' size
_MS = 1_000_000


class ParquetHistory:
    """One instrument's trades or bars within [from_ns, to_ns), a `ports.MarketHistory`.

    Args:
        instrument: gives the grid that prices and quantities are brought to.
        path: the Parquet file.
        kind: what it holds.
        scale_ns: the bars' length; of trades None.
        funding_path: settled funding rates (`ts` ms, `symbol`, `funding_rate`), None for none.
        from_ns, to_ns: the range; None for as far as the file goes.
        off_grid: "refuse" prices and quantities between ticks or steps, or "round" them to the nearest.

    Raises:
        DataError: the file is missing, damaged, or lacks a column.
    """

    def __init__(
        self,
        instrument: Instrument,
        path: Path,
        *,
        kind: Literal["trades", "bars"],
        scale_ns: int | None = None,
        funding_path: Path | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        off_grid: Literal["refuse", "round"] = "refuse",
    ) -> None:
        self._instrument = instrument
        self._path = path
        self._kind = kind
        self._scale_ns = scale_ns
        self._funding_path = funding_path
        self._from_ns = from_ns if from_ns is not None else -(2**62)
        self._to_ns = to_ns if to_ns is not None else 2**62
        self._off_grid = off_grid
        self._file = _open(path)
        self._size = "size" if "size" in self._file.schema_arrow.names else "qty"
        need = ["ts", "price", self._size, "side"] if kind == "trades" else ["ts", *_OHLC, "volume"]
        missing = [name for name in need if name not in self._file.schema_arrow.names]
        if missing:
            raise DataError(
                f"{path}: no column {', '.join(missing)}; {kind} need {', '.join(need)}, "
                f"the file has {', '.join(self._file.schema_arrow.names)}"
            )
        self._columns = need
        self.rounded_count = 0  # values that were off the grid and rounded to it

    @property
    def source_scale_ns(self) -> int | None:
        """See `ports.MarketHistory`."""
        return self._scale_ns

    def span_ns(self) -> tuple[int, int]:
        """See `ports.MarketHistory`."""
        groups = self._groups()
        first = self._edge(groups, 0) if groups else None
        last = self._edge(groups, -1) if groups else None
        if first is None or last is None:
            raise DataError(f"{self._path}: nothing between {_iso(self._from_ns)} and {_iso(self._to_ns)}")
        return first, last + (self._scale_ns or 1)

    def row_count(self) -> int:
        """Return how many rows the touched row groups hold: at least as many as will be read."""
        return sum(self._file.metadata.row_group(group).num_rows for group in self._groups())

    def slabs(self, rows: int) -> Iterator[Any]:
        """See `ports.MarketHistory`."""
        first_row = 0
        last_ns = -(2**62)
        for table, file_row in self._tables():
            batch: TradeBatch | BarBatch
            if self._kind == "trades":
                batch = self._trades(table, first_row, file_row, last_ns)
                last_ns = int(batch.ts_ns[-1])
            else:
                batch = self._bars(table, first_row, file_row, last_ns)
                last_ns = int(batch.open_ns[-1])
            first_row += len(batch)
            for start in range(0, len(batch), rows):
                yield batch.rows(start, min(start + rows, len(batch)))

    def funding(self) -> FundingBatch | None:
        """See `ports.MarketHistory`."""
        if self._funding_path is None:
            return None
        names = ["ts", "symbol", "funding_rate"]
        file = _open(self._funding_path)
        missing = [name for name in names if name not in file.schema_arrow.names]
        if missing:
            raise DataError(f"{self._funding_path}: no column {', '.join(missing)}; funding needs {', '.join(names)}")
        table = file.read(names)
        ts_ns = table["ts"].to_numpy() * _MS
        keep = (table["symbol"].to_numpy(zero_copy_only=False) == self._instrument.name) & (ts_ns >= self._from_ns)
        keep &= ts_ns < self._to_ns
        rate = table["funding_rate"].to_numpy()[keep]
        ts_ns = ts_ns[keep]
        bad = ~np.isfinite(rate) | (np.abs(rate) > 0.1) | (np.diff(ts_ns, prepend=-(2**62)) <= 0)
        if bad.any():
            raise DataError(
                f"{self._funding_path}: the rate of {self._instrument.name} at {_iso(int(ts_ns[np.argmax(bad)]))} is "
                f"{rate[np.argmax(bad)]} or out of order; a rate is a fraction such as 0.0001"
            )
        return FundingBatch(
            instrument=self._instrument, first_row=0, ts_ns=ts_ns, rate_e8=np.rint(rate * 1e8).astype(np.int64)
        )

    def _groups(self) -> list[int]:
        """Return the row groups that may hold rows of the range, by their statistics."""
        metadata = self._file.metadata
        column = self._file.schema_arrow.names.index("ts")
        groups = []
        for group in range(metadata.num_row_groups):
            known = metadata.row_group(group).column(column).statistics
            first_ns, last_ns = -(2**62), 2**62
            if known is not None and known.has_min_max:
                first_ns, last_ns = known.min * _MS, known.max * _MS
            if last_ns >= self._from_ns and first_ns < self._to_ns:
                groups.append(group)
        return groups

    def _edge(self, groups: list[int], end: Literal[0, -1]) -> int | None:
        """Return the first or last time inside the range, reading as few row groups as can tell."""
        for group in groups if end == 0 else reversed(groups):
            ts_ns = _times(_guarded(self._path, lambda g=group: self._file.read_row_group(g, ["ts"])), self._path)
            inside = ts_ns[(ts_ns >= self._from_ns) & (ts_ns < self._to_ns)]
            if len(inside):
                return int(inside[end])
        return None

    def _tables(self) -> Iterator[tuple[pa.Table, int]]:
        """Yield the rows inside the range, with the file's number of the first."""
        groups = self._groups()
        file_row = 0
        if groups:
            metadata = self._file.metadata
            file_row = sum(metadata.row_group(group).num_rows for group in range(groups[0]))
        batches = self._file.iter_batches(_READ_ROWS, row_groups=groups, columns=self._columns)
        while True:
            batch = _guarded(self._path, lambda: next(batches, None))
            if batch is None:
                return
            ts_ns = _times(batch, self._path)
            keep = (ts_ns >= self._from_ns) & (ts_ns < self._to_ns)
            if keep.all():
                yield batch, file_row
            elif keep.any():
                start = int(np.argmax(keep))
                yield batch.filter(pa.array(keep)), file_row + start
            file_row += batch.num_rows

    def _trades(self, table: Any, first_row: int, file_row: int, last_ns: int) -> TradeBatch:
        ts_ns = _times(table, self._path)
        self._refuse(np.diff(ts_ns, prepend=last_ns) < 0, file_row, "goes back in time; sort the file by ts")
        price_ticks = self._on_grid(table, "price", self._instrument.tick_size, file_row)
        qty_steps = self._on_grid(table, self._size, self._instrument.qty_step, file_row)
        self._refuse(price_ticks <= 0, file_row, "has a price that is not positive")
        self._refuse(qty_steps <= 0, file_row, "has a quantity that is not positive")
        return TradeBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=ts_ns,
            price_ticks=price_ticks,
            qty_steps=qty_steps,
            is_buy=self._sides(table, file_row),
        )

    def _bars(self, table: Any, first_row: int, file_row: int, last_ns: int) -> BarBatch:
        assert self._scale_ns is not None
        open_ns = _times(table, self._path)
        steps = np.diff(open_ns, prepend=last_ns)
        self._refuse(steps == 0, file_row, "repeats the bar before it; drop one of the two")
        self._refuse(steps < 0, file_row, "goes back in time; sort the file by ts")
        self._refuse(
            open_ns % self._scale_ns != 0,
            file_row,
            f"does not open on the {self._scale_ns / 1e9:g} s grid; is the instrument's bar_interval right?",
        )
        self._refuse(
            steps < self._scale_ns, file_row, "overlaps the bar before it; is the instrument's bar_interval right?"
        )
        tick = self._instrument.tick_size
        open_, high, low, close = (self._on_grid(table, name, tick, file_row) for name in _OHLC)
        volume = self._on_grid(table, "volume", self._instrument.qty_step, file_row)
        self._refuse(low <= 0, file_row, "has a price that is not positive")
        self._refuse(high < np.maximum(open_, close), file_row, "has a high below its open or close")
        self._refuse(low > np.minimum(open_, close), file_row, "has a low above its open or close")
        self._refuse(volume < 0, file_row, "has a negative volume")
        rows = len(open_ns)
        nothing = np.zeros(rows, dtype=np.int64)
        return BarBatch(
            instrument=self._instrument,
            scale_ns=self._scale_ns,
            first_row=first_row,
            open_ns=open_ns,
            known_ns=open_ns + self._scale_ns,
            open_ticks=open_,
            high_ticks=high,
            low_ticks=low,
            close_ticks=close,
            volume_steps=volume,
            turnover=nothing,
            count=nothing,
            buy_steps=nothing,
            flags=np.full(rows, NO_FLOW, dtype=np.uint8),
        )

    def _on_grid(self, table: Any, name: str, unit: Decimal, file_row: int) -> I64:
        values = table.column(name).to_numpy(zero_copy_only=False)
        if values.dtype.kind not in "fiu":
            raise DataError(f"{self._path}: column {name} holds {values.dtype}, not numbers")
        values = values.astype(np.float64, copy=False)
        numerator, denominator = unit.as_integer_ratio()
        counts = values * denominator
        if numerator != 1:
            counts /= numerator
        whole = np.rint(counts)
        off = np.abs(counts - whole) > 1e-3  # NaN and infinities compare false, and are caught next
        finite = np.isfinite(whole) & (np.abs(whole) < 2.0**53)
        self._refuse(~finite, file_row, f"has no usable number as its {name}")
        if off.any():
            if self._off_grid == "refuse":
                self._refuse(
                    off,
                    file_row,
                    f"has the {name} {values[np.argmax(off)]}, which is not a multiple of {unit}; correct the "
                    'instrument\'s tick_size or qty_step, or set its off_grid = "round"',
                )
            self.rounded_count += int(off.sum())
        counted: I64 = whole.astype(np.int64)
        return counted

    def _sides(self, table: Any, file_row: int) -> NDArray[np.bool_]:
        values = table.column("side").to_numpy(zero_copy_only=False)
        if values.dtype.kind in "iub":
            is_buy = values == 1
            self._refuse(~(is_buy | (values == 0)), file_row, "has a side that is neither 1 (buy) nor 0 (sell)")
            return np.asarray(is_buy)
        words = np.char.lower(values.astype(str))
        is_buy = words == "buy"
        self._refuse(~(is_buy | (words == "sell")), file_row, 'has a side that is neither "buy" nor "sell"')
        return np.asarray(is_buy)

    def _refuse(self, bad: NDArray[np.bool_], file_row: int, complaint: str) -> None:
        if bad.any():
            raise DataError(f"{self._path}: row {file_row + int(np.argmax(bad)):,} {complaint}")


_OHLC = ("open", "high", "low", "close")


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path in [market]")
    return _guarded(path, lambda: pq.ParquetFile(path, memory_map=True))


def _guarded(path: Path, read: Any) -> Any:
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a whole Parquet file ({reason}); copy or download it again") from error


def _times(table: Any, path: Path) -> I64:
    column = table.column("ts")
    if column.null_count or not pa.types.is_integer(column.type):
        raise DataError(f"{path}: column ts must hold whole milliseconds, UTC, in every row; it is {column.type}")
    ts_ns: I64 = column.to_numpy(zero_copy_only=False).astype(np.int64) * _MS
    return ts_ns


def _iso(ts_ns: int) -> str:
    if abs(ts_ns) >= 2**61:
        return "the beginning" if ts_ns < 0 else "the end"
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[s]")) + "Z"
