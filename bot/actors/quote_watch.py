"""Tells the order executor of best prices, where it has orders to keep there."""

from collections.abc import Callable

from bot.actors.market_feed import Key
from bot.core.risk import Mark
from bot.core.submission.messages import QuoteTold
from bot.domain.market import MarketUpdate


class QuoteWatch:
    """Watches a market feed: of each update only the newest best prices count, and only where they are others.

    Args:
        deliver: is told.
    """

    def __init__(self, deliver: Callable[[QuoteTold], None]) -> None:
        self._deliver = deliver
        self._told: dict[Key, tuple[int, int]] = {}

    def __call__(self, update: MarketUpdate) -> None:
        """Watch an update."""
        quotes = update.quotes
        if quotes is None or not len(quotes):
            return
        key = (update.category, update.instrument.name)
        bid, ask = int(quotes.bid_ticks[-1]), int(quotes.ask_ticks[-1])
        if self._told.get(key) == (bid, ask):
            return
        self._told[key] = bid, ask
        is_whole = 0 < bid < ask  # else one side is not known, or the book is crossed
        self._deliver(
            QuoteTold(
                instrument=update.instrument.name,
                bid=quotes.instrument.price(bid) if is_whole else None,
                ask=quotes.instrument.price(ask) if is_whole else None,
            )
        )


def quoted(mark: Mark | None, quote: QuoteTold | None) -> Mark | None:
    """Return a mark with the best prices, where they are known."""
    if mark is None or quote is None:
        return mark
    return Mark(price=mark.price, ts_ns=mark.ts_ns, bid=quote.bid, ask=quote.ask)
