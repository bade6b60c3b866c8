"""One execution, whose order is known by now, to the events that book it.

Source: Bybit V5, `execution`; chapters 16.1, 16.2 and 16.5 of the protocol's description; faults X11 to X13 of the
fault catalogue.
"""

from decimal import Decimal

from msgspec.structs import replace

from bot.domain.account_events import AccountUnsure, ExternalFill, LiveEvent
from bot.domain.instrument import Instrument, Side
from bot.domain.orders import FeePaid, FundingPaid, OrderFilled, PositionCut, StopKind
from bot.domain.venue_records import ExecutionKind, ExecutionRecord, Origin, StopRole

_MS = 1_000_000
_CUTS = {
    StopRole.TAKE_PROFIT: StopKind.TAKE_PROFIT,
    StopRole.STOP_LOSS: StopKind.STOP_LOSS,
    StopRole.TRAILING_STOP: StopKind.TRAILING_STOP,
}
_FORCED = {
    ExecutionKind.LIQUIDATION: StopKind.LIQUIDATION,
    ExecutionKind.DELEVERAGING: StopKind.DELEVERAGING,
}


def events_of(
    record: ExecutionRecord, order_id: str, instrument: Instrument | None, now_ns: int, *, name: str
) -> list[LiveEvent]:
    """Return what an execution means.

    Args:
        record: the execution.
        order_id: our id of its order, "" if it is of none of ours.
        instrument: what it is in; None where that is nothing we trade.
        now_ns: when we learned of it.
        name: the instrument's, or what it is called where we do not trade it.
    """
    if instrument is None:
        reason = f"{record.kind.value} {record.trade_id} is in what we do not trade"
        return [_external(record, name, now_ns), _unsure(name, reason, now_ns)]
    if record.kind is ExecutionKind.FUNDING:
        return [_funding(record, instrument, now_ns)]
    cause = _FORCED.get(record.kind)
    if cause is None and not order_id and record.origin is Origin.ATTACHED and record.role is not None:
        cause = _CUTS.get(record.role)
    fee, fees = _fees(record, order_id, instrument, now_ns)
    if cause is not None:
        events: list[LiveEvent] = [_cut(record, cause, fee, instrument, now_ns), *fees]
    elif order_id and record.kind is ExecutionKind.TRADE:
        events = [_filled(record, order_id, fee, instrument, now_ns), *fees]
    else:  # its record tells of its fees
        events = [_external(replace(record, fee_currency=fee_currency_of(record, instrument)), name, now_ns)]
    if record.kind is ExecutionKind.UNKNOWN:
        events.append(_unsure(name, f"execution {record.trade_id} is of a kind that is not known", now_ns))
    if record.is_fee_unread:
        events.append(_unsure(name, f"fees of execution {record.trade_id} cannot be read", now_ns))
    return events


def fee_currency_of(record: ExecutionRecord, instrument: Instrument) -> str:
    """Return what a fee was paid in. Where the venue does not say: the quote coin, but what a spot buy brought."""
    if record.fee_currency:
        return record.fee_currency
    if record.market != "spot":
        return instrument.quote
    # A negative maker rate turns it round: the rebate of a buy is in the quote coin.
    is_rebate = record.fee is not None and record.fee < 0
    return instrument.base if (record.side is Side.BUY) is not is_rebate else instrument.quote


def _filled(record: ExecutionRecord, order_id: str, fee: Decimal, instrument: Instrument, now_ns: int) -> OrderFilled:
    return OrderFilled(
        ts_event_ns=record.executed_ms * _MS,
        ts_recv_ns=now_ns,
        client_order_id=order_id,
        instrument=instrument.name,
        trade_id=record.trade_id,
        side=record.side,
        price=record.price,
        qty=record.qty,
        fee=fee,
        is_maker=record.is_maker,
    )


def _cut(record: ExecutionRecord, cause: StopKind, fee: Decimal, instrument: Instrument, now_ns: int) -> PositionCut:
    return PositionCut(
        ts_event_ns=record.executed_ms * _MS,
        ts_recv_ns=now_ns,
        instrument=instrument.name,
        trade_id=record.trade_id,
        cause=cause,
        side=record.side,
        price=record.price,
        qty=record.qty,
        fee=fee,
    )


def _funding(record: ExecutionRecord, instrument: Instrument, now_ns: int) -> FundingPaid:
    """Return a payment of funding. The execution's fee is positive where we paid, and its rate has that sign."""
    assert record.fee is not None  # such a record is refused
    direction = record.side.sign
    return FundingPaid(
        ts_event_ns=record.executed_ms * _MS,
        ts_recv_ns=now_ns,
        instrument=instrument.name,
        funding_id=record.trade_id,
        position_qty=record.qty * direction,
        mark_price=record.price,
        # Who is long pays a positive rate, who is short receives it: the sign is the rate's again.
        rate=(record.fee_rate or Decimal(0)) * direction,
        amount=-record.fee,
    )


def _external(record: ExecutionRecord, name: str, now_ns: int) -> ExternalFill:
    return ExternalFill(
        ts_event_ns=record.executed_ms * _MS,
        ts_recv_ns=now_ns,
        execution=replace(record, instrument=name),
        is_understood=record.kind is not ExecutionKind.UNKNOWN,
    )


def _unsure(name: str, reason: str, now_ns: int) -> AccountUnsure:
    return AccountUnsure(ts_event_ns=now_ns, ts_recv_ns=now_ns, instrument=name, reason=reason)


def _fees(
    record: ExecutionRecord, order_id: str, instrument: Instrument, now_ns: int
) -> tuple[Decimal, list[LiveEvent]]:
    """Return what was paid in the quote currency, and what was paid otherwise."""
    own = (fee_currency_of(record, instrument), record.fee or Decimal(0))
    quote = Decimal(0)
    others: list[LiveEvent] = []
    for place, (currency, amount) in enumerate((own, *record.extra_fees)):
        if currency == instrument.quote:
            quote += amount
        elif amount:
            others.append(
                FeePaid(
                    ts_event_ns=record.executed_ms * _MS,
                    ts_recv_ns=now_ns,
                    client_order_id=order_id,
                    instrument=instrument.name,
                    trade_id=record.trade_id,
                    fee_number=place,
                    currency=currency,
                    amount=amount,
                    price=record.price,
                )
            )
    return quote, others
