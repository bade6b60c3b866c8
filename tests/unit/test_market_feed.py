"""What hands a live market on: in order and without loss, whatever the aggregators take."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bot.actors.inbox import Inbox, Stop
from bot.actors.market_feed import MarketFeed
from bot.actors.quote_watch import QuoteWatch
from bot.core.submission.messages import QuoteTold
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


def test_of_quotes_only_the_newest_is_told_and_only_where_it_is_another() -> None:
    """Quotes alone are conflated: whoever minds orders is told the newest of an update, once."""

    def quotes(*bids: int, spread: int = 1) -> QuoteBatch:
        column = np.array(bids, dtype=np.int64)
        return QuoteBatch(
            instrument=BTC,
            first_row=0,
            ts_ns=column,
            known_ns=column,
            bid_ticks=column,
            bid_steps=column,
            ask_ticks=column + spread,
            ask_steps=column,
        )

    told: list[QuoteTold] = []
    watch = QuoteWatch(told.append)
    watch(update(quotes=quotes(1, 2, 3)))
    watch(update(1))
    watch(update(quotes=quotes(4, 3)))
    watch(update(quotes=quotes(4)))
    watch(update(quotes=quotes(5, spread=-1)))  # crossed: nobody knows the best
    prices = [(each.bid, each.ask) for each in told]
    assert prices == [(BTC.price(3), BTC.price(4)), (BTC.price(4), BTC.price(5)), (None, None)]
    assert {each.instrument for each in told} == {BTC.name}
