"""What the simulated venue refuses, cancels, amends and triggers, as it reaches us."""

from decimal import Decimal

import msgspec
import pytest

from bot.domain.instrument import Side
from bot.domain.orders import (
    AmendOrder,
    AmendRejected,
    CancelRejected,
    Exit,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    OrderType,
    PositionCut,
    StopKind,
    StopsChanged,
    StopsRejected,
    SubmitOrder,
    Trigger,
)
from tests.support.matched import BARS, BUY, FOUR, LATE, SELL, amend, cancel, fills, kinds, only_fill, run, stops
from tests.support.money import dec, make_matching, submit, trades

# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (submit(qty="0.001"), "10001"),  # below the least
        (submit(qty="0.0029"), "110094"),  # 0.002 on the step, worth 0.2 of the 5 it must be
        (submit(qty="0.049"), "110094"),
        (submit(qty="0.05", limit="99.9"), "110094"),
        (submit(qty="0"), "10001"),
        (submit(qty="-1"), "10001"),
        (submit(qty="50.001"), "10001"),  # above the greatest
        (submit(limit="100.05"), "110003"),  # off the tick
        (submit(limit="0"), "110003"),
        (submit(limit="-100"), "110003"),
        (submit(order_type=OrderType.LIMIT), "10001"),
        (submit(reduce_only=True), "110017"),
    ],
)
def test_what_the_filters_forbid_is_refused(order: SubmitOrder, code: str) -> None:
    """Refused at its arrival, with a code, and it never lives: nothing fills, and there is nothing to cancel."""
    desk = make_matching(FOUR)
    (event,) = run(desk, order, 15)
    assert isinstance(event, OrderRejected)
    assert (event.code, event.ts_event_ns, event.ts_recv_ns) == (code, 15, 22)
    assert desk.next_ns() is None
    assert kinds(desk.cancel(cancel(1), 16)) == ["CancelRejected"]


@pytest.mark.parametrize("order", [submit(qty="0.05"), submit(qty="50"), submit(limit="5"), submit(limit="100.1")])
def test_what_the_filters_allow_is_accepted(order: SubmitOrder) -> None:
    """At the very bounds of quantity and value."""
    assert kinds(make_matching(FOUR).submit(order, 15))[0] == "OrderAccepted"


def test_a_quantity_off_the_step_is_floored_and_we_are_told() -> None:
    """The venue takes less than we asked for and says how much."""
    events = run(make_matching(FOUR), submit(qty="1.2345"), 15)
    assert kinds(events) == ["OrderAccepted", "OrderAmended", "OrderFilled"]
    assert isinstance(events[1], OrderAmended)
    assert events[1].qty == only_fill(events).qty == dec("1.234")


def test_an_id_is_taken_once() -> None:
    """A second order of the same id is refused, whether the first still rests, is filled or is canceled."""
    desk = make_matching(FOUR)
    assert kinds(desk.submit(submit(1, limit="50"), 5)) == ["OrderAccepted"]
    for at_ns in (6, 15):
        (event,) = desk.submit(submit(1, limit="50"), at_ns)
        assert isinstance(event, OrderRejected)
        assert event.code == "110072"
        if at_ns == 6:
            assert kinds(desk.cancel(cancel(1), 7)) == ["OrderCanceled"]
    run(desk, submit(2), 16)
    assert kinds(desk.submit(submit(2), 40)) == ["OrderRejected"]


# --- cancels ----------------------------------------------------------------------------------------------------------


def test_a_cancel_before_the_fill_prevents_it() -> None:
    """Told at its own time, and nothing fills later."""
    desk = make_matching(FOUR)
    desk.submit(submit(), 11)
    (event,) = desk.cancel(cancel(), 19)
    assert isinstance(event, OrderCanceled)
    assert (event.ts_event_ns, event.ts_recv_ns, event.reason) == (19, 26, "asked for")
    assert desk.next_ns() is None
    assert desk.advance(LATE) == []


@pytest.mark.parametrize("at_ns", [20, 21, LATE])
def test_a_cancel_at_or_after_the_fill_comes_too_late(at_ns: int) -> None:
    """What matched at the cancel's own instant matched first; the fill is told before the refusal."""
    desk = make_matching(FOUR)
    desk.submit(submit(), 11)
    fill, refusal = desk.cancel(cancel(), at_ns)
    assert isinstance(fill, OrderFilled)
    assert isinstance(refusal, CancelRejected)
    assert (fill.ts_event_ns, refusal.ts_event_ns) == (20, at_ns)


def test_a_cancel_of_the_unknown_is_refused() -> None:
    """Never sent, or done already: the same answer, at its own time."""
    desk = make_matching(FOUR)
    (event,) = desk.cancel(cancel(9), 12)
    assert isinstance(event, CancelRejected)
    assert (event.client_order_id, event.ts_event_ns, event.ts_recv_ns) == ("o9", 12, 19)
    desk.submit(submit(limit="50"), 13)
    assert kinds(desk.cancel(cancel(), 14)) == ["OrderCanceled"]
    assert kinds(desk.cancel(cancel(), 14)) == ["CancelRejected"]


@pytest.mark.parametrize(("at_ns", "expected"), [(19, ["OrderCanceled"]), (20, ["OrderFilled", "CancelRejected"])])
def test_against_bars_a_fill_is_certain_only_at_the_close(at_ns: int, expected: list[str]) -> None:
    """Until then a cancel comes in time."""
    desk = make_matching(BARS)
    desk.submit(submit(limit="99.5"), 1)
    assert kinds(desk.cancel(cancel(), at_ns)) == expected


# --- amendments -------------------------------------------------------------------------------------------------------


def test_an_amendment_is_told_as_what_the_order_is_now() -> None:
    """Its total quantity and its limit, then it fills as amended."""
    desk = make_matching(trades([(1, 1000), (10, 1000), (20, 980)]))
    desk.submit(submit(limit="95"), 11)
    (event,) = desk.amend(amend(qty="2", limit_price="99"), 12)
    assert isinstance(event, OrderAmended)
    assert (event.qty, event.limit_price, event.ts_event_ns, event.ts_recv_ns) == (2, 99, 12, 19)
    assert fills(desk.advance(LATE)) == [("o1", 20, dec(99), dec(2), True)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (amend(limit_price="95"), "10001"),  # as it is
        (amend(limit_price="95.05"), "110003"),
        (amend(qty="0"), "110064"),
        (amend(qty="50.001"), "10001"),
        (amend(trigger_price="105"), "110001"),
        (amend(2, qty="2"), "110001"),
    ],
)
def test_an_amendment_that_cannot_be_is_refused(change: AmendOrder, code: str) -> None:
    """With the venue's code, and the order stays as it was."""
    desk = make_matching(trades([(1, 1000), (10, 1000), (20, 940)]))
    desk.submit(submit(limit="95"), 11)
    (event,) = desk.amend(change, 12)
    assert isinstance(event, AmendRejected)
    assert (event.code, event.client_order_id, event.ts_recv_ns) == (code, change.client_order_id, 19)
    assert fills(desk.advance(LATE)) == [("o1", 20, dec(95), dec(1), True)]


def test_a_reduce_only_order_that_the_venue_cuts_is_told_as_amended() -> None:
    """Nobody asked for it, yet it is another order than we sent."""
    desk = make_matching(trades([(t, 1000) for t in range(1, 60, 10)]))
    run(desk, submit(1, qty="2"), 5, 11)
    desk.submit(submit(2, side=SELL, qty="2", limit="110", reduce_only=True), 12)
    events = run(desk, submit(3, side=SELL, qty="0.5"), 13, 21)
    assert kinds(events) == ["OrderAccepted", "OrderFilled", "OrderAmended"]
    cut = events[-1]
    assert isinstance(cut, OrderAmended)
    assert (cut.client_order_id, cut.qty) == ("o2", dec("1.5"))


# --- reduce-only ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_reduce_only_is_cut_to_the_position(side: Side) -> None:
    """It fills what there is to reduce, it never opens the other side, and without a position it is refused."""
    other = SELL if side is BUY else BUY
    desk = make_matching(trades([(t, 1000) for t in range(1, 90, 10)]))
    run(desk, submit(1, side=side, qty="2"), 5, 11)
    events = run(desk, submit(2, side=other, qty="3", reduce_only=True), 15, 21)
    assert kinds(events) == ["OrderAccepted", "OrderAmended", "OrderFilled"]
    assert only_fill(events).qty == 2
    (refused,) = run(desk, submit(3, side=other, qty="3", reduce_only=True), 25, 31)
    assert isinstance(refused, OrderRejected)
    assert refused.code == "110017"


def test_reduce_only_of_a_position_that_is_gone_is_canceled() -> None:
    """Two exits of one position: the first fills, and for the second there is nothing more to do."""
    desk = make_matching(trades([(1, 1000), (10, 1000), (20, 1000), (30, 1010)]))
    run(desk, submit(1, qty="1"), 5, 10)
    desk.submit(submit(2, side=SELL, qty="1", limit="100.5", reduce_only=True), 15)
    desk.submit(submit(3, side=SELL, qty="1", limit="100.5", reduce_only=True), 16)
    filled, canceled = desk.advance(LATE)
    assert isinstance(filled, OrderFilled)
    assert isinstance(canceled, OrderCanceled)
    assert (filled.client_order_id, canceled.client_order_id) == ("o2", "o3")
    assert canceled.reason == "reduce-only order has nothing more to reduce"


# --- triggers and stops -----------------------------------------------------------------------------------------------


def conditional(number: int, price: str, *, is_rise: bool, limit: str | None = None) -> SubmitOrder:
    """Return a buy that waits for a price."""
    order = submit(number, limit=limit)
    return msgspec.structs.replace(order, trigger=Trigger(price=Decimal(price), is_rise=is_rise))


def test_a_conditional_order_is_told_when_it_is_triggered() -> None:
    """It waits, it is triggered, it fills at what comes next."""
    events = run(make_matching(FOUR), conditional(1, "101", is_rise=True), 11)
    assert kinds(events) == ["OrderAccepted", "OrderTriggered", "OrderFilled"]
    assert isinstance(events[1], OrderTriggered)
    assert (events[1].ts_event_ns, events[1].ts_recv_ns) == (20, 27)
    assert fills(events) == [("o1", 30, dec(102), dec(1), False)]


@pytest.mark.parametrize(("price", "is_rise", "code"), [("100", True, "110092"), ("100", False, "110093")])
def test_a_trigger_that_would_fire_at_once_is_refused(price: str, is_rise: bool, code: str) -> None:
    """The price must come to it."""
    (event,) = make_matching(FOUR).submit(conditional(1, price, is_rise=is_rise), 15)
    assert isinstance(event, OrderRejected)
    assert event.code == code


def test_a_conditional_order_can_be_amended_and_canceled_while_it_waits() -> None:
    """Its trigger too."""
    desk = make_matching(FOUR)
    desk.submit(conditional(1, "101", is_rise=True), 11)
    (amended,) = desk.amend(amend(trigger_price="102"), 12)
    assert isinstance(amended, OrderAmended)
    assert desk.advance(20) == []
    assert kinds(desk.cancel(cancel(), 21)) == ["OrderCanceled"]
    assert desk.advance(LATE) == []


def test_exits_that_come_with_an_order_are_told_and_cut_the_position() -> None:
    """What the venue keeps for us is told as stops; what it does for us as a cut of the position, with its cause."""
    desk = make_matching(trades([(1, 1000), (10, 1000), (20, 980), (30, 979)]), taker_rate="0.001")
    order = msgspec.structs.replace(submit(), take_profit=Exit(price=dec(105)), stop_loss=Exit(price=dec("98.5")))
    events = run(desk, order, 5, 10)
    assert kinds(events) == ["OrderAccepted", "OrderFilled", "StopsChanged"]
    kept = events[-1]
    assert isinstance(kept, StopsChanged)
    assert (kept.take_profit, kept.stop_loss, kept.trailing_distance) == (105, dec("98.5"), None)
    *_, cut, gone = desk.advance(LATE)
    assert isinstance(cut, PositionCut)
    assert (cut.cause, cut.side, cut.price, cut.qty, cut.ts_event_ns) == (StopKind.STOP_LOSS, SELL, dec("97.9"), 1, 30)
    assert cut.fee == dec("0.0979")
    assert gone == msgspec.structs.replace(
        kept, ts_event_ns=30, ts_recv_ns=gone.ts_recv_ns, take_profit=None, stop_loss=None
    )


def test_stops_are_set_changed_and_refused() -> None:
    """The answer is what the venue keeps now, or its code."""
    desk = make_matching(FOUR)
    (refused,) = desk.change_stops(stops(1, stop_loss="90"), 5)
    assert isinstance(refused, StopsRejected)
    assert (refused.code, refused.request_id, refused.ts_recv_ns) == ("10001", "s1", 12)
    run(desk, submit(2), 6, 10)
    (kept,) = desk.change_stops(stops(3, take_profit="110", stop_loss="90"), 11)
    assert isinstance(kept, StopsChanged)
    assert (kept.take_profit, kept.stop_loss) == (110, 90)
    (same,) = desk.change_stops(stops(4, take_profit="110"), 12)
    assert isinstance(same, StopsRejected)
    assert same.code == "34040"
    (trailing,) = desk.change_stops(stops(5, take_profit="0", trailing="5"), 13)
    assert isinstance(trailing, StopsChanged)
    assert (trailing.take_profit, trailing.stop_loss, trailing.trailing_distance) == (None, 90, 5)
    (wrong,) = desk.change_stops(stops(6, stop_loss="100.1"), 14)
    assert isinstance(wrong, StopsRejected)
    assert wrong.code == "10001"


def test_a_liquidation_is_told_as_cuts_of_the_position() -> None:
    """Orders end first, then the position is cut, each with its reason.

    11 at 100 with 125: at 89 that leaves 4, of a maintenance margin of 11 * 89 * 0.005 = 4.895.
    """
    desk = make_matching(trades([(1, 1000), (10, 1000), (20, 890)]), cash="125", price_ratio="0.01")
    run(desk, submit(1, qty="11"), 5, 10)
    desk.submit(submit(2, qty="0.1", limit="50"), 11)
    canceled, cut = desk.advance(20)
    assert isinstance(canceled, OrderCanceled)
    assert (canceled.client_order_id, canceled.reason) == ("o2", "the account is being liquidated")
    assert isinstance(cut, PositionCut)
    assert (cut.cause, cut.side, cut.qty, cut.ts_event_ns) == (StopKind.LIQUIDATION, SELL, 11, 20)
