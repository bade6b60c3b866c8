"""What each of several strategies on one account brought, from the moves of its own book.

The books add up to the account: so do these figures, to rounding. A book is valued at the bars' closes, as the
account's equity is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from bot.domain.account import ZERO
from bot.report import words
from bot.report.frames import F64, I64, InstrumentTape, rows, tapes
from bot.report.run_data import RunData
from bot.report.thin import extremes
from bot.report.view import Figure, Section, View, chart, paragraph, rounded, table, times_ms

POINTS_MAX = 1_500  # of a line
SERIES = 6  # colours in the CSS, --series-1 on
_SIDES = ("buy", "sell")  # of what traded; a settlement has none
_NOTE = (
    "Each strategy has a book of its own on this one account, and the books add up to it. Where two wanted the "
    "opposite they met here, at the last price and without a fee, and the venue saw only the rest. A book is charged "
    "its share of joint orders. Valued at every bar close."
)
_LEDGER_NOTE = "The run kept no bars, so what is still held is not valued."


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyResult:
    """One strategy's book over a run; amounts in quote currency, since the run began."""

    name: str
    realized_pnl: Decimal  # before fees and funding
    fees: Decimal
    funding: Decimal  # received; paid is negative
    fills: int  # its shares of executions
    crossings: int  # meetings with another strategy, which the venue did not see
    value_traded: Decimal
    crossed_value: Decimal  # of that, what never went to the venue
    holds: tuple[tuple[str, Decimal], ...]  # at the end: instrument, signed quantity
    profit: F64  # at the times of the run's equity curve; empty without bars

    @property
    def booked(self) -> Decimal:
        """Return what has been booked."""
        return self.realized_pnl - self.fees + self.funding

    @property
    def net_pnl(self) -> float | None:
        """Return what it brought, what is still held at the last close; None without bars."""
        return float(self.profit[-1]) if len(self.profit) else None


def strategy_results(data: RunData, ts_ns: I64) -> list[StrategyResult]:
    """Return each strategy's result, in the order in which they first traded; nothing where one trades alone.

    Args:
        ts_ns: of the run's equity curve.
    """
    by_name: dict[str, dict[str, list[Any]]] = {}
    for row in rows(data.book_moves):
        by_name.setdefault(str(row.strategy), {}).setdefault(str(row.instrument), []).append(row)
    for name, instrument in data.books_before:  # one that only held
        by_name.setdefault(name, {}).setdefault(instrument, [])
    known = {tape.instrument: tape for tape in tapes(data)}
    return [_result(name, books, data, known, ts_ns) for name, books in by_name.items()]


def strategy_metrics(results: Sequence[StrategyResult]) -> list[dict[str, Any]]:
    """Return them for metrics.json."""
    return [
        {
            "strategy": each.name,
            "net_pnl": each.net_pnl,
            "realized_pnl": float(each.realized_pnl),
            "fees": float(each.fees),
            "funding": float(each.funding),
            "fills": each.fills,
            "crossings": each.crossings,
            "value_traded": float(each.value_traded),
            "crossed_value": float(each.crossed_value),
        }
        for each in results
    ]


def strategies_section(view: View, time_axis: dict[str, Any]) -> Section | None:
    """Return the section of the strategies, None where one trades alone."""
    results = strategy_results(view.data, view.curve.ts_ns)
    if not results:
        return None
    head = [
        "Strategy",
        f"Net {view.currency}",
        "Realized",
        "Fees",
        "Funding",
        "Held, at the last close",
        "Value traded",
    ]
    head += ["Of it met here", "Fills", "Holds"]
    body = [_row(each) for each in results]
    total = _total(results)
    if total is not None:
        body.append(total)
    parts = [paragraph(_NOTE if view.tapes else f"{_NOTE} {_LEDGER_NOTE}")]
    figures: dict[str, Figure] = {}
    if view.tapes:
        figures["strategies"] = _figure(view, results, time_axis)
        parts.append(chart("strategies", "Profit of each strategy over time", is_time=True))
    parts.append(table(head, body, caption="What each strategy brought"))
    return Section(anchor="strategies", title="Strategies", body="".join(parts), figures=figures)


def _result(
    name: str, books: dict[str, list[Any]], data: RunData, known: dict[str, InstrumentTape], ts_ns: I64
) -> StrategyResult:
    moves = [row for book in books.values() for row in book]
    trades = [row for row in moves if row.side in _SIDES]
    crossed = [row for row in trades if row.cause == "cross"]
    before = {each: data.books_before.get((name, each), ZERO) for each in books}
    held = {each: book[-1].position_qty if book else before[each] for each, book in books.items()}
    profit = np.zeros(len(ts_ns)) if all(each in known for each in books) else np.empty(0)
    if len(profit):
        for instrument, book in books.items():
            profit += _profit(book, before[instrument], known[instrument], ts_ns)
    return StrategyResult(
        name=name,
        realized_pnl=sum((row.realized_pnl for row in moves), ZERO),
        fees=sum((row.fee for row in moves), ZERO),
        funding=sum((row.amount for row in moves), ZERO),
        fills=len(trades) - len(crossed),
        crossings=len(crossed),
        value_traded=sum((row.qty * row.price for row in trades), ZERO),
        crossed_value=sum((row.qty * row.price for row in crossed), ZERO),
        holds=tuple((each, qty) for each, qty in held.items() if qty),
        profit=profit,
    )


def _profit(book: Sequence[Any], before: Decimal, tape: InstrumentTape, ts_ns: I64) -> F64:
    """Return what a book earned in an instrument by each of these times: what was paid, and what it holds."""
    at_ns = np.array([row.ts_ns for row in book], dtype=np.int64)
    signed = np.array([_signed(row) if row.side in _SIDES else 0.0 for row in book])
    money = np.array([float(row.amount - row.fee - _spent(row)) for row in book])
    rows_done = np.searchsorted(at_ns, ts_ns, side="right")
    held = float(before) + np.concatenate([[0.0], np.cumsum(signed)])[rows_done]
    flows = np.concatenate([[0.0], np.cumsum(money)])[rows_done]
    bar = np.searchsorted(tape.close_ns, ts_ns, side="right") - 1
    price = np.where(bar >= 0, tape.close[np.maximum(bar, 0)], tape.open[0])
    profit: F64 = flows + held * price - float(before) * tape.open[0]
    return profit


def _signed(row: Any) -> float:
    return float(row.qty if row.side == "buy" else -row.qty)


def _spent(row: Any) -> Decimal:
    if row.side not in _SIDES:
        return ZERO
    value: Decimal = row.qty * row.price
    return value if row.side == "buy" else -value


def _row(each: StrategyResult) -> list[str]:
    held = ", ".join(f"{words.qty(qty)} {name}" for name, qty in each.holds)
    net = each.net_pnl
    return [
        each.name,
        "n/a" if net is None else words.amount(net, signed=True),
        words.amount(each.realized_pnl, signed=True),
        words.amount(each.fees),
        words.amount(each.funding, signed=True),
        "n/a" if net is None else words.amount(net - float(each.booked), signed=True),
        words.amount(each.value_traded),
        words.share(float(each.crossed_value / each.value_traded), 0) if each.value_traded else "n/a",
        f"{each.fills:,}",
        held or "nothing",
    ]


def _total(results: Sequence[StrategyResult]) -> list[str] | None:
    """Return the line of sums, None where there is nothing to sum."""
    if len(results) < 2 or any(each.net_pnl is None for each in results):
        return None
    net = sum(each.net_pnl or 0.0 for each in results)
    booked = float(sum((each.booked for each in results), ZERO))
    value = sum((each.value_traded for each in results), ZERO)
    crossed = sum((each.crossed_value for each in results), ZERO)
    return [
        "All",
        words.amount(net, signed=True),
        words.amount(sum((each.realized_pnl for each in results), ZERO), signed=True),
        words.amount(sum((each.fees for each in results), ZERO)),
        words.amount(sum((each.funding for each in results), ZERO), signed=True),
        words.amount(net - booked, signed=True),
        words.amount(value),
        words.share(float(crossed / value), 0) if value else "n/a",
        f"{sum(each.fills for each in results):,}",
        "",
    ]


def _figure(view: View, results: Sequence[StrategyResult], time_axis: dict[str, Any]) -> Figure:
    drawn = [each for each in results if len(each.profit)]
    row = np.unique(np.concatenate([extremes(each.profit, POINTS_MAX // max(len(drawn), 1)) for each in drawn]))
    x = times_ms(view.curve.ts_ns[row])
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": each.name,
                "x": x,
                "y": rounded(each.profit[row]),
                "line": {"width": 1.5, "color": f"var(--series-{n % SERIES + 1})"},
                "hovertemplate": "%{y:+,.2f}",
            }
            for n, each in enumerate(drawn)
        ],
        "layout": {
            "hovermode": "x unified",
            "xaxis": time_axis,
            "yaxis": {"title": {"text": view.currency}, "tickformat": "+,~f", "zeroline": True},
        },
    }
