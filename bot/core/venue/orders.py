"""Orders as the venue keeps them: what is asked for, and the record it answers with.

The values of the enumerations are the venue's own spellings, for its answers are made of them.
"""

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec

from bot.core.venue.facts import CancelType, CreateType, Fact, PositionIndex
from bot.domain.account import ZERO
from bot.domain.instrument import Side


class Kind(StrEnum):
    """How an order is priced."""

    MARKET = "Market"
    LIMIT = "Limit"


class Tif(StrEnum):
    """How long an order may rest."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    POST_ONLY = "PostOnly"


class Status(StrEnum):
    """Where an order is in its life."""

    UNTRIGGERED = "Untriggered"
    TRIGGERED = "Triggered"
    NEW = "New"
    PARTIALLY_FILLED = "PartiallyFilled"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    PARTIALLY_FILLED_CANCELED = "PartiallyFilledCanceled"  # spot's name of it where something filled
    REJECTED = "Rejected"
    DEACTIVATED = "Deactivated"  # spot's name for a conditional order that was canceled before its trigger


OPEN = frozenset({Status.UNTRIGGERED, Status.TRIGGERED, Status.NEW, Status.PARTIALLY_FILLED})


class PriceSource(StrEnum):
    """Which price triggers an order."""

    LAST = "LastPrice"
    MARK = "MarkPrice"
    INDEX = "IndexPrice"


class StopKind(StrEnum):
    """What kind of waiting order it is; empty for a plain one."""

    NONE = ""
    STOP = "Stop"
    TAKE_PROFIT = "TakeProfit"
    STOP_LOSS = "StopLoss"
    TRAILING_STOP = "TrailingStop"
    PARTIAL_TAKE_PROFIT = "PartialTakeProfit"
    PARTIAL_STOP_LOSS = "PartialStopLoss"


class Smp(StrEnum):
    """What happens where an account's order would meet another of its own; the taker's word counts."""

    NONE = "None"
    CANCEL_MAKER = "CancelMaker"
    CANCEL_TAKER = "CancelTaker"
    CANCEL_BOTH = "CancelBoth"


class RejectReason(StrEnum):
    """Why the matching ended an order."""

    NONE = "EC_NoError"
    OTHERS = "EC_Others"
    BY_USER = "EC_PerCancelRequest"
    POST_ONLY = "EC_PostOnlyWillTakeLiquidity"
    NOT_ENOUGH = "EC_NoEnoughQtyToFill"  # FOK
    NOTHING = "EC_NoImmediateQtyToFill"
    NOT_FULL = "EC_CancelForNoFullFill"
    SELF_MATCH = "EC_BySelfMatch"


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """What an order waits for."""

    price: Decimal
    is_rise: bool  # the price must come up to it, not down
    source: PriceSource = PriceSource.LAST


class ExitLeg(msgspec.Struct, frozen=True, kw_only=True):
    """A take profit or a stop loss: at the market once triggered, or as a limit order."""

    price: Decimal
    source: PriceSource = PriceSource.LAST
    limit_price: Decimal | None = None


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """The exits that an order brings with it for what it fills."""

    take_profit: ExitLeg | None = None
    stop_loss: ExitLeg | None = None
    is_partial: bool = False  # for the quantity that fills, else for the whole position, replacing what it had


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks the venue for."""

    instrument: str
    side: Side
    kind: Kind
    qty: Decimal  # base; quote with `is_quote_qty`; 0 with reduce only and close on trigger: the whole position
    price: Decimal | None = None
    time_in_force: Tif = Tif.GTC
    client_order_id: str = ""
    position_index: int = PositionIndex.ONE_WAY
    reduce_only: bool = False
    close_on_trigger: bool = False
    is_quote_qty: bool = False  # spot market orders
    trigger: Trigger | None = None
    exits: Exits | None = None
    smp: Smp = Smp.NONE
    slippage_ticks: int | None = None  # market orders: how far beyond the touch at most
    slippage_fraction: Decimal | None = None


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants changed of an order; None: as it is."""

    qty: Decimal | None = None  # the new total, what has filled included
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    exits: Exits | None = None


class StopsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants a position's exits to be. None: as it is; a price of 0 removes."""

    instrument: str
    position_index: int = PositionIndex.ONE_WAY
    is_partial: bool = False
    take_profit: ExitLeg | None = None
    stop_loss: ExitLeg | None = None
    qty: Decimal | None = None  # of a partial pair
    trailing_distance: Decimal | None = None
    active_price: Decimal | None = None  # from which price on the trailing stop follows


class StopsHeld(msgspec.Struct, frozen=True, kw_only=True):
    """The exits that the venue keeps for a whole position; None: none."""

    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    trailing_distance: Decimal | None = None


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the venue tells of it."""

    order_id: str
    client_order_id: str
    instrument: str
    side: Side
    kind: Kind
    time_in_force: Tif
    qty: Decimal
    price: Decimal  # a market order's is protective; 0 before it is known
    position_index: int
    reduce_only: bool
    close_on_trigger: bool
    created_ns: int
    updated_ns: int
    status: Status = Status.NEW
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO
    fee: Decimal = ZERO
    trigger: Trigger | None = None
    exits: Exits | None = None
    stop_kind: StopKind = StopKind.NONE
    create_type: CreateType = CreateType.USER
    parent_client_order_id: str = ""
    cancel_type: CancelType | None = None
    reject_reason: RejectReason = RejectReason.NONE
    smp: Smp = Smp.NONE
    smp_order_id: str = ""
    last_price: Decimal | None = None  # when it was created

    @property
    def is_open(self) -> bool:
        """Return whether it may still fill."""
        return self.status in OPEN

    @property
    def open_qty(self) -> Decimal:
        """Return what may still fill."""
        return self.qty - self.filled_qty if self.is_open else ZERO

    @property
    def avg_price(self) -> Decimal | None:
        """Return the average price of its fills, None without one."""
        return self.filled_value / self.filled_qty if self.filled_qty else None


class OrderChanged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An order is new, or something of it has changed."""

    ts_ns: int
    order: OrderRecord


VenueFact = Fact | OrderChanged


class Told(NamedTuple):
    """Something that happened to an account."""

    account: str
    fact: VenueFact


def open_record(order_id: str, request: NewOrder, ts_ns: int) -> OrderRecord:
    """Return the record of an order as it is asked for."""
    return OrderRecord(
        order_id=order_id,
        client_order_id=request.client_order_id,
        instrument=request.instrument,
        side=request.side,
        kind=request.kind,
        time_in_force=Tif.IOC if request.kind is Kind.MARKET else request.time_in_force,
        qty=request.qty,
        price=ZERO if request.price is None else request.price,
        position_index=request.position_index,
        reduce_only=request.reduce_only,
        close_on_trigger=request.close_on_trigger,
        created_ns=ts_ns,
        updated_ns=ts_ns,
        trigger=request.trigger,
        exits=request.exits,
        smp=request.smp,
    )
