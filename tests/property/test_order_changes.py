"""However amendments, fills, cancels and stops cross on their way, no limit is exceeded and all books agree.

A venue of the plainest kind does what it is asked at times of its own and tells of it later. Answers are heard in any
order; executions in the order in which they happened, and an order's before the word of its cancel, which does not say
how much has filled. Who hears of these the other way round knows too little for a moment, and can exceed a limit by it.
"""

from collections.abc import Callable
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.books import differences
from bot.core.portfolio import Portfolio, apply_fill
from bot.domain.account import Position
from bot.domain.instrument import Side
from bot.domain.orders import (
    AccountEvent,
    AmendOpen,
    AmendOrder,
    CancelOpen,
    CancelOrder,
    ChangeStops,
    Exit,
    OrderCanceled,
    OrderFilled,
    PlaceOrder,
    PositionCut,
    SetStops,
    SubmitOrder,
    TriggerSource,
)
from tests.support.desk import LIMITS, Desk
from tests.support.examples import examples
from tests.support.money import BTC, NAME, accepted, cancel_rejected, canceled, dec, filled
from tests.support.venue_side import amend_rejected, amended, cut, stops_changed, stops_rejected, trigger_at, triggered

MOST = 10  # units, at a price of 100
PRICE = dec(100)
STOP = Exit(price=dec(50), source=TriggerSource.MARK)
Draw = Callable[[st.SearchStrategy[int]], int]


class Live:
    """An order as the venue has it."""

    def __init__(self, request: SubmitOrder) -> None:
        self.request = request
        self.qty = request.qty
        self.filled = Decimal(0)
        self.is_waiting = request.trigger is not None
        self.pending: list[AmendOrder | CancelOrder] = []  # sent to it, not arrived

    @property
    def most(self) -> Decimal:
        """Return the most that may still fill, whatever arrives first."""
        asked = [command.qty for command in self.pending if isinstance(command, AmendOrder) and command.qty is not None]
        return max([self.qty, *asked]) - self.filled


class Venue:
    """Orders, a position, and what has been told but not heard."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.live: dict[str, Live] = {}
        self.position = Position(instrument=NAME)
        self.cash = dec(1_000_000)
        self.untold: list[AccountEvent] = []
        self.has_stops = False  # of the position that is held
        self._clock = 1
        self._trades = 0

    def tell(self, event: AccountEvent) -> None:
        """Let something be heard of later."""
        self._clock += 1
        at_ns = self.desk.now_ns + self._clock
        self.untold.append(replace(event, ts_event_ns=at_ns, ts_recv_ns=at_ns))

    def hear(self, number: int) -> AccountEvent:
        """Return one of what was told, to be heard now."""
        event = self.untold[number]
        executions = [e for e in self.untold if isinstance(e, OrderFilled | PositionCut)]
        if isinstance(event, OrderCanceled):
            name = event.client_order_id
            is_filled = any(isinstance(e, OrderFilled) and e.client_order_id == name for e in executions)
            event = executions[0] if is_filled else event
        elif isinstance(event, OrderFilled | PositionCut):
            event = executions[0]
        self.untold.remove(event)
        return event

    def take(self, commands: list[object]) -> None:
        """Receive what was sent; amendments and cancels arrive later."""
        for command in commands:
            match command:
                case SubmitOrder():
                    self.live[command.client_order_id] = Live(command)
                    self.tell(accepted(command.client_order_id))
                case AmendOrder() | CancelOrder() if command.client_order_id in self.live:
                    self.live[command.client_order_id].pending.append(command)
                case ChangeStops() if self.position.qty:
                    self.has_stops = True
                    self.tell(stops_changed(loss="50"))
                case ChangeStops():
                    self.tell(stops_rejected(command.request_id))
                case AmendOrder():
                    self.tell(amend_rejected(command.client_order_id))
                case CancelOrder():
                    self.tell(cancel_rejected(command.client_order_id))

    def arrive(self, order: Live) -> None:
        """Let the oldest message that is on its way to an order arrive."""
        command, name = order.pending.pop(0), order.request.client_order_id
        match command:
            case AmendOrder(qty=Decimal() as qty) if qty > order.filled:
                order.qty = qty
                self.tell(amended(name, qty=qty, limit=order.request.limit_price))
            case AmendOrder():
                self.tell(amend_rejected(name))
            case CancelOrder():
                self.end(order)
                self.tell(canceled(name))

    def end(self, order: Live) -> None:
        """Forget an order; what arrives for it now is refused."""
        del self.live[order.request.client_order_id]
        self.take(list(order.pending))

    def fill(self, order: Live, qty: Decimal) -> None:
        """Fill some of an order."""
        name, side = order.request.client_order_id, order.request.side
        if order.is_waiting:
            order.is_waiting = False
            self.tell(triggered(name))
        self._trades += 1
        self._book(side, qty)
        self.tell(filled(name, trade=self._trades, side=side, qty=qty, price=PRICE, fee="0.01"))
        order.filled += qty
        if order.filled == order.qty:
            self.end(order)

    def leave(self, qty: Decimal) -> None:
        """Cut the position by itself."""
        side = Side.SELL if self.position.qty > 0 else Side.BUY
        self._trades += 1
        self._book(side, qty)
        self.tell(cut(trade=self._trades, side=side, qty=str(qty), price=str(PRICE), fee="0.01"))

    def _book(self, side: Side, qty: Decimal) -> None:
        before, was = self.position.realized_pnl, self.position.qty
        self.position = apply_fill(self.position, side=side, price=PRICE, qty=qty, fee=dec("0.01"))
        self.cash += self.position.realized_pnl - before - dec("0.01")
        if self.has_stops and self.position.qty * was <= 0:
            self.has_stops = False
            self.tell(stops_changed())

    def is_turning(self) -> bool:
        """Return whether an order could turn the position over: a stop that comes after it is never denied."""
        return any(order.request.side.sign * self.position.qty < 0 for order in self.live.values())

    def worst(self) -> Decimal:
        """Return the largest position that could come of it, whatever fills and arrives."""
        sums = {side: sum((o.most for o in self.live.values() if o.request.side is side), Decimal(0)) for side in Side}
        return max(abs(self.position.qty + sums[Side.BUY]), abs(self.position.qty - sums[Side.SELL]))


@given(data=st.data(), steps=st.lists(st.integers(0, 8), min_size=5, max_size=40))
@settings(max_examples=examples(150), deadline=None)
def test_no_limit_is_exceeded_whatever_crosses_what(data: st.DataObject, steps: list[int]) -> None:
    """After every step the truth lies within the limit; once all is told, so do both books, to the last digit."""
    desk = Desk(
        limits=replace(LIMITS, position_notional_max=PRICE * MOST),
        btc=replace(BTC, qty_min=BTC.qty_step, notional_min=dec(0)),
    )
    venue = Venue(desk)

    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    for step in steps:
        name = data.draw(st.sampled_from(sorted(venue.live))) if venue.live else ""
        order = venue.live.get(name)
        desk.now_ns += 100
        if step == 0 or order is None:
            wish = PlaceOrder(
                instrument=NAME,
                side=Side.BUY if draw(0, 1) else Side.SELL,
                qty=dec(draw(1, MOST)),
                limit_price=PRICE,
                trigger=trigger_at("105") if draw(0, 3) == 0 else None,
            )
            venue.take(list(desk.wish(wish).send))
        elif step == 1:
            wish_ = AmendOpen(instrument=NAME, client_order_id=name, qty=dec(draw(1, 2 * MOST)))
            venue.take(list(desk.wish(wish_).send))
        elif step == 2:
            venue.take(list(desk.wish(CancelOpen(instrument=NAME, client_order_id=name)).send))
        elif step == 3 and order.pending:
            venue.arrive(order)
        elif step == 4:
            venue.fill(order, dec(draw(1, int(order.qty - order.filled))))
        elif step == 5 and venue.has_stops:
            venue.leave(dec(draw(1, int(abs(venue.position.qty)))))
        elif step == 6 and not venue.is_turning():
            venue.take(list(desk.wish(SetStops(instrument=NAME, stop_loss=STOP)).send))
        elif venue.untold:
            desk.event(venue.hear(draw(0, len(venue.untold) - 1)))
        assert venue.worst() <= MOST
    portfolio: Portfolio = desk.orders.state.portfolio
    sides = {"cash": venue.cash, "positions": {NAME: venue.position}}
    assert differences(portfolio, **sides, untold=venue.untold) == []  # type: ignore[arg-type]
    while venue.untold:
        desk.event(venue.hear(draw(0, len(venue.untold) - 1)))
    assert portfolio.positions[NAME].qty == venue.position.qty
    assert differences(portfolio, **sides, untold=[]) == []  # type: ignore[arg-type]
    for name, order in venue.live.items():
        known = desk.orders.state.orders[name]
        assert (known.is_live, known.qty, known.filled_qty) == (True, order.qty, order.filled)
