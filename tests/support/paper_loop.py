"""An emulator's server and a whole trading run in one event loop, on one scaled clock, where faults strike."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bot.app.balancing import balance_now
from bot.app.switches import Switches
from bot.app.trading import Trading
from bot.core.balancing import Balance
from bot.domain.operation import Flatten, OperatorCommand, Phase
from bot.emulator.exchange import Exchange
from bot.emulator.faults import Fault
from bot.emulator.server import Server
from bot.emulator.wire import Request
from bot.runtime.env import ScaledClock
from bot.runtime.trade_settings import TradeSettings
from bot.venues.bybit.credentials import Credentials
from tests.support.emulator import KEY, SECRET, START_NS, Step, make_world, sign
from tests.support.paper import STRATEGY
from tests.support.truth import Ledger, Venue, differences

SPEED = 5.0
SECOND = 10**9


def walk(seconds: int, per_second: int = 5) -> list[Step]:
    """Return trades so many times a second that go up and down by 0.05 %."""
    steps = []
    for n in range(seconds * per_second):
        leg, at = divmod(n * 5 // per_second, 60)
        height = at if leg % 2 == 0 else 60 - at
        steps.append(((n + 0.5) / per_second, f"{60_000 + height * 0.5:.1f}"))
    return steps


class PaperLoop:
    """The two of them.

    Attributes:
        phases: what the run said of itself, in order.
        symbols: what it trades.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seconds: int = 600,
        rate_scale: int = 1,
        per_second: int = 5,
        key: str = KEY,
        secret: str = SECRET,
    ) -> None:
        self.clock = ScaledClock(start_ns=START_NS, speed=SPEED)
        world = make_world(self.clock.now_ns(), steps=walk(seconds, per_second), seconds=seconds, rate_scale=rate_scale)
        self.exchange = Exchange(replace(world, speed=SPEED))
        self.server = Server(self.exchange, self.clock, speed=SPEED)
        self.directory, self.ledger = directory, directory / "ledger"
        self.phases: list[tuple[Phase, str]] = []
        self.symbols: list[dict[str, Any]] = [{"symbol": "BTCUSDT", "leverage": 10}]
        self._key, self._secret = key, secret
        self._changed = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._commands = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def phase(self) -> Phase | None:
        return self.phases[-1][0] if self.phases else None

    def settings(self, **changed: dict[str, Any]) -> TradeSettings:
        """Return the settings of a run; `changed` replaces keys of a section."""
        values: dict[str, dict[str, Any]] = {
            "run": {"out": self.directory / "runs", "compare_every": "5s"},
            "venue": {"environment": "emulator", "url": self.url, "uid": 592324},
            "bars": {"scales": ["1s"], "lateness": "50ms"},
            "strategy": {"name": STRATEGY},
            "ledger": {"at": str(self.ledger), "checkpoint_every": "20s"},
            "risk": {"mark_age_max": "20s", "orders_per_second_max": 100},
            "protections": {"drawdown_reduce": 0, "drawdown_halt": 0, "daily_loss_reduce": 0, "daily_loss_halt": 0},
            "status": {"enabled": False},  # a process of its own, which most trials have no use for
        }
        for section, keys in changed.items():
            values[section] = values.get(section, {}) | keys
        return TradeSettings(**values, symbols=self.symbols)

    def start(self, **changed: dict[str, Any]) -> Trading:
        """Start trading."""
        self.phases.clear()
        credentials = Credentials(key=self._key, secret=self._secret)
        trading = self.trading = Trading(self.settings(**changed), "paper", credentials, self._hear)
        self._task = asyncio.create_task(trading.run())
        self._task.add_done_callback(lambda task: self._changed.set())
        return trading

    async def until(self, wanted: Callable[[], bool], what: str, *, seconds: float = 120.0) -> None:
        """Return once it is so, at most so many of our seconds from now."""
        try:
            async with asyncio.timeout(seconds):
                while not wanted():
                    assert self._task is not None
                    if self._task.done():
                        self._task.result()
                        raise AssertionError(f"it ended before {what}")
                    self._changed.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 0.05)
        except TimeoutError:
            if wanted():  # it came to be while the machine stood still
                return
            executor = None if self.trading.view is None else self.trading.view._executor
            troubles = None if executor is None else (executor.troubles, executor.links, executor.offset_ms)
            raise AssertionError(f"not within {seconds} s: {what}; {self.phases[-6:]}; {troubles}") from None

    async def until_ready(self, **limits: float) -> None:
        """Return once it trades."""
        await self.until(lambda: self.phase is Phase.READY, "it is ready", **limits)

    async def pass_time(self, venue_seconds: float) -> None:
        """Let time pass at the venue."""
        end_ns = self.clock.now_ns() + int(venue_seconds * SECOND)
        await self.until(lambda: self.clock.now_ns() >= end_ns, "time passes", seconds=venue_seconds + 60)

    async def until_flat(self, **limits: float) -> None:
        """Have it close everything, and return once nothing is held, open or on its way: then it may be stopped."""
        self.command(Flatten(why="the test ends"))
        assert self.trading.view is not None
        executor = self.trading.view._executor
        state = executor.desk.orders.state
        await self.until(
            lambda: (
                executor.is_settled
                and not any(each.qty for each in state.portfolio.positions.values())
                and not any(state.live.values())
            ),
            "it is flat",
            **limits,
        )

    def add_fault(self, **fields: Any) -> None:
        """Let something go wrong from now on."""
        self.exchange.faults.add(Fault(**{"from_ns": self.clock.now_ns() - START_NS, **fields}))

    def command(self, command: OperatorCommand) -> Path:
        """Leave a command as `bot pause` and the others do; return where the answer will be."""
        self._commands += 1
        return Switches(self.ledger).ask(command, f"{self._commands:04d}")

    def place(self, **fields: str) -> None:
        """Rest an order far below the market, as another client of the same key."""
        order = {
            "category": "linear",
            "symbol": "BTCUSDT",
            "side": "Buy",
            "orderType": "Limit",
            "qty": "0.001",
        } | fields
        now_ns, body = self.clock.now_ns(), json.dumps(order).encode()
        stamp = str(now_ns // 1_000_000)
        headers = {
            "x-bapi-api-key": self._key,
            "x-bapi-timestamp": stamp,
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": sign(self._secret, f"{stamp}{self._key}5000".encode() + body),
        }
        asked = Request(method="POST", path="/v5/order/create", query="", headers=headers, body=body)
        answer = json.loads(self.exchange.handle_request(asked, now_ns).body)
        assert answer["retCode"] == 0, answer

    async def stop(self) -> None:
        """End the run in order."""
        assert self._task is not None
        self.trading.stop()
        await asyncio.wait_for(self._task, 30)

    async def crash(self) -> None:
        """End the run at once, with nothing tidied but what Python itself closes."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        """Return entries of the journal."""
        return Ledger(self.ledger).entries(*kinds)

    def openings(self, from_ns: int, to_ns: int | None = None) -> list[str]:
        """Return orders, intended in a span of time, that were no exits."""
        return Ledger(self.ledger).openings(from_ns, self.clock.now_ns() if to_ns is None else to_ns)

    def trading_is_killed(self) -> bool:
        """Return whether the ledger says that the kill switch is latched."""
        return Ledger(self.ledger).is_killed()

    def doubtful(self) -> set[str]:
        """Return the requests whose outcome the journal leaves open."""
        open_doubts: set[str] = set()
        for entry in self.entries("DoubtOpened", "DoubtResolved"):
            (open_doubts.add if entry["type"] == "DoubtOpened" else open_doubts.discard)(entry["request"])
        return open_doubts

    def alerts(self) -> set[str]:
        """Return the codes of all alerts."""
        return {entry["code"] for entry in self.entries("AlertRaised")}

    async def differences(self) -> list[str]:
        """Return in what ledger and venue do not agree."""
        venue = Venue(self.url, self._key, self._secret)
        return await asyncio.to_thread(lambda: differences(venue, Ledger(self.ledger)))

    async def balance(self) -> Balance:
        """Hold the ledger against the venue's log of transactions, line by line, as `bot ledger balance` does."""
        credentials = Credentials(key=self._key, secret=self._secret)
        return await balance_now(self.settings(), credentials, str(self.ledger), 24.0)

    async def venue_orders(self) -> list[dict[str, Any]]:
        """Return all orders at the venue."""
        return await asyncio.to_thread(Venue(self.url, self._key, self._secret).orders)

    def _hear(self, phase: Phase, text: str) -> None:
        self.phases.append((phase, text))
        self._changed.set()


@asynccontextmanager
async def paper_loop(
    directory: Path, *, kind: Callable[..., PaperLoop] = PaperLoop, **options: Any
) -> AsyncIterator[PaperLoop]:
    """Serve an emulator while the block runs; a run that still goes on is crashed at the end."""
    both = kind(directory, **options)
    await both.server.start()
    try:
        yield both
    finally:
        if both._task is not None and not both._task.done():
            await both.crash()
        await both.server.stop()
