"""What a report is drawn from: the ledger's rows and the tape of one finished run, in memory."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastTable:
    """All forecasts of one instrument. Shapes: N decision bars, H horizons, Q quantile levels, S time scales."""

    instrument: str
    model_id: str
    scale_ns: int  # of the decision bars
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]  # ascending
    scales_ns: tuple[int, ...]
    close_ns: NDArray[np.int64]  # [N]
    quantiles: NDArray[np.float64]  # [N, H, Q], log return from the bar's close over the horizon
    importance: NDArray[np.float64]  # [N, S]


class PresetFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run under one of the fill models. Amounts in the account's currency, as `compute_metrics`."""

    run: str  # its directory, relative to that of the run whose bracket it is in
    ledger_hash: str
    total_return: float | None
    end_equity: float
    sharpe: float | None
    max_drawdown: float
    orders: int
    fills: int
    maker_share: float | None  # of the value traded
    fees: float
    ts_ns: list[int]  # of the equity curve, thinned
    equity: list[float]


PRESETS = ("pessimistic", "neutral", "optimistic")
"""The fill models, from the one that errs against us to the one that errs for us."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunData:
    """One run.

    Frames hold one row per event in order of time. Amounts of money are `Decimal` in object columns; the tape, which
    charts are drawn from, is float64. Times are int64 ns since the epoch, UTC.

    Attributes:
        run: what the run was: run_id, mode, strategy, parameters (JSON), seed, config_hash, model_id, data_hash,
            ledger_hash, tape_hash, in_sample, from_ns, to_ns, source (trades or bars), rows_in, wall_seconds,
            currency, status.
        start_cash: in the account's currency.
        tape: instrument, close_ns, open, high, low, close, volume, position (signed, base currency) and profit (quote
            currency since the start, this instrument: realized + unrealized - fees + funding), one row per bar.
        fills: ts_event_ns, client_order_id, trade_id, instrument, side (buy, sell), price, qty, fee, is_maker,
            position_qty (after), realized_pnl (of this fill, before fees), decision_id, mark_price (when the order was
            decided), cause (why the venue traded for us: stop_loss, liquidation...; none for an order of ours, and such
            a fill has neither decision nor mark).
        funding: ts_event_ns, instrument, position_qty, mark_price, rate, amount (received positive).
        decisions: decision_id, ts_ns, strategy, instrument, trigger, reason, action (JSON), position_qty, close_price.
        denials: decision_id, ts_ns, instrument, code, detail.
        trading_states: ts_ns, scope (account, or an instrument), cause, signal, before, after, in_force, value,
            threshold, until_ns, detail.
        orders: client_order_id, decision_id, instrument, side, order_type, qty, limit_price, status, filled_qty.
        book_moves: where several strategies share the account, what moved the book of each: ts_ns, strategy,
            instrument, cause (fill, cross, cut, foreign, funding), side, qty, price, fee, amount (of funding),
            position_qty (after), realized_pnl (before fees). Empty where one strategy trades.
        books_before: what each strategy's book held of an instrument when the run began, signed; without those flat.
        adjustments: ts_event_ns, adjustment_id, amount (received positive), reason: what the venue's fund made good.
        forecasts: by instrument; empty where the run had no model.
        fill_model: one of `PRESETS`; None where it is not known.
        bracket: by preset, the same run under each; None if only this one was made.
    """

    run: dict[str, Any]
    start_cash: Decimal
    tape: pd.DataFrame
    fills: pd.DataFrame
    funding: pd.DataFrame
    decisions: pd.DataFrame
    denials: pd.DataFrame
    orders: pd.DataFrame
    forecasts: dict[str, ForecastTable]
    trading_states: pd.DataFrame = field(default_factory=pd.DataFrame)
    adjustments: pd.DataFrame = field(default_factory=pd.DataFrame)
    book_moves: pd.DataFrame = field(default_factory=pd.DataFrame)
    books_before: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    fill_model: str | None = None
    bracket: dict[str, PresetFigures] | None = None
