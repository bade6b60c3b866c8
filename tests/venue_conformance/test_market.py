"""pybit asks about markets and is answered as by the venue."""

from decimal import Decimal
from typing import Any

import pytest

from tests.venue_conformance.conftest import Desk


def test_server_time(shared_desk: Desk) -> None:
    answer = shared_desk.client(None, None).get_server_time()
    seconds, ns = answer["result"]["timeSecond"], answer["result"]["timeNano"]
    assert int(ns) // 10**9 == int(seconds)
    assert answer["time"] == int(ns) // 10**6


@pytest.mark.parametrize(("category", "count"), [("linear", 2), ("spot", 1)])
def test_instruments(shared_desk: Desk, category: str, count: int) -> None:
    result = shared_desk.http.get_instruments_info(category=category)["result"]
    assert len(result["list"]) == count
    assert ("nextPageCursor" in result) == (category == "linear")


def test_instruments_page_by_page(shared_desk: Desk) -> None:
    """Cursors come percent-encoded and go back as they are."""
    names: list[str] = []
    cursor = ""
    while True:
        result = shared_desk.http.get_instruments_info(category="linear", limit=1, cursor=cursor)["result"]
        names += [each["symbol"] for each in result["list"]]
        cursor = result["nextPageCursor"]
        if not cursor:
            break
        assert "%" in cursor
    assert names == ["BTCUSDT", "ETHUSDT"]


def test_an_unlisted_symbol_has_no_instrument(shared_desk: Desk) -> None:
    assert shared_desk.http.get_instruments_info(category="linear", symbol="NOPEUSDT")["result"]["list"] == []


@pytest.mark.parametrize("interval", ["1", "5", "60", "D", "W", "M"])
def test_klines_are_newest_first_and_aligned(shared_desk: Desk, interval: str) -> None:
    result = shared_desk.http.get_kline(category="linear", symbol="BTCUSDT", interval=interval)["result"]
    starts = [int(row[0]) for row in result["list"]]
    assert starts
    assert starts == sorted(starts, reverse=True)
    assert all(len(row) == 7 and all(isinstance(value, str) for value in row) for row in result["list"])
    if interval.isdigit():
        assert all(start % (int(interval) * 60_000) == 0 for start in starts)


def test_klines_within_a_range(shared_desk: Desk) -> None:
    """A start inside a candle gives the candle that holds it."""
    newest = shared_desk.http.get_kline(category="linear", symbol="BTCUSDT", interval=1, limit=10)["result"]["list"]
    start, end = int(newest[5][0]) + 30_000, int(newest[2][0])
    asked = {"category": "linear", "symbol": "BTCUSDT", "interval": 1}
    found = shared_desk.http.get_kline(**asked, start=start, end=end)["result"]["list"]
    assert [int(row[0]) for row in found] == [int(row[0]) for row in newest[2:6]]
    # Backwards page by page, as clients do.
    before = shared_desk.http.get_kline(**asked, end=int(found[-1][0]) - 1, limit=2)["result"]["list"]
    assert [row[0] for row in before] == [row[0] for row in newest[6:8]]


def test_mark_price_klines(shared_desk: Desk) -> None:
    result = shared_desk.http.get_mark_price_kline(category="linear", symbol="BTCUSDT", interval=1)["result"]
    assert all(len(row) == 5 for row in result["list"])


def test_premium_klines(shared_desk: Desk) -> None:
    answer = shared_desk.http.get_premium_index_price_kline(category="linear", symbol="BTCUSDT", interval=1)
    assert all(len(row) == 5 for row in answer["result"]["list"])


def sides(book: dict[str, Any]) -> tuple[list[Decimal], list[Decimal]]:
    return [Decimal(price) for price, _ in book["b"]], [Decimal(price) for price, _ in book["a"]]


@pytest.mark.parametrize(
    ("category", "limit", "levels"), [("linear", None, 25), ("linear", 50, 50), ("spot", None, 1), ("spot", 5, 5)]
)
def test_orderbook(shared_desk: Desk, category: str, limit: int | None, levels: int) -> None:
    options = {} if limit is None else {"limit": limit}
    book = shared_desk.http.get_orderbook(category=category, symbol="BTCUSDT", **options)["result"]
    bids, asks = sides(book)
    assert len(bids) == len(asks) == levels
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_tickers(shared_desk: Desk, category: str) -> None:
    tickers = shared_desk.http.get_tickers(category=category, symbol="BTCUSDT")["result"]["list"]
    assert len(tickers) == 1
    assert all(isinstance(value, str) for value in tickers[0].values())
    assert Decimal(tickers[0]["bid1Price"]) < Decimal(tickers[0]["ask1Price"])


@pytest.mark.parametrize(("category", "most"), [("linear", 1000), ("spot", 60)])
def test_recent_trades_newest_first(shared_desk: Desk, category: str, most: int) -> None:
    answer = shared_desk.http.get_public_trade_history(category=category, symbol="BTCUSDT", limit=1000)
    trades = answer["result"]["list"]
    assert 0 < len(trades) <= most
    times = [int(trade["time"]) for trade in trades]
    assert times == sorted(times, reverse=True)
    assert len({trade["execId"] for trade in trades}) == len(trades)


def test_funding_history(shared_desk: Desk) -> None:
    rows = shared_desk.http.get_funding_rate_history(category="linear", symbol="BTCUSDT")["result"]["list"]
    assert rows[0]["fundingRate"] == "0.0001"
    assert int(rows[0]["fundingRateTimestamp"]) % (8 * 3_600_000) == 0


def test_risk_limits_in_no_order(shared_desk: Desk) -> None:
    rows = shared_desk.http.get_risk_limit(category="linear", symbol="BTCUSDT")["result"]["list"]
    values = [Decimal(row["riskLimitValue"]) for row in rows]
    assert len(values) == 3
    assert values != sorted(values)
    assert sum(row["isLowestRisk"] for row in rows) == 1


def test_price_limit(shared_desk: Desk) -> None:
    result = shared_desk.http.get_price_limit(category="linear", symbol="BTCUSDT")["result"]
    assert Decimal(result["sellLmt"]) < Decimal(60_000) < Decimal(result["buyLmt"])


def test_open_interest(shared_desk: Desk) -> None:
    result = shared_desk.http.get_open_interest(category="linear", symbol="BTCUSDT", intervalTime="1h", limit=3)
    assert len(result["result"]["list"]) == 3
