"""Forecasts and outcomes for the tests of calibration, and the same calibration written down plainly."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from bot.core.calibration import CalibrationParams
from bot.core.outcomes import OutcomeBatch
from bot.domain.market import F64, ForecastBatch
from tests.support.batches import INSTRUMENT

BAR = 10  # ns
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def forecasts_of(
    quantiles_NHQ: ArrayLike, *, horizons_ns: Sequence[int], levels: Sequence[float] = LEVELS, first_bar: int = 0
) -> ForecastBatch:
    """Return one forecast a bar with these quantiles."""
    quantiles = np.asarray(quantiles_NHQ, dtype=np.float64)
    row = np.arange(first_bar, first_bar + len(quantiles))
    return ForecastBatch(
        instrument=INSTRUMENT,
        first_row=0,
        model_id="of tests",
        scale_ns=BAR,
        horizons_ns=tuple(horizons_ns),
        levels=tuple(levels),
        scales_ns=(BAR,),
        bar_row=row,
        close_ns=(row + 1) * BAR,
        known_ns=(row + 1) * BAR,
        quantiles=quantiles,
        importance=np.ones((len(quantiles), 1)),
    )


def outcomes_of(target_NH: ArrayLike, *, horizons_ns: Sequence[int], first_bar: int = 0) -> OutcomeBatch:
    """Return these outcomes of one decision a bar, in the order they become known: a horizon after the decision."""
    target = np.asarray(target_NH, dtype=np.float64)
    known = [
        ((first_bar + n + 1) * BAR + horizon_ns, h, n)
        for n in range(len(target))
        for h, horizon_ns in enumerate(horizons_ns)
    ]
    known.sort()
    return OutcomeBatch(
        instrument=INSTRUMENT,
        first_row=0,
        horizons_ns=tuple(horizons_ns),
        bar_row=np.array([first_bar + n for _, _, n in known], dtype=np.int64),
        horizon=np.array([h for _, h, _ in known], dtype=np.int64),
        known_ns=np.array([at for at, _, _ in known], dtype=np.int64),
        value=np.array([target[n, h] for _, h, n in known], dtype=np.float64),
    )


@dataclass
class PlainCalibration:
    """One horizon, one decision a bar, as the documentation says it: a list of what is awaited and nothing clever."""

    levels: Sequence[float]
    steps: int  # bars from a decision to its outcome
    params: CalibrationParams
    offsets: list[float] = field(default_factory=list)
    issued: list[list[float]] = field(default_factory=list)
    coverage: list[float] = field(default_factory=list)

    def run(self, quantiles_NQ: F64, target_N: F64) -> None:
        overlap = max(1, self.steps)
        step, keep = self.params.rate / overlap, 0.5 ** (1 / (self.params.half_life * overlap))
        offsets = [0.0] * len(self.levels)
        below = list(self.levels)
        thresholds: list[list[float]] = []
        for n, quantiles in enumerate(quantiles_NQ.tolist()):
            told = n - max(1, self.steps)  # with no delay at all it is learned right before the next forecast
            if told >= 0 and np.isfinite(target_N[told]):
                for q, level in enumerate(self.levels):
                    if level != 0.5:
                        offsets[q] += step * (level - (target_N[told] <= thresholds[told][q]))
                    below[q] += (1 - keep) * ((target_N[told] <= self.issued[told][q]) - below[q])
            self.coverage.append(below[-1] - below[0])
            spread = quantiles[-1] - quantiles[0]
            thresholds.append([value + offset * spread for value, offset in zip(quantiles, offsets, strict=True)])
            self.issued.append(self._outward(thresholds[-1]))
        self.offsets = offsets

    def _outward(self, values: list[float]) -> list[float]:
        middle = self.levels.index(0.5)
        upper = [max(values[middle : q + 1]) for q in range(middle, len(values))]
        lower = [min(values[q : middle + 1]) for q in range(middle)]
        return lower + upper
