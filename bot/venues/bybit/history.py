"""Market history from Bybit: its public REST interface through pybit, and its public archive of trades.

Synchronous and slow by nature: call it from a worker thread. What to ask and what to make of an answer is decided in
`history_walk`, when to ask again in `retries`; here is what does it.

What REST can give: bars of any age, funding of any age, and the newest 1000 trades (60 on spot). Older trades come from
the archive, a file for each day, which appears some hours after the day has ended.

Source: Bybit V5; pybit 5.17, whose own retries are off: they sleep out of our sight, and fail where a rate limit's end
lies in the past.
"""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import requests
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP
from urllib3.exceptions import HTTPError as BrokenBody

from bot.domain.errors import StorageError
from bot.ports import Clock
from bot.venues.bybit.history_pages import Ask, BadPage
from bot.venues.bybit.instruments import InstrumentFilters, read_instruments
from bot.venues.bybit.retries import Failure, FailureKind, Patience, failure_of_code, failure_of_status

MAINNET = "https://api.bybit.com"
TESTNET = "https://api-testnet.bybit.com"
ARCHIVE = "https://public.bybit.com"

_CHUNK = 1 << 20
_NO_RETRIES = {
    "max_retries": 1,
    "retry_codes": {0},  # an empty set would mean pybit's own list, and 0 is never a failure
    "force_retry": False,
}

T = TypeVar("T")


class Waiting(Protocol):
    """What the client sleeps with, and tells why."""

    def wait(self, seconds: float) -> None:
        """Return after so long, or raise what ends the work."""

    def tell(self, text: str) -> None:
        """Take note of a wait and its reason."""


class BybitHistory:
    """Asks the venue, again where that helps.

    Args:
        base_url: of the REST interface.
        archive_url: of the archive.
        timeout_s: how long an answer may stay silent.
        clock: this machine's; the venue's is measured against it.
        waiting: sleeps between two attempts.
        dice: returns a number in [0, 1), for waits that differ between clients.
    """

    def __init__(
        self,
        *,
        base_url: str = MAINNET,
        archive_url: str = ARCHIVE,
        timeout_s: float = 10.0,
        clock: Clock,
        waiting: Waiting,
        dice: Callable[[], float],
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.archive_url = archive_url.rstrip("/")
        self._timeout_s = timeout_s
        self._clock = clock
        self._waiting = waiting
        self._dice = dice
        self._http = HTTP(timeout=timeout_s, **_NO_RETRIES)
        self._http.endpoint = self.base_url
        self._archive = requests.Session()
        self._archive.headers["Accept-Encoding"] = "identity"  # the files are compressed as they are
        self._venue_ahead_ns = 0  # the venue's clock less ours
        self.requests = 0  # that were sent, the failed ones too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.client.close()
        self._archive.close()

    def server_time_ns(self) -> int:
        """Ask for the venue's time, ns UTC.

        Raises:
            VenueError, DataError: see `answer`.
        """
        venue_ns = self._repeat(self.base_url, lambda: _read_time(self._call(self._http.get_server_time)))
        self._venue_ahead_ns = venue_ns - self._clock.now_ns()
        return venue_ns

    def instruments(self, category: str, symbol: str | None = None) -> list[InstrumentFilters]:
        """Ask for the filters of one symbol, or of all that trade; empty where there is no such symbol.

        Raises:
            VenueError, DataError: see `answer`.
        """
        found: list[InstrumentFilters] = []
        cursor, seen = "", {""}
        while True:
            params = {"category": category, "symbol": symbol, "limit": 1000 if category != "spot" else None}
            params["cursor"] = cursor or None  # it comes percent-encoded, and goes back as it came

            def page(params: dict[str, Any] = params) -> tuple[list[InstrumentFilters], str]:
                return read_instruments(self._call(self._http.get_instruments_info, **params), category)

            more, cursor = self._repeat(self.base_url, page)
            found += more
            if symbol is not None or cursor in seen:  # the last page may name a cursor, too
                return [each for each in found if symbol in (None, each.symbol)]
            seen.add(cursor)

    def answer(self, ask: Ask, take: Callable[[Any], T]) -> T:
        """Ask, hand the result to `take`, and return what that returns; ask again where either fails for the moment.

        Args:
            ask: the question.
            take: raises `BadPage` for a result that cannot be an answer to it.

        Raises:
            VenueError: the venue refuses, or cannot be reached for minutes.
            DataError: its answers stay wrong.
        """
        method = {
            "kline": self._http.get_kline,
            "mark-price-kline": self._http.get_mark_price_kline,
            "index-price-kline": self._http.get_index_price_kline,
            "funding/history": self._http.get_funding_rate_history,
        }[ask.endpoint]
        return self._repeat(self.base_url, lambda: take(self._call(method, **ask.params)))

    def recent_trades(self, category: str, symbol: str) -> list[dict[str, Any]]:
        """Ask for the newest trades, as many as REST gives: 1000, on spot 60; the newest first, as the venue has them.

        Raises:
            VenueError, DataError: see `answer`.
        """
        params = {"category": category, "symbol": symbol, "limit": 60 if category == "spot" else 1000}

        def take() -> list[dict[str, Any]]:
            result = self._call(self._http.get_public_trade_history, **params)
            rows = result.get("list") if isinstance(result, dict) else None
            if not isinstance(rows, list) or any(not isinstance(row, dict) or "price" not in row for row in rows):
                raise BadPage("the answer has no list of trades")
            return rows

        return self._repeat(self.base_url, take)

    def archive_day(self, category: str, symbol: str, day: date, path: Path) -> bool:
        """Download a day of trades from the archive to `path`, gzipped CSV; return whether the archive has it.

        The file is whole once this returns: its checksum was read.

        Raises:
            VenueError, DataError: see `answer`.
            StorageError: the disk refuses it.
        """
        name = (
            f"spot/{symbol}/{symbol}_{day}.csv.gz" if category == "spot" else f"trading/{symbol}/{symbol}{day}.csv.gz"
        )
        url = f"{self.archive_url}/{name}"
        return self._repeat(url, lambda: self._fetch(url, path))

    def _fetch(self, url: str, path: Path) -> bool:
        self.requests += 1
        with self._archive.get(url, stream=True, timeout=self._timeout_s) as response:
            if response.status_code == 404:
                return False
            if response.status_code != 200:
                raise _Failed(failure_of_status(response.status_code, url))
            try:
                with path.open("wb") as file:
                    # The file as it lies there: were it decoded on the way, a missing end would go unnoticed.
                    while chunk := response.raw.read(_CHUNK, decode_content=False):
                        file.write(chunk)
                        self._waiting.wait(0)
            except BrokenBody as error:
                raise requests.ConnectionError(error) from error
            except OSError as error:
                raise StorageError(f"{path}: {error.strerror}; free space or choose another --store") from error
        try:
            with gzip.open(path) as file:
                while file.read(_CHUNK):
                    pass
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadPage(f"{url} is not a whole gzip file ({error})") from error
        return True

    def _call(self, method: Callable[..., Any], **params: Any) -> Any:
        """Return the `result` of one request; what fails is raised as `_Failed`."""
        self.requests += 1
        try:
            envelope = method(**params)
        except InvalidRequestError as error:
            raise _Failed(failure_of_code(error.status_code, error.message, reset_ms=_reset_ms(error))) from error
        except FailedRequestError as error:
            if error.resp_headers is None:  # pybit's own failure to read JSON
                text = f"{self.base_url} answered something that is not JSON"
                raise _Failed(Failure(kind=FailureKind.TRANSPORT, text=text)) from error
            raise _Failed(failure_of_status(error.status_code, self.base_url)) from error
        except (AttributeError, KeyError, TypeError) as error:  # JSON, but no envelope: pybit trips over it
            raise BadPage("the answer is JSON, but has no retCode") from error
        if not isinstance(envelope, dict) or envelope.get("retCode") != 0:
            raise BadPage("the answer has no retCode")
        return envelope.get("result")

    def _repeat(self, where: str, attempt: Callable[[], T]) -> T:
        """Return what `attempt` returns, however often it takes; `where` is for messages.

        Raises:
            VenueError, DataError: patience is at its end.
        """
        patience = Patience()
        while True:
            self._waiting.wait(0)
            try:
                return attempt()
            except _Failed as error:
                failure = error.failure
            except BadPage as error:
                failure = Failure(kind=FailureKind.BAD_PAGE, text=str(error))
            except requests.RequestException as error:
                failure = Failure(kind=FailureKind.TRANSPORT, text=_network(error, where), code="no answer")
            venue_now_ms = (self._clock.now_ns() + self._venue_ahead_ns) // 1_000_000
            wait_s = patience.wait_s(failure, venue_now_ms=venue_now_ms, dice=self._dice())
            if failure.kind is FailureKind.BANNED:
                self._waiting.tell(f"{failure}: this address is shut out for now; waiting {wait_s / 60:.0f} minutes")
            else:
                self._waiting.tell(f"{failure}; asking again in {wait_s:.1f} s")
            self._waiting.wait(wait_s)


class _Failed(Exception):
    """One attempt that did not come to an answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


def _read_time(result: Any) -> int:
    try:
        venue_ns = int(result["timeNano"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadPage("the venue's time is no number") from error
    if not 10**18 < venue_ns < 4 * 10**18:
        raise BadPage(f"the venue's time is {venue_ns} ns, which is not of this century")
    return venue_ns


def _reset_ms(error: Any) -> int | None:
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        return int(error.resp_headers["X-Bapi-Limit-Reset-Timestamp"])
    return None


def _network(error: requests.RequestException, where: str) -> str:
    """Return what the network did, without the layers that passed it on."""
    if isinstance(error, requests.Timeout):
        return f"{where} stays silent"
    reason: BaseException = error
    while (inner := reason.__cause__ or reason.__context__) is not None:
        reason = inner
    return f"{where} cannot be reached ({reason})"
