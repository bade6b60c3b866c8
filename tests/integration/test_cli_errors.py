"""What a user does wrong ends in one clear line and the right exit code, and never in half a run taken for a whole."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.support.cli import ROOT, assert_refused, bot, bot_process
from tests.support.replays import small_market, write_trades


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("fees.taker_rat=0.00055", ["fees.taker_rat", 'did you mean "taker_rate"']),
        ("fees.taker_rate=0.055", ["fees.taker_rate", "0.055 % is 0.00055"]),
        ('fees.taker_rate="0.055%"', ["fees.taker_rate", "write the fraction"]),
        ("fees.taker_rate=nan", ["fees.taker_rate", "finite"]),
        ("bars.lateness=250", ["bars.lateness", "has no unit"]),
        ("bars.scales=['1m','ten']", ["bars.scales", "'ten' is not a duration"]),
        ("account.cash=-5", ["account.cash", "greater than 0"]),
        ("account.cash=lots", ["account.cash", "lots"]),
        ("risk.leverage_max=1000", ["risk.leverage_max", "100"]),
        ("run.start=yesterday", ["run.start", "yesterday"]),
        ("strategy.name=sma_cros", ["strategy.name", "sma_cross"]),
        ("strategy.params.fast=200", ["strategy.params", "must be less than slow"]),
        ("strategy.params.speed=2", ["strategy.params.speed", "no such parameter"]),
        ("market.source=files", ["market", "[[market.instruments]]"]),
        ("nonsense", ["--set nonsense", "key=value"]),
    ],
)
def test_impossible_settings_are_named(override: str, words: list[str], tmp_path: Path) -> None:
    """The key's full name, and what would be right."""
    strategy = [] if "strategy.name" in override else ["--set", "strategy.name=sma_cross"]
    market = [part for text in small_market(tmp_path) for part in ("--set", text)]
    market = [] if override.startswith("market.source") else market
    assert_refused(bot("replay", *strategy, *market, "--set", override, cwd=tmp_path), 2, *words)
    assert not list(tmp_path.glob("runs/*/ledger.sqlite"))


def test_a_config_with_a_typo(tmp_path: Path) -> None:
    """The file, the key, and the key that was meant; every problem has a line of its own."""
    config = tmp_path / "my.toml"
    config.write_text('[strategy]\nname = "sma_cross"\n[acount]\ncash = 5\n')
    assert_refused(bot("replay", "--config", "my.toml", cwd=tmp_path), 2, "my.toml", "acount", 'mean "account"')
    config.write_text("[strategy\n")
    assert_refused(bot("replay", "--config", "my.toml", cwd=tmp_path), 2, "my.toml", "not valid TOML")
    assert_refused(bot("replay", "--config", "none.toml", cwd=tmp_path), 2, "none.toml", "No such file")


def test_wrong_usage(tmp_path: Path) -> None:
    """Unknown verbs and flags are usage errors."""
    assert_refused(bot("replai", cwd=tmp_path), 2, "replai")
    assert_refused(bot("replay", "--sed", "7", cwd=tmp_path), 2, "--sed")
    assert_refused(bot("ledger", "check", "runs/none", cwd=tmp_path), 1, "no run here")


INSTRUMENT = """
[market]
source = "files"
[[market.instruments]]
name = "BTCUSDT"
base = "BTC"
quote = "USDT"
tick_size = 0.1
qty_step = 0.001
qty_min = 0.001
qty_max = 100
{source}
[strategy]
name = "buy_and_hold"
"""


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("truncated", ["not a whole Parquet file", "copy or download it again"]),
        ("columns", ["no column price", "trades need"]),
        ("nan", ["row 30", "price"]),
        ("disorder", ["row 40", "goes back in time", "sort"]),
        ("missing", ["no such file"]),
    ],
)
def test_bad_trades(damage: str, words: list[str], tmp_path: Path) -> None:
    """The file and the row are named, and what to do."""
    count = 100
    ts = [1_700_000_000_000 + 1_000 * n for n in range(count)]
    price = [50_000.0] * count
    if damage == "nan":
        price[30] = float("nan")
    if damage == "disorder":
        ts[40] -= 5_000
    path = write_trades(tmp_path / "trades.parquet", ts, price, [0.5] * count, [1] * count)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "columns":
        pd.read_parquet(path).rename(columns={"price": "prise"}).to_parquet(path)
    if damage == "missing":
        path.unlink()
    (tmp_path / "c.toml").write_text(INSTRUMENT.format(source='trades = "trades.parquet"'))
    assert_refused(bot("replay", "--config", "c.toml", cwd=tmp_path), 1, "trades.parquet", *words)
    assert not list(tmp_path.glob("runs/*/ledger.sqlite"))


def test_duplicated_bars(tmp_path: Path) -> None:
    """A bar that comes twice is an error, not a choice."""
    ts = [1_700_000_040_000 + 60_000 * n for n in range(10)]
    ts[5] = ts[4]
    columns = dict.fromkeys(("open", "high", "low", "close"), [50_000.0] * 10)
    pd.DataFrame({"ts": ts, **columns, "volume": [1.0] * 10}).to_parquet(tmp_path / "bars.parquet")
    (tmp_path / "c.toml").write_text(INSTRUMENT.format(source='bars = "bars.parquet"\nbar_interval = "1m"'))
    done = bot("replay", "--config", "c.toml", cwd=tmp_path)
    assert_refused(done, 1, "bars.parquet", "row 5", "repeats the bar before it")


def test_scales_that_bars_cannot_make(tmp_path: Path) -> None:
    """A scale must be a multiple of the source's bars."""
    columns = dict.fromkeys(("open", "high", "low", "close"), [50_000.0] * 10)
    ts = [1_700_000_040_000 + 60_000 * n for n in range(10)]
    pd.DataFrame({"ts": ts, **columns, "volume": [1.0] * 10}).to_parquet(tmp_path / "bars.parquet")
    (tmp_path / "c.toml").write_text(INSTRUMENT.format(source='bars = "bars.parquet"\nbar_interval = "1m"'))
    done = bot("replay", "--config", "c.toml", "--set", "bars.scales=['1m', '90s']", cwd=tmp_path)
    assert_refused(done, 2, "bars.scales", "90s bars cannot be made of 1m bars")


def test_a_full_disk_leaves_no_run(tmp_path: Path) -> None:
    """The ledger cannot grow beyond a limit: the replay says so, and what is there is marked as not whole."""
    sets = [
        "--set",
        f"market.sample.cache={tmp_path / 'market'}",
        "--set",
        "market.sample.days=3",
        "--set",
        "strategy.name=sma_cross",
        "--set",
        "strategy.params.fast=1",
        "--set",
        "strategy.params.slow=2",
    ]
    whole = bot("replay", "--no-report", *sets, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))

    done = bot_process("replay", "--no-report", *sets, "--set", "run.out=full", cwd=tmp_path, prepare=prepare)
    assert_refused(done, 1, "cannot be written", "free space")
    (directory,) = (tmp_path / "full").iterdir()
    assert not (directory / "ledger.sqlite").exists()
    assert_refused(bot("report", str(directory), cwd=tmp_path), 1, "cut short")


def test_ctrl_c_keeps_what_is_done_and_says_so(tmp_path: Path) -> None:
    """An interrupted run is kept under `.part` names and refused by report and audit; the next run is not disturbed."""
    sets = ["--set", f"market.sample.cache={tmp_path / 'market'}", "--set", "strategy.name=sma_cross"]
    sets += ["--set", "market.sample.days=20", "--set", "run.slab_rows=200"]
    command = [sys.executable, "-m", "bot", "replay", *sets]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/*/log.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "interrupted" in err
    (directory,) = (path for path in (tmp_path / "runs").iterdir() if not path.is_symlink())
    assert (directory / "ledger.sqlite.part").exists()
    assert not (directory / "ledger.sqlite").exists()
    assert not (tmp_path / "runs" / "latest").exists()
    assert_refused(bot("ledger", "check", str(directory), cwd=tmp_path), 1, "cut short")
    assert_refused(bot("report", str(directory), cwd=tmp_path), 1, "cut short")
