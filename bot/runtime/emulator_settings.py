"""Settings of the emulator: its clock, what it lists and plays, its accounts, and what goes wrong."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bot.core.durations import Duration, parse_duration
from bot.domain.instrument import Instrument
from bot.runtime.market_settings import TierSettings
from bot.runtime.setting_files import load_settings
from bot.runtime.setting_types import FeeRate, Section, Time

SPEED_MAX = 60.0  # loopback latency times this stays well inside the tightest window, a second


class ServerSettings(Section):
    """Where it listens."""

    host: Literal["127.0.0.1", "::1", "localhost"] = Field("127.0.0.1", description="this machine only")
    port: int = Field(8765, ge=0, le=65_535, description="for HTTP and WebSockets alike; 0 takes a free one")
    certificate: Path | None = Field(None, description="speak TLS with this certificate, PEM")
    private_key: Path | None = Field(None, description="and its key, PEM")

    @model_validator(mode="after")
    def _has_both(self) -> "ServerSettings":
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("give certificate and private_key, or neither")
        return self


class ClockSettings(Section):
    """What time it is at the venue."""

    mode: Literal["system", "scaled", "driven"] = Field(
        "system",
        description="system: now, and recordings are moved here by whole days; scaled: the recording's own time; "
        "driven: the same, and it moves when a client says so",
    )
    speed: float = Field(1.0, gt=0, le=SPEED_MAX, description="scaled: seconds of the venue in one of ours")
    start: Time = Field(None, description="where the recordings begin to play, UTC; empty: after their warm-up")
    warm_up: Duration = Field(
        parse_duration("3d"), ge=0, le=parse_duration("2000d"), description="how far back candles go at the start"
    )


class FillSettings(Section):
    """How orders fill."""

    preset: Literal["pessimistic", "neutral", "optimistic"] = Field("neutral", description="see docs/fills.md")
    slippage_bps: Decimal = Field(Decimal(0), ge=0, le=1000, description="where there is no book")


class SampleSource(Section):
    """The seeded sample market."""

    seed: int = Field(7, ge=0, lt=2**63, description="another seed, another market")
    trades_per_day: int = Field(100_000, ge=1_000, le=5_000_000, description="how many trades a day, on average")
    price: Decimal = Field(Decimal(60_000), gt=0, description="where its price begins, some weeks before the start")
    qty_median: Decimal = Field(Decimal("0.016"), gt=0, description="size of the middle trade, base currency")


class ListingSettings(Section):
    """One listed symbol, its filters, and what is played."""

    symbol: str = Field(pattern=r"^[A-Z0-9]{2,20}$", description="as clients name it")
    category: Literal["linear", "spot"] = Field("linear", description="a perpetual or a spot pair")
    base: str = Field(pattern=r"^[A-Z0-9]{2,10}$", description="what is bought and sold")
    quote: str = Field("USDT", pattern=r"^[A-Z0-9]{2,10}$", description="what it is priced in")
    tick_size: Decimal = Field(gt=0, description="price step")
    qty_step: Decimal = Field(gt=0, description="quantity step")
    qty_min: Decimal = Field(gt=0, description="least order")
    qty_max: Decimal = Field(gt=0, description="greatest order")
    market_qty_max: Decimal | None = Field(None, gt=0, description="greatest market order; empty: as any other")
    notional_min: Decimal = Field(Decimal(5), ge=0, description="least order value")
    price_places: int | None = Field(None, ge=0, le=12, description="places of a printed price; empty: the tick's")
    taker_rate: FeeRate | None = Field(None, description="taker fee, a fraction; empty: the venue's entry level")
    maker_rate: FeeRate | None = Field(None, description="maker fee, a fraction; empty: the venue's entry level")
    funding_interval_min: int = Field(480, ge=60, le=1440, description="minutes between settlements")
    tiers: tuple[TierSettings, ...] = Field((), description="risk tiers; empty: an assumed one")
    sample: SampleSource | None = Field(None, description="play the sample market")
    trades: Path | None = Field(None, description="play trades: a folder of the market store, or a Parquet file")
    bars: Path | None = Field(None, description="play bars, as trades made of them: a folder of the store, or a file")
    bar_interval: Duration | None = Field(None, description="length of the bars of a file")
    book: Path | None = Field(None, description="a recorded book, a folder of the store; empty: one made of the trades")
    book_levels: int | None = Field(None, ge=1, description="how many levels a side the recorded book tells")
    made_levels: int = Field(50, ge=1, le=1000, description="levels a side of a book that is made")
    made_spread_ticks: int = Field(1, ge=1, le=10_000, description="its spread")
    made_size: Decimal = Field(Decimal(1), gt=0, description="about what rests at one of its prices, base currency")
    funding: Path | None = Field(None, description="recorded funding; empty: a constant rate")
    funding_rate: Decimal = Field(
        Decimal("0.0001"), ge=Decimal("-0.01"), le=Decimal("0.01"), description="the constant, a fraction"
    )
    off_grid: Literal["refuse", "round"] = Field("refuse", description="what to do with prices between two ticks")

    @model_validator(mode="after")
    def _is_possible(self) -> "ListingSettings":
        if sum(source is not None for source in (self.sample, self.trades, self.bars)) != 1:
            raise ValueError("give one of sample, trades and bars")
        if self.qty_min > self.qty_max:
            raise ValueError("qty_min must not be above qty_max")
        if (self.taker_rate is None) != (self.maker_rate is None):
            raise ValueError("give taker_rate and maker_rate, or neither")
        if 1440 % self.funding_interval_min:
            raise ValueError("funding_interval_min must divide a day")
        return self

    @property
    def contract_name(self) -> str:
        """Return what the venue model knows it as: a symbol may be a perpetual and a spot pair."""
        return f"{self.symbol}-SPOT" if self.category == "spot" else self.symbol

    def instrument(self) -> Instrument:
        """Return the instrument itself."""
        return Instrument(
            name=self.contract_name,
            base=self.base,
            quote=self.quote,
            tick_size=self.tick_size,
            qty_step=self.qty_step,
            qty_min=self.qty_min,
            qty_max=self.qty_max,
            notional_min=self.notional_min,
        )


Permission = Literal[
    "ContractTrade",
    "Spot",
    "Derivatives",
    "Options",
    "Wallet",
    "SubMemberTransfer",
    "Withdraw",
    "Exchange",
    "CopyTrading",
]


class KeySettings(Section):
    """One API key. It opens nothing but this emulator."""

    key: str = Field(pattern=r"^[A-Za-z0-9]{4,64}$", description="what clients send")
    secret: str = Field(min_length=4, max_length=128, description="what they sign with")
    read_only: bool = Field(False, description="may look, not act")
    permissions: tuple[Permission, ...] = Field(("ContractTrade", "Spot", "Derivatives"), description="what it may do")
    addresses: tuple[str, ...] = Field((), description="addresses it is bound to; empty: to none")
    expires: Time = Field(None, description="when it ends, UTC; empty: never")
    info: dict[str, Any] = Field({}, description="what query-api says of it other than the truth, such as { uta = 0 }")


class AccountSettings(Section):
    """One account."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$", description="what faults call it")
    uid: int = Field(gt=0, lt=10**12, description="its number at the venue")
    coins: dict[str, Decimal] = Field({"USDT": Decimal(10_000)}, description="what it begins with")
    vip_level: str = Field("No VIP", description="what query-api says of it")
    info: dict[str, Any] = Field(
        {}, description='what account/info says of it, such as { marginMode = "ISOLATED_MARGIN" }'
    )
    keys: tuple[KeySettings, ...] = Field(min_length=1, description="its API keys")


class FaultSettings(Section):
    """Something that goes wrong; docs/emulator.md lists the kinds."""

    kind: str = Field(description="what")
    after: Duration = Field(0, ge=0, description="from when on, since the start")
    until: Duration | None = Field(None, ge=0, description="until when; empty: for ever")
    probability: float = Field(1.0, ge=0, le=1, description="on each occasion")
    count: int | None = Field(None, ge=1, description="at most so often; empty: always")
    skip: int = Field(0, ge=0, description="so many occasions pass first")
    where: dict[str, str] = Field({}, description="what must match: topic, path, op, account, symbol, socket")
    body: dict[str, str | int | bool] = Field({}, description="owner_request and transfer: what is asked for")
    delay: Duration = Field(0, ge=0, description="for kinds that take time")
    status: int = Field(503, ge=400, le=599, description="http_status: which")
    code: int = Field(10016, description="error_before and error_after: which")
    text: str = Field("", description="what is said, or which key is changed")
    after_bytes: int = Field(0, ge=0, description="reset: so many bytes are sent first")
    chunk_bytes: int = Field(16, ge=1, description="slow and split: so many at a time")
    minutes: int = Field(60, ge=1, le=1440, description="funding_interval: the new one; announcement: how long")
    skew_ms: int = Field(0, ge=-86_400_000, le=86_400_000, description="clock_skew: positive is ahead")

    @model_validator(mode="after")
    def _is_possible(self) -> "FaultSettings":
        if self.kind == "funding_interval" and (self.minutes < 60 or 1440 % self.minutes):
            raise ValueError("minutes: funding is settled every hour or less often, and the interval divides a day")
        return self


class EmulatorSettings(Section):
    """Everything an emulator needs to know."""

    seed: int = Field(7, ge=0, lt=2**63, description="of ids, delays, faults and of nothing else")
    server: ServerSettings = Field(default_factory=ServerSettings)
    clock: ClockSettings = Field(default_factory=ClockSettings)
    fills: FillSettings = Field(default_factory=FillSettings)
    rate_limit_scale: int = Field(1, ge=0, le=1000, description="times the venue's default tier; 0: no limits")
    address_limit: bool = Field(True, description="600 requests in 5 s, 500 connections in 5 min")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="of what is logged")
    listings: Annotated[tuple[ListingSettings, ...], Field(min_length=1)]
    accounts: Annotated[tuple[AccountSettings, ...], Field(min_length=1)]
    faults: tuple[FaultSettings, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> "EmulatorSettings":
        for what, names in (
            ("listings", [(each.category, each.symbol) for each in self.listings]),
            ("accounts", [each.name for each in self.accounts]),
            ("uids", [each.uid for each in self.accounts]),
            ("keys", [key.key for each in self.accounts for key in each.keys]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"two of the {what} are the same")
        if self.clock.mode == "system" and self.clock.speed != 1:
            raise ValueError('a speed needs clock.mode = "scaled"')
        if self.clock.mode == "driven" and self.clock.speed != 1:
            raise ValueError("a driven clock has no speed")
        if self.clock.mode != "system" and any(each.sample for each in self.listings) and self.clock.start is None:
            raise ValueError("clock.start: the sample market has no beginning of its own; give a time")
        return self


def load_emulator(path: Path, overrides: Sequence[str] = ()) -> EmulatorSettings:
    """Read settings from a file and overrides (`server.port=0`), the last winning.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem.
    """
    return load_settings(EmulatorSettings, path, overrides, example="server.port=0")
