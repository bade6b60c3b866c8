"""Builders for tests of the money half: every field has a plain default, a test names what it is about."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from bot.core.delays import Delay
from bot.core.matching import VenueModel
from bot.core.venue.account import VenueAccount
from bot.core.venue.contract import FeeRates, TierRow, linear_contract
from bot.core.venue.desk import Desk
from bot.core.venue.market import FillModel, Market
from bot.domain.instrument import Instrument, Side
from bot.domain.market import BarBatch, FundingBatch, TradeBatch
from bot.domain.orders import (
    CancelRejected,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderType,
    SubmitOrder,
    TimeInForce,
)

SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS
NAME = "BTCUSDT"

BTC = Instrument(
    name=NAME,
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.002"),
    qty_max=Decimal(50),
    notional_min=Decimal(5),
)
ETH = Instrument(
    name="ETHUSDT",
    base="ETH",
    quote="USDT",
    tick_size=Decimal("0.01"),
    qty_step=Decimal("0.01"),
    qty_min=Decimal("0.01"),
    qty_max=Decimal(1000),
    notional_min=Decimal(5),
)


def dec(text: str | int) -> Decimal:
    """Return an exact number; short, because tables of cases are full of them."""
    return Decimal(text)


def submit(
    number: int = 1,
    *,
    side: Side = Side.BUY,
    qty: str | Decimal = "1",
    limit: str | Decimal | None = None,
    time_in_force: TimeInForce = TimeInForce.GTC,
    reduce_only: bool = False,
    order_type: OrderType | None = None,
    instrument: str = NAME,
    client_order_id: str | None = None,
) -> SubmitOrder:
    """Return the run's `number`-th order: market without a limit, limit with one."""
    if order_type is None:
        order_type = OrderType.MARKET if limit is None else OrderType.LIMIT
    return SubmitOrder(
        client_order_id=f"o{number}" if client_order_id is None else client_order_id,
        order_number=number,
        instrument=instrument,
        side=side,
        order_type=order_type,
        qty=Decimal(qty),
        limit_price=None if limit is None else Decimal(limit),
        time_in_force=time_in_force,
        reduce_only=reduce_only,
    )


def accepted(name: str = "o1", *, at_ns: int = 1, instrument: str = NAME) -> OrderAccepted:
    """Return an acknowledgement."""
    return OrderAccepted(
        ts_event_ns=at_ns, ts_recv_ns=at_ns, client_order_id=name, instrument=instrument, venue_order_id=f"v-{name}"
    )


def rejected(name: str = "o1", *, at_ns: int = 1, instrument: str = NAME) -> OrderRejected:
    """Return a refusal."""
    return OrderRejected(
        ts_event_ns=at_ns, ts_recv_ns=at_ns, client_order_id=name, instrument=instrument, code="10001", reason="no"
    )


def canceled(name: str = "o1", *, at_ns: int = 1, instrument: str = NAME) -> OrderCanceled:
    """Return a cancellation."""
    return OrderCanceled(
        ts_event_ns=at_ns, ts_recv_ns=at_ns, client_order_id=name, instrument=instrument, reason="asked for"
    )


def cancel_rejected(name: str = "o1", *, at_ns: int = 1, instrument: str = NAME) -> CancelRejected:
    """Return a refused cancel."""
    return CancelRejected(
        ts_event_ns=at_ns, ts_recv_ns=at_ns, client_order_id=name, instrument=instrument, reason="too late"
    )


def filled(
    name: str = "o1",
    *,
    trade: int | str = 1,
    qty: str | Decimal = "1",
    price: str | Decimal = "100",
    fee: str | Decimal = "0",
    side: Side = Side.BUY,
    instrument: str = NAME,
    at_ns: int = 1,
) -> OrderFilled:
    """Return an execution; `trade` names it."""
    return OrderFilled(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        client_order_id=name,
        instrument=instrument,
        trade_id=f"t{trade}",
        side=side,
        price=Decimal(price),
        qty=Decimal(qty),
        fee=Decimal(fee),
        is_maker=False,
    )


def funding_paid(
    amount: str | Decimal, *, number: int = 1, instrument: str = NAME, qty: str = "1", at_ns: int = 1
) -> FundingPaid:
    """Return a settlement that brought `amount`."""
    return FundingPaid(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        instrument=instrument,
        funding_id=f"{instrument}-funding-{number}",
        position_qty=Decimal(qty),
        mark_price=Decimal(100),
        rate=Decimal("0.0001"),
        amount=Decimal(amount),
    )


def trades(rows: Sequence[tuple[int, int]], *, first_row: int = 0, instrument: Instrument = BTC) -> TradeBatch:
    """Return trades of (time in ns, price in ticks)."""
    return TradeBatch(
        instrument=instrument,
        first_row=first_row,
        ts_ns=np.array([row[0] for row in rows], dtype=np.int64),
        price_ticks=np.array([row[1] for row in rows], dtype=np.int64),
        qty_steps=np.ones(len(rows), dtype=np.int64),
        is_buy=np.ones(len(rows), dtype=np.bool_),
    )


def bars(
    rows: Sequence[tuple[int, int, int, int, int]],
    *,
    scale_ns: int = 10,
    first_row: int = 0,
    instrument: Instrument = BTC,
) -> BarBatch:
    """Return bars of (open in ns, open, high, low, close in ticks)."""
    columns = [np.array([row[i] for row in rows], dtype=np.int64) for i in range(5)]
    ones = np.ones(len(rows), dtype=np.int64)
    return BarBatch(
        instrument=instrument,
        scale_ns=scale_ns,
        first_row=first_row,
        open_ns=columns[0],
        known_ns=columns[0] + scale_ns,
        open_ticks=columns[1],
        high_ticks=columns[2],
        low_ticks=columns[3],
        close_ticks=columns[4],
        volume_steps=ones,
        turnover=columns[4] * ones,
        count=ones,
        buy_steps=ones,
        flags=np.zeros(len(rows), dtype=np.uint8),
    )


def funding_rates(rows: Sequence[tuple[int, int]], *, instrument: Instrument = BTC) -> FundingBatch:
    """Return settled rates of (time in ns, rate in units of 1e-8)."""
    return FundingBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=np.array([row[0] for row in rows], dtype=np.int64),
        rate_e8=np.array([row[1] for row in rows], dtype=np.int64),
    )


def make_matching(
    tape: TradeBatch | BarBatch | None = None,
    *,
    slippage: str = "0",
    taker_rate: str = "0",
    maker_rate: str = "0",
    delay: Delay | None = None,
    is_bars: bool | None = None,
    funding: Sequence[tuple[int, int]] | None = None,
    model: FillModel | None = None,
    price_ratio: str = "1000",
    cash: str = "1e12",
) -> Desk:
    """Return our desk at a venue that trades BTC alone; all of its tape is there from the start."""
    if is_bars is None:
        is_bars = isinstance(tape, BarBatch)
    tier = TierRow(
        limit_value=Decimal("1e15"),
        initial_rate=Decimal("0.01"),
        maintenance_rate=Decimal("0.005"),
        leverage_max=Decimal(100),
    )
    contract = linear_contract(
        BTC,
        [tier],
        fees=FeeRates(taker=Decimal(taker_rate), maker=Decimal(maker_rate)),
        price_ratio_x=Decimal(price_ratio),
        price_ratio_y=Decimal(price_ratio),
    )
    account = VenueAccount([contract])
    account.deposit("USDT", Decimal(cash), ts_ns=0)
    venue = VenueModel(
        [Market(contract, is_bars=is_bars)],
        {"ours": account},
        FillModel(slippage=Decimal(slippage)) if model is None else model,
    )
    desk = Desk(venue, "ours", Delay(seed=1, stream=1, base_ns=7, jitter_ns=0) if delay is None else delay)
    if tape is not None:
        desk.extend(tape, now_ns=0)
    if funding is not None:
        desk.set_funding(funding_rates(funding))
    return desk
