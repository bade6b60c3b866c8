"""Folds a ledger's fills and funding into results: by day, by instrument, and from flat to flat.

A scan: however the bookings are cut into portions, the results are the same. What it remembers is bounded by the days
and instruments there are, and by how many of the last trades are kept.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import msgspec

from bot.domain.history import PastTrade, Result

Unit = Literal["day", "week", "month"]

_ZERO = Decimal(0)
_DAY_NS = 86_400_000_000_000
_QUANTUM = Decimal("1e-12")  # quote currency, as in the ledger's own bookings


class BookedFill(msgspec.Struct, frozen=True, kw_only=True):
    """An execution, as booked."""

    seq: int
    ts_ns: int
    instrument: str
    side: str  # buy, sell
    price: Decimal
    qty: Decimal
    fee: Decimal
    position_qty: Decimal  # after it, signed
    realized_pnl: Decimal  # of this execution, before fees
    cause: str = ""


class BookedFunding(msgspec.Struct, frozen=True, kw_only=True):
    """A funding settlement, as booked."""

    seq: int
    ts_ns: int
    instrument: str
    amount: Decimal  # received; negative is paid


class _Sum(msgspec.Struct):
    start_ns: int = 0
    realized_pnl: Decimal = _ZERO
    fees: Decimal = _ZERO
    funding: Decimal = _ZERO
    fills: int = 0
    trades: int = 0
    wins: int = 0
    volume: Decimal = _ZERO

    def add(self, other: "_Sum") -> None:
        self.realized_pnl += other.realized_pnl
        self.fees += other.fees
        self.funding += other.funding
        self.fills += other.fills
        self.trades += other.trades
        self.wins += other.wins
        self.volume += other.volume

    def result(self, name: str, start_ns: int) -> Result:
        return Result(
            name=name,
            start_ns=start_ns,
            realized_pnl=self.realized_pnl,
            fees=self.fees,
            funding=self.funding,
            fills=self.fills,
            trades=self.trades,
            wins=self.wins,
            volume=self.volume,
        )


class _Trip(msgspec.Struct):
    """A round trip in the making."""

    opened_ns: int
    is_long: bool
    entry_qty: Decimal = _ZERO
    entry_value: Decimal = _ZERO
    exit_qty: Decimal = _ZERO
    exit_value: Decimal = _ZERO
    realized_pnl: Decimal = _ZERO
    fees: Decimal = _ZERO
    funding: Decimal = _ZERO

    def closed(self, fill: BookedFill) -> PastTrade:
        return PastTrade(
            instrument=fill.instrument,
            direction="long" if self.is_long else "short",
            opened_ns=self.opened_ns,
            closed_ns=fill.ts_ns,
            qty=self.entry_qty,
            entry_price=_price(self.entry_value, self.entry_qty),
            exit_price=_price(self.exit_value, self.exit_qty),
            realized_pnl=self.realized_pnl,
            fees=self.fees,
            funding=self.funding,
            cause=fill.cause,
        )


class PastTrades:
    """The fold.

    Args:
        trades_max: how many of the last trades are kept; sums count them all.
    """

    def __init__(self, trades_max: int = 1_000) -> None:
        self.seq = 0  # the last booking that is in it
        self._days: dict[int, _Sum] = {}
        self._names: dict[str, _Sum] = {}
        self._trips: dict[str, _Trip] = {}
        self._trades: deque[PastTrade] = deque(maxlen=trades_max)

    def add(self, bookings: Iterable[BookedFill | BookedFunding]) -> None:
        """Take the next bookings, in the ledger's order; what has been taken already is passed over."""
        for booking in bookings:
            if booking.seq <= self.seq:
                continue
            self.seq = booking.seq
            if isinstance(booking, BookedFill):
                self._add_fill(booking)
            else:
                self._add_funding(booking)

    def total(self) -> Result:
        """Return what everything brought."""
        whole = _Sum()
        for each in self._names.values():
            whole.add(each)
        starts = [each.start_ns for each in self._names.values()]
        return whole.result("", min(starts, default=0))

    def by_instrument(self) -> tuple[Result, ...]:
        """Return what each instrument brought, the best first."""
        results = [each.result(name, each.start_ns) for name, each in self._names.items()]
        return tuple(sorted(results, key=lambda result: (-result.net_pnl, result.name)))

    def periods(self, unit: Unit, count: int, now_ns: int) -> tuple[Result, ...]:
        """Return what the last `count` days, weeks (from Monday) or months brought, the one that runs last; UTC."""
        starts: list[int] = []
        start = _start_of(unit, now_ns // _DAY_NS)
        for _ in range(count):
            starts.append(start)
            start = _start_of(unit, start - 1)
        sums = {start: _Sum() for start in reversed(starts)}
        for day, each in self._days.items():
            if (held := sums.get(_start_of(unit, day))) is not None:
                held.add(each)
        return tuple(held.result("", start * _DAY_NS) for start, held in sums.items())

    def trades(self, count: int) -> tuple[PastTrade, ...]:
        """Return the last trades, the newest first."""
        return tuple(_first(reversed(self._trades), count))

    def _add_fill(self, fill: BookedFill) -> None:
        booked = _Sum(realized_pnl=fill.realized_pnl, fees=fill.fee, fills=1, volume=fill.price * fill.qty)
        self._book(fill.instrument, fill.ts_ns, booked)
        signed = fill.qty if fill.side == "buy" else -fill.qty
        before = fill.position_qty - signed
        closing = min(abs(before), fill.qty) if before * signed < 0 else _ZERO
        opening = fill.qty - closing
        # A fill that turns the position around ends one trip and begins the next; its fee is shared by quantity.
        closing_fee = (fill.fee * closing / fill.qty).quantize(_QUANTUM) if opening else fill.fee
        trip = self._trips.get(fill.instrument)
        if closing and trip is not None:
            trip.exit_qty += closing
            trip.exit_value += closing * fill.price
            trip.realized_pnl += fill.realized_pnl
            trip.fees += closing_fee
            if abs(before) == closing:
                del self._trips[fill.instrument]
                self._end(trip.closed(fill))
        if opening:
            trip = self._trips.setdefault(fill.instrument, _Trip(opened_ns=fill.ts_ns, is_long=signed > 0))
            trip.entry_qty += opening
            trip.entry_value += opening * fill.price
            trip.fees += fill.fee - closing_fee if closing else fill.fee

    def _add_funding(self, paid: BookedFunding) -> None:
        self._book(paid.instrument, paid.ts_ns, _Sum(funding=paid.amount))
        if (trip := self._trips.get(paid.instrument)) is not None:
            trip.funding += paid.amount

    def _end(self, trade: PastTrade) -> None:
        self._trades.append(trade)
        self._book(trade.instrument, trade.closed_ns, _Sum(trades=1, wins=int(trade.net_pnl > 0)))

    def _book(self, instrument: str, ts_ns: int, booked: _Sum) -> None:
        self._days.setdefault(ts_ns // _DAY_NS, _Sum()).add(booked)
        self._names.setdefault(instrument, _Sum(start_ns=ts_ns)).add(booked)


def _start_of(unit: Unit, day: int) -> int:
    """Return the first day of the day's week or month; days since the epoch."""
    match unit:
        case "day":
            return day
        case "week":
            return day - (day + 3) % 7  # the epoch was a Thursday
        case "month":
            return day - (datetime.fromtimestamp(day * 86_400, UTC).day - 1)


def _price(value: Decimal, qty: Decimal) -> Decimal:
    return (value / qty).quantize(_QUANTUM).normalize() if qty else _ZERO


def _first(items: Iterator[PastTrade], count: int) -> Iterator[PastTrade]:
    for _, item in zip(range(count), items, strict=False):
        yield item
