"""What became of forecasts that a run kept: its own prices after each decision, and how its coverage went.

A run's tape has one bar after another. A decision's outcome is known where the tape has a bar at its close and every
bar of the horizon; over a hole it is not, and no price is carried across.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.domain.forecast_names import answer_name
from bot.domain.market import F64, I64
from models.evaluation.forecast_set import ForecastSet

# Shape letters in this file: T bar of the tape, N decision, H horizon, Q level, A named answer.


class LiveCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """The bookkeeping that a run kept of one model's intervals, of one instrument and horizon."""

    model: str
    instrument: str
    horizon_ns: int
    decisions: int
    last: float  # share of outcomes, the newest counting most, that the issued intervals held
    least: float
    greatest: float
    drifting: float  # share of decisions at which it was off by more than chance explains
    shrink_least: float  # the least that sizes were multiplied by


def outcomes_on(tape_close_ns: I64, tape_close: F64, decided_ns: I64, horizons_ns: Sequence[int]) -> tuple[F64, F64]:
    """Return the log return [N, H] and the sum of squared returns over each horizon, NaN where the tape cannot tell.

    Args:
        tape_close_ns: when each bar closed, ascending, bars of one length.

    Raises:
        DataError: the tape goes back in time or holds no prices.
    """
    steps_ns = np.diff(tape_close_ns)
    if len(tape_close_ns) < 2 or (steps_ns <= 0).any() or not (np.isfinite(tape_close) & (tape_close > 0)).all():
        raise DataError("tape: must be two bars at least, in order of time, with prices above zero")
    bar_ns = int(steps_ns.min())
    log_T = np.log(tape_close)
    squares_T = np.concatenate([[0.0], np.cumsum(np.diff(log_T) ** 2)])
    start_N = np.searchsorted(tape_close_ns, decided_ns)
    target_NH = np.full((len(decided_ns), len(horizons_ns)), np.nan)
    variance_NH = target_NH.copy()
    for column, horizon_ns in enumerate(horizons_ns):
        stop_N = np.searchsorted(tape_close_ns, decided_ns + horizon_ns)
        inside_N = stop_N < len(tape_close_ns)
        at_N = np.flatnonzero(inside_N)
        start, stop = start_N[at_N], stop_N[at_N]
        whole = (
            (tape_close_ns[start] == decided_ns[at_N])
            & (tape_close_ns[stop] == decided_ns[at_N] + horizon_ns)
            & ((stop - start) * bar_ns == horizon_ns)
        )
        at_N, start, stop = at_N[whole], start[whole], stop[whole]
        target_NH[at_N, column] = log_T[stop] - log_T[start]
        # Less than the rounding of a running sum is no movement: such an outcome has no variance to be judged by.
        moved = squares_T[stop] - squares_T[start]
        variance_NH[at_N, column] = np.where(moved > 1e-12 * squares_T[-1], moved, np.nan)
    return target_NH, variance_NH


def kept_set(
    model: str,
    parts: Sequence[tuple[I64, F64, F64, F64]],
    *,
    horizons_ns: Sequence[int],
    levels: Sequence[float],
) -> ForecastSet:
    """Return the forecasts of several instruments as what is judged.

    Args:
        parts: of each instrument the decisions [N], quantiles [N, H, Q], log returns and realised variances [N, H].
    """
    instrument_N = np.concatenate([np.full(len(part[0]), number) for number, part in enumerate(parts)])
    decided_ns, quantiles, target, variance = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((instrument_N, decided_ns))
    return ForecastSet(
        model=model,
        horizons_ns=tuple(horizons_ns),
        levels=tuple(levels),
        start_ns=decided_ns[order],
        target_NH=target[order],
        quantiles_NHQ=quantiles[order],
        instrument_N=instrument_N[order] if len(parts) > 1 else None,
        realised_variance_NH=variance[order],
    )


def live_coverage(
    model: str, instrument: str, names: Sequence[str], answers_NA: F64, horizons_ns: Sequence[int]
) -> list[LiveCoverage]:
    """Return the bookkeeping of each horizon; none where the run kept none."""
    found = []
    for horizon_ns in horizons_ns if len(answers_NA) else ():
        span = format_duration(horizon_ns)
        wanted = [answer_name(kind, span) for kind in ("coverage", "drift", "shrink")]
        if any(name not in names for name in wanted):
            continue
        coverage, drift, shrink = (answers_NA[:, list(names).index(name)] for name in wanted)
        found.append(
            LiveCoverage(
                model=model,
                instrument=instrument,
                horizon_ns=horizon_ns,
                decisions=len(coverage),
                last=float(coverage[-1]),
                least=float(coverage.min()),
                greatest=float(coverage.max()),
                drifting=float(np.mean(drift > 0.5)),
                shrink_least=float(shrink.min()),
            )
        )
    return found
