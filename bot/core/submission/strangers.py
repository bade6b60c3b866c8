"""What others did on the account, and what the venue did by itself: as events for the books, in words for a person."""

from decimal import Decimal

from bot.core.balancing import transfer_id
from bot.domain.account_events import ExternalFill, TransferBooked
from bot.domain.orders import FeePaid, ForeignFilled, ForeignKind, OrderFilled, Transferred
from bot.domain.venue_records import ExecutionKind, ExecutionRecord, OrderRecord

_KINDS = {ExecutionKind.SETTLEMENT: ForeignKind.SETTLEMENT, ExecutionKind.TRANSFER: ForeignKind.TRANSFER}


def order_in_words(record: OrderRecord) -> str:
    """Return what a person is told of an order that is not ours."""
    return (
        f"order {record.venue_order_id} ({record.client_order_id or 'no id'}) is not ours: {record.side.value} "
        f"{record.qty} at {record.limit_price}, made by {record.origin.value}"
    )


def fill_in_words(made: ExecutionRecord) -> str:
    """Return what a person is told of an execution of no order of ours."""
    return f"{made.kind.value} {made.trade_id}: {made.side.value} {made.qty} at {made.price}, of no order of ours"


def foreign_filled(told: ExternalFill, quote: str) -> tuple[ForeignFilled, list[FeePaid]]:
    """Return an execution of somebody else, and its fees in other coins than the quote currency."""
    made = told.execution
    is_known_fee = made.fee is not None and made.fee_currency in ("", quote)
    event = ForeignFilled(
        ts_event_ns=told.ts_event_ns,
        ts_recv_ns=told.ts_recv_ns,
        instrument=made.instrument,
        trade_id=made.trade_id,
        kind=_KINDS.get(made.kind, ForeignKind.ORDER if told.is_understood else ForeignKind.UNKNOWN),
        side=made.side,
        price=made.price,
        qty=made.qty,
        fee=made.fee if is_known_fee and made.fee is not None else Decimal(0),
        client_order_id=made.client_order_id,
        venue_order_id=made.venue_order_id,
    )
    fees = list(made.extra_fees)
    if made.fee and not is_known_fee:
        fees.insert(0, (made.fee_currency, made.fee))
    return event, [_fee_of(event, number, *each) for number, each in enumerate(fees) if each[1]]


def as_foreign(fill: OrderFilled) -> ForeignFilled:
    """Return an execution of an order of ours that contradicts our picture, as if it were somebody else's."""
    return ForeignFilled(
        ts_event_ns=fill.ts_event_ns,
        ts_recv_ns=fill.ts_recv_ns,
        instrument=fill.instrument,
        trade_id=fill.trade_id,
        kind=ForeignKind.ORDER,
        side=fill.side,
        price=fill.price,
        qty=fill.qty,
        fee=fill.fee,
        client_order_id=fill.client_order_id,
    )


def transferred(told: TransferBooked, currency: str) -> Transferred:
    """Return a movement of money; `currency` is the account's, which the books do not name."""
    booking = told.booking
    return Transferred(
        ts_event_ns=told.ts_event_ns,
        ts_recv_ns=told.ts_recv_ns,
        transfer_id=transfer_id(booking),
        kind=booking.kind,
        amount=booking.change,
        currency="" if booking.currency == currency else booking.currency,
    )


def _fee_of(fill: ForeignFilled, number: int, currency: str, amount: Decimal) -> FeePaid:
    return FeePaid(
        ts_event_ns=fill.ts_event_ns,
        ts_recv_ns=fill.ts_recv_ns,
        instrument=fill.instrument,
        trade_id=fill.trade_id,
        fee_number=number,
        currency=currency,
        amount=amount,
        price=fill.price,
        client_order_id=fill.client_order_id,
    )
