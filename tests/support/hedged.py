"""A desk in hedge mode, and a venue that keeps the two legs apart: what it holds is known a while before it is told."""

from decimal import Decimal

from msgspec.structs import replace

from bot.core.effects import Effects
from bot.core.execution.policy import ExecutionPolicy
from bot.core.order import Order, Status
from bot.domain.orders import Leg, OrderFilled, OrderType, SubmitOrder
from tests.support.executing import STEP, World
from tests.support.money import NAME, canceled, filled

ZERO = Decimal(0)


class HedgedWorld(World):
    """The same lives in hedge mode; whatever is sent and executed is held against the legs.

    Attributes:
        legs: what the venue holds.
        untold: executions that have happened, and that nobody has told us of.
    """

    def __init__(self, policy: ExecutionPolicy, strategies: tuple[str, ...] = ()) -> None:
        super().__init__(policy, strategies, is_hedged=True)
        self.is_shared = bool(strategies)
        self.legs = {Leg.LONG: ZERO, Leg.SHORT: ZERO}
        self.untold: list[tuple[Order, OrderFilled]] = []

    def see(self, effects: Effects) -> None:
        """See `World.see`; no order may be one that the venue would refuse, or open a leg beside the other."""
        if not self.is_shared:  # else there is no one target
            super().see(effects)
        sent = [each for each in effects.send if isinstance(each, SubmitOrder)]
        for order in sent:
            held = self.legs[order.leg]
            if order.reduce_only:
                others = [each for each in self.live if each.request.reduce_only and each.request.leg is order.leg]
                owed = sum((fill.qty for each, fill in self.untold if each.request.reduce_only), ZERO)
                assert sum((each.remaining_qty for each in others), ZERO) - owed <= held, (order, self.legs)
            else:
                assert not self.legs[_other(order.leg)], (order, self.legs)
                against = [each for each in self.live if not each.request.reduce_only]
                assert all(each.request.leg is order.leg for each in against), (order, against)
            assert order.leg is (Leg.LONG if (order.side.sign > 0) is not order.reduce_only else Leg.SHORT)

    def execute(self, order: Order, fill: OrderFilled) -> None:
        """Move a leg, and tell."""
        self.move(order, fill)
        super().execute(order, fill)

    def move(self, order: Order, fill: OrderFilled) -> None:
        """Have an execution happen."""
        request = order.request
        self.legs[request.leg] += -fill.qty if request.reduce_only else fill.qty
        assert self.legs[request.leg] >= 0, "a reduce-only order has reduced more than there was"
        assert not all(self.legs.values()), "both legs are open"

    def act(self, what: str, number: int, pick: int) -> None:
        """See `World.act`; besides, an order may end with an execution that is told later."""
        if what == "end" and self.live:
            self.end(self.live[pick % len(self.live)], number)
            return
        super().act(what, number, pick)
        if what == "time" and number > 0:
            self.tell()

    def end(self, order: Order, number: int) -> None:
        """Have the venue cancel an order of which a part has just filled: the word of the one overtakes the other's."""
        request = order.request
        left = max(order.qty - order.filled_qty, ZERO)
        qty = STEP.round_qty(left * min(8, abs(number)) / 9)
        is_over = order.cancel_requested or request.order_type is OrderType.MARKET
        if order.status is Status.SUBMITTED or not is_over or not qty or order.amend_requested is not None:
            return
        self.clear(request.client_order_id)
        self.trades += 1
        at_ns = self.desk.now_ns
        fill = filled(request.client_order_id, trade=self.trades, qty=qty, price="100", side=request.side, at_ns=at_ns)
        self.move(order, fill)
        self.untold.append((order, fill))
        self.see(self.desk.event(replace(canceled(request.client_order_id, at_ns=at_ns), owed_qty=qty)))

    def tell(self) -> None:
        """Tell of the oldest execution that was not told."""
        if self.untold:
            _, fill = self.untold.pop(0)
            self.see(self.desk.event(fill))

    def settle(self) -> None:
        """See `World.settle`."""
        while self.untold:
            self.tell()
        super().settle()
        held = self.legs[Leg.LONG] - self.legs[Leg.SHORT]
        assert held == self.position == self.desk.orders.state.position_qty(NAME)


def _other(leg: Leg) -> Leg:
    return Leg.SHORT if leg is Leg.LONG else Leg.LONG
