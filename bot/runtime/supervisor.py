"""Runs actors together: when one fails all stop, and the failure names who it was.

The only place that catches everything: nothing an actor raises may be lost, and nothing goes on after it.
"""

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from bot.domain.errors import BotError

log = structlog.get_logger()

Run = Callable[[], Coroutine[Any, Any, None]]
"""An actor's `run`."""


class ActorFailed(Exception):
    """An actor ended by an error that is our own slip.

    Attributes:
        actor: its name.
    """

    def __init__(self, actor: str, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        super().__init__(f"{actor} failed: {type(error).__name__}: {error}{place}")
        self.actor = actor


class Supervisor:
    """Starts actors by name and waits for them."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None

    def start(self, actors: Mapping[str, Run]) -> None:
        """Start actors, in order."""
        for name, run in actors.items():
            self._tasks[name] = asyncio.create_task(self._watch(name, run()), name=name)

    def lives(self) -> dict[str, bool]:
        """Return which actors still run, by name."""
        return {name: not task.done() for name, task in self._tasks.items()}

    async def wait_for(self, *names: str) -> None:
        """Return when these actors have left.

        Raises:
            BotError: an actor raised it.
            ActorFailed: an actor raised anything else.
        """
        for name in names:
            await self._tasks[name]
            self._raise_failure()

    async def wait_until(self, event: asyncio.Event) -> None:
        """Return when `event` is set.

        Raises:
            BotError: an actor raised it before.
            ActorFailed: an actor raised anything else before.
        """
        waiting = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._failed.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self._raise_failure()

    async def stop(self) -> None:
        """Cancel what still runs and wait until it has left."""
        for task in self._tasks.values():
            task.cancel()
        for task in self._tasks.values():
            await asyncio.gather(task, return_exceptions=True)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _watch(self, name: str, run: Coroutine[Any, Any, None]) -> None:
        try:
            await run
        except BotError as error:
            log.error("actor.failed", actor=name, error=str(error))
            self._fail(error)
        except Exception as error:
            log.exception("actor.failed", actor=name)
            failure = ActorFailed(name, error)
            failure.__cause__ = error
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
        self._failed.set()
