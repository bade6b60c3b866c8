"""Async shell around `core.bars`: trades or bars in, closed bars of every scale out."""

from bot.actors.inbox import Inbox, Stop
from bot.core.bars import BarAggregator
from bot.domain.market import BarBatch, MarketSlab, TradeBatch, TradeHole


class BarAggregatorActor:
    """Serves one instrument."""

    def __init__(
        self,
        *,
        inbox: Inbox[TradeBatch | BarBatch | TradeHole | int | Stop],
        outbox: Inbox[MarketSlab | Stop],
        aggregator: BarAggregator,
        is_live: bool = False,
    ) -> None:
        self._is_live = is_live
        self._inbox = inbox
        self._outbox = outbox
        self._aggregator = aggregator

    async def run(self) -> None:
        """Fold batches as they come; an int is a watermark: nothing earlier will follow.

        Live, bars are the past that comes before the first trade; in a replay they are the market itself.
        """
        while True:
            for message in await self._inbox.take():
                match message:
                    case TradeBatch():
                        await self._outbox.put(self._aggregator.on_trades(message))
                    case TradeHole():
                        await self._outbox.put(self._aggregator.on_hole(message))
                    case BarBatch() if self._is_live:
                        await self._outbox.put(self._aggregator.warm_up(message))
                    case BarBatch():
                        await self._outbox.put(self._aggregator.on_bars(message))
                    case int():
                        await self._outbox.put(self._aggregator.on_watermark(message))
                    case Stop():
                        await self._outbox.put(message)
                        return
