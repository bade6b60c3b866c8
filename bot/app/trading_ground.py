"""What a trading run stands on before it has a ledger: where the venue is, its clock, what it lists, whose account."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from bot.actors.market_feed import Key
from bot.app.live_market import ask_instruments, instrument_of
from bot.app.patience import ask_patiently
from bot.app.trading_parts import emulator_clock
from bot.core.submission.ids import parse_id
from bot.domain.errors import ConfigError, VenueError
from bot.domain.instrument import Instrument
from bot.runtime.env import ScaledClock, SystemClock
from bot.runtime.notify import ServiceNotifier
from bot.runtime.trade_settings import TradeSettings
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.hosts import Host, host_of
from bot.venues.bybit.live_account import LiveAccount
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.start_queries import RestAsker
from bot.venues.bybit.startup import Wanted, check_account
from strategies.base import Strategy

log = structlog.get_logger()

_ACCOUNT_AGAIN_S = (1.0, 3.0)  # waits, before key and account are asked for again where the venue did not answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """Where the venue is, and its pace."""

    host: Host
    clock: ScaledClock | SystemClock
    speed: float  # how many of the venue's seconds pass in one of ours


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What is traded, as the venue lists it; by symbol, in the settings' order."""

    instruments: dict[str, Instrument]
    listed: dict[str, Listed]
    currency: str  # that all of them are priced in

    @property
    def keys(self) -> tuple[Key, ...]:
        """Return category and symbol of each."""
        return tuple((each.category, each.symbol) for each in self.listed.values())

    @property
    def pairs(self) -> dict[str, tuple[Listed, Instrument]]:
        """Return both together."""
        return {name: (self.listed[name], self.instruments[name]) for name in self.instruments}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What every part of a run is made with."""

    settings: TradeSettings
    mode: str  # "paper" or "live"
    strategy: Strategy[Any]
    directory: Path  # the run's
    venue: Reached
    listing: Listing

    @property
    def clock(self) -> ScaledClock | SystemClock:
        """Return the clock that the run lives by: the venue's pace."""
        return self.venue.clock

    @property
    def run_id(self) -> str:
        """Return the run's name."""
        return self.directory.name


async def reach(settings: TradeSettings, stack: AsyncExitStack) -> Reached:
    """Return where the venue is; offline, start it, and live by its clock.

    Raises:
        ConfigError: an emulator is wanted that does not answer, or cannot be started.
    """
    venue = settings.venue
    if venue.environment != "emulator":
        clock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
        return Reached(host=host_of(venue.environment, region=venue.region), clock=clock, speed=1.0)
    if venue.url:
        host = host_of(venue.environment, url=venue.url)
        clock = await emulator_clock(host)
        return Reached(host=host, clock=clock, speed=clock.speed)
    from bot.app.offline import make_emulator

    emulated = await make_emulator(settings.emulator)
    stack.push_async_callback(emulated.stop)
    return Reached(host=host_of("emulator", url=emulated.url), clock=emulated.clock, speed=emulated.speed)


async def list_instruments(
    settings: TradeSettings, venue: Reached, notifier: ServiceNotifier, stopping: asyncio.Event
) -> Listing:
    """Return what the venue says of what is to be traded; wait a while for a venue that does not answer.

    Raises:
        ConfigError: it does not know one of them, or they are priced in several currencies.
    """
    keys: list[Key] = [(each.category, each.symbol) for each in settings.symbols]
    filters = await ask_patiently(
        lambda: ask_instruments(venue.host, venue.clock, keys),
        notifier,
        stopping,
        within_s=settings.service.outage_grace / 1e9,
    )
    instruments = {symbol: instrument_of(filters[category, symbol]) for category, symbol in keys}
    quotes = sorted({each.quote for each in instruments.values()})
    if len(quotes) > 1:
        raise ConfigError(f"symbols are priced in {', '.join(quotes)}; trade one currency in a run")
    listed = {each.symbol: Listed(each.category, each.symbol) for each in settings.symbols}
    return Listing(instruments=instruments, listed=listed, currency=quotes[0])


def make_account(
    ground: Ground,
    client: RestClient,
    credentials: Credentials,
    *,
    deliver: Callable[[Any], None],
    budget: ConnectBudget,
) -> LiveAccount:
    """Return the account, not connected yet."""
    letter = ground.settings.environment_letter

    def is_ours(client_order_id: str) -> bool:
        parsed = parse_id(client_order_id)
        return parsed is not None and parsed.environment == letter

    return LiveAccount(
        client,
        credentials,
        instruments=ground.listing.pairs,
        is_ours=is_ours,
        clock=ground.clock,
        deliver=deliver,
        prefix="".join(each for each in ground.run_id if each.isalnum())[-18:],
        seed=ground.settings.run.seed,
        speed=ground.venue.speed,
        budget=budget,
    )


async def know_the_time(account: LiveAccount, host: Host) -> None:
    """Measure the venue's clock.

    Raises:
        VenueError: it cannot be done.
    """
    trouble = await account.measure_clock()
    if trouble:
        raise VenueError("no time", f"{host.rest}: {trouble}")


async def hold_account(
    ground: Ground, client: RestClient, account: LiveAccount, credentials: Credentials
) -> int | None:
    """Hold key and account against what is wanted; return the account's number, None if the venue does not say.

    Raises:
        ConfigError: trading must not start; a line for each reason. VenueError: the venue does not answer.
    """
    settings = ground.settings
    wanted = Wanted(
        mode="live" if ground.mode == "live" else "paper",
        uid=settings.venue.uid,
        allows_unbound_key=settings.venue.allow_unbound_key,
        instruments=ground.listing.pairs,
        leverage={each.symbol: each.leverage for each in settings.symbols if each.leverage is not None},
        is_hedged=settings.execution.is_hedged,
    )

    async def set_up(request: Any) -> Any:
        stamp_ms = account.venue_ms()
        assert stamp_ms is not None
        return (await client.send(request, timestamp_ms=stamp_ms))[0]

    waits_s = iter(_ACCOUNT_AGAIN_S)
    while True:
        checked = await check_account(
            RestAsker(client, account.venue_ms), set_up, wanted, credentials, now_ns=ground.clock.now_ns()
        )
        for each in checked.findings:
            log.warning("account.differs", line=each.line, is_fatal=each.is_fatal)
        fatal = [each for each in checked.findings if each.is_fatal]
        if not fatal:
            return checked.uid
        lines = "\n".join(each.line for each in fatal)
        if not all(each.is_passing for each in fatal):
            raise ConfigError(lines)
        wait_s = next(waits_s, None)
        if wait_s is None:
            raise VenueError("no answer", lines)
        await asyncio.sleep(wait_s)
