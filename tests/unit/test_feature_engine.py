"""What tries to break the engine: borders of its blocks, empty batches, extremes, and memory that is shared."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.core.durations import parse_duration
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.engine import FeatureEngine
from bot.core.features.expression import (
    Node,
    clip,
    column,
    covariance,
    deviation,
    ema,
    exp,
    filtered,
    highest,
    lag,
    larger,
    ln,
    lowest,
    mean,
    sign,
    smaller,
    span_ema,
    sqrt,
    total,
)
from bot.core.features.program import FeatureProgram
from bot.core.features.schema import FeatureSchema
from bot.domain.market import EMPTY, GAP, BarBatch, EventBarBatch, FeatureBatch, FundingBatch, is_same
from tests.support.feature_markets import (
    HOUR,
    MINUTE,
    SECOND,
    Joined,
    compute,
    instrument,
    made_bars,
    made_book,
    made_funding,
)

F64 = NDArray[np.float64]
BLOCK = 512  # bars that the program takes at a time

# All of the catalogue that is quick, by default parameters, with windows below and beyond a block.
ALL = (
    "full",
    *(name for name in CATALOGUE if name not in ("wavelet_component", "vmd_mode")),
    "volatility(511)",
    "ma_ratio(512)",
    "rsi(513)",
    "log_return(1500)",
    "wavelet_detail(8)",
    "reference_correlation(600)",
)
SPELLED = tuple(dict.fromkeys(ALL))


def schema_of(calls: Sequence[str] = (), *scales: str) -> FeatureSchema:
    """Return a schema of calls, of which those that name a column again are left out."""
    kept: dict[str, str] = {}
    for call in calls or SPELLED:
        for name in FeatureSchema([call], ["1m"]).names:
            kept.setdefault(name, call)
    return FeatureSchema(list(dict.fromkeys(kept.values())), scales or ["1m"])


def market(seed: int, rows: int) -> tuple[BarBatch, Joined]:
    bars = made_bars(seed, rows)
    return bars, Joined(
        funding=made_funding(seed, bars, every_ns=HOUR),
        marks=made_bars(seed + 1, rows // 5, scale_ns=5 * MINUTE),
        references=[made_bars(seed + 2, rows, of=instrument("YUSDT"))],
        book=made_book(seed, bars, 3 * rows),
    )


def run(formulas: Sequence[Node], *pieces: F64, names: Sequence[str] = ("x",)) -> F64:
    """Return what a program makes of pieces of its inputs."""
    program = FeatureProgram(formulas, names)
    return np.concatenate([program.update(np.atleast_2d(piece)) for piece in pieces])


def noise(rows: int, *, seed: int = 1) -> F64:
    return np.random.default_rng(seed).lognormal(0, 0.5, rows)


@cache
def long_market() -> tuple[FeatureSchema, BarBatch, Joined, FeatureBatch]:
    """Return a market longer than all windows, with its features, computed in one piece."""
    bars, joined = market(3, 2_300)
    schema = schema_of()
    return schema, bars, joined, compute(FeatureEngine(schema, bars.instrument), [[bars]], joined)["1m"]


# --- blocks and buffers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [
        [1] * 40 + [BLOCK] * 3,
        [BLOCK - 1, 1, 1, BLOCK, BLOCK + 1, 2],
        [BLOCK + 1] * 4,
        [3 * BLOCK],
        [1_000, 0, 1, 0, 0, 1_100],
        [BLOCK // 2 + 1] * 8,  # two never fit: the buffer moves every time
    ],
)
def test_no_border_of_a_block_shows(sizes: list[int]) -> None:
    """All features, those that look further back than a block among them, over many moves of the buffer."""
    schema, bars, joined, whole = long_market()
    edges = [0, *(edge for edge in itertools.accumulate(sizes) if edge < len(bars)), len(bars)]
    parts = [[bars.rows(start, stop)] for start, stop in itertools.pairwise(edges)]
    made = compute(FeatureEngine(schema, bars.instrument), parts, joined)["1m"]
    assert (~np.isnan(whole.values)).any(axis=0).all(), "a column that is never known proves nothing"
    assert is_same(made, whole)


def test_bars_one_by_one_are_the_same_over_many_blocks() -> None:
    """As live."""
    bars, joined = market(4, 1_600)
    schema = schema_of(["full", "reference_set", "mark_basis", "volatility(700)"])
    whole = compute(FeatureEngine(schema, bars.instrument), [[bars]], joined)["1m"]
    parts = ([bars.rows(row, row + 1)] for row in range(len(bars)))
    assert is_same(compute(FeatureEngine(schema, bars.instrument), parts, joined)["1m"], whole)


def test_windows_longer_than_many_blocks_are_summed_in_full() -> None:
    """A mean and an extreme of 5,000 bars, against numpy."""
    x = noise(11_000)
    window = 5_000
    made = run(
        [mean(column("x"), window), highest(column("x"), window), lag(column("x"), window)], x[:7_000], x[7_000:]
    )
    assert np.isnan(made[: window - 1, :2]).all()
    for row in (window - 1, window, 7_000, 10_999):
        last = x[row - window + 1 : row + 1]
        assert made[row, 0] == pytest.approx(last.mean(), rel=1e-12)
        assert made[row, 1] == last.max()
    np.testing.assert_array_equal(made[window:, 2], x[:-window])


@pytest.mark.parametrize("window", [2, 3, 20, 700])
def test_a_mean_is_right_whatever_falls_out_of_its_window(window: int) -> None:
    """Over twenty decades: right to a rounding of the largest, exact for equal values, and never below zero."""
    rng = np.random.default_rng(window)
    x = 10.0 ** rng.uniform(-8, 12, 300 + 3 * window)
    x[100 : 100 + window] = x[100]
    x[-window - 9 :] = 0.0
    mean_, spread = run([mean(column("x"), window), deviation(column("x"), window)], x).T
    for row in range(window - 1, len(x)):
        last = x[row - window + 1 : row + 1]
        assert abs(mean_[row] - math.fsum(last) / window) <= 1e-15 * window * last.max()
        assert mean_[row] >= 0.0
    assert (mean_[99 + window], spread[99 + window]) == (x[100], 0.0)
    assert (mean_[-1], spread[-1]) == (0.0, 0.0)


def test_windows_of_one_bar_are_the_bar() -> None:
    x, y = column("x"), noise(30)
    made = run(
        [mean(x, 1), total(x, 1), lowest(x, 1), highest(x, 1), ema(x, 1.0), span_ema(x, 1), filtered(x, [1.0])], y
    )
    for values in made.T:
        np.testing.assert_array_equal(values, y)


def test_every_operation_is_numpys() -> None:
    """Of values among which are zeros, negatives and unknown ones; a window that holds one is unknown."""
    rng = np.random.default_rng(2)
    x, y = rng.integers(-3, 4, (2, 400)).astype(np.float64)
    x[rng.random(400) < 0.03] = np.nan
    a, b = column("x"), column("y")
    window = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(3, np.nan), x]), 4)
    other = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(3, np.nan), y]), 4)
    with np.errstate(all="ignore"):
        wanted: dict[Node, F64] = {
            a + b: x + y,
            a - b: x - y,
            a * b: x * y,
            a / b: np.where(y == 0, np.nan, x / y),
            larger(a, b): np.maximum(x, y),
            smaller(a, b): np.minimum(x, y),
            sign(a): np.sign(x),
            ln(a): np.where(x > 0, np.log(x), np.nan),
            sqrt(a): np.sqrt(x),
            exp(a): np.exp(x),
            clip(a, -1.0, 2.0): np.clip(x, -1.0, 2.0),
            total(a, 4): window.sum(axis=1),
            lowest(a, 4): window.min(axis=1),
            highest(a, 4): window.max(axis=1),
            deviation(a, 4): window.std(axis=1, ddof=1),
            covariance(a, b, 4): ((window - window.mean(axis=1)[:, None]) * other).sum(axis=1) / 3,
        }
    made = run(list(wanted), np.array([x, y]), names=("x", "y"))
    for node, values in zip(wanted, made.T, strict=True):
        np.testing.assert_allclose(values, wanted[node], rtol=1e-12, atol=1e-14, err_msg=str(node))


def test_deep_formulas_and_shared_parts_are_computed_once_and_right() -> None:
    """A chain of a hundred operations, and ten doublings that a tree would compute a thousand times."""
    chain = doubled = column("x")
    for _ in range(100):
        chain = chain + 1.0
    for _ in range(10):
        doubled = doubled + doubled
    x = noise(20)
    made = run([chain, doubled, chain, column("x")], x)
    np.testing.assert_allclose(made, np.column_stack([x + 100.0, x * 1024.0, x + 100.0, x]), rtol=1e-12)


def test_a_formula_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no input is named y"):
        FeatureProgram([column("x") + column("y")], ["x"])


# --- empty and single -------------------------------------------------------------------------------------------------


def test_nothing_makes_nothing() -> None:
    """No batch, a batch without rows, a scale that the schema does not name, in any order, change nothing."""
    bars, joined = market(5, 60)
    schema = schema_of(["full", "reference_set", "mark_basis", "book"], "1m", "1h", "volume:5")
    engine = FeatureEngine(schema, bars.instrument)
    nothing, stranger = bars.rows(0, 0), made_bars(1, 1, scale_ns=7 * MINUTE)
    assert engine.on_bars([]) == {}
    assert engine.on_bars([nothing]) == {}
    assert engine.on_bars([stranger]) == {}
    assert joined.funding is not None
    assert joined.book is not None
    engine.on_funding(joined.funding.rows(0, 0))
    engine.on_marks(nothing)
    engine.on_reference(nothing)
    engine.on_book(joined.book.rows(0, 0))
    pieces: Iterable[Iterable[BarBatch]] = itertools.chain.from_iterable(
        ([bars.rows(row, row + 1)], [nothing], [stranger], []) for row in range(60)
    )
    made = compute(engine, pieces, joined)
    assert set(made) == {"1m"}, "a scale without bars has no features"
    fresh = FeatureEngine(schema, bars.instrument)
    assert is_same(made["1m"], compute(fresh, [[bars]], joined)["1m"])


def test_a_batch_of_features_describes_its_bars() -> None:
    """Row numbers, times, names and hash are the bars' and the schema's own."""
    bars = made_bars(6, 40, lateness_ns=SECOND)
    schema = FeatureSchema(["rsi", "volatility"], ["1m"])
    made = FeatureEngine(schema, bars.instrument).on_bars([bars.rows(7, 30)])["1m"]
    assert (made.first_row, made.scale, made.schema_hash, made.instrument) == (7, "1m", schema.hash, bars.instrument)
    assert made.values.shape == (23, 2)
    assert made.values.dtype == np.float64
    np.testing.assert_array_equal(made.close_ns, bars.close_ns[7:30])
    np.testing.assert_array_equal(made.known_ns, bars.known_ns[7:30])


@pytest.mark.parametrize(("scale", "finest"), [("5m", "4m"), ("5m", "10m"), ("volume:5", "1m")])
def test_a_scale_that_the_smallest_bars_do_not_divide_has_no_realised_volatility(scale: str, finest: str) -> None:
    """Rather none than a sum over another stretch; an event bar's stretch is no whole number of them."""
    schema = FeatureSchema(["realised_volatility"], [scale], finest_ns=parse_duration(finest))
    smallest, bars = made_bars(1, 60, scale_ns=parse_duration(finest)), made_bars(2, 40, scale_ns=5 * MINUTE)
    if ":" in scale:
        columns = {name: getattr(bars, name) for name in BarBatch.COLUMNS}
        bars = EventBarBatch(
            instrument=bars.instrument, scale_ns=0, first_row=0, rule=scale, end_ns=bars.close_ns, **columns
        )
    engine = FeatureEngine(schema, bars.instrument)
    assert np.isnan(engine.on_bars([smallest, bars])[scale].values).all()


# --- shared memory ----------------------------------------------------------------------------------------------------


def test_what_is_done_to_a_result_does_not_reach_the_next() -> None:
    """No result is a view of what the engine carries on, nor of another result."""
    bars, joined = market(7, 700)
    schema = schema_of()
    whole = compute(FeatureEngine(schema, bars.instrument), [[bars]], joined)["1m"]
    engine = FeatureEngine(schema, bars.instrument)
    results: list[FeatureBatch] = []
    values: list[F64] = []
    for start in range(0, 700, 35):
        made = compute(engine, [[bars.rows(start, start + 35)]], joined if start == 0 else None)["1m"]
        results.append(made)
        values.append(made.values.copy())
        made.values[:] = 1e300
    assert np.concatenate(values).tobytes() == whole.values.tobytes()
    assert not any(np.shares_memory(a.values, b.values) for a, b in itertools.pairwise(results))


def test_what_is_done_to_the_bars_afterwards_does_not_matter() -> None:
    """Bars, rates, marks and the reference may be written over once they have been handed over; none is changed."""
    bars, joined = market(8, 600)
    joined = replace(joined, book=None)  # rows of the book wait where they lie: nobody edits a message
    schema = schema_of()
    whole = compute(FeatureEngine(schema, bars.instrument), [[bars]], joined)["1m"]
    engine = FeatureEngine(schema, bars.instrument)
    assert joined.funding is not None
    assert joined.marks is not None
    copies = [replace(each, **_copies(each)) for each in (joined.funding, joined.marks, joined.references[0])]
    engine.on_funding(copies[0])
    engine.on_marks(copies[1])
    engine.on_reference(copies[2])
    for each in copies:
        _spoil(each)
    made = []
    for start in range(0, 600, 50):
        part = bars.rows(start, start + 50)
        given = replace(part, **_copies(part))
        made.append(engine.on_bars([given])["1m"].values)
        assert is_same(given, part), "the engine wrote into its input"
        _spoil(given)
    assert np.concatenate(made).tobytes() == whole.values.tobytes()


def _copies(batch: Any) -> dict[str, Any]:
    return {name: getattr(batch, name).copy() for name in batch.COLUMNS}


def _spoil(batch: Any) -> None:
    for name in batch.COLUMNS:
        getattr(batch, name)[:] = 1


def test_two_engines_know_nothing_of_each_other() -> None:
    """Fed in turns they make what each makes alone; so do the scales of one engine."""
    schema = schema_of()
    markets = [market(9, 300), market(10, 300)]
    alone = [compute(FeatureEngine(schema, bars.instrument), [[bars]], joined)["1m"] for bars, joined in markets]
    engines = [FeatureEngine(schema, bars.instrument) for bars, _ in markets]
    made: list[list[FeatureBatch]] = [[], []]
    for start in range(0, 300, 20):
        for each, (bars, joined) in enumerate(markets):
            piece = bars.rows(start, start + 20)
            made[each] += compute(engines[each], [[piece]], joined if start == 0 else None).values()
    for parts, want in zip(made, alone, strict=True):
        assert is_same(FeatureBatch.join(parts), want)


def test_the_scales_of_an_engine_know_nothing_of_each_other() -> None:
    bars = made_bars(11, 300)
    coarse = made_bars(12, 60, scale_ns=5 * MINUTE)
    schema = schema_of(["multiscale", "macd_signal", "wavelet_set"], "1m", "5m")
    both = FeatureEngine(schema, bars.instrument).on_bars([bars, coarse])
    for scale, each in (("1m", bars), ("5m", coarse)):
        assert is_same(both[scale], FeatureEngine(schema, bars.instrument).on_bars([each])[scale])


# --- unknown and infinite ---------------------------------------------------------------------------------------------


def test_a_clip_holds_and_leaves_the_unknown_unknown() -> None:
    """Exactly numpy's, on what the same schema says without a clip."""
    bars = made_bars(13, 400)
    calls = ["log_return", "rsi", "relative_volume"]
    limits = {"log_return_1": (-1e-3, 2e-3), "rsi_14": (-0.5, float("inf")), "relative_volume_20": (0.1, 0.5)}
    plain = FeatureEngine(FeatureSchema(calls, ["1m"]), bars.instrument).on_bars([bars])["1m"].values
    clipped = FeatureEngine(FeatureSchema(calls, ["1m"], limits), bars.instrument).on_bars([bars])["1m"].values
    lows, highs = np.array(list(limits.values())).T
    np.testing.assert_array_equal(clipped, np.clip(plain, lows, highs))
    assert np.isnan(clipped).any(axis=0).all()
    assert (clipped != plain)[~np.isnan(plain)].any()


def extreme(prices: Sequence[int], volumes: Sequence[int], *, seed: int = 1, rows: int = 900) -> BarBatch:
    """Return bars that leap between these prices and volumes from one to the next."""
    rng = np.random.default_rng(seed)
    corners = rng.choice(prices, (rows, 4))
    bars = made_bars(seed, rows, of=instrument(tick_size="0.00000001", qty_step="1"))
    volume = rng.choice(volumes, rows)
    count = np.minimum(volume, 10**9)
    return replace(
        bars,
        open_ticks=corners[:, 0],
        high_ticks=corners.max(axis=1),
        low_ticks=corners.min(axis=1),
        close_ticks=corners[:, 1],
        volume_steps=volume,
        turnover=np.minimum(volume, 2**62 // corners[:, 1]) * corners[:, 1],
        count=count,
        buy_steps=volume // 2,
        flags=np.where(volume == 0, EMPTY, 0).astype(np.uint8),
    )


@pytest.mark.parametrize(
    ("prices", "volumes"),
    [
        ([1], [0]),  # nothing ever trades, at a price of one tick
        ([1, 2], [1, 10**12]),
        ([1, 10**15], [0, 1, 10**12]),  # from one tick to ten million
        ([2**52, 2**52 + 1], [2**40]),
        ([7], [10**18]),
    ],
)
def test_no_market_makes_an_infinite_feature(prices: list[int], volumes: list[int]) -> None:
    """What cannot be said is NaN; what is bounded stays bounded; and windows that are warm are known."""
    bars = extreme(prices, volumes)
    joined = Joined(
        funding=FundingBatch(
            instrument=bars.instrument,
            first_row=0,
            ts_ns=bars.close_ns[:2].copy(),
            rate_e8=np.array([-(2**60), 2**60], dtype=np.int64),
        ),
        marks=extreme(prices, [0], seed=2),
        references=[extreme(prices, volumes, seed=3)],
        book=made_book(1, bars, 500),
    )
    schema = schema_of()
    values = compute(FeatureEngine(schema, bars.instrument), [[bars]], joined)["1m"].values
    assert not np.isinf(values).any()
    warm = dict(zip(schema.names, np.isnan(values[600:]).sum(axis=0).tolist(), strict=True))
    short = {spec.name for spec in schema.specs if spec.warmup < 600 and spec.formula_id not in ("vwap", "book")}
    assert {name for name in short if warm[name]} == set()
    assert np.nanmax(np.abs(values[:, schema.names.index("rsi_14")])) <= 1.0


def test_no_infinite_input_leaves_as_infinite() -> None:
    """Overflow inside a formula neither, and an infinity in a window is gone when the window has passed it."""
    x = noise(60)
    x[10], x[20] = np.inf, 1e308
    a = column("x")
    formulas = [a, a * 1e10, exp(a), total(a, 5), mean(a, 3), deviation(a, 4), ln(a), a - a, filtered(a, [1.0, -1.0])]
    made = run(formulas, x)
    assert not np.isinf(made).any()
    assert not np.isnan(made[30:]).any()


def test_an_infinite_value_does_not_end_a_recursive_mean_for_good() -> None:
    """What is not finite is not known, and what is not known leaves the average as it was."""
    x = noise(60)
    x[10] = np.inf
    assert not np.isnan(run([ema(column("x"), 0.5)], x)[30:]).any()


def test_an_unknown_value_leaves_a_recursive_mean_as_it_was() -> None:
    x = noise(80)
    is_known = np.random.default_rng(3).random(80) > 0.3
    made = run([ema(column("x"), 0.4)], np.where(is_known, x, np.nan))[:, 0]
    np.testing.assert_array_equal(made[is_known], run([ema(column("x"), 0.4)], x[is_known])[:, 0])
    assert np.isnan(made[~is_known]).all()


def test_a_source_that_never_tells_trades_gives_no_feature_of_them() -> None:
    """Bitfinex's candles tell volume alone; its missing minutes tell no more than the others."""
    bars = made_bars(14, 400, has_flow=False)
    filled = replace(bars, flags=np.where(np.arange(400) % 7 == 3, EMPTY | GAP, bars.flags).astype(np.uint8))
    schema = schema_of(["trade_intensity", "orderflow_imbalance", "trade_size", "vwap"])
    values = FeatureEngine(schema, bars.instrument).on_bars([filled])["1m"].values
    assert np.isnan(values).all()
