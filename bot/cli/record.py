"""`bot record`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.app import record as recording
from bot.cli.output import Json, Set, err, print_result
from bot.runtime import logs
from bot.runtime.record_settings import load_record


def record(
    config: Annotated[Path, typer.Option("--config", help="TOML file; docs/capture.md explains it.")],
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Keep a venue's market as it comes, in capture files, until Ctrl-C.

    A recorder that is killed loses what came in the last half second, and nothing else.
    """
    settings = load_record(config, overrides)
    logs.configure(settings.log_level)

    def tell(what: dict[str, Any]) -> None:
        err.print("; ".join(f"{key} {value}" for key, value in what.items()), markup=False, soft_wrap=True)

    print_result(asyncio.run(recording.record(settings, tell)), as_json)
