"""Who asks the questions of a start: pybit in a worker thread, or our own client where only that knows the time.

pybit signs with this machine's clock, so it serves the venue itself; an emulator that runs faster than the clock needs
ours. Both answer in the same words.

Source: pybit 5.17, its own retries off; Bybit V5, REST envelope.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
import requests
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from bot.domain.answers import Cause
from bot.ports import Clock
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.envelope import NOT_READ, Reply, Unread
from bot.venues.bybit.errors import clean, verdict_of_status
from bot.venues.bybit.history_pages import BadPage
from bot.venues.bybit.hosts import Host
from bot.venues.bybit.instruments import InstrumentFilters, read_instruments
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import Query, RestClient

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Does a call that blocks beside the event loop, and returns what it returns."""

_NO_RETRIES = {"max_retries": 1, "retry_codes": {0}, "force_retry": False}
_BUCKETS = {
    "/v5/user/query-api": "user.query-api",
    "/v5/account/info": "account.read",
    "/v5/account/user-setting-config": "account.read",
    "/v5/position/list": "position.list",
}


class PybitAsker:
    """Asks through pybit; see `startup.Asker`.

    Args:
        host: the environment.
        credentials: of the key.
        clock: ours.
        in_thread: runs a call beside the loop.
        timeout_s: how long an answer may stay silent.
        recv_window_ms: how long after signing the venue may answer.
    """

    def __init__(
        self,
        host: Host,
        credentials: Credentials,
        *,
        clock: Clock,
        in_thread: InThread,
        timeout_s: float = 10.0,
        recv_window_ms: int = 5_000,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._in_thread = in_thread
        self._http = HTTP(timeout=timeout_s, recv_window=recv_window_ms, **credentials.for_client(), **_NO_RETRIES)
        self._http.endpoint = host.rest
        self._methods: dict[str, Callable[..., Any]] = {
            "/v5/user/query-api": self._http.get_api_key_information,
            "/v5/account/info": self._http.get_account_info,
            "/v5/account/user-setting-config": self._http.get_user_setting_config,
            "/v5/position/list": self._http.get_positions,
        }

    def __repr__(self) -> str:
        return "PybitAsker(...)"

    def close(self) -> None:
        """Close the connections."""
        self._http.client.close()

    async def ask(self, path: str, params: Mapping[str, str]) -> Reply | Unread:
        """See `startup.Asker`."""
        return await self._call(lambda: self._methods[path](**params))

    async def instruments(self, wanted: Sequence[Listed]) -> dict[Listed, InstrumentFilters] | Unread:
        """See `startup.Asker`."""
        found: dict[Listed, InstrumentFilters] = {}
        for listed in wanted:
            ask = partial(self._http.get_instruments_info, category=listed.category, symbol=listed.symbol)
            reply = await self._call(ask)
            read = _read_filters(reply, listed)
            if isinstance(read, Unread):
                return read
            found |= read
        return found

    async def _call(self, method: Callable[[], Any]) -> Reply | Unread:
        try:
            envelope = await self._in_thread(method)
        except InvalidRequestError as error:
            return self._unread(Cause.OTHER, str(error.status_code), str(error.message))
        except FailedRequestError as error:
            cause = verdict_of_status(error.status_code).cause
            return self._unread(cause, f"HTTP {error.status_code}", "no answer of the application")
        except requests.RequestException as error:
            return self._unread(Cause.NETWORK, "no answer", type(error).__name__)
        except (AttributeError, KeyError, TypeError):  # JSON, but no envelope: pybit trips over it
            return self._unread(Cause.GARBLED, "garbled", "the answer is JSON, but has no retCode")
        if not isinstance(envelope, dict) or envelope.get("retCode") != 0:
            return self._unread(Cause.GARBLED, "garbled", "the answer has no retCode")
        time_ms = envelope.get("time")
        return Reply(
            result=msgspec.Raw(msgspec.json.encode(envelope.get("result"))),
            server_time_ms=time_ms if isinstance(time_ms, int) else None,
            recv_ns=self._clock.now_ns(),
        )

    def _unread(self, cause: Cause, code: str, text: str) -> Unread:
        text = self._credentials.without(clean(text))
        return Unread(cause=cause, code=code, text=text, recv_ns=self._clock.now_ns())


class RestAsker:
    """Asks through our own client; see `startup.Asker`."""

    def __init__(self, client: RestClient, stamp_ms: Callable[[], int | None]) -> None:
        self._client = client
        self._stamp_ms = stamp_ms

    async def ask(self, path: str, params: Mapping[str, str]) -> Reply | Unread:
        """See `startup.Asker`."""
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
        query = Query(path=path, query=text, bucket=_BUCKETS[path], category=params.get("category", ""))
        return await self._client.ask(query, timestamp_ms=self._stamp_ms())

    async def instruments(self, wanted: Sequence[Listed]) -> dict[Listed, InstrumentFilters] | Unread:
        """See `startup.Asker`."""
        found: dict[Listed, InstrumentFilters] = {}
        for listed in wanted:
            query = Query(
                path="/v5/market/instruments-info",
                query=f"category={listed.category}&symbol={quote(listed.symbol, safe='')}",
                bucket="market",
                is_public=True,
            )
            read = _read_filters(await self._client.ask(query, timestamp_ms=None), listed)
            if isinstance(read, Unread):
                return read
            found |= read
        return found


def _read_filters(reply: Reply | Unread, listed: Listed) -> dict[Listed, InstrumentFilters] | Unread:
    if isinstance(reply, Unread):
        return reply
    try:
        rows, _ = read_instruments(msgspec.json.decode(reply.result), listed.category)
    except (BadPage, *NOT_READ) as error:
        return Unread(cause=Cause.GARBLED, code="garbled", text=str(error)[:300], recv_ns=reply.recv_ns)
    own = [row for row in rows if row.symbol == listed.symbol]
    return {listed: own[0]} if own else {}
