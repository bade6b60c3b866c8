"""Our desk at the simulated venue: what becomes of what we send, in our own words, with its delays, in any cut.

What the venue does with every kind of order stands in `test_venue_scenarios_*.py`; here is what reaches us of it.
"""

from collections.abc import Sequence

import pytest

from bot.core.delays import Delay
from bot.core.venue.market import FillModel
from bot.core.venue.queue import Touch
from bot.domain.instrument import Side
from bot.domain.market import BarBatch, TradeBatch
from bot.domain.orders import (
    CancelRejected,
    FundingPaid,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    SubmitOrder,
    TimeInForce,
)
from tests.support.matched import BARS, BUY, FOUR, LATE, SELL, cancel, fills, kinds, only_fill, run
from tests.support.money import bars, dec, make_matching, submit, trades

GTC, IOC, FOK, POST_ONLY = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY


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
