"""A REST client of ours on an emulated venue, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.runtime.env import ScaledClock, SystemClock
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.rate_budget import RateBudget
from bot.venues.bybit.rest_client import RestClient
from tests.support.emulator import KEY, SECRET, Served


def rising_clock() -> ScaledClock:
    """Return a clock that only rises and starts at the wall clock's time."""
    return ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)


@asynccontextmanager
async def client_of(
    venue: Served, *, key: str = KEY, secret: str = SECRET, budget: RateBudget | None = None
) -> AsyncIterator[RestClient]:
    """Open a client that has measured the venue's clock."""
    client = RestClient(
        host_of("emulator", url=venue.http),
        Credentials(key=key, secret=secret),
        clock=rising_clock(),
        budget=RateBudget() if budget is None else budget,
    )
    async with client:
        for _ in range(5):
            problem = await client.ask_time()
            assert not problem, problem
        yield client


def stamp(client: RestClient) -> int:
    """Return the time to sign with."""
    venue_ms = client.venue_clock.venue_ms(client._clock.now_ns())
    assert venue_ms is not None
    return venue_ms
