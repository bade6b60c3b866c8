"""A whole paper run by a network in a process of its own, two symbols at once: what it says, and what becomes of it."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bot.app.models import use_model
from bot.app.runs import write_report
from bot.app.verify import verify_run
from bot.domain.errors import ConfigError
from bot.domain.operation import Phase
from bot.store.tape_parts import read_rows
from models import artifact_store
from models.manifest import WEIGHTS
from tests.support.own_time import Slowest
from tests.support.paper_loop import SECOND
from tests.support.paper_network import BARS, NAMES, TwoSymbols, medians, two_symbols
from tests.support.served import write_served
from tests.support.tiny_artifacts import forge


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of two models that were never taught, the first of which is in use."""
    store = tmp_path_factory.mktemp("artifacts")
    first = write_served(store, bars=BARS, instruments=NAMES)
    write_served(store, bars=BARS, instruments=NAMES, seed=5)
    artifact_store.use(store, first.name)
    return store


def timed(both: TwoSymbols) -> Slowest:
    """Return what times each turn of the actor."""
    assert both.trading._model is not None
    actor, turns = both.trading._model._seat.actor, Slowest()
    go_on = actor._go_on

    def noted() -> None:
        with turns:
            go_on()

    actor._go_on = noted  # type: ignore[method-assign]
    return turns


@pytest.mark.soak
async def test_a_network_trades_and_is_killed(tmp_path: Path, store: Path) -> None:
    """Its forecasts are a replay's; without it nothing is entered, and exits pass; the run is a report's afterwards."""
    current = artifact_store.current(store)
    first, other = (store / name for name in sorted(artifact_store.names(store), key=lambda name: name != current))
    expected = medians(first)
    async with two_symbols(tmp_path, store) as both:
        trading = both.start(predictor={"shadow": str(other)})
        await both.until_ready(seconds=240)
        model = trading._model
        assert model is not None
        turns = timed(both)
        await both.until(lambda: {each[0] for each in both.heard[4:]} == set(NAMES), "forecasts", seconds=60)
        for name, close_ns, _, median in both.heard:
            assert median == pytest.approx(expected[name, close_ns], rel=1e-2, abs=1e-6), (name, close_ns)
        # --- it dies: nothing is entered until it has said something again
        os.kill(model.service.processes[0].pid, signal.SIGKILL)
        await both.until(lambda: model.service.counts.deaths == 1, "it is missed", seconds=60)
        lost_ns, count = both.clock.now_ns(), len(both.heard)
        assert "model: it died; it is started again" in model.troubles
        await both.until(lambda: both.phase is Phase.DEGRADED, "that is told")
        answered = model._seat.actor.answered
        await both.until(lambda: max(at for _, at in answered.values()) > lost_ns, "it speaks again", seconds=90)
        again_ns = min(at for _, at in answered.values() if at > lost_ns)
        # What was on its way to the gate, and what is seen late by who looks, are left out at both ends.
        assert both.openings(lost_ns + SECOND, again_ns - 3 * SECOND) == []
        denied = {entry["detail"] for entry in both.entries("RiskDenied") if entry["ts_ns"] > lost_ns}
        assert any("only exits pass" in each for each in denied)
        await both.until(lambda: len(both.heard) > count, "it is traded on again", seconds=120)
        await both.until(lambda: bool(both.openings(again_ns)), "it trades again", seconds=120)
        assert model.service.counts.restarts == 1
        assert turns.worst.own < 50, f"a turn took {turns.worst}"
        running = await asyncio.to_thread(read_rows, trading.directory, "tape")
        assert running is not None  # while it goes on
        await both.stop()
        assert model.service.processes == []
    told = read_rows(trading.directory, "forecasts")
    assert told is not None
    kept = set(zip(told["instrument"].to_pylist(), told["close_ns"].to_pylist(), strict=True))
    assert {each[:2] for each in both.heard} <= kept
    assert set(told["model_id"].to_pylist()) == {first.name}
    shadowed = read_rows(trading.directory, "shadow")
    assert shadowed is not None
    assert set(shadowed["model_id"].to_pylist()) == {other.name}
    assert set(shadowed["instrument"].to_pylist()) == set(NAMES)
    whole = read_rows(trading.directory, "tape")
    assert whole is not None
    assert whole.num_rows >= running.num_rows
    metrics = write_report(trading.directory)
    fills = len(both.entries("FillBooked"))
    assert (metrics["mode"], metrics["fills"], metrics["status"]) == ("paper", fills, "finished")
    assert metrics["model_hash"] == first.name
    assert metrics["start_equity"] == 1_000_000
    # What is still held is valued at the last mark here, at the last bar there.
    assert abs(metrics["unexplained_pnl"]) < 20
    verified = verify_run(trading.directory)  # forecasts are taken as recorded: the rest follows from them
    assert (verified.differences, verified.cautions) == ([], [])


@pytest.mark.soak
async def test_another_takes_its_place_and_a_damaged_one_does_not(tmp_path: Path, store: Path) -> None:
    """While the run goes on, by the store's own pointer; every decision names the model that it acted on."""
    current = artifact_store.current(store)
    first, other = (store / name for name in sorted(artifact_store.names(store), key=lambda name: name != current))
    async with two_symbols(tmp_path, store) as both:
        trading = both.start()
        await both.until_ready(seconds=240)
        model = trading._model
        assert model is not None
        await both.until(lambda: bool(both.entries("ForecastUsed")), "the first one is used", seconds=60)
        use_model(store, other.name)
        await both.until(lambda: model.model_id == other.name, "the other one answers", seconds=90)
        count = len(both.heard)
        await both.until(lambda: len(both.heard) > count + 1, "it speaks", seconds=60)
        used = {first.name, other.name}
        await both.until(lambda: {each["model_id"] for each in both.entries("ForecastUsed")} == used, "it is used")
        damage(first)
        artifact_store.use(store, first.name)
        await both.until(lambda: bool(model._refused), "it is refused", seconds=90)
        assert model.model_id == other.name
        count = len(both.heard)
        await both.until(lambda: len(both.heard) > count, "the other one speaks on", seconds=60)
        await both.stop()
    told = read_rows(trading.directory, "forecasts")
    assert told is not None
    assert set(told["model_id"].to_pylist()) == {first.name, other.name}


@pytest.mark.slow
async def test_a_model_that_does_not_answer_as_recorded_is_one_line(tmp_path: Path, store: Path) -> None:
    """Its files are whole, and it computes another function here: nothing has begun by then, no ledger either."""
    path = store / artifact_store.names(store)[-1]
    lying = forge(path, golden=lambda tensors: {**tensors, **moved(tensors)})
    async with two_symbols(tmp_path, lying) as both:
        both.start()
        with pytest.raises(ConfigError, match="its process does not start: it refuses the artefact") as refused:
            await both.until_ready(seconds=240)
        assert "\n" not in str(refused.value)
        assert not (both.ledger / "ledger.sqlite").exists()


def moved(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return answers that are not those of the network."""
    return {
        name: tensor + 1.0
        for name, tensor in tensors.items()
        if name.startswith("output") and tensor.is_floating_point()
    }


def damage(path: Path) -> None:
    """Change one byte of an artefact."""
    weights = path / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
