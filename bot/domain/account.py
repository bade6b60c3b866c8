"""Money: double-entry postings, and a position as the sum of its fills."""

from decimal import Decimal

import msgspec

ZERO = Decimal(0)


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a booking. The legs of a booking sum to zero per currency."""

    account: str  # cash, fees, funding, realized_pnl, equity
    currency: str
    amount: Decimal


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What is held of one instrument, and what it has earned so far. Amounts in quote currency."""

    instrument: str
    qty: Decimal = ZERO  # signed
    entry_value: Decimal = ZERO  # signed: what the open quantity cost; qty times the average entry price
    realized_pnl: Decimal = ZERO  # of the closed quantity, before fees
    fees: Decimal = ZERO  # paid; negative is a rebate
    funding: Decimal = ZERO  # received; negative is paid

    @property
    def entry_price(self) -> Decimal | None:
        """Return the average entry price, None when flat."""
        return self.entry_value / self.qty if self.qty else None

    def unrealized_pnl(self, mark: Decimal) -> Decimal:
        """Return the open quantity's profit at price `mark`."""
        return self.qty * mark - self.entry_value
