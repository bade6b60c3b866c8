"""A whole paper run by a network whose process does everything wrong, question after question."""

import json
from functools import partial
from pathlib import Path

import pytest
import structlog

from bot.app import live_model
from bot.core.inference_frames import Outcome
from bot.runtime.inference_process import InferenceSettings
from bot.runtime.inference_service import InferenceService
from tests.support.faulty_serving import FAULTS, fault_of
from tests.support.own_time import watched_callbacks
from tests.support.paper_loop import SECOND
from tests.support.paper_network import BARS, NAMES, TwoSymbols, medians, two_symbols
from tests.support.served import write_served

log = structlog.get_logger()

FAULTY = "tests.support.faulty_serving"
STRUCK_BY = [*FAULTS, *[""] * 5]  # a quarter of the answers is right
MARKET_S = 9_000
CALL_MS = 50.0
THEIRS = ("bot/emulator/", "bot.emulator", "aiohttp/web_", "tests/")  # the venue is served by the same loop here


class Watch:
    """What became of each question, and when entries were in doubt."""

    def __init__(self, both: TwoSymbols) -> None:
        model = both.trading._model
        assert model is not None
        self.struck: dict[str, int] = {}
        self.right = 0
        self.doubts: list[tuple[int, bool, bool]] = []  # when, whether all symbols are in doubt, whether one is held
        self._both, self._model, self._actor = both, model, model._seat.actor
        self._settle, self._go_on = self._actor._settle, self._actor._go_on
        self._actor._settle = self.settle  # type: ignore[method-assign]
        self._actor._go_on = self.go_on  # type: ignore[method-assign]

    def settle(self, outcome: Outcome) -> None:
        fault, said = fault_of(outcome.request_id, STRUCK_BY), [each for each in outcome.answers if each.is_there]
        if fault is not None and (said or not outcome.answers):  # before it is warm it says nothing that could be wrong
            self.struck[fault] = self.struck.get(fault, 0) + 1
            assert not said, f"{fault} was believed"
        self.right += bool(said)
        self._settle(outcome)

    def go_on(self) -> None:
        self._go_on()
        strategy = self._both.trading._strategy
        in_doubt = all(self._model.doubts(name) for name in NAMES)
        held = any(strategy.position(name).qty for name in NAMES)
        self.doubts.append((self._both.clock.now_ns(), in_doubt, held))

    def spans(self, seconds: int) -> list[tuple[int, int, bool]]:
        """Return the stretches of doubt of so many seconds: from, to, and whether anything was held at the end."""
        found, since_ns, last = [], 0, (0, False)
        for ts_ns, in_doubt, held in self.doubts:
            if in_doubt and not since_ns:
                since_ns = ts_ns
            elif not in_doubt and since_ns:
                if last[0] - since_ns >= seconds * SECOND:
                    found.append((since_ns, *last))
                since_ns = 0
            last = ts_ns, held
        return found


async def campaign(directory: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Trade until so many faults have struck, and return what happened (`pytest -rP` shows it)."""
    monkeypatch.setenv("BOT_TEST_FAULTS", json.dumps(STRUCK_BY))
    monkeypatch.setattr(live_model, "InferenceService", partial(InferenceService, module=FAULTY))
    monkeypatch.setattr(live_model, "InferenceSettings", partial(InferenceSettings, faults_max=10**9))
    path = write_served(directory / "artifacts", bars=BARS, instruments=NAMES)
    expected = medians(path, seconds=MARKET_S)
    async with two_symbols(directory, path, seconds=MARKET_S) as both:
        both.start(inference={"silent_max": "15s"})
        await both.until(lambda: both.trading._model is not None, "it has a model", seconds=240)
        model = both.trading._model
        assert model is not None
        await both.until(lambda: model.service.is_ready, "it answers", seconds=240)
        watch = Watch(both)
        await both.until_ready(seconds=240)  # before, everything that is loaded is looked through once
        with watched_callbacks() as slow:
            await both.until(
                lambda: sum(watch.struck.values()) >= count and watch.right > 0, "enough went wrong", seconds=3_000
            )
        told = f"{sum(watch.struck.values())} faults {watch.struck}, {watch.right} right, {model.service.counts}"
        for name, close_ns, _, median in both.heard:
            assert median == pytest.approx(expected[name, close_ns], rel=1e-2, abs=1e-6), (name, close_ns, told)
        for entry in both.entries("ForecastUsed"):
            median = entry["quantiles"][0][entry["levels"].index(0.5)]
            key = entry["instrument"], entry["bar_close_ns"]
            assert median == pytest.approx(expected[key], rel=1e-2, abs=1e-6), (key, told)
        spans = watch.spans(8)
        assert spans, told
        for since_ns, until_ns, is_held in spans:
            assert both.openings(since_ns + SECOND, until_ns - 3 * SECOND) == [], told
            assert not is_held, f"nothing that is held leaves while the model is in doubt; {told}"
        await both.stop()
    ours = [each for each in slow if not any(name in each[1] for name in THEIRS)]
    worst = max(ours, key=lambda each: each[0].own, default=None)
    assert worst is None or worst[0].own < CALL_MS, f"{worst[1]} took {worst[0]}; {told}"
    slowest = sorted(slow, key=lambda each: -each[0].own)[:12]
    return "\n".join([f"{told}, {len(spans)} spans of doubt", *(f"{stretch}: {name}" for stretch, name in slowest)])


@pytest.mark.soak
async def test_two_hundred_faults_and_no_entry_rests_on_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is what a replay tells; in doubt nothing is entered and all is left; the loop is never held."""
    log.info("campaign.ended", told=await campaign(tmp_path, 200, monkeypatch))
