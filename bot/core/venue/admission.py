"""What the state of a market and of its orders has to say against an order."""

from bot.core.venue.facts import Refusal
from bot.core.venue.filters import (
    CONDITIONAL,
    CONDITIONAL_MAX,
    ORDERS,
    ORDERS_MAX,
    check_band,
    check_exit_sides,
    check_notional,
    check_qty,
    refuse,
)
from bot.core.venue.market import Market
from bot.core.venue.orders import Kind, NewOrder, PriceSource, StopKind


def check_room(account: str, market: Market, request: NewOrder) -> Refusal | None:
    """Return why there are too many orders already, None if there are not."""
    if request.trigger is not None:
        waiting = [live for live in market.waiting.values() if live.account == account]
        conditional = sum(1 for live in waiting if live.record.stop_kind is StopKind.STOP)
        if conditional >= CONDITIONAL_MAX[market.contract.kind]:
            return refuse(market.contract, CONDITIONAL, "too many conditional orders")
    elif len(market.resting) + len(market.taking) >= ORDERS_MAX:
        active = [*market.resting.values(), *market.taking.values()]
        if sum(1 for live in active if live.account == account) >= ORDERS_MAX:
            return refuse(market.contract, ORDERS, "too many open orders")
    return None


def check_prices(market: Market, request: NewOrder, now_ns: int) -> Refusal | None:
    """Return why an order's price or value will not do as the market stands, None if they will."""
    instrument = market.instrument
    mark = market.price_at(PriceSource.MARK, now_ns)
    if mark is None:
        return Refusal(code="110118", reason=f"{request.instrument} has no price yet")
    if request.kind is Kind.LIMIT:
        index = market.price_at(PriceSource.INDEX, now_ns)
        bound = market.contract.band_ticks(request.side, mark=mark, index=mark if index is None else index)
        assert request.price is not None
        refusal = check_band(market.contract, request.side, request.price, instrument.price(bound))
        if refusal is not None:
            return refusal
    last = market.price_at(PriceSource.LAST, now_ns)
    base = request.price or instrument.price(mark if last is None else last)
    if request.qty:
        refusal = check_notional(market.contract, request, base)
        checked = check_qty(market.contract, request)
        if refusal is None and isinstance(checked, Refusal):
            refusal = checked
        if refusal is not None:
            return refusal
    return check_exit_sides(request, base)
