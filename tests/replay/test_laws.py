"""Law 2: same data, settings, seed and forecasts, same ledger, byte for byte. Law 3: nothing from the future."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.replays import rows, run, settings_with, small_market

# A multiscale strategy that trades often, whatever it costs.
EAGER = (
    "predictor.trend_sharpe=1",
    "strategy.params.horizon=1h",
    "strategy.params.cost_bps=0",
    "strategy.params.kelly_fraction=1",
    "strategy.params.band=0.05",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market for all tests of this file."""
    return tmp_path_factory.mktemp("market")


def test_slab_size_changes_nothing(cache: Path, tmp_path: Path) -> None:
    """Slabs of 1, 97 and 10,000 rows lead to one ledger, with forecasts in the loop and delays in every message."""
    hashes = set()
    for slab_rows in (1, 97, 10_000):
        done = run(settings_with(tmp_path, [*small_market(cache), *EAGER, f"run.slab_rows={slab_rows}"]))
        hashes.add(done.ledger_hash)
        assert rows(done, "select count(*) from forecasts")[0][0] > 5
        assert rows(done, "select count(*) from fills")[0][0] > 5
    assert len(hashes) == 1


def test_hash_seed_changes_nothing(cache: Path, tmp_path: Path) -> None:
    """Python's own hash randomisation never reaches a decision."""
    arguments = ["--no-report", "--json", "--set", f"run.out={tmp_path}"]
    for override in [*small_market(cache), *EAGER]:
        arguments += ["--set", override]
    hashes = set()
    for hash_seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-m", "bot", "replay", *arguments],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(json.loads(done.stdout)["ledger_hash"])
    assert len(hashes) == 1


def test_another_delay_seed_changes_a_fill(cache: Path, tmp_path: Path) -> None:
    """Delays are real: other tails, other fills, another ledger; and the same seed the same."""
    overrides = [*small_market(cache), "strategy.name=sma_cross", "delays.order_tail=10s"]  # trades are 20 s apart
    one, again, other = (
        run(settings_with(tmp_path / str(n), [*overrides, f"delays.seed={seed}"])) for n, seed in enumerate((1, 1, 2))
    )
    query = "select client_order_id, ts_event_ns, price from fills order by seq"
    assert one.ledger_hash == again.ledger_hash
    assert one.ledger_hash != other.ledger_hash
    assert rows(one, query) == rows(again, query)
    assert rows(one, query) != rows(other, query)


def test_the_future_changes_nothing_past(cache: Path, tmp_path: Path) -> None:
    """A replay of the first day leaves the very entries that a replay of both days leaves of its first day."""
    overrides = [*small_market(cache), *EAGER]
    short = run(settings_with(tmp_path / "short", [*overrides, "run.end=2024-01-01T20:00:00Z"]))
    whole = run(settings_with(tmp_path / "whole", overrides))
    until_ns = rows(short, "select max(ts_ns) from journal where kind = 'FillBooked'")[0][0]
    query = f"select body, hash from journal where ts_ns <= {until_ns} and kind not like 'EquityMarked' order by seq"
    assert len(rows(short, query)) > 10
    assert rows(short, query) == rows(whole, query)


def test_config_and_seed_are_not_in_the_hash_but_in_the_run(cache: Path, tmp_path: Path) -> None:
    """`ledger_hash` speaks of the market and of what was done; the run's row says with what settings."""
    overrides = small_market(cache)
    one = run(settings_with(tmp_path / "one", overrides))
    two = run(settings_with(tmp_path / "two", [*overrides, "run.seed=5", "risk.open_orders_max=40"]))
    assert one.ledger_hash == two.ledger_hash
    query = "select config_hash, seed from runs"
    assert rows(one, query) != rows(two, query)
