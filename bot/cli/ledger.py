"""`bot ledger`: look into a run's ledger, or into a live one while it is used."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from bot.app import balancing, ledgers, runs
from bot.cli.output import Json, print_result, progress
from bot.cli.paper import credentials_of
from bot.core.balancing import Balance, told
from bot.runtime.trade_settings import load_trade

_JSON = ("sums", "explained", "differences")

ledger_app = typer.Typer(no_args_is_help=True, help="Look into a ledger.")

Ledger = Annotated[
    str,
    typer.Argument(
        help="A run's directory, such as runs/latest; a ledger's file; or an address: postgresql://user@host/database."
    ),
]


@ledger_app.command("check")
def ledger_check(ledger: Ledger, as_json: Json = False) -> None:
    """Recompute positions, fees and PnL from the fills alone, and compare with what is stored.

    A live ledger is checked as it stands now, while the bot writes on.
    """
    if ledgers.is_live(ledger):
        with progress("checking") as tell:
            audit = ledgers.audit(ledger, tell)
    else:
        audit = runs.audit(Path(ledger))
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
def ledger_show(ledger: Ledger, as_json: Json = False) -> None:
    """Print whose ledger it is, how far it goes, and its balances."""
    live = ledgers.is_live(ledger)
    print_result(ledgers.describe(ledger) if live else runs.describe_ledger(Path(ledger)), as_json)


@ledger_app.command("balance")
def ledger_balance(
    ledger: Ledger,
    config: Annotated[
        Path | None, typer.Option("--config", help="The run's settings: ask the venue now, and book nothing.")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", help="How far to look back.")] = 24.0,
    as_json: Json = False,
) -> None:
    """Hold bookings against the venue's own ledger, line by line; without --config, print what the run found."""
    if config is None:
        rows = balancing.recorded(ledger)
        found = [{name: value for name, value in row.items() if name not in _JSON} for row in rows]
        for row, shown in zip(rows, found, strict=True):
            shown |= {name: msgspec.json.decode(row[name]) for name in _JSON}
    else:
        settings = load_trade(config)
        found = [_shown(asyncio.run(balancing.balance_now(settings, credentials_of(settings), ledger, hours)))]
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        for each in found:
            _tell_balance(each)
        if not found:
            typer.echo("the ledger has no balance on record; --config asks the venue now")
    if any(each["differences"] for each in found[-1:]):
        raise typer.Exit(1)


def _shown(found: Balance) -> dict[str, Any]:
    shown = msgspec.to_builtins(found.entry(0))
    kept = ("from_ms", "to_ms", "lines", "matched")
    unbooked = [f"{told(each)}: not booked here yet" for each in found.unbooked]
    return {name: shown[name] for name in kept} | {
        "sums": shown.get("sums", []),
        "explained": [*shown.get("explained", []), *unbooked],
        "differences": list(shown.get("differences", [])),
    }


def _tell_balance(found: dict[str, Any]) -> None:
    times = (datetime.fromtimestamp(found[name] // 1_000, UTC) for name in ("from_ms", "to_ms"))
    first, last = (f"{time:%Y-%m-%d %H:%M:%S}" for time in times)
    typer.echo(f"{first} to {last}: {found['matched']:,} of {found['lines']:,} lines of the venue's have their match")
    for currency, ours, theirs in found["sums"]:
        typer.echo(f"  {currency:<6} changed by {ours} here, by {theirs} there")
    for line in found["explained"]:
        typer.echo(f"  explained  {line}")
    for line in found["differences"]:
        typer.echo(f"  DIFFERS    {line}")


@ledger_app.command("export")
def ledger_export(
    ledger: Ledger, out: Annotated[Path, typer.Option("--out", help="Directory for one CSV file per table.")]
) -> None:
    """Write every table of the ledger as CSV."""
    live = ledgers.is_live(ledger)
    for path in ledgers.export(ledger, out) if live else runs.export_ledger(Path(ledger), out):
        typer.echo(str(path))
