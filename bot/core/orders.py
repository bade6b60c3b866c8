"""All orders of the run: from a strategy's wish through the gate to the venue, and from its answers to the books.

The executor's core. A message goes in, `Effects` come out: entries for the ledger, commands for the venue, events for
the strategy, to be carried out in this order.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from bot.core.order import Order, apply
from bot.core.portfolio import Portfolio
from bot.core.risk import Book, Mark, RiskLimits, judge, worst_case_qty
from bot.domain.account import ZERO, Position
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import (
    CancelIntended,
    DecisionMade,
    Deposited,
    EquityMarked,
    FillBooked,
    ForecastUsed,
    FundingBooked,
    LedgerEntry,
    OrderIntended,
    OrderReported,
    RiskDenied,
)
from bot.domain.orders import (
    AccountEvent,
    Action,
    CancelOpen,
    CancelOrder,
    Command,
    FundingPaid,
    OrderFilled,
    OrderType,
    PlaceOrder,
    SubmitOrder,
    Target,
)

_ABSURD_QTY = Decimal(10**15)  # beyond it nothing is netted or rounded: the gate denies it as it is
_FORGET_AFTER_NS = 24 * 3_600_000_000_000  # a done order is kept this long for events that come late


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy wants, and what it saw when it decided."""

    strategy: str
    trigger: str
    action: Action
    bar_close_ns: int | None
    close_price: Decimal | None
    position_qty: Decimal
    forecast: ForecastUsed | None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy is told of its own orders."""

    order: Order | None  # as it is now; None where the event is not of an order
    event: AccountEvent | RiskDenied | None  # None: the order has just been sent


@dataclass(slots=True)
class Effects:
    """What is to be done, in this order: record and commit, send, publish."""

    record: list[LedgerEntry] = field(default_factory=list)
    send: list[Command] = field(default_factory=list)
    publish: list[Notice] = field(default_factory=list)


class ClientOrderIds:
    """Names orders: fixed width, at most 36 characters, never the same twice within an epoch.

    Args:
        environment: one letter, so that no id of a replay is ever valid live.
        epoch: counts the starts of one account's bot; a new one invalidates what the last might still send.
    """

    def __init__(self, *, environment: str, epoch: int) -> None:
        self._prefix = f"{environment}{epoch:06d}"
        self._named: dict[str, str] = {}  # the prefix and the strategy, by strategy
        self.count = 0

    def next(self, strategy: str) -> tuple[str, int]:
        """Return a new id and the order's number in the run."""
        self.count += 1
        named = self._named.get(strategy)
        if named is None:
            named = self._named[strategy] = f"{self._prefix}-{strategy[:12]:_<12}-"
        return f"{named}{self.count:09d}", self.count


class Orders:
    """Decides everything the order executor does.

    Args:
        instruments: what may be traded, by name.
        portfolio: the account, empty.
        limits: the gate's.
        ids: names the orders.
    """

    def __init__(
        self, *, instruments: Mapping[str, Instrument], portfolio: Portfolio, limits: RiskLimits, ids: ClientOrderIds
    ) -> None:
        self._instruments = instruments
        self._portfolio = portfolio
        self._limits = limits
        self._ids = ids
        self._orders: dict[str, Order] = {}
        self._live: dict[str, dict[str, Order]] = {name: {} for name in instruments}  # by instrument, then id
        self._strategy_of: dict[str, str] = {}
        self._done: deque[tuple[int, str]] = deque()
        self._sends_ns: deque[int] = deque(maxlen=limits.orders_per_second_max)
        self._fundings: set[str] = set()
        self._forecasts: dict[str, str] = {}  # by instrument, the newest recorded
        self._decisions = 0
        self.halted = False

    def deposit(self, amount: Decimal, now_ns: int) -> Effects:
        """Book the starting cash."""
        return Effects(record=[Deposited(ts_ns=now_ns, postings=self._portfolio.deposit(amount))])

    def wish(self, wish: Wish, *, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Turn a wish into the orders it takes, each judged by the gate."""
        effects = Effects()
        self._decisions += 1
        forecast = wish.forecast
        if forecast is not None and self._forecasts.get(forecast.instrument) != forecast.forecast_id:
            self._forecasts[forecast.instrument] = forecast.forecast_id
            effects.record.append(forecast)
        effects.record.append(
            DecisionMade(
                ts_ns=now_ns,
                decision_id=self._decisions,
                strategy=wish.strategy,
                instrument=wish.action.instrument,
                trigger=wish.trigger,
                bar_close_ns=wish.bar_close_ns,
                close_price=wish.close_price,
                position_qty=wish.position_qty,
                forecast_id=None if forecast is None else forecast.forecast_id,
                action=msgspec.json.encode(wish.action).decode(),
                reason=wish.action.reason,
            )
        )
        match wish.action:
            case Target():
                self._reach(wish.action, wish.strategy, marks, now_ns, effects)
            case PlaceOrder():
                self._place(wish.action, wish.strategy, marks, now_ns, effects)
            case CancelOpen():
                self._cancel(wish.action, wish.strategy, now_ns, effects)
        return effects

    def event(self, event: AccountEvent, now_ns: int) -> Effects:
        """Book what the venue tells.

        Raises:
            InvariantBroken: it speaks of an order we do not know, or contradicts what we know.
        """
        if isinstance(event, FundingPaid):
            return self._book_funding(event, now_ns)
        before = self._orders.get(event.client_order_id)
        if before is None:
            raise InvariantBroken(f"{type(event).__name__} for an order we never sent: {event.client_order_id}")
        after = apply(before, event)
        if after is before:
            return Effects()  # a repeat
        self._keep(after, now_ns)
        if isinstance(event, OrderFilled):
            return self._book_fill(event, after, now_ns)
        return Effects(
            record=[OrderReported(ts_ns=now_ns, status=after.status, event=event)],
            publish=[Notice(order=after, event=event)],
        )

    def mark_equity(self, marks: Mapping[str, Mark | None], now_ns: int) -> Effects:
        """Record what the account is worth; nothing where a held instrument has no price yet."""
        held = {name: marks.get(name) for name, p in self._portfolio.positions.items() if p.qty}
        prices = {name: mark.price for name, mark in held.items() if mark is not None}
        if len(prices) < len(held):
            return Effects()
        unrealized = self._portfolio.unrealized_pnl(prices)
        entry = EquityMarked(
            ts_ns=now_ns,
            cash=self._portfolio.cash,
            unrealized_pnl=unrealized,
            equity=self._portfolio.cash + unrealized,
            marks=tuple((name, self._portfolio.positions[name].qty, price) for name, price in sorted(prices.items())),
        )
        return Effects(record=[entry])

    def position_qty(self, instrument: str) -> Decimal:
        """Return the signed quantity held."""
        return self._portfolio.positions[instrument].qty

    def _reach(
        self, target: Target, strategy: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects
    ) -> None:
        instrument = self._instruments.get(target.instrument)
        delta = target.qty
        if instrument is not None and delta.is_finite() and abs(delta) < _ABSURD_QTY:
            coming = sum((o.remaining_qty * o.request.side.sign for o in self._live[instrument.name].values()), ZERO)
            delta = instrument.round_qty(target.qty - self.position_qty(instrument.name) - coming)
            if not delta:
                return
        self._send(
            strategy=strategy,
            instrument=target.instrument,
            side=Side.SELL if delta.is_signed() else Side.BUY,
            order_type=OrderType.MARKET,
            qty=delta.copy_abs(),
            marks=marks,
            now_ns=now_ns,
            effects=effects,
        )

    def _place(
        self, place: PlaceOrder, strategy: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects
    ) -> None:
        self._send(
            strategy=strategy,
            instrument=place.instrument,
            side=place.side,
            order_type=OrderType.MARKET if place.limit_price is None else OrderType.LIMIT,
            qty=place.qty,
            limit_price=place.limit_price,
            time_in_force=place.time_in_force,
            reduce_only=place.reduce_only,
            marks=marks,
            now_ns=now_ns,
            effects=effects,
        )

    def _send(
        self, *, strategy: str, marks: Mapping[str, Mark | None], now_ns: int, effects: Effects, **asked: object
    ) -> None:
        client_order_id, number = self._ids.next(strategy)
        order = SubmitOrder(client_order_id=client_order_id, order_number=number, **asked)  # type: ignore[arg-type]
        mark = marks.get(order.instrument)
        denial = judge(
            order,
            instrument=self._instruments.get(order.instrument),
            mark=mark,
            book=self._book(order.instrument, marks, now_ns),
            limits=self._limits,
            halted=self.halted,
        )
        if denial is not None:
            code, detail = denial
            denied = RiskDenied(
                ts_ns=now_ns,
                decision_id=self._decisions,
                instrument=order.instrument,
                code=code.value,
                detail=detail,
            )
            effects.record.append(denied)
            effects.publish.append(Notice(order=None, event=denied))
            return
        assert mark is not None
        self._sends_ns.append(now_ns)
        self._strategy_of[client_order_id] = strategy
        sent = Order(request=order)
        self._keep(sent, now_ns)
        effects.publish.append(Notice(order=sent, event=None))
        effects.record.append(
            OrderIntended(ts_ns=now_ns, decision_id=self._decisions, mark_price=mark.price, order=order)
        )
        effects.send.append(order)

    def _cancel(self, wish: CancelOpen, strategy: str, now_ns: int, effects: Effects) -> None:
        for order in list(self._live.get(wish.instrument, {}).values()):
            name = order.request.client_order_id
            if order.cancel_requested or self._strategy_of[name] != strategy:
                continue
            if wish.client_order_id not in (None, name):
                continue
            self._keep(replace(order, cancel_requested=True), now_ns)
            cancel = CancelOrder(
                client_order_id=name, order_number=order.request.order_number, instrument=wish.instrument
            )
            effects.record.append(CancelIntended(ts_ns=now_ns, decision_id=self._decisions, cancel=cancel))
            effects.send.append(cancel)

    def _keep(self, order: Order, now_ns: int) -> None:
        name = order.request.client_order_id
        self._orders[name] = order
        live = self._live[order.request.instrument]
        if order.is_live:
            live[name] = order
            return
        if live.pop(name, None) is not None:
            self._done.append((now_ns, name))
        while self._done and self._done[0][0] < now_ns - _FORGET_AFTER_NS:
            _, forgotten = self._done.popleft()
            del self._orders[forgotten], self._strategy_of[forgotten]

    def _book_fill(self, fill: OrderFilled, order: Order, now_ns: int) -> Effects:
        realized, postings = self._portfolio.fill(fill)
        entry = FillBooked(
            ts_ns=now_ns,
            status=order.status,
            fill=fill,
            position_qty=self.position_qty(fill.instrument),
            realized_pnl=realized,
            postings=postings,
        )
        return Effects(record=[entry], publish=[Notice(order=order, event=fill)])

    def _book_funding(self, funding: FundingPaid, now_ns: int) -> Effects:
        if funding.instrument not in self._instruments:
            raise InvariantBroken(f"funding of {funding.instrument}, which is not traded in this run")
        if funding.funding_id in self._fundings:
            return Effects()
        self._fundings.add(funding.funding_id)
        postings = self._portfolio.funding(funding)
        return Effects(
            record=[FundingBooked(ts_ns=now_ns, funding=funding, postings=postings)],
            publish=[Notice(order=None, event=funding)],
        )

    def _book(self, instrument: str, marks: Mapping[str, Mark | None], now_ns: int) -> Book:
        equity: Decimal | None = self._portfolio.cash
        others = ZERO
        for name, position in self._portfolio.positions.items():
            live = self._live[name]
            if not position.qty and (name == instrument or not live):
                continue
            mark = marks.get(name)
            if mark is None:
                equity = None
                continue
            if equity is not None and position.qty:
                equity += position.unrealized_pnl(mark.price)
            if name != instrument:
                others += worst_case_qty(position, live.values()) * mark.price
        flat = Position(instrument=instrument)
        return Book(
            equity=equity,
            position=self._portfolio.positions.get(instrument, flat),
            live=tuple(self._live.get(instrument, {}).values()),
            others_notional=others,
            recent_sends_ns=tuple(self._sends_ns),
            now_ns=now_ns,
        )
