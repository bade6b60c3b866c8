"""Forecasts whose intervals keep their promise while the market changes: calibration that learns from outcomes.

Each threshold of each horizon follows its own outcomes. With the forecast's quantile q of level a, its spread (see
`core.offsets`) and the offset as they were,

    offset += step * (a - [outcome <= q + spread * offset])

so the share of outcomes at or below the threshold tends to a, whatever the market does: over n outcomes it exceeds a by
exactly (offset at first - offset now) / (step * n), and an offset cannot run away from where the outcomes are.

An outcome is learned once it is known, one horizon later. With `overlap` decisions per horizon as many outcomes tell
one story, so the step is rate / overlap. That also keeps a loop with so long a delay from swinging.

Sources:
    Gibbs and Candès 2021, "Adaptive conformal inference under distribution shift"; on the threshold itself:
    Angelopoulos, Candès and Tibshirani 2023, "Conformal PID control for time series prediction", section 2.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.core.offsets import Offsets, middle_of, push_outward
from bot.core.outcomes import OutcomeBatch
from bot.domain.errors import DataError
from bot.domain.market import F64, I64, ForecastBatch

# Shape letters in this file: N forecast, H horizon, Q quantile level, P forecast whose outcome is awaited.
_NORMAL = NormalDist()


class CalibrationParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How quickly calibration follows. Both count outcomes that do not overlap.

    Raises:
        ValueError: a setting is impossible.
    """

    rate: float = 0.02  # spreads that a threshold moves if an outcome is on its other side; 0: never
    half_life: float = 100.0  # outcomes after which one counts half in the coverage
    drift_deviations: float = 3.0  # standard errors between coverage and nominal from which on it is drift

    def __post_init__(self) -> None:
        if not (0 <= self.rate <= 1 and self.half_life >= 1 and 0 < self.drift_deviations < math.inf):
            raise ValueError("rate must be within 0 and 1, half_life at least 1 and drift_deviations above 0")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibrated:
    """Forecasts as they are to be used, and how far each horizon's intervals could be trusted when they were made.

    Coverage is the share of outcomes between the outermost levels, the newest counting most, nominal at the start.
    """

    forecasts: ForecastBatch  # calibrated; everything but the quantiles is the model's
    coverage_NH: F64  # of the intervals that were issued
    coverage_raw_NH: F64  # of the model's own
    is_drifting_NH: NDArray[np.bool_]  # the issued coverage is off by more than chance explains
    shrink_NH: F64  # see `shrink`, of the issued coverage


class HorizonState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One horizon's part of `CalibrationState`."""

    offsets: list[float]  # [Q]
    below: list[float]  # [Q] share of outcomes at or below each issued quantile
    below_raw: list[float]
    learned: int
    awaited_row: list[int]  # [P]
    awaited: list[list[float]]  # [P][2 Q] thresholds, then the model's quantiles
    known_row: list[int]  # outcomes known, and learned with the next forecast
    known_ns: list[int]
    known_value: list[float]


class CalibrationState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a calibration remembers, ready for JSON: restored, it goes on bit for bit."""

    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    scale_ns: int
    horizons: list[HorizonState]


class OnlineCalibration:
    """Calibrate the forecasts of one instrument and learn from their outcomes: a scan, in any cut.

    A forecast sees the outcomes known by its own `known_ns`, so feed forecasts as the predictor makes them, before
    delays are added. Forecasts and outcomes of one slab go in together, a decision's forecast no later than its
    outcome, and all outcomes known by a forecast's time no later than that forecast.

    Args:
        offsets: where to start from, of the horizons and levels of the forecasts.
        scale_ns: the length of the decision bars.
        params: how quickly to follow.
    """

    def __init__(self, offsets: Offsets, *, scale_ns: int, params: CalibrationParams | None = None) -> None:
        if scale_ns <= 0:
            raise ValueError("scale_ns must be above zero")
        self._offsets = offsets
        self._scale_ns = scale_ns
        params = params or CalibrationParams()
        self._tracks = [
            _Track(np.array(values), offsets.levels, max(1.0, horizon_ns / scale_ns), params)
            for horizon_ns, values in zip(offsets.horizons_ns, offsets.values, strict=True)
        ]

    def scan(self, forecasts: ForecastBatch | None, outcomes: OutcomeBatch | None) -> Calibrated | None:
        """Return the forecasts calibrated, None for none.

        Raises:
            ValueError: forecasts or outcomes are of other horizons or levels.
        """
        self._check(forecasts, outcomes)
        per_horizon = []
        for h, track in enumerate(self._tracks):
            if outcomes is not None:
                track.hear(outcomes, h, None if forecasts is None else forecasts.bar_row)
            if forecasts is not None:
                quantiles_NQ = np.ascontiguousarray(forecasts.quantiles[:, h, :])
                per_horizon.append(track.issue(forecasts.bar_row, forecasts.known_ns, quantiles_NQ))
        if forecasts is None:
            return None
        quantiles, coverage, coverage_raw, is_drifting = (
            np.stack(parts, axis=1) for parts in zip(*per_horizon, strict=True)
        )
        nominal = self._offsets.levels[-1] - self._offsets.levels[0]
        return Calibrated(
            forecasts=replace(forecasts, quantiles=quantiles),
            coverage_NH=coverage,
            coverage_raw_NH=coverage_raw,
            is_drifting_NH=is_drifting,
            shrink_NH=np.array([[shrink(value, nominal) for value in row] for row in coverage.tolist()]).reshape(
                coverage.shape
            ),
        )

    def offsets(self) -> Offsets:
        """Return the offsets as they are now."""
        values = tuple(tuple(track.offsets_Q.tolist()) for track in self._tracks)
        return Offsets(horizons_ns=self._offsets.horizons_ns, levels=self._offsets.levels, values=values)

    def state(self) -> CalibrationState:
        """Return all that is remembered."""
        return CalibrationState(
            horizons_ns=self._offsets.horizons_ns,
            levels=self._offsets.levels,
            scale_ns=self._scale_ns,
            horizons=[track.state() for track in self._tracks],
        )

    def restore(self, state: CalibrationState) -> None:
        """Go on from a state.

        Raises:
            DataError: it is of other horizons, levels or bars, or it contradicts itself.
        """
        ours = (self._offsets.horizons_ns, self._offsets.levels, self._scale_ns, len(self._tracks))
        if (state.horizons_ns, state.levels, state.scale_ns, len(state.horizons)) != ours:
            raise DataError("the calibration state is of other horizons, levels or bars; start without it")
        for each in state.horizons:
            _check_state(each, len(state.levels))
        for track, each in zip(self._tracks, state.horizons, strict=True):
            track.restore(each)

    def _check(self, forecasts: ForecastBatch | None, outcomes: OutcomeBatch | None) -> None:
        offsets = self._offsets
        if forecasts is not None and (
            (forecasts.horizons_ns, forecasts.levels) != (offsets.horizons_ns, offsets.levels)
            or forecasts.scale_ns != self._scale_ns
        ):
            raise ValueError("the forecasts are of other horizons, levels or bars than the calibration")
        if outcomes is not None and outcomes.horizons_ns != offsets.horizons_ns:
            raise ValueError("the outcomes are of other horizons than the calibration")


def shrink(coverage: float, nominal: float) -> float:
    """Return by what to multiply a size if intervals of `nominal` coverage hold only a share `coverage` of outcomes.

    Too little coverage says that the deviation is larger than forecast: for a normal distribution by the quotient of
    the two normal scores. Growth-optimal size goes with 1 / variance, so the factor is the square of the inverse
    quotient. It is never above 1: too wide an interval is no reason to bet more. NaN gives 0.

        nominal 0.90, coverage 0.90: 1    0.85: 0.77    0.80: 0.61    0.50: 0.17

    Raises:
        ValueError: the nominal coverage is not within 0 and 1.
    """
    if not 0 < nominal < 1:
        raise ValueError(f"a nominal coverage of {nominal} is not within 0 and 1")
    if not coverage > 0:
        return 0.0
    if coverage >= nominal:
        return 1.0
    return (_NORMAL.inv_cdf((1 + coverage) / 2) / _NORMAL.inv_cdf((1 + nominal) / 2)) ** 2


class _Track:
    """One horizon: its offsets, the forecasts whose outcomes are awaited, and how often its quantiles held."""

    def __init__(self, offsets_Q: F64, levels: Sequence[float], overlap: float, params: CalibrationParams) -> None:
        self.offsets_Q = offsets_Q.copy()
        self._levels_Q = np.array(levels)
        self._middle = middle_of(levels)
        self._settings = (
            params.rate / overlap,
            0.5 ** (1 / (params.half_life * overlap)),
            overlap,
            params.drift_deviations,
            params.half_life * overlap,
        )
        self._below_2Q = np.stack([self._levels_Q, self._levels_Q])  # of the issued quantiles, of the model's
        self._learned = 0
        self._awaited_row = np.empty(0, dtype=np.int64)
        self._awaited_P2Q = np.empty((0, 2, len(levels)))
        self._known_row = np.empty(0, dtype=np.int64)
        self._known_ns = np.empty(0, dtype=np.int64)
        self._known_value = np.empty(0)

    def hear(self, outcomes: OutcomeBatch, horizon: int, new_row: I64 | None) -> None:
        """Keep the known outcomes of forecasts that are awaited, or about to be issued."""
        rows = self._awaited_row if new_row is None else np.concatenate([self._awaited_row, new_row])
        is_kept = (outcomes.horizon == horizon) & np.isfinite(outcomes.value) & np.isin(outcomes.bar_row, rows)
        self._known_row = np.concatenate([self._known_row, outcomes.bar_row[is_kept]])
        self._known_ns = np.concatenate([self._known_ns, outcomes.known_ns[is_kept]])
        self._known_value = np.concatenate([self._known_value, outcomes.value[is_kept]])

    def issue(self, bar_row: I64, known_ns: I64, quantiles_NQ: F64) -> tuple[F64, F64, F64, NDArray[np.bool_]]:
        """Return the quantiles calibrated, the coverage issued and raw, and whether it drifts."""
        row = np.concatenate([self._awaited_row, bar_row])
        awaited_P2Q = np.concatenate([self._awaited_P2Q, np.empty((len(bar_row), 2, len(self._levels_Q)))])
        issued_NQ, coverage_2N, is_drifting_N, self._learned, first, stop, heard = _scan(
            row,
            awaited_P2Q,
            known_ns,
            quantiles_NQ,
            (self._known_row, self._known_ns, self._known_value),
            (self.offsets_Q, self._below_2Q, self._learned),
            self._levels_Q,
            self._middle,
            self._settings,
        )
        self._awaited_row, self._awaited_P2Q = row[first:stop].copy(), awaited_P2Q[first:stop].copy()
        self._known_row, self._known_ns = self._known_row[heard:], self._known_ns[heard:]
        self._known_value = self._known_value[heard:]
        return issued_NQ, coverage_2N[0], coverage_2N[1], is_drifting_N

    def state(self) -> HorizonState:
        return HorizonState(
            offsets=self.offsets_Q.tolist(),
            below=self._below_2Q[0].tolist(),
            below_raw=self._below_2Q[1].tolist(),
            learned=self._learned,
            awaited_row=self._awaited_row.tolist(),
            awaited=self._awaited_P2Q.reshape(len(self._awaited_row), -1).tolist(),
            known_row=self._known_row.tolist(),
            known_ns=self._known_ns.tolist(),
            known_value=self._known_value.tolist(),
        )

    def restore(self, state: HorizonState) -> None:
        self.offsets_Q = np.array(state.offsets)
        self._below_2Q = np.array([state.below, state.below_raw])
        self._learned = state.learned
        self._awaited_row = np.array(state.awaited_row, dtype=np.int64)
        awaited = np.array(state.awaited, dtype=np.float64)
        self._awaited_P2Q = awaited.reshape(len(state.awaited_row), 2, len(self._levels_Q))
        self._known_row = np.array(state.known_row, dtype=np.int64)
        self._known_ns = np.array(state.known_ns, dtype=np.int64)
        self._known_value = np.array(state.known_value, dtype=np.float64)


def _check_state(state: HorizonState, levels: int) -> None:
    """Raise DataError unless the lists fit one another: a state comes from a file."""
    awaited, known = len(state.awaited_row), len(state.known_row)
    numbers = [*state.offsets, *state.below, *state.below_raw, *state.known_value]
    fits = (
        len(state.offsets) == len(state.below) == len(state.below_raw) == levels
        and [len(row) for row in state.awaited] == [2 * levels] * awaited
        and len(state.known_ns) == len(state.known_value) == known
        and state.learned >= 0
        and all(math.isfinite(number) for number in itertools.chain(numbers, *state.awaited))
        and all(0 <= share <= 1 for share in itertools.chain(state.below, state.below_raw))
        and all(a < b for rows in (state.awaited_row, state.known_row) for a, b in itertools.pairwise(rows))
    )
    if not fits:
        raise DataError("the calibration state contradicts itself; start without it")


@njit(cache=True, nogil=True)
def _scan(row, awaited, known_ns, quantiles, known, memory, levels, middle, settings):  # type: ignore[no-untyped-def]
    """Issue every forecast, after learning what is known by then.

    `row` and `awaited` [P + N, 2, Q] begin with the forecasts already awaited; new ones are written behind them, as
    (threshold, the model's quantile), and none where the forecast is no distribution. `memory` is changed in place.
    Returns what was issued and the coverage before each forecast; how many outcomes were learned; from and to where
    forecasts are still awaited; how many known outcomes are used up.
    """
    outcome_row, outcome_ns, outcome = known
    offsets, below, learned = memory
    step, keep, overlap, deviations, learned_min = settings
    count, width = quantiles.shape
    issued = quantiles.copy()
    coverage = np.empty((2, count))
    is_drifting = np.zeros(count, dtype=np.bool_)
    nominal = levels[width - 1] - levels[0]
    first, stop, heard = 0, row.size - count, 0
    written = stop
    for n in range(count):
        this_row = row[written + n]
        while heard < outcome.size and outcome_ns[heard] <= known_ns[n] and outcome_row[heard] < this_row:
            while first < stop and row[first] < outcome_row[heard]:
                first += 1  # its outcome stayed unknown
            if first < stop and row[first] == outcome_row[heard]:
                _learn(awaited[first], outcome[heard], offsets, below, levels, middle, step, keep)
                learned += 1
                first += 1
            heard += 1
        for kind in range(2):
            coverage[kind, n] = below[kind, width - 1] - below[kind, 0]
        if learned >= learned_min:
            # The weights of the mean, squared and summed; decisions that overlap add what one of them tells.
            squares = (1 - keep) / (1 + keep) * (1 - keep ** (2 * learned)) * overlap
            error = math.sqrt(nominal * (1 - nominal) * squares)
            is_drifting[n] = abs(coverage[0, n] - nominal) > deviations * error
        spread = quantiles[n, width - 1] - quantiles[n, 0]
        if not (spread > 0.0 and math.isfinite(spread)):
            continue
        row[stop] = this_row
        for q in range(width):
            awaited[stop, 0, q] = quantiles[n, q] + offsets[q] * spread
            awaited[stop, 1, q] = quantiles[n, q]
            issued[n, q] = awaited[stop, 0, q]
        push_outward(issued[n], middle)
        stop += 1
    return issued, coverage, is_drifting, learned, first, stop, heard


@njit(cache=True, nogil=True)
def _learn(awaited, outcome, offsets, below, levels, middle, step, keep):  # type: ignore[no-untyped-def]
    for q in range(levels.size):
        # By its own threshold, not by where crossing ones were pushed: pushed ones would not answer to the offset.
        if not middle[0] <= q < middle[1]:
            offsets[q] += step * (levels[q] - (outcome <= awaited[0, q]))
    push_outward(awaited[0], middle)
    for kind in range(2):
        for q in range(levels.size):
            below[kind, q] += (1 - keep) * ((outcome <= awaited[kind, q]) - below[kind, q])
