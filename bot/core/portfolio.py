"""Positions, PnL, fees and funding as a fold over fills; every booking in double entry.

A linear perpetual moves cash only by fees, funding and realized PnL. Closing a part of a position realizes that part
of its entry value, to `_QUANTUM`; what rounding leaves stays in the open part, so nothing is ever lost.
"""

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from bot.domain.account import ZERO, Position, Posting
from bot.domain.instrument import Instrument, Side
from bot.domain.orders import (
    CashAdjusted,
    FeePaid,
    ForeignFilled,
    FundingPaid,
    OrderFilled,
    PositionCut,
    Transferred,
)

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


def apply_fee(position: Position, paid: FeePaid, instrument: Instrument) -> Position:
    """Return the position after a fee in another coin: smaller where that is the coin itself, else as it was."""
    if not is_of_position(paid, instrument):
        return position
    side = Side.SELL if paid.amount > 0 else Side.BUY
    qty = abs(paid.amount)
    return apply_fill(position, side=side, price=paid.price, qty=qty, fee=paid.amount * paid.price)


def is_of_position(paid: FeePaid, instrument: Instrument) -> bool:
    """Return whether a fee was taken out of what the position holds: a spot buy pays in the coin that it brings."""
    return instrument.kind == "spot" and paid.currency == instrument.base


class Portfolio:
    """The account of one run: cash, a position for each instrument, and other coins.

    Attributes:
        currency: the quote currency, the account's own.
        cash: quote currency; of a spot pair as if it were margined, so the coins that it holds have not been paid for:
            see `owned`.
        coins: by currency, what is held or owed of others than the quote currency beside the positions.
    """

    def __init__(self, instruments: Mapping[str, Instrument], cash_currency: str) -> None:
        self.currency = cash_currency
        self._instruments = dict(instruments)
        self.cash = ZERO
        self.coins: dict[str, Decimal] = {}
        self.positions = {name: Position(instrument=name) for name in instruments}

    def deposit(self, amount: Decimal) -> tuple[Posting, ...]:
        """Book cash from outside and return the postings."""
        self.cash += amount
        return self._book("equity", -amount)

    def deposit_coins(self, coins: Mapping[str, Decimal]) -> tuple[Posting, ...]:
        """Book what the account owns of other coins when the books begin, and return the postings."""
        postings: list[Posting] = []
        for currency, amount in sorted(coins.items()):
            postings += self._book_coin(currency, "equity", -amount)
        return tuple(postings)

    def owned(self) -> dict[str, Decimal]:
        """Return what the venue's wallet should hold, by currency: spot positions are coins, and are paid for."""
        owned = dict(self.coins)
        owned[self.currency] = owned.get(self.currency, ZERO) + self.cash
        for name, position in self.positions.items():
            instrument = self._instruments[name]
            if instrument.kind == "spot":
                owned[instrument.base] = owned.get(instrument.base, ZERO) + position.qty
                owned[self.currency] -= position.entry_value
        return owned

    def fee(self, paid: FeePaid) -> tuple[Decimal | None, Decimal, tuple[Posting, ...]]:
        """Book a fee in another coin; return its value in quote currency, what it realized, and the postings."""
        instrument, before = self._instruments[paid.instrument], self.positions[paid.instrument]
        if not is_of_position(paid, instrument):
            return None, ZERO, self._book_coin(paid.currency, "fees", paid.amount)
        after = self.positions[paid.instrument] = apply_fee(before, paid, instrument)
        value, realized = after.fees - before.fees, after.realized_pnl - before.realized_pnl
        self.cash += realized - value
        postings = self._book("fees", value)
        return value, realized, postings + self._book("realized_pnl", -realized) if realized else postings

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
        """Book what came from outside or went there, and return the postings."""
        if made.currency not in ("", self.currency):
            return self._book_coin(made.currency, "transfers", -made.amount)
        self.cash += made.amount
        return self._book("transfers", -made.amount)

    def unrealized_pnl(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return the open positions' profit at `marks`, which must name every instrument held."""
        return sum((p.unrealized_pnl(marks[n]) for n, p in self.positions.items() if p.qty), ZERO)

    def _book_coin(self, currency: str, account: str, amount: Decimal) -> tuple[Posting, ...]:
        """Move `amount` of a coin to `account`, and return the legs."""
        self.coins[currency] = self.coins.get(currency, ZERO) - amount
        return (
            Posting(account=account, currency=currency, amount=amount),
            Posting(account="coins", currency=currency, amount=-amount),
        )

    def _book(self, account: str, amount: Decimal) -> tuple[Posting, ...]:
        """Return the legs of moving `amount` from cash to `account`."""
        return (
            Posting(account=account, currency=self.currency, amount=amount),
            Posting(account="cash", currency=self.currency, amount=-amount),
        )
