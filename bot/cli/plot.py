"""`bot plot`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bot.app import plot as plotting
from bot.app.replay_market import open_data
from bot.cli.output import Config, Json, Set, print_result, progress
from bot.runtime import logs
from bot.runtime.settings import load


def plot(
    config: Config = None,
    bars: Annotated[str, typer.Option("--bars", help='Which bars: "5m", "1h", or a rule such as "volume:100".')] = "1h",
    feature: Annotated[
        list[str] | None, typer.Option("--feature", help='A feature or a set, such as "rsi(14)"; repeat for more.')
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help='"return(1h)", "volatility(1h)" or "barrier(2, 2, 1d)".')
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="First moment, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="First moment after the end, UTC.")] = None,
    count: Annotated[
        int, typer.Option("--count", min=2, max=plotting.BARS_MAX, help="How many bars, the newest of the range.")
    ] = 500,
    instrument: Annotated[str | None, typer.Option(help="Which; the first of the settings if left out.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("plot.html"),
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Draw any bars, features and labels against the price, as one HTML page.

    What lies before --from is not read, so features take their warm-up from the range itself.
    """
    given = list(overrides)
    given += [f'run.start="{start}"'] if start is not None else []
    given += [f'run.end="{end}"'] if end is not None else []
    settings = load(config, given)
    logs.configure(settings.log.level)
    with progress("sample market") as tell:
        market = open_data(settings, lambda done, days: tell(done / days, f"day {done} of {days}"))
    first_ns, last_ns = min(h.span_ns()[0] for _, h in market), max(h.span_ns()[1] for _, h in market)
    with progress("plot") as tell:
        path = plotting.plot(
            settings,
            market,
            out=out,
            scale=bars,
            features=feature or (),
            labels=label or (),
            bars=count,
            instrument=instrument,
            on_progress=lambda ts_ns: tell((ts_ns - first_ns) / (last_ns - first_ns), str(np.datetime64(ts_ns, "ns"))),
        )
    print_result({"page": str(path.resolve())}, as_json)
