"""Settings of a replay: read once from TOML, environment and `--set`, checked, frozen, hashed into the run's record.

Every key has a type, a unit in its name or its value, and limits; an unknown key is refused.
"""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bot.core.durations import Duration
from bot.runtime.execution_settings import ExecutionSettings
from bot.runtime.market_settings import BarsSettings, FeatureSettings, MarketSettings
from bot.runtime.operator_settings import LogSettings
from bot.runtime.risk_settings import ProtectionSettings, RiskSettings
from bot.runtime.setting_files import load_settings, write_toml
from bot.runtime.setting_types import FeeRate, Section, Time
from bot.runtime.strategy_settings import PredictorSettings, StrategySettings

_MINUTE_NS = 60_000_000_000


class RunSettings(Section):
    """What to run."""

    seed: int = Field(
        1,
        ge=0,
        lt=2**63,
        description="of the slices' jitter; --seed sets it and delays.seed, the sample market has a seed of its own",
    )
    start: Time = Field(None, description="first moment to replay, UTC; empty for as early as the data goes")
    end: Time = Field(None, description="first moment not to replay, UTC; empty for as late as the data goes")
    out: Path = Field(Path("runs"), description="where run directories are made")
    slab_rows: int = Field(65_536, ge=1, le=10_000_000, description="market rows read at a time; never changes results")


class DelaySettings(Section):
    """How long messages take. Each delay is a fixed part and an exponential tail, a function of the message alone."""

    seed: int = Field(1, ge=0, lt=2**63, description="another seed, other tails")
    inference: Duration = Field(20_000_000, ge=0, le=_MINUTE_NS)
    inference_tail: Duration = Field(5_000_000, ge=0, le=_MINUTE_NS)
    order: Duration = Field(60_000_000, ge=0, le=_MINUTE_NS, description="from sending to the venue's book")
    order_tail: Duration = Field(30_000_000, ge=0, le=_MINUTE_NS)
    answer: Duration = Field(40_000_000, ge=0, le=_MINUTE_NS, description="from the venue's event to our knowing it")
    answer_tail: Duration = Field(15_000_000, ge=0, le=_MINUTE_NS)


class FeeSettings(Section):
    """What the venue charges, as a fraction of the value traded; negative is a rebate."""

    taker_rate: FeeRate = Decimal("0.00055")
    maker_rate: FeeRate = Decimal("0.0002")


class VenueSettings(Section):
    """The simulated venue."""

    fills: Literal["pessimistic", "neutral", "optimistic"] = Field(
        "neutral", description="what is assumed where the data does not tell; see docs/fills.md"
    )
    slippage_bps: Decimal = Field(Decimal(1), ge=0, le=1000, description="how much worse than the trade a taker fills")
    price_band: bool = Field(True, description="refuse limits outside the venue's band around the mark")


class AccountSettings(Section):
    """The account at the start."""

    cash: Decimal = Field(Decimal(100_000), gt=0, description="quote currency")
    leverage: Decimal = Field(
        Decimal(10), ge=1, le=500, description="the leverage set for each instrument at the venue"
    )


class Settings(BaseSettings):
    """Everything a run can be told."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="BOT_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    run: RunSettings = Field(default_factory=RunSettings)
    market: MarketSettings = Field(default_factory=MarketSettings)
    bars: BarsSettings = Field(default_factory=BarsSettings)
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    delays: DelaySettings = Field(default_factory=DelaySettings)
    fees: FeeSettings = Field(default_factory=FeeSettings)
    venue: VenueSettings = Field(default_factory=VenueSettings)
    account: AccountSettings = Field(default_factory=AccountSettings)
    risk: RiskSettings = Field(default_factory=RiskSettings)
    protections: ProtectionSettings = Field(default_factory=ProtectionSettings)
    execution: ExecutionSettings = Field(default_factory=ExecutionSettings)
    strategy: StrategySettings = Field(default_factory=StrategySettings)
    strategies: tuple[StrategySettings, ...] = Field((), description="several on one account, in place of strategy")
    predictor: PredictorSettings = Field(default_factory=PredictorSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return what is given by hand alone: `load` has merged file, environment and `--set` in that order."""
        return (init_settings,)

    @property
    def chosen(self) -> list[tuple[str, dict[str, Any], str]]:
        """Return what is to trade: name, parameters and label of each."""
        return [each.choice() for each in self.strategies or (self.strategy,)]

    @property
    def strategy_name(self) -> str:
        """Return what is to trade, for a person."""
        return "+".join(label or name for name, _, label in self.chosen)

    def config_hash(self) -> str:
        """Return a hash of all settings that can change a result."""
        values = self.model_dump(mode="json", exclude={"log": True, "run": {"out", "slab_rows"}})
        return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()

    def to_toml(self) -> str:
        """Return all settings, resolved, as TOML that `load` reads back."""
        return write_toml(self.model_dump(mode="json"))


def load(path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read settings from a file, the environment (`BOT_RUN__SEED=7`) and overrides (`run.seed=7`), the last winning.

    Relative paths inside the file are relative to the working directory.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem.
    """
    return load_settings(Settings, path, overrides, example="run.seed=7", has_environment=True)
