"""The gate: each code at its limit's very edge, no number that is none gets through, and exits are never in the way."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.order import Order, apply
from bot.core.risk import Denial, RiskLimits, worst_case_qty
from bot.core.trading_state import Cause
from bot.domain.account import Position
from bot.domain.instrument import Side
from bot.domain.orders import OrderType
from tests.support.examples import examples
from tests.support.gate import BIG, HALT, LIMITS, MARK, NOW_NS, WIDE, book, held, live, verdict
from tests.support.money import BTC, NAME, accepted, canceled, dec, filled, submit
from tests.unit.test_risk_changes import EDGES as CHANGE_EDGES

Case = Callable[[], Denial | None]

# The edge of every limit: what is just inside, and what is just outside.
EDGES: dict[str, tuple[Denial, Case, Case]] = {
    "halted": (
        Denial.HALTED,
        lambda: verdict(submit(), hold=None),
        lambda: verdict(submit(), hold=HALT),
    ),
    "halted also for an exit": (
        Denial.HALTED,
        lambda: verdict(submit(side=Side.SELL, reduce_only=True), book(position="1")),
        lambda: verdict(submit(side=Side.SELL, reduce_only=True), book(position="1"), hold=HALT),
    ),
    "instrument unknown": (
        Denial.INSTRUMENT_UNKNOWN,
        lambda: verdict(submit(), instrument=BTC),
        lambda: verdict(submit(), instrument=None),
    ),
    "mark missing": (
        Denial.MARK_MISSING,
        lambda: verdict(submit(), mark=MARK),
        lambda: verdict(submit(), mark=None),
    ),
    "mark of the greatest age": (
        Denial.MARK_STALE,
        lambda: verdict(submit(), mark=replace(MARK, ts_ns=NOW_NS - 60_000_000_000)),
        lambda: verdict(submit(), mark=replace(MARK, ts_ns=NOW_NS - 60_000_000_001)),
    ),
    "mark of this very moment": (
        Denial.MARK_STALE,
        lambda: verdict(submit(), mark=replace(MARK, ts_ns=NOW_NS)),
        lambda: verdict(submit(), mark=replace(MARK, ts_ns=NOW_NS + 1)),
    ),
    "mark a positive number": (
        Denial.MARK_INVALID,
        lambda: verdict(submit(qty="100"), mark=replace(MARK, price=dec("0.05")), limits=WIDE, instrument=BIG),
        lambda: verdict(submit(qty="100"), mark=replace(MARK, price=dec("0")), limits=WIDE, instrument=BIG),
    ),
    "account of numbers": (
        Denial.ACCOUNT_INVALID,
        lambda: verdict(submit(), book(others="0")),
        lambda: verdict(submit(), book(others="NaN")),
    ),
    "limits of numbers": (
        Denial.LIMITS_INVALID,
        lambda: verdict(submit(), limits=replace(LIMITS, price_collar=dec("0"))),
        lambda: verdict(submit(), limits=replace(LIMITS, price_collar=dec("NaN"))),
    ),
    "quantity above zero": (
        Denial.QTY_INVALID,
        lambda: verdict(submit(qty="1")),
        lambda: verdict(submit(qty="0")),
    ),
    "quantity not negative": (
        Denial.QTY_INVALID,
        lambda: verdict(submit(qty="1")),
        lambda: verdict(submit(qty="-1")),
    ),
    "quantity on the step": (
        Denial.QTY_OFF_STEP,
        lambda: verdict(submit(qty="1.001")),
        lambda: verdict(submit(qty="1.0011")),
    ),
    "quantity on the step to the last digit": (
        Denial.QTY_OFF_STEP,
        lambda: verdict(submit(qty="1.000000000000")),
        lambda: verdict(submit(qty="1.0000000000000000000000001")),
    ),
    "least quantity": (
        Denial.QTY_BELOW_MIN,
        lambda: verdict(submit(qty="0.002"), instrument=replace(BTC, notional_min=dec(0))),
        lambda: verdict(submit(qty="0.001"), instrument=replace(BTC, notional_min=dec(0))),
    ),
    "greatest quantity": (
        Denial.QTY_ABOVE_MAX,
        lambda: verdict(submit(qty="50"), limits=WIDE),
        lambda: verdict(submit(qty="50.001"), limits=WIDE),
    ),
    "limit order with its price": (
        Denial.PRICE_INVALID,
        lambda: verdict(submit(order_type=OrderType.LIMIT, limit="100")),
        lambda: verdict(submit(order_type=OrderType.LIMIT)),
    ),
    "market order without a price": (
        Denial.PRICE_INVALID,
        lambda: verdict(submit(order_type=OrderType.MARKET)),
        lambda: verdict(submit(order_type=OrderType.MARKET, limit="100")),
    ),
    "price above zero": (
        Denial.PRICE_INVALID,
        lambda: verdict(submit(limit="100")),
        lambda: verdict(submit(limit="0")),
    ),
    "price not negative": (
        Denial.PRICE_INVALID,
        lambda: verdict(submit(limit="100")),
        lambda: verdict(submit(limit="-100")),
    ),
    "price on the tick": (
        Denial.PRICE_OFF_TICK,
        lambda: verdict(submit(limit="100.1")),
        lambda: verdict(submit(limit="100.15")),
    ),
    "collar above": (
        Denial.PRICE_COLLAR,
        lambda: verdict(submit(limit="105")),
        lambda: verdict(submit(limit="105.1")),
    ),
    "collar below": (
        Denial.PRICE_COLLAR,
        lambda: verdict(submit(limit="95")),
        lambda: verdict(submit(limit="94.9")),
    ),
    "collar of a sell": (
        Denial.PRICE_COLLAR,
        lambda: verdict(submit(side=Side.SELL, limit="95")),
        lambda: verdict(submit(side=Side.SELL, limit="94.9")),
    ),
    "collar also for an exit": (
        Denial.PRICE_COLLAR,
        lambda: verdict(submit(side=Side.SELL, limit="105", reduce_only=True), book(position="1")),
        lambda: verdict(submit(side=Side.SELL, limit="105.1", reduce_only=True), book(position="1")),
    ),
    "least value": (
        Denial.NOTIONAL_BELOW_MIN,
        lambda: verdict(submit(qty="0.050")),
        lambda: verdict(submit(qty="0.049")),
    ),
    "least value at its limit price": (
        Denial.NOTIONAL_BELOW_MIN,
        lambda: verdict(submit(qty="0.05", limit="100")),
        lambda: verdict(submit(qty="0.05", limit="99.9")),
    ),
    "greatest value of an order": (
        Denial.NOTIONAL_ABOVE_MAX,
        lambda: verdict(submit(qty="10")),
        lambda: verdict(submit(qty="10.001")),
    ),
    "greatest value of an order at its limit price": (
        Denial.NOTIONAL_ABOVE_MAX,
        lambda: verdict(submit(qty="10", limit="100")),
        lambda: verdict(submit(qty="10", limit="100.1")),
    ),
    "greatest position long": (
        Denial.POSITION_ABOVE_MAX,
        lambda: verdict(submit(qty="5"), book(position="15")),
        lambda: verdict(submit(qty="5.001"), book(position="15")),
    ),
    "greatest position short": (
        Denial.POSITION_ABOVE_MAX,
        lambda: verdict(submit(side=Side.SELL, qty="5"), book(position="-15")),
        lambda: verdict(submit(side=Side.SELL, qty="5.001"), book(position="-15")),
    ),
    "greatest position with what may still be bought": (
        Denial.POSITION_ABOVE_MAX,
        lambda: verdict(submit(qty="5"), book(position="10", orders=live((Side.BUY, "3"), (Side.BUY, "2")))),
        lambda: verdict(submit(qty="5"), book(position="10", orders=live((Side.BUY, "3"), (Side.BUY, "2.001")))),
    ),
    "greatest position with what may still be sold": (
        Denial.POSITION_ABOVE_MAX,
        lambda: verdict(submit(side=Side.SELL, qty="9"), book(position="-8", orders=live((Side.SELL, "3")))),
        lambda: verdict(submit(side=Side.SELL, qty="9"), book(position="-8", orders=live((Side.SELL, "3.001")))),
    ),
    "sells do not make room for buys": (
        Denial.POSITION_ABOVE_MAX,
        lambda: verdict(submit(qty="5"), book(position="15", orders=live((Side.SELL, "15")))),
        lambda: verdict(submit(qty="5.001"), book(position="15", orders=live((Side.SELL, "15")))),
    ),
    "an order through zero that ends too far on the other side": (
        Denial.POSITION_ABOVE_MAX,
        lambda: verdict(submit(side=Side.SELL, qty="10"), book(position="4", orders=live((Side.SELL, "14")))),
        lambda: verdict(submit(side=Side.SELL, qty="10"), book(position="4", orders=live((Side.SELL, "14.001")))),
    ),
    "only exits": (
        Denial.REDUCING,
        lambda: verdict(submit(side=Side.SELL, qty="1"), book(position="1"), hold=held(Cause.DRAWDOWN)),
        lambda: verdict(submit(side=Side.SELL, qty="1.001"), book(position="1"), hold=held(Cause.DRAWDOWN)),
    ),
    "only exits, with what is leaving already": (
        Denial.REDUCING,
        lambda: verdict(
            submit(side=Side.SELL), book(position="2", orders=live((Side.SELL, "1"))), hold=held(Cause.DAILY_LOSS)
        ),
        lambda: verdict(
            submit(side=Side.SELL), book(position="2", orders=live((Side.SELL, "1.001"))), hold=held(Cause.DAILY_LOSS)
        ),
    ),
    **{
        f"a pause, {cause}": (
            code,
            lambda cause=cause: verdict(submit(side=Side.BUY), book(position="-1"), hold=held(cause)),
            lambda cause=cause: verdict(submit(side=Side.BUY), book(position="0"), hold=held(cause)),
        )
        for cause, code in (
            (Cause.STOP_GUARD, Denial.STOP_GUARD),
            (Cause.LOW_PROFIT, Denial.LOW_PROFIT),
            (Cause.REPEATED, Denial.REPEATED),
            (Cause.COOLDOWN, Denial.COOLDOWN),
            (Cause.DOUBT, Denial.IN_DOUBT),
        )
    },
    "open positions": (
        Denial.OPEN_POSITIONS_ABOVE_MAX,
        lambda: verdict(submit(), replace(book(), other_positions=1), limits=replace(LIMITS, open_positions_max=2)),
        lambda: verdict(submit(), replace(book(), other_positions=2), limits=replace(LIMITS, open_positions_max=2)),
    ),
    "open positions, adding to one": (
        Denial.OPEN_POSITIONS_ABOVE_MAX,
        lambda: verdict(
            submit(), replace(book(position="1"), other_positions=2), limits=replace(LIMITS, open_positions_max=2)
        ),
        lambda: verdict(submit(), replace(book(), other_positions=3), limits=replace(LIMITS, open_positions_max=2)),
    ),
    "no equity for an entry": (
        Denial.NO_EQUITY,
        lambda: verdict(submit(), book(equity="100")),
        lambda: verdict(submit(), book(equity="0")),
    ),
    "negative equity": (
        Denial.NO_EQUITY,
        lambda: verdict(submit(), book(equity="100")),
        lambda: verdict(submit(), book(equity="-1")),
    ),
    "unknown equity": (
        Denial.NO_EQUITY,
        lambda: verdict(submit(), book(equity="100")),
        lambda: verdict(submit(), book(equity=None)),
    ),
    "leverage": (
        Denial.LEVERAGE_ABOVE_MAX,
        lambda: verdict(submit(qty="3"), book(equity="100")),
        lambda: verdict(submit(qty="3.001"), book(equity="100")),
    ),
    "leverage of a little less equity": (
        Denial.LEVERAGE_ABOVE_MAX,
        lambda: verdict(submit(qty="3"), book(equity="100")),
        lambda: verdict(submit(qty="3"), book(equity="99.999999")),
    ),
    "leverage with all that may still fill": (
        Denial.LEVERAGE_ABOVE_MAX,
        lambda: verdict(submit(qty="1"), book(equity="100", position="1", orders=live((Side.BUY, "1")))),
        lambda: verdict(submit(qty="1"), book(equity="100", position="1", orders=live((Side.BUY, "1.001")))),
    ),
    "leverage with the other instruments": (
        Denial.LEVERAGE_ABOVE_MAX,
        lambda: verdict(submit(qty="1"), book(equity="100", others="200")),
        lambda: verdict(submit(qty="1"), book(equity="100", others="200.000001")),
    ),
    "open orders": (
        Denial.OPEN_ORDERS_ABOVE_MAX,
        lambda: verdict(submit(), book(orders=live((Side.BUY, "1"), (Side.SELL, "1")))),
        lambda: verdict(submit(), book(orders=live((Side.BUY, "1"), (Side.SELL, "1"), (Side.SELL, "1")))),
    ),
    "orders within a second": (
        Denial.ORDER_RATE,
        lambda: verdict(submit(), book(sends_ns=(NOW_NS - 1_000_000_000,) + (NOW_NS - 999_999_999,) * 4)),
        lambda: verdict(submit(), book(sends_ns=(NOW_NS - 999_999_999,) * 5)),
    ),
    "orders of this very moment": (
        Denial.ORDER_RATE,
        lambda: verdict(submit(), book(sends_ns=(NOW_NS,) * 4)),
        lambda: verdict(submit(), book(sends_ns=(NOW_NS,) * 5)),
    ),
    "reduce-only up to the position": (
        Denial.REDUCE_ONLY_INCREASES,
        lambda: verdict(submit(side=Side.SELL, qty="1.5", reduce_only=True), book(position="1.5")),
        lambda: verdict(submit(side=Side.SELL, qty="1.501", reduce_only=True), book(position="1.5")),
    ),
    "reduce-only of a short": (
        Denial.REDUCE_ONLY_INCREASES,
        lambda: verdict(submit(qty="1.5", reduce_only=True), book(position="-1.5")),
        lambda: verdict(submit(qty="1.501", reduce_only=True), book(position="-1.5")),
    ),
    "reduce-only on the position's side": (
        Denial.REDUCE_ONLY_INCREASES,
        lambda: verdict(submit(side=Side.SELL, reduce_only=True), book(position="1")),
        lambda: verdict(submit(side=Side.BUY, reduce_only=True), book(position="1")),
    ),
    "reduce-only without a position": (
        Denial.REDUCE_ONLY_INCREASES,
        lambda: verdict(submit(side=Side.SELL, reduce_only=True), book(position="1")),
        lambda: verdict(submit(side=Side.SELL, reduce_only=True), book(position="0")),
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_just_inside_passes_and_just_outside_is_denied(name: str) -> None:
    """Each limit lies exactly where it says, and its own code says which it was."""
    code, inside, outside = EDGES[name]
    assert inside() is None
    assert outside() is code


def test_every_code_has_an_edge() -> None:
    """A code that no case triggers would be a check that nobody knows to work."""
    edges = [*EDGES.values(), *CHANGE_EDGES.values()]
    # Orders alone know these: test_order_changes.py, test_execution.py, test_legs.py
    by_orders = {Denial.ORDER_NOT_OPEN, Denial.TARGET_DROPPED, Denial.OTHER_LEG}
    assert {code for code, _, _ in edges} | by_orders == set(Denial)


# --- exits ------------------------------------------------------------------------------------------------------------

STRICT = replace(LIMITS, order_notional_max=dec(1), position_notional_max=dec(1), leverage_max=dec("0.001"))


@pytest.mark.parametrize("reduce_only", [False, True])
@pytest.mark.parametrize(("position", "side"), [("5", Side.SELL), ("-5", Side.BUY)])
@pytest.mark.parametrize("qty", ["0.002", "4.999", "5"])
@pytest.mark.parametrize("equity", ["0", "-1000", None, "1"])
def test_no_limit_of_size_stands_in_the_way_of_an_exit(
    qty: str, position: str, side: Side, reduce_only: bool, equity: str | None
) -> None:
    """What only makes the position smaller passes above every limit of value, below the least, and without equity."""
    order = submit(side=side, qty=qty, reduce_only=reduce_only)
    assert verdict(order, book(position=position, equity=equity), limits=STRICT) is None


@pytest.mark.parametrize(("position", "side"), [("5", Side.SELL), ("-5", Side.BUY)])
@pytest.mark.parametrize("qty", ["5.001", "7", "10"])
@pytest.mark.parametrize(
    ("account", "limits"),
    [({"equity": "-1"}, LIMITS), ({"equity": None}, LIMITS), ({}, STRICT), ({"equity": "100"}, LIMITS)],
)
def test_a_flip_is_no_exit(qty: str, position: str, side: Side, account: dict[str, Any], limits: RiskLimits) -> None:
    """An order of more than the position opens the other side: the limits of an entry hold for it."""
    if account.get("equity") == "100":
        limits = replace(limits, leverage_max=dec("0.0001"))
    assert verdict(submit(side=side, qty=qty), book(position=position, **account), limits=limits) is not None


@pytest.mark.parametrize(("position", "side"), [("5", Side.SELL), ("-5", Side.BUY)])
def test_exits_that_flip_together_are_no_exits(position: str, side: Side) -> None:
    """A second exit beside one that already closes the position would open the other side."""
    account = book(position=position, equity="-1", orders=live((side, "5")))
    assert verdict(submit(side=side, qty="5"), account) is not None
    part = book(position=position, equity="-1", orders=live((side, "4")))
    assert verdict(submit(side=side, qty="1"), part) is None
    assert verdict(submit(side=side, qty="1.001"), part) is not None


def test_an_exit_beside_an_entry_still_passes() -> None:
    """What may still be bought does not keep what is held from being sold."""
    account = book(position="5", equity="-1", orders=live((Side.BUY, "5")))
    assert verdict(submit(side=Side.SELL, qty="5"), account, limits=STRICT) is None


# --- worst case -------------------------------------------------------------------------------------------------------


def test_the_worst_case_is_that_of_one_side_filling() -> None:
    """Buys and sells do not cancel each other out: either side may fill alone."""
    long = Position(instrument=NAME, qty=dec(3))
    short = Position(instrument=NAME, qty=dec(-3))
    orders = live((Side.BUY, "2"), (Side.SELL, "10"), (Side.BUY, "1"))
    assert worst_case_qty(long, ()) == 3
    assert worst_case_qty(long, orders) == 7
    assert worst_case_qty(short, orders) == 13
    assert worst_case_qty(long, orders, submit(side=Side.BUY, qty="6")) == 12
    assert worst_case_qty(long, orders, submit(side=Side.SELL, qty="6")) == 13


def test_the_worst_case_counts_what_remains() -> None:
    """Of an order that is partly filled only the rest counts, of a done one nothing, of reduce-only nothing."""
    flat = Position(instrument=NAME)
    order = Order(request=submit(qty="4"))
    part = apply(apply(order, accepted()), filled(qty="1"))
    assert worst_case_qty(flat, [part]) == 3
    assert worst_case_qty(flat, [apply(part, canceled())]) == 0
    assert worst_case_qty(flat, live((Side.BUY, "4"), reduce_only=True)) == 0
    assert worst_case_qty(flat, [], submit(qty="4", reduce_only=True)) == 0


ORDERS = st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 20).map(lambda n: str(Decimal(n) / 2))), max_size=2)


@given(
    position=st.integers(-60, 60).map(lambda n: str(Decimal(n) / 2)),
    orders=ORDERS,
    side=st.sampled_from(Side),
    qty=st.integers(1, 60).map(lambda n: str(Decimal(n) / 2)),
    equity=st.one_of(st.none(), st.integers(-10, 2000).map(str)),
    others=st.integers(0, 1500).map(str),
    limit=st.one_of(st.none(), st.integers(940, 1060).map(lambda n: str(Decimal(n) / 10))),
)
@settings(max_examples=examples(300), deadline=None)
def test_what_passes_keeps_every_limit_or_only_closes(
    position: str,
    orders: list[tuple[Side, str]],
    side: Side,
    qty: str,
    equity: str | None,
    others: str,
    limit: str | None,
) -> None:
    """Invariants R1 to R3, recomputed: after an order that passed, nothing is beyond its limit, unless it can only
    bring the position nearer to zero, even if all orders of its side fill."""
    order = submit(side=side, qty=qty, limit=limit)
    if verdict(order, book(position=position, orders=live(*orders), equity=equity, others=others)) is not None:
        return
    start = Decimal(position)
    asked = [*((s, Decimal(q)) for s, q in orders), (side, Decimal(qty))]
    long = start + sum(q for s, q in asked if s is Side.BUY)
    short = start - sum(q for s, q in asked if s is Side.SELL)
    ends = long if side is Side.BUY else short
    if start * side.sign < 0 and ends * start >= 0:
        return  # an exit
    price = MARK.price if limit is None else Decimal(limit)
    assert BTC.notional_min <= order.qty * price <= LIMITS.order_notional_max
    assert abs(price / MARK.price - 1) <= LIMITS.price_collar
    exposure = max(abs(long), abs(short)) * MARK.price
    assert exposure <= LIMITS.position_notional_max
    assert equity is not None
    assert Decimal(equity) > 0
    assert exposure + Decimal(others) <= LIMITS.leverage_max * Decimal(equity)
