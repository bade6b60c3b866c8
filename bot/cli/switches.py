"""`bot kill`, `bot pause`, `bot resume`, `bot flatten`: what a person on the host asks of a running bot."""

from pathlib import Path
from typing import Annotated

import typer

from bot.app.switches import Switches
from bot.cli.output import Json, print_result
from bot.domain.errors import ConfigError
from bot.domain.operation import Flatten, OperatorCommand, Pause, Resume
from bot.runtime.env import make_run_id, wait_for_file

Where = Annotated[
    Path, typer.Argument(help="The ledger's directory: runs/latest of an offline run, runs/ledgers/testnet...")
]
Why = Annotated[str, typer.Option("--why", help="For the ledger, and for whoever looks later.")]
_ANSWER_S = 5.0


def kill(where: Where, why: Why = "a person closed it", as_json: Json = False) -> None:
    """Close the kill switch: nothing new is sent, everything open is canceled, until `bot resume --re-arm`.

    It works whether or not a bot is running, and needs nothing of it.
    """
    _switches(where).kill(why)
    print_result({"kill switch": "closed", "opens by": f"bot resume {where} --re-arm"}, as_json)


def pause(where: Where, why: Why = "a person paused it", as_json: Json = False) -> None:
    """Let only exits pass until `bot resume`; it outlives a restart."""
    _ask(where, Pause(why=why), as_json)


def flatten(
    where: Where,
    instrument: Annotated[str, typer.Option("--instrument", help="Only this one.")] = "",
    why: Why = "a person wants to be flat",
    as_json: Json = False,
) -> None:
    """Cancel what is open, close positions at the market, and stay paused."""
    _ask(where, Flatten(why=why, instrument=instrument), as_json)


def resume(
    where: Where,
    re_arm: Annotated[bool, typer.Option("--re-arm", help="Open the kill switch as well.")] = False,
    why: Why = "a person resumed it",
    as_json: Json = False,
) -> None:
    """End a pause, and the latches that wait for a person."""
    switches = _switches(where)
    if switches.is_killed and not re_arm:
        raise ConfigError(f"the kill switch is closed ({switches.why_killed()}); if you mean it, add --re-arm")
    if re_arm:
        switches.re_arm()
    _ask(where, Resume(why=f"re-armed: {why}" if re_arm else why), as_json)


def _switches(where: Path) -> Switches:
    directory = where if where.is_dir() else where.parent
    if not (directory / "ledger.sqlite").exists() and not (directory / "commands").is_dir():
        raise ConfigError(f"{where}: no bot trades there; give the directory that `bot paper` or `bot live` named")
    return Switches(directory)


def _ask(where: Path, command: OperatorCommand, as_json: bool) -> None:
    answer = _switches(where).ask(command, make_run_id(type(command).__name__.lower()))
    text = wait_for_file(answer, _ANSWER_S)
    if text is None:
        raise ConfigError(f"no bot answered within {_ANSWER_S:.0f} s; it will carry this out when it runs")
    print_result({"answer": text}, as_json)
