"""Orders at the simulated venue, run against a small tape, and what is told of them."""

from collections.abc import Sequence
from decimal import Decimal

from bot.core.venue.desk import Desk
from bot.domain.instrument import Side
from bot.domain.orders import (
    AccountEvent,
    AmendOrder,
    CancelOrder,
    ChangeStops,
    Command,
    Exit,
    OrderFilled,
)
from tests.support.money import NAME, bars, trades

BUY, SELL = Side.BUY, Side.SELL
LATE = 10**15  # after everything

FOUR = trades([(1, 1000), (10, 1000), (20, 1010), (30, 1020)])  # 100.0, 100.0, 101.0, 102.0
# Open, high, low, close in ticks; then a hole of two bars.
BARS = bars(
    [
        (0, 1000, 1009, 991, 1002),
        (10, 1003, 1020, 985, 1010),
        (20, 1011, 1012, 1005, 1006),
        (50, 1040, 1050, 990, 1000),
    ]
)


def cancel(number: int = 1) -> CancelOrder:
    """Return the request to cancel order `number`."""
    return CancelOrder(client_order_id=f"o{number}", order_number=number, instrument=NAME)


def amend(number: int = 1, **changes: str) -> AmendOrder:
    """Return the request to change order `number`."""
    return AmendOrder(
        client_order_id=f"o{number}",
        order_number=number,
        amend_number=1,
        instrument=NAME,
        **{name: Decimal(value) for name, value in changes.items()},
    )


def stops(number: int, *, take_profit: str = "", stop_loss: str = "", trailing: str = "") -> ChangeStops:
    """Return the request to change the position's exits."""
    return ChangeStops(
        request_id=f"s{number}",
        order_number=number,
        instrument=NAME,
        take_profit=Exit(price=Decimal(take_profit)) if take_profit else None,
        stop_loss=Exit(price=Decimal(stop_loss)) if stop_loss else None,
        trailing_distance=Decimal(trailing) if trailing else None,
    )


def kinds(events: Sequence[AccountEvent]) -> list[str]:
    """Return what happened, in words."""
    return [type(event).__name__ for event in events]


def fills(events: Sequence[AccountEvent]) -> list[tuple[str, int, Decimal, Decimal, bool]]:
    """Return of each fill: order, time, price, quantity, whether as maker."""
    return [
        (e.client_order_id, e.ts_event_ns, e.price, e.qty, e.is_maker) for e in events if isinstance(e, OrderFilled)
    ]


def run(desk: Desk, order: Command, at_ns: int, until_ns: int = LATE) -> list[AccountEvent]:
    """Return all that comes of a command."""
    return desk.handle(order, at_ns) + desk.advance(until_ns)


def only_fill(events: Sequence[AccountEvent]) -> OrderFilled:
    """Return the one fill among the events."""
    (fill,) = [event for event in events if isinstance(event, OrderFilled)]
    return fill
