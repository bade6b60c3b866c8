"""`bot demo`: paper trading to which things happen, and how it comes out."""

from pathlib import Path
from typing import Annotated

import typer

from bot.app.outcomes import RunFailed
from bot.app.story import Story
from bot.cli.output import Json, print_result
from bot.runtime import logs
from bot.runtime.env import make_run_id, run_in_thread

_OUT = Path("runs")


def demo(
    out: Annotated[Path, typer.Option("--out", help="Where its directory goes.")] = _OUT,
    as_json: Json = False,
) -> None:
    """Trade on an emulator; lose an answer, the connections and the process; hold the ledger against the venue."""
    directory = out / make_run_id("demo")
    logs.configure("critical")  # what the actors of a verified run had to say, they said in the run

    def say(line: str) -> None:
        typer.echo(line, err=as_json)

    told = run_in_thread(lambda flag: Story(directory, say, flag).tell())
    print_result(
        {
            "demo": str(told.directory),
            "ledger": str(told.directory / "ledger"),
            "runs": [str(run) for run in told.runs],
            "fills": told.fills,
            "findings": told.findings,
        },
        as_json,
    )
    if told.findings:
        raise RunFailed(f"{told.directory}: {len(told.findings)} finding(s); see above")
