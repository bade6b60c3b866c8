"""However the venue repeats and mixes its topics: each execution is told once, and orders end where they ended."""

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.order import Order, Status, apply
from bot.core.venue.contract import btcusdt_spot
from bot.domain.account_events import LiveEvent
from bot.domain.instrument import Side
from bot.domain.orders import Event, OrderFilled, OrderType, SubmitOrder
from bot.venues.bybit.account_stream import PARK_NS, AccountStream
from bot.venues.bybit.private_frames import PrivateFrame, read_private
from tests.support.emulator import BTC
from tests.support.examples import examples
from tests.support.private_frames import NOW_MS, NOW_NS, execution_frame, frame, order_frame

SPOT_BTC = btcusdt_spot().instrument


def hear(stream: AccountStream, raw: bytes, now_ns: int) -> list[LiveEvent]:
    got = read_private(raw, known_ns=now_ns)
    assert isinstance(got, PrivateFrame), got
    return stream.on_records(got.records, now_ns, is_fast=got.kind == "execution.fast")


def life(qtys: Sequence[int], *, is_canceled: bool) -> tuple[list[bytes], list[bytes]]:
    """Return what is told of an order with these fills: of the order in its order, and of its executions."""
    total = sum(qtys) + (1 if is_canceled else 0)
    orders = [order_frame(qty=str(total))]
    executions = []
    done = 0
    for number, qty in enumerate(qtys):
        done += qty
        at = str(NOW_MS + number + 1)
        status = "Filled" if done == total else "PartiallyFilled"
        orders.append(order_frame(qty=str(total), cumExecQty=str(done), orderStatus=status, updatedTime=at))
        executions.append(execution_frame(execId=f"e-{number}", execQty=str(qty), execTime=at))
        executions.append(frame("execution.fast", {"execId": f"e-{number}", "execQty": str(qty), "orderLinkId": ""}))
    if is_canceled:
        at = str(NOW_MS + len(qtys) + 1)
        orders.append(order_frame(qty=str(total), cumExecQty=str(done), orderStatus="Cancelled", updatedTime=at))
    return orders, executions


@settings(max_examples=examples(150))
@given(
    qtys=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    is_canceled=st.booleans(),
    is_nameless=st.booleans(),
    data=st.data(),
)
def test_any_mixture_of_repeats(qtys: list[int], data: st.DataObject, *, is_canceled: bool, is_nameless: bool) -> None:
    """One topic keeps its order, as the venue does; between topics, and in repeats, everything may happen."""
    orders, executions = life(qtys, is_canceled=is_canceled)
    if is_nameless:  # mapped by the venue's id alone
        executions = [each.replace(b'"orderLinkId": "mine-1"', b'"orderLinkId": ""') for each in executions]
    again = data.draw(st.lists(st.sampled_from([*orders, *executions]), max_size=8), label="again")
    shuffled = data.draw(st.permutations([*executions, *again]), label="shuffled")
    places = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), min_size=len(orders), max_size=len(orders))))
    arrivals = list(shuffled)
    for place, raw in reversed(list(zip(places, orders, strict=True))):
        arrivals.insert(place, raw)
    stream = AccountStream(
        {("linear", "BTCUSDT"): BTC, ("spot", "BTCUSDT"): SPOT_BTC}, is_ours=lambda each: each.startswith("mine-")
    )
    events: list[LiveEvent] = []
    for raw in arrivals:
        events += hear(stream, raw, NOW_NS)
    events += stream.on_time(NOW_NS + PARK_NS)
    fills = [event for event in events if isinstance(event, OrderFilled)]
    assert sorted((fill.trade_id, fill.qty) for fill in fills) == [
        (f"e-{number}", Decimal(qty)) for number, qty in enumerate(qtys)
    ]
    assert {fill.client_order_id for fill in fills} == {"mine-1"}
    assert stream.behind(NOW_NS + 10**12) == []
    request = SubmitOrder(
        client_order_id="mine-1",
        order_number=1,
        instrument="BTCUSDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        qty=Decimal(sum(qtys) + (1 if is_canceled else 0)),
        limit_price=Decimal(60_000),
    )
    order = Order(request=request)
    for event in events:
        if isinstance(event, Event):
            order = apply(order, event)  # type: ignore[arg-type]  # of what is an Event, all are orders' own
    assert order.status is (Status.CANCELED if is_canceled else Status.FILLED)
    assert order.filled_qty == sum(qtys)
