"""The section of the page that says how fills were made, and how much depends on it."""

import shlex
from html import escape

import numpy as np

from bot.report import words
from bot.report.charts import time_axis
from bot.report.fills_bracket import Verdict, judge
from bot.report.run_data import PRESETS, PresetFigures
from bot.report.view import Figure, Section, View, chart, command, paragraph, rounded, scroller, times_ms

ASSUMED = {
    "pessimistic": (
        "an order that rests fills only once the market trades beyond its price, an order that takes without a book "
        "pays twice the slippage and for its size, and inside a bar the price goes first to where it hurts"
    ),
    "neutral": (
        "an order that rests waits for what is ahead of it, an order that takes without a book pays the slippage that "
        "is set, and inside a bar the price goes first to the extreme that is nearer to the open"
    ),
    "optimistic": (
        "an order that rests fills as soon as the market trades at its price, an order that takes without a book pays "
        "no slippage, and inside a bar the price goes first to where it helps"
    ),
}
_COLOURS = {"pessimistic": "var(--loss)", "neutral": "var(--strategy)", "optimistic": "var(--gain)"}
_WHY = (
    "Market data tells what traded, not what an order of ours would have met: who was ahead of it in the queue, what "
    "the book would have given, which way the price went inside a bar. What is assumed of that decides a part of every "
    "backtest."
)


def fills_section(view: View) -> Section:
    """Return the bracket, or how to get one; what is not simulated needs none."""
    title = "How much depends on fills"
    if view.metrics["mode"] != "replay":
        return Section(anchor="fills", title=title, body=paragraph("These fills were not assumed: a venue made them."))
    bracket = view.data.bracket
    if bracket is None:
        return Section(anchor="fills", title=title, body=paragraph(_WHY) + _alone(view))
    found = judge(bracket)
    body = (
        paragraph(_WHY)
        + _verdict(bracket, found)
        + chart("fills", "Equity under pessimistic, neutral and optimistic fills over time", is_time=True)
        + _table(view, bracket)
        + _meanings()
    )
    return Section(anchor="fills", title=title, body=body, figures={"fills": _figure(view, bracket)})


def how_filled(view: View) -> str:
    """Return how the fills of a replay were made, in a sentence or two."""
    preset = view.data.fill_model
    assumed = f" Its fills are {preset}: {ASSUMED[preset]}." if preset in ASSUMED else ""
    return (
        "Every fill here is simulated against what was recorded, and nobody reacts to your orders."
        f"{assumed} docs/fills.md has every rule, and which way each errs."
    )


def doubt(view: View) -> str | None:
    """Return what belongs at the top of the page: that the sign of the result is open."""
    bracket = view.data.bracket
    if bracket is None or not (found := judge(bracket)).is_sign_open:
        return None
    ends = [words.share(bracket[preset].total_return, 2, signed=True) for preset in PRESETS]
    return (
        f"{found.conclusion} Pessimistic fills return {ends[0]}, neutral ones, as on this page, {ends[1]}, optimistic "
        f"ones {ends[2]}."
    )


def _alone(view: View) -> str:
    preset = view.data.fill_model
    if preset not in ASSUMED:
        lead = "What this run assumed is not known: its settings are not beside it."
    else:
        lead = f"This run's fills are {preset}: {ASSUMED[preset]}."
    place = shlex.quote(f"runs/{view.data.run['run_id']}/config.toml")
    return (
        f"<p>{escape(lead)} How much of the result hangs on that, a bracket tells: the same replay under pessimistic, "
        f"neutral and optimistic fills, side by side.</p>{command(f'bot replay --bracket --config {place}')}"
    )


def _verdict(bracket: dict[str, PresetFigures], found: Verdict) -> str:
    kind = ' class="banner"' if found.is_sign_open else ""
    returns = ", ".join(f"{preset} {words.share(bracket[preset].total_return, 2, signed=True)}" for preset in PRESETS)
    return (
        f"<p{kind}><strong>{escape(found.conclusion)}</strong></p>"
        f"<p>Total return: {escape(returns)}. {escape(found.measure)}</p>"
    )


def _table(view: View, bracket: dict[str, PresetFigures]) -> str:
    heads = ["Total return", f"End equity, {view.currency}", "Sharpe", "Deepest drawdown"]
    heads += ["Orders", "Fills", "Maker share", f"Fees, {view.currency}"]
    head = "".join(f'<th scope="col" class="num">{escape(name)}</th>' for name in heads)
    lines = []
    for preset in PRESETS:
        row = bracket[preset]
        cells = (
            words.share(row.total_return, 2, signed=True),
            words.amount(row.end_equity),
            words.number(row.sharpe),
            words.share(row.max_drawdown, 2),
            f"{row.orders:,}",
            f"{row.fills:,}",
            words.share(row.maker_share),
            words.amount(row.fees),
        )
        name = escape(preset.capitalize())
        if preset == view.data.fill_model:
            label = f"{name}, this run"
        else:
            label = f'<a href="{escape(row.run)}/report.html">{name}</a>'
        numbers = "".join(f'<td class="num">{escape(cell)}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row">{label}</th>{numbers}</tr>')
    return scroller(
        f'<table class="presets"><thead><tr><th scope="col">Fills</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>",
        "The run under the three fill models",
    )


def _meanings() -> str:
    items = "".join(
        f"<div><h3>{preset.capitalize()}</h3><p>{escape(text[0].upper() + text[1:])}.</p></div>"
        for preset, text in ASSUMED.items()
    )
    return f'<div class="notes three">{items}</div>'


def _figure(view: View, bracket: dict[str, PresetFigures]) -> Figure:
    money = f"%{{y:,.2f}} {escape(view.currency)}"
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": preset.capitalize(),
                "x": times_ms(np.array(bracket[preset].ts_ns, np.int64)),
                "y": rounded(np.array(bracket[preset].equity, np.float64)),
                "line": {"color": _COLOURS[preset], "width": 1.75 if preset == "neutral" else 1.25},
                "hovertemplate": money,
            }
            for preset in PRESETS
        ],
        "layout": {
            "hovermode": "x unified",
            "xaxis": time_axis(view),
            "yaxis": {"title": {"text": view.currency}, "tickformat": ",~f"},
        },
    }
