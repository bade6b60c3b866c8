"""What the venue remembers of an account: orders, executions, closed positions; and for how long it tells of them."""

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from bot.core.venue.orders import OrderRecord, Status
from bot.domain.account import ZERO
from bot.emulator import inferred
from bot.emulator.listing import Listing
from bot.emulator.wire import DAY_NS, SECOND_NS, Refused

# Orders that ended without a fill are told of for a day, others that ended for a week, orders with fills for two years.
_UNFILLED_NS = DAY_NS
_RECENT_NS = 7 * DAY_NS
_FILLED_NS = 730 * DAY_NS

CLOSED_MAX = 500  # recently closed orders that `realtime` still shows, by category

_RECALLED_NS = 30 * SECOND_NS  # how far back the past of orders is known

_DROPPED_AT = 200_000  # orders kept before those that nobody may ask for any more are let go


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What a client said of an order that the venue repeats and the core does not keep."""

    quote_amount: Decimal | None = None  # a spot market order sized in the quote coin
    order_filter: str = "Order"
    market_unit: str = ""
    slippage_type: str = ""
    slippage: str = ""
    create_type: str | None = None  # in place of the core's
    is_leverage: str = ""


NO_NOTES = Notes()


class KeptOrder(msgspec.Struct, kw_only=True):
    """An order as it last was."""

    number: int  # rises with every order: the page cursor
    listing: Listing
    record: OrderRecord
    notes: Notes = NO_NOTES
    closed_pnl: Decimal = ZERO
    fee_coin: str = ""
    closed_number: int = 0  # rises with every order that ends

    @property
    def is_hidden_after_ns(self) -> int:
        """Return from when on the venue tells no more of it."""
        if self.record.is_open:
            return 2**62
        if self.record.filled_qty:
            return self.record.updated_ns + _FILLED_NS
        is_brief = self.record.status in (Status.CANCELLED, Status.REJECTED, Status.DEACTIVATED)
        return self.record.updated_ns + (_UNFILLED_NS if is_brief else _RECENT_NS)


class KeptRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution, a transaction or a closed position, as it is told."""

    number: int
    ts_ns: int
    listing: Listing | None
    record: dict[str, Any]


class Archive:
    """One account's memory."""

    def __init__(self) -> None:
        self.orders: dict[str, KeptOrder] = {}
        self.open: dict[str, None] = {}
        self.executions: list[KeptRow] = []
        self.closed_pnl: list[KeptRow] = []
        self._by_link: dict[tuple[str, str], str] = {}  # category and client id: the newest order of that id
        self._closed: dict[str, dict[str, None]] = {}  # by category, in the order in which they ended
        self._numbers = 0
        self._past: deque[tuple[int, str, OrderRecord | None]] = deque()  # when, which, and what it was until then

    def next_number(self) -> int:
        """Return a number above all before."""
        self._numbers += 1
        return self._numbers

    def keep(self, listing: Listing, record: OrderRecord, notes: Notes | None = None) -> KeptOrder:
        """Keep an order as it now is."""
        order_id = record.order_id
        kept = self.orders.get(order_id)
        self._remember(record.updated_ns, order_id, None if kept is None else kept.record)
        if kept is None:
            self._make_room(record.updated_ns)
            kept = KeptOrder(number=self.next_number(), listing=listing, record=record, notes=notes or NO_NOTES)
            self.orders[order_id] = kept
            if record.client_order_id:
                self._by_link[listing.category, record.client_order_id] = order_id
        kept.record = record
        if record.is_open:
            self.open[order_id] = None
        elif order_id in self.open or not kept.closed_number:
            self.open.pop(order_id, None)
            kept.closed_number = self.next_number()
            self._closed.setdefault(listing.category, {})[order_id] = None
        return kept

    def find(self, category: str, order_id: str, link_id: str) -> KeptOrder | None:
        """Return an order by the venue's id, which wins, or the client's."""
        if not order_id:
            order_id = self._by_link.get((category, link_id), "")
        kept = self.orders.get(order_id)
        return kept if kept is not None and kept.listing.category == category else None

    def open_orders(self, category: str) -> list[KeptOrder]:
        """Return open orders, the newest first."""
        found = [self.orders[order_id] for order_id in self.open]
        return sorted((kept for kept in found if kept.listing.category == category), key=lambda kept: -kept.number)

    def recent(self, category: str) -> list[KeptOrder]:
        """Return open orders and those that ended lately, the newest first."""
        closed = list(self._closed.get(category, {}))[-CLOSED_MAX:]
        found = self.open_orders(category) + [self.orders[order_id] for order_id in closed if order_id in self.orders]
        return sorted(found, key=lambda kept: -kept.number)

    def recall(self, category: str, at_ns: int) -> list[KeptOrder]:
        """Return the orders that are open or changed lately as they were at a time, the newest first."""
        then: dict[str, OrderRecord | None] = {order_id: self.orders[order_id].record for order_id in self.open}
        for ts_ns, order_id, before in reversed(self._past):
            if ts_ns <= at_ns:
                break
            then[order_id] = before
        found = [
            replace(self.orders[order_id], record=record)
            for order_id, record in then.items()
            if record is not None and order_id in self.orders and self.orders[order_id].listing.category == category
        ]
        return sorted(found, key=lambda kept: -kept.number)

    def forget_recent(self) -> None:
        """Lose the cache of closed orders, as when the venue restarts."""
        self._closed.clear()

    def history(self, category: str, now_ns: int) -> Iterator[KeptOrder]:
        """Yield all orders that the venue still tells of, the newest first."""
        for kept in reversed(self.orders.values()):
            if kept.listing.category == category and now_ns < kept.is_hidden_after_ns:
                yield kept

    def _remember(self, ts_ns: int, order_id: str, before: OrderRecord | None) -> None:
        self._past.append((ts_ns, order_id, before))
        while self._past[0][0] < ts_ns - _RECALLED_NS:
            self._past.popleft()

    def _make_room(self, now_ns: int) -> None:
        if len(self.orders) < _DROPPED_AT or len(self.orders) % 1000:
            return
        for order_id in [key for key, kept in self.orders.items() if now_ns >= kept.is_hidden_after_ns]:
            kept = self.orders.pop(order_id)
            self._closed.get(kept.listing.category, {}).pop(order_id, None)
            link = kept.listing.category, kept.record.client_order_id
            if self._by_link.get(link) == order_id:
                del self._by_link[link]


_Item = TypeVar("_Item", KeptOrder, KeptRow)


class Page(Generic[_Item]):
    """A page of a list: its items, and where the next one begins.

    The cursor of the last page is not empty: that nothing follows is seen from an empty page.
    """

    def __init__(
        self, items: Iterator[_Item], params: Mapping[str, str], *, limit: int, overlaps: bool = False
    ) -> None:
        """Take as many items as the page has; where it `overlaps`, the last of the page before is its first."""
        before = _number_of(params.get("cursor", ""))
        self.items: list[_Item] = []
        for item in items:
            if before is not None and (item.number > before or (item.number == before and not overlaps)):
                continue
            self.items.append(item)
            if len(self.items) == limit:
                break
        self.cursor = quote(f"page_token={self.items[-1].number}&", safe="") if self.items else ""


def _number_of(cursor: str) -> int | None:
    """Return the number that a cursor stands for, None for the first page.

    Raises:
        Refused: it was not handed out, or it was encoded twice.
    """
    if not cursor:
        return None
    number = cursor.removeprefix("page_token=").removesuffix("&")
    if cursor != f"page_token={number}&" or not number.isdigit() or len(number) > 18:
        raise Refused(*inferred.CURSOR_UNKNOWN)
    return int(number)
