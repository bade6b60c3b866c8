"""From an action to what leaves for the venue: named, held against the gate, kept, recorded.

Whoever decides (a strategy, a target's execution, a rule) sends through here, and nothing else writes down an intent or
a denial. What it comes to is added to the `Effects` that are handed in.
"""

import msgspec
from msgspec.structs import replace

from bot.core.effects import Effects, Notice
from bot.core.execution.legs import leg_of, on_leg
from bot.core.execution.told import notices
from bot.core.money_state import MoneyState
from bot.core.order import Order, ask_amendment
from bot.core.risk import Book, Denial, Marks, RiskLimits, judge, judge_amendment, judge_stops
from bot.core.stops import Stops
from bot.core.submission.ids import ClientOrderIds
from bot.domain.account import ZERO
from bot.domain.ledger import (
    AmendIntended,
    CancelIntended,
    DecisionMade,
    OrderIntended,
    RiskDenied,
    StopsIntended,
)
from bot.domain.orders import (
    Action,
    AmendOpen,
    AmendOrder,
    CancelOrder,
    ChangeStops,
    Leg,
    OrderType,
    PlaceOrder,
    SetStops,
    SubmitOrder,
)

Refusal = tuple[Denial, str]
"""Why the gate would not let something pass: its code, and a line that says what to do."""

_SHARED_POSITION = (
    Denial.STOPS_INVALID,
    "the venue keeps exits for the whole position, which several strategies share here; watch them at bars instead",
)


class Sender:
    """See the module.

    Args:
        state: the money half's; what is sent is kept there.
        limits: the gate's.
        ids: names the orders.
    """

    def __init__(self, state: MoneyState, *, limits: RiskLimits, ids: ClientOrderIds) -> None:
        self.limits = limits
        self._state = state
        self._ids = ids
        self._shared = state.strategy_books

    def decide(
        self,
        instrument: str,
        action: Action,
        *,
        strategy: str,
        trigger: str,
        reason: str,
        now_ns: int,
        effects: Effects,
    ) -> None:
        """Record a decision that no strategy's wish has made: what is sent next follows from it."""
        state = self._state
        state.decisions += 1
        effects.record.append(
            DecisionMade(
                ts_ns=now_ns,
                decision_id=state.decisions,
                strategy=strategy,
                instrument=instrument,
                trigger=trigger,
                bar_close_ns=None,
                close_price=None,
                position_qty=state.position_qty(instrument),
                forecast_id=None,
                action=msgspec.json.encode(action).decode(),
                reason=reason,
            )
        )

    def place(self, place: PlaceOrder, strategy: str, marks: Marks, now_ns: int, effects: Effects) -> Order | Refusal:
        """Send a wished order and return it, or why the gate would not let it pass."""
        if self._shared is not None and (place.take_profit is not None or place.stop_loss is not None):
            self.deny(place.instrument, _SHARED_POSITION, now_ns, effects)
            return _SHARED_POSITION
        return self.send(
            strategy=strategy,
            instrument=place.instrument,
            side=place.side,
            order_type=OrderType.MARKET if place.limit_price is None else OrderType.LIMIT,
            qty=place.qty,
            limit_price=place.limit_price,
            time_in_force=place.time_in_force,
            reduce_only=place.reduce_only,
            trigger=place.trigger,
            take_profit=place.take_profit,
            stop_loss=place.stop_loss,
            marks=marks,
            now_ns=now_ns,
            effects=effects,
        )

    def send(
        self,
        *,
        strategy: str,
        marks: Marks,
        now_ns: int,
        effects: Effects,
        is_rule: bool = False,
        **asked: object,
    ) -> Order | Refusal:
        """Send an order and return it, or why the gate would not let it pass.

        Args:
            strategy: whose it is.
            marks: the newest prices, by instrument.
            now_ns: the time.
            effects: where what it comes to is added.
            is_rule: a rule closes a position: no latch holds it back.
            asked: the order's other fields, as in `SubmitOrder`.
        """
        state = self._state
        client_order_id, number = self._ids.next(strategy)
        order = SubmitOrder(client_order_id=client_order_id, order_number=number, **asked)  # type: ignore[arg-type]
        mark = marks.get(order.instrument)
        book = state.book(order.instrument, marks, now_ns)
        if order.instrument in state.hedged:
            placed = self._on_leg(order, book)
            if isinstance(placed, str):
                self.deny(order.instrument, (Denial.OTHER_LEG, placed), now_ns, effects)
                return Denial.OTHER_LEG, placed
            order, book = placed
        denial = judge(
            order,
            instrument=state.instruments.get(order.instrument),
            mark=mark,
            book=book,
            limits=self.limits,
            hold=None if is_rule else state.hold(order.instrument),
        )
        if denial is not None:
            self.deny(order.instrument, denial, now_ns, effects)
            return denial
        assert mark is not None
        sent = state.sent(order, strategy, now_ns, is_rule=is_rule)
        effects.publish += notices(state, sent, None)
        effects.record.append(
            OrderIntended(ts_ns=now_ns, decision_id=state.decisions, mark_price=mark.price, order=order)
        )
        if self._shared is not None and strategy not in self._shared.strategies:
            effects.record.append(self._shared.share(sent, state.live[order.instrument].values(), now_ns))
        effects.send.append(order)
        return sent

    def amend(self, wish: AmendOpen, strategy: str, marks: Marks, now_ns: int, effects: Effects) -> Refusal | None:
        """Ask for an order of the strategy's own to become another, if the gate would have it so; else return why."""
        state = self._state
        live = state.live.get(wish.instrument)
        order = None if live is None else live.get(wish.client_order_id)
        if order is None or order.cancel_requested or state.strategy_of[wish.client_order_id] != strategy:
            detail = f"{wish.client_order_id} is no open order of yours, or is being canceled"
            self.deny(wish.instrument, (Denial.ORDER_NOT_OPEN, detail), now_ns, effects)
            return Denial.ORDER_NOT_OPEN, detail
        amend = AmendOrder(
            client_order_id=wish.client_order_id,
            order_number=order.request.order_number,
            amend_number=order.amend_count + 1,
            instrument=wish.instrument,
            qty=wish.qty,
            limit_price=wish.limit_price,
            trigger_price=wish.trigger_price,
        )
        mark = marks.get(wish.instrument)
        denial = judge_amendment(
            order,
            amend,
            instrument=state.instruments[wish.instrument],
            mark=mark,
            book=state.book(wish.instrument, marks, now_ns, without=wish.client_order_id),
            limits=self.limits,
            hold=state.hold(wish.instrument),
        )
        if denial is not None:
            self.deny(wish.instrument, denial, now_ns, effects)
            return denial
        state.sends_ns.append(now_ns)
        asked = ask_amendment(order, amend, now_ns)
        state.keep(asked, now_ns)
        effects.publish += notices(state, asked, None)
        price = None if mark is None else mark.price
        effects.record.append(AmendIntended(ts_ns=now_ns, decision_id=state.decisions, mark_price=price, amend=amend))
        if self._shared is not None and wish.qty is not None and strategy not in self._shared.strategies:
            effects.record.append(self._shared.share(asked, state.live[wish.instrument].values(), now_ns))
        effects.send.append(amend)
        return None

    def set_stops(self, wish: SetStops, strategy: str, marks: Marks, now_ns: int, effects: Effects) -> None:
        """Ask for other exits of a position, if the gate would have it so."""
        state = self._state
        if self._shared is not None:
            self.deny(wish.instrument, _SHARED_POSITION, now_ns, effects)
            return
        request_id, number = self._ids.next(strategy)
        change = ChangeStops(
            request_id=request_id,
            order_number=number,
            instrument=wish.instrument,
            take_profit=wish.take_profit,
            stop_loss=wish.stop_loss,
            trailing_distance=wish.trailing_distance,
            leg=leg_of(state.position_qty(wish.instrument)) if wish.instrument in state.hedged else Leg.NET,
        )
        mark = marks.get(wish.instrument)
        denial = judge_stops(
            change,
            state.stops.get(wish.instrument, Stops()),
            instrument=state.instruments.get(wish.instrument),
            mark=mark,
            book=state.book(wish.instrument, marks, now_ns),
            limits=self.limits,
            hold=state.hold(wish.instrument),
        )
        if denial is not None:
            self.deny(wish.instrument, denial, now_ns, effects)
            return
        state.sends_ns.append(now_ns)
        state.has_stops.add(wish.instrument)
        price = None if mark is None else mark.price
        effects.record.append(StopsIntended(ts_ns=now_ns, decision_id=state.decisions, mark_price=price, change=change))
        effects.send.append(change)

    def cancel(self, order: Order, now_ns: int, effects: Effects) -> None:
        """Ask for an order to be gone: nothing keeps a cancel from leaving."""
        state = self._state
        state.keep(replace(order, cancel_requested=True), now_ns)
        cancel = CancelOrder(
            client_order_id=order.request.client_order_id,
            order_number=order.request.order_number,
            instrument=order.request.instrument,
        )
        effects.record.append(CancelIntended(ts_ns=now_ns, decision_id=state.decisions, cancel=cancel))
        effects.send.append(cancel)

    def deny(self, instrument: str, denial: Refusal, now_ns: int, effects: Effects) -> None:
        """Record that what the last decision asked for was not let pass, and say so."""
        code, detail = denial
        denied = RiskDenied(
            ts_ns=now_ns,
            decision_id=self._state.decisions,
            instrument=instrument,
            code=code.value,
            detail=detail,
        )
        effects.record.append(denied)
        effects.publish.append(Notice(order=None, event=denied))

    def _on_leg(self, order: SubmitOrder, book: Book) -> tuple[SubmitOrder, Book] | str:
        """Return an order of an instrument in hedge mode on its leg, and what it is judged by; or why it cannot be."""
        name = order.instrument
        if order.leg is Leg.NET:
            placed = on_leg(order, book.position.qty, self._state.may_fill(name))
            return placed if isinstance(placed, str) else (placed, book)
        held = dict(self._state.closable_legs(name))  # a rule closes a leg: it is the leg that it is held against
        return order, replace(book, position=replace(book.position, qty=held.get(order.leg, ZERO)))
