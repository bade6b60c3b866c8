"""The gate and an account before it, for tests of what passes."""

from typing import Any

from msgspec.structs import replace

from bot.core.order import Order
from bot.core.risk import Book, Denial, Mark, RiskLimits, judge
from bot.core.trading_state import ACCOUNT, Cause, Latch, TradingState, Why
from bot.domain.account import Position
from bot.domain.instrument import Side
from bot.domain.orders import SubmitOrder
from tests.support.money import BTC, NAME, dec, submit

NOW_NS = 1_700_000_000_000_000_000
MARK = Mark(price=dec(100), ts_ns=NOW_NS)
LIMITS = RiskLimits(
    order_notional_max=dec(1_000),
    position_notional_max=dec(2_000),
    leverage_max=dec(3),
    price_collar=dec("0.05"),
    mark_age_ns_max=60_000_000_000,
    open_orders_max=3,
    orders_per_second_max=5,
)
HALT = Latch(scope=ACCOUNT, cause=Cause.PERSON, state=TradingState.HALTED, why=Why(detail="someone pressed the button"))


def held(cause: Cause) -> Latch:
    """Return a latch that lets only exits pass."""
    return Latch(scope=NAME, cause=cause, state=TradingState.REDUCING, why=Why(detail="too much was lost"))


BIG = replace(BTC, qty_max=dec(10**6))
WIDE = replace(LIMITS, order_notional_max=dec(10**9), position_notional_max=dec(10**9), leverage_max=dec(10**9))


def live(*sides_qtys: tuple[Side, str], reduce_only: bool = False) -> tuple[Order, ...]:
    """Return orders that may still fill."""
    return tuple(
        Order(request=submit(100 + n, side=side, qty=qty, limit="99", reduce_only=reduce_only))
        for n, (side, qty) in enumerate(sides_qtys)
    )


def book(
    *,
    equity: str | None = "1000000",
    position: str = "0",
    orders: tuple[Order, ...] = (),
    others: str = "0",
    sends_ns: tuple[int, ...] = (),
) -> Book:
    """Return the account: rich, flat and quiet unless told otherwise."""
    qty = dec(position)
    return Book(
        equity=None if equity is None else dec(equity),
        position=Position(instrument=NAME, qty=qty, entry_value=qty * 100),
        live=orders,
        others_notional=dec(others),
        recent_sends_ns=sends_ns,
        now_ns=NOW_NS,
    )


def verdict(order: SubmitOrder, account: Book | None = None, **asked: Any) -> Denial | None:
    """Return the gate's code, None if the order may be sent."""
    usual: dict[str, Any] = {"instrument": BTC, "mark": MARK, "limits": LIMITS, "hold": None}
    denial = judge(order, book=book() if account is None else account, **(usual | asked))
    if denial is None:
        return None
    code, detail = denial
    assert detail
    assert "\n" not in detail
    return code
