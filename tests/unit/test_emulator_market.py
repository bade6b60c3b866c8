"""The emulator's market half: what it makes up, plays, and publishes."""

import itertools
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.order_book import OrderBook
from bot.core.venue.book_tape import BookTape
from bot.domain.market import BarBatch, BookDeltaBatch, TradeBatch, is_same
from bot.emulator.candles import INTERVALS, Candles, bucket, step
from bot.emulator.faults import Fault
from bot.emulator.synthetic import BookMaker, TradesOfBars
from bot.emulator.wire import Grid
from tests.support.emulator import BTC, START_NS, Driver, make_world
from tests.support.examples import examples

MINUTE_MS = 60_000
MIN_NS = 60 * 10**9


def trades(prices: list[int], gaps_ms: list[int], first_ms: int = 1_760_000_000_000) -> TradeBatch:
    ts_ms = first_ms + np.cumsum(np.array(gaps_ms[: len(prices)], dtype=np.int64))
    return TradeBatch(
        instrument=BTC,
        first_row=0,
        ts_ns=ts_ms * 10**6,
        price_ticks=np.array(prices, dtype=np.int64),
        qty_steps=np.arange(1, len(prices) + 1, dtype=np.int64),
        is_buy=np.diff(np.array(prices), prepend=prices[0]) >= 0,
    )


def cuts(rows: int, at: list[int]) -> list[tuple[int, int]]:
    edges = sorted({0, rows, *(cut % (rows + 1) for cut in at)})
    return list(itertools.pairwise(edges))


PRICES = st.lists(st.integers(2, 400), min_size=2, max_size=40)
CUTS = st.lists(st.integers(0, 100), max_size=5)


@settings(max_examples=examples(60), deadline=None)
@given(prices=PRICES, at=CUTS)
def test_a_made_book_does_not_depend_on_cuts(prices: list[int], at: list[int]) -> None:
    batch = trades(prices, [7] * len(prices))
    whole = BookMaker(instrument=BTC, levels=5).make(batch)
    maker = BookMaker(instrument=BTC, levels=5)
    parts = [maker.make(batch.rows(start, stop)) for start, stop in cuts(len(prices), at)]
    assert is_same(whole, BookDeltaBatch.join(parts))


@settings(max_examples=examples(60), deadline=None)
@given(prices=PRICES)
def test_a_made_book_is_one_that_the_core_believes(prices: list[int]) -> None:
    """After every trade: trusted, not crossed, as many levels as asked for, and the trade's price at its touch."""
    batch = trades(prices, [7] * len(prices))
    rows = OrderBook(BTC, depth=3).on_deltas(BookMaker(instrument=BTC, levels=5).make(batch))
    assert len(rows) == len(batch)
    assert rows.is_trusted.all()
    assert (rows.bid_ticks[:, 0] < rows.ask_ticks[:, 0]).all()
    touch = np.where(batch.is_buy, rows.ask_ticks[:, 0], rows.bid_ticks[:, 0])
    assert (touch == batch.price_ticks).all()


def test_a_level_that_leaves_the_window_is_removed_once() -> None:
    """However far the price goes and comes back, what is applied by the deltas is the window and nothing else."""
    batch = trades([100, 300, 100, 101, 99, 100], [5] * 6)
    tape = BookTape(BTC)
    tape.extend(BookMaker(instrument=BTC, levels=5).make(batch), 0)
    tape.advance(2**62)
    bids, _ = tape.levels("bid", 100)
    asks, _ = tape.levels("ask", 100)
    assert bids.tolist() == [99, 98, 97, 96, 95]
    assert asks.tolist() == [100, 101, 102, 103, 104]


BAR = st.tuples(st.integers(50, 90), st.integers(0, 9), st.integers(0, 9), st.integers(0, 18), st.integers(0, 90))


@settings(max_examples=examples(60), deadline=None)
@given(rows=st.lists(BAR, min_size=1, max_size=20), at=CUTS)
def test_trades_of_bars_fold_into_those_bars(rows: list[tuple[int, ...]], at: list[int]) -> None:
    """However cut; prices exactly, and volumes but for bars of fewer steps than trades."""
    lows = np.array([row[0] for row in rows], dtype=np.int64)
    opens = lows + np.array([row[1] for row in rows])
    closes = lows + np.array([row[2] for row in rows])
    highs = np.maximum(np.maximum(opens, closes), lows + np.array([row[3] for row in rows]))
    volumes = np.array([row[4] for row in rows], dtype=np.int64)
    open_ns = 1_760_000_040 * 10**9 + MIN_NS * np.arange(len(rows), dtype=np.int64)
    nothing = np.zeros(len(rows), dtype=np.int64)
    bars = BarBatch(
        instrument=BTC,
        scale_ns=MIN_NS,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + MIN_NS,
        open_ticks=opens,
        high_ticks=highs,
        low_ticks=lows,
        close_ticks=closes,
        volume_steps=volumes,
        turnover=nothing,
        count=nothing,
        buy_steps=nothing,
        flags=nothing.astype(np.uint8),
    )
    whole = TradesOfBars().make(bars)
    maker = TradesOfBars()
    parts = [maker.make(bars.rows(start, stop)) for start, stop in cuts(len(rows), at)]
    assert is_same(whole, TradeBatch.join(parts))
    candles = Candles()
    candles.add(whole)
    for row in np.flatnonzero(volumes):
        candle = candles.at("1", int(open_ns[row]) // 10**6 + 59_999)
        assert candle is not None
        assert candle[1:5] == (opens[row], highs[row], lows[row], closes[row])
        assert candle.volume == max(int(volumes[row]), 7)


# Candles


@settings(max_examples=examples(60), deadline=None)
@given(prices=PRICES, gaps=st.lists(st.integers(0, 200_000), min_size=40, max_size=40), at=CUTS)
def test_candles_do_not_depend_on_cuts(prices: list[int], gaps: list[int], at: list[int]) -> None:
    batch = trades(prices, gaps)
    whole, cut = Candles(), Candles()
    whole.add(batch)
    for start, stop in cuts(len(prices), at):
        cut.add(batch.rows(start, stop))
    now_ms = int(batch.ts_ns[-1]) // 10**6
    for interval in ("1", "5", "D"):
        asked: Any = {"start_ms": None, "end_ms": None, "limit": 1000, "now_ms": now_ms}
        assert whole.page(interval, **asked) == cut.page(interval, **asked)


@settings(max_examples=examples(60), deadline=None)
@given(prices=PRICES, gaps=st.lists(st.integers(0, 200_000), min_size=40, max_size=40))
def test_minutes_fold_into_every_interval(prices: list[int], gaps: list[int]) -> None:
    """Nothing is lost: volumes add up, extremes are the minutes' own; minutes without trades are flat."""
    batch = trades(prices, gaps)
    candles = Candles()
    candles.add(batch)
    now_ms = int(batch.ts_ns[-1]) // 10**6
    asked: Any = {"start_ms": None, "end_ms": None, "limit": 1000, "now_ms": now_ms}
    minutes = candles.page("1", **asked)
    assert [each.start_ms for each in minutes] == [
        minutes[0].start_ms - number * MINUTE_MS for number in range(len(minutes))
    ]
    for interval in INTERVALS:
        folded = candles.page(interval, **asked)
        assert sum(each.volume for each in folded) == int(batch.qty_steps.sum())
        assert max(each.high for each in folded) == max(prices)
        assert min(each.low for each in folded) == min(prices)
        assert folded[0].close == prices[-1]
        assert folded[-1].open == prices[0]
    for before, after in itertools.pairwise(reversed(minutes)):
        if not after.volume:
            assert after[1:5] == (before.close,) * 4


def test_flat_candles_come_with_the_clock() -> None:
    candles = Candles()
    candles.add(trades([100, 101], [0, 1]))
    now_ms = 1_760_000_000_000 + 5 * MINUTE_MS
    candles.fill(now_ms)
    newest = candles.page("1", start_ms=None, end_ms=None, limit=1, now_ms=now_ms)[0]
    assert newest.start_ms == now_ms // MINUTE_MS * MINUTE_MS
    assert (newest.open, newest.close, newest.volume) == (101, 101, 0)


@pytest.mark.parametrize(
    ("interval", "at_ms", "start_ms", "next_ms"),
    [
        ("W", 1_704_067_200_000, 1_704_067_200_000, 1_704_672_000_000),  # a Monday
        ("W", 1_704_067_199_999, 1_703_462_400_000, 1_704_067_200_000),
        ("M", 1_709_164_800_000, 1_706_745_600_000, 1_709_251_200_000),  # the 29th of February 2024
        ("D", 1_704_067_199_999, 1_703_980_800_000, 1_704_067_200_000),
        ("720", 1_704_110_400_000, 1_704_110_400_000, 1_704_153_600_000),
    ],
)
def test_calendars(interval: str, at_ms: int, start_ms: int, next_ms: int) -> None:
    assert bucket(interval, at_ms) == start_ms
    assert step(interval, start_ms, 1) == next_ms
    assert step(interval, next_ms, -1) == start_ms


@settings(max_examples=examples(100), deadline=None)
@given(count=st.integers(0, 10**15), unit=st.sampled_from(["0.1", "0.10", "0.001", "1", "10", "0.000001", "0.5"]))
def test_a_grid_writes_what_decimal_writes(count: int, unit: str) -> None:
    step_of = Decimal(unit)
    assert Decimal(Grid(step_of, None).text(count)) == step_of * count
    text = Grid(step_of, 2).text(count)
    assert Decimal(text) == step_of * count
    assert len(text.partition(".")[2]) >= 2
    free = Grid(step_of, None).text(count)
    assert "." not in free or not free.endswith("0")


# The public streams


def follow(driver: Driver, *topics: str, path: str = "/v5/public/linear") -> int:
    number = driver.open(path)
    assert driver.say(number, {"op": "subscribe", "args": list(topics)})[0]["success"]
    return number


def rebuilt(frames: list[dict[str, Any]]) -> tuple[dict[str, str], dict[str, str]]:
    """Apply frames as the venue's rules say; fail where one breaks them."""
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    update = None
    for frame in frames:
        data = frame["data"]
        if frame["type"] == "snapshot":
            bids.clear()
            asks.clear()
        else:
            assert update is not None
            assert data["u"] == update + 1
        update = data["u"]
        for side, levels in ((bids, data["b"]), (asks, data["a"])):
            for price, size in levels:
                if size == "0":
                    del side[price]  # a level that is not there is never removed
                else:
                    side[price] = size
        assert max(map(Decimal, bids)) < min(map(Decimal, asks))
    return bids, asks


JUMPS = [(0.5 * n, str(60_000 + (n * 37) % 11 - 5)) for n in range(1, 40)]


@pytest.mark.parametrize("depth", [50, 200, 1000])
def test_the_book_keeps_the_venues_rules_while_prices_jump(depth: int) -> None:
    """One snapshot, `u` rising by one, no removal of what is not there, never crossed; our own orders in it."""
    driver = Driver(make_world(steps=JUMPS, rate_scale=0))
    number = follow(driver, f"orderbook.{depth}.BTCUSDT")
    for place in range(10):
        driver.order(price=str(59_990 + place), qty="1")
        driver.wait(1)
    frames = driver.topic(number, f"orderbook.{depth}.BTCUSDT")
    assert [frame["type"] for frame in frames[:2]] == ["snapshot", "delta"]
    bids, asks = rebuilt(frames)
    assert len(bids) <= depth
    assert len(asks) <= depth
    assert len(frames) > 10


def test_a_second_subscriber_joins_the_same_chain() -> None:
    driver = Driver(make_world(steps=JUMPS, rate_scale=0))
    first = follow(driver, "orderbook.50.BTCUSDT")
    driver.wait(3)
    second = follow(driver, "orderbook.50.BTCUSDT")
    driver.wait(3)
    assert rebuilt(driver.topic(first, "orderbook.50.BTCUSDT")) == rebuilt(driver.topic(second, "orderbook.50.BTCUSDT"))


def test_level_one_repeats_itself_after_three_quiet_seconds() -> None:
    driver = Driver(make_world(steps=[(0.1, "60000")], rate_scale=0))
    number = follow(driver, "orderbook.1.BTCUSDT")
    driver.wait(10)
    frames = driver.topic(number, "orderbook.1.BTCUSDT")
    assert len(frames) >= 4
    assert len({frame["data"]["u"] for frame in frames[-3:]}) == 1
    assert {frame["type"] for frame in frames} == {"snapshot"}


def test_a_candle_is_confirmed_once_when_it_closes() -> None:
    driver = Driver(make_world(rate_scale=0))
    number = follow(driver, "kline.1.BTCUSDT")
    driver.wait(200)
    frames = [frame["data"][0] for frame in driver.topic(number, "kline.1.BTCUSDT")]
    confirmed = [candle for candle in frames if candle["confirm"]]
    assert [candle["start"] % MINUTE_MS for candle in confirmed] == [0] * len(confirmed)
    starts = [candle["start"] for candle in confirmed]
    assert len(starts) == len(set(starts)) == 3
    listed = driver.get("/v5/market/kline", "category=linear&symbol=BTCUSDT&interval=1&limit=5")["result"]["list"]
    by_start = {int(row[0]): row for row in listed}
    for candle in confirmed:
        names = ("open", "high", "low", "close", "volume", "turnover")
        assert by_start[candle["start"]][1:] == [candle[name] for name in names]


def test_a_minute_without_trades_is_confirmed_flat() -> None:
    driver = Driver(make_world(steps=[(1, "60000"), (2, "60010")], rate_scale=0))
    number = follow(driver, "kline.1.BTCUSDT")
    driver.wait(130)
    flat = [frame["data"][0] for frame in driver.topic(number, "kline.1.BTCUSDT") if frame["data"][0]["confirm"]][-1]
    assert (flat["open"], flat["high"], flat["low"], flat["close"], flat["volume"]) == ("60010",) * 4 + ("0",)


def test_trades_come_once_each_in_order() -> None:
    driver = Driver(make_world(steps=JUMPS, rate_scale=0))
    number = follow(driver, "publicTrade.BTCUSDT")
    driver.wait(12)
    told = [trade for frame in driver.topic(number, "publicTrade.BTCUSDT") for trade in frame["data"]]
    assert [Decimal(trade["p"]) for trade in told] == [Decimal(price) for at, price in JUMPS if at <= 12.01]
    assert len({trade["i"] for trade in told}) == len(told)
    assert [trade["seq"] for trade in told] == sorted(trade["seq"] for trade in told)


def test_ticker_deltas_add_up_to_the_ticker() -> None:
    driver = Driver(make_world(steps=JUMPS, rate_scale=0))
    number = follow(driver, "tickers.BTCUSDT")
    driver.wait(10)
    frames = driver.topic(number, "tickers.BTCUSDT")
    merged: dict[str, str] = {}
    for frame in frames:
        if frame["type"] == "delta":
            assert all(merged.get(key) != value for key, value in frame["data"].items() if key != "symbol")
        merged |= frame["data"]
    listed = driver.get("/v5/market/tickers", "category=linear&symbol=BTCUSDT")["result"]["list"][0]
    assert {key: value for key, value in merged.items() if key in listed} == {
        key: value for key, value in listed.items() if key in merged
    }


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_a_ticker_in_which_nothing_changes_is_told_each_second(category: str) -> None:
    """A client that watches for silence hears of a quiet market: of a perpetual what never rests at the venue."""
    driver = Driver(make_world(seconds=2, rate_scale=0))
    number = follow(driver, "tickers.BTCUSDT", path=f"/v5/public/{category}")
    driver.wait(5)
    before = len(driver.topic(number, "tickers.BTCUSDT"))
    driver.wait(10)
    frames = driver.topic(number, "tickers.BTCUSDT")[before:]
    assert 9 <= len(frames) <= 11
    if category == "spot":
        assert {frame["type"] for frame in frames} == {"snapshot"}
        return
    assert {frame["type"] for frame in frames} == {"delta"}
    listed = driver.get("/v5/market/tickers", "category=linear&symbol=BTCUSDT")["result"]["list"][0]
    for frame in frames:
        assert set(frame["data"]) == {"symbol", "markPrice", "indexPrice", "fundingRate", "nextFundingTime"}
        assert all(listed[key] == value for key, value in frame["data"].items())


# Faults of the market


def with_faults(*faults: Fault, **world: Any) -> Driver:
    return Driver(make_world(steps=JUMPS, rate_scale=0, faults=faults, **world))


def updates(driver: Driver, number: int, topic: str = "orderbook.50.BTCUSDT") -> list[int]:
    return [frame["data"]["u"] for frame in driver.topic(number, topic)]


def test_a_gap_in_the_books_chain() -> None:
    driver = with_faults(Fault(kind="book_gap", count=1, skip=3))
    number = follow(driver, "orderbook.50.BTCUSDT")
    driver.wait(8)
    steps = np.diff(updates(driver, number))
    assert sorted(steps)[-2:] == [1, 2]
    assert driver.exchange.faults.fired["book_gap"] == 1


def test_a_restart_of_the_book_service() -> None:
    driver = with_faults(Fault(kind="book_restart", count=1, from_ns=3 * 10**9))
    number = follow(driver, "orderbook.50.BTCUSDT")
    driver.wait(8)
    frames = driver.topic(number, "orderbook.50.BTCUSDT")
    restart = next(frame for frame in frames if frame["data"]["u"] == 1)
    assert restart["type"] == "snapshot"
    rebuilt(frames)  # what follows goes on from there


def test_a_crossed_book_heals() -> None:
    driver = with_faults(Fault(kind="book_crossed", count=1, from_ns=3 * 10**9))
    number = follow(driver, "orderbook.50.BTCUSDT")
    driver.wait(8)
    with pytest.raises(AssertionError):
        rebuilt(driver.topic(number, "orderbook.50.BTCUSDT"))
    again = follow(driver, "orderbook.50.BTCUSDT")
    driver.wait(2)
    rebuilt(driver.topic(again, "orderbook.50.BTCUSDT"))


def test_a_confirmation_that_never_comes() -> None:
    driver = Driver(make_world(rate_scale=0, faults=[Fault(kind="missing_confirm", count=1)]))
    number = follow(driver, "kline.1.BTCUSDT")
    driver.wait(130)
    frames = [frame["data"][0] for frame in driver.topic(number, "kline.1.BTCUSDT")]
    assert len([candle for candle in frames if candle["confirm"]]) == 1
    assert len({candle["start"] for candle in frames}) == 3


def test_a_silent_stall() -> None:
    """Topics fall silent, pongs go on."""
    driver = with_faults(Fault(kind="stall", from_ns=2 * 10**9, until_ns=6 * 10**9))
    number = follow(driver, "publicTrade.BTCUSDT")
    driver.wait(5.5)
    before = len(driver.topic(number, "publicTrade.BTCUSDT"))
    assert before == 3
    assert driver.say(number, {"op": "ping"})[-1]["ret_msg"] == "pong"
    driver.wait(3)
    assert len(driver.topic(number, "publicTrade.BTCUSDT")) > before


def test_funding_may_be_settled_more_often() -> None:
    """At the turn of the hour from then on; the ticker says so at once."""
    driver = Driver(make_world(rate_scale=0, faults=[Fault(kind="funding_interval", minutes=60, from_ns=10**9)]))
    driver.order(orderType="Market", price=None, qty="1")
    driver.wait(2)
    ticker = driver.get("/v5/market/tickers", "category=linear&symbol=BTCUSDT")["result"]["list"][0]
    assert ticker["fundingIntervalHour"] == "1"
    assert int(ticker["nextFundingTime"]) - START_NS // 10**6 < 3_600_000
    driver.wait(3 * 3600, step_s=300)
    rows = driver.get("/v5/execution/list", "category=linear&execType=Funding")["result"]["list"]
    assert len(rows) == 3
    history = driver.get("/v5/market/funding/history", "category=linear&symbol=BTCUSDT")["result"]["list"]
    assert len(history) >= 3
