"""How the simulated venue fills: each rule at its exact boundary, against trades and against bars, and in any cut."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.delays import Delay
from bot.core.matching import Matching
from bot.core.order import Order, Status, apply
from bot.domain.account import ZERO
from bot.domain.instrument import Side
from bot.domain.market import BarBatch, TradeBatch
from bot.domain.orders import (
    AccountEvent,
    CancelOrder,
    CancelRejected,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderType,
    SubmitOrder,
    TimeInForce,
)
from tests.support.money import NAME, bars, dec, make_matching, submit, trades

BUY, SELL = Side.BUY, Side.SELL
GTC, IOC, POST_ONLY = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.POST_ONLY
LATE = 10**15  # after everything

THREE = trades([(10, 1000), (20, 1010), (30, 1020)])  # 100.0, 101.0, 102.0
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


def kinds(events: Sequence[AccountEvent]) -> list[str]:
    """Return what happened, in words."""
    return [type(event).__name__ for event in events]


def fills(events: Sequence[AccountEvent]) -> list[tuple[str, int, Decimal, Decimal, bool]]:
    """Return of each fill: order, time, price, quantity, whether as maker."""
    return [
        (e.client_order_id, e.ts_event_ns, e.price, e.qty, e.is_maker) for e in events if isinstance(e, OrderFilled)
    ]


def run(matching: Matching, order: SubmitOrder, at_ns: int, until_ns: int = LATE) -> list[AccountEvent]:
    """Return all that comes of an order."""
    return matching.submit(order, at_ns) + matching.advance(until_ns)


def only_fill(events: Sequence[AccountEvent]) -> OrderFilled:
    """Return the one fill among the events."""
    (fill,) = [event for event in events if isinstance(event, OrderFilled)]
    return fill


# --- market orders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrived_ns", "ts_ns", "price"),
    [(0, 10, "100"), (10, 10, "100"), (11, 20, "101"), (20, 20, "101"), (21, 30, "102")],
)
@pytest.mark.parametrize("side", Side)
def test_a_market_order_takes_the_first_trade_at_or_after_its_arrival(
    arrived_ns: int, ts_ns: int, price: str, side: Side
) -> None:
    matching = make_matching(THREE)
    events = run(matching, submit(side=side, qty="0.5"), arrived_ns)
    assert kinds(events) == ["OrderAccepted", "OrderFilled"]
    assert fills(events) == [("o1", ts_ns, dec(price), dec("0.5"), False)]
    assert events[0].ts_event_ns == arrived_ns
    assert matching.next_ns() is None


def test_a_market_order_waits_for_its_trade() -> None:
    """Nothing is told before it happens, and `next_ns` says when that will be."""
    matching = make_matching(THREE)
    assert kinds(matching.submit(submit(), 11)) == ["OrderAccepted"]
    assert matching.next_ns() == 20
    assert matching.advance(19) == []
    assert kinds(matching.advance(20)) == ["OrderFilled"]
    assert matching.advance(LATE) == []


def test_of_trades_of_one_instant_the_first_is_taken() -> None:
    tape = trades([(10, 1000), (20, 1001), (20, 1002), (20, 1003)])
    assert fills(run(make_matching(tape), submit(), 20)) == [("o1", 20, dec("100.1"), dec(1), False)]


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


@pytest.mark.parametrize(("tape", "end_ns"), [(THREE, 31), (BARS, 60)])
def test_after_the_end_of_the_tape_nothing_fills(tape: TradeBatch | BarBatch, end_ns: int) -> None:
    """An order that finds no market waits, is not reported as anything, and can be canceled."""
    matching = make_matching(tape)
    assert kinds(run(matching, submit(), end_ns)) == ["OrderAccepted"]
    assert kinds(run(matching, submit(2, limit="1", side=SELL), end_ns)) == ["OrderAccepted"]
    assert matching.next_ns() is None
    assert kinds(matching.cancel(cancel(1), LATE)) == ["OrderCanceled"]


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
    matching = make_matching(trades([(10, 1000)]), slippage=slippage)
    assert fills(run(matching, submit(side=side), 10)) == [("o1", 10, dec(price), dec(1), False)]


@pytest.mark.parametrize(("side", "limit"), [(BUY, "100.1"), (SELL, "99.9")])
def test_slippage_never_leads_past_a_limit(side: Side, limit: str) -> None:
    """However much a taker slips, it never fills worse than it asked for; and a resting order does not slip."""
    matching = make_matching(trades([(5, 1000), (10, 1000)]), slippage="0.05")
    fill = only_fill(run(matching, submit(side=side, limit=limit), 6))
    assert (fill.price, fill.is_maker) == (dec(limit), False)
    resting = make_matching(trades([(5, 1000), (10, 900), (20, 1100)]), slippage="0.05")
    far = "95" if side is BUY else "105"
    fill = only_fill(run(resting, submit(side=side, limit=far), 6))
    assert (fill.price, fill.is_maker) == (dec(far), True)


@pytest.mark.parametrize(("maker_rate", "taker_rate"), [("0.0002", "0.00055"), ("-0.0001", "0"), ("0", "0.001")])
def test_the_fee_is_a_fraction_of_the_value_traded(maker_rate: str, taker_rate: str) -> None:
    """Exactly price times quantity times the rate of its role; a negative one is a rebate."""
    matching = make_matching(
        trades([(5, 1003), (10, 1003), (20, 997)]), maker_rate=maker_rate, taker_rate=taker_rate, slippage="0.001"
    )
    taker = only_fill(run(matching, submit(qty="0.333"), 6, 10))
    assert taker.fee == taker.price * dec("0.333") * dec(taker_rate)
    maker = only_fill(run(matching, submit(2, limit="100", qty="0.333"), 11))
    assert maker.fee == dec(100) * dec("0.333") * dec(maker_rate)


# --- limit orders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "limit", "price"),
    [(BUY, "100", "99.9"), (BUY, "100.5", "99.9"), (SELL, "100", "100.1"), (SELL, "98", "100.1")],
)
def test_a_limit_that_the_last_price_reaches_takes(side: Side, limit: str, price: str) -> None:
    """It fills as taker at the next trade if that is within its limit, at that trade's price."""
    tape = trades([(10, 1000), (20, 999 if side is BUY else 1001)])
    assert fills(run(make_matching(tape), submit(side=side, limit=limit), 15)) == [
        ("o1", 20, dec(price), dec(1), False)
    ]


@pytest.mark.parametrize(("side", "away", "back"), [(BUY, 1001, 999), (SELL, 999, 1001)])
def test_a_limit_whose_market_runs_away_rests(side: Side, away: int, back: int) -> None:
    """Reached at its arrival, but not by the trade it meets: it rests, and fills at its limit when that comes back."""
    tape = trades([(10, 1000), (20, away), (30, 1000), (40, back)])
    matching = make_matching(tape)
    assert kinds(matching.submit(submit(side=side, limit="100"), 15)) == ["OrderAccepted"]
    assert matching.advance(30) == []
    assert fills(matching.advance(LATE)) == [("o1", 40, dec(100), dec(1), True)]


def test_an_order_left_resting_has_rested_since_its_arrival() -> None:
    """It was there when the trade that it could not take came, so the next of the same instant may fill it."""
    tape = trades([(10, 1000), (20, 1001), (20, 999)])
    assert fills(run(make_matching(tape), submit(limit="100"), 15)) == [("o1", 20, dec(100), dec(1), True)]
    after_hole = bars([(0, 1000, 1000, 1000, 1000), (50, 1010, 1010, 990, 1000)])
    assert fills(run(make_matching(after_hole), submit(limit="100"), 35)) == [("o1", 60, dec(100), dec(1), True)]


@pytest.mark.parametrize(
    ("side", "rows"),
    [(BUY, [(5, 1005), (10, 1000), (20, 1000), (30, 999)]), (SELL, [(5, 995), (10, 1000), (20, 1000), (30, 1001)])],
)
def test_touched_is_not_filled(side: Side, rows: list[tuple[int, int]]) -> None:
    """A resting order fills whole, at its limit, only once the market trades strictly beyond it."""
    matching = make_matching(trades(rows))
    assert kinds(matching.submit(submit(side=side, limit="100", qty="50"), 6)) == ["OrderAccepted"]
    assert matching.advance(29) == []
    assert fills(matching.advance(30)) == [("o1", 30, dec(100), dec(50), True)]


def test_a_trade_at_the_very_arrival_counts_for_a_resting_order() -> None:
    """It was there first: what trades through at its own instant fills it, what traded before does not."""
    tape = trades([(10, 1005), (20, 990), (21, 1005), (30, 990)])
    assert fills(run(make_matching(tape), submit(limit="100"), 20)) == [("o1", 20, dec(100), dec(1), True)]
    assert fills(run(make_matching(tape), submit(limit="99"), 21)) == []  # 99.0 at 30 only touches it


def test_the_last_price_is_of_a_trade_before_the_arrival() -> None:
    """A trade of the very instant is what the order meets, not what it was decided by."""
    tape = trades([(10, 1005), (20, 1000)])
    assert kinds(run(make_matching(tape), submit(limit="100", time_in_force=IOC), 20)) == [
        "OrderAccepted",
        "OrderCanceled",
    ]
    assert kinds(run(make_matching(tape), submit(limit="100", time_in_force=IOC), 21)) == ["OrderAccepted"]


@pytest.mark.parametrize(
    ("arrived_ns", "filled_ns"),
    [(1, 20), (10, 20), (11, 60), (19, 60), (20, 60)],
)
def test_against_bars_a_resting_order_fills_at_the_close_of_a_later_bar(arrived_ns: int, filled_ns: int) -> None:
    """Of the bar it arrived in nobody knows what came after it, so only bars that opened after it count."""
    matching = make_matching(BARS)
    events = matching.submit(submit(limit="99.5"), arrived_ns)
    assert kinds(events) == ["OrderAccepted"]
    assert matching.advance(filled_ns - 1) == []
    assert fills(matching.advance(filled_ns)) == [("o1", filled_ns, dec("99.5"), dec(1), True)]


@pytest.mark.parametrize(("side", "limit"), [(BUY, "98.5"), (SELL, "105")])
def test_against_bars_touched_is_not_filled(side: Side, limit: str) -> None:
    """The low of a bar at a buy's limit, or the high at a sell's, is not beyond it."""
    assert kinds(run(make_matching(BARS), submit(side=side, limit=limit), 1)) == ["OrderAccepted"]


def test_against_bars_a_reached_limit_takes_at_the_open() -> None:
    assert fills(run(make_matching(BARS), submit(limit="100.3"), 14)) == [("o1", 14, dec("100.3"), dec(1), False)]
    assert kinds(run(make_matching(BARS), submit(limit="100.2", time_in_force=IOC), 14)) == [
        "OrderAccepted",
        "OrderCanceled",
    ]


# --- time in force ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "limit", "is_reached"),
    [(BUY, "100", True), (BUY, "100.1", True), (BUY, "99.9", False), (SELL, "100", True), (SELL, "100.1", False)],
)
def test_post_only_cancels_what_would_take(side: Side, limit: str, is_reached: bool) -> None:
    """At the last price it would take; one tick away it rests, and only ever fills as maker."""
    matching = make_matching(trades([(10, 1000), (20, 900), (30, 1100)]))
    events = run(matching, submit(side=side, limit=limit, time_in_force=POST_ONLY), 15)
    assert kinds(events) == ["OrderAccepted", "OrderCanceled" if is_reached else "OrderFilled"]
    if is_reached:
        assert events[1].ts_event_ns == 15
        assert matching.next_ns() is None
    else:
        assert only_fill(events).is_maker


@pytest.mark.parametrize(
    ("limit", "next_ticks", "expected", "at_ns"),
    [
        ("99.9", 1000, "OrderCanceled", 15),  # the last price is out of reach
        ("100", 1000, "OrderFilled", 20),
        ("100", 999, "OrderFilled", 20),
        ("100", 1001, "OrderCanceled", 20),  # in reach, but gone when it met the market
    ],
)
def test_ioc_fills_at_once_or_not_at_all(limit: str, next_ticks: int, expected: str, at_ns: int) -> None:
    matching = make_matching(trades([(10, 1000), (20, next_ticks), (30, 500)]))
    events = run(matching, submit(limit=limit, time_in_force=IOC), 15)
    assert kinds(events) == ["OrderAccepted", expected]
    assert events[1].ts_event_ns == at_ns
    assert matching.next_ns() is None


def test_market_orders_and_time_in_force() -> None:
    """A market order always takes: IOC changes nothing, and post-only contradicts it."""
    assert kinds(run(make_matching(THREE), submit(time_in_force=IOC), 15)) == ["OrderAccepted", "OrderFilled"]
    assert kinds(run(make_matching(THREE), submit(time_in_force=POST_ONLY), 15)) == ["OrderAccepted", "OrderCanceled"]


# --- reduce-only ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_reduce_only_is_cut_to_the_position(side: Side) -> None:
    """It fills what there is to reduce, and the rest is canceled; it never opens the other side."""
    other = SELL if side is BUY else BUY
    matching = make_matching(trades([(t, 1000) for t in range(10, 90, 10)]))
    run(matching, submit(1, side=side, qty="2"), 5, 10)
    events = run(matching, submit(2, side=other, qty="3", reduce_only=True), 15, 20)
    assert kinds(events) == ["OrderAccepted", "OrderFilled", "OrderCanceled"]
    assert only_fill(events).qty == 2
    assert kinds(run(matching, submit(3, side=other, qty="3", reduce_only=True), 25, 30)) == ["OrderRejected"]


@pytest.mark.parametrize("held", [None, BUY, SELL])
@pytest.mark.parametrize("side", Side)
def test_reduce_only_is_refused_without_anything_to_reduce(held: Side | None, side: Side) -> None:
    matching = make_matching(THREE)
    if held is not None:
        run(matching, submit(1, side=held), 5, 10)
    (event, *rest) = run(matching, submit(2, side=side, reduce_only=True), 15)
    if held is None or held is side:
        assert isinstance(event, OrderRejected)
        assert event.code == "110017"
        assert rest == []
    else:
        assert kinds([event, *rest]) == ["OrderAccepted", "OrderFilled"]


def test_reduce_only_of_a_position_that_is_gone_is_canceled() -> None:
    """Two exits of one position: the first fills, and for the second there is nothing more to do."""
    matching = make_matching(trades([(10, 1000), (20, 1000), (30, 1010)]))
    run(matching, submit(1, qty="1"), 5, 10)
    matching.submit(submit(2, side=SELL, qty="1", limit="100.5", reduce_only=True), 15)
    matching.submit(submit(3, side=SELL, qty="1", limit="100.5", reduce_only=True), 16)
    events = matching.advance(LATE)
    assert [(type(e).__name__, getattr(e, "client_order_id", "")) for e in events] == [
        ("OrderFilled", "o2"),
        ("OrderCanceled", "o3"),
    ]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (submit(qty="0.001"), "10001"),  # below the least
        (submit(qty="0"), "10001"),
        (submit(qty="-1"), "10001"),
        (submit(qty="50.001"), "10001"),  # above the greatest
        (submit(qty="0.0025"), "10001"),  # off the step
        (submit(limit="100.05"), "110003"),  # off the tick
        (submit(limit="0"), "110003"),
        (submit(limit="-100"), "110003"),
        (submit(order_type=OrderType.LIMIT), "10001"),
        (submit(order_type=OrderType.MARKET, limit="100"), "10001"),
    ],
)
def test_what_the_filters_forbid_is_refused(order: SubmitOrder, code: str) -> None:
    """Refused at its arrival, with a code, and it never lives: nothing fills, and there is nothing to cancel."""
    matching = make_matching(THREE)
    (event,) = run(matching, order, 15)
    assert isinstance(event, OrderRejected)
    assert (event.code, event.ts_event_ns, event.ts_recv_ns) == (code, 15, 22)
    assert matching.next_ns() is None
    assert kinds(matching.cancel(cancel(1), 16)) == ["CancelRejected"]


@pytest.mark.parametrize("order", [submit(qty="0.002"), submit(qty="50"), submit(limit="0.1"), submit(limit="100.1")])
def test_what_the_filters_allow_is_accepted(order: SubmitOrder) -> None:
    assert kinds(make_matching(THREE).submit(order, 15))[0] == "OrderAccepted"


def test_an_id_is_taken_once() -> None:
    """A second order of the same id is refused, whether the first still rests, is filled or is canceled."""
    matching = make_matching(THREE)
    assert kinds(matching.submit(submit(1, limit="50"), 5)) == ["OrderAccepted"]
    for at_ns in (6, 15):
        (event,) = matching.submit(submit(1, limit="50"), at_ns)
        assert isinstance(event, OrderRejected)
        assert event.code == "110072"
        if at_ns == 6:
            assert kinds(matching.cancel(cancel(1), 7)) == ["OrderCanceled"]
    run(matching, submit(2), 16)
    assert kinds(matching.submit(submit(2), 40)) == ["OrderRejected"]


# --- cancels ----------------------------------------------------------------------------------------------------------


def test_a_cancel_before_the_fill_prevents_it() -> None:
    matching = make_matching(THREE)
    matching.submit(submit(), 11)
    (event,) = matching.cancel(cancel(), 19)
    assert isinstance(event, OrderCanceled)
    assert (event.ts_event_ns, event.ts_recv_ns) == (19, 26)
    assert matching.next_ns() is None
    assert matching.advance(LATE) == []


@pytest.mark.parametrize("at_ns", [20, 21, LATE])
def test_a_cancel_at_or_after_the_fill_comes_too_late(at_ns: int) -> None:
    """What matched at the cancel's own instant matched first; the fill is told before the refusal."""
    matching = make_matching(THREE)
    matching.submit(submit(), 11)
    fill, refusal = matching.cancel(cancel(), at_ns)
    assert isinstance(fill, OrderFilled)
    assert isinstance(refusal, CancelRejected)
    assert (fill.ts_event_ns, refusal.ts_event_ns) == (20, at_ns)


def test_a_cancel_of_the_unknown_is_refused() -> None:
    """Never sent, or done already: the same answer, at its own time."""
    matching = make_matching(THREE)
    (event,) = matching.cancel(cancel(9), 12)
    assert isinstance(event, CancelRejected)
    assert (event.client_order_id, event.ts_event_ns, event.ts_recv_ns) == ("o9", 12, 19)
    matching.submit(submit(limit="50"), 13)
    assert kinds(matching.cancel(cancel(), 14)) == ["OrderCanceled"]
    assert kinds(matching.cancel(cancel(), 14)) == ["CancelRejected"]


@pytest.mark.parametrize(("at_ns", "expected"), [(19, ["OrderCanceled"]), (20, ["OrderFilled", "CancelRejected"])])
def test_against_bars_a_fill_is_certain_only_at_the_close(at_ns: int, expected: list[str]) -> None:
    matching = make_matching(BARS)
    matching.submit(submit(limit="99.5"), 1)
    assert kinds(matching.cancel(cancel(), at_ns)) == expected


# --- order of events and their delays ---------------------------------------------------------------------------------


def test_fills_come_by_time_and_then_by_order_number() -> None:
    """However the orders were sent, of one instant the lower number fills first."""
    matching = make_matching(trades([(10, 1000), (20, 994), (30, 989)]))
    for number, limit in [(4, "99.5"), (3, "99"), (1, "99.5"), (5, "99.5"), (2, "99")]:
        matching.submit(submit(number, limit=limit), 11)
    assert [(name, ts) for name, ts, *_ in fills(matching.advance(LATE))] == [
        ("o1", 20),
        ("o4", 20),
        ("o5", 20),
        ("o2", 30),
        ("o3", 30),
    ]


def test_executions_have_ids_of_their_own() -> None:
    matching = make_matching(trades([(t, 1000) for t in range(50)]))
    events = [event for n in range(40) for event in run(matching, submit(n, side=Side.BUY), n, n)]
    ids = [event.trade_id for event in events if isinstance(event, OrderFilled)]
    assert len(set(ids)) == len(ids) == 40


@pytest.mark.parametrize("jitter_ns", [0, 5_000_000])
def test_we_learn_of_an_event_its_delay_after_it_happened(jitter_ns: int) -> None:
    """The delay depends on the event alone: an order that nobody else crowds is told at the very same times."""
    delay = Delay(seed=3, stream=2, base_ns=40, jitter_ns=jitter_ns)
    tape = trades([(10, 1000), (20, 995), (30, 990), (40, 1000)])

    def told(numbers: Sequence[int]) -> dict[tuple[str, str], int]:
        matching = make_matching(tape, delay=delay)
        events = [event for n in numbers for event in matching.submit(submit(n, limit="99.5", qty="1"), 11)]
        events += matching.advance(35)
        for n in numbers:
            events += matching.cancel(cancel(n), 36)
        assert all(isinstance(event, (OrderAccepted, OrderFilled, CancelRejected)) for event in events)
        return {
            (event.client_order_id, type(event).__name__): event.ts_recv_ns - event.ts_event_ns
            for event in events
            if not isinstance(event, FundingPaid)
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
    matching = make_matching(THREE, funding=[(25, rate_e8)])
    events = run(matching, submit(side=side, qty="2"), 5)
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
    matching = make_matching(THREE, funding=rates)
    assert matching.next_ns() is None
    events = run(matching, submit(1), 10, 17)
    assert matching.advance(17) == []
    events += run(matching, submit(2, side=SELL), 18, 34)
    assert matching.next_ns() is None
    events += matching.advance(LATE)
    paid = [event for event in events if isinstance(event, FundingPaid)]
    assert [event.ts_event_ns for event in paid] == [15, 16]
    assert len({event.funding_id for event in paid}) == 2


def test_funding_is_due_while_something_is_held() -> None:
    """`next_ns` names the settlement, and events come in order of time around it."""
    matching = make_matching(THREE, funding=[(15, 1), (25, 1), (27, 1)])
    run(matching, submit(1), 10, 10)
    assert matching.next_ns() == 15
    matching.submit(submit(2), 16)
    events = matching.advance(LATE)
    assert [(type(e).__name__, e.ts_event_ns) for e in events] == [
        ("OrderFilled", 20),
        ("FundingPaid", 25),
        ("FundingPaid", 27),
    ]
    assert [e.position_qty for e in events if isinstance(e, FundingPaid)] == [2, 2]


# --- all together, in any cut -----------------------------------------------------------------------------------------

Ask = tuple[int, SubmitOrder | CancelOrder]  # when it reaches the venue, and what


def play(
    batch: Any, cuts: Sequence[int], asks: Sequence[Ask], *, extra_ns: Sequence[int] = (), **venue: Any
) -> list[AccountEvent]:
    """Return all events of a run whose tape is read just ahead of the clock, as the replay feed does it.

    A piece is read when the clock reaches the first row of the piece before it. The venue is woken when it says
    something is due, at every request, and at `extra_ns` besides.
    """
    matching = make_matching(None, is_bars=isinstance(batch, BarBatch), **venue)
    edges = sorted({0, len(batch), *(min(c, len(batch)) for c in cuts)})
    pieces = [batch.rows(a, b) for a, b in pairwise(edges)]
    times = batch.open_ns if isinstance(batch, BarBatch) else batch.ts_ns
    matching.extend(pieces[0], now_ns=0)
    read = 1
    todo = sorted([(at_ns, 1, i) for i, (at_ns, _) in enumerate(asks)] + [(at_ns, 0, 0) for at_ns in extra_ns])
    events: list[AccountEvent] = []
    now_ns = 0
    while True:
        reads_ns = int(times[pieces[read - 1].first_row]) if read < len(pieces) else None
        due_ns = matching.next_ns()
        assert due_ns is None or due_ns >= now_ns, "something was due before anybody could be told"
        upcoming = [t for t in (reads_ns, due_ns, todo[0][0] if todo else None) if t is not None]
        if not upcoming:
            return events
        now_ns = max(now_ns, min(upcoming))
        if reads_ns is not None and reads_ns <= now_ns:
            matching.extend(pieces[read], now_ns=now_ns)
            read += 1
        elif due_ns is not None and due_ns <= now_ns:
            events += matching.advance(now_ns)
        else:
            _, is_ask, index = todo.pop(0)
            if not is_ask:
                events += matching.advance(now_ns)
                continue
            request = asks[index][1]
            events += (
                matching.submit(request, now_ns)
                if isinstance(request, SubmitOrder)
                else matching.cancel(request, now_ns)
            )


TRADES = st.lists(st.tuples(st.integers(0, 60), st.integers(995, 1005)), min_size=1, max_size=20).map(
    lambda rows: trades(sorted(rows, key=lambda row: row[0]))
)


@st.composite
def bar_batches(draw: st.DrawFn) -> BarBatch:
    """Return bars, with holes between some."""
    rows = []
    for k in sorted(draw(st.sets(st.integers(0, 6), min_size=1, max_size=6))):
        low, a, b, high = sorted(draw(st.lists(st.integers(995, 1005), min_size=4, max_size=4)))
        first, last = draw(st.permutations([a, b]))
        rows.append((k * 10, first, high, low, last))
    return bars(rows)


@st.composite
def requests(draw: st.DrawFn, *, reduce_only: bool = True) -> list[Ask]:
    """Return orders of all kinds and cancels of some of them, in order of arrival."""
    asks: list[Ask] = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        limit = draw(st.one_of(st.none(), st.integers(994, 1006)))
        at_ns = draw(st.integers(0, 65))
        order = submit(
            number,
            side=draw(st.sampled_from(Side)),
            qty=str(draw(st.integers(1, 4))),
            limit=None if limit is None else str(Decimal(limit) / 10),
            time_in_force=draw(st.sampled_from(TimeInForce)),
            reduce_only=draw(st.booleans()) if reduce_only else False,
        )
        asks.append((at_ns, order))
        if draw(st.booleans()):
            asks.append((at_ns + draw(st.integers(0, 30)), cancel(number)))
    return sorted(asks, key=lambda ask: ask[0])


CUTS = st.lists(st.integers(0, 20), max_size=6)
JITTERY = Delay(seed=5, stream=1, base_ns=3, jitter_ns=4_000)
COSTS: dict[str, Any] = {"slippage": "0.0003", "taker_rate": "0.00055", "maker_rate": "-0.0001", "delay": JITTERY}
FUNDING = st.lists(st.tuples(st.integers(0, 80), st.integers(-9, 9)), max_size=4, unique_by=lambda r: r[0]).map(sorted)


@given(
    batch=st.one_of(TRADES, bar_batches()),
    cuts=CUTS,
    asks=requests(),
    funding=FUNDING,
    extra_ns=st.lists(st.integers(0, 70), max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_however_the_tape_is_cut_the_same_happens(
    batch: Any, cuts: list[int], asks: list[Ask], funding: list[tuple[int, int]], extra_ns: list[int]
) -> None:
    """Law 1: pieces of any size, and a venue that is asked more often than needed, give the very same events."""
    whole = play(batch, [], asks, funding=funding, **COSTS)
    assert play(batch, cuts, asks, funding=funding, extra_ns=extra_ns, **COSTS) == whole
    assert play(batch, list(range(20)), asks, funding=funding, **COSTS) == whole


@given(batch=st.one_of(TRADES, bar_batches()), asks=requests(), funding=FUNDING)
@settings(max_examples=200, deadline=None)
def test_every_order_lives_one_consistent_life(batch: Any, asks: list[Ask], funding: list[tuple[int, int]]) -> None:
    """What is told of each order is a life that `core.order` accepts; fills add up to the position that funding sees;
    and nothing is told before its time."""
    end_ns = 200
    events = play(batch, [], asks, funding=[*funding, (end_ns, 1)], **COSTS)
    orders = {ask.client_order_id: Order(request=ask) for _, ask in asks if isinstance(ask, SubmitOrder)}
    arrived_ns = {ask.client_order_id: at_ns for at_ns, ask in asks if isinstance(ask, SubmitOrder)}
    held, newest_ns = ZERO, 0
    for event in events:
        assert event.ts_event_ns >= newest_ns
        newest_ns = event.ts_event_ns
        assert event.ts_recv_ns - event.ts_event_ns >= JITTERY.base_ns
        if isinstance(event, FundingPaid):
            assert event.position_qty == held != 0
            assert event.amount == -held * event.mark_price * event.rate
            continue
        assert event.ts_event_ns >= arrived_ns.get(event.client_order_id, 0) or isinstance(event, CancelRejected)
        if isinstance(event, CancelRejected):
            continue
        before = orders[event.client_order_id]
        if isinstance(event, OrderFilled):
            assert before.is_live
            assert before.status is Status.OPEN
            request = before.request
            assert event.fee == event.price * event.qty * dec("-0.0001" if event.is_maker else "0.00055")
            if request.limit_price is not None:
                assert (request.limit_price - event.price) * request.side.sign >= 0
            if request.time_in_force is IOC:
                assert not event.is_maker
            if request.time_in_force is POST_ONLY:
                assert event.is_maker
            if request.reduce_only:
                assert event.qty <= abs(held)
                assert held * request.side.sign < 0
            else:
                assert event.qty == request.qty
            held += event.qty * event.side.sign
        orders[event.client_order_id] = apply(before, event)
    assert all(order.status is not Status.SUBMITTED for order in orders.values())
    last = events[-1] if events else None
    if held:
        assert isinstance(last, FundingPaid)
        assert last.position_qty == held
    else:
        assert not (isinstance(last, FundingPaid) and last.ts_event_ns == end_ns)


def expected_fill(rows: list[tuple[int, int]], order: SubmitOrder, arrived_ns: int) -> tuple[int, Decimal, bool] | None:
    """Return when, at what price and in what role the order fills against trades: the rules, by plain search."""
    sign = order.side.sign
    met = next(((ts, price) for ts, price in rows if ts >= arrived_ns), None)
    if order.limit_price is None:
        if met is None or order.time_in_force is POST_ONLY:
            return None
        return met[0], Decimal(met[1]) / 10, False
    limit = int(order.limit_price * 10)
    last = next((price for ts, price in reversed(rows) if ts < arrived_ns), None)
    takes = last is not None and (limit - last) * sign >= 0
    if takes and order.time_in_force is POST_ONLY:
        return None
    if takes and met is not None and (limit - met[1]) * sign >= 0:
        return met[0], Decimal(met[1]) / 10, False
    if order.time_in_force is IOC:
        return None
    through = next((ts for ts, price in rows if ts >= arrived_ns and (limit - price) * sign > 0), None)
    return None if through is None else (through, order.limit_price, True)


@given(batch=TRADES, cuts=CUTS, asks=requests(reduce_only=False))
@settings(max_examples=200, deadline=None)
def test_against_trades_fills_are_those_of_a_plain_search(batch: TradeBatch, cuts: list[int], asks: list[Ask]) -> None:
    """Every order, reckoned by itself from the rules and all rows at once, fills as the venue says, or not at all."""
    rows = list(zip(batch.ts_ns.tolist(), batch.price_ticks.tolist(), strict=True))
    told = {
        event.client_order_id: (event.ts_event_ns, event.price, event.is_maker)
        for event in play(batch, cuts, asks)
        if isinstance(event, OrderFilled)
    }
    cancels_ns = {ask.client_order_id: at_ns for at_ns, ask in asks if isinstance(ask, CancelOrder)}
    for at_ns, ask in asks:
        if isinstance(ask, CancelOrder):
            continue
        fill = expected_fill(rows, ask, at_ns)
        if fill is not None and fill[0] > cancels_ns.get(ask.client_order_id, LATE):
            fill = None  # canceled before
        if cancels_ns.get(ask.client_order_id, LATE) == at_ns == (fill[0] if fill else None):
            continue  # order, trade and cancel at one instant: who came first is for the calendar to say
        assert told.get(ask.client_order_id) == fill


def test_events_survive_the_wire() -> None:
    """What the venue tells can be written down and read back without loss."""
    matching = make_matching(THREE, funding=[(25, 12_345)], taker_rate="0.00055", slippage="0.0001")
    events = run(matching, submit(qty="0.123"), 5) + matching.cancel(cancel(), LATE)
    assert kinds(events) == ["OrderAccepted", "OrderFilled", "FundingPaid", "CancelRejected"]
    for event in events:
        assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event
