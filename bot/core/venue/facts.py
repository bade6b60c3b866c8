"""What the venue's account is asked and what it tells: orders, executions, rows of the transaction log, refusals.

The values of the enumerations are the venue's own spellings, for its answers are made of them.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.domain.account import ZERO
from bot.domain.instrument import Side


class PositionIndex:
    """Which position of an instrument: one in one-way mode, two in hedge mode."""

    ONE_WAY = 0
    LONG = 1
    SHORT = 2


class ExecType(StrEnum):
    """What kind of execution changed a position."""

    TRADE = "Trade"
    BUST = "BustTrade"
    ADL = "AdlTrade"
    FUNDING = "Funding"


class CreateType(StrEnum):
    """Who made the order behind an execution."""

    USER = "CreateByUser"
    STOP_ORDER = "CreateByStopOrder"
    TAKE_PROFIT = "CreateByTakeProfit"
    STOP_LOSS = "CreateByStopLoss"
    PARTIAL_TAKE_PROFIT = "CreateByPartialTakeProfit"
    PARTIAL_STOP_LOSS = "CreateByPartialStopLoss"
    TRAILING_STOP = "CreateByTrailingStop"
    LIQUIDATION = "CreateByLiq"
    TAKE_OVER = "CreateByTakeOver_PassThrough"
    ADL = "CreateByAdl_PassThrough"


class CancelType(StrEnum):
    """Who or what canceled an order."""

    USER = "CancelByUser"
    REDUCE_ONLY = "CancelByReduceOnly"
    PREPARE_LIQUIDATION = "CancelByPrepareLiq"
    LIQUIDATION = "CancelAllBeforeLiq"
    PREPARE_ADL = "CancelByPrepareAdl"
    ADL = "CancelAllBeforeAdl"
    ADMIN = "CancelByAdmin"
    SETTLEMENT = "CancelBySettle"
    DISCONNECTED = "CancelByDCP"
    REBALANCE = "CancelByRebalance"
    POSITION_CLOSED = "CancelByTpSlTsClear"
    SELF_MATCH = "CancelBySmp"
    STOP_LOSS_HIT = "CancelByOCOTpCanceledBySlTriggered"
    TAKE_PROFIT_HIT = "CancelByOCOSlCanceledByTpTriggered"


class TransactionType(StrEnum):
    """Why a coin's balance changed."""

    TRADE = "TRADE"
    SETTLEMENT = "SETTLEMENT"  # funding
    LIQUIDATION = "LIQUIDATION"
    ADL = "ADL"
    TRANSFER_IN = "TRANSFER_IN"
    TRANSFER_OUT = "TRANSFER_OUT"
    CURRENCY_BUY = "CURRENCY_BUY"
    CURRENCY_SELL = "CURRENCY_SELL"


class VenueOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the account sees it: a claim on margin, or on a coin."""

    order_id: str
    instrument: str
    side: Side
    qty: Decimal  # what is still open of it
    price: Decimal  # its limit; a market order's protective price
    reduce_only: bool = False
    position_index: int = PositionIndex.ONE_WAY


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The venue says no, with its stable code."""

    code: str
    reason: str


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one coin's balance: `change = cash_flow + funding - fee`."""

    ts_ns: int
    type: TransactionType
    currency: str
    cash_flow: Decimal  # realized profit, a spot trade's leg, a transfer
    funding: Decimal  # positive was received
    fee: Decimal  # positive was paid
    change: Decimal
    cash_balance: Decimal  # after the change
    instrument: str = ""
    side: Side | None = None
    qty: Decimal = ZERO
    price: Decimal = ZERO
    fee_rate: Decimal = ZERO  # the funding rate, where the row is funding's
    position_qty: Decimal = ZERO  # after the change, signed
    order_id: str = ""
    trade_id: str = ""


class Execution(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A trade of the account, whoever wanted it."""

    ts_ns: int
    instrument: str
    position_index: int
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal  # positive was paid
    fee_coin: str
    fee_rate: Decimal
    closed_qty: Decimal  # what of it closed
    realized_pnl: Decimal  # before fees
    position_qty: Decimal  # after it, signed
    mark_price: Decimal | None  # None for spot, which has none
    is_maker: bool = False
    exec_type: ExecType = ExecType.TRADE
    create_type: CreateType = CreateType.USER
    order_id: str = ""  # empty where the order is the venue's own
    trade_id: str = ""


class FundingSettled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A funding settlement of one position."""

    ts_ns: int
    instrument: str
    position_index: int
    position_qty: Decimal  # signed
    mark_price: Decimal
    rate: Decimal
    exec_fee: Decimal  # positive was paid, as the venue's execution record has it
    exec_type: ExecType = ExecType.FUNDING


class OrderCut(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A resting reduce-only order was cut to the position that is left."""

    ts_ns: int
    order_id: str
    instrument: str
    qty: Decimal  # still open


class OrderDropped(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The venue canceled an order of its own accord."""

    ts_ns: int
    order_id: str
    instrument: str
    cancel_type: CancelType


class LiquidationStarted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The maintenance margin was no longer covered. Amounts in USD."""

    ts_ns: int
    margin: Decimal  # what covers it
    maintenance: Decimal
    marks: tuple[tuple[str, Decimal], ...] = ()  # by which both were reckoned, of what is held


class CoinConverted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Collateral was sold to the insurance fund to repay a coin that is owed."""

    ts_ns: int
    sold_coin: str
    sold: Decimal
    bought_coin: str
    bought: Decimal


class InsurancePaid(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The insurance fund made good what a liquidated account could not."""

    ts_ns: int
    coin: str
    amount: Decimal


Fact = Execution | FundingSettled | OrderCut | OrderDropped | LiquidationStarted | CoinConverted | InsurancePaid
