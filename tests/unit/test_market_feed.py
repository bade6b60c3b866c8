"""What hands a live market on: in order and without loss, whatever the aggregators take."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bot.actors.inbox import Inbox, Stop
from bot.actors.market_feed import MarketFeed, QuoteShelf
from bot.domain.market import MarketUpdate, QuoteBatch, TradeBatch, TradeHole, is_same
from tests.support.emulator import BTC

KEY = ("linear", "BTCUSDT")


def trades(first: int, count: int) -> TradeBatch:
    rows = np.arange(first, first + count, dtype=np.int64)
    return TradeBatch(
        instrument=BTC, first_row=first, ts_ns=rows, price_ticks=rows + 1, qty_steps=rows + 1, is_buy=rows % 2 == 0
    )


def update(*stream: Any, quotes: QuoteBatch | None = None) -> MarketUpdate:
    return MarketUpdate(category="linear", instrument=BTC, known_ns=1, stream=stream, quotes=quotes)


class Told:
    """A source that says what it is given."""

    def __init__(self, updates: list[MarketUpdate]) -> None:
        self._updates = updates
        self.is_ready = True

    async def run(self, deliver: Callable[[MarketUpdate], None]) -> None:
        for each in self._updates:
            deliver(each)

    def stop(self) -> None: ...

    def doubts(self, category: str, name: str) -> list[str]:
        return []


@pytest.mark.parametrize("bound", [1, 2, 100])
async def test_a_slow_aggregator_loses_nothing(bound: int) -> None:
    """Trades that wait are joined, of watermarks that wait the last stands, and holes keep their places."""
    hole = TradeHole(instrument=BTC, from_ns=5, to_ns=6, until_ns=7, trades=trades(6, 0), klines=None)
    told = [trades(0, 1), trades(1, 2), 3, 4, trades(3, 3), hole, trades(6, 1), 8]
    inbox: Inbox[Any] = Inbox("aggregator", bound=bound)
    feed = MarketFeed(Told([update(each) for each in told]), {KEY: inbox})
    running = asyncio.create_task(feed.run())
    taken: list[Any] = []
    while not taken or not isinstance(taken[-1], Stop):
        taken += await inbox.take()
    await running
    assert is_same(TradeBatch.join([m for m in taken if isinstance(m, TradeBatch)]), trades(0, 7))
    kinds = [type(message).__name__ for message in taken]
    assert kinds.count("TradeHole") == 1
    at = kinds.index("TradeHole")
    assert sum(len(m) for m in taken[:at] if isinstance(m, TradeBatch)) == 6
    assert [m for m in taken if isinstance(m, int)][-1] == 8


async def test_who_is_behind_is_doubted() -> None:
    inbox: Inbox[Any] = Inbox("aggregator", bound=1)
    feed = MarketFeed(Told([]), {KEY: inbox})
    feed._deliver(update(trades(0, 1)))
    assert feed.doubts(KEY) == []
    feed._deliver(update(trades(1, 1)))
    assert feed.doubts(KEY) == ["the bar aggregator is behind"]
    await inbox.take()
    feed._deliver(update(trades(2, 1)))
    assert feed.doubts(KEY) == []


async def test_watchers_hear_first_and_of_all() -> None:
    seen: list[MarketUpdate] = []
    inbox: Inbox[Any] = Inbox("aggregator", bound=10)
    other = MarketUpdate(category="spot", instrument=BTC, known_ns=1, stream=(1,))
    await MarketFeed(Told([update(1), other]), {KEY: inbox}, [seen.append]).run()
    assert [each.category for each in seen] == ["linear", "spot"]
    assert [m for m in await inbox.take() if isinstance(m, int)] == [1]


def test_only_quotes_are_conflated_and_it_is_counted() -> None:
    def quotes(*bids: int) -> QuoteBatch:
        column = np.array(bids, dtype=np.int64)
        return QuoteBatch(
            instrument=BTC,
            first_row=0,
            ts_ns=column,
            known_ns=column,
            bid_ticks=column,
            bid_steps=column,
            ask_ticks=column + 1,
            ask_steps=column,
        )

    shelf = QuoteShelf()
    shelf(update(quotes=quotes(1, 2, 3)))
    shelf(update(1))
    shelf(update(quotes=quotes(4)))
    newest = shelf.take(KEY)
    assert newest is not None
    assert newest.bid_ticks.tolist() == [4]
    assert shelf.conflated == 3
    assert shelf.take(KEY) is None
