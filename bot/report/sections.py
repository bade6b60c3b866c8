"""The sections of the page, in the order of the questions a trader asks."""

from collections.abc import Sequence
from html import escape
from typing import Any

from bot.report import words
from bot.report.bracket_page import fills_section
from bot.report.charts import CANDLES_MAX, equity_figure, exposure_figure, price_figure, tape_of, time_axis
from bot.report.forecast_charts import fan_figures, fan_rows, has_importance, importance_figure, reliability_figure
from bot.report.reading import FORECAST_CAVEAT, identity, reading
from bot.report.strategy_books import strategies_section
from bot.report.tables import denial_table, monthly_table, recent_trips, state_table, trade_table
from bot.report.thin import candles
from bot.report.trade_charts import cost_figure, cost_steps, holding_figure, returns_figure
from bot.report.view import Figure, Section, View, chart, nothing, paragraph, table

_INSTRUMENTS_MAX = 6  # charts of prices and forecasts
_FANS = 6

_MARKERS = (
    "A triangle opens a round trip, a circle closes it. Hover one for its reasons, click it to find it in the list; "
    "a number in the list leads back here."
)
_FANS_NOTE = (
    "Decisions at even distances in time, not picked: the forecast's intervals (shaded) and median (dotted), and the "
    "path that the price took. The time axis is stretched (square root), and the forecast drawn straight between its "
    "horizons."
)
_NO_BARS = "The run recorded no bars."
_NO_TRADES = "The strategy made no trade."


def sections(view: View) -> list[Section]:
    """Return all sections; one without data says so."""
    strategies = strategies_section(view, time_axis(view)) if view.tapes else strategies_section(view, {})
    return [
        _equity(view),
        *([strategies] if strategies is not None else []),
        _months(view),
        _price(view),
        _exposure(view),
        _forecasts(view),
        _trips(view),
        _costs(view),
        fills_section(view),
        Section(anchor="trades", title="Trade list", body=trade_table(view)),
        Section(anchor="denials", title="Risk denials and trading states", body=_denials(view)),
        Section(anchor="identity", title="What identifies this run", body=identity(view)),
        Section(anchor="reading", title="How to read this", body=reading(view)),
    ]


def _equity(view: View) -> Section:
    if not view.tapes:
        return Section(anchor="equity", title="Equity and drawdown", body=nothing(_NO_BARS))
    label = "Equity of the strategy and of buy and hold over time, and the drawdown under it"
    body = paragraph(
        "At every bar close, after fees and funding, open positions at the last price.",
        with_mouse="Drag to zoom, double-click to go back; the charts over time move together.",
    ) + chart("equity", label, size="large", is_time=True)
    return Section(anchor="equity", title="Equity and drawdown", body=body, figures={"equity": equity_figure(view)})


def _months(view: View) -> Section:
    lead = paragraph("In %, from month's end to month's end in UTC; the first and the last may be cut short.")
    body = lead + monthly_table(view) if view.tapes else nothing(_NO_BARS)
    return Section(anchor="months", title="Monthly returns", body=body)


def _price(view: View) -> Section:
    title = "Price, entries and exits"
    if not view.tapes:
        return Section(anchor="price", title=title, body=nothing(_NO_BARS))
    shown = recent_trips(view)
    parts: list[str] = []
    figures: dict[str, Figure] = {}
    if not view.trips:
        parts.append(nothing(_NO_TRADES))
    elif len(shown) < len(view.trips):
        parts.append(paragraph(f"{_MARKERS} Drawn are the {len(shown):,} most recent of {len(view.trips):,}."))
    else:
        parts.append(paragraph(_MARKERS))
    for n, instrument in enumerate(_most_traded(view)):
        tape = tape_of(view, instrument)
        if tape is None:
            continue
        folded = candles(tape, CANDLES_MAX)
        own = [(number, trip) for number, trip in shown if trip.instrument == instrument]
        parts.append(
            _subtitle(view, instrument)
            + chart(f"price-{n}", f"Price of {instrument} with entries and exits", size="large", is_time=True)
        )
        figures[f"price-{n}"] = price_figure(view, folded, own)
    return Section(anchor="price", title=title, body="".join(parts) + _cut_note(view), figures=figures)


def _exposure(view: View) -> Section:
    if not view.trips or not view.tapes:
        return Section(anchor="exposure", title="Exposure", body=nothing("The strategy never held a position."))
    metrics = view.metrics
    mean, largest = metrics["leverage_mean"], metrics["leverage_max"]
    lead = f"In the market at {words.share(metrics['exposure'])} of all bar closes"
    if mean is not None:
        lead += f", on average with {words.number(mean)} and at most with {words.number(largest)} times the equity"
    body = paragraph(f"{lead}.") + chart("exposure", "Value of positions over time", size="small", is_time=True)
    return Section(anchor="exposure", title="Exposure", body=body, figures={"exposure": exposure_figure(view)})


def _forecasts(view: View) -> Section:
    title = "Forecasts against what happened"
    shown = [name for name in _most_traded(view) if name in view.data.forecasts and tape_of(view, name) is not None]
    shown = [name for name in shown if len(view.data.forecasts[name].close_ns)]
    if not shown:
        return Section(anchor="forecasts", title=title, body=nothing("The run had no forecasts."))
    parts = [paragraph(_FANS_NOTE)]
    figures: dict[str, Figure] = {}
    for n, instrument in enumerate(shown):
        body, own = _forecasts_of(view, instrument, f"forecast-{n}")
        parts.append(_subtitle(view, instrument) + body)
        figures |= own
    return Section(anchor="forecasts", title=title, body="".join(parts) + paragraph(FORECAST_CAVEAT), figures=figures)


def _forecasts_of(view: View, instrument: str, name: str) -> tuple[str, dict[str, Figure]]:
    forecast = view.data.forecasts[instrument]
    tape = tape_of(view, instrument)
    assert tape is not None
    records = [record for record in view.metrics["forecasts"] if record["instrument"] == instrument]
    chosen = fan_rows(forecast, tape, _FANS)
    if not len(chosen):
        return nothing("No forecast's time was up before the run ended."), {}
    fans = {f"{name}-fan-{k}": figure for k, figure in enumerate(fan_figures(forecast, tape, chosen))}
    panels = "".join(
        f"<figure><figcaption>{words.utc(int(forecast.close_ns[row]))}</figcaption>"
        + chart(key, f"Forecast of {words.utc(int(forecast.close_ns[row]))} and what happened", size="fan")
        + "</figure>"
        for key, row in zip(fans, chosen.tolist(), strict=True)
    )
    figures = {f"{name}-reliability": reliability_figure(records)}
    if has_importance(forecast):
        figures[f"{name}-importance"] = importance_figure(forecast, time_axis(view))
        importance = chart(f"{name}-importance", "Importance of each time scale over time", is_time=True)
    else:
        importance = nothing("The model does not say which scales it rested on.")
    body = (
        f'<div class="fans">{panels}</div><div class="pair"><div><h4>Reliability</h4>'
        + chart(f"{name}-reliability", "Share of outcomes below each quantile, against the nominal share")
        + f"</div><div><h4>Weight of each time scale</h4>{importance}</div></div>"
        + _coverage_table(records)
    )
    return body, fans | figures


def _coverage_table(records: Sequence[dict[str, Any]]) -> str:
    nominals = next(([i["nominal"] for i in record["intervals"]] for record in records if record["intervals"]), [])
    head = ["Horizon", "Outcomes known", "Not overlapping"]
    head += [f"Inside {words.share(nominal, 0)}" for nominal in nominals]
    head += ["Pinball, bps", "Constant's", "Better by", "Direction"]
    body = []
    for record in records:
        loss, constant = record["pinball_loss"], record["pinball_loss_constant"]
        inside = [words.share(interval["actual"]) for interval in record["intervals"]] or ["n/a"] * len(nominals)
        body.append(
            [
                words.span(record["horizon_ns"]),
                f"{record['samples']:,}",
                f"{record['samples_non_overlapping']:,}",
                *inside,
                _bps(loss),
                _bps(constant),
                words.share(None if not constant else 1 - loss / constant, signed=True),
                words.share(record["direction_hit_rate"]),
            ]
        )
    return table(head, body, caption="Coverage and loss of the forecasts")


def _trips(view: View) -> Section:
    title = "Round trips"
    if not view.metrics["round_trips"]:
        return Section(anchor="trips", title=title, body=nothing("No round trip was closed."))
    metrics = view.metrics
    lead = (
        f"{words.count(metrics['round_trips'], 'closed round trip')}, {words.share(metrics['win_rate'])} of them won. "
        f"On average one returned {words.share(metrics['round_trip_return_mean'], 3, signed=True)} of its entry value, "
        "net."
    )
    body = (
        paragraph(lead)
        + '<div class="pair"><div><h4>What they returned</h4>'
        + chart("returns", "Histogram of net returns of round trips")
        + "</div><div><h4>How long they were held</h4>"
        + chart("holding", "Histogram of holding times, won and lost")
        + "</div></div>"
    )
    figures = {"returns": returns_figure(view), "holding": holding_figure(view)}
    return Section(anchor="trips", title=title, body=body, figures=figures)


def _costs(view: View) -> Section:
    title = "What trading cost"
    if not view.metrics["fills"]:
        return Section(anchor="costs", title=title, body=nothing(_NO_TRADES))
    traded = view.metrics["value_traded"]
    body = [
        [
            name,
            words.amount(value, signed=True),
            "n/a" if not traded else words.number(1e4 * value / traded, 2, signed=True),
        ]
        for name, value in cost_steps(view)
    ]
    lead = (
        f"Before costs is what the same trades would have made at the mark price of each decision, free of charge. "
        f"{words.amount(traded, view.currency)} changed hands."
    )
    html = (
        paragraph(lead)
        + '<div class="pair wide-left"><div>'
        + chart("costs", "Waterfall from the profit before costs to the net profit")
        + "</div><div>"
        + table(["", view.currency, "bps of value"], body, caption="Costs")
        + "</div></div>"
    )
    return Section(anchor="costs", title=title, body=html, figures={"costs": cost_figure(view)})


def _denials(view: View) -> str:
    return f"<h3>Denied orders</h3>{denial_table(view)}<h3>Trading states</h3>{state_table(view)}"


def _most_traded(view: View) -> list[str]:
    """Return the instruments that are drawn: those with the most round trips, in the order of the tape."""
    if len(view.instruments) <= _INSTRUMENTS_MAX:
        return list(view.instruments)
    counts = {name: sum(trip.instrument == name for trip in view.trips) for name in view.instruments}
    chosen = sorted(view.instruments, key=lambda name: -counts[name])[:_INSTRUMENTS_MAX]
    return [name for name in view.instruments if name in chosen]


def _cut_note(view: View) -> str:
    if len(view.instruments) <= _INSTRUMENTS_MAX:
        return ""
    return paragraph(f"Drawn are the {_INSTRUMENTS_MAX} most traded of {len(view.instruments)} instruments.")


def _subtitle(view: View, instrument: str) -> str:
    return f"<h3>{escape(instrument)}</h3>" if len(view.instruments) > 1 else ""


def _bps(value: float | None) -> str:
    return "n/a" if value is None else words.number(1e4 * value)
