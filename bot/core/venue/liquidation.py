"""What the venue does to an account that no longer covers its maintenance margin, and how far off that is.

The sequence is the venue's: cancel all orders; reduce positions of higher tiers, tier by tier; take over what is left
at its bankruptcy price. What it leaves open is *inferred*, one named function for each rule, listed in
`docs/venue_account.md`.
"""

from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

import msgspec

from bot.core.venue.account import VenueAccount
from bot.core.venue.booking import convert, execute, insure
from bot.core.venue.facts import (
    CancelType,
    CoinConverted,
    CreateType,
    ExecType,
    Fact,
    InsurancePaid,
    LiquidationStarted,
    PositionIndex,
)
from bot.core.venue.margin import Margin, PositionMargin, coin_worth, margin_of, openings, position_margin
from bot.core.venue.state import AccountState, PositionKey
from bot.domain.account import ZERO
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side

_DUST = Decimal("1e-12")  # to this much of a coin a conversion is rounded
_TWO = Decimal(2)

PriceOf = Callable[[str, Side, Decimal], Decimal | None]  # instrument, side, quantity: what a market order would get


def liquidate(account: VenueAccount, *, ts_ns: int, price_of: PriceOf | None = None) -> list[Fact]:
    """Liquidate the account as far as it must be, and return what happened; nothing if its margin suffices.

    Args:
        account: whose.
        ts_ns: when.
        price_of: what the reducing orders get, None where the market holds nothing for them. By default the mark price.
    """
    state = account.state
    margin = margin_of(state)
    if not margin.is_breached:
        return []
    marks = tuple((name, state.marks[name]) for name in sorted({key[0] for key in state.held()}))
    facts: list[Fact] = [
        LiquidationStarted(ts_ns=ts_ns, margin=margin.cover, maintenance=margin.maintenance, marks=marks)
    ]
    for order in list(state.orders.values()):
        facts.append(account.drop(order, CancelType.LIQUIDATION, ts_ns=ts_ns))
    if not margin_of(state).is_breached:
        return facts
    facts += _reduce_by_tiers(state, ts_ns, price_of)
    if margin_of(state).is_breached:
        facts += _take_over(state, ts_ns)
    return facts


def auto_deleverage(account: VenueAccount, key: PositionKey, *, qty: Decimal, price: Decimal, ts_ns: int) -> list[Fact]:
    """Reduce a position at the venue's price, on behalf of somebody's liquidation: without a fee.

    *Inferred*: the instrument's orders are canceled first.

    Raises:
        InvariantBroken: the position is not that large.
    """
    state = account.state
    position_qty = state.qty(key)
    if not ZERO < qty <= abs(position_qty):
        raise InvariantBroken(f"{key[0]}: cannot deleverage {qty} of {abs(position_qty)}")
    facts: list[Fact] = [
        account.drop(order, CancelType.ADL, ts_ns=ts_ns)
        for order in list(state.orders.values())
        if order.instrument == key[0]
    ]
    facts.append(
        execute(
            state,
            key,
            side=_closing_side(position_qty),
            qty=qty,
            price=price,
            fee_rate=ZERO,
            ts_ns=ts_ns,
            exec_type=ExecType.ADL,
            create_type=CreateType.ADL,
        )
    )
    return facts + account.settle_orders(ts_ns)


def bankruptcy_prices(state: AccountState) -> dict[PositionKey, Decimal]:
    """Return the price for each position at which closing all of them, fees included, leaves the account with nothing.

    *Inferred*: each position uses up the margin balance in proportion to its maintenance margin. Rounded to the tick
    that favors the account, for what rounding moves would have to come from somebody.
    """
    parts = {key: position_margin(state, key, state.marks) for key in state.held()}
    usd = {key: state.coins[state.contracts[key[0]].settle_coin].usd_price for key in parts}
    required = sum((part.maintenance * usd[key] for key, part in parts.items()), ZERO)
    balance = margin_of(state).balance
    prices: dict[PositionKey, Decimal] = {}
    for key, part in parts.items():
        contract, qty = state.contracts[key[0]], state.qty(key)
        share = balance * part.maintenance / required
        side = _closing_side(qty)
        price = (state.marks[key[0]] - share / qty) / (1 + side.sign * contract.fees.taker)
        prices[key] = max(contract.instrument.round_price(price, side), contract.instrument.tick_size)
    return prices


def stage_qty(state: AccountState, key: PositionKey) -> Decimal:
    """Return how much must go for a position to enter the tier below, 0 in the lowest.

    *Inferred*: whole steps, at the mark price.
    """
    contract, mark, qty = state.contracts[key[0]], state.marks[key[0]], abs(state.qty(key))
    index = contract.tier_index(qty * mark)
    if not index:
        return ZERO
    return qty - contract.instrument.round_qty(contract.tiers[index - 1].limit_value / mark)


def next_to_reduce(state: AccountState) -> PositionKey | None:
    """Return the position that is reduced next, None if all are in their lowest tier.

    *Inferred*: the one with the largest maintenance margin of those above it.
    """
    parts = [(_required(state, key), key) for key in state.held() if stage_qty(state, key)]
    return max(parts)[1] if parts else None


def _reduce_by_tiers(state: AccountState, ts_ns: int, price_of: PriceOf | None) -> Iterator[Fact]:
    """Reduce tier by tier until the margin suffices, or the market pays less than the bankruptcy price."""
    while margin_of(state).is_breached and (key := next_to_reduce(state)) is not None:
        qty, side = stage_qty(state, key), _closing_side(state.qty(key))
        price = state.marks[key[0]] if price_of is None else price_of(key[0], side, qty)
        bankrupt = bankruptcy_prices(state)[key]
        if price is None or (price - bankrupt) * side.sign > 0:
            return
        yield execute(
            state,
            key,
            side=side,
            qty=qty,
            price=price,
            fee_rate=state.contracts[key[0]].fees.taker,
            ts_ns=ts_ns,
            create_type=CreateType.LIQUIDATION,
        )


def _take_over(state: AccountState, ts_ns: int) -> Iterator[Fact]:
    """Hand every position to the venue at its bankruptcy price, repay what is owed; the fund pays what cannot be."""
    prices = bankruptcy_prices(state)
    for key, price in prices.items():
        qty = state.qty(key)
        yield execute(
            state,
            key,
            side=_closing_side(qty),
            qty=abs(qty),
            price=price,
            fee_rate=state.contracts[key[0]].fees.taker,
            ts_ns=ts_ns,
            exec_type=ExecType.BUST,
            create_type=CreateType.TAKE_OVER,
        )
    for coin in sorted(state.balances):
        yield from _repay(state, coin, ts_ns)


def _repay(state: AccountState, coin: str, ts_ns: int) -> Iterator[Fact]:
    """Sell collateral for a coin that is owed.

    *Inferred*: coins in the order of their names, at what they count for as collateral; the rest is the fund's.
    """
    for sold_coin, balance in sorted(state.balances.items()):
        owed = -state.balances[coin]
        worth = coin_worth(state, sold_coin, balance)
        if owed <= 0 or balance <= 0 or worth <= 0:
            continue
        usd_price = state.terms(coin).usd_price
        if worth >= owed * usd_price:
            bought = owed
            sold = min(balance, _divide(balance * owed * usd_price, worth, ROUND_CEILING))
        else:
            bought, sold = _divide(worth, usd_price, ROUND_FLOOR), balance
        if not bought:
            continue
        convert(state, sold_coin=sold_coin, sold=sold, bought_coin=coin, bought=bought, ts_ns=ts_ns)
        yield CoinConverted(ts_ns=ts_ns, sold_coin=sold_coin, sold=sold, bought_coin=coin, bought=bought)
    owed = -state.balances[coin]
    if owed > 0:
        insure(state, coin, owed, ts_ns=ts_ns)
        yield InsurancePaid(ts_ns=ts_ns, coin=coin, amount=owed)


def liquidation_price(state: AccountState, key: PositionKey) -> Decimal | None:
    """Return the mark price at which the account is first liquidated if this instrument alone moves, None if none is.

    An estimate, as the venue's own is in cross margin: open orders are left out, every other price stands still. The
    price lies on the side where the instrument's net position loses; the present price if it is already too late.
    """
    name = key[0]
    bare = AccountState(
        contracts=state.contracts,
        coins=state.coins,
        balances=state.balances,
        marks=state.marks,
        leverage=state.leverage,
        hedged=state.hedged,
        positions=state.positions,
    )
    mark = state.mark(name)
    quantities = [state.qty(k) for k in state.held() if k[0] == name]
    if not state.qty(key):
        return None

    def excess(price: Decimal) -> Decimal:
        return margin_of(bare, {**state.marks, name: price}).excess

    at, left = mark, excess(mark)
    if left <= 0:
        return mark
    is_falling = sum(quantities, ZERO) > 0
    for price in _kinks(bare, name, quantities, is_falling=is_falling):
        there = excess(price)
        if there <= 0:
            return at + (price - at) * left / (left - there)
        at, left = price, there
    slope = excess(at + 1) - left  # straight for ever, so any distance tells
    return None if is_falling or slope >= 0 else at - left / slope


def _kinks(state: AccountState, name: str, quantities: list[Decimal], *, is_falling: bool) -> list[Decimal]:
    """Return the prices beyond the mark where the excess bends, nearest first; when falling, zero is the last."""
    contract, mark = state.contracts[name], state.marks[name]
    prices = [ZERO, *(tier.limit_value / abs(qty) for qty in quantities for tier in contract.tiers)]
    net = sum(quantities, ZERO)
    if net:
        equity = state.balances.get(contract.settle_coin, ZERO)
        for key in state.held():
            if state.contracts[key[0]].settle_coin == contract.settle_coin:
                equity += state.positions[key].unrealized_pnl(state.marks[key[0]])
        prices.append(mark - equity / net)  # beyond it the coin is owed, and counts in full
    if is_falling:
        return sorted((price for price in prices if 0 <= price < mark), reverse=True)
    return sorted(price for price in prices if price > mark)


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """Mark prices of one instrument strictly between which no liquidation can begin; None: none on that side."""

    low: Decimal | None
    high: Decimal | None


def recheck_bands(state: AccountState) -> dict[str, Band]:
    """Return for each instrument how far its mark price may go before the account must be checked again.

    As long as *every* instrument stays strictly inside its band, wherever in it, no liquidation begins. The bands hold
    until anything else changes: a balance, a position, an order, a leverage, a coin's price. They are safe, not tight:
    a check at a band's edge finds either a liquidation or new, narrower bands.

    The loss of the excess per unit of price is bounded for either direction. What the account can lose before it is
    liquidated is shared out so that every instrument may move by the same fraction.
    """
    margin = margin_of(state)
    names = sorted({key[0] for key in state.held()} | _with_openings(state))
    if margin.is_breached or margin.excess <= 0:
        return {name: Band(low=state.marks[name], high=state.marks[name]) for name in names}
    bare = {name: _slopes(state, name, reach=ZERO) for name in names}
    reach = _common_fraction(state, margin, bare)
    fraction = _common_fraction(state, margin, {name: _slopes(state, name, reach=reach) for name in names})
    bands: dict[str, Band] = {}
    for name in names:
        # What costs no distance within reach, an order or a higher tier, may cost some beyond: so there is an edge.
        down, up = _slopes(state, name, reach=None)
        mark = state.marks[name]
        bands[name] = Band(low=mark * (1 - fraction) if down else None, high=mark * (1 + fraction) if up else None)
    return bands


def _common_fraction(state: AccountState, margin: Margin, slopes: dict[str, tuple[Decimal, Decimal]]) -> Decimal:
    """Return the fraction by which all prices may move at once, at most 1, rounded down."""
    at_risk = sum((max(slopes[name]) * state.marks[name] for name in slopes), ZERO)
    if not at_risk:
        return Decimal(1)
    with localcontext() as context:
        context.prec, context.rounding = 18, ROUND_FLOOR
        return min(Decimal(1), margin.excess / at_risk)


def _slopes(state: AccountState, name: str, *, reach: Decimal | None) -> tuple[Decimal, Decimal]:
    """Return what the excess loses at most per unit that the price falls, and per unit that it rises, USD.

    Args:
        state: the account.
        name: the instrument.
        reach: the fraction of its price that it moves at most: orders beyond cannot come to lose anything. None if any.
    """
    contract, mark = state.contracts[name], state.marks[name]
    net = growth = buys = sells = ZERO
    for key in [key for key in state.held() if key[0] == name]:
        qty = state.qty(key)
        net += qty
        # The maintenance margin bends upwards, so at twice the price its slope is at least what it is before.
        tier = contract.tiers[-1] if reach is None else contract.tier(abs(qty) * mark * _TWO)
        growth += abs(qty) * tier.maintenance_rate
    for index in (PositionIndex.ONE_WAY, PositionIndex.LONG, PositionIndex.SHORT):
        opened = openings(state, (name, index))
        for order, qty in opened[Side.BUY]:
            buys += qty if reach is None or order.price > mark * (1 - reach) else ZERO
        for order, qty in opened[Side.SELL]:
            sells += qty if reach is None or order.price < mark * (1 + reach) else ZERO
    terms = state.coins[contract.settle_coin]
    gain = net * terms.collateral_rate if net > 0 else net  # a profit may count in part, a loss counts in full
    return (max(ZERO, net) + buys) * terms.usd_price, (max(ZERO, growth - gain) + sells) * terms.usd_price


def _with_openings(state: AccountState) -> set[str]:
    return {o.instrument for o in state.orders.values() if state.contracts[o.instrument].kind == "linear"}


def _required(state: AccountState, key: PositionKey) -> Decimal:
    part: PositionMargin = position_margin(state, key, state.marks)
    return part.maintenance * state.coins[state.contracts[key[0]].settle_coin].usd_price


def _closing_side(qty: Decimal) -> Side:
    return Side.SELL if qty > 0 else Side.BUY


def _divide(value: Decimal, by: Decimal, rounding: str) -> Decimal:
    return (value / by).quantize(_DUST, rounding=rounding)
