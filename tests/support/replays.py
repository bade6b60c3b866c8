"""Runs replays in tests: a small sample market, and settings that differ from the defaults by a few overrides."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bot.app.replay import Replayed, replay
from bot.app.replay_market import open_market
from bot.runtime.settings import Settings, load

NO_DELAYS = (
    "bars.lateness=0s",
    "delays.order=0s",
    "delays.order_tail=0s",
    "delays.answer=0s",
    "delays.answer_tail=0s",
    "delays.inference=0s",
    "delays.inference_tail=0s",
    "venue.slippage_bps=0",
)


def small_market(cache: Path, *, days: int = 2, trades_per_day: int = 5_000) -> list[str]:
    """Return overrides for a small sample market: about three trades a minute, so some minutes are empty."""
    return [
        f"market.sample.cache={cache}",
        f"market.sample.days={days}",
        f"market.sample.trades_per_day={trades_per_day}",
    ]


def file_market(path: Path, kind: str, *, interval: str = "1m") -> dict[str, Any]:
    """Return the settings of one instrument on the benchmark's grid whose history is `path`."""
    instrument: dict[str, Any] = {
        "name": "BTCUSDT",
        "base": "BTC",
        "quote": "USDT",
        "tick_size": "0.1",
        "qty_step": "0.001",
        "qty_min": "0.001",
        "qty_max": "1000",
        kind: str(path),
    }
    if kind == "bars":
        instrument["bar_interval"] = interval
    return {"source": "files", "instruments": (instrument,)}


def settings_with(out: Path, overrides: Sequence[str], market: dict[str, Any] | None = None) -> Settings:
    """Return settings whose runs go to `out`."""
    settings = load(None, [f"run.out={out}", *overrides])
    if market is None:
        return settings
    return Settings(**(settings.model_dump(mode="json") | {"market": market}))


def run(settings: Settings) -> Replayed:
    """Replay."""
    return replay(settings, open_market(settings))


def rows(done: Replayed, query: str) -> list[tuple[Any, ...]]:
    """Return what a query of the run's ledger gives."""
    connection = sqlite3.connect(done.directory / "ledger.sqlite")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def write_trades(path: Path, ts_ms: Any, price: Any, size: Any, side: Any) -> Path:
    """Write trades as a Parquet file and return its path."""
    frame = pd.DataFrame(
        {"ts": np.asarray(ts_ms, np.int64), "price": price, "size": size, "side": np.asarray(side, np.int8)}
    )
    frame.to_parquet(path, index=False)
    return path
