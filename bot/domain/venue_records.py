"""What a venue has on record of an account, in our words: orders, executions, positions, balances, bookings.

The same record comes out of a look-up and off a stream. Prices, quantities and amounts are exact; a time is in ms by
the venue's clock. None stands for "it does not say", which is not the same as none.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.domain.instrument import Side
from bot.domain.orders import Leg, OrderType, TimeInForce

_LEGS = (Leg.NET, Leg.LONG, Leg.SHORT)


class OrderState(StrEnum):
    """How far an order is, by the venue."""

    WAITING = "waiting"  # for the price that triggers it
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"  # perhaps after fills
    REJECTED = "rejected"
    UNKNOWN = "unknown"  # it lived, or a word that we do not know: ask


class ExecutionKind(StrEnum):
    """Why an execution was made. All but FUNDING change the position."""

    TRADE = "trade"
    FUNDING = "funding"  # cash only
    LIQUIDATION = "liquidation"
    DELEVERAGING = "deleveraging"
    SETTLEMENT = "settlement"  # delivery, settlement: the contract ends
    TRANSFER = "transfer"  # a block trade, a position moved between accounts, a corporate action
    UNKNOWN = "unknown"  # a word that we do not know: the account's position must be asked for


class Origin(StrEnum):
    """Who made an order."""

    USER = "user"  # somebody with a key or the app: us, where the client order id is ours
    ATTACHED = "attached"  # the venue: a take profit, stop loss or trailing stop that it kept for a position
    FORCED = "forced"  # the venue: liquidation, deleveraging, settlement, its administration
    UNKNOWN = "unknown"


class StopRole(StrEnum):
    """What an attached order is to its position."""

    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    TRAILING_STOP = "trailing_stop"
    CONDITIONAL = "conditional"  # an order with a trigger of its own


class Record(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The root of all records."""

    market: str  # which of the venue's markets: "linear", "spot"; "" for the whole account


class OrderRecord(Record, frozen=True, kw_only=True):
    """An order."""

    client_order_id: str  # "" where its maker gave none
    venue_order_id: str
    instrument: str
    side: Side
    state: OrderState
    order_type: OrderType | None
    time_in_force: TimeInForce | None
    qty: Decimal | None  # its total now; None where it counts in quote currency
    limit_price: Decimal | None
    trigger_price: Decimal | None
    reduce_only: bool | None
    filled_qty: Decimal
    filled_value: Decimal | None  # quote currency
    origin: Origin
    role: StopRole | None = None
    parent_order_id: str = ""  # the client order id of the order that it was attached to
    reason: str = ""  # the venue's: why it was refused or canceled
    leg: Leg | None = None  # of which position
    created_ms: int
    updated_ms: int


class ExecutionRecord(Record, frozen=True, kw_only=True):
    """An execution."""

    trade_id: str
    client_order_id: str  # "" where the venue does not say, or nobody gave one
    venue_order_id: str
    instrument: str
    side: Side  # of funding: the position's, buy for long
    kind: ExecutionKind
    price: Decimal  # of funding: the mark price
    qty: Decimal  # of funding: the position's size
    fee: Decimal | None  # positive was paid; None: it comes with another message
    fee_currency: str  # "" where the venue does not say: see the instrument's rule
    fee_rate: Decimal | None  # of funding: its rate, with the sign of the fee
    extra_fees: tuple[tuple[str, Decimal], ...] = ()  # taxes of some regions: currency, amount; positive was paid
    is_fee_unread: bool = False  # it says more of fees than we can read
    is_maker: bool
    order_type: OrderType | None
    order_qty: Decimal | None
    order_price: Decimal | None
    leaves_qty: Decimal | None  # of its order, after it
    origin: Origin
    role: StopRole | None = None
    executed_ms: int
    seq: int | None = None  # of the matching engine: relates it to positions


class PositionRecord(Record, frozen=True, kw_only=True):
    """A position."""

    instrument: str
    mode_index: int  # 0 in one-way mode; 1 long, 2 short side in hedge mode
    qty: Decimal  # signed
    entry_price: Decimal | None
    mark_price: Decimal | None
    leverage: Decimal | None
    liquidation_price: Decimal | None
    take_profit: Decimal | None
    stop_loss: Decimal | None
    trailing_distance: Decimal | None
    is_reduce_only: bool
    status: str  # the venue's word: "Normal" is well
    seq: int  # of the matching engine; -1 if never traded
    updated_ms: int

    @property
    def leg(self) -> Leg:
        """Return which of the instrument's positions it is."""
        return _LEGS[self.mode_index]


class CoinRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One currency of a wallet."""

    currency: str
    wallet_balance: Decimal
    equity: Decimal  # with what open positions would bring
    unrealized_pnl: Decimal
    locked: Decimal  # by open spot orders
    borrowed: Decimal


class WalletRecord(Record, frozen=True, kw_only=True):
    """Balances: all of them from a look-up, the ones that changed from a stream."""

    total_equity_usd: Decimal | None
    available_usd: Decimal | None
    initial_margin_usd: Decimal | None
    maintenance_margin_usd: Decimal | None
    coins: tuple[CoinRecord, ...]


class BookingRecord(Record, frozen=True, kw_only=True):
    """A line of the venue's own ledger: `change` = `cash_flow` + `funding` - `fee`."""

    booking_id: str
    kind: str  # the venue's word: "TRADE", "SETTLEMENT", "TRANSFER_IN"...
    currency: str
    instrument: str  # "" where it is of none
    trade_id: str  # "" where it is of none
    qty: Decimal | None
    cash_flow: Decimal
    funding: Decimal  # positive was received
    fee: Decimal  # positive was paid
    change: Decimal
    balance: Decimal  # after it
    booked_ms: int


AccountRecord = OrderRecord | ExecutionRecord | PositionRecord | WalletRecord | BookingRecord
