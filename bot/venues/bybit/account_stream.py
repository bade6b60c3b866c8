"""Records of the account's streams to events: whose they are, what is new in them, and what cannot be told.

Streams repeat, reorder between topics and contradict each other, and nothing marks what is missing. So executions are
told once each, by their id; orders only when they move on; and what is of an order that we do not know waits for a
while, for its order may be on its way. Fills come from executions alone, never from an order's state.

Decides and does nothing; the time is an argument. The same for records of REST: both feed one object, and what the one
has told the other does not tell again.

Source: Bybit V5, private websocket topics; faults X1, X7 to X14, X24, N14 and N15 of the fault catalogue.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypedDict

import msgspec
from msgspec.structs import replace

from bot.domain.account_events import (
    AccountUnsure,
    ExternalOrder,
    FillSighted,
    LiveEvent,
    PositionReported,
    WalletReported,
)
from bot.domain.instrument import Instrument
from bot.domain.orders import (
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderRejected,
    OrderTriggered,
    OrderType,
    StopsChanged,
    SubmitOrder,
)
from bot.domain.venue_records import (
    AccountRecord,
    BookingRecord,
    ExecutionKind,
    ExecutionRecord,
    OrderRecord,
    OrderState,
    Origin,
    PositionRecord,
    WalletRecord,
)
from bot.venues.bybit.execution_events import events_of

_MS = 1_000_000
_S = 1_000 * _MS

PARK_NS = 5 * _S  # an execution of an order that nobody knows waits so long for the order
BEHIND_NS = 2 * _S  # an order that says more has filled than came as executions is looked up after so long
IDS_MAX = 500  # of orders and executions; the desk knows repeats, too: this only spares it the work
ORDERS_MAX = 100  # remembered after their end


class _Seen(msgspec.Struct):
    """What an order's newest record said."""

    record: OrderRecord
    is_told: bool = False  # that it was accepted
    behind_ns: int | None = None  # since when its record says more


class _Head(TypedDict):
    ts_event_ns: int
    ts_recv_ns: int
    client_order_id: str
    instrument: str


class AccountStream:
    """Turns records into events.

    Args:
        instruments: what may be traded, by category and symbol.
        is_ours: tells our client order ids from others', of earlier runs too.
    """

    def __init__(self, instruments: Mapping[tuple[str, str], Instrument], *, is_ours: Callable[[str], bool]) -> None:
        self._instruments = dict(instruments)
        self._is_ours = is_ours
        self._orders: dict[str, _Seen] = {}  # by the venue's id, the newest last
        self._ids: dict[str, str] = {}  # ours by the venue's, known from answers before any record
        self._asked: dict[str, tuple[Decimal, Decimal | None]] = {}  # by our id, until the venue has shown the order
        self._trade_ids: dict[tuple[str, str, str], None] = {}
        self._booked: dict[str, Decimal] = {}  # of executions told, by the venue's id of their order
        self._sighted: dict[tuple[str, str, str], None] = {}
        self._parked: dict[tuple[str, str, str], tuple[int, ExecutionRecord]] = {}
        self._positions: dict[tuple[str, str, int], PositionRecord] = {}
        self._stops: dict[tuple[str, str, int], tuple[Decimal | None, Decimal | None, Decimal | None]] = {}
        self.repeated = 0  # records that were no news
        self.stale = 0  # records older than what is known

    # --- what comes ---------------------------------------------------------------------------------------------------

    def expect(self, order: SubmitOrder) -> None:
        """Learn what is being asked for, so that an order which rests otherwise is noticed."""
        limit = order.limit_price if order.order_type is OrderType.LIMIT else None
        self._asked[order.client_order_id] = (order.qty, limit)
        _cap(self._asked, IDS_MAX)

    def note_id(self, venue_order_id: str, client_order_id: str, now_ns: int) -> list[LiveEvent]:
        """Learn from an answer which of our orders the venue calls what; tell what has waited for it."""
        if venue_order_id:
            self._ids[venue_order_id] = client_order_id
            _cap(self._ids, IDS_MAX)
        return self._unpark(venue_order_id, now_ns)

    def on_records(self, records: Iterable[AccountRecord], now_ns: int, *, is_fast: bool = False) -> list[LiveEvent]:
        """Take records in order.

        Args:
            records: off a stream or of a look-up.
            now_ns: when they came, our clock.
            is_fast: executions of the fast stream, which tells no fees.
        """
        events: list[LiveEvent] = []
        for record in records:
            match record:
                case OrderRecord():
                    events += self._on_order(record, now_ns)
                case ExecutionRecord():
                    events += self._on_sighting(record, now_ns) if is_fast else self._on_execution(record, now_ns)
                case PositionRecord():
                    events += self._on_position(record, now_ns)
                case WalletRecord():
                    events.append(WalletReported(ts_event_ns=now_ns, ts_recv_ns=now_ns, wallet=record))
                case BookingRecord():
                    pass  # compared with our own books by reconciliation, which asks for them
        return events

    def on_gap(self, reason: str, now_ns: int) -> list[LiveEvent]:
        """Learn that something may have been missed."""
        return [AccountUnsure(ts_event_ns=now_ns, ts_recv_ns=now_ns, instrument="", reason=reason)]

    def on_time(self, now_ns: int) -> list[LiveEvent]:
        """Give up waiting for orders of executions that have waited long enough: they are not ours."""
        events: list[LiveEvent] = []
        for key, (since_ns, record) in list(self._parked.items()):
            if now_ns - since_ns >= PARK_NS:
                del self._parked[key]
                events += self._book(record, self._owner(record), now_ns)
        return events

    def behind(self, now_ns: int) -> list[OrderRecord]:
        """Return orders that have said for a while that more has filled than executions came: ask for those."""
        return [
            seen.record
            for seen in self._orders.values()
            if seen.behind_ns is not None and now_ns - seen.behind_ns >= BEHIND_NS
        ]

    @property
    def parked_count(self) -> int:
        """Return how many executions wait for their order."""
        return len(self._parked)

    # --- orders -------------------------------------------------------------------------------------------------------

    def _on_order(self, record: OrderRecord, now_ns: int) -> list[LiveEvent]:
        before = self._orders.get(record.venue_order_id)
        if before is not None and not _is_news(before.record, record):
            if before.record == record:
                self.repeated += 1
            else:
                self.stale += 1
            return []
        seen = _Seen(record) if before is None else before
        last, seen.record = (None if before is None else before.record), record
        self._orders.pop(record.venue_order_id, None)
        self._orders[record.venue_order_id] = seen
        self._trim()
        client_order_id = self._client_id(record.client_order_id, record.venue_order_id)
        self._watch(seen, now_ns)
        if not client_order_id:
            events = self._strange(record, now_ns)
        else:
            events = self._moves(seen, last, client_order_id, now_ns)
        return events + self._unpark(record.venue_order_id, now_ns)

    def _strange(self, record: OrderRecord, now_ns: int) -> list[LiveEvent]:
        if record.origin is Origin.ATTACHED:  # an exit that the venue keeps for our position: see positions
            return []
        ts = record.updated_ms * _MS
        named = replace(record, instrument=self._name(record.market, record.instrument))
        return [ExternalOrder(ts_event_ns=ts, ts_recv_ns=now_ns, order=named)]

    def _moves(self, seen: _Seen, last: OrderRecord | None, order_id: str, now_ns: int) -> list[LiveEvent]:
        """Return what has happened to an order of ours between two records of it."""
        record = seen.record
        head = _Head(
            ts_event_ns=record.updated_ms * _MS,
            ts_recv_ns=now_ns,
            client_order_id=order_id,
            instrument=self._name(record.market, record.instrument),
        )
        events: list[LiveEvent] = []
        if record.state is OrderState.REJECTED:
            return [OrderRejected(**head, code=record.reason or "rejected", reason=record.reason)]
        if record.state is OrderState.UNKNOWN:
            return [self._unsure(record, f"order {order_id} is in a state that is not known", now_ns)]
        if not seen.is_told:
            seen.is_told = True
            events.append(OrderAccepted(**head, venue_order_id=record.venue_order_id))
            asked = self._asked.pop(order_id, None)
            if last is None and asked is not None and record.qty is not None and asked != _terms(record)[:2]:
                # The venue moves limits to its price band by default, and cuts what reduces to what there is.
                events.append(OrderAmended(**head, qty=record.qty, limit_price=record.limit_price))
                if asked[1] != record.limit_price:
                    events.append(self._unsure(record, f"the venue moved the limit of order {order_id}", now_ns))
        was_waiting = last is not None and last.state is OrderState.WAITING
        if was_waiting and record.state in (OrderState.OPEN, OrderState.FILLED):
            events.append(OrderTriggered(**head))
        if last is not None and _terms(last) != _terms(record) and record.qty is not None:
            events.append(OrderAmended(**head, qty=record.qty, limit_price=record.limit_price))
        if record.state is OrderState.CANCELED and (last is None or last.state is not OrderState.CANCELED):
            owed = record.filled_qty - self._booked.get(record.venue_order_id, Decimal(0))
            reason = record.reason or "canceled"
            events.append(OrderCanceled(**head, reason=reason, owed_qty=max(owed, Decimal(0))))
        return events

    def _watch(self, seen: _Seen, now_ns: int) -> None:
        if seen.record.filled_qty <= self._booked.get(seen.record.venue_order_id, 0):
            seen.behind_ns = None
        elif seen.behind_ns is None:
            seen.behind_ns = now_ns

    # --- executions ---------------------------------------------------------------------------------------------------

    def _on_sighting(self, record: ExecutionRecord, now_ns: int) -> list[LiveEvent]:
        key = _key(record)
        if key in self._trade_ids or key in self._sighted:
            self.repeated += 1
            return []
        self._sighted[key] = None
        _cap(self._sighted, IDS_MAX)
        ts = record.executed_ms * _MS
        order_id = self._owner(record)
        named = replace(record, instrument=self._name(record.market, record.instrument))
        return [FillSighted(ts_event_ns=ts, ts_recv_ns=now_ns, client_order_id=order_id, execution=named)]

    def _on_execution(self, record: ExecutionRecord, now_ns: int) -> list[LiveEvent]:
        key = _key(record)
        if key in self._trade_ids or key in self._parked:
            self.repeated += 1
            return []
        order_id = self._owner(record)
        is_nameless = not order_id and not record.client_order_id and record.venue_order_id not in self._orders
        if is_nameless and record.kind is ExecutionKind.TRADE and record.origin in (Origin.USER, Origin.UNKNOWN):
            self._parked[key] = (now_ns, record)
            return []
        return self._book(record, order_id, now_ns)

    def _unpark(self, venue_order_id: str, now_ns: int) -> list[LiveEvent]:
        events: list[LiveEvent] = []
        for key, (_, record) in list(self._parked.items()):
            if record.venue_order_id == venue_order_id:
                del self._parked[key]
                events += self._book(record, self._owner(record), now_ns)
        return events

    def _book(self, record: ExecutionRecord, order_id: str, now_ns: int) -> list[LiveEvent]:
        self._trade_ids[_key(record)] = None
        _cap(self._trade_ids, IDS_MAX)
        if record.kind is not ExecutionKind.FUNDING:
            venue_id = record.venue_order_id
            self._booked[venue_id] = self._booked.pop(venue_id, Decimal(0)) + record.qty
            _cap(self._booked, IDS_MAX)
            seen = self._orders.get(venue_id)
            if seen is not None:
                self._watch(seen, now_ns)
        instrument = self._instruments.get((record.market, record.instrument))
        return events_of(record, order_id, instrument, now_ns, name=self._name(record.market, record.instrument))

    # --- positions ----------------------------------------------------------------------------------------------------

    def _on_position(self, record: PositionRecord, now_ns: int) -> list[LiveEvent]:
        key = (record.market, record.instrument, record.mode_index)
        before = self._positions.get(key)
        if before is not None:
            if (record.seq, record.updated_ms) < (before.seq, before.updated_ms):
                self.stale += 1
                return []
            if record == before:
                self.repeated += 1
                return []
        self._positions[key] = record
        name = self._name(record.market, record.instrument)
        ts = record.updated_ms * _MS or now_ns
        events: list[LiveEvent] = [
            PositionReported(
                ts_event_ns=ts, ts_recv_ns=now_ns, instrument=name, position=replace(record, instrument=name)
            )
        ]
        stops = (record.take_profit, record.stop_loss, record.trailing_distance)
        # At first sight also that there are none: they may have been taken away while nobody looked.
        is_ours = key[:2] in self._instruments
        if self._stops.get(key, None if is_ours else (None, None, None)) != stops:
            events.append(
                StopsChanged(
                    ts_event_ns=ts,
                    ts_recv_ns=now_ns,
                    instrument=name,
                    take_profit=stops[0],
                    stop_loss=stops[1],
                    trailing_distance=stops[2],
                    leg=record.leg,
                )
            )
        self._stops[key] = stops
        return events

    # --- names and owners ---------------------------------------------------------------------------------------------

    def _client_id(self, told: str, venue_order_id: str) -> str:
        """Return our id of an order, "" where it is not ours. Spot invents ids for orders that have none."""
        if told and self._is_ours(told):
            return told
        return self._ids.get(venue_order_id, "")

    def _owner(self, record: ExecutionRecord) -> str:
        told = self._client_id(record.client_order_id, record.venue_order_id)
        if told:
            return told
        seen = self._orders.get(record.venue_order_id)
        return "" if seen is None else self._client_id(seen.record.client_order_id, record.venue_order_id)

    def _name(self, market: str, symbol: str) -> str:
        """Return our name of an instrument. What we do not trade has one that no instrument of ours can have."""
        instrument = self._instruments.get((market, symbol))
        return f"{market}:{symbol}" if instrument is None else instrument.name

    def _unsure(self, record: OrderRecord, reason: str, now_ns: int) -> AccountUnsure:
        return AccountUnsure(
            ts_event_ns=now_ns,
            ts_recv_ns=now_ns,
            instrument=self._name(record.market, record.instrument),
            reason=reason,
        )

    def _trim(self) -> None:
        """Forget the oldest orders that have ended."""
        if len(self._orders) <= ORDERS_MAX:
            return
        for venue_id, seen in self._orders.items():
            if seen.record.state not in (OrderState.OPEN, OrderState.WAITING):
                del self._orders[venue_id]
                self._ids.pop(venue_id, None)
                self._booked.pop(venue_id, None)
                return


def _key(record: ExecutionRecord) -> tuple[str, str, str]:
    return (record.market, record.instrument, record.trade_id)


def _terms(record: OrderRecord) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    return (record.qty, record.limit_price, record.trigger_price)


_ENDED = (OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED)


def _is_news(before: OrderRecord, after: OrderRecord) -> bool:
    """Return whether a record says more than the one known: its time and its fills go up, and an end is the end."""
    if after == before or after.filled_qty < before.filled_qty or after.updated_ms < before.updated_ms:
        return False
    if before.state in _ENDED:
        # A second end, of a cancel that raced the fill, is no news; more fills are.
        return after.state in _ENDED and after.filled_qty > before.filled_qty
    return not (before.state is OrderState.OPEN and after.state is OrderState.WAITING)


def _cap(table: dict[Any, Any], count: int) -> None:
    while len(table) > count:
        del table[next(iter(table))]
