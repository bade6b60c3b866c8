"""Async shell around `core.bars`: trades or bars in, closed bars of every scale out."""

from bot.actors.inbox import Inbox, Stop
from bot.core.bars import BarAggregator
from bot.domain.market import BarBatch, MarketSlab, TradeBatch


class BarAggregatorActor:
    """Serves one instrument."""

    def __init__(
        self,
        *,
        inbox: Inbox[TradeBatch | BarBatch | int | Stop],
        outbox: Inbox[MarketSlab | Stop],
        aggregator: BarAggregator,
    ) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._aggregator = aggregator

    async def run(self) -> None:
        """Fold batches as they come; an int is a watermark: nothing earlier will follow."""
        while True:
            for message in await self._inbox.take():
                match message:
                    case TradeBatch():
                        await self._outbox.put(self._aggregator.on_trades(message))
                    case BarBatch():
                        await self._outbox.put(self._aggregator.on_bars(message))
                    case int():
                        await self._outbox.put(self._aggregator.on_watermark(message))
                    case Stop():
                        await self._outbox.put(message)
                        return
