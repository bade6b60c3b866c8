"""The top of the page: what the run was, how it ended in plain words, what to beware of, and the key figures."""

from html import escape
from typing import NamedTuple

from bot.report import words
from bot.report.bracket_page import doubt
from bot.report.equity import DAY_NS
from bot.report.frames import rows
from bot.report.view import View

_VERBS = {"replay": "Replayed", "paper": "Paper traded", "live": "Traded live"}


class Card(NamedTuple):
    """One key figure."""

    label: str
    value: str
    notes: tuple[str, ...]  # what to compare it with, or how it is counted; a line each
    tone: str = ""  # gain, loss or nothing


def overview(view: View) -> str:
    """Return the header, the warnings and the cards."""
    run = view.data.run
    where = f"on {' and '.join(view.instruments[:3])}" if view.instruments else ""
    if len(view.instruments) > 3:
        where = f"on {len(view.instruments)} instruments"
    period = f"{words.utc(int(run['from_ns']))} to {words.utc(int(run['to_ns']))} UTC"
    return (
        '<header class="top">'
        f'<p class="overline">{escape(str(run["mode"]).capitalize())} report '
        f'<span class="mono">{escape(str(run["run_id"]))}</span></p>'
        f'<h1>{escape(str(run["strategy"]))} <span class="on">{escape(where)}</span></h1>'
        f'<p class="period">{escape(period)}</p>'
        f'<p class="status">{escape(status_line(view))}</p>'
        "</header>"
        f"{_warnings(view)}"
        f'<div class="cards" role="list" aria-label="Key figures">{"".join(map(_card, lead_cards(view)))}</div>'
        f'<div class="cards minor" role="list" aria-label="More figures">{"".join(map(_card, minor_cards(view)))}</div>'
    )


def status_line(view: View) -> str:
    """Return what happened, in words that need no chart."""
    run, metrics = view.data.run, view.metrics
    verb = _VERBS.get(str(run["mode"]), "Ran")
    length = words.days(int(run["to_ns"]) - int(run["from_ns"]))
    seen = f"{verb} {length} of the market in {words.count(metrics['bars'], 'bar')}."
    hold = metrics["buy_and_hold_return"]
    holding = "" if hold is None else f" Holding the market instead: {words.share(hold, signed=True)}."
    if not metrics["fills"]:
        return f"{seen} The strategy never traded.{holding}"
    trips = words.count(metrics["round_trips"], "closed round trip")
    if metrics["round_trips_open"]:
        trips += f" and {metrics['round_trips_open']:,} still open"
    if metrics["liquidations"]:
        trips += f", {metrics['liquidations']:,} of them liquidated by the venue,"
    return (
        f"{seen} {trips[0].upper()}{trips[1:]} turned {words.amount(metrics['start_equity'], view.currency)} into "
        f"{words.amount(metrics['end_equity'], view.currency)}, fees, funding and slippage included: "
        f"{words.share(metrics['total_return'], signed=True)}.{holding}"
    )


def lead_cards(view: View) -> list[Card]:
    """Return the four figures that a trader looks for first, each with its benchmark."""
    metrics = view.metrics
    hold = "Buy and hold "
    return [
        Card(
            "Total return",
            words.share(metrics["total_return"], 2, signed=True),
            (
                hold + words.share(metrics["buy_and_hold_return"], 2, signed=True),
                f"mean exposure {words.number(metrics['leverage_mean'])} x equity",
            ),
            _tone(metrics["total_return"]),
        ),
        Card(
            f"Net profit, {view.currency}",
            words.amount(metrics["net_pnl"], signed=True),
            (
                f"Before costs {words.amount(metrics['pnl_at_marks'], signed=True)}",
                f"costs {words.amount(metrics['pnl_at_marks'] - metrics['net_pnl'])}",
            ),
            _tone(metrics["net_pnl"]),
        ),
        Card(
            "Deepest drawdown",
            words.share(metrics["max_drawdown"], 2),
            (
                hold + words.share(metrics["buy_and_hold_max_drawdown"], 2),
                f"longest {words.span(round(metrics['max_drawdown_days'] * DAY_NS))}",
            ),
        ),
        Card(
            "Sharpe ratio",
            words.number(metrics["sharpe"]),
            (
                hold + words.number(metrics["buy_and_hold_sharpe"]),
                f"standard error {words.number(metrics['sharpe_standard_error'])}",
            ),
        ),
    ]


def minor_cards(view: View) -> list[Card]:
    """Return the figures that explain the first four."""
    metrics = view.metrics
    speed, leverage_max = metrics["events_per_second"], metrics["leverage_max"]
    unit = "bars" if metrics["source"] == "bars" else "trades"
    most = (f"at most {words.number(leverage_max)} x equity",) if leverage_max else ()
    return [
        Card("Round trips", f"{metrics['round_trips']:,}", (words.count(metrics["fills"], "fill"),)),
        Card("Win rate", words.share(metrics["win_rate"]), ("of closed round trips, net",)),
        Card("Profit factor", words.number(metrics["profit_factor"]), ("won over lost, net",)),
        Card("Sortino ratio", words.number(metrics["sortino"]), ("against losses only",)),
        Card("Time in market", words.share(metrics["exposure"]), most),
        Card("Turnover", f"{words.number(metrics['turnover'], 1)} x", ("value traded over start equity",)),
        Card(
            f"Fees, {view.currency}",
            words.amount(metrics["fees"]),
            (f"funding {words.amount(metrics['funding'], signed=True)}",),
        ),
        Card(
            "Speed",
            "n/a" if speed is None else words.rate(speed),
            (f"{metrics['rows_in']:,} {unit}{_seconds(metrics['wall_seconds'])}",),
        ),
    ]


def _warnings(view: View) -> str:
    status = str(view.data.run["status"])
    warnings = []
    if view.metrics["in_sample"]:
        warnings.append(
            "In sample: this period overlaps what the model was fitted, selected or calibrated on. "
            "Such a result says how well it remembers, not how it will trade."
        )
    if (open_sign := doubt(view)) is not None:
        warnings.append(open_sign)
    if status != "finished":
        warnings.append(f"This run did not finish (status: {status}). The figures cover what was recorded until then.")
    taken = [trip for trip in view.trips if trip.is_taken]
    if taken:
        saved = view.metrics["insurance"]
        rest = f", and its fund made good {words.amount(saved, view.currency)} that the account owed" if saved else ""
        warnings.append(
            f"Liquidated: the venue took {words.count(len(taken), 'position')}, first {taken[0].instrument} on "
            f"{words.utc(taken[0].exit_ns)} UTC{rest}. The strategy did not want that: its risk is too high."
        )
    stops = [r for r in rows(view.data.trading_states) if r.scope == "account" and r.after != "active"]
    if stops:
        warnings.append(
            f"Trading was held back: {stops[0].after} from {words.utc(int(stops[0].ts_ns))} UTC on, by "
            f"{str(stops[0].cause).replace('_', ' ')}. What came after is not what the strategy alone would have done."
        )
    return "".join(f'<p class="banner" role="alert">{escape(warning)}</p>' for warning in warnings)


def _card(card: Card) -> str:
    notes = "".join(f'<span class="note">{escape(note)}</span>' for note in card.notes)
    return (
        f'<div class="card" role="listitem"><span class="label">{escape(card.label)}</span>'
        f'<strong class="value {card.tone}">{escape(card.value)}</strong>'
        f"{notes}</div>"
    )


def _tone(value: float | None) -> str:
    return "" if not value else "gain" if value > 0 else "loss"


def _seconds(wall_seconds: float | None) -> str:
    return "" if wall_seconds is None else f" in {words.number(wall_seconds, 1)} s"
