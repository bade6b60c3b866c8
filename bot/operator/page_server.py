"""The dashboard's server: its page, what the page asks for, and news over a WebSocket.

It is a process of its own and reads alone. A page that is slow or gone costs itself; a request that changes anything is
a POST from our own page, with the session, and goes through the bot's own question and confirmation.
"""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, Protocol, TypeVar

import msgspec
import structlog
from aiohttp import WSCloseCode, web

from bot.domain.errors import DataError
from bot.domain.operation import Flatten, Kill, Pause, Resume, Snapshot
from bot.operator.http_guard import HEADERS, Guard, Handler, Listener, hosts_of, is_same, json_response, read_body
from bot.operator.status_client import StatusAt, StatusClient
from bot.ports import OffLoop

log = structlog.get_logger()

T = TypeVar("T")

_READ_S = 8.0
_SEND_S = 3.0
_LOOK_EVERY_S = 1.0
_HISTORY = 7_200  # looks that are kept of a running bot
_ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
    "/tables.js": ("tables.js", "text/javascript"),
    "/commands.js": ("commands.js", "text/javascript"),
    "/lightweight-charts.js": ("lightweight-charts.js", "text/javascript"),
}
_COMMANDS = msgspec.json.Decoder(Pause | Resume | Flatten | Kill)


class PageSource(Protocol):
    """Where the page's figures come from. Every method may block; a name that is no run's is a `DataError`."""

    def runs(self) -> list[dict[str, Any]]:
        """Return every run, the newest first, with its headline figures."""

    def run(self, name: str) -> dict[str, Any]:
        """Return what a run is, and its equity and drawdown."""

    def chart(self, name: str, instrument: str, span_s: int) -> dict[str, Any]:
        """Return bars, executions and the weight of each scale over the last `span_s` seconds; 0 for all."""

    def fan(self, name: str, instrument: str, at_s: int) -> dict[str, Any]:
        """Return the newest forecast that was made by a time."""

    def trades(self, name: str, before: int, count: int) -> list[dict[str, Any]]:
        """Return executions with their reasons, newest first."""

    def log(self, name: str) -> list[dict[str, Any]]:
        """Return the newest lines of the run's log."""

    def status_at(self, name: str) -> StatusAt | None:
        """Return where the run's bot tells its status, None if it does not run."""


class _Watched:
    """A running bot that pages look at: its newest state, what was seen before, and who looks."""

    def __init__(self) -> None:
        self.pages: set[web.WebSocketResponse] = set()
        self.history: deque[list[Any]] = deque(maxlen=_HISTORY)  # time in s, equity, marks, weights of the scales
        self.task: asyncio.Task[None] | None = None
        self.seen_s: float | None = None


class PageServer:
    """Serves the dashboard.

    Args:
        source: of the figures.
        off_loop: does the reading.
        token: opens a session.
        has_controls: whether commands are passed on.
        pages: how many pages are told of news at once.
    """

    def __init__(
        self,
        source: PageSource,
        *,
        off_loop: OffLoop,
        token: str,
        has_controls: bool = False,
        pages: int = 8,
        hosts: Sequence[str] = (),
    ) -> None:
        self._source = source
        self._off_loop = off_loop
        self._token = token
        self._session = hmac.new(token.encode(), b"page session", hashlib.sha256).hexdigest()
        self._cookie = "bot_page"
        self._has_controls = has_controls
        self._pages = pages
        self._names = tuple(hosts)
        self._watched: dict[str, _Watched] = {}
        self._assets = {
            path: (files("bot.operator").joinpath("assets", name).read_bytes(), kind)
            for path, (name, kind) in _ASSETS.items()
        }
        app = web.Application(middlewares=[self._let_in], client_max_size=8_192)
        for path in _ASSETS:
            app.router.add_get(path, self._serve_asset)
        app.router.add_post("/session", self._open_session)
        app.router.add_get("/api/about", self._about)
        app.router.add_get("/api/runs", self._runs)
        app.router.add_get("/api/run/{name}", self._run)
        app.router.add_get("/api/run/{name}/chart", self._chart)
        app.router.add_get("/api/run/{name}/fan", self._fan)
        app.router.add_get("/api/run/{name}/trades", self._trades)
        app.router.add_get("/api/run/{name}/log", self._log)
        app.router.add_get("/api/run/{name}/news", self._news)
        app.router.add_post("/api/run/{name}/foresee", self._foresee)
        app.router.add_post("/api/run/{name}/obey", self._obey)
        self.guard = Guard(hosts_of(0), rate=100)
        self._listener = Listener(app, connections=64)

    async def listen(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            OSError: it is taken.
        """
        port = await self._listener.listen(host, port)
        self.guard.hosts = hosts_of(port, self._names)
        self._cookie = f"bot_page_{port}"  # a browser does not tell the ports of a host apart
        return port

    async def stop(self) -> None:
        """End all connections and listen no more."""
        for watched in self._watched.values():
            if watched.task is not None:
                watched.task.cancel()
                with suppress(asyncio.CancelledError):
                    await watched.task
        await self._listener.close()

    # who may

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._listener.served(request)
        refusal = self.guard.judge(request)
        if refusal is not None:
            return refusal
        is_asset = request.path in _ASSETS
        if not is_asset and self.guard.is_foreign(request):
            return self.guard.refuse(403, "from another site's page")
        if request.method == "POST" and not self.guard.is_from_own_page(request):
            return self.guard.refuse(403, "not from this page")
        if not is_asset and request.path != "/session":
            if not is_same(request.cookies.get(self._cookie, ""), self._session):
                return self.guard.refuse(401, "no session: enter the token")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return self.guard.refuse(error.status, error.reason)
        except DataError as error:
            return self.guard.refuse(404, str(error))
        except TimeoutError:
            return self.guard.refuse(503, "it takes too long: try again")

    async def _open_session(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        if body is None or request.content_type != "application/json":
            return self.guard.refuse(400, "send the token as JSON")
        try:
            given = msgspec.json.decode(body, type=dict[str, str]).get("token", "")
        except (msgspec.MsgspecError, RecursionError):
            return self.guard.refuse(400, "send the token as JSON")
        if not is_same(given, self._token):
            return self.guard.refuse(401, "that is not the token")
        answer = json_response(b"{}")
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="Strict", path="/", max_age=30 * 86_400)
        return answer

    # what it shows

    async def _serve_asset(self, request: web.Request) -> web.Response:
        body, kind = self._assets[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=HEADERS)

    async def _about(self, request: web.Request) -> web.Response:
        return _json({"controls": self._has_controls})

    async def _runs(self, request: web.Request) -> web.Response:
        return _json(await self._read(self._source.runs))

    async def _run(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _json(await self._read(lambda: self._source.run(name)))

    async def _chart(self, request: web.Request) -> web.Response:
        name, instrument = request.match_info["name"], request.query.get("instrument", "")
        span_s = _number(request, "span", 0, 10**10)
        return _json(await self._read(lambda: self._source.chart(name, instrument, span_s)))

    async def _fan(self, request: web.Request) -> web.Response:
        name, instrument = request.match_info["name"], request.query.get("instrument", "")
        at_s = _number(request, "at", 0, 10**11)
        return _json(await self._read(lambda: self._source.fan(name, instrument, at_s)))

    async def _trades(self, request: web.Request) -> web.Response:
        name, before = request.match_info["name"], _number(request, "before", 2**62, 2**62)
        count = min(_number(request, "count", 50, 500), 500)
        return _json(await self._read(lambda: self._source.trades(name, before, count)))

    async def _log(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _json(await self._read(lambda: self._source.log(name)))

    async def _read(self, work: Callable[[], T]) -> T:
        async with asyncio.timeout(_READ_S):
            return await self._off_loop(work)

    # news

    async def _news(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not self.guard.is_from_own_page(request):
            return self.guard.refuse(403, "not from this page")
        if sum(len(each.pages) for each in self._watched.values()) >= self._pages:
            return self.guard.refuse(503, "too many pages are open")
        at = await self._read(lambda: self._source.status_at(name))
        if at is None:
            return self.guard.refuse(404, "this run is over")
        page = web.WebSocketResponse(max_msg_size=1_024, compress=False, heartbeat=20, timeout=2)
        if not page.can_prepare(request).ok:
            return self.guard.refuse(400, "not a WebSocket")
        await page.prepare(request)
        self._listener.keep(request)
        watched = self._watched.setdefault(name, _Watched())
        try:
            await asyncio.wait_for(page.send_bytes(msgspec.json.encode({"history": list(watched.history)})), _SEND_S)
            watched.pages.add(page)
            if watched.task is None or watched.task.done():
                watched.task = asyncio.get_running_loop().create_task(self._watch(name, watched))
            async for _ in page:
                break  # the page has nothing to say: whoever speaks is not it
        except (TimeoutError, ConnectionError):
            pass
        finally:
            watched.pages.discard(page)
            with suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(page.close(code=WSCloseCode.POLICY_VIOLATION), _SEND_S)
        return page

    async def _watch(self, name: str, watched: _Watched) -> None:
        """Look at a bot each second while a page is open, and tell the pages."""
        loop = asyncio.get_running_loop()
        client: StatusClient | None = None
        at: StatusAt | None = None
        try:
            while watched.pages:
                trouble, view = "", None
                try:
                    found = await self._read(lambda: self._source.status_at(name))
                    if found is None:
                        raise DataError("the bot has ended")
                    if client is None or found != at:
                        if client is not None:
                            await client.close()
                        client, at = StatusClient(found), found
                    view = await client.snapshot()
                    watched.seen_s = loop.time()
                    watched.history.append(_moment(view))
                except (DataError, TimeoutError) as error:
                    trouble = str(error) or "the disk is slow"
                age_s = None if watched.seen_s is None else loop.time() - watched.seen_s
                await self._tell(watched, msgspec.json.encode({"snapshot": view, "age_s": age_s, "trouble": trouble}))
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            if client is not None:
                await client.close()

    async def _tell(self, watched: _Watched, news: bytes) -> None:
        async def one(page: web.WebSocketResponse) -> None:
            try:
                await asyncio.wait_for(page.send_bytes(news), _SEND_S)
            except (TimeoutError, ConnectionError):
                watched.pages.discard(page)  # too slow, or gone: it comes back by itself, and is shown what it missed

        await asyncio.gather(*(one(page) for page in list(watched.pages)))

    # commands

    async def _foresee(self, request: web.Request) -> web.Response:
        client, body = await self._to_bot(request)
        try:
            command = _COMMANDS.decode(body)
            return json_response(msgspec.json.encode(await client.foresee(command)))
        except (msgspec.MsgspecError, RecursionError):
            return self.guard.refuse(400, "that is no command")
        finally:
            await client.close()

    async def _obey(self, request: web.Request) -> web.Response:
        client, body = await self._to_bot(request)
        try:
            confirm = msgspec.json.decode(body, type=dict[str, str]).get("confirm", "")
            self._listener.keep(request)  # it may take longer than a request's time
            done = await client.obey(confirm, "page")
            log.info("page.command_given", run=request.match_info["name"], done=done.is_done)
            return json_response(msgspec.json.encode(done))
        except (msgspec.MsgspecError, RecursionError):
            return self.guard.refuse(400, "that is no confirmation")
        finally:
            await client.close()

    async def _to_bot(self, request: web.Request) -> tuple[StatusClient, bytes]:
        if not self._has_controls:
            raise web.HTTPForbidden(reason="commands are switched off: start with --controls")
        body = await read_body(request)
        if body is None or request.content_type != "application/json":
            raise web.HTTPBadRequest(reason="send a command as JSON")
        name = request.match_info["name"]
        at = await self._read(lambda: self._source.status_at(name))
        if at is None:
            raise web.HTTPNotFound(reason="no bot runs here")
        return StatusClient(at), body


def _moment(view: Snapshot) -> list[Any]:
    """Return what the charts keep of a state."""
    marks = {each.instrument: float(each.close_price) for each in view.forecasts}
    marks |= {each.instrument: float(each.mark_price) for each in view.positions if each.mark_price is not None}
    weights = {each.instrument: each.importance for each in view.forecasts}
    return [view.now_ns // 1_000_000_000, None if view.equity is None else float(view.equity), marks, weights]


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > most:
        raise web.HTTPBadRequest(reason=f"{name}: a whole number")
    return int(text)


def _json(value: Any) -> web.Response:
    return json_response(msgspec.json.encode(value))
