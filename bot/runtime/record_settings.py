"""Settings of `bot record`: which market is listened to, and where it is kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bot.core.durations import Duration, parse_duration
from bot.runtime.setting_files import load_settings
from bot.runtime.setting_types import Section


class VenueSettings(Section):
    """Which venue."""

    environment: Literal["mainnet", "testnet", "emulator"] = Field("mainnet", description="whose market")
    region: str = Field("", description="of mainnet: a regional domain, such as eu; empty for the global one")
    url: str = Field("", description="of an emulator on this machine, such as http://127.0.0.1:8765")


class SymbolSettings(Section):
    """One instrument that is followed; its ticks and steps are asked of the venue."""

    symbol: str = Field(pattern=r"^[A-Z0-9]{2,20}$", description="as the venue names it")
    category: Literal["linear", "spot"] = Field("linear", description="a perpetual or a spot pair")
    book_levels: Literal[0, 50, 200, 1000] = Field(50, description="of the order book; 0 for none")
    klines: tuple[str, ...] = Field((), description='the venue\'s own bars besides minutes, such as "60"')
    price_limits: bool = Field(False, description="the prices that orders must keep within")


class RecordSettings(Section):
    """Everything that recording needs to know."""

    venue: VenueSettings = Field(default_factory=VenueSettings)
    directory: Path = Field(Path("captures"), description="where capture files go")
    file_mib_max: int = Field(256, ge=1, le=4096, description="a file of this size is followed by another")
    flush: Duration = Field(
        parse_duration("500ms"),
        ge=parse_duration("10ms"),
        le=parse_duration("1m"),
        description="lost at most if killed",
    )
    stop_after: Duration | None = Field(None, gt=0, description="end by itself; empty: until Ctrl-C")
    notices: bool = Field(True, description="listen to the venue's notices of maintenance")
    seed: int = Field(0, ge=0, lt=2**63, description="of waits before connecting again")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="of what is logged")
    symbols: Annotated[tuple[SymbolSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> "RecordSettings":
        names = [(each.category, each.symbol) for each in self.symbols]
        if len(set(names)) != len(names):
            raise ValueError("symbols: one is named twice in one category")
        if (self.venue.environment == "emulator") != bool(self.venue.url):
            raise ValueError("venue.url: give it for an emulator, and for nothing else")
        return self


def load_record(path: Path, overrides: Sequence[str] = ()) -> RecordSettings:
    """Read settings from a file and overrides (`directory=captures`), the last winning.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem.
    """
    return load_settings(RecordSettings, path, overrides, example="stop_after=1h")
