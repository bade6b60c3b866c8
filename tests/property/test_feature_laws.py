"""The laws on features: however the bars are cut, the same bits; and nothing from the future.

Law 1 and law 3 hold for the engine with everything joined that can be, handed over as early or as late as is allowed.
What tries to break the engine otherwise is in `tests/unit/test_feature_engine.py`.
"""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    FeatureBatch,
)
from tests.support.batches import cut
from tests.support.examples import examples
from tests.support.feature_laws import (
    COLD,
    DECOMPOSED,
    OTHER,
    SCHEMA,
    SETTLED_NS,
    SMALL,
    assert_all_same,
    assert_same,
    edges,
    engine_of,
    fold,
    markets,
)
from tests.support.feature_markets import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    Joined,
    by_time,
    compute,
    made_bars,
    made_book,
    made_funding,
    real_bars,
    real_funding,
    row_at,
)


@given(market=markets(), places=edges)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=COLD)
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
@settings(max_examples=examples(40), deadline=None, suppress_health_check=COLD)
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
