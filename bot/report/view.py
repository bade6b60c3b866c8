"""What every section of the page draws from, and the few pieces of HTML that they share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from bot.report.equity import EquityCurve, equity_curve
from bot.report.frames import F64, I64, InstrumentTape, tapes
from bot.report.round_trips import RoundTrip, fold_round_trips
from bot.report.run_data import RunData

Figure = dict[str, Any]  # plotly's own: data and layout; a colour is `var(--name)`, which report.js looks up in the CSS


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A run, folded once."""

    data: RunData
    metrics: dict[str, Any]
    curve: EquityCurve
    trips: tuple[RoundTrip, ...]
    tapes: tuple[InstrumentTape, ...]
    instruments: tuple[str, ...]
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page. The body is finished HTML: everything foreign in it is escaped."""

    anchor: str
    title: str
    body: str
    figures: dict[str, Figure] = field(default_factory=dict)


def look(data: RunData, metrics: dict[str, Any]) -> View:
    """Fold the run for drawing."""
    found = tuple(tapes(data))
    names = [tape.instrument for tape in found] + [str(name) for name in data.fills.get("instrument", ())]
    return View(
        data=data,
        metrics=metrics,
        curve=equity_curve(data),
        trips=fold_round_trips(data),
        tapes=found,
        instruments=tuple(dict.fromkeys(names)),
        currency=str(data.run["currency"]),
    )


def nothing(text: str) -> str:
    """Return the one sentence that stands where there is nothing to draw."""
    return f'<p class="nothing">{escape(text)}</p>'


def paragraph(text: str, *, with_mouse: str = "") -> str:
    """Return a sentence or two above a chart, and what is true only where there is a mouse."""
    hint = f' <span class="mouse">{escape(with_mouse)}</span>' if with_mouse else ""
    return f'<p class="lead">{escape(text)}{hint}</p>'


def chart(name: str, label: str, *, size: str = "middle", is_time: bool = False) -> str:
    """Return the place of a figure. `label` says to those who cannot see it what it shows."""
    time = " data-time" if is_time else ""
    return (
        f'<div class="chart {size}" data-figure="{escape(name)}"{time} role="img" aria-label="{escape(label)}"></div>'
    )


def table(
    head: Sequence[str], body: Sequence[Sequence[str]], *, text_columns: int = 1, caption: str, is_compact: bool = False
) -> str:
    """Return a table inside its own scroller. Cells are plain text; all but the first columns are numbers.

    A compact one is as wide as its words, any other as the page.
    """

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = ["" if column < text_columns else ' class="num"' for column in range(len(row))]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(f"<{tag}{scope}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in body)
    kind = ' class="compact"' if is_compact else ""
    return scroller(f"<table{kind}><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{lines}</tbody></table>", caption)


def scroller(inner: str, label: str, *, tall: bool = False) -> str:
    """Return what may be wider than the page, in a box that scrolls and that the keyboard can reach."""
    kind = "scroller tall" if tall else "scroller"
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(label)}">{inner}</div>'


def command(line: str) -> str:
    """Return a command line, with a button that copies it."""
    return (
        f'<div class="command"><code>{escape(line)}</code>'
        '<button type="button" class="copy" aria-label="Copy the command">Copy</button></div>'
    )


def times_ms(ts_ns: I64) -> list[int]:
    """Return times for a date axis."""
    milliseconds: list[int] = (ts_ns // 1_000_000).tolist()
    return milliseconds


def rounded(values: F64, significant: int = 7) -> list[float | None]:
    """Return values with the digits that a chart can show, counted at the largest; None for what is not finite."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if len(finite) else 0.0
    digits = significant - 1 - int(np.floor(np.log10(largest))) if largest > 0 else 0
    return [value if np.isfinite(value) else None for value in np.round(values, digits).tolist()]
