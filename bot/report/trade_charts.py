"""The charts of round trips and costs: what trades returned, how long they lasted, where the money went."""

from html import escape
from itertools import pairwise

import numpy as np

from bot.report import words
from bot.report.frames import F64
from bot.report.view import Figure, View, rounded

_MINUTE_NS = 60_000_000_000
_HOLDING_NS = tuple(_MINUTE_NS * minutes for minutes in (1, 5, 15, 30, 60, 120, 240, 480, 1440, 2880, 10080, 43200))
_HOLDING_LABELS = (  # one more: below the first, between each two, above the last
    *("under<br>1 min", "1-5<br>min", "5-15<br>min", "15-30<br>min", "30-60<br>min", "1-2<br>h", "2-4<br>h"),
    *("4-8<br>h", "8-24<br>h", "1-2<br>d", "2-7<br>d", "7-30<br>d", "over<br>30 d"),
)
_BINS = 36


def returns_figure(view: View) -> Figure:
    """Return how many closed trips brought which net return on their entry value."""
    returns = 100 * np.array([trip.return_on_entry for trip in view.trips if not trip.is_open])
    edges = _edges(returns)
    counts, _ = np.histogram(np.clip(returns, edges[0], edges[-1]), edges)
    middles = (edges[:-1] + edges[1:]) / 2
    texts = [
        f"{words.number(low, 2, signed=True)} to {words.number(high, 2, signed=True)} %"
        for low, high in pairwise(edges)
    ]
    texts[0], texts[-1] = f"{texts[0]} or less", f"{texts[-1]} or more"
    return {
        "data": [
            {
                "type": "bar",
                "x": rounded(middles),
                "y": counts.tolist(),
                "width": rounded(0.9 * np.diff(edges)),
                "marker": {"color": ["var(--loss)" if middle < 0 else "var(--gain)" for middle in middles]},
                "hovertext": texts,
                "hovertemplate": "%{hovertext}<br>%{y} round trips<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "Net return on entry value"}, "ticksuffix": " %", "zeroline": True},
            "yaxis": {"title": {"text": "Round trips"}, "rangemode": "tozero", "tickformat": ",d"},
        },
    }


def holding_figure(view: View) -> Figure:
    """Return how many closed trips were held how long, winners above losers."""
    closed = [trip for trip in view.trips if not trip.is_open]
    slot = np.searchsorted(np.array(_HOLDING_NS), [trip.duration_ns for trip in closed], side="right")
    has_won = np.array([trip.net_pnl > 0 for trip in closed])
    first, last = int(slot.min()), int(slot.max())
    labels = _HOLDING_LABELS[first : last + 1]
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": labels,
            "y": np.bincount(slot[chosen] - first, minlength=len(labels)).tolist(),
            "marker": {"color": colour},
            "hovertemplate": "%{y}",
        }
        for name, chosen, colour in (("Lost", ~has_won, "var(--loss)"), ("Won", has_won, "var(--gain)"))
    ]
    return {
        "data": traces,
        "layout": {
            "barmode": "stack",
            "bargap": 0.15,
            "hovermode": "x unified",
            "xaxis": {"title": {"text": "Held for"}, "type": "category", "tickangle": 0},
            "yaxis": {"title": {"text": "Round trips"}, "rangemode": "tozero", "tickformat": ",d"},
        },
    }


def cost_steps(view: View) -> list[tuple[str, float]]:
    """Return the steps from the profit before costs to the net profit, as they are added; the last one is the sum."""
    metrics = view.metrics
    steps = [("Before costs", metrics["pnl_at_marks"]), ("Taker fees", -metrics["fees_taker"])]
    if metrics["fees_maker"]:
        steps.append(("Maker fees", -metrics["fees_maker"]))
    steps += [("Funding", metrics["funding"]), ("Slippage", -metrics["slippage"])]
    if metrics["insurance"]:
        steps.append(("Insurance fund", metrics["insurance"]))
    return [*steps, ("Net", metrics["net_pnl"])]


def cost_figure(view: View) -> Figure:
    """Return the waterfall of `cost_steps`, downwards."""
    steps = cost_steps(view)
    levels = np.cumsum([0.0, *(value for _, value in steps[:-1])])
    low, high = float(levels.min()), float(levels.max())
    margin = 0.34 * (high - low)  # room for the figures beside the bars
    gain, loss = {"marker": {"color": "var(--gain)"}}, {"marker": {"color": "var(--loss)"}}
    return {
        "data": [
            {
                "type": "waterfall",
                "orientation": "h",
                "y": [name for name, _ in steps],
                "x": rounded(np.array([value for _, value in steps])),
                "measure": ["absolute", *["relative"] * (len(steps) - 2), "total"],
                "text": [words.amount(value, signed=True) for _, value in steps],
                "textposition": "outside",
                "cliponaxis": False,
                "hoverinfo": "skip",
                "increasing": gain,
                "decreasing": loss,
                "totals": {"marker": {"color": "var(--strategy)"}},
                "connector": {"line": {"color": "var(--rule)", "width": 1}},
            }
        ],
        "layout": {
            "showlegend": False,
            "xaxis": {
                "title": {"text": escape(view.currency)},
                "zeroline": True,
                "tickformat": ",~f",
                "range": [low - margin if low < 0 else 0, high + margin],
            },
            "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False},
        },
    }


def _edges(values: F64) -> F64:
    """Return the edges of equal bins with an edge at zero, wide enough for all but the outermost hundredth."""
    low, high = np.quantile(values, [0.005, 0.995])
    rough = max(high - low, abs(high), abs(low), 1e-6) / _BINS
    magnitude = 10.0 ** np.floor(np.log10(rough))
    width = magnitude * next(step for step in (1, 2, 2.5, 5, 10) if step * magnitude >= rough)
    first, last = min(np.floor(low / width), -1), max(np.ceil(high / width), 1)
    edges: F64 = np.arange(first, last + 1) * width
    return edges
