"""The predictor that is fitted to nothing, made as the settings have it: the same in a replay and live."""

from collections.abc import Sequence

from bot.domain.errors import ConfigError
from bot.ports import Predictor
from bot.runtime.strategy_settings import PredictorSettings
from models.systems.ewma_vol import EwmaVol, EwmaVolParams


def make_ewma(chosen: PredictorSettings, scales_ns: Sequence[int]) -> Predictor:
    """Return it for one instrument, whose bars have these scales.

    Raises:
        ConfigError: the settings do not go together.
    """
    try:
        return EwmaVol(
            EwmaVolParams(
                decision_scale_ns=chosen.decision_scale,
                scales_ns=tuple(scales_ns),
                horizons_ns=chosen.horizons,
                trend_sharpe=chosen.trend_sharpe,
            )
        )
    except ValueError as error:
        raise ConfigError(f"predictor: {error}") from error
