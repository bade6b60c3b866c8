"""Draws the ledger's tables from its entries: one entry in, the rows it makes out."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from bot.domain.account import Posting
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
    LedgerEntry,
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
    OrderAccepted,
    OrderAmended,
    OrderRejected,
    OrderTriggered,
    StopsChanged,
)
from bot.store import tables

Row = tuple[Any, ...]  # in the order of the table's columns; a Decimal as text
_TABLES = tuple(table.name for table in tables.metadata.sorted_tables if table.name not in tables.UNDRAWN)
_NOTHING_ASKED = (None,) * 11  # of the columns of `intents` that tell what is asked for, in a cancel
_QTY = 5  # the place of the quantity in a row of `orders`; the limit price follows it
_FINAL = ("filled",)  # a canceled order may still report a fill that matched first, a rejected one may resurface


class Projection:
    """Collects the rows of all tables, by table name.

    `orders` and `balances` hold state, not history: an order's row is added when the order is done, the rest of both
    when the run is closed (`close`).
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {name: [] for name in _TABLES}
        self._orders: dict[str, tuple[Row, Decimal, str]] = {}  # row up to its status, filled quantity, status
        self._balances: dict[tuple[str, str], Decimal] = {}

    def take(self) -> dict[str, list[Row]]:
        """Return the rows collected since the last call."""
        rows, self.rows = self.rows, {name: [] for name in _TABLES}
        return rows

    def add(self, seq: int, entry: LedgerEntry) -> None:
        """Add the rows that `entry`, the journal's row `seq`, makes."""
        _ADD[type(entry)](self, seq, entry)

    def close(self) -> None:
        """Add the orders that are still open, and the balances."""
        for name in sorted(self._orders):
            self._finish_order(name)
        for (account, currency), amount in sorted(self._balances.items()):
            self.rows["balances"].append((account, currency, _text(amount)))

    def _book(self, seq: int, postings: Sequence[Posting]) -> None:
        for leg, posting in enumerate(postings):
            key = posting.account, posting.currency
            self._balances[key] = self._balances.get(key, Decimal(0)) + posting.amount
            self.rows["postings"].append((seq, leg, posting.account, posting.currency, _text(posting.amount)))

    def _finish_order(self, name: str) -> None:
        row, filled_qty, status = self._orders.pop(name)
        self.rows["orders"].append((*row, status, _text(filled_qty)))

    def _order_moved(self, name: str, status: str, filled_qty: Decimal) -> None:
        row, filled_before, _ = self._orders[name]
        self._orders[name] = row, filled_before + filled_qty, status
        if status in _FINAL:
            self._finish_order(name)

    def _deposited(self, seq: int, entry: Deposited) -> None:
        self._book(seq, entry.postings)

    def _forecast_used(self, seq: int, entry: ForecastUsed) -> None:
        quantiles = msgspec.json.encode(entry.quantiles).decode()
        self.rows["forecasts"].append(
            (seq, entry.forecast_id, entry.model_id, entry.instrument, entry.bar_close_ns, quantiles)
        )

    def _decision_made(self, seq: int, entry: DecisionMade) -> None:
        self.rows["decisions"].append(
            (
                seq,
                entry.decision_id,
                entry.ts_ns,
                entry.strategy,
                entry.instrument,
                entry.trigger,
                entry.bar_close_ns,
                _text_or_none(entry.close_price),
                _text(entry.position_qty),
                entry.forecast_id,
                entry.action,
                entry.reason,
            )
        )

    def _risk_denied(self, seq: int, entry: RiskDenied) -> None:
        self.rows["denials"].append((seq, entry.decision_id, entry.ts_ns, entry.instrument, entry.code, entry.detail))

    def _order_intended(self, seq: int, entry: OrderIntended) -> None:
        order = entry.order
        limit = _text_or_none(order.limit_price)
        qty = _text(order.qty)
        self.rows["intents"].append(
            (
                seq,
                "submit",
                entry.decision_id,
                entry.ts_ns,
                order.client_order_id,
                order.instrument,
                order.side.value,
                order.order_type.value,
                qty,
                limit,
                order.time_in_force.value,
                order.reduce_only,
                _text(entry.mark_price),
                None if order.trigger is None else _text(order.trigger.price),
                _exit_price(order.take_profit),
                _exit_price(order.stop_loss),
                None,
            )
        )
        row = (
            order.client_order_id,
            entry.decision_id,
            order.instrument,
            order.side.value,
            order.order_type.value,
            qty,
            limit,
        )
        self._orders[order.client_order_id] = row, Decimal(0), "submitted"

    def _cancel_intended(self, seq: int, entry: CancelIntended) -> None:
        cancel = entry.cancel
        known = (seq, "cancel", entry.decision_id, entry.ts_ns, cancel.client_order_id, cancel.instrument)
        self.rows["intents"].append((*known, *_NOTHING_ASKED))

    def _amend_intended(self, seq: int, entry: AmendIntended) -> None:
        amend = entry.amend
        self.rows["intents"].append(
            (
                *(seq, "amend", entry.decision_id, entry.ts_ns, amend.client_order_id, amend.instrument, None, None),
                _text_or_none(amend.qty),
                _text_or_none(amend.limit_price),
                *(None, None),
                _text_or_none(entry.mark_price),
                _text_or_none(amend.trigger_price),
                *(None, None, None),
            )
        )

    def _stops_intended(self, seq: int, entry: StopsIntended) -> None:
        change = entry.change
        self.rows["intents"].append(
            (
                *(seq, "stops", entry.decision_id, entry.ts_ns, change.request_id, change.instrument),
                *(None, None, None, None, None, None),
                _text_or_none(entry.mark_price),
                None,
                _exit_price(change.take_profit),
                _exit_price(change.stop_loss),
                _text_or_none(change.trailing_distance),
            )
        )

    def _order_reported(self, seq: int, entry: OrderReported) -> None:
        event = entry.event
        match event:
            case OrderAccepted():
                detail = event.venue_order_id
            case OrderRejected() | AmendRejected():
                detail = f"{event.code}: {event.reason}"
            case OrderTriggered():
                detail = ""
            case OrderAmended():
                limit = _text_or_none(event.limit_price)
                detail = _text(event.qty) if limit is None else f"{_text(event.qty)} at {limit}"
                if event.client_order_id in self._orders:
                    row, filled_qty, status = self._orders[event.client_order_id]
                    row = (*row[:_QTY], _text(event.qty), limit)
                    self._orders[event.client_order_id] = row, filled_qty, status
            case _:
                detail = event.reason
        self.rows["order_events"].append(
            (
                seq,
                event.ts_event_ns,
                event.ts_recv_ns,
                event.client_order_id,
                type(event).__name__,
                entry.status,
                detail,
            )
        )
        if event.client_order_id in self._orders:
            self._order_moved(event.client_order_id, entry.status, Decimal(0))

    def _fill_booked(self, seq: int, entry: FillBooked) -> None:
        fill = entry.fill
        self.rows["fills"].append(
            (
                seq,
                fill.ts_event_ns,
                fill.ts_recv_ns,
                fill.client_order_id,
                fill.instrument,
                fill.trade_id,
                fill.side.value,
                _text(fill.price),
                _text(fill.qty),
                _text(fill.fee),
                fill.is_maker,
                _text(entry.position_qty),
                _text(entry.realized_pnl),
                None,
            )
        )
        self._book(seq, entry.postings)
        if fill.client_order_id in self._orders:
            self._order_moved(fill.client_order_id, entry.status, fill.qty)

    def _stops_reported(self, seq: int, entry: StopsReported) -> None:
        event = entry.event
        known = (seq, event.ts_event_ns, event.ts_recv_ns, event.instrument, type(event).__name__)
        if isinstance(event, StopsChanged):
            kept = (event.take_profit, event.stop_loss, event.trailing_distance)
            self.rows["stops"].append((*known, *map(_text_or_none, kept), ""))
        else:
            detail = f"{event.request_id}, {event.code}: {event.reason}"
            self.rows["stops"].append((*known, None, None, None, detail))

    def _position_cut_booked(self, seq: int, entry: PositionCutBooked) -> None:
        cut = entry.cut
        self.rows["fills"].append(
            (
                seq,
                cut.ts_event_ns,
                cut.ts_recv_ns,
                "",
                cut.instrument,
                cut.trade_id,
                cut.side.value,
                _text(cut.price),
                _text(cut.qty),
                _text(cut.fee),
                False,
                _text(entry.position_qty),
                _text(entry.realized_pnl),
                cut.cause.value,
            )
        )
        self._book(seq, entry.postings)

    def _adjustment_booked(self, seq: int, entry: AdjustmentBooked) -> None:
        made = entry.adjustment
        self.rows["adjustments"].append((seq, made.ts_event_ns, made.adjustment_id, _text(made.amount), made.reason))
        self._book(seq, entry.postings)

    def _funding_booked(self, seq: int, entry: FundingBooked) -> None:
        paid = entry.funding
        self.rows["funding"].append(
            (
                seq,
                paid.ts_event_ns,
                paid.funding_id,
                paid.instrument,
                _text(paid.position_qty),
                _text(paid.mark_price),
                _text(paid.rate),
                _text(paid.amount),
            )
        )
        self._book(seq, entry.postings)

    def _equity_marked(self, seq: int, entry: EquityMarked) -> None:
        self.rows["equity"].append(
            (seq, entry.ts_ns, _text(entry.cash), _text(entry.unrealized_pnl), _text(entry.equity))
        )

    def _trading_state_changed(self, seq: int, entry: TradingStateChanged) -> None:
        self.rows["trading_states"].append(
            (
                seq,
                entry.ts_ns,
                entry.scope,
                entry.cause,
                entry.signal,
                entry.before,
                entry.after,
                entry.in_force,
                _text_or_none(entry.value),
                _text_or_none(entry.threshold),
                entry.until_ns,
                entry.detail,
            )
        )

    def _external_fill_booked(self, seq: int, entry: ExternalFillBooked) -> None:
        fill = entry.fill
        self.rows["fills"].append(
            (
                seq,
                fill.ts_event_ns,
                fill.ts_recv_ns,
                "",
                fill.instrument,
                fill.trade_id,
                fill.side.value,
                _text(fill.price),
                _text(fill.qty),
                _text(fill.fee),
                False,
                _text(entry.position_qty),
                _text(entry.realized_pnl),
                fill.kind.value,
            )
        )
        self._book(seq, entry.postings)

    def _transfer_booked(self, seq: int, entry: TransferBooked) -> None:
        made = entry.transfer
        row = (seq, made.ts_event_ns, made.transfer_id, made.kind, _text(made.amount), made.currency or None)
        self.rows["transfers"].append(row)
        self._book(seq, entry.postings)

    def _fee_booked(self, seq: int, entry: FeeBooked) -> None:
        paid = entry.fee
        self.rows["fees"].append(
            (
                *(seq, paid.ts_event_ns, paid.instrument, paid.trade_id, paid.fee_number),
                paid.currency,
                _text(paid.amount),
                _text_or_none(entry.value),
                _text(entry.position_qty),
                _text(entry.realized_pnl),
            )
        )
        self._book(seq, entry.postings)

    def _request_signed(self, seq: int, entry: RequestSigned) -> None:
        detail = f"{entry.channel}, content {entry.content_hash}"
        times = (entry.signed_ms, entry.recv_window_ms, None)
        self._request_moved(seq, entry, (entry.attempt, *times), "signed", detail)

    def _request_answered(self, seq: int, entry: RequestAnswered) -> None:
        detail = " ".join(filter(None, (entry.cause, entry.code, entry.text)))
        self._request_moved(seq, entry, (entry.attempt, None, None, entry.server_time_ms), entry.kind, detail)

    def _look_up_made(self, seq: int, entry: LookUpMade) -> None:
        detail = " ".join(filter(None, (*entry.places, entry.detail)))
        self._request_moved(seq, entry, (None, None, None, entry.server_time_ms), entry.result, detail)

    def _doubt_opened(self, seq: int, entry: DoubtOpened) -> None:
        self._request_moved(seq, entry, (None, None, None, None), "unknown", entry.why)

    def _doubt_resolved(self, seq: int, entry: DoubtResolved) -> None:
        self._request_moved(seq, entry, (None, None, None, None), entry.outcome, entry.evidence)

    def _intent_dropped(self, seq: int, entry: IntentDropped) -> None:
        self._request_moved(seq, entry, (None, None, None, None), "unsent", entry.why)

    def _request_moved(
        self,
        seq: int,
        entry: RequestSigned | RequestAnswered | LookUpMade | DoubtOpened | DoubtResolved | IntentDropped,
        known: Row,
        outcome: str,
        detail: str,
    ) -> None:
        """Add a row; `known` is the attempt, when it was signed, its window, and the venue's time."""
        kind = type(entry).__name__
        self.rows["request_events"].append((seq, entry.ts_ns, kind, entry.request, *known, outcome, detail))

    def _alert_raised(self, seq: int, entry: AlertRaised) -> None:
        row = (seq, entry.ts_ns, entry.code, entry.instrument, entry.client_order_id, entry.detail)
        self.rows["alerts"].append(row)

    def _reconciled(self, seq: int, entry: Reconciled) -> None:
        lines = (_lines(entry.checked), _lines(entry.healed), _lines(entry.differences))
        self.rows["reconciliations"].append((seq, entry.ts_ns, entry.at_ms, *lines))

    def _ledger_balanced(self, seq: int, entry: LedgerBalanced) -> None:
        span = (entry.from_ms, entry.to_ms, entry.lines, entry.matched)
        sums = msgspec.json.encode([(coin, _text(ours), _text(theirs)) for coin, ours, theirs in entry.sums]).decode()
        found = (_lines(entry.explained), _lines(entry.differences))
        self.rows["balancings"].append((seq, entry.ts_ns, *span, sums, *found))

    def _flatten_wanted(self, seq: int, entry: FlattenWanted) -> None:
        """Add nothing: it serves who takes the run up again."""

    def _loss_base_moved(self, seq: int, entry: LossBaseMoved) -> None:
        """Add nothing: it serves who takes the run up again."""

    def _order_shared(self, seq: int, entry: OrderShared) -> None:
        shares = msgspec.json.encode([(name, _text(qty)) for name, qty in entry.shares]).decode()
        self.rows["order_shares"].append((seq, entry.client_order_id, shares))

    def _book_moved(self, seq: int, entry: BookMoved) -> None:
        self.rows["book_moves"].append(
            (
                *(seq, entry.ts_ns, entry.strategy, entry.instrument, entry.cause, entry.event_id),
                entry.client_order_id,
                None if entry.side is None else entry.side.value,
                _text_or_none(entry.qty),
                _text_or_none(entry.price),
                _text(entry.fee),
                _text(entry.amount),
                _text(entry.position_qty),
                _text(entry.realized_pnl),
            )
        )

    def _run_closed(self, seq: int, entry: RunClosed) -> None:
        """Add nothing: the run's own row holds it."""


def _text(value: Decimal) -> str:
    return format(value, "f")


def _text_or_none(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _lines(lines: tuple[str, ...]) -> str:
    return msgspec.json.encode(lines).decode()


def _exit_price(leg: Exit | None) -> str | None:
    return None if leg is None else format(leg.price, "f")


_ADD: dict[type, Callable[[Projection, int, Any], None]] = {
    Deposited: Projection._deposited,
    ForecastUsed: Projection._forecast_used,
    DecisionMade: Projection._decision_made,
    RiskDenied: Projection._risk_denied,
    OrderIntended: Projection._order_intended,
    CancelIntended: Projection._cancel_intended,
    AmendIntended: Projection._amend_intended,
    StopsIntended: Projection._stops_intended,
    OrderReported: Projection._order_reported,
    StopsReported: Projection._stops_reported,
    FillBooked: Projection._fill_booked,
    PositionCutBooked: Projection._position_cut_booked,
    FundingBooked: Projection._funding_booked,
    AdjustmentBooked: Projection._adjustment_booked,
    EquityMarked: Projection._equity_marked,
    TradingStateChanged: Projection._trading_state_changed,
    ExternalFillBooked: Projection._external_fill_booked,
    FeeBooked: Projection._fee_booked,
    TransferBooked: Projection._transfer_booked,
    RequestSigned: Projection._request_signed,
    RequestAnswered: Projection._request_answered,
    LookUpMade: Projection._look_up_made,
    DoubtOpened: Projection._doubt_opened,
    DoubtResolved: Projection._doubt_resolved,
    IntentDropped: Projection._intent_dropped,
    AlertRaised: Projection._alert_raised,
    Reconciled: Projection._reconciled,
    LedgerBalanced: Projection._ledger_balanced,
    FlattenWanted: Projection._flatten_wanted,
    LossBaseMoved: Projection._loss_base_moved,
    OrderShared: Projection._order_shared,
    BookMoved: Projection._book_moved,
    RunClosed: Projection._run_closed,
}
