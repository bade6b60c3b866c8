"""Offsets from a stretch of data set aside: split conformal calibration of quantiles.

If the calibration decisions and the next one could have come in any order, the calibrated interval holds the next
outcome with at least its nominal probability, exactly k / (n + 1) with k = ceil((n + 1) nominal), whatever the model.
Markets do not allow any order: what is fitted here is where `core.calibration` starts from.

Overlapping outcomes are not n stories. All rows make the empirical distribution, but n, which decides how far beyond
the nominal level one has to go, is the number of decisions that do not overlap.

Source: Romano, Patterson and Candès 2019, "Conformalized quantile regression"; asymmetric form: section 4, theorem 2.
"""

import math
from bisect import bisect_left
from typing import Literal

import numpy as np

from bot.core.durations import format_duration
from bot.core.offsets import Offsets
from bot.domain.errors import DataError
from bot.domain.market import F64, I64
from models.evaluation.forecast_set import ForecastSet

_HALF = 1e-9
_ROUNDING = 1e-9  # (n + 1) * level is a whole number despite its float


def fit_offsets(forecasts: ForecastSet, *, by: Literal["level", "pair"] = "level") -> Offsets:
    """Return the offsets that make these forecasts hold what they promise.

    Args:
        forecasts: neither trained on nor chosen by, and not what the result will be judged on.
        by: "level" moves each quantile by itself: each tail is right. "pair" widens or narrows each central interval
            by one number to both sides: its coverage is right and needs fewer decisions, and a skew stays.

    Raises:
        DataError: a level lies too far out for so few decisions, or a forecast has no spread.
    """
    values = tuple(tuple(_fit(forecasts, h, by)) for h in range(len(forecasts.horizons_ns)))
    return Offsets(horizons_ns=forecasts.horizons_ns, levels=forecasts.levels, values=values)


def apart(ts_ns: I64, gap_ns: int) -> I64:
    """Return rows that lie at least `gap_ns` apart, the first one first, as many as fit."""
    times = ts_ns.tolist()
    kept, row = [], 0
    while row < len(times):
        kept.append(row)
        row = bisect_left(times, times[row] + gap_ns, row + 1)
    return np.array(kept, dtype=np.int64)


def _fit(forecasts: ForecastSet, horizon: int, by: Literal["level", "pair"]) -> list[float]:
    known = forecasts.is_known_NH[:, horizon]
    y_N, q_NQ = forecasts.target_NH[known, horizon], forecasts.quantiles_NHQ[known, horizon]
    horizon_ns, levels = forecasts.horizons_ns[horizon], forecasts.levels
    if not len(y_N):
        raise DataError(f"{forecasts.model}: no outcome at {format_duration(horizon_ns)} is known to calibrate by")
    spread_N = q_NQ[:, -1] - q_NQ[:, 0]
    if not (spread_N > 0).all():
        raise DataError(
            f"{forecasts.model}: row {int(np.argmin(spread_N > 0))} at {format_duration(horizon_ns)} has no spread to "
            "measure offsets in; such a forecast cannot be calibrated"
        )
    stories = len(apart(forecasts.start_ns[known], horizon_ns))
    miss_NQ = (y_N[:, None] - q_NQ) / spread_N[:, None]
    out = [0.0] * len(levels)
    if by == "pair":
        for low, high, nominal in forecasts.pairs():
            out[high] = _upper(np.maximum(-miss_NQ[:, low], miss_NQ[:, high]), nominal, stories, forecasts, horizon)
            out[low] = -out[high]
        return out
    for q, level in enumerate(levels):
        if level > 0.5 + _HALF:
            out[q] = _upper(miss_NQ[:, q], level, stories, forecasts, horizon)
        elif level < 0.5 - _HALF:
            out[q] = -_upper(-miss_NQ[:, q], 1 - level, stories, forecasts, horizon)
    return out


def _upper(miss_N: F64, level: float, stories: int, forecasts: ForecastSet, horizon: int) -> float:
    """Return the smallest miss that at least ceil((n + 1) level) / n of all do not exceed."""
    share = math.ceil((stories + 1) * level - _ROUNDING) / stories
    if share > 1:
        span = format_duration(forecasts.horizons_ns[horizon])
        raise DataError(
            f"{forecasts.model}: {stories} decisions {span} apart are too few to calibrate a level of {level:g}; set "
            f"aside {math.ceil(level / (1 - level) - _ROUNDING)} or more"
        )
    return float(np.sort(miss_N)[math.ceil(share * len(miss_N) - _ROUNDING) - 1])
