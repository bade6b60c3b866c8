"""The audit beside a run: when it looks, and what it does about what it finds."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from bot.actors.ledger_audit import LedgerAudit
from bot.domain.errors import StorageError

T = TypeVar("T")


class _Host:
    """Everything around an audit; counts what is asked of it."""

    def __init__(self, find: Callable[[], Sequence[str]]) -> None:
        self._find = find
        self.paused: list[str] = []
        self.told: list[str] = []
        self.stops = 0
        self.has_looked = asyncio.Event()
        self.is_endless = False

    async def off_loop(self, work: Callable[[], T]) -> T:
        self.has_looked.set()
        if self.is_endless:
            await asyncio.Event().wait()
        return work()

    def stop(self) -> None:
        self.stops += 1

    def audit(self) -> LedgerAudit:
        return LedgerAudit(
            audit=self._find,
            stop_audit=self.stop,
            off_loop=self.off_loop,
            pause=self.paused.append,
            tell=self.told.append,
            after_s=0.0,
        )

    async def look(self) -> None:
        """Let it look once, and cancel it."""
        task = asyncio.create_task(self.audit().run())
        await self.has_looked.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_ledger_that_holds_is_nobodys_business() -> None:
    host = _Host(tuple)
    await host.look()
    assert not host.paused
    assert not host.told
    assert not host.stops


async def test_a_ledger_that_does_not_hold_lets_only_exits_pass_and_a_person_know() -> None:
    """The line says what is wrong, how much more is, and what to do."""
    host = _Host(lambda: ("entry 8 was changed", "cash differs"))
    await host.look()
    assert host.paused == ["the ledger does not hold: entry 8 was changed, and 1 more"]
    assert "bot ledger check" in host.told[0]
    assert "bot db restore" in host.told[0]


async def test_an_audit_that_died_stops_nothing() -> None:
    """It proves nothing of the ledger; a person hears of it."""

    def die() -> Sequence[str]:
        raise StorageError("it died")

    host = _Host(die)
    await host.look()
    assert not host.paused
    assert host.told == ["the ledger was not audited: it died"]


async def test_a_run_that_ends_does_not_wait_for_its_audit() -> None:
    """However long the ledger is."""
    host = _Host(tuple)
    host.is_endless = True
    await host.look()
    assert host.stops == 1
