"""What is judged: the forecasts of one model beside what happened.

A set is checked once, when it is made, so that no score has to ask again. Three rules keep a comparison honest:

* A model answers every decision whose outcome is known. A forecast that is missing there is an error: a model does not
  choose what it is judged on.
* Models are compared on the same decisions, horizons and outcomes, or not at all.
* Decisions follow one another faster than a horizon passes, so their outcomes overlap. The set knows the times, and
  `overlap` says how many decisions share an outcome; every interval rests on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from bot.core.durations import format_duration
from bot.core.offsets import check_levels
from bot.domain.errors import DataError
from bot.domain.market import F64, I64, ForecastBatch
from models.evaluation.distributions import NORMAL, normal_cdf
from models.training.labels import Labels

# Shape letters in this file: N decision, H horizon, Q quantile level, S normal score.
# Where a distribution given by quantiles is read to take its moments; the same as in `strategies.outcomes`.
_SCORES_S = np.arange(-24, 25) / 4
_WEIGHTS_S = np.exp(-(_SCORES_S**2) / 2) / np.exp(-(_SCORES_S**2) / 2).sum()
_HALF = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastSet:
    """Forecasts of the log return over several horizons, in order of time, and their outcomes.

    Several instruments may share a decision time; their rows stand side by side and are resampled together. Optional
    columns hold what a model says by itself. Where they are None, `point`, `up` and `volatility` follow from the
    quantiles, as the strategies read them.

    Raises:
        DataError: a column does not fit, or a forecast is missing or impossible; the message says which.
    """

    model: str  # its name in tables
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    start_ns: I64  # [N] from when on the return counts, ascending
    target_NH: F64  # log return over the horizon, cumulative; NaN: not known
    quantiles_NHQ: F64  # of the same, in the order of `levels`
    instrument_N: I64 | None = None  # the instrument's number; None where there is one
    realised_variance_NH: F64 | None = None  # sum of squared returns over the horizon, above 0; NaN: not known
    mean_NH: F64 | None = None
    up_probability_NH: F64 | None = None  # of a return above zero
    deviation_NH: F64 | None = None  # over the horizon, not annualised

    def __post_init__(self) -> None:
        try:
            check_levels(self.levels)
        except ValueError as error:
            raise DataError(f"{self.model}: {error}") from error
        self._check_shapes()
        self._check_order()
        self._check_values()

    def __len__(self) -> int:
        return len(self.start_ns)

    @cached_property
    def is_known_NH(self) -> NDArray[np.bool_]:
        """Return where the outcome is known."""
        return np.isfinite(self.target_NH)

    @cached_property
    def point_NH(self) -> F64:
        """Return the forecast return: the model's mean, or else its median."""
        return self._median_NH() if self.mean_NH is None else self.mean_NH

    @cached_property
    def up_NH(self) -> F64:
        """Return the probability of a return above zero.

        From quantiles: of the normal score at which they cross zero, linear between two levels and beyond the last.
        """
        if self.up_probability_NH is not None:
            return self.up_probability_NH
        scores_Q, q_NHQ = np.array(_scores(self.levels)), self.quantiles_NHQ
        below_NH = np.clip((q_NHQ <= 0).sum(axis=2) - 1, 0, len(scores_Q) - 2)
        low_NH, high_NH = self._at(below_NH), self._at(below_NH + 1)
        rise_NH = high_NH - low_NH
        with np.errstate(divide="ignore", invalid="ignore"):
            share_NH = -low_NH / rise_NH
        crossing_NH = scores_Q[below_NH] + share_NH * (scores_Q[below_NH + 1] - scores_Q[below_NH])
        return np.where(rise_NH > 0, normal_cdf(-crossing_NH), np.where(low_NH > 0, 1.0, 0.0))

    @cached_property
    def volatility_NH(self) -> F64:
        """Return the forecast deviation over the horizon: the model's, or that of the distribution of its quantiles."""
        if self.deviation_NH is not None:
            return self.deviation_NH
        below_S, share_S = _places(self.levels)
        low_NHS, high_NHS = self.quantiles_NHQ[:, :, below_S], self.quantiles_NHQ[:, :, below_S + 1]
        value_NHS = low_NHS + share_S * (high_NHS - low_NHS)
        mean_NH1 = (value_NHS @ _WEIGHTS_S)[:, :, None]
        return np.asarray(np.sqrt((value_NHS - mean_NH1) ** 2 @ _WEIGHTS_S))

    def overlap(self, horizon: int) -> int:
        """Return the most decision times that one horizon spans, itself included: 1 where nothing overlaps."""
        times = np.unique(self.start_ns)
        ahead = np.searchsorted(times, times + self.horizons_ns[horizon], side="left")
        return max(1, int((ahead - np.arange(len(times))).max(initial=1)))

    def pairs(self) -> list[tuple[int, int, float]]:
        """Return (lower level, upper level, nominal coverage) of each central interval, widest first."""
        levels = self.levels
        return [
            (low, high, round(levels[high] - levels[low], 9))
            for low in range(len(levels))
            for high in range(low + 1, len(levels))
            if abs(levels[low] + levels[high] - 1) < _HALF
        ]

    def rows(self, chosen: I64) -> "ForecastSet":
        """Return some of the decisions, by row number, ascending."""
        columns = ("instrument_N", "realised_variance_NH", "mean_NH", "up_probability_NH", "deviation_NH")
        cut = {name: value[chosen] for name in columns if (value := getattr(self, name)) is not None}
        return replace(
            self,
            start_ns=self.start_ns[chosen],
            target_NH=self.target_NH[chosen],
            quantiles_NHQ=self.quantiles_NHQ[chosen],
            **cut,
        )

    def require_same_decisions(self, other: "ForecastSet") -> None:
        """Raise DataError unless `other` is about the same decisions, horizons and outcomes."""
        fields = ("start_ns", "instrument_N", "target_NH", "realised_variance_NH")
        if (self.horizons_ns, self.levels) != (other.horizons_ns, other.levels):
            raise DataError(f"{self.model} and {other.model} forecast different horizons or levels; compare the same")
        for name in fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            same = mine is theirs or (
                mine is not None
                and theirs is not None
                and np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
            )
            if not same:
                raise DataError(
                    f"{self.model} and {other.model} differ in {name}; forecast the same decisions with both, and "
                    "judge both by the same labels"
                )

    def _median_NH(self) -> F64:
        for at, level in enumerate(self.levels):
            if abs(level - 0.5) < _HALF:
                return self.quantiles_NHQ[:, :, at]
        scores = _scores(self.levels)
        at = int(np.clip(np.searchsorted(scores, 0.0) - 1, 0, len(scores) - 2))
        share = -scores[at] / (scores[at + 1] - scores[at])
        low_NH, high_NH = self.quantiles_NHQ[:, :, at], self.quantiles_NHQ[:, :, at + 1]
        return np.asarray(low_NH + share * (high_NH - low_NH))

    def _at(self, index_NH: I64) -> F64:
        return np.take_along_axis(self.quantiles_NHQ, index_NH[:, :, None], axis=2)[:, :, 0]

    def _check_shapes(self) -> None:
        rows, horizons = len(self.start_ns), len(self.horizons_ns)
        if not rows or not horizons or min(self.horizons_ns) <= 0 or len(set(self.horizons_ns)) < horizons:
            raise DataError(f"{self.model}: there must be a decision, and different horizons above zero")
        shapes: dict[str, tuple[int, ...]] = {
            "start_ns": (rows,),
            "instrument_N": (rows,),
            "quantiles_NHQ": (rows, horizons, len(self.levels)),
        }
        for name in ("start_ns", "instrument_N", "target_NH", "quantiles_NHQ", *_PER_HORIZON):
            column = getattr(self, name)
            expected = shapes.get(name, (rows, horizons))
            if column is not None and column.shape != expected:
                raise DataError(f"{self.model}: {name} has the shape {column.shape}, not {expected}")

    def _check_order(self) -> None:
        step = np.diff(self.start_ns)
        if (step < 0).any():
            raise DataError(f"{self.model}: decisions go back in time at row {int(np.argmax(step < 0)) + 1}; sort them")
        instruments = np.zeros(len(self), dtype=np.int64) if self.instrument_N is None else self.instrument_N
        twice = (step == 0) & (np.diff(instruments) <= 0)
        if twice.any():
            raise DataError(
                f"{self.model}: row {int(np.argmax(twice)) + 1} repeats a decision; rows of one time must be of "
                "different instruments, in ascending order"
            )

    def _check_values(self) -> None:
        known_NH = self.is_known_NH
        if not known_NH.any():
            raise DataError(f"{self.model}: no outcome is known; the data end before the first horizon")
        if np.isinf(self.target_NH).any():
            raise DataError(f"{self.model}: an outcome is infinite; prices must be above zero")
        self._require("quantile", np.all(np.isfinite(self.quantiles_NHQ), axis=2))
        self._require("non-crossing quantile", np.all(np.diff(self.quantiles_NHQ, axis=2) >= 0, axis=2))
        if self.mean_NH is not None:
            self._require("mean", np.isfinite(self.mean_NH))
        if self.up_probability_NH is not None:
            self._require("probability within 0 and 1", (self.up_probability_NH >= 0) & (self.up_probability_NH <= 1))
        if self.deviation_NH is not None:
            self._require("deviation above 0", (self.deviation_NH > 0) & np.isfinite(self.deviation_NH))
        variance_NH = self.realised_variance_NH
        if variance_NH is not None and ((variance_NH <= 0) | np.isinf(variance_NH)).any():
            raise DataError(f"{self.model}: realised variance must be above zero; floor it at a squared tick")

    def _require(self, what: str, is_right_NH: NDArray[np.bool_]) -> None:
        wrong_NH = self.is_known_NH & ~is_right_NH
        if wrong_NH.any():
            row, horizon = (int(each) for each in np.argwhere(wrong_NH)[0])
            raise DataError(
                f"{self.model}: {int(wrong_NH.sum()):,} decisions with a known outcome have no {what}, the first of "
                f"them row {row} at {format_duration(self.horizons_ns[horizon])}; a model must answer all of them"
            )


_PER_HORIZON = ("target_NH", "realised_variance_NH", "mean_NH", "up_probability_NH", "deviation_NH")


def join_outcomes(model: str, parts: Sequence[tuple[ForecastBatch, Labels]]) -> ForecastSet:
    """Return the forecasts of one or several instruments beside their labels, in order of time.

    A label `return_<horizon>` is needed for every horizon; where all have `log_volatility_<horizon>` too, its square is
    the realised variance. Decisions without a forecast, such as those of the warm-up, are left out: give every model
    the same.

    Raises:
        DataError: a label is missing, or forecasts and labels are not of the same decisions.
    """
    if not parts:
        raise DataError(f"{model}: there is nothing to judge; forecast at least one instrument")
    first = parts[0][0]
    has_variance = all(f"log_volatility_{span}" in labels.names for _, labels in parts for span in _spans(first))
    instrument, target, variance = [], [], []
    for number, (batch, labels) in enumerate(parts):
        if (batch.horizons_ns, batch.levels) != (first.horizons_ns, first.levels):
            raise DataError(f"{model}: {batch.instrument.name} is forecast at other horizons or levels than the first")
        row = _rows_of(model, batch, labels)
        instrument.append(np.full(len(batch), number, dtype=np.int64))
        target.append(_label(model, labels, "return", batch)[row])
        if has_variance:
            variance.append(np.exp(2 * _label(model, labels, "log_volatility", batch)[row]))
    start_ns, instrument_N = np.concatenate([batch.close_ns for batch, _ in parts]), np.concatenate(instrument)
    order = np.lexsort((instrument_N, start_ns))
    return ForecastSet(
        model=model,
        horizons_ns=first.horizons_ns,
        levels=first.levels,
        start_ns=start_ns[order],
        target_NH=np.concatenate(target)[order],
        quantiles_NHQ=np.concatenate([batch.quantiles for batch, _ in parts])[order],
        instrument_N=instrument_N[order] if len(parts) > 1 else None,
        realised_variance_NH=np.concatenate(variance)[order] if has_variance else None,
    )


def _spans(batch: ForecastBatch) -> list[str]:
    return [format_duration(horizon_ns) for horizon_ns in batch.horizons_ns]


def _rows_of(model: str, batch: ForecastBatch, labels: Labels) -> I64:
    """Return the row of each forecast's decision among the labels."""
    name = batch.instrument.name
    if labels.instrument != batch.instrument:
        raise DataError(f"{model}: forecasts of {name} are beside labels of {labels.instrument.name}")
    row = np.searchsorted(labels.bar_row, batch.bar_row)
    found = row < len(labels)
    row = np.where(found, row, 0)
    found &= (labels.bar_row[row] == batch.bar_row) & (labels.close_ns[row] == batch.close_ns)
    if not found.all():
        raise DataError(f"{model}: {int((~found).sum()):,} forecasts of {name} are of no labelled bar; use one history")
    return row


def _label(model: str, labels: Labels, kind: str, batch: ForecastBatch) -> F64:
    """Return [N, H]: the labels of this kind, in the order of the forecast's horizons."""
    names = [f"{kind}_{span}" for span in _spans(batch)]
    missing = [name for name in names if name not in labels.names]
    if missing:
        raise DataError(f"{model}: there is no label {missing[0]} of {labels.instrument.name}; make it first")
    return labels.values[:, [labels.names.index(name) for name in names]]


@lru_cache(maxsize=64)
def _scores(levels: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(NORMAL.inv_cdf(level) for level in levels)


def _places(levels: tuple[float, ...]) -> tuple[I64, F64]:
    """Return below which level each normal score lies and how far on: linear in the score, also beyond the ends."""
    scores_Q = np.array(_scores(levels))
    below_S = (np.searchsorted(scores_Q, _SCORES_S, side="right") - 1).clip(0, len(scores_Q) - 2)
    return below_S, (_SCORES_S - scores_Q[below_S]) / (scores_Q[below_S + 1] - scores_Q[below_S])
