"""Settings of what a person sees of a running bot, and may ask of it."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.runtime.setting_types import Section


class StatusSettings(Section):
    """The bot's own small server of metrics, health and state, on loopback."""

    enabled: bool = Field(True, description="whether it serves at all")
    port: int = Field(0, ge=0, le=65535, description="0: any free one; Prometheus wants a fixed one, such as 9470")
    socket: Path | None = Field(None, description="a socket file instead of a port")
    hosts: tuple[str, ...] = Field((), description="further Host headers to answer, such as bot:9470 behind a proxy")
    open_metrics: bool = Field(True, description="whether /metrics needs no token")
    controls: bool = Field(False, description="whether the dashboard may pause, flatten and kill through it")


class ServiceSettings(Section):
    """What the service manager's watchdog and the dead-man switch are told."""

    outage_grace: Duration = Field(
        parse_duration("30m"),
        ge=0,
        description="so long the watchdog is fed while the venue is away and the bot reconnects; 0s: not at all",
    )
    unreached_after: Duration = Field(
        parse_duration("20s"),
        ge=parse_duration("10s"),
        description="with neither stream nor comparison of the account for so long, and exposure, the heartbeat stops",
    )


class DashboardSettings(Section):
    """The page, served by a process of its own."""

    host: str = Field("127.0.0.1", description="loopback; another address only behind a TLS proxy: proxied = true")
    port: int = Field(8765, ge=0, le=65535, description="0: any free one")
    hosts: tuple[str, ...] = Field((), description="further Host headers to answer, such as bot.example.org")
    proxied: bool = Field(False, description="a proxy that does TLS stands before it")
    controls: bool = Field(False, description="whether the page shows pause, flatten and kill")
    pages: int = Field(8, ge=1, le=64, description="how many open pages are told of news at once")


class LogSettings(Section):
    """Logs on standard error; the run's own `log.jsonl` always has level info."""

    level: Literal["debug", "info", "warning", "error"] = "warning"
