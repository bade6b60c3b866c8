"""Draws the ledger's tables from its entries: one entry in, the rows it makes out."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from bot.domain.account import Posting
from bot.domain.ledger import (
    CancelIntended,
    DecisionMade,
    Deposited,
    EquityMarked,
    FillBooked,
    ForecastUsed,
    FundingBooked,
    LedgerEntry,
    OrderIntended,
    OrderReported,
    RiskDenied,
    RunClosed,
    TradingStateChanged,
)
from bot.domain.orders import OrderAccepted, OrderRejected
from bot.store import tables

Row = tuple[Any, ...]  # in the order of the table's columns; a Decimal as text
_TABLES = tuple(table.name for table in tables.metadata.sorted_tables if table.name not in ("runs", "journal"))
_FINAL = ("filled", "rejected")  # a canceled order may still report a fill that matched first


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
                None if entry.close_price is None else _text(entry.close_price),
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
        limit = None if order.limit_price is None else _text(order.limit_price)
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
        self.rows["intents"].append((*known, None, None, None, None, None, None, None))

    def _order_reported(self, seq: int, entry: OrderReported) -> None:
        event = entry.event
        match event:
            case OrderAccepted():
                detail = event.venue_order_id
            case OrderRejected():
                detail = f"{event.code}: {event.reason}"
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
            )
        )
        self._book(seq, entry.postings)
        if fill.client_order_id in self._orders:
            self._order_moved(fill.client_order_id, entry.status, fill.qty)

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
                None if entry.value is None else _text(entry.value),
                None if entry.threshold is None else _text(entry.threshold),
                entry.until_ns,
                entry.detail,
            )
        )

    def _run_closed(self, seq: int, entry: RunClosed) -> None:
        """Add nothing: the run's own row holds it."""


def _text(value: Decimal) -> str:
    return format(value, "f")


_ADD: dict[type, Callable[[Projection, int, Any], None]] = {
    Deposited: Projection._deposited,
    ForecastUsed: Projection._forecast_used,
    DecisionMade: Projection._decision_made,
    RiskDenied: Projection._risk_denied,
    OrderIntended: Projection._order_intended,
    CancelIntended: Projection._cancel_intended,
    OrderReported: Projection._order_reported,
    FillBooked: Projection._fill_booked,
    FundingBooked: Projection._funding_booked,
    EquityMarked: Projection._equity_marked,
    TradingStateChanged: Projection._trading_state_changed,
    RunClosed: Projection._run_closed,
}
