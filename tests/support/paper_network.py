"""A paper run on two symbols by a network in a process of its own, and what a replay of the same trades forecasts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.core.bars import BarAggregator
from bot.domain.market import ForecastBatch, TradeBatch
from bot.runtime.trade_settings import TradeSettings
from models.serving.engine import open_engine
from models.serving.predictor import ArtifactPredictor
from tests.support.emulator import listings, make_world
from tests.support.paper import ROOT
from tests.support.paper_loop import SECOND, PaperLoop, walk

NAMES = ("BTCUSDT", "ETHUSDT")
BARS = ("5s", "1m", "2m")
SECONDS = 900
STRATEGY = f"{ROOT / 'tests/support/forecast_trader.py'}:ForecastTrader"


class TwoSymbols(PaperLoop):
    """A paper run on two symbols by the model that a store has in use."""

    store: Path

    def settings(self, **changed: dict[str, Any]) -> TradeSettings:
        """See `PaperLoop`."""
        sections = {
            "strategy": {"name": STRATEGY},
            "predictor": {"kind": "artifact", "path": str(self.store), "calibration": "off"},
            "inference": {"deadline": "2500ms", "look_every": "200ms", "silent_max": "2m"},
        }
        for name, keys in changed.items():
            sections[name] = sections.get(name, {}) | keys
        values = super().settings(**sections).model_dump()
        return TradeSettings(**values | {"symbols": [{"symbol": name, "leverage": 10} for name in NAMES]})

    @property
    def heard(self) -> list[tuple[str, int, int, float]]:
        """Return what the strategy was told: instrument, the bar's close, when, the median."""
        return list(self.trading._strategy.heard)  # type: ignore[attr-defined]


@asynccontextmanager
async def two_symbols(directory: Path, store: Path, *, seconds: int = SECONDS) -> AsyncIterator[TwoSymbols]:
    """Serve an emulator while the block runs; a run that still goes on is crashed at the end."""
    both = TwoSymbols(directory, seconds=seconds)
    both.store = store
    await both.server.start()
    try:
        yield both
    finally:
        if both._task is not None and not both._task.done():
            await both.crash()
        await both.server.stop()


def medians(path: Path, *, seconds: int = SECONDS) -> dict[tuple[str, int], float]:
    """Return what a replay of the very trades forecasts, by instrument and the bar's close."""
    world = make_world(steps=walk(seconds), seconds=seconds)
    engine, found = open_engine(path), {}
    for listing in listings():
        if listing.is_spot:
            continue
        trades = TradeBatch.join(list(world.sources[listing.name].trades))
        aggregator = BarAggregator(
            listing.instrument,
            scales_ns=[5 * SECOND, 60 * SECOND, 120 * SECOND],
            lateness_ns=50_000_000,
            gap_max_ns=10**18,
        )
        asset = NAMES.index(listing.symbol)
        predictor = ArtifactPredictor(engine, listing.instrument, asset=asset, calibration=None)
        said: ForecastBatch | None = predictor.predict(aggregator.on_trades(trades).bars)
        assert said is not None
        middle = said.levels.index(0.5)
        for row, close_ns in enumerate(said.close_ns.tolist()):
            found[listing.symbol, close_ns] = float(said.quantiles[row, 0, middle])
    return found
