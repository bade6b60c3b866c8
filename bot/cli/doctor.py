"""`bot doctor`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.app.doctor import Ailment, examine, examine_venue
from bot.cli.output import Json, print_result
from bot.runtime import logs


def doctor(
    config: Annotated[Path, typer.Option("--config", help="Settings of bot paper or bot live.")],
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing of the venue.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with settings, keys, account and machine, and how to mend it. Changes nothing.

    The exit code is 1 if something would keep trading from starting, or should.
    """
    logs.configure("error")
    settings, found = examine(config)
    if settings is not None and not offline:
        found += asyncio.run(examine_venue(settings))
    fatal = [each for each in found if each.is_fatal]
    if as_json:
        rows: list[dict[str, Any]] = [
            {"check": each.check, "is_fatal": each.is_fatal, "text": each.text, "mend": each.mend} for each in found
        ]
        print_result({"ailments": rows, "fatal": len(fatal)}, as_json)
    else:
        for each in sorted(found, key=lambda ailment: not ailment.is_fatal):
            typer.echo(_text(each))
        typer.echo(f"{len(fatal)} to mend, {len(found) - len(fatal)} to think about" if found else "all is well")
    if fatal:
        raise typer.Exit(1)


def _text(ailment: Ailment) -> str:
    head = "MEND " if ailment.is_fatal else "think"
    return f"{head} {ailment.text}\n      {ailment.mend} [{ailment.check}]"
