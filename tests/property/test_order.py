"""However the venue shuffles and repeats what it says, one order ends in one right state, once."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.order import Order, Status, apply, ask_amendment
from bot.domain.errors import InvariantBroken
from bot.domain.orders import AmendOrder, OrderEvent
from tests.support.examples import examples
from tests.support.money import NAME, accepted, cancel_rejected, canceled, filled, rejected, submit
from tests.support.venue_side import amend_rejected, amended, trigger_at, triggered

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
@settings(max_examples=examples(100), deadline=None)
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
@settings(max_examples=examples(100), deadline=None)
def test_part_filled_and_canceled_keeps_its_fills(qtys: list[int], more: int, data: st.DataObject) -> None:
    """A cancel never undoes a fill, and a fill that comes after it still counts."""
    sent = [accepted(), canceled(), *(fill(number, qty) for number, qty in enumerate(qtys))]
    order = fold(Order(request=submit(qty=str(sum(qtys) + more))), shuffled(data, sent))
    assert order.status is Status.CANCELED
    assert order.filled_qty == sum(qtys)
    assert order.remaining_qty == 0


@given(qtys=st.lists(st.integers(1, 9), max_size=6), more=st.integers(1, 9), is_acked=st.booleans(), data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_part_filled_goes_on_living(qtys: list[int], more: int, is_acked: bool, data: st.DataObject) -> None:
    """Until it is filled or canceled, an order may fill by exactly what is missing."""
    sent = [*([accepted()] if is_acked else []), *(fill(number, qty) for number, qty in enumerate(qtys))]
    start = Order(request=submit(qty=str(sum(qtys) + more)))
    order = fold(start, shuffled(data, sent)) if sent else start
    assert order.is_live
    assert order.status is (Status.OPEN if is_acked else Status.SUBMITTED)
    assert order.remaining_qty == more


@given(qtys=QTYS, data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_the_order_of_arrival_does_not_matter(qtys: list[int], data: st.DataObject) -> None:
    """Any two shufflings of the same messages, repeats and all, fold to the same order."""
    sent = [accepted(), canceled(), *(fill(number, qty) for number, qty in enumerate(qtys))]
    start = Order(request=submit(qty=str(sum(qtys) + data.draw(st.integers(0, 2), label="unfilled"))))
    assert fold(start, shuffled(data, sent)) == fold(start, shuffled(data, sent))


@given(qtys=QTYS, data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_refused_and_filled_cannot_both_be(qtys: list[int], data: st.DataObject) -> None:
    """A venue that refused an order and filled it contradicts itself: whichever comes second is not swallowed."""
    sent = [rejected(), *(fill(number, qty) for number, qty in enumerate(qtys))]
    arrivals = shuffled(data, sent)
    with pytest.raises(InvariantBroken):
        fold(Order(request=submit(qty=str(sum(qtys) + 1))), arrivals)


def with_amendment(*, qty: int, asked: int) -> Order:
    """Return a limit order of `qty` whose total is asked to become another."""
    amend = AmendOrder(client_order_id="o1", order_number=1, amend_number=1, instrument=NAME, qty=Decimal(asked))
    return ask_amendment(Order(request=submit(qty=str(qty), limit="100")), amend, 0)


@given(qtys=QTYS, extra=st.integers(1, 9), is_canceled=st.booleans(), data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_raise_is_filled_whatever_overtakes_its_confirmation(
    qtys: list[int], extra: int, is_canceled: bool, data: st.DataObject
) -> None:
    """Ack, the raise and fills of all of it, in any order and repeated: filled, once, and nothing before the end."""
    start = with_amendment(qty=max(1, sum(qtys) - extra), asked=sum(qtys))
    if start.request.qty == sum(qtys):
        return
    sent = [accepted(), amended(qty=str(sum(qtys)), limit="100"), *(fill(n, qty) for n, qty in enumerate(qtys))]
    if is_canceled:
        sent.append(canceled())
    one = fold(start, shuffled(data, sent))
    assert one.status is Status.FILLED
    assert (one.filled_qty, one.qty, one.remaining_qty) == (sum(qtys), sum(qtys), 0)
    assert one == fold(start, shuffled(data, sent))


@given(qtys=QTYS, more=st.integers(1, 9), left=st.integers(0, 9), is_refused=st.booleans(), data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_cut_or_its_refusal_in_any_order(
    qtys: list[int], more: int, left: int, is_refused: bool, data: st.DataObject
) -> None:
    """After all messages the order has what the venue made of it, and `left` may still fill."""
    cut_to = sum(qtys) + left
    answer = amend_rejected() if is_refused else amended(qty=str(cut_to), limit="100")
    sent = [accepted(), answer, *(fill(number, qty) for number, qty in enumerate(qtys))]
    order = fold(with_amendment(qty=cut_to + more, asked=cut_to), shuffled(data, sent))
    remaining = left + more if is_refused else left
    assert order.remaining_qty == remaining
    assert order.status is (Status.OPEN if remaining else Status.FILLED)
    assert order.amend_requested is None


@given(qtys=QTYS, more=st.integers(0, 9), is_canceled=st.booleans(), data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_conditional_order_in_any_order(qtys: list[int], more: int, is_canceled: bool, data: st.DataObject) -> None:
    """Ack, trigger, fills and a cancel, shuffled and repeated, fold to one order, which waits for nothing any more."""
    request = replace(submit(qty=str(sum(qtys) + more)), trigger=trigger_at("105"))
    sent = [accepted(), triggered(), *(fill(number, qty) for number, qty in enumerate(qtys))]
    if is_canceled:
        sent.append(canceled())
    one, other = (fold(Order(request=request), shuffled(data, sent)) for _ in range(2))
    assert one == other
    assert one.status is (Status.FILLED if not more else Status.CANCELED if is_canceled else Status.OPEN)
    assert one.remaining_qty == (more if one.status is Status.OPEN else 0)


@given(
    qty=st.integers(1, 12),
    asked=st.none() | st.integers(1, 16),
    events=st.lists(
        st.one_of(
            st.sampled_from([accepted(), rejected(), canceled(), cancel_rejected(), amend_rejected(), triggered()]),
            st.builds(
                lambda qty, at_ns: amended(qty=str(qty), limit="100", at_ns=at_ns),
                st.integers(0, 16),
                st.integers(0, 3),
            ),
            st.builds(fill, st.integers(1, 5), st.integers(1, 6)),
        ),
        max_size=12,
    ),
)
@settings(max_examples=examples(200), deadline=None)
def test_whatever_comes_an_order_never_runs_backwards(qty: int, asked: int | None, events: list[OrderEvent]) -> None:
    """Also of nonsense: done stays done, filled never shrinks nor exceeds the order, and refusing changes nothing."""
    order = Order(request=submit(qty=str(qty), limit="100"))
    if asked is not None:
        order = with_amendment(qty=qty, asked=asked)
    for event in events:
        try:
            after = apply(order, event)
        except InvariantBroken:
            continue
        most = max(after.qty, order.qty, asked or 0)
        assert order.filled_qty <= after.filled_qty <= most
        assert after.qty <= max(qty, asked or 0)
        assert set(order.trade_ids) <= set(after.trade_ids)
        if order.status in DONE:
            assert after.status is order.status or after.status is Status.FILLED
        is_answered = after.amend_requested is None
        assert after.status is not Status.FILLED or after.filled_qty == after.qty
        assert not (is_answered and after.filled_qty == after.qty) or after.status is Status.FILLED
        assert Decimal(0) <= after.remaining_qty <= most - after.filled_qty
        order = after
