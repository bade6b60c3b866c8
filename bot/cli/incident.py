"""`bot incident`."""

from pathlib import Path
from typing import Annotated

import typer

from bot.app.incident import bundle
from bot.cli.output import Json, Run, print_result
from bot.runtime import logs


def incident(
    run: Run,
    out: Annotated[Path | None, typer.Option("--out", help="The file; default: incident-RUN.zip, here.")] = None,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=10_080, help="How much of log and ledger.")] = 60,
    as_json: Json = False,
) -> None:
    """Bundle a run's last hour: log, ledger entries, settings, switches; secrets hidden. Works beside a running bot."""
    logs.configure("error")
    print_result(bundle(run, out or Path(f"incident-{run.resolve().name}.zip"), minutes=minutes), as_json)
