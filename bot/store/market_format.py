"""The files of the native market store: which kinds of data there are, their columns, and how the files are cut.

    <root>/<venue>/<SYMBOL>/trades/2024-08-08.parquet      a file per UTC day
    <root>/<venue>/<SYMBOL>/bars-1m/2025-05.parquet        a file per UTC month; mark-1h and index-1h likewise
    <root>/<venue>/<SYMBOL>/funding/2021.parquet           a file per UTC year
    <root>/<venue>/<SYMBOL>/book/2024-08-08T23.parquet     a file per UTC hour
    <root>/<venue>/<SYMBOL>/quotes/2024-08-08.parquet      a file per UTC day

Values are exact: int64 mantissas with one decimal exponent per file for its prices and one for its quantities, value =
mantissa * 10**exponent. The schema's metadata holds them under the key `bot`, as JSON.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bot.core.durations import format_duration, parse_duration
from bot.domain.errors import DataError, StorageError

FORMAT = 1
GROUP_ROWS = 1 << 17  # rows of a row group: what a reader of a range can leave out
Columns = dict[str, NDArray[Any]]
I64 = NDArray[np.int64]

_OHLC = ("open", "high", "low", "close")
_NAN = float("nan")
_INTERVAL = re.compile(r"\d{1,4}(s|m|h|d|w)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One kind of data.

    Attributes:
        kind: its name, such as "trades" or "bars-1m".
        family: the name without the bars' length.
        unit: the stretch of one file, as numpy's unit of dates.
        time: the column of time, by which files are cut and rows ordered.
        columns: all columns with their types, in order.
        defaults: what stands for "the source does not tell".
        prices, qtys: the columns that the exponents are of.
        interval_ns: the bars' length.
    """

    kind: str
    family: str
    unit: Literal["h", "D", "M", "Y"]
    time: str
    columns: Mapping[str, str]
    defaults: Mapping[str, float] = field(default_factory=dict)
    prices: tuple[str, ...]
    qtys: tuple[str, ...] = ()
    interval_ns: int | None = None


def _int64s(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "int64")


_FAMILIES = {
    "trades": Layout(
        kind="trades",
        family="trades",
        unit="D",
        time="ts_ns",
        columns=_int64s("ts_ns", "recv_ns", "price", "qty") | {"is_buy": "bool"} | _int64s("trade_id"),
        defaults={"recv_ns": 0, "trade_id": 0},
        prices=("price",),
        qtys=("qty",),
    ),
    "bars": Layout(
        kind="bars",
        family="bars",
        unit="M",
        time="open_ns",
        columns=_int64s("open_ns", *_OHLC, "volume") | {"turnover": "float64"} | _int64s("count", "buy_volume"),
        defaults={"turnover": _NAN, "count": -1, "buy_volume": -1},
        prices=_OHLC,
        qtys=("volume", "buy_volume"),
    ),
    "mark": Layout(
        kind="mark", family="mark", unit="M", time="open_ns", columns=_int64s("open_ns", *_OHLC), prices=_OHLC
    ),
    "index": Layout(
        kind="index", family="index", unit="M", time="open_ns", columns=_int64s("open_ns", *_OHLC), prices=_OHLC
    ),
    "funding": Layout(
        kind="funding", family="funding", unit="Y", time="ts_ns", columns=_int64s("ts_ns", "rate"), prices=("rate",)
    ),
    "book": Layout(
        kind="book",
        family="book",
        unit="h",
        time="ts_ns",
        columns=_int64s("ts_ns", "recv_ns", "update", "previous")
        | {"is_snapshot": "bool", "is_bid": "bool"}
        | _int64s("price", "qty"),
        defaults={"recv_ns": 0, "previous": -1},
        prices=("price",),
        qtys=("qty",),
    ),
    "quotes": Layout(
        kind="quotes",
        family="quotes",
        unit="D",
        time="ts_ns",
        columns=_int64s("ts_ns", "recv_ns", "bid", "bid_qty", "ask", "ask_qty"),
        defaults={"recv_ns": 0},
        prices=("bid", "ask"),
        qtys=("bid_qty", "ask_qty"),
    ),
}


@lru_cache(maxsize=256)
def layout_of(kind: str) -> Layout:
    """Return the layout of a kind.

    Raises:
        DataError: there is no such kind.
    """
    family, dash, length = kind.partition("-")
    found = _FAMILIES.get(family)
    takes_length = family in ("bars", "mark", "index")
    if found is None or takes_length != bool(dash) or (dash and not _INTERVAL.fullmatch(length)):
        raise DataError(
            f"{kind}: no kind of market data; there are trades, bars-1m (or another length), mark-1h, index-1h, "
            "funding, book and quotes"
        )
    if not takes_length:
        return found
    interval_ns = parse_duration(length)
    if interval_ns == 0 or format_duration(interval_ns) != length:
        raise DataError(f"{kind}: write the length of the bars as {format_duration(interval_ns)}")
    return replace(found, kind=kind, interval_ns=interval_ns)


def is_kind(name: str) -> bool:
    """Return whether that is the name of a kind."""
    try:
        layout_of(name)
    except DataError:
        return False
    return True


def partition_keys(layout: Layout, times: I64) -> I64:
    """Return for each time the number of its partition, counted from 1970."""
    keys: I64 = times.astype("datetime64[ns]").astype(f"datetime64[{layout.unit}]").astype(np.int64)
    return keys


def partition_name(layout: Layout, key: int) -> str:
    """Return the file's name of a partition, without its suffix."""
    return str(np.datetime64(key, layout.unit))


def partition_span_ns(layout: Layout, name: str) -> tuple[int, int] | None:
    """Return the first ns of a partition and the first after it; None if that is no name of one."""
    try:
        first = np.datetime64(name, layout.unit)
    except ValueError:
        return None
    if np.isnat(first) or str(first) != name:
        return None
    start, end = (int(each.astype("datetime64[ns]").astype(np.int64)) for each in (first, first + 1))
    return start, end


def completed(layout: Layout, columns: Mapping[str, NDArray[Any]]) -> Columns:
    """Return all columns of a kind with their types, what the source does not tell filled in.

    Raises:
        DataError: a column is missing, not known, or not as long as the others.
    """
    rows = len(columns[layout.time]) if layout.time in columns else 0
    wrong = [name for name in columns if name not in layout.columns or len(columns[name]) != rows]
    wrong += [name for name in layout.columns if name not in columns and name not in layout.defaults]
    if wrong:
        raise DataError(f"{layout.kind}: column {', '.join(wrong)} is missing, not known or of another length")
    return {
        name: np.asarray(columns[name], dtype=of) if name in columns else np.full(rows, layout.defaults[name], dtype=of)
        for name, of in layout.columns.items()
    }


def rescaled(layout: Layout, columns: Columns, price_power: int, qty_power: int) -> Columns | None:
    """Return columns, or some of them, at exponents less by the powers given; None where a value would not fit."""
    result = dict(columns)
    for names, power in ((layout.prices, price_power), (layout.qtys, qty_power)):
        for name in names if power else ():
            if name not in columns:
                continue
            values = columns[name]
            untold = layout.defaults.get(name)
            top = max(-int(values.min(initial=0)), int(values.max(initial=0)))
            if top * 10**power >= 2**63:
                return None
            scaled = values * np.int64(10 ** min(power, 18))
            result[name] = scaled if untold is None else np.where(values == untold, values, scaled)
    return result


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself.

    `sources` names where its rows come from, each with the first and last time of them.
    """

    kind: str
    venue: str
    symbol: str
    price_exponent: int = 0
    qty_exponent: int = 0
    rate_exponent: int = 0  # of funding, in place of the price's
    sources: dict[str, tuple[int, int]] = {}
    format: int = FORMAT

    @property
    def exponent(self) -> int:
        """Return the exponent of the prices, or of the rates."""
        return self.rate_exponent if self.kind == "funding" else self.price_exponent


def make_header(
    layout: Layout,
    *,
    venue: str,
    symbol: str,
    price_exponent: int,
    qty_exponent: int,
    sources: dict[str, tuple[int, int]],
) -> Header:
    """Return the header of a file."""
    is_funding = layout.family == "funding"
    return Header(
        kind=layout.kind,
        venue=venue,
        symbol=symbol,
        price_exponent=0 if is_funding else price_exponent,
        qty_exponent=qty_exponent,
        rate_exponent=price_exponent if is_funding else 0,
        sources=sources,
    )


class Partition:
    """One file of the store, open for reading.

    Raises:
        DataError: it is damaged, or no file of the store.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self._layout = layout
        with told_damaged(path):
            self._file = pq.ParquetFile(path, memory_map=True)
        self.header = read_header(self._file, path)
        if self.header.kind != layout.kind:
            raise DataError(f"{path}: holds {self.header.kind}, its folder {layout.kind}; put it where it belongs")
        self.rows: int = self._file.metadata.num_rows
        self.group_count: int = self._file.num_row_groups

    def span_ns(self) -> tuple[int, int] | None:
        """Return the least and the greatest time in it, None if it is empty."""
        spans = [self.group_span_ns(group) for group in range(self.group_count)]
        return (min(span[0] for span in spans), max(span[1] for span in spans)) if spans else None

    def groups(self, from_ns: int, to_ns: int) -> list[int]:
        """Return the row groups that hold times of [from_ns, to_ns)."""
        spans = [self.group_span_ns(group) for group in range(self.group_count)]
        return [group for group, (first, last) in enumerate(spans) if last >= from_ns and first < to_ns]

    def first_row(self, group: int) -> int:
        """Return the number of a row group's first row."""
        return sum(self._file.metadata.row_group(before).num_rows for before in range(group))

    def read(self, group: int, names: Sequence[str]) -> Columns:
        """Return columns of a row group; the arrays are views of what was read and must not be written to."""
        with told_damaged(self.path):
            table = self._file.read_row_group(group, columns=list(names))
            return {name: table.column(name).to_numpy() for name in names}

    def read_all(self) -> Columns:
        """Return all columns of all rows."""
        with told_damaged(self.path):
            table = self._file.read(columns=list(self._layout.columns))
            return {name: table.column(name).to_numpy() for name in self._layout.columns}

    def group_span_ns(self, group: int) -> tuple[int, int]:
        """Return the least and the greatest time of a row group."""
        with told_damaged(self.path):
            column = self._file.schema_arrow.get_field_index(self._layout.time)
            known = self._file.metadata.row_group(group).column(column).statistics
        if known is None or not known.has_min_max:
            return -(2**62), 2**62
        return known.min, known.max


def read_header(file: Any, path: Path) -> Header:
    """Return what a Parquet file's metadata say of it as a file of the store.

    Raises:
        DataError: it is none, or of a format that is not known here.
    """
    raw = (file.schema_arrow.metadata or {}).get(b"bot")
    if raw is None:
        raise DataError(f"{path}: not a file of the market store; import it with `bot data import`")
    try:
        header = msgspec.json.decode(raw, type=Header)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: its metadata cannot be read ({error}); import its data again") from error
    if header.format != FORMAT:
        raise DataError(f"{path}: format {header.format} of the store, known is {FORMAT}; use the bot that wrote it")
    return header


def write_partition(path: Path, layout: Layout, header: Header, stretches: Iterable[Columns]) -> None:
    """Write a file of the store as a whole: it appears under its name when all of it is on the disk.

    Args:
        path: its name.
        layout, header: what it holds.
        stretches: the rows, in order, in pieces of any size.

    Raises:
        StorageError: the disk refuses.
    """
    metadata = {"bot": msgspec.json.encode(header)}
    types = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([pa.field(name, types[of], nullable=False) for name, of in layout.columns.items()], metadata)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            with pq.ParquetWriter(
                file,
                schema,
                compression="zstd",
                use_dictionary=False,
                column_encoding={name: "DELTA_BINARY_PACKED" for name, of in layout.columns.items() if of == "int64"},
                write_statistics=[layout.time],
            ) as writer:
                for columns in in_groups(stretches, layout):
                    arrays = [pa.array(columns[name]) for name in layout.columns]
                    writer.write_table(pa.table(arrays, schema=schema), row_group_size=GROUP_ROWS)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); make room or choose --store"
        ) from error


def in_groups(stretches: Iterable[Columns], layout: Layout) -> Iterator[Columns]:
    """Yield rows as the row groups of a file hold them: GROUP_ROWS at a time, the last ones fewer."""
    waiting: list[Columns] = []
    rows = 0
    for columns in stretches:
        start, end = 0, len(columns[layout.time])
        while start < end:
            stop = min(end, start + GROUP_ROWS - rows)
            waiting.append({name: columns[name][start:stop] for name in layout.columns})
            rows += stop - start
            start = stop
            if rows == GROUP_ROWS:
                yield join(waiting)
                waiting, rows = [], 0
    if waiting:
        yield join(waiting)


def join(pieces: Sequence[Columns]) -> Columns:
    """Return the rows of pieces one after another."""
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


@contextmanager
def told_damaged(path: Path) -> Iterator[None]:
    """Turn what a damaged file causes into one line about it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise DataError(
            f"{path}: not a whole file of the store ({reason}); delete it and import its data again"
        ) from error
