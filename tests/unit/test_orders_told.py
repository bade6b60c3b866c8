"""What the venue tells of orders: booked once, told once, and refused where it contradicts the picture."""

from typing import Any

import pytest
from msgspec.structs import replace

from bot.core.submission.ids import ClientOrderIds
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side
from bot.domain.ledger import (
    EquityMarked,
    FillBooked,
    FundingBooked,
    OrderReported,
)
from bot.domain.orders import (
    AccountEvent,
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
)
from tests.support.desk import NOW_NS, Desk
from tests.support.effects import denial, kinds, told
from tests.support.money import (
    ETH,
    NAME,
    accepted,
    cancel_rejected,
    canceled,
    dec,
    filled,
    funding_paid,
    rejected,
)


def test_a_fill_is_booked_once() -> None:
    """A repeat of the venue's execution id is no news: not recorded, not published, not in the books."""
    desk = Desk()
    order = desk.place(qty="2")
    event = filled(order.client_order_id, trade=1, qty="1", price="99", fee="0.5", at_ns=NOW_NS)
    effects = desk.event(event)
    (entry,) = effects.record
    assert isinstance(entry, FillBooked)
    assert (entry.fill, entry.position_qty, entry.realized_pnl, entry.ts_ns) == (event, dec(1), dec(0), NOW_NS)
    assert told(effects) == [event]
    assert effects.send == []
    for _ in range(2):
        repeat = desk.event(event)
        assert (repeat.record, repeat.send, repeat.publish) == ([], [], [])
    assert desk.orders.state.position_qty(NAME) == 1
    desk.event(replace(event, trade_id="t2"))
    late = desk.event(event)
    assert (late.record, late.publish) == ([], [])
    assert desk.orders.state.position_qty(NAME) == 2


def test_what_a_fill_realizes_is_recorded_with_it() -> None:
    desk = Desk(cash="1000")
    desk.fill(desk.place(qty="2"), trade="in", price="100")
    (entry,) = desk.fill(desk.place(Side.SELL, qty="3", limit="101"), trade="out", price="110").record
    assert isinstance(entry, FillBooked)
    assert (entry.realized_pnl, entry.position_qty, entry.status) == (dec(20), dec(-1), "filled")
    (marked,) = desk.orders.mark_equity(desk.marks(), desk.now_ns).record
    assert isinstance(marked, EquityMarked)
    assert (marked.cash, marked.unrealized_pnl, marked.equity) == (dec(1020), dec(10), dec(1030))


def test_what_moves_no_money_is_recorded_and_published() -> None:
    desk = Desk()
    order = desk.place()
    answers: list[tuple[OrderAccepted | OrderCanceled | CancelRejected, str]] = [
        (accepted(order.client_order_id), "open"),
        (cancel_rejected(order.client_order_id), "open"),
        (canceled(order.client_order_id), "canceled"),
    ]
    for event, status in answers:
        effects = desk.event(event)
        assert effects.record == [OrderReported(ts_ns=NOW_NS, status=status, event=event)]
        assert told(effects) == [event]
        assert effects.send == []


@pytest.mark.parametrize("event", [accepted, rejected, canceled])
def test_the_strategy_is_told_once_of_what_the_venue_says_twice(event: Any) -> None:
    """A message resent after a reconnect is no news: a strategy that replaces a canceled order must not do so twice."""
    desk = Desk()
    order = desk.place()
    message = event(order.client_order_id)
    assert told(desk.event(message)) == [message]
    assert told(desk.event(message)) == []


@pytest.mark.parametrize("event", [accepted("x"), rejected("x"), canceled("x"), cancel_rejected("x"), filled("x")])
def test_an_event_of_an_order_we_never_sent_breaks_the_picture(event: AccountEvent) -> None:
    """Somebody else trades on our account, or we have lost our mind: nothing is booked."""
    desk = Desk()
    desk.place()
    with pytest.raises(InvariantBroken):
        desk.event(event)
    assert desk.orders.state.position_qty(NAME) == 0


def test_an_event_of_a_denied_order_breaks_the_picture() -> None:
    """A denied order was never sent, so nothing can come of it."""
    desk = Desk()
    denial(desk.target("0.001"))
    with pytest.raises(InvariantBroken):
        desk.event(accepted(ClientOrderIds(environment="r", epoch=0).next("sma")[0]))


@pytest.mark.parametrize(
    "change",
    [{"side": Side.SELL}, {"instrument": ETH.name}, {"qty": dec(3)}, {"qty": dec(0)}, {"price": dec("NaN")}],
)
def test_a_fill_that_contradicts_its_order_is_not_booked(change: dict[str, Any]) -> None:
    """It names our order, but not what we asked for: our picture is wrong, and neither position moves."""
    desk = Desk()
    order = desk.place(qty="2")
    with pytest.raises(InvariantBroken):
        desk.event(replace(filled(order.client_order_id, at_ns=NOW_NS), **change))
    assert desk.orders.state.position_qty(NAME) == desk.orders.state.position_qty(ETH.name) == 0


def test_a_fill_of_an_order_that_was_refused_is_not_swallowed() -> None:
    desk = Desk()
    order = desk.place()
    desk.event(rejected(order.client_order_id))
    with pytest.raises(InvariantBroken):
        desk.fill(order)


def test_funding_is_booked_once() -> None:
    """By its id, for either sign; the strategy hears of it once."""
    desk = Desk(cash="1000")
    desk.fill(desk.place())
    paid = funding_paid("-0.25", number=1)
    effects = desk.event(paid)
    (entry,) = effects.record
    assert isinstance(entry, FundingBooked)
    assert entry.funding == paid
    assert told(effects) == [paid]
    repeat = desk.event(paid)
    assert (repeat.record, repeat.publish) == ([], [])
    desk.event(funding_paid("1.5", number=2))
    (marked,) = desk.orders.mark_equity(desk.marks(), desk.now_ns).record
    assert isinstance(marked, EquityMarked)
    assert marked.cash == dec("1001.25")


def test_funding_of_an_unknown_instrument_breaks_the_picture() -> None:
    """A payment for what we do not trade is not ours to swallow, however often it is told."""
    desk = Desk()
    for _ in range(2):
        with pytest.raises(InvariantBroken):
            desk.event(funding_paid("1", instrument="NOPEUSDT"))


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_funding_of_no_number_breaks_the_picture(amount: str) -> None:
    """What cannot be added up never reaches the books: cash stays a number."""
    desk = Desk()
    with pytest.raises(InvariantBroken, match="the amount is"):
        desk.event(funding_paid(amount))
    assert desk.orders.state.portfolio.cash == 1_000_000
    assert kinds(desk.event(funding_paid("1"))) == ["FundingBooked"]
