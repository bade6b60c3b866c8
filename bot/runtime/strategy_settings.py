"""Settings of what decides: the strategy, and the model whose forecasts it is given."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.runtime.setting_types import Section

_MINUTE_NS = 60_000_000_000


class StrategySettings(Section):
    """Which strategy, with what parameters."""

    name: str = Field("multiscale", min_length=1, description="built in, or path/to/file.py:Class")
    params: dict[str, Any] = Field(default_factory=dict)
    label: str = Field(
        "", pattern=r"^([A-Za-z][A-Za-z0-9_]{0,11})?$", description="what it is called here; empty: as it calls itself"
    )

    def choice(self) -> tuple[str, dict[str, Any], str]:
        """Return what a strategy is made of."""
        return self.name, dict(self.params), self.label


class PredictorSettings(Section):
    """Which forecasting model, with what parameters; used only where the strategy wants forecasts."""

    kind: Literal["ewma_vol", "artifact"] = Field(
        "ewma_vol", description="volatility and trend of the bars themselves, fitted to nothing; or a trained model"
    )
    path: Path = Field(
        Path("artifacts"), description="of an artifact: its folder, or a store whose model in use counts"
    )
    trusted: tuple[str, ...] = Field((), description="of an artifact: Ed25519 keys, hex, one of which must have signed")
    shadow: Path | None = Field(None, description="another artifact, whose forecasts are recorded and never traded on")
    calibration: Literal["auto", "off", "online"] = Field(
        "auto", description="whether intervals follow their own coverage; auto: those of an artifact do"
    )
    calibration_rate: float = Field(0.02, ge=0, le=1, description="spreads that one outcome moves an interval by")
    calibration_half_life: float = Field(100.0, ge=1, le=1e6, description="outcomes that count in the coverage")
    threads: int = Field(1, ge=1, le=64, description="of the CPU for a network; another number may round otherwise")
    decision_scale: Duration = Field(5 * _MINUTE_NS, description="ewma_vol: a forecast at each of these bars")
    horizons: tuple[Duration, ...] = Field(
        tuple(parse_duration(text) for text in ("5m", "1h", "1d")), min_length=1, description="ewma_vol: how far ahead"
    )
    trend_sharpe: float = Field(
        0.05, ge=0, le=1, description="how strong trends are believed to be: a day's drift over a day's deviation"
    )
