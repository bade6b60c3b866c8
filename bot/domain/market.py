"""Market data as columns: structs of equally long numpy arrays, one row an event.

Prices are int64 ticks and quantities int64 steps of the batch's instrument; times are int64 ns since the epoch, UTC.
A live message is a batch of one or a few rows, replay sends thousands; no stage may tell the difference.
"""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.domain.instrument import Instrument

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

# What a bar's flags say of it; several may be set.
EMPTY = 1  # no trade in the interval: a flat bar at the previous close, all volumes zero
GAP = 2  # the source has no row for the interval: EMPTY because unknown, not because quiet
PARTIAL = 4  # some of the interval is missing or unknown
NO_FLOW = 8  # the source tells neither turnover, count nor buy volume: those columns are zero


class Columns(Sized):
    """Slicing and joining for batches: the fields named in `COLUMNS` are equally long arrays."""

    __slots__ = ()
    COLUMNS: ClassVar[tuple[str, ...]]

    @classmethod
    def _columns(cls) -> tuple[str, ...]:
        return cls.COLUMNS

    def rows(self, start: int, stop: int) -> Self:
        """Return rows `start` to `stop` as views of the same memory."""
        cut: dict[str, Any] = {name: getattr(self, name)[start:stop] for name in self._columns()}
        return replace(self, first_row=self.first_row + start, **cut)  # type: ignore[type-var, attr-defined]

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of `parts` one after another; all must be of one stream, in order, and not none."""
        if len(parts) == 1:
            return parts[0]
        joined: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in cls._columns()}
        return replace(parts[0], **joined)  # type: ignore[type-var]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TradeBatch(Columns):
    """Trades of one instrument, in the venue's order."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("ts_ns", "price_ticks", "qty_steps", "is_buy")

    instrument: Instrument
    first_row: int  # the stream's row number of the first row: delays are a function of it
    ts_ns: I64  # when it traded, the venue's clock
    price_ticks: I64
    qty_steps: I64
    is_buy: NDArray[np.bool_]  # the taker bought

    def __len__(self) -> int:
        return len(self.ts_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BarBatch(Columns):
    """Closed bars of one instrument and one time scale, in order of time."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "open_ns",
        "known_ns",
        "open_ticks",
        "high_ticks",
        "low_ticks",
        "close_ticks",
        "volume_steps",
        "turnover",
        "count",
        "buy_steps",
        "flags",
    )

    instrument: Instrument
    scale_ns: int  # the bar's length
    first_row: int
    open_ns: I64  # start of the interval [open_ns, open_ns + scale_ns)
    known_ns: I64  # from when on it may be acted upon: never before its close
    open_ticks: I64
    high_ticks: I64
    low_ticks: I64
    close_ticks: I64
    volume_steps: I64
    turnover: I64  # sum of price_ticks * qty_steps
    count: I64  # number of trades
    buy_steps: I64  # volume of the trades whose taker bought
    flags: NDArray[np.uint8]

    @property
    def close_ns(self) -> I64:
        """Return the end of each interval."""
        return self.open_ns + self.scale_ns

    def close_at(self, row: int) -> int:
        """Return the end of one bar."""
        return int(self.open_ns[row]) + self.scale_ns

    @property
    def closes(self) -> F64:
        """Return the closing prices in quote currency per base unit."""
        return self.instrument.prices(self.close_ticks)

    @property
    def vwaps(self) -> F64:
        """Return the volume-weighted average prices; NaN where the source tells no turnover or nothing traded."""
        known = (self.turnover > 0) & (self.volume_steps > 0)
        ticks = np.full(len(self), np.nan)
        np.divide(self.turnover, self.volume_steps, out=ticks, where=known)
        numerator, denominator = self.instrument.tick_size.as_integer_ratio()
        return ticks * numerator / denominator

    def __len__(self) -> int:
        return len(self.open_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EventBarBatch(BarBatch):
    """Closed bars whose end the market decides, not the clock: so many trades, so much volume, such an imbalance.

    `scale_ns` is 0: the bars have no common length. `open_ns` is the time of a bar's first trade, `end_ns` of its
    last; two bars may begin or end at the same ns.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (*BarBatch.COLUMNS, "end_ns")

    rule: str  # what closes a bar, such as "volume:100"
    end_ns: I64

    @property
    def close_ns(self) -> I64:
        """Return when each bar ended."""
        return self.end_ns

    def close_at(self, row: int) -> int:
        """Return when one bar ended."""
        return int(self.end_ns[row])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BookDeltaBatch(Columns):
    """Changes of an order book, one row per level: what `core.order_book` is built from.

    The rows of one message stand together and take effect as one, with the row that says `is_last`. A message of kind
    SNAPSHOT replaces the whole book. A message without levels is one row of price 0 and quantity 0.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "ts_ns",
        "known_ns",
        "update",
        "previous",
        "is_snapshot",
        "is_last",
        "is_bid",
        "price_ticks",
        "qty_steps",
    )

    instrument: Instrument
    first_row: int
    ts_ns: I64  # when the book changed, the venue's clock
    known_ns: I64  # when we learned of it; the venue's clock where the source tells no other
    update: I64  # the message's number in the venue's sequence
    previous: I64  # the number that must have come before it; -1 where the venue does not say
    is_snapshot: NDArray[np.bool_]
    is_last: NDArray[np.bool_]  # the message ends with this row
    is_bid: NDArray[np.bool_]
    price_ticks: I64
    qty_steps: I64  # what now rests at the price; 0 removes the level

    def __len__(self) -> int:
        return len(self.ts_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BookBatch(Columns):
    """The best levels of an order book after each of its updates.

    Shapes: N rows, D levels a side, the best first. A level that does not exist has quantity 0 and price 0; a book that
    is not trusted shows none.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "ts_ns",
        "known_ns",
        "update",
        "bid_ticks",
        "bid_steps",
        "ask_ticks",
        "ask_steps",
        "is_trusted",
    )

    instrument: Instrument
    first_row: int
    ts_ns: I64  # when the book became so, the venue's clock
    known_ns: I64  # from when on it may be acted upon
    update: I64  # the number of the message that made it so
    bid_ticks: I64  # [N, D]
    bid_steps: I64  # [N, D]
    ask_ticks: I64  # [N, D]
    ask_steps: I64  # [N, D]
    is_trusted: NDArray[np.bool_]  # False from a gap or a crossed book until the next snapshot

    @property
    def depth(self) -> int:
        """Return D."""
        return int(self.bid_ticks.shape[1])

    def __len__(self) -> int:
        return len(self.ts_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuoteBatch(Columns):
    """The best bid and ask of one instrument, a row each time they were told; 0 where not known."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("ts_ns", "known_ns", "bid_ticks", "bid_steps", "ask_ticks", "ask_steps")

    instrument: Instrument
    first_row: int
    ts_ns: I64
    known_ns: I64
    bid_ticks: I64
    bid_steps: I64
    ask_ticks: I64
    ask_steps: I64

    def __len__(self) -> int:
        return len(self.ts_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TickerBatch(Columns):
    """What the venue says of one instrument as a whole, merged: each row holds all that is known by it.

    A price or a quantity that is not told is 0. Mark and index price lie on no grid; they are
    `mantissa * 10**price_exponent`, fine enough for four decimals of a tick.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "ts_ns",
        "known_ns",
        "last_ticks",
        "bid_ticks",
        "bid_steps",
        "ask_ticks",
        "ask_steps",
        "mark",
        "index",
        "open_interest_steps",
        "has_funding",
        "funding_rate_e8",
        "next_funding_ns",
        "funding_interval_ns",
    )

    instrument: Instrument
    first_row: int
    price_exponent: int  # of mark and index
    ts_ns: I64
    known_ns: I64
    last_ticks: I64
    bid_ticks: I64
    bid_steps: I64
    ask_ticks: I64
    ask_steps: I64
    mark: I64
    index: I64
    open_interest_steps: I64  # the nearest
    has_funding: NDArray[np.bool_]  # the next three are told
    funding_rate_e8: I64  # of the next settlement, as the venue now expects it; a positive one is paid by longs
    next_funding_ns: I64
    funding_interval_ns: I64  # 0 where not told; it may change at any time

    def marks(self) -> F64:
        """Return mark prices as float64, 0 where not told."""
        scaled: F64 = self.mark.astype(np.float64) / 10.0**-self.price_exponent
        return scaled

    def __len__(self) -> int:
        return len(self.ts_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FundingBatch(Columns):
    """Settled funding rates of one instrument, in order of time; a positive rate is paid by longs to shorts."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("ts_ns", "rate_e8")

    instrument: Instrument
    first_row: int
    ts_ns: I64  # settlement time
    rate_e8: I64  # fraction of the position's value at mark, in units of 1e-8

    def __len__(self) -> int:
        return len(self.ts_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TradeHole:
    """Trades that were lost, and what is known of them all the same.

    `trades` are those that are known from the last one handed on up to `until_ns`, in order; within [from_ns, to_ns)
    some are missing. `klines` are the source's own bars, of one length and without a gap, of the time of the hole.
    """

    instrument: Instrument
    from_ns: int
    to_ns: int
    until_ns: int  # no earlier trade will come any more
    trades: TradeBatch
    klines: BarBatch | None  # None: nothing is known of what was lost


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureBatch(Columns):
    """Features of one instrument and one time scale, one row per closed bar.

    Shapes: N bars, F features, in the order of their schema. NaN: not known yet, or not known at all.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("close_ns", "known_ns", "values")

    instrument: Instrument
    first_row: int  # row number of the first bar in its own stream
    scale: str  # "5m", or what closes the bars, such as "volume:100"
    schema_hash: str  # which features, in which order, by which formulas
    close_ns: I64  # the bar's close
    known_ns: I64  # from when on the row may be acted upon: the bar's own
    values: F64  # [N, F]

    def __len__(self) -> int:
        return len(self.close_ns)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ForecastBatch(Columns):
    """Forecasts of one instrument, one row per decision bar.

    Shapes: N rows, H horizons, Q quantile levels, S time scales, A named answers.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("bar_row", "close_ns", "known_ns", "quantiles", "importance", "answers")

    instrument: Instrument
    first_row: int
    model_id: str  # what made it
    scale_ns: int  # the scale of the decision bars
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]  # ascending, within (0, 1)
    scales_ns: tuple[int, ...]  # the scales that `importance` speaks of
    bar_row: I64  # the decision bar's row number in its stream
    close_ns: I64  # the decision bar's close: returns are counted from here
    known_ns: I64
    quantiles: F64  # [N, H, Q] of the log return from the decision bar's close over each horizon
    importance: F64  # [N, S], sums to 1
    answer_names: tuple[str, ...] = ()  # what else is said, by the names of `forecast_names`
    answers: F64 = field(default_factory=lambda: np.empty((0, 0)))  # [N, A]; none may be left out

    def __post_init__(self) -> None:
        if not self.answer_names and len(self.answers) != len(self.bar_row):
            object.__setattr__(self, "answers", np.empty((len(self.bar_row), 0)))

    def __len__(self) -> int:
        return len(self.bar_row)


class MarketUpdate(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a live market feed learned of one instrument, in one message; parts without a row are None.

    `stream` is for the bar aggregator, in order: the past (the venue's own bars), trades, holes in them,
    and watermarks (an int: no trade before it will follow).
    """

    category: str  # of instruments: "linear", "spot"; two of different ones may share a name
    instrument: Instrument
    known_ns: int
    stream: tuple["BarBatch | TradeBatch | TradeHole | int", ...] = ()
    books: BookBatch | None = None
    quotes: QuoteBatch | None = None
    tickers: TickerBatch | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MarketSlab:
    """What the stages of the market half hand on: all that became known of one instrument, in one message.

    `watermark_ns` promises that no later message holds a row known before it. A part that a stage has not made yet,
    or that holds no row, is None or absent.
    """

    instrument: Instrument
    watermark_ns: int
    trades: TradeBatch | None = None
    base_bars: BarBatch | None = None  # the source's own bars, where there are no trades
    bars: Mapping[int, BarBatch]  # by scale, in ns
    event_bars: Mapping[str, EventBarBatch] = field(default_factory=dict)  # by rule
    late_trades: int = 0  # left out of every bar: they came after theirs had closed
    forecasts: ForecastBatch | None = None


def column_names(kind: type[Columns]) -> tuple[str, ...]:
    """Return the names of the columns of a batch type, in order."""
    return kind._columns()


def is_same(left: Columns, right: Columns) -> bool:
    """Return whether two batches agree bit for bit, in columns and in all that describes them."""
    if type(left) is not type(right):
        return False
    for each in fields(left):  # type: ignore[arg-type]
        a, b = getattr(left, each.name), getattr(right, each.name)
        if isinstance(a, np.ndarray):
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                return False
        elif a != b:
            return False
    return True
