"""Features of event bars, and of scales that do not nest: the same laws."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from bot.core.bars import BarAggregator
from bot.core.features.engine import FeatureEngine
from bot.core.features.schema import FeatureSchema
from bot.domain.market import (
    BarBatch,
    EventBarBatch,
    FeatureBatch,
    FundingBatch,
    TradeBatch,
)
from tests.support.batches import cut, join_bars
from tests.support.feature_laws import OTHER, OURS, SMALL, assert_all_same, calm, column_of, engine_of, fold
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
)
from tests.support.real_trades import REAL


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
