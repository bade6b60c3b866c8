"""The one writer of the ledger: entries in, in the order they happened, durable rows out."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from bot.actors.inbox import Inbox, Stop
from bot.domain.errors import StorageError
from bot.domain.ledger import LedgerEntry
from bot.domain.market import ForecastBatch
from bot.ports import LedgerStore, OffLoop, TapeRows

T = TypeVar("T")

Durable = asyncio.Future[None]
"""Answers a commit: everything handed over before it is durable, or why it is not."""


class Aside:
    """Something to do with the store between the entries before it and those after it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work


LedgerMessage = Sequence[LedgerEntry] | TapeRows | ForecastBatch | Durable | Aside | Stop


class LedgerActor:
    """Owns the store. Others hold it as their `ports.LedgerWriter`.

    Whatever is ready when the store is free becomes one transaction: while one commit waits for the disk, the next
    gathers.

    Args:
        inbox: batches of entries and stretches of the tape.
        store: the database and the files of the run.
        batch: entries are handed over at this many, or at a commit where every commit must be durable.
        is_durable: a commit returns only when the store has made everything durable (paper, live); a replay, which
            can be run again, writes in large transactions instead.
        off_loop: does the store's work where every commit must be durable; None to do it here.
    """

    def __init__(
        self,
        *,
        inbox: Inbox[LedgerMessage],
        store: LedgerStore,
        batch: int,
        is_durable: bool,
        off_loop: OffLoop | None = None,
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._batch = batch
        self._is_durable = is_durable
        self._off_loop = off_loop
        self._pending: list[LedgerEntry] = []
        self._waiting: list[Durable] = []  # commits that have no answer yet
        self._failure: StorageError | None = None

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerWriter`."""
        self._pending += entries

    def record_tape(self, rows: TapeRows | ForecastBatch) -> None:
        """Keep a stretch of what the charts need."""
        self._inbox.deliver(rows)

    def do_in_order(self, work: Callable[[], None]) -> None:
        """Call `work`, where the store is used, after all that was appended before and ahead of what comes later.

        So a state that is true after the entries so far is kept as just that.
        """
        entries, self._pending = self._pending, []
        self._inbox.deliver(entries)
        self._inbox.deliver(Aside(work))

    async def commit(self) -> None:
        """See `ports.LedgerWriter`."""
        if self._is_durable:
            if self._failure is not None:
                raise StorageError(str(self._failure))
            done: Durable = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            try:
                await self._hand_over()
                await self._inbox.put(done)
                await done
            finally:
                self._waiting.remove(done)
                done.cancel()  # who waited was called off; otherwise it is answered, and this changes nothing
        elif len(self._pending) >= self._batch:
            await self._hand_over()

    def flush(self) -> None:
        """Write what was appended and not handed over yet: for a run that is being abandoned."""
        entries, self._pending = self._pending, []
        self._store.write(entries)

    async def run(self) -> None:
        """Write until told to stop.

        Raises:
            StorageError: the store refuses; every commit that waits, and every later one, raises it too.
        """
        if not self._is_durable:
            await self._run_inline()
            return
        failure = StorageError("the ledger has stopped")
        try:
            while not await self._save(await self._inbox.take()):
                pass
        except StorageError as error:
            failure = error
            raise
        finally:
            self._failure = failure
            for done in self._waiting:
                if not done.done():
                    done.set_exception(StorageError(str(failure)))

    async def _save(self, messages: list[LedgerMessage]) -> bool:
        """Make all of it durable together and answer the commits among it; return whether to stop."""
        steps: list[Callable[[], None]] = []
        answered: list[Durable] = []
        is_last = False
        for message in messages:
            match message:
                case TapeRows() | ForecastBatch():
                    steps.append(partial(self._store.write_tape, message))
                case asyncio.Future():
                    answered.append(message)
                case Aside():
                    steps.append(message.work)
                case Stop():
                    is_last = True
                    steps.append(self.flush)
                case _:
                    steps.append(partial(self._store.write, message))

        def work() -> None:
            for step in steps:
                step()
            self._store.commit()

        await self._do(work)
        for done in answered:
            if not done.done():
                done.set_result(None)
        return is_last

    async def _do(self, work: Callable[[], T]) -> T:
        return work() if self._off_loop is None else await self._off_loop(work)

    async def _run_inline(self) -> None:
        while True:
            for message in await self._inbox.take():
                match message:
                    case TapeRows() | ForecastBatch():
                        self._store.write_tape(message)
                    case Aside():
                        message.work()
                    case Stop():
                        self.flush()
                        self._store.commit()
                        return
                    case asyncio.Future():
                        self._store.commit()
                        message.set_result(None)
                    case _:
                        self._store.write(message)

    async def _hand_over(self) -> None:
        entries, self._pending = self._pending, []
        await self._inbox.put(entries)
