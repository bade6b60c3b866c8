"""The charts over time: equity and drawdown, price with entries and exits, exposure."""

from collections.abc import Sequence
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np

from bot.report import words
from bot.report.frames import F64, InstrumentTape
from bot.report.round_trips import RoundTrip
from bot.report.thin import Candles, extremes
from bot.report.view import Figure, View, rounded, times_ms

POINTS_MAX = 4000  # of a line
CANDLES_MAX = 1500


def equity_figure(view: View) -> Figure:
    """Return equity and buy-and-hold above the drawdown, on one time axis."""
    curve = view.curve
    falls = curve.drawdown
    # One set of rows for all lines, so that one hover reads them all at the same instant.
    row = np.unique(
        np.concatenate(
            [
                extremes(curve.equity, POINTS_MAX // 2),
                extremes(curve.hold, POINTS_MAX // 4),
                extremes(falls, POINTS_MAX // 4),
            ]
        )
    )
    deepest = 108 * float(falls.max()) or 1.0
    x = times_ms(curve.ts_ns[row])
    money = f"%{{y:,.2f}} {escape(view.currency)}"
    return {
        "data": [
            {
                **_line(x, rounded(curve.hold[row]), "Buy and hold", "var(--hold)", width=1.25),
                "hovertemplate": money,
            },
            {
                **_line(x, rounded(curve.equity[row]), "Strategy", "var(--strategy)", width=1.75),
                "hovertemplate": money,
            },
            {
                **_line(x, rounded(-100 * falls[row], 4), "Drawdown", "var(--loss)", width=1),
                "yaxis": "y2",
                "fill": "tozeroy",
                "fillcolor": "var(--loss-soft)",
                "showlegend": False,
                "hovertemplate": "%{y:.2f} %",
            },
        ],
        "layout": {
            "hovermode": "x unified",
            "hoversubplots": "axis",
            "xaxis": {**time_axis(view), "anchor": "y2"},
            "yaxis": {"domain": [0.34, 1], "title": {"text": view.currency}, "tickformat": ",~f"},
            "yaxis2": {"domain": [0, 0.27], "ticksuffix": " %", "title": {"text": "Drawdown"}, "range": [-deepest, 0]},
        },
    }


def price_figure(view: View, candles: Candles, trips: Sequence[tuple[int, RoundTrip]]) -> Figure:
    """Return the candles of one instrument with its numbered round trips.

    Candles are neutral: colour is kept for what the strategy did. The customdata of a marker is its trip's number.
    """
    traces: list[dict[str, Any]] = [
        {
            "type": "candlestick",
            "name": f"{words.span(candles.scale_ns)} candles",
            "x": times_ms(candles.open_ns),
            "xperiod": candles.scale_ns / 1_000_000,
            "xperiodalignment": "middle",
            "open": rounded(candles.open),
            "high": rounded(candles.high),
            "low": rounded(candles.low),
            "close": rounded(candles.close),
            "increasing": {"line": {"color": "var(--candle)", "width": 1}, "fillcolor": "var(--card)"},
            "decreasing": {"line": {"color": "var(--candle)", "width": 1}, "fillcolor": "var(--candle)"},
            "hoverinfo": "x+y",
        }
    ]
    taken = [(n, trip) for n, trip in trips if trip.is_taken]
    if taken:
        traces.append(_taken_trace(taken))
    for direction, arrow in (("long", "triangle-up"), ("short", "triangle-down")):
        own = [(n, trip) for n, trip in trips if trip.direction == direction]
        if own:
            traces += _trip_traces(own, direction, arrow)
    return {
        "data": traces,
        "layout": {
            "hovermode": "closest",
            "xaxis": {**time_axis(view), "rangeslider": {"visible": False}},
            "yaxis": {"title": {"text": view.currency}, "tickformat": ",~f"},
        },
    }


def exposure_figure(view: View) -> Figure:
    """Return the value of the positions as a multiple of equity: long above zero, short below."""
    curve = view.curve
    is_ratio = bool((curve.equity > 0).all())  # a ruined account has no multiple
    unit = curve.equity if is_ratio else np.ones(len(curve.equity))
    net, gross = curve.net_notional / unit, curve.gross_notional / unit
    row = extremes(net, POINTS_MAX)
    x = times_ms(curve.ts_ns[row])
    text = "%{y:.2f} x equity" if is_ratio else f"%{{y:,.2f}} {escape(view.currency)}"
    traces = [
        _area(x, np.maximum(net[row], 0), "Long", "long", text),
        _area(x, np.minimum(net[row], 0), "Short", "short", text),
    ]
    if len(view.instruments) > 1:
        traces.append(
            {
                **_line(x, rounded(gross[row], 5), "Gross", "var(--muted)", width=1),
                "line": {"color": "var(--muted)", "width": 1, "shape": "hv", "dash": "dot"},
                "hovertemplate": text,
            }
        )
    return {
        "data": traces,
        "layout": {
            "hovermode": "x unified",
            "xaxis": time_axis(view),
            "yaxis": {"title": {"text": "x equity" if is_ratio else view.currency}, "zeroline": True},
        },
    }


def time_axis(view: View) -> dict[str, Any]:
    """Return the axis that all charts over time share, so that they line up."""
    first, last = int(view.curve.ts_ns[0]), int(view.curve.ts_ns[-1])
    margin = max((last - first) // 100, 1_000_000)
    return {
        "type": "date",
        "hoverformat": "%-d %b %Y %H:%M",
        "range": [(first - margin) // 1_000_000, (last + margin) // 1_000_000],
    }


def tape_of(view: View, instrument: str) -> InstrumentTape | None:
    """Return the instrument's tape, None where it has none."""
    return next((tape for tape in view.tapes if tape.instrument == instrument), None)


def _trip_traces(own: Sequence[tuple[int, RoundTrip]], direction: str, arrow: str) -> list[dict[str, Any]]:
    """Return the entries, the exits, and a thin line between the two of each trip."""
    name, colour = direction.capitalize(), f"var(--{direction})"
    texts = [_hover(n, trip) for n, trip in own]
    numbers = [n for n, _ in own]
    closed = [index for index, (_, trip) in enumerate(own) if not trip.is_open]
    x: list[int | None] = []
    y: list[float | None] = []
    for _, trip in own:
        x += [trip.entry_ns // 1_000_000, trip.exit_ns // 1_000_000, None]
        y += [_plain(trip.entry_price), _plain(trip.exit_price), None]
    marker = {"hoverinfo": "text", "type": "scatter", "mode": "markers", "legendgroup": direction}
    return [
        {
            **_line(x, y, f"{name} held", colour, width=1),
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": direction,
            "connectgaps": False,
        },
        {
            **marker,
            "name": name,
            "x": [trip.entry_ns // 1_000_000 for _, trip in own],
            "y": [_plain(trip.entry_price) for _, trip in own],
            "text": texts,
            "customdata": numbers,
            "marker": {
                "symbol": arrow,
                "size": 9,
                "color": colour,
                "line": {"color": "var(--card)", "width": 1},
            },
        },
        {
            **marker,
            "name": f"{name} exit",
            "showlegend": False,
            "x": [own[index][1].exit_ns // 1_000_000 for index in closed],
            "y": [_plain(own[index][1].exit_price) for index in closed],
            "text": [texts[index] for index in closed],
            "customdata": [numbers[index] for index in closed],
            "marker": {"symbol": "circle", "size": 6, "color": "var(--card)", "line": {"color": colour, "width": 1.5}},
        },
    ]


def _taken_trace(taken: Sequence[tuple[int, RoundTrip]]) -> dict[str, Any]:
    """Return a cross where the venue took a position, or some of it."""
    return {
        "hoverinfo": "text",
        "type": "scatter",
        "mode": "markers",
        "name": "Liquidated",
        "x": [trip.exit_ns // 1_000_000 for _, trip in taken],
        "y": [_plain(trip.exit_price) for _, trip in taken],
        "text": [_hover(n, trip) for n, trip in taken],
        "customdata": [n for n, _ in taken],
        "marker": {"symbol": "x-thin", "size": 15, "line": {"color": "var(--loss)", "width": 3}},
    }


def _hover(n: int, trip: RoundTrip) -> str:
    """Return what a marker says of its trip, in plotly's little HTML: everything foreign is escaped."""
    net = words.amount(trip.net_pnl, signed=True)
    end = "still open" if trip.is_open else f"out {words.utc(trip.exit_ns)} at {words.price(trip.exit_price)}"
    lines = [
        f"<b>#{n} {trip.direction} {words.qty(trip.qty_max)}</b>",
        f"in {words.utc(trip.entry_ns)} at {words.price(trip.entry_price)}",
        end,
        f"net {net} ({words.share(trip.return_on_entry, 2, signed=True)}) in {words.span(trip.duration_ns)}",
    ]
    for label, reason in (("in", trip.entry_reason), ("out", trip.exit_reason)):
        if reason:
            lines += [escape(line) for line in wrap(words.short(f"{label}: {reason}", 160), 48)]
    return "<br>".join(lines)


def _line(
    x: Sequence[int | None], y: Sequence[float | None], name: str, colour: str, *, width: float
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": y,
        "line": {"color": colour, "width": width},
    }


def _area(x: Sequence[int], values: F64, name: str, token: str, text: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": rounded(values, 5),
        "line": {"color": f"var(--{token})", "width": 1, "shape": "hv"},
        "fill": "tozeroy",
        "fillcolor": f"var(--{token}-soft)",
        "hovertemplate": text,
    }


def _plain(value: Any) -> float:
    return float(f"{value:.10g}")
