"""One order's life, cell by cell: which event may follow which status, and what it leaves behind."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.core.order import Order, Status, apply, ask_amendment
from bot.domain.errors import InvalidTransition, InvariantBroken
from bot.domain.instrument import Side
from bot.domain.orders import AmendOrder, OrderEvent
from tests.support.money import NAME, accepted, cancel_rejected, canceled, dec, filled, rejected, submit
from tests.support.venue_side import amend_rejected, amended, trigger_at, triggered

ORDER = Order(request=submit(qty="3"))
CONDITIONAL = Order(request=replace(submit(qty="3"), trigger=trigger_at("105")))
PART = filled(trade="part", qty="1", price="100")

EVENTS: dict[str, OrderEvent] = {
    "accepted": accepted(),
    "rejected": rejected(),
    "canceled": canceled(),
    "cancel_rejected": cancel_rejected(),
    "amended": amended(qty="2"),
    "amend_rejected": amend_rejected(),
    "triggered": triggered(),
    "filled": filled(trade="next", qty="1", price="110"),
}

# How an order comes into each status. Nothing is filled in any of them but FILLED.
IN_STATUS: dict[Status, Order] = {
    Status.SUBMITTED: ORDER,
    Status.WAITING: apply(CONDITIONAL, accepted()),
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
        "amended": Status.SUBMITTED,
        "amend_rejected": Status.SUBMITTED,
        "triggered": None,  # it waits for nothing
        "filled": Status.SUBMITTED,
    },
    Status.WAITING: {
        "accepted": Status.WAITING,
        "rejected": None,
        "canceled": Status.CANCELED,
        "cancel_rejected": Status.WAITING,
        "amended": Status.WAITING,
        "amend_rejected": Status.WAITING,
        "triggered": Status.OPEN,
        "filled": Status.OPEN,  # so it was triggered
    },
    Status.OPEN: {
        "accepted": Status.OPEN,
        "rejected": None,
        "canceled": Status.CANCELED,
        "cancel_rejected": Status.OPEN,
        "amended": Status.OPEN,
        "amend_rejected": Status.OPEN,
        "triggered": None,
        "filled": Status.OPEN,
    },
    Status.FILLED: {
        "accepted": Status.FILLED,
        "rejected": None,
        "canceled": Status.FILLED,
        "cancel_rejected": Status.FILLED,
        "amended": None,  # cut below what has filled
        "amend_rejected": Status.FILLED,
        "triggered": None,
        "filled": None,  # more than was ordered
    },
    Status.CANCELED: {
        "accepted": Status.CANCELED,
        "rejected": None,
        "canceled": Status.CANCELED,
        "cancel_rejected": Status.CANCELED,
        "amended": Status.CANCELED,
        "amend_rejected": Status.CANCELED,
        "triggered": None,
        "filled": Status.CANCELED,  # it matched before the cancel: real money
    },
    Status.REJECTED: {
        "accepted": None,
        "rejected": Status.REJECTED,
        "canceled": None,
        "cancel_rejected": Status.REJECTED,  # a cancel that crossed the refusal
        "amended": None,
        "amend_rejected": Status.REJECTED,  # an amendment that crossed it
        "triggered": None,
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
    elif name == "filled" or (status, name) == (Status.FILLED, "amended"):
        with pytest.raises(InvariantBroken):
            apply(order, EVENTS[name])
    else:
        with pytest.raises(InvalidTransition):
            apply(order, EVENTS[name])
    assert order == before


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.WAITING, Status.OPEN, Status.CANCELED])
def test_the_last_fill_ends_the_order_as_filled(status: Status) -> None:
    """Whatever was said of it before, an order whose quantity is all filled is filled."""
    order = apply(apply(IN_STATUS[status], PART), filled(trade="rest", qty="2", price="101"))
    assert order.status is Status.FILLED
    assert order.filled_qty == 3
    assert order.filled_value == 100 + 2 * 101
    assert not order.is_live
    assert order.remaining_qty == 0


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.WAITING, Status.OPEN, Status.CANCELED])
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
        (Status.WAITING, True, 3),
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


# --- conditional orders -----------------------------------------------------------------------------------------------


def test_a_trigger_comes_in_any_order() -> None:
    """Before the ack, after it, after the first fill, twice: the order is open."""
    for events in (
        [accepted(), triggered()],
        [triggered(), accepted()],
        [triggered(), accepted(), triggered()],
        [accepted(), PART, triggered()],
        [PART, accepted()],
    ):
        order = CONDITIONAL
        for event in events:
            order = apply(order, event)
        assert order.status is Status.OPEN


@pytest.mark.parametrize("event", [canceled(), filled(trade="all", qty="3")])
def test_a_trigger_after_the_end_is_no_news(event: OrderEvent) -> None:
    """The cancel, or all fills, overtook it."""
    done = apply(CONDITIONAL, event)
    assert apply(done, triggered()) is done


def test_what_waits_for_its_trigger_may_still_fill() -> None:
    """It counts in the worst case, though it may never be triggered."""
    waiting = IN_STATUS[Status.WAITING]
    assert waiting.remaining_qty == 3


# --- amendments -------------------------------------------------------------------------------------------------------


def asked(order: Order, *, at_ns: int = 10, number: int = 1, **terms: str) -> Order:
    """Return the order with an amendment on its way."""
    amend = AmendOrder(
        client_order_id="o1",
        order_number=1,
        amend_number=number,
        instrument=NAME,
        **{name: dec(value) for name, value in terms.items()},
    )
    return ask_amendment(order, amend, at_ns)


LIMIT = apply(Order(request=submit(qty="3", limit="100")), accepted())


def test_what_we_asked_is_kept_apart_from_what_the_venue_said() -> None:
    """Until the answer nothing has changed, and of old and new total the larger may still fill."""
    up, down = asked(LIMIT, qty="5"), asked(LIMIT, qty="2")
    assert [(order.qty, order.remaining_qty) for order in (up, down)] == [(3, 5), (3, 3)]
    up, down = apply(up, amended(qty="5", limit="100", at_ns=11)), apply(down, amended(qty="2", limit="100", at_ns=11))
    assert [(order.qty, order.remaining_qty) for order in (up, down)] == [(5, 5), (2, 2)]
    assert up.amend_requested is down.amend_requested is None
    assert up.request == LIMIT.request


def test_a_refused_amendment_leaves_the_order_as_it_was() -> None:
    order = apply(asked(LIMIT, qty="5", limit_price="101"), amend_rejected(at_ns=11))
    assert (order.qty, order.limit_price, order.remaining_qty) == (3, dec(100), 3)
    assert order.amend_requested is None
    assert order.amend_count == 1


def test_an_older_refusal_does_not_answer_a_newer_amendment() -> None:
    """A refusal that is told once more came before the second amendment was sent."""
    refused = amend_rejected(at_ns=11)
    again = asked(apply(asked(LIMIT, qty="5"), refused), at_ns=12, number=2, qty="6")
    assert apply(again, refused) is again
    assert apply(again, amend_rejected(at_ns=12)).amend_requested is None


def test_a_new_price_and_a_new_trigger() -> None:
    """The venue names the limit; of the trigger it says nothing, so the answer makes it what we asked for."""
    order = apply(asked(LIMIT, limit_price="101"), amended(qty="3", limit="101", at_ns=11))
    assert (order.qty, order.limit_price, order.trigger_price) == (3, dec(101), None)
    waiting = IN_STATUS[Status.WAITING]
    assert waiting.trigger_price == dec(105)
    moved = apply(asked(waiting, trigger_price="106"), amended(qty="3", at_ns=11))
    assert (moved.trigger_price, moved.status) == (dec(106), Status.WAITING)


def test_a_later_change_is_not_undone_by_an_earlier_one() -> None:
    """Changes overtake each other on their way; the venue's clock tells which is the newest."""
    exit_ = apply(Order(request=submit(qty="9", limit="100", reduce_only=True)), accepted())
    late, early = amended(qty="4", limit="100", at_ns=20), amended(qty="6", limit="100", at_ns=15)
    order = apply(exit_, late)
    assert apply(order, early) is order
    assert apply(order, late) is order
    assert apply(apply(exit_, early), late).qty == 4


def test_a_raise_whose_fills_overtake_it() -> None:
    """More fills than we know the order to be: it is open until the word of the raise comes, then filled."""
    order = asked(LIMIT, qty="5")
    for trade in range(5):
        order = apply(order, filled(trade=trade, at_ns=12))
        assert order.status is Status.OPEN
    with pytest.raises(InvariantBroken):
        apply(order, filled(trade="more"))
    assert apply(order, amended(qty="5", limit="100", at_ns=11)).status is Status.FILLED


def test_a_raise_that_came_too_late() -> None:
    """All of the old total has filled: whether that is all of it, the answer tells."""
    order = apply(asked(LIMIT, qty="5"), filled(qty="3", at_ns=12))
    assert (order.status, order.remaining_qty) == (Status.OPEN, 2)
    assert apply(order, amend_rejected(at_ns=13)).status is Status.FILLED
    assert apply(order, amended(qty="5", limit="100", at_ns=11)).remaining_qty == 2


def test_a_cut_to_what_has_filled_ends_the_order() -> None:
    """A fill that came after the cut was told before it."""
    order = apply(asked(LIMIT, qty="2"), filled(qty="2", at_ns=12))
    assert order.status is Status.OPEN
    assert apply(order, amended(qty="2", limit="100", at_ns=11)).status is Status.FILLED


def test_the_venue_cuts_a_reduce_only_order_by_itself() -> None:
    """What there is to reduce has become less; nobody asked."""
    order = apply(Order(request=submit(qty="3", reduce_only=True, limit="100")), amended(qty="2", limit="100"))
    assert (order.qty, order.status, order.remaining_qty) == (2, Status.SUBMITTED, 2)
    assert apply(order, filled(qty="2")).status is Status.FILLED


@pytest.mark.parametrize(
    ("order", "event"),
    [
        (apply(LIMIT, filled(qty="2")), amended(qty="1", limit="100")),  # below what has filled
        (LIMIT, amended(qty="4", limit="100")),  # more than anybody asked for
        (LIMIT, amended(qty="3", limit="99")),  # another price than anybody asked for
        (asked(LIMIT, qty="5"), amended(qty="6", limit="100", at_ns=11)),
        (LIMIT, amended(qty="0", limit="100")),
        (LIMIT, amended(qty="NaN", limit="100")),
        (LIMIT, amended(qty="2", limit="100", instrument="ETHUSDT")),
    ],
)
def test_a_change_that_contradicts_the_order_is_refused(order: Order, event: OrderEvent) -> None:
    with pytest.raises(InvariantBroken):
        apply(order, event)
