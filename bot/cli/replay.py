"""`bot replay` and `bot report`."""

import sys
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from bot.app import replay as replaying
from bot.app import runs
from bot.cli.output import Config, Json, Run, Set, err, print_result, progress
from bot.runtime import logs
from bot.runtime.settings import Settings, load


def replay(
    config: Config = None,
    start: Annotated[str | None, typer.Option("--from", help="First moment, UTC: 2024-03-01 or with a time.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="First moment after the end, UTC.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run and of its delays.")] = None,
    overrides: Set = [],  # noqa: B006
    no_report: Annotated[bool, typer.Option("--no-report", help="Write the ledger and the tape only.")] = False,
    as_json: Json = False,
) -> None:
    """Trade recorded market data from start to end through the live pipeline."""
    given = list(overrides)
    given += [f'run.start="{start}"'] if start is not None else []
    given += [f'run.end="{end}"'] if end is not None else []
    given += [f"run.seed={seed}", f"delays.seed={seed}"] if seed is not None else []
    settings = load(config, given)
    logs.configure(settings.log.level)
    with progress("sample market") as tell:
        market = replaying.open_market(settings, lambda done, days: tell(done / days, f"day {done} of {days}"))
    with progress("replay") as tell:
        done = replaying.replay(settings, market, on_progress=lambda p: tell(p.done, _day(p.at_ns)))
    for instrument, history in market:
        rounded = getattr(history, "rounded_count", 0)
        if rounded:
            err.print(f"{instrument.name}: {rounded:,} prices or quantities lay between two ticks and were rounded")
    if no_report:
        print_result({"run": str(done.directory), "ledger_hash": done.ledger_hash, "rows_in": done.rows_in}, as_json)
        return
    err.print("drawing the report")
    metrics = runs.write_report(done.directory)
    if as_json:
        sys.stdout.write(msgspec.json.encode(metrics).decode() + "\n")
    else:
        _print_summary(metrics, done, settings)


def report(run: Run, as_json: Json = False) -> None:
    """Draw report.html and metrics.json of a finished run anew."""
    metrics = runs.write_report(run)
    path = run.resolve() / "report.html"
    print_result(metrics if as_json else {"report": str(path)}, as_json)


def _day(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[m]")).replace("T", " ")


def _print_summary(metrics: dict[str, Any], done: replaying.Replayed, settings: Settings) -> None:
    def percent(value: float | None) -> str:
        return "n/a" if value is None else f"{value:+.2%}"

    def number(value: float | None) -> str:
        return "n/a" if value is None else f"{value:,.2f}"

    lines = {
        "strategy": f"{settings.strategy.name}, {metrics['from']} to {metrics['to']}",
        "market": f"{done.rows_in:,} rows in {done.engine_seconds:.1f} s",
        "orders": f"{metrics['orders']:,} orders, {metrics['fills']:,} fills",
        "equity": f"{number(metrics['start_equity'])} to {number(metrics['end_equity'])} "
        f"({percent(metrics['total_return'])}; buy and hold {percent(metrics['buy_and_hold_return'])})",
        "drawdown": percent(metrics["max_drawdown"]),
        "sharpe": number(metrics["sharpe"]),
        "fees": number(metrics["fees"]),
        "ledger": metrics["ledger_hash"],
        "report": str(done.directory / "report.html"),
    }
    for name, value in lines.items():
        typer.echo(f"{name:9} {value}")
