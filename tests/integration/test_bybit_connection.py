"""Sockets against a real server on the loopback address: what is handed over, when, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from bot.runtime.env import SystemClock
from bot.venues.bybit.connection import Sockets

WAIT_S = 10.0


class User:
    """Keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.calls = 0
        self._changed = asyncio.Event()
        self.breaks_on = ""

    def on_open(self, name: str, connection: int, now_ns: int) -> None:
        self._tell(("open", name, connection))

    def on_messages(self, name: str, connection: int, messages: list[tuple[int, bytes]]) -> None:
        self.calls += 1
        for known_ns, raw in messages:
            assert known_ns > 0
            self._tell(("message", name, connection, raw))

    def on_closed(self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool) -> None:
        self._tell(("closed", name, connection, reason, is_banned))

    def _tell(self, what: tuple[Any, ...]) -> None:
        self.told.append(what)
        self._changed.set()
        if what[0] == self.breaks_on:
            raise RuntimeError("the user broke")

    def kinds(self) -> list[str]:
        return [each[0] for each in self.told]

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not enough():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def serving(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    server: Server = await serve(handler, "127.0.0.1", 0, **options)
    try:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
    finally:
        server.close(close_connections=True)
        await server.wait_closed()


@asynccontextmanager
async def connected(url: str, user: User, **options: Any) -> AsyncIterator[Sockets]:
    sockets = Sockets(user, SystemClock(), **options)
    sockets.connect("a", 1, url)
    try:
        yield sockets
    finally:
        await sockets.stop()


async def test_what_is_said_comes_back_in_order_and_fragments_are_one_message() -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)
            await socket.send(iter(["in ", "three ", "parts"]))

    user = User()
    async with serving(echo) as url, connected(url, user) as sockets:
        await user.until(lambda: user.kinds() == ["open"])
        sockets.send("a", 1, b"hello")
        sockets.send("a", 2, b"of a connection that is not this one")
        await user.until(lambda: len(user.told) == 3)
    assert user.told[1:] == [("message", "a", 1, b"hello"), ("message", "a", 1, b"in three parts")]


async def test_messages_that_wait_together_are_handed_over_together() -> None:
    async def burst(socket: ServerConnection) -> None:
        for number in range(1000):
            await socket.send(str(number))
        await socket.wait_closed()

    user = User()
    async with serving(burst) as url, connected(url, user):
        await user.until(lambda: len(user.told) == 1001)
    assert [each[3] for each in user.told[1:]] == [str(number).encode() for number in range(1000)]
    assert user.calls < 900  # a read brings many, how many is the kernel's choice


async def test_that_it_opened_is_told_before_what_came_with_the_handshake() -> None:
    async def eager(socket: ServerConnection) -> None:
        await socket.send("first")
        await socket.close(1001, "bye")

    user = User()
    async with serving(eager) as url, connected(url, user):
        await user.until(lambda: "closed" in user.kinds())
    assert user.kinds() == ["open", "message", "closed"]
    assert "1001" in user.told[2][3]
    assert not user.told[2][4]


@pytest.mark.parametrize(("status", "is_banned"), [(403, True), (503, False), (404, False), (302, False)])
async def test_a_refused_handshake_is_a_lost_connection(status: int, is_banned: bool) -> None:
    async def never(socket: ServerConnection) -> None:
        raise AssertionError("nobody may get here")

    def refuse(socket: ServerConnection, request: Any) -> Any:
        response = socket.respond(status, "no")
        response.headers["Location"] = "ws://127.0.0.1:1/elsewhere"
        return response

    user = User()
    async with serving(never, process_request=refuse) as url, connected(url, user):
        await user.until(lambda: bool(user.told))
    assert [(each[0], each[4]) for each in user.told] == [("closed", is_banned)]


async def test_nobody_listens() -> None:
    user = User()
    async with connected("ws://127.0.0.1:1", user):
        await user.until(lambda: bool(user.told))
    assert user.told[0][0] == "closed"


async def test_a_message_beyond_the_limit_ends_the_connection_unread() -> None:
    async def long(socket: ServerConnection) -> None:
        await socket.send(iter(["x" * 600, "x" * 600]))
        await socket.wait_closed()

    user = User()
    async with serving(long) as url, connected(url, user, bytes_max=1000):
        await user.until(lambda: "closed" in user.kinds())
    assert user.kinds() == ["open", "closed"]


async def test_after_close_nothing_more_is_told() -> None:
    async def chatty(socket: ServerConnection) -> None:
        while True:
            await socket.send("again")
            await asyncio.sleep(0)

    user = User()
    async with serving(chatty) as url, connected(url, user) as sockets:
        await user.until(lambda: len(user.told) > 3)
        sockets.close("a", 1)
        before = len(user.told)
        sockets.connect("a", 2, url)
        await user.until(lambda: ("open", "a", 2) in user.told)
    assert user.told[before] == ("open", "a", 2)
    assert all(each[2] == 2 for each in user.told[before:])


async def test_a_connection_that_is_being_made_can_be_called_off() -> None:
    release = asyncio.Event()

    async def slow(socket: ServerConnection, request: Any) -> None:
        await release.wait()

    async def nothing(socket: ServerConnection) -> None:
        await socket.wait_closed()

    user = User()
    async with serving(nothing, process_request=slow) as url, connected(url, user) as sockets:
        await asyncio.sleep(0)
        sockets.close("a", 1)
        release.set()
        sockets.connect("b", 1, url)
        await user.until(lambda: bool(user.told))
    assert user.told == [("open", "b", 1)]


async def test_of_those_asked_for_together_money_goes_first() -> None:
    paths: list[str] = []

    async def nothing(socket: ServerConnection) -> None:
        assert socket.request is not None
        paths.append(socket.request.path)
        await socket.wait_closed()

    user = User()
    async with serving(nothing) as url:
        sockets = Sockets(user, SystemClock())
        for number in range(5):
            sockets.connect(f"market-{number}", 1, f"{url}/market", priority=1)
        sockets.connect("private", 1, f"{url}/private", priority=0)
        await user.until(lambda: len(user.told) == 6)
        await sockets.stop()
    assert paths[0] == "/private"


@pytest.mark.parametrize("where", ["open", "message", "closed"])
async def test_what_the_user_raises_reaches_whoever_waits(where: str) -> None:
    async def once(socket: ServerConnection) -> None:
        await socket.send("x")

    user = User()
    user.breaks_on = where
    async with serving(once) as url, connected(url, user) as sockets:
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(RuntimeError, match="the user broke"):
                await sockets.failed()
