"""Async shell around the strategy's core: wakes it when the calendar reaches a row that matters."""

from typing import Any, Protocol

from bot.actors.inbox import Inbox, Stop
from bot.core.calendar import NEVER, Key
from bot.core.effects import Notice, Wish
from bot.core.filters import FiltersTold
from bot.domain.market import MarketSlab
from bot.ports import Calendar, Cancelable


class Wake:
    """The calendar has reached the next row that matters."""


class Begin:
    """Live, the market flows and the account is known: what comes from now on may be acted upon."""


class Host(Protocol):
    """A `StrategyHost`, or several as one."""

    def begin(self, now_ns: int) -> None:
        """Pass what was known before now."""

    def slab(self, slab: MarketSlab, now_ns: int) -> None:
        """Append what a slab holds."""

    def refit(self, told: FiltersTold) -> None:
        """Round to new filters."""

    def notice(self, notice: Notice, now_ns: int) -> list[Wish]:
        """Tell an event; return what is wanted."""

    def next_key(self) -> Key:
        """Return the key of the next row that could matter."""

    def walk(self, horizon: Key) -> tuple[list[Wish], int]:
        """Tell rows before `horizon`, until something is wanted."""


class StrategyActor:
    """Async shell around `StrategyHost`: wakes it when the calendar reaches a row that matters."""

    def __init__(
        self,
        *,
        inbox: Inbox[MarketSlab | Notice | FiltersTold | Wake | Begin | Stop],
        outbox: Inbox[Any],
        calendar: Calendar,
        host: Host,
        is_begun: bool = True,
    ) -> None:
        self._is_begun = is_begun
        self._inbox = inbox
        self._outbox = outbox
        self._calendar = calendar
        self._host = host
        self._wake: Cancelable | None = None
        self._wake_key = NEVER

    async def run(self) -> None:
        """Serve until told to stop."""
        while True:
            is_changed = False
            for message in await self._inbox.take():
                now_ns = self._calendar.now_ns()
                match message:
                    case Notice():
                        wishes = self._host.notice(message, now_ns)
                        if wishes:
                            await self._want(wishes)
                        # That an order has been sent moves no position: what is due stays due.
                        is_changed |= message.event is not None
                    case Wake():
                        self._wake, self._wake_key = None, NEVER
                        wishes, time_ns = self._host.walk(self._calendar.horizon())
                        if wishes:
                            self._calendar.advance(time_ns)
                            await self._want(wishes)
                        is_changed = True
                    case MarketSlab():
                        self._host.slab(message, now_ns)
                        is_changed = True
                    case FiltersTold():
                        self._host.refit(message)
                    case Begin():
                        self._host.begin(now_ns)
                        self._is_begun = is_changed = True
                    case Stop():
                        return
            if is_changed and self._is_begun:
                self._arm()

    async def _want(self, wishes: list[Wish]) -> None:
        for wish in wishes:
            await self._outbox.put(wish)

    def _arm(self) -> None:
        """Have the calendar wake us at the next row that could matter."""
        key = self._host.next_key()
        if key == self._wake_key:
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake = None if key == NEVER else self._calendar.schedule(key, self._inbox.deliver, Wake())
        self._wake_key = key
