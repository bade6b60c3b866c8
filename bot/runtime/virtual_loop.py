"""An asyncio event loop on virtual time, in which every run of the same program takes the same course.

What is ready runs first in, first out; only when nothing is ready does time jump to the next scheduled call, and calls
are ordered by their whole calendar key, never by chance. Tasks hash by a counter, so that the sets of tasks inside
asyncio are walked in a stable order. There are no threads, sockets or signals here: what needs them fails at once.

Source: the shape of such loops, and the traps in asyncio's sets, are described in FoundationDB's simulation talk
(Wilson, Strange Loop 2014) and in the documentation of asyncio's own loops.
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import msgspec

from bot.core.calendar import NEVER, Class, Key

_TIMER = int(Class.TIMER)


class Deadlock(RuntimeError):
    """Everybody waits, and nothing is scheduled."""


class _Handle(msgspec.Struct, eq=False):
    """One call to be made. Thousands are made each second: a struct is made several times as fast as an object."""

    callback: Callable[..., Any]
    args: tuple[Any, ...]
    context: Any
    key: Key | None
    is_canceled: bool = False

    def cancel(self) -> None:
        """See asyncio."""
        self.is_canceled = True
        self.callback, self.args = _nothing, ()

    def cancelled(self) -> bool:
        """See asyncio."""
        return self.is_canceled

    def when(self) -> float:
        """See asyncio."""
        assert self.key is not None
        return self.key[0] / 1e9


def _nothing() -> None: ...


class _Task(asyncio.Task[Any]):
    """A task whose hash does not depend on where it lies in memory."""

    _number = 0

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


# typeshed declares every socket and process method abstract; here they stay what they are in asyncio: refused.
_Base: Any = asyncio.AbstractEventLoop


class VirtualLoop(_Base):  # type: ignore[misc]
    """The loop. `now_ns` is the virtual time in ns since the epoch."""

    def __init__(self, start_ns: int = 0) -> None:
        self.now_ns = start_ns
        self._ready: deque[_Handle] = deque()
        self._due: list[tuple[Key, int, _Handle]] = []
        self._sequence = 0
        self._tasks = 0
        self._running = False
        self._closed = False
        self._stopping = False
        self._failure: BaseException | None = None

    # --- the calendar ---

    def schedule(self, key: Key, callback: Callable[..., Any], *args: Any, context: Any = None) -> _Handle:
        """Make the call when everything before `key` has happened."""
        handle = _Handle(callback, args, context, key)
        self._sequence += 1
        heapq.heappush(self._due, (key, self._sequence, handle))
        return handle

    def horizon(self) -> Key:
        """Return the key of the next scheduled call, `NEVER` if there is none."""
        due = self._due
        while due and due[0][2].is_canceled:
            heapq.heappop(due)
        return due[0][0] if due else NEVER

    def advance(self, time_ns: int) -> None:
        """Move on to `time_ns`, which must not lie behind now or beyond the horizon."""
        if not self.now_ns <= time_ns <= self.horizon()[0]:
            raise RuntimeError(f"cannot advance from {self.now_ns} to {time_ns}, the horizon is {self.horizon()[0]}")
        self.now_ns = time_ns

    # --- asyncio's interface ---

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now_ns / 1e9

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        """See asyncio."""
        handle = _Handle(callback, args, context, None)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        """See asyncio."""
        return self.schedule((self.now_ns + round(delay * 1e9), _TIMER, 0, 0), callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        """See asyncio."""
        return self.schedule((max(self.now_ns, round(when * 1e9)), _TIMER, 0, 0), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Any = None,
    ) -> asyncio.Task[Any]:
        """See asyncio."""
        self._tasks += 1
        _Task._number = self._tasks  # while asyncio registers it; then its own
        task = _Task(coro, loop=self, name=name or f"task-{self._tasks}", context=context)
        task._number = self._tasks
        return task

    def run_forever(self) -> None:
        """Run until `stop`."""
        self._run(lambda: self._stopping)
        self._stopping = False

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future` is done, and return its result.

        Raises:
            Deadlock: it waits for something that nobody will ever do.
        """
        task = asyncio.ensure_future(future, loop=self)
        self._run(task.done)
        return task.result()

    def _run(self, is_done: Callable[[], bool]) -> None:
        if self._running:
            raise RuntimeError("the loop is running already")
        self._running = True
        before = events._get_running_loop()
        events._set_running_loop(self)
        ready, due = self._ready, self._due
        try:
            while not is_done():
                if ready:
                    handle = ready.popleft()
                elif due:
                    key, _, handle = heapq.heappop(due)
                    if handle.is_canceled:
                        continue
                    if key[0] > self.now_ns:
                        self.now_ns = key[0]
                else:
                    raise Deadlock("every task waits and nothing is scheduled: " + ", ".join(self._waiting()))
                if handle.context is None:
                    handle.callback(*handle.args)
                else:
                    handle.context.run(handle.callback, *handle.args)
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
        finally:
            self._running = False
            events._set_running_loop(before)

    def _waiting(self) -> list[str]:
        return sorted(task.get_name() for task in asyncio.all_tasks(self))

    def stop(self) -> None:
        """Leave `run_forever` after what is running now."""
        self._stopping = True

    def is_running(self) -> bool:
        """See asyncio."""
        return self._running

    def is_closed(self) -> bool:
        """See asyncio."""
        return self._closed

    def close(self) -> None:
        """See asyncio."""
        self._closed = True

    def get_debug(self) -> bool:
        """Return False: asyncio's debug mode measures wall time."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Ignore it: see `get_debug`."""

    def get_task_factory(self) -> None:
        """See asyncio."""

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: generators left open are closed when they are collected."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 asyncio's own
        """Do nothing: there are no threads."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Fail the run: an exception that nobody awaits is never let pass."""
        self._failure = context.get("exception") or RuntimeError(str(context.get("message")))
