"""When the levels change at which orders rest in a queue: asked at every arrival, so found without looking at them all.

An order's next change is searched once for what is known of the book, and kept in order of time until it comes; only an
order whose level does not change as far as the book is known is searched again, once more of the book is there.
"""

import heapq
from typing import TYPE_CHECKING

from bot.core.venue.book_tape import BookTape, LevelChange
from bot.core.venue.books import RestingOrders
from bot.domain.instrument import Side

if TYPE_CHECKING:
    from bot.core.venue.market import Live

    Entry = tuple[int, int, Live, LevelChange]


class LevelChanges:
    """The changes to come of the levels of resting orders.

    Args:
        book: what is known of the book.
        resting: the orders; one that is in it no more waits for nothing.
    """

    def __init__(self, book: BookTape, resting: RestingOrders) -> None:
        self._book = book
        self._resting = resting
        self._found: list[Entry] = []  # by time; some of orders that have left since
        self._count = 0
        self._new: dict[str, Live] = {}  # not searched yet
        self._unfound: dict[str, Live] = {}  # searched, up to `_end_row`
        self._end_row = 0

    def join(self, live: "Live", row: int) -> None:
        """Follow the level of an order that joins a queue: what becomes of it from `row` of the book on."""
        live.change, live.book_row = None, row
        self._unfound.pop(live.order_id, None)
        self._new[live.order_id] = live

    def leave(self, live: "Live") -> None:
        """Forget an order."""
        live.change = None
        self._new.pop(live.order_id, None)
        self._unfound.pop(live.order_id, None)

    def next_ns(self) -> int | None:
        """Return when a level changes next, None if none does as far as the book is known."""
        if self._book.end_row != self._end_row:
            self._end_row = self._book.end_row
            self._new.update(self._unfound)
            self._unfound.clear()
        if self._new:
            self._search()
        found = self._found
        while found and not self._is_due(found[0]):
            heapq.heappop(found)
        return found[0][0] if found else None

    def happen(self, until_ns: int) -> None:
        """Let the queues see what now rests at their prices, by all changes up to and at `until_ns`."""
        while (due_ns := self.next_ns()) is not None and due_ns <= until_ns:
            _, _, live, change = heapq.heappop(self._found)
            if live.place is not None:
                live.place.level_changed(change.qty_steps)
            self.join(live, change.row + 1)

    def _is_due(self, entry: "Entry") -> bool:
        _, _, live, change = entry
        return live.change is change and self._resting.get(live.order_id) is live

    def _search(self) -> None:
        """Search the book for the next change of the new orders' levels; orders that stand alike share a search."""
        seen: dict[tuple[Side, int, int], LevelChange | None] = {}
        for order_id, live in self._new.items():
            at = live.side, live.ticks, live.book_row
            if at not in seen:
                seen[at] = self._book.next_change(live.book_row, "bid" if at[0] is Side.BUY else "ask", live.ticks)
            change = live.change = seen[at]
            if change is None:
                live.book_row = self._end_row
                self._unfound[order_id] = live
            else:
                self._count += 1
                heapq.heappush(self._found, (change.ts_ns, self._count, live, change))
        self._new.clear()
