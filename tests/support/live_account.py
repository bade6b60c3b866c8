"""Our private half on an emulated venue, for tests: client, sockets, streams, and orders to send."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from bot.core.venue.contract import btcusdt_spot
from bot.domain.answers import Answer
from bot.domain.instrument import Instrument, Side
from bot.domain.orders import OrderType, SubmitOrder
from bot.venues.bybit.account_stream import AccountStream
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.login_session import Lost, Ready
from bot.venues.bybit.private_session import TOPICS, PrivateSession, Told
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.session_socket import SessionSocket, TradeSocket
from bot.venues.bybit.trade_session import TradeSession
from tests.support.emulator import BTC, ETH, KEY, SECRET, Served
from tests.support.live_rest import client_of, rising_clock, stamp

PERPETUAL = Listed("linear", "BTCUSDT")
SPOT = Listed("spot", "BTCUSDT")
SPOT_BTC: Instrument = btcusdt_spot().instrument
INSTRUMENTS = {("linear", "BTCUSDT"): BTC, ("linear", "ETHUSDT"): ETH, ("spot", "BTCUSDT"): SPOT_BTC}
WAIT_S = 8.0


def order(order_id: str = "mine-it", price: str | None = "59900", qty: str = "0.01", **fields: Any) -> SubmitOrder:
    """Return an order; at the market where it has no price."""
    given: dict[str, Any] = {
        "client_order_id": order_id,
        "order_number": 1,
        "instrument": "BTCUSDT",
        "side": Side.BUY,
        "order_type": OrderType.MARKET if price is None else OrderType.LIMIT,
        "qty": Decimal(qty),
        "limit_price": None if price is None else Decimal(price),
    }
    return SubmitOrder(**(given | fields))


class Heard:
    """What came, for a test to wait on."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._changed = asyncio.Event()

    def __call__(self, item: Any) -> None:
        """Take one."""
        self.items.append(item)
        self._changed.set()

    async def wait(self, wanted: Callable[[Any], bool], count: int = 1) -> Any:
        """Return the last of the first `count` that are wanted, once they have come."""

        async def found() -> Any:
            while True:
                hits = [item for item in self.items if wanted(item)]
                if len(hits) >= count:
                    return hits[count - 1]
                self._changed.clear()
                await self._changed.wait()

        try:
            return await asyncio.wait_for(found(), WAIT_S)
        except TimeoutError:
            raise AssertionError(f"it did not come; of {len(self.items)}: {self.items[-5:]}") from None

    async def of(self, kind: type, count: int = 1) -> Any:
        """Return the `count`-th of a type, once it has come."""
        return await self.wait(lambda item: isinstance(item, kind), count)


class Desk:
    """A client, order entry and the account's streams on one clock.

    Attributes:
        events: what the streams have come to.
        effects: what the sessions said besides.
        late: answers that came after they were given up.
    """

    def __init__(self, client: RestClient, venue: Served) -> None:
        self.client = client
        self.venue = venue
        self.events, self.effects, self.late = Heard(), Heard(), Heard()
        self.account = AccountStream(INSTRUMENTS, is_ours=lambda order_id: order_id.startswith("mine-"))
        clock, credentials = client._clock, Credentials(key=KEY, secret=SECRET)
        host = host_of("emulator", url=venue.http)
        self.streams = SessionSocket(
            PrivateSession(credentials, client.venue_clock, topics=(*TOPICS, "execution.fast"), seed=1),
            host.private_path,
            clock=clock,
            on_effect=self._take,
        )
        self.entry = TradeSocket(
            TradeSession(credentials, client.venue_clock, prefix="t1", rates=RateBudget(), seed=1),
            host.trade_path or "",
            clock=clock,
            on_effect=self.effects,
            on_late=lambda token, answers: self.late((token, answers)),
        )
        self._clock = clock

    def stamp(self) -> int:
        """Return the time to sign with."""
        return stamp(self.client)

    async def enter(self, token: str, request: Any, *, window_ms: int = 2_500) -> Answer:
        """Send one request by order entry."""
        answers = await self.entry.send(token, request, timestamp_ms=self.stamp(), recv_window_ms=window_ms)
        return answers[0]

    async def ready(self) -> None:
        """Connect both, and return once they are ready."""
        self.streams.start()
        self.entry.start()
        await self.effects.of(Ready, 2)

    def _take(self, effect: Any) -> None:
        self.effects(effect)
        now_ns = self._clock.now_ns()
        if isinstance(effect, Told):
            is_fast = effect.frame.kind == "execution.fast"
            for event in self.account.on_records(effect.frame.records, now_ns, is_fast=is_fast):
                self.events(event)
        elif isinstance(effect, Lost):
            for event in self.account.on_gap(effect.reason, now_ns):
                self.events(event)


@asynccontextmanager
async def desk_of(venue: Served, *, is_ready: bool = True) -> AsyncIterator[Desk]:
    """Open a desk, connected."""
    async with client_of(venue) as client:
        desk = Desk(client, venue)
        try:
            if is_ready:
                await desk.ready()
            yield desk
        finally:
            await desk.streams.stop()
            await desk.entry.stop()


__all__ = ["PERPETUAL", "SPOT", "Desk", "Heard", "desk_of", "order", "rising_clock"]
