"""Feeds recorded market data into the pipeline, one slab ahead of the virtual clock."""

import asyncio
from collections.abc import Callable

from bot.actors.inbox import Inbox, Stop
from bot.core.calendar import Class
from bot.domain.market import BarBatch, TradeBatch
from bot.ports import Calendar, MarketHistory


class ReplayFeed:
    """Stands where the market feed stands live.

    After each slab it waits until the clock reaches that slab's first row, before anything else of that instant. So at
    any time t the tape holds a row later than t, or has ended: no one downstream can act on a market that has not been
    read, and never more than two slabs are in memory.

    Args:
        history: what to read.
        outbox: the bar aggregator's.
        on_slab: sees each slab first; the simulated venue's tape.
        stream: the instrument's number in the run.
        slab_rows: how many rows travel together.
        watermark_ns: told downstream at the end: nothing before it is missing.
    """

    def __init__(
        self,
        *,
        history: MarketHistory,
        calendar: Calendar,
        outbox: Inbox[TradeBatch | BarBatch | int | Stop],
        on_slab: Callable[[TradeBatch | BarBatch], None],
        stream: int,
        slab_rows: int,
        watermark_ns: int,
    ) -> None:
        self._history = history
        self._calendar = calendar
        self._outbox = outbox
        self._on_slab = on_slab
        self._stream = stream
        self._slab_rows = slab_rows
        self._watermark_ns = watermark_ns

    async def run(self) -> None:
        """Read to the end of the history."""
        reached = asyncio.Event()
        for slab in self._history.slabs(self._slab_rows):
            self._on_slab(slab)
            await self._outbox.put(slab)
            first_ns = int(slab.ts_ns[0] if isinstance(slab, TradeBatch) else slab.open_ns[0])
            reached.clear()
            self._calendar.schedule((first_ns, Class.READ_AHEAD, self._stream, slab.first_row), reached.set)
            await reached.wait()
        await self._outbox.put(self._watermark_ns)
        await self._outbox.put(Stop())
