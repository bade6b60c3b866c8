"""The console script `bot`: its commands, and what an error looks like."""

import gc
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from bot import __version__
from bot.app.outcomes import Interrupted, RunFailed
from bot.cli.output import Config, Set, err
from bot.domain.errors import BotError, ConfigError
from bot.runtime import secrecy
from bot.runtime.memory import give_memory_back

# Each command's module is imported when the command is asked for: none waits for the libraries of the others.
_LAZY: Final = {
    "replay": "bot.cli.replay:replay",
    "report": "bot.cli.replay:report",
    "data": "bot.cli.data:data_app",
    "features": "bot.cli.features:features_app",
    "train": "bot.cli.train:train",
    "evaluate": "bot.cli.evaluate:evaluate",
    "models": "bot.cli.models:models_app",
    "plot": "bot.cli.plot:plot",
    "emulator": "bot.cli.emulator:emulator",
    "paper": "bot.cli.paper:paper",
    "live": "bot.cli.paper:live",
    "demo": "bot.cli.demo:demo",
    "kill": "bot.cli.switches:kill",
    "pause": "bot.cli.switches:pause",
    "resume": "bot.cli.switches:resume",
    "flatten": "bot.cli.switches:flatten",
    "deadman": "bot.cli.deadman:deadman",
    "doctor": "bot.cli.doctor:doctor",
    "incident": "bot.cli.incident:incident",
    "status": "bot.cli.status:status",
    "dashboard": "bot.cli.dashboard:dashboard",
    "record": "bot.cli.record:record",
    "verify": "bot.cli.verify:verify",
    "ledger": "bot.cli.ledger:ledger_app",
    "db": "bot.cli.db:db_app",
}


_FOR_MONTHS = ("paper", "live", "record", "dashboard")


class _Commands(TyperGroup):
    """The commands defined here, and those of `_LAZY`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_LAZY, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        place = _LAZY.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        if cmd_name in _FOR_MONTHS:
            give_memory_back()
        module, _, name = place.partition(":")
        command = _as_command(getattr(_import(module), name))
        command.name = cmd_name
        return command


def _import(module: str) -> Any:
    """Import without looking for garbage: modules make none, and the looks took a fifth of a start."""
    if module in sys.modules:
        return sys.modules[module]
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()  # what stays for good need not be looked through either
        gc.enable()


def _as_command(made: typer.Typer | Callable[..., None]) -> Any:
    """Return a group of commands, or a function, as what the command line calls."""
    if isinstance(made, typer.Typer):
        return typer.main.get_group(made)
    alone = typer.Typer(add_completion=False)
    alone.command()(made)
    return typer.main.get_command(alone)


main_app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A trading bot that sees every time scale.",
)


@main_app.command("config")
def config_show(config: Config = None, overrides: Set = []) -> None:  # noqa: B006
    """Check settings and print them resolved, every key with its value."""
    from bot.runtime.settings import load

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
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stop:
        _fail(str(stop) or "interrupted", 1)
    except RunFailed as error:
        _fail(str(error), 1)
    except Exception as error:  # purity: the last resort; see below
        usage = getattr(error, "format_message", None)
        if usage is None:
            sys.excepthook = secrecy.show_uncaught  # only now: typer puts its own there
            raise
        _fail(usage(), 2)


def _fail(message: str, code: int) -> None:
    for line in secrecy.hide(message).splitlines():
        err.print(f"bot: {line}", style="red" if err.is_terminal else None, markup=False, soft_wrap=True)
    sys.exit(code)
