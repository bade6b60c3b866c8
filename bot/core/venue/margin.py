"""How much margin an account has and needs: unified account, cross margin, everything at the mark price.

Each rule that the venue states only in part, or not at all, is one function here, marked *inferred*;
`docs/venue_account.md` lists them.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from bot.core.venue.contract import Contract
from bot.core.venue.facts import PositionIndex, VenueOrder
from bot.core.venue.state import AccountState, PositionKey
from bot.domain.account import ZERO
from bot.domain.instrument import Side

_INFINITY = Decimal("Infinity")


class PositionMargin(msgspec.Struct, frozen=True, kw_only=True):
    """One position at a mark price. Amounts in the settle coin."""

    value: Decimal
    initial: Decimal
    maintenance: Decimal
    unrealized: Decimal


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """The account as a whole. Amounts in USD."""

    balance: Decimal  # collateral and unrealized profit, after what the collateral rates take off
    haircut: Decimal  # what open spot orders would take off it, >= 0
    order_loss: Decimal  # what open orders would lose against the mark price, <= 0
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal

    @property
    def initial(self) -> Decimal:
        """Return the whole initial margin."""
        return self.position_initial + self.order_initial

    @property
    def cover(self) -> Decimal:
        """Return what the margin rates are fractions of."""
        return self.balance - self.haircut + self.order_loss

    @property
    def available(self) -> Decimal:
        """Return the available balance; negative when prices have moved against the account."""
        return self.balance - self.haircut - self.initial

    @property
    def initial_rate(self) -> Decimal:
        """Return the initial margin rate; infinite where nothing covers it."""
        return _rate(self.initial, self.cover)

    @property
    def maintenance_rate(self) -> Decimal:
        """Return the maintenance margin rate; infinite where nothing covers it."""
        return _rate(self.maintenance, self.cover)

    @property
    def excess(self) -> Decimal:
        """Return how far the account is from liquidation."""
        return self.cover - self.maintenance

    @property
    def is_breached(self) -> bool:
        """Return whether the account is to be liquidated: a maintenance margin rate of 100 %, or debts alone."""
        return self.cover < 0 or (self.maintenance > 0 and self.excess <= 0)


def _rate(required: Decimal, cover: Decimal) -> Decimal:
    if required <= 0:
        return ZERO
    return required / cover if cover > 0 else _INFINITY


def close_fee(contract: Contract, *, qty: Decimal, entry_price: Decimal, leverage: Decimal, side: Side) -> Decimal:
    """Return the fee that closing is reckoned to cost, at the price where an isolated position would be bankrupt.

    *Inferred*: cross margin takes the average entry price, as isolated margin does; no rounding.
    """
    bankrupt = entry_price * (1 - side.sign / leverage)
    return qty * bankrupt * contract.fees.taker


def initial_rate(contract: Contract, *, leverage: Decimal, exposure: Decimal) -> Decimal:
    """Return the initial margin rate: that of the leverage, or of the tier where the market moved the position there.

    *Inferred*: orders never get this far, for a tier refuses more leverage than it allows.
    """
    return max(1 / leverage, contract.tier(exposure).initial_rate)


def order_cost(contract: Contract, order: VenueOrder, qty: Decimal, *, leverage: Decimal, rate: Decimal) -> Decimal:
    """Return the margin that opening `qty` of an order takes: initial margin, fee to open, fee to close.

    *Inferred*: at the order's price and the taker rate, whether it will make or take.
    """
    value = order.price * qty
    fee = close_fee(contract, qty=qty, entry_price=order.price, leverage=leverage, side=order.side)
    return value * rate + value * contract.fees.taker + fee


def order_loss(order: VenueOrder, qty: Decimal, mark: Decimal) -> Decimal:
    """Return what `qty` of an order would lose at once if it filled at its price, <= 0.

    *Inferred*: counts for what an order opens; else an order that closes could itself bring the liquidation about.
    """
    return min(ZERO, (mark - order.price) * qty * order.side.sign)


def spot_haircut(state: AccountState, order: VenueOrder) -> Decimal:
    """Return by how much a spot order would lessen the collateral if it filled at its price, USD, >= 0.

    *Inferred*: the fee is left out.
    """
    instrument = state.contracts[order.instrument].instrument
    base, quote = state.terms(instrument.base), state.terms(instrument.quote)
    base_worth = order.qty * base.usd_price * base.collateral_rate
    quote_worth = order.qty * order.price * quote.usd_price * quote.collateral_rate
    return max(ZERO, (quote_worth - base_worth) * order.side.sign)


def closes(key: PositionKey, side: Side) -> bool:
    """Return whether a side of a hedged position can only close it."""
    return (key[1] == PositionIndex.LONG and side is Side.SELL) or (key[1] == PositionIndex.SHORT and side is Side.BUY)


Openings = dict[Side, list[tuple[VenueOrder, Decimal]]]  # by side, what would open and how much of it

_NONE: Openings = {Side.BUY: [], Side.SELL: []}


def openings(state: AccountState, key: PositionKey, orders: Sequence[VenueOrder] | None = None) -> Openings:
    """Return the orders of a position that would open, each with how much of it would.

    *Inferred*: the orders nearest to the market close the position first; reduce-only orders use up none of it.

    Args:
        state: the account.
        key: the position.
        orders: its orders, where they are at hand.
    """
    orders = state.orders_of(key) if orders is None else orders
    if not orders:
        return _NONE
    return {side: _openings_of(state.qty(key), key, side, orders) for side in Side}


def _openings_of(
    position_qty: Decimal, key: PositionKey, side: Side, orders: Sequence[VenueOrder]
) -> list[tuple[VenueOrder, Decimal]]:
    if closes(key, side):
        return []
    closing = max(ZERO, -position_qty * side.sign)
    parts: list[tuple[VenueOrder, Decimal]] = []
    mine = [order for order in orders if order.side is side and not order.reduce_only]
    for order in sorted(mine, key=lambda order: -order.price * side.sign):
        closed = min(closing, order.qty)
        closing -= closed
        if order.qty > closed:
            parts.append((order, order.qty - closed))
    return parts


def exposure(
    state: AccountState, key: PositionKey, marks: Mapping[str, Decimal], opened: Openings | None = None
) -> Decimal:
    """Return the value that picks the tier of leverage and initial margin: the position's and its orders'.

    *Inferred*: of a position and the orders that would turn it round, the larger counts.
    """
    opened = openings(state, key) if opened is None else opened
    position_qty = state.qty(key)
    values = {side: sum((order.price * qty for order, qty in parts), ZERO) for side, parts in opened.items()}
    if position_qty:
        values[Side.BUY if position_qty > 0 else Side.SELL] += abs(position_qty) * marks[key[0]]
    return max(values.values())


def position_margin(
    state: AccountState, key: PositionKey, marks: Mapping[str, Decimal], opened: Openings | None = None
) -> PositionMargin:
    """Return a position's value, margins and unrealized profit.

    *Inferred*: the tier of the maintenance margin is that of the position alone. With orders in it, placing an order
    would lower what the position needs.
    """
    position = state.positions[key]
    entry_price = position.entry_price
    if entry_price is None:
        return PositionMargin(value=ZERO, initial=ZERO, maintenance=ZERO, unrealized=ZERO)
    contract, leverage, mark = state.contracts[key[0]], state.leverage[key[0]], marks[key[0]]
    qty = abs(position.qty)
    value = qty * mark
    side = Side.BUY if position.qty > 0 else Side.SELL
    fee = close_fee(contract, qty=qty, entry_price=entry_price, leverage=leverage, side=side)
    rate = initial_rate(contract, leverage=leverage, exposure=exposure(state, key, marks, opened))
    return PositionMargin(
        value=value,
        initial=value * rate + fee,
        maintenance=contract.maintenance_margin(value) + fee,
        unrealized=position.unrealized_pnl(mark),
    )


def order_margin(
    state: AccountState, key: PositionKey, marks: Mapping[str, Decimal], opened: Openings | None = None
) -> Decimal:
    """Return what the open orders of a position take, settle coin.

    *Inferred*: of buys and sells, which cannot both open, the dearer side; what an order closes takes nothing, and a
    position that orders would turn round frees nothing before it is closed.
    """
    opened = openings(state, key) if opened is None else opened
    contract, leverage = state.contracts[key[0]], state.leverage[key[0]]
    rate = initial_rate(contract, leverage=leverage, exposure=exposure(state, key, marks, opened))
    return max(
        sum((order_cost(contract, order, qty, leverage=leverage, rate=rate) for order, qty in parts), ZERO)
        for parts in opened.values()
    )


def margin_of(state: AccountState, marks: Mapping[str, Decimal] | None = None) -> Margin:
    """Return the account's margin at `marks`, by default the present ones."""
    marks = state.marks if marks is None else marks
    equity = dict(state.balances)
    position_initial = order_initial = maintenance = haircut = loss = ZERO
    orders: dict[PositionKey, list[VenueOrder]] = {}
    for order in state.orders.values():
        if state.contracts[order.instrument].kind == "spot":
            haircut += spot_haircut(state, order)
        else:
            orders.setdefault((order.instrument, order.position_index), []).append(order)
    opened = {key: openings(state, key, mine) for key, mine in orders.items()}
    for key in state.held():
        coin = state.contracts[key[0]].settle_coin
        usd = state.coins[coin].usd_price
        part = position_margin(state, key, marks, opened.get(key, _NONE))
        equity[coin] = equity.get(coin, ZERO) + part.unrealized
        position_initial += part.initial * usd
        maintenance += part.maintenance * usd
    for key, sides in opened.items():
        usd = state.coins[state.contracts[key[0]].settle_coin].usd_price
        order_initial += order_margin(state, key, marks, sides) * usd
        for order, qty in [*sides[Side.BUY], *sides[Side.SELL]]:
            loss += order_loss(order, qty, marks[key[0]]) * usd
    return Margin(
        balance=sum((coin_worth(state, coin, amount) for coin, amount in equity.items()), ZERO),
        haircut=haircut,
        order_loss=loss,
        position_initial=position_initial,
        order_initial=order_initial,
        maintenance=maintenance,
    )


def coin_worth(state: AccountState, coin: str, amount: Decimal) -> Decimal:
    """Return what a coin's equity counts for, USD; what is owed counts in full."""
    terms = state.terms(coin)
    return amount * terms.usd_price * (terms.collateral_rate if amount > 0 else 1)
