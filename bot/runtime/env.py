"""The only door to time, randomness, ids and the process: everything else receives what it needs from here.

A lint (`tests/support/purity_lint.py`) keeps it so; that is what makes a run repeatable.
"""

import asyncio
import atexit
import gc
import os
import queue
import resource
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from bot.core.calendar import NEVER, Key
from bot.ports import Cancelable
from bot.runtime.virtual_loop import VirtualLoop

T = TypeVar("T")


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


class WriterThread:
    """One thread that does what it is given, in order, off the event loop: a `ports.OffLoop`."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def __call__(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises.

        It is never left half done: whoever stops waiting for it does not stop it.
        """
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def close(self) -> None:
        """Wait until all that was given is done, and end the thread."""
        self._thread.shutdown()


def core_count() -> int:
    """Return how many cores this process may use."""
    with suppress(AttributeError):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def answer_pipe() -> BinaryIO:
    """Return the standard output for answers alone: whatever else is printed goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


class Stopwatch:
    """Measures how long something really took."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds since it was made."""
        return time.perf_counter() - self._start


def monotonic_ns() -> int:
    """Return ns since some time in the past: for durations alone."""
    return time.monotonic_ns()


def process_age_ns() -> int:
    """Return how long ago this process was started, to a hundredth of a second; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        began_ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        up_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return max(0, int((up_s - began_ticks / os.sysconf("SC_CLK_TCK")) * 1e9))
    return 0


def host_name() -> str:
    """Return the machine's name."""
    return socket.gethostname()


class Stopped(Exception):
    """The work was told to stop, and did."""


class StopFlag:
    """How a thread that works is told to stop, and what it sleeps on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def stop(self) -> None:
        """End the sleep there is, and every later one."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Return whether it has been told."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, for 0 s to see whether to go on.

        Raises:
            Stopped: told to stop, before or meanwhile.
        """
        if self._event.wait(seconds):
            raise Stopped


def run_in_thread(work: Callable[[StopFlag], T], *, patience_s: float | None = None) -> T:
    """Return what `work` returns, done in a thread: Ctrl-C is heard at once, however long a call in it blocks.

    Ctrl-C, or SIGTERM, sets the flag and waits for the work to end; a second one leaves it.

    Args:
        work: what is done. It raises `Stopped`, or what it likes, where it ends early.
        patience_s: how long it may take to end; then it is left where it is, as if killed. None: as long as it likes.
    Raises:
        KeyboardInterrupt: it was stopped. Also whatever else the work raises.
    """
    flag = StopFlag()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work(flag))
        except BaseException as error:  # purity: handed on to the caller's thread, which raises it
            outcome.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    with _interruptible():
        try:
            thread.start()
            return outcome.result()
        except KeyboardInterrupt as interrupt:
            flag.stop()
            if thread.ident is None:
                raise
            try:
                return outcome.result(patience_s)  # it may have been through already
            except Stopped:
                raise interrupt from None
            except (KeyboardInterrupt, TimeoutError):
                if not outcome.done():
                    atexit.register(_leave_at_once)
                raise interrupt from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, within the block; nothing where signals are another thread's to hear.

    A program that a shell's `&` has started ignores SIGINT, and hears it here as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _leave_at_once() -> None:
    """End the process with work left in the middle: it must not meet the interpreter taking itself apart."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


async def call_in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, done beside the event loop; leaving early does not end it."""
    return await asyncio.to_thread(work)


def wait_for_file(path: Path, seconds: float) -> str | None:
    """Return what is in a file once it is there, and remove it; None if it does not come in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            text = path.read_text(encoding="utf-8")
            path.unlink()
            return text
        time.sleep(0.02)
    return None


def read_ahead(items: Iterator[T], bound: int = 2) -> Iterator[T]:
    """Yield the items of an iterator that is run in a thread, at most `bound` items ahead.

    What it raises is raised here. Leaving early ends the thread once the item in the making is done.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(bound)
    left = threading.Event()

    def run() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                waiting.put((item, None))
                if left.is_set():
                    return
        except BaseException as error:  # purity: handed on to the reader's thread, which raises it
            end = error
        waiting.put((None, end or StopIteration()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item, end = waiting.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]
    finally:
        left.set()
        while thread.is_alive():  # it may be waiting for room
            with suppress(queue.Empty):
                waiting.get(timeout=0.01)
        thread.join()


def seeded_generator(seed: int, stream: str) -> np.random.Generator:
    """Return a generator that depends on `seed` and the name `stream` alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *stream.encode()])))


def make_run_id(label: str) -> str:
    """Return a name for a run: when it started, what it ran, and which process it was."""
    started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{started}-{label[:60]}-{os.getpid():x}"  # the page shows names of up to 120 characters


def draw_digits(count: int) -> str:
    """Return so many decimal digits that nobody can guess."""
    return f"{secrets.randbelow(10**count):0{count}d}"


def make_token() -> str:
    """Return what nobody can guess: 256 bits from the system, fit for a URL."""
    return secrets.token_urlsafe(32)


def utc_now() -> datetime:
    """Return the wall clock's time."""
    return datetime.now(UTC)


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def take_turns_often(seconds: float = 0.0005) -> None:
    """Let a thread of Python that waits for its turn have it after so long, rather than after five milliseconds.

    An order changes threads twice on its way, to the disk and back; threads of the page, the chat and the log must not
    stand in its way for longer than one of their own steps.
    """
    sys.setswitchinterval(seconds)


def settle_memory(*, young: int = 2_000_000, older: int = 50) -> None:
    """Take what is loaded by now out of the garbage collector's sight, and let it run less often.

    The engine makes many small objects and no cycles; collecting them by counting is enough.

    Args:
        young: so many objects more than before, and the newest are looked through: few where a pause matters.
        older: after so many of those looks all that was made since is looked through: few where connections break,
            for what they leave behind (sockets, tracebacks) is in cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(young, older, older)
