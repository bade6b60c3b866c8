"""`bot status`: a running bot on the terminal."""

import asyncio
import sys
from contextlib import suppress
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from bot.app import status as app
from bot.cli.output import Json, Run
from bot.domain.operation import Snapshot
from bot.operator.status_view import fit, render

_WIDTH = 160  # characters, where no terminal says how many it has


def status(
    run: Run,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show a running bot: what is wrong, money, orders, forecasts, how old its data is, its parts."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = _WIDTH
    if not watch:
        view = asyncio.run(app.look(run))
        if as_json:
            sys.stdout.write(msgspec.json.encode(view).decode() + "\n")
        else:
            out.print(render(view))
        return
    with Live(console=out, screen=out.is_terminal, auto_refresh=False) as live, suppress(KeyboardInterrupt):

        def show(view: Snapshot | None, age_s: float, trouble: str) -> None:
            if view is None:
                live.update(trouble, refresh=True)
                return
            show_as = (
                fit(out, view, age_s=age_s, trouble=trouble)
                if out.is_terminal
                else render(view, age_s=age_s, trouble=trouble)
            )
            live.update(show_as, refresh=True)

        asyncio.run(app.watch(run, 1.0, show))
