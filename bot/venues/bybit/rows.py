"""Columns of what a market stream tells besides trades and books: best quotes; mark and index price and funding."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bot.domain.instrument import Instrument
from bot.domain.market import I64, BookBatch, Columns


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuoteBatch(Columns):
    """The best bid and ask of one instrument, a row each time they were told; 0 where not known."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("ts_ns", "known_ns", "bid_ticks", "bid_steps", "ask_ticks", "ask_steps")

    instrument: Instrument
    first_row: int
    ts_ns: I64
    known_ns: I64
    bid_ticks: I64
    bid_steps: I64
    ask_ticks: I64
    ask_steps: I64

    def __len__(self) -> int:
        return len(self.ts_ns)


def quotes_of(books: BookBatch) -> QuoteBatch:
    """Return the best level of every book."""
    return QuoteBatch(
        instrument=books.instrument,
        first_row=books.first_row,
        ts_ns=books.ts_ns,
        known_ns=books.known_ns,
        bid_ticks=books.bid_ticks[:, 0],
        bid_steps=books.bid_steps[:, 0],
        ask_ticks=books.ask_ticks[:, 0],
        ask_steps=books.ask_steps[:, 0],
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TickerBatch(Columns):
    """What the venue says of one instrument as a whole, merged: each row holds all that is known by it.

    A price or a quantity that is not told is 0. Mark and index price lie on no grid; they are
    `mantissa * 10**price_exponent`, fine enough for four decimals of a tick.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "ts_ns",
        "known_ns",
        "last_ticks",
        "bid_ticks",
        "bid_steps",
        "ask_ticks",
        "ask_steps",
        "mark",
        "index",
        "open_interest_steps",
        "has_funding",
        "funding_rate_e8",
        "next_funding_ns",
        "funding_interval_ns",
    )

    instrument: Instrument
    first_row: int
    price_exponent: int  # of mark and index
    ts_ns: I64
    known_ns: I64
    last_ticks: I64
    bid_ticks: I64
    bid_steps: I64
    ask_ticks: I64
    ask_steps: I64
    mark: I64
    index: I64
    open_interest_steps: I64  # the nearest
    has_funding: NDArray[np.bool_]  # the next three are told
    funding_rate_e8: I64  # of the next settlement, as the venue now expects it; a positive one is paid by longs
    next_funding_ns: I64
    funding_interval_ns: I64  # 0 where not told; it may change at any time

    def marks(self) -> NDArray[np.float64]:
        """Return mark prices as float64, 0 where not told."""
        scaled: NDArray[np.float64] = self.mark.astype(np.float64) / 10.0**-self.price_exponent
        return scaled

    def __len__(self) -> int:
        return len(self.ts_ns)
