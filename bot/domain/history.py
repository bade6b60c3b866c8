"""What an operator asks a ledger about the past: amounts in quote currency, times in ns since the epoch, UTC."""

from decimal import Decimal

import msgspec


class PastTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A position from flat to flat."""

    instrument: str
    direction: str  # long, short
    opened_ns: int
    closed_ns: int
    qty: Decimal  # all that was entered, base currency
    entry_price: Decimal  # average
    exit_price: Decimal  # average
    realized_pnl: Decimal  # before fees and funding
    fees: Decimal  # paid; negative is a rebate
    funding: Decimal  # received; negative is paid
    cause: str = ""  # of the last fill, where the venue made it by itself: stop_loss, liquidation...

    @property
    def net_pnl(self) -> Decimal:
        """Return what it brought after fees and funding."""
        return self.realized_pnl - self.fees + self.funding


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a stretch of time, an instrument or a whole ledger brought, by when it was booked."""

    name: str  # an instrument, or "" for all
    start_ns: int  # of the stretch; of a ledger or an instrument, its first booking, 0 without any
    realized_pnl: Decimal  # before fees and funding
    fees: Decimal
    funding: Decimal
    fills: int
    trades: int  # round trips that ended
    wins: int  # of them, with a profit after fees and funding
    volume: Decimal  # value that changed hands

    @property
    def net_pnl(self) -> Decimal:
        """Return the sum after fees and funding."""
        return self.realized_pnl - self.fees + self.funding


class PastOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order, as it is now."""

    client_order_id: str
    intended_ns: int
    instrument: str
    side: str
    order_type: str
    qty: Decimal
    filled_qty: Decimal
    limit_price: Decimal | None
    status: str


class EquityPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The account at one moment."""

    ts_ns: int
    equity: Decimal
