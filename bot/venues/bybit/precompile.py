"""Runs once what is compiled: loading it takes seconds, and the first message of a market must not wait so long."""

from decimal import Decimal

import msgspec

from bot.core.bars import BarAggregator
from bot.domain.instrument import Instrument
from bot.domain.market import TradeHole
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.instrument_feed import InstrumentFeed
from bot.venues.bybit.topics import Topic, book_topic, ticker_topic, trade_topic
from bot.venues.bybit.wire import BookFrame, MarketFrame, TickerFrame, TradeFrame

_MS = 1_760_000_000_000
_SYMBOL = "AUSDT"


def precompile() -> None:
    """Read, build and fold a market of a few messages, none of which anybody sees."""
    one = Decimal(1)
    instrument = Instrument(name=_SYMBOL, base="A", quote="USDT", tick_size=one, qty_step=one, qty_min=one, qty_max=one)
    topics = [trade_topic(_SYMBOL), ticker_topic(_SYMBOL), book_topic(_SYMBOL, 50), book_topic(_SYMBOL, 1)]
    feed = InstrumentFeed(instrument, topics)
    book = {"s": _SYMBOL, "b": [["9", "1"]], "a": [["11", "1"]], "seq": 1}
    trade = {"T": _MS, "s": _SYMBOL, "S": "Buy", "v": "1", "p": "11", "i": "1"}
    rows, _ = feed.on_frames(
        [
            _frame(topics[2], "snapshot", {**book, "u": 2}),
            _frame(topics[3], "snapshot", {**book, "u": 2}),
            _frame(topics[1], "snapshot", {"symbol": _SYMBOL, "bid1Price": "9", "ask1Price": "11", "markPrice": "10"}),
            _frame(topics[2], "delta", {**book, "u": 3}),
            _frame(topics[0], "snapshot", [trade]),
        ]
    )
    feed.check(_MS * 1_000_000)
    assert rows.trades is not None
    assert rows.books is not None
    bars = BarAggregator(
        instrument, scales_ns=[10**9], lateness_ns=0, gap_max_ns=10**12, event_rules=["tick:1"], repair_ns=60 * 10**9
    )
    bars.on_trades(rows.trades)
    bars.on_watermark((_MS + 2_000) * 1_000_000)
    end_ns = (_MS + 4_000) * 1_000_000
    empty = rows.trades.rows(0, 0)
    bars.on_hole(
        TradeHole(instrument=instrument, from_ns=end_ns - 1, to_ns=end_ns, until_ns=end_ns, trades=empty, klines=None)
    )


def _frame(topic: Topic, kind: str, data: object) -> MarketFrame:
    raw = msgspec.json.encode({"topic": topic.text, "type": kind, "ts": _MS, "cts": _MS, "data": data})
    frame = read_frame(raw, known_ns=_MS * 1_000_000)
    assert isinstance(frame, BookFrame | TickerFrame | TradeFrame)
    return frame
