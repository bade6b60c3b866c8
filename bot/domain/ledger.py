"""Ledger entries: everything the money half did and why, in the order it happened.

An entry is immutable and complete. The tables one queries are drawn from the entries and can be rebuilt from them.
"""

from decimal import Decimal

import msgspec

from bot.domain.account import Posting
from bot.domain.instrument import Side
from bot.domain.orders import (
    AmendOrder,
    AmendRejected,
    CancelOrder,
    CancelRejected,
    CashAdjusted,
    ChangeStops,
    FeePaid,
    ForeignFilled,
    FundingPaid,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderResurfaced,
    OrderTriggered,
    PositionCut,
    StopsChanged,
    StopsRejected,
    SubmitOrder,
    Transferred,
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
    answers: dict[str, float] = {}  # what else it said, by the names of `forecast_names`


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
        OrderAccepted
        | OrderRejected
        | OrderResurfaced
        | OrderTriggered
        | OrderAmended
        | AmendRejected
        | OrderCanceled
        | CancelRejected
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


class RequestSigned(Entry, frozen=True, kw_only=True):
    """A request is about to leave; durable before its first byte does. From now on it may be at the venue."""

    request: str  # what is asked for: its kind, whom it is about, the how-manieth of that kind
    client_order_id: str  # of a change of stops, the change's own id
    instrument: str
    attempt: int  # 1 for the first sending of this request
    signed_ms: int  # the time it carries, by the venue's clock as we reckon it
    recv_window_ms: int  # the venue admits it until that much later, and never after
    channel: str  # rest, trade_socket
    content_hash: str  # of all but time and signature: every attempt has the same


class RequestAnswered(Entry, frozen=True, kw_only=True):
    """The venue answered a request, or the network did."""

    request: str
    attempt: int
    kind: str  # accepted, exists, refused, unknown
    cause: str = ""
    code: str = ""
    text: str = ""
    server_time_ms: int | None = None


class LookUpMade(Entry, frozen=True, kw_only=True):
    """We asked the venue for something in doubt: a piece of evidence."""

    request: str
    result: str  # found, absent, unknown
    places: tuple[str, ...] = ()  # that were asked and answered in full
    server_time_ms: int | None = None
    detail: str = ""


class DoubtOpened(Entry, frozen=True, kw_only=True):
    """We do not know whether the venue took a request: no new risk on the instrument until we do."""

    request: str
    client_order_id: str
    instrument: str
    why: str


class DoubtResolved(Entry, frozen=True, kw_only=True):
    """We know now, and by what."""

    request: str
    client_order_id: str
    instrument: str
    outcome: str  # accepted, refused, not_accepted, resurfaced; moot: its order is done, whatever came of it
    evidence: str
    margin_ms: int  # beyond the window of admission, as large as the worst lag seen demands


class IntentDropped(Entry, frozen=True, kw_only=True):
    """What was intended was not sent after all; no byte of it has left."""

    request: str
    client_order_id: str
    instrument: str
    why: str


class AlertRaised(Entry, frozen=True, kw_only=True):
    """A person must look at this."""

    code: str  # stable: docs/reconciliation.md
    instrument: str  # "" for the whole account
    detail: str
    client_order_id: str = ""


class Reconciled(Entry, frozen=True, kw_only=True):
    """Our books and the venue's were compared."""

    at_ms: int  # the venue's clock: what the comparison is of
    checked: tuple[str, ...]
    healed: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()  # that nothing explains


class LedgerBalanced(Entry, frozen=True, kw_only=True):
    """Our bookings and the lines of the venue's own ledger were held against each other, one by one."""

    from_ms: int  # the venue's clock
    to_ms: int
    lines: int  # of the venue's
    matched: int  # of them
    sums: tuple[tuple[str, Decimal, Decimal], ...] = ()  # by currency: what changed by our books, and by theirs
    explained: tuple[str, ...] = ()  # what differs, and why
    differences: tuple[str, ...] = ()  # that nothing explains


class FlattenWanted(Entry, frozen=True, kw_only=True):
    """A person wants a position closed, whatever it takes; or, where it is done or called off, no more."""

    instrument: str
    why: str
    is_wanted: bool


class LossBaseMoved(Entry, frozen=True, kw_only=True):
    """What losses are measured from: kept only where a run may have to be taken up again."""

    day: int  # of the UTC calendar, since the epoch
    peak: Decimal | None
    day_start: Decimal | None  # equity


class ExternalFillBooked(Entry, frozen=True, kw_only=True):
    """An execution on our account of an order that is not ours, and its booking."""

    fill: ForeignFilled
    position_qty: Decimal  # after it
    realized_pnl: Decimal  # of this execution, before fees
    postings: tuple[Posting, ...]


class FeeBooked(Entry, frozen=True, kw_only=True):
    """A fee in another coin than the quote currency, and its booking.

    One in a spot pair's base coin is a sale: so much of the coin was given away, at its execution's price.
    """

    fee: FeePaid
    value: Decimal | None  # quote currency, at the execution's price; None of a coin that the books have no price of
    position_qty: Decimal  # after it
    realized_pnl: Decimal  # by giving the coin away, before fees
    postings: tuple[Posting, ...]


class TransferBooked(Entry, frozen=True, kw_only=True):
    """Cash moved between the account and the outside, and the booking."""

    transfer: Transferred
    postings: tuple[Posting, ...]


class OrderShared(Entry, frozen=True, kw_only=True):
    """Whose an order is, where several strategies trade the account: what of it each has asked for."""

    client_order_id: str
    shares: tuple[tuple[str, Decimal], ...]


class BookMoved(Entry, frozen=True, kw_only=True):
    """A strategy's own book moved, where several trade the account; the account's booking is another entry."""

    strategy: str  # "outside": of none
    instrument: str
    cause: str  # fill, cross (two strategies met), cut, foreign, funding
    event_id: str  # of the execution, the settlement or the crossing
    client_order_id: str = ""
    side: Side | None = None  # with quantity and price: what the book bought or sold
    qty: Decimal | None = None
    price: Decimal | None = None
    fee: Decimal = Decimal(0)
    amount: Decimal = Decimal(0)  # of funding; positive was received
    position_qty: Decimal  # of the book, after it
    realized_pnl: Decimal  # of this move, before fees


class RunClosed(Entry, frozen=True, kw_only=True):
    """The last entry: identifies the market that was traded and the tape that the report is drawn from."""

    data_hash: str
    tape_hash: str
    model_id: str
    in_sample: bool  # the model was fitted to some of this market
    from_ns: int
    to_ns: int
    shadow_id: str = ""  # the model that forecast beside it, and was not traded on
    shadow_hash: str = ""  # of its forecasts


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
    | RequestSigned
    | RequestAnswered
    | LookUpMade
    | DoubtOpened
    | DoubtResolved
    | IntentDropped
    | AlertRaised
    | Reconciled
    | LedgerBalanced
    | FlattenWanted
    | LossBaseMoved
    | OrderShared
    | BookMoved
    | ExternalFillBooked
    | FeeBooked
    | TransferBooked
    | RunClosed
)
