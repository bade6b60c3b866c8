"""What happens because a rule or a person says so, whatever the strategies wish: halts, exits, the kill switch."""

from collections.abc import Iterable
from decimal import Decimal

from bot.core.effects import RISK, Effects
from bot.core.execution.targets import Targets
from bot.core.money_state import MoneyState
from bot.core.order import Order
from bot.core.risk import Marks
from bot.core.sender import Sender
from bot.core.trading_state import Cause
from bot.domain.account import ZERO
from bot.domain.instrument import Side
from bot.domain.ledger import LossBaseMoved
from bot.domain.orders import Action, CancelOpen, OrderType, Target

_RULE = "rule"  # the trigger of what is done for a reason of its own, not for a latch


class Rules:
    """Carries out what the protections ask for, and what a person does.

    Args:
        state: the money half's.
        sender: what the rules send leaves through it, too.
        targets: are left where a rule acts.
        is_restorable: record what losses are measured from whenever it moves.
    """

    def __init__(self, state: MoneyState, sender: Sender, targets: Targets, *, is_restorable: bool) -> None:
        self._state = state
        self._sender = sender
        self._targets = targets
        self._protections = state.protections
        self._is_restorable = is_restorable
        self._loss_base: tuple[int, Decimal | None, Decimal | None] | None = None  # as last recorded

    # --- the account's worth ----------------------------------------------------------------------------------------

    def observe(self, marks: Marks, now_ns: int, *, is_check: bool = False) -> Effects:
        """Look at what the account is worth, and do what the protections then ask for.

        Args:
            marks: the newest prices, by instrument.
            now_ns: the time.
            is_check: it is the clock that asks: a flattening order that did not come through is sent again.
        """
        equity = self._state.books.equity(marks) if self._protections.watches_equity else None
        changed = self._protections.see_equity(equity, now_ns)
        effects = Effects(record=list(changed))
        self._record_loss_base(now_ns, effects)
        self.enforce(now_ns, effects)
        if self._protections.wants_flat and (changed or is_check):
            self._flatten(marks, now_ns, effects)
        return effects

    @property
    def wants_checks(self) -> bool:
        """Return whether equity can move by itself in a way that the protections want to know of."""
        return self._protections.watches_equity and any(p.qty for p in self._state.portfolio.positions.values())

    def enforce(self, now_ns: int, effects: Effects) -> None:
        """Cancel what could still enter where only exits may, and everything where the account is to be flat."""
        if self._protections.states.is_quiet:
            return
        for name, live in self._state.live.items():
            if not live or self._protections.hold(name) is None:
                continue
            if self._protections.wants_flat:
                doomed = [order for key, order in live.items() if key not in self._state.closing]
            else:
                doomed = _entries(live.values(), self._state.position_qty(name))
            self._cancel_all(name, doomed, now_ns, effects)

    # --- a person ---------------------------------------------------------------------------------------------------

    def halt(self, why: str, *, marks: Marks, now_ns: int) -> Effects:
        """Halt the account because a person says so."""
        effects = Effects(record=list(self._protections.halt(why, now_ns)))
        self.enforce(now_ns, effects)
        if self._protections.wants_flat:
            self._flatten(marks, now_ns, effects)
        return effects

    def resume(self, why: str, now_ns: int) -> Effects:
        """Let everything trade again because a person says so."""
        effects = Effects(record=list(self._protections.resume(why, now_ns)))
        self._record_loss_base(now_ns, effects)
        return effects

    def hold_back(self, instrument: str, why: str, now_ns: int) -> Effects:
        """Halt one instrument until a person has looked into it: our picture and the venue's contradict each other."""
        effects = Effects(record=list(self._protections.halt(why, now_ns, scope=instrument, cause=Cause.RECONCILE)))
        self.enforce(now_ns, effects)
        return effects

    def reduce_account(self, why: str, now_ns: int, *, cause: Cause = Cause.PERSON) -> Effects:
        """Let only exits pass anywhere until a person says otherwise."""
        effects = Effects(record=list(self._protections.reduce(why, now_ns, cause=cause)))
        self.enforce(now_ns, effects)
        return effects

    def kill(self, why: str, *, marks: Marks, now_ns: int) -> Effects:
        """Halt everything, for no one but the host to open again, and cancel every order there is."""
        effects = Effects(record=list(self._protections.halt(why, now_ns, cause=Cause.KILL)))
        self._targets.leave_all("the kill switch is closed", now_ns)
        for name, live in self._state.live.items():
            doomed = [order for key, order in live.items() if key not in self._state.closing]
            self._cancel_all(name, doomed, now_ns, effects)
        if self._protections.wants_flat:
            self._flatten(marks, now_ns, effects)
        return effects

    def re_arm(self, why: str, now_ns: int) -> Effects:
        """Open the kill switch's latch; what else holds keeps holding."""
        return Effects(record=list(self._protections.re_arm(why, now_ns)))

    @property
    def is_killed(self) -> bool:
        """Return whether the kill switch is latched."""
        return any(latch.cause is Cause.KILL for latch in self._protections.states.latches())

    # --- one order, one position ------------------------------------------------------------------------------------

    def cancel(self, client_order_id: str, why: str, now_ns: int) -> Effects:
        """Cancel one order because a rule says so, also where it has been asked for already."""
        effects = Effects()
        order = self._state.orders.get(client_order_id)
        if order is not None and order.is_live:
            name = order.request.instrument
            action = CancelOpen(instrument=name, client_order_id=client_order_id)
            self._decide(name, action, _RULE, why, now_ns, effects)
            self._sender.cancel(order, now_ns, effects)
        return effects

    def close_position(self, instrument: str, why: str, *, marks: Marks, now_ns: int) -> Effects:
        """Close one position at the market because a rule says so, where that is not under way already."""
        effects = Effects()
        self._close(instrument, marks, now_ns, effects, why=why)
        return effects

    # --- parts ------------------------------------------------------------------------------------------------------

    def _cancel_all(self, name: str, orders: Iterable[Order], now_ns: int, effects: Effects) -> None:
        """Cancel orders of an instrument for the latch in force there, but those that are being canceled already."""
        doomed = [order for order in orders if not order.cancel_requested]
        if doomed:
            self._decide_by_latch(name, CancelOpen(instrument=name), now_ns, effects)
            for order in doomed:
                self._sender.cancel(order, now_ns, effects)

    def _flatten(self, marks: Marks, now_ns: int, effects: Effects) -> None:
        """Send what closes every position, where it is not under way already."""
        for name in self._state.instruments:
            self._close(name, marks, now_ns, effects)

    def _close(self, name: str, marks: Marks, now_ns: int, effects: Effects, *, why: str = "") -> None:
        """Send what closes one position; `why` is its reason, the latch in force where none is given."""
        state = self._state
        legs = state.closable_legs(name)
        if not legs or any(key in state.closing for key in state.live[name]):
            return
        self._targets.leave(name, "a rule closes the position", now_ns)
        flat = Target(instrument=name, qty=ZERO)
        if why:
            self._decide(name, flat, _RULE, why, now_ns, effects)
        else:
            self._decide_by_latch(name, flat, now_ns, effects)
        qty_max = state.instruments[name].qty_max
        parts = [(leg, qty, part) for leg, qty in legs for part in _parts(abs(qty), qty_max)]
        for leg, qty, part in parts:
            self._sender.send(
                strategy=RISK,
                instrument=name,
                side=Side.SELL if qty > 0 else Side.BUY,
                order_type=OrderType.MARKET,
                qty=part,
                reduce_only=True,
                leg=leg,
                marks=marks,
                now_ns=now_ns,
                effects=effects,
                is_rule=True,
            )

    def _decide_by_latch(self, name: str, action: Action, now_ns: int, effects: Effects) -> None:
        """Record a decision that the rules made, with the latch in force as its reason."""
        hold = self._protections.hold(name)
        assert hold is not None
        reason = f"{hold.cause.value}: {hold.why.detail}"
        self._decide(name, action, f"state:{hold.state.value}", reason, now_ns, effects)

    def _decide(self, name: str, action: Action, trigger: str, reason: str, now_ns: int, effects: Effects) -> None:
        self._sender.decide(name, action, strategy=RISK, trigger=trigger, reason=reason, now_ns=now_ns, effects=effects)

    def _record_loss_base(self, now_ns: int, effects: Effects) -> None:
        """Record what losses are measured from, where that has moved and somebody may need to know later."""
        base = self._protections.loss_base
        if self._is_restorable and base != self._loss_base:
            self._loss_base = base
            day, peak, day_start = base
            effects.record.append(LossBaseMoved(ts_ns=now_ns, day=day, peak=peak, day_start=day_start))


def _parts(qty: Decimal, qty_max: Decimal) -> list[Decimal]:
    """Return a quantity in as many as it takes for none to be above the most."""
    parts = []
    while qty > 0:
        parts.append(min(qty, qty_max))
        qty -= parts[-1]
    return parts


def _entries(live: Iterable[Order], position: Decimal) -> list[Order]:
    """Return the orders that could enter or turn over the position, were all of their side to fill."""
    found = []
    for side in Side:
        mine = [order for order in live if order.request.side is side and not order.request.reduce_only]
        leaving = sum((order.remaining_qty for order in mine), ZERO)
        if not (position * side.sign < 0 and leaving <= abs(position)):
            found += mine
    return found
