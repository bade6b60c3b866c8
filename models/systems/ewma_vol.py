"""EWMA volatility at every time scale, to quantiles of the return over every horizon: the honest baseline.

For each scale the variance of its bars' log returns is an exponentially weighted mean (RiskMetrics Technical Document,
4th ed., 1996). A horizon's variance is the scales' variances per unit of time, weighted by how near each scale lies to
the horizon, times the horizon. The median is a trend: the exponentially weighted mean return per unit of time, weighted
the same way, shrunk towards zero as a normal prior bids (Lindley and Smith 1972). The prior says how strong trends are
believed to be: a day's drift has `trend_sharpe` times a day's deviation. 0.05 is an annual Sharpe ratio near 1, already
a rare thing, and leaves next to nothing of what is seen; 0 makes the median zero. Tails are Student's t with 4 degrees
of freedom, the usual order for intraday returns.

Nothing is fitted, so there is no training range to leak from. Every value is a function of closed bars known by then.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.domain.market import F64, I64, BarBatch, ForecastBatch

_DAY_NS = 86_400_000_000_000


class EwmaVolParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings. Half-lives count bars of each scale."""

    decision_scale_ns: int
    scales_ns: tuple[int, ...]
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    volatility_half_life: float = 30.0
    trend_half_life: float = 60.0
    trend_sharpe: float = 0.05  # prior deviation of a day's drift, in deviations of a day's return
    warm_up_bars: int = 30  # of a scale, before it counts


class EwmaVol:
    """A `ports.Predictor` of one instrument.

    Raises:
        ValueError: a setting is impossible; the message names it.
    """

    def __init__(self, params: EwmaVolParams) -> None:
        if params.decision_scale_ns not in params.scales_ns:
            raise ValueError("decision_scale must be one of scales")
        if not params.horizons_ns or min(params.horizons_ns) <= 0:
            raise ValueError("horizons must be positive, and not none")
        if list(params.levels) != sorted(set(params.levels)) or not 0 < params.levels[0] <= params.levels[-1] < 1:
            raise ValueError("levels must ascend within 0 and 1")
        if not (params.volatility_half_life > 0 and params.trend_half_life > 0 and 0 <= params.trend_sharpe <= 1):
            raise ValueError("half-lives must be positive, and trend_sharpe between 0 and 1")
        if params.warm_up_bars < 2:
            raise ValueError("warm_up_bars must be at least 2")
        self._params = params
        self._scales = tuple(sorted(params.scales_ns))
        self._states = {scale_ns: _ScaleState(params) for scale_ns in self._scales}
        self._weights_HS = _nearness(params.horizons_ns, self._scales)
        self._tail_Q = np.array([_student_quantile(level) for level in params.levels])
        self._rows = 0
        self.model_id = "ewma_vol-" + hashlib.sha256(msgspec.json.encode(params)).hexdigest()[:12]

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `ports.Predictor`."""
        return self._scales

    def predict(self, bars: Mapping[int, BarBatch]) -> ForecastBatch | None:
        """See `ports.Predictor`: a forecast for every decision bar, once any scale has warmed up."""
        for scale_ns in self._scales:
            if scale_ns in bars:
                self._states[scale_ns].update(bars[scale_ns])
        decisions = bars.get(self._params.decision_scale_ns)
        if decisions is None:
            self._forget(None)
            return None
        # What each scale knew at each decision bar: rates per ns, NaN before it has warmed up.
        variance_NS, trend_NS, noise_NS = (np.empty((len(decisions), len(self._scales))) for _ in range(3))
        for column, scale_ns in enumerate(self._scales):
            known = self._states[scale_ns].at(decisions.known_ns)
            variance_NS[:, column], trend_NS[:, column], noise_NS[:, column] = known / scale_ns
            noise_NS[:, column] /= scale_ns
        self._forget(decisions)
        quantiles, importance = _combine(
            variance_NS,
            trend_NS,
            noise_NS,
            self._weights_HS,
            np.array(self._params.horizons_ns, dtype=np.float64),
            self._tail_Q,
            self._params.trend_sharpe**2 / _DAY_NS,
        )
        return self._batch(decisions, quantiles, importance)

    def _forget(self, decisions: BarBatch | None) -> None:
        for state in self._states.values():
            state.forget(None if decisions is None else int(decisions.known_ns[-1]))

    def _batch(self, decisions: BarBatch, quantiles: F64, importance: F64) -> ForecastBatch | None:
        ready = np.isfinite(quantiles).all(axis=(1, 2))
        if not ready.any():
            return None
        first_row, self._rows = self._rows, self._rows + int(ready.sum())
        return ForecastBatch(
            instrument=decisions.instrument,
            first_row=first_row,
            model_id=self.model_id,
            scale_ns=decisions.scale_ns,
            horizons_ns=self._params.horizons_ns,
            levels=self._params.levels,
            scales_ns=self._scales,
            bar_row=np.arange(decisions.first_row, decisions.first_row + len(decisions))[ready],
            close_ns=decisions.close_ns[ready],
            known_ns=decisions.known_ns[ready],
            quantiles=quantiles[ready],
            importance=importance[ready],
        )


class _ScaleState:
    """One scale's running statistics, and their values at its newest bars."""

    def __init__(self, params: EwmaVolParams) -> None:
        self._decay = np.array([0.5 ** (1 / params.volatility_half_life), 0.5 ** (1 / params.trend_half_life)])
        self._warm_up = params.warm_up_bars
        # bars seen, previous close, weighted sums of r^2, r and their weights, sum of squared trend weights
        self._state = np.zeros(7)
        self._known_ns: I64 = np.array([-(2**62)])
        self._values = np.full((3, 1), np.nan)

    def update(self, bars: BarBatch) -> None:
        values = np.empty((3, len(bars)))
        _ewma(bars.close_ticks, self._decay, self._warm_up, self._state, values)
        self._known_ns = np.concatenate([self._known_ns, bars.known_ns])
        self._values = np.concatenate([self._values, values], axis=1)

    def at(self, known_ns: I64) -> F64:
        """Return variance, trend and the trend's own variance, all per bar, as known at these times: [3, N]."""
        return np.asarray(self._values[:, np.searchsorted(self._known_ns, known_ns, side="right") - 1])

    def forget(self, before_ns: int | None) -> None:
        """Drop what no later decision can ask for: all but the newest known by `before_ns`."""
        if before_ns is not None:
            keep = int(np.searchsorted(self._known_ns, before_ns, side="right")) - 1
            self._known_ns, self._values = self._known_ns[keep:], self._values[:, keep:]


@njit(cache=True)
def _ewma(close, decay, warm_up, state, out):  # type: ignore[no-untyped-def]
    for i in range(close.size):
        if state[0] > 0:
            r = math.log(close[i] / state[1])
            state[2] = decay[0] * state[2] + r * r
            state[3] = decay[0] * state[3] + 1.0
            state[4] = decay[1] * state[4] + r
            state[5] = decay[1] * state[5] + 1.0
            state[6] = decay[1] * decay[1] * state[6] + 1.0
        state[0] += 1.0
        state[1] = close[i]
        if state[0] > warm_up:
            variance = state[2] / state[3]
            out[0, i] = variance
            out[1, i] = state[4] / state[5]
            out[2, i] = variance * state[6] / (state[5] * state[5])
        else:
            out[:, i] = np.nan


@njit(cache=True)
def _combine(variance, trend, noise, weights, horizons, tail, prior):  # type: ignore[no-untyped-def]
    rows, scales = variance.shape
    quantiles = np.empty((rows, horizons.size, tail.size))
    importance = np.zeros((rows, scales))
    for n in range(rows):
        for h in range(horizons.size):
            total = 0.0
            rate = 0.0
            drift = 0.0
            drift_noise = 0.0
            for s in range(scales):
                if math.isfinite(variance[n, s]):
                    total += weights[h, s]
                    rate += weights[h, s] * variance[n, s]
                    drift += weights[h, s] * trend[n, s]
                    drift_noise += weights[h, s] * noise[n, s]
            if total == 0.0:
                quantiles[n, h, :] = np.nan
                continue
            rate /= total
            believed = prior * rate  # the prior's variance of the drift
            shrunk = 0.0
            if believed > 0.0:
                shrunk = drift / total * believed / (believed + drift_noise / total)
            deviation = math.sqrt(rate * horizons[h])
            for q in range(tail.size):
                quantiles[n, h, q] = shrunk * horizons[h] + deviation * tail[q]
            for s in range(scales):
                if math.isfinite(variance[n, s]):
                    importance[n, s] += weights[h, s] / total / horizons.size
    return quantiles, importance


def _nearness(horizons_ns: Sequence[int], scales_ns: Sequence[int]) -> NDArray[np.float64]:
    """Return [H, S] weights that fall by half with each factor of four between the horizon's tenth and the scale.

    A variance is best told by about ten or more bars within the horizon: a scale as long as the horizon knows little.
    """
    distance = [[abs(math.log(max(h / 10, scales_ns[0]) / s, 4)) for s in scales_ns] for h in horizons_ns]
    return np.array([[0.5**d for d in row] for row in distance])


def _student_quantile(level: float) -> float:
    """Return the quantile of Student's t with 4 degrees of freedom, scaled to variance 1 (Shaw 2006, eq. 4.6)."""
    alpha = 4 * level * (1 - level)
    if alpha >= 1:
        return 0.0
    root = math.cos(math.acos(math.sqrt(alpha)) / 3) / math.sqrt(alpha)
    return math.copysign(2 * math.sqrt(max(root - 1, 0.0)), level - 0.5) / math.sqrt(2)
