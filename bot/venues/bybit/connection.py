"""Sockets for a session that decides: opens, writes and closes as told, and hands over what comes with the time.

Nothing is decided here. Whoever owns the sockets (`SocketUser`) is told at once, from within the event loop's own
callback: a connection that broke has closed its user's trust before anything else of that turn runs. All messages that
one read brought are handed over together, so a burst costs one call.

It is built on `websockets`' asyncio client, whose connection is subclassed at its two seams, bytes that came and frames
that were read: its own queue and its task for each message would cost more than reading the message, and so would its
parser for messages that are one plain frame (`plain_frames`).

Source: websockets, asyncio client and its Sans-I/O layer; faults N5, N12, N13, N16, Z3 and Z5 of the fault catalogue.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State

from bot.ports import Clock
from bot.venues.bybit.plain_frames import PlainFrames

FRAME_BYTES_MAX = 1 << 20  # of one message; the protocol refuses more, also in fragments
_UNSENT_BYTES_MAX = 1 << 18  # what waits for a venue that does not read; beyond it the connection is given up
_OPEN_S = 10.0
_CLOSE_S = 1.0
_REASON_MAX = 200  # characters
_HTTP_FORBIDDEN = 403  # the venue shuts the address out


class SocketUser(Protocol):
    """Who is told what happens. A connection is named, and numbered by who asked for it; times are the clock's."""

    def on_open(self, name: str, connection: int, now_ns: int) -> None:
        """Learn that a connection is open."""

    def on_messages(self, name: str, connection: int, messages: list[tuple[int, bytes]]) -> None:
        """Take messages as (when it was received, the message), in order."""

    def on_closed(self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool) -> None:
        """Learn that a connection is gone, or could not be made; `is_banned` if the venue answered HTTP 403."""


class Sockets:
    """All connections of one user.

    Args:
        user: who is told. What it raises ends everything: see `failed`.
        clock: stamps what comes; one that only rises.
        bytes_max: of one message.
        tls: how certificates are checked; None for the system's rules. It matters to `wss` addresses alone.
        proxy: an address of a proxy; None for none, whatever the environment says.
    """

    def __init__(
        self,
        user: SocketUser,
        clock: Clock,
        *,
        bytes_max: int = FRAME_BYTES_MAX,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        self._user = user
        self._clock = clock
        self.bytes_max = bytes_max
        self._tls = tls
        self._proxy = proxy
        self._open: dict[str, _Connection] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._wanted: list[tuple[int, int, str, int, str]] = []  # to be opened at the end of this turn
        self._asked = 0
        self._failure: asyncio.Future[None] | None = None

    def connect(self, name: str, connection: int, url: str, *, priority: int = 0) -> None:
        """Open a connection; of those asked for in one turn of the loop the lowest `priority` goes first."""
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._open_wanted)
        self._asked += 1
        self._wanted.append((priority, self._asked, name, connection, url))

    def send(self, name: str, connection: int, data: bytes) -> None:
        """Send a text message; nothing happens where that connection is no longer the newest of its name."""
        link = self._open.get(name)
        if link is not None and link.number == connection:
            link.say(data)

    def close(self, name: str, connection: int) -> None:
        """Close without waiting for the other side; the user is told nothing more of this connection."""
        self._wanted = [each for each in self._wanted if each[2:4] != (name, connection)]
        link = self._open.get(name)
        if link is not None and link.number == connection:
            del self._open[name]
            link.leave()
        task = self._opening.get(name)
        if task is not None and task.get_name() == _task_name(name, connection):
            del self._opening[name]
            task.cancel()

    async def failed(self) -> None:
        """Raise what the user has raised, once it has; until then wait."""
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """Close everything, and tell the user nothing more."""
        self._wanted.clear()
        for link in list(self._open.values()):
            link.leave()
        tasks = list(self._opening.values())
        self._open.clear()
        self._opening.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure is not None and self._failure.done():
            self._failure.exception()  # raised to whoever waited; nobody else must

    def tell(self, act: Callable[..., None], *values: Any, **named: Any) -> None:
        """Call the user; what it raises is kept for `failed`, for nobody could catch it in a callback of the loop."""
        try:
            act(*values, **named)
        except BaseException as error:  # purity: handed on to whoever waits in `failed`, who raises it
            if self._failure is None:
                self._failure = asyncio.get_running_loop().create_future()
            if not self._failure.done():
                self._failure.set_exception(error)

    def _open_wanted(self) -> None:
        wanted, self._wanted = sorted(self._wanted), []
        for _, _, name, number, url in wanted:
            task = asyncio.get_running_loop().create_task(
                self._connect(name, number, url), name=_task_name(name, number)
            )
            self._opening[name] = task

    async def _connect(self, name: str, number: int, url: str) -> None:
        def make(*values: Any, **options: Any) -> ClientConnection:
            return _Connection(self, name, number, *values, **options)

        options: dict[str, Any] = {"ssl": self._tls} if url.startswith("wss:") and self._tls is not None else {}
        try:
            link = await _Connect(
                url,
                create_connection=make,  # type: ignore[arg-type]  # documented to take any factory
                compression=None,
                max_size=self.bytes_max,
                proxy=self._proxy,
                ping_interval=None,  # the venue has a ping of its own, and the session decides when
                open_timeout=_OPEN_S,
                close_timeout=_CLOSE_S,
                **options,
            )
        except (OSError, WebSocketException) as error:
            self._opening.pop(name, None)
            is_banned = isinstance(error, InvalidStatus) and error.response.status_code == _HTTP_FORBIDDEN
            self.tell(self._user.on_closed, name, number, _reason(error), self._clock.now_ns(), is_banned=is_banned)
            return
        self._opening.pop(name, None)
        assert isinstance(link, _Connection)
        self._open[name] = link
        self.tell(self._user.on_open, name, number, self._clock.now_ns())
        link.begin()

    def on_messages(self, link: "_Connection", messages: list[tuple[int, bytes]]) -> None:
        """Hand on what a connection has read, unless nobody wants it any more."""
        if self._open.get(link.name) is link:
            self.tell(self._user.on_messages, link.name, link.number, messages)

    def on_lost(self, link: "_Connection", reason: str) -> None:
        """Tell that a connection is gone."""
        if self._open.get(link.name) is link:
            del self._open[link.name]
            now_ns = self._clock.now_ns()
            self.tell(self._user.on_closed, link.name, link.number, reason, now_ns, is_banned=False)

    def now_ns(self) -> int:
        """Return the time that messages are stamped with."""
        return self._clock.now_ns()


class _Connect(connect):
    """Opens a connection and follows no redirect: another host is not the venue."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """One connection; what it reads goes to its owner, all of one read at once."""

    def __init__(self, owner: Sockets, name: str, number: int, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        self._owner = owner
        self.name = name
        self.number = number
        self._frames = PlainFrames(owner.bytes_max)
        self._is_upgraded = False
        self._has_begun = False
        self._has_left = False
        self._is_lost = False
        self._read: list[tuple[int, bytes]] = []
        self._parts: list[bytes] = []  # of a message in fragments
        self._known_ns = 0

    def begin(self) -> None:
        """Hand over what has come already, and from now on whatever comes."""
        self._has_begun = True
        self._hand_over()
        if self._is_lost:
            self._owner.on_lost(self, self._why())

    def say(self, data: bytes) -> None:
        """Write a text message now."""
        if self.protocol.state is not State.OPEN:
            return  # it is ending, and its user is about to hear so
        self.protocol.send_text(data)
        self.send_data()
        if self.transport.get_write_buffer_size() > _UNSENT_BYTES_MAX:
            self.transport.abort()

    def leave(self) -> None:
        """Say goodbye and go, without waiting for an answer."""
        self._has_left = True
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(1000)
            self.send_data()
        self.transport.close()
        self.loop.call_later(_CLOSE_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        known_ns = self._known_ns = self._owner.now_ns()
        if not self._is_upgraded:
            head, data = self._frames.split_head(data)
            super().data_received(head)
            self._is_upgraded = self.protocol.state is not State.CONNECTING
            if not self._is_upgraded:
                if data:
                    super().data_received(data)
                return
        for start, frame in self._frames.cut(data):
            if start and not self._parts and self.protocol.state is State.OPEN:
                self._read.append((known_ns, frame[start:]))
            else:
                super().data_received(frame)
        if self._has_begun:
            self._hand_over()

    def process_event(self, event: Any) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif event.fin and not self._parts:
            self._read.append((self._known_ns, bytes(event.data)))
        else:  # the protocol has seen to it that fragments follow one another and are not too long together
            self._parts.append(bytes(event.data))
            if event.fin:
                self._read.append((self._known_ns, b"".join(self._parts)))
                self._parts = []

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_lost = True
        if self._has_begun and not self._has_left:
            self._owner.on_lost(self, self._why())

    def _hand_over(self) -> None:
        if self._read and not self._has_left:
            messages, self._read = self._read, []
            self._owner.on_messages(self, messages)

    def _why(self) -> str:
        return _reason(self.protocol.close_exc)


def _task_name(name: str, connection: int) -> str:
    return f"connect {name} {connection}"


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:_REASON_MAX]
