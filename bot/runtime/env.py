"""The only door to time, randomness, ids and the process: everything else receives what it needs from here.

A lint (`tests/support/purity_lint.py`) keeps it so; that is what makes a run repeatable.
"""

import asyncio
import fcntl
import gc
import os
import resource
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bot.core.calendar import NEVER, Key
from bot.ports import Cancelable
from bot.runtime.virtual_loop import VirtualLoop


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Return ns since the epoch, UTC."""
        return time.time_ns()


class ScaledClock:
    """A clock that starts at a given time and runs `speed` times as fast as the machine's.

    Durations come from the monotonic clock, so that a step of the wall clock cannot reach it.
    """

    def __init__(self, *, start_ns: int, speed: float) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be positive, not {speed}")
        self._start_ns = start_ns
        self.speed = speed
        self._origin_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Return ns since the epoch, UTC, on this clock."""
        return self._start_ns + int((time.monotonic_ns() - self._origin_ns) * self.speed)


class LiveCalendar:
    """A calendar on a clock that runs by itself: what has arrived has happened, so there is no horizon."""

    def __init__(self, clock: SystemClock | ScaledClock) -> None:
        self._clock = clock
        self._speed = clock.speed if isinstance(clock, ScaledClock) else 1.0

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        return self._clock.now_ns()

    def horizon(self) -> Key:
        """See `ports.Calendar`."""
        return NEVER

    def advance(self, time_ns: int) -> None:
        """See `ports.Calendar`: time moves by itself."""

    def schedule(self, key: Key, callback: Callable[..., None], *args: Any) -> Cancelable:
        """See `ports.Calendar`. What is due already is called on the loop's next turn."""
        loop = asyncio.get_running_loop()
        wait_ns = key[0] - self._clock.now_ns()
        if wait_ns <= 0:
            return loop.call_soon(callback, *args)
        return loop.call_later(wait_ns / 1e9 / self._speed, callback, *args)


class VirtualCalendar:
    """The calendar of a replay: a virtual loop's."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.horizon = loop.horizon
        self.advance = loop.advance
        self.schedule = loop.schedule

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        return self._loop.now_ns


class ProcessWorker:
    """A `ports.Worker`: a Python module in a process of its own, fed through pipes.

    What the pipe cannot take yet waits in memory, so that its starting up holds nobody up.

    Args:
        module: run as `python -m module`; it finds what this process finds.
    """

    def __init__(self, module: str) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        with suppress(OSError, AttributeError):  # Linux: each turn hands over so much; less only takes more turns
            fcntl.fcntl(self._requests, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.set_blocking(self._requests.fileno(), False)
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0

    def send(self, frame: bytes) -> None:
        """See `ports.Worker`."""
        for part in (len(frame).to_bytes(4, "little"), frame):
            self._waiting.append(memoryview(part))
            self._waiting_bytes += len(part)
        self._flush(_WORKER_BYTES_MAX)

    def receive(self) -> bytes | None:
        """See `ports.Worker`."""
        with suppress(BrokenPipeError):
            self._flush(0)
        header = self._answers.read(4)
        return self._answers.read(int.from_bytes(header, "little")) if len(header) == 4 else None

    def close(self) -> None:
        """See `ports.Worker`."""
        with suppress(BrokenPipeError):
            self._flush(0)
        self._requests.close()
        self._answers.close()
        self._process.wait()

    def _flush(self, bytes_max: int) -> None:
        """Write what the pipe takes; wait for it only while more than `bytes_max` are left."""
        pipe = self._requests.fileno()
        while self._waiting:
            try:
                written = os.write(pipe, self._waiting[0])
            except BlockingIOError:
                if self._waiting_bytes <= bytes_max:
                    return
                select.select([], [pipe], [])
                continue
            self._waiting_bytes -= written
            if written < len(self._waiting[0]):
                self._waiting[0] = self._waiting[0][written:]
            else:
                self._waiting.popleft()


_WORKER_BYTES_MAX = 64 << 20


class Stopwatch:
    """Measures how long something really took."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds since it was made."""
        return time.perf_counter() - self._start


def seeded_generator(seed: int, stream: str) -> np.random.Generator:
    """Return a generator that depends on `seed` and the name `stream` alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *stream.encode()])))


def make_run_id(label: str) -> str:
    """Return a name for a run: when it started, what it ran, and which process it was."""
    started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{started}-{label}-{os.getpid():x}"


def utc_now() -> datetime:
    """Return the wall clock's time."""
    return datetime.now(UTC)


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def settle_memory() -> None:
    """Take what is loaded by now out of the garbage collector's sight, and let it run less often.

    The engine makes many small objects and no cycles; collecting them by counting is enough.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000_000, 50, 50)
