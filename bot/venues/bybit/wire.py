"""What Bybit's public connections say, as types: frames of topics, answers, and what is not understood.

Prices and quantities stay the JSON or the text that they came in. `frames` reads messages, `decode`, `tickers` and
`klines` make numbers of them.

Source: Bybit V5, websocket connect and public topics.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from bot.venues.bybit.topics import Topic

# Times in ms from 2001 to 2100, counters that a float could hold.
Ms = Annotated[int, msgspec.Meta(ge=978_307_200_000, lt=4_102_444_800_000)]
Counter = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Text = Annotated[str, msgspec.Meta(max_length=100)]


class Data(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every frame of a topic has."""

    raw: bytes
    known_ns: int  # when it was received, our clock
    topic: Topic
    ts_ns: int  # the venue's clock: the matching engine's where it tells it, else the sender's


class BookFrame(Data, frozen=True, kw_only=True, gc=False):
    """A book, or changes of it."""

    is_snapshot: bool
    update: int  # `u`: one more with each message of the topic
    seq: int  # of the matching engine, to compare topics; rises, with holes
    bids: msgspec.Raw
    asks: msgspec.Raw
    sent_ns: int = 0  # when it was sent, the venue's clock: a quiet book's snapshot tells of long ago, and is fresh


class WireTrade(msgspec.Struct, frozen=True, gc=False):
    """One trade, as the venue spells it."""

    T: Ms
    s: Text
    S: Text
    v: msgspec.Raw
    p: msgspec.Raw
    i: Text
    BT: bool = False  # a block trade, made off the book
    seq: Counter = 0


class TradeFrame(Data, frozen=True, kw_only=True, gc=False):
    """Trades in their order."""

    trades: list[WireTrade]


class TickerValues(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Fields of a ticker: None where this frame does not tell them, "" where there is no value."""

    symbol: Text
    last_price: Text | None = None
    mark_price: Text | None = None
    index_price: Text | None = None
    usd_index_price: Text | None = None  # spot's
    bid1_price: Text | None = None
    bid1_size: Text | None = None
    ask1_price: Text | None = None
    ask1_size: Text | None = None
    funding_rate: Text | None = None
    next_funding_time: Text | None = None  # ms
    funding_interval_hour: Text | None = None
    open_interest: Text | None = None


class TickerFrame(Data, frozen=True, kw_only=True, gc=False):
    """A ticker, or the fields of it that changed."""

    is_snapshot: bool
    values: TickerValues


class WireKline(msgspec.Struct, frozen=True, gc=False):
    """One of the venue's own bars, as it spells it."""

    start: Ms
    end: Ms
    interval: Text
    open: Text
    close: Text
    high: Text
    low: Text
    volume: Text
    turnover: Text
    confirm: bool  # it is closed
    timestamp: Ms


class KlineFrame(Data, frozen=True, kw_only=True, gc=False):
    """Bars, mostly one that is not closed yet."""

    klines: list[WireKline]


class PriceLimitFrame(Data, frozen=True, kw_only=True, gc=False):
    """The highest price a buy may have and the lowest a sell may have; "" for none."""

    buy_max: str
    sell_min: str


class NoticeState(StrEnum):
    """How far a maintenance is."""

    SCHEDULED = "scheduled"
    ONGOING = "ongoing"
    COMPLETED = "completed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"  # a word that we do not know: take it for one that is going on


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A maintenance of the venue's."""

    id: str
    title: str
    state: NoticeState
    begin_ns: int
    end_ns: int


class StatusFrame(Data, frozen=True, kw_only=True, gc=False):
    """What the venue says of itself."""

    notices: tuple[Notice, ...]


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to our ping."""

    req_id: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request."""

    op: str  # "subscribe", "unsubscribe"; "" where it does not say
    req_id: str  # "" where the venue echoes none
    is_ok: bool
    text: str
    failed: tuple[str, ...] = ()  # topics that it names as failed, in the dialect that lists them


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is not understood."""

    raw: bytes
    known_ns: int
    reason: str
    topic: str = ""  # "" where it names none
    is_garbled: bool = False  # no JSON object at all: nothing is known of what it was


MarketFrame = BookFrame | TradeFrame | TickerFrame | KlineFrame | PriceLimitFrame | StatusFrame
Frame = MarketFrame | Pong | Answer | Refused
