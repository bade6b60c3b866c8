"""How fast the venue's messages become rows: from bytes in memory, on one core."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import market
from benchmarks.measure import RUNS, figure, main
from bot.runtime.env import Stopwatch
from bot.venues.bybit.book_sync import BookSync
from bot.venues.bybit.decode import TradeDecoder
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.instrument_feed import MarketRows
from bot.venues.bybit.market_streams import ForConnection, MarketEffect, MarketStreams, Wanted
from bot.venues.bybit.stream_effects import Connect, Send
from bot.venues.bybit.topics import book_topic, trade_topic
from bot.venues.bybit.wire import (
    BookFrame,
    TradeFrame,
)

COUNT = 50_000
SYMBOL = market.INSTRUMENT.name
START_MS = 1_760_000_000_000
MID = 600_000  # ticks
LEVELS = 50
BATCH = 256  # messages that wait for a busy reader


def book_messages(count: int, *, every_ms: float = 20) -> list[bytes]:
    """Return a snapshot of 50 levels and changes of it: 1 to 19 levels each, mostly near the top, one in four gone."""
    dice = random.Random(1)
    sides = [{MID + sign * k: dice.randint(1, 30_000) for k in range(1, LEVELS + 1)} for sign in (-1, 1)]
    made = [_book(0, START_MS, "snapshot", *(list(side.items()) for side in sides))]
    for number in range(1, count):
        changes: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for _ in range(dice.randint(1, 19)):
            side = dice.randrange(2)
            away = 1 + min(int(dice.expovariate(0.1)), LEVELS - 1)
            is_gone = dice.random() < 0.25 and away > 1
            changes[side].append((MID + (2 * side - 1) * away, 0 if is_gone else dice.randint(1, 30_000)))
        made.append(_book(number, START_MS + int(every_ms * number), "delta", *changes))
    return made


def _book(number: int, ms: int, kind: str, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]) -> bytes:
    levels = [[[f"{p / 10:.2f}", f"{q / 1000:.3f}" if q else "0"] for p, q in side] for side in (bids, asks)]
    data = {"s": SYMBOL, "b": levels[0], "a": levels[1], "u": 1000 + number, "seq": 66_544_703_342 + 7 * number}
    return _message(f"orderbook.{LEVELS}.{SYMBOL}", kind, ms + 2, data, cts=ms)


def trade_messages(count: int, *, every_ms: float = 10) -> list[bytes]:
    """Return messages of 1 to 4 trades, mostly one, as a busy perpetual has them."""
    dice = random.Random(2)
    made = []
    for number in range(count):
        ms = START_MS + int(every_ms * number)
        trades = [
            {
                "T": ms,
                "s": SYMBOL,
                "S": dice.choice(("Buy", "Sell")),
                "v": f"{dice.randint(1, 9_999) / 1000:.3f}",
                "p": f"{(MID + dice.randint(-9, 9)) / 10:.2f}",
                "L": "PlusTick",
                "i": f"20f43950-d8dd-5b31-{number % 10_000:04d}-{number:08d}{each:04d}",
                "BT": False,
                "RPI": False,
                "seq": 1_783_284_617 + number,
            }
            for each in range(dice.choice((1, 1, 1, 2, 4)))
        ]
        made.append(_message(f"publicTrade.{SYMBOL}", "snapshot", ms + 3, trades))
    return made


def _message(topic: str, kind: str, ms: int, data: object, **more: int) -> bytes:
    message = {"topic": topic, "type": kind, "ts": ms, "data": data, **more}
    return json.dumps(message, separators=(",", ":")).encode()


def _best(name: str, unit: str, count: int, run: Callable[[], None]) -> dict[str, Any]:
    seconds = []
    for _ in range(RUNS + 1):
        watch = Stopwatch()
        run()
        seconds.append(watch.seconds())
    return figure(name, unit, seconds[1:], lambda s: count / s)


def _apply_books(raws: Sequence[bytes], batch: int) -> None:
    topic = book_topic(SYMBOL, LEVELS)
    topics = {topic.text: topic}
    sync = BookSync(market.INSTRUMENT, levels=LEVELS, depth=10)
    timed = [((START_MS + 20 * number) * 1_000_000, raw) for number, raw in enumerate(raws)]
    for start in range(0, len(raws), batch):
        part = timed[start : start + batch]
        frames = [read_frame(raw, known_ns=known_ns, topics=topics) for known_ns, raw in part]
        books = [frame for frame in frames if isinstance(frame, BookFrame)]
        sync.on_frames(books, range(start, start + len(books)))
    assert sync.is_trusted
    assert sync.book.counts.messages == len(raws)


def books_in_batches() -> dict[str, Any]:
    """Decode changes of a book, apply them and judge them, 256 at a time."""
    raws = book_messages(COUNT)
    return _best(
        "orderbook.50 messages decoded, applied and judged", "messages/s", COUNT, lambda: _apply_books(raws, BATCH)
    )


def books_one_by_one() -> dict[str, Any]:
    """Do it a message at a time, as a quiet market has them."""
    raws = book_messages(COUNT // 10)
    return _best("the same, one at a time", "messages/s", COUNT // 10, lambda: _apply_books(raws, 1))


def trades_in_batches() -> dict[str, Any]:
    """Decode messages of trades, 256 at a time."""
    raws = trade_messages(COUNT)
    topic = trade_topic(SYMBOL)
    topics = {topic.text: topic}

    def run() -> None:
        decoder = TradeDecoder(market.INSTRUMENT)
        rows = 0
        for start in range(0, COUNT, BATCH):
            frames = [read_frame(raw, topics=topics) for raw in raws[start : start + BATCH]]
            rows += len(decoder.decode([frame for frame in frames if isinstance(frame, TradeFrame)])[0])
        assert rows >= COUNT

    return _best("publicTrade messages decoded", "messages/s", COUNT, run)


def connection_in_batches() -> dict[str, Any]:
    """Do all of it: session, trust, books, quotes and trades, as the actor will call it."""
    books, trades = book_messages(COUNT // 2), trade_messages(COUNT // 2)
    raws = [raw for pair in zip(books, trades, strict=True) for raw in pair]

    def run() -> None:
        streams, now_ns = _connected()
        rows = 0
        for start in range(0, len(raws), BATCH):
            messages = [(now_ns + 10_000_000 * (start + n), raw) for n, raw in enumerate(raws[start : start + BATCH])]
            for effect in streams.on_messages("linear-0", 1, messages):
                rows += len(effect.books or ()) if isinstance(effect, MarketRows) else 0
        assert rows == len(books)
        assert streams.feeds["linear", SYMBOL].sync.is_trusted  # type: ignore[union-attr]

    return _best("a connection's messages, books and trades in turn, to rows", "messages/s", len(raws), run)


def _connected() -> tuple[MarketStreams, int]:
    """Return streams that are open and have been answered."""
    now_ns = START_MS * 1_000_000 + 3_000_000
    streams = MarketStreams([Wanted(instrument=market.INSTRUMENT)], seed=1, shown_levels=10)
    effects: list[MarketEffect] = streams.start(now_ns)
    assert isinstance(effects[0], ForConnection)
    assert isinstance(effects[0].effect, Connect)
    for effect in streams.on_open("linear-0", 1, now_ns):
        assert isinstance(effect, ForConnection)
        assert isinstance(effect.effect, Send)
        req_id = json.loads(effect.effect.data)["req_id"]
        answer = json.dumps({"success": True, "ret_msg": "", "op": "subscribe", "req_id": req_id}).encode()
        streams.on_messages("linear-0", 1, [(now_ns, answer)])
    # Nothing is sent of the level-1 book and the ticker here: to be silent must not cost the connection.
    for each in streams.sessions["linear-0"]._subscriptions.values():
        each.patience = type(each.patience)(first_ns=2**62, silence_ns=2**62, is_quiet_normal=True)
    return streams, now_ns


BENCHMARKS = {
    function.__name__: function
    for function in (books_in_batches, books_one_by_one, trades_in_batches, connection_in_batches)
}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
