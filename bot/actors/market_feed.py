"""Hands a live market on: to each instrument's bar aggregator in order and without loss, to others as it comes.

What is handed on never waits. While an inbox is full, its messages wait here and are merged: trades of several batches
become one batch, of several watermarks the last stands; nothing is lost. Whoever else watches is called with each
update.
"""

from collections.abc import Callable, Mapping, Sequence

from bot.actors.inbox import Inbox, Stop
from bot.domain.errors import InvariantBroken
from bot.domain.market import BarBatch, MarketUpdate, TradeBatch, TradeHole
from bot.ports import MarketSource

Key = tuple[str, str]
"""Category and name of an instrument."""

Passed = BarBatch | TradeBatch | TradeHole | int
BACKLOG_ROWS_MAX = 1_000_000  # trades that wait for one aggregator: beyond, it has stopped


class MarketFeed:
    """Serves all instruments of one source.

    Args:
        source: the market.
        outboxes: each instrument's aggregator's.
        watchers: called with every update, before the aggregators hear of it.
    """

    def __init__(
        self,
        source: MarketSource,
        outboxes: Mapping[Key, Inbox[Passed | Stop]],
        watchers: Sequence[Callable[[MarketUpdate], None]] = (),
    ) -> None:
        self._source = source
        self._lines = {key: _Line(outbox) for key, outbox in outboxes.items()}
        self._watchers = watchers

    async def run(self) -> None:
        """Serve until the source has stopped; then let the aggregators leave."""
        await self._source.run(self._deliver)
        for line in self._lines.values():
            await line.finish()

    def stop(self) -> None:
        """Let `run` return."""
        self._source.stop()

    def doubts(self, key: Key) -> list[str]:
        """Return why no new exposure in an instrument may rest on its data now; nothing where it may."""
        own = ["the bar aggregator is behind"] if self._lines[key].is_behind else []
        return [*self._source.doubts(*key), *own]

    def _deliver(self, update: MarketUpdate) -> None:
        for watch in self._watchers:
            watch(update)
        line = self._lines.get((update.category, update.instrument.name))
        if line is not None and (update.stream or line.is_behind):
            line.pass_on(update.stream)


class _Line:
    """What waits for one inbox."""

    def __init__(self, outbox: Inbox[Passed | Stop]) -> None:
        self._outbox = outbox
        self._waiting: list[Passed] = []

    @property
    def is_behind(self) -> bool:
        return bool(self._waiting)

    def pass_on(self, messages: Sequence[Passed]) -> None:
        """Hand messages over, behind those that wait; what finds no room waits."""
        outbox = self._outbox
        if not self._waiting and len(outbox) + len(messages) <= outbox.bound:
            for message in messages:
                outbox.deliver(message)
            return
        for message in messages:
            self._put(message)
        while self._waiting and len(outbox) < outbox.bound:
            outbox.deliver(self._waiting.pop(0))

    def _put(self, message: Passed) -> None:
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, TradeBatch) and isinstance(message, TradeBatch):
            self._waiting[-1] = joined = TradeBatch.join([last, message])
            if len(joined) > BACKLOG_ROWS_MAX:
                raise InvariantBroken(f"{self._outbox.name} has not taken its trades; {BACKLOG_ROWS_MAX:,} wait")
        elif isinstance(last, int) and isinstance(message, int):
            self._waiting[-1] = message
        else:
            self._waiting.append(message)

    async def finish(self) -> None:
        for message in self._waiting:
            await self._outbox.put(message)
        self._waiting = []
        await self._outbox.put(Stop())
