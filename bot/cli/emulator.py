"""`bot emulator`."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bot.app import emulator as emulating
from bot.cli.output import Json, Set, print_result
from bot.runtime import logs
from bot.runtime.emulator_settings import load_emulator


def emulator(
    config: Annotated[Path, typer.Option("--config", help="TOML file; docs/emulator.md explains it.")],
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65_535, help="Listen here; 0 takes a free one.")
    ] = None,
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Serve a local Bybit V5 venue that plays recorded or made-up markets, until Ctrl-C.

    It listens on this machine alone, and its keys open nothing else.
    """
    given = [*overrides, *([] if port is None else [f"server.port={port}"])]
    settings = load_emulator(config, given)
    logs.configure(settings.log_level)

    async def run() -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        # By name, for a shell that starts it in the background has it ignore what Ctrl-C sends.
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, task.cancel)
        with suppress(asyncio.CancelledError):  # how it is meant to end
            await emulating.serve(
                settings, lambda places: print_result({**places, **emulating.describe(settings)}, as_json)
            )

    asyncio.run(run())
