"""What the venue's books hold of one account."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from bot.core.venue.books import AccountOrders
from bot.core.venue.contract import Contract
from bot.core.venue.facts import PositionIndex, Transaction, VenueOrder
from bot.domain.account import ZERO, Position
from bot.domain.errors import ConfigError, InvariantBroken

PositionKey = tuple[str, int]  # instrument, position index

LEVERAGE = Decimal(10)  # what the venue starts an instrument with


class CoinTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a coin counts for as collateral."""

    usd_price: Decimal = Decimal(1)
    collateral_rate: Decimal = Decimal(1)  # the fraction of its value that counts; what is owed counts in full


NO_COLLATERAL = CoinTerms(collateral_rate=ZERO)


@dataclass(kw_only=True)
class AccountState:
    """The account's books; whoever changes them is `VenueAccount` alone."""

    contracts: Mapping[str, Contract]
    coins: dict[str, CoinTerms]
    balances: dict[str, Decimal] = field(default_factory=dict)  # by coin
    insurance: dict[str, Decimal] = field(default_factory=dict)  # by coin: received from the fund, less given to it
    marks: dict[str, Decimal] = field(default_factory=dict)
    leverage: dict[str, Decimal] = field(default_factory=dict)
    hedged: set[str] = field(default_factory=set)  # instruments in hedge mode
    positions: dict[PositionKey, Position] = field(default_factory=dict)
    orders: AccountOrders = field(default_factory=AccountOrders)
    transactions: list[Transaction] = field(default_factory=list)

    def held(self) -> list[PositionKey]:
        """Return the positions that are not flat, in a fixed order."""
        held = [key for key, position in self.positions.items() if position.qty]
        return sorted(held) if len(held) > 1 else held

    def qty(self, key: PositionKey) -> Decimal:
        """Return a position's signed quantity."""
        position = self.positions.get(key)
        return ZERO if position is None else position.qty

    def orders_of(self, key: PositionKey) -> list[VenueOrder]:
        """Return the orders of a position, oldest first."""
        return [order for order in self.orders.values() if (order.instrument, order.position_index) == key]

    def is_hedged(self, key: PositionKey) -> bool:
        """Return whether the position is one side of a hedge."""
        return key[1] != PositionIndex.ONE_WAY

    def terms(self, coin: str) -> CoinTerms:
        """Return what the coin counts for: nothing, unless it was named as collateral."""
        return self.coins.get(coin, NO_COLLATERAL)

    def mark(self, instrument: str) -> Decimal:
        """Return the mark price.

        Raises:
            InvariantBroken: nobody has set it.
        """
        mark = self.marks.get(instrument)
        if mark is None:
            raise InvariantBroken(f"{instrument}: the account needs a mark price first")
        return mark


def open_state(contracts: Iterable[Contract], coins: Mapping[str, CoinTerms] | None) -> AccountState:
    """Return empty books.

    Raises:
        ConfigError: two contracts of one name, or a perpetual that settles in a coin that is no collateral.
    """
    by_name: dict[str, Contract] = {}
    for contract in contracts:
        if contract.name in by_name:
            raise ConfigError(f"two contracts are called {contract.name}; give the spot pair a name of its own")
        by_name[contract.name] = contract
    linear = [contract for contract in by_name.values() if contract.kind == "linear"]
    terms = dict(coins) if coins is not None else {contract.settle_coin: CoinTerms() for contract in linear}
    for contract in linear:
        if terms.get(contract.settle_coin, NO_COLLATERAL).collateral_rate <= 0:
            raise ConfigError(f"{contract.name} settles in {contract.settle_coin}: name it among the collateral coins")
    for coin, term in terms.items():
        if not (term.usd_price > 0 and 0 <= term.collateral_rate <= 1):
            raise ConfigError(f"{coin}: its price must be positive and its collateral rate a fraction")
    leverage = {contract.name: min(LEVERAGE, contract.leverage_max) for contract in linear}
    return AccountState(contracts=by_name, coins=terms, leverage=leverage)
