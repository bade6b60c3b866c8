"""Hedge mode: every order is of one leg, and none of them turns a position over."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from bot.core.checkpoint import capture, decode, encode, restore
from bot.core.effects import Effects
from bot.core.execution.legs import must_wait, on_leg
from bot.core.money_state import MoneyState
from bot.core.order import Order, Status
from bot.core.portfolio import Portfolio
from bot.core.protections import ProtectionLimits, Protections
from bot.core.restoring import Restorer
from bot.core.risk import Denial
from bot.core.submission.journal import RequestJournal
from bot.domain.instrument import Side
from bot.domain.ledger import RiskDenied
from bot.domain.orders import ChangeStops, Exit, Leg, SetStops, StopsChanged, SubmitOrder, TimeInForce, Trigger
from tests.support.desk import Desk
from tests.support.money import BTC, ETH, NAME, SECOND_NS, accepted, canceled, dec, rejected, submit

Sent = tuple[Side, str, Leg, bool]  # side, quantity, leg, reduce-only

BUY, SELL = Side.BUY, Side.SELL
LONG, SHORT = Leg.LONG, Leg.SHORT

TARGETS: list[tuple[str, str, Sent | None, Sent | None]] = [
    # held, wanted, the first order, the second once the first has filled
    ("0", "0", None, None),
    ("0", "2", (BUY, "2", LONG, False), None),
    ("0", "-2", (SELL, "2", SHORT, False), None),
    ("2", "3", (BUY, "1", LONG, False), None),
    ("2", "2", None, None),
    ("2", "1", (SELL, "1", LONG, True), None),
    ("2", "0", (SELL, "2", LONG, True), None),
    ("2", "-1", (SELL, "2", LONG, True), (SELL, "1", SHORT, False)),
    ("-2", "-3", (SELL, "1", SHORT, False), None),
    ("-2", "-2", None, None),
    ("-2", "-1", (BUY, "1", SHORT, True), None),
    ("-2", "0", (BUY, "2", SHORT, True), None),
    ("-2", "1", (BUY, "2", SHORT, True), (BUY, "1", LONG, False)),
]


def sent(effects: Effects) -> list[Sent]:
    orders = [each for each in effects.send if isinstance(each, SubmitOrder)]
    return [(each.side, f"{each.qty.normalize():f}", each.leg, each.reduce_only) for each in orders]


def denials(effects: Effects) -> list[str]:
    return [entry.code for entry in effects.record if isinstance(entry, RiskDenied)]


def held(qty: str) -> Desk:
    """Return a desk in hedge mode that holds so much."""
    desk = Desk(is_hedged=True)
    if dec(qty):
        fill(desk, desk.target(qty))
    assert desk.orders.state.position_qty(NAME) == dec(qty)
    return desk


def fill(desk: Desk, effects: Effects) -> Effects:
    (order,) = effects.send
    assert isinstance(order, SubmitOrder)
    desk.event(accepted(order.client_order_id, at_ns=desk.now_ns))
    return desk.fill(order, trade=f"of {order.client_order_id}")


@pytest.mark.parametrize(("before", "wanted", "first", "second"), TARGETS, ids=[f"{a} to {b}" for a, b, *_ in TARGETS])
def test_targets(before: str, wanted: str, first: Sent | None, second: Sent | None) -> None:
    """A target is reached with one order, but by way of flat with two: the second when the first has filled."""
    desk = held(before)
    effects = desk.target(wanted)
    assert sent(effects) == ([] if first is None else [first])
    if first is not None:
        effects = fill(desk, effects)
        assert sent(effects) == ([] if second is None else [second])
        if second is not None:
            fill(desk, effects)
    assert desk.orders.state.position_qty(NAME) == dec(wanted)
    assert not desk.orders.targets.is_working(NAME)


def test_the_other_leg_waits_for_every_part_of_the_close() -> None:
    desk = held("2")
    (close,) = desk.target("-1").send
    assert isinstance(close, SubmitOrder)
    desk.event(accepted(close.client_order_id, at_ns=desk.now_ns))
    assert sent(desk.fill(close, trade="part", qty="1.5")) == []
    assert sent(desk.fill(close, trade="rest", qty="0.5")) == [(SELL, "1", SHORT, False)]


def test_a_close_that_is_refused_is_tried_again_before_the_other_leg_is_opened() -> None:
    desk = held("2")
    (close,) = desk.target("-1").send
    assert isinstance(close, SubmitOrder)
    assert sent(desk.event(rejected(close.client_order_id, at_ns=desk.now_ns))) == []
    desk.now_ns += SECOND_NS
    assert sent(desk.work()) == [(SELL, "2", LONG, True)]


def test_a_new_target_waits_for_an_order_that_may_open_the_other_leg() -> None:
    """What is on its way, or in doubt, counts as if it filled: nothing goes to the other side before it is known."""
    desk = Desk(is_hedged=True)
    (opening,) = desk.target("1").send
    assert isinstance(opening, SubmitOrder)
    assert sent(desk.target("-1")) == []
    assert sent(desk.fill(opening)) == [(SELL, "1", LONG, True)]
    desk = Desk(is_hedged=True)
    (opening,) = desk.target("1").send
    assert isinstance(opening, SubmitOrder)
    assert sent(desk.target("-1")) == []
    assert sent(desk.event(rejected(opening.client_order_id, at_ns=desk.now_ns))) == []
    desk.now_ns += SECOND_NS
    assert sent(desk.work()) == [(SELL, "1", SHORT, False)]


def test_an_execution_that_is_known_of_and_not_told_keeps_the_other_leg_closed() -> None:
    """A stream may tell of a cancel before it tells of what had filled: until then the leg is open for all we know."""
    desk = Desk(is_hedged=True)
    order = desk.place(BUY, "1", "99")
    desk.event(accepted(order.client_order_id, at_ns=desk.now_ns))
    desk.event(replace(canceled(order.client_order_id, at_ns=desk.now_ns), owed_qty=dec("0.4")))
    assert sent(desk.target("-1")) == []
    assert sent(desk.fill(order, trade="late", qty="0.4")) == [(SELL, "0.4", LONG, True)]


def test_an_execution_that_never_comes_is_waited_for_until_the_next_comparison() -> None:
    desk = Desk(is_hedged=True)
    order = desk.place(BUY, "1", "99")
    desk.event(accepted(order.client_order_id, at_ns=desk.now_ns))
    desk.event(replace(canceled(order.client_order_id, at_ns=desk.now_ns), owed_qty=dec("0.4")))
    assert sent(desk.target("-1")) == []
    desk.orders.forget_owing(desk.now_ns, desk.now_ns)  # a comparison that began before it
    assert sent(desk.work()) == []
    desk.orders.forget_owing(desk.now_ns + 1, desk.now_ns)
    assert sent(desk.work()) == [(SELL, "1", SHORT, False)]


def test_an_execution_that_is_owed_is_never_ordered_a_second_time() -> None:
    """In one-way mode too: what is owed of a canceled order counts towards the target."""
    desk = Desk()
    (order,) = desk.target("1").send
    assert isinstance(order, SubmitOrder)
    desk.event(accepted(order.client_order_id, at_ns=desk.now_ns))
    desk.event(replace(canceled(order.client_order_id, at_ns=desk.now_ns), owed_qty=dec("0.4")))
    desk.now_ns += SECOND_NS
    assert sent(desk.work()) == [(BUY, "0.6", Leg.NET, False)]


def test_a_target_is_not_reached_while_an_execution_is_owed() -> None:
    """In one-way mode too: flat by the books, and a part of an order that was canceled is still to be told of."""
    desk = Desk()
    (order,) = desk.target("1").send
    assert isinstance(order, SubmitOrder)
    desk.event(accepted(order.client_order_id, at_ns=desk.now_ns))
    desk.fill(order, trade="a part", qty="0.5")
    desk.event(replace(canceled(order.client_order_id, at_ns=desk.now_ns), owed_qty=dec("0.4")))
    fill(desk, desk.target("0"))
    assert desk.orders.state.position_qty(NAME) == 0
    assert sent(desk.fill(order, trade="late", qty="0.4")) == [(SELL, "0.4", Leg.NET, False)]


@pytest.mark.parametrize("side", [BUY, SELL])
def test_orders_of_a_strategys_own(side: Side) -> None:
    """Two of different sides do not rest together where both would open; what reduces is told so to the venue."""
    desk = Desk(is_hedged=True)
    first = desk.place(side, "1", "100")
    assert (first.leg, first.reduce_only) == (LONG if side is BUY else SHORT, False)
    other = SELL if side is BUY else BUY
    assert denials(desk.place_if(other, "1", "100")) == [Denial.OTHER_LEG]
    fill(desk, Effects(send=[first]))
    exit_ = desk.place(other, "1", "100")
    assert (exit_.leg, exit_.reduce_only) == (first.leg, True)
    denied = desk.place_if(other, "2", "100")
    assert denials(denied) == [Denial.OTHER_LEG]
    (told,) = (entry.detail for entry in denied.record if isinstance(entry, RiskDenied))
    assert told == f"it would turn over the {first.leg.value} leg of 1: close that first"
    assert denials(desk.place_if(other, "1", "100", stop_loss=Exit(price=dec(90)))) == [Denial.OTHER_LEG]
    more = desk.place(side, "1", "100")
    assert (more.leg, more.reduce_only) == (first.leg, False)


def test_a_target_is_dropped_where_an_order_rests_on_the_other_leg() -> None:
    """The strategy's own order may rest for days: the target is not kept waiting for it, and its owner is told."""
    desk = Desk(is_hedged=True)
    resting = desk.place(BUY, "1", "99")
    effects = desk.target("-1")
    assert denials(effects) == [Denial.OTHER_LEG]
    assert not desk.orders.targets.is_working(NAME)
    assert any(resting.client_order_id in entry.detail for entry in effects.record if isinstance(entry, RiskDenied))


@pytest.mark.parametrize(("qty", "leg"), [("2", LONG), ("-2", SHORT)])
def test_exits_that_the_venue_keeps_are_of_the_leg_that_is_held(qty: str, leg: Leg) -> None:
    desk = held(qty)
    (change,) = desk.wish(SetStops(instrument=NAME, trailing_distance=dec(1))).send
    assert isinstance(change, ChangeStops)
    assert change.leg is leg


def test_one_way_mode_knows_no_legs() -> None:
    desk = Desk()
    fill(desk, desk.target("2"))
    assert sent(desk.target("-1")) == [(SELL, "3", Leg.NET, False)]


@pytest.mark.parametrize("qty", ["120", "-120"])
@pytest.mark.parametrize("by", ["kill", "close"])
def test_what_flattens_goes_to_the_leg_that_is_held(qty: str, by: str) -> None:
    """In parts where it is more than one order may be."""
    desk = Desk(is_hedged=True)
    for part in ("40", "80", "120"):
        fill(desk, desk.target(dec(part) * (1 if dec(qty) > 0 else -1)))
    if by == "kill":
        desk.kill()
    effects = desk.orders.rules.close_position(NAME, "a person says so", marks=desk.marks(), now_ns=desk.now_ns)
    side, leg = (SELL, LONG) if dec(qty) > 0 else (BUY, SHORT)
    assert sent(effects) == [(side, "50", leg, True), (side, "50", leg, True), (side, "20", leg, True)]


def order_of(side: Side, *, status: Status = Status.OPEN, **more: Any) -> Order:
    fields: dict[str, Any] = {"leg": LONG if side is BUY else SHORT}
    request = replace(submit(side=side, limit=more.pop("limit", None)), **(fields | more))
    return Order(request=request, status=status, owed_qty=Decimal(1) if status is Status.CANCELED else Decimal(0))


@pytest.mark.parametrize(
    ("other", "waits"),
    [
        ([], False),
        ([order_of(SELL)], False),  # of the same leg
        ([order_of(BUY)], True),  # at the market: soon over
        ([order_of(BUY, limit="99", time_in_force=TimeInForce.IOC)], True),
        ([order_of(BUY, limit="99")], False),  # it may rest for days
        ([order_of(BUY, trigger=Trigger(price=dec(101), is_rise=True))], False),
        ([replace(order_of(BUY, limit="99"), cancel_requested=True)], True),
        ([order_of(BUY, limit="99", client_order_id="mine")], True),
        ([order_of(BUY, limit="99", status=Status.CANCELED)], True),  # executions of it are to come
        ([order_of(BUY), order_of(BUY, limit="99")], False),
        ([order_of(BUY, reduce_only=True)], False),  # it opens nothing
    ],
)
def test_what_a_sell_that_opens_waits_for(other: list[Order], waits: bool) -> None:
    assert must_wait(SELL, dec(0), other, {"mine"}) is waits
    assert must_wait(SELL, dec(1), other, {"mine"}) is False  # it closes


@pytest.mark.parametrize("qty", ["NaN", "Infinity"])
def test_what_is_no_number_is_left_to_the_gate(qty: str) -> None:
    placed = on_leg(submit(side=SELL, qty=dec(qty)), dec(1), ())
    assert isinstance(placed, SubmitOrder)
    desk = held("1")
    assert denials(desk.place_if(SELL, qty, "100")) == [Denial.QTY_INVALID]


def test_exits_of_the_other_leg_are_no_news_of_ours() -> None:
    """After a flip the word that the first leg has no exits any more may come late."""
    desk = held("-1")
    about: dict[str, Any] = {"ts_recv_ns": desk.now_ns, "instrument": NAME}
    desk.event(StopsChanged(**about, ts_event_ns=1, leg=SHORT, stop_loss=dec(110)))
    desk.event(StopsChanged(**about, ts_event_ns=2, leg=LONG))
    assert desk.orders.state.stops[NAME].stop_loss == dec(110)
    desk.event(StopsChanged(**about, ts_event_ns=3, leg=SHORT))
    assert desk.orders.state.stops[NAME].is_empty
    desk.event(StopsChanged(**about, ts_event_ns=4, stop_loss=dec(120)))  # of the other mode
    assert desk.orders.state.stops[NAME].is_empty


@pytest.mark.parametrize("by", ["entries", "checkpoint"])
def test_legs_are_taken_up_from_the_ledger(by: str) -> None:
    """A restart between the halves of a flip knows what the run before it knew: orders, legs, exits, what is owed."""
    desk = Desk(is_hedged=True, is_restorable=True)
    fill(desk, desk.target("2"))
    about: dict[str, Any] = {"ts_recv_ns": desk.now_ns, "instrument": NAME}
    desk.event(StopsChanged(**about, ts_event_ns=1, leg=LONG, stop_loss=dec(90)))
    (close,) = desk.target("-1").send
    assert isinstance(close, SubmitOrder)
    desk.event(accepted(close.client_order_id, at_ns=desk.now_ns))
    desk.fill(close, trade="a part", qty="0.5")
    desk.event(replace(canceled(close.client_order_id, at_ns=desk.now_ns), owed_qty=dec("0.4")))
    before = desk.orders.state
    after = MoneyState(
        instruments={NAME: BTC, ETH.name: ETH},
        portfolio=Portfolio({NAME: BTC, ETH.name: ETH}, "USDT"),
        protections=Protections(ProtectionLimits()),
        sends_max=1000,
        hedged=[NAME, ETH.name],
    )
    if by == "entries":
        restorer = Restorer(after)
        for entry in desk.record:
            restorer.add(entry)
    else:
        journal = RequestJournal(0)
        restore(decode(encode(capture(before))), after, journal)
    assert after.orders == before.orders
    assert after.orders[close.client_order_id].request.leg is LONG
    assert after.owing.keys() == before.owing.keys() == {close.client_order_id}
    assert after.position_qty(NAME) == dec("1.5")
    assert after.closable_legs(NAME) == [(LONG, dec("1.5"))]
    assert (after.stops[NAME].stop_loss, after.stops[NAME].leg) == (dec(90), LONG)
