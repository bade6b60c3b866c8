"""The market player: recorded trades, books and funding, moved to the venue's time and handed out by its clock.

What is played runs a little ahead in the venue model, which needs the future to fill orders; the public sees it when
the clock gets there. A recording that ends leaves a market in which nothing trades any more.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from bot.core.matching import VenueModel
from bot.domain.instrument import Instrument
from bot.domain.market import BookDeltaBatch, FundingBatch, TradeBatch
from bot.emulator.candles import Candles
from bot.emulator.synthetic import BookMaker
from bot.emulator.wire import SECOND_NS

_AHEAD_NS = 2 * SECOND_NS
_PIECE_ROWS = 512  # trades that a book is made for at a time


class MarketSource(msgspec.Struct, kw_only=True):
    """Where one instrument's market data come from. Times are the recording's own."""

    trades: Iterator[TradeBatch]
    book: Iterator[BookDeltaBatch] | BookMaker  # recorded, or made of the trades
    funding: FundingBatch | None = None
    shift_ns: int = 0  # added to every time: whole days, so that funding and candles keep their hours


class Player:
    """Plays one instrument.

    Args:
        instrument: what the model knows it as.
        source: what is played.
        start_ns: the venue's time at which it begins: what is earlier becomes candles and nothing else.
        model: told of what is to come.
    """

    def __init__(self, instrument: Instrument, source: MarketSource, start_ns: int, model: VenueModel) -> None:
        self._instrument = instrument
        self._source = source
        self._start_ns = start_ns
        self._model = model
        self._pieces = _pieces(source.trades)
        self._before: TradeBatch | None = None  # the last trades before the start: prices that are there when it comes
        self._waiting: deque[TradeBatch] = deque()  # in the model, not public yet
        self._rows = 0
        self._trades_ns = self._book_ns = -(2**62)
        self._has_ended = False
        self.candles = Candles()
        self.funding = self._shifted_funding()

    @property
    def has_ended(self) -> bool:
        """Return whether the recording has no more trades."""
        return self._has_ended and not self._waiting

    def read(self, now_ns: int, done_ns: int) -> None:
        """Hand the model what happens up to a little after `now_ns`.

        Args:
            now_ns: the time that it is about to advance to.
            done_ns: how far it has come: what is earlier it needs no more.

        Raises:
            DataError: the recording is damaged.
        """
        until_ns = now_ns + _AHEAD_NS
        while self._trades_ns <= until_ns and not self._has_ended:
            piece = next(self._pieces, None)
            if piece is None:
                self._has_ended = True
                break
            self._take(piece, done_ns)
        book = self._source.book
        if isinstance(book, BookMaker):
            return
        while self._book_ns <= until_ns:
            batch = next(book, None)
            if batch is None:
                self._book_ns = 2**62
                return
            batch = self._moved(batch)
            if len(batch):
                self._book_ns = int(batch.ts_ns[-1])
                self._model.extend_book(batch, done_ns)

    def pass_to(self, now_ns: int) -> list[TradeBatch]:
        """Return the trades that have become public by `now_ns`; they are in the candles now."""
        public: list[TradeBatch] = []
        while self._waiting:
            batch = self._waiting[0]
            stop = int(batch.ts_ns.searchsorted(now_ns, side="right"))
            if not stop:
                break
            public.append(batch.rows(0, stop))
            if stop < len(batch):
                self._waiting[0] = batch.rows(stop, len(batch))
                break
            self._waiting.popleft()
        for batch in public:
            self.candles.add(batch)
        return public

    def _take(self, piece: TradeBatch, done_ns: int) -> None:
        """Take the next trades of the recording: into the past, or into the model's future."""
        piece = self._moved(piece)
        self._trades_ns = int(piece.ts_ns[-1])
        before, self._before = self._before, None
        if self._trades_ns < self._start_ns:
            self._before = piece
            if before is not None:
                self.candles.add(before)
            return
        for each in (before, piece):
            if each is None:
                continue
            each = replace(each, first_row=self._rows)
            self._rows += len(each)
            self._waiting.append(each)
            self._model.extend(each, done_ns)
            if isinstance(self._source.book, BookMaker):
                self._model.extend_book(self._source.book.make(each), done_ns)

    def _moved(self, batch: Any) -> Any:
        """Return a batch at the venue's time, of the instrument that the model knows."""
        return replace(batch, instrument=self._instrument, ts_ns=batch.ts_ns + self._source.shift_ns)

    def _shifted_funding(self) -> FundingBatch | None:
        funding = self._source.funding
        return None if funding is None else self._moved(funding)


def _pieces(batches: Iterator[TradeBatch]) -> Iterator[TradeBatch]:
    for batch in batches:
        for start in range(0, len(batch), _PIECE_ROWS):
            yield batch.rows(start, min(start + _PIECE_ROWS, len(batch)))
