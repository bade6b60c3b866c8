"""Another venue's real market, told as Bybit tells its own, comes out of the feed as that venue knew it."""

from dataclasses import replace

import numpy as np
import pytest

from bot.core.bars import BarAggregator
from bot.domain.market import BarBatch, TradeBatch, is_same
from bot.venues.bybit.frames import read_frame
from bot.venues.bybit.instrument_feed import InstrumentFeed
from bot.venues.bybit.topics import book_topic, trade_topic
from bot.venues.bybit.wire import BookFrame, TradeFrame
from tests.support.as_bybit import book_frames, trade_frames
from tests.support.real_books import USDM_BTC, USDM_ETH, Capture, book_of, parts_of, quotes_of

LEVELS = 200
SCALES = (10**9, 15 * 10**9, 60 * 10**9)


@pytest.mark.parametrize("capture", [USDM_BTC, USDM_ETH], ids=["btc", "eth"])
def test_the_book_is_the_venues_own(capture: Capture) -> None:
    """Each of its 200 levels after the last message, its best after every one, and its own word for the best quote."""
    feed = InstrumentFeed(capture.instrument, [book_topic(capture.instrument.name, LEVELS)], shown_levels=1)
    deltas = book_of(capture)
    bests = []
    last: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for known_ns, raw, best in book_frames(deltas, LEVELS, 600):
        frame = read_frame(raw, known_ns=known_ns)
        assert isinstance(frame, BookFrame), frame
        # Between its time and our machine's lie another venue's clock and the way there.
        rows, found = feed.on_frames([_on_time(frame)])
        assert found == []
        assert rows.books is not None
        bests.append((int(rows.books.bid_ticks[-1, 0]), int(rows.books.ask_ticks[-1, 0])))
        assert bests[-1] == (max(best[0]), min(best[1]))
        last = best
    assert len(bests) == 600
    assert feed.sync is not None
    for side, name in zip(last, ("bid", "ask"), strict=True):
        ticks, steps = feed.sync.book.levels(name)  # type: ignore[arg-type]
        assert dict(zip(ticks.tolist(), steps.tolist(), strict=True)) == side
    _, told = quotes_of(capture)
    quoted = {(capture.instrument.ticks(bid), capture.instrument.ticks(ask)) for bid, _, ask, _ in told}
    # The venue pushes changes of the book every 100 ms or so and quotes at once: nearly all bests were quoted.
    assert sum(best in quoted for best in bests) > 0.95 * len(bests)


def _on_time(frame: BookFrame) -> BookFrame:
    known_ns = max(frame.ts_ns, min(frame.known_ns, frame.ts_ns + 10**9))
    return type(frame)(**{name: getattr(frame, name) for name in frame.__struct_fields__} | {"known_ns": known_ns})


@pytest.mark.parametrize("capture", [USDM_BTC, USDM_ETH], ids=["btc", "eth"])
def test_its_trades_make_the_same_bars(capture: Capture) -> None:
    trades = _trades(capture)
    feed = InstrumentFeed(capture.instrument, [trade_topic(capture.instrument.name)])
    decoded = []
    for raw in trade_frames(trades):
        frame = read_frame(raw)
        assert isinstance(frame, TradeFrame)
        rows, found = feed.on_frames([frame])
        assert found == []
        decoded += [rows.trades] if rows.trades is not None else []
    live, whole = _bars(decoded), _bars([trades])
    for scale_ns in SCALES:
        assert is_same(live[scale_ns], whole[scale_ns])
    assert len(whole[SCALES[0]]) > 50


def _bars(batches: list[TradeBatch]) -> dict[int, BarBatch]:
    aggregator = BarAggregator(batches[0].instrument, scales_ns=SCALES, lateness_ns=0, gap_max_ns=10**13)
    slabs = [aggregator.on_trades(batch) for batch in batches]
    return {s: BarBatch.join([slab.bars[s] for slab in slabs if s in slab.bars]) for s in SCALES}


def _trades(capture: Capture) -> TradeBatch:
    """Return a capture's trades at whole ms, in order of time."""
    instrument = capture.instrument
    parts = [part for part in parts_of(capture.file) if part.kind == "trades" and len(part)]
    made = []
    for part in parts:
        price = part.columns["price"] * 10 ** (part.price_exponent + 10) // int(instrument.tick_size.scaleb(10))
        qty = part.columns["qty"] * 10 ** (part.qty_exponent + 10) // int(instrument.qty_step.scaleb(10))
        made.append(
            TradeBatch(
                instrument=instrument,
                first_row=0,
                ts_ns=part.columns["ts_ns"] // 1_000_000 * 1_000_000,
                price_ticks=price,
                qty_steps=qty,
                is_buy=part.columns["is_buy"],
            )
        )
    joined = TradeBatch.join(made)
    order = np.argsort(joined.ts_ns, kind="stable")
    columns = {name: getattr(joined, name)[order] for name in TradeBatch.COLUMNS}
    return replace(joined, **columns)
