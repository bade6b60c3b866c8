"""An account at the venue with figures that are easy to reckon with, and steps to drive it.

Contract X: taker 0.1 %, maker 0.05 %, tick 0.1, step 0.001, and three tiers:

    value up to   initial  maintenance  deduction                          leverage
          1,000       2 %          1 %  0                                        50
          5,000       5 %        2.5 %  1,000 * (2.5 % - 1 %)         =  15      20
         20,000      10 %          5 %  15 + 5,000 * (5 % - 2.5 %)    = 140      10
"""

from decimal import Decimal

from bot.core.venue.account import VenueAccount
from bot.core.venue.contract import Contract, FeeRates, TierRow, linear_contract, spot_contract
from bot.core.venue.facts import Execution, Fact, Refusal, VenueOrder
from bot.core.venue.state import CoinTerms
from bot.domain.instrument import Instrument, Side

FEES = FeeRates(taker=Decimal("0.001"), maker=Decimal("0.0005"))


def tier_row(limit: str, initial: str, maintenance: str, leverage: str, deduction: str | None = None) -> TierRow:
    return TierRow(
        limit_value=Decimal(limit),
        initial_rate=Decimal(initial),
        maintenance_rate=Decimal(maintenance),
        leverage_max=Decimal(leverage),
        deduction=None if deduction is None else Decimal(deduction),
    )


ROWS = (
    tier_row("1000", "0.02", "0.01", "50"),
    tier_row("5000", "0.05", "0.025", "20"),
    tier_row("20000", "0.1", "0.05", "10"),
)


def instrument(name: str, *, base: str = "XXX", quote: str = "USDT") -> Instrument:
    return Instrument(
        name=name,
        base=base,
        quote=quote,
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=Decimal(100_000),
    )


def linear(name: str = "X", *, quote: str = "USDT", fees: FeeRates = FEES) -> Contract:
    return linear_contract(instrument(name, base=name, quote=quote), ROWS, fees=fees)


def spot(name: str = "S", *, base: str = "BTC", quote: str = "USDT", fees: FeeRates = FEES) -> Contract:
    return spot_contract(instrument(name, base=base, quote=quote), fees=fees)


class Desk:
    """Somebody who trades on an account by the shortest possible words. Numbers are text; time counts the steps."""

    def __init__(self, *contracts: Contract, coins: dict[str, CoinTerms] | None = None) -> None:
        self.account = VenueAccount(contracts or (linear(),), coins)
        self.ts_ns = 0
        self.facts: list[Fact] = []
        self.refusal: Refusal | None = None

    def deposit(self, amount: str, coin: str = "USDT") -> "Desk":
        self.ts_ns += 1
        self.account.deposit(coin, Decimal(amount), ts_ns=self.ts_ns)
        return self

    def mark(self, price: str, name: str = "X") -> "Desk":
        self.account.set_mark(name, Decimal(price))
        return self

    def leverage(self, leverage: str, name: str = "X") -> "Desk":
        self.refusal = self.account.set_leverage(name, Decimal(leverage))
        return self

    def hedge(self, name: str = "X") -> "Desk":
        self.refusal = self.account.switch_mode(name, hedged=True)
        return self

    def place(
        self, qty: str, price: str, name: str = "X", *, index: int = 0, reduce_only: bool = False, order_id: str = ""
    ) -> "Desk":
        """Leave an order in the book: a buy of a positive quantity, a sale of a negative one."""
        self.ts_ns += 1
        answer = self.account.place(
            VenueOrder(
                order_id=order_id or f"o{self.ts_ns}",
                instrument=name,
                side=Side.BUY if Decimal(qty) > 0 else Side.SELL,
                qty=abs(Decimal(qty)),
                price=Decimal(price),
                position_index=index,
                reduce_only=reduce_only,
            )
        )
        self.refusal = answer if isinstance(answer, Refusal) else None
        return self

    def trade(
        self, qty: str, price: str, name: str = "X", *, index: int = 0, maker: bool = False, reduce_only: bool = False
    ) -> "Desk":
        """Place an order and fill all that is accepted of it."""
        order_id = f"o{self.ts_ns + 1}"
        self.place(qty, price, name, index=index, reduce_only=reduce_only)
        if self.refusal is None:
            self.fill(order_id, price=price, maker=maker)
        return self

    def fill(self, order_id: str, *, qty: str | None = None, price: str | None = None, maker: bool = False) -> "Desk":
        order = self.account.state.orders[order_id]
        self.facts += self.account.fill(
            order_id,
            qty=order.qty if qty is None else Decimal(qty),
            price=order.price if price is None else Decimal(price),
            is_maker=maker,
            ts_ns=self.ts_ns,
        )
        return self

    def funding(self, rate: str, mark: str, name: str = "X") -> "Desk":
        self.ts_ns += 1
        self.facts += self.account.settle_funding(name, rate=Decimal(rate), mark=Decimal(mark), ts_ns=self.ts_ns)
        return self

    def last_execution(self) -> Execution:
        return next(fact for fact in reversed(self.facts) if isinstance(fact, Execution))
