"""Events of a book and of what checks it, as the columns that `BookSync` takes."""

from collections.abc import Sequence

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import I64
from bot.venues.bybit.book_sync import Arrived
from bot.venues.bybit.decode import BookMessages
from bot.venues.bybit.rows import QuoteBatch, TickerBatch
from tests.support.batches import INSTRUMENT
from tests.support.book_reference import Message, deltas_of
from tests.support.book_sync_reference import Told

Columns = tuple[BookMessages, Arrived[QuoteBatch], Arrived[TickerBatch]]


def columns_of(events: Sequence[Told], *, first: int = 0, instrument: Instrument = INSTRUMENT) -> Columns:
    """Return events as columns; the first has the arrival number `first`."""
    numbered = list(enumerate(events, first))
    books = [(number, each) for number, each in numbered if each.kind == "book"]
    quotes = [(number, each) for number, each in numbered if each.kind == "quote"]
    tickers = [(number, each) for number, each in numbered if each.kind == "ticker"]
    return (
        _messages(books, instrument),
        Arrived(rows=_quotes([each for _, each in quotes], instrument), arrival=_column([n for n, _ in quotes])),
        Arrived(rows=_tickers([each for _, each in tickers], instrument), arrival=_column([n for n, _ in tickers])),
    )


def _messages(books: Sequence[tuple[int, Told]], instrument: Instrument) -> BookMessages:
    messages = [
        Message(
            ts_ns=each.ts_ns,
            known_ns=each.known_ns,
            update=each.update,
            previous=-1 if each.is_snapshot else each.update - 1,
            is_snapshot=each.is_snapshot,
            bids=each.bids,
            asks=each.asks,
        )
        for _, each in books
    ]
    return BookMessages(
        deltas=deltas_of(messages, instrument),
        arrival=_column([number for number, _ in books]),
        ts_ns=_column([each.ts_ns for _, each in books]),
        known_ns=_column([each.known_ns for _, each in books]),
        update=_column([each.update for _, each in books]),
        seq=_column([each.seq for _, each in books]),
        is_snapshot=_column([int(each.is_snapshot) for _, each in books]),
        sent_ns=_column([each.sent_ns for _, each in books]),
    )


def _quotes(quotes: Sequence[Told], instrument: Instrument) -> QuoteBatch:
    known_ns = _column([each.known_ns for each in quotes])
    bid, ask = (_column([getattr(each, name) for each in quotes]) for name in ("bid", "ask"))
    return QuoteBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=known_ns,
        known_ns=known_ns,
        bid_ticks=bid,
        bid_steps=np.sign(bid),
        ask_ticks=ask,
        ask_steps=np.sign(ask),
    )


def _tickers(tickers: Sequence[Told], instrument: Instrument) -> TickerBatch:
    known_ns = _column([each.known_ns for each in tickers])
    bid, ask = (_column([getattr(each, name) for each in tickers]) for name in ("bid", "ask"))
    unit = instrument.tick_size * 10**8
    zero = np.zeros(len(tickers), dtype=np.int64)
    return TickerBatch(
        instrument=instrument,
        first_row=0,
        price_exponent=-8,
        ts_ns=known_ns,
        known_ns=known_ns,
        last_ticks=zero,
        bid_ticks=bid,
        bid_steps=zero,
        ask_ticks=ask,
        ask_steps=zero,
        mark=_column([int(each.mark * int(unit)) for each in tickers]),
        index=zero,
        open_interest_steps=zero,
        has_funding=zero == 1,
        funding_rate_e8=zero,
        next_funding_ns=zero,
        funding_interval_ns=zero,
    )


def _column(values: Sequence[int]) -> I64:
    return np.array(values, dtype=np.int64)
