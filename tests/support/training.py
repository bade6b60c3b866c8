"""Bars, features and labels for the tests of what models are trained on."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bot.core.bars import BarAggregator
from bot.domain.instrument import Instrument
from bot.domain.market import GAP, NO_FLOW, BarBatch, FeatureBatch
from bot.store.market_history import ParquetHistory
from models.training.labels import Labels
from tests.support.batches import INSTRUMENT
from tests.support.shared_data import shared_file

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 1_700_006_400 * SECOND  # a midnight, UTC
FOREVER = 2**61


def instrument(name: str, tick_size: str = "0.1") -> Instrument:
    """Return an instrument with this name and price grid."""
    return Instrument(
        name=name,
        base=name[:3],
        quote=name[3:],
        tick_size=Decimal(tick_size),
        qty_step=Decimal("0.00000001"),
        qty_min=Decimal("0.001"),
        qty_max=Decimal(1000),
    )


def make_bars(
    closes: ArrayLike,
    *,
    scale_ns: int = MINUTE,
    rows: Sequence[int] | None = None,
    opens: ArrayLike | None = None,
    highs: ArrayLike | None = None,
    lows: ArrayLike | None = None,
    gaps: Sequence[int] = (),
    lateness_ns: int = 0,
    start_ns: int = START,
    of: Instrument = INSTRUMENT,
) -> BarBatch:
    """Return bars with these closes in ticks: each opens at the close before, in the `rows`-th intervals of `scale_ns`.

    `gaps` are the positions of bars that are marked GAP.
    """
    close = np.asarray(closes, dtype=np.int64)
    open_ = np.concatenate([close[:1], close[:-1]]) if opens is None else np.asarray(opens, dtype=np.int64)
    open_ns = start_ns + scale_ns * np.asarray(range(len(close)) if rows is None else rows, dtype=np.int64)
    nothing = np.zeros(len(close), dtype=np.int64)
    flags = np.full(len(close), NO_FLOW, dtype=np.uint8)
    flags[list(gaps)] |= GAP
    return BarBatch(
        instrument=of,
        scale_ns=scale_ns,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + scale_ns + lateness_ns,
        open_ticks=open_,
        high_ticks=np.maximum(open_, close) if highs is None else np.asarray(highs, dtype=np.int64),
        low_ticks=np.minimum(open_, close) if lows is None else np.asarray(lows, dtype=np.int64),
        close_ticks=close,
        volume_steps=nothing,
        turnover=nothing,
        count=nothing,
        buy_steps=nothing,
        flags=flags,
    )


def random_walk(
    rows: int, *, seed: int, scale_ns: int = MINUTE, of: Instrument = INSTRUMENT, lateness_ns: int = 0
) -> BarBatch:
    """Return bars of a random walk with 0.1 % a bar."""
    steps = np.random.default_rng(seed).normal(0, 1e-3, rows)
    closes = np.rint(1_000_000 * np.exp(np.cumsum(steps))).astype(np.int64)
    return make_bars(closes, scale_ns=scale_ns, of=of, lateness_ns=lateness_ns)


def fold(bars: BarBatch, *scales_ns: int) -> dict[int, BarBatch]:
    """Return the coarser bars that these make, by scale; missing ones are filled in and marked."""
    lateness_ns = int(bars.known_ns[0] - bars.close_ns[0])
    aggregator = BarAggregator(
        bars.instrument,
        scales_ns=scales_ns,
        lateness_ns=lateness_ns,
        gap_max_ns=FOREVER,
        source_scale_ns=bars.scale_ns,
    )
    return dict(aggregator.on_bars(bars).bars)


def features_of(bars: BarBatch, scale: str, columns: Sequence[ArrayLike] | None = None) -> FeatureBatch:
    """Return features of these bars: the given columns, or the log return of each bar (the first is NaN)."""
    if columns is None:
        columns = [np.diff(np.log(bars.close_ticks), prepend=np.nan)]
    values: NDArray[np.float64] = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    return FeatureBatch(
        instrument=bars.instrument,
        first_row=0,
        scale=scale,
        schema_hash=f"of tests, {len(columns)}",
        close_ns=bars.close_ns,
        known_ns=bars.known_ns,
        values=values,
    )


def make_labels(bars: BarBatch, values: ArrayLike, *, horizon_ns: int) -> Labels:
    """Return one column of these values as labels of decisions at every bar."""
    return Labels(
        instrument=bars.instrument,
        names=("made_up",),
        bar_row=np.arange(len(bars)),
        close_ns=bars.close_ns,
        known_ns=bars.known_ns,
        values=np.asarray(values, dtype=np.float64)[:, None],
        label_end_ns=(bars.known_ns + horizon_ns)[:, None],
    )


def real_bars(name: str, file: str, *, scale_ns: int, tick_size: str) -> BarBatch:
    """Return bars of a shared file as the file has them, holes included; skip the test where it is absent."""
    history = ParquetHistory(
        instrument(name, tick_size),
        shared_file(f"data/{file}"),
        kind="bars",
        scale_ns=scale_ns,
        off_grid="round",
    )
    return BarBatch.join(list(history.slabs(1 << 20)))
