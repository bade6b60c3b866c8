"""Public topics: what each sends when somebody subscribes, and what after that."""

from collections.abc import Callable, Iterable
from typing import Any

from bot.domain.instrument import Side
from bot.emulator import inferred
from bot.emulator.candles import INTERVALS, Candle, bucket, step
from bot.emulator.faults import Faults
from bot.emulator.markets import Levels, PublicMarket, PublicTrade, Sequence
from bot.emulator.wire import MS_NS, SECOND_NS, plain, to_ms, value_text

Frame = dict[str, Any]

DEPTHS = {1: 10 * MS_NS, 50: 20 * MS_NS, 200: 100 * MS_NS, 1000: 200 * MS_NS}
_DEPTH_NAMES = tuple(map(str, DEPTHS))
_REPEAT_NS = 3 * SECOND_NS
_RPI_DEPTH, _RPI_EVERY_NS = 50, 100 * MS_NS
_TRADES_MAX = 1024
_UNCHANGED_NS = 5 * SECOND_NS  # a candle in which nothing happens is sent this often
_RESTLESS = ("symbol", "markPrice", "indexPrice", "fundingRate", "nextFundingTime")  # of a perpetual's ticker


class Topic:
    """One topic of one market.

    Args:
        name: as subscribed.
        market: whose.
        every_ns: how often it is looked at.
    """

    def __init__(self, name: str, market: PublicMarket, every_ns: int, faults: Faults) -> None:
        self.name = name
        self.market = market
        self.faults = faults
        self.subscribers: dict[int, None] = {}  # sessions, in the order in which they came
        self._every_ns = every_ns
        self._next_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Return whether it is to be looked at, and note that it was."""
        if now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + self._every_ns
        return True

    def opening(self, now_ns: int) -> Frame | None:
        """Return what a new subscriber is sent, None where that is nothing."""
        return None

    def pushes(self, now_ns: int, trades: Iterable[PublicTrade]) -> list[Frame]:
        """Return what all subscribers are sent now; `trades` are those since the last call."""
        raise NotImplementedError


class BookTopic(Topic):
    """An order book of some depth: a snapshot, then what changes, `u` rising by one each time.

    Depth 1 sends snapshots alone, and the same one again when nothing has changed for three seconds.
    """

    def __init__(
        self,
        name: str,
        market: PublicMarket,
        depth: int,
        sequence: Sequence,
        faults: Faults,
        every_ns: int | None = None,
    ) -> None:
        super().__init__(name, market, DEPTHS[depth] if every_ns is None else every_ns, faults)
        self.depth = depth
        self._sequence = sequence
        self._update = 18_000_000 + depth
        self._seq = sequence.last
        self._published: tuple[Levels, Levels] = ([], [])
        self._sent_ns = 0
        self._changed_ns = 0
        self._stamp: tuple[bool, int] | None = None  # of the market's book when it was last looked at

    @property
    def update(self) -> int:
        """Return the newest number of its chain."""
        return self._update

    def refresh(self, now_ns: int) -> None:
        """Bring the book up to date where nobody follows it, so that who comes sees the present one."""
        if not self.subscribers:
            self._change(now_ns)

    def snapshot_data(self) -> dict[str, Any]:
        """Return the book as it was last published."""
        bids, asks = self._published
        texts = self._texts
        return {
            "s": self.market.listing.symbol,
            "b": texts(bids),
            "a": texts(asks),
            "u": self._update,
            "seq": self._seq,
        }

    @property
    def changed_ns(self) -> int:
        """Return when the published book came about, by the matching engine's clock."""
        return self._changed_ns

    def opening(self, now_ns: int) -> Frame | None:
        self.refresh(now_ns)
        return self._frame("snapshot", self.snapshot_data(), now_ns) if any(self._published) else None

    def pushes(self, now_ns: int, trades: Iterable[PublicTrade]) -> list[Frame]:
        if self.faults.hit("book_restart", now_ns, topic=self.name):
            self._change(now_ns)
            self._update = 1
            return [self._frame("snapshot", self.snapshot_data(), now_ns)]
        was_empty = not any(self._published)
        changes = self._change(now_ns)
        if changes is None:
            if self.depth == 1 and now_ns - self._sent_ns >= _REPEAT_NS and any(self._published):
                return [self._frame("snapshot", self.snapshot_data(), now_ns)]
            return []
        if self.depth == 1 or was_empty:
            return [self._frame("snapshot", self.snapshot_data(), now_ns)]
        if self.faults.hit("book_gap", now_ns, topic=self.name):
            return []  # its number is used up, nobody will ever see it
        texts = self._texts
        data = {
            "s": self.market.listing.symbol,
            "b": texts(changes[0]),
            "a": texts(changes[1]),
            "u": self._update,
            "seq": self._seq,
        }
        return [self._frame("delta", data, now_ns)]

    def _texts(self, levels: Levels) -> list[list[str]]:
        return self.market.level_texts(levels)

    def _change(self, now_ns: int) -> tuple[Levels, Levels] | None:
        """Bring the book up to date; return the levels that have changed, None where none has."""
        stamp = self.market.book_stamp()
        if stamp is not None and stamp == self._stamp and not self.faults.are_any:
            return None
        self._stamp = stamp
        book = self.market.book(self.depth)
        if book is None:
            return None
        if any(book) and self.faults.hit("book_crossed", now_ns, topic=self.name) and book[1]:
            book = ([(book[1][0][0] + 1, 1), *book[0]][: self.depth], book[1])
        if book == self._published:
            return None
        bids = _changes(self._published[0], book[0], is_bid=True)
        asks = _changes(self._published[1], book[1], is_bid=False)
        self._published = book
        self._update += 1
        self._seq = self._sequence.next()
        self._changed_ns = now_ns
        return bids, asks

    def _frame(self, kind: str, data: dict[str, Any], now_ns: int) -> Frame:
        self._sent_ns = now_ns
        frame = {"topic": self.name, "type": kind, "ts": to_ms(now_ns), "data": data, "cts": to_ms(self._changed_ns)}
        if self.depth == 1:  # the venue's order of keys differs here, which must not matter
            frame = {"topic": self.name, "ts": frame["ts"], "type": kind, "data": data, "cts": frame["cts"]}
        return frame


class RpiBookTopic(BookTopic):
    """The book that shows retail price improvement beside what everybody may take: none is ever quoted here."""

    def __init__(self, name: str, market: PublicMarket, sequence: Sequence, faults: Faults) -> None:
        super().__init__(name, market, _RPI_DEPTH, sequence, faults, _RPI_EVERY_NS)

    def _texts(self, levels: Levels) -> list[list[str]]:
        return [[price, qty, "0"] for price, qty in super()._texts(levels)]


class TradeTopic(Topic):
    """The public tape."""

    def __init__(self, name: str, market: PublicMarket, faults: Faults) -> None:
        super().__init__(name, market, 0, faults)

    def pushes(self, now_ns: int, trades: Iterable[PublicTrade]) -> list[Frame]:
        records = [self.market.trade_frame(trade) for trade in trades]
        return [
            {"topic": self.name, "type": "snapshot", "ts": to_ms(now_ns), "data": records[start : start + _TRADES_MAX]}
            for start in range(0, len(records), _TRADES_MAX)
        ]


class KlineTopic(Topic):
    """Candles of one interval: the one that forms now and then, each once more when it has closed."""

    def __init__(self, name: str, market: PublicMarket, interval: str, faults: Faults) -> None:
        super().__init__(name, market, SECOND_NS, faults)
        self._interval = interval
        self._start_ms: int | None = None
        self._end_ms = 2**62
        self._version = 0  # of the candles when they were last looked at
        self._sent: Candle | None = None
        self._sent_ns = 0

    def is_due(self, now_ns: int) -> bool:
        due = super().is_due(now_ns)
        return due or to_ms(now_ns) >= self._end_ms

    def opening(self, now_ns: int) -> Frame | None:
        now_ms = to_ms(now_ns)
        candle = self.market.player.candles.at(self._interval, now_ms)
        if candle is None:
            return None
        if self._start_ms is None:
            self._begin(candle.start_ms)
        return self._frame(candle, now_ns, confirm=False)

    def pushes(self, now_ns: int, trades: Iterable[PublicTrade]) -> list[Frame]:
        frames: list[Frame] = []
        now_ms = to_ms(now_ns)
        candles = self.market.player.candles
        is_same = candles.version == self._version and now_ms < self._end_ms
        if is_same and now_ns - self._sent_ns < _UNCHANGED_NS:
            return []
        self._version = candles.version
        current = bucket(self._interval, now_ms)
        start = current if self._start_ms is None else self._start_ms
        while start < current:
            closed = candles.at(self._interval, step(self._interval, start, 1) - 1)
            if closed is not None and not self.faults.hit("missing_confirm", now_ns, topic=self.name):
                frames.append(self._frame(closed, now_ns, confirm=True))
            start = step(self._interval, start, 1)
        if current != self._start_ms:
            self._begin(current)
        forming = candles.at(self._interval, now_ms)
        if forming is not None and (forming != self._sent or now_ns - self._sent_ns >= _UNCHANGED_NS):
            self._sent, self._sent_ns = forming, now_ns
            frames.append(self._frame(forming, now_ns, confirm=False))
        return frames

    def _begin(self, start_ms: int) -> None:
        self._start_ms, self._end_ms = start_ms, step(self._interval, start_ms, 1)

    def _frame(self, candle: Candle, now_ns: int, *, confirm: bool) -> Frame:
        instrument = self.market.listing.instrument
        recent = self.market.recent
        end_ms = step(self._interval, candle.start_ms, 1) - 1
        last_ms = to_ms(recent[-1].ts_ns) if recent else to_ms(now_ns)
        data = {
            "start": candle.start_ms,
            "end": end_ms,
            "interval": self._interval,
            "open": plain(instrument.price(candle.open)),
            "close": plain(instrument.price(candle.close)),
            "high": plain(instrument.price(candle.high)),
            "low": plain(instrument.price(candle.low)),
            "volume": plain(instrument.qty(candle.volume)),
            "turnover": value_text(instrument, candle.turnover),
            "confirm": confirm,
            "timestamp": min(max(last_ms, candle.start_ms), end_ms + 1),
        }
        return {"topic": self.name, "data": [data], "ts": to_ms(now_ns), "type": "snapshot"}


class TickerTopic(Topic):
    """The ticker: of a perpetual a snapshot, then the keys that have changed; of spot snapshots.

    What the venue moves all the time is told each second also where it has not changed.
    """

    def __init__(self, name: str, market: PublicMarket, sequence: Sequence, faults: Faults) -> None:
        super().__init__(name, market, (50 if market.listing.is_spot else 100) * MS_NS, faults)
        self._sequence = sequence
        self._sent: dict[str, str] = {}
        self._sent_ns = 0
        self._stamp: tuple[int, int, tuple[bool, int]] | None = None

    def opening(self, now_ns: int) -> Frame | None:
        ticker = self.market.ticker(now_ns)
        if ticker is None:
            return None
        if not self.subscribers:
            self._sent, self._sent_ns = ticker, now_ns
        return self._frame("snapshot", self._sent, now_ns)

    def pushes(self, now_ns: int, trades: Iterable[PublicTrade]) -> list[Frame]:
        stamp = self.market.ticker_stamp(now_ns)
        if stamp is not None and stamp == self._stamp:
            return self._quiet(now_ns)
        self._stamp = stamp
        ticker = self.market.ticker(now_ns)
        if ticker is None or ticker == self._sent:
            return self._quiet(now_ns)
        changed = {key: value for key, value in ticker.items() if self._sent.get(key) != value}
        is_first, self._sent, self._sent_ns = not self._sent, ticker, now_ns
        if self.market.listing.is_spot or is_first:
            return [self._frame("snapshot", ticker, now_ns)]
        return [self._frame("delta", {"symbol": ticker["symbol"], **changed}, now_ns)]

    def _quiet(self, now_ns: int) -> list[Frame]:
        """Tell again what has not changed, if it is time to."""
        if not self._sent or now_ns - self._sent_ns < inferred.TICKER_QUIET_NS:
            return []
        self._sent_ns = now_ns
        if self.market.listing.is_spot:
            return [self._frame("snapshot", self._sent, now_ns)]
        return [self._frame("delta", {key: self._sent[key] for key in _RESTLESS}, now_ns)]

    def _frame(self, kind: str, data: dict[str, str], now_ns: int) -> Frame:
        return {"topic": self.name, "type": kind, "data": data, "cs": self._sequence.next(), "ts": to_ms(now_ns)}


class PriceLimitTopic(Topic):
    """The price band."""

    def __init__(self, name: str, market: PublicMarket, faults: Faults) -> None:
        super().__init__(name, market, 300 * MS_NS, faults)

    def pushes(self, now_ns: int, trades: Iterable[PublicTrade]) -> list[Frame]:
        data = price_limits(self.market, now_ns)
        return [] if data is None else [{"topic": self.name, "data": data, "ts": to_ms(now_ns)}]


class LiquidationTopic(Topic):
    """The liquidations of our clients' positions: nobody else's are known."""

    def __init__(self, name: str, market: PublicMarket, faults: Faults) -> None:
        super().__init__(name, market, 500 * MS_NS, faults)
        self._records: list[dict[str, Any]] = []

    def tell(self, ts_ns: int, closing_side: Side, qty: str, price: str) -> None:
        """Note a position that was taken over: its side is the position's."""
        side = "Buy" if closing_side is Side.SELL else "Sell"
        self._records.append({"T": to_ms(ts_ns), "s": self.market.listing.symbol, "S": side, "v": qty, "p": price})

    def pushes(self, now_ns: int, trades: Iterable[PublicTrade]) -> list[Frame]:
        if not self._records:
            return []
        records, self._records = self._records, []
        return [{"topic": self.name, "type": "snapshot", "ts": to_ms(now_ns), "data": records}]


def price_limits(market: PublicMarket, now_ns: int) -> dict[str, str] | None:
    """Return a market's price band as texts, None before the first price."""
    band = market.band(now_ns)
    if band is None:
        return None
    places = market.listing.price_places
    return {"symbol": market.listing.symbol, "buyLmt": f"{band[0]:.{places}f}", "sellLmt": f"{band[1]:.{places}f}"}


def make_topic(
    name: str, find: Callable[[str], PublicMarket | None], sequence: Sequence, faults: Faults
) -> Topic | None:
    """Return a topic by its name, None where there is no such one.

    Args:
        find: gives the market of a symbol.
    """
    parts = name.split(".")
    market = find(parts[-1])
    if market is None:
        return None
    match parts[:-1]:
        case ["orderbook", depth] if depth in _DEPTH_NAMES:
            return BookTopic(name, market, int(depth), sequence, faults)
        case ["orderbook", "rpi"]:
            return RpiBookTopic(name, market, sequence, faults)
        case ["publicTrade"]:
            return TradeTopic(name, market, faults)
        case ["kline", interval] if interval in INTERVALS:
            return KlineTopic(name, market, interval, faults)
        case ["tickers"]:
            return TickerTopic(name, market, sequence, faults)
        case ["priceLimit"]:
            return PriceLimitTopic(name, market, faults)
        case ["allLiquidation"] if not market.listing.is_spot:
            return LiquidationTopic(name, market, faults)
    return None


def _changes(before: Levels, after: Levels, *, is_bid: bool) -> Levels:
    """Return the levels that are new or other, and with a quantity of 0 those that have left the window."""
    was, now = dict(before), dict(after)
    changed = [(ticks, steps) for ticks, steps in after if was.get(ticks) != steps]
    changed += [(ticks, 0) for ticks, _ in before if ticks not in now]
    return sorted(changed, reverse=is_bid)
