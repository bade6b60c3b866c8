"""An order book the slow and obvious way, of dictionaries and exact fractions: what `core.order_book` and
`core.book_features` are checked against. Nothing of them is used here but their batches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import BookBatch, BookDeltaBatch
from tests.support.batches import INSTRUMENT


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a book: levels are (price in ticks, quantity in steps)."""

    ts_ns: int
    update: int
    previous: int = -1
    is_snapshot: bool = False
    bids: Sequence[tuple[int, int]] = ()
    asks: Sequence[tuple[int, int]] = ()
    known_ns: int | None = None  # None: when it happened


def snapshot(
    ts_ns: int,
    update: int,
    bids: Sequence[tuple[int, int]],
    asks: Sequence[tuple[int, int]],
    known_ns: int | None = None,
) -> Message:
    """Return a message that replaces the book."""
    return Message(ts_ns=ts_ns, update=update, is_snapshot=True, bids=bids, asks=asks, known_ns=known_ns)


def delta(
    ts_ns: int,
    update: int,
    bids: Sequence[tuple[int, int]] = (),
    asks: Sequence[tuple[int, int]] = (),
    *,
    previous: int | None = None,
    known_ns: int | None = None,
) -> Message:
    """Return a change that follows the number before its own, unless told another."""
    return Message(
        ts_ns=ts_ns,
        update=update,
        previous=update - 1 if previous is None else previous,
        bids=bids,
        asks=asks,
        known_ns=known_ns,
    )


def deltas_of(messages: Iterable[Message], instrument: Instrument = INSTRUMENT) -> BookDeltaBatch:
    """Return messages as a batch."""
    rows: list[tuple[int, int, int, int, bool, bool, bool, int, int]] = []
    for each in messages:
        levels = [(True, *level) for level in each.bids] + [(False, *level) for level in each.asks]
        levels = levels or [(True, 0, 0)]
        known_ns = each.ts_ns if each.known_ns is None else each.known_ns
        for number, (is_bid, price, qty) in enumerate(levels, 1):
            is_last = number == len(levels)
            head = (each.ts_ns, known_ns, each.update, each.previous, each.is_snapshot)
            rows.append((*head, is_last, is_bid, price, qty))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 9
    whole = [np.array(columns[place], dtype=np.int64) for place in (0, 1, 2, 3, 7, 8)]
    flags = [np.array(columns[place], dtype=np.bool_) for place in (4, 5, 6)]
    return BookDeltaBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=whole[0],
        known_ns=whole[1],
        update=whole[2],
        previous=whole[3],
        is_snapshot=flags[0],
        is_last=flags[1],
        is_bid=flags[2],
        price_ticks=whole[4],
        qty_steps=whole[5],
    )


@dataclass(frozen=True, kw_only=True)
class Row:
    """The book after a message."""

    ts_ns: int
    known_ns: int
    update: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    is_trusted: bool


@dataclass
class ReferenceBook:
    """The rules of `core.order_book`, told once more."""

    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    is_trusted: bool = False
    has_begun: bool = False
    last: Message | None = None
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("gaps", "crossed", "impossible", "unseeded", "ignored", "repeated"), 0)
    )

    def apply(self, message: Message) -> Row | None:
        """Return the book after the message; None if it was old news."""
        if message.is_snapshot:
            self.bids, self.asks = {}, {}
            self._set(message)
            return self._row(message)
        if not self.is_trusted:
            self.counts["ignored" if self.has_begun else "unseeded"] += 1
            return self._row(message)
        assert self.last is not None
        if message.update <= self.last.update:
            if message.ts_ns <= self.last.ts_ns:
                self.counts["repeated"] += 1
                return None
            self._fail("gaps")
        elif message.previous not in (-1, self.last.update):
            self._fail("gaps")
        else:
            self._set(message)
        return self._row(message)

    def _set(self, message: Message) -> None:
        for side, levels in ((self.bids, message.bids), (self.asks, message.asks)):
            for price, qty in levels:
                if (price, qty) == (0, 0):
                    continue
                if price <= 0 or qty < 0:
                    self._fail("impossible")
                    return
                if qty == 0:
                    side.pop(price, None)
                else:
                    side[price] = qty
        self.is_trusted = self.has_begun = True
        self.last = message
        if self.bids and self.asks and max(self.bids) >= min(self.asks):
            self._fail("crossed")

    def _fail(self, cause: str) -> None:
        self.counts[cause] += 1
        self.is_trusted, self.has_begun = False, True
        self.bids, self.asks = {}, {}

    def _row(self, message: Message) -> Row:
        return Row(
            ts_ns=message.ts_ns,
            known_ns=message.ts_ns if message.known_ns is None else message.known_ns,
            update=message.update,
            bids=sorted(self.bids.items(), reverse=True),
            asks=sorted(self.asks.items()),
            is_trusted=self.is_trusted,
        )


def books_of(rows: Sequence[Row], *, depth: int, instrument: Instrument = INSTRUMENT) -> BookBatch:
    """Return rows as a batch of so many levels."""

    def side(name: str, place: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        filled = [[*(level[place] for level in getattr(row, name)), *[0] * depth][:depth] for row in rows]
        return np.array(filled, dtype=np.int64).reshape(len(rows), depth)

    return BookBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=np.array([row.ts_ns for row in rows], dtype=np.int64),
        known_ns=np.array([row.known_ns for row in rows], dtype=np.int64),
        update=np.array([row.update for row in rows], dtype=np.int64),
        bid_ticks=side("bids", 0),
        bid_steps=side("bids", 1),
        ask_ticks=side("asks", 0),
        ask_steps=side("asks", 1),
        is_trusted=np.array([row.is_trusted for row in rows], dtype=np.bool_),
    )


def is_known(row: Row) -> bool:
    """Return whether a row is trusted and has two sides."""
    return row.is_trusted and bool(row.bids) and bool(row.asks)


def mid_of(row: Row) -> Fraction:
    """Return the middle of a row's best prices, in ticks."""
    return Fraction(row.bids[0][0] + row.asks[0][0], 2)


def spread_bps_of(row: Row) -> Fraction:
    """Return a row's spread."""
    return 10_000 * (row.asks[0][0] - row.bids[0][0]) / mid_of(row)


def imbalance_of(row: Row, levels: int) -> Fraction:
    """Return a row's imbalance."""
    bids, asks = (sum(qty for _, qty in side[:levels]) for side in (row.bids, row.asks))
    return Fraction(bids - asks, bids + asks)


def pressure_of(row: Row, levels: int) -> Fraction:
    """Return a row's imbalance, weighted by nearness."""
    mid = mid_of(row)
    bids, asks = (sum(qty / abs(price - mid) for price, qty in side[:levels]) for side in (row.bids, row.asks))
    return Fraction(bids - asks) / (bids + asks)


def slope_of(row: Row, side: Sequence[tuple[int, int]], levels: int) -> Fraction:
    """Return the slope of one side through the origin, in steps per basis point."""
    mid, total = mid_of(row), 0
    products = squares = Fraction(0)
    for price, qty in side[:levels]:
        distance = 10_000 * abs(price - mid) / mid
        total += qty
        products += distance * total
        squares += distance**2
    return products / squares


def flow_of(before: Row, row: Row, level: int) -> int:
    """Return the order-flow imbalance of a level between two rows, in steps."""
    bought = _gain(_level(before.bids, level), _level(row.bids, level), 1)
    sold = _gain(_level(before.asks, level), _level(row.asks, level), -1)
    return bought - sold


def _level(side: Sequence[tuple[int, int]], level: int) -> tuple[int, int] | None:
    return side[level] if level < len(side) else None


def _gain(before: tuple[int, int] | None, after: tuple[int, int] | None, better: int) -> int:
    """Return what was added to a level: all of it where it moved to a better price, minus the old where to a worse."""
    if before is None or after is None:
        return (after[1] if after else 0) - (before[1] if before else 0)
    if after[0] == before[0]:
        return after[1] - before[1]
    return after[1] if (after[0] - before[0]) * better > 0 else -before[1]


def decimal(ticks: Fraction | int, unit: Decimal) -> float:
    """Return a count of `unit` as a float."""
    return float(Fraction(ticks) * Fraction(unit))
