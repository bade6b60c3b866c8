"""What clients may ask about their account: orders, executions, positions, balances, fees, keys."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from bot.core.matching import VenueModel
from bot.emulator import inferred
from bot.emulator.archive import KeptOrder, KeptRow, Page
from bot.emulator.auth import ApiKey, permission_lists
from bot.emulator.clients import Client, position_record, wallet_record
from bot.emulator.faults import Faults
from bot.emulator.listing import Listing, Listings
from bot.emulator.markets import PublicMarket
from bot.emulator.order_requests import asked_filter
from bot.emulator.params import Body, category, choice, integer, limit, recent_window, text
from bot.emulator.records import order_record, shown
from bot.emulator.tellings import Tellings
from bot.emulator.wire import DAY_NS, Refused, ms_text, plain

_COIN_MISSING = (10001, "params error: symbol or baseCoin or settleCoin is required")


_Item = TypeVar("_Item", KeptOrder, KeptRow)


class Reader:
    """Answers queries."""

    def __init__(
        self,
        *,
        model: VenueModel,
        listings: Listings,
        markets: Mapping[str, PublicMarket],
        tellings: Tellings,
        faults: Faults,
    ) -> None:
        self._model = model
        self._listings = listings
        self._markets = markets
        self._tellings = tellings
        self._faults = faults

    # Orders and executions

    def realtime(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return open orders, or with `openOnly=1` also those that ended lately."""
        kind = category(params)
        if kind == "linear" and not any(params.get(key) for key in _NAMES):
            raise Refused(*_COIN_MISSING)
        with_closed = integer(params, "openOnly", 0) == 1 or bool(params.get("orderId") or params.get("orderLinkId"))
        lag_ns = self._lag_ns(client, "order", now_ns)
        found = client.archive.recent(kind) if with_closed else client.archive.open_orders(kind)
        if lag_ns:
            known = {kept.record.order_id for kept in found} if with_closed else frozenset[str]()
            then = client.archive.recall(kind, now_ns - lag_ns)
            changed = {kept.record.order_id for kept in then}
            found = [kept for kept in found if kept.record.order_id not in changed] if with_closed else []
            found += [kept for kept in then if kept.record.is_open or kept.record.order_id in known]
            found.sort(key=lambda kept: -kept.number)
        return self._order_page(client, kind, iter(found), params, now_ns, lag_ns)

    def history(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return orders that have ended, and open ones, as far back as the venue tells of them."""
        kind = category(params)
        is_named = bool(params.get("orderId") or params.get("orderLinkId"))
        start_ns, end_ns = (0, now_ns) if is_named else recent_window(params, now_ns)
        wanted = text(params, "orderStatus")
        lag_ns = self._lag_ns(client, "order", now_ns)
        found = (
            kept
            for kept in client.archive.history(kind, now_ns)
            if start_ns <= kept.record.created_ns <= end_ns
            and not kept.record.is_open
            and (not lag_ns or kept.record.updated_ns <= now_ns - lag_ns)
            and (not wanted or shown(kept).status.value == wanted)
        )
        return self._order_page(client, kind, found, params, now_ns, lag_ns)

    def executions(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return executions, funding among them."""
        kind = category(params)
        order_id, link_id = text(params, "orderId"), text(params, "orderLinkId")
        lag_ns = self._lag_ns(client, "execution.list", now_ns)
        if order_id or link_id:
            kept = client.archive.find(kind, order_id, link_id)
            name = order_id or ("" if kept is None else kept.record.order_id)
            rows = (row for row in reversed(client.archive.executions) if row.record["orderId"] == name)
        else:
            start_ns, end_ns = recent_window(params, now_ns)
            is_named, wanted = self._named(params), text(params, "execType")
            rows = (
                row
                for row in reversed(client.archive.executions)
                if row.listing is not None
                and row.listing.category == kind
                and is_named(row.listing)
                and start_ns <= row.ts_ns <= end_ns
                and (not wanted or row.record["execType"] == wanted)
            )
        seen = (row for row in rows if row.ts_ns <= now_ns - lag_ns)
        page = self._page(seen, params, 50, 100, client, "execution.list", now_ns)
        records = [
            self._faults.garnish(row.record, now_ns, topic="execution", account=client.name) for row in page.items
        ]
        return {"nextPageCursor": page.cursor, "category": kind, "list": records}

    def closed_pnl(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return what was closed."""
        kind = category(params)
        start_ns, end_ns = recent_window(params, now_ns)
        is_named = self._named(params)
        rows = (
            row
            for row in reversed(client.archive.closed_pnl)
            if row.listing is not None and is_named(row.listing) and start_ns <= row.ts_ns <= end_ns
        )
        page = self._page(rows, params, 50, 100, client, "position.closed-pnl", now_ns)
        return {"nextPageCursor": page.cursor, "category": kind, "list": [row.record for row in page.items]}

    # Positions and account

    def positions(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return positions: of a symbol also where it is flat, of a coin those that are not."""
        kind = category(params)
        if kind != "linear":
            raise Refused(10001, "Illegal category")
        symbol, settle = text(params, "symbol"), text(params, "settleCoin")
        limit(params, 20, 200)
        if symbol:
            listings: Iterable[Listing] = [self._listings.find(kind, symbol)]
        elif settle:
            listings = [each for each in self._listings.of(kind) if each.contract.settle_coin == settle]
        else:
            raise Refused(10001, "params error: symbol or settleCoin is required")
        client.revalue(self._markets, now_ns)
        records = [
            position_record(client, self._model, self._markets[listing.name], index, now_ns)
            for listing in listings
            for index in client.position_indices(listing)
            if symbol or client.books.state.qty((listing.name, index))
        ]
        records = [self._faults.garnish(each, now_ns, topic="position", account=client.name) for each in records]
        return {"nextPageCursor": "", "category": kind, "list": records}

    def wallet(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return the account and its coins."""
        choice(params, "accountType", ("UNIFIED",))
        coins = text(params, "coin")
        client.revalue(self._markets, now_ns)
        record = wallet_record(client, self._listings, self._markets, coins.split(",") if coins else None)
        return {"list": [self._faults.garnish(record, now_ns, topic="wallet", account=client.name)]}

    def fee_rate(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return fee rates."""
        kind, symbol = category(params), text(params, "symbol")
        listings = [self._listings.find(kind, symbol)] if symbol else self._listings.of(kind)
        records = [
            {
                "symbol": each.symbol,
                "takerFeeRate": plain(each.contract.fees.taker),
                "makerFeeRate": plain(each.contract.fees.maker),
            }
            for each in listings
        ]
        return {"list": records}

    def account_info(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return how the account is set up: unified, cross margin."""
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": ms_text(client.updated_ns),
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
            **client.info,
        }

    def user_settings(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return what becomes of limit prices beyond the band."""
        return {
            "lpaSpot": client.moves_spot_prices,
            "lpaPerp": client.rejects_perpetual_prices,
            "smsef": False,
            "fmsef": False,
        }

    def transaction_log(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return the transaction log."""
        start_ns, end_ns = recent_window(params, now_ns, DAY_NS)
        kind, coin, what = text(params, "category"), text(params, "currency"), text(params, "type")
        rows = (
            row
            for row in self._tellings.transactions(client)
            if start_ns <= row.ts_ns <= end_ns
            and (not kind or (row.listing is not None and row.listing.category == kind))
            and (not coin or row.record["currency"] == coin)
            and (not what or row.record["type"] == what)
        )
        page = self._page(rows, params, 20, 50, client, "account.transaction-log", now_ns)
        return {"nextPageCursor": page.cursor, "list": [row.record for row in page.items]}

    def dcp_info(self, client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        """Return that nothing is canceled on disconnection: that is for institutions."""
        return {"dcpInfos": []}

    def key_info(self, client: Client, key: ApiKey, now_ns: int) -> dict[str, Any]:
        """Return what the key in use may do."""
        days = -1 if key.expires_ns is None else (key.expires_ns - now_ns) // DAY_NS
        return {
            "id": str(client.uid * 10 + 1),
            "note": "emulator",
            "apiKey": key.key,
            "readOnly": int(key.is_read_only),
            "secret": "",
            "permissions": permission_lists(key.permissions),
            "ips": list(key.addresses) or ["*"],
            "type": 1,
            "deadlineDay": days,
            "expiredAt": _iso(key.expires_ns or 0),
            "createdAt": _iso(key.created_ns),
            "unified": 0,
            "uta": 1,
            "userID": client.uid,
            "inviterID": 0,
            "vipLevel": client.vip_level,
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_DEFAULT",
            "kycRegion": "",
            "userIDInt64": str(client.uid),
            "inviterIDInt64": "0",
            "affiliateIDInt64": "0",
            **key.info,
        }

    # Behind the curtain

    def _order_page(
        self, client: Client, kind: str, orders: Iterator[KeptOrder], params: Body, now_ns: int, lag_ns: int
    ) -> dict[str, Any]:
        order_id, link_id = text(params, "orderId"), text(params, "orderLinkId")
        if order_id or link_id:
            orders = (
                kept
                for kept in orders
                if (kept.record.order_id == order_id if order_id else kept.record.client_order_id == link_id)
            )
        else:
            is_named, only = self._named(params), asked_filter(params)
            orders = (kept for kept in orders if is_named(kept.listing) and _passes(kept, only))
        seen = (kept for kept in orders if kept.record.created_ns <= now_ns - lag_ns)
        page = self._page(seen, params, 20, 50, client, "order", now_ns)
        records = [
            self._faults.garnish(order_record(kept), now_ns, topic="order", account=client.name) for kept in page.items
        ]
        return {"list": records, "nextPageCursor": page.cursor, "category": kind}

    def _page(
        self,
        items: Iterator[_Item],
        params: Body,
        default: int,
        most: int,
        client: Client,
        path: str,
        now_ns: int,
    ) -> Page[_Item]:
        """Return a page of a list; what goes wrong with pages goes wrong here."""
        occasion = {"account": client.name, "path": path}
        overlaps = bool(params.get("cursor")) and self._faults.hit("page_overlap", now_ns, **occasion) is not None
        page = Page(items, params, limit=limit(params, default, most), overlaps=overlaps)
        if params.get("cursor") and self._faults.hit("cursor_repeated", now_ns, **occasion):
            page.cursor = quote(params["cursor"], safe="")
        return page

    def _named(self, params: Body) -> Callable[[Listing], bool]:
        """Return whether a listing is meant: by its symbol, its base coin or its settle coin, in this order."""
        symbol, base, settle = text(params, "symbol"), text(params, "baseCoin"), text(params, "settleCoin")
        if symbol:
            return lambda listing: listing.symbol == symbol
        if base:
            return lambda listing: listing.instrument.base == base
        return lambda listing: not settle or listing.contract.settle_coin == settle

    def _lag_ns(self, client: Client, what: str, now_ns: int) -> int:
        fault = self._faults.hit("stale_read", now_ns, account=client.name, path=what)
        return 0 if fault is None else fault.delay_ns


_NAMES = ("symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId")


def _passes(kept: KeptOrder, only: str) -> bool:
    """Return whether an order is of the kind asked for."""
    if not only:
        return True
    is_stop = kept.record.trigger is not None
    if only == "tpslOrder" or only in inferred.FILTERS_OF_NONE:
        return kept.notes.order_filter == only
    return is_stop == (only == "StopOrder")


def _iso(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
