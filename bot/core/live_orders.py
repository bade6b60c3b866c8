"""The open orders of one instrument, and what they come to together without counting all of them each time.

The gate asks before every order and every amendment what might still fill. Of a few orders that is quickly counted; of
hundreds the sums are kept, and brought up to date by what has changed since they were asked for last.
"""

from decimal import Decimal
from typing import Any

from bot.core.order import Order
from bot.core.risk import Claims
from bot.domain.account import ZERO
from bot.domain.instrument import Side

_FEW = 8  # of fewer orders nothing is kept
_ORDINARY = range(-12, 13)  # powers of ten within which sums are exact, in whatever order they are made

_Part = tuple[Side, bool, int, Decimal]  # side, reduce-only, exponent and quantity of what may still fill


class _Sums:
    """What parts come to, kept apart by side, by whether they only reduce, and by decimal places.

    So a sum has as many places as if the parts that are in it now had been added up, whatever has left it.
    """

    def __init__(self) -> None:
        self._parts: dict[str, _Part | None] = {}  # None: a quantity that is not to be summed up
        self._sums: dict[tuple[Side, bool, int], tuple[int, Decimal]] = {}  # how many, and the sum
        self._odd = 0

    def change(self, name: str, order: Order | None) -> None:
        """Count an order as it is now; None: it is gone."""
        if name in self._parts:
            before = self._parts.pop(name)
            self._odd -= before is None
            if before is not None:
                self._add(self._sums, before, -1)
        if order is not None:
            part = self._parts[name] = _part_of(order)
            self._odd += part is None
            if part is not None:
                self._add(self._sums, part, 1)

    def claims(self, without: str) -> Claims | None:
        """Return the sums of all orders but one, None where one of them cannot be summed up."""
        left = self._parts.get(without)
        if self._odd:
            return None
        sums = self._sums
        if left is not None:
            sums = dict(sums)
            self._add(sums, left, -1)
        claims = Claims()
        for (side, is_reducing, _), (_, qty) in sums.items():
            (claims.reducing if is_reducing else claims.entering)[side] += qty
        return claims

    @staticmethod
    def _add(sums: dict[tuple[Side, bool, int], tuple[int, Decimal]], part: _Part, sign: int) -> None:
        side, is_reducing, exponent, qty = part
        key = side, is_reducing, exponent
        count, total = sums.get(key, (0, ZERO))
        if count + sign:
            sums[key] = count + sign, total + qty * sign
        else:
            del sums[key]


class LiveOrders(dict[str, Order]):
    """Orders by id, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self._sums: _Sums | None = None
        self._changed: set[str] = set()

    def __setitem__(self, name: str, order: Order) -> None:
        super().__setitem__(name, order)
        self._changed.add(name)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._changed.add(name)

    def pop(self, name: str, default: Any = None) -> Any:
        """Remove an order and return it, or `default` where it is not in here."""
        self._changed.add(name)
        return super().pop(name, default)

    def update(self, *orders: Any, **named: Order) -> None:
        """Take in several orders."""
        for name, order in dict(*orders, **named).items():
            self[name] = order

    def claims(self, *, without: str = "") -> Claims | None:
        """Return what may still fill of all orders but one, None where they are better counted one by one."""
        if len(self) < _FEW:
            self._sums = None
            self._changed.clear()
            return None
        if self._sums is None:
            self._sums = _Sums()
            self._changed = set(self)
        for name in self._changed:
            self._sums.change(name, self.get(name))
        self._changed.clear()
        return self._sums.claims(without)


def _part_of(order: Order) -> _Part | None:
    qty, request = order.remaining_qty, order.request
    exponent = qty.as_tuple().exponent
    if not isinstance(exponent, int) or exponent not in _ORDINARY or qty.adjusted() not in _ORDINARY:
        return None
    return request.side, request.reduce_only, exponent, qty
