"""The venue's account a second time: slow, in fractions, from the list of what happened and nothing else.

It keeps no running figure. Whatever is asked is worked out from the whole list again, and by another road where there
is one: equity as money in and out plus what is held at its price, maintenance margin slice by slice of the value,
what an order opens by letting it fill.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from bot.core.venue.contract import Contract
from bot.core.venue.facts import CoinConverted, Execution, Fact, FundingSettled, InsurancePaid, VenueOrder
from bot.domain.instrument import Side

Key = tuple[str, int]
NOTHING = Fraction(0)


@dataclass(frozen=True)
class Happened:
    """A deposit (qty is the amount), a trade (signed qty) or a funding settlement (price is the mark, qty the rate)."""

    what: str
    qty: Fraction
    price: Fraction = NOTHING
    key: Key = ("", 0)
    coin: str = ""
    fee_rate: Fraction = NOTHING


def story_of(deposits: Mapping[str, Decimal], facts: Iterable[Fact]) -> list[Happened]:
    """Return what an account that trades no spot went through."""
    story = [Happened("money", Fraction(amount), coin=coin) for coin, amount in deposits.items()]
    for fact in facts:
        match fact:
            case Execution():
                key, qty = (fact.instrument, fact.position_index), fact.side.sign * Fraction(fact.qty)
                story.append(Happened("trade", qty, Fraction(fact.price), key, fact.fee_coin, Fraction(fact.fee_rate)))
            case FundingSettled():
                key = (fact.instrument, fact.position_index)
                story.append(Happened("funding", Fraction(fact.rate), Fraction(fact.mark_price), key))
            case CoinConverted():
                story.append(Happened("money", -Fraction(fact.sold), coin=fact.sold_coin))
                story.append(Happened("money", Fraction(fact.bought), coin=fact.bought_coin))
            case InsurancePaid():
                story.append(Happened("money", Fraction(fact.amount), coin=fact.coin))
    return story


class AccountReference:
    """What an account comes to.

    Args:
        contracts: by name.
        leverage: by name.
        story: all that happened, in order.
    """

    def __init__(
        self, contracts: Mapping[str, Contract], leverage: Mapping[str, Decimal], story: Sequence[Happened]
    ) -> None:
        self._contracts = contracts
        self._leverage = {name: Fraction(value) for name, value in leverage.items()}
        self._story = story

    def held(self, key: Key, *, until: int | None = None) -> Fraction:
        """Return the quantity held: the sum of the trades."""
        return sum((h.qty for h in self._story[:until] if h.what == "trade" and h.key == key), NOTHING)

    def paid_funding(self, coin: str) -> Fraction:
        """Return all funding paid, each settlement on what was held just then."""
        rows = [(at, h) for at, h in enumerate(self._story) if h.what == "funding"]
        rows = [(at, h) for at, h in rows if self._contracts[h.key[0]].settle_coin == coin]
        return sum((self.held(h.key, until=at) * h.price * h.qty for at, h in rows), NOTHING)

    def fees(self, coin: str) -> Fraction:
        """Return all fees paid."""
        return sum(
            (abs(h.qty) * h.price * h.fee_rate for h in self._story if h.what == "trade" and h.coin == coin), NOTHING
        )

    def equity(self, coin: str, marks: Mapping[str, Decimal]) -> Fraction:
        """Return money put in, less what was bought, plus what was sold, plus what is held at its mark."""
        equity = sum((h.qty for h in self._story if h.what == "money" and h.coin == coin), NOTHING)
        for h in self._story:
            if h.what == "trade" and h.coin == coin:
                equity += h.qty * (Fraction(marks[h.key[0]]) - h.price)
        return equity - self.fees(coin) - self.paid_funding(coin)

    def entry_price(self, key: Key) -> Fraction:
        """Return the average price of what is held: that of the trades that opened it, as if of one mixture."""
        qty = cost = NOTHING
        for h in self._story:
            if h.what != "trade" or h.key != key:
                continue
            if qty * h.qty >= 0:
                qty, cost = qty + h.qty, cost + h.qty * h.price
            elif abs(h.qty) < abs(qty):
                qty, cost = qty + h.qty, cost * (qty + h.qty) / qty
            else:
                qty += h.qty
                cost = qty * h.price
        return cost / qty if qty else NOTHING

    def maintenance(self, key: Key, mark: Decimal) -> Fraction:
        """Return a position's maintenance margin: each slice of its value pays the rate of the tier it falls in."""
        contract, qty = self._contracts[key[0]], self.held(key)
        value, below, margin = abs(qty) * Fraction(mark), NOTHING, NOTHING
        for number, tier in enumerate(contract.tiers):
            is_last = number == len(contract.tiers) - 1
            top = value if is_last else min(value, Fraction(tier.limit_value))
            margin += max(NOTHING, top - below) * Fraction(tier.maintenance_rate)
            below = Fraction(tier.limit_value)
        return margin + self._closing_fee(key[0], qty, self.entry_price(key))

    def initial(self, key: Key, mark: Decimal, orders: Sequence[VenueOrder] = ()) -> Fraction:
        """Return a position's initial margin; the orders count for the tier alone."""
        qty = self.held(key)
        rate = self._rate(key, mark, orders)
        return abs(qty) * Fraction(mark) * rate + self._closing_fee(key[0], qty, self.entry_price(key))

    def order_initial(self, key: Key, mark: Decimal, orders: Sequence[VenueOrder]) -> Fraction:
        """Return what the orders take: of either side's opened parts at their prices, the dearer sum."""
        rate, taker = self._rate(key, mark, orders), Fraction(self._contracts[key[0]].fees.taker)
        sums = []
        for side in Side:
            cost = NOTHING
            for price, qty in self._opened(key, orders, side):
                cost += price * abs(qty) * (rate + taker) + self._closing_fee(key[0], qty, price)
            sums.append(cost)
        return max(sums)

    def _opened(self, key: Key, orders: Sequence[VenueOrder], side: Side) -> list[tuple[Fraction, Fraction]]:
        """Let one side's orders fill, nearest first; return price and signed quantity of what opened."""
        held, opened = self.held(key), []
        if (key[1] == 1 and side is Side.SELL) or (key[1] == 2 and side is Side.BUY):
            return []
        mine = [o for o in orders if (o.instrument, o.position_index) == key and o.side is side and not o.reduce_only]
        for order in sorted(mine, key=lambda o: o.price, reverse=side is Side.BUY):
            before, held = held, held + side.sign * Fraction(order.qty)
            grown = max(NOTHING, side.sign * held) - max(NOTHING, side.sign * before)
            if grown:
                opened.append((Fraction(order.price), side.sign * grown))
        return opened

    def _rate(self, key: Key, mark: Decimal, orders: Sequence[VenueOrder]) -> Fraction:
        held = self.held(key)
        values = []
        for side in Side:
            value = sum((price * abs(qty) for price, qty in self._opened(key, orders, side)), NOTHING)
            values.append(value + max(NOTHING, side.sign * held) * Fraction(mark))
        contract = self._contracts[key[0]]
        rates = [Fraction(t.initial_rate) for t in contract.tiers if max(values) <= Fraction(t.limit_value)]
        tier_rate = rates[0] if rates else Fraction(contract.tiers[-1].initial_rate)
        return max(1 / self._leverage[key[0]], tier_rate)

    def _closing_fee(self, name: str, qty: Fraction, price: Fraction) -> Fraction:
        """Return the taker fee at the price where a position of this leverage has lost its initial margin."""
        lost = price / self._leverage[name]
        bankrupt = price - lost if qty > 0 else price + lost
        return abs(qty) * bankrupt * Fraction(self._contracts[name].fees.taker)
