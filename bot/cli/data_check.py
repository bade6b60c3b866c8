"""`bot data check`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from bot.app import data_check
from bot.cli.output import Json, progress
from bot.cli.source_options import Decimals, Depth, Interval, Kind, Map, Symbol, TimeUnit, Venue, make_options
from bot.core.data_quality.findings import Finding, Limits, Severity, when

# How a figure is called in the table, with its unit; one that is not here is called by its key.
_LABELS = {
    "interval": "bars of",
    "missing_intervals": "missing intervals",
    "longest_hole_intervals": "longest hole, intervals",
    "longest_hole_after": "longest hole begins after",
    "zero_volume_bars": "bars without volume",
    "duplicates": "duplicates",
    "disorder": "rows earlier than the one before",
    "longest_quiet_s": "longest quiet stretch, seconds",
    "longest_quiet_after": "longest quiet stretch begins after",
    "ids_absent": "ids absent",
    "id_holes": "holes in the ids",
    "without_id": "rows without an id",
    "equal_rows": "rows without an id that equal another",
    "buy_share": "bought by the taker",
    "received_rows": "rows with a time of receipt",
    "delay_median_s": "median delay of receipt, seconds",
    "delay_negative_share": "received before they happened",
    "chain_breaks": "holes in the chain of updates",
    "crossed": "crossed",
}


def check(
    paths: Annotated[list[Path], typer.Argument(help="A market store, a dataset in one, or a file to be imported.")],
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
    examples: Annotated[int, typer.Option(min=1, help="How many places to name for each finding.")] = 5,
    venue: Venue = None,
    symbol: Symbol = None,
    kind: Kind = None,
    interval: Interval = None,
    columns: Map = [],  # noqa: B006
    time_unit: TimeUnit = None,
    decimals: Decimals = None,
    depth: Depth = None,
) -> None:
    """Look for holes, duplicates, disorder and what cannot be right; exit with 1 if there are errors."""
    options = make_options(
        venue=venue,
        symbol=symbol,
        kind=kind,
        interval=interval,
        columns=columns,
        time_unit=time_unit,
        decimals=decimals,
        depth=depth,
    )
    with progress("checking") as tell:
        report = data_check.check(paths, options=options, limits=Limits(examples=examples), on_progress=tell)
    if as_json:
        sys.stdout.write(msgspec.json.encode(_json(report)).decode() + "\n")
    else:
        _print(report)
    if report.count(Severity.ERROR) or (strict and report.count(Severity.WARNING)):
        raise typer.Exit(1)


def _json(report: data_check.CheckReport) -> dict[str, Any]:
    """Return a report as JSON-ready values; times are text, UTC."""

    def finding_json(finding: Finding, checked: data_check.Checked | None) -> dict[str, Any]:
        examples = []
        for example in finding.examples:
            time = None if example.ts_ns is None else when(example.ts_ns)
            told: dict[str, Any] = {"row": example.row, "time": time, "text": example.text}
            if checked is not None and checked.files and example.row is not None:
                path, told["file_row"] = checked.locate(example.row)
                told["file"] = path.name
            examples.append(told)
        return {
            "code": finding.code,
            "severity": finding.severity.value,
            "message": finding.message,
            "count": finding.count,
            "examples": examples,
        }

    return {
        "datasets": [
            {
                "venue": each.venue,
                "symbol": each.symbol,
                "kind": each.kind,
                "path": str(each.path),
                "rows": each.quality.rows,
                "from": None if each.quality.first_ns is None else when(each.quality.first_ns),
                "to": None if each.quality.last_ns is None else when(each.quality.last_ns),
                "facts": each.quality.facts,
                "findings": [finding_json(finding, each) for finding in each.quality.findings],
            }
            for each in report.datasets
        ],
        "common": [finding_json(finding, None) for finding in report.common],
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "infos": report.count(Severity.INFO),
    }


def _print(report: data_check.CheckReport) -> None:
    for checked in report.datasets:
        quality = checked.quality
        typer.echo(checked.name)
        facts: dict[str, Any] = {"path": checked.path, "rows": quality.rows}
        if quality.first_ns is not None and quality.last_ns is not None:
            facts |= {"from": when(quality.first_ns), "to": when(quality.last_ns)}
        facts |= quality.facts
        width = max(len(_label(key)) for key in facts)
        for key, value in facts.items():
            typer.echo(f"  {_label(key):{width}}  {_text(key, value)}")
        for finding in quality.findings:
            _print_finding(finding, checked)
        typer.echo("")
    for finding in report.common:
        _print_finding(finding, None)
    if report.common:
        typer.echo("")
    counts = ", ".join(_many(report.count(severity), severity.value) for severity in Severity)
    rows_all = sum(checked.quality.rows for checked in report.datasets)
    typer.echo(f"{_many(len(report.datasets), 'dataset')}, {_many(rows_all, 'row')}: {counts}")


def _print_finding(finding: Finding, checked: data_check.Checked | None) -> None:
    typer.echo(f"  {finding.severity.value:7}  {finding.code}: {finding.message}")
    if len(finding.examples) < 2:  # the message names it
        return
    for example in finding.examples:
        words = []
        if example.row is not None:
            words.append(f"row {example.row:,}")
            if checked is not None and checked.files:
                path, row = checked.locate(example.row)
                words[-1] += f" ({path.name} row {row:,})"
        if example.ts_ns is not None:
            words.append(when(example.ts_ns))
        typer.echo(f"             {', '.join(words)}: {example.text}")


def _label(key: str) -> str:
    return _LABELS.get(key, key.replace("_", " "))


def _text(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key.endswith("_share"):
        return f"{value:.1%}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
