"""One instrument's market as the venue model has it: the prices to come, and the orders that wait for them."""

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import IntEnum, StrEnum

import msgspec

from bot.core.tape import FAR, BarTape, Found, Tape, TradeTape, Trail, Watch
from bot.core.venue.book_tape import BookTape, LevelChange
from bot.core.venue.books import RestingOrders, WaitingOrders
from bot.core.venue.contract import Contract
from bot.core.venue.impact import FixedSpread, FractionalSpread, SquareRootImpact, TradedHours
from bot.core.venue.level_changes import LevelChanges
from bot.core.venue.orders import NewOrder, OrderRecord, PriceSource
from bot.core.venue.queue import Probabilistic, QueuePosition, RiskAverse, Through, Touch
from bot.core.venue.state import PositionKey
from bot.domain.instrument import Side
from bot.domain.market import BarBatch, BookDeltaBatch, FundingBatch, TradeBatch

Queue = Touch | Probabilistic | RiskAverse | Through


class Step(IntEnum):
    """What happens first of one instant in one instrument."""

    TAKE = 0
    INDEX = 1
    MARK = 2
    LAST = 3
    BOOK = 4  # of equal times a trade is told before what it leaves in the book
    FUNDING = 5


class BarPath(StrEnum):
    """Which way the price is taken to have gone through a bar."""

    ADVERSE = "adverse"  # to the extreme that hurts first; what rested takes no profit in the bar of its entry
    NEAREST = "nearest"  # first to the extreme that is nearer to the open
    FAVORABLE = "favorable"  # first to the extreme that helps the position


class FillModel(msgspec.Struct, frozen=True, kw_only=True):
    """What is assumed where the market data does not tell: `docs/fills.md` argues each choice."""

    queue: Queue = Through()  # when a resting order fills; on bars only `Touch` differs from `Through`
    path: BarPath = BarPath.ADVERSE
    slippage: Decimal = Decimal(0)  # how much worse than the price at hand a taker fills without a book, a fraction
    spread: FixedSpread | FractionalSpread | None = None  # where there is no book
    impact: SquareRootImpact | None = None  # of our own size, where there is no book


def pessimistic(slippage: Decimal) -> FillModel:
    """Return the model under which a real venue should treat us no worse: last in the queue, twice the slippage."""
    return FillModel(queue=Through(), path=BarPath.ADVERSE, slippage=slippage * 2, impact=SquareRootImpact())


def neutral(slippage: Decimal) -> FillModel:
    """Return the model that is meant to be right on average."""
    return FillModel(queue=RiskAverse(), path=BarPath.NEAREST, slippage=slippage)


def optimistic(slippage: Decimal) -> FillModel:
    """Return the model under which a real venue should treat us no better: fills at a touch, no slippage."""
    return FillModel(queue=Touch(), path=BarPath.FAVORABLE, slippage=slippage * 0)


class Live:
    """An order that may still do something, with what the matching keeps of it. Ticks and steps."""

    __slots__ = (
        "account",
        "active_ticks",
        "arrived_ns",
        "book_row",
        "budget",
        "change",
        "distance",
        "is_protective",
        "key",
        "number",
        "open_steps",
        "order_id",
        "partner",
        "place",
        "record",
        "request",
        "row",
        "side",
        "since_row",
        "ticks",
        "trail",
        "trigger_ticks",
    )

    def __init__(self, account: str, number: int, request: NewOrder, record: OrderRecord) -> None:
        self.account = account
        self.number = number  # time priority
        self.request = request
        self.record = record
        self.order_id = record.order_id
        self.side = record.side
        self.key: PositionKey = (record.instrument, record.position_index)
        self.ticks = 0  # its limit; a market order's protective price
        self.open_steps = 0
        self.place: QueuePosition | None = None  # in the queue at its price, where there is one
        self.change: LevelChange | None = None  # the next of the level it rests at, once found
        self.book_row = 0  # from where on the book is to be searched for it
        self.since_row = 0  # the first row it takes part in
        self.row = 0  # a taker's: the row it takes from
        self.arrived_ns = 0
        self.trigger_ticks = 0
        self.distance = 0  # of a trailing stop
        self.active_ticks: int | None = None  # from which price on it was to follow
        self.trail: Trail | None = None  # a trailing stop's, once it follows
        self.budget: Decimal | None = None  # in the quote coin, of an order that is sized in it
        self.is_protective = False  # a loss is cut by it: what a bar did before it arrived counts against us
        self.partner: Live | None = None  # of a pair of which one alone may execute


class Stream:
    """One price of an instrument, and how far the venue has come in it."""

    __slots__ = ("found", "row", "tape", "watch")

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.row = 0  # the first row that is not accounted for
        self.watch = Watch()
        self.found: Found | None = None

    def pass_to(self, row: int, bid_traded: int = 0, ask_traded: int = 0) -> None:
        """Account for the rows before `row`: what was found beyond them stays found.

        Args:
            row: the first that is left.
            bid_traded, ask_traded: what the rows traded of what is ahead of our orders.
        """
        self.row = row
        found, watch = self.found, self.watch
        if found is None:
            return
        if found.row < row:
            self.found = None
        elif bid_traded or ask_traded:
            self.watch = watch._replace(bid_ahead=watch.bid_ahead - bid_traded, ask_ahead=watch.ask_ahead - ask_traded)
            self.found = found._replace(
                bid_traded=found.bid_traded - bid_traded, ask_traded=found.ask_traded - ask_traded
            )

    def look(self, watch: Watch) -> int | None:
        """Return when the next event is that `watch` names, None if the tape so far holds none."""
        found = self.found if watch == self.watch else None
        if found is None:
            found = self.tape.scan(self.row, FAR, watch)
        elif not found.is_event and found.row < self.tape.end:
            rest = watch._replace(
                bid_ahead=watch.bid_ahead - found.bid_traded, ask_ahead=watch.ask_ahead - found.ask_traded
            )
            more = self.tape.scan(found.row, FAR, rest)
            found = Found(
                more.row, more.is_event, found.bid_traded + more.bid_traded, found.ask_traded + more.ask_traded
            )
        self.watch, self.found = watch, found
        return self.tape.seen_ns(found.row) if found.is_event else None


class Market:
    """What happens in one instrument.

    Args:
        contract: what is traded.
        is_bars: the prices are bars, else trades.
        book: what rests there, if that is known.
        is_counted: keep count of what trades, as impact and queues without a book need it.
        mark: where the mark price comes from: None: it is the last price.
        index: likewise the index price.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        is_bars: bool,
        book: BookTape | None = None,
        is_counted: bool = True,
        mark: Tape | None = None,
        index: Tape | None = None,
    ) -> None:
        self.contract = contract
        self.instrument = contract.instrument
        self.is_bars = is_bars
        self.book = book
        self.hours = TradedHours() if is_counted else None
        self.streams: dict[PriceSource, Stream] = {PriceSource.LAST: Stream(BarTape() if is_bars else TradeTape())}
        if mark is not None:
            self.streams[PriceSource.MARK] = Stream(mark)
        if index is not None:
            self.streams[PriceSource.INDEX] = Stream(index)
        self.resting = RestingOrders()
        self.taking: dict[str, Live] = {}  # takers that wait for the row they meet
        self.waiting = WaitingOrders()  # for their trigger
        self.changes = None if book is None else LevelChanges(book, self.resting)
        self.funding: FundingBatch | None = None
        self.funding_row = 0
        # Mark prices at whole times, where they are recorded too rarely to be a price of their own: funding is by them.
        self.settlement_prices: dict[int, int] = {}
        self.at: dict[PriceSource, int] = {}  # where prices are while something happens at them
        self.row: int | None = None  # of the last price, while it is worked through
        self._newest: dict[PriceSource, tuple[int, int | None]] = {}  # what was asked last: time and price
        self._settled_ns = -FAR  # up to when all that has been read is accounted for
        self.next: tuple[int, Step] | None = None  # when and what the next event is, unless stale
        self.is_stale = True

    @property
    def last(self) -> Stream:
        """Return the stream of the last price."""
        return self.streams[PriceSource.LAST]

    def stream_of(self, source: PriceSource) -> PriceSource:
        """Return which of the streams that are there stands for `source`."""
        return source if source in self.streams else PriceSource.LAST

    def triggers(self, source: PriceSource) -> tuple[int, int]:
        """Return the nearest of what is waited for in one of the prices: a fall to, and a rise to."""
        falls, rises = -FAR, FAR
        if not self.waiting:
            return falls, rises
        for asked, (fall, rise) in self.waiting.nearest().items():
            if self.stream_of(asked) is source:
                falls, rises = max(falls, fall), min(rises, rise)
        return falls, rises

    @property
    def mark_source(self) -> PriceSource:
        """Return the stream that values positions."""
        return self.stream_of(PriceSource.MARK)

    def price_at(self, source: PriceSource, now_ns: int) -> int | None:
        """Return the newest price of a kind, None before the first."""
        if source not in self.streams:
            source = PriceSource.LAST
        if (now := self.at.get(source)) is not None:
            return now
        known = self._newest.get(source)
        if known is None or known[0] != now_ns:
            known = self._newest[source] = now_ns, self.streams[source].tape.last_price(now_ns)
        return known[1]

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int, source: PriceSource) -> None:
        """Append prices that run ahead of the clock; what lies before `now_ns` is needed no more."""
        self.settle(now_ns - 1, only=source)  # what is dropped must be accounted for
        self.streams[source].tape.extend(batch, now_ns)
        if source is PriceSource.LAST and self.hours is not None:
            self.hours.extend(batch, now_ns)
        self._newest.clear()
        self._settled_ns = -FAR
        self.is_stale = True

    def extend_book(self, batch: BookDeltaBatch, now_ns: int) -> None:
        """Append changes of the book that run ahead of the clock."""
        assert self.book is not None
        self.book.extend(batch, now_ns)
        self.is_stale = True

    def orders(self) -> Iterator[Live]:
        """Yield every order that may still do something."""
        yield from self.resting.values()
        yield from self.taking.values()
        yield from self.waiting.values()

    def settle(self, now_ns: int, only: PriceSource | None = None) -> None:
        """Account for the rows up to and at `now_ns`, of which none is an event: what is waited for is about to change.

        Args:
            now_ns: the time.
            only: of this price alone; None: of all.
        """
        self.is_stale = True
        if only is None:
            if now_ns <= self._settled_ns:
                return
            self._settled_ns = now_ns
        for source, stream in self.streams.items():
            if only is not None and source is not only:
                continue
            row = stream.tape.unseen_row(now_ns)
            if row > stream.row:
                if source is PriceSource.LAST:
                    self.account_for(row)
                else:
                    stream.pass_to(row)

    def account_for(self, row: int) -> None:
        """Take note of rows before `row` of the last price, in which nothing happens but what adds up."""
        stream = self.last
        start, watch = stream.row, stream.watch
        if row <= start:
            return
        bid_traded = ask_traded = 0
        if watch.bid_ahead < FAR or watch.ask_ahead < FAR:
            _, _, bid_traded, ask_traded = stream.tape.scan(start, row, watch)
            for side, ticks, traded in (
                (Side.BUY, watch.bid, bid_traded),
                (Side.SELL, watch.ask, ask_traded),
            ):
                for live in self.resting.at(side, ticks) if traded else ():
                    if live.place is not None:
                        live.place.traded(traded)
        for live in self.waiting.following.values():
            assert live.trail is not None
            _, _, live.trail = stream.tape.follow(start, row, live.trail)
        stream.pass_to(row, bid_traded, ask_traded)

    def drop(self, live: Live) -> None:
        """Forget an order."""
        order_id = live.order_id
        self.taking.pop(order_id, None)
        for orders in (self.resting, self.waiting):
            if order_id in orders:
                del orders[order_id]
        if self.changes is not None:
            self.changes.leave(live)
        self.is_stale = True


def opposite(side: Side) -> Side:
    """Return the other side."""
    return Side.SELL if side is Side.BUY else Side.BUY


def taker_ticks(side: Side, ticks: int, worse: Decimal) -> int:
    """Return what a taker pays where `ticks` is at hand and it fares worse by a fraction; rounded against it."""
    if not worse:
        return ticks
    rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
    moved = int((ticks * (1 + worse * side.sign)).to_integral_value(rounding))
    return max(1, moved)
