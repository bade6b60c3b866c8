"""A venue at the level of messages, a network that loses, delays and repeats them, and a disk that can crash: seeded.

Independent of the emulator and of the adapter: what an order costs or who fills it is of no interest here, only which
requests the venue admits, and what it then says of them. The venue enforces what the protocol rests on and no more: a
signed request is admitted while its window is open by the venue's own clock, and an id once.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np

from bot.domain.account_events import LiveEvent
from bot.domain.answers import Absent, Answer, AnswerKind, Cause, Found, LookUp, Place, Unknown
from bot.domain.instrument import Side
from bot.domain.orders import (
    AmendOrder,
    CancelOrder,
    ChangeStops,
    Command,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    OrderType,
    SubmitOrder,
)
from bot.domain.venue_records import (
    ExecutionKind,
    ExecutionRecord,
    OrderRecord,
    OrderState,
    Origin,
    PositionRecord,
)

MS = 1_000_000
SECOND = 1_000 * MS


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong until everything heals; probabilities of each message, times in ms."""

    lost: float = 0.0
    late: float = 0.0
    repeated: float = 0.0
    late_ms_max: int = 20_000
    look_ups_fail: float = 0.0
    stream_lost: float = 0.0
    engine_lag_ms_max: int = 1_500  # an admitted order shows in look-ups so much later
    refused: float = 0.05
    slow_commit: float = 0.0
    crash_every_ms: int | None = None
    forgotten_after_ms: int | None = None  # orders canceled unfilled are shown by look-ups for so long; None: for ever
    clock_error_ms: int = 0  # the bot's idea of the venue's clock is wrong by so much


class World:
    """Virtual time: what is due next, one thing at a time."""

    def __init__(self, seed: int, start_ns: int) -> None:
        self.now_ns = start_ns
        self.random = np.random.default_rng(seed)
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, wait_ns: int, act: Callable[[], None]) -> None:
        """Have something happen."""
        self._count += 1
        heapq.heappush(self._due, (self.now_ns + max(0, wait_ns), self._count, act))

    def run_until(self, end_ns: int) -> None:
        """Let everything happen that is due by then."""
        while self._due and self._due[0][0] <= end_ns:
            self.now_ns, _, act = heapq.heappop(self._due)
            act()
        self.now_ns = end_ns

    def chance(self, probability: float) -> bool:
        """Return whether something of this probability happens."""
        return bool(self.random.random() < probability)


class Network:
    """Carries messages both ways."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults
        self.lost = self.late = self.repeated = 0

    def carry(self, deliver: Callable[[], None], *, can_lose: bool = True) -> None:
        """Deliver a message, or lose it, or late, or more than once."""
        world, faults = self._world, self.faults
        if can_lose and world.chance(faults.lost):
            self.lost += 1
            return
        wait_ns = int(world.random.integers(1, 20)) * MS
        if world.chance(faults.late):
            self.late += 1
            wait_ns += int(world.random.integers(1, faults.late_ms_max + 1)) * MS
        world.after(wait_ns, deliver)
        if world.chance(faults.repeated):
            self.repeated += 1
            world.after(wait_ns + int(world.random.integers(1, 3_000)) * MS, deliver)


@dataclass
class ToyOrder:
    """An order that the venue admitted."""

    request: SubmitOrder
    venue_order_id: str
    created_ms: int
    visible_ns: int  # look-ups know it from then on
    qty: Decimal
    limit: Decimal | None
    updated_ms: int
    state: OrderState = OrderState.OPEN
    fills: list[ExecutionRecord] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        return sum((fill.qty for fill in self.fills), Decimal(0))


class ToyVenue:
    """Admits requests, fills some of them, and tells.

    Args:
        tell: takes what the account's stream says.
        check: is called with every create that arrives in time, before it is admitted.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        tell: Callable[[LiveEvent], None],
        check: Callable[[SubmitOrder, int], None] = lambda order, signed_ms: None,
    ) -> None:
        self._world = world
        self._network = network
        self._tell = tell
        self._check = check
        self.orders: dict[str, ToyOrder] = {}
        self.positions: dict[str, Decimal] = {}
        self._trades = 0
        self._refusals: dict[tuple[str, int], bool] = {}

    @property
    def now_ms(self) -> int:
        return self._world.now_ns // MS

    def handle(self, command: Command, signed_ms: int, recv_window_ms: int) -> Answer:
        """Answer a request that has arrived now."""
        if self.now_ms > signed_ms + recv_window_ms:
            return self._answer(AnswerKind.REFUSED, Cause.CLOCK, "10002")
        match command:
            case SubmitOrder():
                return self._create(command, signed_ms)
            case CancelOrder():
                return self._cancel(command)
            case AmendOrder():
                return self._amend(command)
            case ChangeStops():
                return self._answer(AnswerKind.ACCEPTED)

    def look_up(self, client_order_id: str) -> LookUp:
        """Say what is known of an order."""
        if self._world.chance(self._network.faults.look_ups_fail):
            return Unknown(why="timeout", recv_ns=0)
        order = self.orders.get(client_order_id)
        if order is None or self._world.now_ns < order.visible_ns or self.has_forgotten(order):
            places = (Place.OPEN, Place.HISTORY, Place.EXECUTIONS)
            return Absent(places=places, server_time_ms=self.now_ms, recv_ns=0)
        return Found(order=record_of(order), place=Place.OPEN, server_time_ms=self.now_ms, recv_ns=0)

    def has_forgotten(self, order: ToyOrder) -> bool:
        """Return whether an order has left every list."""
        after_ms = self._network.faults.forgotten_after_ms
        is_bare = order.state is OrderState.CANCELED and not order.fills
        return after_ms is not None and is_bare and self.now_ms >= order.updated_ms + after_ms

    def open_orders(self) -> list[ToyOrder]:
        """Return what rests."""
        return [order for order in self.orders.values() if order.state in (OrderState.OPEN, OrderState.WAITING)]

    def held(self) -> tuple[PositionRecord, ...]:
        """Return the positions that there ever were."""
        return tuple(position_of(name, qty) for name, qty in self.positions.items())

    def fill(self, order: ToyOrder, qty: Decimal) -> None:
        """Execute a part of an order, and tell."""
        if order.state is not OrderState.OPEN or qty <= 0:
            return
        self._trades += 1
        price = order.limit or Decimal(100)
        made = ExecutionRecord(
            market="linear",
            trade_id=f"x{self._trades}",
            client_order_id=order.request.client_order_id,
            venue_order_id=order.venue_order_id,
            instrument=order.request.instrument,
            side=order.request.side,
            kind=ExecutionKind.TRADE,
            price=price,
            qty=qty,
            fee=Decimal("0.01"),
            fee_currency="USDT",
            fee_rate=None,
            is_maker=True,
            order_type=None,
            order_qty=None,
            order_price=None,
            leaves_qty=None,
            origin=Origin.USER,
            executed_ms=self.now_ms,
        )
        order.fills.append(made)
        order.updated_ms = self.now_ms
        signed = qty * order.request.side.sign
        self.positions[order.request.instrument] = self.positions.get(order.request.instrument, Decimal(0)) + signed
        if order.filled == order.qty:
            order.state = OrderState.FILLED
        self.stream(fill_event(made, self._world.now_ns))

    def stream(self, event: LiveEvent) -> None:
        """Tell on the account's stream: late, repeated, out of order; lost only where the faults say so."""
        if self._world.chance(self._network.faults.stream_lost):
            return
        self._network.carry(lambda: self._tell(event), can_lose=False)

    def _create(self, order: SubmitOrder, signed_ms: int) -> Answer:
        self._check(order, signed_ms)
        name = order.client_order_id
        if name in self.orders:
            return self._answer(AnswerKind.EXISTS, Cause.OTHER, "110072")
        world = self._world
        # A copy of a request that the network made meets the same verdict; one that is signed anew may not.
        if self._refusals.setdefault((name, signed_ms), world.chance(self._network.faults.refused)):
            return self._answer(AnswerKind.REFUSED, Cause.FUNDS, "110007")
        lag_ms = int(world.random.integers(0, self._network.faults.engine_lag_ms_max + 1))
        made = ToyOrder(
            request=order,
            venue_order_id=f"v-{name}",
            created_ms=self.now_ms,
            visible_ns=world.now_ns + lag_ms * MS,
            qty=order.qty,
            limit=order.limit_price,
            updated_ms=self.now_ms,
        )
        self.orders[name] = made
        world.after(lag_ms * MS, lambda: self._live(made))
        return self._answer(AnswerKind.ACCEPTED, venue_order_id=made.venue_order_id)

    def _live(self, made: ToyOrder) -> None:
        """Show the order, and fill some of it: at once, later, or never."""
        world, order = self._world, made.request
        self.stream(
            OrderAccepted(
                ts_event_ns=made.created_ms * MS,
                ts_recv_ns=world.now_ns,
                client_order_id=order.client_order_id,
                instrument=order.instrument,
                venue_order_id=made.venue_order_id,
            )
        )
        if order.order_type is OrderType.MARKET:
            self.fill(made, made.qty)
        elif world.chance(0.3):
            self.fill(made, made.qty / 2)
        if world.chance(0.4):
            wait_ns = int(world.random.integers(1, 30_000)) * MS
            world.after(wait_ns, lambda: self.fill(made, made.qty - made.filled))

    def _cancel(self, command: CancelOrder) -> Answer:
        order = self.orders.get(command.client_order_id)
        if order is None or order.state is not OrderState.OPEN:
            return self._answer(AnswerKind.REFUSED, Cause.NOT_FOUND, "110001")
        self.cancel(order, "CancelByUser")
        return self._answer(AnswerKind.ACCEPTED)

    def cancel(self, order: ToyOrder, reason: str) -> None:
        """Cancel, and tell."""
        order.state = OrderState.CANCELED
        order.updated_ms = self.now_ms
        self.stream(
            OrderCanceled(
                ts_event_ns=self._world.now_ns,
                ts_recv_ns=self._world.now_ns,
                client_order_id=order.request.client_order_id,
                instrument=order.request.instrument,
                reason=reason,
            )
        )

    def _amend(self, command: AmendOrder) -> Answer:
        order = self.orders.get(command.client_order_id)
        if order is None or order.state is not OrderState.OPEN:
            return self._answer(AnswerKind.REFUSED, Cause.NOT_FOUND, "110001")
        qty, limit = command.qty or order.qty, command.limit_price or order.limit
        if qty <= order.filled:
            return self._answer(AnswerKind.REFUSED, Cause.FILTER, "110064")
        if (qty, limit) == (order.qty, order.limit):
            return self._answer(AnswerKind.REFUSED, Cause.UNCHANGED, "10001")
        order.qty, order.limit, order.updated_ms = qty, limit, self.now_ms
        self.stream(
            OrderAmended(
                ts_event_ns=self._world.now_ns,
                ts_recv_ns=self._world.now_ns,
                client_order_id=command.client_order_id,
                instrument=command.instrument,
                qty=qty,
                limit_price=limit,
            )
        )
        return self._answer(AnswerKind.ACCEPTED)

    def _answer(self, kind: AnswerKind, cause: Cause = Cause.OTHER, code: str = "", **more: Any) -> Answer:
        return Answer(kind=kind, cause=cause, code=code, server_time_ms=self.now_ms, recv_ns=0, **more)


def record_of(order: ToyOrder) -> OrderRecord:
    """Return the venue's record of an order."""
    request = order.request
    return OrderRecord(
        market="linear",
        client_order_id=request.client_order_id,
        venue_order_id=order.venue_order_id,
        instrument=request.instrument,
        side=request.side,
        state=order.state,
        order_type=request.order_type,
        time_in_force=request.time_in_force,
        qty=order.qty,
        limit_price=order.limit,
        trigger_price=None,
        reduce_only=request.reduce_only,
        filled_qty=order.filled,
        filled_value=None,
        origin=Origin.USER,
        created_ms=order.created_ms,
        updated_ms=order.updated_ms,
    )


def position_of(instrument: str, qty: Decimal, mode_index: int = 0) -> PositionRecord:
    """Return the venue's record of a position."""
    return PositionRecord(
        market="linear",
        instrument=instrument,
        mode_index=mode_index,
        qty=qty,
        entry_price=None,
        mark_price=None,
        leverage=None,
        liquidation_price=None,
        take_profit=None,
        stop_loss=None,
        trailing_distance=None,
        is_reduce_only=False,
        status="Normal",
        seq=0,
        updated_ms=0,
    )


def fill_event(made: ExecutionRecord, now_ns: int) -> OrderFilled:
    """Return an execution as the stream tells it."""
    assert made.fee is not None
    return OrderFilled(
        ts_event_ns=made.executed_ms * MS,
        ts_recv_ns=now_ns,
        client_order_id=made.client_order_id,
        instrument=made.instrument,
        trade_id=made.trade_id,
        side=made.side,
        price=made.price,
        qty=made.qty,
        fee=made.fee,
        is_maker=made.is_maker,
    )


def healed(faults: Faults) -> Faults:
    """Return a network and a disk in which nothing goes wrong any more; lags and refusals stay."""
    return replace(
        faults,
        lost=0.0,
        late=0.0,
        repeated=0.0,
        look_ups_fail=0.0,
        stream_lost=0.0,
        slow_commit=0.0,
        crash_every_ms=None,
    )


def opposite(side: Side) -> Side:
    """Return the other side."""
    return Side.SELL if side is Side.BUY else Side.BUY
