"""Settings of `bot paper` and `bot live`: whose account, which instruments, what is risked, where it is kept."""

import hashlib
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot.core.durations import Duration, parse_duration
from bot.domain.errors import ConfigError
from bot.runtime.alert_settings import AlertSettings
from bot.runtime.execution_settings import ExecutionSettings
from bot.runtime.market_settings import BarsSettings, FeatureSettings
from bot.runtime.operator_settings import LogSettings, ServiceSettings, StatusSettings
from bot.runtime.risk_settings import ProtectionSettings, RiskSettings
from bot.runtime.setting_files import load_settings
from bot.runtime.setting_types import Section
from bot.runtime.strategy_settings import PredictorSettings, StrategySettings

REAL_MONEY = "I trade real money"
"""What `live.confirm` must say."""

_ENVIRONMENT_LETTERS = {"emulator": "e", "testnet": "t", "demo": "d", "mainnet": "l"}


def environment_of(letter: str) -> str:
    """Return the environment whose client order ids begin with a letter."""
    return next((name for name, each in _ENVIRONMENT_LETTERS.items() if each == letter), f"environment {letter!r}")


_PLACE: Any = {
    "log": True,
    "status": True,
    "service": True,
    "alerts": True,
    "emulator": True,
    "run": {"out", "stop_after", "record_deliveries"},
}
"""What never changes what is traded."""


class VenueSettings(Section):
    """Whose account. Keys are never written here, but for an emulator's: docs/paper.md says where they come from."""

    environment: Literal["emulator", "testnet", "demo", "mainnet"] = Field("emulator", description="which Bybit")
    region: str = Field("", description="of mainnet: a regional domain, such as eu; empty for the global one")
    url: str = Field("", description="of an emulator that runs already; empty: start one")
    uid: int | None = Field(None, ge=1, description="the account's number: another account's key is refused")
    allow_unbound_key: bool = Field(False, description="live: take a key that is bound to no address")
    recv_window: Duration = Field(
        parse_duration("2500ms"), ge=parse_duration("1s"), le=parse_duration("3s"), description="of signatures"
    )


class EmulatedSettings(Section):
    """The emulator that an offline paper run starts; its clock is the bot's."""

    config: Path = Field(Path("config/emulator/paper.toml"), description="what it plays; docs/emulator.md")
    overrides: tuple[str, ...] = Field((), description='settings of it, such as "clock.speed=10"')
    key: str = Field("EMULATORKEY0001", description="one of its keys")
    secret: str = Field("EMULATORSECRET0001", description="the key's secret: it opens nothing else")


class SymbolSettings(Section):
    """One instrument; its ticks and steps are asked of the venue."""

    symbol: str = Field(pattern=r"^[A-Z0-9]{2,20}$", description="as the venue names it")
    category: Literal["linear", "spot"] = Field("linear", description="a perpetual or a spot pair")
    leverage: Decimal | None = Field(None, ge=1, le=200, description="set at the venue; empty: as it is there")


class LedgerSettings(Section):
    """Where the ledger is."""

    at: str = Field("", description="a directory, or postgresql://...; empty: a directory of this account's in run.out")
    checkpoint_every: Duration = Field(
        parse_duration("5m"), ge=parse_duration("1s"), description="how often the state is kept beside the journal"
    )
    audit_after: Duration | None = Field(
        parse_duration("1m"),
        gt=0,
        description="after the start, and then once a day, all of it is audited in a process beside; empty: never",
    )


class InferenceSettings(Section):
    """The process that a trained model answers in; of predictor.kind = "artifact" alone."""

    deadline: Duration = Field(
        parse_duration("2s"),
        ge=parse_duration("10ms"),
        le=parse_duration("1m"),
        description="of the market's time: a forecast that takes longer is none; half a decision bar at most",
    )
    start_within: Duration = Field(
        parse_duration("2m"), ge=parse_duration("1s"), description="to load, and to pass the recorded answers"
    )
    silent_max: Duration = Field(
        parse_duration("30s"), ge=parse_duration("1s"), description="without a word while asked: then it is killed"
    )
    look_every: Duration = Field(
        parse_duration("2s"), ge=parse_duration("100ms"), description="how often a store is asked which model is in use"
    )
    memory_max_mib: int = Field(4096, ge=128, le=1 << 20, description="a process that holds more is replaced")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:[0-9]{1,2})?)$", description="where the network is computed")


class LiveSettings(Section):
    """What only real money needs."""

    confirm: str = Field("", description=f'"{REAL_MONEY}", and --real-money on the command line besides')


class TradeRunSettings(Section):
    """The run."""

    seed: int = Field(1, ge=0, lt=2**63, description="of waits before connecting again, and of the slices' jitter")
    out: Path = Field(Path("runs"), description="where run directories are made")
    stop_after: Duration | None = Field(None, gt=0, description="end by itself; empty: until Ctrl-C")
    compare_every: Duration = Field(
        parse_duration("1m"), ge=parse_duration("1s"), description="how often the account is compared"
    )
    balance_every: Duration = Field(
        parse_duration("1h"),
        ge=parse_duration("1s"),
        description="how often bookings are held, one by one, against the venue's own ledger",
    )
    filters_every: Duration = Field(
        parse_duration("1d"), ge=parse_duration("1s"), description="how often the venue's filters are asked for anew"
    )
    confirm_within: Duration = Field(
        parse_duration("1s"),
        ge=0,
        description="how long a minute's first trades wait for the venue's last word on the minute before; 0s: not",
    )
    check_every: Duration = Field(
        parse_duration("10s"), ge=parse_duration("1s"), description="how often equity is looked at"
    )
    record_deliveries: bool = Field(True, description="record what every actor is told, for bot verify")
    protect_within: Duration | None = Field(
        None, gt=0, description="close what has had neither a stop nor an exit for so long; empty: never"
    )
    foreign: Literal["halt", "alert"] = Field("halt", description="when somebody else trades in an instrument of ours")


class TradeSettings(Section):
    """Everything that trading an account can be told."""

    run: TradeRunSettings = Field(default_factory=TradeRunSettings)
    venue: VenueSettings = Field(default_factory=VenueSettings)
    emulator: EmulatedSettings = Field(default_factory=EmulatedSettings)
    symbols: Annotated[tuple[SymbolSettings, ...], Field(min_length=1)]
    bars: BarsSettings = Field(default_factory=BarsSettings)
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    risk: RiskSettings = Field(default_factory=RiskSettings)
    protections: ProtectionSettings = Field(default_factory=ProtectionSettings)
    execution: ExecutionSettings = Field(default_factory=ExecutionSettings)
    strategy: StrategySettings = Field(default_factory=StrategySettings)
    strategies: tuple[StrategySettings, ...] = Field((), description="several on one account, in place of strategy")
    predictor: PredictorSettings = Field(default_factory=PredictorSettings)
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    status: StatusSettings = Field(default_factory=StatusSettings)
    service: ServiceSettings = Field(default_factory=ServiceSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @model_validator(mode="after")
    def _is_consistent(self) -> "TradeSettings":
        names = [each.symbol for each in self.symbols]
        if len(set(names)) != len(names):
            raise ValueError("symbols: one is named twice; a perpetual and its spot pair go into two runs")
        if len(self.strategies) > 1 and any(each.category == "spot" for each in self.symbols):
            raise ValueError("strategies: several share perpetuals alone; give each its own run on spot")
        if self.venue.url and self.venue.environment != "emulator":
            raise ValueError("venue.url: of an emulator alone; the venue's own addresses are known")
        return self

    @property
    def environment_letter(self) -> str:
        """Return what client order ids begin with."""
        return _ENVIRONMENT_LETTERS[self.venue.environment]

    @property
    def chosen(self) -> list[tuple[str, dict[str, Any], str]]:
        """Return what is to trade: name, parameters and label of each."""
        return [each.choice() for each in self.strategies or (self.strategy,)]

    @property
    def strategy_name(self) -> str:
        """Return what is to trade, for a person."""
        return "+".join(label or name for name, _, label in self.chosen)

    def config_hash(self) -> str:
        """Return a hash of all settings that can change what is traded; no secret is in it."""
        values = self.model_dump(mode="json", exclude=_PLACE)
        return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()

    def public(self) -> dict[str, Any]:
        """Return all settings but secrets, for the run's directory."""
        told = self.model_dump(mode="json", exclude={"emulator": {"secret"}})
        if "://" in (told["ledger"]["at"] or ""):
            told["ledger"]["at"] = _without_password(told["ledger"]["at"])
        return told


def _without_password(address: str) -> str:
    try:
        return make_url(address).render_as_string(hide_password=True)
    except ArgumentError:  # what opens it says what is wrong with it
        return "***"


def load_trade(path: Path, overrides: Sequence[str] = ()) -> TradeSettings:
    """Read settings from a file, the environment (`BOT_RISK__LEVERAGE_MAX=2`) and overrides, the last winning.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem.
    """
    return load_settings(TradeSettings, path, overrides, example="run.stop_after=1h", has_environment=True)


def read_credentials() -> tuple[str, str]:
    """Return the API key and its secret: from the credentials directory that systemd gives, else the environment.

    Raises:
        ConfigError: they are not there, or lie where others can read them.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory:
        return _credential(Path(directory) / "bybit_key"), _credential(Path(directory) / "bybit_secret")
    key, secret = os.environ.get("BYBIT_API_KEY", ""), os.environ.get("BYBIT_API_SECRET", "")
    if not key or not secret:
        raise ConfigError(
            "no API key: set BYBIT_API_KEY and BYBIT_API_SECRET, or CREDENTIALS_DIRECTORY to a directory with the "
            "files bybit_key and bybit_secret"
        )
    return key, secret


def _credential(path: Path) -> str:
    try:
        if path.is_symlink() or not path.is_file():
            raise ConfigError(f"{path}: not a plain file; put the credential there")
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others may read it; run: chmod 600 {path}")
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
