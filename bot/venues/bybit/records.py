"""Bybit's records of an account, from REST and from private streams, to ours.

Numbers pass one gate: digits and a point, no exponent, nothing infinite. "No value" is spelled "", "0", "UNKNOWN" or
not at all, and becomes None where 0 is no value of its kind. A word that is not known becomes `UNKNOWN`, never a guess;
a record without what it is for is refused.

Source: Bybit V5, order, execution, position, wallet and transaction log; chapters 3, 5, 6, 10 and 13 of the protocol's
description.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from bot.domain.instrument import Side
from bot.domain.orders import OrderType, TimeInForce
from bot.domain.venue_records import (
    BookingRecord,
    CoinRecord,
    ExecutionKind,
    ExecutionRecord,
    OrderRecord,
    OrderState,
    Origin,
    PositionRecord,
    StopRole,
    WalletRecord,
)
from bot.venues.bybit.wire import Text

MARKETS = frozenset(["linear", "spot", "inverse", "option"])

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,24})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._\-]{1,60}", re.ASCII)
_ID_MAX = 100
_ABSENT = frozenset(["", "UNKNOWN"])
_MS_MIN, _MS_MAX = 978_307_200_000, 4_102_444_800_000  # 2001 to 2100

_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_TYPES = {"Market": OrderType.MARKET, "Limit": OrderType.LIMIT}
_TIMES = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
}
_STATES = {
    "New": OrderState.OPEN,
    "PartiallyFilled": OrderState.OPEN,
    "Triggered": OrderState.OPEN,
    "Untriggered": OrderState.WAITING,
    "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELED,
    "PartiallyFilledCanceled": OrderState.CANCELED,
    "Deactivated": OrderState.CANCELED,
    "Rejected": OrderState.REJECTED,
}
_KINDS = {
    "Trade": ExecutionKind.TRADE,
    "Funding": ExecutionKind.FUNDING,
    "BustTrade": ExecutionKind.LIQUIDATION,
    "AdlTrade": ExecutionKind.DELEVERAGING,
    "Settle": ExecutionKind.SETTLEMENT,
    "Delivery": ExecutionKind.SETTLEMENT,
    "BlockTrade": ExecutionKind.TRANSFER,
    "MovePosition": ExecutionKind.TRANSFER,
    "CorporateAction": ExecutionKind.TRANSFER,
}
_ROLES = {
    "TakeProfit": StopRole.TAKE_PROFIT,
    "PartialTakeProfit": StopRole.TAKE_PROFIT,
    "StopLoss": StopRole.STOP_LOSS,
    "PartialStopLoss": StopRole.STOP_LOSS,
    "TrailingStop": StopRole.TRAILING_STOP,
    "Stop": StopRole.CONDITIONAL,
    "tpslOrder": StopRole.CONDITIONAL,
    "OcoOrder": StopRole.CONDITIONAL,
    "BidirectionalTpslOrder": StopRole.CONDITIONAL,
}
# Who makes an order, by how its making begins; an order with a trigger of its own is somebody's.
_USER = frozenset(["CreateByUser", "CreateByStopOrder", "CreateByClosing", "CreateByBboOrder", "CreateByChaseOrder"])
_ATTACHED = frozenset(
    [
        "CreateByTakeProfit",
        "CreateByPartialTakeProfit",
        "CreateByStopLoss",
        "CreateByPartialStopLoss",
        "CreateByTrailingStop",
        "CreateByTrailingProfit",
    ]
)
_FORCED = frozenset(
    [
        "CreateByAdminClosing",
        "CreateBySettle",
        "CreateByLiq",
        "CreateByTakeOver_PassThrough",
        "CreateByAdl_PassThrough",
        "CreateByMmRateClose",
    ]
)
_NO_REASON = frozenset(["", "UNKNOWN", "EC_NoError"])


class BadRecord(ValueError):
    """A record is not what it should be; the message says in what."""


Whole = Annotated[int, msgspec.Meta(ge=-1, le=2**62)]


class WireOrder(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An order, as the venue spells it."""

    order_id: Text
    symbol: Text
    side: Text
    order_status: Text
    qty: Text
    cum_exec_qty: Text
    updated_time: Text
    created_time: Text = ""
    order_link_id: Text = ""
    category: Text = ""
    order_type: Text = ""
    time_in_force: Text = ""
    price: Text = ""
    trigger_price: Text = ""
    cum_exec_value: Text = ""
    market_unit: Text = ""
    reduce_only: bool | None = None
    create_type: Text = ""
    cancel_type: Text = ""
    reject_reason: Text = ""
    stop_order_type: Text = ""
    parent_order_link_id: Text = ""


class WireExecution(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An execution, as the venue spells it; `execution.fast` says less."""

    exec_id: Text
    order_id: Text
    symbol: Text
    side: Text
    exec_price: Text
    exec_qty: Text
    exec_time: Text
    category: Text = ""
    order_link_id: Text = ""
    exec_type: Text = ""
    exec_fee: Text = ""
    fee_currency: Text = ""
    fee_rate: Text = ""
    is_maker: bool = False
    order_type: Text = ""
    order_qty: Text = ""
    order_price: Text = ""
    leaves_qty: Text = ""
    create_type: Text = ""
    stop_order_type: Text = ""
    market_unit: Text = ""
    seq: Whole | None = None
    extra_fees: Any = ""  # a list, the same as text, or ""


class WirePosition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A position, as the venue spells it."""

    symbol: Text
    side: Text
    size: Text
    seq: Whole = -1
    category: Text = ""
    position_idx: Whole = 0
    entry_price: Text = ""  # of the stream
    avg_price: Text = ""  # of REST
    mark_price: Text = ""
    leverage: Text = ""
    liq_price: Text = ""
    take_profit: Text = ""
    stop_loss: Text = ""
    trailing_stop: Text = ""
    position_status: Text = ""
    is_reduce_only: bool = False
    updated_time: Text = ""


class WireCoin(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One coin of a wallet, as the venue spells it."""

    coin: Text
    wallet_balance: Text
    equity: Text = ""
    unrealised_pnl: Text = ""
    locked: Text = ""
    borrow_amount: Text = ""


class WireWallet(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A wallet, as the venue spells it."""

    coin: list[WireCoin]
    account_type: Text = ""
    total_equity: Text = ""
    total_available_balance: Text = ""
    total_initial_margin: Text = ""
    total_maintenance_margin: Text = ""


class WireBooking(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A line of the transaction log, as the venue spells it."""

    id: Text
    type: Text
    currency: Text
    change: Text
    cash_balance: Text
    transaction_time: Text
    category: Text = ""
    symbol: Text = ""
    trade_id: Text = ""
    qty: Text = ""
    cash_flow: Text = ""
    funding: Text = ""
    fee: Text = ""


class _ExtraFee(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    fee_coin: Text
    fee: Text


def order_record(wire: WireOrder, market: str = "") -> OrderRecord:
    """Return an order; `market` where the record does not name it.

    Raises:
        BadRecord: it is not one.
    """
    market = _market(wire.category or market)
    is_in_quote = (
        market == "spot" and wire.order_type == "Market" and wire.side == "Buy" and wire.market_unit != "baseCoin"
    )
    state = _STATES.get(wire.order_status, OrderState.UNKNOWN)
    filled = _not_negative(wire.cum_exec_qty)
    if state is OrderState.REJECTED and filled:
        state = OrderState.CANCELED  # spot's rejection of the rest
    order_type = _TYPES.get(wire.order_type)
    role = _ROLES.get(wire.stop_order_type)
    qty = _not_negative(wire.qty)
    if not is_in_quote and filled > qty:
        raise BadRecord("more has filled than was ordered")
    return OrderRecord(
        market=market,
        client_order_id=_id(wire.order_link_id),
        venue_order_id=_id(wire.order_id, is_needed=True),
        instrument=_name(wire.symbol),
        side=_side(wire.side),
        state=state,
        order_type=order_type,
        time_in_force=_TIMES.get(wire.time_in_force),
        qty=None if is_in_quote else qty,
        limit_price=_price(wire.price) if order_type is not OrderType.MARKET else None,
        trigger_price=_price(wire.trigger_price),
        reduce_only=wire.reduce_only,
        filled_qty=filled,
        filled_value=_optional(wire.cum_exec_value),
        origin=_origin(wire.create_type, role, wire.order_link_id),
        role=role,
        parent_order_id=_id(wire.parent_order_link_id),
        reason=_reason(wire),
        created_ms=_ms(wire.created_time or wire.updated_time),
        updated_ms=_ms(wire.updated_time),
    )


def execution_record(wire: WireExecution, market: str = "", *, is_fast: bool = False) -> ExecutionRecord:
    """Return an execution.

    Args:
        wire: as the venue spells it.
        market: where the record does not name it.
        is_fast: of the fast stream, which tells of trades alone and not of fees.

    Raises:
        BadRecord: it is not one.
    """
    kind = ExecutionKind.TRADE if is_fast else _KINDS.get(wire.exec_type, ExecutionKind.UNKNOWN)
    role = _ROLES.get(wire.stop_order_type)
    extra = None if is_fast else _extra_fees(wire.extra_fees)
    market = _market(wire.category or market)
    fee = None if is_fast else _optional(wire.exec_fee)
    if not is_fast and fee is None and kind in (ExecutionKind.TRADE, ExecutionKind.FUNDING):
        raise BadRecord("an execution without a fee")
    # A perpetual's order quantity is of the base coin; of spot's market buys it may be an amount.
    order_qty = None if market == "spot" and wire.order_type == "Market" else _optional(wire.order_qty)
    return ExecutionRecord(
        market=market,
        trade_id=_id(wire.exec_id, is_needed=True),
        client_order_id=_id(wire.order_link_id),
        venue_order_id=_id(wire.order_id, is_needed=True),
        instrument=_name(wire.symbol),
        side=_side(wire.side),
        kind=kind,
        price=_positive(wire.exec_price),
        qty=_positive(wire.exec_qty),
        fee=fee,
        fee_currency="" if wire.fee_currency in _ABSENT else _name(wire.fee_currency),
        fee_rate=_optional(wire.fee_rate),
        extra_fees=extra or (),
        is_fee_unread=extra is None and not is_fast,
        is_maker=wire.is_maker,
        order_type=_TYPES.get(wire.order_type),
        order_qty=order_qty,
        order_price=_price(wire.order_price),
        leaves_qty=_optional(wire.leaves_qty),
        origin=Origin.UNKNOWN if is_fast else _origin(wire.create_type, role, wire.order_link_id),
        role=role,
        executed_ms=_ms(wire.exec_time),
        seq=wire.seq,
    )


def position_record(wire: WirePosition, market: str = "") -> PositionRecord:
    """Return a position.

    Raises:
        BadRecord: it is not one.
    """
    size = _not_negative(wire.size)
    if size:
        size *= _side(wire.side).sign
    return PositionRecord(
        market=_market(wire.category or market),
        instrument=_name(wire.symbol),
        mode_index=wire.position_idx,
        qty=size,
        entry_price=_price(wire.entry_price) or _price(wire.avg_price),
        mark_price=_price(wire.mark_price),
        leverage=_price(wire.leverage),
        liquidation_price=_price(wire.liq_price),
        take_profit=_price(wire.take_profit),
        stop_loss=_price(wire.stop_loss),
        trailing_distance=_price(wire.trailing_stop),
        is_reduce_only=wire.is_reduce_only,
        status=wire.position_status,
        seq=wire.seq,
        updated_ms=_ms(wire.updated_time) if wire.updated_time not in ("", "0") else 0,
    )


def wallet_record(wire: WireWallet) -> WalletRecord:
    """Return a wallet.

    Raises:
        BadRecord: it is not one.
    """
    if wire.account_type not in ("", "UNIFIED"):
        raise BadRecord(f"an account of type {wire.account_type[:20]!r}")
    return WalletRecord(
        market="",
        total_equity_usd=_optional(wire.total_equity),
        available_usd=_optional(wire.total_available_balance),
        initial_margin_usd=_optional(wire.total_initial_margin),
        maintenance_margin_usd=_optional(wire.total_maintenance_margin),
        coins=tuple(
            CoinRecord(
                currency=_name(coin.coin),
                wallet_balance=number(coin.wallet_balance),
                equity=_or_zero(coin.equity),
                unrealized_pnl=_or_zero(coin.unrealised_pnl),
                locked=_or_zero(coin.locked),
                borrowed=_or_zero(coin.borrow_amount),
            )
            for coin in wire.coin
        ),
    )


def booking_record(wire: WireBooking) -> BookingRecord:
    """Return a line of the venue's ledger.

    Raises:
        BadRecord: it is not one.
    """
    return BookingRecord(
        market=wire.category if wire.category in MARKETS else "",
        booking_id=_id(wire.id, is_needed=True),
        kind=_name(wire.type),
        currency=_name(wire.currency),
        instrument=_name(wire.symbol) if wire.symbol else "",
        trade_id=_id(wire.trade_id),
        qty=_optional(wire.qty),
        cash_flow=_or_zero(wire.cash_flow),
        funding=_or_zero(wire.funding),
        fee=_or_zero(wire.fee),
        change=number(wire.change),
        balance=number(wire.cash_balance),
        booked_ms=_ms(wire.transaction_time),
    )


def number(text: str) -> Decimal:
    """Return a decimal's exact value.

    Raises:
        BadRecord: it is none: digits, and a point with digits behind it.
    """
    if _NUMBER.fullmatch(text) is None:
        raise BadRecord(f"{text[:30]!r} is no number")
    return Decimal(text)


def read_all(records: list[Any], read: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return all records read, in order; one bad one spoils them.

    Raises:
        BadRecord: naming its place.
    """
    made = []
    for place, record in enumerate(records):
        try:
            made.append(read(record))
        except BadRecord as error:
            raise BadRecord(f"record {place}: {error}") from error
    return tuple(made)


def _market(category: str) -> str:
    if category not in MARKETS:
        raise BadRecord(f"of category {category[:20]!r}")
    return category


def _side(text: str) -> Side:
    side = _SIDES.get(text)
    if side is None:
        raise BadRecord(f"of side {text[:20]!r}")
    return side


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise BadRecord(f"{text[:30]!r} is no name")
    return text


def _id(text: str, *, is_needed: bool = False) -> str:
    if not text.isascii() or not (text.isprintable() or not text) or len(text) > _ID_MAX or (is_needed and not text):
        raise BadRecord(f"{text[:30]!r} is no id")
    return text


def _ms(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 14 and _MS_MIN <= int(text) < _MS_MAX):
        raise BadRecord(f"{text[:30]!r} is no time in ms")
    return int(text)


def _optional(text: str) -> Decimal | None:
    return None if text in _ABSENT else number(text)


def _or_zero(text: str) -> Decimal:
    return Decimal(0) if text in _ABSENT else number(text)


def _not_negative(text: str) -> Decimal:
    value = number(text)
    if value < 0:
        raise BadRecord(f"{text[:30]!r} is negative")
    return value


def _positive(text: str) -> Decimal:
    value = number(text)
    if value <= 0:
        raise BadRecord(f"{text[:30]!r} is not positive")
    return value


def _price(text: str) -> Decimal | None:
    """Return a price or a distance; 0 and "" say that there is none."""
    value = _optional(text)
    if value is not None and value < 0:
        raise BadRecord(f"{text[:30]!r} is negative")
    return value or None


def _origin(create_type: str, role: StopRole | None, link_id: str) -> Origin:
    if create_type in _FORCED:
        return Origin.FORCED
    if create_type in _ATTACHED:
        return Origin.ATTACHED
    # Some releases say that a user made an attached exit; what tells is that nobody gave it an id.
    if role not in (None, StopRole.CONDITIONAL) and not link_id:
        return Origin.ATTACHED
    if create_type in _USER or link_id:
        return Origin.USER
    return Origin.UNKNOWN


def _reason(wire: WireOrder) -> str:
    for text in (wire.reject_reason, wire.cancel_type):
        if text not in _NO_REASON:
            return text[:60]
    return ""


def _extra_fees(value: Any) -> tuple[tuple[str, Decimal], ...] | None:
    """Return taxes that come on top of a fee; None where they cannot be read."""
    if value in ("", None):
        return ()
    try:
        fees = (
            msgspec.json.decode(value, type=list[_ExtraFee])
            if isinstance(value, str)
            else msgspec.convert(value, list[_ExtraFee])
        )
        return tuple((_name(each.fee_coin), number(each.fee)) for each in fees)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError, BadRecord):
        return None
