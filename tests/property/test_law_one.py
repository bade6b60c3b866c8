"""Law 1: however the input is cut into batches, the joined output is bit-for-bit the same, on every stage.

And Law 3 on the same stages: change the future, and what was known before does not change.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.core.bars import BarAggregator
from bot.core.rolling import RollingSum
from bot.domain.errors import DataError
from bot.domain.market import (
    EMPTY,
    NO_FLOW,
    PARTIAL,
    BarBatch,
    MarketSlab,
    TradeBatch,
)
from tests.support.bars_reference import ReferenceBar, ReferenceTrade
from tests.support.batches import INSTRUMENT, bars_of, cut, join_bars, trades_of
from tests.support.cuts import BASE, FOREVER, SCALES, assert_same, places, split, trades
from tests.support.examples import examples


def assert_same_bars(left: dict[int, BarBatch], right: dict[int, BarBatch]) -> None:
    assert set(left) == set(right)
    for scale_ns in left:
        assert_same(left[scale_ns], right[scale_ns])


told = st.tuples(
    st.sampled_from([1, 1, 1, 1, 2, 3, 14]),  # intervals since the one before
    st.integers(50, 60),
    st.integers(0, 9),
    st.integers(1, 9),
    st.sampled_from([0, 0, NO_FLOW, PARTIAL, EMPTY]),
)


@st.composite
def source_bars(draw: st.DrawFn) -> BarBatch:
    """Return a source's bars, with holes and flags."""
    open_ns = BASE * draw(st.integers(10, 20))
    rows = []
    for steps, low, height, volume, flags in draw(st.lists(told, min_size=1, max_size=60)):
        open_ns += BASE * steps
        volume, height = (0, 0) if flags & EMPTY else (volume, height)
        rows.append(
            ReferenceBar(
                open_ns=open_ns, open=low, high=low + height, low=low, close=low + height, volume=volume, flags=flags
            )
        )
    return bars_of(rows, scale_ns=BASE)


def fold_trades(
    parts: Sequence[TradeBatch], *, lateness_ns: int, gap_max_ns: int = FOREVER, watermark_ns: int = 0
) -> list[MarketSlab]:
    """Return the slabs of `parts`; a watermark other than 0 comes before them all."""
    aggregator = BarAggregator(INSTRUMENT, scales_ns=SCALES, lateness_ns=lateness_ns, gap_max_ns=gap_max_ns)
    if watermark_ns:
        assert not aggregator.on_watermark(watermark_ns).bars
    slabs = [aggregator.on_trades(part) for part in parts]
    assert aggregator.late_count == sum(slab.late_trades for slab in slabs)
    return slabs


def fold_bars(parts: Sequence[BarBatch], *, gap_max_ns: int = FOREVER) -> list[MarketSlab]:
    aggregator = BarAggregator(INSTRUMENT, scales_ns=SCALES, lateness_ns=3, gap_max_ns=gap_max_ns, source_scale_ns=BASE)
    return [aggregator.on_bars(part) for part in parts]


latenesses = st.sampled_from([0, 1, 5, 9, 10, 11, 25, 40])


first_watermarks = st.sampled_from([0, 0, 0, 105, 150, 200, 240])


@given(batch=trades(), places=places, lateness_ns=latenesses, watermark_ns=first_watermarks)
@settings(max_examples=examples(100), deadline=None)
def test_bars_of_trades_do_not_depend_on_the_cut(
    batch: TradeBatch, places: list[int], lateness_ns: int, watermark_ns: int
) -> None:
    """In one piece, one row at a time as live, and cut anywhere, also into empty pieces."""
    whole = fold_trades([batch], lateness_ns=lateness_ns, watermark_ns=watermark_ns)
    for edges in (places, range(1, len(batch))):
        slabs = fold_trades(cut(batch, edges), lateness_ns=lateness_ns, watermark_ns=watermark_ns)
        assert_same_bars(join_bars(slabs), join_bars(whole))
        assert sum(slab.late_trades for slab in slabs) == whole[0].late_trades
        assert slabs[-1].watermark_ns == whole[0].watermark_ns


@given(batch=trades(), lateness_ns=latenesses, data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_a_watermark_that_says_nothing_new_changes_no_bar(
    batch: TradeBatch, lateness_ns: int, data: st.DataObject
) -> None:
    """Between any two trades, the newest time so far may be said aloud, or an older one."""
    aggregator = BarAggregator(INSTRUMENT, scales_ns=SCALES, lateness_ns=lateness_ns, gap_max_ns=FOREVER)
    slabs = []
    for part in cut(batch, range(1, len(batch))):
        slabs.append(aggregator.on_trades(part))
        older_ns = data.draw(st.sampled_from([0, 0, 7, 100]), label="older")
        slabs.append(aggregator.on_watermark(slabs[-1].watermark_ns - older_ns))
    assert_same_bars(join_bars(slabs), join_bars(fold_trades([batch], lateness_ns=lateness_ns)))


@given(batch=trades(), places=places, lateness_ns=latenesses)
@settings(max_examples=examples(60), deadline=None)
def test_a_slab_keeps_the_promise_of_the_one_before(batch: TradeBatch, places: list[int], lateness_ns: int) -> None:
    """No bar of a later message is known before the watermark of an earlier one; one's own are known by its own."""
    slabs = fold_trades(cut(batch, places), lateness_ns=lateness_ns)
    promised_ns = 0
    for slab in slabs:
        for bars in slab.bars.values():
            assert (bars.known_ns >= promised_ns).all()
            assert (bars.known_ns <= slab.watermark_ns).all()
        assert slab.watermark_ns >= promised_ns
        promised_ns = slab.watermark_ns


@given(batch=source_bars(), places=places)
@settings(max_examples=examples(80), deadline=None)
def test_bars_of_bars_do_not_depend_on_the_cut(batch: BarBatch, places: list[int]) -> None:
    """Holes are filled the same whether they lie within a batch or between two."""
    whole = fold_bars([batch])
    for edges in (places, range(1, len(batch))):
        slabs = fold_bars(cut(batch, edges))
        assert_same_bars(join_bars(slabs), join_bars(whole))
        assert slabs[-1].watermark_ns == whole[0].watermark_ns


def outcome(fold: Callable[..., list[MarketSlab]], parts: Sequence[Any], **settings: int) -> type[Exception] | None:
    """Return what the folding raised."""
    try:
        fold(parts, **settings)
    except DataError as error:
        return type(error)
    return None


def trades_at(*ts_ns: int) -> TradeBatch:
    return trades_of([ReferenceTrade(ts_ns=ts, price=100, qty=1) for ts in ts_ns])


@given(
    batch=trades(rows_max=8),
    places=places,
    lateness_ns=latenesses,
    gap_max_ns=st.sampled_from([5, 9, 10, 11, 30, 35, 36, 165, 170]),
)
@settings(max_examples=examples(150), deadline=None)
@example(batch=trades_at(105, 209, 210), places=[2], lateness_ns=0, gap_max_ns=100)  # 104 ns, within 10 intervals
@example(batch=trades_at(100, 205, 300), places=[2], lateness_ns=40, gap_max_ns=100)  # few intervals have closed yet
@example(batch=trades_at(107, 112), places=[1], lateness_ns=0, gap_max_ns=5)  # less than an interval, and no hole
def test_whether_a_hole_in_trades_is_too_long_does_not_depend_on_the_cut(
    batch: TradeBatch, places: list[int], lateness_ns: int, gap_max_ns: int
) -> None:
    """A run that is refused is refused at any slab size: where the newest time so far moves on by more than allowed."""
    too_long = bool((np.diff(np.maximum.accumulate(batch.ts_ns)) > gap_max_ns).any())
    for edges in ([], places, range(1, len(batch))):
        want = DataError if too_long else None
        assert outcome(fold_trades, cut(batch, edges), lateness_ns=lateness_ns, gap_max_ns=gap_max_ns) is want


@given(batch=trades(rows_max=6), gap_max_ns=st.sampled_from([5, 30, 36, 170]), watermark_ns=first_watermarks)
@settings(max_examples=examples(80), deadline=None)
@example(batch=trades_at(100, 301), gap_max_ns=150, watermark_ns=300)  # the first trade is late: it opens nothing
def test_a_hole_before_the_first_trade_in_time_is_none_however_it_is_cut(
    batch: TradeBatch, gap_max_ns: int, watermark_ns: int
) -> None:
    """Trades that a watermark has shut out fill no bars and leave no hole, alone or beside those in time."""
    limits = {"lateness_ns": 5, "gap_max_ns": gap_max_ns, "watermark_ns": watermark_ns}
    whole = outcome(fold_trades, [batch], **limits)
    assert outcome(fold_trades, cut(batch, range(1, len(batch))), **limits) is whole


@given(batch=source_bars(), places=places, gap_max_ns=st.sampled_from([5, 10, 19, 20, 129, 130]))
@settings(max_examples=examples(60), deadline=None)
def test_whether_a_hole_in_bars_is_too_long_does_not_depend_on_the_cut(
    batch: BarBatch, places: list[int], gap_max_ns: int
) -> None:
    """And it is the length of the hole that decides: from the close before it to the open after."""
    too_long = bool((np.diff(batch.open_ns) - BASE > gap_max_ns).any())
    for edges in ([], places, range(1, len(batch))):
        want = DataError if too_long else None
        assert outcome(fold_bars, cut(batch, edges), gap_max_ns=gap_max_ns) is want


def test_whether_a_turnover_is_too_large_does_not_depend_on_the_cut() -> None:
    """The same day of trades is refused in slabs of ten rows and of one, or in neither."""
    row = ReferenceTrade(ts_ns=100, price=2**20, qty=2**38)  # 2**58 ticks x steps
    batch = trades_of([replace(row, ts_ns=100 + number * BASE) for number in range(10)])
    assert outcome(fold_trades, [batch], lateness_ns=0) is outcome(fold_trades, cut(batch, range(1, 10)), lateness_ns=0)


@given(batch=trades(), other=trades(), keep=st.integers(0, 70), lateness_ns=latenesses)
@settings(max_examples=examples(60), deadline=None)
def test_the_future_changes_no_bar_that_was_known(
    batch: TradeBatch, other: TradeBatch, keep: int, lateness_ns: int
) -> None:
    """Keep the first trades and replace all later ones: bars known by then stay, though one slab holds it all."""
    keep = min(keep, len(batch))
    past = batch.rows(0, keep)
    if not keep:
        return
    now_ns = int(past.ts_ns.max())
    later = replace(other, ts_ns=other.ts_ns - other.ts_ns.min() + now_ns, first_row=keep)
    both = [
        join_bars(fold_trades([TradeBatch.join(parts)], lateness_ns=lateness_ns)) for parts in ([batch], [past, later])
    ]
    for scale_ns in SCALES:
        known = [
            bars[scale_ns].rows(0, int((bars[scale_ns].known_ns <= now_ns).sum())) for bars in both if scale_ns in bars
        ]
        if len(known) == 2:
            assert_same(known[0], known[1])
        else:
            assert not sum(len(bars) for bars in known)


@given(
    values=st.lists(st.integers(-(2**40), 2**40), max_size=70),
    window=st.integers(1, 80),
    places=places,
)
@settings(max_examples=examples(200), deadline=None)
def test_rolling_sums_do_not_depend_on_the_cut(values: list[int], window: int, places: list[int]) -> None:
    """Every sum is that of the last `window` values, and as many as lack them are said to, once each."""
    column = np.array(values, dtype=np.int64)
    full = [sum(values[end - window : end]) if end >= window else 0 for end in range(1, len(values) + 1)]
    for edges in ([], places, range(1, len(values))):
        rolling = RollingSum(window)
        sums, shorts = zip(*(rolling.update(part) for part in split(column, edges)), strict=True)
        assert np.concatenate(sums).tolist() == full
        assert sum(shorts) == min(len(values), window - 1)
        assert all(part.dtype == np.int64 for part in sums)
