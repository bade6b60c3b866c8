"""All scores of a model, with intervals, beside its baselines: plain data for tables and charts.

    judged = judge(model, baselines=[zero, ewma], sampling=Sampling(resamples=10_000))

`judged` is made of msgspec structs, and `models.evaluation.results` writes it. Nothing is drawn here.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.domain.market import F64, I64
from models.evaluation import scores
from models.evaluation.bootstrap import (
    Estimate,
    Sampling,
    Statistic,
    correlation,
    estimate,
    mean,
    root_ratio,
    skill,
)
from models.evaluation.comparison import Comparison, diebold_mariano
from models.evaluation.forecast_set import ForecastSet

# Shape letters in this file: N decision, H horizon, Q quantile level.
_BINS = 10  # of the reliability of probabilities, of equal numbers of decisions
_PERIODS = 24  # stretches of time of equal numbers of decisions, for coverage over time
# What models are compared by; the interval score is of the widest interval.
LOSSES = ("pinball", "crps", "interval_score", "squared_error", "brier", "qlike")


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions with similar probabilities of a rise."""

    forecast: float  # their mean probability
    actual: Estimate  # the share that rose
    decisions: int


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time."""

    from_ns: int  # its first decision
    to_ns: int  # its last
    coverage: dict[str, float]  # by interval


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """A model beside one baseline, for one loss."""

    skill: Estimate  # 1 - loss / baseline's loss: above 0 the model is better
    test: Comparison  # Diebold-Mariano


class HorizonScores(msgspec.Struct, frozen=True, kw_only=True):
    """One horizon. What a model or the data do not allow to be scored is absent."""

    horizon_ns: int
    decisions: int  # with a known outcome
    overlap: int  # decision times whose outcomes overlap
    decision_times: int  # fewer than decisions where several instruments are decided at once
    metrics: dict[str, Estimate]
    regimes: dict[str, dict[str, Estimate]]  # by state of the market: coverage, width and losses
    pit: list[Estimate]  # share of outcomes between the levels, from below the lowest to above the highest
    pit_nominal: list[float]
    reliability: list[Bin]
    periods: list[Period]
    against: dict[str, dict[str, Against]]  # by baseline and loss


class ModelScores(msgspec.Struct, frozen=True, kw_only=True):
    """One model at all its horizons."""

    model: str
    levels: tuple[float, ...]
    from_ns: int  # the first decision
    to_ns: int  # the last
    dead_band: float
    sampling: Sampling
    horizons: list[HorizonScores]


def judge(
    forecasts: ForecastSet,
    *,
    baselines: Sequence[ForecastSet] = (),
    sampling: Sampling | None = None,
    dead_band: float = 0.0,
    regime_N: I64 | None = None,
    regime_names: Sequence[str] = ("calm", "usual", "wild"),
) -> ModelScores:
    """Return all scores of a model.

    Args:
        baselines: of the same decisions.
        dead_band: a log return no larger than this has no direction.
        regime_N: the state of the market at each decision, a number into `regime_names`, as it was known then; None
            for terciles of the model's own forecast volatility. To compare models give all of them the same.

    Raises:
        DataError: a baseline is of other decisions, or the regimes are not.
    """
    if not (dead_band >= 0 and math.isfinite(dead_band)):
        raise ValueError(f"dead_band must be a log return of 0 or more, not {dead_band}")
    names = [baseline.model for baseline in baselines]
    if len({forecasts.model, *names}) < len(names) + 1:
        raise DataError(f"{forecasts.model} and its baselines need different names, not {names}")
    if any(":" in name for name in regime_names):
        raise ValueError(f"a regime's name must be without a colon: {list(regime_names)}")
    for baseline in baselines:
        forecasts.require_same_decisions(baseline)
    if regime_N is not None and (
        regime_N.shape != (len(forecasts),) or regime_N.min() < 0 or regime_N.max() >= len(regime_names)
    ):
        raise DataError(f"regimes must be one number from 0 to {len(regime_names) - 1} for each decision")
    sampling = sampling or Sampling()
    return ModelScores(
        model=forecasts.model,
        levels=forecasts.levels,
        from_ns=int(forecasts.start_ns[0]),
        to_ns=int(forecasts.start_ns[-1]),
        dead_band=dead_band,
        sampling=sampling,
        horizons=[
            _Horizon(forecasts, baselines, h, dead_band, regime_N, tuple(regime_names)).judge(sampling)
            for h in range(len(forecasts.horizons_ns))
            if forecasts.is_known_NH[:, h].any()
        ],
    )


def terciles(volatility_N: F64) -> I64:
    """Return 0, 1 or 2 for each decision: in the lowest, middle or highest third of those that are known."""
    borders = np.nanquantile(volatility_N, [1 / 3, 2 / 3])
    return np.searchsorted(borders, volatility_N, side="right").astype(np.int64)


def losses(forecasts: ForecastSet, horizon: int, dead_band: float = 0.0) -> dict[str, F64]:
    """Return the loss columns of one horizon, of the decisions with a known outcome; 0 where a loss does not apply.

    `brier` applies where the price went beyond the dead band, `qlike` where the realised variance is known.
    """
    known = forecasts.is_known_NH[:, horizon]
    y_N, q_NQ = forecasts.target_NH[known, horizon], forecasts.quantiles_NHQ[known, horizon]
    moved_N = scores.has_direction(y_N, dead_band)
    made = {
        "pinball": scores.pinball(y_N, q_NQ, forecasts.levels).mean(axis=1),
        "crps": scores.crps(y_N, q_NQ, forecasts.levels),
        "squared_error": (y_N - forecasts.point_NH[known, horizon]) ** 2,
        "brier": np.where(moved_N, scores.brier(forecasts.up_NH[known, horizon], y_N), 0.0),
    }
    for low, high, nominal in forecasts.pairs()[:1]:
        made["interval_score"] = scores.interval_score(y_N, q_NQ[:, low], q_NQ[:, high], nominal)
    volatility = volatility_columns(forecasts, horizon)
    if volatility is not None:
        told_N, realised_N, variance_N = volatility
        made["qlike"] = np.where(told_N, scores.qlike(variance_N, realised_N), 0.0)
    return made


def volatility_columns(forecasts: ForecastSet, horizon: int) -> tuple[NDArray[np.bool_], F64, F64] | None:
    """Return where realised variance is known, it, and the forecast variance, 1 elsewhere; None without either.

    A model that is certain of one value forecasts no volatility at all.
    """
    if forecasts.realised_variance_NH is None:
        return None
    known = forecasts.is_known_NH[:, horizon]
    realised_N, variance_N = (
        forecasts.realised_variance_NH[known, horizon],
        forecasts.volatility_NH[known, horizon] ** 2,
    )
    told_N = np.isfinite(realised_N)
    if not told_N.any() or not (variance_N[told_N] > 0).all():
        return None
    return told_N, np.where(told_N, realised_N, 1.0), np.where(told_N, variance_N, 1.0)


class _Horizon:
    """Collects the columns of one horizon and the statistics that are made of their sums."""

    def __init__(
        self,
        forecasts: ForecastSet,
        baselines: Sequence[ForecastSet],
        horizon: int,
        dead_band: float,
        regime_N: I64 | None,
        regime_names: tuple[str, ...],
    ) -> None:
        self._forecasts, self._baselines, self._horizon = forecasts, baselines, horizon
        known = forecasts.is_known_NH[:, horizon]
        self._time_N = forecasts.start_ns[known]
        self._y_N = forecasts.target_NH[known, horizon]
        self._q_NQ = forecasts.quantiles_NHQ[known, horizon]
        self._point_N = forecasts.point_NH[known, horizon]
        self._up_N = forecasts.up_NH[known, horizon]
        self._volatility_N = forecasts.volatility_NH[known, horizon]
        self._moved_N = scores.has_direction(self._y_N, dead_band)
        self._regime_N = terciles(self._volatility_N) if regime_N is None else regime_N[known]
        self._regime_names = regime_names
        self._losses = {each.model: losses(each, horizon, dead_band) for each in (forecasts, *baselines)}
        self._columns: dict[str, F64] = {"all": np.ones(len(self._y_N))}
        self._statistics: dict[str, Statistic] = {}

    def judge(self, sampling: Sampling) -> HorizonScores:
        self._distribution()
        self._direction()
        self._point()
        self._volatility()
        self._regimes()
        bins = self._reliability()
        self._pit()
        self._skill()
        overlap = self._forecasts.overlap(self._horizon)
        made = estimate(self._statistics, self._columns, self._time_N, overlap=overlap, sampling=sampling)
        levels = np.array([0.0, *self._forecasts.levels, 1.0])
        return HorizonScores(
            horizon_ns=self._forecasts.horizons_ns[self._horizon],
            decisions=len(self._y_N),
            overlap=overlap,
            decision_times=len(np.unique(self._time_N)),
            metrics={name: value for name, value in made.items() if ":" not in name},
            regimes={
                name: {key.removeprefix(prefix): value for key, value in made.items() if key.startswith(prefix)}
                for name in self._regime_names
                if (prefix := f"regime:{name}:") + "share" in made
            },
            pit=[made[f"pit:{cell}"] for cell in range(len(levels) - 1)],
            pit_nominal=np.diff(levels).round(12).tolist(),
            reliability=[
                Bin(forecast=forecast, actual=made[f"bin:{at}"], decisions=count)
                for at, (forecast, count) in bins.items()
            ],
            periods=self._periods(),
            against={
                baseline.model: {
                    loss: Against(
                        skill=made[f"skill:{baseline.model}:{loss}"],
                        test=self._test(baseline, loss, overlap, sampling.block),
                    )
                    for loss in LOSSES
                    if f"skill:{baseline.model}:{loss}" in made
                }
                for baseline in self._baselines
            },
        )

    def _mean(self, name: str, values: F64 | NDArray[np.bool_], where: NDArray[np.bool_] | None = None) -> None:
        """Ask for the mean of `values` where `where` holds; nothing where it never does."""
        count = "all"
        if where is not None:
            if not where.any():
                return
            count = f"count:{name}"
            self._columns[count] = where.astype(np.float64)
            values = np.where(where, values, 0.0)
        self._columns[f"sum:{name}"] = np.asarray(values, dtype=np.float64)
        self._statistics[name] = mean(f"sum:{name}", count)

    def _distribution(self) -> None:
        own = self._losses[self._forecasts.model]
        self._mean("pinball", own["pinball"])
        self._mean("crps", own["crps"])
        for q, level in enumerate(self._forecasts.levels):
            self._mean(f"below_{level:g}", self._y_N <= self._q_NQ[:, q])
        for low, high, nominal in self._forecasts.pairs():
            bounds = self._q_NQ[:, low], self._q_NQ[:, high]
            self._mean(f"coverage_{nominal:g}", scores.is_inside(self._y_N, *bounds))
            self._mean(f"width_{nominal:g}", bounds[1] - bounds[0])
            self._mean(f"interval_score_{nominal:g}", scores.interval_score(self._y_N, *bounds, nominal))

    def _direction(self) -> None:
        """Score the sign where neither forecast nor outcome is flat, the probability where the outcome is not."""
        moved = self._moved_N
        answered = moved & (self._point_N != 0)
        self._mean("direction_accuracy", (self._point_N > 0) == (self._y_N > 0), answered)
        self._mean("direction_answered", answered, moved)
        self._mean("up_share", self._y_N > 0, moved)
        self._mean("brier", self._losses[self._forecasts.model]["brier"], moved)
        if moved.any():
            # Beside always saying the share of rises, as it turned out to be: p (1 - p).
            self._statistics["brier_skill"] = Statistic(
                ("sum:brier", "count:brier", "sum:up_share"),
                lambda loss, count, up: 1 - (loss / count) / (up / count * (1 - up / count)),
            )

    def _point(self) -> None:
        self._columns["loss:squared_error"] = self._losses[self._forecasts.model]["squared_error"]
        self._columns["loss:naive"] = self._y_N**2
        self._mean("squared_error", self._columns["loss:squared_error"])
        self._statistics["rmse_ratio"] = root_ratio("loss:squared_error", "loss:naive")
        self._statistics["r2_out_of_sample"] = skill("loss:squared_error", "loss:naive")
        if np.ptp(self._point_N) > 0:
            self._correlation("ic", self._point_N, self._y_N)
            self._correlation("rank_ic", scores.ranks(self._point_N), scores.ranks(self._y_N))

    def _correlation(self, name: str, x_N: F64, y_N: F64, where: NDArray[np.bool_] | None = None) -> None:
        """Correlate; a rank is the one among all decisions, also in a resample."""
        kept = np.ones(len(x_N), dtype=np.bool_) if where is None else where
        if kept.sum() < 2 or np.ptp(x_N[kept]) == 0 or np.ptp(y_N[kept]) == 0:
            return
        # Centred and scaled: sums of products then do not cancel, and correlation does not mind.
        x, y = (np.where(kept, (each - each[kept].mean()) / each[kept].std(), 0.0) for each in (x_N, y_N))
        keys = tuple(f"{part}:{name}" for part in ("n", "x", "y", "xx", "yy", "xy"))
        self._columns |= dict(zip(keys, (kept.astype(np.float64), x, y, x * x, y * y, x * y), strict=True))
        self._statistics[name] = correlation(*keys)

    def _volatility(self) -> None:
        columns = volatility_columns(self._forecasts, self._horizon)
        if columns is None:
            return
        told, realised_N, variance_N = columns
        log_error = np.log(variance_N / realised_N) / 2
        self._mean("qlike", self._losses[self._forecasts.model]["qlike"], told)
        self._mean("variance_squared_error", (variance_N - realised_N) ** 2, told)
        self._mean("log_volatility_squared_error", log_error**2, told)
        self._mean("log_volatility_bias", log_error, told)  # below 0: too calm a forecast
        self._mean("volatility_absolute_error", np.abs(np.sqrt(variance_N) - np.sqrt(realised_N)), told)
        self._correlation("log_volatility_correlation", np.log(variance_N), np.log(realised_N), told)

    def _regimes(self) -> None:
        for number, name in enumerate(self._regime_names):
            inside = self._regime_N == number
            if not inside.any():
                continue
            for low, high, nominal in self._forecasts.pairs():
                bounds = self._q_NQ[:, low], self._q_NQ[:, high]
                self._mean(f"regime:{name}:coverage_{nominal:g}", scores.is_inside(self._y_N, *bounds), inside)
                self._mean(f"regime:{name}:width_{nominal:g}", bounds[1] - bounds[0], inside)
            self._mean(f"regime:{name}:crps", self._losses[self._forecasts.model]["crps"], inside)
            self._mean(f"regime:{name}:share", inside)

    def _reliability(self) -> dict[int, tuple[float, int]]:
        """Ask for the share of rises in each bin of probability; return mean probability and number of each."""
        moved = self._moved_N
        if not moved.any():
            return {}
        bins = np.full(len(moved), -1)
        bins[moved] = scores.equal_bins(self._up_N[moved], _BINS)
        made = {}
        for at in np.unique(bins[moved]).tolist():
            inside = bins == at
            self._mean(f"bin:{at}", self._y_N > 0, inside)
            made[at] = (float(self._up_N[inside].mean()), int(inside.sum()))
        return made

    def _pit(self) -> None:
        cell = scores.pit_cell(self._y_N, self._q_NQ)
        for at in range(len(self._forecasts.levels) + 1):
            self._mean(f"pit:{at}", cell == at)

    def _skill(self) -> None:
        for each in (self._forecasts, *self._baselines):
            for loss, column in self._losses[each.model].items():
                self._columns[f"{loss}:{each.model}"] = column
        for baseline in self._baselines:
            for loss in LOSSES:
                own, other = (self._losses[each.model].get(loss) for each in (self._forecasts, baseline))
                if own is not None and other is not None and other.any():
                    keys = f"{loss}:{self._forecasts.model}", f"{loss}:{baseline.model}"
                    self._statistics[f"skill:{baseline.model}:{loss}"] = skill(*keys)

    def _test(self, baseline: ForecastSet, loss: str, overlap: int, block: int | None) -> Comparison:
        own, other = self._losses[self._forecasts.model][loss], self._losses[baseline.model][loss]
        counts = np.ones(len(own), dtype=np.bool_)
        if loss == "brier":
            counts = self._moved_N
        elif loss == "qlike" and self._forecasts.realised_variance_NH is not None:
            known = self._forecasts.is_known_NH[:, self._horizon]
            counts = np.isfinite(self._forecasts.realised_variance_NH[known, self._horizon])
        return diebold_mariano(own[counts], other[counts], self._time_N[counts], overlap=overlap, block=block)

    def _periods(self) -> list[Period]:
        made = []
        for rows in np.array_split(np.arange(len(self._y_N)), min(_PERIODS, len(self._y_N))):
            inside: Mapping[str, NDArray[np.bool_]] = {
                f"{nominal:g}": scores.is_inside(self._y_N[rows], self._q_NQ[rows, low], self._q_NQ[rows, high])
                for low, high, nominal in self._forecasts.pairs()
            }
            made.append(
                Period(
                    from_ns=int(self._time_N[rows[0]]),
                    to_ns=int(self._time_N[rows[-1]]),
                    coverage={name: float(each.mean()) for name, each in inside.items()},
                )
            )
        return made
