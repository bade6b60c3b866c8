"""A wish to hold so much: what is sent for it, and what is not."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.effects import Effects
from bot.core.risk import Denial
from bot.domain.instrument import Side
from bot.domain.ledger import (
    EquityMarked,
    FillBooked,
    OrderIntended,
)
from bot.domain.orders import (
    OrderType,
    SubmitOrder,
)
from tests.support.desk import Desk
from tests.support.effects import denial, kinds, submits
from tests.support.examples import examples
from tests.support.money import (
    BTC,
    NAME,
    canceled,
    dec,
    rejected,
)


def test_a_target_asks_for_what_is_missing() -> None:
    """Position and open orders count as held already: the same target twice is one order; and what may not come counts
    on neither side: to the other side goes only what cannot be too much."""
    desk = Desk()
    first = desk.target("3")
    assert submits(first) == [(Side.BUY, dec(3))]
    (order,) = first.send
    assert isinstance(order, SubmitOrder)
    assert (order.order_type, order.limit_price) == (OrderType.MARKET, None)
    assert submits(desk.target("3")) == []
    assert submits(desk.target("5")) == [(Side.BUY, dec(2))]
    desk.fill(order, qty="1")
    assert submits(desk.target("5")) == []
    assert submits(desk.target("-1")) == [(Side.SELL, dec(2))]
    assert submits(desk.fill(order, trade=2, qty="2")) == [(Side.SELL, dec(2))]
    assert submits(desk.target("-1")) == []


def test_a_target_counts_the_orders_of_every_strategy_and_type() -> None:
    """The account is one: what another strategy has resting may come all the same, or may not."""
    desk = Desk()
    desk.place(qty="1", strategy="other")
    away = desk.place(Side.SELL, qty="0.4", limit="101", strategy="third")
    assert submits(desk.target("2")) == [(Side.BUY, dec(1))]
    assert submits(desk.fill(away)) == [(Side.BUY, dec("0.4"))]


@pytest.mark.parametrize("done", [canceled, rejected])
def test_what_will_not_come_any_more_is_asked_for_again(done: Any) -> None:
    """A dead order is not coming: canceled after a part, or refused."""
    desk = Desk()
    (order,) = desk.target("3").send
    assert isinstance(order, SubmitOrder)
    missing = dec(3)
    if done is canceled:
        desk.fill(order, qty="1")
        missing = dec(2)
    desk.event(done(order.client_order_id))
    assert submits(desk.target("3")) == [(Side.BUY, missing)]


@pytest.mark.parametrize(
    ("held", "target", "sent"),
    [
        ("0", "0", []),
        ("0", "0.0009", []),
        ("0", "-0.0009", []),
        ("1", "1.0009", []),
        ("1", "0.9991", []),
        ("0", "1.9999", [(Side.BUY, "1.999")]),
        ("0", "-1.9999", [(Side.SELL, "1.999")]),
        ("1", "-0.9999", [(Side.SELL, "1.999")]),
        ("1", "0", [(Side.SELL, "1")]),
    ],
)
def test_a_target_is_reached_to_within_one_step(held: str, target: str, sent: list[tuple[Side, str]]) -> None:
    """Less than one step is no order, and what is asked for is rounded towards nothing."""
    desk = Desk()
    if held != "0":
        desk.fill(desk.place(qty=held))
    effects = desk.target(target)
    assert submits(effects) == [(side, dec(qty)) for side, qty in sent]
    assert kinds(effects) == ["DecisionMade", *["OrderIntended"] * len(sent)]


@pytest.mark.parametrize("qty", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "1E+30", "-1E+30", "1E+999999"])
@pytest.mark.parametrize("instrument", [NAME, "NOPEUSDT"])
def test_an_impossible_target_is_denied(qty: str, instrument: str) -> None:
    """A target that is no number, or beyond all reason, is a denial like any other: the run goes on."""
    desk = Desk()
    assert denial(desk.target(qty, instrument=instrument)) in set(Denial)
    assert submits(desk.target("1")) == [(Side.BUY, dec(1))]


def test_a_target_of_an_unknown_instrument_is_denied() -> None:
    desk = Desk()
    for qty in ("1", "0", "-1"):
        assert denial(desk.target(qty, instrument="NOPEUSDT")) == Denial.INSTRUMENT_UNKNOWN


@given(
    steps=st.lists(
        st.tuples(st.integers(-50_000, 50_000), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=3)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=examples(100), deadline=None)
def test_targets_are_met_once_everything_has_filled(steps: list[tuple[int, list[tuple[int, int]]]]) -> None:
    """Whatever filled in between, no order is sent that could carry the position beyond the target; once everything has
    filled, the target is held, less than one step away, and the books agree: the ledger's postings are the cash, its
    fills the position, and its intents what was sent."""
    desk = Desk(btc=replace(BTC, qty_min=BTC.qty_step, notional_min=dec(0)))
    live: dict[str, tuple[SubmitOrder, Decimal]] = {}
    trade = 0
    sent: list[str] = []

    def fill(name: str, part: Decimal) -> None:
        nonlocal trade
        order, left = live[name]
        qty = min(left, (order.qty * part).quantize(BTC.qty_step))
        if qty:
            trade += 1
            effects = desk.fill(order, trade=trade, qty=str(qty), price=str(90 + trade))
        live[name] = order, left - qty
        if qty == left:
            del live[name]
        if qty:
            send(effects)

    def send(effects: Effects) -> None:
        for order in effects.send:
            assert isinstance(order, SubmitOrder)
            live[order.client_order_id] = order, order.qty
            sent.append(order.client_order_id)
            mine = sum((left for other, left in live.values() if other.side is order.side), Decimal(0))
            assert (target - desk.orders.state.position_qty(NAME)) * order.side.sign >= mine

    target = Decimal(0)
    for half_steps, parts in steps:
        target = Decimal(half_steps) * BTC.qty_step / 2
        send(desk.target(target))
        for index, quarters in parts:
            if live:
                fill(sorted(live)[index % len(live)], Decimal(quarters) / 4)
    while live:
        fill(next(iter(live)), Decimal(1))
    assert abs(target - desk.orders.state.position_qty(NAME)) < BTC.qty_step
    assert not live

    desk.orders.mark_equity(desk.marks(), desk.now_ns)
    (marked,) = desk.orders.mark_equity(desk.marks(), desk.now_ns).record
    assert isinstance(marked, EquityMarked)
    postings = [p for entry in desk.record for p in getattr(entry, "postings", ())]
    assert marked.cash == sum((p.amount for p in postings if p.account == "cash"), Decimal(0))
    booked = [entry.fill for entry in desk.record if isinstance(entry, FillBooked)]
    assert desk.orders.state.position_qty(NAME) == sum((f.qty * f.side.sign for f in booked), Decimal(0))
    assert sent == [entry.order.client_order_id for entry in desk.record if isinstance(entry, OrderIntended)]
    assert len(set(sent)) == len(sent)
