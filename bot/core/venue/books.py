"""Open orders kept so that the best of them, and what they are worth together, need no search.

Both are dictionaries by order id that also keep what is asked of them at every row of a market.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bot.core.venue.facts import VenueOrder
from bot.domain.instrument import Side

if TYPE_CHECKING:
    from bot.core.venue.market import Live


class RestingOrders(dict[str, "Live"]):
    """The orders that rest in one instrument's book. An order's price must not change while it is in here."""

    def __init__(self) -> None:
        super().__init__()
        self._levels: dict[Side, dict[int, dict[str, Live]]] = {side: {} for side in Side}
        # Prices with the best first, buys negated; some whose level has emptied since.
        self._prices: dict[Side, list[int]] = {side: [] for side in Side}

    def __setitem__(self, order_id: str, live: "Live") -> None:
        super().__setitem__(order_id, live)
        side = live.record.side
        level = self._levels[side].get(live.ticks)
        if level is None:
            level = self._levels[side][live.ticks] = {}
            heapq.heappush(self._prices[side], -live.ticks * side.sign)
        level[order_id] = live

    def __delitem__(self, order_id: str) -> None:
        live = self[order_id]
        super().__delitem__(order_id)
        levels = self._levels[live.record.side]
        del levels[live.ticks][order_id]
        if not levels[live.ticks]:
            del levels[live.ticks]

    def pop(self, order_id: str, default: Any = None) -> Any:
        """Remove an order and return it, or `default` where it is not in here."""
        live = self.get(order_id)
        if live is None:
            return default
        del self[order_id]
        return live

    def best(self, side: Side) -> int | None:
        """Return the best price of a side, None without one."""
        prices, levels = self._prices[side], self._levels[side]
        while prices and -prices[0] * side.sign not in levels:
            heapq.heappop(prices)
        return -prices[0] * side.sign if prices else None

    def level(self, side: Side, ticks: int) -> Iterable["Live"]:
        """Return the orders at a price, in no order."""
        level = self._levels[side].get(ticks)
        return () if level is None else level.values()

    def at(self, side: Side, ticks: int) -> list["Live"]:
        """Return the orders at a price, oldest first."""
        level = self._levels[side].get(ticks)
        return [] if level is None else sorted(level.values(), key=lambda live: live.number)

    def reached(self, side: Side, ticks: int) -> Iterator["Live"]:
        """Yield the orders of a side at a price or better, in order of price and time."""
        best = self.best(side)
        if best is None or (best - ticks) * side.sign < 0:
            return
        for price in sorted(
            (p for p in self._levels[side] if (p - ticks) * side.sign >= 0), key=lambda p: -p * side.sign
        ):
            yield from self.at(side, price)


class AccountOrders(dict[str, VenueOrder]):
    """An account's open orders, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        # By instrument and side, of those that do more than reduce: their value, and their prices, best first.
        self._values: dict[tuple[str, Side], float] = {}
        self._prices: dict[tuple[str, Side], list[tuple[float, str]]] = {}

    def __setitem__(self, order_id: str, order: VenueOrder) -> None:
        before = self.get(order_id)
        if before is not None:
            self._count(before, -1)
        super().__setitem__(order_id, order)
        self._count(order, 1)
        if not order.reduce_only and (before is None or before.price != order.price):
            prices = self._prices.setdefault((order.instrument, order.side), [])
            heapq.heappush(prices, (-float(order.price) * order.side.sign, order_id))

    def __delitem__(self, order_id: str) -> None:
        self._count(self[order_id], -1)
        super().__delitem__(order_id)

    def pop(self, order_id: str, default: Any = None) -> Any:
        """Remove an order and return it, or `default` where it is not in here."""
        order = self.get(order_id)
        if order is None:
            return default
        del self[order_id]
        return order

    def totals(self) -> Iterator[tuple[str, Side, float, float]]:
        """Yield instrument, side, value and best price of the orders that do more than reduce."""
        for (instrument, side), value in self._values.items():
            if value > 0:
                price = self._best(instrument, side)
                if price:
                    yield instrument, side, value, price

    def _best(self, instrument: str, side: Side) -> float:
        prices = self._prices[instrument, side]
        while prices:
            price = -prices[0][0] * side.sign
            order = self.get(prices[0][1])
            if order is not None and not order.reduce_only and float(order.price) == price:
                return price
            heapq.heappop(prices)
        return 0.0

    def _count(self, order: VenueOrder, sign: int) -> None:
        if not order.reduce_only:
            key = order.instrument, order.side
            self._values[key] = self._values.get(key, 0.0) + sign * float(order.qty) * float(order.price)
