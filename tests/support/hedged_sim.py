"""A bot in hedge mode at the toy venue, which keeps the legs apart: targets that cross zero through a bad network."""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.core.effects import Wish
from bot.core.submission.work import Work
from bot.domain.answers import Answer, AnswerKind, Cause
from bot.domain.instrument import Side
from bot.domain.orders import CancelOpen, Leg, OrderCanceled, SubmitOrder, Target
from bot.domain.venue_records import PositionRecord
from tests.support.live_sim import SimBot
from tests.support.toy_venue import MS, ToyOrder, ToyVenue, position_of

ZERO = Decimal(0)
_INDEX = {Leg.LONG: 1, Leg.SHORT: 2}


class HedgedVenue(ToyVenue):
    """Keeps a long and a short of everything, and refuses what it must.

    Attributes:
        legs: what is held.
        both: when the two legs of an instrument were open at once.
        refused: orders that would have reduced a leg of nothing.
    """

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.legs: dict[tuple[str, Leg], Decimal] = {}
        self.both: list[str] = []
        self.refused: list[str] = []

    def held(self) -> tuple[PositionRecord, ...]:
        """See `ToyVenue`; the flat legs, too."""
        return tuple(
            position_of(name, self.legs.get((name, leg), ZERO) * (1 if leg is Leg.LONG else -1), index)
            for name in self.positions
            for leg, index in _INDEX.items()
        )

    def fill(self, order: ToyOrder, qty: Decimal) -> None:
        """See `ToyVenue`; what only reduces gets no more than there is."""
        request = order.request
        key = request.instrument, request.leg
        left = self.legs.get(key, ZERO)
        part = min(qty, left) if request.reduce_only else qty
        before = order.filled
        super().fill(order, part)
        done = order.filled - before
        self.legs[key] = left - done if request.reduce_only else left + done
        if all(self.legs.get((request.instrument, leg)) for leg in _INDEX):
            self.both.append(f"{request.client_order_id} of {request.instrument} at {self.now_ms}")
        if request.reduce_only and not self.legs[key]:
            for each in self.open_orders():
                other = each.request
                if other.reduce_only and (other.instrument, other.leg) == key:
                    self.cancel(each, "CancelByReduceOnly")

    def _create(self, order: SubmitOrder, signed_ms: int) -> Answer:
        leg = Leg.LONG if (order.side is Side.BUY) is not order.reduce_only else Leg.SHORT
        if order.leg is not leg:
            return self._answer(AnswerKind.REFUSED, Cause.MODE, "10001")
        is_new = order.client_order_id not in self.orders
        if is_new and order.reduce_only and not self.legs.get((order.instrument, order.leg)):
            self.refused.append(order.client_order_id)
            return self._answer(AnswerKind.REFUSED, Cause.POSITION, "110017")
        return super()._create(order, signed_ms)


class HedgedSim(SimBot):
    """Wants positions of either sign, and orders of its own now and then."""

    venue_type = HedgedVenue
    is_hedged = True
    venue: HedgedVenue

    def _intend(self, intent: str) -> None:
        random = self.world.random
        if random.random() < 0.25:
            super()._intend(intent)
            return
        self.verdict.intents += 1
        name = f"T{int(random.integers(0, self.sizes.instruments)):02d}USDT"
        target = Target(instrument=name, qty=Decimal(int(random.integers(-3, 4))), reason=intent)

        def act() -> Work:
            now_ns = self.world.now_ns
            work = self.desk.wish(_wish(CancelOpen(instrument=name)), self.marks(), now_ns)
            work.add(self.desk.wish(_wish(target), self.marks(), now_ns))
            return work

        self.post(act)
        self._in_this_life(200 * MS, lambda: self.post(lambda: self.desk.work(self.marks(), self.world.now_ns)))

    def _hear(self, event: object) -> None:
        """Tell of a cancel what had filled before, as the account's stream does: its record says so."""
        if isinstance(event, OrderCanceled):
            known = self.desk.orders.state.orders.get(event.client_order_id)
            told = ZERO if known is None else known.filled_qty
            owed = self.venue.orders[event.client_order_id].filled - told
            event = replace(event, owed_qty=max(owed, ZERO))
        super()._hear(event)

    def _check_intent(self, order: SubmitOrder) -> None:
        """See that nothing is opened where somebody is in doubt; every order of a target is an intent of its own."""
        self.intent_of[order.client_order_id] = order.client_order_id
        doubts = self._doubts[order.instrument]
        if doubts and not order.reduce_only:
            self.violated("R8", f"{order.client_order_id} with {doubts} in doubt")


def _wish(action: Any) -> Wish:
    return Wish(
        strategy="sim",
        trigger="timer",
        action=action,
        bar_close_ns=None,
        close_price=None,
        position_qty=ZERO,
        forecast=None,
    )
