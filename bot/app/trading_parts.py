"""The parts of a trading run, made from its settings."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from bot.app.ewma import make_ewma
from bot.app.limits import execution_policy, protection_limits, risk_limits
from bot.core.durations import format_duration
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.protections import Protections
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds, parse_id
from bot.core.submission.requests import Terms
from bot.core.submission.work import DeskPolicy
from bot.domain.errors import ConfigError, VenueError
from bot.domain.instrument import Instrument
from bot.ports import Predictor
from bot.runtime.emulator_settings import SPEED_MAX
from bot.runtime.env import ScaledClock, SystemClock
from bot.runtime.trade_settings import REAL_MONEY, TradeSettings
from bot.venues.bybit.envelope import Unread
from bot.venues.bybit.hosts import Host
from bot.venues.bybit.lookups import ask_all, executions_since, open_orders, wallet
from bot.venues.bybit.public_client import NO_ANSWER, PublicClient
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import RestClient
from bot.venues.bybit.startup import MARGIN_MODE
from strategies.base import Strategy
from strategies.registry import make_strategies

_DAY_MS = 24 * 3_600_000
_CLOCK_TRIES = 6  # for an emulator's clock: it may be there, and very busy
_CLOCK_TRIP_NS = 5_000_000  # of an answer that is good enough: its time is known to half of that
_CLOCK_WAIT_S = 0.05  # before the next try


async def emulator_clock(host: Host) -> ScaledClock:
    """Return a clock that keeps the time of an emulator which runs already, and its pace.

    The answer that was under way for the shortest time sets it, and it is never set again: a trip through a pause of
    the machine would leave it off by half of that pause, times the pace, for the whole run.

    Raises:
        ConfigError: it does not answer, or its time is moved by hand.
    """
    base = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
    async with PublicClient(host.rest, base) as client:
        best = await client.timed("/emulator/clock")
        for _ in range(_CLOCK_TRIES - 1):
            status, body, sent_ns, recv_ns = best
            if (status != 200 and body != NO_ANSWER) or recv_ns - sent_ns <= _CLOCK_TRIP_NS:
                break
            await asyncio.sleep(_CLOCK_WAIT_S)
            answer = await client.timed("/emulator/clock")
            best = min(best, answer, key=lambda each: (each[0] != 200, each[3] - each[2]))
    status, body, sent_ns, recv_ns = best
    if status == 0:
        raise ConfigError(f"venue.url = {host.rest}: nobody answers there; start it with bot emulator")
    if status == 404:  # an emulator of another make: it is now
        return base
    try:
        told = msgspec.json.decode(body, type=_Told)
        time_ns = int(told.time_nano)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"venue.url = {host.rest}: that is no emulator of ours ({error})") from error
    if not 0 < told.speed <= SPEED_MAX:
        raise ConfigError(
            'venue.url: clock.mode = "driven" is moved by a client; a paper run takes "scaled" or "system"'
        )
    since_ns = base.now_ns() - (sent_ns + recv_ns) // 2
    return ScaledClock(start_ns=time_ns + int(since_ns * told.speed), speed=told.speed)


class _Told(msgspec.Struct, rename="camel"):
    time_nano: str
    speed: float


def check_mode(settings: TradeSettings, mode: str) -> None:
    """Refuse real money that was not asked for, and paper that would be real.

    Raises:
        ConfigError: the settings and the command do not fit together.
    """
    environment = settings.venue.environment
    if mode == "paper" and environment == "mainnet":
        raise ConfigError('venue.environment = "mainnet" is real money; bot paper trades "emulator", "testnet", "demo"')
    if mode == "live" and environment != "mainnet":
        raise ConfigError(f'venue.environment = "{environment}": bot live trades real money alone; use bot paper')
    if mode == "live" and settings.live.confirm != REAL_MONEY:
        raise ConfigError(f'live.confirm: write "{REAL_MONEY}" if you mean it')


def make_desk(
    settings: TradeSettings, instruments: Mapping[str, Instrument], ids: ClientOrderIds, currency: str
) -> LiveDesk:
    """Return the money half, empty."""
    orders = Orders(
        instruments=instruments,
        portfolio=Portfolio(instruments, currency),
        limits=risk_limits(settings.risk),
        ids=ids,
        protections=Protections(protection_limits(settings.protections)),
        execution=execution_policy(settings.execution, settings.run.seed),
        strategies=[each.name for each in make_strategies(settings.chosen).parts] if settings.strategies else (),
        is_restorable=True,
        is_hedged=settings.execution.is_hedged,
    )
    return LiveDesk(
        orders,
        Terms(recv_window_ms=settings.venue.recv_window // 1_000_000),
        environment=settings.environment_letter,
        currency=currency,
        policy=DeskPolicy(
            holds_back_foreign=settings.run.foreign == "halt",
            protect_within_ns=settings.run.protect_within,
            leverage={
                each.symbol: each.leverage
                for each in settings.symbols
                if each.leverage is not None and each.category == "linear"
            },
            margin_mode=MARGIN_MODE,
        ),
    )


def make_predictor(settings: TradeSettings, strategy: Strategy[Any]) -> Predictor | None:
    """Return what forecasts for one instrument; None where nobody does, or a process of its own (`app.live_model`).

    Raises:
        ConfigError: it does not forecast what the strategy needs.
    """
    chosen = settings.predictor
    if not strategy.wants_forecasts or chosen.kind == "artifact":
        return None
    missing = [format_duration(each) for each in strategy.horizons_ns if each not in chosen.horizons]
    if missing:
        raise ConfigError(f"predictor.horizons: {strategy.name} needs a forecast over {', '.join(missing)}; add it")
    return make_ewma(chosen, settings.bars.scales)


async def start_balances(
    client: RestClient, stamp_ms: Callable[[], int | None], currency: str, speed: float
) -> tuple[Decimal, dict[str, Decimal]]:
    """Return the account's balance, which a new ledger begins with, and those of other coins.

    Raises:
        VenueError: it cannot be asked.
    """
    found = await ask_all(client, wallet(), stamp_ms=stamp_ms, speed=speed)
    if isinstance(found, Unread):
        raise VenueError(found.code, f"the wallet could not be asked: {found.text}")
    coins = found.records[0].coins if found.records else ()
    held = {coin.currency: coin.wallet_balance for coin in coins if coin.wallet_balance}
    return held.pop(currency, Decimal(0)), held


async def seen_epoch(
    client: RestClient, stamp_ms: Callable[[], int | None], listed: Iterable[Listed], environment: str, speed: float
) -> int | None:
    """Return the highest epoch in any of our order ids that the venue shows, None if it shows none.

    Raises:
        VenueError: it cannot be asked.
    """
    names: list[str] = []
    now_ms = stamp_ms()
    if now_ms is None:
        raise VenueError("no time", "the venue's clock was measured too long ago; start again")
    for category in sorted({each.category for each in listed}):
        orders = await ask_all(client, open_orders(category), stamp_ms=stamp_ms, speed=speed)
        made = await ask_all(
            client, executions_since(category, now_ms - _DAY_MS, now_ms), stamp_ms=stamp_ms, speed=speed
        )
        for found in (orders, made):
            if isinstance(found, Unread):
                raise VenueError(found.code, f"the account could not be asked: {found.text}")
            names += [each.client_order_id for each in found.records]
    parsed = [parse_id(name) for name in names if name]
    return max((each.epoch for each in parsed if each is not None and each.environment == environment), default=None)
