"""How good the forecasts were: coverage of their intervals, pinball loss, direction, with honest sample counts."""

from bisect import bisect_left
from typing import Any

import numpy as np

from bot.report.frames import F64, I64, InstrumentTape, tapes
from bot.report.run_data import ForecastTable, RunData

# Shapes: N forecasts, H horizons, Q quantile levels.


def outcomes(table: ForecastTable, tape: InstrumentTape) -> F64:
    """Return [N, H]: the log return that each forecast was about; NaN where the tape does not reach."""
    start_N = tape.price_at(table.close_ns)
    ends_HN = [tape.price_at(table.close_ns + horizon_ns) for horizon_ns in table.horizons_ns]
    outcome_NH: F64 = np.log(np.stack(ends_HN, axis=1) / start_N[:, None])
    return outcome_NH


def evaluate_forecasts(data: RunData) -> list[dict[str, Any]]:
    """Return one JSON-ready record for each instrument and horizon."""
    by_name = {tape.instrument: tape for tape in tapes(data)}
    records = []
    for name, table in data.forecasts.items():
        if name not in by_name:
            continue
        outcome_NH = outcomes(table, by_name[name])
        for h, horizon_ns in enumerate(table.horizons_ns):
            record = _evaluate_horizon(table, outcome_NH[:, h], table.quantiles[:, h, :], horizon_ns)
            records.append({"instrument": name, "horizon_ns": horizon_ns} | record)
    return records


def apart(ts_ns: I64, gap_ns: int) -> I64:
    """Return rows that lie at least `gap_ns` apart, the first one first, as many as fit."""
    if len(ts_ns) < 2 or int(np.diff(ts_ns).min()) >= gap_ns:
        return np.arange(len(ts_ns))
    times = ts_ns.tolist()
    kept = []
    row = 0
    while row < len(times):
        kept.append(row)
        row = bisect_left(times, times[row] + gap_ns, row + 1)
    return np.array(kept, dtype=np.int64)


def central_intervals(levels: tuple[float, ...]) -> list[tuple[int, int, float]]:
    """Return (lower level, upper level, nominal share between) of each pair that is symmetric, widest first."""
    found = []
    for low, level in enumerate(levels):
        for high in range(low + 1, len(levels)):
            if abs(level + levels[high] - 1) < 1e-9:
                found.append((low, high, levels[high] - level))
    return found


def _evaluate_horizon(table: ForecastTable, outcome_N: F64, quantiles_NQ: F64, horizon_ns: int) -> dict[str, Any]:
    is_known = np.isfinite(outcome_N) & np.isfinite(quantiles_NQ).all(axis=1)
    y_N, q_NQ = outcome_N[is_known], quantiles_NQ[is_known]
    own = apart(table.close_ns[is_known], horizon_ns)
    levels_Q = np.array(table.levels)
    is_below_NQ = y_N[:, None] <= q_NQ
    record: dict[str, Any] = {
        "forecasts": len(outcome_N),
        "samples": len(y_N),
        "samples_non_overlapping": len(own),
        "pinball_loss": None,
        "pinball_loss_constant": None,
        "direction_hit_rate": None,
        "levels": [],
        "intervals": [],
    }
    if not len(y_N):
        return record
    # The constant is fitted in hindsight: the best that a forecast which never changes could have done.
    constant_Q: F64 = np.asarray(np.quantile(y_N, levels_Q), dtype=np.float64)
    record["pinball_loss"] = _pinball(y_N, q_NQ, levels_Q)
    record["pinball_loss_constant"] = _pinball(y_N, constant_Q[None, :], levels_Q)
    record["direction_hit_rate"] = _direction_hit_rate(y_N, q_NQ, table.levels)
    record["levels"] = [
        {"nominal": level, "actual": _mean(is_below_NQ[:, q]), "actual_non_overlapping": _mean(is_below_NQ[own, q])}
        for q, level in enumerate(table.levels)
    ]
    for low, high, nominal in central_intervals(table.levels):
        is_inside_N = (q_NQ[:, low] <= y_N) & (y_N <= q_NQ[:, high])
        record["intervals"].append(
            {
                "nominal": round(nominal, 9),
                "actual": _mean(is_inside_N),
                "actual_non_overlapping": _mean(is_inside_N[own]),
            }
        )
    return record


def _pinball(y_N: F64, q_NQ: F64, levels_Q: F64) -> float:
    """Return the mean pinball loss over forecasts and levels, in units of log return."""
    miss_NQ = y_N[:, None] - q_NQ
    return float(np.maximum(levels_Q * miss_NQ, (levels_Q - 1) * miss_NQ).mean())


def _direction_hit_rate(y_N: F64, q_NQ: F64, levels: tuple[float, ...]) -> float | None:
    """Return how often the median had the sign of what happened, where neither is zero."""
    if 0.5 not in levels:
        return None
    median_N = q_NQ[:, levels.index(0.5)]
    has_sign = (median_N != 0) & (y_N != 0)
    return _mean((median_N > 0)[has_sign] == (y_N > 0)[has_sign]) if has_sign.any() else None


def _mean(is_true: Any) -> float:
    return float(np.mean(is_true))
