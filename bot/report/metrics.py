"""The figures of a run, as written to metrics.json.

Fractions are fractions (0.1 is a tenth), amounts are in the account's currency, and what is undefined is null, never
NaN. Every definition that could be read two ways is written beside its function.
"""

import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from bot.domain.account import ZERO
from bot.report.equity import (
    DAY_NS,
    HOUR_NS,
    EquityCurve,
    Samples,
    drawdown,
    equity_curve,
    longest_drawdown_ns,
    sample,
    sharpe,
    sharpe_error,
    sortino,
)
from bot.report.fills_bracket import bracket_metrics
from bot.report.forecasts import evaluate_forecasts
from bot.report.frames import cause_of, rows
from bot.report.round_trips import RoundTrip, fold_round_trips
from bot.report.run_data import RunData
from bot.report.strategy_books import strategy_metrics, strategy_results


def compute_metrics(data: RunData) -> dict[str, Any]:
    """Return the figures, ready for JSON."""
    curve = equity_curve(data)
    samples = sample(curve, int(data.run["to_ns"]) - int(data.run["from_ns"]))
    trips = fold_round_trips(data)
    return {
        **_identity(data),
        **_volume(data),
        **_returns(curve),
        **_ratios(samples),
        **_round_trip_figures(trips),
        **_exposure(curve),
        **_costs(data, curve, trips),
        **_venues_own(data, trips),
        "denials": dict(sorted(Counter(str(row.code) for row in rows(data.denials)).items())),
        "trading_states": dict(
            sorted(Counter(f"{row.cause}: {row.after}" for row in rows(data.trading_states)).items())
        ),
        "strategies": strategy_metrics(strategy_results(data, curve.ts_ns)),
        "forecasts": evaluate_forecasts(data),
        "fill_model": data.fill_model,
        "fills_bracket": bracket_metrics(data.bracket),
    }


def iso_utc(ts_ns: int) -> str:
    """Return a time as ISO 8601 text, UTC, to the second."""
    return pd.Timestamp(ts_ns, unit="ns").strftime("%Y-%m-%dT%H:%M:%SZ")


def _identity(data: RunData) -> dict[str, Any]:
    run = data.run
    return {
        "run_id": run["run_id"],
        "status": run["status"],
        "mode": run["mode"],
        "strategy": run["strategy"],
        "seed": run["seed"],
        "config_hash": run["config_hash"],
        "data_hash": run["data_hash"],
        "model_hash": run["model_id"],
        "ledger_hash": run["ledger_hash"],
        "tape_hash": run["tape_hash"],
        "in_sample": bool(run["in_sample"]),
        "from": iso_utc(int(run["from_ns"])),
        "to": iso_utc(int(run["to_ns"])),
        "currency": run["currency"],
    }


def _volume(data: RunData) -> dict[str, Any]:
    run = data.run
    rows_in, wall_seconds = int(run["rows_in"]), run["wall_seconds"]
    return {
        "source": run["source"],
        "rows_in": rows_in,
        "trades_in": rows_in if run["source"] == "trades" else 0,
        "bars": len(data.tape),
        "decisions": len(data.decisions),
        "orders": len(data.orders),
        "fills": len(data.fills),
        "wall_seconds": None if wall_seconds is None else _finite(wall_seconds),
        "events_per_second": _quotient(rows_in, wall_seconds),
    }


def _returns(curve: EquityCurve) -> dict[str, Any]:
    """Read the finest curve there is: drawdowns between samples count.

    max_drawdown is the deepest fall from a high, a positive fraction of it; max_drawdown_days the longest wait for a
    high to be reached again, or until the end.
    """
    start, end = float(curve.equity[0]), float(curve.equity[-1])
    return {
        "start_equity": start,
        "end_equity": end,
        "net_pnl": end - start,
        "total_return": _quotient(end - start, start),
        "max_drawdown": float(curve.drawdown.max()),
        "max_drawdown_days": longest_drawdown_ns(curve.ts_ns, curve.equity) / DAY_NS,
        "buy_and_hold_return": _quotient(float(curve.hold[-1] - curve.hold[0]), float(curve.hold[0])),
        "buy_and_hold_max_drawdown": float(drawdown(curve.hold).max()),
    }


def _ratios(samples: Samples) -> dict[str, Any]:
    """Annualise what the equity did from sample to sample; a risk-free rate of zero."""
    every = "1 h" if samples.every_ns == HOUR_NS else "1 d"
    return {
        "sharpe": _finite(sharpe(samples.equity, samples.every_ns)),
        "sharpe_standard_error": _finite(sharpe_error(samples.equity, samples.every_ns)),
        "sortino": _finite(sortino(samples.equity, samples.every_ns)),
        "buy_and_hold_sharpe": _finite(sharpe(samples.hold, samples.every_ns)),
        "annualisation": f"from {len(samples.equity):,} equity samples every {every}, 365 days a year",
    }


def _round_trip_figures(trips: Sequence[RoundTrip]) -> dict[str, Any]:
    """Judge closed round trips by net profit; one that nets exactly zero is no win.

    The profit factor is what the winners made over what the losers lost, null without losers.
    """
    nets = [trip.net_pnl for trip in trips if not trip.is_open]
    won = sum((net for net in nets if net > 0), ZERO)
    lost = -sum((net for net in nets if net < 0), ZERO)
    returns = np.array([trip.return_on_entry for trip in trips if not trip.is_open])
    return {
        "round_trips": len(nets),
        "round_trips_open": len(trips) - len(nets),
        "win_rate": _quotient(sum(net > 0 for net in nets), len(nets)),
        "profit_factor": _quotient(won, lost),
        "round_trip_return_mean": float(returns.mean()) if len(returns) else None,
        "round_trip_return_standard_error": (
            float(returns.std(ddof=1)) / math.sqrt(len(returns)) if len(returns) > 1 else None
        ),
    }


def _exposure(curve: EquityCurve) -> dict[str, Any]:
    """Measure what was held at bar closes: exposure is the share of closes with any position.

    Leverage is the unsigned value of all positions over equity, the mean taken over all closes.
    """
    held, equity = curve.gross_notional[1:], curve.equity[1:]
    if not len(held):
        return {"exposure": 0.0, "leverage_mean": None, "leverage_max": None}
    is_solvent = bool((equity > 0).all())
    leverage = held / equity if is_solvent else np.full(len(held), np.nan)
    return {
        "exposure": float((held > 0).mean()),
        "leverage_mean": _finite(leverage.mean()),
        "leverage_max": _finite(leverage.max()),
    }


def _costs(data: RunData, curve: EquityCurve, trips: Sequence[RoundTrip]) -> dict[str, Any]:
    """Take the net profit apart: pnl_at_marks - fees + funding - slippage + insurance = net_pnl.

    Slippage is the sum of (fill price - mark price when the order was decided) x signed quantity: positive costs. An
    execution of the venue's own was never decided and has none. Insurance is what the venue's fund made good.
    Turnover is the value traded over the start equity. What the round trips do not explain of the change in equity
    should be a rounding error of the float tape; anything more is said on the page.
    """
    taker = maker = slippage = traded = made = ZERO
    unmarked = 0
    for fill in rows(data.fills):
        traded += fill.price * fill.qty
        if fill.is_maker:
            maker += fill.fee
            made += fill.price * fill.qty
        else:
            taker += fill.fee
        if cause_of(fill):
            continue
        if fill.mark_price is None or pd.isna(fill.mark_price):
            unmarked += 1
        else:
            slippage += (fill.price - fill.mark_price) * (fill.qty if fill.side == "buy" else -fill.qty)
    fees = taker + maker
    funding = sum((row.amount for row in rows(data.funding)), ZERO)
    insurance = sum((row.amount for row in rows(data.adjustments)), ZERO)
    net = float(curve.equity[-1] - curve.equity[0])
    return {
        "value_traded": float(traded),
        "turnover": _quotient(traded, data.start_cash),
        "maker_share": _quotient(made, traded),
        "fees": float(fees),
        "fees_taker": float(taker),
        "fees_maker": float(maker),
        "funding": float(funding),
        "slippage": float(slippage),
        "fills_without_mark": unmarked,
        "insurance": float(insurance),
        "gross_pnl": net + float(fees - funding - insurance),
        "pnl_at_marks": net + float(fees - funding - insurance + slippage),
        "unexplained_pnl": net - float(sum((trip.net_pnl for trip in trips), insurance)),
    }


def _venues_own(data: RunData, trips: Sequence[RoundTrip]) -> dict[str, Any]:
    """Count what the venue did by itself: executions by their cause, and the round trips it took from us."""
    causes = Counter(cause for fill in rows(data.fills) if (cause := cause_of(fill)))
    return {
        "venue_executions": dict(sorted(causes.items())),
        "liquidations": sum(trip.is_taken for trip in trips),
    }


def _quotient(numerator: float | Decimal, denominator: float | Decimal | None) -> float | None:
    """Return the quotient, None where there is none."""
    if denominator is None or not denominator > 0:
        return None
    return _finite(float(numerator) / float(denominator))


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
