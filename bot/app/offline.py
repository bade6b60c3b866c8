"""An emulator within the process of a run: paper trading with nothing to start and no keys.

It is imported when it is wanted: a run on any other venue starts sooner, and holds less, without it.
"""

from dataclasses import dataclass
from pathlib import Path

from bot.app.emulator import make_clock, make_world
from bot.domain.errors import ConfigError
from bot.emulator.exchange import Exchange
from bot.emulator.server import Server
from bot.runtime.emulator_settings import load_emulator
from bot.runtime.env import ScaledClock, SystemClock, call_in_thread
from bot.runtime.trade_settings import EmulatedSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Emulated:
    """An emulator within this process, and the clock that it shares."""

    url: str
    clock: ScaledClock | SystemClock
    speed: float
    server: Server

    async def stop(self) -> None:
        """Close it."""
        await self.server.stop()


async def make_emulator(settings: EmulatedSettings) -> Emulated:
    """Start an emulator on a free port of this machine.

    Raises:
        ConfigError, DataError: its settings or recordings are no good.
    """
    if not settings.config.is_file():
        raise ConfigError(
            f"emulator.config = {settings.config}: no such file under {Path.cwd()}; start the bot where it is, "
            "or give the whole path"
        )
    chosen = load_emulator(settings.config, [*settings.overrides, "server.port=0"])
    clock, speed = make_clock(chosen)
    if not isinstance(clock, ScaledClock | SystemClock):
        raise ConfigError(
            'emulator: clock.mode = "driven" is moved by a client; a paper run takes "scaled" or "system"'
        )
    if isinstance(clock, SystemClock):
        clock = ScaledClock(start_ns=clock.now_ns(), speed=1.0)  # it only rises
    exchange = await call_in_thread(lambda: Exchange(make_world(chosen, clock.now_ns())))
    server = Server(exchange, clock, speed=speed, host=chosen.server.host, port=0)
    await server.start()
    return Emulated(url=f"http://{chosen.server.host}:{server.port}", clock=clock, speed=speed, server=server)
