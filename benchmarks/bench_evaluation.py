"""How long it takes to judge 30,000 forecasts with intervals, and to calibrate them online.

Five-minute decisions of an hour ahead: twelve overlap. Returns are drawn; what they are makes no difference to time.
`python -m benchmarks.bench_evaluation NAME` measures one figure.
"""

from dataclasses import replace
from decimal import Decimal
from statistics import NormalDist

import numpy as np

from benchmarks.measure import RUNS, Figure, figure, main
from bot.core.calibration import OnlineCalibration
from bot.core.offsets import Offsets
from bot.core.outcomes import OutcomeScan
from bot.domain.instrument import Instrument
from bot.domain.market import F64, NO_FLOW, BarBatch, ForecastBatch
from bot.runtime.env import Stopwatch
from models.evaluation.bootstrap import Sampling
from models.evaluation.forecast_set import ForecastSet
from models.evaluation.judge import judge

BAR_NS = 5 * 60 * 10**9
HORIZONS_NS = (12 * BAR_NS,)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
ROWS = 30_000
RESAMPLES = 10_000
START_NS = 1_640_995_200 * 10**9  # 2022-01-01


def judged() -> Figure:
    """Score a model beside a baseline, every statistic with its interval."""
    model, baseline = forecast_sets()
    few = np.arange(500)
    judge(model.rows(few), baselines=[baseline.rows(few)])  # compile
    seconds = []
    for _ in range(RUNS):
        watch = Stopwatch()
        judge(model, baselines=[baseline], sampling=Sampling(resamples=RESAMPLES))
        seconds.append(watch.seconds())
    return figure(f"judge {ROWS:,} forecasts, 1 baseline, {RESAMPLES:,} resamples", "s", seconds, lambda s: s)


def calibrated() -> Figure:
    """Tell how many forecasts a second are calibrated, their outcomes included, in one slab."""
    return _calibration("calibrate online, one slab", ROWS, "forecasts/s", lambda seconds: ROWS / seconds)


def calibrated_live() -> Figure:
    """Tell what one live forecast costs: bars and forecasts one by one."""
    return _calibration("calibrate online, one by one", 1, "us a forecast", lambda seconds: seconds / ROWS * 1e6)


def _calibration(name: str, rows: int, unit: str, value) -> Figure:  # type: ignore[no-untyped-def]
    bars, forecasts = market()
    _calibrate(bars.rows(0, 50), forecasts.rows(0, 50), 25)  # compile
    seconds = []
    for _ in range(RUNS):
        watch = Stopwatch()
        _calibrate(bars, forecasts, rows)
        seconds.append(watch.seconds())
    return figure(name, unit, seconds, value)


def _calibrate(bars: BarBatch, forecasts: ForecastBatch, rows: int) -> None:
    outcomes = OutcomeScan(bars.instrument, scale_ns=BAR_NS, horizons_ns=HORIZONS_NS)
    calibration = OnlineCalibration(Offsets.none(HORIZONS_NS, LEVELS), scale_ns=BAR_NS)
    for start in range(0, len(bars), rows):
        told = outcomes.scan(bars.rows(start, start + rows))
        calibration.scan(forecasts.rows(start, start + rows), told)


def market() -> tuple[BarBatch, ForecastBatch]:
    """Return bars and a forecast for each."""
    closes = np.rint(1e6 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-3, ROWS)))).astype(np.int64)
    nothing = np.zeros(ROWS, dtype=np.int64)
    open_ns = START_NS + BAR_NS * np.arange(ROWS)
    instrument = Instrument(
        name="XUSDT",
        base="X",
        quote="USDT",
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=Decimal(1000),
    )
    bars = BarBatch(
        instrument=instrument,
        scale_ns=BAR_NS,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + BAR_NS,
        open_ticks=closes,
        high_ticks=closes,
        low_ticks=closes,
        close_ticks=closes,
        volume_steps=nothing,
        turnover=nothing,
        count=nothing,
        buy_steps=nothing,
        flags=np.full(ROWS, NO_FLOW, dtype=np.uint8),
    )
    forecasts = ForecastBatch(
        instrument=instrument,
        first_row=0,
        model_id="drawn",
        scale_ns=BAR_NS,
        horizons_ns=HORIZONS_NS,
        levels=LEVELS,
        scales_ns=(BAR_NS,),
        bar_row=np.arange(ROWS),
        close_ns=bars.close_ns,
        known_ns=bars.known_ns,
        quantiles=_quantiles(np.zeros(ROWS), np.full(ROWS, 1e-3 * 12**0.5))[:, None, :],
        importance=np.ones((ROWS, 1)),
    )
    return bars, forecasts


def forecast_sets() -> tuple[ForecastSet, ForecastSet]:
    """Return a model with a little skill and one with none."""
    rng = np.random.default_rng(2)
    deviation = 0.005 * np.exp(0.5 * np.sin(np.arange(ROWS) / 50))
    mean = 0.03 * deviation * rng.normal(0, 1, ROWS)
    y = mean + deviation * rng.normal(0, 1, ROWS)
    model = ForecastSet(
        model="model",
        horizons_ns=HORIZONS_NS,
        levels=LEVELS,
        start_ns=START_NS + BAR_NS * np.arange(ROWS),
        target_NH=y[:, None],
        quantiles_NHQ=_quantiles(mean, deviation)[:, None, :],
        realised_variance_NH=(y**2 + 1e-9)[:, None],
    )
    return model, replace(model, model="none", quantiles_NHQ=_quantiles(0 * mean, deviation)[:, None, :])


def _quantiles(mean_N: F64, deviation_N: F64) -> F64:
    scores_Q = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    return mean_N[:, None] + deviation_N[:, None] * scores_Q


BENCHMARKS = {"judged": judged, "calibrated": calibrated, "calibrated_live": calibrated_live}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
