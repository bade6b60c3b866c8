"""Tells somebody outside that the bot is well, by asking for an address; silence is what raises the alarm there.

It is not the process that must be alive, but the trading: data and decisions must be young enough.
"""

import asyncio

import aiohttp
import msgspec
import structlog

from bot.domain.errors import DataError
from bot.domain.operation import Phase, Snapshot
from bot.operator.ways_out import check_url, is_reached
from bot.ports import Operated

log = structlog.get_logger()

_TIMEOUT_S = 10.0


class Wellness(msgspec.Struct, frozen=True, kw_only=True):
    """What well means."""

    decision_age_max_ns: int  # since the last decision, or the start; 0: not looked at
    reconciled_age_max_ns: int = 0  # since the books were last compared with the venue's; 0: not looked at
    is_paused_well: bool = True  # a pause is a person's wish


def why_unwell(snapshot: Snapshot, rule: Wellness) -> list[str]:
    """Return what is wrong, a line for each; nothing where the bot is well."""
    found: list[str] = []
    if snapshot.phase not in (Phase.READY, Phase.DEGRADED):
        found.append(f"phase {snapshot.phase}")
    if snapshot.is_killed:
        found.append("killed")
    if snapshot.is_paused and not rule.is_paused_well:
        found.append("paused")
    if not snapshot.data:
        found.append("no data is followed")
    for age in snapshot.data:
        if age.age_ns > age.limit_ns:
            found.append(f"{age.topic} is stale")
    found += [f"{actor.name} is dead" for actor in snapshot.actors if not actor.is_alive]
    for limit_ns, since_ns, what in (
        (rule.decision_age_max_ns, snapshot.last_decision_ns, "decision"),
        (rule.reconciled_age_max_ns, snapshot.last_reconciled_ns, "comparison with the venue"),
    ):
        if limit_ns and snapshot.now_ns - max(since_ns, snapshot.started_ns) > limit_ns:
            found.append(f"the last {what} is too old")
    return found


class Heartbeat:
    """Asks for an address every so often, while the bot is well.

    Args:
        url: where to; it may hold a secret, and is never logged.
        every_s: how often.

    Attributes:
        rule: what well means; another one counts from the next beat on.
        sent, withheld, failed: how often it was; since the start.

    Raises:
        ValueError: the address is none that may be used.
    """

    def __init__(
        self, operated: Operated, *, url: str, every_s: float, rule: Wellness, is_trusted_plain: bool = False
    ) -> None:
        check_url(url, is_trusted_plain=is_trusted_plain)
        self._operated = operated
        self._url = url
        self._every_s = every_s
        self.rule = rule
        self._was_well = True
        self.sent = self.withheld = self.failed = 0

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._every_s)

    async def beat(self) -> None:
        """Look, and say that all is well if it is."""
        try:
            reasons = why_unwell(await self._operated.snapshot(), self.rule)
        except DataError as error:
            reasons = [str(error)]
        if reasons:
            self.withheld += 1
            if self._was_well:
                log.warning("heartbeat.withheld", reasons=reasons[:10])
            self._was_well = False
            return
        if not self._was_well:
            log.info("heartbeat.resumed")
        self._was_well = True
        try:
            limit = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(self._url, allow_redirects=False) as response,
            ):
                is_heard = is_reached(response.status)
        except (aiohttp.ClientError, TimeoutError, OSError):
            is_heard = False
        if is_heard:
            self.sent += 1
        else:
            self.failed += 1
