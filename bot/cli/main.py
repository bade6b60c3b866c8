"""The console script `bot`: its commands, and what an error looks like."""

import sys

import typer

from bot import __version__
from bot.app.replay import Interrupted, RunFailed
from bot.cli.ledger import db_app, ledger_app
from bot.cli.output import Config, Set, err
from bot.cli.replay import replay, report
from bot.domain.errors import BotError, ConfigError
from bot.runtime.settings import load

main_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A trading bot that sees every time scale.",
)
main_app.command()(replay)
main_app.command()(report)
main_app.add_typer(ledger_app, name="ledger")
main_app.add_typer(db_app, name="db")


@main_app.command("config")
def config_show(config: Config = None, overrides: Set = []) -> None:  # noqa: B006
    """Check settings and print them resolved, every key with its value."""
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
    except (Interrupted, KeyboardInterrupt) as stop:
        _fail(str(stop) or "interrupted", 1)
    except RunFailed as error:
        _fail(str(error), 1)
    except Exception as error:  # purity: the last resort; see below
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        _fail(usage(), 2)


def _fail(message: str, code: int) -> None:
    for line in message.splitlines():
        err.print(f"bot: {line}", style="red" if err.is_terminal else None, markup=False, soft_wrap=True)
    sys.exit(code)
