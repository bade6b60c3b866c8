"""Law 1: however the input is cut into batches, the joined output is bit-for-bit the same, on every stage.

And Law 3 on the same stages: change the future, and what was known before does not change.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.actors.inbox import Inbox, Stop
from bot.actors.inference import Inference
from bot.core.bars import BarAggregator
from bot.core.delays import Delay
from bot.core.digest import ColumnDigest
from bot.core.equity import ProfitCurve
from bot.core.rolling import RollingSum
from bot.domain.errors import DataError
from bot.domain.market import (
    EMPTY,
    NO_FLOW,
    PARTIAL,
    BarBatch,
    Columns,
    ForecastBatch,
    MarketSlab,
    TradeBatch,
    column_names,
    is_same,
)
from bot.store import market_history
from bot.store.market_history import ParquetHistory
from models.systems.ewma_vol import EwmaVol, EwmaVolParams
from strategies.sma_cross import SmaCross, SmaCrossParams
from tests.support.bars_reference import ReferenceBar, ReferenceTrade
from tests.support.batches import INSTRUMENT, bars_of, cut, join, join_bars, trades_of

BASE = 10  # ns: tiny base bars, so that every boundary is hit often
SCALES = (BASE, 3 * BASE, 6 * BASE)
FOREVER = 2**61
I64S = NDArray[np.int64]

places = st.lists(st.integers(0, 70), max_size=6)


def assert_same(left: Columns, right: Columns) -> None:
    """Fail with the name of the first column that differs."""
    for name in column_names(type(left)):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert is_same(left, right)


def assert_same_bars(left: dict[int, BarBatch], right: dict[int, BarBatch]) -> None:
    assert set(left) == set(right)
    for scale_ns in left:
        assert_same(left[scale_ns], right[scale_ns])


# --- bars -------------------------------------------------------------------------------------------------------------


arrivals = st.tuples(
    st.sampled_from([0, 0, 1, 3, 9, 10, 11, 35, 170]),  # how long after the newest so far
    st.sampled_from([0, 0, 0, 0, 1, 5, 10, 30]),  # and how much before it
    st.integers(90, 110),
    st.integers(1, 5),
    st.booleans(),
)


@st.composite
def trades(draw: st.DrawFn, rows_max: int = 60) -> TradeBatch:
    """Return trades with quiet stretches, equal times, and disorder within and beyond the lateness."""
    now = draw(st.integers(100, 200))
    rows = []
    for step, late, price, qty, is_buy in draw(st.lists(arrivals, min_size=1, max_size=rows_max)):
        now += step
        rows.append(ReferenceTrade(ts_ns=now - late, price=price, qty=qty, is_buy=is_buy))
    return trades_of(rows)


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
@settings(max_examples=100, deadline=None)
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
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=80, deadline=None)
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
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=80, deadline=None)
@example(batch=trades_at(100, 301), gap_max_ns=150, watermark_ns=300)  # the first trade is late: it opens nothing
def test_a_hole_before_the_first_trade_in_time_is_none_however_it_is_cut(
    batch: TradeBatch, gap_max_ns: int, watermark_ns: int
) -> None:
    """Trades that a watermark has shut out fill no bars and leave no hole, alone or beside those in time."""
    limits = {"lateness_ns": 5, "gap_max_ns": gap_max_ns, "watermark_ns": watermark_ns}
    whole = outcome(fold_trades, [batch], **limits)
    assert outcome(fold_trades, cut(batch, range(1, len(batch))), **limits) is whole


@given(batch=source_bars(), places=places, gap_max_ns=st.sampled_from([5, 10, 19, 20, 129, 130]))
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=60, deadline=None)
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


# --- rolling sums and a strategy's columns ----------------------------------------------------------------------------


def split(column: I64S, edges: Sequence[int]) -> list[I64S]:
    return np.split(column, sorted(edges))


@given(
    values=st.lists(st.integers(-(2**40), 2**40), max_size=70),
    window=st.integers(1, 80),
    places=places,
)
@settings(max_examples=200, deadline=None)
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


def closes_of(closes: Sequence[int]) -> BarBatch:
    rows = [
        ReferenceBar(open_ns=n * BASE, open=close, high=close, low=close, close=close) for n, close in enumerate(closes)
    ]
    return bars_of(rows, scale_ns=BASE)


def sma(fast: int, slow: int, threshold: Decimal) -> SmaCross:
    strategy = SmaCross(SmaCrossParams(fast=fast, slow=slow, threshold=threshold))
    strategy.on_start()
    return strategy


def columns_of(strategy: SmaCross, parts: Sequence[BarBatch]) -> dict[str, NDArray[Any]]:
    made = [strategy.columns(part) for part in parts]
    return {name: np.concatenate([columns[name] for columns in made]) for name in ("up", "down")}


closes = st.lists(st.integers(1, 40), max_size=70)
thresholds = st.sampled_from([Decimal(0), Decimal("0.0001"), Decimal("0.1"), Decimal("0.25"), Decimal("0.333333")])


@given(closes=closes, fast=st.integers(1, 7), more=st.integers(1, 9), threshold=thresholds, places=places)
@settings(max_examples=120, deadline=None)
def test_a_strategys_columns_do_not_depend_on_the_cut(
    closes: list[int], fast: int, more: int, threshold: Decimal, places: list[int]
) -> None:
    """Each bar says exactly what the fractions say of the averages' distance, with nothing rounded."""
    slow = fast + more
    batch = closes_of(closes)
    distances = [
        (Fraction(sum(closes[end - fast : end]), fast) - Fraction(sum(closes[end - slow : end]), slow))
        * Fraction(INSTRUMENT.tick_size)
        if end >= slow
        else Fraction(0)
        for end in range(1, len(closes) + 1)
    ]
    for edges in ([], places, range(1, len(closes))):
        columns = columns_of(sma(fast, slow, threshold), cut(batch, edges))
        assert columns["up"].tolist() == [distance > Fraction(threshold) for distance in distances]
        assert columns["down"].tolist() == [-distance > Fraction(threshold) for distance in distances]
        assert {column.dtype for column in columns.values()} == {np.dtype(np.bool_)}


def test_a_strategys_columns_of_two_instruments_do_not_mix() -> None:
    """What is carried over from batch to batch belongs to one instrument."""
    generator = np.random.default_rng(5)
    one, two = (closes_of(generator.integers(1, 40, 60).tolist()) for _ in range(2))
    two = replace(two, instrument=msgspec.structs.replace(INSTRUMENT, name="YUSDT"))
    both = sma(2, 5, Decimal(0))
    mixed: dict[str, list[NDArray[Any]]] = {"XUSDT": [], "YUSDT": []}
    for left, right in zip(cut(one, [7, 20]), cut(two, [3, 31]), strict=True):
        mixed["XUSDT"].append(both.columns(left)["up"])
        mixed["YUSDT"].append(both.columns(right)["up"])
    for batch in (one, two):
        alone = sma(2, 5, Decimal(0)).columns(batch)["up"]
        assert np.concatenate(mixed[batch.instrument.name]).tolist() == alone.tolist()


@given(closes=closes, other=closes, keep=st.integers(0, 70))
@settings(max_examples=60, deadline=None)
def test_the_future_changes_no_column(closes: list[int], other: list[int], keep: int) -> None:
    """Bars after `keep` may say anything: the columns before it stay."""
    keep = min(keep, len(closes))
    changed = [*closes[:keep], *other]
    before, after = (columns_of(sma(3, 8, Decimal(0)), [closes_of(values)]) for values in (closes, changed))
    for name in ("up", "down"):
        assert before[name][:keep].tolist() == after[name][:keep].tolist()


# --- forecasts --------------------------------------------------------------------------------------------------------

SECOND = 1_000_000_000
FORECAST_SCALES = (SECOND, 3 * SECOND, 12 * SECOND)


def predictor(decision_scale_ns: int) -> EwmaVol:
    return EwmaVol(
        EwmaVolParams(
            decision_scale_ns=decision_scale_ns,
            scales_ns=FORECAST_SCALES,
            horizons_ns=(5 * SECOND, 60 * SECOND),
            levels=(0.05, 0.5, 0.95),
            volatility_half_life=4.0,
            trend_half_life=6.0,
            warm_up_bars=3,
        )
    )


def walk(seed: int, rows: int = 300, first_ns: int = 1_700_000_000 * SECOND) -> TradeBatch:
    """Return a random walk of trades, about one a third of a second, with quiet stretches and some disorder."""
    generator = np.random.default_rng(seed)
    steps_ns = generator.exponential(SECOND / 3, rows) * np.where(generator.random(rows) < 0.02, 30, 1)
    ts_ns = first_ns + np.cumsum(steps_ns).astype(np.int64) - (generator.random(rows) * SECOND / 4).astype(np.int64)
    return TradeBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=ts_ns,
        price_ticks=10_000 + np.cumsum(generator.integers(-9, 10, rows)),
        qty_steps=generator.integers(1, 9, rows),
        is_buy=generator.random(rows) < 0.5,
    )


def market_slabs(parts: Sequence[TradeBatch]) -> list[MarketSlab]:
    aggregator = BarAggregator(INSTRUMENT, scales_ns=FORECAST_SCALES, lateness_ns=SECOND // 4, gap_max_ns=FOREVER)
    return [aggregator.on_trades(part) for part in parts]


def forecasts_of(slabs: Sequence[MarketSlab], decision_scale_ns: int) -> ForecastBatch:
    model = predictor(decision_scale_ns)
    made = [forecasts for slab in slabs if (forecasts := model.predict(slab.bars)) is not None]
    return join(made)


wide_places = st.lists(st.integers(0, 300), max_size=12)


@given(seed=st.integers(0, 2**32), places=wide_places, decision_scale_ns=st.sampled_from(FORECAST_SCALES))
@settings(max_examples=40, deadline=None)
@example(seed=1, places=list(range(1, 300)), decision_scale_ns=SECOND)
@example(seed=2, places=list(range(1, 300)), decision_scale_ns=12 * SECOND)
def test_forecasts_do_not_depend_on_the_cut(seed: int, places: list[int], decision_scale_ns: int) -> None:
    """Bit for bit, whatever scales a message holds bars of: quantiles, importance, row numbers and times."""
    batch = walk(seed)
    whole = forecasts_of(market_slabs([batch]), decision_scale_ns)
    assert len(whole) > 3
    assert_same(forecasts_of(market_slabs(cut(batch, places)), decision_scale_ns), whole)


@pytest.mark.parametrize("decision_scale_ns", FORECAST_SCALES)
def test_forecasts_name_their_bar_and_are_known_with_it(decision_scale_ns: int) -> None:
    """Each forecast belongs to one decision bar, in order, from the first that can have one to the last."""
    slabs = market_slabs(cut(walk(7), [50, 51, 120]))
    bars = join_bars(slabs)[decision_scale_ns]
    forecasts = forecasts_of(slabs, decision_scale_ns)
    assert forecasts.first_row == 0
    assert forecasts.bar_row.tolist() == list(range(len(bars) - len(forecasts), len(bars)))
    assert forecasts.known_ns.tolist() == bars.known_ns[forecasts.bar_row].tolist()
    assert forecasts.close_ns.tolist() == bars.close_ns[forecasts.bar_row].tolist()
    assert (np.diff(forecasts.quantiles, axis=2) >= 0).all()
    np.testing.assert_allclose(forecasts.importance.sum(axis=1), 1.0, rtol=1e-12)


@given(seed=st.integers(0, 2**32), keep=st.integers(0, 300), decision_scale_ns=st.sampled_from(FORECAST_SCALES))
@settings(max_examples=30, deadline=None)
def test_the_future_changes_no_forecast_that_was_known(seed: int, keep: int, decision_scale_ns: int) -> None:
    """Trades after `keep` trade elsewhere: what was forecast by then stays, though one slab holds it all."""
    batch = walk(seed)
    prices = batch.price_ticks.copy()
    prices[keep:] = prices[keep:][::-1] * 3
    qtys = batch.qty_steps.copy()
    qtys[keep:] += 5
    changed = replace(batch, price_ticks=prices, qty_steps=qtys)
    # A bar that is known before the first changed trade came, the one that closes it included.
    now_ns = int(batch.ts_ns[: keep + 1].max())
    known = []
    for trades_ in (batch, changed):
        forecasts = forecasts_of(market_slabs([trades_]), decision_scale_ns)
        known.append(forecasts.rows(0, int((forecasts.known_ns <= now_ns).sum())))
    assert_same(known[0], known[1])


@pytest.mark.parametrize("decision_scale_ns", FORECAST_SCALES)
def test_a_forecast_has_seen_every_bar_that_is_known_with_it(decision_scale_ns: int) -> None:
    """Nothing from the future, but nothing held back either: the closing price of each scale's newest bar counts."""
    slabs = market_slabs([walk(3)])
    before = forecasts_of(slabs, decision_scale_ns)
    for scale_ns in FORECAST_SCALES:
        bars = slabs[0].bars[scale_ns]
        newest = int((bars.known_ns <= before.known_ns[-1]).sum()) - 1
        close_ticks = bars.close_ticks.copy()
        close_ticks[newest] *= 2
        changed = replace(slabs[0], bars={**slabs[0].bars, scale_ns: replace(bars, close_ticks=close_ticks)})
        after = forecasts_of([changed], decision_scale_ns)
        earlier = int((before.known_ns < bars.known_ns[newest]).sum())
        assert_same(after.rows(0, earlier), before.rows(0, earlier))
        assert (after.quantiles[earlier:, :, 0] != before.quantiles[earlier:, :, 0]).all()


def inferred(slabs: Sequence[MarketSlab], delay: Delay) -> ForecastBatch:
    """Return the forecasts as the inference actor hands them on."""
    got: list[MarketSlab] = []
    inbox: Inbox[Any] = Inbox("inference", bound=len(slabs) + 1)
    for message in [*slabs, Stop()]:
        inbox.deliver(message)
    asyncio.run(Inference(inbox=inbox, deliver=[got.append], predictor=predictor(SECOND), delay=delay).run())
    assert len(got) == len(slabs)
    return join([slab.forecasts for slab in got if slab.forecasts is not None])


@given(seed=st.integers(0, 2**32), places=wide_places, jitter_ns=st.sampled_from([0, SECOND // 2, 10 * SECOND]))
@settings(max_examples=20, deadline=None)
def test_when_a_forecast_is_known_does_not_depend_on_the_cut(seed: int, places: list[int], jitter_ns: int) -> None:
    """One worker answers in order: a forecast is known after its delay, and not before the one before it."""
    batch = walk(seed)
    delay = Delay(seed=seed, stream=3, base_ns=SECOND // 100, jitter_ns=jitter_ns)
    whole = inferred(market_slabs([batch]), delay)
    assert_same(inferred(market_slabs(cut(batch, places)), delay), whole)
    raw = forecasts_of(market_slabs([batch]), SECOND)
    newest = 0
    for row, known_ns, bar_row in zip(
        whole.known_ns.tolist(), raw.known_ns.tolist(), raw.bar_row.tolist(), strict=True
    ):
        newest = max(newest, known_ns + delay.of(bar_row))
        assert row == newest


# --- delays -----------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(-(2**70), 2**70),
    stream=st.integers(0, 2**40),
    base_ns=st.integers(0, 10**12),
    jitter_ns=st.integers(0, 10**15),
    rows=st.lists(st.integers(0, 2**62), max_size=50),
)
@settings(max_examples=150, deadline=None)
def test_delays_of_many_rows_are_those_of_each(
    seed: int, stream: int, base_ns: int, jitter_ns: int, rows: list[int]
) -> None:
    """The compiled loop and the plain function are one function, to the last ns."""
    delay = Delay(seed=seed, stream=stream, base_ns=base_ns, jitter_ns=jitter_ns)
    made = delay.of_rows(np.array(rows, dtype=np.int64))
    assert made.tolist() == [delay.of(row) for row in rows]
    assert made.dtype == np.int64


# --- digests ----------------------------------------------------------------------------------------------------------


@given(batch=trades(), places=places)
@settings(max_examples=60, deadline=None)
def test_digests_do_not_depend_on_the_cut(batch: TradeBatch, places: list[int]) -> None:
    """Views, copies, and rows that do not lie side by side in memory hash alike."""

    def digest(parts: Sequence[TradeBatch]) -> str:
        hashed = ColumnDigest("market")
        for part in parts:
            hashed.update({name: getattr(part, name) for name in column_names(TradeBatch)})
        return hashed.hexdigest()

    whole = digest([batch])
    assert digest(cut(batch, places)) == whole
    assert digest(cut(batch, range(1, len(batch)))) == whole
    scattered: dict[str, Any] = {name: np.repeat(getattr(batch, name), 2)[::2] for name in column_names(TradeBatch)}
    assert digest([replace(batch, **scattered)]) == whole


# --- the profit curve -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A fill, or with `qty` zero a funding settlement of `amount`."""

    ts_ns: int
    qty: Decimal
    price: Decimal
    amount: Decimal  # a fill's fee, or the funding


def tell(curve: ProfitCurve, change: Change) -> None:
    if change.qty:
        curve.trade(change.ts_ns, change.qty, change.price, change.amount)
    else:
        curve.receive(change.ts_ns, change.amount)


def exact_profit(changes: Sequence[Change], close_ns: int, price: Decimal) -> tuple[Decimal, Decimal]:
    """Return position and profit at a close: of all that happened before it, one by one."""
    qty = profit = Decimal(0)
    for change in changes:
        if change.ts_ns < close_ns:
            qty += change.qty
            profit += -change.qty * change.price - change.amount if change.qty else change.amount
    return qty, profit + qty * price


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """Return fills and funding in order of time, many of them at bar closes."""
    now = 0
    made = []
    for _ in range(draw(st.integers(0, 25))):
        now += draw(st.sampled_from([0, 0, 1, 5, 9, 10, 20, 45]))
        qty = Decimal(draw(st.integers(-2_000, 2_000))) / 1_000
        price = Decimal(draw(st.integers(1, 10**7))) / 10
        made.append(Change(now, qty, price, Decimal(draw(st.integers(-(10**6), 10**6))) / 10**4))
    return made


@given(changes=changes(), ticks=st.lists(st.integers(1, 10**7), min_size=1, max_size=40), places=places, data=st.data())
@settings(max_examples=120, deadline=None)
def test_profit_at_bar_closes_does_not_depend_on_the_cut(
    changes: list[Change], ticks: list[int], places: list[int], data: st.DataObject
) -> None:
    """Read at all closes at once or in pieces, fills told just in time or ahead of it: the same, and right."""
    close_ns = np.arange(1, len(ticks) + 1) * BASE
    close_ticks = np.array(ticks, dtype=np.int64)
    whole = ProfitCurve(INSTRUMENT)
    for change in changes:
        tell(whole, change)
    qty, profit = whole.at(close_ns, close_ticks)

    pieces = ProfitCurve(INSTRUMENT)
    waiting = list(changes)
    parts = []
    for closes_part, ticks_part in zip(split(close_ns, places), split(close_ticks, places), strict=True):
        ahead_ns = data.draw(st.sampled_from([-1, 0, 13]), label="ahead")
        last_ns = int(closes_part[-1]) if len(closes_part) else 0
        while waiting and waiting[0].ts_ns <= last_ns + ahead_ns:
            tell(pieces, waiting.pop(0))
        parts.append(pieces.at(closes_part, ticks_part))
    assert np.concatenate([part[0] for part in parts]).tobytes() == qty.tobytes()
    assert np.concatenate([part[1] for part in parts]).tobytes() == profit.tobytes()

    scale = max([abs(float(change.qty * change.price)) + abs(float(change.amount)) for change in changes], default=1.0)
    for row, (close, tick) in enumerate(zip(close_ns.tolist(), ticks, strict=True)):
        want_qty, want_profit = exact_profit(changes, close, INSTRUMENT.price(tick))
        assert qty[row] == float(want_qty)
        size = scale + abs(float(want_qty)) * tick
        assert abs(profit[row] - float(want_profit)) <= 1e-12 * size * (len(changes) + 1)


# --- files ------------------------------------------------------------------------------------------------------------

FILE_ROWS = 400


@pytest.fixture(scope="module")
def history_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a file of trades and one of bars, in uneven row groups."""
    directory = tmp_path_factory.mktemp("history")
    generator = np.random.default_rng(11)
    ts = 1_700_000_040_000 + np.cumsum(generator.integers(0, 3, FILE_ROWS))
    ticks = generator.integers(90, 110, FILE_ROWS)
    trades_table = {
        "ts": ts,
        "price": ticks / 10,
        "size": generator.integers(1, 9, FILE_ROWS) / 1_000,
        "side": generator.integers(0, 2, FILE_ROWS).astype(np.int8),
    }
    bars_table = {
        "ts": 1_700_000_040_000 + 60_000 * np.cumsum(generator.integers(1, 3, FILE_ROWS)),
        "open": ticks / 10,
        "high": (ticks + 3) / 10,
        "low": (ticks - 2) / 10,
        "close": (ticks + 1) / 10,
        "volume": generator.integers(0, 9, FILE_ROWS) / 1_000,
    }
    files = {"trades": directory / "trades.parquet", "bars": directory / "bars.parquet"}
    pq.write_table(pa.table(trades_table), files["trades"], row_group_size=37)
    pq.write_table(pa.table(bars_table), files["bars"], row_group_size=101)
    return files


def read_all(path: Path, kind: Any, rows: int, **limits: Any) -> list[Any]:
    scale_ns = 60 * SECOND if kind == "bars" else None
    return list(ParquetHistory(INSTRUMENT, path, kind=kind, scale_ns=scale_ns, **limits).slabs(rows))


@pytest.fixture
def small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file decoded a few rows at a time, so that these tests cross many reads."""
    monkeypatch.setattr(market_history, "_READ_ROWS", 29)


@pytest.mark.usefixtures("small_reads")
@pytest.mark.parametrize("kind", ["trades", "bars"])
@pytest.mark.parametrize("rows", [1, 28, 29, 37, 64, 400, 100_000])
@pytest.mark.parametrize("ends", [(0, FILE_ROWS), (5, 395), (37, 74), (200, 205), (0, 36), (363, FILE_ROWS)])
def test_slabs_of_a_file_do_not_depend_on_their_size(
    history_files: dict[str, Path], kind: str, rows: int, ends: tuple[int, int]
) -> None:
    """No slab is larger than asked for or empty, and joined they are the rows of the range, numbered from 0."""
    path = history_files[kind]
    ts = pq.read_table(path)["ts"].to_numpy()
    limits = {
        "from_ns": int(ts[ends[0]]) * 1_000_000,
        "to_ns": int(ts[ends[1]]) * 1_000_000 if ends[1] < FILE_ROWS else None,
    }
    slabs = read_all(path, kind, rows, **limits)
    assert all(0 < len(slab) <= rows for slab in slabs)
    whole = join(read_all(path, kind, 10**9, **limits))
    assert_same(join(slabs), whole)
    assert whole.first_row == 0
    times = whole.ts_ns if kind == "trades" else whole.open_ns
    inside = (ts >= ts[ends[0]]) & (ts < (ts[ends[1]] if ends[1] < FILE_ROWS else np.inf))
    assert (times // 1_000_000).tolist() == ts[inside].tolist()


def test_slabs_do_not_depend_on_how_many_rows_are_decoded_at_a_time(
    history_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of a read is nobody's business."""
    for kind, path in history_files.items():
        whole = join(read_all(path, kind, 10**9))
        for read_rows in (1, 7, 36, 37, 38, 1_000):
            monkeypatch.setattr(market_history, "_READ_ROWS", read_rows)
            assert_same(join(read_all(path, kind, 10**9)), whole)
        monkeypatch.undo()
