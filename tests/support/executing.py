"""A desk whose venue answers as a test has it: fills in parts, late answers, refusals, doubts, prices that move."""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.core.effects import Effects
from bot.core.execution.policy import ExecutionPolicy
from bot.core.order import Order, Status
from bot.core.risk import Denial
from bot.domain.ledger import DoubtOpened, DoubtResolved, RiskDenied
from bot.domain.orders import AmendOrder, AmendRejected, OrderAmended, OrderFilled, OrderType, SubmitOrder
from tests.support.desk import Desk
from tests.support.money import BTC, NAME, SECOND_NS, accepted, cancel_rejected, canceled, dec, filled, rejected

STEP = replace(BTC, qty_min=BTC.qty_step, notional_min=dec(0))
"""BTC with no least order, so that whatever is drawn can be ordered."""


class World:
    """The two of them.

    Args:
        policy: how targets are reached.
        strategies: who trades; several have books of their own.
        is_hedged: the account is in hedge mode.
    """

    def __init__(self, policy: ExecutionPolicy, strategies: tuple[str, ...] = (), *, is_hedged: bool = False) -> None:
        self.desk = Desk(btc=STEP, execution=policy, strategies=strategies, is_hedged=is_hedged)
        self.target = Decimal(0)
        self.is_plain = not policy.is_patient  # the first denial is the end of a target
        self.orders: dict[str, SubmitOrder] = {}
        self.doubtful: set[str] = set()
        self.trades = 0
        self.is_dropped = False

    @property
    def live(self) -> list[Order]:
        """Return the orders that may still fill."""
        return list(self.desk.orders.state.live[NAME].values())

    @property
    def position(self) -> Decimal:
        """Return what the account holds."""
        return self.desk.orders.state.position_qty(NAME)

    def aim(self, qty: int) -> None:
        """Wish for a target."""
        self.target, self.is_dropped = Decimal(qty), False
        self.see(self.desk.target(self.target))

    def see(self, effects: Effects) -> None:
        """Hold what is sent against the law, and remember it."""
        codes = {entry.code for entry in effects.record if isinstance(entry, RiskDenied)}
        self.is_dropped |= bool(codes) if self.is_plain else Denial.TARGET_DROPPED in codes
        for command in effects.send:
            if isinstance(command, SubmitOrder):
                self.orders[command.client_order_id] = command
            if isinstance(command, SubmitOrder | AmendOrder):
                side = self.orders[command.client_order_id].side
                held = self.position + sum(
                    (
                        max(order.qty, asked.qty if (asked := order.amend_requested) and asked.qty else order.qty)
                        - order.filled_qty
                    )
                    * side.sign
                    for order in self.live
                    if order.request.side is side
                )
                qty = self.desk.orders.state.orders[command.client_order_id].qty
                is_growing = isinstance(command, SubmitOrder) or (command.qty is not None and command.qty > qty)
                assert not is_growing or (self.target - held) * side.sign >= 0, (command, self.target, held)

    def act(self, what: str, number: int, pick: int) -> None:
        """Do one of what a life consists of."""
        live = self.live
        if what == "target":
            self.aim(number)
        elif what == "time":
            self.wait(abs(number) * SECOND_NS // 2 + 1)
        elif what == "price":
            self.desk.prices[NAME] = str(dec(100) + number * STEP.tick_size)
        elif live:
            self.answer(what, live[pick % len(live)], number)

    def answer(self, what: str, order: Order, number: int) -> None:
        """Have the venue tell something of an order, where it can be told now."""
        name, at_ns = order.request.client_order_id, self.desk.now_ns
        if what == "doubt":
            if order.status is Status.SUBMITTED:
                self.doubtful.add(name)
                about = {"ts_ns": at_ns, "request": f"create:{name}", "client_order_id": name, "instrument": NAME}
                self.desk.orders.state.follow_doubt(DoubtOpened(**about, why="no answer"))  # type: ignore[arg-type]
        elif name in self.doubtful and what != "fill":
            return
        elif what == "accept":
            self.see(self.desk.event(accepted(name, at_ns=at_ns)))
        elif what == "fill" and order.remaining_qty > 0:
            self.clear(name)
            self.trades += 1
            left = max(order.qty - order.filled_qty, Decimal(0))  # an amendment that is under way has not come yet
            qty = STEP.round_qty(left * max(1, abs(number)) / 9)
            if qty:
                fill = filled(name, trade=self.trades, qty=qty, price="100", side=order.request.side, at_ns=at_ns)
                self.execute(order, fill)
        elif what == "cancel" and order.status is not Status.SUBMITTED:
            if order.cancel_requested and number == 0:
                self.see(self.desk.event(cancel_rejected(name, at_ns=at_ns)))
            elif order.cancel_requested or order.request.order_type is OrderType.MARKET:
                self.see(self.desk.event(canceled(name, at_ns=at_ns)))
        elif what == "reject" and order.status is Status.SUBMITTED and not order.filled_qty and number == 1:
            self.see(self.desk.event(rejected(name, at_ns=at_ns)))
        elif what == "amend" and order.amend_requested is not None:
            self.amend(order, is_taken=number > 0)

    def execute(self, order: Order, fill: OrderFilled) -> None:
        """Have an order's execution happen, and told at once."""
        self.see(self.desk.event(fill))

    def amend(self, order: Order, *, is_taken: bool) -> None:
        """Answer an order's amendment; one below what has filled is refused, whatever is asked for."""
        asked = order.amend_requested
        assert asked is not None
        about: dict[str, Any] = {
            "ts_event_ns": self.desk.now_ns,
            "ts_recv_ns": self.desk.now_ns,
            "client_order_id": order.request.client_order_id,
            "instrument": NAME,
        }
        if is_taken and (asked.qty is None or asked.qty > order.filled_qty):
            qty = order.qty if asked.qty is None else asked.qty
            price = order.limit_price if asked.limit_price is None else asked.limit_price
            self.see(self.desk.event(OrderAmended(**about, qty=qty, limit_price=price)))
        else:
            self.see(self.desk.event(AmendRejected(**about, code="1", reason="no")))

    def clear(self, name: str) -> None:
        """Have a doubt end."""
        if name in self.doubtful:
            self.doubtful.discard(name)
            about = {"ts_ns": 0, "request": f"create:{name}", "client_order_id": name, "instrument": NAME}
            entry = DoubtResolved(**about, outcome="accepted", evidence="", margin_ms=0)  # type: ignore[arg-type]
            self.desk.orders.state.follow_doubt(entry)

    def wait(self, span_ns: int) -> None:
        """Let time pass, and do what is due on the way."""
        end_ns = self.desk.now_ns + span_ns
        for _ in range(1_000):
            due_ns = self.desk.orders.targets.due_ns
            if due_ns is None or due_ns > end_ns:
                break
            self.desk.now_ns = max(self.desk.now_ns, due_ns)
            self.see(self.desk.work())
        else:
            raise AssertionError("it never comes to rest")
        self.desk.now_ns = end_ns

    def settle(self) -> None:
        """Have everything answered, and all that rests filled, until nothing is open any more."""
        for _ in range(500):
            for order in self.live:
                self.clear(order.request.client_order_id)
                if order.status is Status.SUBMITTED:
                    self.answer("accept", order, 1)
                elif order.amend_requested is not None:
                    self.amend(order, is_taken=True)
                elif order.cancel_requested:
                    self.answer("cancel", order, 1)
                else:
                    self.answer("fill", order, 9)
            self.wait(SECOND_NS)
            if not self.live and not self.desk.orders.targets.is_working(NAME):
                return
        raise AssertionError("it never comes to an end")
