"""Who may talk to a small HTTP server of ours, and how long it may take over it.

A page that stands open in a browser of this machine can send requests to loopback, and a name that points there can
make it read the answers. So a request counts only under an exact host name, with the token, and from no foreign page.
Slow or numerous clients cost connections, and those are few and timed.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_BODY_BYTES_MAX = 8_192


def hosts_of(port: int, names: Collection[str] = ()) -> frozenset[str]:
    """Return the values of the Host header that mean a server on this port, and on `names` if it has any."""
    own = {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}
    return frozenset(own | {name.lower() for name in names})


def is_same(given: str, wanted: str) -> bool:
    """Return whether a secret is the right one, in a time that tells nothing of it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


class Guard:
    """Lets requests pass or refuses them, and counts the refused.

    Args:
        hosts: accepted values of the Host header, lower case.
        rate: requests in a second, of all clients together; as many may come at once.
    """

    def __init__(self, hosts: Collection[str], *, rate: float = 50.0) -> None:
        self.hosts = frozenset(hosts)
        self.refused = 0
        self._rate = rate
        self._allowance = rate
        self._last_s = 0.0

    def refuse(self, status: int, text: str) -> web.Response:
        """Return a refusal: one line, and nothing of what was sent."""
        self.refused += 1
        return web.Response(status=status, text=text + "\n", headers=HEADERS)

    def judge(self, request: web.Request) -> web.Response | None:
        """Return why a request may not pass, None if it may; its token and origin are judged by who knows them."""
        now_s = asyncio.get_running_loop().time()
        self._allowance = min(self._rate, self._allowance + (now_s - self._last_s) * self._rate)
        self._last_s = now_s
        if self._allowance < 1:
            return self.refuse(429, "too many requests")
        self._allowance -= 1
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return self.refuse(421, "not the name of this server")
        if request.url.is_absolute() and request.raw_path.startswith(("http:", "https:", "//")):
            return self.refuse(400, "not a path")
        return None

    def is_foreign(self, request: web.Request) -> bool:
        """Return whether a browser says that another site's page sent the request."""
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        origins = request.headers.getall("Origin", [])
        own = {f"http://{host}" for host in self.hosts} | {f"https://{host}" for host in self.hosts}
        return site not in ("same-origin", "none") or any(origin.lower() not in own for origin in origins)

    def is_from_own_page(self, request: web.Request) -> bool:
        """Return whether a browser says that our own page, under the name it asked for, sent the request."""
        origins = request.headers.getall("Origin", [])
        host = request.headers.get("Host", "").lower()
        return len(origins) == 1 and origins[0].lower() in (f"http://{host}", f"https://{host}")


class Listener:
    """An application on one socket, with few connections, none of them idle or slow for long.

    Args:
        connections: at most; the longest idle make room.
        patience_s: a client has so long to send a request, and to take the answer.
    """

    def __init__(self, app: web.Application, *, connections: int = 64, patience_s: float = 5.0) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=patience_s,
            shutdown_timeout=0.2,
            max_line_size=4_096,
            max_field_size=4_096,
            lingering_time=0,
        )
        self._connections = connections
        self._patience_s = patience_s
        self._seen_s: dict[Any, float] = {}
        self._streams: set[Any] = set()
        self._watch: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int) -> int:
        """Listen on an address of this machine; return the port.

        Raises:
            OSError: it is taken.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=128)
        await self._begin(site)
        return int(self._runner.addresses[0][1])

    async def listen_unix(self, path: str) -> None:
        """Listen on a socket in the file system.

        Raises:
            OSError: it cannot be made.
        """
        await self._runner.setup()
        await self._begin(web.UnixSite(self._runner, path))

    async def _begin(self, site: web.BaseSite) -> None:
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._watch = asyncio.get_running_loop().create_task(self._look_after(), name="http_guard")

    def served(self, request: web.Request) -> None:
        """Be told that a client has sent a whole request: its time begins anew."""
        self._seen_s[request.protocol] = asyncio.get_running_loop().time()

    def keep(self, request: web.Request) -> None:
        """Leave a connection open: it is a stream, whose owner sees to its limits."""
        self._streams.add(request.protocol)

    async def close(self) -> None:
        """End all connections and listen no more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        for connection in self._open():
            self._drop(connection)
        await self._runner.cleanup()

    def _open(self) -> list[Any]:
        server = self._runner.server
        return [] if server is None else list(server.connections)

    def _drop(self, connection: Any) -> None:
        transport = connection.transport
        if transport is not None:
            transport.abort()

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(0.5, self._patience_s / 4))
            now_s = loop.time()
            present = self._open()
            self._seen_s = {each: self._seen_s.get(each, now_s) for each in present}
            self._streams &= set(present)
            idle = sorted((s, n, each) for n, (each, s) in enumerate(self._seen_s.items()) if each not in self._streams)
            spare = len(present) - self._connections
            for number, (seen_s, _, connection) in enumerate(idle):
                if number < spare or now_s - seen_s > 2 * self._patience_s:
                    self._drop(connection)


def json_response(body: bytes, status: int = 200) -> web.Response:
    """Return an answer of JSON."""
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)


async def read_body(request: web.Request, bytes_max: int = _BODY_BYTES_MAX) -> bytes | None:
    """Return a request's body; None if it is larger, or takes too long to come."""
    if (request.content_length or 0) > bytes_max:
        return None
    try:
        async with asyncio.timeout(3):
            body = await request.content.read(bytes_max + 1)
            while len(body) <= bytes_max and not request.content.at_eof():
                body += await request.content.read(bytes_max + 1 - len(body))
    except (TimeoutError, web.RequestPayloadError):
        return None
    return body if len(body) <= bytes_max else None
