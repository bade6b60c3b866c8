"""The charts of forecasts: fans beside what happened, reliability, and which scales they rested on."""

from typing import Any

import numpy as np

from bot.report import words
from bot.report.forecasts import central_intervals, outcomes
from bot.report.frames import F64, I64, InstrumentTape
from bot.report.run_data import ForecastTable
from bot.report.thin import extremes, stretch_means
from bot.report.view import Figure, rounded, times_ms

_PATH_POINTS_MAX = 300
_STRETCHES_MAX = 300
SERIES = 6  # colours in the CSS, --series-1 on


def fan_rows(table: ForecastTable, tape: InstrumentTape, count: int) -> I64:
    """Return `count` evenly spaced forecasts of those whose last outcome is known: chosen by the clock alone."""
    is_known = np.isfinite(outcomes(table, tape)).all(axis=1) & np.isfinite(table.quantiles).all(axis=(1, 2))
    known = np.flatnonzero(is_known)
    if len(known) <= count:
        return known
    return known[((np.arange(count) + 0.5) * len(known) / count).astype(np.int64)]


def fan_figures(table: ForecastTable, tape: InstrumentTape, chosen: I64) -> list[Figure]:
    """Return one small chart each: intervals and median of the log return in hundredths, and the path it took.

    The time axis is the square root of time, on which the spread of a random walk opens in straight lines.
    """
    if not len(chosen):
        return []
    paths = [_path(table, tape, int(row)) for row in chosen]
    moves = [100 * table.quantiles[chosen], *(path for _, path in paths)]
    reach = max(float(np.abs(move).max()) for move in moves)
    x_H = np.sqrt(np.array(table.horizons_ns) / 1e9)
    outcome_NH = 100 * outcomes(table, tape)[chosen]
    axis = {
        "tickvals": rounded(x_H),
        "ticktext": [words.span(horizon_ns) for horizon_ns in table.horizons_ns],
        "range": [0, float(x_H[-1]) * 1.04],
    }
    return [
        {
            "data": [
                *_bands(100 * table.quantiles[row], table.levels, x_H),
                *_happened(x, path, x_H, outcome_H),
            ],
            "layout": {
                "showlegend": False,
                "hovermode": "closest",
                "margin": {"t": 8},
                "xaxis": axis,
                "yaxis": {"range": [-1.08 * reach, 1.08 * reach], "ticksuffix": " %", "zeroline": True},
            },
        }
        for row, (x, path), outcome_H in zip(chosen.tolist(), paths, outcome_NH, strict=True)
    ]


def reliability_figure(records: list[dict[str, Any]]) -> Figure:
    """Return, for each horizon, how often the outcome fell below each quantile, beside how often it should.

    The bars are 95 % intervals from the samples that do not overlap.
    """
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Nominal",
            "x": [0, 100],
            "y": [0, 100],
            "line": {"color": "var(--muted)", "width": 1, "dash": "dash"},
            "hoverinfo": "skip",
        }
    ]
    for n, record in enumerate(record for record in records if record["levels"]):
        colour = f"var(--series-{n % SERIES + 1})"
        nominal = np.array([level["nominal"] for level in record["levels"]])
        actual = np.array([level["actual"] for level in record["levels"]])
        error = 1.96 * np.sqrt(actual * (1 - actual) / record["samples_non_overlapping"])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": words.span(record["horizon_ns"]),
                "x": rounded(100 * nominal),
                "y": rounded(100 * actual, 4),
                "error_y": {"array": rounded(100 * error, 4), "color": colour, "thickness": 1, "width": 3},
                "line": {"color": colour, "width": 1.75},
                "marker": {"color": colour, "size": 7},
                "hovertemplate": "asked %{x:.0f} %, got %{y:.1f} %",
            }
        )
    share = {"range": [-2, 102], "ticksuffix": " %", "dtick": 25}
    return {
        "data": traces,
        "layout": {
            "hovermode": "closest",
            "xaxis": {**share, "title": {"text": "Quantile forecast"}},
            "yaxis": {**share, "title": {"text": "Outcomes below it"}},
        },
    }


def has_importance(table: ForecastTable) -> bool:
    """Return whether there is anything to draw."""
    return bool(np.isfinite(table.importance).all(axis=1).any()) and len(table.scales_ns) > 0


def importance_figure(table: ForecastTable, time_axis: dict[str, Any]) -> Figure:
    """Return the weight of each time scale over time, stacked, averaged over stretches."""
    weights_NS = table.importance[np.isfinite(table.importance).all(axis=1)]
    times_N = table.close_ns[np.isfinite(table.importance).all(axis=1)]
    starts, means_NS = stretch_means(weights_NS, _STRETCHES_MAX)
    x = times_ms(times_N[starts])
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": words.span(scale_ns),
                "x": x,
                "y": rounded(means_NS[:, s], 4),
                "stackgroup": "scales",
                "line": {"width": 0.5, "color": f"var(--series-{s % SERIES + 1})"},
                "fillcolor": f"var(--series-{s % SERIES + 1}-soft)",
                "hovertemplate": "%{y:.2f}",
            }
            for s, scale_ns in enumerate(table.scales_ns)
        ],
        "layout": {
            "hovermode": "x unified",
            "xaxis": time_axis,
            "yaxis": {"title": {"text": "Weight"}, "rangemode": "tozero"},
        },
    }


def _path(table: ForecastTable, tape: InstrumentTape, row: int) -> tuple[F64, F64]:
    """Return the square root of the seconds since the decision, and the log return since then in hundredths."""
    start_ns = int(table.close_ns[row])
    first, last = np.searchsorted(tape.close_ns, [start_ns, start_ns + table.horizons_ns[-1]], side="right")
    first = max(int(first) - 1, 0)
    closes = tape.close[first:last]
    path = 100 * np.log(closes / closes[0])
    shown = extremes(path, _PATH_POINTS_MAX)
    since_ns = np.maximum(tape.close_ns[first:last] - start_ns, 0)[shown]
    return np.sqrt(since_ns / 1e9), path[shown]


def _bands(quantiles_HQ: F64, levels: tuple[float, ...], x_H: F64) -> list[dict[str, Any]]:
    """Return each central interval as an area that opens from the decision, the widest first, then the median."""
    x = np.concatenate([[0.0], x_H])
    traces: list[dict[str, Any]] = []
    for low, high, nominal in central_intervals(levels):
        lower = np.concatenate([[0.0], quantiles_HQ[:, low]])
        upper = np.concatenate([[0.0], quantiles_HQ[:, high]])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{words.share(nominal, 0)} interval",
                "x": rounded(np.concatenate([x, x[::-1]])),
                "y": rounded(np.concatenate([lower, upper[::-1]]), 5),
                "fill": "toself",
                "fillcolor": "var(--band)",
                "line": {"width": 0},
                "hoverinfo": "skip",
            }
        )
    if 0.5 in levels:
        median = np.concatenate([[0.0], quantiles_HQ[:, levels.index(0.5)]])
        line = {"color": "var(--strategy)", "width": 1.5, "dash": "dot"}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "Median",
                "x": rounded(x),
                "y": rounded(median, 5),
                "line": line,
                "hovertemplate": "forecast %{y:.2f} %<extra></extra>",
            }
        )
    return traces


def _happened(x: F64, path: F64, x_H: F64, outcome_H: F64) -> list[dict[str, Any]]:
    """Return the path that the price took, and a dot where each horizon ended."""
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "What happened",
            "x": rounded(x),
            "y": rounded(path, 5),
            "line": {"color": "var(--ink)", "width": 1.25},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Outcome",
            "x": rounded(x_H),
            "y": rounded(outcome_H, 5),
            "marker": {"color": "var(--ink)", "size": 7, "line": {"color": "var(--card)", "width": 1.5}},
            "hovertemplate": "happened %{y:.2f} %<extra></extra>",
        },
    ]
