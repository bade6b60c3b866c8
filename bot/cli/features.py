"""`bot features`: the schema, and the check that no feature knows the future."""

import sys
from typing import Annotated, Any

import msgspec
import typer

from bot.app import features as featuring
from bot.app.replay_market import open_data
from bot.cli.output import Config, Json, Set, progress
from bot.core.durations import format_duration
from bot.core.lookahead import iso
from bot.runtime import logs
from bot.runtime.settings import load

features_app = typer.Typer(no_args_is_help=True, help="What models are given.")

Instrument = Annotated[str | None, typer.Option("--instrument", help="Which; the first of the settings if left out.")]


@features_app.command("show")
def features_show(
    names: Annotated[list[str] | None, typer.Argument(help="Entries of the catalogue to explain.")] = None,
    config: Config = None,
    overrides: Set = [],  # noqa: B006
    catalogue: Annotated[bool, typer.Option("--catalogue", help="Explain every feature there is.")] = False,
    as_json: Json = False,
) -> None:
    """Print the features that the settings ask for, with what each needs; or explain single ones."""
    if names or catalogue:
        entries = featuring.describe_features(names or ())
        if as_json:
            sys.stdout.write(msgspec.json.encode(entries).decode() + "\n")
            return
        for entry in entries:
            call = ", ".join(f"{key}={value!r}" for key, value in entry["parameters"].items())
            typer.echo(f"{entry['name']}({call})\n    {entry['meaning']}\n    Source: {entry['source']}.\n")
        return
    schema = featuring.make_schema(load(config, overrides))
    if as_json:
        sys.stdout.write(schema.to_json().decode() + "\n")
        return
    typer.echo(f"schema {schema.hash}")
    typer.echo(f"{len(schema.names)} features at {', '.join(schema.scales)}; {schema.warmup} bars of each to warm up")
    finest = "none" if schema.finest_ns is None else format_duration(schema.finest_ns)
    typer.echo(f"settlements every {format_duration(schema.funding_interval_ns)}; smallest bars: {finest}\n")
    typer.echo(f"{'column':28} {'unit':12} {'warm-up':>7}  {'klines':6}  formula")
    for spec in schema.specs[: len(schema.names)]:
        suffices = "yes" if spec.from_klines else "no"
        typer.echo(f"{spec.name:28} {spec.unit:12} {spec.warmup:7}  {suffices:6}  {_short(spec.formula)}")


@features_app.command("check")
def features_check(
    config: Config = None,
    start: Annotated[str | None, typer.Option("--from", help="First moment, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="First moment after the end, UTC.")] = None,
    instrument: Instrument = None,
    rows: Annotated[int, typer.Option(min=100, help="Rows of market data to use, the newest of the range.")] = 20_000,
    cuts: Annotated[int, typer.Option(min=1, max=1000, help="Moments after which to change the future.")] = 8,
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Prove on recorded data that features are the same in any cut, and that no future changes them."""
    given = list(overrides)
    given += [f'run.start="{start}"'] if start is not None else []
    given += [f'run.end="{end}"'] if end is not None else []
    settings = load(config, given)
    logs.configure(settings.log.level)
    schema = featuring.make_schema(settings)
    with progress("sample market") as tell:
        market = open_data(settings, lambda done, days: tell(done / days, f"day {done} of {days}"))
    source = featuring.feature_source(settings, market, instrument, schema)
    with progress("features check") as tell:
        done = featuring.check_features(
            settings,
            schema,
            source,
            rows=rows,
            cuts=cuts,
            on_trial=lambda trial, trials: tell(trial / trials, f"trial {trial} of {trials}"),
        )
    if as_json:
        sys.stdout.write(msgspec.json.encode(_result(schema.hash, done)).decode() + "\n")
    else:
        _print_check(schema.hash, done)
    if not done.report.is_clean:
        raise typer.Exit(1)


def _result(schema_hash: str, done: featuring.FeatureCheck) -> dict[str, Any]:
    return {
        "schema": schema_hash,
        "instrument": done.instrument,
        "features": done.features,
        "scales": done.scales,
        "rows": done.rows,
        "bars": done.bars,
        "trials": done.report.trials,
        "values": done.report.values,
        "findings": [str(finding) for finding in done.report.findings],
        "unmoved": done.report.unmoved,
    }


def _print_check(schema_hash: str, done: featuring.FeatureCheck) -> None:
    report = done.report
    typer.echo(f"schema {schema_hash}")
    typer.echo(
        f"{done.instrument}: {done.features} features at {', '.join(done.scales)}; {done.bars:,} bars made of "
        f"{done.rows:,} rows of market data"
    )
    typer.echo(
        f"{report.trials} computations with another future or in other slabs, the future beginning after "
        f"{len(report.cuts_ns)} moments from {iso(report.cuts_ns[0])} to {iso(report.cuts_ns[-1])}"
    )
    for finding in report.findings:
        typer.echo(f"WRONG   {finding}")
    verdict = "a feature knows what it must not" if report.findings else "nothing comes from the future"
    typer.echo(f"{report.values:,} values compared bit for bit: {verdict}")


def _short(formula: str) -> str:
    return formula if len(formula) <= 90 else formula[:87] + "..."
