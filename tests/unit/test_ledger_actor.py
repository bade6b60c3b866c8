"""The ledger actor where commits must be durable: one transaction for all that waits, and nobody waits for ever."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from bot.actors.inbox import Inbox, Stop
from bot.actors.ledger import LedgerActor, LedgerMessage
from bot.actors.ledger_watch import LedgerWatch
from bot.domain.errors import StorageError
from bot.domain.ledger import LedgerEntry
from bot.domain.market import ForecastBatch
from bot.ports import TapeRows
from bot.runtime.env import WriterThread
from tests.support.live_ledgers import history, open_ledger

T = TypeVar("T")
LIFE = history(3)


class Store:
    """A `ports.LedgerStore` that remembers its transactions, and fails when told to."""

    def __init__(self) -> None:
        self.transactions: list[list[LedgerEntry]] = []
        self.failure: BaseException | None = None
        self._open: list[LedgerEntry] = []

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """See `ports.LedgerStore`."""
        self._open += entries

    def write_tape(self, rows: TapeRows | ForecastBatch) -> None:
        """See `ports.LedgerStore`."""

    def commit(self) -> None:
        """See `ports.LedgerStore`."""
        if self.failure is not None:
            raise self.failure
        self.transactions.append(self._open)
        self._open = []


class Gate:
    """A `ports.OffLoop` whose work waits until it is let through."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Event] = []

    async def __call__(self, work: Callable[[], T]) -> T:
        """See `ports.OffLoop`."""
        passed = asyncio.Event()
        self.waiting.append(passed)
        await passed.wait()
        return work()

    async def let_through(self) -> None:
        """Let the piece of work go that waits."""
        await settle()
        self.waiting.pop(0).set()


def actor(store: Store, gate: Gate | None) -> tuple[LedgerActor, Inbox[LedgerMessage]]:
    inbox: Inbox[LedgerMessage] = Inbox("ledger", bound=100)
    return LedgerActor(inbox=inbox, store=store, batch=100, is_durable=True, off_loop=gate), inbox


async def commit_one(ledger: LedgerActor, entry: LedgerEntry, done: list[LedgerEntry]) -> None:
    ledger.append([entry])
    await ledger.commit()
    done.append(entry)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_is_ready_together_is_one_transaction() -> None:
    """While the first commit is with the disk the others gather; each returns when its own is durable, not before."""
    store, gate, done = Store(), Gate(), list[LedgerEntry]()
    ledger, inbox = actor(store, gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ledger.run())
        tasks.create_task(commit_one(ledger, LIFE[0], done))
        await settle()
        for entry in LIFE[1:8]:
            tasks.create_task(commit_one(ledger, entry, done))
        await settle()
        assert done == []
        await gate.let_through()
        await settle()
        assert done == LIFE[:1]
        await gate.let_through()
        await settle()
        assert done == LIFE[:8]
        ledger.append(LIFE[8:10])
        await inbox.put(Stop())
        await gate.let_through()
    assert store.transactions == [LIFE[:1], LIFE[1:8], LIFE[8:10]]


@pytest.mark.parametrize("failure", [StorageError("the disk is full"), KeyError("a slip")])
async def test_a_failure_reaches_everyone_who_waits_and_all_who_come_later(failure: Exception) -> None:
    store, gate = Store(), Gate()
    store.failure = failure
    ledger, _ = actor(store, gate)
    running = asyncio.create_task(ledger.run())
    waiting = [asyncio.create_task(commit_one(ledger, LIFE[0], []))]
    await settle()
    waiting.append(asyncio.create_task(commit_one(ledger, LIFE[1], [])))
    await settle()
    await gate.let_through()
    outcomes = await asyncio.gather(running, *waiting, return_exceptions=True)
    assert outcomes[0] is failure
    assert all(isinstance(outcome, StorageError) for outcome in outcomes[1:])
    with pytest.raises(StorageError):
        await ledger.commit()


async def test_who_is_called_off_while_waiting_leaves_nothing_behind() -> None:
    """A commit whose waiter is cancelled is made all the same, and troubles nobody."""
    store, gate = Store(), Gate()
    ledger, _ = actor(store, gate)
    running = asyncio.create_task(ledger.run())
    waiter = asyncio.create_task(commit_one(ledger, LIFE[0], []))
    await settle()
    waiter.cancel()
    await gate.let_through()
    await settle()
    assert store.transactions == [LIFE[:1]]
    running.cancel()
    await asyncio.gather(running, waiter, return_exceptions=True)


async def test_it_writes_a_real_ledger_in_a_thread(tmp_path: Path) -> None:
    """Many that commit at once take few transactions, and each finds its entry durable when it returns."""
    thread = WriterThread("ledger")
    store = open_ledger(tmp_path)
    inbox: Inbox[LedgerMessage] = Inbox("ledger", bound=1_000)
    ledger = LedgerActor(inbox=inbox, store=store, batch=1, is_durable=True, off_loop=thread)
    done: list[LedgerEntry] = []
    entries = history(20)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ledger.run())
        async with asyncio.TaskGroup() as commits:
            for entry in entries:
                commits.create_task(commit_one(ledger, entry, done))
        await inbox.put(Stop())
    thread.close()
    assert [entry for _, entry in store.entries(after=0)] == entries
    assert len(done) == len(entries)
    assert store.health().commits < len(entries) / 4
    store.abandon()


async def test_a_state_is_kept_as_that_of_the_entries_before_it(tmp_path: Path) -> None:
    """Although later entries reach the disk in the same transaction."""
    thread = WriterThread("ledger")
    store = open_ledger(tmp_path)
    inbox: Inbox[LedgerMessage] = Inbox("ledger", bound=100)
    ledger = LedgerActor(inbox=inbox, store=store, batch=1, is_durable=True, off_loop=thread)
    ledger.append(LIFE[:5])
    ledger.do_in_order(lambda: store.checkpoint(b"after five", now_ns=1))
    ledger.append(LIFE[5:9])
    await inbox.put(Stop())
    await ledger.run()
    thread.close()
    found, entries = store.recovery()
    assert found is not None
    assert (found.seq, found.state) == (5, b"after five")
    assert [entry for _, entry in entries] == LIFE[5:9]
    assert store.health().commits == 2  # the first described the ledger
    store.abandon()


async def test_the_watch_stops_the_bot_when_the_ledger_is_not_ours() -> None:
    """By the ledger's own word."""
    thread = WriterThread("ledger")
    asked = 0

    def confirm() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise StorageError("not ours any more")

    with pytest.raises(StorageError, match="not ours"):
        await LedgerWatch(confirm=confirm, off_loop=thread, every_s=0.001).run()
    thread.close()


async def test_the_watch_stops_the_bot_when_the_database_is_silent() -> None:
    """In the time that was set, although nothing was ever answered."""
    gate = Gate()
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(StorageError, match="did not answer for"):
        await LedgerWatch(confirm=lambda: None, off_loop=gate, within_s=0.05).run()
    assert loop.time() - started < 2
