"""Settings: read once from TOML, environment and `--set`, checked, frozen, and hashed into the run's record.

Every key has a type, a unit in its name or its value, and limits; an unknown key is refused. What is refused is
reported by the key's full name, with what would be right.
"""

import difflib
import hashlib
import os
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bot.core.durations import Duration, parse_duration
from bot.core.event_rules import EventRuleText
from bot.domain.errors import ConfigError
from bot.domain.instrument import Instrument
from bot.runtime.execution_settings import ExecutionSettings

_MINUTE_NS = 60_000_000_000


def _parse_time(value: Any) -> int | None:
    if value in (None, ""):
        return None
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise ValueError("not a time; write it like 2024-03-01 or 2024-03-01T12:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def _format_time(value: int | None) -> str:
    if value is None:
        return ""
    return datetime.fromtimestamp(value / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[int | None, BeforeValidator(_parse_time), PlainSerializer(_format_time, return_type=str)]
"""A time, UTC; ns since the epoch once read."""


def _parse_rate(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        raise ValueError(f"{value!r} is a percentage; write the fraction: 0.055 % is 0.00055")
    return value


FeeRate = Annotated[Decimal, BeforeValidator(_parse_rate), Field(gt=Decimal("-0.01"), lt=Decimal("0.01"))]
"""A fraction of the value traded. Nothing charges 1 %: such a number is a percentage by mistake."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSettings(_Section):
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


class TierSettings(_Section):
    """One of the venue's risk tiers of an instrument: the larger a position, the more margin it takes."""

    limit_value: Decimal = Field(gt=0, description="the largest value of a position in this tier, quote currency")
    initial_rate: Decimal = Field(gt=0, le=1, description="initial margin, a fraction of the value")
    maintenance_rate: Decimal = Field(gt=0, le=1, description="maintenance margin, a fraction of the value")
    leverage_max: Decimal = Field(ge=1, le=500, description="the most leverage in this tier")


class InstrumentSettings(_Section):
    """One instrument, its filters, and where its history lies."""

    name: str = Field(pattern=r"^[A-Z0-9]{2,20}$", description="the venue's symbol")
    base: str = Field(pattern=r"^[A-Z0-9]{2,10}$", description="what is bought and sold")
    quote: str = Field(pattern=r"^[A-Z0-9]{2,10}$", description="what it is priced, margined and settled in")
    tick_size: Decimal = Field(gt=0, description="price step, quote currency")
    qty_step: Decimal = Field(gt=0, description="quantity step, base currency")
    qty_min: Decimal = Field(gt=0, description="least order, base currency")
    qty_max: Decimal = Field(gt=0, description="greatest order, base currency")
    notional_min: Decimal = Field(Decimal(5), ge=0, description="least order value, quote currency")
    trades: Path | None = Field(None, description="trades: a folder of the market store, or a Parquet file")
    bars: Path | None = Field(None, description="bars, where there are no trades: a folder of the store, or a file")
    bar_interval: Duration | None = Field(None, description="length of the bars of a file")
    funding: Path | None = Field(None, description="settled funding rates: a folder of the store, or a file")
    marks: Path | None = Field(None, description="mark prices, for features: a folder of the store, such as mark-1h")
    book: Path | None = Field(None, description="the order book, for features: a folder of the store")
    off_grid: Literal["refuse", "round"] = Field("refuse", description="what to do with prices between two ticks")
    tiers: tuple[TierSettings, ...] = Field((), description="the venue's risk tiers; empty for an assumed one")

    @model_validator(mode="after")
    def _has_one_source(self) -> "InstrumentSettings":
        if (self.trades is None) == (self.bars is None):
            raise ValueError("give either trades or bars")
        if self.bars is None and self.bar_interval is not None:
            raise ValueError("trades take no bar_interval")
        if self.bars is not None:
            _check_interval(self.bars.name, self.bar_interval)
        if not self.qty_min <= self.qty_max:
            raise ValueError("qty_min must not be above qty_max")
        return self

    def instrument(self) -> Instrument:
        """Return the instrument itself."""
        return Instrument(
            name=self.name,
            base=self.base,
            quote=self.quote,
            tick_size=self.tick_size,
            qty_step=self.qty_step,
            qty_min=self.qty_min,
            qty_max=self.qty_max,
            notional_min=self.notional_min,
        )


def _check_interval(name: str, interval_ns: int | None) -> None:
    """Raise ValueError unless a file's bars are given their length; a folder of the store is called by it."""
    prefix, _, length = name.partition("-")
    if prefix != "bars" or "." in length:
        if interval_ns is None:
            raise ValueError('bars of a file need bar_interval, such as "1m"; a folder of the store says it: bars-1m')
    elif interval_ns is not None and parse_duration(length) != interval_ns:
        raise ValueError(f"bar_interval is not that of {name}; leave it out")


class SampleSettings(_Section):
    """The embedded sample: a market made by `core.sample_market` from a seed."""

    seed: int = Field(7, ge=0, description="another seed, another market")
    days: int = Field(45, ge=2, le=2000, description="how long")
    trades_per_day: int = Field(100_000, ge=1_000, le=5_000_000, description="how many trades a day, on average")
    cache: Path = Field(Path("data/sample"), description="where the generated files are kept")


class MarketSettings(_Section):
    """Where market data comes from."""

    source: Literal["sample", "files"] = Field("sample", description="the embedded sample, or your own files")
    sample: SampleSettings = Field(default_factory=SampleSettings)
    instruments: tuple[InstrumentSettings, ...] = Field((), description="with source = files: what to replay")

    @model_validator(mode="after")
    def _is_complete(self) -> "MarketSettings":
        if self.source == "files" and not self.instruments:
            raise ValueError('source = "files" needs at least one [[market.instruments]]')
        if self.source == "sample" and self.instruments:
            raise ValueError('[[market.instruments]] needs source = "files"')
        names = [instrument.name for instrument in self.instruments]
        if len(set(names)) != len(names):
            raise ValueError("two of the instruments have the same name")
        if len({instrument.quote for instrument in self.instruments}) > 1:
            raise ValueError("all instruments of a run must have the same quote currency")
        return self


class BarsSettings(_Section):
    """Time scales, and the rules of bars that the market closes."""

    scales: tuple[Duration, ...] = Field(
        tuple(parse_duration(text) for text in ("1m", "5m", "15m", "1h", "4h", "1d")), min_length=1
    )
    events: tuple[EventRuleText, ...] = Field((), description='event bars to make of trades as well: "volume:100"')
    lateness: Duration = Field(
        250_000_000, ge=0, le=10 * _MINUTE_NS, description="how long a bar waits for late trades"
    )
    gap_max: Duration = Field(3 * 1440 * _MINUTE_NS, gt=0, description="longest hole that is filled with flat bars")


class FeatureSettings(_Section):
    """What models are given; `bot features show` prints it in full."""

    use: tuple[str, ...] = Field(
        ("full",), min_length=1, description='sets such as "full", and features such as "volatility(20)"'
    )
    scales: tuple[str, ...] = Field((), description='"5m", "volume:100"; empty for bars.scales and bars.events')
    clips: dict[str, tuple[float, float]] = Field(default_factory=dict, description="least and greatest, by column")
    reference: str | None = Field(None, description="the instrument that reference_* features compare with")
    funding_interval: Duration = Field(8 * 60 * _MINUTE_NS, gt=0, description="time between two settlements")


class DelaySettings(_Section):
    """How long messages take. Each delay is a fixed part and an exponential tail, a function of the message alone."""

    seed: int = Field(1, ge=0, lt=2**63, description="another seed, other tails")
    inference: Duration = Field(20_000_000, ge=0, le=_MINUTE_NS)
    inference_tail: Duration = Field(5_000_000, ge=0, le=_MINUTE_NS)
    order: Duration = Field(60_000_000, ge=0, le=_MINUTE_NS, description="from sending to the venue's book")
    order_tail: Duration = Field(30_000_000, ge=0, le=_MINUTE_NS)
    answer: Duration = Field(40_000_000, ge=0, le=_MINUTE_NS, description="from the venue's event to our knowing it")
    answer_tail: Duration = Field(15_000_000, ge=0, le=_MINUTE_NS)


class FeeSettings(_Section):
    """What the venue charges, as a fraction of the value traded; negative is a rebate."""

    taker_rate: FeeRate = Decimal("0.00055")
    maker_rate: FeeRate = Decimal("0.0002")


class VenueSettings(_Section):
    """The simulated venue."""

    fills: Literal["pessimistic", "neutral", "optimistic"] = Field(
        "neutral", description="what is assumed where the data does not tell; see docs/fills.md"
    )
    slippage_bps: Decimal = Field(Decimal(1), ge=0, le=1000, description="how much worse than the trade a taker fills")
    price_band: bool = Field(True, description="refuse limits outside the venue's band around the mark")


class AccountSettings(_Section):
    """The account at the start."""

    cash: Decimal = Field(Decimal(100_000), gt=0, description="quote currency")
    leverage: Decimal = Field(
        Decimal(10), ge=1, le=500, description="the leverage set for each instrument at the venue"
    )


class RiskSettings(_Section):
    """What the gate allows; see `docs/risk_codes.md`."""

    order_notional_max: Decimal = Field(
        Decimal(250_000), gt=0, description="quote currency, at the limit price or else at mark"
    )
    position_notional_max: Decimal = Field(Decimal(250_000), gt=0, description="quote currency at mark")
    leverage_max: Decimal = Field(Decimal(3), gt=0, le=100, description="worst case, a multiple of equity")
    price_collar: Decimal = Field(Decimal("0.05"), gt=0, lt=1, description="limit price from the mark, a fraction")
    mark_age_max: Duration = Field(2 * _MINUTE_NS, gt=0, description="older prices close the door")
    open_orders_max: int = Field(50, ge=1, le=500, description="per instrument")
    orders_per_second_max: int = Field(10, ge=1, le=1000)
    open_positions_max: int = Field(0, ge=0, le=1000, description="instruments held at once; 0 for no limit")


Rung = Annotated[Decimal, Field(ge=0, lt=1)]
"""How much may be lost before something happens, a fraction; 0: never."""


class ProtectionSettings(_Section):
    """What stops trading when it goes wrong; see `docs/risk_codes.md`."""

    drawdown_reduce: Rung = Field(Decimal("0.2"), description="lost of the highest equity: only exits from then on")
    drawdown_halt: Rung = Field(Decimal("0.3"), description="lost of the highest equity: no orders from then on")
    daily_loss_reduce: Rung = Field(Decimal("0.1"), description="lost since midnight UTC: only exits until the next")
    daily_loss_halt: Rung = Field(Decimal("0.15"), description="lost since midnight UTC: no orders until the next")
    flatten_on_halt: bool = Field(False, description="close every position when the account is halted")
    check_every: Duration = Field(60 * _MINUTE_NS, ge=1_000_000_000, description="how often equity is looked at")
    cooldown: Duration = Field(0, ge=0, description="no entry for so long after a round trip's end; 0s: off")
    stop_guard_losses: int = Field(0, ge=0, le=1000, description="so many losing round trips; 0: off")
    stop_guard_window: Duration = Field(1440 * _MINUTE_NS, gt=0, description="within so long")
    stop_guard_pause: Duration = Field(60 * _MINUTE_NS, ge=0, description="no entry for so long; 0s: for good")
    stop_guard_scope: Literal["instrument", "account"] = Field("instrument", description="where it counts and pauses")
    low_profit_trips: int = Field(0, ge=0, le=1000, description="the last so many round trips; 0: off")
    low_profit_least: Decimal = Field(Decimal(0), description="must have brought this, quote currency")
    low_profit_window: Duration = Field(1440 * _MINUTE_NS, gt=0, description="within so long")
    low_profit_pause: Duration = Field(60 * _MINUTE_NS, ge=0, description="no entry for so long; 0s: for good")
    repeated_orders: int = Field(0, ge=0, le=100_000, description="executed orders of one side at most; 0: off")
    repeated_window: Duration = Field(_MINUTE_NS, gt=0, description="within so long")
    repeated_pause: Duration = Field(0, ge=0, description="no entry for so long; 0s: for good")

    @model_validator(mode="after")
    def _has_its_rungs_in_order(self) -> "ProtectionSettings":
        for name in ("drawdown", "daily_loss"):
            reduce, halt = getattr(self, f"{name}_reduce"), getattr(self, f"{name}_halt")
            if halt and not reduce <= halt:
                raise ValueError(f"{name}_reduce must not be above {name}_halt")
        if not self.low_profit_least.is_finite():
            raise ValueError("low_profit_least must be a number")
        return self


class StrategySettings(_Section):
    """Which strategy, with what parameters."""

    name: str = Field("multiscale", min_length=1, description="built in, or path/to/file.py:Class")
    params: dict[str, Any] = Field(default_factory=dict)
    label: str = Field(
        "", pattern=r"^([A-Za-z][A-Za-z0-9_]{0,11})?$", description="what it is called here; empty: as it calls itself"
    )

    def choice(self) -> tuple[str, dict[str, Any], str]:
        """Return what a strategy is made of."""
        return self.name, dict(self.params), self.label


class PredictorSettings(_Section):
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


class LogSettings(_Section):
    """Logs on standard error; the run's own `log.jsonl` always has level info."""

    level: Literal["debug", "info", "warning", "error"] = "warning"


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
    values = read_toml(path) if path is not None else {}
    for name, text in os.environ.items():
        if name.startswith("BOT_") and "__" in name:
            put_value(values, name.removeprefix("BOT_").lower().split("__"), text, name)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write key=value, such as --set run.seed=7")
        put_value(values, key.strip().split("."), text.strip(), f"--set {override}")
    try:
        return Settings(**values)
    except ValidationError as error:
        where = f"{path}: " if path is not None else ""
        problems = [where + _explain(problem) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(problems)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return a settings file's tables, numbers exact.

    Raises:
        ConfigError: it is not there, or no TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file, parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; pass an existing file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def write_toml(values: dict[str, Any]) -> str:
    """Return nested tables as TOML."""
    return "".join(_toml_table((), values)).lstrip()


def put_value(values: dict[str, Any], key: Sequence[str], text: str, origin: str) -> None:
    """Set one value of nested tables; a text that reads as a TOML value becomes that.

    Raises:
        ConfigError: what lies above the key is no table; the message names where it came from.
    """
    table = values
    for part in key[:-1]:
        inner: Any = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{origin}: {part} is not a table")
        table = inner
    try:
        table[key[-1]] = tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]
    except tomllib.TOMLDecodeError:
        table[key[-1]] = text  # a bare word is a text


def _explain(problem: Any) -> str:
    location = tuple(part for part in problem["loc"] if part not in ("int", "decimal"))
    key = ".".join(str(part) for part in location) or "settings"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"
        return f"{key}: no such key; {hint}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    if key.endswith("_rate") and problem["type"] in ("less_than", "greater_than"):
        message += "; a rate is a fraction: 0.055 % is 0.00055"
    if problem["type"] in ("value_error",) and isinstance(problem["input"], dict):
        return f"{key}: {message}"
    return f"{key} = {_show(problem['input'])}: {message}"


def _show(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else repr(value)


def _known_keys(location: Sequence[Any]) -> list[str]:
    model: Any = Settings
    for part in location:
        if isinstance(part, int):
            continue
        model = model.model_fields[part].annotation
        arguments = getattr(model, "__args__", ())
        model = arguments[0] if arguments else model
    return list(model.model_fields)


def _toml_table(path: tuple[str, ...], values: dict[str, Any]) -> list[str]:
    lines = [f"\n[{'.'.join(path)}]\n"] if path else []
    tables: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            tables += _toml_table((*path, key), value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                tables.append(f"\n[[{'.'.join((*path, key))}]]\n")
                tables += [f"{k} = {_toml_value(v)}\n" for k, v in item.items() if v is not None]
        elif value is not None:
            lines.append(f"{key} = {_toml_value(value)}\n")
    return lines + tables


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items() if v is not None) + " }"
    return msgspec.json.encode(value).decode()
