"""Events of a book and of what checks it, as frames and tables; and the rows that compiled code makes of frames."""

import json
from collections.abc import Sequence

import msgspec
import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import BookBatch, BookDeltaBatch
from bot.venues.bybit.book_messages import pack_books, scan_levels
from bot.venues.bybit.book_sync import BookBreak, BookSync
from bot.venues.bybit.level1 import ARRIVED, ASK, BID, KNOWN, MARK, SILENT, Witness
from bot.venues.bybit.numbers import REASONS, grids_of
from bot.venues.bybit.topics import book_topic
from bot.venues.bybit.wire import BookFrame
from tests.support.batches import INSTRUMENT
from tests.support.book_sync_reference import Told


def tell(sync: BookSync, events: Sequence[Told], *, first: int = 0) -> tuple[BookBatch, list[BookBreak]]:
    """Tell a book what happened, all at once; the first event has the arrival number `first`."""
    numbered = list(enumerate(events, first))
    books = [(number, each) for number, each in numbered if each.kind == "book"]
    rows, breaks, _ = sync.on_frames(
        [_frame(each) for _, each in books],
        [number for number, _ in books],
        _witness([(number, each) for number, each in numbered if each.kind == "quote"]),
        _witness([(number, each) for number, each in numbered if each.kind == "ticker"]),
    )
    return rows, breaks


def _frame(told: Told) -> BookFrame:
    return BookFrame(
        raw=b"",
        known_ns=told.known_ns,
        topic=book_topic(INSTRUMENT.name, 50),
        ts_ns=told.ts_ns,
        is_snapshot=told.is_snapshot,
        update=told.update,
        seq=told.seq,
        bids=_side(told.bids),
        asks=_side(told.asks),
        sent_ns=told.sent_ns,
    )


def _side(levels: Sequence[tuple[int, int]]) -> msgspec.Raw:
    texts = [[f"{ticks * INSTRUMENT.tick_size:f}", f"{steps * INSTRUMENT.qty_step:f}"] for ticks, steps in levels]
    return msgspec.Raw(json.dumps(texts).encode())


def _witness(events: Sequence[tuple[int, Told]]) -> Witness:
    if not events:
        return SILENT
    table = np.zeros((MARK + 1, len(events)), dtype=np.int64)
    table[KNOWN] = [each.known_ns for _, each in events]
    table[BID], table[ASK] = ([getattr(each, name) for _, each in events] for name in ("bid", "ask"))
    table[ARRIVED] = [number for number, _ in events]
    table[MARK] = [int(1_000 * each.mark) for _, each in events]
    return Witness(len(events), table)


def deltas_of_frames(frames: Sequence[BookFrame], instrument: Instrument) -> tuple[BookDeltaBatch, list[str]]:
    """Return the rows of a book's frames, a level each, and why each frame was refused, "" where it was not."""
    packed = pack_books(frames, range(len(frames)))
    columns, flags = np.empty((6, len(packed)), dtype=np.int64), np.empty((3, len(packed)), dtype=np.bool_)
    reasons = np.empty(len(frames), dtype=np.int64)
    made, _ = scan_levels(packed, len(frames), *grids_of(instrument), columns, flags, reasons)
    ts_ns, known_ns, update, previous, price_ticks, qty_steps = columns[:, :made]
    is_snapshot, is_last, is_bid = flags[:, :made]
    deltas = BookDeltaBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=ts_ns,
        known_ns=known_ns,
        update=update,
        previous=previous,
        is_snapshot=is_snapshot,
        is_last=is_last,
        is_bid=is_bid,
        price_ticks=price_ticks,
        qty_steps=qty_steps,
    )
    return deltas, [REASONS[reason] if reason else "" for reason in reasons.tolist()]
