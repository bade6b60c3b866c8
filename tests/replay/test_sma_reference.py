"""`sma_cross` through the whole pipeline equals an independent reference in plain Decimals, fill by fill."""

import runpy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bot.app.replay import Replayed
from bot.app.replay_market import open_market
from bot.app.runs import audit
from tests.support.replays import NO_DELAYS, file_market, rows, run, settings_with, small_market
from tests.support.shared_data import shared_file
from tests.support.sma_reference import ReferenceFill, reference_on_bars, reference_on_trades

SMA = (
    *NO_DELAYS,
    "strategy.name=sma_cross",
    "risk.mark_age_max=1d",
    "protections.drawdown_reduce=0",  # its fees cost it more than the ladder allows
    "protections.drawdown_halt=0",
)


def assert_same(done: Replayed, fills: list[ReferenceFill], equity: list[tuple[int, Decimal]]) -> None:
    """Every fill agrees to the last digit, and the equity at every bar to 1e-8."""
    ours = rows(done, "select ts_event_ns, side, price, qty, fee, position_qty from fills order by seq")
    assert len(ours) == len(fills)
    for (ts_ns, side, *numbers), wanted in zip(ours, fills, strict=True):
        found = (ts_ns, side, *(Decimal(number) for number in numbers))
        assert found == (wanted.ts_ns, wanted.side, wanted.price, wanted.qty, wanted.fee, wanted.position)
    tape = pq.read_table(done.directory / "tape.parquet", columns=["close_ns", "profit"])
    found_equity = dict(
        zip(tape["close_ns"].to_pylist(), (100_000 + p for p in tape["profit"].to_pylist()), strict=True)
    )
    wanted_equity = {close_ns: float(value) for close_ns, value in equity}
    assert found_equity.keys() == wanted_equity.keys()
    assert max(abs(found_equity[at] - wanted_equity[at]) for at in found_equity) <= 1e-8
    assert not audit(done.directory).problems


def trades_of(frame: pd.DataFrame) -> Any:
    """Yield the reference's input from a frame of trades."""
    for ts, price, size in zip(frame["ts"], frame["price"], frame["size"], strict=True):
        yield int(ts) * 1_000_000, Decimal(str(price)), Decimal(str(size))


def bars_of(frame: pd.DataFrame) -> Any:
    """Yield the reference's input from a frame of bars."""
    for ts, *prices in zip(frame["ts"], frame["open"], frame["high"], frame["low"], frame["close"], strict=True):
        yield int(ts) * 1_000_000, *(Decimal(str(price)) for price in prices)


def test_sample_trades(tmp_path: Path) -> None:
    """On trades, empty minutes among them."""
    path = _sample_trades(tmp_path)
    done = run(settings_with(tmp_path, SMA, file_market(path, "trades")))
    fills, equity = reference_on_trades(trades_of(pd.read_parquet(path)))
    assert len(fills) > 40
    assert_same(done, fills, equity)


def test_sample_bars(tmp_path: Path) -> None:
    """On bars alone: fills at the next open."""
    first = run(settings_with(tmp_path, SMA, file_market(_sample_trades(tmp_path), "trades")))
    tape = pq.read_table(first.directory / "tape.parquet").to_pandas()
    bars = tape[["open", "high", "low", "close", "volume"]].assign(ts=tape["close_ns"] // 1_000_000 - 60_000)
    path = tmp_path / "bars.parquet"
    bars.to_parquet(path, index=False)
    done = run(settings_with(tmp_path, SMA, file_market(path, "bars")))
    fills, equity = reference_on_bars(bars_of(bars))
    assert len(fills) > 40
    assert_same(done, fills, equity)


@pytest.mark.slow
def test_benchmark_bars(tmp_path: Path, benchmark_market: Path) -> None:
    """100,000 bars of the market that other engines were measured on."""
    path = benchmark_market / "bars.parquet"
    fills, equity = reference_on_bars(bars_of(pd.read_parquet(path)))
    assert_same(run(settings_with(tmp_path, SMA, file_market(path, "bars"))), fills, equity)


@pytest.mark.slow
def test_benchmark_trades(tmp_path: Path, benchmark_market: Path) -> None:
    """500,000 trades of it."""
    path = benchmark_market / "ticks.parquet"
    fills, equity = reference_on_trades(trades_of(pd.read_parquet(path)))
    assert_same(run(settings_with(tmp_path, SMA, file_market(path, "trades"))), fills, equity)


@pytest.mark.soak
def test_benchmark_in_full(tmp_path: Path, full_benchmark_market: Path) -> None:
    """All of it: 13,578 fills on 1,000,000 bars, 235 from 5,000,000 trades, as six other engines have."""
    path = full_benchmark_market / "bars.parquet"
    fills, equity = reference_on_bars(bars_of(pd.read_parquet(path)))
    assert len(fills) == 13_578
    assert_same(run(settings_with(tmp_path, SMA, file_market(path, "bars"))), fills, equity)
    path = full_benchmark_market / "ticks.parquet"
    fills, equity = reference_on_trades(trades_of(pd.read_parquet(path)))
    assert len(fills) == 235
    assert_same(run(settings_with(tmp_path, SMA, file_market(path, "trades"))), fills, equity)


@pytest.fixture(scope="module")
def benchmark_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tenth of the benchmark market with its own generator."""
    return _generate(tmp_path_factory, bars=100_000, ticks=500_000)


@pytest.fixture(scope="module")
def full_benchmark_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the whole benchmark market."""
    return _generate(tmp_path_factory, bars=1_000_000, ticks=5_000_000)


def _sample_trades(directory: Path) -> Path:
    """Make four days of the sample market, two trades a minute, and return its trades alone, without funding."""
    open_market(settings_with(directory, small_market(directory, days=4, trades_per_day=3_000)))
    (path,) = directory.glob("trades-*.parquet")
    return path


def _generate(tmp_path_factory: pytest.TempPathFactory, *, bars: int, ticks: int) -> Path:
    module = runpy.run_path(str(shared_file("bench/make_market.py")))
    out = tmp_path_factory.mktemp("bench")
    module["bars"](bars).to_parquet(out / "bars.parquet", index=False)
    module["ticks"](ticks).to_parquet(out / "ticks.parquet", index=False)
    return out
