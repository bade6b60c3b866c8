"""Positions, PnL, fees and funding as a fold over fills; every booking in double entry.

A linear perpetual moves cash only by fees, funding and realized PnL. Closing a part of a position realizes that part
of its entry value, to `_QUANTUM`; what rounding leaves stays in the open part, so nothing is ever lost.
"""

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from bot.domain.account import ZERO, Position, Posting
from bot.domain.instrument import Instrument, Side
from bot.domain.orders import CashAdjusted, ForeignFilled, FundingPaid, OrderFilled, PositionCut, Transferred

_QUANTUM = Decimal("1e-12")  # quote currency


def apply_fill(position: Position, *, side: Side, price: Decimal, qty: Decimal, fee: Decimal) -> Position:
    """Return the position after one execution of `qty` > 0."""
    signed = qty if side is Side.BUY else -qty
    value = signed * price
    closing = min(qty, abs(position.qty)) if position.qty * signed < 0 else ZERO
    if not closing:
        return replace(
            position, qty=position.qty + signed, entry_value=position.entry_value + value, fees=position.fees + fee
        )
    closed_value = position.entry_value  # all of it, exactly, when nothing stays open
    if closing != abs(position.qty):
        closed_value = (position.entry_value * closing / abs(position.qty)).quantize(_QUANTUM)
    exit_value = price * closing.copy_sign(position.qty)
    opened = qty - closing
    return replace(
        position,
        qty=position.qty + signed,
        entry_value=position.entry_value - closed_value + opened.copy_sign(signed) * price,
        realized_pnl=position.realized_pnl + exit_value - closed_value,
        fees=position.fees + fee,
    )


class Portfolio:
    """The account of one run: cash, and a position for each instrument."""

    def __init__(self, instruments: Mapping[str, Instrument], cash_currency: str) -> None:
        self._currency = cash_currency
        self.cash = ZERO
        self.positions = {name: Position(instrument=name) for name in instruments}

    def deposit(self, amount: Decimal) -> tuple[Posting, ...]:
        """Book cash from outside and return the postings."""
        self.cash += amount
        return self._book("equity", -amount)

    def fill(self, fill: OrderFilled | PositionCut | ForeignFilled) -> tuple[Decimal, tuple[Posting, ...]]:
        """Book an execution; return what it realized before fees, and the postings."""
        before = self.positions[fill.instrument]
        after = apply_fill(before, side=fill.side, price=fill.price, qty=fill.qty, fee=fill.fee)
        self.positions[fill.instrument] = after
        realized = after.realized_pnl - before.realized_pnl
        self.cash += realized - fill.fee
        postings = self._book("fees", fill.fee)
        return realized, postings + self._book("realized_pnl", -realized) if realized else postings

    def funding(self, paid: FundingPaid) -> tuple[Posting, ...]:
        """Book a funding settlement and return the postings."""
        before = self.positions[paid.instrument]
        self.positions[paid.instrument] = replace(before, funding=before.funding + paid.amount)
        self.cash += paid.amount
        return self._book("funding", -paid.amount)

    def adjust(self, adjusted: CashAdjusted) -> tuple[Posting, ...]:
        """Book what the venue's fund paid or took, and return the postings."""
        self.cash += adjusted.amount
        return self._book("insurance", -adjusted.amount)

    def transfer(self, made: Transferred) -> tuple[Posting, ...]:
        """Book cash that came from outside or went there, and return the postings."""
        self.cash += made.amount
        return self._book("transfers", -made.amount)

    def unrealized_pnl(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return the open positions' profit at `marks`, which must name every instrument held."""
        return sum((p.unrealized_pnl(marks[n]) for n, p in self.positions.items() if p.qty), ZERO)

    def _book(self, account: str, amount: Decimal) -> tuple[Posting, ...]:
        """Return the legs of moving `amount` from cash to `account`."""
        return (
            Posting(account=account, currency=self._currency, amount=amount),
            Posting(account="cash", currency=self._currency, amount=-amount),
        )
