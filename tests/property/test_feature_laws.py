"""The laws on features: however the bars are cut, the same bits; and nothing from the future.

Law 1 and law 3 hold for the engine with everything joined that can be, handed over as early or as late as is allowed.
What tries to break the engine otherwise is in `tests/unit/test_feature_engine.py`.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.core.bars import BarAggregator
from bot.core.durations import parse_duration
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.market import (
    EMPTY,
    GAP,
    NO_FLOW,
    BarBatch,
    EventBarBatch,
    FeatureBatch,
    FundingBatch,
    TradeBatch,
    is_same,
)
from tests.support.batches import cut, join_bars
from tests.support.feature_markets import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    Joined,
    by_time,
    compute,
    instrument,
    made_bars,
    made_book,
    made_funding,
    real_bars,
    real_funding,
    row_at,
    without,
)
from tests.support.real_trades import REAL

F64 = NDArray[np.float64]
OURS, OTHER = instrument("XUSDT"), instrument("YUSDT")

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


# --- law 1 ------------------------------------------------------------------------------------------------------------

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


@given(market=markets(), places=edges)
@settings(max_examples=40, deadline=None, suppress_health_check=COLD)
def test_features_do_not_depend_on_the_cut(market: tuple[list[BarBatch], Joined], places: list[int]) -> None:
    """In one piece, bar by bar, and cut anywhere, also into empty pieces; what is joined comes early or late."""
    bars, joined = market
    whole = compute(engine_of(SCHEMA), [bars], joined)
    closes = bars[0].known_ns.tolist()
    anywhere = [START + 20 * SECOND * place for place in places]
    for edges_ns, is_early in ((anywhere, True), (anywhere, False), (closes, True), (closes, False)):
        assert_all_same(compute(engine_of(SCHEMA), by_time(bars, edges_ns), joined, is_early=is_early), whole)


@given(market=markets(), places=edges)
@settings(max_examples=5, deadline=None, suppress_health_check=COLD)
def test_decompositions_do_not_depend_on_the_cut(market: tuple[list[BarBatch], Joined], places: list[int]) -> None:
    schema = FeatureSchema(DECOMPOSED, ["1m"])
    bars = market[0][:1]
    whole = compute(engine_of(schema), [bars])
    anywhere = [START + 20 * SECOND * place for place in places]
    for edges_ns in (anywhere, bars[0].known_ns.tolist()):
        assert_all_same(compute(engine_of(schema), by_time(bars, edges_ns)), whole)


def test_every_feature_is_in_the_trial() -> None:
    tried = {spec.formula_id for spec in (*SCHEMA.specs, *FeatureSchema(DECOMPOSED, ["1m"]).specs)}
    assert tried == set(CATALOGUE)


REAL_SCALES = ("1m", "5m", "15m", "1h", "4h", "1d")
WIDE = (
    "full",
    "reference_set",
    "mark_basis",
    "trade_size",
    "book('book_ofi_5')",
    "book('book_age')",
    "volatility(700)",  # further back than a block
    "wavelet_detail(7)",
)


@cache
def real_market() -> tuple[BarBatch, BarBatch, Joined]:
    """Return nine days of BTCUSDT on Bybit by the minute, ETHUSDT and funding beside it; marks and book are made up."""
    file = "btcusdt_bybit_linear_1m_2025-05_2025-06"
    first = row_at(file, 1_748_563_200 * SECOND)  # a midnight
    bars = real_bars(file, first=first, rows=13_000, scale_ns=MINUTE)
    other = real_bars("ethusdt_bybit_linear_1m_2025-05_2025-06", first=first - 1, rows=13_000, scale_ns=MINUTE)
    marks = replace(bars, known_ns=bars.known_ns + 3 * SECOND, close_ticks=bars.close_ticks + 1_000_000)
    funding = real_funding("funding_bybit_linear_8h_2021-01_2025-08", "BTCUSDT", bars.instrument)
    book = made_book(4, bars, 9_000, late_ns=90 * SECOND)
    references = fold(other, *REAL_SCALES)
    return bars, other, Joined(funding=funding, marks=marks, references=references, book=book)


def aggregated(parts: Iterable[BarBatch], of: BarBatch) -> Iterable[Iterable[BarBatch]]:
    """Yield what a bar aggregator makes of each part."""
    aggregator = BarAggregator(
        of.instrument,
        scales_ns=[parse_duration(scale) for scale in REAL_SCALES],
        lateness_ns=0,
        gap_max_ns=HOUR,
        source_scale_ns=MINUTE,
    )
    for part in parts:
        yield aggregator.on_bars(part).bars.values()


@pytest.mark.parametrize(("seed", "is_early"), [(1, True), (2, False)])
def test_features_of_real_bars_at_six_scales_do_not_depend_on_the_cut(seed: int, is_early: bool) -> None:
    """Random cuts, from single rows to thousands, over block borders and moves of the buffers."""
    bars, _, joined = real_market()
    schema = FeatureSchema(WIDE, REAL_SCALES)
    whole = compute(FeatureEngine(schema, bars.instrument), aggregated([bars], bars), joined)
    assert {scale: len(made) for scale, made in whole.items()}["1d"] == 9
    sizes = np.random.default_rng(seed).choice([1, 1, 1, 2, 7, 60, 511, 512, 513, 1_500], 40)
    parts = cut(bars, itertools.accumulate(sizes.tolist()))
    made = compute(FeatureEngine(schema, bars.instrument), aggregated(parts, bars), joined, is_early=is_early)
    assert_all_same(made, whole)


# --- nothing from the future ------------------------------------------------------------------------------------------


def changed_bars(bars: BarBatch, after_ns: int, seed: int) -> BarBatch:
    """Return bars of which all that are known after a moment say something else."""
    rng = np.random.default_rng(seed)
    past = int(bars.known_ns.searchsorted(after_ns, side="right"))
    rest = len(bars) - past
    close = rng.integers(500, 2_000_000, rest)
    start = rng.integers(500, 2_000_000, rest)
    volume = rng.integers(0, 10**6, rest)
    count = np.minimum(volume, rng.integers(1, 99, rest))
    other = {
        "open_ticks": start,
        "high_ticks": np.maximum(start, close) + rng.integers(0, 999, rest),
        "low_ticks": np.minimum(start, close) - rng.integers(0, 400, rest),
        "close_ticks": close,
        "volume_steps": volume,
        "turnover": volume * close,
        "count": count,
        "buy_steps": volume // 3,
        "flags": rng.choice([0, 0, EMPTY, EMPTY | GAP, NO_FLOW], rest).astype(np.uint8),
    }
    return replace(bars, **{name: np.concatenate([getattr(bars, name)[:past], new]) for name, new in other.items()})


def changed(joined: Joined, after_ns: int, seed: int) -> Joined:
    """Return streams of which all that is known after a moment says something else, or is not there."""
    rng = np.random.default_rng(seed)
    funding, book = joined.funding, joined.book
    if funding is not None:
        is_future = funding.ts_ns > after_ns
        funding = replace(funding, rate_e8=np.where(is_future, 77_777, funding.rate_e8))
    if book is not None:
        is_future = book.known_ns > after_ns
        shape = book.bid_steps.shape
        ladder = np.arange(book.depth)
        book = replace(
            book,
            bid_ticks=np.where(is_future[:, None], 9_000 - ladder, book.bid_ticks),
            ask_ticks=np.where(is_future[:, None], 9_100 + ladder, book.ask_ticks),
            bid_steps=np.where(is_future[:, None], rng.integers(1, 999, shape), book.bid_steps),
            ask_steps=np.where(is_future[:, None], rng.integers(1, 999, shape), book.ask_steps),
            is_trusted=book.is_trusted | is_future,
            ts_ns=np.where(is_future, np.maximum(book.ts_ns - 1, book.ts_ns[~is_future].max(initial=0)), book.ts_ns),
        )
    marks = changed_bars(joined.marks, after_ns, seed) if joined.marks is not None else None
    references = [changed_bars(each, after_ns, seed) for each in joined.references]
    return Joined(funding=funding, marks=marks, references=references, book=book)


def past_of(made: dict[str, FeatureBatch], moment_ns: int) -> dict[str, FeatureBatch]:
    return {scale: each.rows(0, int((each.known_ns <= moment_ns).sum())) for scale, each in made.items()}


@given(
    market=markets(), minute=st.integers(0, 46), offset=st.sampled_from([0, 0, -1, 1, SECOND]), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None, suppress_health_check=COLD)
def test_changing_the_future_changes_no_feature_known_before(
    market: tuple[list[BarBatch], Joined], minute: int, offset: int, seed: int
) -> None:
    """Bars, funding, marks, the reference and the book, all handed over before the first bar is computed."""
    bars, joined = market
    moment_ns = START + minute * MINUTE + offset
    other = changed_bars(bars[0], moment_ns, seed)
    want = past_of(compute(engine_of(SCHEMA), [bars], joined), moment_ns)
    have = past_of(
        compute(engine_of(SCHEMA), [[other, *fold(other, "3m")]], changed(joined, moment_ns, seed)), moment_ns
    )
    assert_all_same(have, want)


def test_the_past_stays_and_the_future_changes_for_every_feature() -> None:
    """The same on a long market with all windows warm; and what is changed reaches every feature of the catalogue."""
    schema = FeatureSchema(SMALL, ["1m"], funding_interval_ns=SETTLED_NS)
    bars = made_bars(21, 900, lateness_ns=SECOND)
    other = made_bars(22, 900, lateness_ns=SECOND, of=OTHER)
    joined = Joined(
        funding=made_funding(1, bars, every_ns=HOUR),
        marks=made_bars(23, 180, scale_ns=5 * MINUTE),
        references=[other],
        book=made_book(2, bars, 5_000),
    )
    before = compute(engine_of(schema), [[bars]], joined)["1m"]
    clock = [name for name in schema.names if "phase" in str(schema.formulas[schema.names.index(name)])]
    assert len(clock) == 5
    unchanged = set(schema.names) - set(clock)  # the clock says the same in any future
    for row in (200, 511, 512, 700):
        moment_ns = int(bars.known_ns[row])
        after = compute(engine_of(schema), [[changed_bars(bars, moment_ns, row)]], changed(joined, moment_ns, row))[
            "1m"
        ]
        assert_same(after.rows(0, row + 1), before.rows(0, row + 1))
        differs = (after.values[row + 1 :].view(np.int64) != before.values[row + 1 :].view(np.int64)).any(axis=0)
        unchanged -= {name for name, is_other in zip(schema.names, differs, strict=True) if is_other}
    assert not unchanged


def test_a_prefix_of_the_market_gives_a_prefix_of_the_features() -> None:
    """Decompositions too: none looks at the whole series."""
    bars = made_bars(23, 60)
    schema = FeatureSchema((*DECOMPOSED, *SMALL), ["1m"], funding_interval_ns=SETTLED_NS)
    whole = compute(engine_of(schema), [[bars]])["1m"]
    for rows in (1, 17, 59):
        assert_same(compute(engine_of(schema), [[bars.rows(0, rows)]])["1m"], whole.rows(0, rows))


def column_of(schema: FeatureSchema, engine: FeatureEngine, bars: BarBatch) -> list[float]:
    (made,) = engine.on_bars([bars]).values()
    assert len(schema.names) == 1
    return [float(value) for value in made.values[:, 0]]


def calm(rows: int = 4, *, scale_ns: int = MINUTE, lateness_ns: int = SECOND, of: Any = OURS) -> BarBatch:
    """Return bars that close at 1000, 1001, ... ticks."""
    bars = made_bars(1, rows, scale_ns=scale_ns, lateness_ns=lateness_ns, of=of)
    return replace(bars, close_ticks=1_000 + np.arange(rows, dtype=np.int64))


@pytest.mark.parametrize(("offset_ns", "is_seen"), [(-1, True), (0, True), (1, False), (SECOND, False)])
def test_a_funding_rate_is_seen_from_its_settlement_on(offset_ns: int, is_seen: bool) -> None:
    """One that settles at the close is seen; one a nanosecond later is not, though the bar is known later still."""
    schema = FeatureSchema(["funding_rate"], ["1m"])
    engine, bars = engine_of(schema), calm()
    engine.on_funding(
        FundingBatch(
            instrument=OURS,
            first_row=0,
            ts_ns=bars.close_ns[1:2] + offset_ns,
            rate_e8=np.array([12_345], dtype=np.int64),
        )
    )
    seen = column_of(schema, engine, bars)
    assert np.isnan(seen[0])
    assert seen[2:] == [1.2345, 1.2345]
    assert seen[1] == 1.2345 if is_seen else np.isnan(seen[1])


@pytest.mark.parametrize(("late_ns", "is_seen"), [(0, True), (SECOND, True), (SECOND + 1, False), (MINUTE, False)])
def test_a_mark_is_seen_from_when_it_is_known(late_ns: int, is_seen: bool) -> None:
    schema = FeatureSchema(["mark_basis"], ["1m"])
    engine, bars = engine_of(schema), calm()
    mark = replace(bars.rows(1, 2), known_ns=bars.close_ns[1:2] + late_ns)
    engine.on_marks(mark)
    seen = column_of(schema, engine, bars)
    assert np.isnan(seen[0])
    assert seen[1] == 0.0 if is_seen else np.isnan(seen[1])
    assert seen[2] == pytest.approx(1e4 * np.log(1_002 / 1_001))


@pytest.mark.parametrize(("late_ns", "is_seen"), [(0, True), (SECOND, True), (SECOND + 1, False), (MINUTE, False)])
def test_a_bar_of_the_reference_is_seen_if_it_is_known_when_ours_is(late_ns: int, is_seen: bool) -> None:
    """By the bar of the same interval alone: what comes later is not seen by the next one either."""
    schema = FeatureSchema(["reference_return"], ["1m"])
    engine, bars = engine_of(schema), calm(6)
    known_ns = bars.close_ns + np.where(np.arange(6) == 3, late_ns, 0)
    engine.on_reference(replace(calm(6, of=OTHER), known_ns=np.maximum.accumulate(known_ns)))
    seen = column_of(schema, engine, bars)
    assert np.isnan(seen[0])
    wanted = [float(np.log(ticks / (ticks - 1))) for ticks in range(1_001, 1_006)]
    if not is_seen:
        wanted[2:4] = [np.nan, np.nan]
    assert seen[1:] == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize(
    "other",
    [
        calm(6, scale_ns=5 * MINUTE, of=OTHER),  # no scale of the schema
        replace(calm(6, of=OTHER), open_ns=calm(6).open_ns + 30 * SECOND),  # off our grid
        replace(calm(6, of=OTHER), open_ns=calm(6).open_ns - 7 * MINUTE),  # all of it past
    ],
)
def test_a_reference_of_other_intervals_is_never_seen(other: BarBatch) -> None:
    schema = FeatureSchema(["reference_return"], ["1m"])
    engine = engine_of(schema)
    engine.on_reference(other)
    assert np.isnan(column_of(schema, engine, calm(6))).all()


def test_what_comes_too_late_is_not_seen_and_harms_nothing() -> None:
    """A rate, a mark or a reference bar that is handed over after the bars that might have seen it."""
    schema = FeatureSchema(["funding_rate", "mark_basis", "reference_return"], ["1m"])
    engine, bars, other = engine_of(schema), calm(8), calm(8, of=OTHER)
    funding = made_funding(1, bars, every_ns=MINUTE)
    made = []
    for row in range(8):
        made.append(engine.on_bars([bars.rows(row, row + 1)])["1m"].values[0])
        engine.on_funding(funding.rows(row, row + 1))
        engine.on_marks(bars.rows(row, row + 1))
        engine.on_reference(other.rows(row, row + 1))
    late = np.array(made)
    assert np.isnan(late[0]).all()
    assert np.isnan(late[:, 2]).all()
    # Each newest value stays the newest until another comes: seen a bar late.
    np.testing.assert_allclose(late[1:, 0], funding.rate_e8[:7] / 1e4)
    np.testing.assert_allclose(late[1:, 1], 1e4 * np.log(bars.close_ticks[1:] / bars.close_ticks[:-1]))


# --- event bars -------------------------------------------------------------------------------------------------------

RULES = ("tick:200", "volume:150", "dollar_imbalance:3000", "tick_run:80,span=5")


def of_trades(
    trades: TradeBatch, schema: FeatureSchema, places: Iterable[int], joined: Joined
) -> dict[str, FeatureBatch]:
    """Return the features of event bars beside time bars, from trades that are cut before these rows."""
    aggregator = BarAggregator(
        trades.instrument,
        scales_ns=[10 * SECOND, MINUTE],
        lateness_ns=SECOND,
        gap_max_ns=HOUR,
        event_rules=RULES,
    )
    slabs = map(aggregator.on_trades, cut(trades, places))
    pieces: Iterable[Iterable[BarBatch]] = ([*slab.bars.values(), *slab.event_bars.values()] for slab in slabs)
    return compute(FeatureEngine(schema, trades.instrument), pieces, joined, is_early=True)


def test_features_of_event_bars_do_not_depend_on_the_cut_of_the_trades() -> None:
    """Real trades of LTCUSDT, beside bars of ten seconds and of a minute; funding and a book are joined to all."""
    trades = REAL["ltc_spot"]()
    trades = trades.rows(0, 20_000)
    known = [call for call in (*SMALL, "volatility(700)", "volatility(30)") if "reference" not in call]
    schema = FeatureSchema(known, [*RULES, "10s", "1m"])
    minutes = BarAggregator(trades.instrument, scales_ns=[MINUTE], lateness_ns=SECOND, gap_max_ns=HOUR)
    bars = join_bars([minutes.on_trades(trades)])[MINUTE]
    joined = Joined(
        funding=made_funding(1, bars, every_ns=7 * MINUTE), marks=bars, book=made_book(1, bars, 4_000, late_ns=SECOND)
    )
    whole = of_trades(trades, schema, (), joined)
    assert {*whole} == {*schema.scales}
    assert all(len(made) > 90 for made in whole.values()), {scale: len(made) for scale, made in whole.items()}
    sizes = np.random.default_rng(5).choice([1, 1, 2, 40, 300, 2_000], 60)
    assert_all_same(of_trades(trades, schema, itertools.accumulate(sizes.tolist()), joined), whole)


def test_features_of_event_bars_are_those_of_their_columns() -> None:
    """An engine that takes the same rows for bars of a length gives the same, save what depends on lengths."""
    trades = REAL["ltc_spot"]().rows(0, 20_000)
    aggregator = BarAggregator(
        trades.instrument, scales_ns=[MINUTE], lateness_ns=0, gap_max_ns=HOUR, event_rules=["volume:150"]
    )
    bars = aggregator.on_trades(trades).event_bars["volume:150"]
    columns = {name: getattr(bars, name) for name in BarBatch.COLUMNS}
    timed = BarBatch(instrument=trades.instrument, scale_ns=MINUTE, first_row=0, **columns)
    timed = replace(timed, open_ns=bars.close_ns - MINUTE)
    calls = [
        call for call in SMALL if not any(word in call for word in ("reference", "relative_return", "realised", "book"))
    ]
    have = compute(engine_of(FeatureSchema(calls, ["volume:150"])), [[bars]])["volume:150"]
    want = compute(engine_of(FeatureSchema(calls, ["1m"])), [[timed]])["1m"]
    assert len(have) > 100
    assert have.values.tobytes() == want.values.tobytes()
    np.testing.assert_array_equal(have.close_ns, bars.end_ns)


def twins() -> EventBarBatch:
    """Return event bars of which two end at one time, as a burst of trades makes them."""
    bars = calm(4)
    columns = {name: getattr(bars, name) for name in BarBatch.COLUMNS}
    end_ns = bars.close_ns - np.array([0, 0, MINUTE, 0])
    columns["known_ns"] = end_ns + SECOND
    return EventBarBatch(instrument=OURS, scale_ns=0, first_row=0, rule="tick:5", end_ns=end_ns, **columns)


def test_event_bars_that_end_together_see_the_same_reference_however_they_are_cut() -> None:
    schema = FeatureSchema(["reference_spread(2)", "reference_return"], ["tick:5"])
    bars = twins()
    joined = Joined(references=[replace(bars, instrument=OTHER)])
    whole = compute(engine_of(schema), [[bars]], joined)
    assert_all_same(compute(engine_of(schema), [[part] for part in cut(bars, [1, 2, 3])], joined), whole)


# --- realised variance on scales that do not nest ---------------------------------------------------------------------


def on_4m_and_5m(edges_ns: Sequence[int]) -> dict[str, FeatureBatch]:
    bars = fold(made_bars(31, 200, start_ns=START + 10 * MINUTE), "4m", "5m")
    return compute(engine_of(FeatureSchema(["realised_volatility"], ["4m", "5m"])), by_time(bars, edges_ns))


def test_realised_variance_of_scales_that_do_not_nest_does_not_depend_on_the_cut() -> None:
    """4m and 5m bars of a stream that begins at 00:10: the first 5m bar closes a minute before the first 4m bar."""
    assert_all_same(on_4m_and_5m([START + minute * MINUTE for minute in range(250)]), on_4m_and_5m([]))


def test_realised_variance_holds_the_bars_of_its_own_interval() -> None:
    """4m bars cannot tell the variance within 5m: nothing, or what is within; never what came before the open."""
    bars = made_bars(31, 200)
    steps = np.diff(np.log(bars.close_ticks)) ** 2
    made = compute(engine_of(FeatureSchema(["realised_volatility"], ["5m"])), [fold(bars, "4m", "5m")])["5m"]
    for close_ns, value in zip(made.close_ns.tolist(), made.values[:, 0].tolist(), strict=True):
        last = (close_ns - START) // MINUTE  # bars 1m up to the close
        # Whatever is summed over four-minute bars, it is at most the square of what moved since the open.
        within = np.sqrt(steps[max(0, last - 10) : last - 1]).sum()
        assert np.isnan(value) or value <= within + 1e-12
