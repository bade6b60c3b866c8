"""Every fitted baseline by name."""

from collections.abc import Sequence
from typing import Any

from bot.domain.errors import ConfigError
from models.baselines.base import Baseline
from models.baselines.boosted import LightGbm
from models.baselines.linear import Har, Logistic, Ridge
from models.baselines.simple import Ewma, HistoricalMean, LastSign, Naive

KINDS: dict[str, type[Baseline]] = {
    kind.name: kind for kind in (Naive, HistoricalMean, LastSign, Ewma, Har, Ridge, Logistic, LightGbm)
}


def make(name: str, *, horizons: int, levels: Sequence[float], **settings: Any) -> Baseline:
    """Return an unfitted baseline.

    Raises:
        ConfigError: there is none of that name, or it has no such setting.
    """
    if name not in KINDS:
        raise ConfigError(f"baseline {name!r}: there is none; choose of {', '.join(KINDS)}")
    try:
        return KINDS[name](horizons=horizons, levels=levels, **settings)
    except TypeError as error:
        raise ConfigError(f"baseline {name!r}: {error}") from error
