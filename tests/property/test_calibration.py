"""Laws of calibration: however the market is cut the same, no future, and no crossing."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.core.calibration import Calibrated, CalibrationParams, OnlineCalibration
from bot.core.offsets import Offsets
from bot.core.outcomes import OutcomeBatch, OutcomeScan
from bot.domain.market import GAP, BarBatch, ForecastBatch, is_same
from models.systems.ewma_vol import EwmaVol, EwmaVolParams
from tests.support.batches import INSTRUMENT, cut
from tests.support.calibrations import BAR, LEVELS, forecasts_of, outcomes_of
from tests.support.training import HOUR, MINUTE, fold, make_bars, real_bars

Floats = NDArray[np.float64]
HORIZONS = (BAR, 3 * BAR, 8 * BAR)
places = st.lists(st.integers(0, 60), max_size=8)


def bars_of(seed: int, rows: int, gaps: Sequence[int]) -> BarBatch:
    """Return bars of a walk with a few jumps, in bars of `BAR` ns."""
    steps = np.random.default_rng(seed).integers(-40, 41, rows)
    return make_bars(100_000 + np.cumsum(steps), scale_ns=BAR, gaps=gaps, start_ns=0)


def forecasts_at(bars: BarBatch, quantiles_NHQ: Floats, *, every: int) -> ForecastBatch:
    """Return the forecasts of every so many of these bars; they stand in the order of bars, with holes between."""
    whole = forecasts_of(quantiles_NHQ[bars.first_row : bars.first_row + len(bars)], horizons_ns=HORIZONS)
    rows = np.flatnonzero((bars.first_row + np.arange(len(bars))) % every == 0)
    return replace(
        whole,
        bar_row=bars.first_row + rows,
        close_ns=bars.close_ns[rows],
        known_ns=bars.known_ns[rows],
        quantiles=whole.quantiles[rows],
        importance=whole.importance[rows],
    )


def run(
    parts: Sequence[BarBatch], quantiles_NHQ: Floats, *, every: int
) -> tuple[list[Calibrated], bytes, OutcomeBatch]:
    scan = OutcomeScan(INSTRUMENT, scale_ns=BAR, horizons_ns=HORIZONS)
    calibration = OnlineCalibration(
        Offsets.none(HORIZONS, LEVELS), scale_ns=BAR, params=CalibrationParams(rate=0.4, half_life=2)
    )
    made, told = [], []
    for bars in parts:
        outcomes = scan.scan(bars)
        told.append(outcomes)
        forecasts = forecasts_at(bars, quantiles_NHQ, every=every)
        result = calibration.scan(forecasts if len(forecasts) else None, outcomes)
        if result is not None:
            made.append(result)
    return made, msgspec.json.encode(calibration.state()), OutcomeBatch.join(told)


def joined(made: Sequence[Calibrated]) -> tuple[bytes, ...]:
    columns = ("coverage_NH", "coverage_raw_NH", "is_drifting_NH", "shrink_NH")
    values = [np.concatenate([each.forecasts.quantiles for each in made])]
    values += [np.concatenate([getattr(each, name) for each in made]) for name in columns]
    return tuple(value.tobytes() for value in values)


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    places=places,
    gaps=st.lists(st.integers(0, 59), max_size=3),
    every=st.sampled_from([1, 1, 2, 5]),
)
def test_law_one(seed: int, places: list[int], gaps: list[int], every: int) -> None:
    """However the bars are cut, outcomes, calibrated forecasts, bookkeeping and state are the same, bit for bit."""
    bars = bars_of(seed, 60, gaps)
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.normal(0, 4e-4, (60, len(HORIZONS), len(LEVELS))), axis=2)
    whole, state, told = run([bars], quantiles, every=every)
    cut_made, cut_state, cut_told = run(cut(bars, places), quantiles, every=every)
    assert joined(cut_made) == joined(whole)
    assert cut_state == state
    assert is_same(cut_told, told)
    assert (told.value[~np.isnan(told.value)] != 0).any()
    assert bool(gaps) == bool((bars.flags & GAP).any())


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), at=st.integers(1, 59))
def test_nothing_from_the_future(seed: int, at: int) -> None:
    """Change the outcomes known after a forecast: it stays as it was."""
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.normal(0, 1, (60, 3, 5)), axis=2)
    target = rng.normal(0, 2, (60, 3))
    forecasts, outcomes = forecasts_of(quantiles, horizons_ns=HORIZONS), outcomes_of(target, horizons_ns=HORIZONS)
    after = outcomes.known_ns > forecasts.known_ns[at]
    values = np.where(after, rng.normal(0, 9, len(outcomes)), outcomes.value)
    changed = replace(outcomes, value=values)
    first, second = (
        OnlineCalibration(Offsets.none(HORIZONS, LEVELS), scale_ns=BAR, params=CalibrationParams(rate=0.5)).scan(
            forecasts, each
        )
        for each in (outcomes, changed)
    )
    assert first is not None
    assert second is not None
    upto = slice(0, at + 1)
    assert first.forecasts.quantiles[upto].tobytes() == second.forecasts.quantiles[upto].tobytes()
    assert first.coverage_NH[upto].tobytes() == second.coverage_NH[upto].tobytes()
    if after[: -1 * len(HORIZONS)].any() and at < 50:
        assert first.forecasts.quantiles.tobytes() != second.forecasts.quantiles.tobytes()


levels = st.lists(st.integers(1, 99), min_size=2, max_size=9, unique=True).map(
    lambda whole: tuple(each / 100 for each in sorted(whole))
)


@settings(deadline=None)
@given(levels=levels, seed=st.integers(0, 10_000))
def test_quantiles_never_cross_and_intervals_never_narrow_by_it(levels: tuple[float, ...], seed: int) -> None:
    """Whatever the offsets: in order, the median untouched, and outer levels no nearer to it than asked for."""
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.normal(0, 1, (20, 1, len(levels))), axis=2)
    asked = [0.0 if level == 0.5 else float(rng.normal(0, 1)) for level in levels]
    moved = Offsets(horizons_ns=(1,), levels=levels, values=(tuple(asked),)).apply(quantiles)[:, 0, :]
    plain = quantiles[:, 0, :] + np.array(asked) * (quantiles[:, 0, -1:] - quantiles[:, 0, :1])
    assert (np.diff(moved, axis=1) >= 0).all()
    for q, level in enumerate(levels):
        if level == 0.5:
            np.testing.assert_array_equal(moved[:, q], quantiles[:, 0, q])
        elif level > 0.5:
            assert (moved[:, q] >= plain[:, q]).all()
        else:
            assert (moved[:, q] <= plain[:, q]).all()


def test_law_one_on_a_real_market() -> None:
    """A month of real minutes, forecast by a real model, whole and in slabs of 997 bars and one by one at the end."""
    bars = real_bars(
        "BTCUSDT", "btcusdt_bybit_linear_1m_2025-05_2025-06.parquet", scale_ns=MINUTE, tick_size="0.1"
    ).rows(0, 12_000)
    horizons_ns = (5 * MINUTE, HOUR)
    scales = fold(bars, MINUTE)
    params = EwmaVolParams(decision_scale_ns=MINUTE, scales_ns=(MINUTE,), horizons_ns=horizons_ns)
    edges = [0, *range(997, 11_900, 997), *range(11_900, 12_001)]
    results = []
    for places in ([0, 12_000], edges):
        model = EwmaVol(params)
        scan = OutcomeScan(bars.instrument, scale_ns=MINUTE, horizons_ns=horizons_ns)
        calibration = OnlineCalibration(Offsets.none(horizons_ns, params.levels), scale_ns=MINUTE)
        made = []
        for start, stop in itertools.pairwise(places):
            part = scales[MINUTE].rows(start, stop)
            result = calibration.scan(model.predict({MINUTE: part}), scan.scan(part))
            made += [] if result is None else [result]
        results.append((*joined(made), msgspec.json.encode(calibration.state())))
    assert results[0] == results[1]
