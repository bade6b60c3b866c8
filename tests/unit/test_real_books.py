"""Real books: every message is read, and the book that they make is the one that the venue told otherwise."""

import bisect
import itertools
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from bot.core.book_features import BOOK_COLUMNS, BookBarScan
from bot.core.order_book import BookFault, OrderBook, is_crossed
from bot.domain.market import BarBatch, BookBatch, BookDeltaBatch, is_same
from bot.store.book_history import BookHistory, deltas_of_parts
from bot.store.market_store import MarketStore
from tests.support.book_reference import Message, ReferenceBook, books_of
from tests.support.real_books import (
    BOOK1000,
    OB500,
    POLLS,
    SPOT_BTC,
    USDM_BTC,
    USDM_ETH,
    V2,
    Capture,
    book_of,
    grid,
    message_counts,
    parts_of,
    quotes_of,
)
from tests.support.shared_data import shared_file

BINANCE = [pytest.param(each, id=each.file[4:24]) for each in (USDM_BTC, USDM_ETH, SPOT_BTC)]
SECOND_NS = 1_000_000_000


def built(capture: Capture, depth: int) -> tuple[OrderBook, BookBatch]:
    book = OrderBook(capture.instrument, depth=depth)
    return book, book.on_deltas(book_of(capture))


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        (USDM_BTC.file, {"messages": 6551 + 1, "trades": 21313, "quotes": 66089, "book": 443521 + 2000}),
        (USDM_ETH.file, {"messages": 6586 + 1, "trades": 14076, "quotes": 53992, "book": 428662 + 2000}),
        (SPOT_BTC.file, {"messages": 3451 + 1, "trades": 9757, "quotes": 28040, "book": 124090 + 2000}),
        (BOOK1000.file, {"messages": 2559 - 2, "repeated": 2}),
        (OB500.file, {"messages": 50, "book": 3966}),
        (V2, {"messages": 3252 + 8, "trades": 101, "book": 8 * 50 + 11688 + 4127 + 4127}),
        (POLLS, {"messages": 1068, "book": 10680}),
    ],
)
def test_every_message_of_a_capture_is_read(file: str, counts: dict[str, int]) -> None:
    """As many as other eyes have counted, and none is refused."""
    found = message_counts(file)
    assert {name: found[name] for name in counts} == counts
    assert found["rejected"] == 0


@pytest.mark.parametrize("capture", BINANCE)
def test_a_book_of_updates_has_the_venues_own_best_quotes(capture: Capture) -> None:
    """After each update the best bid and ask are those of the last `bookTicker` by then, in price and quantity.

    All of them, not 99.9 %: the two streams are numbered alike, and both come from one book.
    """
    book, rows = built(capture, 1)
    assert book.is_trusted
    assert book.counts.gaps == book.counts.crossed == book.counts.impossible == book.counts.repeated == 0
    assert book.counts.unseeded == np.count_nonzero(~rows.is_trusted) <= 6  # before the REST snapshot
    updates, quotes = quotes_of(capture)
    tick, step = capture.instrument.tick_size, capture.instrument.qty_step
    compared = at_one_number = 0
    for row in np.flatnonzero(rows.is_trusted).tolist():
        place = bisect.bisect_right(updates, int(rows.update[row])) - 1
        bid, bid_qty, ask, ask_qty = quotes[place]
        assert int(rows.bid_ticks[row, 0]) * tick == bid
        assert int(rows.bid_steps[row, 0]) * step == bid_qty
        assert int(rows.ask_ticks[row, 0]) * tick == ask
        assert int(rows.ask_steps[row, 0]) * step == ask_qty
        compared += 1
        at_one_number += updates[place] == rows.update[row]
    assert compared >= 3000
    assert at_one_number >= 500


def test_a_snapshot_plus_its_changes_is_the_next_snapshot() -> None:
    """Each row of the file is a whole book; built from the first one's levels and differences, all are the same."""
    book = OrderBook(BOOK1000.instrument, depth=1)
    batch = book_of(BOOK1000)
    ends = np.flatnonzero(batch.is_last) + 1
    table = pq.read_table(shared_file(f"data/{BOOK1000.file}"))
    seqs = table["seq"].to_numpy()
    is_repeat = np.append(False, seqs[1:] == seqs[:-1])
    assert len(ends) == np.count_nonzero(~is_repeat)
    lists = {name: table[name].combine_chunks() for name in ("bids_px", "bids_qty", "asks_px", "asks_qty")}
    for (start, end), row in zip(
        itertools.pairwise([0, *ends.tolist()]), np.flatnonzero(~is_repeat).tolist(), strict=True
    ):
        book.on_deltas(batch.rows(start, end))
        for side, name in (("bid", "bids"), ("ask", "asks")):
            ticks, steps = book.levels("bid" if side == "bid" else "ask")
            prices, qtys = (lists[f"{name}_{what}"][row].values.to_numpy() for what in ("px", "qty"))
            assert np.array_equal(BOOK1000.instrument.prices(ticks), prices)
            assert np.array_equal(BOOK1000.instrument.qtys(steps), qtys)
    assert book.counts.absent == 0


def test_bybits_window_is_exact() -> None:
    """500 levels a side after every message, never crossed, nothing removed that was not there."""
    book, rows = built(OB500, 500)
    assert rows.is_trusted.all()
    assert not is_crossed(rows).any()
    assert (rows.bid_steps > 0).all()
    assert (rows.ask_steps > 0).all()
    assert (np.diff(rows.bid_ticks, axis=1) < 0).all()
    assert (np.diff(rows.ask_ticks, axis=1) > 0).all()
    assert len(book.levels("bid")[0]) == len(book.levels("ask")[0]) == 500
    assert book.counts.absent == 0


def test_a_planted_gap_closes_trust_and_the_next_snapshot_opens_it() -> None:
    """A message less: no trust from the next on; after a snapshot the very book that nothing was missing from."""
    _, whole = built(OB500, 500)
    batch = book_of(OB500)
    ends = np.flatnonzero(batch.is_last) + 1
    book = OrderBook(OB500.instrument, depth=500)
    before = book.on_deltas(batch.rows(0, int(ends[19])))
    missed = book.on_deltas(batch.rows(int(ends[20]), int(ends[30])))  # message 20 is lost
    assert before.is_trusted.all()
    assert not missed.is_trusted.any()
    assert not missed.bid_steps.any()
    assert book.fault is BookFault.GAP
    assert (book.counts.gaps, book.counts.ignored) == (1, 9)
    book.on_deltas(snapshot_of(whole.rows(30, 31)))
    after = book.on_deltas(batch.rows(int(ends[30]), int(ends[-1])))
    assert after.is_trusted.all()
    assert is_same(replace(after, first_row=31), whole.rows(31, 50))


def snapshot_of(row: BookBatch) -> BookDeltaBatch:
    """Return a row as the snapshot that the venue would send."""
    depth = row.depth
    count = 2 * depth
    return BookDeltaBatch(
        instrument=row.instrument,
        first_row=0,
        ts_ns=np.repeat(row.ts_ns, count),
        known_ns=np.repeat(row.known_ns, count),
        update=np.repeat(row.update, count),
        previous=np.full(count, -1),
        is_snapshot=np.ones(count, dtype=np.bool_),
        is_last=np.arange(count) == count - 1,
        is_bid=np.arange(count) < depth,
        price_ticks=np.concatenate([row.bid_ticks[0], row.ask_ticks[0]]),
        qty_steps=np.concatenate([row.bid_steps[0], row.ask_steps[0]]),
    )


def test_a_lost_update_of_binance_shows_at_once() -> None:
    """Whichever of a thousand updates is lost, the one after it closes trust."""
    batch = book_of(SPOT_BTC)
    ends = np.flatnonzero(batch.is_last) + 1
    for lost in range(10, 1000, 99):
        book = OrderBook(SPOT_BTC.instrument, depth=1)
        book.on_deltas(batch.rows(0, int(ends[lost - 1])))
        rows = book.on_deltas(batch.rows(int(ends[lost]), int(ends[lost + 1])))
        assert rows.is_trusted.tolist() == [False]
        assert book.fault is BookFault.GAP


def test_the_book_is_the_one_of_dictionaries() -> None:
    """500 updates of spot, to 20 levels."""
    batch = book_of(SPOT_BTC)
    batch = batch.rows(0, int(np.flatnonzero(batch.is_last)[500]) + 1)
    reference = ReferenceBook()
    rows = [row for message in messages_of(batch) if (row := reference.apply(message)) is not None]
    found = OrderBook(SPOT_BTC.instrument, depth=20).on_deltas(batch)
    assert is_same(found, books_of(rows, depth=20, instrument=SPOT_BTC.instrument))


def messages_of(batch: BookDeltaBatch) -> list[Message]:
    """Return a batch as messages."""
    messages = []
    for start, end in itertools.pairwise([0, *(np.flatnonzero(batch.is_last) + 1).tolist()]):
        rows = batch.rows(start, end)
        levels = list(zip(rows.is_bid.tolist(), rows.price_ticks.tolist(), rows.qty_steps.tolist(), strict=True))
        messages.append(
            Message(
                ts_ns=int(rows.ts_ns[0]),
                known_ns=int(rows.known_ns[0]),
                update=int(rows.update[0]),
                previous=int(rows.previous[0]),
                is_snapshot=bool(rows.is_snapshot[0]),
                bids=[(price, qty) for is_bid, price, qty in levels if is_bid],
                asks=[(price, qty) for is_bid, price, qty in levels if not is_bid],
            )
        )
    return messages


def test_the_old_protocols_books_are_whole() -> None:
    """Eight symbols, 25 levels a side after every message, with quantities as a float32 prints them."""
    grids = {
        "BCHUSDT": "0.05",
        "XTZUSDT": "0.001",
        "UNIUSDT": "0.001",
        "LTCUSDT": "0.01",
        "DOTUSDT": "0.005",
        "LINKUSDT": "0.001",
        "ADAUSDT": "0.0001",
        "ETHUSDT": "0.05",
    }
    assert {part.symbol for part in parts_of(V2)} == set(grids)
    for symbol, tick_size in grids.items():
        instrument = grid(symbol, tick_size, "0.01")
        batch = BookDeltaBatch.join(list(deltas_of_parts(parts_of(V2), instrument, round_qtys=True)))
        book = OrderBook(instrument, depth=25)
        rows = book.on_deltas(batch)
        assert rows.is_trusted.all()
        assert (rows.bid_steps > 0).all()
        assert (rows.ask_steps > 0).all()
        assert book.counts.absent == 0


def test_polled_books_are_all_snapshots() -> None:
    symbols = {part.symbol for part in parts_of(POLLS)}
    assert len(symbols) == 78
    btc = grid("BTCUSDT", "0.1", "0.001")
    book = OrderBook(btc, depth=5)
    rows = book.on_deltas(BookDeltaBatch.join(list(deltas_of_parts(parts_of(POLLS), btc))))
    assert rows.is_trusted.all()
    assert book.counts.snapshots == len(rows) == 14
    assert (rows.ask_steps > 0).all()


@pytest.mark.parametrize("capture", [pytest.param(SPOT_BTC, id="spot"), pytest.param(BOOK1000, id="book1000")])
def test_real_books_do_not_depend_on_the_cut(capture: Capture) -> None:
    """Law 1 on real messages: cut at random places, most of them within a message."""
    batch = book_of(capture)
    _, whole = built(capture, 5)
    generator = np.random.default_rng(7)
    for pieces in (2, 50, 2000):
        cuts = [0, *np.sort(generator.integers(0, len(batch), pieces)).tolist(), len(batch)]
        book = OrderBook(capture.instrument, depth=5)
        made = [book.on_deltas(batch.rows(*edge)) for edge in itertools.pairwise(cuts)]
        assert is_same(BookBatch.join(made), whole)


def seconds(rows: BookBatch, length_s: int) -> BarBatch:
    """Return bars of some seconds over the whole tens of seconds that a book touches, known at their close."""
    scale_ns = length_s * SECOND_NS
    first, last = (int(rows.ts_ns[place]) // (10 * SECOND_NS) for place in (0, -1))
    open_ns = np.arange(first * 10 * SECOND_NS, (last + 1) * 10 * SECOND_NS, scale_ns)
    nothing = np.zeros(len(open_ns), dtype=np.int64)
    zeros = {name: nothing for name in BarBatch.COLUMNS if name not in ("open_ns", "known_ns", "flags")}
    return BarBatch(
        instrument=rows.instrument,
        scale_ns=scale_ns,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + scale_ns,
        flags=nothing.astype(np.uint8),
        **zeros,
    )


@pytest.mark.parametrize("capture", BINANCE)
def test_the_book_at_bars_adds_up_and_does_not_depend_on_the_cut(capture: Capture) -> None:
    """Order flow of seconds sums to that of ten seconds, and rows handed over piece by piece give the same bits."""
    _, rows = built(capture, 10)
    made = {}
    for length_s in (1, 10):
        bars = seconds(rows, length_s)
        scan, again = BookBarScan(), BookBarScan()
        scan.on_book(rows)
        made[length_s] = scan.on_bars(bars)
        pieces = iter([rows.rows(i, min(i + 97, len(rows))) for i in range(0, len(rows), 97)])
        parts, handed_ns = [], 0
        for bar in range(len(bars)):
            while handed_ns < bars.close_at(bar) and (piece := next(pieces, None)) is not None:
                again.on_book(piece)
                handed_ns = int(piece.ts_ns[-1])
            parts.append(again.on_bars(bars.rows(bar, bar + 1)))
        for name in BOOK_COLUMNS:
            assert np.concatenate([part[name] for part in parts]).tobytes() == made[length_s][name].tobytes(), name
    fine, coarse = made[1], made[10]
    whole = slice(1, -1)  # the first bar begins before the book, the last ends after it
    for name in ("book_ofi_1", "book_ofi_5", "book_updates"):
        sums = fine[name].reshape(-1, 10).sum(axis=1)
        assert np.allclose(sums[whole], coarse[name][whole], atol=float(capture.instrument.qty_step) / 10, rtol=0)
    for name in ("book_mid", "book_imbalance_5", "book_ask_slope", "book_age"):
        assert np.array_equal(fine[name].reshape(-1, 10)[whole, -1], coarse[name][whole])
    assert (coarse["book_coverage"][whole] == 1).all()
    means = fine["book_spread_mean_bps"].reshape(-1, 10)[whole].mean(axis=1)
    assert np.allclose(means, coarse["book_spread_mean_bps"][whole])
    assert (means > 0).all()


def test_a_capture_comes_back_out_of_the_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Imported and read from its middle: the same book from there on, for the snapshot before it is found."""
    root = tmp_path_factory.mktemp("store")
    parts = [part for part in parts_of(SPOT_BTC.file) if part.kind == "book"]
    store = MarketStore(root)
    store.write(parts, name="capture")
    _, whole = built(SPOT_BTC, 5)
    from_ns = int(whole.ts_ns[2000])
    history = BookHistory(SPOT_BTC.instrument, store.dataset("binance-spot", "BTCUSDT", "book"), from_ns=from_ns)
    rows = BookBatch.join(list(history.books(5)))
    mine, theirs = (each.rows(int(np.searchsorted(each.ts_ns, from_ns)), len(each)) for each in (rows, whole))
    assert is_same(replace(mine, first_row=0), replace(theirs, first_row=0))
    assert mine.is_trusted.all()
    assert len(mine) == len(whole) - 2000
