"""`bot dashboard`: running and finished runs in a browser."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bot.app.dashboard import serve_dashboard
from bot.cli.output import err
from bot.runtime import logs
from bot.runtime.operator_settings import DashboardSettings


def dashboard(
    runs: Annotated[Path, typer.Option("--runs", help="The directory of run directories.")] = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 for any free one.")] = 8765,
    host: Annotated[str, typer.Option("--host", help="Other than loopback only with --proxied.")] = "127.0.0.1",
    names: Annotated[list[str], typer.Option("--name", help="A further Host header to answer.")] = [],  # noqa: B006
    proxied: Annotated[bool, typer.Option("--proxied", help="A proxy that does TLS stands before it.")] = False,
    pages: Annotated[int, typer.Option("--pages", min=1, max=64, help="Open pages that are told of news at once.")] = 8,
    controls: Annotated[bool, typer.Option("--controls", help="Show pause, flatten and kill.")] = False,
) -> None:
    """Serve a page of the runs: prices, forecasts, equity, trades and why, and whether all is well."""
    settings = DashboardSettings(
        host=host, port=port, hosts=tuple(names), proxied=proxied, controls=controls, pages=pages
    )
    logs.configure("warning")

    def ready(address: str, with_token: str) -> None:
        typer.echo(with_token)
        err.print(f"the dashboard is at {address}; open the address above once, it carries the token. Ctrl-C ends it.")

    with suppress(KeyboardInterrupt):
        asyncio.run(serve_dashboard(runs, settings, ready))
