"""Bars, features and labels over one time axis: the page of `bot plot`."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.report import words
from bot.report.frames import F64, I64
from bot.report.page import document
from bot.report.view import Figure, Section, chart, paragraph, rounded, times_ms


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BarColumns:
    """What the candles are drawn from: one value per bar, prices in quote currency per base unit."""

    instrument: str
    quote: str
    scale: str  # "5m", or what closes the bars
    open_ns: I64
    close_ns: I64
    open: F64
    high: F64
    low: F64
    close: F64
    is_gap: NDArray[np.bool_]  # the source has no row: the bar is flat because nothing is known


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """One number per bar, drawn below the price."""

    title: str
    unit: str
    meaning: str
    values: F64  # NaN: not known
    is_label: bool  # it speaks of what comes after the bar, so it is drawn as points


def render_market(bars: BarColumns, panels: Sequence[Panel]) -> str:
    """Return the page: the candles, then a panel each, all on one axis of time."""
    parts = [_price_section(bars)]
    parts += [_panel_section(bars, number, panel) for number, panel in enumerate(panels)]
    title = f"{bars.instrument}, {bars.scale} bars"
    period = f"{words.utc(int(bars.open_ns[0]))} to {words.utc(int(bars.close_ns[-1]))} UTC"
    gaps = int(bars.is_gap.sum())
    status = f"{words.count(len(bars.close_ns), 'bar')}"
    status += f", {gaps:,} of them flat because the source has no row (shaded)." if gaps else "."
    head = (
        '<header class="top"><p class="overline">Market data</p>'
        f'<h1>{escape(bars.instrument)} <span class="on">{escape(bars.scale)} bars</span></h1>'
        f'<p class="period">{escape(period)}</p><p class="status">{escape(status)}</p></header>'
    )
    return document(title, head, parts, to="the charts")


def _price_section(bars: BarColumns) -> Section:
    figure: Figure = {
        "data": [
            {
                "type": "candlestick",
                "name": f"{bars.scale} bars",
                "x": times_ms(bars.close_ns),
                "open": rounded(bars.open, 9),
                "high": rounded(bars.high, 9),
                "low": rounded(bars.low, 9),
                "close": rounded(bars.close, 9),
                "increasing": {"line": {"color": "var(--candle)", "width": 1}, "fillcolor": "var(--card)"},
                "decreasing": {"line": {"color": "var(--candle)", "width": 1}, "fillcolor": "var(--candle)"},
                "hoverinfo": "x+y",
            }
        ],
        "layout": {
            "hovermode": "x",
            "xaxis": {**_axis(bars), "rangeslider": {"visible": False}},
            "yaxis": {"title": {"text": bars.quote}, "tickformat": ",~f"},
            "shapes": _gap_shapes(bars),
        },
    }
    lead = paragraph(
        "Each candle stands at its close, the first moment at which it could be known; light rose, dark fell.",
        with_mouse="Drag to zoom, double-click to return.",
    )
    label = f"Candles of {bars.instrument}"
    return Section(
        anchor="price",
        title="Price",
        body=lead + chart("price", label, size="large", is_time=True),
        figures={"price": figure},
    )


def _panel_section(bars: BarColumns, number: int, panel: Panel) -> Section:
    anchor = f"panel-{number}"
    colour = f"var(--series-{number % 6 + 1})"
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": panel.title,
        "x": times_ms(bars.close_ns),
        "y": rounded(panel.values, 7),
        "connectgaps": False,
        "hovertemplate": f"%{{y:.6~g}} {escape(panel.unit) if panel.unit != '1' else ''}<extra></extra>",
    }
    if panel.is_label:
        trace |= {"mode": "markers", "marker": {"color": colour, "size": 5}}
    else:
        trace |= {"mode": "lines", "line": {"color": colour, "width": 1.5}}
    known = int(np.isfinite(panel.values).sum())
    missing = "" if known == len(panel.values) else f" Known at {known:,} of {len(panel.values):,} bars."
    figure: Figure = {
        "data": [trace],
        "layout": {
            "hovermode": "x",
            "xaxis": _axis(bars),
            "yaxis": {"title": {"text": "" if panel.unit == "1" else panel.unit}, "zeroline": True},
            "shapes": _gap_shapes(bars),
        },
    }
    body = paragraph(f"{panel.meaning}{missing}") + chart(anchor, panel.title, size="small", is_time=True)
    return Section(anchor=anchor, title=panel.title, body=body, figures={anchor: figure})


def _axis(bars: BarColumns) -> dict[str, Any]:
    first, last = int(bars.open_ns[0]), int(bars.close_ns[-1])
    margin = max((last - first) // 100, 1_000_000)
    return {
        "type": "date",
        "hoverformat": "%-d %b %Y %H:%M:%S",
        "range": [(first - margin) // 1_000_000, (last + margin) // 1_000_000],
    }


def _gap_shapes(bars: BarColumns) -> list[dict[str, Any]]:
    """Return a shade behind each stretch of bars for which the source has no row."""
    edges = np.flatnonzero(np.diff(bars.is_gap.astype(np.int8), prepend=0, append=0))
    return [
        {
            "type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0},
            "x0": int(bars.open_ns[start]) // 1_000_000, "x1": int(bars.close_ns[stop - 1]) // 1_000_000,
            "fillcolor": "var(--loss-soft)",
        }
        for start, stop in edges.reshape(-1, 2).tolist()
    ]  # fmt: skip
