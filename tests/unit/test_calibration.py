"""Calibration of forecasts: offsets, and how they follow the outcomes."""

import math
from dataclasses import replace
from statistics import NormalDist

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bot.core.calibration import CalibrationParams, CalibrationState, OnlineCalibration, shrink
from bot.core.offsets import Offsets
from bot.core.outcomes import OutcomeScan
from bot.domain.errors import DataError
from bot.domain.market import GAP, NO_FLOW, ForecastBatch
from models.systems.ewma_vol import EwmaVol, EwmaVolParams
from models.training.labels import returns_after
from tests.support.calibrations import BAR, LEVELS, PlainCalibration, forecasts_of, outcomes_of
from tests.support.training import DAY, HOUR, MINUTE, fold, make_bars, random_walk, real_bars

Floats = NDArray[np.float64]
NORMAL_QUANTILES = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


def same_forecast(rows: int, horizons: int = 1) -> Floats:
    """Return the quantiles of a standard normal, again and again."""
    return np.broadcast_to(NORMAL_QUANTILES, (rows, horizons, len(LEVELS))).copy()


def calibrated(quantiles: Floats, target: Floats, horizons_ns: tuple[int, ...], **settings: float) -> OnlineCalibration:
    calibration = OnlineCalibration(
        Offsets.none(horizons_ns, LEVELS), scale_ns=BAR, params=CalibrationParams(**settings)
    )
    calibration.scan(forecasts_of(quantiles, horizons_ns=horizons_ns), outcomes_of(target, horizons_ns=horizons_ns))
    return calibration


# --- offsets ----------------------------------------------------------------------------------------------------------


def test_no_offset_moves_nothing() -> None:
    quantiles = same_forecast(5, 2) * np.arange(1, 6)[:, None, None]
    np.testing.assert_array_equal(Offsets.none((1, 2), LEVELS).apply(quantiles), quantiles)


def test_an_offset_is_in_spreads_of_the_forecast() -> None:
    """A forecast twice as wide is moved twice as far."""
    offsets = Offsets(horizons_ns=(1,), levels=(0.1, 0.5, 0.9), values=((-0.25, 0.0, 0.5),))
    moved = offsets.apply(np.array([[[-1.0, 0.0, 1.0]], [[-2.0, 0.0, 2.0]]]))
    assert moved.tolist() == [[[-1.5, 0.0, 2.0]], [[-3.0, 0.0, 4.0]]]


@pytest.mark.parametrize(
    ("levels", "values", "expected"),
    [
        ((0.1, 0.5, 0.9), (1.0, 0.0, -1.0), [0.0, 0.0, 0.0]),
        ((0.05, 0.25, 0.5, 0.75, 0.95), (0.0, 0.0, 0.0, 1.0, 0.0), [-2.0, -1.0, 0.0, 5.0, 5.0]),
        ((0.25, 0.75), (0.75, -0.75), [-0.5, 0.5]),
        ((0.1, 0.2), (0.0, -2.0), [-3.0, -3.0]),
        ((0.8, 0.9), (2.0, 0.0), [3.0, 3.0]),
    ],
)
def test_quantiles_that_would_cross_are_pushed_outward(
    levels: tuple[float, ...], values: tuple[float, ...], expected: list[float]
) -> None:
    """No interval becomes narrower by it, and the median stays."""
    start = {2: [-1.0, 1.0], 3: [-1.0, 0.0, 1.0], 5: [-2.0, -1.0, 0.0, 1.0, 2.0]}[len(levels)]
    moved = Offsets(horizons_ns=(1,), levels=levels, values=(values,)).apply(np.array([[start]]))
    assert moved[0, 0].tolist() == expected


def test_offsets_are_checked() -> None:
    with pytest.raises(ValueError, match="shape"):
        Offsets(horizons_ns=(1, 2), levels=(0.1, 0.9), values=((0.0, 0.0),))
    with pytest.raises(ValueError, match="is none for the level"):
        Offsets(horizons_ns=(1,), levels=(0.1, 0.5, 0.9), values=((0.0, 0.1, 0.0),))
    with pytest.raises(ValueError, match="nan"):
        Offsets(horizons_ns=(1,), levels=(0.1, 0.9), values=((0.0, math.nan),))
    with pytest.raises(ValueError, match="ascend"):
        Offsets.none((1,), (0.9, 0.1))
    with pytest.raises(ValueError, match="other horizons or levels"):
        Offsets.none((1,), LEVELS).apply(same_forecast(3, 2))


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon_bars", [0, 1, 2, 7, 50])
def test_it_is_what_the_documentation_says(horizon_bars: int) -> None:
    """The compiled scan equals a plain one, bit for bit, for every delay."""
    rng = np.random.default_rng(horizon_bars)
    quantiles = same_forecast(400) * rng.uniform(0.5, 2.0, (400, 1, 1)) + rng.normal(0, 0.3, (400, 1, 1))
    target = rng.standard_t(3, (400, 1))
    target[rng.random(400) < 0.05] = np.nan
    params = CalibrationParams(rate=0.3, half_life=20)
    horizons_ns = (horizon_bars * BAR,)
    plain = PlainCalibration(levels=LEVELS, steps=horizon_bars, params=params)
    plain.run(quantiles[:, 0, :], target[:, 0])
    calibration = OnlineCalibration(Offsets.none(horizons_ns, LEVELS), scale_ns=BAR, params=params)
    made = calibration.scan(
        forecasts_of(quantiles, horizons_ns=horizons_ns), outcomes_of(target, horizons_ns=horizons_ns)
    )
    assert made is not None
    assert made.forecasts.quantiles[:, 0, :].tolist() == plain.issued
    assert made.coverage_NH[:, 0].tolist() == plain.coverage
    assert list(calibration.offsets().values[0]) == plain.offsets


def test_without_delay_it_is_the_immediate_rule() -> None:
    """A horizon of 0, or of one bar, learns each outcome before the next forecast: the textbook's loop."""
    target = np.random.default_rng(1).normal(0, 2, 300)
    offset, expected = 0.0, []
    for y in target:
        expected.append(NORMAL_QUANTILES[-1] + offset * (NORMAL_QUANTILES[-1] - NORMAL_QUANTILES[0]))
        offset += 0.1 * (0.95 - (y <= expected[-1]))
    for horizons_ns in ((0,), (BAR,)):
        calibration = OnlineCalibration(
            Offsets.none(horizons_ns, LEVELS), scale_ns=BAR, params=CalibrationParams(rate=0.1)
        )
        made = calibration.scan(
            forecasts_of(same_forecast(300), horizons_ns=horizons_ns),
            outcomes_of(target[:, None], horizons_ns=horizons_ns),
        )
        assert made is not None
        assert made.forecasts.quantiles[:, 0, -1].tolist() == expected


def test_coverage_is_accounted_for_by_the_offsets() -> None:
    """share below - level = (offset at first - offset now) / (step * n), exactly, whatever the market did."""
    rng = np.random.default_rng(2)
    target = rng.normal(0, 1, (1_000, 1)) * np.linspace(0.2, 5, 1_000)[:, None]
    quantiles = same_forecast(1_000)
    calibration = OnlineCalibration(Offsets.none((BAR,), LEVELS), scale_ns=BAR, params=CalibrationParams(rate=0.05))
    made = calibration.scan(forecasts_of(quantiles, horizons_ns=(BAR,)), outcomes_of(target, horizons_ns=(BAR,)))
    assert made is not None
    learned = 999  # the last forecast's outcome has no forecast after it
    below = (target[:learned] <= made.forecasts.quantiles[:learned, 0, :]).mean(axis=0)
    for q in (0, 1, 3, 4):
        assert below[q] - LEVELS[q] == pytest.approx(-calibration.offsets().values[0][q] / (0.05 * learned), abs=1e-12)


@pytest.mark.parametrize("horizon_bars", [1, 24])
def test_coverage_comes_back_after_the_market_changed(horizon_bars: int) -> None:
    """Volatility trebles and the model does not notice: its own 90 % interval holds half, the calibrated one 90 %."""
    rng = np.random.default_rng(3)
    rows = 20_000 * (1 if horizon_bars == 1 else 4)
    scale = np.where(np.arange(rows) < rows // 2, 1.0, 3.0)
    steps = rng.normal(0, 1, rows + horizon_bars)
    sums = np.convolve(steps, np.ones(horizon_bars), "valid")[1 : rows + 1] / math.sqrt(horizon_bars)
    target = (scale * sums)[:, None]
    horizons_ns = (horizon_bars * BAR,)
    calibration = OnlineCalibration(Offsets.none(horizons_ns, LEVELS), scale_ns=BAR)
    made = calibration.scan(
        forecasts_of(same_forecast(rows), horizons_ns=horizons_ns), outcomes_of(target, horizons_ns=horizons_ns)
    )
    assert made is not None
    quantiles = made.forecasts.quantiles[:, 0, :]
    late = slice(rows * 3 // 4, None)
    own = ((target[late, 0] > NORMAL_QUANTILES[0]) & (target[late, 0] <= NORMAL_QUANTILES[-1])).mean()
    now = ((target[late, 0] > quantiles[late, 0]) & (target[late, 0] <= quantiles[late, -1])).mean()
    assert own < 0.45
    assert now == pytest.approx(0.90, abs=0.02)
    # The bookkeeping saw it: drift soon after the change, none at the end, and smaller sizes in between.
    noticed = slice(rows // 2, rows // 2 + 1_000 * horizon_bars)
    assert made.is_drifting_NH[noticed].any()
    assert made.shrink_NH[noticed].min() < 0.7
    assert not made.is_drifting_NH[: rows // 2 : horizon_bars].mean() > 0.02
    assert made.coverage_raw_NH[-1, 0] < 0.55
    assert made.coverage_NH[-1, 0] > 0.8


def test_a_flawless_forecast_is_hardly_touched() -> None:
    """Where the model is right, offsets wander by their noise only."""
    target = np.random.default_rng(4).normal(0, 1, (20_000, 1))
    calibration = calibrated(same_forecast(20_000), target, (BAR,))
    assert max(abs(offset) for offset in calibration.offsets().values[0]) < 0.1


def test_a_forecast_that_is_no_distribution_passes_and_teaches_nothing() -> None:
    quantiles = same_forecast(6)
    quantiles[1] = np.nan
    quantiles[3] = 0.25
    target = np.full((6, 1), 10.0)
    made = OnlineCalibration(Offsets.none((BAR,), LEVELS), scale_ns=BAR, params=CalibrationParams(rate=0.5))
    issued = made.scan(forecasts_of(quantiles, horizons_ns=(BAR,)), outcomes_of(target, horizons_ns=(BAR,)))
    assert issued is not None
    np.testing.assert_array_equal(issued.forecasts.quantiles[[1, 3]], quantiles[[1, 3]])
    np.testing.assert_allclose(made.offsets().values[0], np.array([0.05, 0.25, 0, 0.75, 0.95]) * 0.5 * 3)


def test_an_unknown_outcome_teaches_nothing() -> None:
    target = np.full((5, 1), np.nan)
    assert calibrated(same_forecast(5), target, (BAR,)).offsets() == Offsets.none((BAR,), LEVELS)


def test_a_restart_goes_on_bit_for_bit() -> None:
    """The state survives JSON, is small, and what follows is what would have followed."""
    rng = np.random.default_rng(5)
    horizons_ns = (BAR, 12 * BAR)
    forecasts = forecasts_of(same_forecast(200, 2), horizons_ns=horizons_ns)
    outcomes = outcomes_of(rng.normal(0, 2, (200, 2)), horizons_ns=horizons_ns)
    half = outcomes.known_ns <= forecasts.known_ns[99]
    parts = [outcomes.rows(0, int(half.sum())), outcomes.rows(int(half.sum()), len(outcomes))]
    whole = OnlineCalibration(Offsets.none(horizons_ns, LEVELS), scale_ns=BAR)
    before = whole.scan(forecasts.rows(0, 100), parts[0])
    text = msgspec.json.encode(whole.state())
    assert before is not None
    assert len(text) < 5_000
    restarted = OnlineCalibration(Offsets.none(horizons_ns, LEVELS), scale_ns=BAR)
    restarted.restore(msgspec.json.decode(text, type=CalibrationState))
    after = [each.scan(forecasts.rows(100, 200), parts[1]) for each in (whole, restarted)]
    assert after[0] is not None
    assert after[1] is not None
    assert after[0].forecasts.quantiles.tobytes() == after[1].forecasts.quantiles.tobytes()
    assert msgspec.json.encode(whole.state()) == msgspec.json.encode(restarted.state())


def test_a_state_from_elsewhere_is_refused() -> None:
    calibration = calibrated(same_forecast(20), np.ones((20, 1)), (BAR,))
    state = calibration.state()
    with pytest.raises(DataError, match="other horizons"):
        OnlineCalibration(Offsets.none((2 * BAR,), LEVELS), scale_ns=BAR).restore(state)
    horizon = state.horizons[0]
    for broken in (
        msgspec.structs.replace(horizon, offsets=[0.0]),
        msgspec.structs.replace(horizon, offsets=[math.nan] * 5),
        msgspec.structs.replace(horizon, awaited_row=[3, 2], awaited=[[0.0] * 10] * 2),
        msgspec.structs.replace(horizon, awaited_row=[3], awaited=[[0.0]]),
        msgspec.structs.replace(horizon, below=[2.0] * 5),
        msgspec.structs.replace(horizon, learned=-1),
    ):
        with pytest.raises(DataError, match="contradicts itself"):
            calibration.restore(msgspec.structs.replace(state, horizons=[broken]))
    calibration.restore(state)


def test_other_forecasts_are_refused() -> None:
    calibration = OnlineCalibration(Offsets.none((BAR,), LEVELS), scale_ns=BAR)
    forecasts = forecasts_of(same_forecast(2), horizons_ns=(BAR,))
    for other in (
        replace(forecasts, horizons_ns=(2 * BAR,)),
        replace(forecasts, levels=(0.1, *LEVELS[1:])),
        replace(forecasts, scale_ns=2 * BAR),
    ):
        with pytest.raises(ValueError, match="than the calibration"):
            calibration.scan(other, None)
    with pytest.raises(ValueError, match="than the calibration"):
        calibration.scan(None, outcomes_of(np.ones((2, 1)), horizons_ns=(3 * BAR,)))
    with pytest.raises(ValueError, match="half_life"):
        CalibrationParams(half_life=0)


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_shrink_is_the_growth_optimal_answer_to_a_wider_market() -> None:
    """If the deviation is k times the forecast's, coverage falls to 2 Φ(z / k) - 1 and the size should be 1 / k²."""
    normal = NormalDist()
    for nominal in (0.5, 0.9, 0.98):
        for k in (1.0, 1.1, 1.5, 3.0):
            coverage = 2 * normal.cdf(normal.inv_cdf((1 + nominal) / 2) / k) - 1
            assert shrink(coverage, nominal) == pytest.approx(1 / k**2, rel=1e-9)


def test_shrink_never_enlarges_and_never_trusts_nonsense() -> None:
    assert shrink(0.97, 0.9) == 1.0
    assert shrink(0.0, 0.9) == 0.0
    assert shrink(math.nan, 0.9) == 0.0
    assert 0.76 < shrink(0.85, 0.9) < 0.78
    with pytest.raises(ValueError, match="nominal"):
        shrink(0.5, 1.0)


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_outcomes_are_the_labels_told_in_time() -> None:
    """Same numbers as `returns_after` where no hole is bridged, and known with the bar that ends the horizon."""
    bars = random_walk(500, seed=6, lateness_ns=7)
    flags = np.full(500, NO_FLOW, dtype=np.uint8)
    flags[[100, 101, 300]] |= GAP
    bars = replace(bars, flags=flags)
    horizons_ns = (MINUTE, 5 * MINUTE, HOUR)
    told = OutcomeScan(bars.instrument, scale_ns=MINUTE, horizons_ns=horizons_ns).scan(bars)
    labels = returns_after(bars, bars, horizons_ns=horizons_ns, hole_max_ns=0)
    found = np.full((500, 3), np.nan)
    found[told.bar_row, told.horizon] = told.value
    np.testing.assert_array_equal(np.isnan(found), np.isnan(labels.values))
    np.testing.assert_allclose(found, labels.values, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(told.known_ns, labels.label_end_ns[told.bar_row, told.horizon])
    assert (np.diff(told.known_ns) >= 0).all()


def test_outcomes_need_bars_without_holes() -> None:
    bars = make_bars([100, 101, 102], rows=[0, 1, 3])
    scan = OutcomeScan(bars.instrument, scale_ns=MINUTE, horizons_ns=(MINUTE,))
    with pytest.raises(DataError, match="leave a hole"):
        scan.scan(bars)
    with pytest.raises(ValueError, match="whole multiples"):
        OutcomeScan(bars.instrument, scale_ns=MINUTE, horizons_ns=(90 * 10**9,))
    with pytest.raises(ValueError, match="event bars"):
        OutcomeScan(bars.instrument, scale_ns=0, horizons_ns=(MINUTE,))


# --- real data --------------------------------------------------------------------------------------------------------


def test_on_a_real_market_the_calibrated_share_is_nominal() -> None:
    """BTCUSDT in 2025: at three horizons each level's share is within a hundredth, also in its worst quarter."""
    bars = real_bars("BTCUSDT", "btcusdt_bybit_linear_5m_2025-01_2025-08.parquet", scale_ns=5 * MINUTE, tick_size="0.1")
    scales = fold(bars, 5 * MINUTE, HOUR)
    horizons_ns = (5 * MINUTE, HOUR, 4 * HOUR)
    model = EwmaVol(
        EwmaVolParams(
            decision_scale_ns=5 * MINUTE,
            scales_ns=(5 * MINUTE, HOUR),
            horizons_ns=horizons_ns,
            volatility_half_life=5_000,  # slow on purpose: there is something to calibrate
        )
    )
    forecasts = model.predict(scales)
    assert isinstance(forecasts, ForecastBatch)
    told = OutcomeScan(bars.instrument, scale_ns=5 * MINUTE, horizons_ns=horizons_ns).scan(scales[5 * MINUTE])
    made = OnlineCalibration(
        Offsets.none(horizons_ns, forecasts.levels), scale_ns=5 * MINUTE, params=CalibrationParams(rate=0.05)
    ).scan(forecasts, told)
    assert made is not None
    target = np.full((len(scales[5 * MINUTE]), len(horizons_ns)), np.nan)
    target[told.bar_row, told.horizon] = told.value
    target = target[forecasts.bar_row]
    quarters = np.array_split(np.arange(len(target)), DAY // (6 * HOUR))
    for h in range(len(horizons_ns)):
        for q in (0, 1, 3, 4):
            own, now = (
                [np.nanmean(target[rows, h] <= each.quantiles[rows, h, q]) for rows in quarters]
                for each in (forecasts, made.forecasts)
            )
            assert np.mean(now) == pytest.approx(forecasts.levels[q], abs=0.01)
            off = [max(abs(share - forecasts.levels[q]) for share in shares) for shares in (own, now)]
            assert off[1] < 0.02 or off[1] < off[0]
