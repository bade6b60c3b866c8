"""Whether one instrument's book may be believed: the venue's own numbers, and what other topics say of the same market.

`core.order_book` builds the book and notices a hole in the numbers (`u`), a crossed book and a level that cannot be.
This adds what one topic alone cannot show, or what only this venue promises:

* the matching engine's sequence and time must not run backwards (SEQUENCE, TIME);
* a side never holds more levels than the topic's depth: the venue removes what falls out (DEPTH);
* a change must not come long after it happened, nor before, nor a snapshot after it was sent (LATE, FUTURE): a reader
  that lags must not trade on the past, however fresh a message looks by the time it is read;
* its best prices must agree with the level-1 book and with the ticker, and its middle lie near the mark price, not at
  every moment, for topics are sent at their own pace, but once within a limit of time (LEVEL1, TICKER, MARK);
* it must be told again, or confirmed by the level-1 book, within a limit of time (STALE).

Each closes trust until the next snapshot that is right by itself. From the row on at which it closes, books show no
levels. Whoever holds this asks for a new snapshot when it has closed.

Source: Bybit V5, order book topics; faults M1 to M4, M11 and M12 of the fault catalogue.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.core.order_book import OrderBook
from bot.domain.instrument import Instrument
from bot.domain.market import I64, BookBatch, TickerBatch
from bot.venues.bybit import book_judge as judge
from bot.venues.bybit.book_judge import Break
from bot.venues.bybit.book_messages import pack_books
from bot.venues.bybit.decode import refuse
from bot.venues.bybit.level1 import SILENT, Witness, ticker_witness
from bot.venues.bybit.numbers import REASONS, grids_of
from bot.venues.bybit.wire import BookFrame, Refused

_MS = 1_000_000
_S = 1_000 * _MS


class BookLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a book is held to."""

    late_ns: int = 2 * _S  # from the venue's clock to ours; ours must be right to a fraction of that
    future_ns: int = 1 * _S
    level1_ns: int = 1 * _S  # how long the best prices may differ from the level-1 book's
    ticker_ns: int = 5 * _S  # how long they may differ from the ticker's, which is sent every 100 ms
    ticker_ppm: int = 1_000  # by more than so many millionths
    mark_ns: int = 1 * _S  # how long the middle may lie far from the mark price
    mark_ppm: int = 20_000  # farther than so many millionths
    stale_ns: int = 10 * _S  # level-1 books are repeated every 3 s, and stand for the book that they agree with


class BookBreak(msgspec.Struct, frozen=True, kw_only=True):
    """Trust that closed."""

    reason: Break
    known_ns: int  # when we learned of it
    update: int  # the last message that had been applied


class BookSync:
    """The book of one instrument from one topic, and whether it may be believed.

    Args:
        instrument: whose.
        levels: the topic's depth.
        depth: how many of them are shown; None for all.
        limits: what it is held to.
    """

    def __init__(
        self, instrument: Instrument, *, levels: int, depth: int | None = None, limits: BookLimits | None = None
    ) -> None:
        self._instrument = instrument
        self._levels = levels
        self._depth = levels if depth is None else min(depth, levels)
        # One level more than there may be: where it is filled, a removal was lost.
        self._book = OrderBook(instrument, depth=levels + 1)
        self._grids = grids_of(instrument)
        limits = BookLimits() if limits is None else limits
        self._limits = np.array([getattr(limits, name) for name in judge.LIMITS], dtype=np.int64)
        self._state = np.zeros(judge.STATE_SIZE, dtype=np.int64)
        self._state[judge.L1_SINCE :] = -1
        tick = instrument.tick_size.as_integer_ratio()
        self._marks_per_tick = 1_000 * tick[1] / tick[0]
        self._rows = 0
        self.reason: Break | None = Break.UNSEEDED  # why it is not trusted, None where it is

    @property
    def is_trusted(self) -> bool:
        """Return whether it may be believed by what was handed over; `check` asks what the time says."""
        return bool(self._state[judge.OPEN])

    @property
    def update(self) -> int:
        """Return the number of the message that the book is the state after; meaningless while it is not trusted."""
        return int(self._state[judge.LAST_UPDATE])

    @property
    def top(self) -> tuple[int, int] | None:
        """Return the best bid and ask in ticks; None unless trusted and with two sides."""
        bid, ask = int(self._state[judge.BID]), int(self._state[judge.ASK])
        return (bid, ask) if self.is_trusted and bid and ask else None

    @property
    def book(self) -> OrderBook:
        """Return the book itself; what it says of its own trust is only a part of the whole."""
        return self._book

    def on_frames(
        self,
        frames: Sequence[BookFrame],
        arrivals: Sequence[int],
        quotes: Witness = SILENT,
        tickers: Witness = SILENT,
    ) -> tuple[BookBatch, list[BookBreak], list[Refused]]:
        """Return the book after each message, with a row wherever trust closes between two; why it closed; what was
        refused.

        Args:
            frames: the book's next messages.
            arrivals: the place of each among all frames of the instrument.
            quotes: what the level-1 book says among them.
            tickers: and what tickers say. All three are merged by their places.
        """
        count = len(frames)
        packed = pack_books(frames, arrivals) if frames else _NOTHING
        room = 2 * (count + quotes.rows + tickers.rows)
        told, is_open = np.empty((judge.REASON + 1, room), dtype=np.int64), np.empty(room, dtype=np.bool_)
        levels = np.empty((4, room, self._depth), dtype=np.int64)
        made, breaks, refused = -1, 0, 0
        while made < 0:
            made, breaks, refused = judge.follow(
                packed,
                count,
                *self._grids,
                self._levels,
                *self._book.lend(),
                quotes.rows,
                quotes.table,
                tickers.rows,
                tickers.table,
                self._limits,
                self._state,
                told,
                levels,
                is_open,
            )
            if made < 0:
                self._book.make_room(-made)
        found = self._breaks(told[:, :breaks]) if breaks else []
        if breaks or self.reason is not None:
            self.reason = None if self.is_trusted else found[-1].reason if found else self.reason
        wrong = np.flatnonzero(told[judge.REASON, :count]).tolist() if refused else ()
        return (
            self._batch(told[:, :made], levels[:, :made], is_open[:made]),
            found,
            [refuse(frames[at], REASONS[int(told[judge.REASON, at])]) for at in wrong],
        )

    def ticker_witness(self, tickers: TickerBatch, arrivals: Sequence[int]) -> Witness:
        """Return what tickers say, and the place of each among all frames."""
        return ticker_witness(tickers, arrivals, self._marks_per_tick)

    def check(self, now_ns: int) -> tuple[BookBatch, BookBreak] | None:
        """Close trust if the book has become too old, or others have disagreed with it for too long."""
        reason = judge.overdue(self._limits, self._state, now_ns)
        return self.close(Break(reason), now_ns) if reason else None

    def close(self, reason: Break, now_ns: int) -> tuple[BookBatch, BookBreak] | None:
        """Close trust until the next snapshot; return the row that says so, None where it was closed."""
        if not self.is_trusted:
            return None
        self._state[judge.OPEN] = 0
        self._state[judge.L1_SINCE :] = -1
        self.reason = reason
        times = np.array([[self._state[judge.LAST_TS]], [now_ns], [self.update]], dtype=np.int64)
        row = self._batch(times, np.zeros((4, 1, self._depth), dtype=np.int64), np.zeros(1, dtype=np.bool_))
        return row, BookBreak(reason=reason, known_ns=now_ns, update=self.update)

    def forget_sequence(self) -> None:
        """Take any number and time that comes next: from another connection, perhaps of another server."""
        self._state[judge.HAS_BEGUN] = 0

    def forget_quote(self) -> None:
        """Compare no more with the level-1 book that was told last: its topic is not trusted."""
        self._state[[judge.L1_BID, judge.L1_ASK]] = 0
        self._state[judge.L1_SINCE] = -1

    def forget_ticker(self) -> None:
        """Compare no more with the ticker that was told last: its topic is not trusted."""
        self._state[[judge.T_BID, judge.T_ASK, judge.MARK]] = 0
        self._state[[judge.T_SINCE, judge.MARK_SINCE]] = -1

    def _breaks(self, told: I64) -> list[BookBreak]:
        return [
            BookBreak(reason=Break(reason), known_ns=known_ns, update=update)
            for reason, known_ns, update in told[judge.BROKEN_WHY : judge.REASON].T.tolist()
        ]

    def _batch(self, times: I64, levels: I64, is_open: NDArray[np.bool_]) -> BookBatch:
        first_row, self._rows = self._rows, self._rows + len(is_open)
        return BookBatch(
            instrument=self._instrument,
            first_row=first_row,
            ts_ns=times[0],
            known_ns=times[1],
            update=times[2],
            bid_ticks=levels[0],
            bid_steps=levels[1],
            ask_ticks=levels[2],
            ask_steps=levels[3],
            is_trusted=is_open,
        )


_NOTHING = np.frombuffer(b"", dtype=np.uint8)
