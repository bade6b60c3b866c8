"""Amendments, conditional orders, stops at the venue and what it does by itself: recorded, then sent; booked once."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.core.books import differences
from bot.core.effects import Effects
from bot.core.portfolio import Portfolio, apply_fill
from bot.core.protections import ProtectionLimits, Window
from bot.core.risk import Denial
from bot.domain.account import Position
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side
from bot.domain.ledger import (
    AdjustmentBooked,
    AmendIntended,
    FillBooked,
    OrderIntended,
    OrderReported,
    PositionCutBooked,
    StopsIntended,
    TradingStateChanged,
)
from bot.domain.orders import (
    AccountEvent,
    AmendOpen,
    AmendOrder,
    CancelOpen,
    CancelOrder,
    ChangeStops,
    OrderType,
    PlaceOrder,
    SetStops,
    StopKind,
    SubmitOrder,
)
from tests.support.desk import LIMITS, Desk
from tests.support.effects import denial, kinds
from tests.support.money import BTC, ETH, HOUR_NS, NAME, SECOND_NS, accepted, canceled, dec, filled, funding_paid
from tests.support.venue_side import (
    adjusted,
    amend_rejected,
    amended,
    cut,
    exit_at,
    stops_changed,
    stops_rejected,
    trigger_at,
    triggered,
)


def told(effects: Effects) -> list[str]:
    """Return what the strategy is told has happened."""
    return [type(notice.event).__name__ for notice in effects.publish if notice.event is not None]


def amend_wish(order: SubmitOrder, **asked: str) -> AmendOpen:
    """Return the wish to change an order."""
    terms = {name: dec(value) for name, value in asked.items()}
    return AmendOpen(instrument=order.instrument, client_order_id=order.client_order_id, **terms)


def holding(desk: Desk, qty: str = "1") -> SubmitOrder:
    """Hold so much BTC at 100, and return the order that bought it."""
    order = desk.place(qty=qty, limit=None)
    desk.fill(order, trade=f"opened-{order.order_number}")
    return order


# --- conditional orders and orders with exits -------------------------------------------------------------------------


def test_all_that_a_wish_asks_for_reaches_the_venue() -> None:
    desk = Desk()
    wish = PlaceOrder(
        instrument=NAME,
        side=Side.BUY,
        qty=dec(2),
        trigger=trigger_at("105"),
        take_profit=exit_at("120"),
        stop_loss=exit_at("99"),
    )
    effects = desk.wish(wish)
    (order,) = effects.send
    assert isinstance(order, SubmitOrder)
    assert (order.order_type, order.trigger) == (OrderType.MARKET, wish.trigger)
    assert (order.take_profit, order.stop_loss) == (wish.take_profit, wish.stop_loss)
    intended = effects.record[-1]
    assert isinstance(intended, OrderIntended)
    assert intended.order == order


def test_a_target_does_not_count_what_waits_for_its_trigger() -> None:
    """A stop that may never be hit must not keep a position from being closed; once it is hit it counts."""
    desk = Desk()
    holding(desk, "3")
    stop = desk.place(Side.SELL, "3", limit=None, reduce_only=True, trigger=trigger_at("90", is_rise=False))
    desk.event(accepted(stop.client_order_id))
    (close,) = desk.target("0").send
    assert isinstance(close, SubmitOrder)
    assert (close.side, close.qty) == (Side.SELL, dec(3))
    desk.event(canceled(close.client_order_id))
    desk.event(triggered(stop.client_order_id))
    assert desk.target("0").send == []


# --- amendments -------------------------------------------------------------------------------------------------------


def test_an_amendment_is_recorded_and_sent_and_then_answered() -> None:
    desk = Desk()
    order = desk.place(qty="3")
    effects = desk.wish(amend_wish(order, qty="4", limit_price="98"))
    (command,) = effects.send
    assert command == AmendOrder(
        client_order_id=order.client_order_id,
        order_number=order.order_number,
        amend_number=1,
        instrument=NAME,
        qty=dec(4),
        limit_price=dec(98),
    )
    assert kinds(effects) == ["DecisionMade", "AmendIntended"]
    intended = effects.record[-1]
    assert isinstance(intended, AmendIntended)
    assert (intended.amend, intended.mark_price) == (command, dec(100))
    (notice,) = effects.publish
    assert notice.event is None
    assert notice.order is not None
    assert notice.order.amend_requested == command
    effects = desk.event(amended(order.client_order_id, qty="4", limit="98", at_ns=desk.now_ns))
    assert kinds(effects) == ["OrderReported"]
    assert told(effects) == ["OrderAmended"]
    (again,) = desk.wish(amend_wish(order, qty="5")).send
    assert isinstance(again, AmendOrder)
    assert again.amend_number == 2
    effects = desk.event(amend_rejected(order.client_order_id, at_ns=desk.now_ns))
    reported = effects.record[0]
    assert isinstance(reported, OrderReported)
    assert told(effects) == ["AmendRejected"]
    assert desk.event(amend_rejected(order.client_order_id, at_ns=desk.now_ns)) == Effects()


def test_only_an_open_order_of_ones_own_can_be_amended() -> None:
    desk = Desk()
    order = desk.place(qty="3")
    assert denial(desk.wish(replace(amend_wish(order, qty="4"), client_order_id="nobody"))) == Denial.ORDER_NOT_OPEN
    assert denial(desk.wish(amend_wish(order, qty="4"), strategy="other")) == Denial.ORDER_NOT_OPEN
    assert denial(desk.wish(replace(amend_wish(order, qty="4"), instrument="NOPE"))) == Denial.ORDER_NOT_OPEN
    desk.wish(amend_wish(order, qty="4"))
    assert denial(desk.wish(amend_wish(order, qty="5"))) == Denial.AMEND_PENDING
    desk.wish(CancelOpen(instrument=NAME, client_order_id=order.client_order_id))
    assert denial(desk.wish(amend_wish(order, qty="5"))) == Denial.ORDER_NOT_OPEN
    desk.event(canceled(order.client_order_id))
    assert denial(desk.wish(amend_wish(order, qty="5"))) == Denial.ORDER_NOT_OPEN


def test_until_the_answer_the_larger_total_counts() -> None:
    """Raised or cut, what an order could still become stands in the way of the next one."""
    desk = Desk(limits=replace(LIMITS, position_notional_max=dec(1000)))
    order = desk.place(qty="5", limit="100")
    assert denial(desk.wish(amend_wish(order, qty="10.001"))) == Denial.POSITION_ABOVE_MAX
    assert len(desk.wish(amend_wish(order, qty="8")).send) == 1
    wish = PlaceOrder(instrument=NAME, side=Side.BUY, qty=dec("2.001"), limit_price=dec(100))
    assert denial(desk.wish(wish)) == Denial.POSITION_ABOVE_MAX
    desk.event(amended(order.client_order_id, qty="8", limit="100", at_ns=desk.now_ns))
    assert len(desk.wish(amend_wish(order, qty="2")).send) == 1
    assert denial(desk.wish(wish)) == Denial.POSITION_ABOVE_MAX
    desk.event(amended(order.client_order_id, qty="2", limit="100", at_ns=desk.now_ns))
    assert len(desk.wish(wish).send) == 1


def test_a_target_counts_what_an_amendment_asked_for() -> None:
    desk = Desk()
    order = desk.place(qty="3")
    desk.wish(amend_wish(order, qty="5"))
    assert desk.target("5").send == []


def test_amendments_count_as_messages() -> None:
    desk = Desk(limits=replace(LIMITS, orders_per_second_max=2))
    order = desk.place(qty="3")
    assert len(desk.wish(amend_wish(order, qty="2")).send) == 1
    assert denial(desk.target("5")) == Denial.ORDER_RATE
    assert denial(desk.wish(SetStops(instrument=NAME, stop_loss=exit_at("90")))) == Denial.NO_POSITION
    desk.now_ns += SECOND_NS
    assert len(desk.target("5").send) == 1


def test_an_order_that_a_raise_opens_again_is_not_forgotten() -> None:
    """A cut of the venue's seemed to answer our raise, and filled; the real answer came after it."""
    desk = Desk()
    holding(desk, "9")
    order = desk.place(Side.SELL, "3", limit="101", reduce_only=True)
    desk.wish(amend_wish(order, qty="5"))
    name, at_ns = order.client_order_id, desk.now_ns
    desk.event(amended(name, qty="2", limit="101", at_ns=at_ns))
    desk.fill(order, qty="2", price="101")
    assert desk.target("7").send == []
    effects = desk.event(amended(name, qty="4", limit="101", at_ns=at_ns + 1))
    reported = effects.record[0]
    assert isinstance(reported, OrderReported)
    assert reported.status == "open"
    assert desk.target("5").send == []  # two more are coming
    desk.now_ns += 48 * HOUR_NS
    for _ in range(2):
        other = desk.place(Side.SELL, "1", limit="10", instrument="ETHUSDT")
        desk.fill(other, trade=f"late-{desk.now_ns}", price="10")
        desk.now_ns += 48 * HOUR_NS
    effects = desk.fill(order, trade="rest", qty="2", price="101")
    assert kinds(effects) == ["FillBooked"]


# --- stops at the venue -----------------------------------------------------------------------------------------------


def test_stops_are_recorded_and_sent_and_then_told() -> None:
    desk = Desk()
    holding(desk)
    effects = desk.wish(SetStops(instrument=NAME, stop_loss=exit_at("90"), trailing_distance=dec(5)))
    (command,) = effects.send
    assert isinstance(command, ChangeStops)
    assert (command.stop_loss, command.take_profit, command.trailing_distance) == (exit_at("90"), None, dec(5))
    assert kinds(effects) == ["DecisionMade", "StopsIntended"]
    intended = effects.record[-1]
    assert isinstance(intended, StopsIntended)
    assert intended.change == command
    (other,) = desk.wish(SetStops(instrument=NAME, take_profit=exit_at("110"))).send
    assert isinstance(other, ChangeStops)
    assert other.request_id != command.request_id
    effects = desk.event(stops_changed(loss="90", trail="5"))
    assert kinds(effects) == ["StopsReported"]
    assert told(effects) == ["StopsChanged"]
    effects = desk.event(stops_rejected(other.request_id))
    assert kinds(effects) == ["StopsReported"]
    assert told(effects) == ["StopsRejected"]


def test_stops_that_are_no_news_are_not_recorded() -> None:
    """A repeat, one that a later overtook, and the same again for a position that has grown."""
    desk = Desk()
    assert kinds(desk.event(stops_changed(loss="90", at_ns=5))) == ["StopsReported"]
    for again in (
        stops_changed(loss="90", at_ns=5),
        stops_changed(loss="80", at_ns=4),
        stops_changed(loss="90", at_ns=7),
    ):
        assert desk.event(again) == Effects()
    assert desk.event(stops_changed(loss="80", at_ns=6)) == Effects()  # it was before the same again
    assert kinds(desk.event(stops_changed(at_ns=8))) == ["StopsReported"]


def test_while_reducing_stops_may_only_come_nearer() -> None:
    """The gate knows what the venue keeps, from what the venue has told."""
    desk = Desk(protections=ProtectionLimits(cooldown_ns=HOUR_NS))
    holding(desk)
    desk.fill(desk.place(Side.SELL, "0.5", limit=None), trade="part")
    desk.event(stops_changed(loss="90"))
    assert len(desk.wish(SetStops(instrument=NAME, stop_loss=exit_at("80"))).send) == 1
    desk.event(cut(qty="0.5"))
    holding_again = desk.wish(PlaceOrder(instrument=NAME, side=Side.BUY, qty=dec(1)))
    assert denial(holding_again) == Denial.COOLDOWN


def test_stops_count_from_being_asked_for_until_the_position_is_gone() -> None:
    """Whatever the venue tells of them, which may be old: they may close the position before an order turns it over."""
    desk = Desk(limits=replace(LIMITS, position_notional_max=dec(1000)))
    holding(desk, "10")
    turn = PlaceOrder(instrument=NAME, side=Side.SELL, qty=dec(20))
    desk.wish(SetStops(instrument=NAME, stop_loss=exit_at("90")))
    assert denial(desk.wish(turn)) == Denial.POSITION_ABOVE_MAX
    desk.event(stops_changed(loss="90", at_ns=5))
    assert denial(desk.wish(turn)) == Denial.POSITION_ABOVE_MAX
    desk.event(stops_changed(at_ns=6))
    assert denial(desk.wish(turn)) == Denial.POSITION_ABOVE_MAX
    desk.event(cut(qty="10"))
    holding(desk, "10")
    assert len(desk.wish(turn).send) == 1


def test_stops_are_forgotten_with_their_position() -> None:
    """Also such as were refused, or never told of; an open order that brings its own counts on."""
    for brings in (False, True):
        desk = Desk(limits=replace(LIMITS, position_notional_max=dec(1000)))
        holding(desk, "1")
        desk.wish(SetStops(instrument=NAME, stop_loss=exit_at("90")))
        bringing = desk.place(qty="1", limit="95", stop_loss=exit_at("90") if brings else None)
        desk.event(cut())
        desk.event(canceled(bringing.client_order_id))
        holding(desk, "10")
        effects = desk.wish(PlaceOrder(instrument=NAME, side=Side.SELL, qty=dec(20)))
        assert len(effects.send) == (0 if brings else 1)


def test_an_orders_own_stops_count_from_its_sending() -> None:
    desk = Desk(limits=replace(LIMITS, position_notional_max=dec(1000)))
    desk.fill(desk.place(qty="10", limit=None, stop_loss=exit_at("90")))
    turn = PlaceOrder(instrument=NAME, side=Side.SELL, qty=dec(20))
    assert denial(desk.wish(turn)) == Denial.POSITION_ABOVE_MAX


@pytest.mark.parametrize("event", [stops_changed(loss="90"), stops_rejected("s1")])
def test_stops_of_what_is_not_traded_halt(event: AccountEvent) -> None:
    with pytest.raises(InvariantBroken):
        Desk().event(replace(event, instrument="NOPEUSDT"))


# --- what the venue does by itself ------------------------------------------------------------------------------------


def test_a_cut_is_booked_exactly_as_a_fill() -> None:
    """Position, realized profit, fees and postings are those of an order of ours at the same price."""
    ours, venues = Desk(), Desk()
    for desk in (ours, venues):
        holding(desk, "3")
    fill = ours.fill(ours.place(Side.SELL, "2", limit=None), price="95").record[0]
    assert isinstance(fill, FillBooked)
    effects = venues.event(cut(qty="2", price="95"))
    booked = effects.record[0]
    assert isinstance(booked, PositionCutBooked)
    assert (booked.position_qty, booked.realized_pnl, booked.postings) == (1, -10, fill.postings)
    assert (fill.position_qty, fill.realized_pnl) == (1, -10)
    assert told(effects) == ["PositionCut"]
    assert ours.orders.mark_equity(ours.marks(), 0).record == venues.orders.mark_equity(venues.marks(), 0).record


def test_everything_of_the_venues_own_counts_once() -> None:
    """By the venue's id of it, however often it is told."""
    desk = Desk()
    holding(desk, "3")
    for event in (cut(), adjusted("5"), funding_paid("-1")):
        assert len(desk.event(event).record) == 1
        assert desk.event(event) == Effects()
    assert len(desk.event(cut(trade=2)).record) == 1


def test_what_the_fund_made_good_balances() -> None:
    desk = Desk(cash="10")
    booked = desk.event(adjusted("5.5")).record[0]
    assert isinstance(booked, AdjustmentBooked)
    assert {posting.account: posting.amount for posting in booked.postings} == {
        "insurance": dec("-5.5"),
        "cash": dec("5.5"),
    }
    (marked,) = desk.orders.mark_equity(desk.marks(), 0).record
    assert getattr(marked, "cash") == dec("15.5")  # noqa: B009


def test_protections_see_what_the_venue_did() -> None:
    """A stop that lost counts as a lost round trip; and it is no order that a runaway strategy sent."""
    guard = Window(count=2, span_ns=HOUR_NS, pause_ns=HOUR_NS)
    desk = Desk(protections=ProtectionLimits(stop_guard=guard, repeated=Window(count=2, span_ns=HOUR_NS)))
    for number in (1, 2):
        holding(desk)
        effects = desk.event(cut(trade=number))
    changed = effects.record[1]
    assert isinstance(changed, TradingStateChanged)
    assert (changed.cause, changed.after) == ("stop_guard", "reducing")
    assert denial(desk.target("1")) == Denial.STOP_GUARD
    for number in range(3, 9):
        desk.event(cut(trade=number, side=Side.BUY if number % 2 else Side.SELL))
    assert not [e for e in desk.record if isinstance(e, TradingStateChanged) and e.cause == "repeated"]


def test_entries_are_canceled_when_a_stop_has_closed_a_latch() -> None:
    desk = Desk(protections=ProtectionLimits(cooldown_ns=HOUR_NS))
    holding(desk)
    resting = desk.place(qty="1", limit="95")
    conditional = desk.place(qty="1", limit=None, trigger=trigger_at("110"))
    effects = desk.event(cut())
    assert [(type(c), getattr(c, "client_order_id", "")) for c in effects.send] == [
        (CancelOrder, resting.client_order_id),
        (CancelOrder, conditional.client_order_id),
    ]


def test_after_a_liquidation_without_equity_nothing_can_be_opened() -> None:
    desk = Desk(cash="100")
    holding(desk, "1")
    effects = desk.event(cut(price="0.1", fee="0.2", cause=StopKind.LIQUIDATION))
    assert kinds(effects) == ["PositionCutBooked"]
    desk.event(adjusted("0.1"))
    assert denial(desk.target("1")) == Denial.NO_EQUITY


@pytest.mark.parametrize(
    "event",
    [
        cut(instrument="NOPEUSDT"),
        cut(qty="0"),
        cut(qty="NaN"),
        cut(price="sNaN"),
        cut(price="0"),
        cut(fee="Infinity"),
        adjusted("NaN"),
        funding_paid("1", instrument="NOPEUSDT"),
    ],
)
def test_what_cannot_be_halts(event: AccountEvent) -> None:
    with pytest.raises(InvariantBroken):
        Desk().event(event)


# --- our books against the venue's ------------------------------------------------------------------------------------

BUY, LATE = filled(trade=1, qty="2", price="100", fee="1"), filled(trade=2, qty="1", price="110", fee="1")
SELL = cut(trade=3, qty="1", price="120", fee="1")


def portfolio(*events: AccountEvent, cash: str = "1000") -> Portfolio:
    """Return books that were told of these events, in this order."""
    books = Portfolio({NAME: BTC, ETH.name: ETH}, "USDT")
    books.deposit(dec(cash))
    for event in events:
        books.fill(event)  # type: ignore[arg-type]
    return books


def venue_books(*events: AccountEvent, cash: str = "1000") -> dict[str, object]:
    """Return the venue's side, reckoned by the plainest rule."""
    position, balance = Position(instrument=NAME), dec(cash)
    for event in events:
        before = position.realized_pnl
        position = apply_fill(position, side=event.side, price=event.price, qty=event.qty, fee=event.fee)  # type: ignore[union-attr]
        balance += position.realized_pnl - before - event.fee  # type: ignore[union-attr]
    return {"cash": balance, "positions": {NAME: position}}


def test_equal_books_do_not_differ() -> None:
    assert differences(portfolio(BUY, LATE, SELL), **venue_books(BUY, LATE, SELL), untold=[]) == []  # type: ignore[arg-type]


def test_the_order_of_arrival_is_no_difference() -> None:
    """What is realized depends on it, and what is left to realize makes up for that."""
    ours, theirs = portfolio(BUY, SELL, LATE), venue_books(BUY, LATE, SELL)
    assert ours.cash != theirs["cash"]
    assert differences(ours, **theirs, untold=[]) == []  # type: ignore[arg-type]


def test_what_is_still_on_its_way_is_counted() -> None:
    ours, theirs = portfolio(BUY), venue_books(BUY, LATE, SELL)
    theirs["cash"] = theirs["cash"] + dec("2.5")  # type: ignore[operator]
    untold = [LATE, funding_paid("2"), SELL, adjusted("0.5"), triggered()]
    assert differences(ours, **theirs, untold=untold) == []  # type: ignore[arg-type]
    assert len(differences(ours, **theirs, untold=[])) == 1  # type: ignore[arg-type]


def test_both_sides_of_a_difference_are_named() -> None:
    """A lost execution shows in quantity and in money, a wrong fee in money alone."""
    found = differences(portfolio(BUY), **venue_books(BUY, LATE), untold=[])  # type: ignore[arg-type]
    assert found[0] == f"of {NAME} we hold 2, and the venue says 3"
    assert found[1] == "cash less the cost of open positions is 799 here, and 688 at the venue"
    other_fee = replace(LATE, fee=Decimal("1.000001"))
    (only,) = differences(portfolio(BUY, LATE), **venue_books(BUY, other_fee), untold=[])  # type: ignore[arg-type]
    assert "cash" in only
