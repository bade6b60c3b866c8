"""`bot replay` and `bot report`."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from bot.app import bracket as bracketing
from bot.app import lookahead, runs
from bot.app import replay as replaying
from bot.app.replay_market import open_market
from bot.cli.output import Config, Json, Run, Set, err, print_result, progress, progresses
from bot.core.lookahead import Cause, iso
from bot.domain.errors import ConfigError
from bot.report.run_data import PRESETS
from bot.runtime import logs
from bot.runtime.settings import Settings, load


class Fills(StrEnum):
    """What `--fills` takes."""

    PESSIMISTIC = "pessimistic"
    NEUTRAL = "neutral"
    OPTIMISTIC = "optimistic"


def replay(
    config: Config = None,
    start: Annotated[str | None, typer.Option("--from", help="First moment, UTC: 2024-03-01 or with a time.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="First moment after the end, UTC.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run and of its delays.")] = None,
    fills: Annotated[
        Fills | None, typer.Option(help="What is assumed where the data does not tell; docs/fills.md says more.")
    ] = None,
    bracket: Annotated[
        bool, typer.Option("--bracket", help="Replay under all three kinds of fills; the report compares them.")
    ] = False,
    overrides: Set = [],  # noqa: B006
    no_report: Annotated[bool, typer.Option("--no-report", help="Write the ledger and the tape only.")] = False,
    check_lookahead: Annotated[
        bool,
        typer.Option("--check-lookahead", help="Leave no run; try whether the strategy knows anything of the future."),
    ] = False,
    cuts: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="With --check-lookahead: change the future after so many moments (8)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Trade recorded market data from start to end through the live pipeline."""
    if cuts is not None and not check_lookahead:
        raise ConfigError("--cuts goes with --check-lookahead")
    if bracket and (check_lookahead or no_report or fills is not None):
        raise ConfigError("--bracket replays under all three kinds of fills: leave --fills and the like out")
    given = list(overrides)
    given += [f'run.start="{start}"'] if start is not None else []
    given += [f'run.end="{end}"'] if end is not None else []
    given += [f"run.seed={seed}", f"delays.seed={seed}"] if seed is not None else []
    given += [f'venue.fills="{fills.value}"'] if fills is not None else []
    settings = load(config, given)
    logs.configure(settings.log.level)
    with progress("sample market") as tell:
        market = open_market(settings, lambda done, days: tell(done / days, f"day {done} of {days}"))
    if check_lookahead:
        with progress("look-ahead") as tell:
            checked = lookahead.check_replay(settings, market, cuts=cuts or 8, on_progress=tell)
        _print_checked(checked, as_json)
        raise typer.Exit(1 if checked.finding is not None else 0)
    if bracket:
        _replay_bracket(settings, as_json)
        return
    with progress("replay") as tell:
        done = replaying.replay(settings, market, on_progress=lambda p: tell(p.done, _day(p.at_ns)))
    for instrument, history in market:
        _say_rounded(instrument.name, getattr(history, "rounded_count", 0))
    if no_report:
        print_result({"run": str(done.directory), "ledger_hash": done.ledger_hash, "rows_in": done.rows_in}, as_json)
        return
    err.print("drawing the report")
    _print_metrics(runs.write_report(done.directory), done, settings, as_json)


def report(run: Run, as_json: Json = False) -> None:
    """Draw report.html and metrics.json of a finished run anew."""
    metrics = runs.write_report(run)
    path = run.resolve() / "report.html"
    print_result(metrics if as_json else {"report": str(path)}, as_json)


def _replay_bracket(settings: Settings, as_json: bool) -> None:
    with progresses(PRESETS) as tell:
        made = bracketing.replay_bracket(settings, on_progress=lambda preset, p: tell(preset, p.done, _day(p.at_ns)))
    for name, count in made.rounded.items():
        _say_rounded(name, count)
    _print_metrics(made.metrics, made.proper, settings, as_json)


def _say_rounded(name: str, count: int) -> None:
    if count:
        err.print(f"{name}: {count:,} prices or quantities lay between two ticks and were rounded")


def _print_metrics(metrics: dict[str, Any], done: replaying.Replayed, settings: Settings, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(metrics).decode() + "\n")
    else:
        _print_summary(metrics, done, settings)


def _day(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[m]")).replace("T", " ")


def _print_summary(metrics: dict[str, Any], done: replaying.Replayed, settings: Settings) -> None:
    def number(value: float | None) -> str:
        return "n/a" if value is None else f"{value:,.2f}"

    lines = {
        "strategy": f"{settings.strategy_name}, {metrics['from']} to {metrics['to']}",
        "market": f"{done.rows_in:,} rows in {done.engine_seconds:.1f} s",
        "orders": f"{metrics['orders']:,} orders, {metrics['fills']:,} fills",
        "equity": f"{number(metrics['start_equity'])} to {number(metrics['end_equity'])} "
        f"({_percent(metrics['total_return'])}; buy and hold {_percent(metrics['buy_and_hold_return'])})",
        "drawdown": _percent(metrics["max_drawdown"]),
        "sharpe": number(metrics["sharpe"]),
        "fees": number(metrics["fees"]),
        **_fills_lines(metrics),
        "ledger": metrics["ledger_hash"],
        "report": str(done.directory / "report.html"),
    }
    for name, value in lines.items():
        typer.echo(f"{name:9} {value}")


def _fills_lines(metrics: dict[str, Any]) -> dict[str, str]:
    bracket = metrics["fills_bracket"]
    if bracket is None:
        return {} if metrics["fill_model"] == "neutral" else {"fills": metrics["fill_model"]}
    returns = (f"{preset} {_percent(bracket[preset]['total_return'])}" for preset in PRESETS)
    return {"fills": ", ".join(returns), "verdict": bracket["verdict"]}


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.2%}"


def _print_checked(checked: lookahead.Checked, as_json: bool) -> None:
    finding, columns = checked.finding, checked.columns
    if as_json:
        result = {name: getattr(checked, name) for name in checked.__dataclass_fields__ if not name.endswith("_ns")}
        result |= {"from": iso(checked.from_ns), "to": iso(checked.to_ns), "cuts": [iso(ns) for ns in checked.cuts_ns]}
        result["words"] = None if finding is None else str(finding)
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    lines = {
        "strategy": f"{checked.strategy}, {iso(checked.from_ns)} to {iso(checked.to_ns)}",
        "market": f"{checked.rows:,} rows" + (", the beginning only; --to says how far" if checked.is_limited else ""),
    }
    if columns is not None:
        lines["columns"] = f"{columns.values:,} values compared in {columns.trials} other futures and slabs"
    if checked.replays:
        lines["replays"] = (
            f"{checked.replays}: as it is, with other futures after {len(checked.cuts_ns)} moments, in other slabs; "
            f"{checked.decisions:,} decisions, {checked.entries:,} journal entries"
        )
    for name, value in lines.items():
        typer.echo(f"{name:9} {value}")
    for caution in checked.cautions:
        typer.echo(f"caution   {caution}")
    if finding is None:
        typer.echo("result    nothing from the future was found")
        return
    verdict = {Cause.FUTURE: "LOOK-AHEAD", Cause.CUT: "DEPENDS ON SLABS", Cause.CHANCE: "NOT REPEATABLE"}
    for each in (columns.findings if columns is not None else ()) or (finding,):
        typer.echo(f"result    {verdict[each.cause]}: {each}")
