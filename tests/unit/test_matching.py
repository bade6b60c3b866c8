"""Our desk at the simulated venue: what becomes of what we send, in our own words, with its delays, in any cut.

What the venue does with every kind of order stands in `test_venue_scenarios_*.py`; here is what reaches us of it.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import pytest

from bot.core.delays import Delay
from bot.core.venue.desk import Desk
from bot.core.venue.market import FillModel
from bot.core.venue.queue import Touch
from bot.domain.instrument import Side
from bot.domain.market import BarBatch, TradeBatch
from bot.domain.orders import (
    AccountEvent,
    AmendOrder,
    AmendRejected,
    CancelOrder,
    CancelRejected,
    ChangeStops,
    Command,
    Exit,
    FundingPaid,
    OrderAccepted,
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
    TimeInForce,
    Trigger,
)
from tests.support.money import NAME, bars, dec, make_matching, submit, trades

BUY, SELL = Side.BUY, Side.SELL
GTC, IOC, FOK, POST_ONLY = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY
LATE = 10**15  # after everything

FOUR = trades([(1, 1000), (10, 1000), (20, 1010), (30, 1020)])  # 100.0, 100.0, 101.0, 102.0
# Open, high, low, close in ticks; then a hole of two bars.
BARS = bars(
    [
        (0, 1000, 1009, 991, 1002),
        (10, 1003, 1020, 985, 1010),
        (20, 1011, 1012, 1005, 1006),
        (50, 1040, 1050, 990, 1000),
    ]
)


def cancel(number: int = 1) -> CancelOrder:
    """Return the request to cancel order `number`."""
    return CancelOrder(client_order_id=f"o{number}", order_number=number, instrument=NAME)


def amend(number: int = 1, **changes: str) -> AmendOrder:
    """Return the request to change order `number`."""
    return AmendOrder(
        client_order_id=f"o{number}",
        order_number=number,
        amend_number=1,
        instrument=NAME,
        **{name: Decimal(value) for name, value in changes.items()},
    )


def stops(number: int, *, take_profit: str = "", stop_loss: str = "", trailing: str = "") -> ChangeStops:
    """Return the request to change the position's exits."""
    return ChangeStops(
        request_id=f"s{number}",
        order_number=number,
        instrument=NAME,
        take_profit=Exit(price=Decimal(take_profit)) if take_profit else None,
        stop_loss=Exit(price=Decimal(stop_loss)) if stop_loss else None,
        trailing_distance=Decimal(trailing) if trailing else None,
    )


def kinds(events: Sequence[AccountEvent]) -> list[str]:
    """Return what happened, in words."""
    return [type(event).__name__ for event in events]


def fills(events: Sequence[AccountEvent]) -> list[tuple[str, int, Decimal, Decimal, bool]]:
    """Return of each fill: order, time, price, quantity, whether as maker."""
    return [
        (e.client_order_id, e.ts_event_ns, e.price, e.qty, e.is_maker) for e in events if isinstance(e, OrderFilled)
    ]


def run(desk: Desk, order: Command, at_ns: int, until_ns: int = LATE) -> list[AccountEvent]:
    """Return all that comes of a command."""
    return desk.handle(order, at_ns) + desk.advance(until_ns)


def only_fill(events: Sequence[AccountEvent]) -> OrderFilled:
    """Return the one fill among the events."""
    (fill,) = [event for event in events if isinstance(event, OrderFilled)]
    return fill


# --- when orders meet the market --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrived_ns", "ts_ns", "price"),
    [(2, 10, "100"), (10, 10, "100"), (11, 20, "101"), (20, 20, "101"), (21, 30, "102")],
)
@pytest.mark.parametrize("side", Side)
def test_a_market_order_takes_the_first_trade_at_or_after_its_arrival(
    arrived_ns: int, ts_ns: int, price: str, side: Side
) -> None:
    """It is what was paid next, whoever traded."""
    desk = make_matching(FOUR)
    events = run(desk, submit(side=side, qty="0.5"), arrived_ns)
    assert kinds(events) == ["OrderAccepted", "OrderFilled"]
    assert fills(events) == [("o1", ts_ns, dec(price), dec("0.5"), False)]
    assert events[0].ts_event_ns == arrived_ns
    assert desk.next_ns() is None


@pytest.mark.parametrize("order", [submit(), submit(limit="99"), submit(side=SELL, limit="101")])
@pytest.mark.parametrize(("tape", "at_ns"), [(FOUR, 0), (FOUR, 1), (bars([(10, 9, 9, 9, 9)]), 9)])
def test_before_the_first_price_an_order_is_refused(
    order: SubmitOrder, tape: TradeBatch | BarBatch, at_ns: int
) -> None:
    """A trade at its very arrival is not known yet."""
    (event,) = run(make_matching(tape), order, at_ns)
    assert isinstance(event, OrderRejected)
    assert (event.code, event.ts_event_ns, event.ts_recv_ns) == ("110118", at_ns, at_ns + 7)


def test_a_market_order_waits_for_its_trade() -> None:
    """Nothing is told before it happens, and `next_ns` says when that will be."""
    desk = make_matching(FOUR)
    assert kinds(desk.submit(submit(), 11)) == ["OrderAccepted"]
    assert desk.next_ns() == 20
    assert desk.advance(19) == []
    assert kinds(desk.advance(20)) == ["OrderFilled"]
    assert desk.advance(LATE) == []


@pytest.mark.parametrize(
    ("arrived_ns", "ts_ns", "price"),
    [
        (0, 0, "100"),
        (1, 1, "100"),
        (9, 9, "100"),
        (10, 10, "100.3"),
        (29, 29, "101.1"),
        (30, 50, "104"),
        (59, 59, "104"),
    ],
)
def test_against_bars_a_market_order_takes_the_open_of_its_bar(arrived_ns: int, ts_ns: int, price: str) -> None:
    """At once inside a bar, whose open is the only price of known time; after a hole at the next bar's open."""
    events = run(make_matching(BARS), submit(side=SELL), arrived_ns)
    assert kinds(events) == ["OrderAccepted", "OrderFilled"]
    assert fills(events) == [("o1", ts_ns, dec(price), dec(1), False)]


@pytest.mark.parametrize(("tape", "end_ns"), [(FOUR, 31), (BARS, 60)])
def test_after_the_end_of_the_tape_nothing_fills(tape: TradeBatch | BarBatch, end_ns: int) -> None:
    """An order that finds no market waits, is not reported as anything, and can be canceled."""
    desk = make_matching(tape)
    assert kinds(run(desk, submit(), end_ns)) == ["OrderAccepted"]
    assert kinds(run(desk, submit(2, limit="10", side=SELL), end_ns)) == ["OrderAccepted"]
    assert desk.next_ns() is None
    assert kinds(desk.cancel(cancel(1), LATE)) == ["OrderCanceled"]


def test_for_a_resting_order_the_trades_of_its_arrival_have_happened() -> None:
    """They neither fill it nor decide whether it takes; what comes a nanosecond later does."""
    tape = trades([(10, 1005), (20, 990), (21, 1005), (30, 990)])
    assert fills(run(make_matching(tape), submit(limit="100"), 20)) == [("o1", 30, dec(100), dec(1), True)]
    assert fills(run(make_matching(tape), submit(limit="100"), 19)) == [("o1", 20, dec(100), dec(1), True)]
    events = run(make_matching(tape), submit(limit="100", time_in_force=IOC), 20)
    assert kinds(events) == ["OrderAccepted", "OrderCanceled"]


@pytest.mark.parametrize(("arrived_ns", "filled_ns"), [(1, 20), (10, 20), (11, 60), (19, 60), (20, 60)])
def test_against_bars_a_resting_order_fills_at_the_close_of_a_later_bar(arrived_ns: int, filled_ns: int) -> None:
    """Of the bar it arrived in nobody knows what came after it, so only bars that opened after it count."""
    desk = make_matching(BARS)
    assert kinds(desk.submit(submit(limit="99.5"), arrived_ns)) == ["OrderAccepted"]
    assert desk.advance(filled_ns - 1) == []
    assert fills(desk.advance(filled_ns)) == [("o1", filled_ns, dec("99.5"), dec(1), True)]


@pytest.mark.parametrize(
    ("side", "rows"),
    [(BUY, [(5, 1005), (10, 1000), (20, 1000), (30, 999)]), (SELL, [(5, 995), (10, 1000), (20, 1000), (30, 1001)])],
)
def test_touched_is_not_filled_unless_the_model_says_so(side: Side, rows: list[tuple[int, int]]) -> None:
    """A resting order fills whole, at its limit, once the market trades strictly beyond it; `Touch` is earlier."""
    desk = make_matching(trades(rows))
    assert kinds(desk.submit(submit(side=side, limit="100", qty="50"), 6)) == ["OrderAccepted"]
    assert desk.advance(29) == []
    assert fills(desk.advance(30)) == [("o1", 30, dec(100), dec(50), True)]
    touched = make_matching(trades(rows), model=FillModel(queue=Touch()))
    assert fills(run(touched, submit(side=side, limit="100", qty="50"), 6)) == [("o1", 10, dec(100), dec(50), True)]


def test_fills_of_one_instant_come_by_price_then_time() -> None:
    """The number of an order is not its place: who came first at the better price is first."""
    desk = make_matching(trades([(10, 1000), (20, 994), (30, 980)]))
    for number, limit in [(4, "99.5"), (3, "99"), (1, "99.5"), (5, "99.6"), (2, "99.2")]:
        desk.submit(submit(number, limit=limit), 11)
    assert [(name, ts) for name, ts, *_ in fills(desk.advance(LATE))] == [
        ("o5", 20),
        ("o4", 20),
        ("o1", 20),
        ("o2", 30),
        ("o3", 30),
    ]


# --- slippage and fees ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "slippage", "price"),
    [
        (BUY, "0", "100"),
        (SELL, "0", "100"),
        (BUY, "0.001", "100.1"),  # exactly a tick
        (SELL, "0.001", "99.9"),
        (BUY, "0.0001", "100.1"),  # a tenth of a tick costs a whole one
        (SELL, "0.0001", "99.9"),
        (BUY, "0.00101", "100.2"),
        (SELL, "0.00101", "99.8"),
        (SELL, "0.9999999", "0.1"),  # never to nothing
    ],
)
def test_slippage_is_against_us_and_on_the_grid(side: Side, slippage: str, price: str) -> None:
    """Rounded to the tick that is worse for us."""
    desk = make_matching(trades([(5, 1000), (10, 1000)]), slippage=slippage)
    assert fills(run(desk, submit(side=side), 10)) == [("o1", 10, dec(price), dec(1), False)]


@pytest.mark.parametrize(("side", "limit"), [(BUY, "100.1"), (SELL, "99.9")])
def test_slippage_never_leads_past_a_limit(side: Side, limit: str) -> None:
    """However much a taker slips, it never fills worse than it asked for; and a resting order does not slip."""
    desk = make_matching(trades([(5, 1000), (10, 1000)]), slippage="0.05")
    fill = only_fill(run(desk, submit(side=side, limit=limit), 6))
    assert (fill.price, fill.is_maker) == (dec(limit), False)
    resting = make_matching(trades([(5, 1000), (10, 900), (20, 1100)]), slippage="0.05")
    far = "95" if side is BUY else "105"
    fill = only_fill(run(resting, submit(side=side, limit=far), 6))
    assert (fill.price, fill.is_maker) == (dec(far), True)


@pytest.mark.parametrize(("maker_rate", "taker_rate"), [("0.0002", "0.00055"), ("-0.0001", "0"), ("0", "0.001")])
def test_the_fee_is_a_fraction_of_the_value_traded(maker_rate: str, taker_rate: str) -> None:
    """Exactly price times quantity times the rate of its role; a negative one is a rebate."""
    desk = make_matching(
        trades([(5, 1003), (10, 1003), (20, 997)]), maker_rate=maker_rate, taker_rate=taker_rate, slippage="0.001"
    )
    taker = only_fill(run(desk, submit(qty="0.333"), 6, 10))
    assert taker.fee == taker.price * dec("0.333") * dec(taker_rate)
    maker = only_fill(run(desk, submit(2, limit="100", qty="0.333"), 11))
    assert maker.fee == dec(100) * dec("0.333") * dec(maker_rate)


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


# --- order of events and their delays ---------------------------------------------------------------------------------


def test_executions_have_ids_of_their_own() -> None:
    """Whichever order they are of."""
    desk = make_matching(trades([(t, 1000) for t in range(50)]))
    events = [event for n in range(1, 41) for event in run(desk, submit(n, side=Side.BUY), n, n)]
    ids = [event.trade_id for event in events if isinstance(event, OrderFilled)]
    assert len(set(ids)) == len(ids) == 40


@pytest.mark.parametrize("jitter_ns", [0, 5_000_000])
def test_we_learn_of_an_event_its_delay_after_it_happened(jitter_ns: int) -> None:
    """The delay depends on the event alone: an order that nobody else crowds is told at the very same times."""
    delay = Delay(seed=3, stream=2, base_ns=40, jitter_ns=jitter_ns)
    tape = trades([(10, 1000), (20, 995), (30, 990), (40, 1000)])

    def told(numbers: Sequence[int]) -> dict[tuple[str, str], int]:
        desk = make_matching(tape, delay=delay)
        events = [event for n in numbers for event in desk.submit(submit(n, limit="99.5", qty="1"), 11)]
        events += desk.advance(35)
        for n in numbers:
            events += desk.cancel(cancel(n), 36)
        assert all(isinstance(event, (OrderAccepted, OrderFilled, CancelRejected)) for event in events)
        return {
            (event.client_order_id, type(event).__name__): event.ts_recv_ns - event.ts_event_ns
            for event in events
            if isinstance(event, (OrderAccepted, OrderFilled, CancelRejected))
        }

    crowd, alone = told([1, 2, 3, 4, 5]), told([3])
    assert {key: value for key, value in crowd.items() if key[0] == "o3"} == alone
    assert len(crowd) == 15
    if jitter_ns:
        assert min(crowd.values()) >= 40
        assert len(set(crowd.values())) > 10
    else:
        assert set(crowd.values()) == {40}


# --- funding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "rate_e8", "amount"),
    [(BUY, 10_000, "-0.0202"), (SELL, 10_000, "0.0202"), (BUY, -10_000, "0.0202"), (SELL, -10_000, "-0.0202")],
)
def test_longs_pay_shorts_where_the_rate_is_positive(side: Side, rate_e8: int, amount: str) -> None:
    """On the position at the settlement time, at the last price before it; the time of our knowing comes after."""
    desk = make_matching(FOUR, funding=[(25, rate_e8)])
    events = run(desk, submit(side=side, qty="2"), 5)
    paid = [event for event in events if isinstance(event, FundingPaid)]
    assert len(paid) == 1
    assert paid[0].amount == dec(amount)
    assert paid[0].rate == dec(rate_e8) / 10**8
    assert paid[0].mark_price == 101
    assert paid[0].position_qty == (2 if side is BUY else -2)
    assert (paid[0].ts_event_ns, paid[0].ts_recv_ns) == (25, 32)


def test_nothing_is_paid_without_a_position() -> None:
    """Neither before the first fill, nor flat after the last; and a settlement is paid once."""
    rates = [(5, 10_000), (15, 10_000), (16, 10_000), (35, 10_000), (40, 10_000)]
    desk = make_matching(FOUR, funding=rates)
    events = run(desk, submit(1), 10, 17)
    assert desk.advance(17) == []
    events += run(desk, submit(2, side=SELL), 18, 34)
    events += desk.advance(LATE)
    assert desk.next_ns() is None
    paid = [event for event in events if isinstance(event, FundingPaid)]
    assert [event.ts_event_ns for event in paid] == [15, 16]
    assert len({event.funding_id for event in paid}) == 2


def test_funding_is_due_while_something_is_held() -> None:
    """`next_ns` names the settlement, and events come in order of time around it."""
    desk = make_matching(FOUR, funding=[(15, 1), (25, 1), (27, 1)])
    run(desk, submit(1), 10, 10)
    assert desk.next_ns() == 15
    events = run(desk, submit(2), 16)
    assert [(type(e).__name__, e.ts_event_ns) for e in events] == [
        ("FundingPaid", 15),
        ("OrderAccepted", 16),
        ("OrderFilled", 20),
        ("FundingPaid", 25),
        ("FundingPaid", 27),
    ]
    assert [e.position_qty for e in events if isinstance(e, FundingPaid)] == [1, 2, 2]
