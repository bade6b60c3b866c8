"""Waits for a venue that is away, where a service manager would else give the start up."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from bot.domain.errors import VenueError
from bot.runtime.notify import ServiceNotifier

log = structlog.get_logger()

T = TypeVar("T")

_FIRST_S = 5.0
_MOST_S = 60.0
_BESIDES_S = 300.0  # more time for the rest of the start than the wait alone takes
_IN_VAIN = frozenset(["not listed"])  # codes of answers that will not change


async def ask_patiently(
    ask: Callable[[], Awaitable[T]],
    notifier: ServiceNotifier,
    stopping: asyncio.Event,
    *,
    within_s: float,
    first_s: float = _FIRST_S,
) -> T:
    """Return the answer to the first question of a start, asked again while the venue is away.

    Only under a service manager, which is asked for more time: a person at a terminal is told at once.

    Args:
        stopping: ends the wait.
        within_s: for how long.
        first_s: the first wait; each is twice the one before, up to a minute.

    Raises:
        VenueError: it did not answer, or answered what will not change.
    """
    loop = asyncio.get_running_loop()
    until_s, wait_s = loop.time() + within_s, first_s
    while True:
        try:
            return await ask()
        except VenueError as error:
            is_over = stopping.is_set() or loop.time() + wait_s > until_s
            if not notifier.is_managed or is_over or error.code in _IN_VAIN:
                raise
            log.warning("venue.waited_for", why=str(error), again_in_s=wait_s)
            notifier.extend(int((wait_s + _BESIDES_S) * 1e9))
            notifier.status(f"starting: the venue does not answer, asked again in {wait_s:.0f} s: {error}")
        try:
            await asyncio.wait_for(stopping.wait(), wait_s)
        except TimeoutError:
            wait_s = min(2 * wait_s, _MOST_S)
