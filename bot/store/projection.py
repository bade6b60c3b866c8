"""Draws the ledger's tables from its entries: one entry in, the rows it makes out."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, get_args

from bot.domain.account import Posting
from bot.domain.ledger import FillBooked, LedgerEntry, OrderIntended, OrderReported
from bot.domain.orders import OrderAmended
from bot.store import tables
from bot.store.projection_rows import ROW_OF, Row, text, text_or_none

_TABLES = tuple(table.name for table in tables.metadata.sorted_tables if table.name not in tables.UNDRAWN)
_QTY = 5  # the place of the quantity in a row of `orders`; the limit price follows it
FINAL = ("filled",)  # a canceled order may still report a fill that matched first, a rejected one may resurface


class Projection:
    """Collects the rows of all tables, by table name.

    `orders` and `balances` hold state, not history: an order's row is added when the order is done, the rest of both
    when the run is closed (`close`).
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {name: [] for name in _TABLES}
        self._orders: dict[str, tuple[Row, Decimal, str]] = {}  # row up to its status, filled quantity, status
        self._balances: dict[tuple[str, str], Decimal] = {}

    def take(self) -> dict[str, list[Row]]:
        """Return the rows collected since the last call."""
        rows, self.rows = self.rows, {name: [] for name in _TABLES}
        return rows

    def add(self, seq: int, entry: LedgerEntry) -> None:
        """Add the rows that `entry`, the journal's row `seq`, makes."""
        table, make, is_booked, follow = _HOW[type(entry)]
        if make is not None:
            self.rows[table].append(make(seq, entry))
        if is_booked:
            self._book(seq, entry.postings)  # type: ignore[union-attr]
        if follow is not None:
            follow(self, entry)

    def close(self) -> None:
        """Add the orders that are still open, and the balances."""
        for name in sorted(self._orders):
            self._finish_order(name)
        for (account, currency), amount in sorted(self._balances.items()):
            self.rows["balances"].append((account, currency, text(amount)))

    def _book(self, seq: int, postings: Sequence[Posting]) -> None:
        for leg, posting in enumerate(postings):
            key = posting.account, posting.currency
            self._balances[key] = self._balances.get(key, Decimal(0)) + posting.amount
            self.rows["postings"].append((seq, leg, posting.account, posting.currency, text(posting.amount)))

    # --- the orders' own rows -----------------------------------------------------------------------------------------

    def _order_intended(self, entry: OrderIntended) -> None:
        order = entry.order
        row = (
            order.client_order_id,
            entry.decision_id,
            order.instrument,
            order.side.value,
            order.order_type.value,
            text(order.qty),
            text_or_none(order.limit_price),
        )
        self._orders[order.client_order_id] = row, Decimal(0), "submitted"

    def _order_reported(self, entry: OrderReported) -> None:
        event = entry.event
        if event.client_order_id not in self._orders:
            return
        if isinstance(event, OrderAmended):
            row, filled_qty, status = self._orders[event.client_order_id]
            row = (*row[:_QTY], text(event.qty), text_or_none(event.limit_price))
            self._orders[event.client_order_id] = row, filled_qty, status
        self._order_moved(event.client_order_id, entry.status, Decimal(0))

    def _fill_booked(self, entry: FillBooked) -> None:
        fill = entry.fill
        if fill.client_order_id in self._orders:
            self._order_moved(fill.client_order_id, entry.status, fill.qty)

    def _order_moved(self, name: str, status: str, filled_qty: Decimal) -> None:
        row, filled_before, _ = self._orders[name]
        self._orders[name] = row, filled_before + filled_qty, status
        if status in FINAL:
            self._finish_order(name)

    def _finish_order(self, name: str) -> None:
        row, filled_qty, status = self._orders.pop(name)
        self.rows["orders"].append((*row, status, text(filled_qty)))


_FOLLOW: dict[type, Callable[[Projection, Any], None]] = {
    OrderIntended: Projection._order_intended,
    OrderReported: Projection._order_reported,
    FillBooked: Projection._fill_booked,
}
_HOW = {
    kind: (*(ROW_OF[kind] or ("", None)), "postings" in kind.__struct_fields__, _FOLLOW.get(kind))
    for kind in get_args(LedgerEntry)
}
"""What each kind of entry makes: a row of which table, bookings, and what it changes of an order's row."""
