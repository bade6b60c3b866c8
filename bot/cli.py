"""The command line: results on stdout, logs and progress on stderr; exit code 0 done, 1 failed, 2 wrong usage."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bot import __version__, app
from bot.domain.errors import BotError, ConfigError
from bot.runtime import logs
from bot.runtime.env import Stopwatch
from bot.runtime.settings import Settings, load

main_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A trading bot that sees every time scale.",
)
ledger_app = typer.Typer(no_args_is_help=True, help="Look into a run's ledger.")
db_app = typer.Typer(no_args_is_help=True, help="The ledger's schema.")
main_app.add_typer(ledger_app, name="ledger")
main_app.add_typer(db_app, name="db")

_err = Console(stderr=True, highlight=False)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings; config/default.toml lists all.")]
Set = Annotated[list[str], typer.Option("--set", help="Override a setting: key=value, such as run.seed=7.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Run = Annotated[Path, typer.Argument(help="A run's directory, such as runs/latest.")]
_PLAIN_PROGRESS_EVERY_S = 5.0


@main_app.command()
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
    with _progress("sample market") as tell:
        market = app.open_market(settings, lambda done, days: tell(done / days, f"day {done} of {days}"))
    with _progress("replay") as tell:
        done = app.replay(settings, market, on_progress=lambda p: tell(p.done, _day(p.at_ns)))
    for instrument, history in market:
        rounded = getattr(history, "rounded_count", 0)
        if rounded:
            _err.print(f"{instrument.name}: {rounded:,} prices or quantities lay between two ticks and were rounded")
    if no_report:
        _print_result({"run": str(done.directory), "ledger_hash": done.ledger_hash, "rows_in": done.rows_in}, as_json)
        return
    _err.print("drawing the report")
    metrics = app.write_report(done.directory)
    if as_json:
        sys.stdout.write(msgspec.json.encode(metrics).decode() + "\n")
    else:
        _print_summary(metrics, done, settings)


@main_app.command()
def report(run: Run, as_json: Json = False) -> None:
    """Draw report.html and metrics.json of a finished run anew."""
    metrics = app.write_report(run)
    path = run.resolve() / "report.html"
    _print_result(metrics if as_json else {"report": str(path)}, as_json)


@ledger_app.command("check")
def ledger_check(run: Run, as_json: Json = False) -> None:
    """Recompute positions, fees, PnL and equity from the fills alone, and compare with what is stored."""
    audit = app.audit(run)
    if as_json:
        result = {
            "entries": audit.entries,
            "fills": audit.fills,
            "bars": audit.bars,
            "ledger_hash": audit.ledger_hash,
            "checks": audit.checks,
            "problems": audit.problems,
        }
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    else:
        for check in audit.checks:
            typer.echo(f"checked {check}")
        for problem in audit.problems:
            typer.echo(f"WRONG   {problem}")
        verdict = "the ledger does not hold" if audit.problems else "the ledger balances"
        typer.echo(f"{audit.entries:,} entries, {audit.fills:,} fills, {audit.bars:,} bars: {verdict}")
    if audit.problems:
        raise typer.Exit(1)


@ledger_app.command("show")
def ledger_show(run: Run, as_json: Json = False) -> None:
    """Print the run's identity and its balances."""
    _print_result(app.describe_ledger(run), as_json)


@ledger_app.command("export")
def ledger_export(
    run: Run, out: Annotated[Path, typer.Option("--out", help="Directory for one CSV file per table.")]
) -> None:
    """Write every table of the ledger as CSV."""
    for path in app.export_ledger(run, out):
        typer.echo(str(path))


@db_app.command("current")
def db_current(run: Run, as_json: Json = False) -> None:
    """Print the schema version of a run's ledger, and the newest there is."""
    current, newest = app.schema_versions(run)
    _print_result({"current": current, "newest": newest}, as_json)


@main_app.command("config")
def config_show(config: Config = None, overrides: Set = []) -> None:  # noqa: B006
    """Check settings and print them resolved, every key with its value."""
    typer.echo(load(config, overrides).to_toml(), nl=False)


@main_app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run a command. An error that a user can cause is one line, never a traceback."""
    try:
        code = main_app(standalone_mode=False)  # typer hands back what `typer.Exit` carried
        sys.exit(code if isinstance(code, int) else 0)
    except ConfigError as error:
        _fail(str(error), 2)
    except BotError as error:
        _fail(str(error), 1)
    except (app.Interrupted, KeyboardInterrupt) as stop:
        _fail(str(stop) or "interrupted", 1)
    except app.RunFailed as error:
        _fail(str(error), 1)
    except Exception as error:  # purity: the last resort; see below
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        _fail(usage(), 2)


def _fail(message: str, code: int) -> None:
    for line in message.splitlines():
        _err.print(f"bot: {line}", style="red" if _err.is_terminal else None, markup=False, soft_wrap=True)
    sys.exit(code)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on a terminal, a line now and then elsewhere."""
    if _err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[at]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=_err, transient=True) as bar:
            task = bar.add_task(what, total=1.0, at="")
            yield lambda done, at: bar.update(task, completed=done, at=at)
        return
    watch = Stopwatch()
    last_s = [0.0]

    def tell(done: float, at: str) -> None:
        if watch.seconds() - last_s[0] >= _PLAIN_PROGRESS_EVERY_S:
            last_s[0] = watch.seconds()
            _err.print(f"{what}: {done:.0%}, {at}")

    yield tell


def _day(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[m]")).replace("T", " ")


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    for key, value in result.items():
        typer.echo(f"{key}: {value}")


def _print_summary(metrics: dict[str, Any], done: app.Replayed, settings: Settings) -> None:
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


if __name__ == "__main__":
    main()
