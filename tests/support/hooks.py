"""A web server that is told things: the other end of a webhook."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Hook:
    """A web server that keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.gets = 0
        self.statuses: list[int] = []
        self.url = ""
        self.news = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer with the next status."""
        status = self.statuses.pop(0) if self.statuses else 200
        if request.method == "GET":
            self.gets += 1
        elif status == 200:
            self.bodies.append(json.loads(await request.text()))
        async with self.news:
            self.news.notify_all()
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:9/", "Retry-After": "0"})

    async def until_bodies(self, count: int) -> None:
        """Return when so many came."""
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: len(self.bodies) >= count)


@asynccontextmanager
async def serve_hook() -> AsyncIterator[Hook]:
    """Serve one while the block runs."""
    hook = Hook()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hook.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret-path-0123456789"
    try:
        yield hook
    finally:
        await runner.cleanup()
