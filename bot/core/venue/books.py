"""Open orders kept so that the best of them, and what they are worth together, need no search.

All are dictionaries by order id that also keep what is asked of them at every row of a market.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bot.core.tape import FAR
from bot.core.venue.facts import VenueOrder
from bot.core.venue.orders import PriceSource
from bot.domain.instrument import Side

if TYPE_CHECKING:
    from bot.core.venue.market import Live

_SLACK = 64  # stale prices that are kept at least before they are swept out
_NOWHERE = (-FAR, FAR)  # no fall and no rise


class RestingOrders(dict[str, "Live"]):
    """The orders that rest in one instrument's book. An order's price must not change while it is in here."""

    def __init__(self) -> None:
        super().__init__()
        self._levels: dict[Side, dict[int, dict[str, Live]]] = {side: {} for side in Side}
        # Prices with the best first, buys negated; some whose level has emptied since.
        self._prices: dict[Side, list[int]] = {side: [] for side in Side}

    def __setitem__(self, order_id: str, live: "Live") -> None:
        super().__setitem__(order_id, live)
        side = live.side
        level = self._levels[side].get(live.ticks)
        if level is None:
            level = self._levels[side][live.ticks] = {}
            prices = self._prices[side]
            heapq.heappush(prices, -live.ticks * side.sign)
            if len(prices) > 2 * len(self) + _SLACK:
                prices[:] = [-ticks * side.sign for ticks in self._levels[side]]
                heapq.heapify(prices)
        level[order_id] = live

    def __delitem__(self, order_id: str) -> None:
        live = self[order_id]
        super().__delitem__(order_id)
        levels = self._levels[live.side]
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


class WaitingOrders(dict[str, "Live"]):
    """The orders that wait for a trigger. One whose trigger has changed is put in anew, where it stands.

    Attributes:
        following: those whose trigger follows the price.
    """

    def __init__(self) -> None:
        super().__init__()
        # The nearest triggers by price source; None: an order at one of them has left, so all must be looked at.
        self._nearest: dict[PriceSource, tuple[int, int]] | None = {}
        self.following: dict[str, Live] = {}

    def __setitem__(self, order_id: str, live: "Live") -> None:
        if order_id in self:
            self._nearest = None
        elif self._nearest is not None:
            self._near(self._nearest, live)
        super().__setitem__(order_id, live)
        if live.trail is not None:
            self.following[order_id] = live
        elif self.following:
            self.following.pop(order_id, None)

    def __delitem__(self, order_id: str) -> None:
        live = self[order_id]
        super().__delitem__(order_id)
        if live.trail is not None:
            del self.following[order_id]
        elif self._nearest is not None:
            trigger = live.record.trigger
            if trigger is not None and live.trigger_ticks in self._nearest[trigger.source]:
                self._nearest = None if self else {}

    def pop(self, order_id: str, default: Any = None) -> Any:
        """Remove an order and return it, or `default` where it is not in here."""
        live = self.get(order_id)
        if live is None:
            return default
        del self[order_id]
        return live

    def nearest(self) -> dict[PriceSource, tuple[int, int]]:
        """Return by source the highest price that a fall to, and the lowest that a rise to, triggers an order."""
        if self._nearest is None:
            self._nearest = {}
            for live in self.values():
                self._near(self._nearest, live)
        return self._nearest

    def _near(self, nearest: dict[PriceSource, tuple[int, int]], live: "Live") -> None:
        """Bring one order's trigger into what is known of all."""
        trigger = live.record.trigger
        if live.trail is None and trigger is not None:
            falls, rises = nearest.get(trigger.source, _NOWHERE)
            ticks = live.trigger_ticks
            nearest[trigger.source] = (falls, min(rises, ticks)) if trigger.is_rise else (max(falls, ticks), rises)


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
            key = order.instrument, order.side
            prices = self._prices.setdefault(key, [])
            heapq.heappush(prices, (-float(order.price) * order.side.sign, order_id))
            if len(prices) > 2 * len(self) + _SLACK:
                prices[:] = [
                    (-float(each.price) * each.side.sign, each.order_id)
                    for each in self.values()
                    if not each.reduce_only and (each.instrument, each.side) == key
                ]
                heapq.heapify(prices)

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
