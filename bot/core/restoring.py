"""Makes the money half's state again from a ledger's entries: it is the fold of what was recorded.

Each entry moves the state as the deciding code moved it when it wrote the entry, by the same functions; where an entry
says what came out (a position, a realized profit), the fold is held against it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from bot.core.effects import EXECUTION, RISK
from bot.core.money_state import MoneyState
from bot.core.order import apply, ask_amendment
from bot.core.submission.ids import parse_id
from bot.domain.errors import InvariantBroken
from bot.domain.ledger import (
    AdjustmentBooked,
    AmendIntended,
    BookMoved,
    CancelIntended,
    DecisionMade,
    Deposited,
    DoubtOpened,
    DoubtResolved,
    ExternalFillBooked,
    FeeBooked,
    FillBooked,
    FlattenWanted,
    ForecastUsed,
    FundingBooked,
    IntentDropped,
    LedgerBalanced,
    LedgerEntry,
    LossBaseMoved,
    OrderIntended,
    OrderReported,
    OrderShared,
    PositionCutBooked,
    Reconciled,
    RequestSigned,
    StopsIntended,
    StopsReported,
    TradingStateChanged,
    TransferBooked,
)
from bot.domain.orders import StopsChanged


class Restorer:
    """Folds entries, in their order, into a state that begins empty or at a checkpoint.

    Attributes:
        last_count: the highest number in any order id so far.
        last_epoch: the highest epoch in any.
    """

    def __init__(self, state: MoneyState) -> None:
        self.state = state
        self._strategies: tuple[int, str] = (0, "")  # the newest decision, and whose it was
        self._is_for_target = False  # it is, or goes on with, a target
        self.last_count = 0
        self.last_epoch = 0

    def add_all(self, entries: Iterable[LedgerEntry]) -> None:
        """Fold entries.

        Raises:
            InvariantBroken: they contradict each other; the message names what.
        """
        for entry in entries:
            self.add(entry)

    def add(self, entry: LedgerEntry) -> None:
        """Fold one entry; one that tells of nothing but itself moves nothing."""
        move = _MOVES.get(type(entry))
        if move is not None:
            move(self, entry)

    def _deposited(self, entry: Deposited) -> None:
        coins = {posting.currency: posting.amount for posting in entry.postings if posting.account == "coins"}
        if coins:
            self.state.portfolio.deposit_coins(coins)
            return
        amount = sum(posting.amount for posting in entry.postings if posting.account == "cash")
        self.state.portfolio.deposit(amount)  # type: ignore[arg-type]  # a sum of at least one Decimal
        self.state.protections.deposit(amount, entry.ts_ns)  # type: ignore[arg-type]

    def _forecast_used(self, entry: ForecastUsed) -> None:
        self.state.forecasts[entry.instrument] = entry.forecast_id

    def _decision_made(self, entry: DecisionMade) -> None:
        self.state.decisions = entry.decision_id
        self._strategies = entry.decision_id, entry.strategy
        self._is_for_target = entry.trigger == EXECUTION or '"side"' not in entry.action

    def _order_intended(self, entry: OrderIntended) -> None:
        decision_id, strategy = self._strategies
        if decision_id != entry.decision_id:
            raise InvariantBroken(f"the ledger sends {entry.order.client_order_id} without the decision to do so")
        self._count(entry.order.client_order_id)
        self.state.sent(entry.order, strategy, entry.ts_ns, is_rule=strategy == RISK)
        if self._is_for_target and entry.order.limit_price is not None:
            self.state.worked.add(entry.order.client_order_id)

    def _cancel_intended(self, entry: CancelIntended) -> None:
        order = self.state.orders[entry.cancel.client_order_id]
        self.state.keep(replace(order, cancel_requested=True), entry.ts_ns)

    def _amend_intended(self, entry: AmendIntended) -> None:
        self.state.sends_ns.append(entry.ts_ns)
        order = self.state.orders[entry.amend.client_order_id]
        self.state.keep(ask_amendment(order, entry.amend, entry.ts_ns), entry.ts_ns)

    def _stops_intended(self, entry: StopsIntended) -> None:
        self._count(entry.change.request_id)
        self.state.sends_ns.append(entry.ts_ns)
        self.state.has_stops.add(entry.change.instrument)

    def _order_reported(self, entry: OrderReported) -> None:
        order = apply(self.state.orders[entry.event.client_order_id], entry.event)
        if order.status != entry.status:
            raise InvariantBroken(
                f"{entry.event.client_order_id} is {order.status} by its history, {entry.status} by the ledger"
            )
        self.state.keep(order, entry.ts_ns)

    def _fill_booked(self, entry: FillBooked) -> None:
        fill, state = entry.fill, self.state
        before = state.orders[fill.client_order_id]
        after = apply(before, fill)
        state.keep(after, entry.ts_ns)
        with state.protections.recounting():
            made = state.books.fill(fill, is_first=not before.filled_qty, order=after, now_ns=entry.ts_ns)
        self._agree(made, entry)
        state.moved(fill.instrument)

    def _position_cut_booked(self, entry: PositionCutBooked) -> None:
        with self.state.protections.recounting():
            made = self.state.books.cut(entry.cut, entry.ts_ns)
        self._agree(made, entry)
        self.state.moved(entry.cut.instrument)

    def _external_fill_booked(self, entry: ExternalFillBooked) -> None:
        with self.state.protections.recounting():
            made = self.state.books.foreign(entry.fill, entry.ts_ns)
        self._agree(made, entry)
        self.state.moved(entry.fill.instrument)

    def _fee_booked(self, entry: FeeBooked) -> None:
        forget_ns = self.state.forget_before_ns(entry.ts_ns)
        self._agree(self.state.books.fee(entry.fee, entry.ts_ns, forget_before_ns=forget_ns), entry)

    def _reconciled(self, entry: Reconciled) -> None:
        self.state.compared_ns = entry.ts_ns
        self.state.compared_ms = entry.at_ms

    def _flatten_wanted(self, entry: FlattenWanted) -> None:
        if entry.is_wanted:
            self.state.flattening[entry.instrument] = entry.why
        else:
            self.state.flattening.pop(entry.instrument, None)

    def _balanced(self, entry: LedgerBalanced) -> None:
        self.state.balanced_ms = entry.to_ms

    def _funding_booked(self, entry: FundingBooked) -> None:
        self._agree(self.state.books.funding(entry.funding, entry.ts_ns), entry)

    def _adjustment_booked(self, entry: AdjustmentBooked) -> None:
        self._agree(self.state.books.adjustment(entry.adjustment, entry.ts_ns), entry)

    def _transfer_booked(self, entry: TransferBooked) -> None:
        self._agree(self.state.books.transfer(entry.transfer, entry.ts_ns), entry)

    def _stops_reported(self, entry: StopsReported) -> None:
        if isinstance(entry.event, StopsChanged):
            self.state.follow_stops(entry.event)

    def _trading_state_changed(self, entry: TradingStateChanged) -> None:
        self.state.protections.states.restore(entry)

    def _loss_base_moved(self, entry: LossBaseMoved) -> None:
        self.state.protections.restore_loss_base(entry.day, entry.peak, entry.day_start)

    def _order_shared(self, entry: OrderShared) -> None:
        if self.state.strategy_books is not None:
            self.state.strategy_books.follow(entry)

    def _book_moved(self, entry: BookMoved) -> None:
        if entry.cause == "cross":
            self.state.crossings = max(self.state.crossings, int(entry.event_id.partition("-")[2]))
        if self.state.strategy_books is not None:
            self.state.strategy_books.restore(entry)

    def _signed(self, entry: RequestSigned) -> None:
        self.state.follow_signed(entry)

    def _doubt(self, entry: DoubtOpened | DoubtResolved | IntentDropped) -> None:
        self.state.follow_doubt(entry)

    def _agree(self, made: list[LedgerEntry], entry: LedgerEntry) -> None:
        if not made or made[0] != entry:
            raise InvariantBroken(f"the ledger books what its own history does not lead to: {entry}")

    def _count(self, client_order_id: str) -> None:
        parsed = parse_id(client_order_id)
        if parsed is not None:
            self.last_count = max(self.last_count, parsed.count)
            self.last_epoch = max(self.last_epoch, parsed.epoch)


_MOVES: dict[type, Callable[[Restorer, Any], None]] = {
    Deposited: Restorer._deposited,
    ForecastUsed: Restorer._forecast_used,
    DecisionMade: Restorer._decision_made,
    OrderIntended: Restorer._order_intended,
    CancelIntended: Restorer._cancel_intended,
    AmendIntended: Restorer._amend_intended,
    StopsIntended: Restorer._stops_intended,
    OrderReported: Restorer._order_reported,
    FillBooked: Restorer._fill_booked,
    PositionCutBooked: Restorer._position_cut_booked,
    ExternalFillBooked: Restorer._external_fill_booked,
    FeeBooked: Restorer._fee_booked,
    FundingBooked: Restorer._funding_booked,
    AdjustmentBooked: Restorer._adjustment_booked,
    TransferBooked: Restorer._transfer_booked,
    Reconciled: Restorer._reconciled,
    LedgerBalanced: Restorer._balanced,
    FlattenWanted: Restorer._flatten_wanted,
    StopsReported: Restorer._stops_reported,
    TradingStateChanged: Restorer._trading_state_changed,
    LossBaseMoved: Restorer._loss_base_moved,
    OrderShared: Restorer._order_shared,
    BookMoved: Restorer._book_moved,
    RequestSigned: Restorer._signed,
    DoubtOpened: Restorer._doubt,
    DoubtResolved: Restorer._doubt,
    IntentDropped: Restorer._doubt,
}
