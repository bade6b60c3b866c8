"""Execution policies in a replay: what they save, and that no cut of the market changes what they do."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.replays import rows, run, settings_with, small_market

# It trades often, whatever it costs.
EAGER = ("strategy.name=sma_cross", "strategy.params.fast=3", "strategy.params.slow=8", "run.end=2024-01-01T12:00:00Z")
PATIENT = ("execution.policy=passive", "execution.exit_within=1m")
SLICED = ("execution.policy=sliced", "execution.sliced.slices=3", "execution.sliced.total=2m")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market for all tests of this file."""
    return tmp_path_factory.mktemp("market")


def test_slab_size_changes_nothing(cache: Path, tmp_path: Path) -> None:
    """Orders are placed, moved and canceled at the same times and prices, however the market is cut."""
    hashes = set()
    for slab_rows in (211, 10_000):
        overrides = [
            *small_market(cache),
            *EAGER,
            *SLICED,
            "execution.sliced.each=passive",
            f"run.slab_rows={slab_rows}",
        ]
        done = run(settings_with(tmp_path, overrides))
        hashes.add(done.ledger_hash)
        kinds = dict(rows(done, "select kind, count(*) from journal group by kind"))
        assert kinds["FillBooked"] > 5
        assert kinds["AmendIntended"] > 5
    assert len(hashes) == 1


def test_patience_makes_and_slices_part(cache: Path, tmp_path: Path) -> None:
    """Of one market, passive orders pay makers' fees, slices are more and smaller, and all hold the same in the end."""
    found = {}
    for name, policy in (("market", ()), ("passive", PATIENT), ("sliced", SLICED)):
        done = run(settings_with(tmp_path / name, [*small_market(cache), *EAGER, *policy]))
        makers = rows(done, "select count(*) from fills where is_maker")[0][0]
        sizes = [Decimal(qty) for (qty,) in rows(done, "select qty from fills")]
        body = rows(done, "select body from journal where kind = 'EquityMarked' order by seq desc limit 1")[0][0]
        found[name] = makers, len(sizes), min(sizes), [mark[1] for mark in json.loads(body)["marks"]]
    assert found["market"][0] == found["sliced"][0] == 0
    assert found["passive"][0] > 0
    assert found["sliced"][1] > found["market"][1]
    assert found["sliced"][2] < found["market"][2]
    assert found["market"][3] == found["passive"][3] == found["sliced"][3]
