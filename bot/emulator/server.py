"""The emulated venue on the network: HTTP and WebSockets on one port, and whatever is to go wrong with their bytes."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from bot.emulator.driven import DRIVE, DrivenClock
from bot.emulator.exchange import Exchange
from bot.emulator.hub import Outgoing
from bot.emulator.params import BODY_MAX
from bot.emulator.wire import Damage, HttpRefused, Request, Response
from bot.ports import Clock

_FRAME_MAX = 1 << 20
_TICK_S = 0.002
_STEPS_AT_ONCE = 20  # of a driven clock, before others have their turn
_CATCH_UP_ROUNDS = 5_000
QUEUE_MAX = 20_000  # frames waiting for one slow client before it is cut off


class Connection:
    """One client's WebSocket, and what waits to be sent on it."""

    def __init__(self, stream: web.WebSocketResponse, request: web.Request, queue_max: int) -> None:
        self.stream = stream
        self.request = request
        self.queue: asyncio.Queue[Outgoing] = asyncio.Queue(queue_max)
        self.is_dead = asyncio.Event()  # half open: nothing is read any more, nothing sent

    def abort(self) -> None:
        """Reset the connection."""
        transport = self.request.transport
        if transport is not None:
            transport.abort()


class Server:
    """Serves an exchange on the loopback address.

    Args:
        exchange: the venue.
        clock: the venue's.
        speed: how many seconds pass on it in one of ours.
        host, port: where; port 0 takes a free one.
        tls: speak TLS.
        on_end: called once when every recording is at its end.
        queue_max: so many frames wait for one slow client before it is cut off.
    """

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        *,
        speed: float = 1.0,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        on_end: Callable[[], None] | None = None,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self.exchange = exchange
        self.port = port
        self._clock = clock
        self._speed = speed
        self._host = host
        self._tls = tls
        self._on_end = on_end
        self._queue_max = queue_max
        self._connections: dict[int, Connection] = {}
        self._runner: web.AppRunner | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._is_ending = asyncio.Event()
        self._site: web.TCPSite | None = None
        self._driving = asyncio.Lock()
        self._held: socket.socket | None = None  # keeps the port while nobody listens on it

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        await self._listen()
        self.port = self._runner.addresses[0][1]
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._tls, backlog=1024)
        await self._site.start()

    async def stop(self) -> None:
        """End all connections and listen no more; raise what has broken the venue meanwhile, if anything has."""
        self._is_ending.set()
        for connection in list(self._connections.values()):
            connection.is_dead.set()
            connection.abort()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._held is not None:
            self._held.close()
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker

    async def wait(self) -> None:
        """Return, or raise, when the venue's time no longer passes: it is broken, or was stopped."""
        if self._ticker is not None:
            await asyncio.shield(self._ticker)

    async def _tick(self) -> None:
        """Let the venue's time pass."""
        has_ended = False
        while True:
            now_ns = self._clock.now_ns()
            for outgoing in self.exchange.advance(now_ns):
                self._dispatch(outgoing)
            if self.exchange.is_deaf(now_ns) != (self._site is None):
                await self._turn_deaf(is_deaf=self._site is not None)
            if not has_ended and self._on_end is not None and self.exchange.has_ended:
                has_ended = True
                self._on_end()
            await asyncio.sleep(_TICK_S)

    async def _turn_deaf(self, *, is_deaf: bool) -> None:
        """Listen no more, so that connections are refused, or listen again on the same port."""
        if is_deaf:
            assert self._site is not None
            await self._site.stop()
            self._site = None
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            self._held = socket.socket(family)
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._held.bind((self._host, self.port))
            for connection in list(self._connections.values()):
                connection.abort()
            return
        assert self._held is not None
        self._held.close()
        self._held = None
        await self._listen()

    def _dispatch(self, outgoing: Outgoing) -> None:
        connection = self._connections.get(outgoing.session)
        if connection is None or connection.is_dead.is_set():
            return
        try:
            connection.queue.put_nowait(outgoing)
        except asyncio.QueueFull:
            connection.abort()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._serve_socket(request)
        asked = Request(
            method=request.method,
            path=request.path,
            query=request.raw_path.partition("?")[2],  # exactly as it was sent, for it has been signed
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
            ip=request.remote or "",
        )
        if (asked.method, asked.path) == ("POST", "/emulator/clock"):
            return await self._drive(asked.body)
        await self._pass(self.exchange.arrival_delay_ns(asked, self._clock.now_ns()))
        answer = self.exchange.handle_request(asked, self._clock.now_ns())
        await self._pass(answer.delay_ns)
        if answer.status is None:
            await self._hold(request)
            return web.Response()
        if answer.damage is not None:
            return await self._damaged(request, answer, answer.damage)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _drive(self, body: bytes) -> web.Response:
        """Move a driven clock, no faster than what is sent is read."""
        clock = self._clock
        if not isinstance(clock, DrivenClock):
            return web.json_response({"error": 'time moves by itself: clock.mode is not "driven"'}, status=409)
        try:
            drive = DRIVE.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        if drive.problem():
            return web.json_response({"error": drive.problem()}, status=400)
        async with self._driving:
            end_ns = clock.now_ns() + drive.advance_nano
            steps = 0
            while clock.now_ns() < end_ns:
                clock.move_to(min(end_ns, clock.now_ns() + drive.step_nano))
                for outgoing in self.exchange.advance(clock.now_ns()):
                    self._dispatch(outgoing)
                steps += 1
                if steps % _STEPS_AT_ONCE == 0:
                    await self._catch_up(self._queue_max // 2)
            await self._catch_up(0)
        return web.json_response({"timeNano": str(clock.now_ns())})

    async def _catch_up(self, waiting_max: int) -> None:
        """Wait until no client has more than so many frames to come; who does not read is cut off."""
        behind: list[Connection] = []
        for _ in range(_CATCH_UP_ROUNDS):
            await asyncio.sleep(0)
            behind = [each for each in self._connections.values() if each.queue.qsize() > waiting_max]
            if not behind:
                return
            await asyncio.sleep(_TICK_S)
        for connection in behind:
            connection.abort()

    async def _pass(self, delay_ns: int) -> None:
        if delay_ns > 0:
            await asyncio.sleep(delay_ns / 1e9 / self._speed)

    async def _hold(self, request: web.Request) -> None:
        """Say nothing until the client gives up."""
        while request.transport is not None and not request.transport.is_closing() and not self._is_ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), 0.05)

    async def _damaged(self, request: web.Request, answer: Response, damage: Damage) -> web.StreamResponse:
        """Answer with bytes that break off, come in pieces, or do not come."""
        if damage.kind == "half_open":
            await self._hold(request)
            return web.Response()
        assert answer.status is not None
        headers = {**answer.headers, "Content-Length": str(len(answer.body))}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        transport = request.transport
        if damage.kind == "reset":
            await response.write(answer.body[: damage.after_bytes])
            if transport is not None:
                # What was written must leave before the connection is reset.
                await asyncio.sleep(0.01)
                transport.abort()
            return response
        for start in range(0, len(answer.body), damage.chunk_bytes):
            await response.write(answer.body[start : start + damage.chunk_bytes])
            await self._pass(damage.pause_ns)
        await response.write_eof()
        return response

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        query = request.raw_path.partition("?")[2]
        try:
            session = self.exchange.open_socket(request.path, query, request.remote or "", self._clock.now_ns())
        except HttpRefused as refused:
            return web.Response(status=refused.status, body=refused.body)
        stream = web.WebSocketResponse(max_msg_size=_FRAME_MAX)
        await stream.prepare(request)
        connection = self._connections[session.number] = Connection(stream, request, self._queue_max)
        writer = asyncio.get_running_loop().create_task(self._write(connection))
        try:
            await self._read(connection, session.number)
        finally:
            self._connections.pop(session.number, None)
            self.exchange.close_socket(session.number)
            writer.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await writer
        return stream

    async def _read(self, connection: Connection, number: int) -> None:
        while not connection.is_dead.is_set():
            message = await connection.stream.receive()
            if message.type is WSMsgType.TEXT:
                if not connection.is_dead.is_set():
                    self.exchange.handle_frame(number, message.data, self._clock.now_ns())
            elif message.type is WSMsgType.BINARY:
                await connection.stream.close(code=WSCloseCode.UNSUPPORTED_DATA)
            else:
                return
        # Half open: the client may talk, nobody listens, and nothing says so.
        await self._hold(connection.request)
        connection.abort()

    async def _write(self, connection: Connection) -> None:
        stream = connection.stream
        while True:
            outgoing = await connection.queue.get()
            if outgoing.close is not None:
                code, reason = outgoing.close
                await stream.close(code=code, message=reason.encode())
                return
            damage = outgoing.damage
            if damage is None:
                await stream.send_str(outgoing.text)
            elif damage.kind == "half_open":
                connection.is_dead.set()
                return
            else:
                await self._write_damaged(connection, outgoing.text, damage)

    async def _write_damaged(self, connection: Connection, text: str, damage: Damage) -> None:
        """Send one frame byte by byte, or only its beginning."""
        transport = connection.request.transport
        if not isinstance(transport, asyncio.WriteTransport):
            return
        raw = _frame(text.encode())
        if damage.kind == "reset":
            transport.write(raw[: damage.after_bytes])
            await asyncio.sleep(0.01)
            transport.abort()
            return
        for start in range(0, len(raw), damage.chunk_bytes):
            transport.write(raw[start : start + damage.chunk_bytes])
            await asyncio.sleep(damage.pause_ns / 1e9 / self._speed)


def _frame(payload: bytes) -> bytes:
    """Return an uncompressed text frame from server to client: RFC 6455, section 5.2."""
    if len(payload) < 126:
        head = bytes([0x81, len(payload)])
    elif len(payload) < 1 << 16:
        head = bytes([0x81, 126]) + len(payload).to_bytes(2, "big")
    else:
        head = bytes([0x81, 127]) + len(payload).to_bytes(8, "big")
    return head + payload
