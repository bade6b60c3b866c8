"""A session that logs in, on a real socket: carries out what it decides, hands on the rest, and wakes it in time.

Thin: `connection.Sockets` owns the socket, the session decides. Two of these are the account's streams and order entry.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from bot.domain.answers import Answer
from bot.ports import Clock
from bot.venues.bybit.connection import Sockets
from bot.venues.bybit.login_session import MESSAGE_BYTES_MAX, LoginSession
from bot.venues.bybit.requests import WriteRequest
from bot.venues.bybit.stream_effects import Close, Connect, Send
from bot.venues.bybit.trade_session import Answered, TradeSession


class SessionSocket:
    """One session on one socket. Everything happens in the event loop's own callbacks.

    Args:
        session: decides.
        url: where to connect.
        clock: ours, one that only rises.
        on_effect: takes what the session says to its owner, in order; it must not block.
        speed: how fast the clock runs.
        name: for messages.
    """

    def __init__(
        self,
        session: LoginSession,
        url: str,
        *,
        clock: Clock,
        on_effect: Callable[[Any], None],
        speed: float = 1.0,
        name: str = "account",
    ) -> None:
        self.session = session
        self._url = url
        self._clock = clock
        self._on_effect = on_effect
        self._speed = speed
        self._name = name
        self._sockets = Sockets(self, clock, bytes_max=MESSAGE_BYTES_MAX)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Connect."""
        self.carry_out(self.session.start(self._clock.now_ns()))

    async def stop(self) -> None:
        """Close; what was under way is told as unknown."""
        self.carry_out(self.session.stop(self._clock.now_ns()))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._sockets.stop()

    async def failed(self) -> None:
        """Raise what a callback has raised, once it has; until then wait."""
        await self._sockets.failed()

    def on_open(self, name: str, connection: int, now_ns: int) -> None:
        """See `connection.SocketUser`."""
        self.carry_out(self.session.on_open(connection, now_ns))

    def on_messages(self, name: str, connection: int, messages: list[tuple[int, bytes]]) -> None:
        """See `connection.SocketUser`."""
        self.carry_out(self.session.on_messages(connection, messages))

    def on_closed(self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool) -> None:
        """See `connection.SocketUser`."""
        self.carry_out(self.session.on_closed(connection, reason, now_ns, is_banned=is_banned))

    def carry_out(self, effects: list[Any]) -> None:
        """Do what the session wants, hand on what is not ours, and set the alarm."""
        for effect in effects:
            match effect:
                case Connect(connection=connection):
                    self._sockets.connect(self._name, connection, self._url)
                case Send(connection=connection, data=data):
                    self._sockets.send(self._name, connection, data)
                case Close(connection=connection):
                    self._sockets.close(self._name, connection)
                case _:
                    self._on_effect(effect)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at_ns = self.session.next_time_ns()
        if at_ns < 2**62:
            wait_s = max(0, at_ns - self._clock.now_ns()) / 1e9 / self._speed
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._sockets.tell(self._on_time)

    def _on_time(self) -> None:
        self.carry_out(self.session.on_time(self._clock.now_ns()))


class TradeSocket:
    """Order entry as a call: a request goes out now, and its outcome is awaited.

    Args:
        session: of order entry.
        url: where it is.
        clock: ours, one that only rises.
        on_effect: takes all but answers: readiness, alerts.
        on_late: takes an answer to a request that was told as unknown before.
        speed: how fast the clock runs.
    """

    def __init__(
        self,
        session: TradeSession,
        url: str,
        *,
        clock: Clock,
        on_effect: Callable[[Any], None],
        on_late: Callable[[str, tuple[Answer, ...]], None],
        speed: float = 1.0,
    ) -> None:
        self.session = session
        self._clock = clock
        self._pass_on = on_effect
        self._on_late = on_late
        self._waiting: dict[str, asyncio.Future[tuple[Answer, ...]]] = {}
        self.socket = SessionSocket(session, url, clock=clock, on_effect=self._take, speed=speed, name="orders")

    def start(self) -> None:
        """Connect."""
        self.socket.start()

    async def stop(self) -> None:
        """Close; what was under way is told as unknown."""
        await self.socket.stop()

    async def send(
        self, token: str, request: WriteRequest, *, timestamp_ms: int, recv_window_ms: int
    ) -> tuple[Answer, ...]:
        """Send a request, once, and return what it has come to.

        Args:
            token: the caller's name of this attempt, never used twice; `on_late` names it.
            request: what is asked.
            timestamp_ms: by the venue's clock.
            recv_window_ms: how long after it the venue may take it.
        """
        outcome: asyncio.Future[tuple[Answer, ...]] = asyncio.get_running_loop().create_future()
        self._waiting[token] = outcome
        try:
            self.socket.carry_out(
                self.session.submit(
                    token,
                    request,
                    timestamp_ms=timestamp_ms,
                    recv_window_ms=recv_window_ms,
                    now_ns=self._clock.now_ns(),
                )
            )
            return await outcome
        finally:
            self._waiting.pop(token, None)

    def _take(self, effect: Any) -> None:
        if not isinstance(effect, Answered):
            self._pass_on(effect)
            return
        outcome = self._waiting.get(effect.token)
        if outcome is not None and not outcome.done():
            outcome.set_result(effect.answers)
        else:  # nobody waits any more: it was told as unknown, or its caller was canceled
            self._on_late(effect.token, effect.answers)
