"""What our desk at the simulated venue tells, whatever we send: consistent, by the rules, the same in any cut."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.delays import Delay
from bot.core.order import Order, Status, apply
from bot.domain.account import ZERO
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
    OrderFilled,
    OrderRejected,
    PositionCut,
    StopsChanged,
    StopsRejected,
    SubmitOrder,
    TimeInForce,
    Trigger,
)
from tests.support.examples import examples
from tests.support.money import NAME, bars, dec, make_matching, submit, trades

IOC, FOK, POST_ONLY = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY
LATE = 10**15  # after everything
Ask = tuple[int, Command]  # when it reaches the venue, and what


def play(
    batch: Any, cuts: Sequence[int], asks: Sequence[Ask], *, extra_ns: Sequence[int] = (), **venue: Any
) -> list[AccountEvent]:
    """Return all events of a run whose tape is read just ahead of the clock, as the replay feed does it.

    A piece is read when the clock reaches the first row of the piece before it. The venue is woken when it says
    something is due, at every request, and at `extra_ns` besides.
    """
    desk = make_matching(None, is_bars=isinstance(batch, BarBatch), **venue)
    edges = sorted({0, len(batch), *(min(cut, len(batch)) for cut in cuts)})
    pieces = [batch.rows(a, b) for a, b in pairwise(edges)]
    times = batch.open_ns if isinstance(batch, BarBatch) else batch.ts_ns
    desk.extend(pieces[0], now_ns=0)
    read = 1
    todo = sorted([(at_ns, 1, i) for i, (at_ns, _) in enumerate(asks)] + [(at_ns, 0, 0) for at_ns in extra_ns])
    events: list[AccountEvent] = []
    now_ns = 0
    while True:
        reads_ns = int(times[pieces[read - 1].first_row]) if read < len(pieces) else None
        due_ns = desk.next_ns()
        assert due_ns is None or due_ns >= now_ns, "something was due before anybody could be told"
        upcoming = [ts_ns for ts_ns in (reads_ns, due_ns, todo[0][0] if todo else None) if ts_ns is not None]
        if not upcoming:
            return events
        now_ns = max(now_ns, min(upcoming))
        if reads_ns is not None and reads_ns <= now_ns:
            desk.extend(pieces[read], now_ns=now_ns)
            read += 1
        elif due_ns is not None and due_ns <= now_ns:
            events += desk.advance(now_ns)
        else:
            _, is_ask, index = todo.pop(0)
            events += desk.handle(asks[index][1], now_ns) if is_ask else desk.advance(now_ns)


TRADES = st.lists(st.tuples(st.integers(1, 60), st.integers(995, 1005)), min_size=1, max_size=20).map(
    lambda rows: trades([(0, 1000), *sorted(rows, key=lambda row: row[0])])
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


def ticks(low: int, high: int) -> st.SearchStrategy[Decimal]:
    """Return a price between two ticks."""
    return st.integers(low, high).map(lambda price: Decimal(price) / 10)


@st.composite
def commands(draw: st.DrawFn, number: int, side: Side | None = None, *, is_plain: bool = False) -> SubmitOrder:
    """Return an order of any kind; a plain one neither waits nor reduces nor carries exits."""
    limit = draw(st.one_of(st.none(), ticks(994, 1006)))
    order = submit(
        number,
        side=draw(st.sampled_from(Side)) if side is None else side,
        qty=str(draw(st.integers(1, 4))),
        limit=None if limit is None else str(limit),
        time_in_force=draw(st.sampled_from(TimeInForce)),
        reduce_only=False if is_plain else draw(st.booleans()),
    )
    what = 0 if is_plain else draw(st.integers(0, 3))
    if what == 1:
        order = msgspec.structs.replace(
            order, trigger=Trigger(price=draw(ticks(994, 1006)), is_rise=draw(st.booleans()))
        )
    if what == 2 and not order.reduce_only:
        sign = order.side.sign
        profit, loss = Exit(price=dec(100) + sign * dec("0.4")), Exit(price=dec(100) - sign * dec("0.4"))
        order = msgspec.structs.replace(order, take_profit=profit, stop_loss=loss)
    return order


@st.composite
def requests(draw: st.DrawFn, *, is_plain: bool = False, side: Side | None = None) -> list[Ask]:
    """Return orders, cancels and amendments of some of them, and stops, in order of arrival."""
    asks: list[Ask] = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        at_ns = draw(st.integers(1, 65))
        asks.append((at_ns, draw(commands(number, side, is_plain=is_plain))))
        if draw(st.booleans()):
            cancel = CancelOrder(client_order_id=f"o{number}", order_number=number, instrument=NAME)
            asks.append((at_ns + draw(st.integers(1, 30)), cancel))
        if not is_plain and draw(st.booleans()):
            amend = AmendOrder(
                client_order_id=f"o{number}",
                order_number=number,
                amend_number=1,
                instrument=NAME,
                qty=draw(st.one_of(st.none(), st.integers(0, 5).map(Decimal))),
                limit_price=draw(st.one_of(st.none(), ticks(994, 1006))),
                trigger_price=draw(st.one_of(st.none(), st.none(), ticks(994, 1006))),
            )
            asks.append((at_ns + draw(st.integers(1, 30)), amend))
        if not is_plain and draw(st.integers(0, 3)) == 0:
            stops = ChangeStops(
                request_id=f"s{number}",
                order_number=100 + number,
                instrument=NAME,
                take_profit=draw(st.one_of(st.none(), ticks(996, 1006).map(lambda price: Exit(price=price)))),
                stop_loss=draw(st.one_of(st.none(), ticks(994, 1004).map(lambda price: Exit(price=price)))),
                trailing_distance=draw(st.one_of(st.none(), st.sampled_from([dec("0.1"), dec("0.3"), dec(0)]))),
            )
            asks.append((at_ns + draw(st.integers(1, 10)), stops))
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
@settings(max_examples=examples(200), deadline=None)
def test_however_the_tape_is_cut_the_same_happens(
    batch: Any, cuts: list[int], asks: list[Ask], funding: list[tuple[int, int]], extra_ns: list[int]
) -> None:
    """Law 1: pieces of any size, and a venue that is asked more often than needed, give the very same events."""
    whole = play(batch, [], asks, funding=funding, **COSTS)
    assert play(batch, cuts, asks, funding=funding, extra_ns=extra_ns, **COSTS) == whole
    assert play(batch, list(range(20)), asks, funding=funding, **COSTS) == whole


@given(batch=st.one_of(TRADES, bar_batches()), asks=requests(), funding=FUNDING)
@settings(max_examples=examples(200), deadline=None)
def test_every_event_is_of_a_request_and_of_its_time(
    batch: Any, asks: list[Ask], funding: list[tuple[int, int]]
) -> None:
    """Events come in order of time, each after what it answers; all fills and cuts make the position that pays."""
    end_ns = 200
    events = play(batch, [], asks, funding=[*funding, (end_ns, 1)], **COSTS)
    sent = {ask.client_order_id: (at_ns, ask) for at_ns, ask in asks if isinstance(ask, SubmitOrder)}
    held, newest_ns, kept = ZERO, 0, StopsChanged(ts_event_ns=0, ts_recv_ns=0, instrument=NAME)
    told: set[tuple[str, str]] = set()
    for event in events:
        assert event.ts_event_ns >= newest_ns
        newest_ns = event.ts_event_ns
        assert event.ts_recv_ns - event.ts_event_ns >= JITTERY.base_ns
        match event:
            case FundingPaid():
                assert event.position_qty == held != 0
                assert event.amount == -held * event.mark_price * event.rate
            case PositionCut():
                assert held * event.side.sign < 0
                assert event.qty <= abs(held)
                held += event.qty * event.side.sign
            case StopsChanged():
                kept = event
            case OrderFilled():
                at_ns, request = sent[event.client_order_id]
                assert event.ts_event_ns >= at_ns
                assert event.fee == event.price * event.qty * dec("-0.0001" if event.is_maker else "0.00055")
                if request.reduce_only:
                    assert held * request.side.sign < 0
                    assert event.qty <= abs(held)
                held += event.qty * event.side.sign
            case StopsRejected() | AmendRejected() | CancelRejected():
                pass
            case _:
                assert event.ts_event_ns >= sent[event.client_order_id][0]
        told.add((type(event).__name__, getattr(event, "client_order_id", "")))
    for name in sent:
        assert (("OrderAccepted", name) in told) != (("OrderRejected", name) in told), "each order is answered once"
    if not held:
        assert (kept.take_profit, kept.stop_loss, kept.trailing_distance) == (None, None, None)
    assert bool(held) == (bool(events) and isinstance(events[-1], FundingPaid) and events[-1].ts_event_ns == end_ns)


@given(batch=st.one_of(TRADES, bar_batches()), asks=requests())
@settings(max_examples=examples(200), deadline=None)
def test_every_order_lives_one_consistent_life(batch: Any, asks: list[Ask]) -> None:
    """What is told of each order is a life that `core.order` accepts, in which it ends or stays alive."""
    plain = [(at_ns, ask) for at_ns, ask in asks if isinstance(ask, (SubmitOrder, CancelOrder))]
    orders = {ask.client_order_id: Order(request=ask) for _, ask in plain if isinstance(ask, SubmitOrder)}
    for event in play(batch, [], plain, **COSTS):
        if isinstance(event, (FundingPaid, PositionCut, StopsChanged, StopsRejected)):
            continue
        assert not isinstance(event, AmendRejected)
        if isinstance(event, CancelRejected):
            continue
        before = orders[event.client_order_id]
        if isinstance(event, OrderFilled):
            assert before.status is Status.OPEN
            request = before.request
            if request.limit_price is not None:
                assert (request.limit_price - event.price) * request.side.sign >= 0
                if request.time_in_force is POST_ONLY:
                    assert event.is_maker
            if request.limit_price is None or request.time_in_force in (IOC, FOK):
                assert not event.is_maker
            if request.time_in_force is FOK and request.limit_price is not None:
                assert event.qty == before.qty
        if isinstance(event, OrderRejected):
            assert before.status is Status.SUBMITTED
        orders[event.client_order_id] = apply(before, event)
    assert all(order.status is not Status.SUBMITTED for order in orders.values())


def expected_fill(rows: list[tuple[int, int]], order: SubmitOrder, arrived_ns: int) -> tuple[int, Decimal, bool] | None:
    """Return when, at what price and in what role a plain order fills against trades: the rules, by plain search."""
    sign = order.side.sign
    met = next((row for row, (ts, _) in enumerate(rows) if ts >= arrived_ns), None)
    if order.limit_price is None:  # IOC whatever it asks for
        return None if met is None else (rows[met][0], Decimal(rows[met][1]) / 10, False)
    limit = int(order.limit_price * 10)
    last = next(price for ts, price in reversed(rows) if ts < arrived_ns)
    takes = (limit - last) * sign >= 0
    if takes and order.time_in_force is POST_ONLY:
        return None
    if takes and met is not None and (limit - rows[met][1]) * sign >= 0:
        return rows[met][0], Decimal(rows[met][1]) / 10, False
    if order.time_in_force in (IOC, FOK):
        return None
    # What it could not take has happened; else the trades of its arrival have.
    rests = next((row for row, (ts, _) in enumerate(rows) if ts > arrived_ns), len(rows))
    if takes:
        rests = len(rows) if met is None else met + 1
    through = next((row for row in range(rests, len(rows)) if (limit - rows[row][1]) * sign > 0), None)
    return None if through is None else (rows[through][0], order.limit_price, True)


@given(batch=TRADES, cuts=CUTS, data=st.data(), side=st.sampled_from(Side))
@settings(max_examples=examples(200), deadline=None)
def test_against_trades_fills_are_those_of_a_plain_search(
    batch: TradeBatch, cuts: list[int], data: st.DataObject, side: Side
) -> None:
    """Every order, reckoned by itself from the rules and all rows at once, fills as the venue says, or not at all.

    All orders are of one side, for else they would meet each other.
    """
    asks = data.draw(requests(is_plain=True, side=side))
    rows = list(zip(batch.ts_ns.tolist(), batch.price_ticks.tolist(), strict=True))
    told = {
        event.client_order_id: (event.ts_event_ns, event.price, event.is_maker)
        for event in play(batch, cuts, asks)
        if isinstance(event, OrderFilled)
    }
    cancels_ns = {ask.client_order_id: at_ns for at_ns, ask in asks if isinstance(ask, CancelOrder)}
    for at_ns, ask in asks:
        if isinstance(ask, SubmitOrder):
            fill = expected_fill(rows, ask, at_ns)
            if fill is not None and fill[0] > cancels_ns.get(ask.client_order_id, LATE):
                fill = None  # canceled before
            assert told.get(ask.client_order_id) == fill


@given(batch=st.one_of(TRADES, bar_batches()), asks=requests(), funding=FUNDING)
@settings(max_examples=examples(50), deadline=None)
def test_events_survive_the_wire(batch: Any, asks: list[Ask], funding: list[tuple[int, int]]) -> None:
    """What the venue tells can be written down and read back without loss."""
    for event in play(batch, [], asks, funding=funding, **COSTS):
        assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event
