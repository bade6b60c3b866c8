"""All orders of a run: what a wish turns into, what is recorded before it is sent, and that everything counts once."""

import msgspec
import pytest
from msgspec.structs import replace

from bot.core.risk import Denial
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side
from bot.domain.ledger import (
    DecisionMade,
    Deposited,
    EquityMarked,
    ForecastUsed,
    OrderIntended,
)
from bot.domain.orders import (
    Action,
    CancelOpen,
    CancelOrder,
    OrderType,
    PlaceOrder,
    SubmitOrder,
    Target,
    TimeInForce,
)
from tests.support.desk import DAY_NS, LIMITS, NOW_NS, Desk
from tests.support.effects import cancels, denial, kinds, submits, told
from tests.support.money import (
    ETH,
    HOUR_NS,
    NAME,
    SECOND_NS,
    accepted,
    cancel_rejected,
    canceled,
    dec,
    filled,
)

# --- orders -----------------------------------------------------------------------------------------------------------


def test_a_wish_for_an_order_is_carried_out_to_the_letter() -> None:
    desk = Desk()
    limit = desk.place(Side.SELL, "0.5", "101.5", time_in_force=TimeInForce.POST_ONLY)
    assert (limit.side, limit.order_type, limit.qty, limit.limit_price) == (
        Side.SELL,
        OrderType.LIMIT,
        dec("0.5"),
        dec("101.5"),
    )
    assert (limit.time_in_force, limit.reduce_only, limit.instrument) == (TimeInForce.POST_ONLY, False, NAME)
    market = desk.place(limit=None, instrument=ETH.name, time_in_force=TimeInForce.IOC)
    assert (market.order_type, market.limit_price, market.instrument) == (OrderType.MARKET, None, ETH.name)
    assert market.time_in_force is TimeInForce.IOC
    desk.fill(desk.place(qty="2"))
    assert desk.place(Side.SELL, qty="2", reduce_only=True).reduce_only


def test_records_come_in_the_order_decision_intent_send() -> None:
    """What is sent has been recorded whole, after the decision that asked for it, in the same breath."""
    desk = Desk()
    desk.prices[NAME] = "100.1"
    effects = desk.wish(
        PlaceOrder(instrument=NAME, side=Side.BUY, qty=dec(1), reason="because"),
        trigger="timer",
        bar_close_ns=5,
        close_price=dec("99.9"),
        position_qty=dec("0.25"),
    )
    decision, intent = effects.record
    assert isinstance(decision, DecisionMade)
    assert isinstance(intent, OrderIntended)
    assert (decision.strategy, decision.instrument, decision.trigger) == ("sma", NAME, "timer")
    assert (decision.bar_close_ns, decision.close_price, decision.position_qty) == (5, dec("99.9"), dec("0.25"))
    assert (decision.reason, decision.forecast_id) == ("because", None)
    assert msgspec.json.decode(decision.action, type=PlaceOrder) == PlaceOrder(
        instrument=NAME, side=Side.BUY, qty=dec(1), reason="because"
    )
    assert [intent.order] == effects.send
    assert intent.mark_price == dec("100.1")
    assert intent.decision_id == decision.decision_id
    assert decision.ts_ns == intent.ts_ns == NOW_NS
    assert told(effects) == []


def test_the_strategy_sees_its_order_as_it_now_is() -> None:
    """With each message comes the order after it, from the moment it is sent."""
    desk = Desk()
    effects = desk.target("2")
    (sent,) = effects.send
    assert isinstance(sent, SubmitOrder)
    seen = [effects.publish[-1].order]
    for message in (
        accepted(sent.client_order_id),
        filled(sent.client_order_id, qty="0.5"),
        canceled(sent.client_order_id),
    ):
        seen.append(desk.event(message).publish[-1].order)
    assert [order.request for order in seen if order is not None] == [sent] * 4
    assert [(order.status, order.remaining_qty) for order in seen if order is not None] == [
        ("submitted", 2),
        ("open", 2),
        ("open", dec("1.5")),
        ("canceled", 0),
    ]


def test_decisions_are_counted() -> None:
    """Each wish is a decision of its own number, also one that comes to nothing."""
    desk = Desk()
    wishes: list[Action] = [
        Target(instrument=NAME, qty=dec(0)),
        Target(instrument="NOPEUSDT", qty=dec(1)),
        CancelOpen(instrument=NAME),
        Target(instrument=NAME, qty=dec(1)),
    ]
    for wish in wishes:
        desk.wish(wish)
    ids = [entry.decision_id for entry in desk.record if isinstance(entry, DecisionMade)]
    assert len(ids) == len(set(ids)) == len(wishes)
    assert ids == sorted(ids)


def test_a_forecast_is_recorded_before_the_first_decision_that_rests_on_it_and_once() -> None:
    desk = Desk()

    def forecast(number: int, instrument: str = NAME) -> ForecastUsed:
        return ForecastUsed(
            ts_ns=NOW_NS,
            forecast_id=f"{instrument}-1m-{number}",
            model_id="m",
            instrument=instrument,
            bar_close_ns=NOW_NS,
            horizons_ns=(60,),
            levels=(0.5,),
            quantiles=((0.001,),),
            importance=(1.0,),
        )

    first = desk.target("1", forecast=forecast(1))
    assert kinds(first) == ["ForecastUsed", "DecisionMade", "OrderIntended"]
    assert first.record[0] == forecast(1)
    decision = first.record[1]
    assert isinstance(decision, DecisionMade)
    assert decision.forecast_id == forecast(1).forecast_id
    assert kinds(desk.target("1", forecast=forecast(1))) == ["DecisionMade"]
    assert kinds(desk.target("1", instrument=ETH.name, forecast=forecast(1, ETH.name)))[0] == "ForecastUsed"
    assert kinds(desk.target("1", forecast=forecast(1))) == ["DecisionMade"]
    assert kinds(desk.target("1", forecast=forecast(2))) == ["ForecastUsed", "DecisionMade"]


# --- cancels ----------------------------------------------------------------------------------------------------------


def test_all_open_orders_of_the_strategy_and_instrument_are_canceled() -> None:
    """Not those of another strategy, of another instrument, or already done."""
    desk = Desk()
    mine = [desk.place(), desk.place(Side.SELL, limit="101")]
    other = desk.place(strategy="other")
    elsewhere = desk.place(limit="9", instrument=ETH.name)
    desk.fill(desk.place(), trade="x")
    effects = desk.wish(CancelOpen(instrument=NAME))
    assert sorted(cancels(effects)) == sorted(order.client_order_id for order in mine)
    numbers = {c.client_order_id: c.order_number for c in effects.send if isinstance(c, CancelOrder)}
    assert numbers == {order.client_order_id: order.order_number for order in mine}
    assert cancels(desk.wish(CancelOpen(instrument=NAME), strategy="other")) == [other.client_order_id]
    assert cancels(desk.wish(CancelOpen(instrument=ETH.name))) == [elsewhere.client_order_id]


def test_one_order_is_canceled_by_name() -> None:
    """Another's order, a done one and an unknown one cannot be."""
    desk = Desk()
    first, second = desk.place(), desk.place()
    other = desk.place(strategy="other")
    for name in (other.client_order_id, "nobody"):
        assert cancels(desk.wish(CancelOpen(instrument=NAME, client_order_id=name))) == []
    one = CancelOpen(instrument=NAME, client_order_id=second.client_order_id)
    assert cancels(desk.wish(one)) == [second.client_order_id]
    assert cancels(desk.wish(one)) == []
    assert cancels(desk.wish(CancelOpen(instrument=NAME))) == [first.client_order_id]


def test_a_cancel_is_asked_once_until_it_is_refused() -> None:
    """Asking twice sends once; a refusal of a live order allows asking again; a done order is never asked for."""
    desk = Desk()
    order = desk.place()
    every = CancelOpen(instrument=NAME)
    assert cancels(desk.wish(every)) == [order.client_order_id]
    assert cancels(desk.wish(every)) == []
    desk.event(accepted(order.client_order_id))
    assert cancels(desk.wish(every)) == []
    desk.event(cancel_rejected(order.client_order_id))
    assert cancels(desk.wish(every)) == [order.client_order_id]
    desk.event(canceled(order.client_order_id))
    assert cancels(desk.wish(every)) == []
    assert cancels(desk.wish(CancelOpen(instrument="NOPEUSDT"))) == []


def test_an_order_being_canceled_may_still_fill() -> None:
    """Until the venue says so it counts as coming, and its fill is booked."""
    desk = Desk()
    order = desk.place(qty="1")
    desk.wish(CancelOpen(instrument=NAME))
    assert submits(desk.target("1")) == []
    assert kinds(desk.fill(order)) == ["FillBooked"]
    assert desk.orders.state.position_qty(NAME) == 1


def test_halted_means_no_order_and_still_every_cancel() -> None:
    desk = Desk()
    order = desk.place()
    assert [command.client_order_id for command in desk.halt().send] == [order.client_order_id]
    assert denial(desk.target("1.5")) == Denial.HALTED
    desk.event(cancel_rejected(order.client_order_id))
    sent = desk.wish(CancelOpen(instrument=NAME)).send  # once, whoever of the two asks
    assert [command.client_order_id for command in sent] == [order.client_order_id]
    assert kinds(desk.fill(order)) == ["FillBooked"]


# --- the gate's place in it -------------------------------------------------------------------------------------------


def test_a_denial_leaves_no_trace_but_its_record() -> None:
    """Nothing is sent, nothing is coming, no rate is used up, and the next wish is judged as if it had not been."""
    desk = Desk(limits=replace(LIMITS, orders_per_second_max=2, open_orders_max=2))
    for _ in range(5):
        assert denial(desk.target("0.001")) == Denial.QTY_BELOW_MIN
    assert submits(desk.target("1")) == [(Side.BUY, dec(1))]
    assert submits(desk.target("2")) == [(Side.BUY, dec(1))]
    assert denial(desk.target("3")) in (Denial.ORDER_RATE, Denial.OPEN_ORDERS_ABOVE_MAX)


def test_orders_within_one_second_are_counted() -> None:
    """Across instruments and strategies; a second later the window has moved on, order by order."""
    desk = Desk(limits=replace(LIMITS, orders_per_second_max=2))
    desk.place()
    desk.now_ns += SECOND_NS // 2
    desk.place(limit="9", instrument=ETH.name, strategy="other")
    assert denial(desk.target("5")) == Denial.ORDER_RATE
    desk.now_ns = NOW_NS + SECOND_NS - 1
    assert denial(desk.target("5")) == Denial.ORDER_RATE
    desk.now_ns = NOW_NS + SECOND_NS
    desk.place()
    assert denial(desk.target("5")) == Denial.ORDER_RATE


def test_open_orders_are_counted_per_instrument_and_while_they_live() -> None:
    desk = Desk(limits=replace(LIMITS, open_orders_max=2))
    first = desk.place()
    desk.place()
    assert denial(desk.target("5")) == Denial.OPEN_ORDERS_ABOVE_MAX
    desk.place(limit="9", instrument=ETH.name)
    desk.event(canceled(first.client_order_id))
    desk.place()
    assert denial(desk.target("5")) == Denial.OPEN_ORDERS_ABOVE_MAX


def test_the_gate_sees_what_is_held_and_what_may_fill_of_all_instruments() -> None:
    """Leverage is of the worst case over all of them, by their marks; equity counts unrealized profit."""
    desk = Desk(limits=replace(LIMITS, leverage_max=dec(1)), cash="1000")
    desk.fill(desk.place(qty="4", limit="100"), price="100")
    desk.place(qty="20", limit="10", instrument=ETH.name)
    assert denial(desk.target("8.001")) == Denial.LEVERAGE_ABOVE_MAX
    assert submits(desk.target("8")) == [(Side.BUY, dec(4))]
    desk.prices[NAME] = "90"  # 40 lost, 720 + 200 at risk
    assert denial(desk.target("8.445")) == Denial.LEVERAGE_ABOVE_MAX
    assert submits(desk.target("8.444")) == [(Side.BUY, dec("0.444"))]


def test_without_a_price_of_something_held_nothing_is_added() -> None:
    """What the account is worth is unknown then; what closes is let through."""
    desk = Desk()
    desk.fill(desk.place(qty="4", limit="10", instrument=ETH.name), price="10")
    desk.prices[ETH.name] = None
    assert denial(desk.target("1")) == Denial.NO_EQUITY
    assert denial(desk.target("0", instrument=ETH.name)) == Denial.MARK_MISSING
    desk.prices[ETH.name] = "10"
    assert submits(desk.target("0", instrument=ETH.name)) == [(Side.SELL, dec(4))]


# --- equity and forgetting --------------------------------------------------------------------------------------------


def test_equity_is_cash_and_what_is_held_at_its_mark() -> None:
    desk = Desk(cash="1000")
    flat = desk.orders.mark_equity({}, NOW_NS)
    assert flat.record == [
        EquityMarked(ts_ns=NOW_NS, cash=dec(1000), unrealized_pnl=dec(0), equity=dec(1000), marks=())
    ]
    desk.fill(desk.place(qty="2"), price="100")
    desk.fill(desk.place(Side.SELL, qty="10", limit="10", instrument=ETH.name), price="10")
    desk.prices |= {NAME: "103.5", ETH.name: "11"}
    effects = desk.orders.mark_equity(desk.marks(), NOW_NS + 5)
    (entry,) = effects.record
    assert isinstance(entry, EquityMarked)
    assert (entry.ts_ns, entry.cash, entry.unrealized_pnl, entry.equity) == (NOW_NS + 5, dec(1000), dec(-3), dec(997))
    assert sorted(entry.marks) == [(NAME, dec(2), dec("103.5")), (ETH.name, dec(-10), dec(11))]
    assert (effects.send, effects.publish) == ([], [])
    desk.prices[ETH.name] = None
    assert desk.orders.mark_equity(desk.marks(), NOW_NS + 5).record == []


def test_the_deposit_is_the_first_entry() -> None:
    desk = Desk(cash="12.34")
    (entry,) = desk.record
    assert isinstance(entry, Deposited)
    assert {(p.account, p.amount) for p in entry.postings} == {("cash", dec("12.34")), ("equity", dec("-12.34"))}


def test_a_done_order_is_remembered_for_a_day() -> None:
    """Within 24 hours a fill that matched before the cancel is still booked; afterwards it is an unknown order."""
    desk = Desk()
    early, late = desk.place(qty="1"), desk.place(qty="1")
    for order in (early, late):
        desk.event(canceled(order.client_order_id))
    desk.now_ns = NOW_NS + DAY_NS
    desk.event(canceled(desk.place().client_order_id))
    assert kinds(desk.fill(early, trade="early")) == ["FillBooked"]
    desk.now_ns += 1
    desk.event(canceled(desk.place().client_order_id))
    with pytest.raises(InvariantBroken):
        desk.fill(late, trade="late")
    assert desk.orders.state.position_qty(NAME) == 1


def test_a_live_order_is_never_forgotten() -> None:
    """An order that rests for a week fills as if it had been sent today, and can be canceled."""
    desk = Desk()
    order, other = desk.place(qty="2"), desk.place(qty="1")
    for _ in range(7):
        desk.now_ns += DAY_NS
        desk.fill(desk.place(Side.SELL, qty="0.1", limit="101"), trade=f"day-{desk.now_ns}")
    assert kinds(desk.fill(order, trade="a", qty="1")) == ["FillBooked"]
    assert sorted(cancels(desk.wish(CancelOpen(instrument=NAME)))) == [order.client_order_id, other.client_order_id]


def test_a_late_fill_does_not_upset_the_forgetting() -> None:
    """Done, filled again a little, done long ago, and then a message of it once more: never a slip of our own."""
    desk = Desk()
    order = desk.place(qty="2")
    desk.event(canceled(order.client_order_id))
    desk.now_ns += HOUR_NS
    desk.fill(order, trade="a", qty="1")
    desk.now_ns += DAY_NS
    assert kinds(desk.fill(order, trade="b", qty="1")) == ["FillBooked"]
    desk.now_ns += DAY_NS
    desk.fill(desk.place(), trade="c")
    with pytest.raises(InvariantBroken):
        desk.event(canceled(order.client_order_id))
