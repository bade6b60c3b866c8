"""Captures, format by format: what comes of good messages, and that broken ones are told and harm nobody else."""

import gzip
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import DataError
from bot.store.importing import capture_lines, captures
from bot.store.importing.part import Part, Rejected

MS = 1_000_000
T0 = 1_723_161_256_000  # ms


def write(path: Path, lines: Sequence[str | bytes | dict[str, Any]]) -> Path:
    """Write lines; objects as JSON."""
    raw = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def read(path: Path, **options: Any) -> tuple[dict[tuple[str, str], Part], list[Rejected]]:
    """Return the parts by symbol and kind, and all that was refused."""
    parts = list(captures.read(path, **options))
    found: dict[tuple[str, str], Part] = {}
    for part in parts:
        if len(part):
            assert (part.symbol, part.kind) not in found, "these files are small"
            found[part.symbol, part.kind] = part
    return found, [each for part in parts for each in part.rejected]


def rows(part: Part, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(part.columns[name].tolist() for name in names), strict=True))


def book_rows(part: Part) -> list[tuple[Any, ...]]:
    return rows(part, "update", "previous", "is_snapshot", "is_bid", "price", "qty")


# --- Binance ----------------------------------------------------------------------------------------------------------


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


def test_a_binance_snapshot_goes_where_its_number_belongs(tmp_path: Path) -> None:
    """It came after updates that go on from it: those it holds stand before, the next says it as its predecessor."""
    lines = [
        binance(RECV, usdm_depth(1, 10, 0, bids=[["99.8", "1"]])),
        binance(RECV + 1, usdm_depth(11, 20, 10, at=1, bids=[["99.7", "1"]])),
        binance(RECV + 2, usdm_depth(21, 30, 20, at=2, asks=[["100.20", "0"]])),
        binance(RECV + 3, usdm_snapshot(15)),
        binance(RECV + 4, usdm_depth(31, 40, 30, at=3)),
    ]
    parts, rejected = read(write(tmp_path / "a.log", lines))
    assert not rejected
    part = parts["XUSDT", "book"]
    assert (part.venue, part.price_exponent, part.qty_exponent, part.source) == ("binance-usdm", -1, 0, "")
    assert book_rows(part) == [
        (10, 0, False, True, 998, 1),
        (15, -1, True, True, 999, 1),
        (15, -1, True, False, 1001, 2),
        (20, 15, False, True, 997, 1),
        (30, 20, False, False, 1002, 0),
        (40, 30, False, False, 0, 0),
    ]
    assert part.columns["recv_ns"].tolist() == [RECV, RECV + 3, RECV + 3, RECV + 1, RECV + 2, RECV + 4]
    assert part.columns["ts_ns"].tolist() == [(T0 + at) * MS for at in (0, 0, 0, 1, 2, 3)]


def test_a_binance_snapshot_waits_for_the_updates_that_it_holds(tmp_path: Path) -> None:
    """It is ahead of the stream: updates that it holds still come, and are no gap."""
    lines = [
        binance(RECV, usdm_depth(1, 10, 0)),
        binance(RECV + 1, usdm_snapshot(25)),
        binance(RECV + 2, usdm_depth(11, 20, 10)),
        binance(RECV + 3, usdm_depth(21, 30, 20)),
    ]
    parts, _ = read(write(tmp_path / "a.log", lines))
    assert [row[:3] for row in book_rows(parts["XUSDT", "book"])] == [
        (10, 0, False),
        (20, 10, False),
        (25, -1, True),
        (25, -1, True),
        (30, 25, False),
    ]


def test_updates_missing_after_a_binance_snapshot_stay_a_gap(tmp_path: Path) -> None:
    lines = [
        binance(RECV, usdm_depth(1, 10, 0)),
        binance(RECV + 1, usdm_snapshot(15)),
        binance(RECV + 2, usdm_depth(31, 40, 30)),
    ]
    parts, _ = read(write(tmp_path / "a.log", lines))
    assert book_rows(parts["XUSDT", "book"])[-1][:2] == (40, 30)


def test_spot_chains_by_the_first_number(tmp_path: Path) -> None:
    """Spot tells no `pu` and no time of a snapshot or a quote; its trades say who made."""
    depth = {"e": "depthUpdate", "E": T0, "s": "XUSDT", "U": 5, "u": 9, "b": [["99.00000000", "0.50000000"]], "a": []}
    lines = [
        binance(RECV, depth, "xusdt@depth@100ms"),
        binance(RECV + 1, {"u": 9, "s": "XUSDT", "b": "99", "B": "1", "a": "101", "A": "2"}, "xusdt@bookTicker"),
        binance(RECV + 2, {"lastUpdateId": 9, "bids": [["99.0", "1.0"]], "asks": [["101.0", "1.0"]]}),
        binance(RECV + 3, depth | {"E": T0 + 100, "U": 10, "u": 12}, "xusdt@depth@100ms"),
        binance(
            RECV + 4,
            {
                "e": "trade",
                "E": T0 + 101,
                "s": "XUSDT",
                "t": 7,
                "p": "100.5",
                "q": "0.25",
                "T": T0 + 99,
                "m": True,
                "M": True,
            },
            "xusdt@trade",
        ),
    ]
    parts, rejected = read(write(tmp_path / "a.log", lines))
    assert not rejected
    book = parts["XUSDT", "book"]
    assert book.venue == "binance-spot"
    assert [row[:3] for row in book_rows(book)] == [(9, 4, False), (9, -1, True), (9, -1, True), (12, 9, False)]
    assert book.columns["ts_ns"].tolist() == [T0 * MS] * 3 + [(T0 + 100) * MS]
    assert rows(parts["XUSDT", "trades"], "ts_ns", "price", "qty", "is_buy", "trade_id") == [
        ((T0 + 99) * MS, 1005, 25, False, 7)
    ]
    assert rows(parts["XUSDT", "quotes"], "ts_ns", "recv_ns", "bid", "bid_qty", "ask", "ask_qty") == [
        (T0 * MS, RECV + 1, 99, 1, 101, 2)
    ]


@pytest.mark.parametrize("unit_ns", [1, 1_000, 1_000_000])
def test_a_recorders_clock_may_be_in_ns_us_or_ms(tmp_path: Path, unit_ns: int) -> None:
    line = binance(RECV // unit_ns, usdm_depth(1, 2, 0, bids=[["1", "1"]]))
    parts, _ = read(write(tmp_path / "a.log", [line]))
    assert parts["XUSDT", "book"].columns["recv_ns"].tolist() == [RECV]


def test_a_file_without_a_snapshot_keeps_its_updates(tmp_path: Path) -> None:
    """The book may have been seeded by the file before it."""
    lines = [binance(RECV + i, usdm_depth(i + 1, i + 1, i, bids=[["1", "1"]])) for i in range(5000)]
    parts, _ = read(write(tmp_path / "a.log", lines))
    assert parts["XUSDT", "book"].columns["update"].tolist() == list(range(1, 5001))


def test_mark_prices_become_whole_minutes(tmp_path: Path) -> None:
    """Of a minute at whose beginning or end nothing came, nobody knows the open or the close."""
    start = T0 - T0 % 60_000
    prices = {30: "1", 61: "2.50", 75: "4.0", 90: "2", 119: "3", 121: "5", 190: "6", 250: "7", 310: "8"}
    lines = [
        binance(RECV + at, {"e": "markPriceUpdate", "E": start + at * 1000, "s": "XUSDT", "p": price, "r": "0.0001"})
        for at, price in prices.items()
    ]
    parts, _ = read(write(tmp_path / "a.log", lines), venue="binance-usdm")
    part = parts["XUSDT", "mark-1m"]
    assert part.price_exponent == -1
    minute = 60_000 * MS
    assert rows(part, "open_ns", "open", "high", "low", "close") == [
        (start * MS + minute, 25, 40, 20, 30),
        (start * MS + 2 * minute, 50, 50, 50, 50),
        (start * MS + 3 * minute, 60, 60, 60, 60),
        (start * MS + 4 * minute, 70, 70, 70, 70),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no time in front", "local time"),
        ("99 {}", "local time"),
        ("9999999999999999999 {}", "2001 to 2100"),
        (f"{RECV} {{", "no message that is known"),
        (f"{RECV} []", "no message that is known"),
        (f"{RECV} {{}}", "no message that is known"),
        (binance(RECV, usdm_depth(3, 4, 2) | {"u": 2**70}), "no message that is known"),
        (binance(RECV, usdm_depth(3, 4, 2) | {"u": "4"}), "no message that is known"),
        (binance(RECV, usdm_depth(3, 4, 2) | {"T": 17}), "not a time"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["1"]])), "no message that is known"),
        (binance(RECV, usdm_depth(3, 4, 2) | {"s": "../../X"}), "no symbol"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["1.5", "1"], ["abc", "1"]])), "price is not a number"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["1.5", "-1"]])), "qty is negative"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["0", "1"]])), "price is not positive"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["1\t2", "1"]])), "price is not a number"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["1\n2", "1"]])), "price is not a number"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[['"1"', "1"]])), "price is not a number"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["1", ""]])), "qty is missing"),
        (binance(RECV, usdm_depth(3, 4, 2, bids=[["1e30", "1"]])), "more digits"),
        (binance(RECV, {"e": "forceOrder"}), "are not read"),
        (
            binance(
                RECV,
                {"e": "trade", "s": "XUSDT", "t": 1, "p": "1", "q": "1", "T": T0, "m": False, "X": "INSURANCE_FUND"},
            ),
            "no trade of the market",
        ),
        (binance(RECV, {"e": "trade", "s": "XUSDT", "t": 1, "p": "0", "q": "1", "T": T0, "m": False}), "price is not"),
        (f"{RECV} " + "[" * 200_000, "no message that is known"),
        (f"{RECV} ".encode() + b'{"e":"\xff\xfe"}', "no message that is known"),
    ],
)
def test_a_broken_binance_line_is_told_and_the_rest_is_read(tmp_path: Path, line: str | bytes, reason: str) -> None:
    lines = [binance(RECV, usdm_depth(1, 2, 0, bids=[["1", "1"]])), line, binance(RECV, usdm_depth(5, 6, 4))]
    parts, rejected = read(write(tmp_path / "a.log", lines))
    assert [each.row for each in rejected] == [1]
    assert reason in rejected[0].reason
    assert len(rejected[0].text) <= 200
    assert parts["XUSDT", "book"].columns["update"].tolist() == [2, 6]


# --- Bybit ------------------------------------------------------------------------------------------------------------


def frame(update: int, *, kind: str = "delta", depth: str = "50", symbol: str = "XUSDT", **more: Any) -> dict[str, Any]:
    data = {"s": symbol, "b": [["99.5", "1"]], "a": [], "u": update, "seq": update * 7} | more
    return {"topic": f"orderbook.{depth}.{symbol}", "type": kind, "ts": T0 + 5, "cts": T0, "data": data}


def test_bybit_frames_chain_by_one(tmp_path: Path) -> None:
    """Also one without the matching engine's time, and one after a restart, whose number is 1."""
    late = frame(12)
    del late["cts"]
    lines = [
        {"success": True, "op": "subscribe", "ret_msg": ""},
        frame(10, kind="snapshot"),
        frame(11, b=[], a=[["100.50", "0"]]),
        late,
        frame(1),
        frame(2, b=[], a=[]),
    ]
    parts, rejected = read(write(tmp_path / "a.jsonl", lines))
    assert not rejected
    part = parts["XUSDT", "book"]
    assert (part.venue, part.source) == ("bybit-linear", "orderbook.50")
    assert book_rows(part) == [
        (10, -1, True, True, 995, 1),
        (11, 10, False, False, 1005, 0),
        (12, 11, False, True, 995, 1),
        (1, -1, True, True, 995, 1),
        (2, 1, False, False, 0, 0),
    ]
    assert part.columns["ts_ns"].tolist() == [T0 * MS, T0 * MS, (T0 + 5) * MS, T0 * MS, T0 * MS]
    assert not part.columns["recv_ns"].any()


def test_of_two_depths_one_is_read(tmp_path: Path) -> None:
    """They are different books, each with its own numbers."""
    path = write(tmp_path / "a.jsonl", [frame(10, depth="1"), frame(90, depth="50"), frame(11, depth="1"), frame(91)])
    parts, rejected = read(path)
    assert parts["XUSDT", "book"].columns["update"].tolist() == [10, 11]
    assert [(each.row, each.reason) for each in rejected] == [(1, "books of depth 50 are not read (this is the first)")]
    parts, _ = read(path, depth="50", venue="bybit-spot")
    assert parts["XUSDT", "book"].columns["update"].tolist() == [90, 91]
    assert (parts["XUSDT", "book"].venue, parts["XUSDT", "book"].source) == ("bybit-spot", "orderbook.50")


def test_bybit_trades(tmp_path: Path) -> None:
    trade = {"T": T0, "s": "XUSDT", "S": "Sell", "v": "0.10", "p": "99.5", "i": "20f43950-d8dd-5b31-9112-a178eb6023af"}
    data = [
        trade | {"BT": False},
        trade | {"S": "Buy", "i": "2100000000007764263"},
        trade | {"i": "42"},
        trade | {"BT": True},
    ]
    parts, rejected = read(
        write(tmp_path / "a.jsonl", [{"topic": "publicTrade.XUSDT", "type": "snapshot", "data": data}])
    )
    part = parts["XUSDT", "trades"]
    assert rows(part, "price", "qty", "is_buy", "trade_id") == [
        (995, 1, False, 0),
        (995, 1, True, 0),
        (995, 1, False, 42),
    ]
    assert [each.reason for each in rejected] == ["is a block trade, made off the book"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "no frame that is known"),
        ({"topic": "orderbook.50.XUSDT", "type": "delta"}, "no frame of a topic"),
        (frame(11, b=[["1", "2", "3"]]), "no frame that is known"),
        (frame(11) | {"type": "news"}, "neither snapshot nor delta"),
        (frame(11, s="YUSDT"), "another symbol"),
        (frame(11) | {"cts": 5}, "not a time"),
        (frame(-1), "no frame that is known"),
        (frame(11, depth="rpi"), "depth rpi are not read"),
        ({"topic": "tickers.XUSDT", "data": {}}, "topic tickers are not read"),
        (frame(11, b=[["1", "-2"]]), "qty is negative"),
    ],
)
def test_a_broken_bybit_frame_is_told_and_leaves_a_gap(tmp_path: Path, line: Any, reason: str) -> None:
    parts, rejected = read(write(tmp_path / "a.jsonl", [frame(10, kind="snapshot"), line, frame(12)]))
    assert [each.row for each in rejected] == [1]
    assert reason in rejected[0].reason
    assert [row[:2] for row in book_rows(parts["XUSDT", "book"])] == [(10, -1), (12, 11)]


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


def test_the_old_protocol_tells_no_chain(tmp_path: Path) -> None:
    """Quantities are exact as printed; a deletion is a quantity of zero."""
    trade = {
        "topic": "trade.XUSDT",
        "data": [{"symbol": "XUSDT", "price": "99.5", "size": 0.14, "trade_time_ms": str(T0), "side": "Sell"}],
    }
    lines = [*V2_LOG, V2_SNAPSHOT, v2(9, V2_DELTA), f"{T0 // 1000}.5: {json.dumps(trade)}", ""]
    parts, rejected = read(write(tmp_path / "a.log", lines))
    assert not rejected
    book = parts["XUSDT", "book"]
    assert (book.price_exponent, book.qty_exponent, book.source) == (-1, -6, "v2")
    assert book_rows(book) == [
        (5, -1, True, True, 995, 13_329_999),
        (5, -1, True, False, 1000, 2_000_000),
        (9, -1, False, True, 995, 0),
        (9, -1, False, True, 990, 1_500_000),
        (9, -1, False, False, 1000, 3_000_000),
    ]
    assert book.columns["recv_ns"][0] == RECV // 10**9 * 10**9 + 5_500
    assert book.columns["ts_ns"][0] == (T0 * 1000 + 5) * 1000
    assert rows(parts["XUSDT", "trades"], "ts_ns", "price", "qty", "is_buy", "trade_id") == [(RECV, 995, 14, False, 0)]


@pytest.mark.parametrize(
    "line", ["junk", f"{T0 // 1000}.1: {{", v2(7, {"delete": [], "update": [v2_level("x", "Buy", 1)], "insert": []})]
)
def test_a_broken_line_of_the_old_protocol_cuts_the_book(tmp_path: Path, line: str) -> None:
    """The next change says its own number as its predecessor, which no book can have: the gap shows."""
    lines = [*V2_LOG, V2_SNAPSHOT, line, v2(9, V2_DELTA), v2(10, V2_DELTA)]
    parts, rejected = read(write(tmp_path / "a.log", lines))
    assert [each.row for each in rejected] == [3]
    chain = dict.fromkeys(row[:2] for row in book_rows(parts["XUSDT", "book"]))
    assert list(chain) == [(5, -1), (9, 9), (10, -1)]


POLL = (
    "both,XUSDT,1719823044587.1501,1719823044454,"
    "\"[[['62918.1', '1.293'], ['62917', '0.015']], [['62918.8', '0.003']]]\""
)


def test_each_poll_is_a_snapshot(tmp_path: Path) -> None:
    lines = [
        POLL,
        "both,XUSDT,1,2",
        'both,XUSDT,1719823044587,17,"[[], []]"',
        'both,XUSDT,a,1719823044454,"[[], []]"',
        "\0",
    ]
    parts, rejected = read(write(tmp_path / "a.csv", lines))
    part = parts["XUSDT", "book"]
    assert book_rows(part) == [
        (1719823044454, -1, True, True, 629181, 1293),
        (1719823044454, -1, True, True, 629170, 15),
        (1719823044454, -1, True, False, 629188, 3),
    ]
    assert rows(part, "ts_ns", "recv_ns")[0] == (1719823044454 * MS, 1719823044587_150100)
    assert [each.row for each in rejected] == [1, 2, 3, 4]


# --- whole books ------------------------------------------------------------------------------------------------------


def table(path: Path, books: list[dict[str, Any]]) -> Path:
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


def test_whole_books_become_differences(tmp_path: Path) -> None:
    """A snapshot, then what differs; the same book under a new number is a message without levels."""
    books: list[dict[str, Any]] = [
        {},
        {"bids_px": [99.9, 99.7], "bids_qty": [1.25, 4.0]},
        {"bids_px": [99.9, 99.7], "bids_qty": [1.25, 4.0]},
        {"bids_px": [99.9, 99.7], "bids_qty": [1.25, 4.0], "seq": 3},
        {"asks_px": [], "asks_qty": [], "seq": 5},
        {"seq": 6, "reconnect_flag": 1},
    ]
    parts, rejected = read(table(tmp_path / "a.parquet", books))
    assert not rejected
    part = parts["XUSDT", "book"]
    assert (part.venue, part.price_exponent, part.qty_exponent, part.repeated) == ("binance-usdm", -1, -2, 1)
    assert book_rows(part) == [
        (1, -1, True, True, 999, 150),
        (1, -1, True, True, 998, 200),
        (1, -1, True, False, 1001, 30),
        (2, 1, False, True, 999, 125),
        (2, 1, False, True, 998, 0),
        (2, 1, False, True, 997, 400),
        (3, 2, False, False, 0, 0),
        (5, 3, False, True, 999, 150),
        (5, 3, False, True, 998, 200),
        (5, 3, False, True, 997, 0),
        (5, 3, False, False, 1001, 0),
        (6, -1, True, True, 999, 150),
        (6, -1, True, True, 998, 200),
        (6, -1, True, False, 1001, 30),
    ]
    assert rows(part, "ts_ns", "recv_ns")[0] == (T0 * MS, (T0 + 2) * MS)


@pytest.mark.parametrize(
    ("book", "reason"),
    [
        ({"bids_px": [99.8, 99.9]}, "out of order"),
        ({"bids_px": [99.9, 99.9]}, "out of order"),
        ({"bids_px": [99.9]}, "not as many"),
        ({"bids_qty": [1.0, -2.0]}, "a quantity that cannot be"),
        ({"bids_qty": [1.0, 0.0]}, "a quantity that cannot be"),
        ({"bids_qty": [1.0, float("nan")]}, "a quantity that cannot be"),
        ({"asks_px": [float("inf")]}, "a price that cannot be"),
        ({"exch_ts_ms": 0}, "not a time"),
        ({"symbol": "../X"}, "no venue and symbol"),
        ({"venue": None}, "no venue and symbol"),
    ],
)
def test_a_broken_book_is_told_and_the_next_is_a_snapshot(tmp_path: Path, book: dict[str, Any], reason: str) -> None:
    parts, rejected = read(table(tmp_path / "a.parquet", [{}, book, {}, {}]))
    assert [each.row for each in rejected] == [1]
    assert reason in rejected[0].reason
    chain = list(dict.fromkeys(row[:3] for row in book_rows(parts["XUSDT", "book"])))
    again = (3, 1, False) if "no venue" in reason else (3, -1, True)  # of another book, it leaves this one whole
    assert chain == [(1, -1, True), again, (4, 3, False)]


def test_books_of_finer_prices_later_share_an_exponent_with_the_one_before(tmp_path: Path) -> None:
    """More decimals in a later stretch of the file: differences still compare the same values."""
    books: list[dict[str, Any]] = [{} for _ in range(256)]
    books += [{"bids_px": [99.95, 99.9], "bids_qty": [1.0, 1.5]}, {}]
    parts = list(captures.read(table(tmp_path / "a.parquet", books)))
    assert [part.price_exponent for part in parts] == [-1, -2]
    assert book_rows(parts[1]) == [
        (257, 256, False, True, 9995, 10),
        (257, 256, False, True, 9980, 0),
        (258, 257, False, True, 9995, 0),
        (258, 257, False, True, 9980, 20),
    ]


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    found = {
        write(tmp_path / "1", [binance(RECV, usdm_depth(1, 2, 0))]): "binance-log",
        write(tmp_path / "2", [frame(1)]): "bybit-v5",
        write(tmp_path / "3", V2_LOG): "bybit-v2",
        write(tmp_path / "4", [POLL]): "bybit-polls",
        table(tmp_path / "5", [{}]): "book-table",
        write(tmp_path / "6", ["ts,open,high,low,close,volume", "1,2,3,4,5,6"]): None,
        write(tmp_path / "7", [b"\xff\xfe\x00"]): None,
        write(tmp_path / "8", [b"PAR1 and no more"]): None,
        write(tmp_path / "9", [""]): None,
    }
    for path, name in found.items():
        assert captures.sniff(path) == name, path
        assert name is None or name in captures.FORMATS


@pytest.mark.parametrize("pack", ["gz", "zip"])
def test_packed_files_are_read_alike(tmp_path: Path, pack: str) -> None:
    plain = write(tmp_path / "a.jsonl", [frame(10, kind="snapshot"), frame(11)])
    packed = tmp_path / f"a.{pack}"
    if pack == "gz":
        packed.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, "2024-12-01_XUSDT_ob500.data")
    assert captures.sniff(packed) == "bybit-v5"
    assert book_rows(read(packed)[0]["XUSDT", "book"]) == book_rows(read(plain)[0]["XUSDT", "book"])


def test_a_capture_that_was_cut_off_is_read_to_its_end(tmp_path: Path) -> None:
    """As its recorder was killed: the lines that are whole are kept, and the end is told."""
    whole = gzip.compress(b"".join(json.dumps(frame(i)).encode() + b"\n" for i in range(1, 3000)))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    parts, rejected = read(path)
    updates = parts["XUSDT", "book"].columns["update"]
    assert 0 < len(updates) < 2999
    assert updates.tolist() == list(range(1, len(updates) + 1))
    assert rejected[-1].reason.startswith("the packed file is damaged or cut off here")


def test_a_line_without_end_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_lines, "LINE_MAX", 1000)
    parts, rejected = read(write(tmp_path / "a.jsonl", [frame(10), "{" + "x" * 5000, frame(11)]))
    assert [each.row for each in rejected] == [1]
    assert parts["XUSDT", "book"].columns["update"].tolist() == [10, 11]


def test_one_symbol_can_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [frame(10), frame(5, symbol="YUSDT"), frame(11)])
    assert list(read(path, symbol="YUSDT")[0]) == [("YUSDT", "book")]


def test_what_cannot_be_read_at_all_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "none.log"
    with pytest.raises(DataError, match="check the path"):
        captures.read(missing)
    with pytest.raises(DataError, match="no capture that is known"):
        captures.read(write(tmp_path / "a.csv", ["a,b"]))
    junk = write(tmp_path / "b.log", [f"{RECV} {{broken"] * 3)
    with pytest.raises(DataError, match="nothing in it could be read; line 0"):
        list(captures.read(junk))
    broken = tmp_path / "c.parquet"
    broken.write_bytes(table(tmp_path / "d.parquet", [{}]).read_bytes()[:-40])
    assert captures.sniff(broken) is None
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("b", "2")
    with pytest.raises(DataError, match="holds 2 files"):
        captures.sniff(tmp_path / "e.zip")


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[float] = []
    path = write(tmp_path / "a.jsonl", [frame(i) for i in range(1, 9000)])
    assert sum(len(part) for part in captures.read(path, on_read=told.append)) == 8999
    assert len(told) == 2
    assert 0 < told[0] < told[1] <= 1


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_line_whatever_raises(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A good line with bytes changed, cut out or put in between good ones: told or read, and the others are read."""
    good = data.draw(
        st.sampled_from(
            [binance(RECV, usdm_depth(3, 4, 2, bids=[["1", "1"]])), json.dumps(frame(11)), v2(9, V2_DELTA), POLL]
        )
    )
    first = {"{": json.dumps(frame(10)), "b": POLL}.get(good[0])
    if first is None:
        first = V2_SNAPSHOT if "cross_seq" in good else binance(RECV, usdm_depth(1, 2, 0, bids=[["1", "1"]]))
    line = bytearray(good.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(line)))
        stop = data.draw(st.integers(start, min(len(line), start + 20)))
        line[start:stop] = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"9" * 30, b'"', b"-", b"null", b"1e9"]))
        )
    path = write(tmp_path_factory.mktemp("fuzz") / "a.log", [first, bytes(line), first])
    parts = list(captures.read(path))
    assert sum(len(part) for part in parts) > 0
    for part in parts:
        lengths = {len(values) for values in part.columns.values()}
        assert len(lengths) == 1
        assert all(values.dtype in (np.int64, np.bool_) for values in part.columns.values())
