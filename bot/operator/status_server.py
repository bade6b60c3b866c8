"""What a running bot tells of itself over HTTP: metrics, health, the whole snapshot; and, where allowed, its controls.

A snapshot serves all who ask within a quarter of a second, requests are few and short, and nothing that goes wrong here
reaches trading.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from bot.domain.errors import DataError
from bot.domain.operation import Flatten, Kill, OperatorCommand, Pause, Phase, Reload, Resume, Snapshot
from bot.operator.http_guard import HEADERS, Guard, Handler, Listener, hosts_of, is_same, json_response, read_body
from bot.operator.metrics import CONTENT_TYPE, Gauge, Metrics
from bot.ports import Operated

log = structlog.get_logger()

T = TypeVar("T")

_SHARED_S = 0.25  # how long one snapshot serves all
_CONFIRM_S = 60.0
_CONFIRM_MAX = 16
_OBEY_S = 30.0
_COMMANDS = msgspec.json.Decoder(Pause | Resume | Flatten | Kill | Reload)


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """What a command would do, and what confirms it: once, and within a minute."""

    text: str
    confirm: str
    seconds: float


class _Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    confirm: str
    by: str = "page"


class StatusServer:
    """Serves what there is to see of a bot.

    Args:
        operated: the bot.
        token: whoever knows it may read the snapshot and, where `has_controls`, give commands.
        new_token: makes what cannot be guessed.
        gauges: what the metrics tell beyond the snapshot.
        has_controls: whether commands are taken at all.
        open_metrics: whether metrics are told without the token.
    """

    def __init__(
        self,
        operated: Operated,
        *,
        token: str,
        new_token: Callable[[], str],
        gauges: Callable[[], Sequence[Gauge]] = tuple,
        has_controls: bool = False,
        open_metrics: bool = True,
        hosts: Sequence[str] = (),
    ) -> None:
        self._operated = operated
        self._token = token
        self._new_token = new_token
        self._has_controls = has_controls
        self._open_metrics = open_metrics
        self._names = tuple(hosts)
        self._gauges = gauges
        self._taken: Snapshot | None = None
        self._taking = asyncio.Lock()
        self._taken_s = 0.0
        self._foreseen: dict[str, tuple[OperatorCommand, float]] = {}
        app = web.Application(middlewares=[self._let_in], client_max_size=8_192)
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/health/live", self._serve_live)
        app.router.add_get("/health/ready", self._serve_ready)
        app.router.add_get("/snapshot", self._serve_snapshot)
        app.router.add_post("/foresee", self._foresee)
        app.router.add_post("/obey", self._obey)
        self.guard = Guard(hosts_of(0))
        self._listener = Listener(app, connections=32)

    async def listen(self, port: int = 0) -> str:
        """Listen on loopback; return the address.

        Raises:
            OSError: the port is taken.
        """
        port = await self._listener.listen("127.0.0.1", port)
        self.guard.hosts = hosts_of(port, self._names)
        return f"http://127.0.0.1:{port}"

    async def listen_unix(self, path: Path) -> None:
        """Listen on a socket in the file system; its Host is `localhost`.

        Raises:
            OSError: it cannot be made.
        """
        await self._listener.listen_unix(str(path))
        self.guard.hosts = frozenset({"localhost", *self._names})

    async def stop(self) -> None:
        """End all connections and listen no more."""
        await self._listener.close()

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._listener.served(request)
        refusal = self.guard.judge(request)
        if refusal is not None:
            return refusal
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
            return self.guard.refuse(403, "not for pages in a browser; open the dashboard")
        is_open = request.path.startswith("/health/") or (request.path == "/metrics" and self._open_metrics)
        if not is_open and not is_same(request.headers.get("Authorization", ""), f"Bearer {self._token}"):
            return self.guard.refuse(401, "the token is missing or wrong")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return self.guard.refuse(error.status, error.reason)
        except DataError as error:
            return self.guard.refuse(503, str(error))

    async def _view(self) -> Snapshot:
        async with self._taking:
            now_s = asyncio.get_running_loop().time()
            if self._taken is None or now_s - self._taken_s > _SHARED_S:
                self._taken, self._taken_s = await self._operated.snapshot(), now_s
            return self._taken

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        text = Metrics(await self._view(), self._gauges()).text()
        return web.Response(body=text, headers={**HEADERS, "Content-Type": CONTENT_TYPE})

    async def _serve_live(self, request: web.Request) -> web.Response:
        """Say whether the process is of use: it answers, and every actor lives."""
        dead = [each.name for each in (await self._view()).actors if not each.is_alive]
        return _health(not dead, "live", [f"{name} has ended" for name in dead])

    async def _serve_ready(self, request: web.Request) -> web.Response:
        """Say whether it would enter a position now, and what keeps it from it."""
        view = await self._view()
        why = list(view.troubles)
        why += ["the kill switch is closed"] if view.is_killed else []
        why += ["paused by a person"] if view.is_paused else []
        is_ready = view.phase is Phase.READY and not view.is_killed and not view.is_paused
        return _health(is_ready, view.phase.value, why)

    async def _serve_snapshot(self, request: web.Request) -> web.Response:
        return json_response(msgspec.json.encode(await self._view()))

    async def _foresee(self, request: web.Request) -> web.Response:
        command = await self._read(request, _COMMANDS)
        if isinstance(command, web.Response):
            return command
        now_s = asyncio.get_running_loop().time()
        self._foreseen = {key: each for key, each in self._foreseen.items() if each[1] > now_s}
        while len(self._foreseen) >= _CONFIRM_MAX:
            self._foreseen.pop(next(iter(self._foreseen)))
        confirm = self._new_token()
        text = await self._operated.foresee(command)
        self._foreseen[confirm] = (command, now_s + _CONFIRM_S)
        return json_response(msgspec.json.encode(Foreseen(text=text, confirm=confirm, seconds=_CONFIRM_S)))

    async def _obey(self, request: web.Request) -> web.Response:
        given = await self._read(request, msgspec.json.Decoder(_Confirmed))
        if isinstance(given, web.Response):
            return given
        command, until_s = self._foreseen.pop(given.confirm, (None, 0.0))
        if command is None or until_s < asyncio.get_running_loop().time():
            return self.guard.refuse(409, "nothing waits for this confirmation: ask again")
        by = "page" if given.by == "page" else "host"
        self._listener.keep(request)  # it may take longer than a request's time
        log.info("operator.command_given", command=type(command).__name__, by=by)
        try:
            # What was begun is not undone because whoever asked has hung up.
            done = await asyncio.wait_for(asyncio.shield(self._operated.obey(command, by)), _OBEY_S)
        except TimeoutError:
            return json_response(b'{"is_done":false,"text":"it goes on; look at the state before you ask again"}')
        self._taken = None
        return json_response(msgspec.json.encode(done))

    async def _read(self, request: web.Request, decoder: msgspec.json.Decoder[T]) -> T | web.Response:
        if not self._has_controls:
            return self.guard.refuse(403, "commands are not taken here: status.controls = true allows them")
        if request.content_type != "application/json":
            return self.guard.refuse(415, "send application/json")
        body = await read_body(request)
        if body is None:
            return self.guard.refuse(413, "too large, or too slow")
        try:
            return decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self.guard.refuse(400, "that is no command")


def _health(is_well: bool, state: str, why: list[str]) -> web.Response:
    body = {"is_well": is_well, "state": state, "why": why}
    return json_response(msgspec.json.encode(body), 200 if is_well else 503)
