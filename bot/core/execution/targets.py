"""All targets that are being worked at: taken on, gone on with when time or an event has come, let go.

One chase for each instrument whose target is not reached yet says what the next steps are; they are taken here.
"""

from decimal import Decimal

from msgspec.structs import replace

from bot.core.effects import EXECUTION, Effects, Notice
from bot.core.execution.chase import Chase, Step, View
from bot.core.execution.policy import ExecutionPolicy
from bot.core.execution.strategy_books import NET
from bot.core.execution.told import crossed
from bot.core.money_state import MoneyState
from bot.core.order import Order
from bot.core.risk import Denial, Marks
from bot.core.sender import Refusal, Sender
from bot.core.trading_state import TradingState
from bot.domain.account import ZERO
from bot.domain.instrument import Side
from bot.domain.orders import AmendOpen, CancelOpen, OrderType, PlaceOrder, Target

_NEVER_NS = 2**62
_ABSURD_QTY = Decimal(10**15)  # beyond it nothing is netted or rounded: the gate denies it as it is


class Targets:
    """See the module.

    Args:
        state: the money half's.
        sender: takes the steps.
        policy: how targets are reached.
    """

    def __init__(self, state: MoneyState, sender: Sender, policy: ExecutionPolicy) -> None:
        self._state = state
        self._sender = sender
        self._policy = policy
        self._shared = state.strategy_books
        self._chases: dict[str, Chase] = {}  # by instrument

    # --- what is wanted ---------------------------------------------------------------------------------------------

    def reach(self, target: Target, strategy: str, marks: Marks, now_ns: int, effects: Effects) -> None:
        """Go for the target of a decision that has just been recorded."""
        instrument = self._state.instruments.get(target.instrument)
        if instrument is not None and target.qty.is_finite() and abs(target.qty) < _ABSURD_QTY:
            if self._shared is None:
                self._aim(instrument.name, target.qty, strategy, now_ns)
                self._go_on(instrument.name, marks, now_ns, effects, is_decided=True)
                return
            self._shared.wish(strategy, instrument.name, target.qty)
            chase = self._aim(instrument.name, self._shared.target(instrument.name), NET, now_ns)
            chase.due_ns = now_ns + self._policy.net_within_ns  # others may decide at the same moment: it is netted
            return
        self._sender.send(  # there is no netting with such a number: the gate denies it as it is
            strategy=strategy,
            instrument=target.instrument,
            side=Side.SELL if target.qty.is_signed() else Side.BUY,
            order_type=OrderType.MARKET,
            qty=target.qty.copy_abs(),
            marks=marks,
            now_ns=now_ns,
            effects=effects,
        )

    def withdraw(self, wish: CancelOpen, strategy: str, now_ns: int) -> None:
        """Let go of a target whose orders the strategy cancels itself: else what is canceled would come back."""
        if self._shared is not None and wish.client_order_id is None and wish.instrument in self._state.instruments:
            self._shared.want_no_more(wish.instrument, strategy)
            self.poke(wish.instrument, now_ns)
        chase = self._chases.get(wish.instrument)
        if chase is not None and chase.strategy == strategy and wish.client_order_id in (None, *chase.mine):
            chase.leave("", now_ns)

    def leave(self, instrument: str, why: str, now_ns: int) -> None:
        """Want nothing more in an instrument: `work` takes back what rests for its target."""
        if chase := self._chases.get(instrument):
            chase.leave(why, now_ns)

    def leave_all(self, why: str, now_ns: int) -> None:
        """Want nothing more anywhere."""
        for chase in self._chases.values():
            chase.leave(why, now_ns)

    def drop_if_reached(self, order: Order) -> None:
        """Forget a target that an order's last fill has reached: there is nothing left to look at.

        Not where its quantity may still change: by an execution that is owed, of another leg, of another's wish.
        """
        state, name = self._state, order.request.instrument
        if self._shared is not None or state.owing or name in state.hedged:
            return
        chase = self._chases.get(name)
        if chase is not None and chase.is_reached_by(order, state.position_qty(name)):
            del self._chases[name]

    # --- when -------------------------------------------------------------------------------------------------------

    def is_working(self, instrument: str) -> bool:
        """Return whether an instrument's target is not reached yet."""
        return instrument in self._chases

    @property
    def due_ns(self) -> int | None:
        """Return when `work` has something to do; None: when something has happened."""
        if not self._chases:  # asked for after every message, and mostly nothing is wanted
            return None
        due_ns = _NEVER_NS
        for chase in self._chases.values():
            if chase.due_ns < due_ns:
                due_ns = chase.due_ns
        return None if due_ns >= _NEVER_NS else due_ns

    def is_due(self, now_ns: int) -> bool:
        """Return whether `work` has something to look at."""
        due_ns = self.due_ns
        return due_ns is not None and due_ns <= now_ns

    def poke(self, instrument: str, now_ns: int) -> None:
        """Have an instrument's target looked at: something has happened there."""
        chase = self._chases.get(instrument)
        if chase is not None and now_ns < chase.due_ns:
            chase.due_ns = now_ns

    def work(self, marks: Marks, now_ns: int) -> Effects:
        """Go on with the targets that are not reached yet, where time or an event has come to do so."""
        effects = Effects()
        for name in sorted(name for name, chase in self._chases.items() if chase.due_ns <= now_ns):
            self._go_on(name, marks, now_ns, effects)
        return effects

    # --- the steps --------------------------------------------------------------------------------------------------

    def _aim(self, name: str, target_qty: Decimal, strategy: str, now_ns: int) -> Chase:
        """Begin a chase, or give the one under way another target: it goes on from where it is."""
        chase, number = self._chases.get(name), self._state.decisions
        if chase is None:
            chase = self._chases[name] = Chase(
                target_qty=target_qty, strategy=strategy, policy=self._policy, number=number, now_ns=now_ns
            )
        else:
            chase.retarget(target_qty, strategy, number, now_ns)
        return chase

    def _go_on(self, name: str, marks: Marks, now_ns: int, effects: Effects, *, is_decided: bool = False) -> None:
        """Take the next steps towards an instrument's target.

        Args:
            is_decided: the decision they follow from has just been recorded; else each is recorded as one of its own.
        """
        chase, state = self._chases[name], self._state
        if self._shared is not None and not is_decided:
            self._cross(name, marks, now_ns, effects)
            chase.adjust(self._shared.target(name), now_ns)
        view = View(
            instrument=state.instruments[name],
            position_qty=state.position_qty(name),
            live=tuple(state.live[name].values()),
            orders=state.orders,
            mark=marks.get(name),
            now_ns=now_ns,
            is_hedged=name in state.hedged,
            owing=state.owing_of(name),
            is_doubtful=name in state.doubts,
        )
        for step in chase.step(view):
            if not is_decided:
                self._sender.decide(
                    name,
                    step,
                    strategy=chase.strategy,
                    trigger=EXECUTION,
                    reason=step.reason,
                    now_ns=now_ns,
                    effects=effects,
                )
            self._take_step(step, chase, marks, now_ns, effects)
        if chase.is_done:
            del self._chases[name]
            if self._shared is not None and chase.is_given_up:
                self._shared.want_no_more(name)
            if chase.dropped:
                detail = f"{chase.target_qty:f} of {chase.strategy}: {chase.dropped}"
                self._sender.deny(name, (Denial.TARGET_DROPPED, detail), now_ns, effects)

    def _cross(self, name: str, marks: Marks, now_ns: int, effects: Effects) -> None:
        """Let opposite wishes of strategies meet at the last price, where there is a fresh one and nothing is held."""
        mark, shared, state = marks.get(name), self._shared, self._state
        is_fresh = mark is not None and 0 <= now_ns - mark.ts_ns <= self._sender.limits.mark_age_ns_max
        if shared is None or mark is None or not is_fresh or not mark.price > 0 or state.hold(name) is not None:
            return
        moves = shared.cross(name, mark.price, state.live[name].values(), state.crossings + 1, now_ns)
        if moves:
            state.crossings += 1
        effects.record += moves
        effects.publish += [Notice(order=None, event=event, strategy=who) for who, event in crossed(moves)]

    def _take_step(self, step: Step, chase: Chase, marks: Marks, now_ns: int, effects: Effects) -> None:
        outcome: Order | Refusal | None = None
        match step:
            case PlaceOrder(limit_price=None):
                for qty in self._cut_at_flat(step.instrument, step.side, step.qty):
                    outcome = self._sender.place(replace(step, qty=qty), chase.strategy, marks, now_ns, effects)
                    if isinstance(outcome, Order):
                        chase.sent(outcome)
            case PlaceOrder():
                outcome = self._sender.place(step, chase.strategy, marks, now_ns, effects)
                if isinstance(outcome, Order):
                    self._state.worked.add(outcome.request.client_order_id)
                    chase.sent(outcome)
            case AmendOpen():
                outcome = self._sender.amend(step, chase.strategy, marks, now_ns, effects)
            case CancelOpen(client_order_id=str(order_id)):
                self._sender.cancel(self._state.orders[order_id], now_ns, effects)
        if isinstance(outcome, tuple):
            chase.denied(*outcome, now_ns)

    def _cut_at_flat(self, instrument: str, side: Side, qty: Decimal) -> tuple[Decimal, ...]:
        """Return an order's quantity; while only exits pass, in two where it would turn the position over.

        The first part may then leave, and the second is denied: otherwise nothing could be closed by who always turns.
        """
        state = self._state
        hold = state.protections.hold(instrument)
        if hold is None or hold.state is not TradingState.REDUCING or instrument not in state.instruments:
            return (qty,)
        position = state.position_qty(instrument)
        live = (o for o in state.live[instrument].values() if o.request.side is side and not o.request.reduce_only)
        room = abs(position) - sum((o.remaining_qty for o in live), ZERO)
        if not (qty.is_finite() and position * side.sign < 0 and 0 < room < qty):
            return (qty,)
        return room, qty - room
