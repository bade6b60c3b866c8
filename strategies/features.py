"""The catalogue's features as a strategy's own columns: the very formulas that models are given."""

from collections.abc import Mapping

import numpy as np

from bot.core.durations import format_duration
from bot.core.features.engine import FeatureEngine
from bot.core.features.inputs import BAR_INPUTS
from bot.core.features.schema import FeatureSchema
from bot.domain.errors import ConfigError
from bot.domain.market import F64, BarBatch, EventBarBatch


class FeatureColumns:
    """Answer `Strategy.columns` with features.

    class Reversal(Strategy):
        def __init__(self, params):
            super().__init__(params)
            self._features = FeatureColumns("rsi(14)", "volatility(20)")

        def columns(self, bars):
            return self._features.of(bars)

        def on_bar(self, bar):
            if bar["rsi_14"] < -0.6:
                return self.target(bar.instrument, self.params.qty, reason="oversold")

    A column is NaN until its feature has seen enough bars, and a comparison with NaN is False.

    Args:
        features: calls of the catalogue's entries, or names of sets, that need nothing but the bars themselves.

    Raises:
        ConfigError: a feature is unknown, or needs more than the bars.
    """

    def __init__(self, *features: str) -> None:
        self._features = features
        self._engines: dict[tuple[str, str], FeatureEngine] = {}
        try:
            schema = FeatureSchema(features, ["1m"])
        except ValueError as error:
            raise ConfigError(f"the strategy's features: {error}") from error
        beyond = [spec.name for spec in schema.specs if not set(spec.inputs) <= set(BAR_INPUTS)]
        if beyond:
            raise ConfigError(f"the strategy's features: {', '.join(beyond)} cannot be made of a scale's bars alone")
        self._names = schema.names

    def of(self, bars: BarBatch) -> Mapping[str, F64]:
        """Return a column per feature for these bars, which follow the last that were given of their stream."""
        scale = bars.rule if isinstance(bars, EventBarBatch) else format_duration(bars.scale_ns)
        key = bars.instrument.name, scale
        if key not in self._engines:
            self._engines[key] = FeatureEngine(FeatureSchema(self._features, [scale]), bars.instrument)
        made = self._engines[key].on_bars([bars])
        values = made[scale].values if scale in made else np.empty((0, len(self._names)))
        return {name: values[:, column] for column, name in enumerate(self._names)}
