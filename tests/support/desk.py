"""An order executor without its venue, for tests of what it decides and of what is kept of it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from bot.core.effects import Effects, Wish
from bot.core.execution.policy import MARKETABLE, ExecutionPolicy
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.protections import ProtectionLimits, Protections
from bot.core.risk import Mark, RiskLimits
from bot.core.submission.ids import ClientOrderIds
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import LedgerEntry
from bot.domain.orders import AccountEvent, Action, PlaceOrder, SubmitOrder, Target
from tests.support.money import BTC, ETH, HOUR_NS, NAME, SECOND_NS, dec, filled

NOW_NS = 1_700_000_000 * SECOND_NS
DAY_NS = 24 * HOUR_NS
LIMITS = RiskLimits(
    order_notional_max=dec(10**7),
    position_notional_max=dec(10**7),
    leverage_max=dec(100),
    price_collar=dec("0.5"),
    mark_age_ns_max=60 * SECOND_NS,
    open_orders_max=1000,
    orders_per_second_max=1000,
)


class Desk:
    """An order executor without its venue: hands on wishes and answers, and keeps all that was to be done."""

    def __init__(
        self,
        *,
        limits: RiskLimits = LIMITS,
        cash: str = "1000000",
        btc: Instrument = BTC,
        protections: ProtectionLimits | None = None,
        execution: ExecutionPolicy = MARKETABLE,
        strategies: Sequence[str] = (),
        is_restorable: bool = False,
        is_hedged: bool = False,
    ) -> None:
        instruments = {btc.name: btc, ETH.name: ETH}
        self.orders = Orders(
            instruments=instruments,
            portfolio=Portfolio(instruments, "USDT"),
            limits=limits,
            ids=ClientOrderIds(environment="r", epoch=0),
            protections=None if protections is None else Protections(protections),
            execution=execution,
            strategies=strategies,
            is_restorable=is_restorable,
            is_hedged=is_hedged,
        )
        self.now_ns = NOW_NS
        self.prices: dict[str, str | None] = {BTC.name: "100", ETH.name: "10"}
        self.record: list[LedgerEntry] = []
        self._keep(self.orders.deposit(dec(cash), NOW_NS))

    def marks(self) -> Mapping[str, Mark | None]:
        """Return fresh marks at the desk's prices."""
        return {
            name: None if price is None else Mark(price=dec(price), ts_ns=self.now_ns)
            for name, price in self.prices.items()
        }

    def wish(self, action: Action, *, strategy: str = "sma", **saw: Any) -> Effects:
        """Return what a wish brings about."""
        seen: dict[str, Any] = {
            "trigger": "bar:1m",
            "bar_close_ns": self.now_ns,
            "close_price": dec(100),
            "position_qty": dec(0),
            "forecast": None,
        }
        wish = Wish(strategy=strategy, action=action, **(seen | saw))
        return self._keep(self.orders.wish(wish, marks=self.marks(), now_ns=self.now_ns))

    def target(self, qty: str | Decimal, *, instrument: str = NAME, **saw: Any) -> Effects:
        """Return what a wish to hold `qty` brings about."""
        return self.wish(Target(instrument=instrument, qty=Decimal(qty)), **saw)

    def place(self, side: Side = Side.BUY, qty: str = "1", limit: str | None = "99", **wish: Any) -> SubmitOrder:
        """Return the order that a wish for it sends."""
        who = {"strategy": wish.pop("strategy")} if "strategy" in wish else {}
        action = PlaceOrder(
            instrument=wish.pop("instrument", NAME),
            side=side,
            qty=dec(qty),
            limit_price=None if limit is None else dec(limit),
            **wish,
        )
        (order,) = self.wish(action, **who).send
        assert isinstance(order, SubmitOrder)
        return order

    def place_if(self, side: Side, qty: str, limit: str, **wish: Any) -> Effects:
        """Return what a wish for an order brings about, a denial too."""
        return self.wish(PlaceOrder(instrument=NAME, side=side, qty=dec(qty), limit_price=dec(limit), **wish))

    def event(self, event: AccountEvent) -> Effects:
        """Return what the venue's message brings about, and what is to be done for a target because of it."""
        effects = self._keep(self.orders.event(event, self.now_ns))
        more = self.work() if self.orders.targets.is_due(self.now_ns) else Effects()
        return Effects(
            record=effects.record + more.record,
            send=effects.send + more.send,
            publish=effects.publish + more.publish,
        )

    def work(self) -> Effects:
        """Return what time brings about for targets that are not reached yet."""
        return self._keep(self.orders.targets.work(self.marks(), self.now_ns))

    def fill(self, order: SubmitOrder, *, trade: int | str = 1, qty: str | None = None, price: str = "100") -> Effects:
        """Return what an execution of the order brings about, all of it unless told how much."""
        return self.event(
            filled(
                order.client_order_id,
                trade=trade,
                qty=order.qty if qty is None else qty,
                price=price,
                side=order.side,
                instrument=order.instrument,
                at_ns=self.now_ns,
            )
        )

    def observe(self, *, is_check: bool = True) -> Effects:
        """Return what a look at the account's worth brings about."""
        return self._keep(self.orders.rules.observe(self.marks(), self.now_ns, is_check=is_check))

    def halt(self, why: str = "the button") -> Effects:
        """Return what a person's halt brings about."""
        return self._keep(self.orders.rules.halt(why, marks=self.marks(), now_ns=self.now_ns))

    def resume(self, why: str = "go on") -> Effects:
        """Return what a person's resumption brings about."""
        return self._keep(self.orders.rules.resume(why, self.now_ns))

    def kill(self, why: str = "the switch") -> Effects:
        """Return what the kill switch brings about."""
        return self._keep(self.orders.rules.kill(why, marks=self.marks(), now_ns=self.now_ns))

    def re_arm(self, why: str = "it is mended") -> Effects:
        """Return what arming it again brings about."""
        return self._keep(self.orders.rules.re_arm(why, self.now_ns))

    def _keep(self, effects: Effects) -> Effects:
        self.record += effects.record
        return effects
