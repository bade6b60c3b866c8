"""Everybody who looks at a bot and everything that goes wrong with Telegram, in one process beside it.

    python -m benchmarks.surfaces_crowd SETTINGS.json

A Bot API server that is well, slow, floods or answers garbage (a dead one listens elsewhere); fifty open pages on the
bot's dashboard; a scrape of `/metrics` each second. Prints what came of it as JSON when its standard input is closed.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

_STRANGER, _OPERATOR = 666, 42


class Telegram:
    """A Bot API that answers in one of the ways that there are.

    Args:
        mode: "well", "slow", "flood" or "garbage".
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._updates = 0
        self.asked = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any method."""
        self.asked += 1
        await request.read()
        method = request.match_info["method"]
        if self._mode == "slow":
            await asyncio.sleep(25)
        if self._mode == "garbage":
            draws = random.Random(self.asked)
            kinds = (b'{"ok":true,"result":', b"\xff" * 4_096, b"[" * 100_000, draws.randbytes(65_536), b"")
            return web.Response(status=draws.choice((200, 200, 500, 302)), body=draws.choice(kinds))
        if method == "getUpdates":
            return web.json_response({"ok": True, "result": await self._get_updates()})
        chat = {"id": _OPERATOR, "type": "private"}
        told = {"message_id": self.asked, "date": int(time.time()), "chat": chat}
        return web.json_response({"ok": True, "result": True if method == "setMyCommands" else told})

    async def _get_updates(self) -> list[dict[str, Any]]:
        if self._mode != "flood":
            await asyncio.sleep(1)
            return []
        words = ("/status", "/profit", "/trades 20", "/health", "/forecast BTCUSDT", "/kill", "x" * 4_000)
        made = []
        for _ in range(100):
            self._updates += 1
            user = _OPERATOR if self._updates % 50 == 0 else _STRANGER
            about = {"id": user, "is_bot": False, "first_name": "x"}
            made.append(
                {
                    "update_id": self._updates,
                    "message": {
                        "message_id": self._updates,
                        "date": int(time.time()),
                        "chat": {"id": user, "type": "private"},
                        "from": about,
                        "text": words[0] if user == _OPERATOR else words[self._updates % len(words)],
                    },
                }
            )
        return made


async def _look(session: aiohttp.ClientSession, name: str, origin: str, counts: dict[str, int]) -> None:
    """Keep a page open, as a browser does."""
    while True:
        try:
            async with session.ws_connect(f"/api/run/{name}/news", headers={"Origin": origin}) as news:
                counts["pages"] += 1
                async for _ in news:
                    counts["news"] += 1
        except (aiohttp.ClientError, TimeoutError, OSError):
            counts["refused"] += 1
        await asyncio.sleep(1)


async def _scrape(url: str, counts: dict[str, int]) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            began_s = time.monotonic()
            try:
                async with session.get(f"{url}/metrics") as answer:
                    counts["scraped"] += (await answer.read()).startswith(b"# HELP")
            except (aiohttp.ClientError, TimeoutError, OSError):
                counts["unscraped"] += 1
            await asyncio.sleep(max(0, 1 - (time.monotonic() - began_s)))


async def _run(given: dict[str, Any]) -> dict[str, int]:
    counts = dict.fromkeys(("pages", "news", "refused", "scraped", "unscraped", "asked"), 0)
    telegram = Telegram(given["mode"])
    app = web.Application()
    app.router.add_route("*", "/bot{token}/{method}", telegram.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", given["port"]).start()
    loop = asyncio.get_running_loop()
    print("listening", flush=True)
    directory = await loop.run_in_executor(None, sys.stdin.readline)  # the run's, once it is ready
    tasks: list[asyncio.Task[None]] = []
    async with aiohttp.ClientSession(given["dashboard"], cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        if directory.strip():
            place = Path(directory.strip())
            own = {"Origin": given["dashboard"]}
            async with session.post("/session", json={"token": given["token"]}, headers=own) as answer:
                answer.raise_for_status()
            url = json.loads((place / "status.json").read_text(encoding="utf-8"))["url"]
            tasks = [asyncio.create_task(_scrape(url, counts))]
            tasks += [
                asyncio.create_task(_look(session, place.name, given["dashboard"], counts))
                for _ in range(given["pages"])
            ]
        await loop.run_in_executor(None, sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await runner.cleanup()
    return counts | {"asked": telegram.asked}


def main(path: str) -> None:
    """Be the crowd that the file describes."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    if given["core"] is not None:
        os.sched_setaffinity(0, {given["core"]})
    print(json.dumps(asyncio.run(_run(given))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
