"""Ledger entries: everything the money half did and why, in the order it happened.

An entry is immutable and complete. The tables one queries are drawn from the entries and can be rebuilt from them.
"""

from decimal import Decimal

import msgspec

from bot.domain.account import Posting
from bot.domain.orders import (
    AmendOrder,
    AmendRejected,
    CancelOrder,
    CancelRejected,
    CashAdjusted,
    ChangeStops,
    FundingPaid,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    PositionCut,
    StopsChanged,
    StopsRejected,
    SubmitOrder,
)


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The root of all entries."""

    ts_ns: int  # when we recorded it: our clock, ns since the epoch, UTC


class Deposited(Entry, frozen=True, kw_only=True):
    """Cash came from outside."""

    postings: tuple[Posting, ...]


class ForecastUsed(Entry, frozen=True, kw_only=True):
    """A forecast that a decision rests on, whole: replay never has to infer it again."""

    forecast_id: str  # instrument, scale and bar row
    model_id: str
    instrument: str
    bar_close_ns: int
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]  # [H][Q] of the log return from the bar's close
    importance: tuple[float, ...]


class DecisionMade(Entry, frozen=True, kw_only=True):
    """A strategy wanted something: what it saw and what it asked for."""

    decision_id: int  # the run's n-th
    strategy: str
    instrument: str
    trigger: str  # what called it: bar:<scale or rule>, forecast, timer, or the name of an order's event
    bar_close_ns: int | None  # the newest closed bar it could see
    close_price: Decimal | None  # that bar's close
    position_qty: Decimal  # as the strategy believed
    forecast_id: str | None
    action: str  # the wish, canonical JSON
    reason: str


class RiskDenied(Entry, frozen=True, kw_only=True):
    """The gate refused an order, an amendment or a change of stops; nothing was sent."""

    decision_id: int
    instrument: str
    code: str  # stable: docs/risk_codes.md
    detail: str


class OrderIntended(Entry, frozen=True, kw_only=True):
    """An order passed the gate and is about to be sent; durable before it is."""

    decision_id: int
    mark_price: Decimal  # what the gate judged it by
    order: SubmitOrder


class CancelIntended(Entry, frozen=True, kw_only=True):
    """A cancel is about to be sent."""

    decision_id: int
    cancel: CancelOrder


class AmendIntended(Entry, frozen=True, kw_only=True):
    """An amendment passed the gate and is about to be sent; durable before it is."""

    decision_id: int
    mark_price: Decimal | None  # what the gate judged it by; None where it had none, and needed none
    amend: AmendOrder


class StopsIntended(Entry, frozen=True, kw_only=True):
    """A change of the exits that the venue keeps is about to be sent; durable before it is."""

    decision_id: int
    mark_price: Decimal | None
    change: ChangeStops


class OrderReported(Entry, frozen=True, kw_only=True):
    """The venue told something of an order that moved no money."""

    status: str  # the order's status after it
    event: (
        OrderAccepted | OrderRejected | OrderTriggered | OrderAmended | AmendRejected | OrderCanceled | CancelRejected
    )


class StopsReported(Entry, frozen=True, kw_only=True):
    """The venue told which exits it keeps for a position, or that it did not change them."""

    event: StopsChanged | StopsRejected


class FillBooked(Entry, frozen=True, kw_only=True):
    """An execution and its booking."""

    status: str  # the order's status after it
    fill: OrderFilled
    position_qty: Decimal  # after it
    realized_pnl: Decimal  # of this fill, before fees
    postings: tuple[Posting, ...]


class PositionCutBooked(Entry, frozen=True, kw_only=True):
    """An execution of an order that the venue made, and its booking: an exit that it kept, or a liquidation."""

    cut: PositionCut
    position_qty: Decimal  # after it
    realized_pnl: Decimal  # of this execution, before fees
    postings: tuple[Posting, ...]


class FundingBooked(Entry, frozen=True, kw_only=True):
    """A funding settlement and its booking."""

    funding: FundingPaid
    postings: tuple[Posting, ...]


class AdjustmentBooked(Entry, frozen=True, kw_only=True):
    """The venue changed the balance of its own accord, and the booking."""

    adjustment: CashAdjusted
    postings: tuple[Posting, ...]


class EquityMarked(Entry, frozen=True, kw_only=True):
    """The account at the end of a UTC day, and at the end of the run."""

    cash: Decimal
    unrealized_pnl: Decimal
    equity: Decimal
    marks: tuple[tuple[str, Decimal, Decimal], ...]  # instrument, quantity, mark price


class TradingStateChanged(Entry, frozen=True, kw_only=True):
    """A latch on trading closed, closed further, holds longer, or opened: docs/risk_codes.md."""

    scope: str  # account, or an instrument's name
    cause: str  # whose latch: drawdown, daily_loss, cooldown...
    signal: str  # what moved it: reduce, halt, day_began, time_up, resumed
    before: str  # the latch's state: active, reducing, halted
    after: str
    in_force: str  # the strictest state of all latches of this scope, after it
    value: Decimal | None = None  # what was seen, in the unit of the threshold
    threshold: Decimal | None = None
    until_ns: int | None = None  # when it opens by itself; None: not by time
    detail: str = ""


class RunClosed(Entry, frozen=True, kw_only=True):
    """The last entry: identifies the market that was traded and the tape that the report is drawn from."""

    data_hash: str
    tape_hash: str
    model_id: str
    in_sample: bool  # the model was fitted to some of this market
    from_ns: int
    to_ns: int


LedgerEntry = (
    Deposited
    | ForecastUsed
    | DecisionMade
    | RiskDenied
    | OrderIntended
    | CancelIntended
    | AmendIntended
    | StopsIntended
    | OrderReported
    | StopsReported
    | FillBooked
    | PositionCutBooked
    | FundingBooked
    | AdjustmentBooked
    | EquityMarked
    | TradingStateChanged
    | RunClosed
)
