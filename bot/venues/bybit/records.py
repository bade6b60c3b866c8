"""Bybit's records of an account, from REST and from private streams, to ours.

Their values pass the gates of `record_fields`. A word that is not known becomes `UNKNOWN`, never a guess; a record
without what it is for is refused.

Source: Bybit V5, order, execution, position, wallet and transaction log; chapters 3, 5, 6, 10 and 13 of the protocol's
description.
"""

from decimal import Decimal
from typing import Any

import msgspec

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
from bot.venues.bybit.record_fields import (
    ABSENT,
    MARKETS,
    BadRecord,
    id_of,
    leg_of,
    market_of,
    ms_of,
    name_of,
    not_negative,
    number,
    optional,
    or_zero,
    positive,
    price_of,
    side_of,
)
from bot.venues.bybit.record_shapes import (
    WireBooking,
    WireExecution,
    WireExtraFee,
    WireOrder,
    WirePosition,
    WireWallet,
)

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


def order_record(wire: WireOrder, market: str = "") -> OrderRecord:
    """Return an order; `market` where the record does not name it.

    Raises:
        BadRecord: it is not one.
    """
    market = market_of(wire.category or market)
    is_in_quote = (
        market == "spot" and wire.order_type == "Market" and wire.side == "Buy" and wire.market_unit != "baseCoin"
    )
    state = _STATES.get(wire.order_status, OrderState.UNKNOWN)
    filled = not_negative(wire.cum_exec_qty)
    if state is OrderState.REJECTED and filled:
        state = OrderState.CANCELED  # spot's rejection of the rest
    order_type = _TYPES.get(wire.order_type)
    role = _ROLES.get(wire.stop_order_type)
    qty = not_negative(wire.qty)
    if not is_in_quote and filled > qty:
        raise BadRecord("more has filled than was ordered")
    return OrderRecord(
        market=market,
        client_order_id=id_of(wire.order_link_id),
        venue_order_id=id_of(wire.order_id, is_needed=True),
        instrument=name_of(wire.symbol),
        side=side_of(wire.side),
        state=state,
        order_type=order_type,
        time_in_force=_TIMES.get(wire.time_in_force),
        qty=None if is_in_quote else qty,
        limit_price=price_of(wire.price) if order_type is not OrderType.MARKET else None,
        trigger_price=price_of(wire.trigger_price),
        reduce_only=wire.reduce_only,
        filled_qty=filled,
        filled_value=optional(wire.cum_exec_value),
        origin=_origin(wire.create_type, role, wire.order_link_id),
        role=role,
        parent_order_id=id_of(wire.parent_order_link_id),
        reason=_reason(wire),
        leg=None if wire.position_idx is None else leg_of(wire.position_idx),
        created_ms=ms_of(wire.created_time or wire.updated_time),
        updated_ms=ms_of(wire.updated_time),
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
    market = market_of(wire.category or market)
    fee = None if is_fast else optional(wire.exec_fee)
    if not is_fast and fee is None and kind in (ExecutionKind.TRADE, ExecutionKind.FUNDING):
        raise BadRecord("an execution without a fee")
    # A perpetual's order quantity is of the base coin; of spot's market buys it may be an amount.
    order_qty = None if market == "spot" and wire.order_type == "Market" else optional(wire.order_qty)
    return ExecutionRecord(
        market=market,
        trade_id=id_of(wire.exec_id, is_needed=True),
        client_order_id=id_of(wire.order_link_id),
        venue_order_id=id_of(wire.order_id, is_needed=True),
        instrument=name_of(wire.symbol),
        side=side_of(wire.side),
        kind=kind,
        price=positive(wire.exec_price),
        qty=positive(wire.exec_qty),
        fee=fee,
        fee_currency="" if wire.fee_currency in ABSENT else name_of(wire.fee_currency),
        fee_rate=optional(wire.fee_rate),
        extra_fees=extra or (),
        is_fee_unread=extra is None and not is_fast,
        is_maker=wire.is_maker,
        order_type=_TYPES.get(wire.order_type),
        order_qty=order_qty,
        order_price=price_of(wire.order_price),
        leaves_qty=optional(wire.leaves_qty),
        origin=Origin.UNKNOWN if is_fast else _origin(wire.create_type, role, wire.order_link_id),
        role=role,
        executed_ms=ms_of(wire.exec_time),
        seq=wire.seq,
    )


def position_record(wire: WirePosition, market: str = "") -> PositionRecord:
    """Return a position.

    Raises:
        BadRecord: it is not one.
    """
    size = not_negative(wire.size)
    if size:
        size *= side_of(wire.side).sign
    leg_of(wire.position_idx)
    return PositionRecord(
        market=market_of(wire.category or market),
        instrument=name_of(wire.symbol),
        mode_index=wire.position_idx,
        qty=size,
        entry_price=price_of(wire.entry_price) or price_of(wire.avg_price),
        mark_price=price_of(wire.mark_price),
        leverage=price_of(wire.leverage),
        liquidation_price=price_of(wire.liq_price),
        take_profit=price_of(wire.take_profit),
        stop_loss=price_of(wire.stop_loss),
        trailing_distance=price_of(wire.trailing_stop),
        is_reduce_only=wire.is_reduce_only,
        status=wire.position_status,
        seq=wire.seq,
        updated_ms=ms_of(wire.updated_time) if wire.updated_time not in ("", "0") else 0,
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
        total_equity_usd=optional(wire.total_equity),
        available_usd=optional(wire.total_available_balance),
        initial_margin_usd=optional(wire.total_initial_margin),
        maintenance_margin_usd=optional(wire.total_maintenance_margin),
        coins=tuple(
            CoinRecord(
                currency=name_of(coin.coin),
                wallet_balance=number(coin.wallet_balance),
                equity=or_zero(coin.equity),
                unrealized_pnl=or_zero(coin.unrealised_pnl),
                locked=or_zero(coin.locked),
                borrowed=or_zero(coin.borrow_amount),
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
        booking_id=id_of(wire.id, is_needed=True),
        kind=name_of(wire.type),
        currency=name_of(wire.currency),
        instrument=name_of(wire.symbol) if wire.symbol else "",
        trade_id=id_of(wire.trade_id),
        qty=optional(wire.qty),
        cash_flow=or_zero(wire.cash_flow),
        funding=or_zero(wire.funding),
        fee=or_zero(wire.fee),
        change=number(wire.change),
        balance=number(wire.cash_balance),
        booked_ms=ms_of(wire.transaction_time),
    )


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
            msgspec.json.decode(value, type=list[WireExtraFee])
            if isinstance(value, str)
            else msgspec.convert(value, list[WireExtraFee])
        )
        return tuple((name_of(each.fee_coin), number(each.fee)) for each in fees)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError, BadRecord):
        return None
