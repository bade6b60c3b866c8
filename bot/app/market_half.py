"""The market half of a trading run, made from its settings: the same for trading and for running it again."""

from typing import Any

from bot.core.bars import BarAggregator
from bot.core.delays import Delay
from bot.domain.errors import ConfigError
from bot.domain.instrument import Instrument
from bot.runtime.trade_settings import TradeSettings
from strategies.base import Strategy


def make_aggregator(settings: TradeSettings, strategy: Strategy[Any], instrument: Instrument) -> BarAggregator:
    """Return what folds one instrument's trades into bars.

    Raises:
        ConfigError: the scales do not go together.
    """
    try:
        return BarAggregator(
            instrument,
            scales_ns=sorted({*settings.bars.scales, *strategy.scales_ns}),
            lateness_ns=settings.bars.lateness,
            gap_max_ns=settings.bars.gap_max,
            event_rules=sorted({*settings.bars.events, *strategy.event_rules}),
            repair_ns=60_000_000_000,
        )
    except ValueError as error:
        raise ConfigError(f"bars.scales, bars.events, or the strategy's own scale: {error}") from error


def make_delay(settings: TradeSettings, stream: int) -> Delay:
    """Return how much later forecasts are known than they are made: live, they are when they are."""
    return Delay(seed=settings.run.seed, stream=3 + stream, base_ns=0, jitter_ns=0)
