"""The clock of a run beside an emulator in another process: set once, by the best of some answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bot.app.trading_parts import emulator_clock
from bot.domain.errors import ConfigError
from bot.runtime.env import ScaledClock
from bot.venues.bybit.hosts import host_of

SPEED = 60.0
TRUTH = ScaledClock(start_ns=1_700_000_000_000_000_000, speed=SPEED)


@asynccontextmanager
async def emulator(
    waits_s: list[tuple[float, float]], *, status: int = 200, speed: float = SPEED
) -> AsyncIterator[str]:
    """Serve a clock whose first answers take so long before they are made and after; return the address."""

    async def tell(request: web.Request) -> web.Response:
        before_s, after_s = waits_s.pop(0) if waits_s else (0.0, 0.0)
        await asyncio.sleep(before_s)
        time_ns = TRUTH.now_ns()
        await asyncio.sleep(after_s)
        return web.json_response({"timeNano": str(time_ns), "speed": speed}, status=status)

    app = web.Application()
    app.router.add_get("/emulator/clock", tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "waits_s",
    [
        [],
        [(0.0, 0.4)],
        [(0.4, 0.0), (0.0, 0.3)],
        [(0.0, 0.2), (0.0, 0.02), (0.0, 0.3), (0.0, 0.3), (0.0, 0.3), (0.0, 0.3)],
    ],
    ids=["at once", "one slow answer", "a slow question and a slow answer", "none at once"],
)
async def test_a_slow_answer_does_not_set_it(waits_s: list[tuple[float, float]]) -> None:
    """Half a trip of 0.4 s would be 12 s of the emulator's time, for the whole run."""
    async with emulator(waits_s) as url:
        clock = await emulator_clock(host_of("emulator", url=url))
    assert clock.speed == SPEED
    assert abs(clock.now_ns() - TRUTH.now_ns()) < 1_500_000_000


async def test_an_emulator_of_another_make_has_our_time() -> None:
    async with emulator([], status=404) as url:
        clock = await emulator_clock(host_of("emulator", url=url))
    assert clock.speed == 1.0


async def test_a_clock_that_a_client_moves_is_refused() -> None:
    async with emulator([], speed=0.0) as url:
        with pytest.raises(ConfigError, match="is moved by a client"):
            await emulator_clock(host_of("emulator", url=url))
