"""Balancing a ledger with the venue's own: within a run, by a timer, and by hand for a report line by line."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select

from bot.actors.balancer import MARGIN_MS, Balancer
from bot.app.live_market import ask_instruments, instrument_of
from bot.app.trading_parts import emulator_clock
from bot.core.balancing import Balance, balance
from bot.core.submission.messages import AccountBalanced
from bot.domain.errors import ConfigError, VenueError
from bot.domain.instrument import Instrument
from bot.domain.ledger import LedgerEntry
from bot.runtime.env import ScaledClock, SystemClock, call_in_thread
from bot.runtime.trade_settings import TradeSettings
from bot.store import tables
from bot.store.journal_window import entries_since
from bot.store.live_reader import open_snapshot, schema_of
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.live_account import LiveAccount
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.rest_client import RestClient

_MS = 1_000_000
_RECORDED_MAX = 50  # of the newest balances


def make_balancer(
    account: LiveAccount,
    where: str,
    deliver: Callable[[AccountBalanced], None],
    *,
    instruments: dict[str, Instrument],
    currency: str,
    balanced_ms: int,
    every_ns: int,
    speed: float,
) -> Balancer:
    """Return what balances a run's ledger with its account, and is woken where the two do not agree.

    Args:
        account: the venue's side.
        where: the ledger.
        deliver: takes what was found home.
        instruments: what is traded.
        currency: the account's.
        balanced_ms: up to then all is balanced; 0 for nothing yet.
        every_ns: between two balances.
        speed: how fast the venue's clock runs.
    """

    async def read(from_ms: int) -> Sequence[LedgerEntry]:
        return await call_in_thread(lambda: entries_since(where, from_ms * _MS))

    balancer = Balancer(
        account,
        read,
        deliver,
        instruments=instruments,
        currency=currency,
        venue_ms=account.venue_ms,
        from_ms=max(balanced_ms, account.begins_ms),
        every_ms=every_ns // _MS,
        speed=speed,
    )
    account.on_missing = balancer.wake
    return balancer


async def balance_now(settings: TradeSettings, credentials: Credentials, where: str, hours: float) -> Balance:
    """Hold the last hours of a ledger, line by line, against the venue's own; book nothing.

    Raises:
        ConfigError, DataError, VenueError: the venue or the ledger cannot be asked.
    """
    venue = settings.venue
    if venue.environment == "emulator" and not venue.url:
        raise ConfigError("venue.url: an emulator within a run ends with it; name one that runs")
    host = host_of(venue.environment, region=venue.region, url=venue.url)
    is_emulator = venue.environment == "emulator"
    clock = await emulator_clock(host) if is_emulator else ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
    filters = await ask_instruments(host, clock, [(each.category, each.symbol) for each in settings.symbols])
    instruments = {each.symbol: instrument_of(filters[each.category, each.symbol]) for each in settings.symbols}
    listed = {each.symbol: Listed(each.category, each.symbol) for each in settings.symbols}
    async with RestClient(host, credentials, clock=clock, budget=RateBudget(), speed=clock.speed) as client:
        account = LiveAccount(
            client,
            credentials,
            instruments={name: (listed[name], instruments[name]) for name in instruments},
            is_ours=lambda name: False,
            clock=clock,
            deliver=lambda message: None,
            prefix="balance",
            seed=0,
            speed=clock.speed,
        )
        trouble = await account.measure_clock()
        now_ms = account.venue_ms()
        if trouble or now_ms is None:
            raise VenueError("no time", f"{host.rest}: {trouble}")
        began_ms = (await call_in_thread(lambda: _began_ns(where))) // _MS
        from_ms = max(began_ms, now_ms - int(hours * 3_600_000))
        bookings = await account.bookings(max(began_ms, from_ms - MARGIN_MS), now_ms)
        if isinstance(bookings, str):
            raise VenueError("not read", f"the log of transactions could not be read: {bookings}")
    entries = await call_in_thread(lambda: entries_since(where, (from_ms - 2 * MARGIN_MS) * _MS))
    currency = next(iter(instruments.values())).quote
    return balance(bookings, entries, instruments=instruments, currency=currency, from_ms=from_ms, to_ms=now_ms)


def recorded(where: str) -> list[dict[str, Any]]:
    """Return the newest balances that a ledger has on record, the newest last.

    Raises:
        DataError: there is no ledger, or it cannot be read.
    """
    engine = open_snapshot(where)
    try:
        if "balancings" not in schema_of(engine):
            return []
        table = tables.balancings
        with engine.connect() as connection:
            query = select(table).order_by(table.c.seq.desc()).limit(_RECORDED_MAX)
            return [dict(row) for row in connection.execute(query).mappings()][::-1]
    finally:
        engine.dispose()


def _began_ns(where: str) -> int:
    engine = open_snapshot(where)
    try:
        with engine.connect() as connection:
            return int(connection.execute(select(tables.runs.c.from_ns)).scalar_one())
    finally:
        engine.dispose()
