"""The lower half of a live desk: what `Orders` and `Submissions` want becomes `Work`, what the account did is booked.

Nothing comes in here from outside: that is the upper half, `LiveDesk`.
"""

from bot.core.effects import Effects
from bot.core.orders import Orders
from bot.core.portfolio import is_of_position
from bot.core.reconcile import unprotected
from bot.core.risk import claims_of, is_exit
from bot.core.submission.requests import Terms
from bot.core.submission.second_looks import SecondLooks
from bot.core.submission.steps import Steps
from bot.core.submission.strangers import as_foreign, fill_in_words, foreign_filled, order_in_words, transferred
from bot.core.submission.submissions import Submissions
from bot.core.submission.work import DeskPolicy, Work
from bot.core.trading_state import TradingState
from bot.domain.account_events import (
    ExternalFill,
    TransferBooked,
)
from bot.domain.errors import InvariantBroken
from bot.domain.ledger import AlertRaised, AmendIntended
from bot.domain.orders import (
    AccountEvent,
    CashAdjusted,
    FeePaid,
    ForeignFilled,
    FundingPaid,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    PositionCut,
    StopKind,
    StopsChanged,
    StopsRejected,
    SubmitOrder,
    Transferred,
)
from bot.domain.venue_records import OrderRecord

_MS = 1_000_000
_AGAINST_US = (StopKind.LIQUIDATION, StopKind.DELEVERAGING)
_OF_NO_ORDER = (
    FundingPaid | PositionCut | StopsChanged | StopsRejected | CashAdjusted | ForeignFilled | FeePaid | Transferred
)


class DeskBooks:
    """See the module.

    Args:
        orders, terms, currency, policy: see `LiveDesk`.
    """

    def __init__(self, orders: Orders, terms: Terms, *, currency: str, policy: DeskPolicy) -> None:
        self.orders = orders
        self.submissions = Submissions(terms, self._may_create)
        self.policy = policy
        self._currency = currency
        self._looks = SecondLooks()
        self._foreign: set[str] = set()  # venue order ids that a person has been told of
        self._moved_ns: dict[str, int] = {}  # by instrument, when an execution was last booked
        self._ended_ns: dict[
            str, int
        ] = {}  # by order, when it ended by the venue's clock; as long as we know the order

    def _may_create(self, order: SubmitOrder) -> bool:
        """Return whether the latches let an order leave now; what flattens and what only exits pass, as at the gate."""
        state = self.orders.state
        if order.client_order_id in state.closing:
            return True
        hold = state.protections.hold(order.instrument)
        if hold is None:
            return True
        if hold.state is not TradingState.REDUCING or order.reduce_only:
            return hold.state is TradingState.REDUCING
        others = (each for name, each in state.live[order.instrument].items() if name != order.client_order_id)
        return is_exit(order, state.portfolio.positions[order.instrument], claims_of(others))

    def _work(self, effects: Effects, now_ns: int) -> Work:
        work = Work()
        self._absorb(effects, now_ns, work)
        return work

    def _absorb(self, effects: Effects, now_ns: int, work: Work) -> None:
        """Hand what `Orders` wants sent to `Submissions`; its own commands are the same, in the entries."""
        work.publish += effects.publish
        for entry in effects.record:
            work.record.append(entry)
            if isinstance(entry, AmendIntended):
                self._looks.amends_ns[entry.amend.client_order_id] = now_ns + self.submissions.terms.seen_within_ns
            self._take(self.submissions.see(entry, now_ns), now_ns, work)
        if effects.send:
            self._take(self.submissions.ask(now_ns), now_ns, work)

    def _take(self, steps: Steps, now_ns: int, work: Work) -> None:
        """Carry over what `Submissions` wants, and tell `Orders` what follows."""
        state = self.orders.state
        work.record += steps.record
        work.send += steps.send
        work.look_up += steps.look_up
        for entry in steps.record:
            state.follow_doubt(entry)
            state.follow_signed(entry)
        for event in steps.tell:
            self._event(event, now_ns, work, is_ours=True)
        for name, why in steps.cancel:
            order = state.orders.get(name)
            if order is not None and order.is_live:
                self._looks.cancels_ns[name] = now_ns + self.submissions.terms.cancel_again_ns
                self._absorb(self.orders.rules.cancel(name, why, now_ns), now_ns, work)
        for instrument, why in steps.hold_back:
            self._absorb(self.orders.rules.hold_back(instrument, why, now_ns), now_ns, work)

    def _event(self, event: AccountEvent, now_ns: int, work: Work, *, is_ours: bool = False) -> None:
        """Let `Orders` book an event; what contradicts our picture is booked all the same, and trading stops there."""
        if not isinstance(event, _OF_NO_ORDER) and not is_ours and not isinstance(event, OrderRejected):
            created_ms = event.ts_event_ns // _MS if isinstance(event, OrderAccepted) else None
            by = f"{type(event).__name__} told of it"
            self._take(self.submissions.sighted(event.client_order_id, created_ms, by, now_ns), now_ns, work)
        held = self.orders.state.portfolio.positions.get(getattr(event, "instrument", ""))
        name = getattr(event, "client_order_id", "")
        was_live = self._is_live(name)
        try:
            effects = self.orders.event(event, now_ns)
        except InvariantBroken as error:
            self._contradicted(event, str(error), now_ns, work)
            return
        if was_live and not self._is_live(name):
            self._ended_ns[name] = event.ts_event_ns
        self._absorb(effects, now_ns, work)
        if effects.record and isinstance(event, OrderFilled | PositionCut | ForeignFilled):
            self._moved_ns[event.instrument] = now_ns
            if isinstance(event, OrderFilled) and held is not None and held.qty * event.side.sign < 0:
                self._mind_legs(event, now_ns, work)
            if self.policy.protect_within_ns is not None and unprotected(self.orders.state, event.instrument):
                self._looks.bare_ns.setdefault(event.instrument, now_ns)
        if effects.record and isinstance(event, PositionCut) and event.cause in _AGAINST_US:
            detail = f"{event.cause.value}: {event.side.value} {event.qty} at {event.price}"
            self._hold_back("POSITION_TAKEN", event.instrument, detail, now_ns, work)

    def _is_live(self, name: str) -> bool:
        order = self.orders.state.orders.get(name)
        return order is not None and order.is_live

    def _mind_legs(self, fill: OrderFilled, now_ns: int, work: Work) -> None:
        """Stop where an order of ours has opened the leg that we do not hold: it was taken for dead, and was not."""
        request = self.orders.state.orders[fill.client_order_id].request
        if fill.instrument not in self.orders.state.hedged or request.reduce_only:
            return
        self.orders.state.touched[fill.instrument] = now_ns
        detail = f"{fill.client_order_id} has opened the {request.leg.value} leg beside the other"
        self._hold_back("BOTH_LEGS", fill.instrument, detail, now_ns, work, name=fill.client_order_id)
        work.reconcile = detail

    def _contradicted(self, event: AccountEvent, why: str, now_ns: int, work: Work) -> None:
        instrument = getattr(event, "instrument", "")
        if instrument not in self.orders.state.instruments:
            self._alert("UNTRADED_INSTRUMENT", instrument, why, now_ns, work)
            work.reconcile = why
            return
        if isinstance(event, OrderFilled):  # whatever it contradicts, it is money
            self._absorb(self.orders.event(as_foreign(event), now_ns), now_ns, work)
        self._hold_back("CONTRADICTION", instrument, why, now_ns, work)
        work.reconcile = why

    def _hold_back(self, code: str, instrument: str, detail: str, now_ns: int, work: Work, *, name: str = "") -> None:
        self._alert(code, instrument, detail, now_ns, work, name=name)
        self._absorb(self.orders.rules.hold_back(instrument, detail, now_ns), now_ns, work)

    def _alert(self, code: str, instrument: str, detail: str, now_ns: int, work: Work, *, name: str = "") -> None:
        work.record.append(
            AlertRaised(ts_ns=now_ns, code=code, instrument=instrument, client_order_id=name, detail=detail)
        )

    # --- what others did ----------------------------------------------------------------------------------------------

    def _see_foreign_order(self, record: OrderRecord, now_ns: int, work: Work) -> None:
        if record.venue_order_id in self._foreign:
            return
        self._foreign.add(record.venue_order_id)
        self._alert(
            "FOREIGN_ORDER", record.instrument, order_in_words(record), now_ns, work, name=record.client_order_id
        )

    def _book_foreign(self, told: ExternalFill, now_ns: int, work: Work) -> None:
        made = told.execution
        detail = fill_in_words(made)
        if made.instrument not in self.orders.state.instruments:
            self._alert("UNTRADED_INSTRUMENT", made.instrument, detail, now_ns, work, name=made.client_order_id)
            return
        event, fees = foreign_filled(told, self.orders.state.instruments[made.instrument].quote)
        before = len(work.record)
        self._event(event, now_ns, work)
        if len(work.record) == before:
            return  # a repeat
        for fee in fees:
            self._book_fee(fee, now_ns, work)
        is_hedged = made.instrument in self.orders.state.hedged
        if is_hedged:  # an execution does not say of which leg it is: the positions do
            self.orders.state.touched[made.instrument] = now_ns
            work.reconcile = detail
        if self.policy.holds_back_foreign or not told.is_understood or is_hedged:
            self._hold_back("FOREIGN_FILL", made.instrument, detail, now_ns, work, name=made.client_order_id)
        else:
            self._alert("FOREIGN_FILL", made.instrument, detail, now_ns, work, name=made.client_order_id)

    def _book_fee(self, paid: FeePaid, now_ns: int, work: Work) -> None:
        """Book a fee in another coin; a person is told of one that the books have no price of."""
        before = len(work.record)
        self._event(paid, now_ns, work)
        instrument = self.orders.state.instruments.get(paid.instrument)
        if len(work.record) > before and instrument is not None and not is_of_position(paid, instrument):
            detail = f"fee {paid.fee_number} of {paid.trade_id} was {paid.amount} {paid.currency}"
            self._alert("FEE_IN_OTHER_COIN", paid.instrument, detail, now_ns, work, name=paid.client_order_id)

    def _book_transfer(self, told: TransferBooked, now_ns: int, work: Work) -> None:
        booking = told.booking
        detail = f"{booking.kind} of {booking.change} {booking.currency}"
        event = transferred(told, self._currency)
        before = len(work.record)
        self._event(event, now_ns, work)
        if len(work.record) > before:
            self._alert("TRANSFER", booking.instrument, detail, now_ns, work)
