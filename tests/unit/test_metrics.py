"""Metrics and round trips against numbers worked out by hand."""

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.equity import ProfitCurve
from bot.domain.instrument import Instrument
from bot.report.equity import (
    DAY_NS,
    HOUR_NS,
    drawdown,
    equity_curve,
    longest_drawdown_ns,
    sharpe,
    sharpe_error,
    sortino,
)
from bot.report.forecasts import apart
from bot.report.metrics import compute_metrics
from bot.report.round_trips import fold_round_trips
from bot.report.run_data import ForecastTable, RunData

START_NS = 1_709_510_400_000_000_000  # 2024-03-04, midnight
MINUTE_NS = 60_000_000_000
BTC = Instrument(
    name="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.5"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1000),
)
_FRAMES = {
    "fills": (
        "ts_event_ns client_order_id trade_id instrument side price qty fee is_maker position_qty realized_pnl "
        "decision_id mark_price cause"
    ),
    "adjustments": "ts_event_ns amount reason",
    "funding": "ts_event_ns instrument position_qty mark_price rate amount",
    "decisions": "decision_id ts_ns strategy instrument trigger reason action position_qty close_price",
    "denials": "decision_id ts_ns instrument code detail",
    "orders": "client_order_id decision_id instrument side order_type qty limit_price status filled_qty",
}


def fill(
    minute: float,
    side: str,
    price: str,
    qty: str,
    fee: str = "0",
    *,
    mark: str | None = None,
    is_maker: bool = False,
    decision_id: int | None = None,
    instrument: str = "BTCUSDT",
    cause: str | None = None,
) -> dict[str, Any]:
    """Return a fill so many minutes after the start."""
    amounts = {"price": Decimal(price), "qty": Decimal(qty), "fee": Decimal(fee)}
    return dict.fromkeys(_FRAMES["fills"].split()) | {
        "ts_event_ns": START_NS + int(minute * MINUTE_NS),
        "instrument": instrument,
        "side": side,
        "is_maker": is_maker,
        "decision_id": decision_id,
        "mark_price": None if mark is None else Decimal(mark),
        "cause": cause,
        **amounts,
    }


def paid(minute: float, position_qty: str, amount: str) -> dict[str, Any]:
    """Return a funding settlement so many minutes after the start."""
    return {
        "ts_event_ns": START_NS + int(minute * MINUTE_NS),
        "instrument": "BTCUSDT",
        "position_qty": Decimal(position_qty),
        "mark_price": Decimal(100),
        "rate": Decimal("0.0001"),
        "amount": Decimal(amount),
    }


def bars_of(
    closes: Sequence[float],
    fills: Sequence[dict[str, Any]] = (),
    funding: Sequence[dict[str, Any]] = (),
    *,
    scale_ns: int = MINUTE_NS,
    instrument: str = "BTCUSDT",
) -> pd.DataFrame:
    """Return one tape row for each close, the first bar opening at the start; booked as the ledger does it."""
    curve = ProfitCurve(BTC)
    events = [(row["ts_event_ns"], row) for row in (*fills, *funding) if row["instrument"] == instrument]
    for ts_ns, row in sorted(events, key=lambda event: event[0]):
        if "amount" in row:
            curve.receive(ts_ns, row["amount"])
        else:
            curve.trade(ts_ns, row["qty"] if row["side"] == "buy" else -row["qty"], row["price"], row["fee"])
    close = np.array(closes, dtype=np.float64)
    close_ns = START_NS + scale_ns * np.arange(1, len(close) + 1)
    position, profit = curve.at(close_ns, np.round(close / 0.5).astype(np.int64))
    opens = np.concatenate([close[:1], close[:-1]])
    return pd.DataFrame(
        {
            "instrument": instrument,
            "close_ns": close_ns,
            "open": opens,
            "high": np.maximum(opens, close),
            "low": np.minimum(opens, close),
            "close": close,
            "volume": 1.0,
            "position": position,
            "profit": profit,
        }
    )


def run_of(
    tape: pd.DataFrame,
    fills: Sequence[dict[str, Any]] = (),
    *,
    start_cash: str = "1000",
    forecasts: dict[str, ForecastTable] | None = None,
    run: dict[str, Any] | None = None,
    **frames: Sequence[dict[str, Any]],
) -> RunData:
    """Return a run of these rows; every frame that is not given is empty."""
    to_ns = int(tape["close_ns"].max()) if len(tape) else START_NS
    facts = {
        "run_id": "r-1",
        "mode": "replay",
        "strategy": "breakout",
        "parameters": '{"length":20}',
        "seed": 7,
        "config_hash": "c0",
        "model_id": "",
        "data_hash": "d0",
        "ledger_hash": "10",
        "tape_hash": "70",
        "in_sample": False,
        "from_ns": START_NS,
        "to_ns": to_ns,
        "source": "trades",
        "rows_in": 500,
        "wall_seconds": 2.0,
        "currency": "USDT",
        "status": "finished",
        **(run or {}),
    }
    tables = {
        name: pd.DataFrame(list(rows), columns=_FRAMES[name].split(), dtype=object)
        for name, rows in {**dict.fromkeys(_FRAMES, ()), **frames, "fills": fills}.items()
    }
    return RunData(
        run=facts,
        start_cash=Decimal(start_cash),
        tape=tape,
        fills=tables["fills"],
        funding=tables["funding"],
        decisions=tables["decisions"],
        denials=tables["denials"],
        orders=tables["orders"],
        forecasts=forecasts or {},
        adjustments=tables["adjustments"],
    )


def decision(decision_id: int, reason: str) -> dict[str, Any]:
    """Return a decision of which only the reason matters."""
    return dict.fromkeys(_FRAMES["decisions"].split()) | {"decision_id": decision_id, "reason": reason}


# --- round trips ------------------------------------------------------------------------------------------------------


def test_a_flip_closes_one_trip_and_opens_the_next() -> None:
    fills = [
        fill(1, "buy", "100", "1", "0.10", decision_id=1),
        fill(2, "buy", "110", "1", "0.11", decision_id=2),
        fill(4, "sell", "120", "3", "0.36", decision_id=3),
        fill(6, "buy", "118", "1", "0.12", decision_id=4),
    ]
    funding = [paid(3, "2", "-0.05"), paid(5, "-1", "0.02")]
    decisions = [decision(n, reason) for n, reason in enumerate(("up", "more", "turn", "done"), start=1)]
    data = run_of(bars_of([100.0] * 7, fills, funding), fills, funding=funding, decisions=decisions)
    long, short = fold_round_trips(data)

    assert (long.direction, long.qty_max, long.fill_count, long.is_open) == ("long", Decimal(2), 3, False)
    assert (long.entry_price, long.exit_price) == (Decimal(105), Decimal(120))
    assert long.gross_pnl == Decimal(30)
    assert long.fees == Decimal("0.45")  # 0.10 + 0.11 + two thirds of 0.36
    assert long.net_pnl == Decimal("29.50")
    assert long.return_on_entry == pytest.approx(29.5 / 210)
    assert long.duration_ns == 3 * MINUTE_NS
    assert (long.entry_reason, long.exit_reason) == ("up", "turn")

    assert (short.direction, short.qty_max, short.fill_count) == ("short", Decimal(1), 2)
    assert short.net_pnl == Decimal(2) - Decimal("0.24") + Decimal("0.02")
    assert (short.entry_reason, short.exit_reason) == ("turn", "done")


def test_what_stays_open_counts_at_the_last_price() -> None:
    fills = [fill(1, "sell", "100", "2", "0.1"), fill(2, "buy", "90", "1", "0.1")]
    (trip,) = fold_round_trips(run_of(bars_of([100, 100, 90, 95.5], fills), fills))
    assert trip.is_open
    assert trip.gross_pnl == Decimal("14.5")  # 10 of the closed half, 4.5 of the open one
    assert trip.exit_ns == START_NS + 4 * MINUTE_NS
    assert trip.exit_reason == ""


def test_funding_at_the_instant_of_a_flip_belongs_to_the_position_it_was_paid_on() -> None:
    fills = [fill(1, "buy", "100", "1"), fill(4, "sell", "100", "2"), fill(5, "buy", "100", "1")]
    for position_qty, expected in (("1", [1, 0]), ("-1", [0, 1])):
        data = run_of(bars_of([100.0] * 6, fills), fills, funding=[paid(4, position_qty, "1")])
        assert [int(trip.funding) for trip in fold_round_trips(data)] == expected


@given(
    orders=st.lists(
        st.tuples(st.integers(1, 500), st.sampled_from(["buy", "sell"]), st.integers(180, 220), st.integers(1, 9)),
        max_size=20,
    ),
    payments=st.lists(st.tuples(st.integers(1, 500), st.integers(-9, 9), st.integers(-50, 50)), max_size=5),
)
@settings(deadline=None)
def test_round_trips_add_up_to_the_change_in_equity(
    orders: list[tuple[int, str, int, int]], payments: list[tuple[int, int, int]]
) -> None:
    """Whatever was traded, the net profits of all trips, the open one marked, are end minus start equity."""
    fills = [
        fill(minute / 10, side, str(Decimal(ticks) / 2), str(Decimal(steps) / 1000), "0.000123")
        for minute, side, ticks, steps in sorted(orders)
    ]
    funding = [paid(minute / 10, str(qty), str(Decimal(amount) / 100)) for minute, qty, amount in sorted(payments)]
    if not fills:
        funding = []  # nothing is paid on no position
    closes = 100 + np.arange(52) % 7 * 0.5
    data = run_of(bars_of(closes.tolist(), fills, funding), fills, funding=funding)
    metrics = compute_metrics(data)
    total = float(sum(trip.net_pnl for trip in fold_round_trips(data)))
    assert total == pytest.approx(metrics["end_equity"] - metrics["start_equity"], abs=1e-9)
    assert metrics["unexplained_pnl"] == pytest.approx(0, abs=1e-9)
    steps = metrics["pnl_at_marks"] - metrics["fees"] + metrics["funding"] - metrics["slippage"]
    assert steps == pytest.approx(metrics["net_pnl"], abs=1e-9)


def test_what_the_venue_did_by_itself_is_told_apart() -> None:
    """A stop and a liquidation end trips with their own reasons, cost no slippage, and what the fund paid is no profit
    of any trip."""
    fills = [
        fill(1, "buy", "100", "1", "0.1", decision_id=1, mark="99.5"),
        fill(2, "sell", "95", "1", "0.1", cause="stop_loss"),
        fill(3, "buy", "100", "20", "1", decision_id=2, mark="100"),
        fill(4, "sell", "60", "5", "1", cause="liquidation"),
        fill(4, "sell", "48", "15", "1", cause="liquidation"),
    ]
    funded = [{"ts_event_ns": START_NS + 4 * MINUTE_NS, "amount": Decimal("12.2"), "reason": "owed"}]
    data = run_of(bars_of([100.0] * 6, fills), fills, decisions=[decision(n, "up") for n in (1, 2)], adjustments=funded)
    stopped, taken = fold_round_trips(data)
    assert (stopped.exit_cause, stopped.exit_reason, stopped.is_taken) == (
        "stop_loss",
        "stop loss, kept by the venue",
        False,
    )
    assert (taken.exit_cause, taken.is_taken) == ("liquidation", True)
    assert taken.exit_reason.startswith("LIQUIDATED")
    metrics = compute_metrics(data)
    assert metrics["venue_executions"] == {"liquidation": 2, "stop_loss": 1}
    assert metrics["liquidations"] == 1
    assert metrics["fills_without_mark"] == 0
    assert metrics["insurance"] == pytest.approx(12.2)
    assert metrics["end_equity"] == pytest.approx(1000 - 5.2 - 200 - 780 - 3 + 12.2)
    assert metrics["unexplained_pnl"] == pytest.approx(0, abs=1e-9)
    steps = metrics["pnl_at_marks"] - metrics["fees"] + metrics["funding"] - metrics["slippage"] + metrics["insurance"]
    assert steps == pytest.approx(metrics["net_pnl"], abs=1e-9)


def test_what_the_fund_paid_is_in_the_curve_from_then_on() -> None:
    """As a fill at the very instant of a bar's close follows the bar, so does this."""
    funded = [{"ts_event_ns": START_NS + minute * MINUTE_NS, "amount": Decimal(1)} for minute in (2, 4)]
    curve = equity_curve(run_of(bars_of([100.0] * 5), adjustments=funded))
    assert curve.equity.tolist() == [1000, 1000, 1000, 1001, 1001, 1002]


# --- the equity curve -------------------------------------------------------------------------------------------------


def test_drawdown_is_a_fraction_of_the_high_and_lasts_until_the_high_is_back() -> None:
    equity = np.array([100, 110, 99, 104.5, 121, 108.9, 115])
    assert drawdown(equity) == pytest.approx([0, 0, 0.1, 0.05, 0, 0.1, 1 - 115 / 121])
    ts_ns = np.arange(7) * DAY_NS
    assert longest_drawdown_ns(ts_ns, equity) == 3 * DAY_NS  # from 110 to 121
    assert longest_drawdown_ns(ts_ns[:4], equity[:4]) == 2 * DAY_NS  # not back by the end
    assert longest_drawdown_ns(ts_ns, np.full(7, 100.0)) == 0


def test_ratios_of_three_daily_returns() -> None:
    equity = np.array([100, 110, 99, 108.9])  # +10 %, -10 %, +10 %
    ratio = (0.1 / 3) / math.sqrt(0.04 / 3) * math.sqrt(365)
    assert sharpe(equity, DAY_NS) == pytest.approx(ratio)
    assert sortino(equity, DAY_NS) == pytest.approx((0.1 / 3) / math.sqrt(0.01 / 3) * math.sqrt(365))
    assert sharpe_error(equity, DAY_NS) == pytest.approx(math.sqrt((365 + ratio**2 / 2) / 3))
    assert sharpe(equity, HOUR_NS) == pytest.approx(ratio * math.sqrt(24))


@pytest.mark.parametrize(
    "equity",
    [
        [100.0],
        [100.0, 110.0],
        [100.0, 100.0, 100.0],
        [100.0, 110.0, 121.0, 133.1],  # the same return each time, but for rounding
        [100.0, -5.0, 10.0],
    ],
)
def test_ratios_without_meaning_are_none(equity: list[float]) -> None:
    assert sharpe(np.array(equity), DAY_NS) is None
    assert sharpe_error(np.array(equity), DAY_NS) is None


def test_a_short_run_is_sampled_hourly_a_long_one_daily() -> None:
    short = compute_metrics(run_of(bars_of([100.0] * 150)))
    assert short["annualisation"] == "from 3 equity samples every 1 h, 365 days a year"
    long = compute_metrics(run_of(bars_of([100.0] * 61 * 24, scale_ns=HOUR_NS)))
    assert long["annualisation"] == "from 62 equity samples every 1 d, 365 days a year"


def test_equity_sums_the_last_known_profit_of_every_instrument() -> None:
    fills = [
        fill(0.5, "buy", "100", "1", instrument="BTCUSDT"),
        fill(0.5, "sell", "100", "2", instrument="ETHUSDT"),
    ]
    slow = bars_of([100, 90], fills, scale_ns=2 * MINUTE_NS, instrument="ETHUSDT")
    fast = bars_of([101, 102, 103, 104, 105], fills)
    tape = pd.concat([fast, slow]).sort_values("close_ns", kind="stable")
    metrics = compute_metrics(run_of(tape, fills))
    assert metrics["end_equity"] == 1000 + 5 + 20
    assert metrics["total_return"] == pytest.approx(0.025)
    assert metrics["buy_and_hold_return"] == pytest.approx((105 / 101 + 90 / 100) / 2 - 1)
    # Equity: 1000, 1001, 1002, 1003, 1024, 1025. Held in the market: 101, 302, 303, 284, 285.
    assert metrics["exposure"] == 1
    assert metrics["leverage_max"] == pytest.approx(303 / 1003)


# --- the figures ------------------------------------------------------------------------------------------------------


def test_figures_of_a_few_trades() -> None:
    """Three trips win 20, lose 5 and lose 5 after fees of 1 each; a fourth is open."""
    fills = [
        fill(1, "buy", "100", "1", "0.5", mark="99.5"),
        fill(2, "sell", "121", "1", "0.5", mark="121.5", is_maker=True),
        fill(3, "sell", "100", "1", "0.5", mark="100"),
        fill(4, "buy", "104", "1", "0.5", mark="104"),
        fill(5, "buy", "100", "1", "0.5", mark="100"),
        fill(6, "sell", "96", "1", "0.5", mark="95"),
        fill(7, "buy", "100", "1", "0"),
    ]
    closes = [100, 100, 121, 100, 104, 100, 96, 110]
    denials = [{"decision_id": 1, "ts_ns": START_NS, "instrument": "BTCUSDT", "code": "HALTED", "detail": ""}] * 2
    metrics = compute_metrics(run_of(bars_of(closes, fills), fills, denials=denials))
    assert (metrics["round_trips"], metrics["round_trips_open"]) == (3, 1)
    assert metrics["win_rate"] == pytest.approx(1 / 3)
    assert metrics["profit_factor"] == pytest.approx(20 / 10)
    assert (metrics["fees"], metrics["fees_taker"], metrics["fees_maker"]) == (3, 2.5, 0.5)
    assert metrics["slippage"] == pytest.approx(0.5 + 0.5 - 1)  # bought above, sold below, sold above the mark
    assert metrics["fills_without_mark"] == 1
    assert metrics["turnover"] == pytest.approx(721 / 1000)
    assert metrics["net_pnl"] == pytest.approx(20 - 5 - 5 + 10)
    # A fill at the very close of a bar follows it: held at the closes of minutes 2, 4, 6 and 8.
    assert metrics["exposure"] == 0.5
    assert metrics["denials"] == {"HALTED": 2}
    assert (metrics["trades_in"], metrics["events_per_second"]) == (500, 250)
    assert (metrics["from"], metrics["to"]) == ("2024-03-04T00:00:00Z", "2024-03-04T00:08:00Z")


def test_profit_factor_without_a_loser_is_null() -> None:
    fills = [fill(1, "buy", "100", "1"), fill(2, "sell", "101", "1")]
    metrics = compute_metrics(run_of(bars_of([100, 100, 101], fills), fills))
    assert (metrics["win_rate"], metrics["profit_factor"]) == (1, None)


@pytest.mark.parametrize("closes", [[], [100.0], [100.0] * 100])
def test_a_run_without_trades_has_json_without_nan(closes: list[float]) -> None:
    metrics = compute_metrics(run_of(bars_of(closes)))
    json.dumps(metrics, allow_nan=False)
    assert (metrics["total_return"], metrics["sharpe"], metrics["win_rate"]) == (0, None, None)


# --- forecasts --------------------------------------------------------------------------------------------------------


def test_coverage_counts_the_outcomes_that_are_known() -> None:
    """Prices rise by 1 % a minute, then fall by 1 %; the forecast always says -0.5 % to 1.5 %."""
    moves = [0.01] * 6 + [-0.01] * 2
    closes = 100 * np.exp(np.concatenate([[0], np.cumsum(moves)]))
    quantiles = np.tile(np.array([-0.005, 0.004, 0.015]), (9, 2, 1))
    table = ForecastTable(
        instrument="BTCUSDT",
        model_id="m",
        scale_ns=MINUTE_NS,
        horizons_ns=(MINUTE_NS, 3 * MINUTE_NS),
        levels=(0.1, 0.5, 0.9),
        scales_ns=(MINUTE_NS,),
        close_ns=START_NS + MINUTE_NS * np.arange(1, 10),
        quantiles=quantiles,
        importance=np.ones((9, 1)),
    )
    one, three = compute_metrics(run_of(bars_of(closes.tolist()), forecasts={"BTCUSDT": table}))["forecasts"]
    assert (one["samples"], one["samples_non_overlapping"]) == (8, 8)
    assert one["intervals"] == [
        {"nominal": 0.8, "actual": 0.75, "actual_non_overlapping": 0.75},
    ]
    assert one["direction_hit_rate"] == 0.75
    # Of +1 %: 0.1 x 1.5, 0.5 x 0.6 and 0.1 x 0.5; of -1 %: 0.9 x 0.5, 0.5 x 1.4 and 0.1 x 2.5, all in hundredths.
    assert one["pinball_loss"] == pytest.approx(0.01 * (0.75 * (0.15 + 0.3 + 0.05) + 0.25 * (0.45 + 0.7 + 0.25)) / 3)
    # Over three minutes: +3 % four times, +1 %, -1 %; apart by three minutes are the first and the fourth.
    assert (three["samples"], three["samples_non_overlapping"]) == (6, 2)
    assert three["intervals"][0]["actual"] == pytest.approx(1 / 6)
    assert three["intervals"][0]["actual_non_overlapping"] == 0
    assert [level["actual"] for level in three["levels"]] == pytest.approx([1 / 6, 1 / 6, 2 / 6])


@given(st.lists(st.integers(1, 5), max_size=40), st.integers(1, 12))
def test_samples_apart_do_not_overlap_and_none_is_left_out(steps: list[int], gap: int) -> None:
    times = np.cumsum(np.array(steps, dtype=np.int64))
    kept = times[apart(times, gap)]
    assert (np.diff(kept) >= gap).all()
    for time in times:
        assert ((kept <= time) & (kept > time - gap)).any()  # each was kept, or overlaps one that was
