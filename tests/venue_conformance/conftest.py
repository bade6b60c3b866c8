"""An emulated venue on the loopback address, and pybit, unmodified, as its client."""

import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.emulator import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Served, make_world, served

pybit = pytest.importorskip("pybit")

import pybit._websocket_trading as trading  # noqa: E402
import pybit.unified_trading as unified  # noqa: E402

_WAIT_S = 10.0


class Frames:
    """What a stream has delivered, for a test to wait on."""

    def __init__(self) -> None:
        self._frames: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def __call__(self, frame: dict[str, Any]) -> None:
        """Take a frame: given to the client as its callback."""
        with self._changed:
            self._frames.append(frame)
            self._changed.notify_all()

    def wait(self, wanted: Callable[[dict[str, Any]], bool] = lambda frame: True, count: int = 1) -> dict[str, Any]:
        """Return the last of the first `count` frames that are wanted, once they have come."""

        def found() -> list[dict[str, Any]]:
            return [frame for frame in self._frames if wanted(frame)]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, _WAIT_S), f"of {len(self._frames)} frames"
            return found()[count - 1]

    def record(self, **fields: Any) -> dict[str, Any]:
        """Return the first record with these values, once it has come."""

        def matches(record: dict[str, Any]) -> bool:
            return all(record.get(name) == value for name, value in fields.items())

        frame = self.wait(lambda frame: any(matches(record) for record in frame["data"]))
        return next(record for record in frame["data"] if matches(record))

    @property
    def all(self) -> list[dict[str, Any]]:
        """Return all so far."""
        with self._changed:
            return list(self._frames)


class _Patient(dict[str, Any]):
    """Subscriptions by request: pybit notes one only after it has sent it, and here the answer may be as quick."""

    def __missing__(self, key: str) -> Any:
        for _ in range(200):
            if key in self:
                return self[key]
            time.sleep(0.005)  # of pybit's own thread
        raise KeyError(key)


class Desk:
    """A venue and pybit's clients of it."""

    def __init__(self, venue: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.venue = venue
        self._sockets: list[Any] = []
        self._sessions: list[Any] = []
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(unified, "PUBLIC_WSS", venue.ws + "/v5/public/{CHANNEL_TYPE}")
        monkeypatch.setattr(unified, "PRIVATE_WSS", venue.ws + "/v5/private")
        monkeypatch.setattr(trading, "TRADE_WSS", venue.ws + "/v5/trade")
        self.http = self.client()
        self.other = self.client(OTHER_KEY, OTHER_SECRET)

    def client(self, key: str | None = KEY, secret: str | None = SECRET, **options: Any) -> Any:
        """Return an HTTP client; without a key it asks public things alone."""
        http = unified.HTTP(api_key=key, api_secret=secret, max_retries=1, **options)
        http.endpoint = self.venue.http
        self._sessions.append(http.client)
        return http

    def public(self, category: str = "linear", **options: Any) -> Any:
        """Return a public stream."""
        return self._kept(unified.WebSocket(channel_type=category, testnet=True, **options))

    def private(self, key: str = KEY, secret: str = SECRET) -> Any:
        """Return a private stream."""
        return self._kept(
            unified.WebSocket(
                channel_type="private", testnet=True, api_key=key, api_secret=secret, private_auth_expire=10
            )
        )

    def trade(self, key: str = KEY, secret: str = SECRET) -> Any:
        """Return a stream for orders."""
        return self._kept(
            unified.WebSocketTrading(testnet=True, api_key=key, api_secret=secret, private_auth_expire=10)
        )

    def order(self, client: Any = None, **fields: Any) -> dict[str, Any]:
        """Place a limit order for 0.01 BTC, with these fields in place of its own; return what names it."""
        order = {
            "category": "linear",
            "symbol": "BTCUSDT",
            "side": "Buy",
            "orderType": "Limit",
            "qty": "0.01",
            "price": "59900",
        }
        order = {name: value for name, value in {**order, **fields}.items() if value is not None}
        result: dict[str, Any] = (client or self.http).place_order(**order)["result"]
        return result

    def market(self, side: str = "Buy", qty: str = "0.1", **fields: Any) -> dict[str, Any]:
        """Place a market order."""
        return self.order(side=side, qty=qty, orderType="Market", price=None, **fields)

    def close(self) -> None:
        """End the streams and sessions."""
        for socket in self._sockets:
            socket.exit()
        for session in self._sessions:
            session.close()
        if self.venue.was_faulted:
            # pybit leaves the socket of a broken connection to the garbage collector, which would blame the next test.
            self._sockets.clear()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()

    def _kept(self, socket: Any) -> Any:
        self._sockets.append(socket)
        if hasattr(socket, "subscriptions"):
            socket.subscriptions = _Patient(socket.subscriptions)
        return socket


@pytest.fixture(scope="module")
def venue() -> Iterator[Served]:
    """Serve one venue to all cases of a file that leave no traces: without rate limits."""
    with served(lambda now_ns: make_world(now_ns, rate_scale=0, each_s=0.2, seconds=600)) as running:
        yield running


@pytest.fixture
def fresh() -> Iterator[Served]:
    """Serve a venue of its own to one case."""
    with served(lambda now_ns: make_world(now_ns, each_s=1.0, seconds=120)) as running:
        yield running


@pytest.fixture
def shared_desk(venue: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return clients of the shared venue."""
    desk = Desk(venue, monkeypatch)
    yield desk
    desk.close()


@pytest.fixture
def desk(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Return clients of a venue of their own."""
    desk = Desk(fresh, monkeypatch)
    yield desk
    desk.close()
