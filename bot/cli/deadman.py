"""`bot deadman`."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from bot.app.deadman import DeadMan
from bot.cli.output import Set, err
from bot.runtime import logs
from bot.runtime.deadman_settings import load_deadman
from bot.runtime.notify import ServiceNotifier
from bot.runtime.trade_settings import read_credentials
from bot.venues.bybit.credentials import Credentials


def deadman(
    config: Annotated[Path, typer.Option("--config", help="TOML file; config/deadman.toml explains it.")],
    overrides: Set = [],  # noqa: B006
) -> None:
    """Watch a bot from outside, and clear its account when it falls silent. Runs until Ctrl-C."""
    settings = load_deadman(config, overrides)
    key, secret = read_credentials()

    async def run() -> None:
        notifier = ServiceNotifier()
        man = DeadMan(settings, Credentials(key=key, secret=secret), notifier, _tell)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, man.stop)
        try:
            await man.run()
        finally:
            notifier.close()

    logs.configure(settings.log_level)
    asyncio.run(run())


def _tell(text: str) -> None:
    err.print(f"deadman: {text}", markup=False, soft_wrap=True)
