"""What clients may do: orders, leverage, position mode, stops. REST and the trade stream share it."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.core.matching import OrderFilter, VenueModel
from bot.core.venue.facts import Refusal
from bot.core.venue.orders import Kind, NewOrder, OrderRecord, PriceSource
from bot.domain.instrument import Side
from bot.emulator import codes, forced, inferred
from bot.emulator.archive import KeptOrder, Notes
from bot.emulator.clients import Client
from bot.emulator.ids import OrderIds
from bot.emulator.listing import Listing, Listings
from bot.emulator.markets import PublicMarket
from bot.emulator.order_requests import read_amendment, read_order, read_stops
from bot.emulator.params import Body, category, choice, integer, needed, number, text
from bot.emulator.tellings import Tellings
from bot.emulator.wire import Refused, ms_text

_TRADABLE = ("Trading", "PreLaunch")
_NOT_LIVE = {"linear": (110074, "This contract is not live"), "spot": (170157, "Not supported trading")}
_ID_MISSING = (10001, "params error: OrderId or orderLinkId is required")


class Desk:
    """Takes requests to the venue model, and what comes of them to the tellings."""

    def __init__(
        self,
        *,
        model: VenueModel,
        listings: Listings,
        markets: Mapping[str, PublicMarket],
        tellings: Tellings,
        order_ids: OrderIds,
    ) -> None:
        self._model = model
        self._listings = listings
        self._markets = markets
        self._tellings = tellings
        self._order_ids = order_ids

    # Orders

    def create(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Place an order.

        Raises:
            Refused: the venue says no at once; what the matching says comes later, on the stream.
        """
        listing = self._listings.find(category(body), needed(body, "symbol"))
        if listing.status not in _TRADABLE:
            raise Refused(*_NOT_LIVE[listing.category])
        self.advance(now_ns)
        asked = read_order(listing, body, self._last_price(listing, now_ns))
        order = asked.order
        if asked.bbo is not None:
            order = replace(order, price=self._touch(listing, order.side, *asked.bbo))
        order = self._within_band(client, listing, order, now_ns)
        order, notes = self._sized(listing, order, asked.notes, now_ns)
        record = self._submit(client, listing, order, notes, now_ns)
        return {"orderId": record.order_id, "orderLinkId": record.client_order_id}

    def amend(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Change an order.

        Raises:
            Refused: there is no such open order, or the change makes no sense.
        """
        listing, kept = self._order_named(client, body, now_ns)
        change = read_amendment(body, kept.record)
        if change.price is not None:
            bounded = replace(_as_asked(kept.record), price=change.price)
            change = replace(change, price=self._within_band(client, listing, bounded, now_ns).price)
        made, told = self._model.amend(client.name, listing.name, kept.record.order_id, change, now_ns)
        self._tellings.absorb(told, now_ns)
        return _ids_of(_accepted(made))

    def cancel(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Cancel an order.

        Raises:
            Refused: there is no such open order.
        """
        listing, kept = self._order_named(client, body, now_ns)
        made, told = self._model.cancel(client.name, listing.name, kept.record.order_id, now_ns)
        self._tellings.absorb(told, now_ns)
        return _ids_of(_accepted(made))

    def cancel_all(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Cancel the orders of a symbol or of all that share a coin."""
        kind = category(body)
        names = self._names(kind, body)
        only = _filter_of(kind, text(body, "orderFilter"), text(body, "stopOrderType"))
        canceled, told = self._model.cancel_all(client.name, now_ns, instruments=names, only=only)
        self._tellings.absorb(told, now_ns)
        return {"list": [_ids_of(record) for record in canceled], "success": "1"}

    def batch(
        self,
        client: Client,
        body: Body,
        now_ns: int,
        *,
        do: Callable[[Client, Body, int], dict[str, Any]],
        granted: int,
        limited: Refused,
        is_create: bool,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Do each of a batch; return the results, and beside them each one's code.

        Args:
            do: what is done with each.
            granted: so many are; the rest is over the limit.
            limited: what those are told.
            is_create: the results tell when each was created.
        """
        results: list[dict[str, Any]] = []
        said: list[dict[str, Any]] = []
        kind = category(body)
        for place, item in enumerate(batch_items(body)):
            result: dict[str, Any] = {
                "category": kind,
                "symbol": str(item.get("symbol", "")),
                "orderId": "",
                "orderLinkId": str(item.get("orderLinkId", "")),
            }
            created = ""
            try:
                if place >= granted:
                    raise limited
                result |= do(client, {**item, "category": kind}, now_ns)
                created = ms_text(now_ns)
                said.append({"code": 0, "msg": "OK"})
            except Refused as refused:
                said.append({"code": refused.code, "msg": refused.text})
            if is_create:
                result["createAt"] = created
            results.append(result)
        return {"list": results}, {"list": said}

    # Positions

    def set_leverage(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Change a symbol's leverage.

        Raises:
            Refused: it is the same already, or more than the tier allows.
        """
        listing = self._perpetual(body)
        buy, sell = number(body, "buyLeverage"), number(body, "sellLeverage")
        if buy is None or sell is None or buy != sell:
            raise Refused(10001, "params error: buyLeverage must be equal to sellLeverage")
        self.advance(now_ns)
        refusal, told = self._model.set_leverage(client.name, listing.name, buy, now_ns)
        self._tellings.absorb(told, now_ns)
        if refusal is not None:
            raise codes.refusal(refusal)
        self._tell_positions(client, listing, now_ns)
        return {}

    def switch_mode(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Switch a symbol, or all of a coin, between one position and a hedge.

        Raises:
            Refused: nothing changes, or a position or an order is in the way.
        """
        mode = integer(body, "mode")
        if mode not in (0, 3):
            raise Refused(10001, "params error: mode invalid")
        symbol, coin = text(body, "symbol"), text(body, "coin")
        if symbol:
            listings = [self._listings.find("linear", symbol)]
        else:
            listings = [each for each in self._listings.of("linear") if each.contract.settle_coin == coin]
        if not listings:
            raise Refused(10001, "params error: symbol or coin is required")
        self.advance(now_ns)
        refusals: list[Refusal] = []
        for listing in listings:
            refusal, told = self._model.switch_mode(client.name, listing.name, hedged=mode == 3, now_ns=now_ns)
            self._tellings.absorb(told, now_ns)
            if refusal is not None:
                refusals.append(refusal)
        if len(refusals) == len(listings):
            raise codes.refusal(refusals[0])
        return {}

    def set_stops(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Give a position exits, or take them away.

        Raises:
            Refused: there is no position, nothing changes, or a price lies on the wrong side.
        """
        listing = self._perpetual(body)
        wanted = read_stops(listing, body)
        self.advance(now_ns)
        refusal, told = self._model.set_stops(client.name, wanted, now_ns)
        self._tellings.absorb(told, now_ns)
        if refusal is not None:
            raise codes.refusal(refusal)
        return {}

    # Account

    def set_price_action(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Choose what becomes of a limit price beyond the band: rejected, or moved to it."""
        kind = choice(body, "category", ("linear", "inverse", "spot"))
        modify = body.get("modifyEnable")
        if not isinstance(modify, bool):
            raise Refused(10001, "params error: modifyEnable invalid")
        if kind == "spot":
            client.moves_spot_prices = modify
        else:
            client.rejects_perpetual_prices = not modify
        return {}

    # Behind the curtain

    def advance(self, now_ns: int) -> None:
        """Let happen what happens up to now, before something is asked of the model."""
        self._tellings.absorb(self._model.advance(now_ns), now_ns)

    def close_by_hand(self, client: Client, listing: Listing, now_ns: int) -> bool:
        """Close a client's positions of a symbol as in the app; return whether there was one."""
        closed = False
        for index in client.position_indices(listing):
            self.advance(now_ns)
            order_id, told = forced.close_by_hand(self._model, client.name, (listing.name, index), now_ns)
            if order_id:
                self._tellings.notes[order_id] = Notes(create_type=forced.CLOSED_BY_HAND)
                closed = True
            self._tellings.absorb(told, now_ns)
        return closed

    def _submit(self, client: Client, listing: Listing, order: NewOrder, notes: Notes, now_ns: int) -> OrderRecord:
        ids = self._order_ids
        if listing.is_spot and not order.client_order_id:
            order = replace(order, client_order_id=str(int(ids.next_spot()) + 1))
        ids.is_spot = listing.is_spot
        try:
            made, told = self._model.submit(client.name, order, now_ns)
        finally:
            ids.is_spot = False
        if isinstance(made, OrderRecord):
            self._tellings.notes[made.order_id] = notes
        self._tellings.absorb(told, now_ns)
        return _accepted(made)

    def _order_named(self, client: Client, body: Body, now_ns: int) -> tuple[Listing, KeptOrder]:
        kind = category(body)
        listing = self._listings.find(kind, needed(body, "symbol"))
        order_id, link_id = text(body, "orderId"), text(body, "orderLinkId")
        if not order_id and not link_id:
            raise Refused(*_ID_MISSING)
        self.advance(now_ns)
        kept = client.archive.find(kind, order_id, link_id)
        if kept is None or kept.listing.name != listing.name or not kept.record.is_open:
            raise codes.refusal(Refusal(code="170213" if listing.is_spot else "110001", reason=""))
        return listing, kept

    def _perpetual(self, body: Body) -> Listing:
        kind = category(body)
        if kind != "linear":
            raise Refused(10001, "Illegal category")
        return self._listings.find(kind, needed(body, "symbol"))

    def _names(self, kind: str, body: Body) -> list[str]:
        """Return the contracts that a symbol, a base coin or a settle coin names, in this order of weight."""
        symbol, base, settle = text(body, "symbol"), text(body, "baseCoin"), text(body, "settleCoin")
        if symbol:
            return [self._listings.find(kind, symbol).name]
        listings = self._listings.of(kind)
        if base:
            return [each.name for each in listings if each.instrument.base == base]
        if settle:
            return [each.name for each in listings if each.contract.settle_coin == settle]
        if kind == "linear":
            raise Refused(10001, "params error: symbol or baseCoin or settleCoin is required")
        return [each.name for each in listings]

    def _tell_positions(self, client: Client, listing: Listing, now_ns: int) -> None:
        for index in client.position_indices(listing):
            self._tellings.tell_position(client, (listing.name, index), now_ns)

    def _last_price(self, listing: Listing, now_ns: int) -> Decimal | None:
        ticks = self._markets[listing.name].market.price_at(PriceSource.LAST, now_ns)
        return None if ticks is None else listing.instrument.price(ticks)

    def _touch(self, listing: Listing, side: Side, which: str, level: int) -> Decimal:
        """Return the price of a level of the book: of the order's own side, or of the one it faces."""
        book = self._markets[listing.name].book(level)
        own = 0 if side is Side.BUY else 1
        levels = book[own if which == "Queue" else 1 - own] if book else []
        if len(levels) < level:
            raise Refused(110118, "There is no price at this level")
        return listing.instrument.price(levels[level - 1][0])

    def _within_band(self, client: Client, listing: Listing, order: NewOrder, now_ns: int) -> NewOrder:
        """Return the order with its limit moved to the price band, where its owner lets the venue do that."""
        moves = client.moves_spot_prices if listing.is_spot else not client.rejects_perpetual_prices
        band = self._markets[listing.name].band(now_ns)
        if not moves or band is None or order.kind is not Kind.LIMIT or order.price is None or order.trigger:
            return order
        buy_max, sell_min = band
        price = min(order.price, buy_max) if order.side is Side.BUY else max(order.price, sell_min)
        return replace(order, price=price)

    def _sized(self, listing: Listing, order: NewOrder, notes: Notes, now_ns: int) -> tuple[NewOrder, Notes]:
        """Return a spot order that is sized in the quote coin with its size in base, as far as the book tells."""
        if not order.is_quote_qty:
            return order, notes
        amount = order.qty
        if amount < listing.instrument.notional_min:
            raise codes.refusal(Refusal(code="170140", reason=""))
        qty = forced.worst_qty(self._model, listing.name, order.side, amount, now_ns)
        return (order if qty is None else replace(order, qty=qty, is_quote_qty=False)), notes


def batch_items(body: Body) -> list[dict[str, Any]]:
    """Return the requests of a batch.

    Raises:
        Refused: there are none, too many, or something else.
    """
    items = body.get("request")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise Refused(10001, "params error: request invalid")
    most = inferred.BATCH_MAX[category(body)]
    if len(items) > most:
        raise Refused(10001, f"The number of requests exceeds {most}")
    return items


def _ids_of(record: OrderRecord) -> dict[str, Any]:
    return {"orderId": record.order_id, "orderLinkId": record.client_order_id}


def _accepted(made: OrderRecord | Refusal) -> OrderRecord:
    if isinstance(made, Refusal):
        raise codes.refusal(made)
    return made


def _as_asked(record: OrderRecord) -> NewOrder:
    """Return an order as one that could be asked for, to have its price judged."""
    return NewOrder(
        instrument=record.instrument,
        side=record.side,
        kind=record.kind,
        qty=record.qty,
        price=record.price,
        trigger=record.trigger if record.is_open and record.status.value == "Untriggered" else None,
    )


def _filter_of(kind: str, order_filter: str, stop_type: str) -> OrderFilter:
    """Return which orders a cancel-all means: a perpetual's all by default, spot's plain ones."""
    if stop_type or order_filter in ("StopOrder", "tpslOrder"):
        return "stop"
    if order_filter in ("Order", "OpenOrder"):
        return "order"
    if order_filter:
        raise Refused(10001, "params error: orderFilter invalid")
    return "order" if kind == "spot" else "all"
