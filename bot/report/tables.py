"""The tables that are more than rows of text: monthly returns, the trade list, denials and trading states."""

from html import escape

import numpy as np

from bot.report import words
from bot.report.frames import F64, I64, rows
from bot.report.round_trips import RoundTrip
from bot.report.view import View, nothing, paragraph, scroller, table

TRADES_MAX = 1000  # rows of the list, and round trips drawn in the price chart
STATES_MAX = 500  # rows
_REASON_MAX = 300  # characters
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HEAT_STEPS = (0.0, 0.01, 0.03, 0.07, 0.15)  # a month's return that reaches the n-th has the n-th shade


def monthly_table(view: View) -> str:
    """Return a line for each year, and under it what buy and hold returned; the months shaded by size."""
    years_Y, returns_YM = monthly_returns(view.curve.ts_ns, view.curve.equity)
    _, holds_YM = monthly_returns(view.curve.ts_ns, view.curve.hold)
    shown = range(12)
    if len(years_Y) == 1:
        touched = np.flatnonzero(np.isfinite(returns_YM[0]))
        shown = range(int(touched[0]), int(touched[-1]) + 1)
    head = "".join(f'<th scope="col" class="num">{_MONTHS[month]}</th>' for month in shown)
    lines = []
    for year, own_M, hold_M in zip(years_Y, returns_YM, holds_YM, strict=True):
        for label, line_M, is_own in ((str(year), own_M, True), ("Buy and hold", hold_M, False)):
            cells = "".join(_heat_cell(line_M[month], is_own) for month in shown)
            total = _heat_cell(float(np.nanprod(1 + line_M) - 1), is_own)
            kind = "" if is_own else ' class="benchmark"'
            lines.append(f'<tr{kind}><th scope="row">{label}</th>{cells}{total}</tr>')
    return scroller(
        '<table class="months compact"><thead><tr><td></td>'
        f'{head}<th scope="col" class="num">Year</th></tr></thead><tbody>{"".join(lines)}</tbody></table>',
        "Monthly returns",
    )


def monthly_returns(ts_ns: I64, equity: F64) -> tuple[list[int], F64]:
    """Return the years and [Y, 12] returns from month's end to month's end, UTC; NaN for months outside the run."""
    # A bar that closes at midnight on the first belongs to the month before.
    months = (ts_ns[1:] - 1).astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    last_rows = np.append(np.flatnonzero(np.diff(months)), len(months) - 1) + 1
    ends = equity[last_rows]
    starts = np.append(equity[0], ends[:-1])
    found = months[last_rows - 1]
    years = list(range(1970 + int(found[0]) // 12, 1970 + int(found[-1]) // 12 + 1))
    returns_YM = np.full((len(years), 12), np.nan)
    returns_YM.reshape(-1)[found - 12 * (years[0] - 1970)] = ends / starts - 1
    return years, returns_YM


def recent_trips(view: View) -> list[tuple[int, RoundTrip]]:
    """Return the most recent round trips that the page shows, numbered in order of entry from 1."""
    numbered = list(enumerate(view.trips, start=1))
    return numbered[-TRADES_MAX:]


def trade_table(view: View) -> str:
    """Return the newest round trips first, with the controls that report.js brings to life."""
    shown = recent_trips(view)
    if not shown:
        return nothing("The strategy made no trade.")
    note = ""
    if len(shown) < len(view.trips):
        note = paragraph(
            f"The {len(shown):,} most recent of {len(view.trips):,} round trips. The ledger holds all of them."
        )
    heads = (
        ("#", True),
        *((("Instrument", False),) if len(view.instruments) > 1 else ()),
        ("Side", False),
        ("Opened (UTC)", False),
        ("Held", True),
        ("Quantity", True),
        ("Entry", True),
        ("Exit", True),
        (f"Net {view.currency}", True),
        ("Return", True),
        ("Fees", True),
        ("Funding", True),
        ("Why in, why out", False),
    )
    head = "".join(
        f'<th scope="col"{_num(is_number)}{_NEWEST_FIRST if name == "#" else ""}>{_SORT.format(name=escape(name))}</th>'
        for name, is_number in heads
    )
    lines = "".join(_trade_row(n, trip, has_name=len(view.instruments) > 1) for n, trip in reversed(shown))
    return f"{note}{_CONTROLS}" + scroller(
        f'<table class="trades" id="trade-rows"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>',
        "Trade list",
        tall=True,
    )


def denial_table(view: View) -> str:
    """Return the risk gate's denials by code, each with its latest example."""
    by_code: dict[str, list[tuple[int, str, str]]] = {}
    for row in rows(view.data.denials):
        by_code.setdefault(str(row.code), []).append((int(row.ts_ns), str(row.instrument), str(row.detail)))
    if not by_code:
        return nothing("The risk gate denied nothing.")
    body = []
    for code, found in sorted(by_code.items(), key=lambda item: (-len(item[1]), item[0])):
        instrument, detail = found[-1][1:]
        example = words.short(f"{instrument}: {detail}", _REASON_MAX)
        body.append([code, example, f"{len(found):,}", words.utc(found[0][0]), words.utc(found[-1][0])])
    return table(
        ["Code", "Latest example", "Orders", "First (UTC)", "Last (UTC)"],
        body,
        text_columns=2,
        caption="Orders that the risk gate denied",
    )


def state_table(view: View) -> str:
    """Return when trading was held back and let go again, in order of time, and why; the newest, if there are many."""
    found = list(rows(view.data.trading_states))
    if not found:
        return nothing("Trading was never held back.")
    note = ""
    if len(found) > STATES_MAX:
        note = paragraph(f"The {STATES_MAX:,} most recent of {len(found):,} changes. The ledger holds all of them.")
    body = [
        [
            words.utc(int(row.ts_ns)),
            str(row.scope),
            words.short(str(row.cause).replace("_", " "), _REASON_MAX),
            f"{row.before} \N{RIGHTWARDS ARROW} {row.after}",
            str(row.in_force),
            words.short(str(row.detail), _REASON_MAX),
        ]
        for row in found[-STATES_MAX:]
    ]
    head = ["Time (UTC)", "Scope", "Cause", "Its latch", "In force", "Why"]
    return note + table(head, body, text_columns=len(head), caption="When trading was held back")


def _trade_row(n: int, trip: RoundTrip, *, has_name: bool) -> str:
    net, funding = float(trip.net_pnl), float(trip.funding)
    outcome = "open" if trip.is_open else "won" if net > 0 else "lost"
    exit_text = "open" if trip.is_open else words.price(trip.exit_price)
    taken = f' <span class="taken">{_TAKEN.get(trip.exit_cause, "partly taken")}</span>' if trip.is_taken else ""
    cells = [
        f'<td class="num" data-v="{n}">{_SHOW.format(n=n)}</td>',
        f"<td>{escape(trip.instrument)}</td>" if has_name else "",
        f'<td><span class="side {trip.direction}">{trip.direction}</span>{taken}</td>',
        f'<td class="when" data-v="{trip.entry_ns // 1_000_000}">{words.utc(trip.entry_ns)}</td>',
        _number_cell(trip.duration_ns / 1e9, words.span(trip.duration_ns)),
        _number_cell(float(trip.qty_max), words.qty(trip.qty_max)),
        _number_cell(float(trip.entry_price), words.price(trip.entry_price)),
        _number_cell(float(trip.exit_price), exit_text),
        _number_cell(net, words.amount(net, signed=True), _tone(net)),
        _number_cell(trip.return_on_entry, words.share(trip.return_on_entry, 2, signed=True), _tone(net)),
        _number_cell(float(trip.fees), words.amount(trip.fees)),
        _number_cell(funding, words.amount(funding, signed=True)),
        f'<td class="why">{_reason(trip.entry_reason)}{_reason(trip.exit_reason)}</td>',
    ]
    return (
        f'<tr{_ROW_TAKEN if trip.is_taken else ""} data-n="{n}" data-side="{trip.direction}" data-outcome="{outcome}" '
        f'data-from="{trip.entry_ns // 1_000_000}" data-to="{trip.exit_ns // 1_000_000}">{"".join(cells)}</tr>'
    )


def _reason(reason: str) -> str:
    return f"<div>{escape(words.short(reason, _REASON_MAX))}</div>" if reason else ""


def _number_cell(value: float, text: str, tone: str = "") -> str:
    return f'<td class="num {tone}" data-v="{value:.9g}">{escape(text)}</td>'


def _heat_cell(value: float, is_own: bool) -> str:
    if not np.isfinite(value):
        return '<td class="num"></td>'
    shade = sum(abs(value) >= step for step in _HEAT_STEPS) if abs(value) >= 0.00005 else 0
    tone = f" {'gain' if value > 0 else 'loss'}-{shade}" if is_own and shade else ""
    return f'<td class="num{tone}">{words.number(100 * value, 2, signed=True)}</td>'


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""


def _num(is_number: bool) -> str:
    return ' class="num"' if is_number else ""


_TAKEN = {"liquidation": "liquidated", "deleveraging": "deleveraged"}
_ROW_TAKEN = ' class="taken"'
_NEWEST_FIRST = ' aria-sort="descending"'
_SORT = '<button type="button" class="sort">{name}</button>'
_SHOW = '<button type="button" class="show" title="Show in the price chart">{n}</button>'
_CONTROLS = """
<form class="controls" id="trade-controls">
<label>Search <input type="search" name="text" placeholder="reason, time, number" autocomplete="off"></label>
<label>Side <select name="side"><option value="">both</option><option>long</option>
<option>short</option></select></label>
<label>Outcome <select name="outcome"><option value="">all</option><option>won</option><option>lost</option>
<option>open</option></select></label>
<output id="trade-count"></output>
</form>
"""
