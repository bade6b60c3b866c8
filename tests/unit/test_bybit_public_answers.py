"""Answers of the public REST interface: rows where they can be right, one kind of refusal where they cannot."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.venues.bybit.public_answers import (
    BODY_BYTES_MAX,
    Unusable,
    kline_path,
    read_filters,
    read_klines,
    read_recent,
    read_time,
    recent_path,
)
from tests.support.emulator import BTC, MINUTE, START_NS, Driver, make_world

START_MS = START_NS // 1_000_000


def body(result: Any, code: int = 0) -> bytes:
    return json.dumps({"retCode": code, "retMsg": "no", "result": result, "time": START_MS}).encode()


def trade(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "execId": f"id-{number}",
        "symbol": "BTCUSDT",
        "price": "60000.1",
        "size": "0.001",
        "side": "Buy",
        "time": str(START_MS + number),
        "isBlockTrade": False,
        "seq": "7",
        **fields,
    }


def row(minute: int, **fields: str) -> list[str]:
    values = {"o": "60000", "h": "60010", "l": "59990", "c": "60001", "v": "2.5", "t": "150000.25"} | fields
    return [str(START_MS + 60_000 * minute), *values.values()]


def klines(rows: list[list[str]], minutes: int = 2) -> Any:
    result = {"symbol": "BTCUSDT", "category": "linear", "list": rows}
    to_ns = START_NS + minutes * MINUTE
    return read_klines(200, body(result), BTC, category="linear", scale_ns=MINUTE, from_ns=START_NS, to_ns=to_ns)


def test_what_the_emulator_answers_is_read() -> None:
    driver = Driver(make_world(seconds=300))
    driver.wait(90)
    path, _, query = recent_path("linear", "BTCUSDT").partition("?")
    answer = driver.request("GET", path, query=query)
    assert answer.status == 200
    trades = read_recent(answer.status, answer.body, "BTCUSDT")
    assert len(trades) > 100
    path, _, query = kline_path("linear", "BTCUSDT", MINUTE, START_NS - 5 * MINUTE, START_NS).partition("?")
    answer = driver.request("GET", path, query=query)
    assert answer.status == 200
    bars = read_klines(
        answer.status,
        answer.body,
        BTC,
        category="linear",
        scale_ns=MINUTE,
        from_ns=START_NS - 5 * MINUTE,
        to_ns=START_NS,
    )
    assert bars.open_ns.tolist() == [START_NS - n * MINUTE for n in (5, 4, 3, 2, 1)]


def test_trades_come_oldest_first() -> None:
    trades = read_recent(200, body({"list": [trade(2), trade(1)]}), "BTCUSDT")
    assert [each.i for each in trades] == ["id-1", "id-2"]
    assert bytes(trades[0].p) == b'"60000.1"'


def test_a_busy_minutes_turnover_outgrows_62_bits_at_twelve_places() -> None:
    """A turnover of 30 million is what a minute of bitcoin has: the bar must not be refused for it."""
    bars = klines([row(0, v="500", t="30001234.5")])
    assert bars.turnover.tolist() == [300_012_345_000]
    assert bars.flags.tolist() == [0]


@pytest.mark.parametrize(
    ("status", "raw", "is_banned"),
    [
        (403, b"", True),
        (401, b"", False),
        (502, b"<html>", False),
        (200, b"", False),
        (200, b"<html>bad gateway</html>", False),
        (200, b"[]", False),
        (200, b'{"retCode": "0"}', False),
        (200, b"[" * 100_000, False),
        (200, b"\xff\xfe", False),
        (200, b"x" * (BODY_BYTES_MAX + 1), False),
        (200, body({}, code=10006), False),
        (200, body(None), False),
        (200, body({"list": [{}]}), False),
        (200, body({"list": [trade(1, symbol="ETHUSDT")]}), False),
        (200, body({"list": [trade(1, side="Both")]}), False),
        (200, body({"list": [trade(1, time="soon")]}), False),
        (200, body({"list": [trade(1, time="1")]}), False),
        (200, body({"list": [trade(1), trade(2)]}), False),  # the oldest first is not how it comes
    ],
)
def test_what_is_no_answer_is_refused(status: int, raw: bytes, is_banned: bool) -> None:
    with pytest.raises(Unusable) as refused:
        read_recent(status, raw, "BTCUSDT")
    assert refused.value.is_banned == is_banned
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "rows",
    [
        [row(0, o="x")],
        [row(0, h="1")],
        [["no"]],
        [row(0), row(1)],
        [[str(START_MS + 1), *row(0)[1:]]],
        [row(0, v="0.0001")],
    ],
)
def test_impossible_bars_are_refused(rows: list[list[str]]) -> None:
    with pytest.raises(Unusable):
        klines(rows)


@given(raw=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    for read in (
        lambda: read_recent(200, raw, "BTCUSDT"),
        lambda: read_time(200, raw),
        lambda: read_filters(200, raw, "linear", "BTCUSDT"),
    ):
        with pytest.raises(Unusable):
            read()
