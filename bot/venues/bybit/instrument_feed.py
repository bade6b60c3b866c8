"""All topics of one instrument put together: frames as they arrived to columns, and whether to believe them."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import chain

import msgspec

from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, BookBatch, QuoteBatch, TickerBatch, TradeBatch
from bot.venues.bybit.book_judge import Break
from bot.venues.bybit.book_sync import BookBreak, BookLimits, BookSync
from bot.venues.bybit.decode import TradeDecoder
from bot.venues.bybit.klines import KlineDecoder
from bot.venues.bybit.level1 import SILENT, Level1, Witness
from bot.venues.bybit.numbers import grid_of, nearest, units_of
from bot.venues.bybit.tickers import TickerDecoder
from bot.venues.bybit.topics import Category, Kind, Topic
from bot.venues.bybit.wire import (
    BookFrame,
    KlineFrame,
    MarketFrame,
    PriceLimitFrame,
    Refused,
    TickerFrame,
    TradeFrame,
)

CLAIM_INTERVAL = "1"  # the venue's own bars that the trades are held against: minutes
_PLACES = 12  # of a price limit
_MS = 1_000_000


class PriceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue lets orders cost; None for no limit."""

    ts_ns: int
    known_ns: int
    buy_max: Decimal | None
    sell_min: Decimal | None


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """A topic's data that cannot be believed: have them begin anew."""

    topic: str
    reason: str
    raw: bytes = b""


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Data of a topic that never came, within [from_ns, to_ns)."""

    topic: str
    from_ns: int
    to_ns: int


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the venue's own bars, closed or not, says has traded in it by a time."""

    open_ns: int
    ts_ns: int  # the venue's clock
    known_ns: int
    volume_steps: int
    is_closed: bool


class MarketRows(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """What became known of one instrument; parts without a row are None or absent."""

    instrument: Instrument
    category: Category = "linear"
    trades: TradeBatch | None = None
    trade_ids: list[str] = []  # of its rows
    books: BookBatch | None = None
    quotes: QuoteBatch | None = None  # of the level-1 book
    tickers: TickerBatch | None = None
    klines: dict[str, BarBatch] = {}  # closed ones, by interval
    claims: list[Claim] = []  # of minutes
    price_limits: list[PriceLimits] = []


class InstrumentFeed:
    """The topics of one instrument.

    Args:
        instrument: whose.
        topics: its own; at most one book of more than one level.
        shown_levels: how many levels of it books have.
        limits: what it is held to.
        category: the instrument's.
    """

    def __init__(
        self,
        instrument: Instrument,
        topics: Sequence[Topic],
        *,
        category: Category = "linear",
        shown_levels: int = 50,
        limits: BookLimits | None = None,
    ) -> None:
        self.instrument = instrument
        self.category: Category = category
        self.trades = TradeDecoder(instrument)
        self.tickers = TickerDecoder(instrument)
        books = [topic for topic in topics if topic.kind is Kind.BOOK and topic.depth > 1]
        if len(books) > 1:
            raise ValueError(f"{instrument.name}: two books, {books[0].text} and {books[1].text}; choose one")
        self._book_topic = books[0].text if books else ""
        self.sync = BookSync(instrument, levels=books[0].depth, depth=shown_levels, limits=limits) if books else None
        self._level1 = Level1(instrument)
        self._klines = {t.text: KlineDecoder(instrument, t.detail) for t in topics if t.kind is Kind.KLINE}
        self._qty = grid_of(instrument.qty_step)
        self._frames = 0

    def on_frames(self, frames: Sequence[MarketFrame]) -> tuple[MarketRows, list[Doubt | Missing]]:
        """Return the rows of frames, in the order of their arrival, and what must be done about some."""
        sorted_frames = _Sorted(frames, self._frames)
        self._frames += len(frames)
        found: list[Doubt | Missing] = []
        quotes, quoted = self._on_level1(sorted_frames, found) if sorted_frames.level1 else (None, SILENT)
        tickers, ticked = self._on_tickers(sorted_frames, found) if sorted_frames.tickers else (None, SILENT)
        books = self._on_books(sorted_frames, quoted, ticked, found)
        trades = self._on_trades(sorted_frames, found) if sorted_frames.trades else None
        rows = MarketRows(
            instrument=self.instrument,
            category=self.category,
            trades=trades,
            trade_ids=self.trades.ids if trades is not None else [],
            books=books,
            quotes=quotes,
            tickers=tickers,
            klines=self._on_klines(sorted_frames, found) if sorted_frames.klines else {},
            claims=self._claims(sorted_frames) if sorted_frames.klines else [],
            price_limits=_price_limits(sorted_frames.price_limits, found) if sorted_frames.price_limits else [],
        )
        return rows, found

    def distrust(self, topic: Topic, known_ns: int) -> MarketRows | None:
        """Believe nothing any more that a topic said; return the row that says so of the book."""
        if topic.kind is Kind.TICKER:
            self.tickers.forget()
        if self.sync is None:
            return None
        if topic.kind is Kind.TICKER:
            self.sync.forget_ticker()
        elif topic.kind is Kind.BOOK and topic.text != self._book_topic:
            self.sync.forget_quote()
        elif topic.kind is Kind.BOOK:
            closed = self.sync.close(Break.OUTSIDE, known_ns)
            self.sync.forget_sequence()
            return (
                MarketRows(instrument=self.instrument, category=self.category, books=closed[0])
                if closed is not None
                else None
            )
        return None

    def check(self, now_ns: int) -> tuple[MarketRows, Doubt] | None:
        """Close trust in the book if its time has run out."""
        closed = self.sync.check(now_ns) if self.sync is not None else None
        if closed is None:
            return None
        books, why = closed
        return MarketRows(instrument=self.instrument, category=self.category, books=books), self._doubt_book(why)

    def _doubt_book(self, why: BookBreak) -> Doubt:
        return Doubt(topic=self._book_topic, reason=f"{why.reason.name.lower()} after update {why.update}")

    def _on_level1(self, frames: "_Sorted", found: list[Doubt | Missing]) -> tuple[QuoteBatch, Witness]:
        rows, witness, refused = self._level1.decode(frames.level1, frames.level1_arrivals)
        found += map(_doubt, refused)
        return rows, witness

    def _on_tickers(self, frames: "_Sorted", found: list[Doubt | Missing]) -> tuple[TickerBatch, Witness]:
        rows, places, refused = self.tickers.decode(frames.tickers)
        found += map(_doubt, refused)
        if self.sync is None:
            return rows, SILENT
        return rows, self.sync.ticker_witness(rows, [frames.ticker_arrivals[place] for place in places])

    def _on_books(
        self, frames: "_Sorted", quotes: Witness, tickers: Witness, found: list[Doubt | Missing]
    ) -> BookBatch | None:
        if self.sync is None or not (frames.books or quotes.rows or tickers.rows):
            return None
        books, breaks, refused = self.sync.on_frames(frames.books, frames.book_arrivals, quotes, tickers)
        found += map(_doubt, refused)
        found += map(self._doubt_book, breaks)
        return books if len(books) else None

    def _on_trades(self, frames: "_Sorted", found: list[Doubt | Missing]) -> TradeBatch | None:
        rows, refused = self.trades.decode(frames.trades)
        found += map(_doubt, refused)
        return rows if len(rows) else None

    def _on_klines(self, frames: "_Sorted", found: list[Doubt | Missing]) -> dict[str, BarBatch]:
        made: dict[str, BarBatch] = {}
        for topic, klines in frames.klines.items():
            bars, missing, refused = self._klines[topic].decode(klines)
            found += map(_doubt, refused)
            found += [Missing(topic=topic, from_ns=from_ns, to_ns=to_ns) for from_ns, to_ns in missing]
            if len(bars):
                made[klines[0].topic.detail] = bars
        return made

    def _claims(self, frames: "_Sorted") -> list[Claim]:
        made: list[Claim] = []
        for frame in (each for each in chain(*frames.klines.values()) if each.topic.detail == CLAIM_INTERVAL):
            for kline in frame.klines:
                try:
                    volume = units_of(kline.volume, self._qty)
                except ValueError:  # a closed one is refused where it is read
                    continue
                made.append(
                    Claim(
                        open_ns=kline.start * _MS,
                        ts_ns=frame.ts_ns,
                        known_ns=frame.known_ns,
                        volume_steps=volume,
                        is_closed=kline.confirm,
                    )
                )
        return made


class _Sorted:
    """Frames by what they tell of, with the numbers of their arrival where those matter."""

    __slots__ = (
        "book_arrivals",
        "books",
        "klines",
        "level1",
        "level1_arrivals",
        "price_limits",
        "ticker_arrivals",
        "tickers",
        "trades",
    )

    def __init__(self, frames: Sequence[MarketFrame], first: int) -> None:
        self.books: list[BookFrame] = []
        self.level1: list[BookFrame] = []
        self.tickers: list[TickerFrame] = []
        self.trades: list[TradeFrame] = []
        self.klines: dict[str, list[KlineFrame]] = {}
        self.price_limits: list[PriceLimitFrame] = []
        self.book_arrivals: list[int] = []
        self.level1_arrivals: list[int] = []
        self.ticker_arrivals: list[int] = []
        for arrival, frame in enumerate(frames, first):
            if isinstance(frame, TradeFrame):
                self.trades.append(frame)
            elif isinstance(frame, BookFrame):
                is_level1 = frame.topic.detail == "1"
                (self.level1 if is_level1 else self.books).append(frame)
                (self.level1_arrivals if is_level1 else self.book_arrivals).append(arrival)
            elif isinstance(frame, TickerFrame):
                self.tickers.append(frame)
                self.ticker_arrivals.append(arrival)
            elif isinstance(frame, KlineFrame):
                self.klines.setdefault(frame.topic.text, []).append(frame)
            elif isinstance(frame, PriceLimitFrame):
                self.price_limits.append(frame)


def _doubt(refused: Refused) -> Doubt:
    return Doubt(topic=refused.topic, reason=refused.reason, raw=refused.raw)


def _price_limits(frames: Sequence[PriceLimitFrame], found: list[Doubt | Missing]) -> list[PriceLimits]:
    made: list[PriceLimits] = []
    for frame in frames:
        try:
            buy_max, sell_min = _price(frame.buy_max), _price(frame.sell_min)
        except ValueError as error:
            found.append(Doubt(topic=frame.topic.text, reason=str(error), raw=frame.raw))
        else:
            made.append(PriceLimits(ts_ns=frame.ts_ns, known_ns=frame.known_ns, buy_max=buy_max, sell_min=sell_min))
    return made


def _price(text: str) -> Decimal | None:
    value = Decimal(nearest(text, _PLACES)).scaleb(-_PLACES) if text else Decimal(0)
    return value if value > 0 else None
