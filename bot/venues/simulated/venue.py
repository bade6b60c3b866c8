"""The venue of a replay: carries commands to our desk at the venue model and its events back, each after its delay."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from bot.core.calendar import Class
from bot.core.delays import Delay
from bot.core.venue.desk import Desk
from bot.domain.market import BarBatch, BookDeltaBatch, TradeBatch
from bot.domain.orders import AccountEvent, CashAdjusted, Command, FundingPaid, OrderFilled, PositionCut, SubmitOrder
from bot.ports import Calendar, Cancelable


class SimulatedVenue:
    """A `ports.Venue` on the virtual calendar.

    Args:
        calendar: orders, fills and answers happen on it.
        desk: our account at the venue model.
        order_delay: from our sending an order to its arrival, a function of the order's number.
        cancel_delay: the same for everything else that is asked of an order.
        deliver: receives the events that become known at one instant.
        books: by instrument, what to ask for the changes of its book up to and beyond a time; none where none is known.
    """

    def __init__(
        self,
        *,
        calendar: Calendar,
        desk: Desk,
        order_delay: Delay,
        cancel_delay: Delay,
        deliver: Callable[[Sequence[AccountEvent]], None],
        books: Mapping[str, Callable[[int], Iterable[BookDeltaBatch]]] | None = None,
    ) -> None:
        self._calendar = calendar
        self._desk = desk
        self._order_delay = order_delay
        self._cancel_delay = cancel_delay
        self._deliver = deliver
        self._books = books or {}
        self._alarm: tuple[int, Cancelable] | None = None
        self._events = 0
        self._untold: dict[int, list[AccountEvent]] = {}

    def send(self, command: Command) -> None:
        """See `ports.Venue`."""
        delay = self._order_delay if isinstance(command, SubmitOrder) else self._cancel_delay
        at_ns = self._calendar.now_ns() + delay.of(command.order_number)
        self._calendar.schedule((at_ns, Class.ARRIVAL, 1, command.order_number), self._arrive, command)

    def extend_tape(self, batch: TradeBatch | BarBatch) -> None:
        """Append market data that the feed has read ahead."""
        now_ns = self._calendar.now_ns()
        self._desk.extend(batch, now_ns=now_ns)
        read = self._books.get(batch.instrument.name)
        if read is not None and len(batch):
            last_ns = int(batch.ts_ns[-1] if isinstance(batch, TradeBatch) else batch.close_ns[-1])
            for deltas in read(last_ns):
                self._desk.extend_book(deltas, now_ns=now_ns)
        self._arm()

    def untold(self) -> list[AccountEvent]:
        """Return what has happened to the account and is still on its way to us."""
        return [event for together in self._untold.values() for event in together]

    def _arrive(self, command: Command) -> None:
        self._answer(self._desk.handle(command, self._calendar.now_ns()))
        self._arm()

    def _advance(self) -> None:
        self._alarm = None
        self._answer(self._desk.advance(self._calendar.now_ns()))
        self._arm()

    def _arm(self) -> None:
        """Have the calendar call when the tape holds the next event."""
        at_ns = self._desk.next_ns()
        if self._alarm is not None:
            if self._alarm[0] == at_ns:
                return
            self._alarm[1].cancel()
            self._alarm = None
        if at_ns is not None:
            # Before what arrives at that instant: it has happened by then.
            key = (at_ns, Class.ARRIVAL, 0, 0)
            self._alarm = at_ns, self._calendar.schedule(key, self._advance)

    def _answer(self, events: Sequence[AccountEvent]) -> None:
        """Schedule the events for when they become known; those of one instant travel together."""
        by_time: dict[int, list[AccountEvent]] = {}
        for event in events:
            by_time.setdefault(event.ts_recv_ns, []).append(event)
        for recv_ns, together in by_time.items():
            klass = _class_of(together[0])
            self._events += 1
            self._untold[self._events] = together
            self._calendar.schedule((recv_ns, klass, 0, self._events), self._tell, self._events)

    def _tell(self, number: int) -> None:
        self._deliver(self._untold.pop(number))


def _class_of(event: AccountEvent) -> Class:
    match event:
        case OrderFilled() | PositionCut():
            return Class.FILL
        case FundingPaid() | CashAdjusted():
            return Class.FUNDING
        case _:
            return Class.ANSWER
