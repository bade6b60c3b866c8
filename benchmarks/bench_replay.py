"""How fast the replay is, stage by stage, on the market and with the strategy that other engines were measured with.

Engine time is counted: no start of the interpreter, no compilation, no report.
`python -m benchmarks.bench_replay NAME` measures one figure in this process.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import market
from benchmarks.measure import RUNS, figure, main
from bot.app.replay import replay
from bot.core.bars import BarAggregator
from bot.runtime.env import Stopwatch, peak_memory_bytes
from bot.runtime.settings import Settings, load

SMA = (
    "bars.lateness=0s",
    "delays.order=0s",
    "delays.order_tail=0s",
    "delays.answer=0s",
    "delays.answer_tail=0s",
    "venue.slippage_bps=0",
    "strategy.name=sma_cross",
    # It loses a fifth by its fees: the ladders watch, as they do by default, with rungs that it never reaches.
    "protections.drawdown_reduce=0.99",
    "protections.drawdown_halt=0.99",
)
QUIET = (*SMA, "strategy.params.threshold=1000000000")  # the averages are computed, nothing is ever decided


def settings(out: str, overrides: tuple[str, ...]) -> Settings:
    """Return the settings of a benchmark run."""
    return load(None, [f"run.out={out}", *overrides])


def replay_seconds(history: Any, overrides: tuple[str, ...]) -> list[float]:
    """Return the engine seconds of several replays."""
    seconds = []
    with tempfile.TemporaryDirectory() as out:
        for _ in range(RUNS + 1):
            seconds.append(replay(settings(out, overrides), [(market.INSTRUMENT, history)]).engine_seconds)
    return seconds[1:]  # the first one warms up


def bars_quiet() -> dict[str, Any]:
    """Replay one million bars from memory, no decision: ledger, tape and equity at every bar included."""
    seconds = replay_seconds(market.LoadedHistory(market.open_history(market.bars_file(), "bars")), QUIET)
    return figure("replay 1 M bars, no decision, from memory", "us/bar", seconds, lambda s: s * 1e6 / 1e6)


def bars_traded() -> dict[str, Any]:
    """Replay one million bars from the Parquet file with 13,578 filled orders, all ledger rows."""
    seconds = replay_seconds(market.open_history(market.bars_file(), "bars"), SMA)
    return figure("replay 1 M bars, 13,578 fills, from Parquet", "bars/s", seconds, lambda s: 1e6 / s)


def fill_cost() -> dict[str, Any]:
    """Tell what a filled order costs with all its rows: the difference to no decision, from memory, over 13,578."""
    history = market.LoadedHistory(market.open_history(market.bars_file(), "bars"))
    quiet = min(replay_seconds(history, QUIET))
    traded = replay_seconds(history, SMA)
    return figure("one filled order with all its rows", "us", traded, lambda s: (s - quiet) / 13_578 * 1e6)


def trades_loaded() -> dict[str, Any]:
    """Replay five million trades from memory, 235 fills against the tape."""
    seconds = replay_seconds(market.LoadedHistory(market.open_history(market.trades_file(), "trades")), SMA)
    return figure("replay 5 M trades, 235 fills, from memory", "trades/s", seconds, lambda s: 5e6 / s)


def trades_parquet() -> dict[str, Any]:
    """Replay the same from the Parquet file, floats brought to ticks and checked."""
    seconds = replay_seconds(market.open_history(market.trades_file(), "trades"), SMA)
    return figure("replay 5 M trades, 235 fills, from Parquet", "trades/s", seconds, lambda s: 5e6 / s)


def aggregate() -> dict[str, Any]:
    """Fold five million trades into six scales."""
    slabs = list(market.open_history(market.trades_file(), "trades").slabs(65_536))
    seconds = []
    for _ in range(RUNS + 1):
        bars = BarAggregator(market.INSTRUMENT, scales_ns=market.SCALES_NS, lateness_ns=0, gap_max_ns=10**15)
        watch = Stopwatch()
        for slab in slabs:
            bars.on_trades(slab)
        seconds.append(watch.seconds())
    return figure("5 M trades to six scales", "trades/s", seconds[1:], lambda s: 5e6 / s)


def memory() -> dict[str, Any]:
    """Measure the peak memory of a replay of ten million trades from Parquet, in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        history = market.open_history(market.trades_file(10_000_000), "trades")
        replay(settings(out, SMA), [(market.INSTRUMENT, history)])
    return figure("peak memory, 10 M trades from Parquet", "MB", [peak_memory_bytes() / 1e6], lambda x: x)


BENCHMARKS = {
    function.__name__: function
    for function in (aggregate, trades_loaded, trades_parquet, bars_quiet, bars_traded, fill_cost, memory)
}


def hftbacktest_figure() -> dict[str, Any] | None:
    """Return hftbacktest's speed over the same trades, None where `.venv-bench` is not there."""
    python = market.ROOT / ".venv-bench" / "bin" / "python"
    if not python.is_file():
        return None
    script = Path(__file__).with_name("peer_hftbacktest.py")
    done = subprocess.run(
        [str(python), str(script), str(market.trades_file())],
        check=True,
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
