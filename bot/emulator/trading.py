"""What clients may do: orders, leverage, position mode, stops. REST and the trade stream share it."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.core.matching import CANCEL_ALL_MAX, OrderFilter, VenueModel
from bot.core.venue.facts import Refusal
from bot.core.venue.orders import (
    Kind,
    NewOrder,
    OrderChanged,
    OrderRecord,
    PriceSource,
    RejectReason,
    Status,
    Told,
    open_record,
)
from bot.domain.account import ZERO
from bot.domain.instrument import Side
from bot.emulator import codes, ids, inferred
from bot.emulator.archive import KeptOrder, Notes
from bot.emulator.clients import Client
from bot.emulator.faults import Faults
from bot.emulator.ids import OrderIds
from bot.emulator.listing import Listing, Listings
from bot.emulator.markets import PublicMarket
from bot.emulator.order_requests import asked_filter, read_amendment, read_order
from bot.emulator.params import Body, category, choice, integer, needed, text
from bot.emulator.sizing import worst_qty
from bot.emulator.tellings import Tellings
from bot.emulator.wire import Refused

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
        seed: int,
        faults: Faults,
    ) -> None:
        self._model = model
        self._seed = seed
        self._faults = faults
        self._asked = 0
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
        order, notes = self._wanted(client, listing, body, now_ns)
        if self._faults.hit("async_reject", now_ns, account=client.name, symbol=listing.symbol):
            record = self._reject(client, listing, order, notes, now_ns)
        else:
            record = self._submit(client, listing, order, notes, now_ns)
        return {"orderId": record.order_id, "orderLinkId": record.client_order_id}

    def pre_check(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Return what an order would do to the margin rates, in hundredths of a percent, without placing it.

        Raises:
            Refused: it would be refused, or it is conditional.
        """
        listing = self._listings.find(category(body), needed(body, "symbol"))
        order, _ = self._wanted(client, listing, body, now_ns)
        if order.trigger is not None:
            raise Refused(*inferred.PRE_CHECK_CONDITIONAL)
        made, told = self._model.preview(client.name, order, now_ns)
        self._tellings.absorb(told, now_ns)
        if isinstance(made, Refusal):
            raise codes.refusal(made)
        before, after = made
        self._asked += 1
        return {
            "orderId": ids.uuid_text(self._seed, "pre-check", self._asked),
            "orderLinkId": order.client_order_id,
            "preImrE4": _e4(before.initial_rate),
            "preMmrE4": _e4(before.maintenance_rate),
            "postImrE4": _e4(after.initial_rate),
            "postMmrE4": _e4(after.maintenance_rate),
        }

    def refuse_dcp(self, client: Client, body: Body, now_ns: int) -> dict[str, Any]:
        """Refuse to cancel orders on disconnection: that is for institutions.

        Raises:
            Refused: always.
        """
        window = integer(body, "timeWindow")
        if window is None or not 3 <= window <= 300:
            raise Refused(10001, "params error: timeWindow invalid")
        raise Refused(*inferred.DCP_REFUSED)

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
        only, noted = _filter_of(kind, body)

        def pick(order_ids: Sequence[str]) -> Iterable[str]:
            if noted:
                order_ids = [each for each in order_ids if client.archive.orders[each].notes.order_filter == noted]
            return self._draw(order_ids, now_ns) if kind == "linear" else order_ids

        canceled, told = self._model.cancel_all(client.name, now_ns, instruments=names, only=only, pick=pick)
        self._tellings.absorb(told, now_ns)
        return {"list": [_ids_of(record) for record in canceled], "success": "1"}

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
            qty = self._model.accounts[client.name].state.qty((listing.name, index))
            if qty:
                closing = NewOrder(
                    instrument=listing.name,
                    side=Side.SELL if qty > 0 else Side.BUY,
                    kind=Kind.MARKET,
                    qty=ZERO,
                    position_index=index,
                    reduce_only=True,
                    close_on_trigger=True,
                )
                self._submit(client, listing, closing, Notes(create_type="CreateByClosing"), now_ns)
                closed = True
        return closed

    def _wanted(self, client: Client, listing: Listing, body: Body, now_ns: int) -> tuple[NewOrder, Notes]:
        """Return the order that a body asks for, its price and size as the venue takes them."""
        if listing.status not in _TRADABLE:
            raise Refused(*_NOT_LIVE[listing.category])
        self.advance(now_ns)
        asked = read_order(listing, body, self._last_price(listing, now_ns))
        order = asked.order
        if listing.name in client.reduce_only and not self._reduces(client, order):
            raise Refused(*inferred.REDUCE_ONLY)
        if asked.bbo is not None:
            order = replace(order, price=self._touch(listing, order.side, *asked.bbo))
        order = self._within_band(client, listing, order, now_ns)
        return self._sized(listing, order, asked.notes, now_ns)

    def _reduces(self, client: Client, order: NewOrder) -> bool:
        held = self._model.accounts[client.name].state.qty((order.instrument, order.position_index))
        return order.reduce_only or order.qty <= -held * order.side.sign

    def _reject(self, client: Client, listing: Listing, order: NewOrder, notes: Notes, now_ns: int) -> OrderRecord:
        """Return an order that is taken as far as anybody can tell, and tell on the stream that it was rejected."""
        made, told = self._model.preview(client.name, order, now_ns)
        self._tellings.absorb(told, now_ns)
        if isinstance(made, Refusal):
            raise codes.refusal(made)
        self._asked += 1
        record = replace(
            open_record(ids.uuid_text(self._seed, "rejected", self._asked), order, now_ns),
            status=Status.REJECTED,
            reject_reason=RejectReason.OTHERS,
        )
        self._tellings.notes[record.order_id] = notes
        self._tellings.absorb([Told(client.name, OrderChanged(ts_ns=now_ns, order=record))], now_ns)
        return record

    def _draw(self, order_ids: Sequence[str], now_ns: int) -> Iterable[str]:
        """Return which orders one cancel-all reaches: as many as it may, drawn by lot."""
        if len(order_ids) <= CANCEL_ALL_MAX:
            return order_ids
        drawn = sorted(order_ids, key=lambda each: ids.fraction(self._seed, "cancel-all", now_ns, each))
        chosen = set(drawn[:CANCEL_ALL_MAX])
        return [each for each in order_ids if each in chosen]

    def _submit(self, client: Client, listing: Listing, order: NewOrder, notes: Notes, now_ns: int) -> OrderRecord:
        order_ids = self._order_ids
        if listing.is_spot and not order.client_order_id:
            order = replace(order, client_order_id=str(int(order_ids.next_spot()) + 1))
        order_ids.is_spot = listing.is_spot
        try:
            made, told = self._model.submit(client.name, order, now_ns)
        finally:
            order_ids.is_spot = False
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
        qty = worst_qty(self._model, listing.name, order.side, amount, now_ns)
        return (order if qty is None else replace(order, qty=qty, is_quote_qty=False)), notes


def _ids_of(record: OrderRecord) -> dict[str, Any]:
    return {"orderId": record.order_id, "orderLinkId": record.client_order_id}


def _e4(rate: Decimal) -> int:
    return int(rate * 10_000) if rate.is_finite() else 10_000


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


def _filter_of(kind: str, body: Body) -> tuple[OrderFilter, str]:
    """Return which orders a cancel-all means, and what filter they were placed with, empty for any.

    A perpetual's are all by default, spot's the plain ones. With a `stopOrderType` conditional orders alone are meant,
    not the exits of positions.
    """
    order_filter = asked_filter(body)
    if choice(body, "stopOrderType", ("Stop",), ""):
        return "conditional", ""
    if kind == "spot":
        return ("order", "") if order_filter in ("", "Order", "OpenOrder") else ("stop", order_filter)
    if order_filter in ("Order", "OpenOrder"):
        return "order", ""
    return ("stop" if order_filter else "all"), ("" if order_filter == "StopOrder" else order_filter)
