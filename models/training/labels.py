"""What a model is taught: the return, the volatility and the deepest fall after a decision.

A decision is a closed bar. It is taken when the bar is known, `known_ns`, and counted from the bar's close, at the
bar's closing price, as `ForecastBatch` does. A label over the horizon h speaks of the time (close, close + h] and
of nothing else, measured on the finest bars there are (the *path*). It is known once the last of those bars is: at
`label_end_ns` = known + h. A lateness of bars moves both ends alike, so [known_ns, label_end_ns] may be compared
with other samples' in place of (close, close + h].

A label is NaN where nobody can know it: the horizon runs past the data, or over a hole in the path, a stretch
without a row or with rows marked GAP, that is longer than `hole_max_ns`. A shorter hole leaves the last price before
it standing. Whether a label is NaN depends on where the data is, never on what the prices did there.

Symbols in formulas: P0 the decision bar's close, c its time, h the horizon, P(u) the close of the last path bar that
closed by u.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import F64, GAP, I64, BarBatch

# Shape letters in this file: N decision bar, K label.


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labels:
    """Numbers to learn: one row per decision bar, one named column per label."""

    instrument: Instrument
    names: tuple[str, ...]
    bar_row: I64  # [N] the decision bar's row number in its stream
    close_ns: I64  # [N] its close: where every label's time begins
    known_ns: I64  # [N] when the decision is taken
    values: F64  # [N, K] NaN: not known, for want of data
    label_end_ns: I64  # [N, K] when the label is known

    def __len__(self) -> int:
        return len(self.bar_row)


def join_labels(parts: Sequence[Labels]) -> Labels:
    """Return the columns of `parts` side by side.

    Raises:
        ValueError: they are not of the same decisions, or two columns have one name.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.instrument != first.instrument or not (
            np.array_equal(part.bar_row, first.bar_row)
            and np.array_equal(part.close_ns, first.close_ns)
            and np.array_equal(part.known_ns, first.known_ns)
        ):
            raise ValueError(f"{part.names} and {first.names} are labels of different decisions")
    names = tuple(name for part in parts for name in part.names)
    if len(set(names)) < len(names):
        raise ValueError(f"two labels have one name: {', '.join(names)}")
    return Labels(
        instrument=first.instrument,
        names=names,
        bar_row=first.bar_row,
        close_ns=first.close_ns,
        known_ns=first.known_ns,
        values=np.concatenate([part.values for part in parts], axis=1),
        label_end_ns=np.concatenate([part.label_end_ns for part in parts], axis=1),
    )


def returns_after(decisions: BarBatch, path: BarBatch, *, horizons_ns: Sequence[int], hole_max_ns: int) -> Labels:
    """Return the log return over each horizon: ln(P(c + h) / P0), a plain number, cumulative from the decision.

    Args:
        decisions: the bars after whose close a decision is taken.
        path: the finest bars of the same instrument, or the decision bars themselves.
        horizons_ns: whole multiples of the path's bars.
        hole_max_ns: the longest hole in the path that a horizon may touch.

    Raises:
        ValueError: a horizon is impossible.
        DataError: the two series contradict each other.
    """
    reaches = [reach(decisions, path, horizon_ns, hole_max_ns) for horizon_ns in horizons_ns]
    values_NK = np.full((len(decisions), len(reaches)), np.nan)
    for column, each in enumerate(reaches):
        row = each.is_known
        last_ticks = path.close_ticks[each.stop[row] - 1]
        values_NK[row, column] = np.log(last_ticks / decisions.close_ticks[row])
    return _labels("return", decisions, horizons_ns, values_NK)


def volatility_after(decisions: BarBatch, path: BarBatch, *, horizons_ns: Sequence[int], hole_max_ns: int) -> Labels:
    """Return the natural logarithm of the realised volatility over each horizon: ln sqrt(sum r^2).

    r are the log returns from P0 to the first path bar's close and on from close to close; the volatility is a plain
    number over the whole horizon, not annualised. A horizon in which the price moved less than one tick counts as one
    tick of P0, so that a halt does not become minus infinity. Arguments and errors as for `returns_after`.

    Source:
        Andersen, Bollerslev, Diebold and Labys (2003), Modeling and Forecasting Realized Volatility, eq. 3.
    """
    log_path = np.log(path.close_ticks)
    log_start = np.log(decisions.close_ticks)
    values_NK = np.full((len(decisions), len(horizons_ns)), np.nan)
    for column, horizon_ns in enumerate(horizons_ns):
        each = reach(decisions, path, horizon_ns, hole_max_ns)
        squares = _sums_of_squares(log_start, log_path, each.first, each.stop, each.is_known)
        values_NK[:, column] = np.log(np.maximum(np.sqrt(squares), 1 / decisions.close_ticks))
    return _labels("log_volatility", decisions, horizons_ns, values_NK)


def drawdown_after(decisions: BarBatch, path: BarBatch, *, horizons_ns: Sequence[int], hole_max_ns: int) -> Labels:
    """Return the deepest fall within each horizon, as a log return with its sign turned: zero or more.

    From the highest price so far, P0 and the path's closes, down to a later bar's low. Highs are no peaks here: what
    came first within a bar is not told. Neighbouring decisions share most of it; `average_uniqueness` weighs for that.
    Arguments and errors as for `returns_after`.
    """
    log_start, log_path, log_low = (
        np.log(ticks) for ticks in (decisions.close_ticks, path.close_ticks, path.low_ticks)
    )
    values_NK = np.full((len(decisions), len(horizons_ns)), np.nan)
    for column, horizon_ns in enumerate(horizons_ns):
        each = reach(decisions, path, horizon_ns, hole_max_ns)
        values_NK[:, column] = _deepest(log_start, log_path, log_low, each.first, each.stop, each.is_known)
    return _labels("drawdown", decisions, horizons_ns, values_NK)


def _labels(kind: str, decisions: BarBatch, horizons_ns: Sequence[int], values_NK: F64) -> Labels:
    return Labels(
        instrument=decisions.instrument,
        names=tuple(f"{kind}_{format_duration(horizon_ns)}" for horizon_ns in horizons_ns),
        bar_row=np.arange(decisions.first_row, decisions.first_row + len(decisions)),
        close_ns=decisions.close_ns,
        known_ns=decisions.known_ns,
        values=values_NK,
        label_end_ns=decisions.known_ns[:, None] + np.array(horizons_ns, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def _sums_of_squares(log_start, log_path, first, stop, is_known):  # type: ignore[no-untyped-def]
    # Summed afresh for every decision: a difference of running sums would carry the rounding of all that came before.
    out = np.full(first.size, np.nan)
    for i in range(first.size):
        if is_known[i]:
            before = log_start[i]
            total = 0.0
            for row in range(first[i], stop[i]):
                step = log_path[row] - before
                total += step * step
                before = log_path[row]
            out[i] = total
    return out


@njit(cache=True, nogil=True)
def _deepest(log_start, log_path, log_low, first, stop, is_known):  # type: ignore[no-untyped-def]
    out = np.full(first.size, np.nan)
    for i in range(first.size):
        if is_known[i]:
            peak = log_start[i]
            deepest = 0.0
            for row in range(first[i], stop[i]):
                deepest = max(deepest, peak - log_low[row])
                peak = max(peak, log_path[row])
            out[i] = deepest
    return out


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reach:
    """The path's rows `first` to `stop` that close within a horizon after each decision."""

    first: I64
    stop: I64
    is_known: NDArray[np.bool_]  # the data reaches over the horizon, without too long a hole


def reach(decisions: BarBatch, path: BarBatch, horizon_ns: int, hole_max_ns: int) -> Reach:
    """Find which path bars close in (close, close + horizon] of each decision; arguments as for `returns_after`."""
    if horizon_ns <= 0 or (path.scale_ns and horizon_ns % path.scale_ns):
        bar = format_duration(path.scale_ns)
        raise ValueError(f"a horizon of {horizon_ns} ns cannot be measured on {bar} bars; take a multiple of {bar}")
    if hole_max_ns < 0:
        raise ValueError("hole_max_ns must not be negative")
    _check_pair(decisions, path)
    start_ns, end_ns, path_ns = decisions.close_ns, decisions.close_ns + horizon_ns, path.close_ns
    first = np.searchsorted(path_ns, start_ns, side="right")
    stop = np.searchsorted(path_ns, end_ns, side="right")
    is_known = (stop > 0) & ~_touches_hole(path, start_ns, end_ns, hole_max_ns)
    if (path.known_ns[stop[is_known] - 1] > decisions.known_ns[is_known] + horizon_ns).any():
        raise DataError(
            f"{path.instrument.name}: the finest bars are known later after their close than the decision bars are; "
            "make both with one lateness"
        )
    return Reach(first=first, stop=stop, is_known=is_known)


def _check_pair(decisions: BarBatch, path: BarBatch) -> None:
    """Raise unless the path can be what followed the decisions: same instrument, in order, same prices where both tell.

    A series that is shifted by a bar, or of another instrument, is found here and not in a model that is too good.
    """
    name = path.instrument.name
    if decisions.instrument != path.instrument:
        raise ValueError(f"decisions are of {decisions.instrument.name}, the finest bars of {name}")
    if not len(path):
        raise DataError(f"{name}: no bars to measure labels on; check the range of time")
    path_ns = path.close_ns
    if (np.diff(path_ns) < 0).any() or (np.diff(decisions.close_ns) < 0).any():
        raise DataError(f"{name}: bars go back in time; sort them")
    if path.scale_ns == 0:
        return  # several event bars may end within one ns: which of them the decision saw cannot be told
    row = np.searchsorted(path_ns, decisions.close_ns, side="right") - 1
    is_both = (row >= 0) & (path_ns[row] == decisions.close_ns) & (path.flags[row] & GAP == 0)
    differs = is_both & (path.close_ticks[row] != decisions.close_ticks)
    if differs.any():
        at = int(np.argmax(differs))
        closed = np.datetime64(int(decisions.close_ns[at]), "ns").astype("datetime64[s]")
        raise DataError(
            f"{name}: at {closed}Z the decision bar closes at {path.instrument.price(int(decisions.close_ticks[at]))} "
            f"and the finest bar at {path.instrument.price(int(path.close_ticks[row[at]]))}; make both from one source"
        )


def _touches_hole(path: BarBatch, start_ns: I64, end_ns: I64, hole_max_ns: int) -> NDArray[np.bool_]:
    """Return whether (start, end] leaves the data or touches a hole longer than `hole_max_ns`.

    A hole (from, until) is touched from the instant it begins until a bar after it has closed: at `until` itself the
    newest price is still the one from before.
    """
    is_row = path.flags & GAP == 0
    if not is_row.any():
        return np.ones(len(start_ns), dtype=np.bool_)
    open_ns, close_ns = path.open_ns[is_row], path.close_ns[is_row]
    from_ns = close_ns
    until_ns = np.append(open_ns[1:], path.close_ns[-1])
    is_long = until_ns - from_ns > hole_max_ns
    from_ns, until_ns = from_ns[is_long], until_ns[is_long]
    hole = np.searchsorted(until_ns, start_ns, side="left")
    is_over = np.append(from_ns, np.iinfo(np.int64).max)[hole] < end_ns
    return np.asarray(is_over | (start_ns < open_ns[0]) | (end_ns > path.close_ns[-1]))


def ewma_volatility(bars: BarBatch, *, half_life: float, warm_up: int) -> F64:
    """Return the deviation of one bar's log return, as known at each bar's `known_ns`: [N], NaN before `warm_up`.

    The square root of the exponentially weighted mean of squared log returns, the newest bar's included; times
    sqrt(h / scale) it is a horizon's. A return across a hole is not one bar's and does not count.

    Args:
        bars: of one time scale.
        half_life: in bars.
        warm_up: returns that must have been seen.

    Source:
        RiskMetrics Technical Document, 4th ed. (1996), section 5.2.
    """
    if not half_life > 0 or warm_up < 1:
        raise ValueError("half_life must be positive and warm_up at least 1")
    out: F64 = _ewma(np.log(bars.close_ticks), is_step_of(bars), 0.5 ** (1 / half_life), warm_up)
    return out


def is_step_of(bars: BarBatch) -> NDArray[np.bool_]:
    """Return whether each bar and the one before follow one another without a hole: their return is one bar's."""
    is_gap = bars.flags & GAP != 0
    follows = np.diff(bars.open_ns, prepend=bars.open_ns[:1] - 1) == bars.scale_ns
    return np.asarray(follows & ~is_gap & ~np.append(True, is_gap[:-1])[: len(bars)])


@njit(cache=True, nogil=True)
def _ewma(log_close, is_step, decay, warm_up):  # type: ignore[no-untyped-def]
    out = np.full(log_close.size, np.nan)
    total = 0.0
    weight = 0.0
    seen = 0
    for i in range(log_close.size):
        if is_step[i]:
            step = log_close[i] - log_close[i - 1]
            total = decay * total + step * step
            weight = decay * weight + 1.0
            seen += 1
        if seen >= warm_up:
            out[i] = np.sqrt(total / weight)
    return out
