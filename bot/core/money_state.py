"""What the money half knows: orders, positions, cash, stops, protections, doubts.

`core.orders` decides with it; `core.restoring` makes it again from a ledger's entries.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal

from bot.core.books import Books
from bot.core.execution.legs import leg_of
from bot.core.execution.strategy_books import StrategyBooks
from bot.core.live_orders import LiveOrders
from bot.core.order import Order
from bot.core.portfolio import Portfolio
from bot.core.protections import Protections
from bot.core.risk import Book, Marks, worst_case_qty
from bot.core.stops import Stops, follow
from bot.core.trading_state import Cause, Latch, TradingState, Why
from bot.domain.account import ZERO, Position
from bot.domain.instrument import Instrument
from bot.domain.ledger import DoubtOpened, DoubtResolved, IntentDropped, LedgerEntry, RequestSigned
from bot.domain.orders import Leg, OrderFilled, StopsChanged, SubmitOrder
from bot.domain.venue_records import PositionRecord

_FORGET_AFTER_NS = 24 * 3_600_000_000_000  # a done order is kept this long for events that come late


class MoneyState:
    """The state of one account's money half, and how it moves; what to do about it is decided elsewhere.

    Args:
        instruments: what may be traded, by name.
        portfolio: positions and cash.
        protections: watch the account.
        strategies: who trades, where they are several with books of their own.
        sends_max: how many of the newest sends are remembered, for the gate's rate.
        hedged: instruments of which the venue keeps a long and a short leg.
    """

    def __init__(
        self,
        *,
        instruments: Mapping[str, Instrument],
        portfolio: Portfolio,
        protections: Protections,
        sends_max: int,
        strategies: Sequence[str] = (),
        hedged: Collection[str] = (),
    ) -> None:
        self.instruments = instruments
        self.portfolio = portfolio
        self.protections = protections
        self.books = Books(portfolio, protections)
        self.orders: dict[str, Order] = {}
        self.live = {name: LiveOrders() for name in instruments}
        self.strategy_of: dict[str, str] = {}
        self.closing: set[str] = set()  # live orders that flatten, which no halt may cancel
        self.strategy_books = StrategyBooks(strategies, instruments) if len(strategies) > 1 else None
        self.worked: set[str] = set()  # live orders that rest for a target: nobody minds them after a restart
        self.done: deque[tuple[int, str]] = deque()
        self.sends_ns: deque[int] = deque(maxlen=sends_max)
        self.stops = {name: Stops() for name in instruments}  # what the venue keeps
        self.has_stops: set[str] = set()  # instruments where it does, did for this position, or was asked to
        self.forecasts: dict[str, str] = {}  # by instrument, the newest recorded
        self.decisions = 0
        self.crossings = 0  # how often wishes of several strategies have met
        self.doubts: dict[str, set[str]] = {}  # by instrument, requests of which nobody knows what came of them
        self.hedged = frozenset(hedged)
        self.owing: dict[str, int] = {}  # orders that are done, and since when executions of them are to come
        self.torn: dict[str, dict[Leg, Decimal]] = {}  # both legs, where the venue was seen to hold both; not on disk
        self.touched: dict[str, int] = {}  # where somebody else has traded since the legs were seen, and when; likewise

        self.flattening: dict[str, str] = {}  # instruments that a person wants flat, and why
        self.signed_until_ms = 0  # the venue's clock
        self.compared_ns: int | None = None  # when the books were last compared with the venue's
        self.compared_ms = 0  # the same, by the venue's clock
        self.balanced_ms = 0  # up to then, by the venue's clock, the books were held against its own ledger
        self.unsure: dict[str, str] = {}  # by instrument, "" for all: why the venue is to be asked; not kept on disk

    def position_qty(self, instrument: str) -> Decimal:
        """Return the signed quantity held."""
        return self.portfolio.positions[instrument].qty

    def closable_qty(self, instrument: str) -> Decimal:
        """Return the signed quantity that an order can close: a fee in its own coin leaves dust in a spot position."""
        known, held = self.instruments[instrument], self.position_qty(instrument)
        if known.kind != "spot":
            return held
        qty = known.round_qty(held)
        return qty if abs(qty) >= known.qty_min else ZERO

    def closable_legs(self, instrument: str) -> list[tuple[Leg, Decimal]]:
        """Return what is to be closed for the account to be flat there: leg, and signed quantity."""
        both = self.torn.get(instrument)
        if both is not None:
            return [(leg, qty if leg is Leg.LONG else -qty) for leg, qty in both.items() if qty]
        qty = self.closable_qty(instrument)
        if not qty:
            return []
        return [(leg_of(qty) if instrument in self.hedged else Leg.NET, qty)]

    def owing_of(self, instrument: str) -> tuple[Order, ...]:
        """Return the orders that are done, and of which executions are to come all the same."""
        if not self.owing:
            return ()
        owing = [self.orders[name] for name in sorted(self.owing)]
        return tuple(order for order in owing if order.request.instrument == instrument)

    def may_fill(self, instrument: str) -> tuple[Order, ...]:
        """Return the orders of which an execution may still come."""
        return (*self.live[instrument].values(), *self.owing_of(instrument))

    def see_legs(self, positions: Iterable[PositionRecord], began_ns: int) -> None:
        """Take note of where the venue holds both legs, by what was asked for from `began_ns` on."""
        self.touched = {name: at_ns for name, at_ns in self.touched.items() if at_ns >= began_ns}
        seen: dict[str, dict[Leg, Decimal]] = {}
        for position in positions:
            if position.instrument in self.hedged and position.qty:
                legs = seen.setdefault(position.instrument, {})
                legs[position.leg] = legs.get(position.leg, ZERO) + abs(position.qty)
        self.torn = {name: legs for name, legs in seen.items() if Leg.LONG in legs and Leg.SHORT in legs}

    def move_leg(self, order: SubmitOrder, fill: OrderFilled) -> None:
        """Follow an execution of ours where the venue holds both legs, until it holds one."""
        both = self.torn[fill.instrument]
        qty = both.get(order.leg, ZERO)
        both[order.leg] = max(qty - fill.qty, ZERO) if order.reduce_only else qty + fill.qty
        if not all(both.values()):
            del self.torn[fill.instrument]

    def hold(self, instrument: str) -> Latch | None:
        """Return what keeps the gate from letting entries pass: a latch, or a doubt; None where all is open."""
        latch = self.protections.hold(instrument)
        if latch is not None or not (self.doubts or self.unsure):
            return latch
        doubts = self.doubts.get(instrument)
        unsure = self.unsure.get(instrument) or self.unsure.get("")
        if not doubts and not unsure:
            return None
        why = Why(detail=f"nobody knows yet what came of {min(doubts)}" if doubts else f"{unsure}")
        return Latch(scope=instrument, cause=Cause.DOUBT, state=TradingState.REDUCING, why=why)

    def follow_doubt(self, entry: LedgerEntry) -> None:
        """Let no new risk be taken on an instrument while a doubt is open there; a cancel in doubt adds no risk."""
        match entry:
            case DoubtOpened() if not entry.request.startswith("cancel:"):
                self.doubts.setdefault(entry.instrument, set()).add(entry.request)
            case DoubtResolved() | IntentDropped():
                doubts = self.doubts.get(entry.instrument, set())
                doubts.discard(entry.request)
                if not doubts:
                    self.doubts.pop(entry.instrument, None)
            case _:
                pass

    def follow_signed(self, entry: LedgerEntry) -> None:
        """Remember until when anything that was signed may be admitted."""
        if isinstance(entry, RequestSigned):
            self.signed_until_ms = max(self.signed_until_ms, entry.signed_ms + entry.recv_window_ms)

    def sent(self, order: SubmitOrder, strategy: str, now_ns: int, *, is_rule: bool) -> Order:
        """Keep an order that is about to be sent."""
        name = order.client_order_id
        self.sends_ns.append(now_ns)
        if order.stop_loss is not None or order.take_profit is not None:
            self.has_stops.add(order.instrument)
        self.strategy_of[name] = strategy
        if is_rule:
            self.closing.add(name)
        kept = Order(request=order)
        self.keep(kept, now_ns)
        return kept

    def keep(self, order: Order, now_ns: int) -> None:
        """Keep an order as it is now; forget those that were done a day ago."""
        name = order.request.client_order_id
        self.orders[name] = order
        live = self.live[order.request.instrument]
        if order.is_live:
            live[name] = order
            return
        self.closing.discard(name)
        self.worked.discard(name)
        if order.owed_qty:
            self.owing.setdefault(name, now_ns)
        elif self.owing:
            self.owing.pop(name, None)
        if live.pop(name, None) is not None:
            self.done.append((now_ns, name))
        while self.done and self.done[0][0] < self.forget_before_ns(now_ns):
            _, forgotten = self.done.popleft()
            done = self.orders.get(forgotten)
            if done is not None and not done.is_live:  # it is gone where it was done twice: a raise opened it again
                del self.orders[forgotten], self.strategy_of[forgotten]
                self.owing.pop(forgotten, None)
                if self.strategy_books is not None:
                    self.strategy_books.shares.pop(forgotten, None)

    def forget_before_ns(self, now_ns: int) -> int:
        """Return before when nothing needs to be known again: executions are asked for from the last comparison on.

        After a long time away that lies far back, and what was done shortly before it will be told once more.
        """
        known_ns = now_ns if self.compared_ns is None else min(now_ns, self.compared_ns)
        return known_ns - _FORGET_AFTER_NS

    def moved(self, instrument: str) -> None:
        """Count stops no more, which end with their position; but an open order may bring new ones."""
        if not self.has_stops or self.position_qty(instrument):
            return
        live = (order.request for order in self.live[instrument].values())
        if all(request.take_profit is None and request.stop_loss is None for request in live):
            self.has_stops.discard(instrument)

    def follow_stops(self, event: StopsChanged) -> bool:
        """Take the venue's word for what it keeps; return whether it is news."""
        if (event.leg is not Leg.NET) != (event.instrument in self.hedged):
            return False  # of another position mode: the next comparison tells a person
        held = self.stops[event.instrument]
        now = self.stops[event.instrument] = follow(held, event)
        if not now.is_empty:
            self.has_stops.add(event.instrument)  # until flat: what says that they are gone may be old
        return not now.is_like(held)

    def book(self, instrument: str, marks: Marks, now_ns: int, *, without: str = "") -> Book:
        """Return the account as the gate wants to see it; `without` is an order not to count."""
        equity: Decimal | None = self.portfolio.cash
        others = ZERO
        other_positions = 0
        for name, position in self.portfolio.positions.items():
            live = self.live[name]
            if not position.qty and (name == instrument or not live):
                continue
            if name != instrument and (position.qty or any(not o.request.reduce_only for o in live.values())):
                other_positions += 1
            mark = marks.get(name)
            if mark is None:
                equity = None
                continue
            if equity is not None and position.qty:
                equity += position.unrealized_pnl(mark.price)
            if name != instrument:
                worst = worst_case_qty(position, live.claims() or live.values(), has_stops=name in self.has_stops)
                others += worst * mark.price
        mine = self.live.get(instrument)
        others_of = {} if mine is None else dict(mine)
        others_of.pop(without, None)
        flat = Position(instrument=instrument)
        return Book(
            equity=equity,
            position=self.portfolio.positions.get(instrument, flat),
            live=tuple(others_of.values()),
            others_notional=others,
            recent_sends_ns=tuple(self.sends_ns),
            now_ns=now_ns,
            other_positions=other_positions,
            has_stops=instrument in self.has_stops,
            claims=None if mine is None else mine.claims(without=without),
        )
