"""Markets for the laws of features: drawn bars, an engine of small windows, and comparison to the bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.core.bars import BarAggregator
from bot.core.durations import parse_duration
from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.market import (
    EMPTY,
    GAP,
    NO_FLOW,
    BarBatch,
    FeatureBatch,
    FundingBatch,
    is_same,
)
from tests.support.feature_markets import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    Joined,
    instrument,
    made_bars,
    made_book,
    without,
)

OURS, OTHER = instrument("XUSDT"), instrument("YUSDT")
F64 = NDArray[np.float64]

# Every feature with windows so small that a market of thirty bars warms them; decompositions of windows as small as
# they come.
SMALL = (
    "log_return",
    "open_return",
    "high_return",
    "low_return",
    "price",
    "high_low_ratio",
    "close_position",
    "ma_ratio(3)",
    "ema_ratio(2)",
    "macd(1, 2)",
    "macd_signal(1, 2, 2)",
    "rsi(3)",
    "rsi_wilder(2)",
    "bollinger('upper', 3)",
    "tick_rule(3)",
    "volatility(3)",
    "ewma_volatility(0.3)",
    "parkinson_volatility(2)",
    "garman_klass_volatility(3)",
    "rogers_satchell_volatility(3)",
    "realised_volatility(2)",
    "atr(2)",
    "spread_proxy",
    "log_volume",
    "dollar_volume",
    "volume_change(2)",
    "relative_volume(2)",
    "volume_ma_ratio(2, 4)",
    "vwap(2)",
    "vwap_distance(3)",
    "orderflow_imbalance(2)",
    "trade_intensity(2)",
    "trade_size(3)",
    "empty_share(3)",
    "gap_share(3)",
    "time_of_day",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "funding_clock",
    "funding_rate",
    "mark_basis",
    "reference_return(2)",
    "relative_return(2)",
    "reference_beta(3)",
    "reference_correlation(4)",
    "reference_spread(3)",
    "book('book_mid')",
    "book('book_spread_mean_bps')",
    "book('book_ofi_5')",
    "book('book_updates')",
    "book('book_age')",
    "book('book_coverage')",
    "wavelet_detail(1)",
    "wavelet_trend(1)",
)
DECOMPOSED = ("wavelet_component(1, 1, 6, 'db1')", "vmd_mode(1, 2, 16)")
SCALES = ("1m", "3m")
SETTLED_NS = 7 * MINUTE  # apart: often within a market of minutes
SCHEMA = FeatureSchema(SMALL, SCALES, funding_interval_ns=SETTLED_NS)


def assert_same(left: FeatureBatch, right: FeatureBatch) -> None:
    """Fail with the column and the row in which two batches differ."""
    if not is_same(left, right):
        np.testing.assert_array_equal(left.close_ns, right.close_ns)
        rows, columns = np.nonzero(left.values.view(np.int64) != right.values.view(np.int64))
        pytest.fail(
            f"{len(rows)} values differ, the first in row {rows[0]} of column {columns[0]}: "
            f"{left.values[rows[0], columns[0]]!r} and {right.values[rows[0], columns[0]]!r}"
            if len(rows)
            else "they differ in what describes them"
        )


def assert_all_same(left: dict[str, FeatureBatch], right: dict[str, FeatureBatch]) -> None:
    assert set(left) == set(right)
    for scale in left:
        assert_same(left[scale], right[scale])


def fold(bars: BarBatch, *scales: str) -> list[BarBatch]:
    """Return the bars of these scales that a source's bars make, its holes filled."""
    lengths = [parse_duration(scale) for scale in scales]
    lateness_ns = int(bars.known_ns[0] - bars.close_ns[0]) if len(bars) else 0
    aggregator = BarAggregator(
        bars.instrument,
        scales_ns=lengths,
        lateness_ns=lateness_ns,
        gap_max_ns=HOUR,
        source_scale_ns=bars.scale_ns,
    )
    made = aggregator.on_bars(bars).bars
    return [made[length] for length in lengths if length in made]


kinds = st.sampled_from(["lively", "lively", "lively", "flat", "jump", "quiet", "silent", "blind", "gap"])
rows_of_bars = st.tuples(kinds, st.integers(-30, 30), st.integers(0, 20), st.integers(1, 900), st.integers(0, 9))


@st.composite
def bars_1m(draw: st.DrawFn, of: Any = OURS) -> BarBatch:
    """Return minute bars, some of them flat, quiet, without flow, or missing at the source."""
    told = draw(st.lists(rows_of_bars, min_size=1, max_size=45))
    columns: dict[str, list[int]] = {name: [] for name in BarBatch.COLUMNS}
    last = 1_000
    lateness_ns = draw(st.sampled_from([0, SECOND]))
    open_ns = START + MINUTE * draw(st.integers(0, 2))
    for kind, change, height, volume, share in told:
        flags = {"quiet": EMPTY, "gap": EMPTY | GAP, "blind": NO_FLOW}.get(kind, 0)
        still = kind in ("flat", "quiet", "gap")
        close = last if still else max(1, last * 3 if kind == "jump" and last < 10**6 else last + change)
        height = 0 if still else height
        traded = 0 if kind in ("quiet", "gap", "silent") else volume
        columns["open_ns"].append(open_ns)
        columns["known_ns"].append(open_ns + MINUTE + lateness_ns)
        columns["open_ticks"].append(last)
        columns["high_ticks"].append(max(last, close) + height)
        columns["low_ticks"].append(max(1, min(last, close) - height))
        columns["close_ticks"].append(close)
        columns["volume_steps"].append(traded)
        columns["turnover"].append(0 if kind == "blind" else traded * close)
        columns["count"].append(0 if kind == "blind" else min(traded, 1 + share))
        columns["buy_steps"].append(0 if kind == "blind" else traded * share // 9)
        columns["flags"].append(flags)
        last = close
        open_ns += MINUTE
    arrays: dict[str, Any] = {name: np.array(values, dtype=np.int64) for name, values in columns.items()}
    arrays["flags"] = arrays["flags"].astype(np.uint8)
    return BarBatch(instrument=of, scale_ns=MINUTE, first_row=0, **arrays)


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[BarBatch], Joined]:
    """Return bars of two scales, and streams whose times fall on, before and after their closes."""
    bars = draw(bars_1m())
    minutes = st.integers(-2, len(bars) + 2)
    offsets = st.sampled_from([0, 0, -1, 1, 30 * SECOND])
    settled = draw(st.lists(st.tuples(minutes, offsets), max_size=8, unique=True))
    ts_ns = np.array(sorted(START + MINUTE * minute + offset for minute, offset in settled), dtype=np.int64)
    seed = draw(st.integers(0, 2**20))
    rates = np.random.default_rng(seed).integers(-9_999, 9_999, len(ts_ns))
    late = draw(st.sampled_from([0, 0, SECOND, 90 * SECOND]))
    marks = draw(bars_1m())
    its = without(draw(bars_1m(of=OTHER)), draw(st.sampled_from([0.0, 0.1])), seed)
    its = its if len(its) else its.rows(0, 0)
    others = [replace(each, known_ns=each.known_ns + late) for each in (its, *(fold(its, "3m") if len(its) else ()))]
    return [bars, *fold(bars, "3m")], Joined(
        funding=FundingBatch(instrument=OURS, first_row=0, ts_ns=ts_ns, rate_e8=rates),
        marks=replace(marks, known_ns=marks.known_ns + late),
        references=others,
        book=made_book(
            seed, bars, draw(st.integers(1, 60)), late_ns=draw(st.sampled_from([0, 2 * SECOND, 200 * SECOND]))
        ),
    )


def engine_of(schema: FeatureSchema) -> FeatureEngine:
    return FeatureEngine(schema, OURS)


edges = st.lists(st.integers(-1, 140), max_size=8)

# The first market that is drawn compiles what folds its bars: slow, where nothing is cached yet.
COLD = [HealthCheck.too_slow]


def column_of(schema: FeatureSchema, engine: FeatureEngine, bars: BarBatch) -> list[float]:
    (made,) = engine.on_bars([bars]).values()
    assert len(schema.names) == 1
    return [float(value) for value in made.values[:, 0]]


def calm(rows: int = 4, *, scale_ns: int = MINUTE, lateness_ns: int = SECOND, of: Any = OURS) -> BarBatch:
    """Return bars that close at 1000, 1001, ... ticks."""
    bars = made_bars(1, rows, scale_ns=scale_ns, lateness_ns=lateness_ns, of=of)
    return replace(bars, close_ticks=1_000 + np.arange(rows, dtype=np.int64))
