"""Small market data for the scans of `core.data_quality`: sound until a test plants something in it."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.data_quality.findings import Finding, Limits, Quality
from bot.core.data_quality.scans import scan_of

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_704_067_200 * SECOND  # 2024-01-01T00:00Z

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Rows as an importer or the store hands them on."""

    columns: Mapping[str, NDArray[Any]]
    price_exponent: int = -2
    qty_exponent: int = -3


def bars(rows: int = 200, interval_ns: int = MINUTE) -> Columns:
    """Return bars that move a little and trade a little, prices about 100.00."""
    i = np.arange(rows)
    close = 10_000 + (i * 7 % 11) - 5 + (i * 3 % 5)
    open_ = np.append(close[:1], close[:-1])
    volume = 1_000 + i % 17
    return {
        "open_ns": START + i * interval_ns,
        "open": open_,
        "high": np.maximum(open_, close) + 2,
        "low": np.minimum(open_, close) - 2,
        "close": close,
        "volume": volume,
        "turnover": volume / 1_000 * (open_ + close) / 2 / 100,
        "count": np.full(rows, 12),
        "buy_volume": volume // 2,
    }


def mark(rows: int = 200, interval_ns: int = HOUR) -> Columns:
    """Return the bars of a mark price."""
    return {name: values for name, values in bars(rows, interval_ns).items() if name in ("open_ns", *_OHLC)}


def trades(rows: int = 300) -> Columns:
    """Return a trade a second, received 20 ms later."""
    i = np.arange(rows)
    ts_ns = START + i * SECOND
    return {
        "ts_ns": ts_ns,
        "recv_ns": ts_ns + 20_000_000 + i % 7 * 1_000_000,
        "price": 10_000 + i * 7 % 5,
        "qty": 100 + i % 13,
        "is_buy": i % 3 == 0,
        "trade_id": 5_000 + i,
    }


def quotes(rows: int = 300) -> Columns:
    """Return a quote a second."""
    i = np.arange(rows)
    ts_ns = START + i * SECOND
    bid = 10_000 + i * 7 % 5
    return {
        "ts_ns": ts_ns,
        "recv_ns": ts_ns + 20_000_000,
        "bid": bid,
        "bid_qty": 100 + i % 13,
        "ask": bid + 1,
        "ask_qty": 100 + i % 7,
    }


def funding(rows: int = 60, interval_ns: int = 8 * HOUR) -> Columns:
    """Return a settlement every eight hours, about 1 bp; the price exponent is that of the rate."""
    i = np.arange(rows)
    return {"ts_ns": START + i * interval_ns, "rate": 100 + i % 9 - 4}


def book(messages: int = 100) -> Columns:
    """Return a snapshot of three levels a side, then messages of one bid and one ask, each linked to the last."""
    levels = [(True, 9_999 - k, 50) for k in range(3)] + [(False, 10_001 + k, 50) for k in range(3)]
    rows: list[tuple[int, int, int, bool, bool, int, int]] = [(0, 1000, -1, True, *level) for level in levels]
    for n in range(1, messages):
        rows.append((n, 1000 + n, 999 + n, False, True, 9_999 - n % 3, 40 + n % 9))
        rows.append((n, 1000 + n, 999 + n, False, False, 10_001 + n % 3, 40 + n % 7))
    second, update, previous, is_snapshot, is_bid, price, qty = (np.array(column) for column in zip(*rows, strict=True))
    ts_ns = START + second * SECOND
    return {
        "ts_ns": ts_ns,
        "recv_ns": ts_ns + 20_000_000,
        "update": update,
        "previous": previous,
        "is_snapshot": is_snapshot,
        "is_bid": is_bid,
        "price": price,
        "qty": qty,
    }


CLEAN = {
    "bars-1m": bars,
    "mark-1h": mark,
    "trades": trades,
    "quotes": quotes,
    "funding": funding,
    "book": book,
}
EXPONENTS = {"funding": -6}  # of the price, where it is not -2


def take(columns: Columns, rows: Any) -> Columns:
    """Return some of the rows, in that order."""
    return {name: values[rows] for name, values in columns.items()}


def put(columns: Columns, name: str, rows: Any, values: Any) -> Columns:
    """Return the columns with other values in one of them."""
    changed = columns[name].copy()
    changed[rows] = values
    return columns | {name: changed}


def cut(columns: Columns, places: Iterable[int]) -> list[Columns]:
    """Return the rows in pieces, cut before each of these rows."""
    rows = len(next(iter(columns.values())))
    edges = [0, *sorted(min(place, rows) for place in places), rows]
    return [take(columns, slice(start, stop)) for start, stop in itertools.pairwise(edges)]


def scan(kind: str, columns: Columns, *, places: Iterable[int] = (), limits: Limits | None = None) -> Quality:
    """Return what the scan of a kind says of rows that come cut at these places."""
    scanned = scan_of(kind, limits or Limits())
    for piece in cut(columns, places):
        scanned.add(Piece(columns=piece, price_exponent=EXPONENTS.get(kind, -2)))
    return scanned.finish()


def found(quality: Quality, code: str) -> Finding:
    """Return the finding of a code, which must be there once."""
    (finding,) = [each for each in quality.findings if each.code == code]
    return finding


_OHLC = ("open", "high", "low", "close")
