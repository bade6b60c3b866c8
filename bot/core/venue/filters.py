"""What the venue refuses before an order reaches its market, with the venue's codes.

Texts are ours; codes are the venue's, where they are known. *Inferred* codes are named here and nowhere else:
`docs/venue_orders.md` lists them.
"""

import re
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from bot.core.venue.contract import Contract
from bot.core.venue.facts import Refusal
from bot.core.venue.orders import Kind, NewOrder, Tif
from bot.domain.account import ZERO
from bot.domain.instrument import Side

_CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{0,36}")

ORDERS_MAX = 500  # open at once, of one instrument
CONDITIONAL_MAX = {"linear": 10, "spot": 30}  # waiting for their trigger, of one instrument


class Code(NamedTuple):
    """The venue's code of one refusal, for its two kinds of contract."""

    linear: str
    spot: str


DUPLICATE = Code("110072", "170141")
UNKNOWN = Code("110001", "170213")
QTY_STEP = Code("10001", "170137")
QTY_SMALL = Code("10001", "170140")
QTY_LARGE = Code("10001", "170124")
NOTIONAL = Code("110094", "170140")
PRICE_TICK = Code("110003", "170134")
PRICE_HIGH = Code("110003", "170193")
PRICE_LOW = Code("110003", "170194")
ORDERS = Code("110020", "170810")
CONDITIONAL = Code("110009", "170810")


def refuse(contract: Contract, code: Code, reason: str) -> Refusal:
    """Return a refusal with the code that the contract's kind has for it."""
    return Refusal(code=code.spot if contract.kind == "spot" else code.linear, reason=reason)


def check_shape(contract: Contract, request: NewOrder) -> NewOrder | Refusal:
    """Return the order with its quantity on the grid, or why it makes no sense whatever the market.

    A perpetual's quantity is floored to the step, as has been observed of the venue; spot refuses it.
    """
    instrument = contract.instrument
    if not _CLIENT_ID.fullmatch(request.client_order_id):
        return Refusal(code="10001", reason="a client order id has at most 36 letters, digits, _ and -")
    if not request.qty.is_finite() or request.qty < 0:
        return Refusal(code="10001", reason=f"quantity {request.qty} is none")
    if contract.kind == "spot" and (request.reduce_only or request.close_on_trigger or request.position_index):
        return Refusal(code="170130", reason="spot has no positions to reduce")
    if request.exits is not None and (request.reduce_only or contract.kind == "spot"):
        return Refusal(code="110057", reason="a take profit or stop loss cannot be attached to this order")
    if request.kind is Kind.LIMIT:
        refusal = check_price(contract, request.price)
        if refusal is not None:
            return refusal
    elif request.price is not None or request.time_in_force is not Tif.IOC:
        request = replace(request, price=None, time_in_force=Tif.IOC)
    for price in _prices_named(request):
        refusal = check_price(contract, price)
        if refusal is not None:
            return refusal
    if request.is_quote_qty:
        if contract.kind != "spot" or request.kind is not Kind.MARKET:
            return Refusal(code="170130", reason="only a spot market order is sized in the quote coin")
        return request
    if not request.qty and request.reduce_only and request.close_on_trigger:
        return request  # the whole position
    qty = instrument.round_qty(request.qty)
    if qty != request.qty and contract.kind == "spot":
        return refuse(contract, QTY_STEP, f"quantity {request.qty} is not a multiple of {instrument.qty_step}")
    return check_qty(contract, replace(request, qty=qty))


def check_qty(contract: Contract, request: NewOrder) -> NewOrder | Refusal:
    """Return the order if its quantity is within the contract's limits."""
    instrument = contract.instrument
    if request.qty < instrument.qty_min or not request.qty:
        return refuse(contract, QTY_SMALL, f"quantity {request.qty} is below {instrument.qty_min}")
    qty_max = instrument.qty_max
    if request.kind is Kind.MARKET and contract.market_qty_max is not None:
        qty_max = contract.market_qty_max
    if request.qty > qty_max:
        return refuse(contract, QTY_LARGE, f"quantity {request.qty} is above {qty_max}")
    return request


def check_price(contract: Contract, price: Decimal | None) -> Refusal | None:
    """Return why a price cannot be one, None if it can."""
    if price is None or not price.is_finite():
        return Refusal(code="10001", reason="a limit order needs a price")
    if not price > 0 or price % contract.instrument.tick_size:
        tick = contract.instrument.tick_size
        return refuse(contract, PRICE_TICK, f"price {price} is not a positive multiple of {tick}")
    return None


def check_notional(contract: Contract, request: NewOrder, price: Decimal) -> Refusal | None:
    """Return why an order's value is too small, None if it is not; what only reduces may be small.

    *Inferred*: reduce-only orders are exempt, for else small rests could never be closed.
    """
    if request.reduce_only or request.qty * price >= contract.instrument.notional_min:
        return None
    value, least = request.qty * price, contract.instrument.notional_min
    return refuse(contract, NOTIONAL, f"a value of {value} is below {least}")


def check_band(contract: Contract, side: Side, price: Decimal, bound: Decimal) -> Refusal | None:
    """Return why a limit lies outside its side's bound of the price band, None if it does not."""
    if side is Side.BUY and price > bound:
        return refuse(contract, PRICE_HIGH, f"price {price} is above the highest of a buy, {bound}")
    if side is Side.SELL and price < bound:
        return refuse(contract, PRICE_LOW, f"price {price} is below the lowest of a sell, {bound}")
    return None


def check_trigger(price: Decimal, current: Decimal, *, is_rise: bool) -> Refusal | None:
    """Return why a trigger would fire at once, None if it would not."""
    if is_rise and price <= current:
        return Refusal(code="110092", reason=f"a trigger by rising must be above {current}, not {price}")
    if not is_rise and price >= current:
        return Refusal(code="110093", reason=f"a trigger by falling must be below {current}, not {price}")
    return None


def check_exit_sides(request: NewOrder, base: Decimal) -> Refusal | None:
    """Return why an attached exit lies on the wrong side of the order's price, None if it does not."""
    if request.exits is None:
        return None
    sign = request.side.sign
    profit, loss = request.exits.take_profit, request.exits.stop_loss
    if profit is not None and (profit.price - base) * sign <= 0:
        return Refusal(code="10001", reason=f"a take profit must lie on the winning side of {base}, not {profit.price}")
    if loss is not None and (loss.price - base) * sign >= 0:
        return Refusal(code="10001", reason=f"a stop loss must lie on the losing side of {base}, not {loss.price}")
    is_limit = any(leg is not None and leg.limit_price is not None for leg in (profit, loss))
    if is_limit and not request.exits.is_partial:
        return Refusal(code="110058", reason="a take profit or stop loss with a limit needs partial mode")
    return None


def _prices_named(request: NewOrder) -> list[Decimal]:
    prices = [] if request.trigger is None else [request.trigger.price]
    if request.exits is not None:
        for leg in (request.exits.take_profit, request.exits.stop_loss):
            if leg is not None:
                prices += [leg.price] if leg.limit_price is None else [leg.price, leg.limit_price]
    return [price for price in prices if price != ZERO]
