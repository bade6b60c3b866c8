"""What goes into the money half's core, and what comes out of it: wishes in, effects out."""

from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from bot.core.order import Order
from bot.domain.ledger import ForecastUsed, LedgerEntry, RiskDenied
from bot.domain.orders import AccountEvent, Action, Command

RISK = "risk"
"""The strategy's name of what the rules do by themselves."""
EXECUTION = "execution"
"""The trigger of what is done for a target after the decision that set it."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy wants, and what it saw when it decided."""

    strategy: str
    trigger: str
    action: Action
    bar_close_ns: int | None
    close_price: Decimal | None
    position_qty: Decimal
    forecast: ForecastUsed | None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy is told of its own orders."""

    order: Order | None  # as it is now; None where the event is not of an order
    event: AccountEvent | RiskDenied | None  # None: the order has just been sent
    strategy: str = ""  # whom to tell, where several trade the account; "": all of them


@dataclass(slots=True)
class Effects:
    """What is to be done, in this order: record and commit, send, publish."""

    record: list[LedgerEntry] = field(default_factory=list)
    send: list[Command] = field(default_factory=list)
    publish: list[Notice] = field(default_factory=list)
