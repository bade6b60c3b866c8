"""A real browser for tests of pages, over the DevTools protocol; tests skip where there is none."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--remote-debugging-port=0",
)
_PATIENCE_S = 60


class Tab:
    """One page of the browser.

    Args:
        profile: the browser's, by which its processes are known.

    Attributes:
        complaints: what the page wrote as errors to its console, and exceptions nobody caught.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, profile: Path) -> None:
        self.complaints: list[str] = []
        self._profile = profile
        self._socket = socket
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Take what the browser says, until it is gone."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                waiting = self._waiting.pop(told["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(told["params"]["exceptionDetails"].get("exception", {}).get("description")))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                entry = told["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return what the browser answers to one call."""
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, _PATIENCE_S)
        assert "error" not in told, (method, told)
        result: dict[str, Any] = told["result"]
        return result

    async def run(self, script: str) -> Any:
        """Return what a piece of JavaScript evaluates to, awaited if it is a promise."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until a piece of JavaScript is true, of whatever page is open by then."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                told = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
                if "exceptionDetails" not in told and told["result"].get("value") is True:
                    return
                await asyncio.sleep(0.02)

    async def open(self, url: str) -> None:
        """Go to an address; waiting for what it shows is up to the caller."""
        await self.call("Page.navigate", url=url)

    async def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False, scale: float = 1) -> None:
        """Be a screen of this size and taste."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    def processor_seconds(self) -> float:
        """Return how long the processors have worked for all processes of the browser."""
        ticks = 0
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has gone meanwhile
                if str(self._profile).encode() in (place / "cmdline").read_bytes():
                    fields = (place / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                    ticks += sum(map(int, fields[11:15]))  # its own, and of those that have ended
        return ticks / os.sysconf("SC_CLK_TCK")

    async def picture(self) -> bytes:
        """Return what is seen as PNG."""
        told = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(told["data"])


@asynccontextmanager
async def browser(directory: Path) -> AsyncIterator[Tab]:
    """Start a browser with a new profile, and yield its page.

    Args:
        directory: for the profile.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium")
    profile = directory / "profile"
    process = _start(program, profile)
    try:
        port = await _port(profile / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket, profile)
                listening = asyncio.ensure_future(tab.listen())
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
                listening.cancel()
    finally:
        process.kill()
        process.wait()


def _start(program: str, profile: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _port(path: Path, process: subprocess.Popen[bytes]) -> int:
    async with asyncio.timeout(_PATIENCE_S):
        while not (lines := _lines(path)):
            assert process.poll() is None, "the browser ended"
            await asyncio.sleep(0.05)
    return int(lines[0])


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
