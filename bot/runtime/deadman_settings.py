"""Settings of `bot deadman`: whose account it clears, when, and how much."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bot.core.durations import Duration, parse_duration
from bot.runtime.setting_files import load_settings
from bot.runtime.setting_types import Section


class VenueSettings(Section):
    """Whose account; the key comes from the environment or the credentials directory, and is not the bot's."""

    environment: Literal["emulator", "testnet", "demo", "mainnet"] = Field(description="which Bybit")
    region: str = Field("", description="of mainnet: a regional domain, such as eu; empty for the global one")
    url: str = Field("", description="of an emulator on this machine, such as http://127.0.0.1:8765")
    uid: int | None = Field(None, ge=1, description="the account's number: another account's key is refused")
    categories: Annotated[tuple[Literal["linear", "spot"], ...], Field(min_length=1)] = Field(
        ("linear",), description="what is cleared"
    )
    settle: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("USDT",), description="coins that perpetuals are settled in"
    )


class DeadmanSettings(Section):
    """Everything that the dead-man switch can be told."""

    venue: VenueSettings
    heartbeat: Path = Field(description="the file that the bot leaves, beside its ledger")
    silence: Duration = Field(
        parse_duration("15s"), ge=parse_duration("5s"), le=parse_duration("10m"), description="how long is too long"
    )
    then: Literal["cancel", "flatten"] = Field(
        "cancel", description="cancel what could enter and keep stops; or cancel everything and close positions"
    )
    kill: bool = Field(False, description="close the kill switch as well: the bot comes back only by a person's hand")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="of what is logged")

    @model_validator(mode="after")
    def _is_consistent(self) -> "DeadmanSettings":
        if (self.venue.environment == "emulator") != bool(self.venue.url):
            raise ValueError("venue.url: give it for an emulator, and for nothing else")
        if self.venue.environment == "mainnet" and self.venue.uid is None:
            raise ValueError("venue.uid: the number of the account that may be cleared; real money is not guessed at")
        return self


def load_deadman(path: Path, overrides: Sequence[str] = ()) -> DeadmanSettings:
    """Read settings from a file and overrides.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem.
    """
    return load_settings(DeadmanSettings, path, overrides, example="then=flatten")
