"""A snapshot as a terminal shows it: what is wrong first, then money, then the machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bot.domain.operation import DataAge, Phase, Snapshot

_STALE_S = 5.0  # an answer older than this is shown as old
_PHASE_STYLE = {
    Phase.STARTING: "yellow",
    Phase.RECOVERING: "yellow",
    Phase.READY: "green",
    Phase.DEGRADED: "bold red",
    Phase.STOPPING: "yellow",
}


_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """How many lines of each list are shown at most; None: all of them."""

    problems: int | None = None
    orders: int | None = None
    horizons: int | None = None  # of a forecast
    data: int | None = None  # what is old or doubted comes first
    latencies: int | None = None
    counts: int | None = None
    has_actor_table: bool = True  # else one line that says how full their inboxes are, and who has ended


_LESS = (
    Detail(),
    Detail(problems=8, orders=10, data=10, latencies=10, counts=10),
    Detail(problems=5, orders=6, horizons=2, data=6, latencies=6, counts=0),
    Detail(problems=4, orders=4, horizons=1, data=5, latencies=5, counts=0, has_actor_table=False),
    Detail(problems=2, orders=2, horizons=1, data=2, latencies=2, counts=0, has_actor_table=False),
)


def fit(console: Console, view: Snapshot, *, age_s: float = 0.0, trouble: str = "") -> RenderableType:
    """Return as much as the terminal has lines for: lists get shorter, nothing is cut off at the bottom.

    Args:
        console: the terminal.
        view, age_s, trouble: see `render`.
    """
    shown: RenderableType = ""
    for detail in _LESS:
        shown = render(view, age_s=age_s, trouble=trouble, detail=detail)
        if len(console.render_lines(shown, console.options.update(height=None), pad=False)) <= console.height:
            break
    return shown


def render(view: Snapshot, *, age_s: float = 0.0, trouble: str = "", detail: Detail = _LESS[0]) -> RenderableType:
    """Return what to show.

    Args:
        view: of a running bot.
        age_s: how long ago the snapshot was taken.
        trouble: why there is no newer one.
        detail: how much of it.
    """
    parts: list[RenderableType] = [_head(view)]
    if trouble or age_s > _STALE_S:
        why = f": {trouble}" if trouble else ""
        parts.append(Panel(Text(f"OLD: this is {_span(age_s)} old{why}", style="bold red"), border_style="red"))
    problems = [Text(f"! {each}", style="bold red") for each in view.troubles]
    problems += [
        Text(f"! {each.scope}: {each.state} by {each.cause}, {each.detail}", style="yellow") for each in view.latches
    ]
    if problems:
        first, more = _some(problems, detail.problems)
        parts.append(Group(*first, *([Text(f"! and {more} more", style="bold red")] if more else [])))
    parts += [
        _money(view),
        _positions(view),
        *_books(view),
        _orders(view, detail),
        _forecasts(view, detail),
        _data(view, detail),
        _actors(view, detail),
    ]
    return Group(*parts)


def _head(view: Snapshot) -> RenderableType:
    line = Text()
    line.append(view.phase.value.upper(), style=_PHASE_STYLE[view.phase])
    for is_so, word in ((view.is_killed, "KILLED"), (view.is_paused, "PAUSED")):
        if is_so:
            line.append(f"  {word}", style="bold white on red")
    style = "bold red" if view.mode == "live" else "bold"
    strategy = view.strategy.rpartition(":")[2]  # of a file of the user's, the class
    line.append(f"  {view.mode}", style=style).append(f" on {view.venue}, {strategy}, ")
    line.append(f"{view.model_id or 'no model'}, up {_span((view.now_ns - view.started_ns) / 1e9)}\n")
    line.append(f"{view.run_id}, epoch {view.epoch}, journal {view.ledger_seq}", style="dim")
    return line


def _money(view: Snapshot) -> RenderableType:
    table = _table("", "equity", "today", "below peak", "cash", "reconciled", "decided")
    day = None if view.equity is None or view.equity_day_start is None else view.equity - view.equity_day_start
    loss = None
    if view.equity is not None and view.equity_peak:
        loss = 1 - view.equity / view.equity_peak
    table.add_row(
        view.currency,
        _amount(view.equity),
        _gain(day),
        Text("?" if loss is None else f"{loss:.2%}", style="" if not loss else "red"),
        _amount(view.cash),
        _ago(view, view.last_reconciled_ns),
        _ago(view, view.last_decision_ns),
    )
    return table


def _positions(view: Snapshot) -> RenderableType:
    held = [each for each in view.positions if each.qty]
    if not held:
        return Text("flat", style="dim")
    table = _table("position", "quantity", "entry", "mark", "unrealized", "realized", "fees", "funding", "stop")
    for each in held:
        table.add_row(
            each.instrument,
            Text(f"{each.qty:f}", style="green" if each.qty > 0 else "red"),
            _average(each.entry_price),
            _plain(each.mark_price),
            _gain(each.unrealized_pnl),
            _gain(each.realized_pnl),
            _amount(each.fees),
            _gain(each.funding),
            _plain(each.stop_loss) if each.stop_loss is not None else "none",
        )
    return table


def _books(view: Snapshot) -> list[RenderableType]:
    if not view.books:
        return []
    table = _table("book", "instrument", "quantity", "unrealized", "realized", "fees", "funding", "net")
    for each in view.books:
        held = each.position
        table.add_row(
            each.strategy,
            held.instrument,
            Text(f"{held.qty:f}", style="green" if held.qty > 0 else "red" if held.qty else "dim"),
            _gain(held.unrealized_pnl),
            _gain(held.realized_pnl),
            _amount(held.fees),
            _gain(held.funding),
            _gain(held.unrealized_pnl + held.realized_pnl - held.fees + held.funding),
        )
    return [table]


def _orders(view: Snapshot, detail: Detail) -> RenderableType:
    if not view.orders:
        return Text("no open orders", style="dim")
    table = _table("order", "instrument", "side", "type", "filled", "limit", "status", "sent")
    doubtful_first = sorted(view.orders, key=lambda each: (not each.is_in_doubt, -each.sent_ns))
    first, more = _some(doubtful_first, detail.orders)
    for each in first:
        status = Text("IN DOUBT", style="bold red") if each.is_in_doubt else Text(each.status)
        table.add_row(
            each.client_order_id,
            each.instrument,
            Text(each.side, style="green" if each.side == "buy" else "red"),
            each.order_type,
            f"{each.filled_qty:f} of {each.qty:f}",
            _plain(each.limit_price) if each.limit_price is not None else "market",
            status,
            _ago(view, each.sent_ns),
        )
    if more:
        table.add_row(Text(f"and {more} more", style="dim"))
    return table


def _forecasts(view: Snapshot, detail: Detail) -> RenderableType:
    if not view.forecasts:
        return Text("no forecasts", style="dim")
    names = {each.model_id for each in view.forecasts}
    is_told = names != {view.model_id}  # the head says whose they are, unless they are of several
    table = _table(
        "forecast", "bar", "horizon", "median", "interval", "held", "scales", *(["model"] if is_told else [])
    )
    for each in view.forecasts:
        weights = "  ".join(
            f"{_span(scale / 1e9)} {weight:.0%}" for scale, weight in zip(each.scales_ns, each.importance, strict=False)
        )
        rows = list(zip(each.horizons_ns, each.quantiles, strict=False))[: detail.horizons]
        for number, (horizon, row) in enumerate(rows):
            lived = each.coverage[number] if number < len(each.coverage) else math.nan
            wanted = each.levels[-1] - each.levels[0]
            table.add_row(
                each.instrument if not number else "",
                _ago(view, each.bar_close_ns) if not number else "",
                _span(horizon / 1e9),
                f"{row[len(row) // 2]:+.3%}",
                f"{row[0]:+.2%} to {row[-1]:+.2%}",
                "?" if math.isnan(lived) else f"{lived:.0%} of {wanted:.0%}",
                weights if not number else "",
                *([each.model_id if not number else ""] if is_told else []),
            )
    return table


def _data(view: Snapshot, detail: Detail) -> RenderableType:
    table = _table("data", "age", "limit", "state")

    def worst_first(each: DataAge) -> tuple[bool, float]:
        return each.is_trusted and each.age_ns <= each.limit_ns, -each.age_ns / max(each.limit_ns, 1)

    first, more = _some(sorted(view.data, key=worst_first), detail.data)
    for each in first:
        is_old = each.age_ns > each.limit_ns
        state = "STALE" if is_old else "GAP" if not each.is_trusted else "ok"
        style = "green" if state == "ok" else "bold red"
        limit = _span(each.limit_ns / 1e9)
        table.add_row(each.topic, Text(_span(each.age_ns / 1e9), style=style), limit, Text(state, style=style))
    if more:
        table.add_row(Text(f"and {more} more, no worse", style="dim"))
    times = _table("latency", "median", "99 of 100", "worst", "of")
    for latency in view.latencies[: detail.latencies]:
        figures = (latency.p50_ns, latency.p99_ns, latency.worst_ns)
        times.add_row(latency.stage, *(_span(each / 1e9) for each in figures), str(latency.count))
    return Columns((table, times), padding=(0, 4))


def _actors(view: Snapshot, detail: Detail) -> RenderableType:
    if not detail.has_actor_table:
        return _actors_in_short(view)
    table = _table("actor", "inbox", "served", "last", "state")
    for each in view.actors:
        if not each.bound:
            continue  # it has no inbox: whether it lives is said below
        is_full = each.queued > each.bound // 2
        state = Text("alive", style="green") if each.is_alive else Text("ENDED", style="bold red")
        inbox = Text(f"{each.queued} of {each.bound}", style="red" if is_full else "")
        table.add_row(each.name, inbox, str(each.served), _ago(view, each.last_served_ns), state)
    others = Text()
    for word, style, is_alive in (("also alive", "dim", True), ("ENDED", "bold red", False)):
        names = [each.name for each in view.actors if not each.bound and each.is_alive is is_alive]
        if names:
            others.append(f"{word}: {', '.join(names)}\n", style=style)
    counts = _table("count", "", "since the start")
    told, more = _some([each for each in view.counters if each.value], detail.counts)
    for counter in told:
        labels = ", ".join(f"{key} {value}" for key, value in counter.labels)
        counts.add_row(counter.name.removesuffix("_total").replace("_", " "), labels, str(counter.value))
    if more:
        counts.add_row(Text(f"and {more} more", style="dim"))
    tables = (table, counts) if told else (table,)
    return Group(Columns(tables, padding=(0, 4)), others)


def _actors_in_short(view: Snapshot) -> RenderableType:
    """Return a line or two: who has ended, and how many messages wait for whom."""
    line = Text()
    ended = [each.name for each in view.actors if not each.is_alive]
    if ended:
        line.append(f"ENDED: {', '.join(ended)}  ", style="bold red")
    waiting = [f"{each.name} {each.queued} of {each.bound}" for each in view.actors if each.is_alive and each.queued]
    alive = sum(each.is_alive for each in view.actors)
    return line.append(f"{alive} actors alive; waiting: {', '.join(waiting) or 'nothing'}", style="dim")


def _some(rows: Sequence[_T], most: int | None) -> tuple[Sequence[_T], int]:
    """Return the first rows, and how many more there are; one more than the limit is shown rather than counted."""
    if most is None or len(rows) <= most + 1:
        return rows, 0
    return rows[:most], len(rows) - most


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def _ago(view: Snapshot, at_ns: int) -> str:
    return f"{_span((view.now_ns - at_ns) / 1e9)} ago" if at_ns else "not yet"


def _amount(value: Decimal | None) -> str:
    return "?" if value is None else f"{value:,.2f}"


def _gain(value: Decimal | None) -> Text:
    if value is None:
        return Text("?")
    return Text(f"{value:+,.2f}", style="green" if value > 0 else "red" if value < 0 else "")


def _plain(value: Decimal | None) -> str:
    return "?" if value is None else f"{value:f}"


def _average(value: Decimal | None) -> str:
    """Return a price that several fills made, to nine digits."""
    if value is None or not value:
        return _plain(value)
    return f"{value.quantize(Decimal(1).scaleb(min(0, value.adjusted() - 8))).normalize():f}"


def _span(seconds: float) -> str:
    """Return a duration in one unit that suits it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"
