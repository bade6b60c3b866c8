"""Settings of the market that a replay, a training and a trading run see: where it comes from, bars, features."""

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from bot.core.durations import Duration, parse_duration
from bot.core.event_rules import EventRuleText
from bot.domain.instrument import Instrument
from bot.runtime.setting_types import Section

_MINUTE_NS = 60_000_000_000


class TierSettings(Section):
    """One of the venue's risk tiers of an instrument: the larger a position, the more margin it takes."""

    limit_value: Decimal = Field(gt=0, description="the largest value of a position in this tier, quote currency")
    initial_rate: Decimal = Field(gt=0, le=1, description="initial margin, a fraction of the value")
    maintenance_rate: Decimal = Field(gt=0, le=1, description="maintenance margin, a fraction of the value")
    leverage_max: Decimal = Field(ge=1, le=500, description="the most leverage in this tier")


class InstrumentSettings(Section):
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


class SampleSettings(Section):
    """The embedded sample: a market made by `core.sample_market` from a seed."""

    seed: int = Field(7, ge=0, description="another seed, another market")
    days: int = Field(45, ge=2, le=2000, description="how long")
    trades_per_day: int = Field(100_000, ge=1_000, le=5_000_000, description="how many trades a day, on average")
    cache: Path = Field(Path("data/sample"), description="where the generated files are kept")


class MarketSettings(Section):
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


class BarsSettings(Section):
    """Time scales, and the rules of bars that the market closes."""

    scales: tuple[Duration, ...] = Field(
        tuple(parse_duration(text) for text in ("1m", "5m", "15m", "1h", "4h", "1d")), min_length=1
    )
    events: tuple[EventRuleText, ...] = Field((), description='event bars to make of trades as well: "volume:100"')
    lateness: Duration = Field(
        250_000_000, ge=0, le=10 * _MINUTE_NS, description="how long a bar waits for late trades"
    )
    gap_max: Duration = Field(3 * 1440 * _MINUTE_NS, gt=0, description="longest hole that is filled with flat bars")


class FeatureSettings(Section):
    """What models are given; `bot features show` prints it in full."""

    use: tuple[str, ...] = Field(
        ("full",), min_length=1, description='sets such as "full", and features such as "volatility(20)"'
    )
    scales: tuple[str, ...] = Field((), description='"5m", "volume:100"; empty for bars.scales and bars.events')
    clips: dict[str, tuple[float, float]] = Field(default_factory=dict, description="least and greatest, by column")
    reference: str | None = Field(None, description="the instrument that reference_* features compare with")
    funding_interval: Duration = Field(8 * 60 * _MINUTE_NS, gt=0, description="time between two settlements")
