"""One order's life, cell by cell: which event may follow which status, and what it leaves behind."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.core.order import Order, Status, apply
from bot.domain.errors import InvalidTransition, InvariantBroken
from bot.domain.instrument import Side
from bot.domain.orders import OrderEvent
from tests.support.money import accepted, cancel_rejected, canceled, filled, rejected, submit

ORDER = Order(request=submit(qty="3"))
PART = filled(trade="part", qty="1", price="100")

EVENTS: dict[str, OrderEvent] = {
    "accepted": accepted(),
    "rejected": rejected(),
    "canceled": canceled(),
    "cancel_rejected": cancel_rejected(),
    "filled": filled(trade="next", qty="1", price="110"),
}

# How an order comes into each status. Nothing is filled in any of them but FILLED.
IN_STATUS: dict[Status, Order] = {
    Status.SUBMITTED: ORDER,
    Status.OPEN: apply(ORDER, accepted()),
    Status.FILLED: apply(ORDER, filled(trade="all", qty="3")),
    Status.CANCELED: apply(ORDER, canceled()),
    Status.REJECTED: apply(ORDER, rejected()),
}

# The whole table: what status an event leaves, or None where it cannot happen.
NEXT: dict[Status, dict[str, Status | None]] = {
    Status.SUBMITTED: {
        "accepted": Status.OPEN,
        "rejected": Status.REJECTED,
        "canceled": Status.CANCELED,
        "cancel_rejected": Status.SUBMITTED,
        "filled": Status.SUBMITTED,
    },
    Status.OPEN: {
        "accepted": Status.OPEN,
        "rejected": None,
        "canceled": Status.CANCELED,
        "cancel_rejected": Status.OPEN,
        "filled": Status.OPEN,
    },
    Status.FILLED: {
        "accepted": Status.FILLED,
        "rejected": None,
        "canceled": Status.FILLED,
        "cancel_rejected": Status.FILLED,
        "filled": None,  # more than was ordered
    },
    Status.CANCELED: {
        "accepted": Status.CANCELED,
        "rejected": None,
        "canceled": Status.CANCELED,
        "cancel_rejected": Status.CANCELED,
        "filled": Status.CANCELED,  # it matched before the cancel: real money
    },
    Status.REJECTED: {
        "accepted": None,
        "rejected": Status.REJECTED,
        "canceled": None,
        "cancel_rejected": Status.REJECTED,  # a cancel that crossed the refusal
        "filled": None,  # it never lived: a fill of it means our picture is wrong
    },
}


CELLS = [(status, name, NEXT[status][name]) for status in Status for name in EVENTS]


@pytest.mark.parametrize(("status", "name", "after"), CELLS)
def test_every_cell_of_the_table(status: Status, name: str, after: Status | None) -> None:
    """An event that may follow leaves the status of the table, and any other is refused, leaving the order alone."""
    order = IN_STATUS[status]
    assert order.status is status
    before = replace(order)
    if after is not None:
        assert apply(order, EVENTS[name]).status is after
    elif name == "filled":
        with pytest.raises(InvariantBroken):
            apply(order, EVENTS[name])
    else:
        with pytest.raises(InvalidTransition):
            apply(order, EVENTS[name])
    assert order == before


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.OPEN, Status.CANCELED])
def test_the_last_fill_ends_the_order_as_filled(status: Status) -> None:
    """Whatever was said of it before, an order whose quantity is all filled is filled."""
    order = apply(apply(IN_STATUS[status], PART), filled(trade="rest", qty="2", price="101"))
    assert order.status is Status.FILLED
    assert order.filled_qty == 3
    assert order.filled_value == 100 + 2 * 101
    assert not order.is_live
    assert order.remaining_qty == 0


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.OPEN, Status.CANCELED])
def test_a_fill_said_twice_counts_once(status: Status) -> None:
    """The venue's id of an execution decides, also for a repeat after the order is done."""
    once = apply(IN_STATUS[status], PART)
    assert apply(once, PART) is once
    whole = apply(once, filled(trade="rest", qty="2"))
    assert apply(whole, PART) is whole


def test_a_refusal_after_a_fill_cannot_be() -> None:
    """A fill implies that the order lived, so a later refusal contradicts it and is refused itself."""
    with pytest.raises(InvalidTransition):
        apply(apply(ORDER, PART), rejected())


@pytest.mark.parametrize(
    ("status", "is_live", "remaining"),
    [
        (Status.SUBMITTED, True, 3),
        (Status.OPEN, True, 3),
        (Status.FILLED, False, 0),
        (Status.CANCELED, False, 0),
        (Status.REJECTED, False, 0),
    ],
)
def test_only_a_live_order_may_still_fill(status: Status, is_live: bool, remaining: int) -> None:
    assert IN_STATUS[status].is_live is is_live
    assert IN_STATUS[status].remaining_qty == remaining


def test_what_remains_is_what_is_not_filled() -> None:
    order = apply(apply(ORDER, PART), accepted())
    assert order.remaining_qty == 2
    assert apply(order, canceled()).remaining_qty == 0
    assert apply(order, canceled()).filled_qty == 1


def test_a_refused_cancel_takes_the_request_back() -> None:
    """What we asked is kept apart from what the venue said: a refused cancel may be asked again."""
    asked = replace(IN_STATUS[Status.OPEN], cancel_requested=True)
    assert apply(asked, accepted()).cancel_requested
    assert apply(asked, PART).cancel_requested
    assert not apply(asked, cancel_rejected()).cancel_requested
    assert apply(asked, cancel_rejected()).status is Status.OPEN


@pytest.mark.parametrize("qty", ["2.001", "3.5", "1E+30", "Infinity"])
def test_a_fill_beyond_the_order_is_refused(qty: str) -> None:
    """Fills never add up to more than was ordered."""
    order = apply(IN_STATUS[Status.OPEN], PART)
    with pytest.raises(InvariantBroken):
        apply(order, filled(trade="too-much", qty=qty))


@pytest.mark.parametrize("qty", ["0", "-1", "-0.001", "NaN", "sNaN", "-Infinity"])
def test_a_fill_of_nothing_is_refused(qty: str) -> None:
    """An execution has a positive quantity; what is not a number halts as a broken invariant, not as a slip."""
    with pytest.raises(InvariantBroken):
        apply(IN_STATUS[Status.OPEN], filled(trade="nothing", qty=qty))


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-1"])
def test_a_fill_at_no_price_is_refused(price: str) -> None:
    """An execution has a positive, finite price; anything else never reaches the books."""
    with pytest.raises(InvariantBroken):
        apply(IN_STATUS[Status.OPEN], filled(trade="no-price", price=price))


@pytest.mark.parametrize("fee", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_fill_with_no_fee_is_refused(fee: str) -> None:
    """A fee is a finite number; one that is not never reaches the books."""
    with pytest.raises(InvariantBroken):
        apply(IN_STATUS[Status.OPEN], filled(trade="no-fee", fee=fee))


def test_a_fill_of_the_other_side_is_refused() -> None:
    """A fill that contradicts the order it names (here: sold, where we asked to buy) is not booked."""
    with pytest.raises(InvariantBroken):
        apply(IN_STATUS[Status.OPEN], filled(trade="wrong-side", side=Side.SELL))


def test_a_fill_of_another_instrument_is_refused() -> None:
    """A fill that names another instrument than its order is not booked."""
    with pytest.raises(InvariantBroken):
        apply(IN_STATUS[Status.OPEN], filled(trade="wrong-instrument", instrument="ETHUSDT"))


def test_negative_fees_are_rebates_and_fine() -> None:
    order = apply(IN_STATUS[Status.OPEN], filled(trade="maker", fee="-0.01"))
    assert order.filled_qty == Decimal(1)
