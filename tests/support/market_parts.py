"""Parts for tests of the market store: out of plain rows, and back into them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bot.store.importing.part import Part
from bot.store.market_format import Columns, layout_of
from bot.store.market_store import MarketStore, read_columns

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
START_NS = 1_723_075_200 * 10**9  # 2024-08-08, midnight UTC

Row = tuple[Any, ...]


def part_of(
    kind: str,
    rows: Sequence[Row],
    *,
    price_exponent: int = -1,
    qty_exponent: int = -3,
    source: str = "",
    symbol: str = "XUSDT",
    names: Sequence[str] | None = None,
) -> Part:
    """Return rows as a part; each holds the kind's columns in order, or those of `names`."""
    layout = layout_of(kind)
    names = list(layout.columns) if names is None else names
    columns = {name: np.array([row[at] for row in rows], dtype=layout.columns[name]) for at, name in enumerate(names)}
    return Part(
        venue="bybit-linear",
        symbol=symbol,
        kind=kind,
        price_exponent=price_exponent,
        qty_exponent=qty_exponent,
        columns=columns,
        source=source,
    )


def trade_part(rows: Sequence[Row], **options: Any) -> Part:
    """Return trades (ts_ns, price, qty, is_buy, trade_id) as a part."""
    return part_of("trades", rows, names=("ts_ns", "price", "qty", "is_buy", "trade_id"), **options)


def bar_part(rows: Sequence[Row], kind: str = "bars-1m", **options: Any) -> Part:
    """Return bars (open_ns, open, high, low, close, volume) as a part."""
    return part_of(kind, rows, names=("open_ns", "open", "high", "low", "close", "volume"), **options)


def rows_of(columns: Columns, names: Iterable[str] | None = None) -> list[Row]:
    """Return columns as plain rows."""
    return list(zip(*(columns[name].tolist() for name in (names or columns)), strict=True))


def stored(store: MarketStore, kind: str, *, symbol: str = "XUSDT", **limits: Any) -> tuple[int, int, Columns]:
    """Return what the store holds of a dataset, with its exponents."""
    return read_columns(store.read("bybit-linear", symbol, kind, **limits))


def snapshot(root: Path) -> dict[str, bytes]:
    """Return every data file under a folder with its bytes."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
