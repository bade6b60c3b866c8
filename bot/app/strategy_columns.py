"""A strategy's own columns, computed directly from the bars it asks for: does one know what it must not?"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bot.actors.strategy_host import StrategyHost
from bot.app.held_market import Held, HeldHistory
from bot.app.outcomes import RunFailed
from bot.core.bars import BarAggregator
from bot.core.durations import format_duration
from bot.core.lookahead import MakeGenerator, Market, Outputs, Report, probe
from bot.core.perturb import Table
from bot.domain.errors import ConfigError, DataError
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, EventBarBatch, MarketSlab, TradeBatch
from bot.runtime.market_settings import BarsSettings
from bot.runtime.settings import Settings
from strategies.base import Strategy
from strategies.registry import make_strategies


def probe_columns(
    settings: Settings,
    market: Held,
    *,
    cuts: int,
    pieces: Sequence[int],
    make_generator: MakeGenerator,
    on_trial: Callable[[int, int], None],
) -> Report | None:
    """Return what came of probing `columns` of the strategy that the settings name, None where it has none.

    Args: see `core.lookahead.probe`.

    Raises:
        DataError: the market is too short for one bar.
        RunFailed: `columns` fails, or gives something else than one value for each bar.
    """
    strategy = _make(settings)
    if type(strategy).columns is Strategy.columns:
        return None
    rows = {instrument.name: _smallest(history, strategy, settings.bars) for instrument, history in market}
    columns = _Columns(settings, [instrument for instrument, _ in market], strategy)
    return probe(
        columns.compute, Market.of(**rows), cuts=cuts, pieces=pieces, make_generator=make_generator, on_trial=on_trial
    )


def _make(settings: Settings) -> Strategy[Any]:
    if len(settings.chosen) > 1:
        raise ConfigError("strategies: --check-lookahead looks at one at a time; give it as [strategy]")
    return make_strategies(settings.chosen)


def _smallest(history: HeldHistory, strategy: Strategy[Any], settings: BarsSettings) -> TradeBatch | BarBatch:
    """Return the largest bars that those of the strategy can be made of, without holes; or trades, if it must be."""
    rows: TradeBatch | BarBatch = history.whole()
    if strategy.event_rules:
        return rows
    base_ns = math.gcd(*strategy.scales_ns)
    bars = _aggregate(_aggregator(settings, rows, (base_ns,)), rows).bars
    if base_ns not in bars:
        raise DataError(f"{rows.instrument.name}: not one bar closes in the range; choose a longer one")
    return bars[base_ns]


class _Columns:
    """Computes a fresh strategy's columns, slab by slab."""

    def __init__(self, settings: Settings, instruments: Sequence[Instrument], declared: Strategy[Any]) -> None:
        self._settings = settings
        self._instruments = instruments
        self._scales_ns = tuple(declared.scales_ns)
        self._rules = tuple(declared.event_rules)

    def compute(self, market: Market) -> Outputs:
        """Return a table for each instrument and scale or rule."""
        strategy = _make(self._settings)
        StrategyHost(strategy, self._instruments)  # lets it look at positions and instruments
        parts: dict[str, list[Table]] = {}
        for instrument in self._instruments:
            for bars in self._bars(market, instrument.name):
                scale = bars.rule if isinstance(bars, EventBarBatch) else format_duration(bars.scale_ns)
                parts.setdefault(f"{instrument.name} {scale}", []).append(_table(strategy, bars))
        for tables in parts.values():
            if any(table.columns.keys() != tables[0].columns.keys() for table in tables):
                raise RunFailed(f"{strategy.name}.columns must return the same columns each time")
        return {name: Table.join(tables) for name, tables in parts.items()}

    def _bars(self, market: Market, name: str) -> list[BarBatch]:
        """Return the batches that `columns` would be handed, in order."""
        aggregator = _aggregator(self._settings.bars, market[name], self._scales_ns, self._rules)
        slabs = [_aggregate(aggregator, rows) for rows in market.slabs(name)]
        slabs.append(aggregator.on_watermark(market.watermark_ns))
        timed = [[bars for scale_ns, bars in slab.bars.items() if scale_ns in self._scales_ns] for slab in slabs]
        return [bars for slab, own in zip(slabs, timed, strict=True) for bars in (*own, *slab.event_bars.values())]


def _aggregator(
    settings: BarsSettings, rows: TradeBatch | BarBatch, scales_ns: Sequence[int], event_rules: Sequence[str] = ()
) -> BarAggregator:
    try:
        return BarAggregator(
            rows.instrument,
            scales_ns=scales_ns or settings.scales,
            lateness_ns=settings.lateness,
            gap_max_ns=settings.gap_max,
            source_scale_ns=rows.scale_ns if isinstance(rows, BarBatch) else None,
            event_rules=event_rules,
        )
    except ValueError as error:
        raise ConfigError(f"the strategy's scales: {error}") from error


def _aggregate(aggregator: BarAggregator, rows: TradeBatch | BarBatch) -> MarketSlab:
    return aggregator.on_trades(rows) if isinstance(rows, TradeBatch) else aggregator.on_bars(rows)


def _table(strategy: Strategy[Any], bars: BarBatch) -> Table:
    try:
        columns = {name: np.asarray(column) for name, column in strategy.columns(bars).items()}
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise RunFailed(f"{strategy.name}.columns failed: {type(error).__name__}: {error}") from error
    if any(len(column) != len(bars) for column in columns.values()):
        raise RunFailed(f"{strategy.name}.columns must return one value for each bar")
    return Table(known_ns=bars.known_ns, columns=columns)
