"""`bot ledger`: look into a run's ledger, or into a live one while it is used."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bot.app import ledgers, runs
from bot.cli.output import Json, print_result, progress

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


@ledger_app.command("export")
def ledger_export(
    ledger: Ledger, out: Annotated[Path, typer.Option("--out", help="Directory for one CSV file per table.")]
) -> None:
    """Write every table of the ledger as CSV."""
    live = ledgers.is_live(ledger)
    for path in ledgers.export(ledger, out) if live else runs.export_ledger(Path(ledger), out):
        typer.echo(str(path))
