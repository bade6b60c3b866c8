"""What anybody may ask about the markets: time, instruments, candles, books, tickers, trades, funding, limits."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from bot.emulator import inferred
from bot.emulator.candles import INTERVALS
from bot.emulator.listing import Listing, Listings, instrument_record, risk_records
from bot.emulator.markets import PublicMarket
from bot.emulator.params import Body, category, choice, limit, needed, text, time_ms
from bot.emulator.public import PublicStreams
from bot.emulator.topics import price_limits
from bot.emulator.wire import MS_NS, Refused, ms_text, plain, to_ms

_RISK_SYMBOLS = 15
_RECENT_MAX = {"linear": 1000, "spot": 60}
_RECENT = {"linear": 500, "spot": 60}
_BOOK = {"linear": 25, "spot": 1}


class MarketReader:
    """Answers queries about markets."""

    def __init__(self, listings: Listings, markets: Mapping[str, PublicMarket], public: PublicStreams) -> None:
        self._listings = listings
        self._markets = markets
        self._public = public
        self.notices: list[dict[str, Any]] = []  # planned and past maintenance

    def time(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return the venue's clock."""
        return {"timeSecond": str(now_ns // 10**9), "timeNano": str(now_ns)}

    def system_status(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return planned, running and past maintenance."""
        return {"list": list(reversed(self.notices))}

    def instruments(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return what is listed, a page at a time; spot has no pages."""
        kind, symbol = category(params), text(params, "symbol")
        status, base = text(params, "status"), text(params, "baseCoin")
        most = limit(params, 500, 1000)
        if symbol:
            listing = self._listings.lookup(kind, symbol)
            found = [] if listing is None else [listing]
        else:
            found = [
                each
                for each in self._listings.of(kind)
                if each.status == (status or "Trading") and (not base or each.instrument.base == base)
            ]
        page, cursor = (found, "") if kind == "spot" else _page_of(found, params, most)
        result: dict[str, Any] = {"category": kind, "list": [instrument_record(each) for each in page]}
        if kind == "linear":
            result["nextPageCursor"] = cursor
        return result

    def kline(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return candles, the newest first; the first may be forming still."""
        market, page = self._candles(params, now_ns)
        rows = [market.candle_row(candle) for candle in page]
        return {"symbol": market.listing.symbol, "category": market.listing.category, "list": rows}

    def price_kline(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return candles of the mark or index price: here they are those of the last price."""
        market, page = self._candles(params, now_ns)
        rows = [market.candle_row(candle)[:5] for candle in page]
        return {"symbol": market.listing.symbol, "category": market.listing.category, "list": rows}

    def premium_kline(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return candles of the premium: none, for mark and index are one price here."""
        market, page = self._candles(params, now_ns)
        rows = [[str(candle.start_ms), "0", "0", "0", "0"] for candle in page]
        return {"symbol": market.listing.symbol, "category": market.listing.category, "list": rows}

    def orderbook(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return the book, numbered as the stream of 1000 levels is."""
        market = self._market(params)
        kind = market.listing.category
        topic = self._public.whole_book(market.listing)
        topic.refresh(now_ns)
        data = topic.snapshot_data()
        most = limit(params, _BOOK[kind], 1000)
        return {
            "s": data["s"],
            "b": data["b"][:most],
            "a": data["a"][:most],
            "ts": to_ms(now_ns),
            "u": data["u"],
            "seq": data["seq"],
            "cts": to_ms(topic.changed_ns),
        }

    def tickers(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return tickers."""
        kind, symbol = category(params), text(params, "symbol")
        listings = [self._listings.find(kind, symbol)] if symbol else self._listings.of(kind)
        tickers = [self._markets[each.name].rest_ticker(now_ns) for each in listings]
        return {"category": kind, "list": [ticker for ticker in tickers if ticker is not None]}

    def recent_trades(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return the last trades, the newest first."""
        market = self._market(params)
        kind = market.listing.category
        most = limit(params, _RECENT[kind], _RECENT_MAX[kind])
        trades = list(market.recent)[-most:]
        return {"category": kind, "list": [market.trade_record(trade) for trade in reversed(trades)]}

    def funding_history(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return settled funding rates, the newest first."""
        market = self._market(params)
        listing = market.listing
        if listing.is_spot:
            raise Refused(10001, "Illegal category")
        start, end = time_ms(params, "startTime"), time_ms(params, "endTime")
        if start is not None and end is None:
            raise Refused(*inferred.FUNDING_NEEDS_END)
        most = limit(params, 200, 200)
        until_ns = min(now_ns, now_ns if end is None else end * MS_NS)
        funding = market.funding
        rows: list[tuple[int, int]] = []
        if funding is not None:
            last = int(funding.ts_ns.searchsorted(until_ns, side="right"))
            first = 0 if start is None else int(funding.ts_ns.searchsorted(start * MS_NS))
            first = max(first, last - most)
            rows = list(zip(funding.ts_ns[first:last].tolist(), funding.rate_e8[first:last].tolist(), strict=True))
        records = [
            {
                "symbol": listing.symbol,
                "fundingRate": plain(Decimal(rate).scaleb(-8)),
                "fundingRateTimestamp": ms_text(ts_ns),
            }
            for ts_ns, rate in reversed(rows)
        ]
        return {"category": "linear", "list": records}

    def risk_limit(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return risk tiers."""
        kind, symbol = category(params), text(params, "symbol")
        if kind == "spot":
            raise Refused(10001, "Illegal category")
        listings = [self._listings.find(kind, symbol)] if symbol else self._listings.of(kind)
        page, cursor = _page_of(listings, params, _RISK_SYMBOLS)
        records = [record for listing in page for record in risk_records(listing)]
        return {"category": kind, "list": records, "nextPageCursor": cursor}

    def price_limit(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return the price band."""
        limits = price_limits(self._market(params, "linear"), now_ns)
        if limits is None:
            raise Refused(10001, "params error: no price yet")
        return {**limits, "ts": ms_text(now_ns)}

    def open_interest(self, params: Body, now_ns: int) -> dict[str, Any]:
        """Return open interest, which stands still here."""
        market = self._market(params)
        if market.listing.is_spot:
            raise Refused(10001, "Illegal category")
        minutes = _INTERVALS[choice(params, "intervalTime", tuple(_INTERVALS))]
        step_ms = minutes * 60_000
        newest = to_ms(now_ns) // step_ms * step_ms
        records = [
            {
                "openInterest": inferred.OPEN_INTEREST,
                "singleOpenInterest": plain(Decimal(inferred.OPEN_INTEREST) / 2),
                "timestamp": str(newest - number * step_ms),
            }
            for number in range(limit(params, 50, 200))
        ]
        return {"symbol": market.listing.symbol, "category": "linear", "list": records, "nextPageCursor": ""}

    def _candles(self, params: Body, now_ns: int) -> tuple[PublicMarket, list[Any]]:
        market = self._market(params, "linear")
        interval = choice(params, "interval", INTERVALS)
        page = market.player.candles.page(
            interval,
            start_ms=time_ms(params, "start"),
            end_ms=time_ms(params, "end"),
            limit=limit(params, 200, 1000),
            now_ms=to_ms(now_ns),
        )
        return market, page

    def _market(self, params: Body, default: str | None = None) -> PublicMarket:
        kind = default if default and not params.get("category") else category(params)
        return self._markets[self._listings.find(kind, needed(params, "symbol")).name]


_INTERVALS = {"5min": 5, "15min": 15, "30min": 30, "1h": 60, "4h": 240, "1d": 1440}


def _page_of(listings: list[Listing], params: Body, most: int) -> tuple[list[Listing], str]:
    cursor = text(params, "cursor")
    start = 0
    if cursor:
        number = cursor.removeprefix("first=").removesuffix("&")
        if cursor != f"first={number}&" or not number.isdigit() or len(number) > 9:
            raise Refused(*inferred.CURSOR_UNKNOWN)
        start = int(number)
    page = listings[start : start + most]
    end = start + len(page)
    return page, quote(f"first={end}&", safe="") if end < len(listings) else ""
