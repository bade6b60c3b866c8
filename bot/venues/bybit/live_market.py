"""A venue's live market over real sockets: does what `LiveFeed` says, and tells it what happened and when.

A `ports.MarketSource`. Everything that the feed is told goes to a recorder first, if there is one, so a capture holds
what happened even where what came of it failed.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from bot.domain.errors import VenueError
from bot.domain.market import MarketUpdate
from bot.domain.operation import DataAge
from bot.ports import Clock
from bot.venues.bybit.backoff import Backoff, ConnectBudget
from bot.venues.bybit.connection import Sockets
from bot.venues.bybit.feed_clock import SAMPLES_FIRST, FeedClock
from bot.venues.bybit.hosts import Host
from bot.venues.bybit.live_feed import FeedEffect, FeedOptions, Fetch, FiltersTold, LiveFeed, Opening
from bot.venues.bybit.market_streams import ForConnection, Wanted
from bot.venues.bybit.pauses import OVERLOADED
from bot.venues.bybit.precompile import precompile
from bot.venues.bybit.public_answers import TIME_PATH, Unusable, read_time
from bot.venues.bybit.public_client import PublicClient
from bot.venues.bybit.stream_effects import Alert, Close, Distrust, Send, Trust
from bot.venues.bybit.topics import Category, Kind

log = structlog.get_logger()

PRIORITY = 1  # of its connections: those that carry money are 0
_CLOCK_TRIES = 8


class Recorder(Protocol):
    """Who keeps what a feed is told."""

    def on_start(self, wanted: Sequence[Wanted], options: FeedOptions, start_ns: int) -> None:
        """Learn what the feed is made of."""

    def on_event(self, event: str, values: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep what the feed is about to be told."""


class LiveMarket:
    """The live market of several instruments.

    Args:
        wanted: the instruments.
        options: how the feed is kept.
        host: the environment.
        base: our clock: one that only rises.
        speed: how fast it runs: how many of its seconds pass in one.
        budget: of connections, shared with whoever else connects to the host.
        recorder: keeps what the feed is told; None for nobody.
        tls: how certificates are checked; None for the system's rules.
        on_filters: told each time the venue has told what orders must fit into.
        on_trouble: told what a person should see to: a machine that is too busy to trade on.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        options: FeedOptions,
        *,
        host: Host,
        base: Clock,
        speed: float = 1.0,
        budget: ConnectBudget | None = None,
        recorder: Recorder | None = None,
        tls: ssl.SSLContext | None = None,
        on_filters: Callable[[FiltersTold], None] = lambda told: None,
        on_trouble: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._wanted = list(wanted)
        self._options = options
        self._host = host
        self._base = base
        self._speed = speed
        self._budget = budget
        self._recorder = recorder
        self._tls = tls
        self._on_filters = on_filters
        self._on_trouble = on_trouble
        self._clock = FeedClock(base)
        self._waits = Backoff(seed=options.seed, stream=998)
        self._feed: LiveFeed | None = None
        self._sockets: Sockets | None = None
        self._client: PublicClient | None = None
        self._deliver: Callable[[MarketUpdate], None] = lambda update: None
        self._questions: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._began_ns = 0
        self.messages = 0  # that came
        self.alerts: list[Alert] = []  # the newest

    # --- ports.MarketSource -------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """See `ports.MarketSource`."""
        return self._feed is not None and self._feed.is_ready

    def doubts(self, category: str, name: str) -> list[str]:
        """See `ports.MarketSource`."""
        known: Category = "spot" if category == "spot" else "linear"
        return ["the feed has not begun"] if self._feed is None else self._feed.doubts(known, name)

    def topics(self) -> list[DataAge]:
        """Return how long ago each topic was last heard of, or the venue last said that there is nothing to say."""
        if self._feed is None:
            return []
        now_ns, streams = self._clock.now_ns(), self._feed.streams
        return [
            DataAge(
                topic=topic.text if streams.category_of(name) == "linear" else f"spot:{topic.text}",
                age_ns=max(0, now_ns - (heard_ns or self._began_ns)),
                limit_ns=silence_ns,
                is_trusted=is_trusted,
            )
            for name, session in streams.sessions.items()
            for topic, heard_ns, silence_ns, is_trusted in session.heard()
            if topic.kind is not Kind.STATUS  # it speaks when there is news
        ]

    def connections(self) -> dict[str, int]:
        """Return how many connections were made or tried, by name."""
        sessions = {} if self._feed is None else self._feed.streams.sessions
        return {f"public-{name}": each.connection for name, each in sessions.items()}

    @property
    def refused(self) -> int:
        """Return how many messages were not understood."""
        return 0 if self._feed is None else sum(each.refused for each in self._feed.streams.sessions.values())

    def stop(self) -> None:
        """See `ports.MarketSource`."""
        self._is_stopping = True
        self._wake.set()

    async def run(self, deliver: Callable[[MarketUpdate], None]) -> None:
        """See `ports.MarketSource`.

        Raises:
            VenueError: the venue's time cannot be had at the start.
        """
        self._deliver = deliver
        precompile()
        self._sockets = Sockets(self, self._clock, tls=self._tls)
        async with PublicClient(self._host.rest, self._base) as self._client:
            await self._set_clock()
            now_ns = self._began_ns = self._clock.now_ns()
            if self._recorder is not None:
                self._recorder.on_start(self._wanted, self._options, now_ns)
            self._feed = LiveFeed(self._wanted, self._options, start_ns=now_ns, budget=self._budget)
            failed = asyncio.create_task(self._sockets.failed())
            failed.add_done_callback(lambda task: self._wake.set())
            try:
                self._tell("start", now_ns)
                while not self._is_stopping and not failed.done():
                    await self._rest()
                    self._tell("on_time", self._clock.now_ns())
                if failed.done():
                    failed.result()
                self._tell("stop", self._clock.now_ns())
            finally:
                failed.cancel()
                for task in list(self._questions):
                    task.cancel()
                await asyncio.gather(failed, *self._questions, return_exceptions=True)
                await self._sockets.stop()

    # --- connection.SocketUser ----------------------------------------------------------------------------------------

    def on_open(self, name: str, connection: int, now_ns: int) -> None:
        """See `connection.SocketUser`."""
        self._tell("on_open", name, connection, now_ns)

    def on_messages(self, name: str, connection: int, messages: list[tuple[int, bytes]]) -> None:
        """See `connection.SocketUser`."""
        self.messages += len(messages)
        self._tell("on_messages", name, connection, messages)

    def on_closed(self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool) -> None:
        """See `connection.SocketUser`."""
        self._tell("on_closed", name, connection, reason, now_ns, is_banned=is_banned)

    # --- within -------------------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Wait until the feed wants to know the time, or something has to be done."""
        assert self._feed is not None
        wait_s = max(0, self._feed.next_time_ns() - self._clock.now_ns()) / 1e9 / self._speed
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _tell(self, event: str, *values: Any, **named: Any) -> None:
        assert self._feed is not None
        if self._recorder is not None:
            self._recorder.on_event(event, values, named)
        for effect in getattr(self._feed, event)(*values, **named):
            self._do(effect)
        if event == "on_time" and self._clock.is_due and not any(t.get_name() == "clock" for t in self._questions):
            self._in_background(self._ask_time(), "clock")

    def _do(self, effect: FeedEffect) -> None:
        assert self._sockets is not None
        if isinstance(effect, MarketUpdate):
            self._deliver(effect)
        elif isinstance(effect, Opening):
            self._sockets.connect(effect.name, effect.connection, self._host.public + effect.path, priority=PRIORITY)
        elif isinstance(effect, Fetch):
            self._in_background(self._fetch(effect), f"fetch {effect.number}")
        elif isinstance(effect, ForConnection):
            match effect.effect:
                case Send(connection=connection, data=data):
                    self._sockets.send(effect.name, connection, data)
                case Close(connection=connection, reason=reason):
                    self._sockets.close(effect.name, connection)
                    log.info("connection.closed", connection=effect.name, reason=reason)
                case Alert() as alert:
                    self.alerts = [*self.alerts[-99:], alert]
                    log.warning(alert.code, about=effect.name, text=alert.text, suppressed=alert.suppressed)
                    if alert.code == OVERLOADED:
                        self._on_trouble(alert.text)
                case Distrust(topic=topic, reason=reason):
                    log.info("topic.distrusted", connection=effect.name, topic=topic, reason=reason)
                case Trust(topic=topic):
                    log.info("topic.trusted", connection=effect.name, topic=topic)
                case _:
                    pass
        elif isinstance(effect, FiltersTold):
            log.info("instrument.told", symbol=effect.filters.symbol, is_readable=effect.is_readable)
            self._on_filters(effect)
        else:
            log.warning("venue.noticed", notices=[notice.title for notice in effect.notices])

    def _in_background(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._questions.add(task)
        task.add_done_callback(self._questions.discard)

    async def _fetch(self, fetch: Fetch) -> None:
        assert self._client is not None
        assert self._sockets is not None
        status, body = await self._client.get(fetch.path)
        self._sockets.tell(self._tell, "on_answer", fetch.number, status, body, self._clock.now_ns())

    async def _set_clock(self) -> None:
        """Measure the venue's clock before anything rests on it."""
        tries = samples = 0
        while samples < SAMPLES_FIRST:
            reason = await self._ask_time()
            if not reason:
                samples += 1
                continue
            tries += 1
            if tries >= _CLOCK_TRIES:
                raise VenueError("no time", f"{self._host.rest} does not tell its time ({reason}); is it reachable?")
            await asyncio.sleep(self._waits.wait_ns(tries) / 1e9)

    async def _ask_time(self) -> str:
        """Learn the venue's time; return why not, "" if it was told."""
        assert self._client is not None
        status, body, sent_ns, recv_ns = await self._client.timed(TIME_PATH)
        if status == 0:
            return body.decode("utf-8", "replace")
        try:
            self._clock.learn(sent_ns=sent_ns, recv_ns=recv_ns, server_ms=read_time(status, body))
        except Unusable as error:
            return str(error)
        return ""
