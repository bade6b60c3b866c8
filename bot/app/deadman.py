"""The dead-man switch: a small process of its own that clears the account when the bot falls silent.

It has its own key, shares no strategy, no ledger and no event loop with the bot, and knows of it only the file in which
the bot says that it is well. It goes on clearing for as long as the silence lasts, since whoever was stopped may wake
and send what it had in hand; when the bot is heard again it steps back.
"""

import asyncio
from collections.abc import Callable

import structlog

from bot.app.switches import Switches
from bot.core.silence import Hearing, Silence
from bot.domain.errors import ConfigError, StorageError, VenueError
from bot.runtime.deadman_settings import DeadmanSettings
from bot.runtime.env import ScaledClock, SystemClock, monotonic_ns
from bot.runtime.heartbeat import Life, read_heartbeat
from bot.runtime.notify import ServiceNotifier
from bot.venues.bybit.clearing import Clearing, Round
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.start_queries import RestAsker
from bot.venues.bybit.startup import Wanted, check_key

log = structlog.get_logger()

_LOOK_S = 0.25
_AWAY_NS = 3_000_000_000
_AGAIN_S = 1.0  # between two rounds until nothing is left
_GUARD_S = 5.0  # and from then on, as long as the silence lasts
_REHEARSE_NS = 600_000_000_000


class DeadMan:
    """Watches one bot.

    Args:
        settings: whose account, and what is done to it.
        credentials: of a key of its own.
        notifier: the service manager's socket.
        on_news: told of every change, one line for a person.
    """

    def __init__(
        self,
        settings: DeadmanSettings,
        credentials: Credentials,
        notifier: ServiceNotifier,
        on_news: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._notifier = notifier
        self._on_news = on_news
        self._silence = Silence(after_ns=settings.silence, away_ns=min(_AWAY_NS, settings.silence // 2))
        self._clock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)  # it only rises
        self._stopping = asyncio.Event()
        self._rehearsed_ns: int | None = None
        self._trouble = ""
        self.rounds = 0  # that were made in silence

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    async def run(self) -> None:
        """Watch until stopped.

        Raises:
            ConfigError: the key is none for this.
            VenueError: the venue cannot be asked at the start.
        """
        venue = self._settings.venue
        host = host_of(venue.environment, region=venue.region, url=venue.url)
        async with RestClient(host, self._credentials, clock=self._clock, budget=RateBudget()) as client:
            clearing = Clearing(
                client,
                now_ns=self._clock.now_ns,
                categories=venue.categories,
                settles=venue.settle,
                is_flattening=self._settings.then == "flatten",
            )
            await self._begin(client, clearing)
            while not self._stopping.is_set():
                hearing = self._listen()
                self._notifier.alive()
                if hearing is Hearing.SILENT:
                    await self._clear(clearing)
                else:
                    await self._rehearse(clearing)
                    await self._wait(_LOOK_S)
        self._notifier.stopping()

    async def _begin(self, client: RestClient, clearing: Clearing) -> None:
        """Prove, before it is needed, that the key opens this account and may do what will be asked of it."""
        trouble = ""
        for _ in range(3):
            trouble = await clearing.set_clock()
        if trouble:
            raise VenueError("no time", f"{client.host.rest}: {trouble}")
        wanted = Wanted(
            mode="live" if client.host.is_real_money else "paper", uid=self._settings.venue.uid, instruments={}
        )
        asker = RestAsker(client, lambda: client.venue_clock.venue_ms(self._clock.now_ns()))
        findings = await check_key(asker, wanted, self._credentials, now_ns=self._clock.now_ns())
        for each in findings:
            log.warning("key.differs", line=each.line, is_fatal=each.is_fatal)
        fatal = [each.line for each in findings if each.is_fatal]
        if fatal:
            raise ConfigError("\n".join(fatal))
        found = await clearing.look()
        if found.troubles:
            raise VenueError("no look", "; ".join(found.troubles))
        self._rehearsed_ns = monotonic_ns()
        self._notifier.ready(f"watching {self._settings.heartbeat}")
        self._say(f"watching {self._settings.heartbeat}: {found.orders} orders, {found.positions} positions there now")

    def _listen(self) -> Hearing:
        beat = read_heartbeat(self._settings.heartbeat)
        before = self._silence.hearing
        said = None if beat is None else (beat.run_id, beat.count)
        is_last = beat is not None and beat.life is Life.STOPPED
        hearing = self._silence.hear(said, monotonic_ns(), is_last=is_last)
        if hearing is before:
            return hearing
        if hearing is Hearing.SILENT:
            seconds = self._silence.silent_ns(monotonic_ns()) / 1e9
            log.critical("deadman.fired", silent_s=round(seconds, 1), then=self._settings.then)
            self._say(f"the bot has been silent for {seconds:.1f} s: {self._settings.then}")
            self._close_kill_switch()
        else:
            log.info("deadman.heard", hearing=hearing.value)
            alive = "the bot is alive" if hearing is Hearing.ALIVE else "the bot has stopped in order: nothing to do"
            self._say(alive)
        return hearing

    async def _clear(self, clearing: Clearing) -> None:
        """Make one round, and wait for the next as long as it may."""
        found = await clearing.round()
        self.rounds += 1
        self._tell_round(found)
        await self._wait(_GUARD_S if found.is_clear else _AGAIN_S)

    def _tell_round(self, found: Round) -> None:
        left = f"{found.orders} orders and {found.positions} positions left"
        text = "; ".join((left, *found.troubles)) if not found.is_clear else "the account is clear"
        if text != self._trouble:
            self._trouble = text
            log.warning("deadman.cleared", orders=found.orders, positions=found.positions, troubles=found.troubles)
            self._say(text)

    async def _rehearse(self, clearing: Clearing) -> None:
        """Look now and then whether the key still opens the account: a key that ended is found out before the need."""
        now_ns = monotonic_ns()
        trouble = await clearing.set_clock()
        if not trouble and self._rehearsed_ns is not None and now_ns - self._rehearsed_ns >= _REHEARSE_NS:
            self._rehearsed_ns = now_ns
            trouble = "; ".join((await clearing.look()).troubles)
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                log.error("deadman.not_able", trouble=trouble)
            self._say(trouble or f"watching {self._settings.heartbeat}")

    def _close_kill_switch(self) -> None:
        if not self._settings.kill:
            return
        try:
            Switches(self._settings.heartbeat.parent).kill("the dead-man switch fired")
        except StorageError as error:  # the account matters more
            log.error("deadman.not_killed", error=str(error))

    def _say(self, text: str) -> None:
        self._notifier.status(text)
        self._on_news(text)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
