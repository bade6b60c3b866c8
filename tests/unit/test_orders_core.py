"""All orders of a run: what a wish turns into, what is recorded before it is sent, and that everything counts once."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.orders import ClientOrderIds, Effects
from bot.core.risk import Denial
from bot.domain.errors import ConfigError, InvariantBroken
from bot.domain.instrument import Side
from bot.domain.ledger import (
    CancelIntended,
    DecisionMade,
    Deposited,
    EquityMarked,
    FillBooked,
    ForecastUsed,
    FundingBooked,
    OrderIntended,
    OrderReported,
    RiskDenied,
)
from bot.domain.orders import (
    AccountEvent,
    Action,
    CancelOpen,
    CancelOrder,
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderType,
    PlaceOrder,
    SubmitOrder,
    Target,
    TimeInForce,
)
from strategies.registry import find_strategy
from tests.support.desk import DAY_NS, LIMITS, NOW_NS, Desk
from tests.support.money import (
    BTC,
    ETH,
    HOUR_NS,
    NAME,
    SECOND_NS,
    accepted,
    cancel_rejected,
    canceled,
    dec,
    filled,
    funding_paid,
    rejected,
)

ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


def submits(effects: Effects) -> list[tuple[Side, Decimal]]:
    """Return what is sent, as side and quantity."""
    assert all(isinstance(command, SubmitOrder) for command in effects.send)
    return [(command.side, command.qty) for command in effects.send if isinstance(command, SubmitOrder)]


def kinds(effects: Effects) -> list[str]:
    """Return what is recorded, in order."""
    return [type(entry).__name__ for entry in effects.record]


def told(effects: Effects) -> list[AccountEvent | RiskDenied]:
    """Return what the strategy is told has happened."""
    return [notice.event for notice in effects.publish if notice.event is not None]


def denial(effects: Effects) -> str:
    """Return the code of the denial that is recorded and published, with nothing sent."""
    assert effects.send == []
    assert kinds(effects) == ["DecisionMade", "RiskDenied"]
    denied = effects.record[-1]
    assert isinstance(denied, RiskDenied)
    assert told(effects) == [denied]
    return denied.code


# --- targets ----------------------------------------------------------------------------------------------------------


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
@settings(max_examples=100, deadline=None)
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
            assert (target - desk.orders.position_qty(NAME)) * order.side.sign >= mine

    target = Decimal(0)
    for half_steps, parts in steps:
        target = Decimal(half_steps) * BTC.qty_step / 2
        send(desk.target(target))
        for index, quarters in parts:
            if live:
                fill(sorted(live)[index % len(live)], Decimal(quarters) / 4)
    while live:
        fill(next(iter(live)), Decimal(1))
    assert abs(target - desk.orders.position_qty(NAME)) < BTC.qty_step
    assert not live

    desk.orders.mark_equity(desk.marks(), desk.now_ns)
    (marked,) = desk.orders.mark_equity(desk.marks(), desk.now_ns).record
    assert isinstance(marked, EquityMarked)
    postings = [p for entry in desk.record for p in getattr(entry, "postings", ())]
    assert marked.cash == sum((p.amount for p in postings if p.account == "cash"), Decimal(0))
    booked = [entry.fill for entry in desk.record if isinstance(entry, FillBooked)]
    assert desk.orders.position_qty(NAME) == sum((f.qty * f.side.sign for f in booked), Decimal(0))
    assert sent == [entry.order.client_order_id for entry in desk.record if isinstance(entry, OrderIntended)]
    assert len(set(sent)) == len(sent)


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


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["a", "sma_cross", "buy-and-hold", "an_exceedingly_long_strategy_name", "X1"])
@pytest.mark.parametrize("epoch", [0, 1, 999_999])
def test_ids_are_unique_of_one_width_and_fit_the_venue(strategy: str, epoch: int) -> None:
    """At most 36 characters of [A-Za-z0-9_-], as Bybit allows, the same width for each order of every strategy."""
    ids = ClientOrderIds(environment="r", epoch=epoch)
    named = [ids.next(strategy) for _ in range(1000)] + [ids.next("other")]
    names = [name for name, _ in named]
    assert len(set(names)) == len(names)
    assert len({len(name) for name in names}) == 1
    assert all(ID.fullmatch(name) for name in names)
    assert [number for _, number in named] == list(range(1, 1002))


@pytest.mark.parametrize("strategy", ["sma.cross", "mein Größter", "a/b", "名前", "äöü", "x" * 13, "tab\t", "ok_1"])
def test_a_strategy_whose_name_the_venue_would_not_take_is_refused_or_renamed(strategy: str, tmp_path: Path) -> None:
    """Whoever names a strategy, either its name is refused at the start or its orders' ids are [A-Za-z0-9_-]."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from strategies.base import Strategy, StrategyParams\n\n\n"
        f"class Mine(Strategy):\n    name = {strategy!r}\n\n    class Params(StrategyParams):\n        pass\n",
        encoding="utf-8",
    )
    try:
        name = find_strategy(f"{file}:Mine").name
    except ConfigError:
        return
    assert ID.fullmatch(ClientOrderIds(environment="r", epoch=0).next(name)[0])


def test_ids_never_meet_across_epochs_and_environments() -> None:
    """Another start of the bot, or another environment, names none of its orders like this one."""
    names = {
        ClientOrderIds(environment=environment, epoch=epoch).next("s")[0]
        for environment in "rplt"
        for epoch in (0, 1, 10, 100)
    }
    assert len(names) == 16


# --- cancels ----------------------------------------------------------------------------------------------------------


def cancels(effects: Effects) -> list[str]:
    """Return the ids asked to be canceled; each is recorded before it is sent."""
    sent = [command for command in effects.send if isinstance(command, CancelOrder)]
    assert len(sent) == len(effects.send)
    recorded = [entry for entry in effects.record if isinstance(entry, CancelIntended)]
    assert [entry.cancel for entry in recorded] == sent
    assert kinds(effects) == ["DecisionMade", *["CancelIntended"] * len(sent)]
    return [command.client_order_id for command in sent]


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
    assert desk.orders.position_qty(NAME) == 1


def test_halted_means_no_order_and_still_every_cancel() -> None:
    desk = Desk()
    order = desk.place()
    assert [command.client_order_id for command in desk.halt().send] == [order.client_order_id]
    assert denial(desk.target("1.5")) == Denial.HALTED
    desk.event(cancel_rejected(order.client_order_id))
    sent = desk.wish(CancelOpen(instrument=NAME)).send  # once, whoever of the two asks
    assert [command.client_order_id for command in sent] == [order.client_order_id]
    assert kinds(desk.fill(order)) == ["FillBooked"]


# --- the venue's answers ----------------------------------------------------------------------------------------------


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
    assert desk.orders.position_qty(NAME) == 1
    desk.event(replace(event, trade_id="t2"))
    late = desk.event(event)
    assert (late.record, late.publish) == ([], [])
    assert desk.orders.position_qty(NAME) == 2


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
    assert desk.orders.position_qty(NAME) == 0


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
    assert desk.orders.position_qty(NAME) == desk.orders.position_qty(ETH.name) == 0


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
    assert desk.orders.position_qty(NAME) == 1


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
