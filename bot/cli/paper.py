"""`bot paper`, `bot live`, `bot kill`, `bot pause`, `bot resume`, `bot flatten`."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.app.trading import Traded, Trading
from bot.app.trading_parts import check_mode
from bot.cli.output import Json, Set, err, print_result
from bot.domain.errors import ConfigError
from bot.domain.operation import Phase
from bot.runtime import logs, secrecy
from bot.runtime.trade_settings import TradeSettings, load_trade, read_credentials
from bot.venues.bybit.credentials import Credentials

ConfigFile = Annotated[Path, typer.Option("--config", help="TOML file; docs/paper.md explains it.")]


def paper(config: ConfigFile, overrides: Set = [], as_json: Json = False) -> None:  # noqa: B006
    """Trade without real money: on an emulator of this machine, on the testnet, or on a demo account."""
    settings = load_trade(config, overrides)
    _trade(settings, "paper", credentials_of(settings), as_json, lambda: load_trade(config, overrides))


def live(
    config: ConfigFile,
    real_money: Annotated[bool, typer.Option("--real-money", help="The second time that you say so.")] = False,
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Trade real money. It must be asked for twice: in the settings, and here."""
    settings = load_trade(config, overrides)
    if not real_money:
        raise ConfigError("bot live trades real money; if you mean it, add --real-money")
    check_mode(settings, "live")  # before any key is asked for
    _trade(settings, "live", _credentials(), as_json, lambda: load_trade(config, overrides))


def credentials_of(settings: TradeSettings) -> Credentials:
    """Return the account's key: the emulator's is in the settings, others are in the environment."""
    if settings.venue.environment == "emulator":
        return Credentials(key=settings.emulator.key, secret=settings.emulator.secret)
    return _credentials()


def _credentials() -> Credentials:
    key, secret = read_credentials()
    return Credentials(key=key, secret=secret)


def _trade(
    settings: TradeSettings,
    mode: str,
    credentials: Credentials,
    as_json: bool,
    reread: Callable[[], TradeSettings],
) -> None:
    def tell(phase: Phase, text: str) -> None:
        err.print(f"{phase.value:<10} {secrecy.hide(text)}", markup=False, soft_wrap=True)

    async def run() -> Traded:
        trading = Trading(settings, mode, credentials, tell, reread=reread)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, trading.stop)
        return await trading.run()

    logs.configure(settings.log.level)
    traded = asyncio.run(run())
    result: dict[str, Any] = {
        "run": str(traded.directory),
        "epoch": traded.epoch,
        "entries": traded.entries,
    }
    print_result(result, as_json)
