"""The book out of the market store: entered at a snapshot, on the instrument's grid, whole at every border."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.core.order_book import OrderBook
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import BookBatch, BookDeltaBatch, is_same
from bot.store import market_format
from bot.store.book_history import BookHistory, deltas_of_parts
from bot.store.importing.part import Part
from bot.store.market_dataset import Dataset
from bot.store.market_store import MarketStore
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import Message, delta, deltas_of, snapshot

HOUR_NS = 3_600_000_000_000
START_NS = 1_723_161_600_000_000_000  # on the hour
SECOND = 59  # the place of the second snapshot of `market`


def part_of(messages: list[Message], **others: Any) -> Part:
    """Return messages as an import brings them: prices in units of 0.01, quantities in units of 0.0001."""
    batch = deltas_of(messages)
    told = {
        "ts_ns": batch.ts_ns,
        "recv_ns": np.where(batch.known_ns == batch.ts_ns, 0, batch.known_ns),
        "update": batch.update,
        "previous": batch.previous,
        "is_snapshot": batch.is_snapshot,
        "is_bid": batch.is_bid,
        "price": batch.price_ticks * 10,
        "qty": batch.qty_steps * 10,
    }
    fields: dict[str, Any] = {"venue": "bybit-linear", "symbol": "XUSDT", "kind": "book", "columns": told}
    return Part(**fields | {"price_exponent": -2, "qty_exponent": -4} | others)


def stored(root: Path, messages: list[Message]) -> Dataset:
    store = MarketStore(root)
    store.write(part_of(messages), name="test")
    return store.dataset("bybit-linear", "XUSDT", "book")


def market(hours: int = 3, per_hour: int = 40) -> list[Message]:
    """Return a book of some hours: a snapshot at the beginning and in the middle of the second hour, then changes."""
    messages = [snapshot(START_NS, 1, bids=[(990, 5), (980, 1)], asks=[(1010, 4)])]
    for number in range(2, hours * per_hour):
        ts_ns = START_NS + number * HOUR_NS // per_hour
        if number == per_hour * 3 // 2:
            messages.append(snapshot(ts_ns, number, bids=[(995, 5)], asks=[(1005, 4), (1008, 2)]))
        else:
            bids = [(900 + number * 7 % 95, number % 4)]
            messages.append(
                delta(ts_ns, number, bids=bids, asks=[(1010 + number % 9, number % 3)] if number % 5 else [])
            )
    return messages


def joined(batches: list[BookDeltaBatch]) -> BookDeltaBatch:
    return BookDeltaBatch.join(batches)


@pytest.fixture(autouse=True)
def _small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Borders between row groups fall into messages."""
    monkeypatch.setattr(market_format, "GROUP_ROWS", 7)


def test_the_store_gives_back_what_was_imported(tmp_path: Path) -> None:
    """Message by message, over files by the hour and row groups that end within a message."""
    messages = market()
    made = list(BookHistory(INSTRUMENT, stored(tmp_path, messages)).deltas())
    assert len(made) > 10
    assert is_same(joined(made), deltas_of(messages))
    assert [batch.first_row for batch in made] == np.cumsum([0, *map(len, made)])[:-1].tolist()


@pytest.mark.parametrize("place", [1, 35, 58, 59, 60, 100])
def test_a_range_is_entered_at_the_snapshot_before_it(tmp_path: Path, place: int) -> None:
    """From there on the book is the one that reading from the beginning gives."""
    messages = market()
    dataset = stored(tmp_path, messages)
    from_ns = messages[place].ts_ns
    history = BookHistory(INSTRUMENT, dataset, from_ns=from_ns)
    assert history.entry_ns() == messages[SECOND if place >= SECOND else 0].ts_ns
    rows = BookBatch.join(list(history.books(3)))
    whole = OrderBook(INSTRUMENT, depth=3).on_deltas(deltas_of(messages))
    mine, theirs = (each.rows(int(np.searchsorted(each.ts_ns, from_ns)), len(each)) for each in (rows, whole))
    assert is_same(replace(mine, first_row=0), replace(theirs, first_row=0))
    assert mine.is_trusted.all()


def test_of_many_snapshots_the_last_is_entered_at(tmp_path: Path) -> None:
    """Also where they stand in one file, in one row group or in several."""
    messages = market(hours=1, per_hour=60)
    for place in (9, 10, 11, 30, 45):
        messages[place] = replace(messages[place], is_snapshot=True, previous=-1, bids=[(900, 1), (890, 1)], asks=[])
    dataset = stored(tmp_path, messages)
    for place, message in enumerate(messages):
        entry = max(n for n, each in enumerate(messages[: place + 1]) if each.is_snapshot)
        assert BookHistory(INSTRUMENT, dataset, from_ns=message.ts_ns).entry_ns() == messages[entry].ts_ns


def test_a_range_ends_where_it_is_told_to(tmp_path: Path) -> None:
    messages = market()
    to_ns = messages[70].ts_ns
    made = joined(list(BookHistory(INSTRUMENT, stored(tmp_path, messages), to_ns=to_ns).deltas()))
    assert is_same(made, deltas_of(messages[:70]))


def test_without_a_snapshot_before_it_nothing_is_trusted_until_one_comes(tmp_path: Path) -> None:
    messages = market()[1:]
    history = BookHistory(INSTRUMENT, stored(tmp_path, messages), from_ns=messages[10].ts_ns)
    assert history.entry_ns() == messages[10].ts_ns
    rows = BookBatch.join(list(history.books(3)))
    first = int(np.argmax(rows.is_trusted))
    assert rows.ts_ns[first] == market()[SECOND].ts_ns
    assert rows.is_trusted[first:].all()


def test_reading_a_range_leaves_other_hours_alone(tmp_path: Path) -> None:
    messages = market(hours=6)
    dataset = stored(tmp_path, messages)
    list(BookHistory(INSTRUMENT, dataset, from_ns=START_NS + 2 * HOUR_NS, to_ns=START_NS + 3 * HOUR_NS).deltas())
    # The second hour to find the snapshot in and to read from it, the third, whose border belongs to the search too.
    assert dataset.files_opened <= 4


def test_what_was_received_says_when_it_was_known() -> None:
    """A recorder whose clock is behind knew nothing before it happened; what waited for a snapshot is known with it."""
    messages = [
        snapshot(100, 1, bids=[(99, 1)], asks=[(101, 1)], known_ns=130),
        delta(110, 2, bids=[(98, 1)], known_ns=115),
        delta(140, 3, bids=[(97, 1)], known_ns=20),
    ]
    (batch,) = deltas_of_parts([part_of(messages)], INSTRUMENT)
    assert batch.known_ns.tolist() == [130, 130, 130, 140]
    assert batch.is_last.tolist() == [False, True, True, True]
    assert batch.ts_ns.tolist() == [100, 100, 110, 140]


def test_parts_follow_one_another() -> None:
    """Other symbols and kinds are left out, rows are counted on, and what was known stays known."""
    first, second = market()[:10], market()[10:20]
    parts = [part_of(first), part_of(first, symbol="YUSDT"), part_of(second)]
    made = list(deltas_of_parts(parts, INSTRUMENT))
    assert is_same(joined(made), deltas_of(first + second))


@pytest.mark.parametrize(
    ("exponents", "words"),
    [
        ({"price_exponent": -4}, "price 0.9900, no multiple of 0.1"),
        ({"qty_exponent": -7}, "quantity 0.0000050, no multiple of 0.001"),
        (
            {"price_exponent": 0, "columns": {"price": np.full(3, 2**60)}},
            "within reason; correct the tick_size of XUSDT",
        ),
    ],
)
def test_values_off_the_grid_are_refused(exponents: dict[str, Any], words: str) -> None:
    part = part_of([snapshot(START_NS, 1, bids=[(990, 5), (980, 1)], asks=[(1010, 4)])])
    columns = part.columns | exponents.pop("columns", {})
    with pytest.raises(DataError, match="book row 0 has the") as refused:
        list(deltas_of_parts([replace(part, columns=columns, **exponents)], INSTRUMENT))
    assert words in str(refused.value)


def test_quantities_may_be_rounded_and_prices_not() -> None:
    """As from a source that prints float32s: 13.329999 is 13.33."""
    instrument = Instrument(
        name="XUSDT",
        base="X",
        quote="USDT",
        tick_size=Decimal("0.5"),
        qty_step=Decimal("0.01"),
        qty_min=Decimal("0.01"),
        qty_max=Decimal(10),
    )
    part = part_of([snapshot(START_NS, 1, bids=[(50, 1), (45, 1)], asks=[(55, 4)])])
    columns = part.columns | {"price": np.array([500, 450, 550]), "qty": np.array([13_329_999, 4, 2_000_000])}
    part = replace(part, columns=columns, qty_exponent=-6)
    with pytest.raises(DataError, match="let quantities be rounded"):
        list(deltas_of_parts([part], instrument))
    (batch,) = deltas_of_parts([part], instrument, round_qtys=True)
    assert batch.qty_steps.tolist() == [1333, 0, 200]
    assert batch.price_ticks.tolist() == [10, 9, 11]
    with pytest.raises(DataError, match="has the price"):
        list(deltas_of_parts([replace(part, price_exponent=-3)], instrument, round_qtys=True))
