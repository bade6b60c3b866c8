"""The emulated venue on the network: HTTP and WebSockets on one port, and whatever is to go wrong with their bytes."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from bot.emulator.exchange import Exchange
from bot.emulator.hub import Outgoing
from bot.emulator.params import BODY_MAX
from bot.emulator.wire import Damage, HttpRefused, Request, Response
from bot.ports import Clock

_FRAME_MAX = 1 << 20
_TICK_S = 0.002
_QUEUE_MAX = 20_000  # frames waiting for one slow client before it is cut off


class Connection:
    """One client's WebSocket, and what waits to be sent on it."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.request = request
        self.queue: asyncio.Queue[Outgoing] = asyncio.Queue(_QUEUE_MAX)
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
    ) -> None:
        self.exchange = exchange
        self.port = port
        self._clock = clock
        self._speed = speed
        self._host = host
        self._tls = tls
        self._on_end = on_end
        self._connections: dict[int, Connection] = {}
        self._runner: web.AppRunner | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._is_ending = asyncio.Event()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._tls, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def stop(self) -> None:
        """End all connections and listen no more; raise what has broken the venue meanwhile, if anything has."""
        self._is_ending.set()
        for connection in list(self._connections.values()):
            connection.is_dead.set()
            connection.abort()
        if self._runner is not None:
            await self._runner.cleanup()
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
            for outgoing in self.exchange.advance(self._clock.now_ns()):
                self._dispatch(outgoing)
            if not has_ended and self._on_end is not None and self.exchange.has_ended:
                has_ended = True
                self._on_end()
            await asyncio.sleep(_TICK_S)

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
        await self._pass(self.exchange.arrival_delay_ns(asked, self._clock.now_ns()))
        answer = self.exchange.handle_request(asked, self._clock.now_ns())
        await self._pass(answer.delay_ns)
        if answer.status is None:
            await self._hold(request)
            return web.Response()
        if answer.damage is not None:
            return await self._damaged(request, answer, answer.damage)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

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
        socket = web.WebSocketResponse(max_msg_size=_FRAME_MAX)
        await socket.prepare(request)
        connection = self._connections[session.number] = Connection(socket, request)
        writer = asyncio.get_running_loop().create_task(self._write(connection))
        try:
            await self._read(connection, session.number)
        finally:
            self._connections.pop(session.number, None)
            self.exchange.close_socket(session.number)
            writer.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await writer
        return socket

    async def _read(self, connection: Connection, number: int) -> None:
        while not connection.is_dead.is_set():
            message = await connection.socket.receive()
            if message.type is WSMsgType.TEXT:
                if not connection.is_dead.is_set():
                    self.exchange.handle_frame(number, message.data, self._clock.now_ns())
            elif message.type is WSMsgType.BINARY:
                await connection.socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
            else:
                return
        # Half open: the client may talk, nobody listens, and nothing says so.
        await self._hold(connection.request)
        connection.abort()

    async def _write(self, connection: Connection) -> None:
        socket = connection.socket
        while True:
            outgoing = await connection.queue.get()
            if outgoing.close is not None:
                code, reason = outgoing.close
                await socket.close(code=code, message=reason.encode())
                return
            damage = outgoing.damage
            if damage is None:
                await socket.send_str(outgoing.text)
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
