"""However the venue shuffles and repeats what it says, one order ends in one right state, once."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.order import Order, Status, apply
from bot.domain.errors import InvariantBroken
from bot.domain.orders import OrderEvent
from tests.support.money import accepted, cancel_rejected, canceled, filled, rejected, submit

QTYS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
DONE = (Status.FILLED, Status.CANCELED, Status.REJECTED)


def fill(number: int, qty: int) -> OrderEvent:
    """Return the venue's execution `number`."""
    return filled(trade=number, qty=str(qty), price=str(100 + number))


def shuffled(data: st.DataObject, sent: Sequence[OrderEvent]) -> list[OrderEvent]:
    """Return what was sent, each at least once, in any order."""
    resent = data.draw(st.lists(st.sampled_from(sent), max_size=8), label="resent")
    return list(data.draw(st.permutations([*sent, *resent]), label="arrivals"))


def fold(order: Order, events: Sequence[OrderEvent]) -> Order:
    """Return the order after all events."""
    for event in events:
        order = apply(order, event)
    return order


@given(qtys=QTYS, is_cancel_asked=st.booleans(), is_cancel_lost=st.booleans(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_all_filled_ends_filled_once(
    qtys: list[int], is_cancel_asked: bool, is_cancel_lost: bool, data: st.DataObject
) -> None:
    """Ack, fills, a cancel that came too late and its refusal, in any order and repeated: filled, and counted once."""
    fills = [fill(number, qty) for number, qty in enumerate(qtys)]
    sent = [accepted(), *fills]
    if is_cancel_asked:
        sent.append(canceled())
    if is_cancel_lost:
        sent.append(cancel_rejected())
    order = fold(Order(request=submit(qty=str(sum(qtys)))), shuffled(data, sent))
    assert order.status is Status.FILLED
    assert order.filled_qty == sum(qtys)
    assert order.filled_value == sum(qty * (100 + number) for number, qty in enumerate(qtys))
    assert order.remaining_qty == 0
    with pytest.raises(InvariantBroken):
        apply(order, fill(99, 1))


@given(qtys=QTYS, more=st.integers(1, 9), data=st.data())
@settings(max_examples=100, deadline=None)
def test_part_filled_and_canceled_keeps_its_fills(qtys: list[int], more: int, data: st.DataObject) -> None:
    """A cancel never undoes a fill, and a fill that comes after it still counts."""
    sent = [accepted(), canceled(), *(fill(number, qty) for number, qty in enumerate(qtys))]
    order = fold(Order(request=submit(qty=str(sum(qtys) + more))), shuffled(data, sent))
    assert order.status is Status.CANCELED
    assert order.filled_qty == sum(qtys)
    assert order.remaining_qty == 0


@given(qtys=st.lists(st.integers(1, 9), max_size=6), more=st.integers(1, 9), is_acked=st.booleans(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_part_filled_goes_on_living(qtys: list[int], more: int, is_acked: bool, data: st.DataObject) -> None:
    """Until it is filled or canceled, an order may fill by exactly what is missing."""
    sent = [*([accepted()] if is_acked else []), *(fill(number, qty) for number, qty in enumerate(qtys))]
    start = Order(request=submit(qty=str(sum(qtys) + more)))
    order = fold(start, shuffled(data, sent)) if sent else start
    assert order.is_live
    assert order.status is (Status.OPEN if is_acked else Status.SUBMITTED)
    assert order.remaining_qty == more


@given(qtys=QTYS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_does_not_matter(qtys: list[int], data: st.DataObject) -> None:
    """Any two shufflings of the same messages, repeats and all, fold to the same order."""
    sent = [accepted(), canceled(), *(fill(number, qty) for number, qty in enumerate(qtys))]
    start = Order(request=submit(qty=str(sum(qtys) + data.draw(st.integers(0, 2), label="unfilled"))))
    assert fold(start, shuffled(data, sent)) == fold(start, shuffled(data, sent))


@given(qtys=QTYS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_refused_and_filled_cannot_both_be(qtys: list[int], data: st.DataObject) -> None:
    """A venue that refused an order and filled it contradicts itself: whichever comes second is not swallowed."""
    sent = [rejected(), *(fill(number, qty) for number, qty in enumerate(qtys))]
    arrivals = shuffled(data, sent)
    with pytest.raises(InvariantBroken):
        fold(Order(request=submit(qty=str(sum(qtys) + 1))), arrivals)


@given(
    qty=st.integers(1, 12),
    events=st.lists(
        st.one_of(
            st.sampled_from([accepted(), rejected(), canceled(), cancel_rejected()]),
            st.builds(fill, st.integers(1, 5), st.integers(1, 6)),
        ),
        max_size=12,
    ),
)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_an_order_never_runs_backwards(qty: int, events: list[OrderEvent]) -> None:
    """Also of nonsense: done stays done, filled never shrinks nor exceeds the order, and refusing changes nothing."""
    order = Order(request=submit(qty=str(qty)))
    for event in events:
        try:
            after = apply(order, event)
        except InvariantBroken:
            continue
        assert order.filled_qty <= after.filled_qty <= qty
        assert order.trade_ids <= after.trade_ids
        if order.status in DONE:
            assert after.status is order.status or after.status is Status.FILLED
        assert (after.status is Status.FILLED) == (after.filled_qty == qty)
        assert Decimal(0) <= after.remaining_qty <= qty - after.filled_qty
        order = after
