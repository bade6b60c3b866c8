"""Files of raw market data as recorders leave them, made for a test, and what is read of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bot.store.importing import captures
from bot.store.importing.part import Part, Rejected

MS = 1_000_000
T0 = 1_723_161_256_000  # ms


def write_capture(path: Path, lines: Sequence[str | bytes | dict[str, Any]]) -> Path:
    """Write lines; objects as JSON."""
    raw = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def read_capture(path: Path, **options: Any) -> tuple[dict[tuple[str, str], Part], list[Rejected]]:
    """Return the parts by symbol and kind, and all that was refused."""
    parts = list(captures.read(path, **options))
    found: dict[tuple[str, str], Part] = {}
    for part in parts:
        if len(part):
            assert (part.symbol, part.kind) not in found, "these files are small"
            found[part.symbol, part.kind] = part
    return found, [each for part in parts for each in part.rejected]


def rows_of(part: Part, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(part.columns[name].tolist() for name in names), strict=True))


def book_rows(part: Part) -> list[tuple[Any, ...]]:
    return rows_of(part, "update", "previous", "is_snapshot", "is_bid", "price", "qty")


def binance(recv_ns: int, data: dict[str, Any], stream: str | None = None) -> str:
    message = data if stream is None else {"stream": stream, "data": data}
    return f"{recv_ns} {json.dumps(message)}"


def usdm_depth(first: int, last: int, previous: int, *, at: int = 0, bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    return {
        "e": "depthUpdate",
        "E": T0 + at + 1,
        "T": T0 + at,
        "s": "XUSDT",
        "U": first,
        "u": last,
        "pu": previous,
        "b": list(bids),
        "a": list(asks),
    }


def usdm_snapshot(last: int, *, at: int = 0) -> dict[str, Any]:
    return {"lastUpdateId": last, "E": T0 + at, "T": T0 + at, "bids": [["99.90", "1.000"]], "asks": [["100.10", "2"]]}


RECV = T0 * MS


def bybit_frame(
    update: int, *, kind: str = "delta", depth: str = "50", symbol: str = "XUSDT", **more: Any
) -> dict[str, Any]:
    data = {"s": symbol, "b": [["99.5", "1"]], "a": [], "u": update, "seq": update * 7} | more
    return {"topic": f"orderbook.{depth}.{symbol}", "type": kind, "ts": T0 + 5, "cts": T0, "data": data}


def v2(seq: int, data: dict[str, Any], *, kind: str = "delta", symbol: str = "XUSDT") -> str:
    body = {
        "topic": f"orderBookL2_25.{symbol}",
        "type": kind,
        "data": data,
        "cross_seq": str(seq),
        "timestamp_e6": str(T0 * 1000 + seq),
    }
    return f"{T0 // 1000}.{seq:06d}5: {json.dumps(body)}"


def v2_level(price: str, side: str, size: float | None = None) -> dict[str, Any]:
    level = {"price": price, "symbol": "XUSDT", "id": "1", "side": side}
    return level if size is None else level | {"size": size}


V2_SNAPSHOT = v2(5, {"order_book": [v2_level("99.5", "Buy", 13.329999), v2_level("100.0", "Sell", 2)]}, kind="snapshot")
V2_DELTA = {
    "delete": [v2_level("99.5", "Buy")],
    "update": [v2_level("100", "Sell", 3)],
    "insert": [v2_level("99", "Buy", 1.5)],
}
V2_LOG = ["wss://x <-> 1618677785.4", 'wss://x <- 1618677786.4: {"op":"subscribe"}']


POLL = (
    "both,XUSDT,1719823044587.1501,1719823044454,"
    "\"[[['62918.1', '1.293'], ['62917', '0.015']], [['62918.8', '0.003']]]\""
)


def table_file(path: Path, books: list[dict[str, Any]]) -> Path:
    """Write books; what is not named is plain."""
    plain: dict[str, Any] = {
        "venue": "Binance",
        "market_type": "fut",
        "symbol": "XUSDT",
        "reconnect_flag": 0,
        "bids_px": [99.9, 99.8],
        "bids_qty": [1.5, 2.0],
        "asks_px": [100.1],
        "asks_qty": [0.3],
    }
    filled = [plain | {"ts_ms": T0 + i + 2, "exch_ts_ms": T0 + i, "seq": i + 1} | book for i, book in enumerate(books)]
    pq.write_table(pa.Table.from_pylist(filled), path)
    return path
