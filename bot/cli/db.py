"""`bot db`: the schema of a ledger, and copies of it."""

from pathlib import Path
from typing import Annotated

import typer

from bot.app import ledgers, runs
from bot.cli.ledger import Ledger
from bot.cli.output import Json, print_result

db_app = typer.Typer(no_args_is_help=True, help="A ledger's schema, backups and restoring.")

Locks = Annotated[Path, typer.Option("--locks", help="Where the locks of PostgreSQL ledgers lie on this host.")]
_RUNS = Path("runs")


@db_app.command("current")
def db_current(ledger: Ledger, as_json: Json = False) -> None:
    """Print the schema version of a ledger, and the newest there is."""
    live = ledgers.is_live(ledger)
    current, newest = ledgers.schema_versions(ledger) if live else runs.schema_versions(Path(ledger))
    print_result({"current": current, "newest": newest}, as_json)


@db_app.command("upgrade")
def db_upgrade(ledger: Ledger, locks: Locks = _RUNS, as_json: Json = False) -> None:
    """Bring a ledger that no bot uses to the newest schema; a checked backup is made first."""
    print_result(ledgers.upgrade(ledger, lock_directory=locks), as_json)


@db_app.command("backup")
def db_backup(
    ledger: Ledger, out: Annotated[Path, typer.Option("--out", help="The new file: SQLite.")], as_json: Json = False
) -> None:
    """Write a checked copy of a ledger into one file, also while the bot uses it."""
    print_result(ledgers.backup(ledger, out), as_json)


@db_app.command("restore")
def db_restore(
    backup: Annotated[Path, typer.Argument(help="A file made by `bot db backup`.")],
    ledger: Ledger,
    locks: Locks = _RUNS,
    as_json: Json = False,
) -> None:
    """Put a backup in a ledger's place: a file (the old one is kept beside it), or an empty PostgreSQL database.

    The next start waits as after a crash and takes order ids well above all that the lost piece can have used.
    """
    print_result(ledgers.restore_backup(backup, ledger, lock_directory=locks), as_json)
