"""What a person asks of the live executor: what cannot be done is said, and the bot goes on."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from bot.actors.inbox import Inbox, Stop
from bot.actors.live_executor import Asked, LiveExecutor, Message
from bot.domain.ledger import LedgerEntry
from bot.domain.operation import CommandDone, Flatten
from tests.support.desk import NOW_NS
from tests.support.live_bench import Bench
from tests.support.money import BTC, NAME


class StandingCalendar:
    """A clock that stands; what is due never comes."""

    def now_ns(self) -> int:
        return NOW_NS

    def schedule(self, key: Any, callback: Callable[..., None], *arguments: Any) -> asyncio.Handle:
        return asyncio.get_running_loop().call_later(3_600, callback, *arguments)


class KeptLedger:
    """Keeps what would be durable."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries += entries

    async def commit(self) -> None: ...


def test_flattening_what_is_not_traded_does_nothing_and_says_so() -> None:
    """A slip of a person's hand is answered; the same command, spelled right, is carried out afterwards."""
    said: list[CommandDone] = []
    bench, ledger = Bench(), KeptLedger()

    async def ask() -> None:
        inbox: Inbox[Message] = Inbox("executor", bound=10)
        executor = LiveExecutor(
            inbox=inbox,
            strategy=Inbox[Any]("strategy", bound=10),
            calendar=StandingCalendar(),
            desk=bench.desk,
            venue=None,  # type: ignore[arg-type]  # nothing is sent
            ledger=ledger,
            instruments={NAME: BTC},
        )
        inbox.deliver(Asked(command=Flatten(why="home", instrument="BTCUSD"), by="somebody", done=said.append))
        inbox.deliver(Stop())
        await executor.run()
        refused = f"BTCUSD is not traded here: nothing was done; choose of {NAME}"
        assert said == [CommandDone(is_done=False, text=refused)]
        assert bench.desk.orders.state.flattening == {}
        assert not bench.desk.orders.state.protections.states.latches()
        inbox.deliver(Asked(command=Flatten(why="home", instrument=NAME), by="somebody", done=said.append))
        inbox.deliver(Stop())
        await executor.run()

    asyncio.run(ask())
    assert said[1:] == [CommandDone(is_done=True, text="flattening, and paused")]
    assert list(bench.desk.orders.state.flattening) == [NAME]
