"""Charts of an evaluation as SVG: skill with its intervals, coverage by state of the market, and coverage over time.

They read `results.json` as plain data, so that they can be drawn again from the file. Every interval that is known is
drawn; a dot without one would look surer than it is.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

_TEXT, _FAINT, _GRID, _GOOD, _PLAIN = "#1f2933", "#7b8794", "#e4e7eb", "#1a7f5a", "#3e5c93"
_COLOURS = ("#3e5c93", "#c26a1b", "#1a7f5a", "#8a4f9e")
_ROW, _HEAD, _LEFT, _PANEL, _GAP, _FOOT = 18, 46, 190, 230, 24, 26
_LONG = 30  # letters of a name


def skill_chart(results: Mapping[str, Any], *, loss: str, baseline: str) -> str:
    """Return how much better each model is than one baseline by one loss, with intervals, a panel for each horizon.

    Other baselines that are far off are left out: beside them nothing else could be told apart.
    """
    found = {
        (model["model"], horizon): against[loss]["skill"]
        for model in results["models"]
        for horizon in _horizons(results)
        if loss in (against := _scores(model, horizon)["against"].get(baseline, {}))
    }
    ends = [abs(end) for (m, _), s in found.items() if m not in results["baselines"] for end in _ends(s)]
    reach = max((end for end in ends if math.isfinite(end)), default=0.0)
    far = {m for (m, _), s in found.items() if m in results["baselines"] and abs(s["value"] or 0.0) > reach}
    panels = [
        (_duration(at), [(_name(results, m), s) for (m, horizon), s in found.items() if horizon == at and m not in far])
        for at in _horizons(results)
    ]
    title = f"Skill over {baseline}: {loss.replace('_', ' ')} (1 - loss / its loss; right of 0 is better)"
    return _dots(title, panels, mark=0.0, percent=True)


def coverage_chart(results: Mapping[str, Any], *, nominal: str) -> str:
    """Return the share of each model's outcomes within an interval, over all decisions and by state of the market."""
    metric, panels = f"coverage_{nominal}", []
    for horizon in _horizons(results):
        rows: list[tuple[str, Mapping[str, Any]]] = []
        for model in results["models"]:
            scores = _scores(model, horizon)
            if metric in scores["metrics"] and model["model"] not in results["baselines"]:
                name = _name(results, model["model"])
                rows.append((name, scores["metrics"][metric]))
                rows += [(f"   {regime}", found[metric]) for regime, found in scores["regimes"].items()]
        panels.append((_duration(horizon), rows))
    return _dots(f"Coverage of the {float(nominal):.0%} interval", panels, mark=float(nominal), percent=True)


def coverage_over_time(results: Mapping[str, Any], *, model: str, nominal: str) -> str:
    """Return how the coverage of one model went from stretch to stretch, a line for each horizon."""
    found = next(each for each in results["models"] if each["model"] == model)
    width, height = 760, 240
    left, right, top, bottom = 56, 110, 46, 34
    lines = []
    periods = found["horizons"][0]["periods"]
    values = [p["coverage"][nominal] for scores in found["horizons"] for p in scores["periods"]]
    low, high = min([*values, float(nominal)]) - 0.01, min(1.0, max([*values, float(nominal)]) + 0.01)

    def y_of(value: float) -> float:
        return float(top + (high - value) / (high - low) * (height - top - bottom))

    step = (width - left - right) / max(1, len(periods) - 1)
    for tick in _ticks(low, high, 5):
        lines.append(_line(left, y_of(tick), width - right, y_of(tick), _GRID))
        lines.append(_label(left - 8, y_of(tick) + 4, f"{tick:.0%}", anchor="end", colour=_FAINT))
    lines.append(_line(left, y_of(float(nominal)), width - right, y_of(float(nominal)), _FAINT, dash=True))
    ends: list[float] = []
    for number, scores in enumerate(found["horizons"]):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{left + step * at:.1f},{y_of(p['coverage'][nominal]):.1f}" for at, p in enumerate(scores["periods"])
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        end = y_of(scores["periods"][-1]["coverage"][nominal]) + 4
        while any(abs(end - other) < 14 for other in ends):
            end += 14
        ends.append(end)
        lines.append(_label(width - right + 8, end, _duration(scores["horizon_ns"]), colour=colour))
    for at in (0, len(periods) // 2, len(periods) - 1):
        x = left + step * at
        lines.append(_label(x, height - 12, _day(periods[at]["from_ns"]), anchor="middle", colour=_FAINT))
    title = f"Coverage of the {float(nominal):.0%} interval over time: {model}"
    return _svg(width, height, title, lines)


def _dots(
    title: str, panels: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]], *, mark: float, percent: bool
) -> str:
    """Return rows of dots with whiskers, a panel beside another, on one scale for each panel."""
    count = max((len(rows) for _, rows in panels), default=0)
    width = _LEFT + len(panels) * (_PANEL + _GAP)
    height = _HEAD + count * _ROW + _FOOT
    lines = []
    for at, (heading, rows) in enumerate(panels):
        x0 = _LEFT + at * (_PANEL + _GAP)
        ends = [mark, *(value for _, found in rows for value in _ends(found) if math.isfinite(value))]
        low, high = min(ends), max(ends)
        margin = 0.05 * (high - low) or 0.01
        low, high = low - margin, high + margin

        def x_of(value: float, x0: int = x0, low: float = low, high: float = high) -> float:
            return x0 + (value - low) / (high - low) * _PANEL

        lines.append(_label(x0, _HEAD - 8, heading, weight="600"))
        for tick in _ticks(low, high, 6):
            lines.append(_line(x_of(tick), _HEAD, x_of(tick), _HEAD + count * _ROW, _GRID))
            text = f"{100 * tick:.3g} %" if percent else f"{tick:.3g}"
            lines.append(_label(x_of(tick), _HEAD + count * _ROW + 16, text, anchor="middle", colour=_FAINT))
        lines.append(_line(x_of(mark), _HEAD, x_of(mark), _HEAD + count * _ROW, _FAINT, dash=True))
        for row, (name, found) in enumerate(rows):
            y = _HEAD + row * _ROW + _ROW / 2
            if at == 0:
                lines.append(
                    _label(_LEFT - 10, y + 4, name.strip(), anchor="end", colour=_FAINT if name[0] == " " else _TEXT)
                )
            value, (least, most) = found["value"], _ends(found)
            if value is None:
                continue
            colour = _GOOD if mark == 0 and least > 0 else _PLAIN
            lines.append(_line(x_of(least), y, x_of(most), y, colour, width=1.6))
            lines.append(f'<circle cx="{x_of(value):.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>')
    return _svg(width, height, title, lines)


def _ends(found: Mapping[str, Any]) -> tuple[float, float]:
    value = found["value"] if found["value"] is not None else math.nan
    low, high = found["low"], found["high"]
    return (value if low is None else low), (value if high is None else high)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers within [low, high]."""
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next((size * each for each in (1, 2, 5) if size * each >= rough), size * 10)
    first = math.ceil(low / step)
    return [step * number for number in range(first, math.floor(high / step) + 1)]


def _horizons(results: Mapping[str, Any]) -> list[int]:
    return sorted({scores["horizon_ns"] for model in results["models"] for scores in model["horizons"]})


def _scores(model: Mapping[str, Any], horizon_ns: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(each for each in model["horizons"] if each["horizon_ns"] == horizon_ns)
    return found


def _name(results: Mapping[str, Any], model: str) -> str:
    short = model if len(model) <= _LONG else f"{model[: _LONG - 1]}…"
    return f"{short} ·" if model in results["baselines"] else short


def _duration(horizon_ns: int) -> str:
    seconds = horizon_ns // 1_000_000_000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _day(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[D]"))


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1.0, dash: bool = False) -> str:
    dashes = ' stroke-dasharray="4 3"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def _label(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = _TEXT, weight: str = "400", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}" '
        f'font-size="{size}" xml:space="preserve">{escape(text)}</text>'
    )


def _svg(width: float, height: float, title: str, lines: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="system-ui, sans-serif" role="img">'
    )
    ground = f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    heading = _label(12, 20, title, weight="600", size=13)
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, heading, *lines, "</svg>\n"])
