"""Fold fills into round trips: from flat to flat, one instrument at a time, exact.

A fill that flips the position closes one trip and opens the next; its fee is shared by quantity. What is still open at
the end is a trip too, closed in thought at the last price.
"""

from decimal import Decimal
from typing import Any, Literal

import msgspec
import pandas as pd

from bot.domain.account import ZERO
from bot.domain.orders import StopKind
from bot.report.frames import cause_of, last_marks, rows
from bot.report.run_data import RunData

_QUANTUM = Decimal("1e-12")  # quote currency; as in the ledger's own bookings
TAKEN = frozenset({StopKind.LIQUIDATION.value, StopKind.DELEVERAGING.value})
"""Causes against us, where all others are exits that we had asked the venue to keep."""

_CAUSES = {
    StopKind.TAKE_PROFIT.value: "take profit, kept by the venue",
    StopKind.STOP_LOSS.value: "stop loss, kept by the venue",
    StopKind.TRAILING_STOP.value: "trailing stop, kept by the venue",
    StopKind.LIQUIDATION.value: "LIQUIDATED: the margin no longer covered the position",
    StopKind.DELEVERAGING.value: "DELEVERAGED: reduced by the venue for somebody else's liquidation",
}


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True):
    """A position from flat to flat. Amounts in quote currency, times in ns."""

    instrument: str
    direction: Literal["long", "short"]
    entry_ns: int
    exit_ns: int  # while open: when it was valued
    qty_max: Decimal  # the largest position on the way, unsigned
    entry_value: Decimal  # all that increased the position, at its prices
    entry_price: Decimal  # average
    exit_price: Decimal  # average; while open, the rest counts at the last price
    gross_pnl: Decimal  # at fill prices, before fees and funding
    fees: Decimal  # paid; negative is a rebate
    funding: Decimal  # received; negative is paid
    fill_count: int
    entry_reason: str  # of the decision behind the first fill
    exit_reason: str  # of the decision behind the last fill; empty while open
    is_open: bool
    exit_cause: str = ""  # of the last fill, where the venue made it of its own accord: stop_loss, liquidation...
    is_taken: bool = False  # the venue liquidated or deleveraged some of it

    @property
    def net_pnl(self) -> Decimal:
        """Return what the trip brought after fees and funding."""
        return self.gross_pnl - self.fees + self.funding

    @property
    def return_on_entry(self) -> float:
        """Return the net profit as a fraction of the entry value."""
        return float(self.net_pnl / self.entry_value)

    @property
    def duration_ns(self) -> int:
        """Return how long it was held."""
        return self.exit_ns - self.entry_ns


def fold_round_trips(data: RunData) -> tuple[RoundTrip, ...]:
    """Return all round trips of the run in order of entry. Their net profits add up to the account's."""
    reasons = {int(row.decision_id): str(row.reason) for row in rows(data.decisions)}
    marks = last_marks(data)
    legs: dict[str, list[_Legs]] = {}  # by instrument, in order of time; only the last may be open
    for fill in rows(data.fills):
        reason = _CAUSES.get(cause_of(fill)) or _reason(reasons, fill.decision_id)
        _add_fill(legs.setdefault(str(fill.instrument), []), fill, reason)
    for paid in rows(data.funding):
        if held := legs.get(str(paid.instrument)):
            _holder(held, int(paid.ts_event_ns), paid.position_qty).funding += paid.amount
    trips = [trip.close(marks.get(name)) for name, held in legs.items() for trip in held]
    return tuple(sorted(trips, key=lambda trip: (trip.entry_ns, trip.exit_ns, trip.instrument)))


class _Legs(msgspec.Struct, kw_only=True):
    """A round trip in the making."""

    instrument: str
    sign: int  # +1 long, -1 short
    entry_ns: int
    exit_ns: int
    entry_reason: str
    exit_reason: str
    qty: Decimal = ZERO  # held, unsigned
    qty_max: Decimal = ZERO
    entry_qty: Decimal = ZERO
    entry_value: Decimal = ZERO
    exit_qty: Decimal = ZERO
    exit_value: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    fill_count: int = 0
    exit_cause: str = ""
    is_taken: bool = False

    def enter(self, qty: Decimal, price: Decimal, fee: Decimal) -> None:
        self.qty += qty
        self.qty_max = max(self.qty_max, self.qty)
        self.entry_qty += qty
        self.entry_value += qty * price
        self.fees += fee
        self.fill_count += 1

    def leave(self, qty: Decimal, price: Decimal, fee: Decimal) -> None:
        self.qty -= qty
        self.exit_qty += qty
        self.exit_value += qty * price
        self.fees += fee
        self.fill_count += 1

    def close(self, mark: tuple[int, Decimal] | None) -> RoundTrip:
        is_open = self.qty > 0
        mark_ns, mark_price = mark or (self.exit_ns, self.entry_value / self.entry_qty)
        exit_value = self.exit_value + self.qty * mark_price
        return RoundTrip(
            instrument=self.instrument,
            direction="long" if self.sign > 0 else "short",
            entry_ns=self.entry_ns,
            exit_ns=max(mark_ns, self.exit_ns) if is_open else self.exit_ns,
            qty_max=self.qty_max,
            entry_value=self.entry_value,
            entry_price=self.entry_value / self.entry_qty,
            exit_price=exit_value / self.entry_qty,
            gross_pnl=self.sign * (exit_value - self.entry_value),
            fees=self.fees,
            funding=self.funding,
            fill_count=self.fill_count,
            entry_reason=self.entry_reason,
            exit_reason="" if is_open else self.exit_reason,
            is_open=is_open,
            exit_cause="" if is_open else self.exit_cause,
            is_taken=self.is_taken,
        )


def _add_fill(held: list[_Legs], fill: Any, reason: str) -> None:
    sign = 1 if fill.side == "buy" else -1
    qty, fee, ts_ns = fill.qty, fill.fee, int(fill.ts_event_ns)
    current = held[-1] if held and held[-1].qty else None
    if current is not None and current.sign != sign:
        closing = min(qty, current.qty)
        closing_fee = fee if closing == qty else (fee * closing / qty).quantize(_QUANTUM)
        current.leave(closing, fill.price, closing_fee)
        current.exit_ns, current.exit_reason, current.exit_cause = ts_ns, reason, cause_of(fill)
        current.is_taken = current.is_taken or current.exit_cause in TAKEN
        qty, fee, current = qty - closing, fee - closing_fee, None
    if not qty:
        return
    if current is None:
        current = _Legs(
            instrument=str(fill.instrument),
            sign=sign,
            entry_ns=ts_ns,
            exit_ns=ts_ns,
            entry_reason=reason,
            exit_reason=reason,
        )
        held.append(current)
    current.enter(qty, fill.price, fee)


def _holder(held: list[_Legs], ts_ns: int, position_qty: Decimal) -> _Legs:
    """Return the trip that a funding settlement belongs to: the newest one begun by then.

    At the very instant of a flip, the position that was settled tells which of the two.
    """
    started = [trip for trip in held if trip.entry_ns <= ts_ns] or held[:1]
    newest = started[-1]
    if len(started) > 1 and newest.entry_ns == ts_ns and newest.sign * position_qty < 0:
        return started[-2]
    return newest


def _reason(reasons: dict[int, str], decision_id: Any) -> str:
    return "" if pd.isna(decision_id) else reasons.get(int(decision_id), "")
