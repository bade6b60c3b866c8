"""Brings notices to people by several ways out, none of which waits for another, or holds up who tells them.

Each way has its own task and its own bounded `Outbox`; an error that nobody acknowledges is told again, by the ways
kept for that. Nothing here needs the ledger, the strategy or the event loop's good will beyond turns of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from bot.domain.operation import Notice, Severity
from bot.operator.contain import contain
from bot.operator.outbox import RANK, Batch, Outbox, Policy
from bot.ports import Clock

log = structlog.get_logger()

_S = 1_000_000_000
_OPEN_MAX = 50
_LOOK_S = 1.0  # between two looks at what was not acknowledged


class NotDelivered(Exception):
    """It did not get through, and may later.

    Attributes:
        retry_after_s: how long the other side wants to be left alone; None where it did not say.
    """

    def __init__(self, why: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class NeverDelivered(Exception):
    """It will not get through, however often it is tried."""


class WayOut(Protocol):
    """How a batch gets to people."""

    async def deliver(self, batch: Batch) -> None:
        """Deliver; return when the other side has it.

        Raises:
            NotDelivered, NeverDelivered: it does not have it.
        """


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A way out, and what takes it."""

    name: str
    way: WayOut
    policy: Policy
    is_for_escalation: bool = False  # told again what nobody acknowledged
    is_only_for_escalation: bool = False  # and nothing else: the way that wakes people up
    limit_s: float = 30.0  # for one try


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """When an error is told again."""

    least: Severity = Severity.ERROR
    after_ns: int = 300 * _S  # without an acknowledgement; twice as long each time
    times_max: int = 5


class _Open(msgspec.Struct):
    """An error that nobody has acknowledged."""

    notice: Notice
    due_ns: int
    wait_ns: int
    times: int = 0


class Escalations:
    """Which errors were not acknowledged, and when to tell them again; sans-IO."""

    def __init__(self, rule: Escalation) -> None:
        self._rule = rule
        self._open: dict[tuple[str, str], _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def put(self, notice: Notice, now_ns: int) -> None:
        """Take a notice; one like an open one takes its place, without putting off when it is told again."""
        if RANK[notice.severity] < RANK[self._rule.least] or not self._rule.times_max:
            return
        key = (notice.kind, notice.instrument)
        if (held := self._open.get(key)) is not None:
            held.notice = notice
            return
        if len(self._open) >= _OPEN_MAX:
            return  # fifty unacknowledged errors say it already
        self._open[key] = _Open(notice=notice, due_ns=now_ns + self._rule.after_ns, wait_ns=self._rule.after_ns)

    def change(self, rule: Escalation) -> None:
        """Tell again by another rule; what is open already keeps the time it is due at."""
        self._rule = rule

    def acknowledge(self) -> int:
        """Forget them all; return how many there were."""
        count = len(self._open)
        self._open.clear()
        return count

    def due(self, now_ns: int) -> list[Notice]:
        """Return what is to be told again now."""
        told: list[Notice] = []
        for key, held in list(self._open.items()):
            if now_ns < held.due_ns:
                continue
            told.append(held.notice)
            held.times += 1
            held.wait_ns *= 2
            held.due_ns = now_ns + held.wait_ns
            if held.times >= self._rule.times_max:
                del self._open[key]
        return told


class _Lane:
    """One route at work."""

    def __init__(self, route: Route, clock: Clock) -> None:
        self.route = route
        self.outbox = Outbox(route.policy)
        self._clock = clock
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()  # nothing waits
        self.is_well = True

    def put(self, notice: Notice, *, is_repeated: bool) -> None:
        if self.outbox.put(notice, self._clock.now_ns(), is_repeated=is_repeated):
            self.idle.clear()
            self._wake.set()

    async def run(self) -> None:
        self.outbox.put_back(self._clock.now_ns())  # what was under way when this task failed
        while True:
            self._wake.clear()
            batch = self.outbox.due(self._clock.now_ns())
            if batch is not None:
                await self._deliver(batch)
                continue
            due_ns = self.outbox.due_ns()
            if due_ns is None:
                self.idle.set()
                await self._wake.wait()
            else:
                await asyncio.sleep(max(0.001, (due_ns - self._clock.now_ns()) / _S))

    async def _deliver(self, batch: Batch) -> None:
        try:
            async with asyncio.timeout(self.route.limit_s):
                await self.route.way.deliver(batch)
        except NeverDelivered as error:
            log.error("alert.refused", route=self.route.name, error=str(error))
            self.outbox.refused(self._clock.now_ns())
            return
        except (NotDelivered, TimeoutError, OSError) as error:
            if self.is_well:
                log.warning("alert.not_delivered", route=self.route.name, error=str(error) or type(error).__name__)
            self.is_well = False
            wait_s = error.retry_after_s if isinstance(error, NotDelivered) else None
            self.outbox.failed(self._clock.now_ns(), retry_after_ns=None if wait_s is None else int(wait_s * _S))
            return
        if not self.is_well:
            log.info("alert.route_recovered", route=self.route.name)
        self.is_well = True
        self.outbox.delivered(self._clock.now_ns())


class Alerts:
    """All ways out: a `ports.NoticeSink`.

    Args:
        clock: the wall's.
    """

    def __init__(self, routes: Sequence[Route], *, clock: Clock, escalation: Escalation | None = None) -> None:
        self._lanes = [_Lane(route, clock) for route in routes]
        self._clock = clock
        self._escalations = Escalations(escalation or Escalation())

    def tell(self, notice: Notice) -> None:
        """See `ports.NoticeSink`. To be called from the event loop's thread."""
        self._escalations.put(notice, self._clock.now_ns())
        for lane in self._lanes:
            if not lane.route.is_only_for_escalation:
                lane.put(notice, is_repeated=False)

    def change(self, policies: Mapping[str, Policy], escalation: Escalation) -> None:
        """Tell by other policies from now on.

        Args:
            policies: by route; one that is not there keeps its own.
        """
        for lane in self._lanes:
            if lane.route.name in policies:
                lane.outbox.change(policies[lane.route.name])
        self._escalations.change(escalation)

    def acknowledge(self, by: str) -> int:
        """Stop repeating what is open; return how many alerts that were."""
        count = self._escalations.acknowledge()
        log.info("alerts.acknowledged", by=by, count=count)
        return count

    @property
    def unacknowledged(self) -> int:
        """Return how many errors nobody has acknowledged."""
        return len(self._escalations)

    def counts(self) -> dict[str, Counter[str]]:
        """Return by route what became of notices: told, folded, muted, dropped, failures."""
        return {lane.route.name: lane.outbox.counts for lane in self._lanes}

    def waiting(self) -> dict[str, int]:
        """Return by route how many lines wait."""
        return {lane.route.name: len(lane.outbox) for lane in self._lanes}

    async def run(self) -> None:
        """Deliver until cancelled; no route's failure reaches another."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(contain(f"alerts to {lane.route.name}", lane.run))
            group.create_task(contain("escalation", self._escalate))

    async def flush(self, limit_s: float) -> None:
        """Wait until nothing waits, for a while at most: the last words of a run."""
        try:
            async with asyncio.timeout(limit_s):
                for lane in self._lanes:
                    await lane.idle.wait()
        except TimeoutError:
            log.warning("alerts.not_flushed", **self.waiting())

    async def _escalate(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.tell_again(self._clock.now_ns())

    def tell_again(self, now_ns: int) -> None:
        """Tell what is due again, by the routes kept for that."""
        for notice in self._escalations.due(now_ns):
            for lane in self._lanes:
                if lane.route.is_for_escalation or lane.route.is_only_for_escalation:
                    lane.put(notice, is_repeated=True)
