"""The live actor with a real inference process: bars go on at once, forecasts follow and are those of a replay."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from bot.actors.inbox import Inbox, Stop
from bot.actors.live_inference import Form, LiveInference
from bot.core.calibration import CalibrationParams
from bot.core.features.engine import FeatureEngine
from bot.core.trust import TrustScan
from bot.domain.market import ForecastBatch, MarketSlab
from bot.runtime.inference_process import InferenceProcess, InferenceSettings
from bot.runtime.inference_service import History, InferenceService
from models.serving.engine import open_engine
from models.serving.predictor import ArtifactPredictor
from models.serving.told import Told, read_told, shape_of
from tests.serving.conftest import Served
from tests.serving.test_predictor import slabs, trades
from tests.support.batches import INSTRUMENT, cut
from tests.support.systems import MINUTE


class Live:
    """The actor on the running loop, with what it delivers."""

    def __init__(self, path: str, told: Told, *, is_shadow: bool = False) -> None:
        self.bars: list[MarketSlab] = []
        self.forecasts: list[ForecastBatch] = []
        self.shadowed: list[ForecastBatch] = []
        self.news = asyncio.Event()
        shape = shape_of(told, (INSTRUMENT.name,))
        self.inbox: Inbox[object] = Inbox("inference", bound=10_000)
        self.service = InferenceService(
            path,
            shape,
            InferenceSettings(deadline_ns=20 * 10**9, hang_ns=60 * 10**9),
            history=History(shape),
            now_ns=time.monotonic_ns(),
            on_process=self.watch,
        )
        trust = TrustScan(
            INSTRUMENT,
            scale_ns=told.decision_ns,
            horizons_ns=told.horizons_ns,
            levels=told.levels,
            params=CalibrationParams(rate=0.0),
        )
        self.actor = LiveInference(
            inbox=self.inbox,  # type: ignore[arg-type]
            deliver=[self.deliver],
            service=self.service,
            form=Form(shape=shape, horizons_ns=told.horizons_ns, levels=told.levels, answer_names=told.answer_names),
            engines={INSTRUMENT.name: FeatureEngine(told.schema, INSTRUMENT)},
            make_trust=lambda: {INSTRUMENT.name: trust},
            instruments={INSTRUMENT.name: INSTRUMENT},
            now_ns=time.time_ns,
            monotonic_ns=time.monotonic_ns,
            on_shadow=self.shadow if is_shadow else None,
        )

    def watch(self, process: InferenceProcess, is_there: bool) -> None:
        loop = asyncio.get_running_loop()
        if is_there:
            loop.add_reader(process.fileno(), self.poke)
        else:
            loop.remove_reader(process.fileno())

    def poke(self) -> None:
        self.actor.poke()

    def deliver(self, slab: MarketSlab) -> None:
        (self.bars if slab.bars else self.forecasts).append(slab if slab.bars else slab.forecasts)  # type: ignore[arg-type]
        self.news.set()

    def shadow(self, forecasts: ForecastBatch) -> None:
        self.shadowed.append(forecasts)
        self.news.set()

    async def ready(self) -> None:
        while not self.service.is_ready:  # noqa: ASYNC110  another process is waited for, through the actor
            await asyncio.sleep(0.01)


async def live_forecasts(path: str, told: Told, parts: Sequence[MarketSlab], *, is_shadow: bool = False) -> Live:
    """Return what became of slabs, one after another, the first of which is the past."""
    live = Live(path, told, is_shadow=is_shadow)
    running = asyncio.create_task(live.actor.run())
    try:
        live.inbox.deliver(parts[0])
        await live.ready()
        for slab in parts[1:]:
            live.news.clear()
            before = len(live.forecasts) + len(live.shadowed)
            live.inbox.deliver(slab)
            while slab.bars and len(live.forecasts) + len(live.shadowed) == before:
                await asyncio.wait_for(live.news.wait(), 30)
                live.news.clear()
        live.inbox.deliver(Stop())
        await running
    finally:
        running.cancel()
        live.service.close()
    return live


def market(minutes: int) -> list[MarketSlab]:
    """Return slabs: the first one of all but the last minutes, then one a minute."""
    whole = trades(2_000)
    last_ns = int(whole.ts_ns[-1]) // MINUTE * MINUTE
    places = [int(whole.ts_ns.searchsorted(last_ns - n * MINUTE + 2 * 10**9)) for n in range(minutes, -1, -1)]
    return [slab for slab in slabs(cut(whole, places)) if slab.bars]


async def test_live_forecasts_are_those_of_the_replay(served: Served) -> None:
    """Streamed step by step, to rounding; bars come first, and coverage comes with them."""
    path = served(instruments=(INSTRUMENT.name,))
    parts = market(12)
    live = await live_forecasts(str(path), read_told(path), parts)
    replayed = ArtifactPredictor(open_engine(path), INSTRUMENT, asset=0, calibration=None)
    made = [each for slab in parts if (each := replayed.predict(slab.bars)) is not None]
    whole = ForecastBatch.join(made)
    assert len(live.forecasts) >= 10
    assert [slab.bars.keys() for slab in live.bars] == [slab.bars.keys() for slab in parts]
    for each in live.forecasts:
        at = int(np.flatnonzero(whole.close_ns == each.close_ns[0])[0])
        assert each.bar_row[0] == whole.bar_row[at]
        np.testing.assert_allclose(each.quantiles[0], whole.quantiles[at], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(each.importance[0], whole.importance[at], rtol=1e-3, atol=1e-5)
        assert each.answer_names[:2] == ("up:5m", "up:1h")
        assert "shrink:1h" in each.answer_names
        assert each.scales_ns == whole.scales_ns


async def test_windows_live_are_those_of_the_replay(served: Served) -> None:
    path = served("dlinear", instruments=(INSTRUMENT.name,))
    parts = market(4)
    live = await live_forecasts(str(path), read_told(path), parts, is_shadow=True)
    replayed = ArtifactPredictor(open_engine(path), INSTRUMENT, asset=0, calibration=None)
    made = [each for slab in parts if (each := replayed.predict(slab.bars)) is not None]
    whole = ForecastBatch.join(made)
    assert not live.forecasts  # a shadow is only recorded
    assert not live.bars
    assert len(live.shadowed) >= 3
    for each in live.shadowed:
        at = int(np.flatnonzero(whole.close_ns == each.close_ns[0])[0])
        np.testing.assert_allclose(each.quantiles[0], whole.quantiles[at], rtol=1e-4, atol=1e-7)
