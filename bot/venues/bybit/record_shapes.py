"""Bybit's records of an account, as the venue spells them, from REST and from private streams."""

from typing import Annotated, Any

import msgspec

from bot.venues.bybit.wire import Text

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
    position_idx: Whole | None = None
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


class WireExtraFee(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A tax that comes on top of a fee, as the venue spells it."""

    fee_coin: Text
    fee: Text
