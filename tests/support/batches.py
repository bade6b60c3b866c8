"""Batches for tests: from plain rows, cut anywhere, joined again."""

import itertools
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeVar

import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, EventBarBatch, ForecastBatch, MarketSlab, TradeBatch
from tests.support.bars_reference import ReferenceBar, ReferenceTrade

INSTRUMENT = Instrument(
    name="XUSDT",
    base="X",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1000),
)

B = TypeVar("B", TradeBatch, BarBatch)
C = TypeVar("C", TradeBatch, BarBatch, EventBarBatch, ForecastBatch)


def trades_of(rows: Sequence[ReferenceTrade], *, first_row: int = 0) -> TradeBatch:
    """Return trades as a batch."""
    return TradeBatch(
        instrument=INSTRUMENT,
        first_row=first_row,
        ts_ns=np.array([row.ts_ns for row in rows], dtype=np.int64),
        price_ticks=np.array([row.price for row in rows], dtype=np.int64),
        qty_steps=np.array([row.qty for row in rows], dtype=np.int64),
        is_buy=np.array([row.is_buy for row in rows], dtype=np.bool_),
    )


def bars_of(rows: Sequence[ReferenceBar], *, scale_ns: int, lateness_ns: int = 0, first_row: int = 0) -> BarBatch:
    """Return bars as a batch."""

    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([getattr(row, name) for row in rows], dtype=np.int64)

    return BarBatch(
        instrument=INSTRUMENT,
        scale_ns=scale_ns,
        first_row=first_row,
        open_ns=column("open_ns"),
        known_ns=column("open_ns") + scale_ns + lateness_ns,
        open_ticks=column("open"),
        high_ticks=column("high"),
        low_ticks=column("low"),
        close_ticks=column("close"),
        volume_steps=column("volume"),
        turnover=column("turnover"),
        count=column("count"),
        buy_steps=column("buy"),
        flags=column("flags").astype(np.uint8),
    )


def cut(batch: B, places: Iterable[int]) -> list[B]:
    """Return `batch` in pieces, cut before each of these rows; a place named twice gives a piece without rows."""
    edges = [0, *sorted(min(place, len(batch)) for place in places), len(batch)]
    return [batch.rows(start, stop) for start, stop in itertools.pairwise(edges)]


def join(parts: Sequence[C]) -> C:
    """Return the parts of one stream as one; they must follow one another without a hole in their row numbers."""
    for earlier, later in itertools.pairwise(parts):
        assert later.first_row == earlier.first_row + len(earlier), "row numbers leave a hole or overlap"
    return type(parts[0]).join(parts)


def join_bars(slabs: Iterable[MarketSlab]) -> dict[int, BarBatch]:
    """Return the bars of all slabs by scale."""
    parts: dict[int, list[BarBatch]] = {}
    for slab in slabs:
        for scale_ns, bars in slab.bars.items():
            parts.setdefault(scale_ns, []).append(bars)
    return {scale_ns: join(bars) for scale_ns, bars in parts.items()}
