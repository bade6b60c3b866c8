"""Everybody who looks at a bot and everything that goes wrong with Telegram, in one process beside it.

    python -m benchmarks.surfaces_crowd SETTINGS.json

Bot API servers, one that is slow, one that floods, one that answers garbage (a dead one listens nowhere); fifty open
pages on the bot's dashboard, five of which ask for the run, its chart, trades and log again and again; a scrape of
`/metrics` each second. Looks while it is told to: a line "on" or "off" on its standard input. Prints what came of it as
JSON when that is closed.
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
_READERS = 5
_PARTS = ("", "/chart?instrument=BTCUSDT&span=3600", "/trades?count=50", "/log")  # that a page asks for


class Telegram:
    """A Bot API that answers in one of the ways that there are.

    Args:
        mode: "slow", "flood" or "garbage".
        slow_s: how long a slow one takes to answer.
    """

    def __init__(self, mode: str, slow_s: float) -> None:
        self._mode = mode
        self._slow_s = slow_s
        self._updates = 0
        self.asked = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any method."""
        self.asked += 1
        await request.read()
        method = request.match_info["method"]
        if self._mode == "slow":
            await asyncio.sleep(self._slow_s)
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


async def _read(session: aiohttp.ClientSession, name: str, counts: dict[str, int]) -> None:
    """Ask for all that a page shows, as it does when it is opened, turned or reloaded."""
    while True:
        for part in _PARTS:
            try:
                async with session.get(f"/api/run/{name}{part}") as answer:
                    counts["read"] += bool(await answer.read()) and answer.ok
            except (aiohttp.ClientError, TimeoutError, OSError):
                counts["unread"] += 1
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


class Crowd:
    """Those who look, while they are to.

    Args:
        given: the dashboard's address and token, the run's directory, how many pages.
        counts: what came of it.
    """

    def __init__(self, session: aiohttp.ClientSession, given: dict[str, Any], counts: dict[str, int]) -> None:
        self._session = session
        self._given = given
        self._counts = counts
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, place: Path) -> None:
        """Open the pages of that run, and begin to scrape."""
        origin = self._given["dashboard"]
        try:
            url = json.loads((place / "status.json").read_text(encoding="utf-8"))["url"]
        except OSError:  # so late that the block is over
            self._counts["missed"] += 1
            return
        self._tasks = [asyncio.create_task(_scrape(url, self._counts))]
        self._tasks += [
            asyncio.create_task(_look(self._session, place.name, origin, self._counts))
            for _ in range(self._given["pages"])
        ]
        self._tasks += [asyncio.create_task(_read(self._session, place.name, self._counts)) for _ in range(_READERS)]

    async def go(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []


async def _run(given: dict[str, Any]) -> dict[str, int]:
    counts = dict.fromkeys(("pages", "news", "read", "unread", "refused", "scraped", "unscraped", "missed", "asked"), 0)
    servers, runners = [], []
    for mode, port in given["ports"].items():
        telegram = Telegram(mode, given["slow_s"])
        app = web.Application()
        app.router.add_route("*", "/bot{token}/{method}", telegram.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        servers.append(telegram)
        runners.append(runner)
    loop = asyncio.get_running_loop()
    print("listening", flush=True)
    async with aiohttp.ClientSession(
        given["dashboard"],
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        connector=aiohttp.TCPConnector(limit=0),
    ) as session:
        own = {"Origin": given["dashboard"]}
        async with session.post("/session", json={"token": given["token"]}, headers=own) as answer:
            answer.raise_for_status()
        crowd, place = Crowd(session, given, counts), Path()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            word, _, more = line.strip().partition(" ")
            if word == "ready":
                place = Path(more)
            else:
                await crowd.go()
                if word == "on":
                    await crowd.come(place)
        await crowd.go()
    for runner in runners:
        await runner.cleanup()
    return counts | {"asked": sum(each.asked for each in servers)}


def main(path: str) -> None:
    """Be the crowd that the file describes."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    if given["core"] is not None:
        os.sched_setaffinity(0, {given["core"]})
    print(json.dumps(asyncio.run(_run(given))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
