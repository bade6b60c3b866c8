"""The gate on conditional orders, amendments and stops: each code at its very edge, and no protection in the way."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from bot.core.order import Order, apply, ask_amendment
from bot.core.risk import Book, Denial, Mark, RiskLimits, judge, judge_amendment, judge_stops, worst_case_qty
from bot.core.stops import Stops
from bot.core.trading_state import ACCOUNT, Cause, Latch, TradingState, Why
from bot.domain.account import Position
from bot.domain.instrument import Side
from bot.domain.orders import AmendOrder, ChangeStops, Exit, SubmitOrder, TriggerSource
from tests.support.money import BTC, NAME, accepted, dec, filled, submit
from tests.support.venue_side import exit_at, trigger_at, triggered

NOW_NS = 1_700_000_000_000_000_000
MARK = Mark(price=dec(100), ts_ns=NOW_NS)
STALE = Mark(price=dec(100), ts_ns=NOW_NS - 60_000_000_001)
LIMITS = RiskLimits(
    order_notional_max=dec(1_000),
    position_notional_max=dec(2_000),
    leverage_max=dec(3),
    price_collar=dec("0.05"),
    mark_age_ns_max=60_000_000_000,
    open_orders_max=3,
    orders_per_second_max=5,
)
HALT = Latch(scope=ACCOUNT, cause=Cause.PERSON, state=TradingState.HALTED, why=Why(detail="the button"))
REDUCE = Latch(scope=ACCOUNT, cause=Cause.DRAWDOWN, state=TradingState.REDUCING, why=Why(detail="lost too much"))
RESTING = apply(Order(request=submit(qty="5", limit="100")), accepted())
EXIT = apply(Order(request=submit(side=Side.SELL, qty="2", limit="101", reduce_only=True)), accepted())


def book(position: str = "0", *, orders: tuple[Order, ...] = (), sends: int = 0, equity: str = "1000000") -> Book:
    """Return the account: rich, flat and quiet unless told otherwise."""
    return Book(
        equity=dec(equity),
        position=Position(instrument=NAME, qty=dec(position), entry_value=dec(position) * 100),
        live=orders,
        others_notional=dec(0),
        recent_sends_ns=(NOW_NS,) * sends,
        now_ns=NOW_NS,
    )


def submit_with(**asked: Any) -> SubmitOrder:
    """Return an order with a trigger or with exits."""
    parts = {name: asked.pop(name) for name in ("trigger", "take_profit", "stop_loss") if name in asked}
    return replace(submit(**asked), **parts)


def sent(order: SubmitOrder, account: Book | None = None, **asked: Any) -> Denial | None:
    """Return the gate's code for an order."""
    usual: dict[str, Any] = {"instrument": BTC, "mark": MARK, "limits": LIMITS, "hold": None}
    return code(judge(order, book=account or book(), **(usual | asked)))


def amend(order: Order = RESTING, account: Book | None = None, *, number: int = 1, **asked: Any) -> Denial | None:
    """Return the gate's code for an amendment."""
    parts = {name: dec(asked.pop(name)) for name in ("qty", "limit_price", "trigger_price") if name in asked}
    change = AmendOrder(client_order_id="o1", order_number=1, amend_number=number, instrument=NAME, **parts)
    usual: dict[str, Any] = {"instrument": BTC, "mark": MARK, "limits": LIMITS, "hold": None}
    return code(judge_amendment(order, change, book=account or book(), **(usual | asked)))


def stops(account: Book | None = None, held: Stops | None = None, **asked: Any) -> Denial | None:
    """Return the gate's code for a change of stops, by default of a long position."""
    names = ("take_profit", "stop_loss", "trailing_distance")
    parts = {name: asked.pop(name) for name in names if name in asked}
    parts = {name: dec(value) if name == "trailing_distance" else _exit(value) for name, value in parts.items()}
    change = ChangeStops(request_id="s1", order_number=1, instrument=NAME, **parts)
    usual: dict[str, Any] = {"instrument": BTC, "mark": MARK, "limits": LIMITS, "hold": None}
    return code(judge_stops(change, held or Stops(), book=account or book("1"), **(usual | asked)))


def _exit(value: str | Exit) -> Exit:
    return exit_at(value) if isinstance(value, str) else value


def code(denial: tuple[Denial, str] | None) -> Denial | None:
    """Return the code, and hold the words to one line."""
    if denial is None:
        return None
    assert denial[1]
    assert "\n" not in denial[1]
    return denial[0]


def waiting(price: str = "105") -> Order:
    """Return a buy that waits for a rise to `price`."""
    return apply(Order(request=submit_with(qty="5", trigger=trigger_at(price))), accepted())


def asked_for(order: Order, qty: str) -> Order:
    """Return the order with an amendment on its way."""
    change = AmendOrder(client_order_id="o1", order_number=1, amend_number=1, instrument=NAME, qty=dec(qty))
    return ask_amendment(order, change, NOW_NS)


Case = Callable[[], Denial | None]

# What is just inside, and what is just outside.
EDGES: dict[str, tuple[Denial, Case, Case]] = {
    "a trigger on the tick": (
        Denial.TRIGGER_INVALID,
        lambda: sent(submit_with(trigger=trigger_at("105.1"))),
        lambda: sent(submit_with(trigger=trigger_at("105.15"))),
    ),
    "a trigger above nothing": (
        Denial.TRIGGER_INVALID,
        lambda: sent(submit_with(qty="10", trigger=trigger_at("0.5", is_rise=False))),
        lambda: sent(submit_with(qty="10", trigger=trigger_at("0", is_rise=False))),
    ),
    "the limit of a conditional order near its trigger": (
        Denial.PRICE_COLLAR,
        lambda: sent(submit_with(limit="210", trigger=trigger_at("200"))),
        lambda: sent(submit_with(limit="210.1", trigger=trigger_at("200"))),
    ),
    "a conditional market order is worth what it triggers at": (
        Denial.NOTIONAL_ABOVE_MAX,
        lambda: sent(submit_with(qty="5", trigger=trigger_at("200"))),
        lambda: sent(submit_with(qty="5", trigger=trigger_at("200.1"))),
    ),
    "conditional orders count in the worst case": (
        Denial.POSITION_ABOVE_MAX,
        lambda: sent(submit(qty="10"), book("5", orders=(waiting(),))),
        lambda: sent(submit(qty="10"), book("5.001", orders=(waiting(),))),
    ),
    "an order's stop loss against it": (
        Denial.STOPS_INVALID,
        lambda: sent(submit_with(stop_loss=exit_at("99.9"))),
        lambda: sent(submit_with(stop_loss=exit_at("100"))),
    ),
    "an order's take profit in its favour, from its own limit": (
        Denial.STOPS_INVALID,
        lambda: sent(submit_with(side=Side.SELL, limit="102", take_profit=exit_at("101.9"))),
        lambda: sent(submit_with(side=Side.SELL, limit="102", take_profit=exit_at("102"))),
    ),
    "an order's exit is no way to take one away": (
        Denial.STOPS_INVALID,
        lambda: sent(submit_with(stop_loss=exit_at("0.1"))),
        lambda: sent(submit_with(stop_loss=exit_at("0"))),
    ),
    "amendments one after the other": (
        Denial.AMEND_PENDING,
        lambda: amend(RESTING, qty="4"),
        lambda: amend(asked_for(RESTING, "3"), qty="4"),
    ),
    "an amendment that changes something": (
        Denial.AMEND_INVALID,
        lambda: amend(qty="5.001", limit_price="100"),
        lambda: amend(qty="5", limit_price="100"),
    ),
    "an amendment that asks for something": (
        Denial.AMEND_INVALID,
        lambda: amend(qty="4"),
        amend,
    ),
    "an amendment above what has filled": (
        Denial.AMEND_INVALID,
        lambda: amend(apply(RESTING, filled(qty="2")), book("2"), qty="2.001"),
        lambda: amend(apply(RESTING, filled(qty="2")), book("2"), qty="2"),
    ),
    "a limit for what has one": (
        Denial.AMEND_INVALID,
        lambda: amend(RESTING, limit_price="101"),
        lambda: amend(Order(request=submit(qty="5")), limit_price="101"),
    ),
    "a trigger for what waits": (
        Denial.AMEND_INVALID,
        lambda: amend(waiting(), trigger_price="106"),
        lambda: amend(apply(waiting(), triggered()), trigger_price="106"),
    ),
    "an amended trigger on the tick": (
        Denial.TRIGGER_INVALID,
        lambda: amend(waiting(), trigger_price="106.1"),
        lambda: amend(waiting(), trigger_price="106.11"),
    ),
    "an amended quantity on the step": (
        Denial.QTY_OFF_STEP,
        lambda: amend(qty="6.001"),
        lambda: amend(qty="6.0005"),
    ),
    "an amended limit within the collar": (
        Denial.PRICE_COLLAR,
        lambda: amend(limit_price="105"),
        lambda: amend(limit_price="105.1"),
    ),
    "an amended order's value": (
        Denial.NOTIONAL_ABOVE_MAX,
        lambda: amend(qty="10"),
        lambda: amend(qty="10.001"),
    ),
    "an amended order in the worst case": (
        Denial.POSITION_ABOVE_MAX,
        lambda: amend(account=book("12"), qty="8"),
        lambda: amend(account=book("12"), qty="8.001"),
    ),
    "a raise of an exit up to the position": (
        Denial.REDUCE_ONLY_INCREASES,
        lambda: amend(EXIT, book("3"), qty="3"),
        lambda: amend(EXIT, book("3"), qty="3.001"),
    ),
    "an amendment with a fresh mark": (
        Denial.MARK_STALE,
        lambda: amend(qty="6"),
        lambda: amend(qty="6", mark=STALE),
    ),
    "an amendment while halted": (
        Denial.HALTED,
        lambda: amend(qty="4"),
        lambda: amend(qty="4", hold=HALT),
    ),
    "a raise while reducing": (
        Denial.REDUCING,
        lambda: amend(qty="6"),
        lambda: amend(qty="6", hold=REDUCE),
    ),
    "amendments within a second": (
        Denial.ORDER_RATE,
        lambda: amend(account=book(sends=4), qty="4"),
        lambda: amend(account=book(sends=5), qty="4"),
    ),
    "stops of a position": (
        Denial.NO_POSITION,
        lambda: stops(book("0.001"), stop_loss="90"),
        lambda: stops(book("0"), stop_loss="90"),
    ),
    "stops of an instrument that is traded": (
        Denial.INSTRUMENT_UNKNOWN,
        lambda: stops(stop_loss="90"),
        lambda: stops(stop_loss="90", instrument=None),
    ),
    "stops that ask for something": (
        Denial.STOPS_INVALID,
        lambda: stops(trailing_distance="0"),
        stops,
    ),
    "a stop loss on the tick": (
        Denial.STOPS_INVALID,
        lambda: stops(stop_loss="90.1"),
        lambda: stops(stop_loss="90.11"),
    ),
    "a stop loss below a long": (
        Denial.STOPS_INVALID,
        lambda: stops(stop_loss="99.9"),
        lambda: stops(stop_loss="100"),
    ),
    "a stop loss above a short": (
        Denial.STOPS_INVALID,
        lambda: stops(book("-1"), stop_loss="100.1"),
        lambda: stops(book("-1"), stop_loss="100"),
    ),
    "a take profit above a long": (
        Denial.STOPS_INVALID,
        lambda: stops(take_profit="100.1"),
        lambda: stops(take_profit="100"),
    ),
    "a trailing distance on the tick": (
        Denial.STOPS_INVALID,
        lambda: stops(trailing_distance="0.1"),
        lambda: stops(trailing_distance="0.11"),
    ),
    "stops while halted": (
        Denial.HALTED,
        lambda: stops(stop_loss="90"),
        lambda: stops(stop_loss="90", hold=HALT),
    ),
    "a stop loss while reducing comes nearer": (
        Denial.REDUCING,
        lambda: stops(held=Stops(stop_loss=dec(90)), stop_loss="90.1", hold=REDUCE),
        lambda: stops(held=Stops(stop_loss=dec(90)), stop_loss="89.9", hold=REDUCE),
    ),
    "a take profit while reducing comes nearer": (
        Denial.REDUCING,
        lambda: stops(book("-1"), Stops(take_profit=dec(90)), take_profit="90.1", hold=REDUCE),
        lambda: stops(book("-1"), Stops(take_profit=dec(90)), take_profit="89.9", hold=REDUCE),
    ),
    "a trailing stop while reducing is not taken away": (
        Denial.REDUCING,
        lambda: stops(held=Stops(trailing_distance=dec(5)), trailing_distance="5", hold=REDUCE),
        lambda: stops(held=Stops(trailing_distance=dec(5)), trailing_distance="0", hold=REDUCE),
    ),
    "changes of stops within a second": (
        Denial.ORDER_RATE,
        lambda: stops(book("1", sends=4), stop_loss="90"),
        lambda: stops(book("1", sends=5), stop_loss="90"),
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_just_inside_passes_and_just_outside_is_denied(name: str) -> None:
    """Each limit lies exactly where it says, and its own code says which it was."""
    denial, inside, outside = EDGES[name]
    assert inside() is None
    assert outside() is denial


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+999999", "-1", "0"])
def test_no_impossible_number_passes(number: str) -> None:
    """Wherever it stands; and the gate itself never fails."""
    assert sent(submit_with(trigger=trigger_at(number))) is not None
    assert sent(submit_with(limit="100", stop_loss=exit_at(number))) is not None
    assert amend(qty=number) is not None
    assert amend(limit_price=number) is not None
    assert amend(waiting(), trigger_price=number) is not None
    if number != "0":  # which takes one away
        assert stops(stop_loss=number) is not None
        assert stops(take_profit=number) is not None
        assert stops(trailing_distance=number) is not None


def test_a_smaller_quantity_passes_whatever_else_is_wrong() -> None:
    """A part of a cancel makes the account safer: no size, no mark, no state but a halt stands in its way."""
    poor = book("100", equity="1")
    assert amend(RESTING, poor, qty="4") is None
    assert amend(RESTING, poor, qty="6") is not None
    assert amend(RESTING, qty="4", mark=None) is None
    assert amend(RESTING, qty="4", hold=REDUCE) is None
    assert amend(RESTING, qty="4", limit_price="101", hold=REDUCE) is Denial.REDUCING


def test_an_exit_may_be_amended_while_reducing() -> None:
    """Reduce-only, and what could not turn the position over."""
    assert amend(EXIT, book("3"), limit_price="100", hold=REDUCE) is None
    leaving = apply(Order(request=submit(side=Side.SELL, qty="2", limit="101")), accepted())
    assert amend(leaving, book("3"), limit_price="100", qty="3", hold=REDUCE) is None
    assert amend(leaving, book("3"), limit_price="100", qty="3.001", hold=REDUCE) is Denial.REDUCING


def test_the_larger_of_old_and_new_is_judged() -> None:
    """A cut that is not answered yet may have come too late: with a new price the old quantity counts still."""
    assert amend(RESTING, book("15"), qty="4", limit_price="99") is None
    assert amend(RESTING, book("15.001"), qty="4", limit_price="99") is Denial.POSITION_ABOVE_MAX


def test_stops_need_no_mark() -> None:
    """A stale price keeps nobody from protecting what is held; the side is then the venue's to judge."""
    for mark in (None, STALE):
        assert stops(stop_loss="90", mark=mark) is None
        assert stops(stop_loss="120", mark=mark) is None


def test_an_exit_at_another_price_is_not_compared_with_the_last() -> None:
    """What the mark price is, only the venue knows."""
    assert stops(stop_loss=Exit(price=dec("100.5"), source=TriggerSource.MARK)) is None


def test_taking_stops_away_passes_only_while_active() -> None:
    for name, value in (("take_profit", dec(110)), ("stop_loss", dec(90))):
        held = Stops(**{name: value})
        assert stops(held=held, **{name: "0"}) is None
        assert stops(held=held, **{name: "0"}, hold=REDUCE) is Denial.REDUCING


def test_a_first_stop_is_welcome_while_reducing() -> None:
    assert stops(stop_loss="90", take_profit="110", trailing_distance="5", hold=REDUCE) is None


def test_a_conditional_exit_counts_for_nothing_in_the_worst_case() -> None:
    """Reduce-only ones can not increase a position, whenever they trigger."""
    stop = submit_with(side=Side.SELL, qty="5", reduce_only=True, trigger=trigger_at("90", is_rise=False))
    assert sent(submit(side=Side.SELL, qty="10"), book("-10", orders=(Order(request=stop),))) is None
    assert sent(
        submit(side=Side.SELL, qty="10"), book("-10", orders=(Order(request=replace(stop, reduce_only=False)),))
    )


def test_what_only_reduces_may_come_first() -> None:
    """Then what turns the position over reaches farther, by what was reduced: as far as flat, and not beyond."""
    short = Position(instrument=NAME, qty=dec(-10), entry_value=dec(-1000))

    def worst(buys: str, exits: str, *, has_stops: bool = False) -> Decimal:
        leaving = Order(request=submit(2, qty=exits, limit="99", reduce_only=True))
        return worst_case_qty(short, [leaving], submit(qty=buys), has_stops=has_stops)

    assert worst("20", "0.001") == dec("10.001")
    assert worst("20", "4") == 14
    assert worst("20", "10") == worst("20", "15") == worst("20", "1", has_stops=True) == 20
    assert worst("3", "10", has_stops=True) == 10
    assert worst_case_qty(short, [], submit(side=Side.SELL, qty="5"), has_stops=True) == 15


def test_the_gate_counts_stops_that_may_come_first() -> None:
    """Turning over is denied where the stop and the order together would exceed the limit."""
    account = book("-10")
    assert sent(submit(qty="20"), account, limits=replace(LIMITS, order_notional_max=dec(5000))) is None
    wide = replace(LIMITS, order_notional_max=dec(5000), position_notional_max=dec(1999))
    assert sent(submit(qty="20"), account, limits=wide) is None
    assert sent(submit(qty="20"), replace(account, has_stops=True), limits=wide) is Denial.POSITION_ABOVE_MAX


def test_amendments_of_a_part_filled_order_judge_what_is_left() -> None:
    """The position holds what has filled already."""
    part = apply(RESTING, filled(qty="4"))
    assert amend(part, book("4"), qty="14") is None
    assert amend(part, book("4"), qty="14.001") is Denial.NOTIONAL_ABOVE_MAX
    assert part.remaining_qty == Decimal(1)
