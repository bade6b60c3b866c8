"""Captured books of Binance: snapshots, updates, gaps, and marks."""

from pathlib import Path

import pytest

from tests.support.captured import (
    MS,
    RECV,
    T0,
    binance,
    book_rows,
    read_capture,
    rows_of,
    usdm_depth,
    usdm_snapshot,
    write_capture,
)


def test_a_binance_snapshot_goes_where_its_number_belongs(tmp_path: Path) -> None:
    """It came after updates that go on from it: those it holds stand before, the next says it as its predecessor."""
    lines = [
        binance(RECV, usdm_depth(1, 10, 0, bids=[["99.8", "1"]])),
        binance(RECV + 1, usdm_depth(11, 20, 10, at=1, bids=[["99.7", "1"]])),
        binance(RECV + 2, usdm_depth(21, 30, 20, at=2, asks=[["100.20", "0"]])),
        binance(RECV + 3, usdm_snapshot(15)),
        binance(RECV + 4, usdm_depth(31, 40, 30, at=3)),
    ]
    parts, rejected = read_capture(write_capture(tmp_path / "a.log", lines))
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
    parts, _ = read_capture(write_capture(tmp_path / "a.log", lines))
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
    parts, _ = read_capture(write_capture(tmp_path / "a.log", lines))
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
    parts, rejected = read_capture(write_capture(tmp_path / "a.log", lines))
    assert not rejected
    book = parts["XUSDT", "book"]
    assert book.venue == "binance-spot"
    assert [row[:3] for row in book_rows(book)] == [(9, 4, False), (9, -1, True), (9, -1, True), (12, 9, False)]
    assert book.columns["ts_ns"].tolist() == [T0 * MS] * 3 + [(T0 + 100) * MS]
    assert rows_of(parts["XUSDT", "trades"], "ts_ns", "price", "qty", "is_buy", "trade_id") == [
        ((T0 + 99) * MS, 1005, 25, False, 7)
    ]
    assert rows_of(parts["XUSDT", "quotes"], "ts_ns", "recv_ns", "bid", "bid_qty", "ask", "ask_qty") == [
        (T0 * MS, RECV + 1, 99, 1, 101, 2)
    ]


@pytest.mark.parametrize("unit_ns", [1, 1_000, 1_000_000])
def test_a_recorders_clock_may_be_in_ns_us_or_ms(tmp_path: Path, unit_ns: int) -> None:
    line = binance(RECV // unit_ns, usdm_depth(1, 2, 0, bids=[["1", "1"]]))
    parts, _ = read_capture(write_capture(tmp_path / "a.log", [line]))
    assert parts["XUSDT", "book"].columns["recv_ns"].tolist() == [RECV]


def test_a_file_without_a_snapshot_keeps_its_updates(tmp_path: Path) -> None:
    """The book may have been seeded by the file before it."""
    lines = [binance(RECV + i, usdm_depth(i + 1, i + 1, i, bids=[["1", "1"]])) for i in range(5000)]
    parts, _ = read_capture(write_capture(tmp_path / "a.log", lines))
    assert parts["XUSDT", "book"].columns["update"].tolist() == list(range(1, 5001))


def test_mark_prices_become_whole_minutes(tmp_path: Path) -> None:
    """Of a minute at whose beginning or end nothing came, nobody knows the open or the close."""
    start = T0 - T0 % 60_000
    prices = {30: "1", 61: "2.50", 75: "4.0", 90: "2", 119: "3", 121: "5", 190: "6", 250: "7", 310: "8"}
    lines = [
        binance(RECV + at, {"e": "markPriceUpdate", "E": start + at * 1000, "s": "XUSDT", "p": price, "r": "0.0001"})
        for at, price in prices.items()
    ]
    parts, _ = read_capture(write_capture(tmp_path / "a.log", lines), venue="binance-usdm")
    part = parts["XUSDT", "mark-1m"]
    assert part.price_exponent == -1
    minute = 60_000 * MS
    assert rows_of(part, "open_ns", "open", "high", "low", "close") == [
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
    parts, rejected = read_capture(write_capture(tmp_path / "a.log", lines))
    assert [each.row for each in rejected] == [1]
    assert reason in rejected[0].reason
    assert len(rejected[0].text) <= 200
    assert parts["XUSDT", "book"].columns["update"].tolist() == [2, 6]
