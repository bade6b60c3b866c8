"""Our commands as Bybit's requests: which endpoint, and the exact bytes of the body.

A request has no time and no signature: those are given when it is sent, so that the same request can go out again, or
by the other way, as the same one. Its `content_hash` is of all else.

Source: Bybit V5, order and position endpoints.
"""

import hashlib
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from bot.domain.instrument import Side
from bot.domain.orders import (
    AmendOrder,
    CancelOrder,
    ChangeStops,
    Exit,
    Leg,
    OrderType,
    SubmitOrder,
    TimeInForce,
    TriggerSource,
)
from bot.venues.bybit.errors import Write
from bot.venues.bybit.topics import Category

BATCH_MAX = {"linear": 20, "inverse": 20, "spot": 10}
_CLIENT_ORDER_ID = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9]{1,40}", re.ASCII)

_SIDES = {Side.BUY: "Buy", Side.SELL: "Sell"}
_TYPES = {OrderType.MARKET: "Market", OrderType.LIMIT: "Limit"}
_TIMES = {
    TimeInForce.GTC: "GTC",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.POST_ONLY: "PostOnly",
}
_INDICES = {Leg.NET: 0, Leg.LONG: 1, Leg.SHORT: 2}
_SOURCES = {TriggerSource.LAST: "LastPrice", TriggerSource.MARK: "MarkPrice", TriggerSource.INDEX: "IndexPrice"}

# What cancel-all must be asked for, one by one, to leave nothing: spot's default is plain orders alone.
_SPOT_FILTERS = ("Order", "tpslOrder", "StopOrder", "OcoOrder", "BidirectionalTpslOrder")


class Listed(msgspec.Struct, frozen=True):
    """An instrument as the venue names it: spot and perpetuals share symbols."""

    category: Category
    symbol: str


class WriteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request that may change something."""

    path: str  # of REST
    op: str | None  # of order entry; None: it goes by REST alone
    body: bytes  # JSON, exactly what is sent
    write: Write
    bucket: str  # of the rate limits
    category: Category | Literal[""]
    is_cancel: bool = False  # it has capacity of its own
    client_order_ids: tuple[str, ...] = ()  # which orders it is about, in the order of the batch

    @property
    def is_batch(self) -> bool:
        """Return whether it carries several items, each with an answer of its own."""
        return self.path.endswith("-batch")

    @property
    def count(self) -> int:
        """Return how much of a rate limit it takes: a batch counts by its items."""
        return len(self.client_order_ids) if self.is_batch else 1

    @property
    def content_hash(self) -> str:
        """Return what is the same for two requests only if they ask the same, whenever and however they are sent."""
        return hashlib.sha256(self.path.encode() + b"\n" + self.body).hexdigest()


def create(order: SubmitOrder, listed: Listed, *, smp: str = "CancelTaker") -> WriteRequest:
    """Return the request for an order.

    Args:
        order: ours; its exits are of the whole position and at the market.
        listed: what it is in.
        smp: what happens where it would trade with another order of ours; the newcomer goes by default, for the other
            may protect something. `None` lets the venue's default be.

    Raises:
        ValueError: the venue cannot have such an order; nothing may be sent.
    """
    is_spot = listed.category == "spot"
    fields: dict[str, Any] = {
        **_head(listed),
        "side": _SIDES[order.side],
        "orderType": _TYPES[order.order_type],
        "qty": plain(_positive(order.qty, "quantity")),
        "orderLinkId": client_order_id(order.client_order_id),
    }
    if order.order_type is OrderType.LIMIT:
        if order.limit_price is None:
            raise ValueError("a limit order without a limit")
        fields["price"] = plain(_positive(order.limit_price, "limit"))
        fields["timeInForce"] = _TIMES[order.time_in_force]
    elif order.limit_price is not None:
        raise ValueError("a market order with a limit")
    if is_spot:
        # Our quantities are of the base coin; the venue would read a market buy's as an amount of the quote coin.
        if order.order_type is OrderType.MARKET:
            fields["marketUnit"] = "baseCoin"
        fields["isLeverage"] = 0
        if order.leg is not Leg.NET:
            raise ValueError("spot has no positions, and no legs of them")
        if order.reduce_only and order.side is Side.BUY:
            raise ValueError("a spot buy reduces nothing")  # a sell without leverage sells what is owned, no more
    else:
        fields["positionIdx"] = _INDICES[order.leg]
        if order.reduce_only:
            fields["reduceOnly"] = True
    fields |= _trigger(order, is_spot=is_spot) | _attached(order, is_spot=is_spot)
    if smp != "None":
        fields["smpType"] = smp
    return WriteRequest(
        path="/v5/order/create",
        op="order.create",
        body=msgspec.json.encode(fields),
        write=Write.CREATE,
        bucket="order.create",
        category=listed.category,
        client_order_ids=(order.client_order_id,),
    )


def amend(change: AmendOrder, listed: Listed) -> WriteRequest:
    """Return the request that changes an order. `qty` is the new total.

    Raises:
        ValueError: it changes nothing, or to what cannot be.
    """
    wanted = {"qty": change.qty, "price": change.limit_price, "triggerPrice": change.trigger_price}
    changes = {name: plain(_positive(value, name)) for name, value in wanted.items() if value is not None}
    if not changes:
        raise ValueError("an amendment that changes nothing")
    return _change("amend", change.client_order_id, listed, changes)


def cancel(request: CancelOrder, listed: Listed, *, is_conditional: bool = False) -> WriteRequest:
    """Return the request that cancels an order; `is_conditional` if it still waits for its trigger."""
    return _change("cancel", request.client_order_id, listed, _order_filter(listed, is_conditional=is_conditional))


def cancel_theirs(venue_order_id: str, listed: Listed, *, order_filter: str = "") -> WriteRequest:
    """Return the request that cancels an order by the venue's id: one whose maker gave it no other."""
    fields = {**_head(listed), "orderId": venue_order_id}
    if order_filter:
        fields["orderFilter"] = order_filter
    return WriteRequest(
        path="/v5/order/cancel",
        op="order.cancel",
        body=msgspec.json.encode(fields),
        write=Write.CHANGE,
        bucket="order.cancel",
        category=listed.category,
        is_cancel=True,
    )


def cancel_all(category: Category, *, symbol: str = "", settle: str = "USDT") -> list[WriteRequest]:
    """Return the requests that cancel all orders of a category, or of a symbol in it: one for every kind.

    One call reaches at most 500 perpetuals' orders, chosen at random: ask for what is open and repeat until it is
    nothing.
    """
    fields: dict[str, Any] = {"category": category}
    if symbol:
        fields["symbol"] = _symbol(symbol)
    elif category != "spot":
        fields["settleCoin"] = settle
    # Without a filter a perpetual's call covers every kind.
    bodies = [{**fields, "orderFilter": each} for each in _SPOT_FILTERS] if category == "spot" else [fields]
    return [
        WriteRequest(
            path="/v5/order/cancel-all",
            op=None,
            body=msgspec.json.encode(body),
            write=Write.CHANGE,
            bucket="order.cancel-all",
            category=category,
            is_cancel=True,
        )
        for body in bodies
    ]


def batch(requests: Sequence[WriteRequest]) -> WriteRequest:
    """Return several creates, amendments or cancels as one request; every item has an answer of its own.

    Raises:
        ValueError: they are of several kinds or categories, too many, or none; or two are about one order.
    """
    first = requests[0] if requests else None
    if first is None or first.op is None or first.is_batch:
        raise ValueError("a batch is of single creates, amendments or cancels")
    if any((each.path, each.category) != (first.path, first.category) for each in requests):
        raise ValueError("a batch is of one kind and one category")
    ids = tuple(each.client_order_ids[0] for each in requests if each.client_order_ids)
    if len(set(ids)) < len(requests):
        raise ValueError("every item of a batch is about an order of its own, by our id")
    if first.category == "" or len(requests) > BATCH_MAX[first.category]:
        raise ValueError(f"{len(requests)} items in a batch; {first.category} takes {BATCH_MAX.get(first.category)}")
    items = [msgspec.json.decode(each.body) for each in requests]
    for item in items:
        del item["category"]
    return WriteRequest(
        path=f"{first.path}-batch",
        op=f"{first.op}-batch",
        body=msgspec.json.encode({"category": first.category, "request": items}),
        write=first.write,
        bucket=f"{first.bucket}-batch",
        category=first.category,
        is_cancel=first.is_cancel,
        client_order_ids=ids,
    )


def change_stops(change: ChangeStops, listed: Listed) -> WriteRequest:
    """Return the request that changes the exits which the venue keeps for a whole position; a price of 0: none.

    Raises:
        ValueError: spot has no positions; or it changes nothing.
    """
    if listed.category == "spot":
        raise ValueError("spot has no positions, and no exits of them")
    fields: dict[str, Any] = {}
    for name, source, wanted in (
        ("takeProfit", "tpTriggerBy", change.take_profit),
        ("stopLoss", "slTriggerBy", change.stop_loss),
    ):
        if wanted is not None:
            fields |= _exit(name, source, wanted)
    if change.trailing_distance is not None:
        fields["trailingStop"] = plain(_not_negative(change.trailing_distance, "trailing distance"))
    if not fields:
        raise ValueError("a change of exits that changes nothing")
    head = {**_head(listed), "tpslMode": "Full", "positionIdx": _INDICES[change.leg]}
    return _setting("/v5/position/trading-stop", head | fields, listed.category)


def set_leverage(listed: Listed, leverage: Decimal) -> WriteRequest:
    """Return the request that sets a perpetual's leverage, the same on both sides."""
    text = plain(_positive(leverage, "leverage"))
    return _setting(
        "/v5/position/set-leverage", {**_head(listed), "buyLeverage": text, "sellLeverage": text}, listed.category
    )


def set_position_mode(listed: Listed, *, is_hedged: bool) -> WriteRequest:
    """Return the request for one position of a perpetual, of whichever direction, or a long and a short one."""
    return _setting("/v5/position/switch-mode", {**_head(listed), "mode": 3 if is_hedged else 0}, listed.category)


def set_margin_mode(mode: str) -> WriteRequest:
    """Return the request for a margin mode: "REGULAR_MARGIN" is cross."""
    return _setting("/v5/account/set-margin-mode", {"setMarginMode": mode}, "")


def set_price_limits_refused(category: Category) -> WriteRequest:
    """Return the request that has limits beyond the price band refused; perpetuals' are moved without a word else."""
    fields = {"category": category, "modifyEnable": False}
    return _setting("/v5/account/set-limit-px-action", fields, category, bucket="account.set")


def set_disconnect_cancel(seconds: int, *, product: str = "DERIVATIVES") -> WriteRequest:
    """Return the request that has orders canceled once the account's streams are silent for so long.

    The venue enables it for institutions alone; it takes ten seconds to apply.
    """
    if not 3 <= seconds <= 300:
        raise ValueError(f"{seconds} s; the venue takes 3 to 300")
    fields = {"timeWindow": seconds, "product": product}
    return _setting("/v5/order/disconnected-cancel-all", fields, "", bucket="order.disconnected-cancel-all")


def plain(value: Decimal) -> str:
    """Return a number as the venue takes it, the same text for the same value: no exponent, no zeros at its end."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def client_order_id(text: str) -> str:
    """Return a client order id.

    Raises:
        ValueError: the venue takes 1 to 36 letters, digits, dashes and underscores.
    """
    if _CLIENT_ORDER_ID.fullmatch(text) is None:
        raise ValueError(f"{text[:50]!r} is no client order id: 1 to 36 letters, digits, dashes and underscores")
    return text


def _change(verb: str, order_id: str, listed: Listed, fields: dict[str, str]) -> WriteRequest:
    return WriteRequest(
        path=f"/v5/order/{verb}",
        op=f"order.{verb}",
        body=msgspec.json.encode({**_head(listed), "orderLinkId": client_order_id(order_id), **fields}),
        write=Write.CHANGE,
        bucket=f"order.{verb}",
        category=listed.category,
        is_cancel=verb == "cancel",
        client_order_ids=(order_id,),
    )


def _setting(
    path: str, fields: dict[str, Any], category: Category | Literal[""], *, bucket: str = "position.set"
) -> WriteRequest:
    return WriteRequest(
        path=path,
        op=None,
        body=msgspec.json.encode(fields),
        write=Write.SETTING,
        bucket=bucket,
        category=category,
    )


def _head(listed: Listed) -> dict[str, Any]:
    return {"category": listed.category, "symbol": _symbol(listed.symbol)}


def _symbol(text: str) -> str:
    if _SYMBOL.fullmatch(text) is None:
        raise ValueError(f"{text[:50]!r} is no symbol")
    return text


def _trigger(order: SubmitOrder, *, is_spot: bool) -> dict[str, Any]:
    trigger = order.trigger
    if trigger is None:
        return {}
    price = {"triggerPrice": plain(_positive(trigger.price, "trigger price"))}
    if is_spot:  # the venue tells the direction from the last price, and knows no other source
        if trigger.source is not TriggerSource.LAST:
            raise ValueError("spot's triggers go by the last price")
        return {**price, "orderFilter": "StopOrder"}
    return {
        **price,
        "triggerDirection": 1 if trigger.is_rise else 2,
        "triggerBy": _SOURCES[trigger.source],
    }


def _attached(order: SubmitOrder, *, is_spot: bool) -> dict[str, Any]:
    if order.take_profit is None and order.stop_loss is None:
        return {}
    if order.reduce_only:
        raise ValueError("an order that reduces opens no position to have exits")
    fields: dict[str, Any] = {}
    for name, source, wanted in (
        ("takeProfit", "tpTriggerBy", order.take_profit),
        ("stopLoss", "slTriggerBy", order.stop_loss),
    ):
        if wanted is not None:
            _positive(wanted.price, name)
            fields |= {name: plain(wanted.price)} if is_spot else _exit(name, source, wanted)
    if is_spot:
        return fields | {"tpOrderType": "Market", "slOrderType": "Market"}
    return fields | {"tpslMode": "Full"}


def _exit(name: str, source: str, wanted: Exit) -> dict[str, str]:
    return {name: plain(_not_negative(wanted.price, name)), source: _SOURCES[wanted.source]}


def _order_filter(listed: Listed, *, is_conditional: bool) -> dict[str, str]:
    return {"orderFilter": "StopOrder"} if listed.category == "spot" and is_conditional else {}


def _positive(value: Decimal, name: str) -> Decimal:
    if not (value.is_finite() and value > 0):
        raise ValueError(f"{name} {value} is not positive")
    return value


def _not_negative(value: Decimal, name: str) -> Decimal:
    if not (value.is_finite() and value >= 0):
        raise ValueError(f"{name} {value} is negative")
    return value
