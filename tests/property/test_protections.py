"""Whatever happens: exits pass while reducing, nothing leaves while halted, and nothing lets go by itself."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.effects import Effects
from bot.core.protections import Ladder, ProtectionLimits, Protections, Window
from bot.core.risk import Book, Denial, Mark, judge
from bot.core.trading_state import ACCOUNT, Cause, Latch, TradingState, Why
from bot.domain.account import Position
from bot.domain.instrument import Side
from bot.domain.ledger import RiskDenied
from bot.domain.orders import CancelOpen, CancelOrder, PlaceOrder, SubmitOrder, Target
from tests.support.desk import DAY_NS, LIMITS, NOW_NS, Desk
from tests.support.examples import examples
from tests.support.money import BTC, ETH, NAME, SECOND_NS, canceled, dec, submit

RUNGS = st.decimals("0.01", "0.9", places=2)
LADDERS = st.tuples(RUNGS, RUNGS).map(lambda two: Ladder(reduce=min(two), halt=max(two)))
EQUITIES = st.decimals(-100, 3000, places=2)
STRICTNESS = [TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED]


def latch(cause: Cause, state: TradingState) -> Latch:
    """Return a latch in force."""
    return Latch(scope=ACCOUNT, cause=cause, state=state, why=Why(detail="it was bad"))


def book(position: Decimal) -> Book:
    """Return an account that holds so much and has nothing open."""
    return Book(
        equity=dec(10**6),
        position=Position(instrument=NAME, qty=position, entry_value=position * 100),
        live=(),
        others_notional=dec(0),
        recent_sends_ns=(),
        now_ns=NOW_NS,
    )


@given(
    cause=st.sampled_from(Cause),
    held=st.decimals("0.002", 50, places=3),
    share=st.decimals("0.001", 1, places=3),
    is_long=st.booleans(),
    reduce_only=st.booleans(),
)
def test_reducing_never_blocks_what_reduces(
    cause: Cause, held: Decimal, share: Decimal, is_long: bool, reduce_only: bool
) -> None:
    """An exit up to the whole position is judged as if nothing were held back."""
    qty = BTC.round_qty(held * share)
    order = submit(side=Side.SELL if is_long else Side.BUY, qty=qty, reduce_only=reduce_only)
    asked: dict[str, Any] = {
        "instrument": BTC,
        "mark": Mark(price=dec(100), ts_ns=NOW_NS),
        "book": book(held if is_long else -held),
        "limits": LIMITS,
    }
    assert judge(order, hold=latch(cause, TradingState.REDUCING), **asked) == judge(order, hold=None, **asked)
    entry = replace(order, side=Side.BUY if is_long else Side.SELL)
    assert judge(entry, hold=latch(cause, TradingState.REDUCING), **asked) is not None


@given(
    position=st.sampled_from(["NaN", "sNaN", "-NaN", "Infinity"]),
    qty=st.sampled_from(["1", "NaN", "sNaN", "Infinity"]),
    state=st.sampled_from([TradingState.REDUCING, TradingState.HALTED]),
    cause=st.sampled_from(Cause),
)
def test_a_number_that_is_none_never_opens_the_door(position: str, qty: str, state: TradingState, cause: Cause) -> None:
    verdict = judge(
        submit(qty=qty, side=Side.SELL),
        instrument=BTC,
        mark=Mark(price=dec(100), ts_ns=NOW_NS),
        book=replace(book(dec(0)), position=Position(instrument=NAME, qty=dec(position))),
        limits=LIMITS,
        hold=latch(cause, state),
    )
    assert verdict is not None


@given(
    drawdown=LADDERS,
    daily=LADDERS,
    steps=st.lists(
        st.tuples(
            st.one_of(EQUITIES, st.sampled_from([None, Decimal("NaN"), Decimal("sNaN")])), st.integers(0, DAY_NS)
        ),
        max_size=40,
    ),
)
@settings(deadline=None)
def test_ladders_let_go_at_the_days_turn_alone(
    drawdown: Ladder, daily: Ladder, steps: list[tuple[Decimal | None, int]]
) -> None:
    """The drawdown's latch never becomes milder; the day's only where the UTC day turns. And each trips in time."""
    protections = Protections(ProtectionLimits(drawdown=drawdown, daily_loss=daily))
    protections.deposit(dec(1000), NOW_NS)
    now_ns, peak = NOW_NS, dec(1000)
    start: Decimal | None = peak
    state = {"drawdown": "active", "daily_loss": "active"}
    for equity, passed_ns in steps:
        is_new_day = (now_ns + passed_ns) // DAY_NS > now_ns // DAY_NS
        now_ns += passed_ns
        if is_new_day:
            start = None
        for entry in protections.see_equity(equity, now_ns):
            assert entry.before == state[entry.cause]
            if STRICTNESS.index(TradingState(entry.after)) < STRICTNESS.index(TradingState(entry.before)):
                assert (entry.cause, entry.signal, is_new_day) == ("daily_loss", "day_began", True)
            state[entry.cause] = entry.after
        if equity is None:
            continue
        if equity.is_finite():
            peak = max(peak, equity)
            start = equity if start is None else start
        for ladder, base, cause in ((drawdown, peak, "drawdown"), (daily, start, "daily_loss")):
            if not equity.is_finite() or base is None or equity <= base * (1 - ladder.halt):
                assert state[cause] == "halted"
            elif equity <= base * (1 - ladder.reduce):
                assert state[cause] != "active"


@st.composite
def moves(draw: st.DrawFn) -> tuple[Any, ...]:
    """Return something that happens to a desk."""
    name = draw(st.sampled_from([NAME, ETH.name]))
    match draw(st.sampled_from(["target", "place", "cancel", "fill", "price", "time", "canceled", "check"])):
        case "target":
            return "wish", Target(instrument=name, qty=draw(st.decimals(-9, 9, places=1)))
        case "place":
            side, qty = draw(st.sampled_from(Side)), draw(st.decimals("0.5", 9, places=1))
            limit = draw(st.sampled_from([None, dec(100), dec(90)])) if name == NAME else None
            reduce_only = draw(st.booleans())
            return "wish", PlaceOrder(instrument=name, side=side, qty=qty, limit_price=limit, reduce_only=reduce_only)
        case "cancel":
            return "wish", CancelOpen(instrument=name)
        case "price":
            return "price", name, str(draw(st.decimals(1, 300, places=1)))
        case "time":
            return "time", draw(st.integers(1, DAY_NS))
        case other:
            return other, draw(st.integers(0, 99)), draw(st.booleans())


LIMITED = ProtectionLimits(
    drawdown=Ladder(reduce=dec("0.1"), halt=dec("0.3")),
    daily_loss=Ladder(reduce=dec("0.05"), halt=dec("0.2")),
    cooldown_ns=10 * SECOND_NS,
    stop_guard=Window(count=2, span_ns=DAY_NS, pause_ns=DAY_NS),
    low_profit=Window(count=3, span_ns=DAY_NS, pause_ns=DAY_NS),
    repeated=Window(count=4, span_ns=DAY_NS, pause_ns=0),
)


@given(happens=st.lists(moves(), max_size=60), flatten=st.booleans())
@settings(deadline=None, max_examples=examples(300))
def test_what_leaves_is_what_the_state_allows(happens: Sequence[tuple[Any, ...]], flatten: bool) -> None:
    """Halted: no order, but a rule's that only reduces. Reducing: no order of which the position could grow."""
    desk = Desk(protections=replace(LIMITED, flatten_on_halt=flatten), cash="1000")
    protections = desk.orders.state.protections
    open_orders: dict[str, SubmitOrder] = {}
    trade = 0
    for what, *how in happens:
        effects = Effects()
        match what:
            case "wish":
                effects = desk.wish(how[0])
            case "price":
                desk.prices[how[0]] = how[1]
            case "time":
                desk.now_ns += how[0]
            case "check":
                effects = desk.observe(is_check=how[1])
            case "fill" | "canceled" if open_orders:
                name = sorted(open_orders)[how[0] % len(open_orders)]
                order = open_orders.pop(name)
                held = desk.orders.state.position_qty(order.instrument)
                qty = min(order.qty, abs(held)) if order.reduce_only and held * order.side.sign < 0 else order.qty
                if what == "canceled" or (order.reduce_only and not held * order.side.sign < 0):
                    effects = desk.event(canceled(name, at_ns=desk.now_ns, instrument=order.instrument))
                else:
                    trade += 1
                    effects = desk.fill(order, trade=trade, qty=str(qty), price=str(desk.prices[order.instrument]))
                    if qty < order.qty:
                        desk.event(canceled(name, at_ns=desk.now_ns, instrument=order.instrument))
        for command in effects.send:
            if isinstance(command, CancelOrder):
                continue
            open_orders[command.client_order_id] = command
            hold = protections.hold(command.instrument)
            held = desk.orders.state.position_qty(command.instrument)
            if hold is not None and hold.state is TradingState.HALTED:
                assert flatten
                assert command.reduce_only
                assert command.client_order_id.startswith("r000000-risk_")
            if hold is not None:
                assert held * command.side.sign < 0
                assert command.qty <= abs(held)


@given(prices=st.lists(st.decimals(1, 200, places=1), min_size=1, max_size=20))
@settings(deadline=None)
def test_with_everything_off_nothing_is_ever_held_back(prices: list[Decimal]) -> None:
    """The defaults of the core record no state and deny nothing for one."""
    desk = Desk()
    for n, price in enumerate(prices):
        desk.prices[NAME] = str(price)
        desk.now_ns += DAY_NS
        for command in desk.target(str((-1) ** n)).send:
            assert isinstance(command, SubmitOrder)
            desk.fill(command, trade=n, price=str(price))
        desk.observe()
    kinds = {type(entry).__name__ for entry in desk.record}
    assert "TradingStateChanged" not in kinds
    denied = {entry.code for entry in desk.record if isinstance(entry, RiskDenied)}
    assert not denied & {Denial.HALTED, Denial.REDUCING}
