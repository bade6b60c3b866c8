"""A local Bybit for history: the market endpoints and the archive, serving a made-up market, misbehaving on demand.

The envelope, the paging limits, the order of rows, the typing and the error codes are those of the venue's
documentation. The market is a function of its seed: `Market.bars` and `Market.funding` are the truth to compare with.
"""

import asyncio
import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from aiohttp import web

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
INTERVALS = {
    "1": MINUTE,
    "3": 3 * MINUTE,
    "5": 5 * MINUTE,
    "15": 15 * MINUTE,
    "30": 30 * MINUTE,
    "60": HOUR,
    "120": 2 * HOUR,
    "240": 4 * HOUR,
    "360": 6 * HOUR,
    "720": 12 * HOUR,
    "D": DAY,
}
KLINES = {"/v5/market/kline": 7, "/v5/market/mark-price-kline": 5, "/v5/market/index-price-kline": 5}


def utc_ms(text: str) -> int:
    """Return a day such as "2024-03-01" in ms."""
    return (date.fromisoformat(text) - date(1970, 1, 1)).days * DAY


@dataclass(kw_only=True)
class Market:
    """One symbol, as the venue has it; all times in ms."""

    symbol: str = "BTCUSDT"
    category: str = "linear"
    seed: int = 1
    listed_ms: int = utc_ms("2020-01-01")
    ended_ms: int = 2**62
    holes: list[tuple[int, int]] = field(default_factory=list)  # [from, to): no bar opens there, nothing is settled
    funding_step_ms: Callable[[int], int] = lambda ts_ms: 8 * HOUR  # the schedule at a time
    archived: dict[str, bytes] = field(default_factory=dict)  # by day: the file as it is served
    recent: int = 2000  # trades that REST would know
    price_places: Callable[[int], int] = lambda ts_ms: 1  # decimals of the prices at a time

    def exists(self, ts_ms: int) -> bool:
        """Return whether the venue has something of that time."""
        return self.listed_ms <= ts_ms < self.ended_ms and not any(lo <= ts_ms < hi for lo, hi in self.holes)

    def bar(self, series: str, interval: str, open_ms: int, *, is_forming: bool = False) -> list[str]:
        """Return one bar as the venue spells it."""
        step = INTERVALS[interval]
        mix = zlib.crc32(f"{self.seed} {self.symbol} {series} {interval} {open_ms} {is_forming}".encode())
        ticks = 250_000 + open_ms // step % 977
        open_, close = ticks + mix % 50, ticks + mix // 50 % 50
        high, low = max(open_, close) + mix % 7, min(open_, close) - mix % 5
        places = self.price_places(open_ms)
        values = enumerate((open_, high, low, close))
        prices = [_spell(value, places, zeros=(mix >> shift) % 3) for shift, value in values]
        row = [str(open_ms), *prices]
        if KLINES[series] == 7:
            volume = 0 if mix % 11 == 0 else mix % 100_000
            row += [_spell(volume, 3, zeros=mix % 2), _spell(volume * close, 4, zeros=0)]
        return row

    def opens(self, interval: str, from_ms: int, to_ms: int, now_ms: int) -> list[int]:
        """Return the opens of the bars in [from, to), the forming one among them."""
        step = INTERVALS[interval]
        first = max(from_ms, self.listed_ms // step * step)
        to_ms = min(to_ms, self.ended_ms, now_ms + 1)
        return [at for at in range(-(-first // step) * step, to_ms, step) if self._has_bar(at, step)]

    def bars(self, series: str, interval: str, from_ms: int, to_ms: int) -> dict[int, list[str]]:
        """Return the truth: every bar that opens in [from, to), by its open."""
        return {at: self.bar(series, interval, at)[1:] for at in self.opens(interval, from_ms, to_ms, 2**62)}

    def funding(self, from_ms: int, to_ms: int) -> dict[int, str]:
        """Return the truth: every settled rate in [from, to), by its time."""
        rates = {}
        at = self.listed_ms // (8 * HOUR) * 8 * HOUR
        while at < min(to_ms, self.ended_ms):
            if at >= from_ms and self.exists(at):
                mix = zlib.crc32(f"{self.seed} {self.symbol} funding {at}".encode())
                rates[at] = ("-" if mix % 4 == 0 else "") + _spell(mix % 40_000, 8, zeros=mix % 2)
            at += self.funding_step_ms(at)
        return rates

    def archive(self, day: str, rows: int = 50) -> bytes:
        """Put a day of trades into the archive; return the file."""
        start_ms = utc_ms(day)
        head = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
        lines = [head if self.category == "linear" else "id,timestamp,price,volume,side,rpi"]
        for row in range(rows):
            mix = zlib.crc32(f"{self.seed} {self.symbol} trade {day} {row}".encode())
            ts_ms = start_ms + row * (DAY // rows) + mix % 1000
            price, size, side = f"{(250_000 + mix % 900) / 10:.1f}", f"{(1 + mix % 5000) / 1000:.3f}", mix % 2
            if self.category == "linear":
                word = "Buy" if side else "Sell"
                ident = f"{mix:08x}-0000-5000-8000-{row:012x}"
                stamp = f"{ts_ms // 1000}.{ts_ms % 1000:03d}{mix % 10}"
                lines.append(f"{stamp},{self.symbol},{word},{size},{price},PlusTick,{ident},1e9,{size},{price}")
            else:
                lines.append(f"{row + 1},{ts_ms},{price},{size},{'buy' if side else 'sell'},0")
        self.archived[day] = gzip.compress("\n".join(lines).encode() + b"\n", mtime=0)
        return self.archived[day]

    def _has_bar(self, open_ms: int, step: int) -> bool:
        if step <= HOUR:
            return self.exists(max(open_ms, self.listed_ms)) and open_ms + step > self.listed_ms
        # A long bar is there as soon as a part of it is.
        return any(self.exists(at) for at in range(max(open_ms, self.listed_ms), open_ms + step, HOUR))


def _spell(value: int, places: int, *, zeros: int) -> str:
    """Return value / 10**places with some zeros more, or with none."""
    whole, part = divmod(value, 10**places)
    text = f"{part:0{places}d}"
    text = text.rstrip("0") if zeros == 0 else text + "0" * (zeros - 1)
    return f"{whole}.{text}" if text else str(whole)


Reply = web.StreamResponse
Misbehave = Callable[["Request"], "Reply | None"]


@dataclass(kw_only=True)
class Request:
    """One request, and what the honest answer to it is: misbehaviour alters that, or answers in its place."""

    path: str
    query: dict[str, str]
    envelope: dict[str, Any]
    market: "Market | None"
    now_ms: int


@dataclass(kw_only=True)
class Fault:
    """What goes wrong, for so many matching requests after the first so many went well."""

    act: Misbehave
    path: str = "/v5/market/"
    times: int = 1
    after: int = 0

    def meets(self, path: str) -> bool:
        """Return whether this request is one that goes wrong, and count it."""
        if not path.startswith(self.path) or self.times <= 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


class HistoryServer:
    """Serves markets. Alter `now_ms`, `markets` and `faults` between requests as you like."""

    def __init__(self, *markets: Market, now_ms: int) -> None:
        self.url = ""
        self.reset(*markets, now_ms=now_ms)

    def reset(self, *markets: Market, now_ms: int) -> None:
        """Start anew, under the same address."""
        self.markets = {(market.category, market.symbol): market for market in markets}
        self.now_ms = now_ms
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.instruments_page = 1000  # most instruments in one page, whatever the limit asked for
        self.on_request: Callable[[], None] = lambda: None

    def asked_for(self, path: str) -> list[dict[str, str]]:
        """Return the queries of the requests to a path."""
        return [query for where, query in self.asked if where.startswith(path)]

    async def handle(self, request: web.Request) -> Reply:
        """Answer one request."""
        path, query = request.path, dict(request.query)
        if "cursor" in query:  # as it stood in the URL, percent-encoded
            query["cursor"] = request.raw_path.partition("cursor=")[2].partition("&")[0]
        self.asked.append((path, query))
        self.on_request()
        fault = next((fault for fault in self.faults if fault.meets(path)), None)
        if not path.startswith("/v5/"):
            file = self._archived(path)
            reply = None if fault is None else fault.act(self._request(path, query, {"file": file}))
            if reply is None:
                reply = web.Response(status=404) if file is None else web.Response(body=file)
            return await _finish(reply, request)
        asked = self._request(path, query, self.answer(path, query))
        reply = None if fault is None else fault.act(asked)
        return await _finish(web.json_response(asked.envelope) if reply is None else reply, request)

    def _request(self, path: str, query: dict[str, str], envelope: dict[str, Any]) -> Request:
        market = self.markets.get((query.get("category", "linear"), query.get("symbol", "")))
        return Request(path=path, query=query, envelope=envelope, market=market, now_ms=self.now_ms)

    def _archived(self, path: str) -> bytes | None:
        for (category, symbol), market in self.markets.items():
            for day, file in market.archived.items():
                linear = f"/trading/{symbol}/{symbol}{day}.csv.gz"
                if path == (f"/spot/{symbol}/{symbol}_{day}.csv.gz" if category == "spot" else linear):
                    return file
        return None

    def answer(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """Return the honest envelope, without a network."""
        try:
            result = self._result(path, query)
        except _Refusal as refusal:
            return {
                "retCode": refusal.code,
                "retMsg": refusal.text,
                "result": {},
                "retExtInfo": {},
                "time": self.now_ms,
            }
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": self.now_ms}

    def _result(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        if path == "/v5/market/time":
            return {"timeSecond": str(self.now_ms // 1000), "timeNano": str(self.now_ms * 1_000_000)}
        category = query.get("category", "linear")
        if category not in ("linear", "spot", "inverse"):
            raise _Refusal(10001, "Illegal category")
        if path == "/v5/market/instruments-info":
            return self._instruments(category, query)
        market = self.markets.get((category, query.get("symbol", "")))
        if market is None:
            raise _Refusal(10001, "params error: Symbol Invalid")
        if path in KLINES:
            return self._klines(path, market, query)
        if path == "/v5/market/funding/history" and category == "linear":
            return self._funding(market, query)
        if path == "/v5/market/recent-trade":
            return self._recent(market, query)
        raise _Refusal(10017, "Route not found.")

    def _klines(self, path: str, market: Market, query: dict[str, str]) -> dict[str, Any]:
        interval, limit = query["interval"], _limit(query, 1000, 200)
        if interval not in INTERVALS or (market.category == "spot" and KLINES[path] == 5):
            raise _Refusal(10001, "Invalid period!")
        end_ms = int(query.get("end", self.now_ms))
        start_ms = int(query.get("start", end_ms - limit * INTERVALS[interval]))
        start_ms = start_ms // INTERVALS[interval] * INTERVALS[interval]  # the bar that holds the start is in
        opens = market.opens(interval, start_ms, end_ms + 1, self.now_ms)[-limit:]
        rows = [
            market.bar(path, interval, at, is_forming=at + INTERVALS[interval] > self.now_ms) for at in reversed(opens)
        ]
        return {"symbol": market.symbol, "category": market.category, "list": rows}

    def _funding(self, market: Market, query: dict[str, str]) -> dict[str, Any]:
        limit = _limit(query, 200, 200)
        if "startTime" in query and "endTime" not in query:
            raise _Refusal(10001, "params error: only startTime")
        end_ms = min(int(query.get("endTime", self.now_ms)), self.now_ms)
        rates = market.funding(int(query.get("startTime", 0)), end_ms + 1)
        rows = [
            {"symbol": market.symbol, "fundingRate": rate, "fundingRateTimestamp": str(at)}
            for at, rate in sorted(rates.items(), reverse=True)[:limit]
        ]
        return {"category": market.category, "list": rows}

    def _recent(self, market: Market, query: dict[str, str]) -> dict[str, Any]:
        limit = _limit(query, 60 if market.category == "spot" else 1000, 60 if market.category == "spot" else 500)
        rows = [
            {
                "execId": f"a905d5c3-1ed0-4f37-83e4-{index:012x}",
                "symbol": market.symbol,
                "price": _spell(250_000 + index % 50, 1, zeros=1),
                "size": "0.005",
                "side": "Buy" if index % 2 else "Sell",
                "time": str(self.now_ms - 10 * index),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(10**9 - index),
            }
            for index in range(min(limit, market.recent))
        ]
        return {"category": market.category, "list": rows}

    def _instruments(self, category: str, query: dict[str, str]) -> dict[str, Any]:
        _limit(query, 1000, 500)
        found = [market for (where, _), market in sorted(self.markets.items()) if where == category]
        found = [market for market in found if query.get("symbol") in (None, market.symbol)]
        if category == "spot":
            return {"category": category, "list": [_spot_item(market) for market in found]}
        start = int(query["cursor"].removeprefix("first%3D")) if query.get("cursor") else 0
        page = found[start : start + self.instruments_page]
        cursor = f"first%3D{start + len(page)}" if page else ""  # the last page has one, too
        return {"category": category, "list": [_linear_item(market) for market in page], "nextPageCursor": cursor}


class _Refusal(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def _limit(query: dict[str, str], most: int, usual: int) -> int:
    limit = int(query.get("limit", usual))
    if not 1 <= limit <= most:
        raise _Refusal(10001, "params error: limit invalid")
    return limit


def _linear_item(market: Market) -> dict[str, Any]:
    return {
        "symbol": market.symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": market.symbol.removesuffix("USDT"),
        "quoteCoin": "USDT",
        "launchTime": str(market.listed_ms),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": "2",
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
        "lotSizeFilter": {
            "maxOrderQty": "1190.000",
            "minOrderQty": "0.001",
            "qtyStep": "0.001",
            "postOnlyMaxOrderQty": "1190.000",
            "maxMktOrderQty": "500.000",
            "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": "USDT",
        "isPreListing": False,
        "preListingInfo": None,
    }


def _spot_item(market: Market) -> dict[str, Any]:
    return {
        "symbol": market.symbol,
        "baseCoin": market.symbol.removesuffix("USDT"),
        "quoteCoin": "USDT",
        "innovation": "0",
        "status": "Trading",
        "lotSizeFilter": {
            "basePrecision": "0.000001",
            "quotePrecision": "0.0000001",
            "minOrderQty": "0.000011",
            "maxOrderQty": "83",
            "minOrderAmt": "5",
            "maxOrderAmt": "8000000",
            "maxLimitOrderQty": "83",
            "maxMarketOrderQty": "41.5",
        },
        "priceFilter": {"tickSize": "0.1"},
    }


# --- misbehaviour -----------------------------------------------------------------------------------------------------


class Stall(web.Response):
    """Sent as a silence."""


class Cut(web.Response):
    """Sent without its second half; the connection ends there."""


async def _finish(reply: Reply, request: web.Request) -> Reply:
    if isinstance(reply, Stall):
        await asyncio.Event().wait()  # until the client goes, which cancels this
    if isinstance(reply, Cut):
        assert isinstance(reply.body, bytes)
        half = web.StreamResponse(headers={"Content-Length": str(len(reply.body))})
        await half.prepare(request)
        await half.write(reply.body[: len(reply.body) // 2])
        assert request.transport is not None
        request.transport.close()
        return half
    return reply


# --- running it -------------------------------------------------------------------------------------------------------


@contextmanager
def serving(*markets: Market, now_ms: int) -> Iterator[HistoryServer]:
    """Run a server on the loopback, in a thread of its own."""
    server = HistoryServer(*markets, now_ms=now_ms)
    loop = asyncio.new_event_loop()
    is_up = threading.Event()
    stop = asyncio.Event()

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", server.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            server.url = f"http://{host}:{port}"
            is_up.set()
            await stop.wait()
        finally:
            await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    try:
        if not is_up.wait(10):
            raise RuntimeError("the history server does not start")
        yield server
    finally:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def days(first: str, count: int) -> list[str]:
    """Return so many days from the first on."""
    return [str(date.fromisoformat(first) + timedelta(days=index)) for index in range(count)]
