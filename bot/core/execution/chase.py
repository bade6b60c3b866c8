"""One instrument's way to its target: what to order, move or cancel next.

Looked at after every event of the instrument and whenever `due_ns` has come, it answers with the next actions. It knows
no clock and no venue, and believes only what the orders' own states say. An order is never asked for that could,
together with all that is open, in flight or in doubt, carry the position beyond the target: what nobody knows the
outcome of counts as if it filled.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.core.execution.legs import must_wait
from bot.core.execution.policy import AtEnd, ExecutionPolicy, Style
from bot.core.execution.room import reach_of
from bot.core.execution.schedule import NOTHING, Schedule, spread
from bot.core.order import Order, Status
from bot.core.risk import Denial, Mark
from bot.domain.account import ZERO
from bot.domain.instrument import Instrument, Side
from bot.domain.orders import AmendOpen, CancelOpen, OrderType, PlaceOrder, TimeInForce

Step = PlaceOrder | AmendOpen | CancelOpen

_NEVER_NS = 2**62
_DOUBLINGS_MAX = 4  # of the wait after a denial that passes by itself
_PASSING = (  # a denial for what will be otherwise in a moment
    Denial.IN_DOUBT,
    Denial.ORDER_RATE,
    Denial.MARK_STALE,
    Denial.MARK_MISSING,
    Denial.AMEND_PENDING,
)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to see of one instrument."""

    instrument: Instrument
    position_qty: Decimal
    live: tuple[Order, ...]  # all that may still fill, whoever asked for it
    orders: Mapping[str, Order]  # also those that are done
    mark: Mark | None
    now_ns: int
    is_hedged: bool = False  # no order may carry the position through flat
    owing: tuple[Order, ...] = ()  # done, and executions of them are to come
    is_doubtful: bool = False  # nobody knows what came of a request


class Stage(StrEnum):
    """How one part of the way is gone."""

    PATIENT = "patient"  # as the policy has it
    CROSSING = "crossing"  # patience has ended: the rest at the market
    LEAVING = "leaving"  # nothing more is wanted: what rests is canceled


class Chase:
    """The way to one target.

    Args:
        target_qty: signed.
        strategy: whose wish it is.
        policy: how.
        number: the run's n-th target: a schedule's jitter is a function of it.
        now_ns: the time.
    """

    def __init__(
        self, *, target_qty: Decimal, strategy: str, policy: ExecutionPolicy, number: int, now_ns: int
    ) -> None:
        self.target_qty = target_qty
        self.strategy = strategy
        self.due_ns = now_ns
        self.is_done = False
        self.dropped = ""  # why it was given up; empty where it was not, or nobody need be told
        self._policy = policy
        self._number = number
        self._begun_ns = now_ns
        self._mine: dict[str, Decimal] = {}  # my orders that may still fill, and what had filled of them
        self._stage = Stage.PATIENT
        self._leg: tuple[Decimal, bool] | None = None  # where to, and whether that only leaves
        self._leg_ns = now_ns
        self._schedule: Schedule = NOTHING
        self._reprices = 0
        self._looked_after_ns = now_ns  # when the resting order was placed, moved or found well placed
        self._canceled_ns: dict[str, int] = {}
        self._failures = 0
        self._retry_ns = 0
        self._denials = 0  # in a row, that pass by themselves
        self._has_sent = False  # anything for this target

    @property
    def is_given_up(self) -> bool:
        """Return whether nothing more is wanted, reached or not."""
        return self._stage is Stage.LEAVING

    @property
    def mine(self) -> tuple[str, ...]:
        """Return the orders that were sent for it and may still fill."""
        return tuple(self._mine)

    # --- what happens to it -----------------------------------------------------------------------------------------

    def retarget(self, target_qty: Decimal, strategy: str, number: int, now_ns: int) -> None:
        """Go for another target from here; what is open for the old one is made use of, or canceled."""
        is_same = target_qty == self.target_qty and self._stage is not Stage.LEAVING
        self.strategy, self.due_ns = strategy, now_ns
        self._failures, self._denials, self._retry_ns, self._begun_ns = 0, 0, 0, now_ns
        if is_same:
            return
        self.target_qty, self._number, self._has_sent = target_qty, number, False
        self._stage, self._leg, self.dropped = Stage.PATIENT, None, ""

    def adjust(self, target_qty: Decimal, now_ns: int) -> None:
        """Go for what the same wishes come to now: patience and tries go on from where they are."""
        if target_qty != self.target_qty and self._stage is not Stage.LEAVING:
            self.target_qty, self.due_ns = target_qty, now_ns

    def leave(self, why: str, now_ns: int) -> None:
        """Want nothing more: what rests is canceled, and then it is done."""
        if self._stage is not Stage.LEAVING:
            self._stage, self.dropped, self.due_ns = Stage.LEAVING, why, now_ns

    def sent(self, order: Order) -> None:
        """Take note of an order that was sent for it."""
        self._mine[order.request.client_order_id] = ZERO
        self._denials = 0
        self._has_sent = True

    def denied(self, code: Denial, detail: str, now_ns: int) -> None:
        """Take note that the gate would not let a step pass."""
        policy = self._policy
        if code in _PASSING and (policy.is_patient or self._has_sent):
            self._retry_ns = now_ns + policy.retry_after_ns * 2 ** min(self._denials, _DOUBLINGS_MAX)
            self._denials += 1
            self.due_ns = min(self.due_ns, self._retry_ns)
        else:
            self.leave(f"{code.value}: {detail}" if policy.is_patient else "", now_ns)
            self.is_done = not self._mine

    def is_reached_by(self, order: Order, position_qty: Decimal) -> bool:
        """Return whether an order at the market was all that was under way and has brought what was wanted.

        So it is with most targets, and then `step` would have nothing left to do.
        """
        return (
            order.status is Status.FILLED
            and position_qty == self.target_qty
            and self._stage is Stage.PATIENT
            and not self._policy.is_patient
            and len(self._mine) == 1
            and order.request.client_order_id in self._mine
        )

    # --- what it wants next -----------------------------------------------------------------------------------------

    def step(self, view: View) -> list[Step]:
        """Return what is to be done now, and set when to look again."""
        self.due_ns = _NEVER_NS
        self._settle(view)
        mine = [order for order in view.live if order.request.client_order_id in self._mine]
        if self._stage is Stage.LEAVING:
            self.is_done = not mine
            return self._cancel(mine, view, self.dropped or "no longer wanted")
        goal = self._goal(view)
        missing = goal - view.position_qty
        side = Side.BUY if missing > 0 else Side.SELL
        wrong = [order for order in _resting(mine) if order.request.side is not side or not missing]
        if wrong:  # before anything goes to the other side: it might meet them
            return self._cancel(wrong, view, "the target lies on the other side")
        if view.is_hedged and self._is_waiting(view, side):
            return []  # what becomes of the other leg's orders brings us back
        if self._policy.style is Style.PASSIVE and self._stage is Stage.PATIENT:
            return self._rest(view, goal, side, mine)
        if resting := _resting(mine):
            return self._cancel(resting, view, "patience has ended")
        return self._cross(view, goal, side, is_waiting=bool(mine))

    def _settle(self, view: View) -> None:
        """See what became of my orders."""
        for name, filled_before in list(self._mine.items()):
            order = view.orders.get(name)
            if order is not None and order.filled_qty > filled_before:
                self._mine[name] = order.filled_qty
                self._failures = 0
            if order is not None and order.is_live:
                continue
            del self._mine[name]
            was_asked = self._canceled_ns.pop(name, None) is not None
            if order is None or order.status is Status.FILLED or was_asked:
                continue
            if order.request.order_type is OrderType.LIMIT and order.status is Status.CANCELED:
                self._reprices += 1  # post-only, and the market was there already
                self._retry_ns = view.now_ns + self._policy.passive.look_every_ns
                continue
            self._failures += 1
            self._retry_ns = view.now_ns + self._policy.retry_after_ns
            if self._failures >= self._policy.tries:
                self.leave(f"{self._failures} orders in a row came to nothing", view.now_ns)

    def _goal(self, view: View) -> Decimal:
        """Return what is to be held by now; begin another leg where the way has one."""
        held, policy, now_ns = view.position_qty, self._policy, view.now_ns
        if not policy.is_patient:
            return self._goal_by_legs(view) if view.is_hedged else self.target_qty
        end = ZERO if held * self.target_qty < 0 else self.target_qty  # to the other side by way of flat
        is_exit = abs(end) < abs(held)
        if (end, is_exit) != self._leg:
            self._leg, self._leg_ns = (end, is_exit), now_ns
            self._stage, self._reprices, self._looked_after_ns = Stage.PATIENT, 0, now_ns
            self._schedule = NOTHING
            if policy.slices is not None:
                self._schedule = spread(
                    policy.slices,
                    view.instrument,
                    start_qty=held,
                    end_qty=end,
                    price=view.mark.price if view.mark is not None else ZERO,
                    begin_ns=now_ns,
                    within_ns=policy.exit_within_ns if is_exit else None,
                    number=self._number,
                )
        if is_exit:
            if now_ns >= self._leg_ns + policy.exit_within_ns:
                self._stage = Stage.CROSSING
                return end
            self._wake(self._leg_ns + policy.exit_within_ns)
        elif now_ns >= self._begun_ns + policy.entry_within_ns:
            self.leave("it was not reached in time", now_ns)
            self._wake(now_ns)
            return held
        else:
            self._wake(self._begun_ns + policy.entry_within_ns)
        if not self._schedule.turns_ns:
            return end
        self._wake(self._schedule.next_ns(now_ns))
        goal = self._schedule.goal(view.instrument, now_ns)
        # What came to be held already is never given back for a part's sake.
        return min(max(goal, held), end) if end > held else max(min(goal, held), end)

    def _goal_by_legs(self, view: View) -> Decimal:
        """Return what is to be held next in hedge mode; what would be opened too long after the decision is dropped."""
        held, target_qty = view.position_qty, self.target_qty
        if held * target_qty < 0:
            return ZERO
        if abs(target_qty) > abs(held):
            end_ns = self._begun_ns + self._policy.entry_within_ns
            self._wake(max(end_ns, view.now_ns))
            if view.now_ns >= end_ns:
                self.leave("it was not reached in time", view.now_ns)
                return held
        return target_qty

    def _is_waiting(self, view: View, side: Side) -> bool:
        """Return whether orders of the other leg are soon over; a fresh target does not wait for one that is in doubt,
        just as the gate would not let it pass."""
        if view.is_doubtful and not self._has_sent and not self._policy.is_patient:
            return False
        return must_wait(side, view.position_qty, (*view.live, *view.owing), self._mine)

    # --- at the market ----------------------------------------------------------------------------------------------

    def _cross(self, view: View, goal: Decimal, side: Side, *, is_waiting: bool) -> list[Step]:
        room = view.instrument.round_qty(reach_of(view.position_qty, (*view.live, *view.owing)).room(side, goal))
        if room <= 0:
            self._finish(view, goal, is_waiting=is_waiting)
            return []
        if view.now_ns < self._retry_ns:
            self._wake(self._retry_ns)
            return []
        if (self._has_sent or self._policy.is_patient) and self._is_dust(view, room, goal):
            self._finish(view, goal, is_waiting=is_waiting)
            return []
        return [
            PlaceOrder(
                instrument=view.instrument.name,
                side=side,
                qty=room,
                reduce_only=self._is_reducing(view, goal),
                reason=self._why(goal),
            )
        ]

    def _finish(self, view: View, goal: Decimal, *, is_waiting: bool) -> None:
        """Be done where the target itself is held and nothing of mine is open, nor any execution to come."""
        if view.owing:
            return
        left = view.instrument.round_qty(self.target_qty - view.position_qty)
        if goal == self.target_qty and not is_waiting and (not left or self._is_dust(view, left, goal)):
            self.is_done = True

    # --- patiently --------------------------------------------------------------------------------------------------

    def _rest(self, view: View, goal: Decimal, side: Side, mine: list[Order]) -> list[Step]:
        passive, now_ns = self._policy.passive, view.now_ns
        others = [order for order in view.live if order.request.client_order_id not in self._mine]
        room = view.instrument.round_qty(reach_of(view.position_qty, (*others, *view.owing)).room(side, goal))
        if not mine:
            if room <= 0 or self._is_dust(view, room, goal):
                self._finish(view, goal, is_waiting=False)
                return []
            if now_ns < self._retry_ns:
                self._wake(self._retry_ns)
                return []
            if self._reprices > passive.reprices_max:
                return self._end_patience(view, goal, side, mine)
            return self._place(view, goal, side, room)
        self._wake(now_ns + passive.look_every_ns)
        order = mine[0]
        is_asked = order.cancel_requested or order.amend_requested is not None or order.status is Status.SUBMITTED
        if is_asked or len(mine) > 1 or order.limit_price is None:
            return []  # an answer is awaited
        if order.remaining_qty > room and self._is_dust(view, room, goal):
            return self._cancel(mine, view, "what is left to do is too little")
        price = self._price(view, side, own=order.limit_price)
        moved = ZERO if price is None else abs(price - order.limit_price) / view.instrument.tick_size
        is_moved = moved >= max(1, passive.reprice_ticks)
        if is_moved or now_ns >= self._looked_after_ns + passive.reprice_after_ns:
            if self._reprices >= passive.reprices_max:
                return self._end_patience(view, goal, side, mine)
            self._reprices += 1
            self._looked_after_ns = now_ns
        else:
            price = None
        self._wake(self._looked_after_ns + passive.reprice_after_ns)
        is_other_price = price is not None and price != order.limit_price
        if order.remaining_qty == room and not is_other_price:
            return []
        if now_ns < self._retry_ns:
            self._wake(self._retry_ns)
            return []
        return [
            AmendOpen(
                instrument=view.instrument.name,
                client_order_id=order.request.client_order_id,
                qty=None if order.remaining_qty == room else order.filled_qty + room,
                limit_price=price if is_other_price else None,
                reason=f"{self._why(goal)}; moved {self._reprices} of {passive.reprices_max} times",
            )
        ]

    def _place(self, view: View, goal: Decimal, side: Side, qty: Decimal) -> list[Step]:
        price = self._price(view, side)
        if price is None:
            self._wake(view.now_ns + self._policy.passive.look_every_ns)
            return []
        self._looked_after_ns = view.now_ns
        return [
            PlaceOrder(
                instrument=view.instrument.name,
                side=side,
                qty=qty,
                limit_price=price,
                time_in_force=TimeInForce.POST_ONLY,
                reduce_only=self._is_reducing(view, goal),
                reason=self._why(goal),
            )
        ]

    def _price(self, view: View, side: Side, own: Decimal | None = None) -> Decimal | None:
        """Return where a passive order belongs, None where there is no price to go by.

        Where the best price is our own, it belongs where it is. Where no quotes are known, the spread is taken to be
        one tick to either side of the last price.
        """
        mark, tick = view.mark, view.instrument.tick_size
        if mark is None:
            return None
        is_quoted = mark.bid is not None and mark.ask is not None and mark.bid < mark.ask
        near, far = (mark.bid, mark.ask) if side is Side.BUY else (mark.ask, mark.bid)
        if not is_quoted or near is None or far is None:
            near, far = mark.price - side.sign * tick, mark.price + side.sign * tick
        elif near == own:
            return own
        price = near + side.sign * tick * self._policy.passive.improve_ticks
        bound = far - side.sign * tick  # never where it would take
        price = view.instrument.round_price(min(price, bound) if side is Side.BUY else max(price, bound), side)
        return price if price > 0 else None

    def _end_patience(self, view: View, goal: Decimal, side: Side, mine: list[Order]) -> list[Step]:
        assert self._leg is not None
        _, is_exit = self._leg
        if self._policy.passive.at_end is AtEnd.GIVE_UP and not is_exit:
            self.leave(f"moved {self._reprices} times, and it has not filled", view.now_ns)
            self.is_done = not mine
            return self._cancel(mine, view, self.dropped)
        self._stage = Stage.CROSSING
        if mine:
            return self._cancel(mine, view, "patience has ended")
        return self._cross(view, goal, side, is_waiting=False)

    # --- small parts ------------------------------------------------------------------------------------------------

    def _cancel(self, orders: Iterable[Order], view: View, why: str) -> list[Step]:
        """Return cancels of what can rest, each asked for once within a look; the rest answers by itself."""
        steps: list[Step] = []
        every_ns = self._policy.passive.look_every_ns
        for order in orders:
            name = order.request.client_order_id
            if order.request.order_type is not OrderType.LIMIT or order.cancel_requested:
                continue
            asked_ns = self._canceled_ns.get(name)
            if asked_ns is None or view.now_ns >= asked_ns + every_ns:
                self._canceled_ns[name] = view.now_ns
                steps.append(CancelOpen(instrument=view.instrument.name, client_order_id=name, reason=why))
            self._wake(view.now_ns + every_ns)
        return steps

    def _is_reducing(self, view: View, goal: Decimal) -> bool:
        """Return whether the venue may be told that an order only reduces: then nothing can carry it through flat."""
        held = view.position_qty
        is_exit = held * goal >= 0 and abs(goal) < abs(held)
        return self._policy.is_patient and view.instrument.kind != "spot" and is_exit

    def _is_dust(self, view: View, qty: Decimal, goal: Decimal) -> bool:
        """Return whether the gate or the venue would refuse so little; an exit may be of any value."""
        instrument, mark, held = view.instrument, view.mark, view.position_qty
        if abs(qty) < instrument.qty_min:
            return True
        if held * goal >= 0 and abs(goal) < abs(held):
            return False
        return mark is not None and mark.price.is_finite() and abs(qty) * mark.price < instrument.notional_min

    def _why(self, goal: Decimal) -> str:
        way = f", by way of {goal:f}" if goal != self.target_qty else ""
        return f"to hold {self.target_qty:f}{way}"

    def _wake(self, at_ns: int | None) -> None:
        if at_ns is not None:
            self.due_ns = min(self.due_ns, at_ns)


def _resting(orders: Iterable[Order]) -> list[Order]:
    return [order for order in orders if order.request.order_type is OrderType.LIMIT]
