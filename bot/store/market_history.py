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
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import I64, NO_FLOW, BarBatch, FundingBatch, TradeBatch
from bot.store.funding_history import read_funding
from bot.store.parquet_files import EARLIEST_MS, LATEST_MS, MS, check_schema, guarded, open_parquet, times_ns, when

_READ_ROWS = 1 << 17  # rows decoded at a time, whatever the slabs' size


class ParquetHistory:
    """One instrument's trades or bars within [from_ns, to_ns), a `ports.MarketHistory`.

    Args:
        instrument: gives the grid that prices and quantities are brought to.
        path: the Parquet file.
        kind: what it holds.
        scale_ns: the bars' length; of trades None.
        funding_path: settled funding rates, a Parquet file or a folder of the store; None for none.
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
        self._file = open_parquet(path)
        self._size = "size" if "size" in self._file.schema_arrow.names else "qty"
        self._columns = ["ts", "price", self._size, "side"] if kind == "trades" else ["ts", *_OHLC, "volume"]
        check_schema(self._file, path, self._columns, kind)
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
            raise DataError(f"{self._path}: nothing between {when(self._from_ns)} and {when(self._to_ns)}")
        return first, last + (self._scale_ns or 1)

    def slabs(self, rows: int) -> Iterator[Any]:
        """See `ports.MarketHistory`."""
        first_row = 0
        for table, file_row in self._tables():
            batch: TradeBatch | BarBatch
            if self._kind == "trades":
                batch = self._trades(table, first_row, file_row)
            else:
                batch = self._bars(table, first_row, file_row)
            first_row += len(batch)
            for start in range(0, len(batch), rows):
                yield batch.rows(start, min(start + rows, len(batch)))

    def funding(self) -> FundingBatch | None:
        """See `ports.MarketHistory`."""
        return read_funding(self._instrument, self._funding_path, self._from_ns, self._to_ns)

    def _groups(self) -> list[int]:
        """Return the row groups that may hold rows of the range, by their statistics."""
        groups = []
        for group in range(self._file.metadata.num_row_groups):
            first_ns, last_ns = self._group_span_ns(group) or (-(2**62), 2**62)
            if last_ns >= self._from_ns and first_ns < self._to_ns:
                groups.append(group)
        return groups

    def _group_span_ns(self, group: int) -> tuple[int, int] | None:
        """Return the first and last time that a row group's statistics tell, None where they tell none.

        Statistics that cannot be times tell nothing: reading the rows says what is wrong with them.
        """
        metadata = self._file.metadata
        column = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == "ts")
        known = guarded(self._path, lambda: metadata.row_group(group).column(column).statistics)
        if known is None or not known.has_min_max or not EARLIEST_MS <= known.min <= known.max < LATEST_MS:
            return None
        return known.min * MS, known.max * MS

    def _edge(self, groups: list[int], end: Literal[0, -1]) -> int | None:
        """Return the first or last time inside the range, reading as few row groups as can tell."""
        for group in groups if end == 0 else reversed(groups):
            span_ns = self._group_span_ns(group)
            if span_ns is not None and self._from_ns <= span_ns[0] and span_ns[1] < self._to_ns:
                return span_ns[end]
            table = guarded(self._path, lambda g=group: self._file.read_row_group(g, ["ts"]))
            ts_ns = times_ns(table, self._path, self._group_row(group))
            inside = ts_ns[(ts_ns >= self._from_ns) & (ts_ns < self._to_ns)]
            if len(inside):
                return int(inside[end])
        return None

    def _group_row(self, group: int) -> int:
        """Return the file's row number of a row group's first row."""
        return sum(self._file.metadata.row_group(before).num_rows for before in range(group))

    def _tables(self) -> Iterator[tuple[Any, int]]:
        """Yield the rows inside the range, with the file's number of the first; the order of all that is read is kept.

        Raises:
            DataError: a row goes back in time, in the range or at its edge.
        """
        last_ns = -(2**62)
        for groups in _runs(self._groups()):
            file_row = self._group_row(groups[0])
            batches = self._file.iter_batches(_READ_ROWS, row_groups=groups, columns=self._columns)
            while (batch := guarded(self._path, lambda b=batches: next(b, None))) is not None:
                if batch.num_rows:
                    ts_ns = times_ns(batch, self._path, file_row)
                    steps = np.diff(ts_ns, prepend=last_ns)
                    self._refuse(steps < 0, file_row, "goes back in time; sort the file by ts")
                    if self._kind == "bars":
                        self._refuse_grid(ts_ns, steps, file_row)
                    last_ns = int(ts_ns[-1])
                    start, stop = np.searchsorted(ts_ns, [self._from_ns, self._to_ns]).tolist()
                    if start < stop:
                        yield batch.slice(start, stop - start), file_row + start
                    file_row += batch.num_rows

    def _refuse_grid(self, open_ns: I64, steps: I64, file_row: int) -> None:
        assert self._scale_ns is not None
        self._refuse(steps == 0, file_row, "repeats the bar before it; drop one of the two")
        off = open_ns % self._scale_ns != 0
        scale = f"{self._scale_ns / 1e9:g} s"
        self._refuse(off, file_row, f"does not open on the {scale} grid; check the instrument's bar_interval")
        overlaps = steps < self._scale_ns
        self._refuse(overlaps, file_row, "overlaps the bar before it; check the instrument's bar_interval")

    def _trades(self, table: Any, first_row: int, file_row: int) -> TradeBatch:
        price_ticks = self._on_grid(table, "price", self._instrument.tick_size, file_row)
        qty_steps = self._on_grid(table, self._size, self._instrument.qty_step, file_row)
        self._refuse(price_ticks <= 0, file_row, "has a price that is not positive; correct or drop it")
        self._refuse(qty_steps <= 0, file_row, "has a quantity that is not positive; correct or drop it")
        return TradeBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=times_ns(table, self._path, file_row),
            price_ticks=price_ticks,
            qty_steps=qty_steps,
            is_buy=self._sides(table, file_row),
        )

    def _bars(self, table: Any, first_row: int, file_row: int) -> BarBatch:
        assert self._scale_ns is not None
        open_ns = times_ns(table, self._path, file_row)
        tick = self._instrument.tick_size
        open_, high, low, close = (self._on_grid(table, name, tick, file_row) for name in _OHLC)
        volume = self._on_grid(table, "volume", self._instrument.qty_step, file_row)
        self._refuse(low <= 0, file_row, "has a price that is not positive; correct or drop it")
        self._refuse(
            high < np.maximum(open_, close), file_row, "has a high below its open or close; correct or drop it"
        )
        self._refuse(low > np.minimum(open_, close), file_row, "has a low above its open or close; correct or drop it")
        self._refuse(volume < 0, file_row, "has a negative volume; correct or drop it")
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
        values = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        numerator, denominator = unit.as_integer_ratio()
        with np.errstate(over="ignore", invalid="ignore"):
            counts = values * denominator
            if numerator != 1:
                counts /= numerator
            whole = np.rint(counts)
            usable = np.abs(whole) < 2.0**53  # which NaN and infinities are not
            off = np.abs(counts - whole) > 1e-3
        self._refuse(~usable, file_row, f"has no usable number as its {name}; correct or drop it")
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
        column = table.column("side")
        if column.null_count:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            self._refuse(missing, file_row, "has no side; correct or drop it")
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind in "iub":
            is_buy = values == 1
            known = is_buy | (values == 0)
            self._refuse(~known, file_row, "has a side that is neither 1 (buy) nor 0 (sell); correct it")
            return np.asarray(is_buy)
        words = np.char.lower(values.astype(str))
        is_buy = words == "buy"
        self._refuse(~(is_buy | (words == "sell")), file_row, 'has a side that is neither "buy" nor "sell"; correct it')
        return np.asarray(is_buy)

    def _refuse(self, bad: NDArray[np.bool_], file_row: int, complaint: str) -> None:
        if bad.any():
            raise DataError(f"{self._path}: row {file_row + int(np.argmax(bad)):,} {complaint}")


_OHLC = ("open", "high", "low", "close")


def _runs(groups: list[int]) -> Iterator[list[int]]:
    """Yield stretches of row groups that follow one another in the file."""
    start = 0
    for end in range(1, len(groups) + 1):
        if end == len(groups) or groups[end] != groups[end - 1] + 1:
            yield groups[start:end]
            start = end
