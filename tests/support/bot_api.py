"""A Telegram for tests: the Bot API over real HTTP on loopback, with its limits, and whatever may go wrong with it.

Written after Telegram's public description of the API; it has not been compared with the real one.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

TOKEN = "123456789:" + "AbC-dEf_gHiJkLmNoPqRsTuVwXyZ0123456"
TEXT_MAX, CAPTION_MAX = 4_096, 1_024


class BotApi:
    """The server.

    Attributes:
        said: what was sent to chats: method, fields.
        calls: every request: method, and the offset of those for updates.
        menu: the commands that were announced.
        trouble: answers to give instead, first in, first out, by method; "*" for whichever.
        hang: while set, no request is answered.
    """

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.calls: list[tuple[str, int | None]] = []
        self.menu: list[dict[str, str]] = []
        self.trouble: dict[str, deque[web.Response | bytes]] = {}
        self.always: web.Response | None = None
        self.hang = asyncio.Event()
        self.hang.set()
        self.url = ""
        self.is_forgetful = False  # it sends again what was confirmed
        self._updates: list[Any] = []
        self._news = asyncio.Condition()

    async def push(self, *updates: Any) -> None:
        """Have updates waiting."""
        async with self._news:
            self._updates += updates
            self._news.notify_all()

    async def until(self, holds: Callable[[], bool], limit_s: float = 10.0) -> None:
        """Return when something holds, looked at after every request."""
        async with asyncio.timeout(limit_s), self._news:
            await self._news.wait_for(holds)

    def fail(self, method: str, status: int, description: str = "trouble", **parameters: Any) -> None:
        """Answer a request of this method with an error, once."""
        self._spoil(method, _error(status, description, **parameters))

    def garble(self, method: str, body: bytes, status: int = 200) -> None:
        """Answer a request of this method with these bytes, once."""
        self._spoil(method, web.Response(status=status, body=body))

    def texts(self, chat_id: int | None = None) -> list[str]:
        """Return what was said."""
        found = []
        for _, fields in self.said:
            if chat_id is None or fields["chat_id"] == str(chat_id):
                found.append(fields.get("text") or fields.get("caption") or "")
        return found

    def _spoil(self, method: str, response: web.Response) -> None:
        self.trouble.setdefault(method, deque()).append(response)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        method = request.match_info["method"]
        fields = await _fields(request)
        offset = int(fields["offset"]) if fields.get("offset") else None
        self.calls.append((method, offset))
        await self.hang.wait()
        try:
            if request.match_info["token"] != TOKEN:
                return _error(401, "Unauthorized")
            if self.always is not None:
                return web.Response(status=self.always.status, body=self.always.body)
            for key in (method, "*"):
                if self.trouble.get(key):
                    return self.trouble[key].popleft()  # type: ignore[return-value]
            match method:
                case "getUpdates":
                    return await self._get_updates(fields, offset)
                case "sendMessage" | "sendPhoto":
                    return self._say(method, fields)
                case "setMyCommands":
                    self.menu = json.loads(fields["commands"])
                    return _ok(True)
            return _error(404, "Not Found: method not found")
        finally:
            async with self._news:
                self._news.notify_all()

    async def _get_updates(self, fields: dict[str, Any], offset: int | None) -> web.Response:
        limit, wait_s = int(fields.get("limit") or 100), float(fields.get("timeout") or 0)
        if offset is not None and not self.is_forgetful:
            self._updates = [each for each in self._updates if _number(each) >= offset]
        async with self._news:
            try:
                async with asyncio.timeout(min(wait_s, 0.2)):
                    await self._news.wait_for(lambda: bool(self._updates))
            except TimeoutError:
                pass
        given = self._updates[:limit]
        if self.is_forgetful:
            self._updates = self._updates[limit:]
        return _ok(given)

    def _say(self, method: str, fields: dict[str, Any]) -> web.Response:
        text = fields.get("text" if method == "sendMessage" else "caption") or ""
        size = len(text.encode("utf-16-le")) // 2
        most = TEXT_MAX if method == "sendMessage" else CAPTION_MAX
        if size > most or (method == "sendMessage" and not text.strip()):
            return _error(400, "Bad Request: message is too long or empty")
        if fields.get("parse_mode"):
            return _error(400, "Bad Request: nobody here marks up text")
        for span in json.loads(fields.get("entities") or fields.get("caption_entities") or "[]"):
            if span["offset"] < 0 or span["length"] < 1 or span["offset"] + span["length"] > size:
                return _error(400, "Bad Request: an entity lies outside of the text")
        self.said.append((method, fields))
        return _ok({"message_id": len(self.said), "date": 1, "chat": {"id": int(fields["chat_id"]), "type": "private"}})


@asynccontextmanager
async def serve_bot_api() -> AsyncIterator[BotApi]:
    """Run a server for a while."""
    api = BotApi()
    app = web.Application(client_max_size=20 << 20)
    app.router.add_post("/bot{token}/{method}", api.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    api.url = f"http://127.0.0.1:{port}"
    try:
        yield api
    finally:
        api.hang.set()
        await runner.cleanup()


async def _fields(request: web.Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in (await request.post()).items():
        found[key] = value.file.read() if isinstance(value, web.FileField) else value
    return found


def _number(update: Any) -> int:
    number = update.get("update_id") if isinstance(update, dict) else None
    return number if type(number) is int else 1 << 62  # what has no number is never confirmed


def _ok(result: Any) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def _error(status: int, description: str, **parameters: Any) -> web.Response:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    if parameters:
        body["parameters"] = parameters
    return web.json_response(body, status=status)
