"""Settings of how targets become orders: the same for replay, paper and live."""

from typing import Literal

from pydantic import Field, model_validator

from bot.core.durations import Duration, parse_duration
from bot.runtime.setting_types import Section

_DAY_NS = parse_duration("1d")
_HOUR_NS = parse_duration("1h")


class PassiveSettings(Section):
    """An order that rests at the best price and follows it."""

    improve_ticks: int = Field(0, ge=0, le=1000, description="ahead of the best price of its side; 0 joins it")
    reprice_ticks: int = Field(
        2, ge=1, le=100_000, description="it is moved when it should lie so far from where it is"
    )
    reprice_after: Duration = Field(
        parse_duration("15s"),
        ge=parse_duration("100ms"),
        le=_DAY_NS,
        description="it is looked after so often at least",
    )
    reprices_max: int = Field(10, ge=0, le=10_000, description="how often it may be moved or looked after in vain")
    at_end: Literal["cross", "give_up"] = Field("cross", description="then: the rest at the market, or not at all")
    look_every: Duration = Field(
        parse_duration("1s"), ge=parse_duration("100ms"), le=_HOUR_NS, description="how often the market is looked at"
    )


class SlicedSettings(Section):
    """A change of position in parts."""

    slices: int = Field(6, ge=1, le=10_000, description="how many; fewer where they would be below the venue's least")
    total: Duration = Field(
        parse_duration("5m"),
        ge=parse_duration("1s"),
        le=_DAY_NS,
        description="from the first slice's turn to the last's",
    )
    jitter: float = Field(0.5, ge=0, le=1, description="how much of a gap a turn may come early, drawn from run.seed")
    each: Literal["marketable", "passive"] = Field("marketable", description="how every slice goes")


class ExecutionSettings(Section):
    """How targets become orders; docs/execution.md."""

    position_mode: Literal["one_way", "hedge"] = Field(
        "one_way", description="of the account's perpetuals; in hedge mode one leg is held at a time"
    )
    policy: Literal["marketable", "passive", "sliced"] = Field(
        "marketable", description="at the market, patiently at the best price, or in slices"
    )
    exit_within: Duration = Field(
        parse_duration("10s"), ge=0, le=_HOUR_NS, description="what leaves a position goes to the market after that"
    )
    entry_within: Duration = Field(
        parse_duration("10m"),
        ge=parse_duration("1s"),
        le=7 * _DAY_NS,
        description="passive and sliced: a target that enters and is not reached by then is dropped",
    )
    tries: int = Field(
        3, ge=1, le=100, description="market orders in a row that come to nothing: the target is dropped"
    )
    retry_after: Duration = Field(
        parse_duration("1s"), ge=parse_duration("100ms"), le=_HOUR_NS, description="between two of them"
    )
    net_within: Duration = Field(
        parse_duration("100ms"),
        ge=0,
        le=parse_duration("10s"),
        description="several strategies' wishes wait so long for each other, so that opposite ones meet",
    )
    passive: PassiveSettings = Field(default_factory=PassiveSettings)
    sliced: SlicedSettings = Field(default_factory=SlicedSettings)

    @model_validator(mode="after")
    def _has_time(self) -> "ExecutionSettings":
        if self.policy == "sliced" and not self.sliced.total <= self.entry_within:
            raise ValueError("entry_within must not be shorter than sliced.total: the last slices would have no turn")
        return self

    @property
    def is_hedged(self) -> bool:
        """Return whether perpetuals have a long and a short leg."""
        return self.position_mode == "hedge"
