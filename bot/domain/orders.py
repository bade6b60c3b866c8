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
    FOK = "fok"  # fill all of it at once, or nothing
    POST_ONLY = "post_only"  # rest as maker or be canceled


class TriggerSource(StrEnum):
    """Which price pulls a trigger."""

    LAST = "last"
    MARK = "mark"
    INDEX = "index"


class Trigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a conditional order waits for."""

    price: Decimal
    is_rise: bool  # the price must come up to it, not down
    source: TriggerSource = TriggerSource.LAST


class Exit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A take profit or a stop loss of a whole position: at the market, once the price is there."""

    price: Decimal  # 0 takes it away
    source: TriggerSource = TriggerSource.LAST


class Leg(StrEnum):
    """Which of an instrument's positions: in hedge mode the venue keeps a long and a short one side by side."""

    NET = "net"  # one-way mode: the only one, of whichever direction
    LONG = "long"
    SHORT = "short"


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
    trigger: Trigger | None = None  # None: it enters the market at once
    take_profit: Exit | None = None  # what the venue gives the position that the order opens
    stop_loss: Exit | None = None
    reason: str = ""


class AmendOpen(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's wish that one of its open orders be changed. None: as it is."""

    instrument: str
    client_order_id: str
    qty: Decimal | None = None  # the new total, what has filled included
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    reason: str = ""


class SetStops(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's wish for the exits that the venue keeps for its position. None: as it is; a price of 0: none."""

    instrument: str
    take_profit: Exit | None = None
    stop_loss: Exit | None = None
    trailing_distance: Decimal | None = None  # behind the best price since
    reason: str = ""


class CancelOpen(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's wish that one of its open orders, or all of an instrument, be canceled."""

    instrument: str
    client_order_id: str | None = None  # None: all that are open
    reason: str = ""


Action = Target | PlaceOrder | AmendOpen | SetStops | CancelOpen


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
    trigger: Trigger | None = None
    take_profit: Exit | None = None
    stop_loss: Exit | None = None
    leg: Leg = Leg.NET


class AmendOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Ask the venue to change an order. None: as it is."""

    client_order_id: str
    order_number: int
    amend_number: int  # the order's n-th amendment: its delays are a function of this too
    instrument: str
    qty: Decimal | None = None  # the new total
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None


class ChangeStops(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Ask the venue to change the exits that it keeps for a position. None: as it is."""

    request_id: str  # ours, unique within the run
    order_number: int  # counts with the orders
    instrument: str
    take_profit: Exit | None = None
    stop_loss: Exit | None = None
    trailing_distance: Decimal | None = None
    leg: Leg = Leg.NET


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Ask the venue to cancel an order."""

    client_order_id: str
    order_number: int
    instrument: str


Command = SubmitOrder | AmendOrder | ChangeStops | CancelOrder


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
    owed_qty: Decimal = Decimal(0)  # has filled before, by the venue's word, and no execution has told of it yet


class CancelRejected(Event, frozen=True, kw_only=True):
    """The venue could not cancel: the order is done, or unknown there."""

    reason: str


class OrderResurfaced(Event, frozen=True, kw_only=True):
    """An order that was taken for refused, or for never accepted, lives after all."""

    reason: str


class OrderTriggered(Event, frozen=True, kw_only=True):
    """The price that a conditional order waited for has come: it enters the market."""


class OrderAmended(Event, frozen=True, kw_only=True):
    """The order is as it was asked to become; or the venue has cut it to what there is to reduce."""

    qty: Decimal  # its total now
    limit_price: Decimal | None


class AmendRejected(Event, frozen=True, kw_only=True):
    """The venue could not change the order; it is as it was, or done."""

    code: str  # stable, of the venue
    reason: str


class OrderFilled(Event, frozen=True, kw_only=True):
    """One execution. An order may have many, and the venue may send one twice."""

    trade_id: str  # the venue's id of this execution
    side: Side
    price: Decimal  # quote currency per base unit
    qty: Decimal  # base currency, this execution only
    fee: Decimal  # quote currency; negative is a rebate
    is_maker: bool


OrderEvent = (
    OrderAccepted
    | OrderRejected
    | OrderResurfaced
    | OrderTriggered
    | OrderAmended
    | AmendRejected
    | OrderCanceled
    | CancelRejected
    | OrderFilled
)


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


class StopKind(StrEnum):
    """What made the venue trade for the account without an order of ours."""

    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    TRAILING_STOP = "trailing_stop"
    LIQUIDATION = "liquidation"  # the maintenance margin was no longer covered
    DELEVERAGING = "deleveraging"  # on behalf of somebody else's liquidation


class PositionCut(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """An execution of an order that the venue made: an exit it kept for the position, or a measure against us."""

    ts_event_ns: int
    ts_recv_ns: int
    instrument: str
    trade_id: str
    cause: StopKind
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal  # quote currency; negative is a rebate


class StopsChanged(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The exits that the venue keeps for a position are now these."""

    ts_event_ns: int
    ts_recv_ns: int
    instrument: str
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    trailing_distance: Decimal | None = None
    leg: Leg = Leg.NET


class StopsRejected(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The venue did not change the exits."""

    ts_event_ns: int
    ts_recv_ns: int
    instrument: str
    request_id: str
    code: str
    reason: str


class CashAdjusted(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The venue changed the balance of its own accord: its fund made good what a liquidated account could not."""

    ts_event_ns: int
    ts_recv_ns: int
    adjustment_id: str  # unique
    amount: Decimal  # quote currency; positive was received
    reason: str


class ForeignKind(StrEnum):
    """Who traded on the account, other than us."""

    ORDER = "foreign"  # a person, another program: an order that is not ours
    SETTLEMENT = "settlement"  # the contract ended
    TRANSFER = "transfer"  # a block trade, a position moved between accounts, a corporate action
    UNKNOWN = "unknown"  # the venue used a word that we do not know


class ForeignFilled(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """An execution on our account of an order that is not ours: it moves the position all the same."""

    ts_event_ns: int
    ts_recv_ns: int
    instrument: str
    trade_id: str
    kind: ForeignKind
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal  # quote currency; negative is a rebate
    client_order_id: str = ""  # its maker's, if any
    venue_order_id: str = ""


class FeePaid(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A fee or tax of an execution that was not taken in the quote currency; the execution itself says 0 of it."""

    ts_event_ns: int
    ts_recv_ns: int
    instrument: str
    trade_id: str
    fee_number: int  # of the execution's fees, the n-th: with instrument and `trade_id` it is unique
    currency: str
    amount: Decimal  # of that currency; positive was paid
    price: Decimal  # of the execution
    client_order_id: str = ""  # empty where the order is not ours


class Transferred(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Cash moved between the account and the outside, by its owner or by the venue; no trading brought it."""

    ts_event_ns: int
    ts_recv_ns: int
    transfer_id: str  # unique
    kind: str  # the venue's word: "TRANSFER_IN", "INTEREST"...
    amount: Decimal  # positive came in
    currency: str = ""  # of the amount; empty: the account's own


AccountEvent = (
    OrderEvent
    | FundingPaid
    | PositionCut
    | StopsChanged
    | StopsRejected
    | CashAdjusted
    | ForeignFilled
    | FeePaid
    | Transferred
)
