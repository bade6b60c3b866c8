"""What an account can surely bear, cheaply: far from its limits nobody needs its exact margin.

The exact margin is dear, and an account that is far from its liquidation, and asks for what it can easily afford, is
the common case. So a bound that errs by a factor on the safe side, in floats, is tried first; only where it leaves no
room is the exact one asked. What happens at an edge is always judged exactly.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from bot.core.tape import FAR
from bot.core.venue.contract import Contract
from bot.core.venue.facts import VenueOrder
from bot.core.venue.liquidation import recheck_bands
from bot.core.venue.state import AccountState

Edges = dict[str, tuple[int, int]]
"""By instrument: mark prices in ticks at or beyond which the account must be looked at."""

_SAFETY = 0.5  # the part of what a bound allows that is believed
_REACH_MAX = 0.5  # prices at most half as high again, so that the tier of twice the value is the highest they come to
_REACH_MIN = 0.01  # below it the exact bands are worth their cost


class Screen:
    """An account's balances and positions at the marks of one moment.

    It holds until one of them changes, or a mark goes beyond `edges`; open orders are looked at anew each time.

    Attributes:
        reach: a fraction by which all marks together may move without a liquidation: a lower bound, at most a half.
    """

    def __init__(self, state: AccountState) -> None:
        equity = {coin: float(amount) for coin, amount in state.balances.items()}
        self._required = self._needed = self._exposed = 0.0
        self._growth = 1.0
        self._values: dict[str, float] = {}
        for key in state.held():
            contract, position, mark = state.contracts[key[0]], state.positions[key], float(state.marks[key[0]])
            coin = contract.settle_coin
            usd = float(state.coins[coin].usd_price)
            qty, entry = float(position.qty), float(position.entry_value)
            value = abs(qty) * mark
            rate = float(contract.tier(2 * abs(position.qty) * state.marks[key[0]]).maintenance_rate)
            equity[coin] = equity.get(coin, 0.0) + qty * mark - entry
            self._required += (value * rate + 2 * abs(entry) * float(contract.fees.taker)) * usd
            self._needed += max(value, abs(entry)) * usd * _most_margin(contract, state.leverage[key[0]])
            self._exposed += value * usd
            self._growth = max(self._growth, 1 + rate)
            self._values[key[0]] = self._values.get(key[0], 0.0) + max(value, abs(entry))
        self._worth = sum(_worth(state, coin, amount) for coin, amount in equity.items())
        self.reach = min(_REACH_MAX, _SAFETY * self._bound(state))

    def edges(self, state: AccountState) -> Edges | None:
        """Return how far the marks may go, None where only the exact bands can tell."""
        if self.reach < _REACH_MIN:
            return None
        found: Edges = {}
        for name in dict.fromkeys([*self._values, *(name for name, *_ in state.orders.totals())]):
            contract = state.contracts[name]
            if contract.kind == "linear":
                mark = float(state.marks[name] / contract.instrument.tick_size)
                found[name] = (math.floor(mark * (1 - self.reach)), math.ceil(mark * (1 + self.reach)))
        return found

    def holds(self, state: AccountState) -> bool:
        """Return whether `reach` is still safe with the orders that are open now."""
        return not self._values or self._bound(state) >= self.reach

    def affords(self, state: AccountState, order: VenueOrder) -> bool:
        """Return whether the account surely has the margin, the tier and the leverage for an order of a perpetual.

        Every position and every order at its highest margin, nothing netted, must fit into half of what covers it; and
        the sum of their values into half of the lowest tier. False says nothing: the exact check then decides.
        """
        name, contract = order.instrument, state.contracts[order.instrument]
        if contract.kind == "spot":
            return False
        leverage = state.leverage[name]
        usd, mark = float(state.coins[contract.settle_coin].usd_price), float(state.marks[name])
        qty, price = float(order.qty), float(order.price)
        # The positions' value may have grown, and what covers it shrunk, as far as the marks may have gone unseen.
        grown = 1 + self.reach
        needed = self._needed * grown + qty * price * usd * _most_margin(contract, leverage)
        cover = self._worth - self._exposed * self.reach
        cover -= max(0.0, (price - mark) * order.side.sign) * qty * usd
        value = self._values.get(name, 0.0) * grown + qty * max(price, mark)
        for other, side, worth, best in state.orders.totals():
            of = state.contracts[other]
            usd = float(state.terms(of.settle_coin).usd_price)
            if of.kind == "spot":
                cover -= worth * usd
                continue
            needed += worth * usd * _most_margin(of, state.leverage[other])
            cover -= worth * usd * max(0.0, (best - float(state.marks[other])) * side.sign) / best
            if other == name:
                value += worth
        if value > _SAFETY * contract.lowest_limit or leverage > contract.tiers[0].leverage_max:
            return False
        return needed <= _SAFETY * cover

    def _bound(self, state: AccountState) -> float:
        """Return how far all marks may move at once: what is free over what is exposed, with the orders open now.

        Free is collateral and profit, less the maintenance margin at the rates of the tier that twice the value is in,
        less fees to close and losses of open orders. What orders lose grows with the price no faster than their value
        does, once they lose at all.
        """
        required, exposed = self._required, self._exposed
        for name, side, value, best in state.orders.totals():
            contract = state.contracts[name]
            usd = float(state.terms(contract.settle_coin).usd_price)
            if contract.kind == "spot":
                required += value * usd
                continue
            mark = float(state.marks[name])
            required += value * usd * max(0.0, (best - mark) * side.sign) / best
            exposed += value * usd * max(1.0, mark / best)
        return (self._worth - required) / (exposed * self._growth) if exposed > 0 else 1.0


def exact_edges(state: AccountState) -> Edges:
    """Return the edges by the account's exact margin, which must not be in breach."""
    edges: Edges = {}
    for name, band in recheck_bands(state).items():
        tick = state.contracts[name].instrument.tick_size
        falls = -FAR if band.low is None else _ticks(band.low, tick, ROUND_FLOOR)
        edges[name] = (falls, FAR if band.high is None else _ticks(band.high, tick, ROUND_CEILING))
    return edges


def _most_margin(contract: Contract, leverage: Decimal) -> float:
    """Return the most that a value takes of initial margin and fees in the highest tier, a fraction."""
    return max(1 / float(leverage), contract.most_rate) + 3 * contract.taker_rate


def _worth(state: AccountState, coin: str, amount: float) -> float:
    terms = state.terms(coin)
    return amount * float(terms.usd_price) * (float(terms.collateral_rate) if amount > 0 else 1.0)


def _ticks(price: Decimal, tick: Decimal, rounding: str) -> int:
    return int((price / tick).to_integral_value(rounding))
