"""The venue of a replay: carries orders to `core.matching` and its events back, each after its delay."""

from collections.abc import Callable, Mapping, Sequence

from bot.core.calendar import Class
from bot.core.delays import Delay
from bot.core.matching import Matching
from bot.domain.market import BarBatch, TradeBatch
from bot.domain.orders import AccountEvent, Command, FundingPaid, OrderFilled, SubmitOrder
from bot.ports import Calendar, Cancelable


class SimulatedVenue:
    """A `ports.Venue` on the virtual calendar.

    Args:
        calendar: orders, fills and answers happen on it.
        matching: the core of each instrument, by name.
        order_delay: from our sending an order to its arrival, a function of the order's number.
        cancel_delay: the same for cancels.
        deliver: receives the events that become known at one instant.
    """

    def __init__(
        self,
        *,
        calendar: Calendar,
        matching: Mapping[str, Matching],
        order_delay: Delay,
        cancel_delay: Delay,
        deliver: Callable[[Sequence[AccountEvent]], None],
    ) -> None:
        self._calendar = calendar
        self._matching = matching
        self._order_delay = order_delay
        self._cancel_delay = cancel_delay
        self._deliver = deliver
        self._streams = {name: number for number, name in enumerate(matching)}
        self._alarms: dict[str, tuple[int, Cancelable]] = {}
        self._events = 0

    def send(self, command: Command) -> None:
        """See `ports.Venue`."""
        delay = self._order_delay if isinstance(command, SubmitOrder) else self._cancel_delay
        at_ns = self._calendar.now_ns() + delay.of(command.order_number)
        stream = self._streams[command.instrument]
        self._calendar.schedule((at_ns, Class.ARRIVAL, stream, command.order_number), self._arrive, command)

    def extend_tape(self, batch: TradeBatch | BarBatch) -> None:
        """Append market data that the feed has read ahead."""
        name = batch.instrument.name
        self._matching[name].extend(batch, now_ns=self._calendar.now_ns())
        self._arm(name)

    def _arrive(self, command: Command) -> None:
        matching, now_ns = self._matching[command.instrument], self._calendar.now_ns()
        events = (
            matching.submit(command, now_ns) if isinstance(command, SubmitOrder) else matching.cancel(command, now_ns)
        )
        self._answer(events)
        self._arm(command.instrument)

    def _advance(self, name: str) -> None:
        del self._alarms[name]
        self._answer(self._matching[name].advance(self._calendar.now_ns()))
        self._arm(name)

    def _arm(self, name: str) -> None:
        """Have the calendar call when the tape holds the instrument's next event."""
        at_ns = self._matching[name].next_ns()
        armed = self._alarms.get(name)
        if armed is not None:
            if armed[0] == at_ns:
                return
            armed[1].cancel()
            del self._alarms[name]
        if at_ns is not None:
            key = (at_ns, Class.ARRIVAL, self._streams[name], 0)
            self._alarms[name] = at_ns, self._calendar.schedule(key, self._advance, name)

    def _answer(self, events: Sequence[AccountEvent]) -> None:
        """Schedule the events for when they become known; those of one instant travel together."""
        by_time: dict[int, list[AccountEvent]] = {}
        for event in events:
            by_time.setdefault(event.ts_recv_ns, []).append(event)
        for recv_ns, together in by_time.items():
            klass = _class_of(together[0])
            self._events += 1
            self._calendar.schedule((recv_ns, klass, 0, self._events), self._deliver, together)


def _class_of(event: AccountEvent) -> Class:
    match event:
        case OrderFilled():
            return Class.FILL
        case FundingPaid():
            return Class.FUNDING
        case _:
            return Class.ANSWER
