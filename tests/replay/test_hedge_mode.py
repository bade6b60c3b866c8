"""Hedge mode in a replay: the same positions by way of one leg at a time, whatever the policy, however it is cut.

Every replay ends with our books held against the venue's own, so each of these also says that they agree.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.app.replay import Replayed
from bot.store.audit import audit_run
from tests.support.replays import NO_DELAYS, rows, run, settings_with, small_market

HEDGED = "execution.position_mode=hedge"
TURNING = (
    "strategy.name=tests.support.turning:Turning",
    "strategy.params.scale=1m",
    "strategy.params.every_bars=3",
    "strategy.params.qty=0.2",
    "run.end=2024-01-01T12:00:00Z",
)
POLICIES: dict[str, tuple[str, ...]] = {
    "marketable": (),
    "passive": ("execution.policy=passive", "execution.exit_within=1m"),
    "sliced": ("execution.policy=sliced", "execution.sliced.slices=2", "execution.sliced.total=30s"),
}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the settings of a small sample market for all tests of this file."""
    return small_market(tmp_path_factory.mktemp("market"), days=2, trades_per_day=20_000)


def intents(done: Replayed) -> list[dict[str, Any]]:
    bodies = rows(done, "select body from journal where kind = 'OrderIntended' order by seq")
    return [json.loads(body)["order"] for (body,) in bodies]


def seen(done: Replayed) -> list[Decimal]:
    """Return what was held at every decision of the strategy's own."""
    bodies = rows(done, "select body from journal where kind = 'DecisionMade' order by seq")
    decisions = [json.loads(body) for (body,) in bodies]
    return [Decimal(each["position_qty"]) for each in decisions if each["trigger"].startswith("bar")]


def walk(done: Replayed) -> None:
    """Go through the run's orders and executions: never a leg beside the other, no order refused."""
    assert audit_run(done.directory).problems == []
    refused = rows(done, "select body from journal where kind = 'OrderReported' and body like '%OrderRejected%'")
    assert refused == []
    orders = {order["client_order_id"]: order for order in intents(done)}
    legs = {"long": Decimal(0), "short": Decimal(0)}
    for name, side, qty in rows(done, "select client_order_id, side, qty from fills order by seq"):
        if name in orders:
            leg, is_closing = orders[name]["leg"], orders[name].get("reduce_only", False)
        else:  # an exit that the venue kept
            leg, is_closing = ("long" if side == "sell" else "short"), True
        assert (side == "buy") == ((leg == "long") is not is_closing)
        legs[leg] += Decimal(qty) * (-1 if is_closing else 1)
        assert legs[leg] >= 0
        assert not all(legs.values())


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_one_leg_at_a_time(policy: Sequence[str], market: Sequence[str], tmp_path: Path) -> None:
    """Crossing zero takes an order that closes and one that opens; what is held comes from one leg alone."""
    done = run(settings_with(tmp_path, [*market, *TURNING, *policy, HEDGED]))
    walk(done)
    assert {order["leg"] for order in intents(done)} == {"long", "short"}
    assert min(seen(done)) < 0 < max(seen(done))


def test_the_same_positions_as_in_one_way_mode(market: Sequence[str], tmp_path: Path) -> None:
    """At every decision the strategy holds the same in both modes; only crossing zero takes an order more."""
    asked = [*market, *TURNING, *NO_DELAYS, "risk.mark_age_max=1h"]
    one_way = run(settings_with(tmp_path / "one", asked))
    hedged = run(settings_with(tmp_path / "two", [*asked, HEDGED]))
    assert seen(hedged) == seen(one_way)
    assert len(intents(hedged)) > len(intents(one_way)) > 50
    assert not any("leg" in order for order in intents(one_way))


def test_one_direction_alone_trades_the_same(market: Sequence[str], tmp_path: Path) -> None:
    """What never crosses zero has the very same executions, those of exits at the venue too."""
    ladder = "strategy.name=tests.support.venue_strategies:Ladder"
    found = []
    for name, mode in (("one", ()), ("two", (HEDGED,))):
        done = run(settings_with(tmp_path / name, [*market, ladder, *mode]))
        assert audit_run(done.directory).problems == []
        found.append(rows(done, "select ts_event_ns, side, price, qty, fee, cause from fills order by seq"))
    assert found[0] == found[1]
    assert sum(row[-1] is not None for row in found[0]) > 5


def test_stops_at_the_venue_follow_the_leg(market: Sequence[str], tmp_path: Path) -> None:
    """Both legs have their stops, and are cut by them."""
    done = run(settings_with(tmp_path, [*market, *TURNING, "strategy.params.stop=0.0005", HEDGED]))
    walk(done)
    cuts = dict(rows(done, "select side, count(*) from fills where cause = 'stop_loss' group by side"))
    assert cuts.keys() == {"buy", "sell"}


def test_slab_size_changes_nothing(market: Sequence[str], tmp_path: Path) -> None:
    hashes = set()
    for slab_rows in (211, 10_000):
        asked = [*market, *TURNING, "strategy.params.stop=0.0005", *POLICIES["passive"], HEDGED]
        hashes.add(run(settings_with(tmp_path, [*asked, f"run.slab_rows={slab_rows}"])).ledger_hash)
    assert len(hashes) == 1
