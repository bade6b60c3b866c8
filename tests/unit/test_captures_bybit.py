"""Captured books and trades of Bybit, of both protocols, and whole books of a table."""

import json
from pathlib import Path
from typing import Any

import pytest

from bot.store.importing import captures
from tests.support.captured import (
    MS,
    POLL,
    RECV,
    T0,
    V2_DELTA,
    V2_LOG,
    V2_SNAPSHOT,
    book_rows,
    bybit_frame,
    read_capture,
    rows_of,
    table_file,
    v2,
    v2_level,
    write_capture,
)


def test_bybit_frames_chain_by_one(tmp_path: Path) -> None:
    """Also one without the matching engine's time, and one after a restart, whose number is 1."""
    late = bybit_frame(12)
    del late["cts"]
    lines = [
        {"success": True, "op": "subscribe", "ret_msg": ""},
        bybit_frame(10, kind="snapshot"),
        bybit_frame(11, b=[], a=[["100.50", "0"]]),
        late,
        bybit_frame(1),
        bybit_frame(2, b=[], a=[]),
    ]
    parts, rejected = read_capture(write_capture(tmp_path / "a.jsonl", lines))
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
    path = write_capture(
        tmp_path / "a.jsonl",
        [bybit_frame(10, depth="1"), bybit_frame(90, depth="50"), bybit_frame(11, depth="1"), bybit_frame(91)],
    )
    parts, rejected = read_capture(path)
    assert parts["XUSDT", "book"].columns["update"].tolist() == [10, 11]
    assert [(each.row, each.reason) for each in rejected] == [(1, "books of depth 50 are not read (this is the first)")]
    parts, _ = read_capture(path, depth="50", venue="bybit-spot")
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
    parts, rejected = read_capture(
        write_capture(tmp_path / "a.jsonl", [{"topic": "publicTrade.XUSDT", "type": "snapshot", "data": data}])
    )
    part = parts["XUSDT", "trades"]
    assert rows_of(part, "price", "qty", "is_buy", "trade_id") == [
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
        (bybit_frame(11, b=[["1", "2", "3"]]), "no frame that is known"),
        (bybit_frame(11) | {"type": "news"}, "neither snapshot nor delta"),
        (bybit_frame(11, s="YUSDT"), "another symbol"),
        (bybit_frame(11) | {"cts": 5}, "not a time"),
        (bybit_frame(-1), "no frame that is known"),
        (bybit_frame(11, depth="rpi"), "depth rpi are not read"),
        ({"topic": "tickers.XUSDT", "data": {}}, "topic tickers are not read"),
        (bybit_frame(11, b=[["1", "-2"]]), "qty is negative"),
    ],
)
def test_a_broken_bybit_frame_is_told_and_leaves_a_gap(tmp_path: Path, line: Any, reason: str) -> None:
    parts, rejected = read_capture(
        write_capture(tmp_path / "a.jsonl", [bybit_frame(10, kind="snapshot"), line, bybit_frame(12)])
    )
    assert [each.row for each in rejected] == [1]
    assert reason in rejected[0].reason
    assert [row[:2] for row in book_rows(parts["XUSDT", "book"])] == [(10, -1), (12, 11)]


def test_the_old_protocol_tells_no_chain(tmp_path: Path) -> None:
    """Quantities are exact as printed; a deletion is a quantity of zero."""
    trade = {
        "topic": "trade.XUSDT",
        "data": [{"symbol": "XUSDT", "price": "99.5", "size": 0.14, "trade_time_ms": str(T0), "side": "Sell"}],
    }
    lines = [*V2_LOG, V2_SNAPSHOT, v2(9, V2_DELTA), f"{T0 // 1000}.5: {json.dumps(trade)}", ""]
    parts, rejected = read_capture(write_capture(tmp_path / "a.log", lines))
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
    assert rows_of(parts["XUSDT", "trades"], "ts_ns", "price", "qty", "is_buy", "trade_id") == [
        (RECV, 995, 14, False, 0)
    ]


@pytest.mark.parametrize(
    "line", ["junk", f"{T0 // 1000}.1: {{", v2(7, {"delete": [], "update": [v2_level("x", "Buy", 1)], "insert": []})]
)
def test_a_broken_line_of_the_old_protocol_cuts_the_book(tmp_path: Path, line: str) -> None:
    """The next change says its own number as its predecessor, which no book can have: the gap shows."""
    lines = [*V2_LOG, V2_SNAPSHOT, line, v2(9, V2_DELTA), v2(10, V2_DELTA)]
    parts, rejected = read_capture(write_capture(tmp_path / "a.log", lines))
    assert [each.row for each in rejected] == [3]
    chain = dict.fromkeys(row[:2] for row in book_rows(parts["XUSDT", "book"]))
    assert list(chain) == [(5, -1), (9, 9), (10, -1)]


def test_each_poll_is_a_snapshot(tmp_path: Path) -> None:
    lines = [
        POLL,
        "both,XUSDT,1,2",
        'both,XUSDT,1719823044587,17,"[[], []]"',
        'both,XUSDT,a,1719823044454,"[[], []]"',
        "\0",
    ]
    parts, rejected = read_capture(write_capture(tmp_path / "a.csv", lines))
    part = parts["XUSDT", "book"]
    assert book_rows(part) == [
        (1719823044454, -1, True, True, 629181, 1293),
        (1719823044454, -1, True, True, 629170, 15),
        (1719823044454, -1, True, False, 629188, 3),
    ]
    assert rows_of(part, "ts_ns", "recv_ns")[0] == (1719823044454 * MS, 1719823044587_150100)
    assert [each.row for each in rejected] == [1, 2, 3, 4]


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
    parts, rejected = read_capture(table_file(tmp_path / "a.parquet", books))
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
    assert rows_of(part, "ts_ns", "recv_ns")[0] == (T0 * MS, (T0 + 2) * MS)


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
    parts, rejected = read_capture(table_file(tmp_path / "a.parquet", [{}, book, {}, {}]))
    assert [each.row for each in rejected] == [1]
    assert reason in rejected[0].reason
    chain = list(dict.fromkeys(row[:3] for row in book_rows(parts["XUSDT", "book"])))
    again = (3, 1, False) if "no venue" in reason else (3, -1, True)  # of another book, it leaves this one whole
    assert chain == [(1, -1, True), again, (4, 3, False)]


def test_books_of_finer_prices_later_share_an_exponent_with_the_one_before(tmp_path: Path) -> None:
    """More decimals in a later stretch of the file: differences still compare the same values."""
    books: list[dict[str, Any]] = [{} for _ in range(256)]
    books += [{"bids_px": [99.95, 99.9], "bids_qty": [1.0, 1.5]}, {}]
    parts = list(captures.read(table_file(tmp_path / "a.parquet", books)))
    assert [part.price_exponent for part in parts] == [-1, -2]
    assert book_rows(parts[1]) == [
        (257, 256, False, True, 9995, 10),
        (257, 256, False, True, 9980, 0),
        (258, 257, False, True, 9995, 0),
        (258, 257, False, True, 9980, 20),
    ]
