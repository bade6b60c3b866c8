"""`bot verify`."""

import sys
from typing import Annotated, Any

import msgspec
import typer

from bot.app.verify import Verified, verify_run
from bot.app.verify_replay import ReplayedAgain, is_replay, replay_again
from bot.app.verify_words import Difference
from bot.cli.output import Json, Run, progress
from bot.runtime import logs

_SHOWN = 600  # characters of a side; --json has all


def verify(
    run: Run,
    ledger: Annotated[
        str | None, typer.Option("--ledger", help="Where the account's ledger is, if not where the run left it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a run again from what it recorded, and name the first thing that is not the same."""
    logs.configure("critical")  # what actors had to say, they said in the run
    if is_replay(run):
        with progress("replay") as tell:
            again = replay_again(run, on_progress=tell)
        _print_replay(again, as_json)
        raise typer.Exit(0 if again.is_identical else 1)
    with progress("verify") as tell:
        verified = verify_run(run, ledger=ledger, on_progress=lambda done, notes: tell(done, f"{notes:,} notes"))
    _print(verified, as_json)
    raise typer.Exit(0 if verified.is_identical else 1)


def _print(verified: Verified, as_json: bool) -> None:
    if as_json:
        result: dict[str, Any] = {name: getattr(verified, name) for name in verified.__dataclass_fields__}
        result["identical"] = verified.is_identical
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    typer.echo(f"run        {verified.run_id}")
    typer.echo(f"record     {verified.notes:,} notes, {verified.messages:,} messages to actors")
    typer.echo(
        f"same       {verified.decisions:,} decisions, {verified.sends:,} requests, {verified.rows:,} ledger rows"
    )
    for caution in verified.cautions:
        typer.echo(f"caution    {caution}")
    if verified.rows_after:
        typer.echo(
            f"caution    {verified.rows_after:,} ledger rows come after the last delivery on record: not verified"
        )
    if verified.is_identical:
        typer.echo(f"result     identical{', as far as it is recorded' if verified.is_partial else ''}")
        return
    first, *others = verified.differences
    at = f"note {first.number:,} ({first.during})" if first.during else f"note {first.number:,}"
    typer.echo(f"result     DIFFERENT at {at}: {_words(first)}")
    typer.echo(f"then       {_cut(first.then)}")
    typer.echo(f"now        {_cut(first.now)}")
    for line in first.changed:
        typer.echo(f"           {_cut(line)}")
    for each in others:
        typer.echo(f"also       at note {each.number:,}: {_words(each)}")


def _words(difference: Difference) -> str:
    return f"{difference.actor}: {difference.what}" if difference.actor else difference.what


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters; --json has all)"


def _print_replay(again: ReplayedAgain, as_json: bool) -> None:
    if as_json:
        result: dict[str, Any] = {name: getattr(again, name) for name in again.__dataclass_fields__}
        result["identical"] = again.is_identical
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    typer.echo(f"run        {again.run_id}, replayed again: {again.rows:,} ledger rows")
    typer.echo(f"then       {again.then}")
    typer.echo(f"now        {again.now}")
    verdict = "identical" if again.is_identical else f"DIFFERENT: {again.difference or 'only the hashes'}"
    typer.echo(f"result     {verdict}")
