"""The one writer of the ledger: entries in, in the order they happened, durable rows out."""

import asyncio
from collections.abc import Sequence

from bot.actors.inbox import Inbox, Stop
from bot.domain.ledger import LedgerEntry
from bot.domain.market import ForecastBatch
from bot.ports import LedgerStore, TapeRows


class LedgerActor:
    """Owns the store. Others hold it as their `ports.LedgerWriter`.

    Args:
        inbox: batches of entries and stretches of the tape.
        store: the database and the files of the run.
        batch: entries are handed over at this many, or at a commit where every commit must be durable.
        is_durable: a commit returns only when the store has made everything durable (paper, live); a replay, which
            can be run again, writes in large transactions instead.
    """

    def __init__(
        self,
        *,
        inbox: Inbox[Sequence[LedgerEntry] | TapeRows | ForecastBatch | asyncio.Event | Stop],
        store: LedgerStore,
        batch: int,
        is_durable: bool,
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._batch = batch
        self._is_durable = is_durable
        self._pending: list[LedgerEntry] = []

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerWriter`."""
        self._pending += entries

    def record_tape(self, rows: TapeRows | ForecastBatch) -> None:
        """Keep a stretch of what the charts need."""
        self._inbox.deliver(rows)

    async def commit(self) -> None:
        """See `ports.LedgerWriter`."""
        if self._is_durable:
            done = asyncio.Event()
            await self._hand_over()
            await self._inbox.put(done)
            await done.wait()
        elif len(self._pending) >= self._batch:
            await self._hand_over()

    def flush(self) -> None:
        """Write what was appended and not handed over yet: for a run that is being abandoned."""
        entries, self._pending = self._pending, []
        self._store.write(entries)

    async def run(self) -> None:
        """Write until told to stop."""
        while True:
            for message in await self._inbox.take():
                match message:
                    case TapeRows() | ForecastBatch():
                        self._store.write_tape(message)
                    case asyncio.Event():
                        self._store.commit()
                        message.set()
                    case Stop():
                        self.flush()
                        self._store.commit()
                        return
                    case _:
                        self._store.write(message)

    async def _hand_over(self) -> None:
        entries, self._pending = self._pending, []
        await self._inbox.put(entries)
