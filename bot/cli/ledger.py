"""`bot ledger` and `bot db`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bot.app import runs
from bot.cli.output import Json, Run, print_result

ledger_app = typer.Typer(no_args_is_help=True, help="Look into a run's ledger.")
db_app = typer.Typer(no_args_is_help=True, help="The ledger's schema.")


@ledger_app.command("check")
def ledger_check(run: Run, as_json: Json = False) -> None:
    """Recompute positions, fees, PnL and equity from the fills alone, and compare with what is stored."""
    audit = runs.audit(run)
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
    print_result(runs.describe_ledger(run), as_json)


@ledger_app.command("export")
def ledger_export(
    run: Run, out: Annotated[Path, typer.Option("--out", help="Directory for one CSV file per table.")]
) -> None:
    """Write every table of the ledger as CSV."""
    for path in runs.export_ledger(run, out):
        typer.echo(str(path))


@db_app.command("current")
def db_current(run: Run, as_json: Json = False) -> None:
    """Print the schema version of a run's ledger, and the newest there is."""
    current, newest = runs.schema_versions(run)
    print_result({"current": current, "newest": newest}, as_json)
