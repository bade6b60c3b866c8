"""Draws the ledger's tables while the ledger is being written, start after start.

A replay writes the rows that hold state, orders and balances, when they are final. A live ledger is looked into at any
time and goes on after a crash: here those rows are written whenever they changed, and read again when they are needed.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from bot.store.projection import FINAL, Projection
from bot.store.projection_rows import Row

REPLACED = ("orders", "balances", "checkpoints")
"""Tables whose rows replace an earlier row of the same key."""

_KEPT_STATUSES = ("submitted", "waiting", "open")  # others are rarely heard of again
_Held = tuple[Row, Decimal, str]  # row up to its status, filled quantity, status


class _Orders(dict[str, _Held]):
    """Orders that may still move, by name; those of the table too, which are read when somebody asks for one.

    An order that is done is not among them, as in a `Projection`: nothing that is told of it later changes its row.
    """

    def __init__(self, find: Callable[[str], Row | None]) -> None:
        super().__init__()
        self._find = find
        self.done: set[str] = set()  # since the rows were last taken; the table knows of the others

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        row = None if name in self.done else self._find(str(name))
        if row is None or row[-2] in FINAL:
            return False
        self[str(name)] = row[:-2], Decimal(row[-1]), row[-2]
        return True

    def __missing__(self, name: str) -> _Held:
        if name not in self:
            raise KeyError(name)
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Take away an order that is done."""
        self.done.add(name)
        return super().pop(name, *default)


class LiveProjection(Projection):
    """A `Projection` that goes on from what the tables hold.

    Args:
        balances: account, currency and amount, as the table has them.
        find_order: returns the row of `orders` with this name, its quantities as text; None if there is none.
    """

    def __init__(self, balances: Iterable[tuple[str, str, Decimal]], find_order: Callable[[str], Row | None]) -> None:
        super().__init__()
        self._open = _Orders(find_order)
        self._orders = self._open
        self._balances = {(account, currency): amount for account, currency, amount in balances}
        self._orders_written: dict[str, Row] = {}
        self._balances_written = {key: format(amount, "f") for key, amount in self._balances.items()}

    def take(self) -> dict[str, list[Row]]:
        """Return the rows collected since the last call, and those of orders and balances that changed."""
        for name, (row, filled_qty, status) in list(self._orders.items()):
            whole = (*row, status, format(filled_qty, "f"))
            if self._orders_written.get(name) != whole:
                self.rows["orders"].append(whole)
                self._orders_written[name] = whole
            if status not in _KEPT_STATUSES:
                del self._orders[name]
                del self._orders_written[name]
        for name in self._open.done:
            self._orders_written.pop(name, None)
        self._open.done.clear()
        for key, amount in self._balances.items():
            text = format(amount, "f")  # compared as text: 0 and 0.00 are equal, and two rows
            if self._balances_written.get(key) != text:
                self.rows["balances"].append((*key, text))
                self._balances_written[key] = text
        return super().take()
