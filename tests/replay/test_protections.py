"""Protections in whole replays: each trips where the market says so, whatever the slabs, and the books still hold."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bot.app.replay import Replayed
from bot.app.runs import read_run, write_report
from bot.report.metrics import compute_metrics
from bot.store.audit import audit_run
from tests.support.replays import NO_DELAYS, file_market, rows, run, settings_with, small_market

MINUTE_NS = 60_000_000_000
START_MS = 1_704_067_200_000  # 2024-01-01
HOLD = (
    *NO_DELAYS,
    "fees.taker_rate=0",
    "account.cash=10000",
    "strategy.name=buy_and_hold",
    "strategy.params.notional=10000",
    "risk.order_notional_max=20000",
    "protections.check_every=15m",
)
STATES = "select ts_ns, scope, cause, before, after from trading_states order by seq"


def crash(path: Path) -> dict[str, Any]:
    """Return a market of two days of minutes: 100, from 06:07 on 88, from 09:00 on 79, from 10:20 on 65."""
    minutes = np.arange(2 * 1440)
    closes = np.select([minutes < 367, minutes < 540, minutes < 620], [100.0, 88.0, 79.0], 65.0)
    frame = pd.DataFrame({"ts": START_MS + 60_000 * minutes, "volume": 1.0})
    for name in ("open", "high", "low", "close"):
        frame[name] = closes
    frame.to_parquet(path / "bars.parquet", index=False)
    return file_market(path / "bars.parquet", "bars")


def minute_of(ts_ns: int) -> str:
    """Return the time since the market's start as day:hour:minute."""
    minutes, rest = divmod(ts_ns - START_MS * 1_000_000, MINUTE_NS)
    assert rest == 0
    return f"{minutes // 1440}:{minutes // 60 % 24:02}:{minutes % 60:02}"


def states(done: Replayed) -> list[tuple[str, str, str, str, str]]:
    """Return the changes of state: when, scope, cause, before, after."""
    return [(minute_of(ts_ns), *rest) for ts_ns, *rest in rows(done, STATES)]


def test_ladders_trip_at_the_next_round_check(tmp_path: Path) -> None:
    """A strategy that sleeps through it is watched all the same: 12 % down at 06:07 are seen at 06:15."""
    market = crash(tmp_path)
    done = run(settings_with(tmp_path, HOLD, market))
    assert states(done) == [
        ("0:06:15", "account", "daily_loss", "active", "reducing"),
        ("0:09:15", "account", "drawdown", "active", "reducing"),
        ("0:09:15", "account", "daily_loss", "reducing", "halted"),
        ("0:10:30", "account", "drawdown", "reducing", "halted"),
        ("1:00:00", "account", "daily_loss", "halted", "active"),
    ]
    assert rows(done, "select count(*) from fills") == [(1,)]
    assert audit_run(done.directory).problems == []


@pytest.mark.parametrize("slab_rows", [1, 97, 10_000])
def test_a_halt_sells_what_is_held(tmp_path: Path, slab_rows: int) -> None:
    """At 09:15 the day's loss halts; the sale is told as the rule's own, and the ledger is the same for any slabs."""
    overrides = [*HOLD, "protections.flatten_on_halt=true", f"run.slab_rows={slab_rows}"]
    done = run(settings_with(tmp_path, overrides, crash(tmp_path)))
    fills = "select f.side, f.price, f.position_qty, d.strategy, d.trigger from fills f"
    fills += " join intents i using (client_order_id) join decisions d using (decision_id) order by f.seq"
    assert [row[:3] for row in rows(done, fills)] == [("buy", "100.0", "100"), ("sell", "79.0", "0")]
    assert rows(done, fills)[1][3:] == ("risk", "state:halted")
    assert audit_run(done.directory).problems == []
    metrics = compute_metrics(read_run(done.directory))
    assert metrics["end_equity"] == pytest.approx(7900)
    assert metrics["trading_states"]["daily_loss: halted"] == 1
    whole = run(settings_with(tmp_path / "whole", [*HOLD, "protections.flatten_on_halt=true"], crash(tmp_path)))
    assert whole.ledger_hash == done.ledger_hash


def test_the_check_is_as_often_as_it_is_asked_to_be(tmp_path: Path) -> None:
    done = run(settings_with(tmp_path, [*HOLD, "protections.check_every=1h"], crash(tmp_path)))
    assert [row[0] for row in states(done)] == ["0:07:00", "0:10:00", "0:10:00", "0:11:00", "1:00:00"]


def test_rungs_are_those_of_the_config(tmp_path: Path) -> None:
    """Off is off; a rung of 12 % of the equity is reached at 88."""
    off = [f"protections.{name}=0" for name in ("drawdown_halt", "daily_loss_reduce", "daily_loss_halt")]
    done = run(settings_with(tmp_path, [*HOLD, *off, "protections.drawdown_reduce=0.12"], crash(tmp_path)))
    assert states(done) == [("0:06:15", "account", "drawdown", "active", "reducing")]
    done = run(settings_with(tmp_path, [*HOLD, *off, "protections.drawdown_reduce=0"], crash(tmp_path)))
    assert states(done) == []


SMA = ("strategy.name=sma_cross", "strategy.params.fast=3", "strategy.params.slow=9", "strategy.params.qty=0.5")
PAUSES = {
    "cooldown": (["protections.cooldown=10m"], "COOLDOWN"),
    "stop_guard": (["protections.stop_guard_losses=2", "protections.stop_guard_pause=20m"], "STOP_GUARD"),
    "low_profit": (
        [
            "protections.low_profit_trips=2",
            "protections.low_profit_least=100000",
            "protections.low_profit_pause=20m",
        ],
        "LOW_PROFIT",
    ),
    "repeated": (
        ["protections.repeated_orders=2", "protections.repeated_window=2h", "protections.repeated_pause=20m"],
        "REPEATED",
    ),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market for all tests of this file."""
    return tmp_path_factory.mktemp("market")


@pytest.mark.parametrize("cause", PAUSES)
def test_pauses_close_deny_and_open_again(cause: str, cache: Path, tmp_path: Path) -> None:
    """Each trips on a restless strategy, its code is counted, it opens after its time, and slabs change nothing."""
    overrides, code = PAUSES[cause]
    small, done = (
        run(settings_with(tmp_path, [*small_market(cache), *SMA, *overrides, f"run.slab_rows={slab_rows}"]))
        for slab_rows in (97, 10_000)
    )
    assert small.ledger_hash == done.ledger_hash
    moved = {(row[1], row[2], row[3]) for row in states_of(done)}
    assert moved >= {(cause, "active", "reducing"), (cause, "reducing", "active")}
    assert {row[1] for row in states_of(done)} == {cause}
    assert rows(done, f"select count(*) from denials where code = '{code}'")[0][0] > 2
    assert audit_run(done.directory).problems == []


def states_of(done: Replayed) -> list[tuple[str, str, str, str]]:
    """Return scope, cause, before and after of every change."""
    return [row[1:] for row in rows(done, STATES)]


def test_no_entry_is_filled_within_a_cooldown(cache: Path, tmp_path: Path) -> None:
    """With the ledger's own times: between a round trip's end and ten minutes later the position stays flat."""
    done = run(settings_with(tmp_path, [*small_market(cache), *SMA, "protections.cooldown=10m"]))
    ended_ns = None
    held = 0.0
    for ts_ns, kind, body in rows(done, "select ts_ns, kind, body from journal order by seq"):
        entry = msgspec.json.decode(body)
        if kind == "OrderIntended" and ended_ns is not None and held == 0:
            assert ts_ns >= ended_ns + 10 * MINUTE_NS
        if kind == "FillBooked":
            held = float(entry["position_qty"])
            ended_ns = ts_ns if held == 0 else ended_ns
    assert ended_ns is not None


def test_the_report_tells_when_trading_was_held_back(tmp_path: Path) -> None:
    done = run(settings_with(tmp_path, HOLD, crash(tmp_path)))
    write_report(done.directory)
    page = (done.directory / "report.html").read_text(encoding="utf-8")
    assert "Trading was held back: reducing from 2024-01-01 06:15" in page
    assert page.count("drawdown") > 2
    assert "reducing \N{RIGHTWARDS ARROW} halted" in page
