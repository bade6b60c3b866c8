"""What can be imported: recognises a file by its content and name, and reads it as parts.

Tried in this order, the first that knows the file reads it: captures and order books, the store's own files, the
archives of Bybit and Binance, then any table with columns that can be told by name. What the user says goes before
what a file says.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.store.importing import captures
from bot.store.importing.bar_rows import OHLC, BarLayout, read_bars, read_funding
from bot.store.importing.chunks import TableFile, Tables, TextFile
from bot.store.importing.columns import ColumnFinder
from bot.store.importing.names import SUFFIXES, Told, read_name, stem
from bot.store.importing.native import read_native
from bot.store.importing.options import ImportOptions
from bot.store.importing.part import Part
from bot.store.importing.trade_rows import (
    QuoteLayout,
    Target,
    TradeLayout,
    is_linear,
    read_quotes,
    read_trades,
)

_DATED_NAME = re.compile(r"([A-Za-z0-9]{2,20})[_-]\d{4}-\d{2}(-\d{2})?")
_KLINE_NAME = re.compile(r"([A-Z0-9]{2,20})_(\d{1,4})_\d{4}-\d{2}-\d{2}_\d{4}-\d{2}-\d{2}")
_KLINE_LINE = re.compile(r"\d{4}\.\d\d\.\d\d \d\d:\d\d(,[0-9.eE+-]+){5}")
_BYBIT_TRADES = ["timestamp", "symbol", "side", "size", "price", "tickDirection", "trdMatchID"]
_BYBIT_SPOT = ["id", "timestamp", "price", "volume", "side"]
_AGG_TRADES = [
    "agg_trade_id",
    "price",
    "quantity",
    "first_trade_id",
    "last_trade_id",
    "transact_time",
    "is_buyer_maker",
]
_MINUTE_NS = 60_000_000_000
_MT4_OFFSET_NS = -3 * 60 * _MINUTE_NS  # the archive's candles are stamped in UTC+3

Reader = Callable[[], Iterator[Part]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    """A file that can be read.

    Attributes:
        what: in words, for people.
        read: yields its rows.
    """

    what: str
    read: Reader


def recognise(path: Path, options: ImportOptions) -> Recognised:
    """Find out what a file is.

    Raises:
        DataError: it cannot be told, or not without an option that the message names.
    """
    if not options.columns and (capture := captures.sniff(path)) is not None:
        return Recognised(what=f"capture, {capture}", read=lambda: _captured(path, options))
    table = Tables(path).table
    if table is None:
        raise DataError(f"{path}: neither a table of text, nor Parquet, nor a capture that is known; it cannot be read")
    if isinstance(table, TableFile) and b"bot" in table.metadata:
        return Recognised(what="the market store's own file", read=lambda: read_native(path))
    told = read_name(path)
    if not options.columns:
        for known in (_bybit_trades, _bybit_spot, _bybit_klines, _binance_aggregates):
            found = known(table, told, options)
            if found is not None:
                return found
    return _any_table(table, told, options)


def is_candidate(path: Path) -> bool:
    """Return whether a file found in a folder should be something that can be imported."""
    return path.name.lower().endswith(SUFFIXES)


def _captured(path: Path, options: ImportOptions) -> Iterator[Part]:
    return captures.read(path, venue=options.venue, symbol=options.symbol, depth=options.depth, on_read=options.on_read)


# --- archives ---------------------------------------------------------------------------------------------------------


def _bybit_trades(table: TextFile | TableFile, told: Told, options: ImportOptions) -> Recognised | None:
    """Linear and inverse contracts: seconds with a fraction, the symbol in every row, an id that is no number."""
    if not isinstance(table, TextFile) or table.names[: len(_BYBIT_TRADES)] != _BYBIT_TRADES:
        return None
    first = dict(zip(table.names, table.first_fields(), strict=False))
    venue = options.venue
    if venue is None and first:
        try:
            linear = is_linear(first)
        except (ArithmeticError, KeyError):
            linear = None
        venue = {True: "bybit-linear", False: "bybit-inverse", None: None}[linear]
    target = _target(table.path, venue, options.symbol or first.get("symbol") or told.symbol, "bybit-archive")
    layout = TradeLayout(
        ts="timestamp",
        price="price",
        qty="size",
        side="side",
        identity="trdMatchID",
        symbol=None if options.symbol else "symbol",
        time_unit=options.time_unit or "s",
    )
    return _trades("Bybit archive, trades", table, layout, target, options)


def _bybit_spot(table: TextFile | TableFile, told: Told, options: ImportOptions) -> Recognised | None:
    """Spot: milliseconds; ids that restart every day are row numbers, not ids; a sixth column without a name."""
    if not isinstance(table, TextFile) or table.names[: len(_BYBIT_SPOT)] != _BYBIT_SPOT:
        return None
    named = _DATED_NAME.fullmatch(stem(table.path))
    symbol = options.symbol or (named[1] if named else told.symbol)
    target = _target(table.path, options.venue or "bybit-spot", symbol, "bybit-archive")
    unit = options.time_unit or "ms"
    layout = TradeLayout(ts="timestamp", price="price", qty="volume", side="side", identity="id", time_unit=unit)
    return _trades("Bybit archive, spot trades", table, layout, target, options)


def _bybit_klines(table: TextFile | TableFile, told: Told, options: ImportOptions) -> Recognised | None:
    """Candles made for MetaTrader 4: no header, UTC+3, the first candle of the next month at the end."""
    if not isinstance(table, TextFile) or table.has_header or not table.head:
        return None
    if not _KLINE_LINE.fullmatch(table.head[0].strip()):
        return None
    named = _KLINE_NAME.fullmatch(stem(table.path))
    symbol = options.symbol or (named[1] if named else told.symbol)
    venue = options.venue or told.venue
    if venue is None and named is not None:
        venue = "bybit-linear" if symbol and symbol.endswith(("USDT", "PERP")) else "bybit-inverse"
    if venue is None:
        raise DataError(
            f"{table.path}: it looks like a MetaTrader candle file, whose clock depends on who made it; keep the "
            "archive's name SYMBOL_MINUTES_FROM_TO, or give --map ts=0,... where it is in UTC"
        )
    interval_ns = options.interval_ns or (int(named[2]) * _MINUTE_NS if named else None)
    layout = BarLayout(
        ts="0",
        prices=("1", "2", "3", "4"),
        volume="5",
        offset_ns=_MT4_OFFSET_NS if venue.startswith("bybit-") else 0,
        interval_ns=interval_ns,
        is_sure=options.interval_ns is not None,
    )
    return _bars("Bybit archive, candles", table, layout, "bars", _target(table.path, venue, symbol), options)


def _binance_aggregates(table: TextFile | TableFile, told: Told, options: ImportOptions) -> Recognised | None:
    """Aggregate trades: those of one taker order at one price are one row, under a number of their own."""
    if not isinstance(table, TextFile):
        return None
    names = table.names
    is_spot = False
    if not table.has_header and "aggTrades" in table.path.name and len(names) in (7, 8):
        is_spot = len(names) == 8  # the eighth column, whether the price was the best, is of spot alone
        ts, price, qty, maker, number = "5", "1", "2", "6", "0"
    elif names[: len(_AGG_TRADES)] == _AGG_TRADES:
        ts, price, qty, maker, number = "transact_time", "price", "quantity", "is_buyer_maker", "agg_trade_id"
    else:
        return None
    symbol = options.symbol or told.symbol
    market = "spot" if is_spot else "usdm" if (symbol or "").endswith(("USDT", "USDC", "BUSD")) else "coinm"
    venue = options.venue or told.venue or (f"binance-{market}" if symbol else None)
    layout = TradeLayout(
        ts=ts,
        price=price,
        qty=qty,
        side=maker,
        side_is_maker=True,
        trade_id=number,
        time_unit=options.time_unit,
    )
    target = _target(table.path, venue, symbol, "binance-aggregate")
    return _trades("Binance archive, aggregate trades", table, layout, target, options)


# --- any table --------------------------------------------------------------------------------------------------------


def _any_table(table: TextFile | TableFile, told: Told, options: ImportOptions) -> Recognised:
    finder = ColumnFinder(table.path, table.names, options.columns)
    kind = options.kind or _kind(table, finder, told)
    if kind == "trades":
        return _any_trades(table, finder, told, options)
    if kind in ("bars", "mark", "index"):
        return _any_bars(kind, table, finder, told, options)
    if kind == "funding":
        return _any_funding(table, finder, told, options)
    if kind == "quotes":
        return _any_quotes(table, finder, told, options)
    raise DataError(
        f"--kind {kind}: cannot be imported from a table; give trades, bars, mark, index, funding or quotes"
    )


def _kind(table: TextFile | TableFile, finder: ColumnFinder, told: Told) -> str:
    """Return what a table holds by its columns."""
    if finder.has(*OHLC):
        if told.kind in ("mark", "index"):
            return told.kind
        if finder.has("volume"):
            return "bars"
        raise DataError(
            f"{table.path}: candles without a volume; give --kind mark or --kind index, or name it with --map volume="
        )
    if finder.has("price", "qty") and (finder.has("side") or finder.has("maker")):
        return "trades"
    if finder.has("rate") and not finder.has("price"):
        return "funding"
    if finder.has("bid", "ask", "bid_qty", "ask_qty"):
        return "quotes"
    raise DataError(
        f"{table.path}: its columns ({', '.join(table.names)[:200]}) do not tell what it holds; give --kind, and --map "
        "for columns with other names"
    )


def _any_trades(table: TextFile | TableFile, finder: ColumnFinder, told: Told, options: ImportOptions) -> Recognised:
    target = _target(table.path, options.venue or told.venue, options.symbol or told.symbol)
    names = set(table.names)
    recv = finder.get("recv")
    ts = None
    if "ts" not in options.columns and {"exch_ts_ms", "ts_ms"} <= names:
        ts, recv = "exch_ts_ms", "ts_ms"  # a recorder's file: the venue's time beside its own
    ts = ts or finder.need("ts")
    side = finder.get("side")
    number = finder.get("id")
    if number is not None and not _is_whole(table, number):
        identity, number = number, None
    else:
        identity = None
    layout = TradeLayout(
        ts=ts,
        price=finder.need("price"),
        qty=finder.need("qty"),
        side=side or finder.need("maker"),
        side_is_maker=side is None,
        trade_id=number,
        identity=identity,
        recv=recv,
        time_unit=options.time_unit,
    )
    return _trades("trades", table, layout, target, options)


def _is_whole(table: TextFile | TableFile, name: str) -> bool:
    fields = table.first_fields()
    at = table.names.index(name)
    return len(fields) > at and fields[at].isdigit() and len(fields[at]) <= 18


def _any_bars(
    family: str, table: TextFile | TableFile, finder: ColumnFinder, told: Told, options: ImportOptions
) -> Recognised:
    target = _target(table.path, options.venue or told.venue, options.symbol or told.symbol)
    has_flow = family == "bars"
    layout = BarLayout(
        ts=finder.need("ts"),
        prices=(finder.need("open"), finder.need("high"), finder.need("low"), finder.need("close")),
        volume=finder.need("volume") if has_flow else None,
        turnover=finder.get("turnover") if has_flow else None,
        count=finder.get("count") if has_flow else None,
        buy_volume=finder.get("buy_volume") if has_flow else None,
        time_unit=options.time_unit,
        interval_ns=options.interval_ns or told.interval_ns,
        is_sure=options.interval_ns is not None,
    )
    bars = _bars(
        {"bars": "candles", "mark": "mark price", "index": "index price"}[family],
        table,
        layout,
        family,
        target,
        options,
    )
    names = set(table.names)
    if not has_flow or not {f"{side}_{word}" for side in ("bid", "ask") for word in ("close", "size")} <= names:
        return bars
    if layout.interval_ns is None:
        raise DataError(f"{table.path}: give --interval: its quotes are of the bars' ends")
    # The quote at a bar's end is known from then on, and no earlier time is told.
    quotes = QuoteLayout(
        ts=layout.ts,
        bid="bid_close",
        bid_qty="bid_size",
        ask="ask_close",
        ask_qty="ask_size",
        offset_ns=layout.interval_ns,
        time_unit=options.time_unit,
    )

    def read() -> Iterator[Part]:
        yield from bars.read()
        yield from read_quotes(table, quotes, target, options)

    return replace(bars, what="candles with quotes", read=read)


def _any_funding(table: TextFile | TableFile, finder: ColumnFinder, told: Told, options: ImportOptions) -> Recognised:
    column = None if options.symbol else finder.get("symbol")
    venue = options.venue or told.venue
    target = _target(table.path, venue, options.symbol or told.symbol if column is None else "ANY")

    def read() -> Iterator[Part]:
        return read_funding(
            table,
            ts=finder.need("ts"),
            rate=finder.need("rate"),
            symbol=column or target,
            venue=target.venue,
            options=options,
        )

    return Recognised(what="funding rates", read=read)


def _any_quotes(table: TextFile | TableFile, finder: ColumnFinder, told: Told, options: ImportOptions) -> Recognised:
    target = _target(table.path, options.venue or told.venue, options.symbol or told.symbol)
    layout = QuoteLayout(
        ts=finder.need("ts"),
        bid=finder.need("bid"),
        bid_qty=finder.need("bid_qty"),
        ask=finder.need("ask"),
        ask_qty=finder.need("ask_qty"),
        time_unit=options.time_unit,
    )
    return Recognised(
        what="quotes",
        read=lambda: read_quotes(table, layout, target, options),
    )


# --- what they share --------------------------------------------------------------------------------------------------


def _target(path: Path, venue: str | None, symbol: str | None, source: str = "") -> Target:
    if venue is None:
        raise DataError(f"{path}: nothing says which venue it is from; give --venue, such as bybit-linear")
    if symbol is None:
        raise DataError(f"{path}: nothing says which symbol it is of; give --symbol, such as BTCUSDT")
    return Target(venue=venue, symbol=symbol, source=source)


def _trades(
    what: str, table: TextFile | TableFile, layout: TradeLayout, target: Target, options: ImportOptions
) -> Recognised:
    return Recognised(
        what=what,
        read=lambda: read_trades(table, layout, target, options),
    )


def _bars(
    what: str, table: TextFile | TableFile, layout: BarLayout, family: str, target: Target, options: ImportOptions
) -> Recognised:
    if layout.interval_ns is not None:
        what = f"{what} of {format_duration(layout.interval_ns)}"
    return Recognised(
        what=what,
        read=lambda: read_bars(table, layout, family, target, options),
    )
