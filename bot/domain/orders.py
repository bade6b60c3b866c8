"""Orders: what a strategy asks for, what we ask of the venue, and what the venue answers.

A command is a request in the imperative, an event a fact in the past tense. All are frozen, flat and complete: one can
be stored and replayed without asking anybody.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.domain.instrument import Side


class OrderType(StrEnum):
    """How an order is priced."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """How long an order may rest."""

    GTC = "gtc"  # until canceled
    IOC = "ioc"  # fill what can be filled at once, cancel the rest
    POST_ONLY = "post_only"  # rest as maker or be canceled


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's wish: hold `qty` of the instrument, whatever orders that takes."""

    instrument: str
    qty: Decimal  # signed: positive long, negative short, 0 flat
    reason: str = ""


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's wish for one order of its own."""

    instrument: str
    side: Side
    qty: Decimal
    limit_price: Decimal | None = None  # None: a market order
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    reason: str = ""


class CancelOpen(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's wish that one of its open orders, or all of an instrument, be canceled."""

    instrument: str
    client_order_id: str | None = None  # None: all that are open
    reason: str = ""


Action = Target | PlaceOrder | CancelOpen


class SubmitOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Ask the venue for an order."""

    client_order_id: str  # ours, never reused: the idempotency key
    order_number: int  # the run's n-th order: its delays are a function of this
    instrument: str
    side: Side
    order_type: OrderType
    qty: Decimal
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Ask the venue to cancel an order."""

    client_order_id: str
    order_number: int
    instrument: str


Command = SubmitOrder | CancelOrder


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What the venue tells of one order."""

    ts_event_ns: int  # when it happened: the venue's clock, ns since the epoch, UTC
    ts_recv_ns: int  # when we learn of it: our clock, same unit
    client_order_id: str
    instrument: str


class OrderAccepted(Event, frozen=True, kw_only=True):
    """The order is with the venue; it may rest or fill."""

    venue_order_id: str


class OrderRejected(Event, frozen=True, kw_only=True):
    """The venue refused the order; it never lived."""

    code: str  # stable, of the venue
    reason: str


class OrderCanceled(Event, frozen=True, kw_only=True):
    """The order will not fill any further."""

    reason: str


class CancelRejected(Event, frozen=True, kw_only=True):
    """The venue could not cancel: the order is done, or unknown there."""

    reason: str


class OrderFilled(Event, frozen=True, kw_only=True):
    """One execution. An order may have many, and the venue may send one twice."""

    trade_id: str  # the venue's id of this execution
    side: Side
    price: Decimal  # quote currency per base unit
    qty: Decimal  # base currency, this execution only
    fee: Decimal  # quote currency; negative is a rebate
    is_maker: bool


OrderEvent = OrderAccepted | OrderRejected | OrderCanceled | CancelRejected | OrderFilled


class FundingPaid(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A funding settlement of an open position."""

    ts_event_ns: int
    ts_recv_ns: int
    instrument: str
    funding_id: str  # unique: instrument and settlement time
    position_qty: Decimal  # signed, at settlement
    mark_price: Decimal
    rate: Decimal  # a fraction
    amount: Decimal  # quote currency; positive was received


AccountEvent = OrderEvent | FundingPaid
