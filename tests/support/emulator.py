"""An emulated venue for tests: a small world, driven by hand or served on the loopback address to real clients."""

import asyncio
import hashlib
import hmac
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np

from bot.core.venue.contract import TierRow, btcusdt_spot, linear_contract
from bot.core.venue.market import FillModel, neutral
from bot.domain.instrument import Instrument
from bot.domain.market import FundingBatch, TradeBatch
from bot.emulator.auth import ApiKey
from bot.emulator.driven import DrivenClock
from bot.emulator.exchange import AccountSpec, Exchange, World
from bot.emulator.faults import Fault
from bot.emulator.hub import Outgoing
from bot.emulator.listing import Listing
from bot.emulator.player import MarketSource
from bot.emulator.server import QUEUE_MAX, Server
from bot.emulator.synthetic import BookMaker
from bot.emulator.wire import Request, Response
from bot.ports import Clock
from bot.runtime.env import SystemClock

START_NS = 1_760_000_040_000_000_000  # 2025-10-09T08:54:00Z
SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

KEY, SECRET = "TESTKEY0001", "TESTSECRET0001"
OTHER_KEY, OTHER_SECRET = "TESTKEY0002", "TESTSECRET0002"
READ_ONLY_KEY, READ_ONLY_SECRET = "TESTKEY0003", "TESTSECRET0003"

Step = tuple[float, str]
"""Seconds from the start, and the price that trades."""

BTC = Instrument(
    name="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1190),
)
ETH = Instrument(
    name="ETHUSDT",
    base="ETH",
    quote="USDT",
    tick_size=Decimal("0.01"),
    qty_step=Decimal("0.01"),
    qty_min=Decimal("0.01"),
    qty_max=Decimal(7240),
)
_TIERS = [
    TierRow(
        limit_value=Decimal(limit),
        initial_rate=Decimal(initial),
        maintenance_rate=Decimal(maintenance),
        leverage_max=Decimal(leverage),
    )
    for limit, initial, maintenance, leverage in (
        ("2000000", "0.01", "0.005", "100"),
        ("10000000", "0.02", "0.01", "50"),
        ("50000000", "0.05", "0.025", "20"),
    )
]


def listings() -> list[Listing]:
    """Return two perpetuals and a spot pair."""
    return [
        Listing(
            symbol="BTCUSDT",
            contract=linear_contract(BTC, _TIERS),
            symbol_id=5,
            launch_ms=1_585_526_400_000,
            price_places=2,
        ),
        Listing(
            symbol="ETHUSDT",
            contract=linear_contract(ETH, _TIERS),
            symbol_id=6,
            launch_ms=1_585_526_400_000,
            price_places=2,
        ),
        Listing(symbol="BTCUSDT", contract=btcusdt_spot(), symbol_id=9, launch_ms=1_585_526_400_000, price_places=1),
    ]


def trades_at(instrument: Instrument, start_ns: int, steps: Sequence[Step]) -> TradeBatch:
    """Return trades of one unit each at given times and prices, bought where the price does not fall."""
    prices = np.array([instrument.ticks(Decimal(price)) for _, price in steps], dtype=np.int64)
    return TradeBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=np.array([start_ns + int(at * SECOND) for at, _ in steps], dtype=np.int64),
        price_ticks=prices,
        qty_steps=np.full(len(steps), 100, dtype=np.int64),
        is_buy=np.diff(prices, prepend=prices[0]) >= 0,
    )


def quiet(instrument: Instrument, start_ns: int, price: str, *, seconds: int, each_s: float = 0.25) -> TradeBatch:
    """Return trades that go one tick up and down around a price, from an hour before the start on."""
    middle, tick = Decimal(price), instrument.tick_size
    count = int((3600 + seconds) / each_s)
    return trades_at(
        instrument, start_ns, [(-3600 + n * each_s, str(middle + tick * ((n // 2) % 2))) for n in range(count)]
    )


def funding(instrument: Instrument, start_ns: int, rate: str = "0.0001") -> FundingBatch:
    """Return ten days of funding every eight hours, one of them before the start."""
    interval = 8 * HOUR
    first = (start_ns // interval - 3) * interval
    times = np.arange(first, first + 33 * interval, interval, dtype=np.int64)
    rates = np.full(len(times), int(Decimal(rate).scaleb(8)), dtype=np.int64)
    return FundingBatch(instrument=instrument, first_row=0, ts_ns=times, rate_e8=rates)


def make_world(
    start_ns: int = START_NS,
    *,
    steps: Sequence[Step] | None = None,
    seconds: int = 900,
    faults: Sequence[Fault] = (),
    rate_scale: int = 1,
    has_address_limit: bool = False,
    cash: str = "1000000",
    model: FillModel | None = None,
    each_s: float = 0.25,
) -> World:
    """Return a world of two accounts.

    Args:
        start_ns: when it begins.
        steps: the trades of the BTCUSDT perpetual after the start; None: it stays around 60,000.
        seconds: how long there are trades.
        rate_scale: times the default rate limits, 0 for none.
    """
    sources: dict[str, MarketSource] = {}
    for listing in listings():
        instrument = listing.instrument
        price = "3000" if instrument.base == "ETH" else "60000"
        batch = quiet(instrument, start_ns, price, seconds=seconds, each_s=each_s)
        parts = [batch]
        if steps is not None and listing.symbol == "BTCUSDT" and not listing.is_spot:
            before = batch.rows(0, int(batch.ts_ns.searchsorted(start_ns, side="right")))
            parts = [before, trades_at(instrument, start_ns, steps)]
        sources[listing.name] = MarketSource(
            trades=iter(parts),
            book=BookMaker(instrument=instrument, size_steps=5_000),
            funding=None if listing.is_spot else funding(instrument, start_ns),
        )
    coins = {"USDT": Decimal(cash), "BTC": Decimal(5)}
    accounts = [
        AccountSpec(
            name="first",
            uid=592324,
            coins=coins,
            keys=(
                ApiKey(key=KEY, secret=SECRET, account="first"),
                ApiKey(key=READ_ONLY_KEY, secret=READ_ONLY_SECRET, account="first", is_read_only=True),
            ),
        ),
        AccountSpec(
            name="second",
            uid=592325,
            coins=coins,
            keys=(ApiKey(key=OTHER_KEY, secret=OTHER_SECRET, account="second"),),
        ),
    ]
    return World(
        seed=7,
        start_ns=start_ns,
        listings=listings(),
        sources=sources,
        accounts=accounts,
        model=neutral(Decimal(0)) if model is None else model,
        faults=faults,
        rate_scale=rate_scale,
        has_address_limit=has_address_limit,
    )


class Driver:
    """Drives an exchange by hand: no sockets, no clock, no waiting.

    Attributes:
        now_ns: the venue's time.
        frames: what each connection was sent, decoded.
        closed: connections that were ended, with code and reason.
    """

    def __init__(self, world: World) -> None:
        self.exchange = Exchange(world)
        self.now_ns = world.start_ns
        self.frames: dict[int, list[dict[str, Any]]] = {}
        self.closed: dict[int, tuple[int, str]] = {}
        self.damaged: list[Outgoing] = []

    def wait(self, seconds: float, *, step_s: float = 0.05) -> None:
        """Let time pass, in steps as the server does."""
        end_ns = self.now_ns + int(seconds * SECOND)
        while self.now_ns < end_ns:
            self.now_ns = min(end_ns, self.now_ns + int(step_s * SECOND))
            self._take(self.exchange.advance(self.now_ns))

    def get(self, path: str, query: str = "", *, key: str = KEY, secret: str = SECRET) -> dict[str, Any]:
        """Return the decoded answer to a signed GET."""
        return decoded(self.request("GET", path, query=query, key=key, secret=secret))

    def post(self, path: str, *, key: str = KEY, secret: str = SECRET, **body: Any) -> dict[str, Any]:
        """Return the decoded answer to a signed POST."""
        return decoded(self.request("POST", path, body=json.dumps(body).encode(), key=key, secret=secret))

    def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes = b"",
        key: str = KEY,
        secret: str = SECRET,
        stamp_ms: int | None = None,
        **changed: str,
    ) -> Response:
        """Send a signed request; `changed` headers replace those it would have."""
        payload = query.encode() if method == "GET" else body
        stamp = str(self.now_ns // 10**6 if stamp_ms is None else stamp_ms)
        headers = {
            "x-bapi-api-key": key,
            "x-bapi-timestamp": stamp,
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": sign(secret, f"{stamp}{key}5000".encode() + payload),
        }
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        asked = Request(method=method, path=path, query=query, headers=headers, body=body)
        self.now_ns += self.exchange.arrival_delay_ns(asked, self.now_ns)
        return self.exchange.handle_request(asked, self.now_ns)

    def order(self, *, key: str = KEY, secret: str = SECRET, **fields: Any) -> dict[str, Any]:
        """Return the answer to a limit order for 0.01 BTC, with these fields in place of its own."""
        order = {
            "category": "linear",
            "symbol": "BTCUSDT",
            "side": "Buy",
            "orderType": "Limit",
            "qty": "0.01",
            "price": "59000",
        }
        fields = {name: value for name, value in {**order, **fields}.items() if value is not None}
        return self.post("/v5/order/create", key=key, secret=secret, **fields)

    def open(self, path: str, query: str = "") -> int:
        """Open a connection and return its number."""
        session = self.exchange.open_socket(path, query, "127.0.0.1", self.now_ns)
        self.frames[session.number] = []
        return session.number

    def say(self, number: int, frame: Any) -> list[dict[str, Any]]:
        """Send a frame and return what has come by ten milliseconds later."""
        before = len(self.frames[number])
        self.exchange.handle_frame(number, frame if isinstance(frame, str) else json.dumps(frame), self.now_ns)
        self.wait(0.01, step_s=0.01)
        return self.frames[number][before:]

    def private(self, *topics: str, key: str = KEY, secret: str = SECRET, path: str = "/v5/private") -> int:
        """Open a signed-in connection that follows topics."""
        number = self.open(path)
        expires = self.now_ns // 10**6 + 10_000
        self.say(number, {"op": "auth", "args": [key, expires, sign(secret, f"GET/realtime{expires}".encode())]})
        if topics:
            self.say(number, {"op": "subscribe", "args": list(topics)})
        return number

    def trade(self, number: int, op: str, *args: Any, req_id: str = "r") -> list[dict[str, Any]]:
        """Send an order request on a trade connection."""
        header = {"X-BAPI-TIMESTAMP": str(self.now_ns // 10**6)}
        return self.say(number, {"reqId": req_id, "header": header, "op": op, "args": list(args)})

    def topic(self, number: int, topic: str) -> list[dict[str, Any]]:
        """Return what a connection was sent of a topic."""
        return [frame for frame in self.frames[number] if frame.get("topic") == topic]

    def _take(self, frames: list[Outgoing]) -> None:
        for outgoing in frames:
            if outgoing.close is not None:
                self.closed[outgoing.session] = outgoing.close
            elif outgoing.damage is not None:
                self.damaged.append(outgoing)
            else:
                self.frames.setdefault(outgoing.session, []).append(json.loads(outgoing.text))


def sign(secret: str, text: bytes) -> str:
    """Return a signature, by the reference's own words and not the emulator's code."""
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def decoded(response: Response) -> dict[str, Any]:
    """Return an answer's JSON object; it must be one."""
    assert response.status == 200, response
    answer: dict[str, Any] = json.loads(response.body)
    return answer


class Served:
    """An emulated venue on the loopback address, in a thread of its own.

    Attributes:
        exchange: the venue; what a test does to it goes through `do`.
        was_faulted: something was made to go wrong.
    """

    def __init__(
        self, make: Callable[[int], World], *, clock: Clock | None = None, tls: Any = None, queue_max: int = QUEUE_MAX
    ) -> None:
        self._clock = SystemClock() if clock is None else clock
        self.was_faulted = False
        self.exchange = Exchange(make(self._clock.now_ns()))
        speed = math.inf if isinstance(clock, DrivenClock) else getattr(clock, "speed", 1.0)
        self._server = Server(self.exchange, self._clock, speed=speed, tls=tls, queue_max=queue_max)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._await(self._server.start())

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return self._server.port

    @property
    def http(self) -> str:
        """Return where REST is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """Return where WebSockets are."""
        return f"ws://127.0.0.1:{self.port}"

    def do(self, act: Callable[[Exchange, int], Any]) -> Any:
        """Call `act` with the exchange and the time, on the server's own thread."""

        async def call() -> Any:
            return act(self.exchange, self._clock.now_ns())

        return self._await(call())

    def add_fault(self, **fields: Any) -> None:
        """Let something go wrong from now on."""
        self.was_faulted = True
        self.do(lambda exchange, now_ns: exchange.faults.add(Fault(**fields)))

    def fired(self, kind: str) -> int:
        """Return how often a kind of fault has fired."""
        return int(self.do(lambda exchange, now_ns: exchange.faults.fired[kind]))

    def stop(self) -> None:
        """End it."""
        self._await(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _await(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)


@contextmanager
def served(make: Callable[[int], World] = make_world, **options: Any) -> Iterator[Served]:
    """Serve a world while the block runs."""
    running = Served(make, **options)
    try:
        yield running
    finally:
        running.stop()
