"""Take an account's orders off the venue, and its positions if wanted, from outside the bot: what a dead-man does.

It knows nothing of what was meant. A round cancels, looks at what is left, and says so; rounds are repeated until one
finds nothing, for one cancel-all reaches at most 500 orders, lists lag, and whoever is gone may have sent a last order.
Everything here can be done twice without harm: cancels, and closing orders that only reduce.

Source: Bybit V5, `order/cancel-all`, `order/create` with quantity "0"; faults X16 and X20 of the fault catalogue.
"""

from collections.abc import Callable, Sequence

import msgspec

from bot.domain.answers import Answer, AnswerKind, Cause
from bot.domain.instrument import Side
from bot.domain.venue_records import OrderRecord, OrderState, PositionRecord
from bot.venues.bybit.envelope import Unread
from bot.venues.bybit.errors import Write
from bot.venues.bybit.lookups import ask_all, open_orders, positions
from bot.venues.bybit.requests import Listed, WriteRequest, cancel_all, cancel_theirs, client_order_id
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.topics import Category

_ONE_BY_ONE_MAX = 40  # in a round: what the rate limit of some seconds takes
_ATTEMPTS = 2  # of a question; the next round asks again anyway
_HARMLESS = (Cause.NOT_FOUND, Cause.POSITION, Cause.UNCHANGED)


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round found after its cancels."""

    orders: int  # open ones that should not be
    positions: int  # that should not be
    troubles: tuple[str, ...] = ()  # one line each: what is not known is not nothing

    @property
    def is_clear(self) -> bool:
        """Return whether nothing is left, for certain."""
        return not (self.orders or self.positions or self.troubles)


def cancel_plain(category: Category, *, settle: str = "USDT") -> WriteRequest:
    """Return the request that cancels orders which rest in the book, and leaves those that wait for a trigger."""
    fields = {"category": category, "orderFilter": "Order"}
    if category != "spot":
        fields["settleCoin"] = settle
    return WriteRequest(
        path="/v5/order/cancel-all",
        op=None,
        body=msgspec.json.encode(fields),
        write=Write.CHANGE,
        bucket="order.cancel-all",
        category=category,
        is_cancel=True,
    )


def close_whole(position: PositionRecord, name: str) -> WriteRequest:
    """Return the request that closes a perpetual's position at the market, as much of it as one order may.

    Args:
        position: which.
        name: a client order id.
    """
    side = Side.SELL if position.qty > 0 else Side.BUY
    fields = {
        "category": "linear",
        "symbol": position.instrument,
        "side": "Sell" if side is Side.SELL else "Buy",
        "orderType": "Market",
        "qty": "0",  # the venue's word for all of it
        "reduceOnly": True,
        "closeOnTrigger": True,
        "positionIdx": position.mode_index,
        "orderLinkId": client_order_id(name),
    }
    return WriteRequest(
        path="/v5/order/create",
        op=None,
        body=msgspec.json.encode(fields),
        write=Write.CREATE,
        bucket="order.create",
        category="linear",
        client_order_ids=(name,),
    )


def is_exit(order: OrderRecord, category: Category) -> bool:
    """Return whether an order only waits to make a position smaller: a stop that protects what is held."""
    if order.state is not OrderState.WAITING:
        return False
    if category == "spot":
        return order.side is Side.SELL
    return bool(order.reduce_only) or order.role is not None


class Clearing:
    """Clears one account.

    Args:
        client: of a key that may trade.
        categories: what to clear.
        settles: coins that perpetuals are settled in.
        is_flattening: cancel everything and close positions; else what protects a position stays, and so does it.
            Spot is canceled and never sold.
    """

    def __init__(
        self,
        client: RestClient,
        *,
        now_ns: Callable[[], int],
        categories: Sequence[Category],
        settles: Sequence[str] = ("USDT",),
        is_flattening: bool,
    ) -> None:
        self._client = client
        self._now_ns = now_ns
        self._categories = tuple(categories)
        self._settles = tuple(settles)
        self._is_flattening = is_flattening
        self._closed = 0
        self.canceled = 0  # requests that were taken, of all rounds

    async def set_clock(self) -> str:
        """Ask for the venue's time where it is due, for without it nothing can be signed; return what is wrong."""
        if self._client.venue_clock.is_due(self._now_ns()):
            return await self._client.ask_time()
        return ""

    async def look(self) -> Round:
        """Return what a round would find, and change nothing: whether the key still opens the account."""
        return await self._left(with_positions=True)

    async def round(self) -> Round:
        """Cancel, close, and return what was left after it."""
        trouble = await self.set_clock()
        troubles = [f"the venue's time: {trouble}"] if trouble and self._stamp_ms() is None else []
        if not troubles:
            for request in self._cancels():
                troubles += await self._send(request, "cancel-all")
        found = await self._left(with_positions=self._is_flattening, is_acting=True)
        # A refused cancel-all (a kind of order that this account cannot have) matters only if something is left.
        return found if found.is_clear else msgspec.structs.replace(found, troubles=(*troubles, *found.troubles))

    def _cancels(self) -> list[WriteRequest]:
        requests: list[WriteRequest] = []
        for category in self._categories:
            for settle in self._settles if category == "linear" else ("",):
                if self._is_flattening:
                    requests += cancel_all(category, settle=settle)
                else:
                    requests.append(cancel_plain(category, settle=settle))
        return requests

    async def _left(self, *, with_positions: bool, is_acting: bool = False) -> Round:
        orders, held = 0, 0
        troubles: list[str] = []
        for category in self._categories:
            for settle in self._settles if category == "linear" else ("",):
                listed = await ask_all(
                    self._client, open_orders(category, settle=settle), stamp_ms=self._stamp_ms, attempts=_ATTEMPTS
                )
                if isinstance(listed, Unread):
                    troubles.append(f"{category} orders cannot be listed: {listed.code} {listed.text}")
                    continue
                wrong = [each for each in listed.records if self._is_flattening or not is_exit(each, category)]
                orders += len(wrong)
                if is_acting:
                    troubles += await self._cancel_each(category, wrong)
        if with_positions and "linear" in self._categories:
            for settle in self._settles:
                kept = await ask_all(
                    self._client, positions(settle=settle), stamp_ms=self._stamp_ms, attempts=_ATTEMPTS
                )
                if isinstance(kept, Unread):
                    troubles.append(f"positions cannot be listed: {kept.code} {kept.text}")
                    continue
                open_ = [each for each in kept.records if each.qty]
                held += len(open_)
                if is_acting:
                    for position in open_:
                        troubles += await self._close(position)
        return Round(orders=orders, positions=held, troubles=tuple(troubles))

    async def _cancel_each(self, category: Category, orders: Sequence[OrderRecord]) -> list[str]:
        """Cancel those that a cancel-all without exits leaves: what waits for a trigger to enter."""
        troubles: list[str] = []
        waiting = [each for each in orders if each.state is OrderState.WAITING]
        for order in waiting[:_ONE_BY_ONE_MAX]:
            listed = Listed(category, order.instrument)
            order_filter = "StopOrder" if category == "spot" else ""
            request = cancel_theirs(order.venue_order_id, listed, order_filter=order_filter)
            troubles += await self._send(request, f"cancel of {order.venue_order_id}")
        return troubles

    async def _close(self, position: PositionRecord) -> list[str]:
        self._closed += 1
        name = f"deadman-{self._now_ns() // 1_000_000}-{self._closed}"
        return await self._send(close_whole(position, name), f"close of {position.instrument}")

    async def _send(self, request: WriteRequest, what: str) -> list[str]:
        stamp_ms = self._stamp_ms()
        if stamp_ms is None:
            return [f"{what}: the venue's time is not known"]
        answer: Answer = (await self._client.send(request, timestamp_ms=stamp_ms))[0]
        if answer.kind is AnswerKind.ACCEPTED:
            self.canceled += 1
            return []
        return [] if answer.cause in _HARMLESS else [f"{what}: {answer.code} {answer.text}"]

    def _stamp_ms(self) -> int | None:
        return self._client.venue_clock.venue_ms(self._now_ns())
