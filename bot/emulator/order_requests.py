"""What clients ask for, in the venue's spellings, to what the venue model takes."""

from decimal import Decimal
from typing import NamedTuple

from bot.core.venue.facts import PositionIndex
from bot.core.venue.orders import (
    Amendment,
    ExitLeg,
    Exits,
    Kind,
    NewOrder,
    OrderRecord,
    PriceSource,
    Smp,
    StopsWanted,
    Tif,
    Trigger,
)
from bot.domain.instrument import Side
from bot.emulator import inferred
from bot.emulator.archive import Notes
from bot.emulator.listing import Listing
from bot.emulator.params import Body, choice, flag, integer, number, text
from bot.emulator.wire import Refused

_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_SOURCES = tuple(source.value for source in PriceSource)
_SMP = tuple(smp.value for smp in Smp)


class Asked(NamedTuple):
    """An order that is asked for."""

    order: NewOrder
    notes: Notes
    bbo: tuple[str, int] | None  # "Queue" or "Counterparty" and the level: the venue picks the price


def read_order(listing: Listing, body: Body, last_price: Decimal | None) -> Asked:
    """Return the order that a body asks for.

    Args:
        listing: of what.
        body: as sent.
        last_price: tells on which side of the market a spot trigger lies.

    Raises:
        Refused: a field is missing or makes no sense.
    """
    side = _SIDES.get(text(body, "side"))
    if side is None:
        raise Refused(10001, "params error: side invalid")
    kind = Kind(choice(body, "orderType", ("Market", "Limit")))
    qty = number(body, "qty")
    if qty is None or qty < 0:
        raise Refused(10001, "Qty invalid")
    price = number(body, "price") if kind is Kind.LIMIT else None
    bbo = _bbo(listing, body, kind)
    if kind is Kind.LIMIT and price is None and bbo is None:
        raise Refused(10001, "params error: price is required")
    tif = Tif(choice(body, "timeInForce", ("GTC", "IOC", "FOK", "PostOnly"), "GTC"))
    is_quote, market_unit = _sized_in_quote(listing, body, side, kind)
    slippage = _slippage(body, kind)
    order_filter = choice(body, "orderFilter", ("Order", "tpslOrder", "StopOrder"), "Order")
    order = NewOrder(
        instrument=listing.name,
        side=side,
        kind=kind,
        qty=qty,
        price=price,
        time_in_force=tif,
        client_order_id=text(body, "orderLinkId"),
        position_index=position_index(body),
        reduce_only=flag(body, "reduceOnly"),
        close_on_trigger=flag(body, "closeOnTrigger"),
        is_quote_qty=is_quote,
        trigger=_trigger(listing, body, last_price, order_filter),
        exits=_exits(body),
        smp=Smp(choice(body, "smpType", _SMP, "None")),
        slippage_ticks=slippage[0],
        slippage_fraction=slippage[1],
    )
    notes = Notes(
        quote_amount=qty if is_quote else None,
        order_filter=order_filter,
        market_unit=market_unit,
        slippage_type=text(body, "slippageToleranceType"),
        slippage=text(body, "slippageTolerance"),
        is_leverage=str(integer(body, "isLeverage", 0)) if listing.is_spot else "",
    )
    return Asked(order, notes, bbo)


def asked_filter(body: Body) -> str:
    """Return which kind of orders a list or a cancel-all asks for, empty for the usual ones.

    Raises:
        Refused: there is no such kind.
    """
    return choice(body, "orderFilter", ("Order", "StopOrder", "tpslOrder", "OpenOrder", *inferred.FILTERS_OF_NONE), "")


def read_amendment(body: Body, record: OrderRecord) -> Amendment:
    """Return what a body wants changed of an order.

    Raises:
        Refused: a field makes no sense.
    """
    qty, price, trigger = (number(body, name) for name in ("qty", "price", "triggerPrice"))
    return Amendment(qty=qty, price=price, trigger_price=trigger, exits=_changed_exits(body, record.exits))


def read_stops(listing: Listing, body: Body) -> StopsWanted:
    """Return what a body wants a position's exits to be.

    Raises:
        Refused: a field is missing or makes no sense.
    """
    mode = choice(body, "tpslMode", ("Full", "Partial"), "Full")
    index = integer(body, "positionIdx")
    if index is None:
        raise Refused(10001, "params error: positionIdx is required")
    sizes = number(body, "tpSize"), number(body, "slSize")
    if None not in sizes and sizes[0] != sizes[1]:
        raise Refused(10001, "params error: tpSize and slSize must be equal")
    return StopsWanted(
        instrument=listing.name,
        position_index=_checked_index(index),
        is_partial=mode == "Partial",
        take_profit=_leg(body, "tp", "takeProfit"),
        stop_loss=_leg(body, "sl", "stopLoss"),
        qty=sizes[0] if sizes[0] is not None else sizes[1],
        trailing_distance=number(body, "trailingStop"),
        active_price=number(body, "activePrice"),
    )


def position_index(body: Body) -> int:
    """Return which position is meant.

    Raises:
        Refused: there is no such index.
    """
    return _checked_index(integer(body, "positionIdx", 0) or 0)


def _checked_index(index: int) -> int:
    if index not in (PositionIndex.ONE_WAY, PositionIndex.LONG, PositionIndex.SHORT):
        raise Refused(10001, "position idx not match position mode")
    return index


def _bbo(listing: Listing, body: Body, kind: Kind) -> tuple[str, int] | None:
    side = text(body, "bboSideType")
    if not side:
        return None
    level = text(body, "bboLevel")
    if (
        listing.is_spot
        or kind is not Kind.LIMIT
        or side not in ("Queue", "Counterparty")
        or level not in ("1", "2", "3", "4", "5")
    ):
        raise Refused(10001, "params error: bboSideType or bboLevel invalid")
    return side, int(level)


def _sized_in_quote(listing: Listing, body: Body, side: Side, kind: Kind) -> tuple[bool, str]:
    unit = choice(body, "marketUnit", ("baseCoin", "quoteCoin"), "")
    if not listing.is_spot or kind is not Kind.MARKET:
        return False, ""
    return unit == "quoteCoin" or (not unit and side is Side.BUY), unit


def _slippage(body: Body, kind: Kind) -> tuple[int | None, Decimal | None]:
    what, bound = text(body, "slippageToleranceType"), number(body, "slippageTolerance")
    if not what or what == "UNKNOWN" or kind is not Kind.MARKET:
        return None, None
    if what == "TickSize" and bound is not None and bound == int(bound) and 1 <= bound <= 10_000:
        return int(bound), None
    if what == "Percent" and bound is not None and Decimal("0.01") <= bound <= 10 and bound * 100 == int(bound * 100):
        return None, bound / 100
    raise Refused(10001, "params error: slippageTolerance invalid")


def _trigger(listing: Listing, body: Body, last_price: Decimal | None, order_filter: str) -> Trigger | None:
    price = number(body, "triggerPrice")
    if price is None or not price:
        if order_filter != "Order":
            raise Refused(10001, "params error: triggerPrice is required")
        return None
    direction = integer(body, "triggerDirection", 0)
    if listing.is_spot:
        if order_filter == "Order":
            raise Refused(10001, "params error: orderFilter invalid")
        is_rise = last_price is not None and price > last_price
    elif direction not in (1, 2):
        raise Refused(10001, "TriggerDirection invalid")
    else:
        is_rise = direction == 1
    return Trigger(price=price, is_rise=is_rise, source=_source(body, "triggerBy"))


def _source(body: Body, name: str) -> PriceSource:
    return PriceSource(choice(body, name, _SOURCES, "LastPrice"))


def _leg(body: Body, prefix: str, name: str) -> ExitLeg | None:
    price = number(body, name)
    if price is None:
        return None
    limit_price = number(body, f"{prefix}LimitPrice")
    is_limit = choice(body, f"{prefix}OrderType", ("Market", "Limit"), "Market") == "Limit"
    if is_limit and not limit_price:
        raise Refused(10001, f"params error: {prefix}LimitPrice is required")
    return ExitLeg(
        price=price, source=_source(body, f"{prefix}TriggerBy"), limit_price=limit_price if is_limit else None
    )


def _exits(body: Body) -> Exits | None:
    profit, loss = _leg(body, "tp", "takeProfit"), _leg(body, "sl", "stopLoss")
    profit = profit if profit and profit.price else None
    loss = loss if loss and loss.price else None
    if profit is None and loss is None:
        return None
    is_partial = choice(body, "tpslMode", ("Full", "Partial"), "Full") == "Partial"
    return Exits(take_profit=profit, stop_loss=loss, is_partial=is_partial)


def _changed_exits(body: Body, before: Exits | None) -> Exits | None:
    """Return an order's exits as a body changes them, None where it does not; a price of 0 removes one."""
    profit, loss = _leg(body, "tp", "takeProfit"), _leg(body, "sl", "stopLoss")
    if profit is None and loss is None:
        return None
    before = before or Exits()
    after_profit = before.take_profit if profit is None else profit if profit.price else None
    after_loss = before.stop_loss if loss is None else loss if loss.price else None
    is_partial = choice(body, "tpslMode", ("Full", "Partial"), "Partial" if before.is_partial else "Full") == "Partial"
    return Exits(take_profit=after_profit, stop_loss=after_loss, is_partial=is_partial)
