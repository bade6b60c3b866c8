"""Holds our bookings against the lines of the venue's own ledger, one by one.

What the venue booked and we did not is found out and booked; whatever else differs is either explained or named. The
venue tells `change` = cash flow + funding - fee of each line; ours is reckoned from the entry by the same rule: a
perpetual moves cash by profit and fee, a spot pair moves both of its coins.

Source: Bybit V5, transaction log; chapter 13 of the protocol's description.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from bot.domain.account import ZERO
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import (
    ExternalFillBooked,
    FeeBooked,
    FillBooked,
    FundingBooked,
    LedgerBalanced,
    LedgerEntry,
    PositionCutBooked,
    TransferBooked,
)
from bot.domain.orders import ForeignFilled, OrderFilled, PositionCut
from bot.domain.venue_records import BookingRecord

_MS = 1_000_000
_TOLERANCE = Decimal("1e-6")  # what the venue rounds a booking to, or a settlement
_SAME_MS = 2_000  # how far an execution's two times may lie apart
_FUNDING_MS = 60_000  # how far a settlement's two times may lie apart
FUNDING = "SETTLEMENT"
"""The venue's word for a payment of funding."""

_SAID_MAX = 200  # lines of one report

_Key = tuple[str, str, str]  # instrument, the venue's id of the execution, currency


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a booking changed of one currency."""

    what: str
    instrument: str
    key: str  # the venue's id: of the execution, the settlement, the transfer
    currency: str
    change: Decimal
    fee: Decimal = ZERO
    ts_ms: int  # the venue's clock


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What holding the two against each other has found."""

    from_ms: int
    to_ms: int
    lines: int
    matched: int
    sums: tuple[tuple[str, Decimal, Decimal], ...]  # by currency, what changed: ours, theirs
    explained: tuple[str, ...]
    differences: tuple[str, ...]
    missing: tuple[BookingRecord, ...]  # executions that are not booked here
    unbooked: tuple[BookingRecord, ...]  # lines that no execution explains, not booked here

    @property
    def is_whole(self) -> bool:
        """Return whether every line is accounted for."""
        return not (self.differences or self.missing or self.unbooked)

    def entry(self, now_ns: int, *, explained: Sequence[str] = ()) -> LedgerBalanced:
        """Return what the ledger keeps of it, once the lines of no execution are booked."""
        sums = {coin: (ours, theirs) for coin, ours, theirs in self.sums}
        for booking in self.unbooked:
            if self.from_ms <= booking.booked_ms < self.to_ms:
                ours, theirs = sums[booking.currency]
                sums[booking.currency] = ours + booking.change, theirs
        missing = [f"{told(booking)} is not booked here" for booking in self.missing]
        return LedgerBalanced(
            ts_ns=now_ns,
            from_ms=self.from_ms,
            to_ms=self.to_ms,
            lines=self.lines,
            matched=self.matched,
            sums=tuple((coin, *amounts) for coin, amounts in sums.items()),
            explained=_first((*explained, *self.explained)),
            differences=_first((*self.differences, *missing)),
        )


def told(booking: BookingRecord) -> str:
    """Return a line of the venue's in words."""
    about = " of ".join(filter(None, (f"{booking.kind} {booking.trade_id}".strip(), booking.instrument)))
    return f"{about}, {booking.change:f} {booking.currency}"


def transfer_id(booking: BookingRecord) -> str:
    """Return what tells a line of no execution from all others: the venue's own id may stand on several."""
    words = (booking.booking_id, booking.kind, booking.currency, booking.change, booking.balance, booking.booked_ms)
    return f"log-{hashlib.blake2b('|'.join(map(str, words)).encode(), digest_size=12).hexdigest()}"


def lines_of(
    entries: Iterable[LedgerEntry], instruments: Mapping[str, Instrument], currency: str
) -> tuple[dict[_Key, Line], list[Line], dict[str, Line]]:
    """Return what our entries changed: executions by their key, settlements, and transfers by their id.

    Args:
        entries: in any order.
        instruments: by name; of one that is not among them the entries are of a perpetual.
        currency: the account's.
    """
    executions: dict[_Key, Line] = {}
    settlements: list[Line] = []
    transfers: dict[str, Line] = {}

    def add(fill: OrderFilled | PositionCut | ForeignFilled, coin: str, change: Decimal, fee: Decimal) -> None:
        key = (fill.instrument, fill.trade_id, coin)
        before = executions.get(key)
        executions[key] = Line(
            what="execution",
            instrument=fill.instrument,
            key=fill.trade_id,
            currency=coin,
            change=change + (ZERO if before is None else before.change),
            fee=fee + (ZERO if before is None else before.fee),
            ts_ms=fill.ts_event_ns // _MS,
        )

    for entry in entries:
        match entry:
            case FillBooked(fill=fill) | ExternalFillBooked(fill=fill) | PositionCutBooked(cut=fill):
                known = instruments.get(fill.instrument)
                if known is None or known.kind != "spot":
                    add(fill, currency, entry.realized_pnl - fill.fee, fill.fee)
                else:
                    signed = fill.qty if fill.side is Side.BUY else -fill.qty
                    add(fill, known.quote, -signed * fill.price - fill.fee, fill.fee)
                    add(fill, known.base, signed, ZERO)
            case FeeBooked(fee=paid):
                key = (paid.instrument, paid.trade_id, paid.currency)
                held = executions.get(key)
                executions[key] = Line(
                    what="execution",
                    instrument=paid.instrument,
                    key=paid.trade_id,
                    currency=paid.currency,
                    change=(ZERO if held is None else held.change) - paid.amount,
                    fee=(ZERO if held is None else held.fee) + paid.amount,
                    ts_ms=paid.ts_event_ns // _MS,
                )
            case FundingBooked(funding=funding):
                settlements.append(
                    Line(
                        what="funding",
                        instrument=funding.instrument,
                        key=funding.funding_id,
                        currency=currency,
                        change=funding.amount,
                        ts_ms=funding.ts_event_ns // _MS,
                    )
                )
            case TransferBooked(transfer=made):
                transfers[made.transfer_id] = Line(
                    what=made.kind,
                    instrument="",
                    key=made.transfer_id,
                    currency=made.currency or currency,
                    change=made.amount,
                    ts_ms=made.ts_event_ns // _MS,
                )
            case _:
                pass
    return executions, settlements, transfers


def open_at_end(entries: Iterable[LedgerEntry]) -> frozenset[str]:
    """Return the instruments that the entries leave with a position."""
    held: dict[str, Decimal] = {}
    for entry in entries:
        match entry:
            case FillBooked(fill=fill) | ExternalFillBooked(fill=fill) | PositionCutBooked(cut=fill):
                held[fill.instrument] = entry.position_qty
            case FeeBooked(fee=paid):
                held[paid.instrument] = entry.position_qty
            case _:
                pass
    return frozenset(name for name, qty in held.items() if qty)


def balance(
    bookings: Iterable[BookingRecord],
    entries: Sequence[LedgerEntry],
    *,
    instruments: Mapping[str, Instrument],
    currency: str,
    from_ms: int,
    to_ms: int,
) -> Balance:
    """Hold the venue's lines against our entries.

    Args:
        bookings: the venue's lines, their instruments by our names; those of before and after the span help to match,
            and only what is of no execution is taken of them.
        entries: ours, likewise.
        instruments: by name.
        currency: the account's.
        from_ms, to_ms: the span whose every line must have its match; the venue's clock, its end excluded.
    """
    matching = _Matching(lines_of(entries, instruments, currency), open_at_end(entries), (from_ms, to_ms))
    for booking in sorted(dict.fromkeys(bookings), key=lambda each: each.booked_ms):
        matching.take(booking)
    return matching.end()


def _first(lines: Sequence[str]) -> tuple[str, ...]:
    more = len(lines) - _SAID_MAX
    return tuple(lines) if more <= 0 else (*lines[:_SAID_MAX], f"and {more} more")


class _Matching:
    """Goes through the venue's lines, and crosses off ours."""

    def __init__(
        self,
        ours: tuple[dict[_Key, Line], list[Line], dict[str, Line]],
        held: frozenset[str],
        span: tuple[int, int],
    ) -> None:
        self._executions, self._settlements, self._transfers = ours
        self._held = held
        self._span = span
        self._theirs: dict[_Key, list[BookingRecord]] = {}
        self._nameless: list[BookingRecord] = []  # of executions, but the venue does not say which
        self._sums: dict[str, list[Decimal]] = {}
        self._lines = self._matched = 0
        self._explained: list[str] = []
        self._differences: list[str] = []
        self._missing: list[BookingRecord] = []
        self._unbooked: list[BookingRecord] = []
        self._done: set[_Key] = set()
        self._paid: set[int] = set()  # settlements of ours that are crossed off, by their place

    def take(self, booking: BookingRecord) -> None:
        """Take a line of the venue's; several may tell of one execution."""
        if self._is_judged(booking.booked_ms):
            self._lines += 1
            self._add(booking.currency, ZERO, booking.change)
        if booking.kind == FUNDING:
            self._take_funding(booking)
        elif booking.trade_id:
            key = (booking.instrument, booking.trade_id, booking.currency)
            self._theirs.setdefault(key, []).append(booking)
        elif booking.instrument and booking.qty:
            self._nameless.append(booking)
        elif not booking.change or transfer_id(booking) in self._transfers:
            self._matched += self._is_judged(booking.booked_ms)
        elif booking.booked_ms >= self._span[0]:
            self._unbooked.append(booking)

    def end(self) -> Balance:
        """Return what came of it."""
        split: dict[tuple[str, str], list[tuple[str, Decimal]]] = {}
        for key, lines in self._theirs.items():
            ours, last = self._executions.get(key), lines[-1]
            if ours is None:
                if self._is_judged(last.booked_ms) and any(line.change for line in lines):
                    self._missing.append(last)
                continue
            self._done.add(key)
            change, fee = sum((line.change for line in lines), ZERO), sum((line.fee for line in lines), ZERO)
            judged = sum(self._is_judged(line.booked_ms) for line in lines)
            if not judged:
                continue
            about = f"{last.kind} {last.trade_id} of {last.instrument}"
            if abs(fee - ours.fee) > _TOLERANCE:
                text = f"{about}: a fee of {fee:f} {last.currency} there, {ours.fee:f} here"
                self._differences.append(text)
            elif abs(change - ours.change) > _TOLERANCE:
                text = f"{about}: {change:f} {last.currency} there, {ours.change:f} here"
                split.setdefault((last.instrument, last.currency), []).append((text, change - ours.change))
            else:
                self._matched += judged
        for (instrument, _), found in split.items():
            self._judge_split(instrument, found)
        for booking in self._nameless:
            self._judge_nameless(booking)
        self._judge_ours()
        sums = tuple((coin, *amounts) for coin, amounts in sorted(self._sums.items()))
        return Balance(
            from_ms=self._span[0],
            to_ms=self._span[1],
            lines=self._lines,
            matched=self._matched,
            sums=sums,  # type: ignore[arg-type]  # two of them each
            explained=tuple(self._explained),
            differences=tuple(self._differences),
            missing=tuple(self._missing),
            unbooked=tuple(self._unbooked),
        )

    def _take_funding(self, booking: BookingRecord) -> None:
        """Cross off a settlement: by its id where both have it, else by instrument, amount and time."""
        found = None
        for place, ours in enumerate(self._settlements):
            if place in self._paid or ours.instrument != booking.instrument:
                continue
            is_near = abs(ours.ts_ms - booking.booked_ms) <= _FUNDING_MS
            if ours.key == booking.trade_id or (is_near and abs(ours.change - booking.change) <= _TOLERANCE):
                found = place
                break
        if found is not None:
            self._paid.add(found)
            ours = self._settlements[found]
            if abs(ours.change - booking.change) > _TOLERANCE:
                text = f"funding {ours.key} of {ours.instrument}: {booking.change:f} there, {ours.change:f} here"
                self._differences.append(text)
            else:
                self._matched += self._is_judged(booking.booked_ms)
        elif self._is_judged(booking.booked_ms):
            self._missing.append(booking)

    def _judge_nameless(self, booking: BookingRecord) -> None:
        """Cross off the execution that a line without an id must be of: by instrument, amount and time."""
        for key, ours in self._executions.items():
            is_same = (ours.instrument, ours.currency) == (booking.instrument, booking.currency)
            is_near = abs(ours.ts_ms - booking.booked_ms) <= _SAME_MS
            if key not in self._done and is_same and is_near and abs(ours.change - booking.change) <= _TOLERANCE:
                self._done.add(key)
                self._matched += self._is_judged(booking.booked_ms)
                return
        if self._is_judged(booking.booked_ms):
            self._missing.append(booking)

    def _judge_split(self, instrument: str, found: list[tuple[str, Decimal]]) -> None:
        """Judge profits that were reckoned otherwise: which part of a position was closed at which price.

        It depends on the order in which executions were booked, and evens out when all of them are and it is flat.
        """
        total = sum((each for _, each in found), ZERO)
        if abs(total) <= _TOLERANCE:
            why = "booked in another order, which evens out"
        elif instrument in self._held:
            why = "booked in another order; the rest stands in the open position's entry value"
        else:
            self._differences += [text for text, _ in found]
            return
        self._explained += [f"{text}: {why}" for text, _ in found]

    def _judge_ours(self) -> None:
        for key, ours in self._executions.items():
            if self._is_judged(ours.ts_ms):
                self._add(ours.currency, ours.change, ZERO)
                if key not in self._done and ours.change:
                    self._say_alone(ours)
        for place, ours in enumerate(self._settlements):
            if self._is_judged(ours.ts_ms):
                self._add(ours.currency, ours.change, ZERO)
                if place not in self._paid:
                    self._say_alone(ours)
        for ours in self._transfers.values():
            if self._is_judged(ours.ts_ms):
                self._add(ours.currency, ours.change, ZERO)

    def _say_alone(self, ours: Line) -> None:
        about = f"{ours.what} {ours.key} of {ours.instrument}"
        self._differences.append(f"{about}: {ours.change:f} {ours.currency} here, and no line of it there")

    def _is_judged(self, ts_ms: int) -> bool:
        return self._span[0] <= ts_ms < self._span[1]

    def _add(self, currency: str, ours: Decimal, theirs: Decimal) -> None:
        sums = self._sums.setdefault(currency, [ZERO, ZERO])
        sums[0] += ours
        sums[1] += theirs
