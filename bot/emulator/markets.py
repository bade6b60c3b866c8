"""One listed market as the public sees it: its last trades, its book, its day."""

from collections import deque
from decimal import Decimal
from typing import Any, NamedTuple

from bot.core.venue.market import Market
from bot.core.venue.orders import PriceSource
from bot.domain.instrument import Side
from bot.domain.market import TradeBatch
from bot.emulator import ids, inferred
from bot.emulator.candles import DAY_MS, MINUTE_MS, Candle
from bot.emulator.listing import Listing, Listings
from bot.emulator.player import Player
from bot.emulator.wire import HOUR_NS, MS_NS, ms_text, plain, side_text, to_ms, value_text

RECENT_MAX = 1000

Levels = list[tuple[int, int]]  # price in ticks and quantity in steps, the best first


class PublicTrade(NamedTuple):
    """One trade on the public tape."""

    row: int
    ts_ns: int
    price_ticks: int
    qty_steps: int
    side: Side
    tick: str  # tickDirection
    seq: int


class Sequence:
    """The venue's cross sequence: it rises with everything that happens, and leaves numbers out."""

    def __init__(self, start: int) -> None:
        self._value = start

    def next(self) -> int:
        """Return a number above all before."""
        self._value += 1 + self._value % 3
        return self._value

    @property
    def last(self) -> int:
        """Return the newest number."""
        return self._value


class PublicMarket:
    """What is public of one listing.

    Args:
        listings: all that is listed, for the texts of prices and quantities.
        listing: which.
        market: the venue model's side of it.
        player: what plays it.
        sequence: the venue's.
        seed: makes the trades' ids.
    """

    def __init__(
        self, listings: Listings, listing: Listing, market: Market, player: Player, sequence: Sequence, seed: int
    ) -> None:
        self._listings = listings
        self._name = listing.name
        self._symbol = listing.symbol
        self.market = market
        self.player = player
        self._sequence = sequence
        self._seed = seed
        self.recent: deque[PublicTrade] = deque(maxlen=RECENT_MAX)
        self._tick = "ZeroPlusTick"
        self._last_ticks: int | None = None
        self.funding_interval_min = listing.contract.funding_interval_min
        self.funding = None if listing.is_spot else player.funding  # past and to come
        self._printed = 0
        self._price, self._qty = listings.texts(listing)
        self._is_spot = listing.is_spot

    @property
    def listing(self) -> Listing:
        """Return the listing as it stands."""
        return self._listings.named(self._name)

    @property
    def last_ticks(self) -> int | None:
        """Return the last public price, None before the first trade."""
        return self._last_ticks

    def pass_to(self, now_ns: int) -> list[PublicTrade]:
        """Return what has become public by `now_ns`."""
        news: list[PublicTrade] = []
        for batch in self.player.pass_to(now_ns):
            news += self._print(batch)
        self.player.candles.fill(to_ms(now_ns))
        if self.market.book is not None:
            self.market.book.advance(now_ns + 1)
        return news

    def _print(self, batch: TradeBatch) -> list[PublicTrade]:
        printed: list[PublicTrade] = []
        columns = (batch.ts_ns.tolist(), batch.price_ticks.tolist(), batch.qty_steps.tolist(), batch.is_buy.tolist())
        for row, (ts_ns, price, qty, is_buy) in enumerate(zip(*columns, strict=True), start=batch.first_row):
            before = self._last_ticks
            if before is not None and price != before:
                self._tick = "PlusTick" if price > before else "MinusTick"
            elif not self._tick.startswith("Zero"):
                self._tick = f"Zero{self._tick}"
            self._last_ticks = price
            side = Side.BUY if is_buy else Side.SELL
            printed.append(PublicTrade(row, ts_ns, price, qty, side, self._tick, self._sequence.next()))
        self.recent.extend(printed)
        self._printed += len(printed)
        return printed

    def trade_id(self, row: int) -> str:
        """Return a public trade's id."""
        return ids.trade_id(self._seed, self._is_spot, self._name, row)

    def book_stamp(self) -> tuple[bool, int] | None:
        """Return what is the same for as long as the book is, None where our clients' orders are in it."""
        tape = self.market.book
        return None if tape is None or self.market.resting else (tape.is_trusted, tape.row)

    def ticker_stamp(self, now_ns: int) -> tuple[int, int, tuple[bool, int]] | None:
        """Return what is the same for as long as the ticker is, None where that cannot be told."""
        book = self.book_stamp()
        return None if book is None else (self._printed, to_ms(now_ns) // MINUTE_MS, book)

    def book(self, depth: int) -> tuple[Levels, Levels] | None:
        """Return the best bids and asks, our clients' resting orders among them; None while the book is not trusted.

        An order beyond the market's other side is left out: the market is about to trade through it.
        """
        tape = self.market.book
        if tape is None or not tape.is_trusted:
            return None
        sides: list[Levels] = []
        for name in ("bid", "ask"):
            ticks, steps = tape.levels(name, depth)
            sides.append(list(zip(ticks.tolist(), steps.tolist(), strict=True)))
        if self.market.resting:
            best_ask = sides[1][0][0] if sides[1] else 2**62
            best_bid = sides[0][0][0] if sides[0] else 0
            for live in self.market.resting.values():
                if live.side is Side.BUY and live.ticks < best_ask:
                    sides[0].append((live.ticks, live.open_steps))
                elif live.side is Side.SELL and live.ticks > best_bid:
                    sides[1].append((live.ticks, live.open_steps))
            sides = [_merged(side, depth, is_bid=number == 0) for number, side in enumerate(sides)]
        return sides[0], sides[1]

    def mark_ticks(self, now_ns: int) -> int | None:
        """Return the mark price, None before the first price."""
        return self.market.price_at(PriceSource.MARK, now_ns)

    def index_ticks(self, now_ns: int) -> int | None:
        """Return the index price, None before the first price."""
        return self.market.price_at(PriceSource.INDEX, now_ns)

    def band(self, now_ns: int) -> tuple[Decimal, Decimal] | None:
        """Return the highest price of a buy and the lowest of a sell, None before the first price."""
        mark, index = self.mark_ticks(now_ns), self.index_ticks(now_ns)
        if mark is None or index is None:
            return None
        instrument = self.listing.instrument
        return self.listing.contract.price_band(mark=instrument.price(mark), index=instrument.price(index))

    def next_funding_ns(self, now_ns: int) -> int:
        """Return when funding is settled next."""
        interval_ns = self.funding_interval_min * 60_000_000_000
        return (now_ns // interval_ns + 1) * interval_ns

    def funding_rate(self, now_ns: int) -> Decimal:
        """Return the rate of the next settlement, as the recording has it."""
        funding = self.funding
        if funding is None or not len(funding):
            return Decimal("0.0001")
        row = min(int(funding.ts_ns.searchsorted(now_ns, side="right")), len(funding) - 1)
        return Decimal(int(funding.rate_e8[row])).scaleb(-8)

    def ticker(self, now_ns: int) -> dict[str, str] | None:
        """Return the ticker as the stream has it, None before the first trade."""
        if self._last_ticks is None:
            return None
        return self._spot_ticker(now_ns) if self.listing.is_spot else self._linear_ticker(now_ns)

    def rest_ticker(self, now_ns: int) -> dict[str, str] | None:
        """Return the ticker as the list has it."""
        ticker = self.ticker(now_ns)
        if ticker is None:
            return None
        if self.listing.is_spot:
            return ticker | self._best_prices()
        ticker.pop("tickDirection")
        ticker |= dict.fromkeys(_REST_EMPTY, "")
        ticker["deliveryTime"] = "0"
        return ticker

    def _day(self, now_ns: int) -> Candle:
        """Return the last 24 hours as one candle."""
        now_ms = to_ms(now_ns)
        day = self.player.candles.window(now_ms - DAY_MS, now_ms + MINUTE_MS)
        last = self._last_ticks or 0
        return day or Candle(now_ms, last, last, last, last, 0, 0)

    def _spot_ticker(self, now_ns: int) -> dict[str, str]:
        day, price = self._day(now_ns), self._price
        last = self._last_ticks or 0
        return {
            "symbol": self._symbol,
            "lastPrice": price(last),
            "highPrice24h": price(day.high),
            "lowPrice24h": price(day.low),
            "prevPrice24h": price(day.open),
            "volume24h": self._qty(day.volume),
            "turnover24h": value_text(self.listing.instrument, day.turnover),
            "price24hPcnt": f"{last / day.open - 1:.4f}",
            "usdIndexPrice": price(self.index_ticks(now_ns) or last),
        }

    def _linear_ticker(self, now_ns: int) -> dict[str, str]:
        day, price = self._day(now_ns), self._price
        last = self._last_ticks or 0
        now_ms = to_ms(now_ns)
        hour = self.player.candles.window(now_ms - HOUR_NS // MS_NS, now_ms + MINUTE_MS)
        mark = self.mark_ticks(now_ns) or last
        interest = Decimal(inferred.OPEN_INTEREST)
        value = f"{interest * self.listing.instrument.price(mark):.2f}"
        return {
            "symbol": self._symbol,
            "tickDirection": self._tick,
            "price24hPcnt": f"{last / day.open - 1:.6f}",
            "lastPrice": price(last),
            "prevPrice24h": price(day.open),
            "highPrice24h": price(day.high),
            "lowPrice24h": price(day.low),
            "prevPrice1h": price(hour.open if hour else last),
            "markPrice": price(mark),
            "indexPrice": price(self.index_ticks(now_ns) or mark),
            "openInterest": plain(interest),
            "openInterestValue": value,
            "singleOpenInterest": plain(interest / 2),
            "singleOpenInterestValue": f"{Decimal(value) / 2:.2f}",
            "turnover24h": f"{Decimal(value_text(self.listing.instrument, day.turnover)):.4f}",
            "volume24h": f"{self.listing.instrument.qty(day.volume):.4f}",
            "fundingIntervalHour": str(self.funding_interval_min // 60),
            "fundingCap": "0.00375",
            "nextFundingTime": ms_text(self.next_funding_ns(now_ns)),
            "fundingRate": plain(self.funding_rate(now_ns)),
            **self._best_prices(),
            "preOpenPrice": "",
            "preQty": "",
            "curPreListingPhase": "",
        }

    def _best_prices(self) -> dict[str, str]:
        book = self.book(1)
        best: dict[str, str] = {}
        for name, side in (("bid1", book[0] if book else []), ("ask1", book[1] if book else [])):
            best[f"{name}Price"] = self._price(side[0][0]) if side else ""
            best[f"{name}Size"] = self._qty(side[0][1]) if side else ""
        return best

    def candle_row(self, candle: Candle) -> list[str]:
        """Return a candle as the list has it."""
        listing = self.listing
        prices = (candle.open, candle.high, candle.low, candle.close)
        return [
            str(candle.start_ms),
            *(plain(listing.instrument.price(ticks)) for ticks in prices),
            plain(listing.instrument.qty(candle.volume)),
            value_text(listing.instrument, candle.turnover),
        ]

    def trade_record(self, trade: PublicTrade) -> dict[str, Any]:
        """Return a trade as the list has it."""
        return {
            "execId": self.trade_id(trade.row),
            "symbol": self._symbol,
            "price": self._price(trade.price_ticks),
            "size": self._qty(trade.qty_steps),
            "side": side_text(trade.side),
            "time": ms_text(trade.ts_ns),
            "isBlockTrade": False,
            "isRPITrade": False,
            "seq": str(trade.seq),
        }

    def trade_frame(self, trade: PublicTrade) -> dict[str, Any]:
        """Return a trade as the stream has it."""
        record: dict[str, Any] = {
            "T": to_ms(trade.ts_ns),
            "s": self._symbol,
            "S": side_text(trade.side),
            "v": self._qty(trade.qty_steps),
            "p": self._price(trade.price_ticks),
            "L": trade.tick,
            "i": self.trade_id(trade.row),
            "BT": False,
            "RPI": False,
            "seq": trade.seq,
        }
        if self._is_spot:
            del record["L"]
        return record

    def level_texts(self, levels: Levels) -> list[list[str]]:
        """Return levels as texts."""
        price, qty = self._price, self._qty
        return [[price(ticks), qty(steps) if steps else "0"] for ticks, steps in levels]


_REST_EMPTY = ("predictedDeliveryPrice", "basisRate", "basis", "basisRateYear", "deliveryFeeRate")


def _merged(levels: Levels, depth: int, *, is_bid: bool) -> Levels:
    total: dict[int, int] = {}
    for ticks, steps in levels:
        total[ticks] = total.get(ticks, 0) + steps
    return sorted(total.items(), reverse=is_bid)[:depth]
