"""The row that an entry of the ledger makes in the table of its kind: one entry in, one row out."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from bot.domain.ledger import (
    AdjustmentBooked,
    AlertRaised,
    AmendIntended,
    BookMoved,
    CancelIntended,
    DecisionMade,
    Deposited,
    DoubtOpened,
    DoubtResolved,
    EquityMarked,
    ExternalFillBooked,
    FeeBooked,
    FillBooked,
    FlattenWanted,
    ForecastUsed,
    FundingBooked,
    IntentDropped,
    LedgerBalanced,
    LookUpMade,
    LossBaseMoved,
    OrderIntended,
    OrderReported,
    OrderShared,
    PositionCutBooked,
    Reconciled,
    RequestAnswered,
    RequestSigned,
    RiskDenied,
    RunClosed,
    StopsIntended,
    StopsReported,
    TradingStateChanged,
    TransferBooked,
)
from bot.domain.orders import (
    AmendRejected,
    Exit,
    ForeignFilled,
    OrderAccepted,
    OrderAmended,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    PositionCut,
    StopsChanged,
)

Row = tuple[Any, ...]  # in the order of the table's columns; a Decimal as text
_NOTHING_ASKED = (None,) * 11  # of the columns of `intents` that tell what is asked for, in a cancel
_UNTIMED: Row = (None,) * 4  # of the columns of `request_events` that tell of an attempt and its times


def text(value: Decimal) -> str:
    """Return a value as the tables hold it."""
    return format(value, "f")


def text_or_none(value: Decimal | None) -> str | None:
    """Return a value as the tables hold it, None for none."""
    return None if value is None else format(value, "f")


def _lines(lines: tuple[str, ...]) -> str:
    return msgspec.json.encode(lines).decode()


def _exit_price(leg: Exit | None) -> str | None:
    return None if leg is None else format(leg.price, "f")


def _forecast_used(seq: int, entry: ForecastUsed) -> Row:
    quantiles = msgspec.json.encode(entry.quantiles).decode()
    return (seq, entry.forecast_id, entry.model_id, entry.instrument, entry.bar_close_ns, quantiles)


def _decision_made(seq: int, entry: DecisionMade) -> Row:
    return (
        seq,
        entry.decision_id,
        entry.ts_ns,
        entry.strategy,
        entry.instrument,
        entry.trigger,
        entry.bar_close_ns,
        text_or_none(entry.close_price),
        text(entry.position_qty),
        entry.forecast_id,
        entry.action,
        entry.reason,
    )


def _risk_denied(seq: int, entry: RiskDenied) -> Row:
    return (seq, entry.decision_id, entry.ts_ns, entry.instrument, entry.code, entry.detail)


def _order_intended(seq: int, entry: OrderIntended) -> Row:
    order = entry.order
    return (
        *(seq, "submit", entry.decision_id, entry.ts_ns, order.client_order_id, order.instrument),
        order.side.value,
        order.order_type.value,
        text(order.qty),
        text_or_none(order.limit_price),
        order.time_in_force.value,
        order.reduce_only,
        text(entry.mark_price),
        None if order.trigger is None else text(order.trigger.price),
        _exit_price(order.take_profit),
        _exit_price(order.stop_loss),
        None,
    )


def _cancel_intended(seq: int, entry: CancelIntended) -> Row:
    cancel = entry.cancel
    known = (seq, "cancel", entry.decision_id, entry.ts_ns, cancel.client_order_id, cancel.instrument)
    return (*known, *_NOTHING_ASKED)


def _amend_intended(seq: int, entry: AmendIntended) -> Row:
    amend = entry.amend
    return (
        *(seq, "amend", entry.decision_id, entry.ts_ns, amend.client_order_id, amend.instrument, None, None),
        text_or_none(amend.qty),
        text_or_none(amend.limit_price),
        *(None, None),
        text_or_none(entry.mark_price),
        text_or_none(amend.trigger_price),
        *(None, None, None),
    )


def _stops_intended(seq: int, entry: StopsIntended) -> Row:
    change = entry.change
    return (
        *(seq, "stops", entry.decision_id, entry.ts_ns, change.request_id, change.instrument),
        *(None, None, None, None, None, None),
        text_or_none(entry.mark_price),
        None,
        _exit_price(change.take_profit),
        _exit_price(change.stop_loss),
        text_or_none(change.trailing_distance),
    )


def _order_reported(seq: int, entry: OrderReported) -> Row:
    event = entry.event
    match event:
        case OrderAccepted():
            detail = event.venue_order_id
        case OrderRejected() | AmendRejected():
            detail = f"{event.code}: {event.reason}"
        case OrderTriggered():
            detail = ""
        case OrderAmended():
            limit = text_or_none(event.limit_price)
            detail = text(event.qty) if limit is None else f"{text(event.qty)} at {limit}"
        case _:
            detail = event.reason
    told = (seq, event.ts_event_ns, event.ts_recv_ns, event.client_order_id)
    return (*told, type(event).__name__, entry.status, detail)


def _stops_reported(seq: int, entry: StopsReported) -> Row:
    event = entry.event
    known = (seq, event.ts_event_ns, event.ts_recv_ns, event.instrument, type(event).__name__)
    if isinstance(event, StopsChanged):
        kept = (event.take_profit, event.stop_loss, event.trailing_distance)
        return (*known, *map(text_or_none, kept), "")
    return (*known, None, None, None, f"{event.request_id}, {event.code}: {event.reason}")


def _fill_booked(seq: int, entry: FillBooked) -> Row:
    fill = entry.fill
    return _traded(seq, fill, entry, order_id=fill.client_order_id, is_maker=fill.is_maker, cause=None)


def _position_cut_booked(seq: int, entry: PositionCutBooked) -> Row:
    return _traded(seq, entry.cut, entry, order_id="", is_maker=False, cause=entry.cut.cause.value)


def _external_fill_booked(seq: int, entry: ExternalFillBooked) -> Row:
    return _traded(seq, entry.fill, entry, order_id="", is_maker=False, cause=entry.fill.kind.value)


def _traded(
    seq: int,
    made: OrderFilled | PositionCut | ForeignFilled,
    entry: FillBooked | PositionCutBooked | ExternalFillBooked,
    *,
    order_id: str,
    is_maker: bool,
    cause: str | None,
) -> Row:
    """Return a row of `fills`; `cause` says why a position changed without an order of ours."""
    return (
        *(seq, made.ts_event_ns, made.ts_recv_ns, order_id, made.instrument, made.trade_id),
        made.side.value,
        text(made.price),
        text(made.qty),
        text(made.fee),
        is_maker,
        text(entry.position_qty),
        text(entry.realized_pnl),
        cause,
    )


def _funding_booked(seq: int, entry: FundingBooked) -> Row:
    paid = entry.funding
    return (
        seq,
        paid.ts_event_ns,
        paid.funding_id,
        paid.instrument,
        text(paid.position_qty),
        text(paid.mark_price),
        text(paid.rate),
        text(paid.amount),
    )


def _fee_booked(seq: int, entry: FeeBooked) -> Row:
    paid = entry.fee
    return (
        *(seq, paid.ts_event_ns, paid.instrument, paid.trade_id, paid.fee_number),
        paid.currency,
        text(paid.amount),
        text_or_none(entry.value),
        text(entry.position_qty),
        text(entry.realized_pnl),
    )


def _adjustment_booked(seq: int, entry: AdjustmentBooked) -> Row:
    made = entry.adjustment
    return (seq, made.ts_event_ns, made.adjustment_id, text(made.amount), made.reason)


def _transfer_booked(seq: int, entry: TransferBooked) -> Row:
    made = entry.transfer
    return (seq, made.ts_event_ns, made.transfer_id, made.kind, text(made.amount), made.currency or None)


def _equity_marked(seq: int, entry: EquityMarked) -> Row:
    return (seq, entry.ts_ns, text(entry.cash), text(entry.unrealized_pnl), text(entry.equity))


def _trading_state_changed(seq: int, entry: TradingStateChanged) -> Row:
    return (
        seq,
        entry.ts_ns,
        entry.scope,
        entry.cause,
        entry.signal,
        entry.before,
        entry.after,
        entry.in_force,
        text_or_none(entry.value),
        text_or_none(entry.threshold),
        entry.until_ns,
        entry.detail,
    )


def _request_signed(seq: int, entry: RequestSigned) -> Row:
    detail = f"{entry.channel}, content {entry.content_hash}"
    times = (entry.signed_ms, entry.recv_window_ms, None)
    return _request_moved(seq, entry, (entry.attempt, *times), "signed", detail)


def _request_answered(seq: int, entry: RequestAnswered) -> Row:
    detail = " ".join(filter(None, (entry.cause, entry.code, entry.text)))
    return _request_moved(seq, entry, (entry.attempt, None, None, entry.server_time_ms), entry.kind, detail)


def _look_up_made(seq: int, entry: LookUpMade) -> Row:
    detail = " ".join(filter(None, (*entry.places, entry.detail)))
    return _request_moved(seq, entry, (None, None, None, entry.server_time_ms), entry.result, detail)


def _doubt_opened(seq: int, entry: DoubtOpened) -> Row:
    return _request_moved(seq, entry, _UNTIMED, "unknown", entry.why)


def _doubt_resolved(seq: int, entry: DoubtResolved) -> Row:
    return _request_moved(seq, entry, _UNTIMED, entry.outcome, entry.evidence)


def _intent_dropped(seq: int, entry: IntentDropped) -> Row:
    return _request_moved(seq, entry, _UNTIMED, "unsent", entry.why)


def _request_moved(
    seq: int,
    entry: RequestSigned | RequestAnswered | LookUpMade | DoubtOpened | DoubtResolved | IntentDropped,
    known: Row,
    outcome: str,
    detail: str,
) -> Row:
    """Return a row of `request_events`; `known` is the attempt, when it was signed, its window, the venue's time."""
    return (seq, entry.ts_ns, type(entry).__name__, entry.request, *known, outcome, detail)


def _alert_raised(seq: int, entry: AlertRaised) -> Row:
    return (seq, entry.ts_ns, entry.code, entry.instrument, entry.client_order_id, entry.detail)


def _reconciled(seq: int, entry: Reconciled) -> Row:
    lines = (_lines(entry.checked), _lines(entry.healed), _lines(entry.differences))
    return (seq, entry.ts_ns, entry.at_ms, *lines)


def _ledger_balanced(seq: int, entry: LedgerBalanced) -> Row:
    span = (entry.from_ms, entry.to_ms, entry.lines, entry.matched)
    sums = msgspec.json.encode([(coin, text(ours), text(theirs)) for coin, ours, theirs in entry.sums]).decode()
    found = (_lines(entry.explained), _lines(entry.differences))
    return (seq, entry.ts_ns, *span, sums, *found)


def _order_shared(seq: int, entry: OrderShared) -> Row:
    shares = msgspec.json.encode([(name, text(qty)) for name, qty in entry.shares]).decode()
    return (seq, entry.client_order_id, shares)


def _book_moved(seq: int, entry: BookMoved) -> Row:
    return (
        *(seq, entry.ts_ns, entry.strategy, entry.instrument, entry.cause, entry.event_id),
        entry.client_order_id,
        None if entry.side is None else entry.side.value,
        text_or_none(entry.qty),
        text_or_none(entry.price),
        text(entry.fee),
        text(entry.amount),
        text(entry.position_qty),
        text(entry.realized_pnl),
    )


ROW_OF: dict[type, tuple[str, Callable[[int, Any], Row]] | None] = {
    Deposited: None,  # its postings say it all
    ForecastUsed: ("forecasts", _forecast_used),
    DecisionMade: ("decisions", _decision_made),
    RiskDenied: ("denials", _risk_denied),
    OrderIntended: ("intents", _order_intended),
    CancelIntended: ("intents", _cancel_intended),
    AmendIntended: ("intents", _amend_intended),
    StopsIntended: ("intents", _stops_intended),
    OrderReported: ("order_events", _order_reported),
    StopsReported: ("stops", _stops_reported),
    FillBooked: ("fills", _fill_booked),
    PositionCutBooked: ("fills", _position_cut_booked),
    ExternalFillBooked: ("fills", _external_fill_booked),
    FundingBooked: ("funding", _funding_booked),
    FeeBooked: ("fees", _fee_booked),
    AdjustmentBooked: ("adjustments", _adjustment_booked),
    TransferBooked: ("transfers", _transfer_booked),
    EquityMarked: ("equity", _equity_marked),
    TradingStateChanged: ("trading_states", _trading_state_changed),
    RequestSigned: ("request_events", _request_signed),
    RequestAnswered: ("request_events", _request_answered),
    LookUpMade: ("request_events", _look_up_made),
    DoubtOpened: ("request_events", _doubt_opened),
    DoubtResolved: ("request_events", _doubt_resolved),
    IntentDropped: ("request_events", _intent_dropped),
    AlertRaised: ("alerts", _alert_raised),
    Reconciled: ("reconciliations", _reconciled),
    LedgerBalanced: ("balancings", _ledger_balanced),
    OrderShared: ("order_shares", _order_shared),
    BookMoved: ("book_moves", _book_moved),
    FlattenWanted: None,  # it serves who takes the run up again
    LossBaseMoved: None,  # so does this
    RunClosed: None,  # the run's own row holds it
}
"""The table and the row of every kind of entry, from the journal's number and the entry; None for no row of its own."""
