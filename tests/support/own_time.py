"""How long code keeps its thread for itself, told apart from how long a busy machine lets the thread wait its turn.

A call that takes 100 ms by the clock of a machine with ten others on two cores may have done nothing wrong. What counts
against it is its processor time, and what it spent blocked: on a lock, a disk, another process. The kernel counts the
third part, ready to run and waiting for a processor, for each thread (`schedstat`); that part is left out.
"""

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(kw_only=True, slots=True)
class Stretch:
    """One stretch of code, in ms."""

    wall: float = 0.0
    cpu: float = 0.0
    queued: float = 0.0  # ready to run, and no processor was free

    @property
    def own(self) -> float:
        """Return the processor time and the time blocked."""
        return max(self.cpu, self.wall - self.queued)

    def __str__(self) -> str:
        return f"{self.own:.1f} ms of its own ({self.wall:.1f} by the clock, {self.cpu:.1f} of a processor)"


class ThreadTimes:
    """Reads the three clocks of the thread that made it."""

    def __init__(self) -> None:
        self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)  # not before: a stretch may end after whoever asked has gone

    def now(self) -> tuple[int, int, int]:
        """Return wall, processor and queued time so far, in ns."""
        queued = int(os.pread(self._file, 64, 0).split()[1])
        return time.perf_counter_ns(), time.thread_time_ns(), queued

    def since(self, start: tuple[int, int, int]) -> Stretch:
        """Return what passed since `now` said this."""
        wall, cpu, queued = (after - before for after, before in zip(self.now(), start, strict=True))
        return Stretch(wall=wall / 1e6, cpu=cpu / 1e6, queued=queued / 1e6)


@dataclass(slots=True)
class Slowest:
    """The slowest of many stretches, by what they took for themselves.

    Use as a context manager around each of them.
    """

    worst: Stretch = field(default_factory=Stretch)
    worst_wall: float = 0.0
    count: int = 0
    _times: ThreadTimes = field(default_factory=ThreadTimes)
    _start: tuple[int, int, int] = (0, 0, 0)

    def __enter__(self) -> None:
        self._start = self._times.now()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        found = self._times.since(self._start)
        self.count += 1
        self.worst_wall = max(self.worst_wall, found.wall)
        if found.own > self.worst.own:
            self.worst = found


@contextmanager
def watched_callbacks(slower_than_ms: float = 5.0) -> Iterator[list[tuple[Stretch, str]]]:
    """Note every callback of this thread's event loop that keeps it for longer, with its name, while the block runs."""
    times, noted, run = ThreadTimes(), [], asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        name, start = None, times.now()
        callback = handle._callback  # type: ignore[attr-defined]
        task = getattr(callback, "__self__", None)
        if isinstance(task, asyncio.Task):
            name = _named(task)
        run(handle)
        found = times.since(start)
        if found.own > slower_than_ms:
            noted.append((found, name or _called(callback)))

    asyncio.Handle._run = timed  # type: ignore[assignment, method-assign]
    try:
        yield noted
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


def _named(task: "asyncio.Task[Any]") -> str:
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None)
    file = "" if code is None else code.co_filename
    return f"{file}:{getattr(coroutine, '__qualname__', coroutine)}"


def _called(callback: Callable[..., Any]) -> str:
    module = getattr(callback, "__module__", "") or type(callback).__module__
    return f"{module}:{getattr(callback, '__qualname__', repr(callback))}"
