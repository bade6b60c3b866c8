"""Builders of what the venue tells of amendments, triggers, stops and its own doings, for tests of the money half."""

from decimal import Decimal

from bot.domain.instrument import Side
from bot.domain.orders import (
    AmendRejected,
    CashAdjusted,
    Exit,
    FeePaid,
    ForeignFilled,
    ForeignKind,
    OrderAmended,
    OrderTriggered,
    PositionCut,
    StopKind,
    StopsChanged,
    StopsRejected,
    Transferred,
    Trigger,
)
from tests.support.money import NAME


def triggered(name: str = "o1", *, at_ns: int = 1, instrument: str = NAME) -> OrderTriggered:
    """Return the word that a conditional order enters the market."""
    return OrderTriggered(ts_event_ns=at_ns, ts_recv_ns=at_ns, client_order_id=name, instrument=instrument)


def amended(
    name: str = "o1", *, qty: str | Decimal, limit: str | Decimal | None = None, at_ns: int = 1, instrument: str = NAME
) -> OrderAmended:
    """Return what an order has become."""
    return OrderAmended(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        client_order_id=name,
        instrument=instrument,
        qty=Decimal(qty),
        limit_price=None if limit is None else Decimal(limit),
    )


def amend_rejected(name: str = "o1", *, at_ns: int = 1, instrument: str = NAME) -> AmendRejected:
    """Return a refused amendment."""
    return AmendRejected(
        ts_event_ns=at_ns, ts_recv_ns=at_ns, client_order_id=name, instrument=instrument, code="110001", reason="gone"
    )


def cut(
    *,
    trade: int | str = 1,
    side: Side = Side.SELL,
    qty: str = "1",
    price: str = "90",
    fee: str = "0",
    cause: StopKind = StopKind.STOP_LOSS,
    at_ns: int = 1,
    instrument: str = NAME,
) -> PositionCut:
    """Return an execution of the venue's own; `trade` names it."""
    return PositionCut(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        instrument=instrument,
        trade_id=f"own-{trade}",
        cause=cause,
        side=side,
        price=Decimal(price),
        qty=Decimal(qty),
        fee=Decimal(fee),
    )


def adjusted(amount: str, *, number: int = 1, at_ns: int = 1) -> CashAdjusted:
    """Return what the venue's fund made good."""
    return CashAdjusted(
        ts_event_ns=at_ns, ts_recv_ns=at_ns, adjustment_id=f"fund-{number}", amount=Decimal(amount), reason="owed"
    )


def stops_changed(
    *, profit: str | None = None, loss: str | None = None, trail: str | None = None, at_ns: int = 1
) -> StopsChanged:
    """Return the exits that the venue now keeps for the position of BTC."""
    return StopsChanged(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        instrument=NAME,
        take_profit=None if profit is None else Decimal(profit),
        stop_loss=None if loss is None else Decimal(loss),
        trailing_distance=None if trail is None else Decimal(trail),
    )


def stops_rejected(request_id: str, *, at_ns: int = 1, instrument: str = NAME) -> StopsRejected:
    """Return a refused change of the exits."""
    return StopsRejected(
        ts_event_ns=at_ns, ts_recv_ns=at_ns, instrument=instrument, request_id=request_id, code="10001", reason="no"
    )


def trigger_at(price: str, *, is_rise: bool = True) -> Trigger:
    """Return what a conditional order waits for."""
    return Trigger(price=Decimal(price), is_rise=is_rise)


def exit_at(price: str) -> Exit:
    """Return a take profit or a stop loss."""
    return Exit(price=Decimal(price))


def foreign(
    *,
    trade: str = "f1",
    qty: str = "1",
    price: str = "100",
    fee: str = "0",
    side: Side = Side.SELL,
    at_ns: int = 1,
    instrument: str = NAME,
) -> ForeignFilled:
    """Return somebody else's execution on our account."""
    return ForeignFilled(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        instrument=instrument,
        trade_id=trade,
        kind=ForeignKind.ORDER,
        side=side,
        price=Decimal(price),
        qty=Decimal(qty),
        fee=Decimal(fee),
    )


def fee_paid(
    trade: str,
    amount: str,
    currency: str,
    *,
    price: str = "100",
    number: int = 0,
    at_ns: int = 1,
    instrument: str = NAME,
) -> FeePaid:
    """Return a fee in another coin of an execution."""
    return FeePaid(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        instrument=instrument,
        trade_id=trade,
        fee_number=number,
        currency=currency,
        amount=Decimal(amount),
        price=Decimal(price),
    )


def transferred(
    amount: str, *, number: int = 1, kind: str = "TRANSFER_IN", at_ns: int = 1, currency: str = ""
) -> Transferred:
    """Return cash, or another coin, that came from outside."""
    return Transferred(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        transfer_id=f"w{number}",
        kind=kind,
        amount=Decimal(amount),
        currency=currency,
    )
