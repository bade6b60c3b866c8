"""How a simulated venue fills: the orders of one instrument against the tape of its trades or bars.

The tape runs ahead of the clock; the venue looks no further on it than the event it reports. `docs/fills.md` argues
each rule:

* A market order takes the first trade at or after its arrival, whole, at that trade's price plus slippage. Against
  bars it takes the open of the bar it arrives in.
* A limit order that the last price reaches at its arrival takes the same way if that price is within its limit. Any
  other rests, and fills whole, at its limit, once the market trades *through* it, strictly beyond. Against bars it
  fills at the close of the first bar that goes through it, of those that opened at or after its arrival.
* Post-only cancels what would take, IOC what would rest. Reduce-only is cut to the position and refused without one.
* Funding is paid on the position at its settlement time, at the last price.
"""

from decimal import Decimal

import msgspec

from bot.core.delays import Delay
from bot.core.tape import BarTape, Tape, TradeTape
from bot.domain.account import ZERO
from bot.domain.instrument import Instrument, Side
from bot.domain.market import BarBatch, FundingBatch, TradeBatch
from bot.domain.orders import (
    AccountEvent,
    CancelOrder,
    CancelRejected,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderType,
    SubmitOrder,
    TimeInForce,
)

_EVENTS_PER_ORDER = 16  # room for one order's events in the numbering that their delays are a function of
_CANCEL_REFUSED = _EVENTS_PER_ORDER - 1


class Fees(msgspec.Struct, frozen=True, kw_only=True):
    """Fee rates as fractions of the value traded; negative is a rebate."""

    taker_rate: Decimal
    maker_rate: Decimal


class _Working(msgspec.Struct, kw_only=True):
    """An order that may still fill."""

    order: SubmitOrder
    arrived_ns: int
    is_taking: bool  # it meets `row` as taker; else it rests, and has been compared with all rows before `row`
    row: int
    is_found: bool = False  # `row` is the one that fills the resting order
    events: int = 0  # reported of it so far


class Matching:
    """The venue's side of one instrument.

    Args:
        instrument: whose orders.
        fees: charged on every fill.
        slippage: how much worse than the trade a taker fills, a fraction of the price.
        answer_delay: from an event at the venue to our knowing it.
        tape: what it fills against.
    """

    def __init__(
        self, instrument: Instrument, *, fees: Fees, slippage: Decimal, answer_delay: Delay, tape: Tape
    ) -> None:
        self._instrument = instrument
        self._fees = fees
        self._slippage = slippage
        self._answer_delay = answer_delay
        self._tape = tape
        self._working: dict[str, _Working] = {}
        self._seen: set[str] = set()
        self._trade_number = 0
        self._funding: FundingBatch | None = None
        self._funding_row = 0
        self._position_qty = ZERO

    def extend(self, batch: TradeBatch | BarBatch, *, now_ns: int) -> None:
        """Append `batch` to the tape; what lies before `now_ns` is needed no more."""
        self._tape.extend(batch, now_ns)

    def set_funding(self, funding: FundingBatch) -> None:
        """Settle funding at these rates."""
        self._funding, self._funding_row = funding, 0

    def next_ns(self) -> int | None:
        """Return when the next thing happens that the tape so far tells of, None if nothing does."""
        if not self._working and self._funding is None:
            return None
        times = [due_ns for working in self._working.values() if (due_ns := self._due_ns(working)) is not None]
        if self._position_qty and self._funding is not None and self._funding_row < len(self._funding):
            times.append(int(self._funding.ts_ns[self._funding_row]))
        return min(times, default=None)

    def submit(self, order: SubmitOrder, now_ns: int) -> list[AccountEvent]:
        """Return what the order's arrival at `now_ns` brings about by `now_ns`."""
        events = self.advance(now_ns)
        working = _Working(order=order, arrived_ns=now_ns, is_taking=True, row=self._tape.take_row(now_ns))
        refusal = self._refuse(order)
        if refusal is not None:
            code, reason = refusal
            recv_ns = self._recv_ns(working, now_ns)
            events.append(
                OrderRejected(
                    ts_event_ns=now_ns,
                    ts_recv_ns=recv_ns,
                    client_order_id=order.client_order_id,
                    instrument=order.instrument,
                    code=code,
                    reason=reason,
                )
            )
            return events
        self._seen.add(order.client_order_id)
        events.append(
            OrderAccepted(
                ts_event_ns=now_ns,
                ts_recv_ns=self._recv_ns(working, now_ns),
                client_order_id=order.client_order_id,
                instrument=order.instrument,
                venue_order_id=f"sim-{order.order_number}",
            )
        )
        takes = order.limit_price is None or self._is_reached(order, now_ns)
        if takes and order.time_in_force is TimeInForce.POST_ONLY:
            events.append(self._canceled(working, now_ns, "post only would take"))
        elif not takes and order.time_in_force is TimeInForce.IOC:
            events.append(self._canceled(working, now_ns, "nothing to take at once"))
        else:
            if not takes:
                self._rest(working, now_ns)
            self._working[order.client_order_id] = working
            events += self.advance(now_ns)
        return events

    def cancel(self, cancel: CancelOrder, now_ns: int) -> list[AccountEvent]:
        """Return what a cancel request's arrival at `now_ns` brings about."""
        events = self.advance(now_ns)
        working = self._working.pop(cancel.client_order_id, None)
        if working is not None:
            events.append(self._canceled(working, now_ns, "asked for"))
            return events
        delay_ns = self._answer_delay.of(cancel.order_number * _EVENTS_PER_ORDER + _CANCEL_REFUSED)
        events.append(
            CancelRejected(
                ts_event_ns=now_ns,
                ts_recv_ns=now_ns + delay_ns,
                client_order_id=cancel.client_order_id,
                instrument=cancel.instrument,
                reason="110001: order does not exist",
            )
        )
        return events

    def advance(self, now_ns: int) -> list[AccountEvent]:
        """Return what happens to waiting orders and to the position up to and at `now_ns`, in order of time."""
        if not self._working and self._funding is None:
            return []
        events: list[AccountEvent] = []
        while self._working:
            due = [
                (due_ns, working.order.order_number, working)
                for working in self._working.values()
                if (due_ns := self._due_ns(working)) is not None and due_ns <= now_ns
            ]
            if not due:
                break
            due_ns, _, working = min(due, key=lambda item: item[:2])
            events += self._settle_funding(due_ns - 1)
            events += self._take(working, due_ns) if working.is_taking else self._fill_resting(working, due_ns)
        return events + self._settle_funding(now_ns)

    def _due_ns(self, working: _Working) -> int | None:
        """Return when a waiting order's next event is, None if the tape so far holds none."""
        if working.is_taking:
            taken = self._tape.take(working.row, working.arrived_ns)
            return None if taken is None else taken[0]
        if not working.is_found:
            limit = self._limit_ticks(working.order)
            working.row, working.is_found = self._tape.find_through(
                working.row, limit, is_buy=working.order.side is Side.BUY
            )
        return self._tape.through_ns(working.row) if working.is_found else None

    def _take(self, working: _Working, now_ns: int) -> list[AccountEvent]:
        """Let a taking order meet its row of the tape."""
        taken = self._tape.take(working.row, working.arrived_ns)
        assert taken is not None
        order = working.order
        price = self._taker_price(order.side, taken[1])
        if order.limit_price is not None:
            if not _is_within(order.limit_price, self._instrument.price(taken[1]), order.side):
                if order.time_in_force is TimeInForce.IOC:
                    del self._working[order.client_order_id]
                    return [self._canceled(working, now_ns, "nothing to take at once")]
                self._rest(working, working.arrived_ns)
                return []
            price = min(price, order.limit_price) if order.side is Side.BUY else max(price, order.limit_price)
        return self._fill(working, now_ns, price, is_maker=False)

    def _fill_resting(self, working: _Working, now_ns: int) -> list[AccountEvent]:
        assert working.order.limit_price is not None
        return self._fill(working, now_ns, working.order.limit_price, is_maker=True)

    def _rest(self, working: _Working, since_ns: int) -> None:
        working.is_taking = False
        working.row = self._tape.rest_row(since_ns)

    def _fill(self, working: _Working, now_ns: int, price: Decimal, *, is_maker: bool) -> list[AccountEvent]:
        order = working.order
        del self._working[order.client_order_id]
        qty = order.qty
        if order.reduce_only:
            qty = min(qty, abs(self._position_qty)) if self._position_qty * order.side.sign < 0 else ZERO
        events: list[AccountEvent] = []
        if qty:
            rate = self._fees.maker_rate if is_maker else self._fees.taker_rate
            self._position_qty += qty * order.side.sign
            self._trade_number += 1
            events.append(
                OrderFilled(
                    ts_event_ns=now_ns,
                    ts_recv_ns=self._recv_ns(working, now_ns),
                    client_order_id=order.client_order_id,
                    instrument=order.instrument,
                    trade_id=f"{order.instrument}-{self._trade_number}",
                    side=order.side,
                    price=price,
                    qty=qty,
                    fee=price * qty * rate,
                    is_maker=is_maker,
                )
            )
        if qty < order.qty:
            events.append(self._canceled(working, now_ns, "reduce-only order has nothing more to reduce"))
        return events

    def _canceled(self, working: _Working, now_ns: int, reason: str) -> OrderCanceled:
        return OrderCanceled(
            ts_event_ns=now_ns,
            ts_recv_ns=self._recv_ns(working, now_ns),
            client_order_id=working.order.client_order_id,
            instrument=working.order.instrument,
            reason=reason,
        )

    def _recv_ns(self, working: _Working, now_ns: int) -> int:
        row = working.order.order_number * _EVENTS_PER_ORDER + working.events
        working.events += 1
        return now_ns + self._answer_delay.of(row)

    def _refuse(self, order: SubmitOrder) -> tuple[str, str] | None:
        instrument = self._instrument
        if order.client_order_id in self._seen:
            return "110072", "duplicate client order id"
        if not instrument.qty_min <= order.qty <= instrument.qty_max or order.qty % instrument.qty_step != 0:
            return "10001", f"quantity {order.qty} is outside the instrument's filters"
        if (order.limit_price is None) != (order.order_type is OrderType.MARKET):
            return "10001", "a limit order needs a price, a market order takes none"
        if order.limit_price is not None and (not order.limit_price > 0 or order.limit_price % instrument.tick_size):
            return "110003", f"price {order.limit_price} is off the tick grid"
        if order.reduce_only and not self._position_qty * order.side.sign < 0:
            return "110017", "reduce-only order has nothing to reduce"
        return None

    def _is_reached(self, order: SubmitOrder, now_ns: int) -> bool:
        last = self._tape.last_price(now_ns)
        assert order.limit_price is not None
        return last is not None and _is_within(order.limit_price, self._instrument.price(last), order.side)

    def _taker_price(self, side: Side, ticks: int) -> Decimal:
        price = self._instrument.price(ticks)
        if not self._slippage:
            return price
        worse = price * (1 + self._slippage * side.sign)
        # Against us: up for a buy, down for a sell, and never to nothing.
        opposite = Side.SELL if side is Side.BUY else Side.BUY
        return max(self._instrument.round_price(worse, opposite), self._instrument.tick_size)

    def _limit_ticks(self, order: SubmitOrder) -> int:
        assert order.limit_price is not None
        return self._instrument.ticks(order.limit_price)

    def _settle_funding(self, now_ns: int) -> list[AccountEvent]:
        paid: list[AccountEvent] = []
        funding = self._funding
        while funding is not None and self._funding_row < len(funding):
            ts_ns = int(funding.ts_ns[self._funding_row])
            if ts_ns > now_ns:
                break
            mark = self._tape.last_price(ts_ns) if self._position_qty else None
            if mark is not None:
                rate = Decimal(int(funding.rate_e8[self._funding_row])).scaleb(-8)
                price = self._instrument.price(mark)
                paid.append(
                    FundingPaid(
                        ts_event_ns=ts_ns,
                        ts_recv_ns=ts_ns + self._answer_delay.of(ts_ns),
                        instrument=self._instrument.name,
                        funding_id=f"{self._instrument.name}-funding-{ts_ns}",
                        position_qty=self._position_qty,
                        mark_price=price,
                        rate=rate,
                        amount=-self._position_qty * price * rate,
                    )
                )
            self._funding_row += 1
        return paid


def make_tape(*, is_bars: bool) -> Tape:
    """Return an empty tape of the kind that the market history holds."""
    return BarTape() if is_bars else TradeTape()


def _is_within(limit: Decimal, price: Decimal, side: Side) -> bool:
    return price <= limit if side is Side.BUY else price >= limit
