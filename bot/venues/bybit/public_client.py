"""Questions to the public REST interface that need no key: one attempt, and whatever came.

When to ask again is decided by whoever asks; what an answer means, in `public_answers`.

Source: Bybit V5, REST; fault N16 of the fault catalogue.
"""

from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from bot.ports import Clock
from bot.venues.bybit.public_answers import BODY_BYTES_MAX

TIMEOUT_S = 5.0
NO_ANSWER = b"no answer in time"
_CHUNK = 1 << 16
_CONNECTIONS_MAX = 8


class PublicClient:
    """Asks one address; use it as an async context.

    Args:
        base_url: of the REST interface; no other is dialled, no redirect followed.
        clock: ours.
        timeout_s: how long an answer may take.
    """

    def __init__(self, base_url: str, clock: Clock, *, timeout_s: float = TIMEOUT_S) -> None:
        self._base = base_url.rstrip("/")
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS_MAX)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return the HTTP status and the body; (0, why) where no whole answer came."""
        assert self._session is not None
        try:
            url = URL(self._base + path, encoded=True)
            async with self._session.get(url, allow_redirects=False) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK):
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        return 0, b"an answer that is too long"
                return response.status, bytes(body)
        except TimeoutError:
            return 0, NO_ANSWER
        except (aiohttp.ClientError, OSError) as error:
            return 0, f"{type(error).__name__}: {error}".encode()[:200]

    async def timed(self, path: str) -> tuple[int, bytes, int, int]:
        """Return what `get` returns, and when the question was sent and answered, by our clock."""
        sent_ns = self._clock.now_ns()
        status, body = await self.get(path)
        return status, body, sent_ns, self._clock.now_ns()
