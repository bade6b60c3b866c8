"""Signed requests over HTTP: what was asked goes out once, and whatever the network does comes back as an outcome.

Thin: what to send is made in `requests`, what an answer means is decided in `envelope` and `errors`. The time of the
signature is the caller's, for it must be durable before the request leaves. Nothing here asks twice.

Source: Bybit V5, REST transport and authentication.
"""

import asyncio
from contextlib import nullcontext
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from bot.domain.answers import Answer, AnswerKind, Cause
from bot.domain.errors import ConfigError
from bot.ports import Clock
from bot.venues.bybit.clock import VenueClock
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import (
    BODY_BYTES_MAX,
    NOT_READ,
    Reply,
    Unread,
    garbled,
    number,
    read_answers,
    read_reply,
)
from bot.venues.bybit.errors import clean
from bot.venues.bybit.hosts import Host
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import WriteRequest
from bot.venues.bybit.topics import Category

RECV_WINDOW_MS = 2_500
TIMEOUT_SHARE = 0.8  # of the window: we give up before the venue would refuse it
_MS = 1_000_000
_CHUNK = 1 << 16
_CONNECTIONS_MAX = 26
_FOR_CANCELS = 6  # connections that only cancels use: whatever hangs, they need not queue behind it


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One question."""

    path: str
    query: str  # percent-encoded, exactly what is sent behind "?" and signed
    bucket: str
    category: Category | str = ""
    is_public: bool = False  # needs no signature


class _Received(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    body: bytes
    limit: int | None
    left: int | None
    reset_ms: int | None


class _Lost(msgspec.Struct, frozen=True, kw_only=True):
    """No whole answer."""

    cause: Cause
    code: str
    text: str


class RestClient:
    """A client of one environment for one key; use it as an async context.

    Args:
        host: the environment; no other address is ever dialled.
        credentials: of the key.
        clock: ours, one that only rises.
        budget: of requests, shared by all that use the key from this address.
        venue_clock: receives the samples of `ask_time`.
        speed: how fast the clock runs: time-outs are on it.
    """

    def __init__(
        self,
        host: Host,
        credentials: Credentials,
        *,
        clock: Clock,
        budget: RateBudget,
        venue_clock: VenueClock | None = None,
        speed: float = 1.0,
    ) -> None:
        if not (host.rest.startswith("https://") or host.environment == "emulator"):
            raise ConfigError("signed requests go over TLS, to anything but an emulator on this machine")
        self.host = host
        self.budget = budget
        self.venue_clock = VenueClock() if venue_clock is None else venue_clock
        self._credentials = credentials
        self._clock = clock
        self._speed = speed
        self._session: aiohttp.ClientSession | None = None
        self._ordinary = asyncio.Semaphore(_CONNECTIONS_MAX - _FOR_CANCELS)

    def __repr__(self) -> str:
        return f"RestClient({self.host.environment})"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # TLS is verified by the default context; there is no switch. Cookies and proxies of the environment are
            # nothing that a signed request should meet.
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, request: WriteRequest, *, timestamp_ms: int, recv_window_ms: int = RECV_WINDOW_MS
    ) -> tuple[Answer, ...]:
        """Send a write, once, and return what it has come to: one answer, or one for each item of a batch.

        Args:
            request: what is asked.
            timestamp_ms: of the signature, by the venue's clock.
            recv_window_ms: how long after it the venue may take it.
        """
        now_ns = self._clock.now_ns()
        refusal = self.budget.take(
            request.bucket, request.category, now_ns, count=request.count, is_cancel=request.is_cancel
        )
        if refusal is not None:
            unsent = Answer(
                kind=AnswerKind.REFUSED,
                cause=Cause.BANNED if self.budget.is_banned(now_ns) else Cause.LIMITED,
                code="unsent",
                text=refusal.reason,
                retry_at_ms=timestamp_ms + refusal.wait_ns // _MS + 1,
                recv_ns=now_ns,
            )
            return (unsent,) * request.count
        received = await self._exchange(
            "POST",
            request.path,
            "",
            request.body,
            timestamp_ms=timestamp_ms,
            recv_window_ms=recv_window_ms,
            is_cancel=request.is_cancel,
        )
        now_ns = self._clock.now_ns()
        if isinstance(received, _Lost):
            return (_lost_answer(received, now_ns),) * request.count
        answers = read_answers(received.status, received.body, request, now_ns)
        return tuple(self._noted(request, received, answer, now_ns) for answer in answers)

    async def ask(
        self, query: Query, *, timestamp_ms: int | None, recv_window_ms: int = RECV_WINDOW_MS
    ) -> Reply | Unread:
        """Ask something, once.

        Args:
            query: what.
            timestamp_ms: of the signature, by the venue's clock; None for a public question.
            recv_window_ms: how long after it the venue may answer it.
        """
        now_ns = self._clock.now_ns()
        refusal = self.budget.take(query.bucket, query.category, now_ns)
        if refusal is not None:
            cause = Cause.BANNED if self.budget.is_banned(now_ns) else Cause.LIMITED
            return Unread(cause=cause, code="unsent", text=refusal.reason, recv_ns=now_ns, wait_ns=refusal.wait_ns)
        received = await self._exchange(
            "GET",
            query.path,
            query.query,
            b"",
            timestamp_ms=None if query.is_public else timestamp_ms,
            recv_window_ms=recv_window_ms,
        )
        now_ns = self._clock.now_ns()
        if isinstance(received, _Lost):
            return Unread(cause=received.cause, code=received.code, text=received.text, recv_ns=now_ns)
        reply = read_reply(received.status, received.body, now_ns)
        self._note_limits(query.bucket, query.category, received, now_ns)
        if isinstance(reply, Unread):
            return self._noted_unread(query, received, reply, now_ns)
        return reply

    async def ask_time(self) -> str:
        """Ask for the venue's time and take a sample of its clock; return what went wrong, "" if nothing did."""
        sent_ns = self._clock.now_ns()
        reply = await self.ask(
            Query(path="/v5/market/time", query="", bucket="market", is_public=True), timestamp_ms=None
        )
        if isinstance(reply, Unread):
            return reply.text
        try:
            server_ns = int(_TIME.decode(reply.result).time_nano)
        except (*NOT_READ, ValueError):
            return "the venue's time is no number"
        if not 10**18 < server_ns < 4 * 10**18:
            return "the venue's time is not of this century"
        self.venue_clock.note(sent_ns=sent_ns, recv_ns=reply.recv_ns, server_ms=server_ns // _MS)
        return ""

    async def _exchange(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes,
        *,
        timestamp_ms: int | None,
        recv_window_ms: int,
        is_cancel: bool = False,
    ) -> _Received | _Lost:
        """Send bytes and return bytes; what finds no connection in time was not sent."""
        if self._session is None:
            raise RuntimeError("the client is not open; use it in `async with`")
        headers = {"Accept-Encoding": "identity", "User-Agent": "multiscale-bot"}
        if body:
            headers["Content-Type"] = "application/json"
        if timestamp_ms is not None:
            headers |= self._credentials.rest_headers(
                timestamp_ms=timestamp_ms, recv_window_ms=recv_window_ms, payload=body or query.encode()
            )
        # Encoded by us: what is signed is what is sent, to the byte.
        url = URL(f"{self.host.rest}{path}" + (f"?{query}" if query else ""), encoded=True)
        has_begun = False
        try:
            async with (
                asyncio.timeout(recv_window_ms * TIMEOUT_SHARE / 1000 / self._speed),
                nullcontext() if is_cancel else self._ordinary,
            ):
                has_begun = True
                async with self._session.request(
                    method, url, data=body or None, headers=headers, allow_redirects=False, timeout=_NO_TIMEOUT
                ) as response:
                    return await _read(response)
        except aiohttp.ClientConnectorError as error:  # before a byte of the request could leave
            return _Lost(cause=Cause.UNSENT, code="unreachable", text=self._words(error))
        except TimeoutError:
            if not has_begun:
                return _Lost(cause=Cause.UNSENT, code="crowded", text="all connections were taken: it was not sent")
            return _Lost(cause=Cause.NETWORK, code="timeout", text="no answer in time")
        except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
            return _Lost(cause=Cause.NETWORK, code="reset", text=self._words(error))

    def _words(self, error: BaseException) -> str:
        return self._credentials.without(clean(f"{type(error).__name__}: {error}"))

    def _noted(self, request: WriteRequest, received: _Received, answer: Answer, now_ns: int) -> Answer:
        """Return an answer of a write, its limits noted."""
        self._note_limits(request.bucket, request.category, received, now_ns)
        text = self._credentials.without(answer.text)
        if answer.cause is Cause.BANNED:
            until_ns = self.budget.note_banned(now_ns)
            return msgspec.structs.replace(answer, text=text, retry_at_ms=self._venue_ms(now_ns, until_ns))
        if answer.cause is Cause.LIMITED:
            until_ns = self.budget.note_limited(
                request.bucket, request.category, now_ns, wait_ns=self._until_reset(received, now_ns)
            )
            return msgspec.structs.replace(answer, text=text, retry_at_ms=self._venue_ms(now_ns, until_ns))
        return msgspec.structs.replace(answer, text=text) if text != answer.text else answer

    def _noted_unread(self, query: Query, received: _Received, reply: Unread, now_ns: int) -> Unread:
        wait_ns = None
        if reply.cause is Cause.BANNED:
            wait_ns = self.budget.note_banned(now_ns) - now_ns
        elif reply.cause is Cause.LIMITED:
            until_reset = self._until_reset(received, now_ns)
            wait_ns = self.budget.note_limited(query.bucket, query.category, now_ns, wait_ns=until_reset) - now_ns
        return msgspec.structs.replace(reply, text=self._credentials.without(reply.text), wait_ns=wait_ns)

    def _note_limits(self, bucket: str, category: str, received: _Received, now_ns: int) -> None:
        if received.limit is not None and received.left is not None:
            self.budget.note_limits(bucket, category, now_ns, limit=received.limit, left=received.left)

    def _until_reset(self, received: _Received, now_ns: int) -> int | None:
        venue_ms = self._venue_ms(now_ns, now_ns)
        if received.reset_ms is None or venue_ms is None:
            return None
        return (received.reset_ms - venue_ms) * _MS

    def _venue_ms(self, now_ns: int, at_ns: int) -> int | None:
        """Return a coming time of ours by the venue's clock, as that is known now."""
        venue_ms = self.venue_clock.venue_ms(now_ns)
        return None if venue_ms is None else venue_ms + (at_ns - now_ns) // _MS


class _Time(msgspec.Struct, rename="camel"):
    time_nano: str


_TIME = msgspec.json.Decoder(_Time)
_LIMIT_HEADERS = ("X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp")


_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # the time limit is around it, waiting for a connection included


async def _read(response: aiohttp.ClientResponse) -> _Received | _Lost:
    """Return an answer of which all has come, and that is as it should be."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return _Lost(cause=Cause.GARBLED, code="compressed", text="a compressed answer, not asked for")
    content = await _read_capped(response)
    if content is None:
        return _Lost(cause=Cause.GARBLED, code="too_long", text="an answer of more than 2 MiB")
    limits = [number(response.headers.get(name, "")) for name in _LIMIT_HEADERS]
    return _Received(status=response.status, body=content, limit=limits[0], left=limits[1], reset_ms=limits[2])


async def _read_capped(response: aiohttp.ClientResponse) -> bytes | None:
    """Return a body, None where it is longer than any answer should be."""
    if (response.content_length or 0) > BODY_BYTES_MAX:
        return None
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(_CHUNK):
        size += len(part)
        if size > BODY_BYTES_MAX:
            return None
        parts.append(part)
    return b"".join(parts)


def _lost_answer(lost: _Lost, now_ns: int) -> Answer:
    if lost.cause is Cause.GARBLED:
        return garbled(lost.text, now_ns, code=lost.code)
    # What could not connect was not sent; of all else nobody knows.
    kind = AnswerKind.REFUSED if lost.cause is Cause.UNSENT else AnswerKind.UNKNOWN
    return Answer(kind=kind, cause=lost.cause, code=lost.code, text=lost.text, recv_ns=now_ns)
