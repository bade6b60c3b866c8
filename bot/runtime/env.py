"""The only door to time, randomness, ids and the process: everything else receives what it needs from here.

A lint (`tests/support/purity_lint.py`) keeps it so; that is what makes a run repeatable.
"""

import asyncio
import fcntl
import gc
import mmap
import os
import queue
import resource
import secrets
import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
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


class ProcessWorker:
    """A `ports.Worker`: a Python module in a process of its own, fed through pipes.

    What the pipe cannot take yet waits in memory, so that its starting up holds nobody up.

    Args:
        module: run as `python -m module`; it finds what this process finds.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_child_environment()
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


class ProcessPool:
    """A Python module run once for each job, each in a process of its own, as many at a time as there are cores.

    A process reads its job from its standard input and answers with lines on its standard output. Ctrl-C on the
    terminal does not reach it: who made the pool hears it, and decides. Left alone, as its parent was killed, a process
    cannot write its next line; that is how it notices.

    Args:
        module: run as `python -m module`; it finds what this process finds.
        jobs: what each process is given to read.
        at_once: how many run at a time; None for one for each core.
    """

    def __init__(self, module: str, jobs: Sequence[bytes], *, at_once: int | None = None) -> None:
        self._module = module
        self._jobs = jobs
        self._at_once = at_once or core_count()
        self._next = 0
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._partial: dict[int, bytes] = {}
        self._heard: deque[tuple[int, bytes | None]] = deque()

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield the number of a job and a line of its process, None when it has ended, until all have.

        Who leaves the iteration may begin another, which goes on.
        """
        while True:
            while self._heard:
                yield self._heard.popleft()
            while self._next < len(self._jobs) and len(self._running) < self._at_once:
                self._start(self._next)
                self._next += 1
            if not self._running:
                return
            self._listen()

    def stop(self) -> None:
        """Ask those that run to end (SIGTERM), and start no others; what they still say is among `lines`."""
        self._next = len(self._jobs)
        for process in self._running.values():
            process.terminate()

    def close(self) -> None:
        """End whatever still runs, at once."""
        self._next = len(self._jobs)
        for number in list(self._running):
            self._running[number].kill()
            self._end(number)

    def _listen(self) -> None:
        """Wait until one of the processes says something, or ends."""
        pipes = {p.stdout.fileno(): number for number, p in self._running.items() if p.stdout is not None}
        for pipe in select.select(list(pipes), [], [])[0]:
            number = pipes[pipe]
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                self._end(number)
                self._heard.append((number, None))
                continue
            *whole, self._partial[number] = (self._partial[number] + chunk).split(b"\n")
            self._heard.extend((number, line) for line in whole)

    def _start(self, number: int) -> None:
        self._partial[number] = b""
        process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_child_environment(),
            process_group=0,  # out of the terminal's reach
        )
        self._running[number] = process
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe:  # it may end without reading; its end will be seen
            pipe.write(self._jobs[number])

    def _end(self, number: int) -> None:
        process = self._running.pop(number)
        assert process.stdout is not None
        process.stdout.close()
        process.wait()


class CommandProcess:
    """`python -m module words...` as a process of its own, which says on stdout and stderr how far it has come.

    Attributes:
        said: all that it said so far.
    """

    def __init__(self, module: str, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_child_environment(),
        )
        self.said = ""

    def until(self, words: str, seconds: float) -> str:
        """Return the first line with these words in it, once it is said.

        Raises:
            TimeoutError: not within so many seconds.
            ChildProcessError: it ended without having said so.
        """
        end = time.monotonic() + seconds
        while True:
            for line in self.said.splitlines():
                if words in line:
                    return line
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not said within {seconds:g} s: {words}")
            if not self._listen(left) and words not in self.said:
                raise ChildProcessError(self.said.strip().rpartition("\n")[2] or "it ended without a word")

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Hear it out, and return how it ended.

        Raises:
            TimeoutError: it goes on.
        """
        end = time.monotonic() + seconds
        while self._listen(max(end - time.monotonic(), 0.0)):
            if time.monotonic() >= end:
                raise TimeoutError(f"it goes on after {seconds:g} s")
        return self._process.wait()

    def close(self) -> None:
        """Kill it if it goes on, and let go of it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _listen(self, seconds: float) -> bool:
        """Read what it says within so many seconds; return whether it may say more."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return True
        heard = os.read(self._process.stdout.fileno(), 1 << 16)
        self.said += heard.decode(errors="replace")
        return bool(heard)


class SharedProcess:
    """A Python module in a process of its own that shares a stretch of memory and is never waited for.

    Both pipes carry wake-ups alone. The process reads its opening, a line of JSON, from its standard input, then
    wake-ups; it writes wake-ups to the descriptor that the opening names. What it prints goes to standard error.

    Args:
        module: run as `python -m module`; it finds what this process finds.
        memory_bytes: how much memory to share.
        make_opening: returns the opening, told the descriptors of the memory and of the pipe for answers.
        threads: of the numerical libraries.
    """

    def __init__(
        self, module: str, *, memory_bytes: int, make_opening: Callable[[int, int], bytes], threads: int
    ) -> None:
        self._memory_file = os.memfd_create("inference")
        os.ftruncate(self._memory_file, memory_bytes)
        self.memory = mmap.mmap(self._memory_file, memory_bytes)
        self._answers, answers_end = os.pipe()
        limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=_child_environment() | limits,
            pass_fds=(self._memory_file, answers_end),
            process_group=0,  # Ctrl-C is the parent's to answer
        )
        assert self._process.stdin is not None
        self._requests = self._process.stdin
        opening = make_opening(self._memory_file, answers_end)
        os.close(answers_end)
        with suppress(BrokenPipeError):  # its end will be seen
            self._requests.write(opening + b"\n")
            self._requests.flush()
        os.set_blocking(self._requests.fileno(), False)
        os.set_blocking(self._answers, False)

    @property
    def pid(self) -> int:
        """Return its number."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when it has said something, or has ended."""
        return self._answers

    def wake(self, frame: bytes) -> bool:
        """Send a wake-up; return False where it cannot be sent, because the process has gone or does not read."""
        try:
            return os.write(self._requests.fileno(), frame) == len(frame)
        except (BlockingIOError, BrokenPipeError):
            return False

    def read(self, bytes_max: int) -> bytes | None:
        """Return what it has written, b"" for nothing, None if it has ended."""
        try:
            return os.read(self._answers, bytes_max) or None
        except BlockingIOError:
            return b""

    def resident_bytes(self) -> int:
        """Return how much memory it holds, 0 if it has ended."""
        try:
            with Path(f"/proc/{self.pid}/statm").open("rb") as file:
                return int(file.read().split()[1]) * resource.getpagesize()
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        """End it at once, and let go of what was shared. May be called again."""
        if self._requests.closed:
            return
        self._process.kill()
        with suppress(BrokenPipeError):
            self._requests.close()
        os.close(self._answers)
        os.close(self._memory_file)
        with suppress(BufferError):  # somebody still looks at it; it goes with them
            self.memory.close()

    def is_reaped(self, *, wait: bool = False) -> bool:
        """Return whether nothing of a killed process is left; the system may take a while to take it apart."""
        if wait:
            self._process.wait()
        return self._process.poll() is not None


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


def _child_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


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

    def wait(self, seconds: float) -> None:
        """Sleep, for 0 s to see whether to go on.

        Raises:
            Stopped: told to stop, before or meanwhile.
        """
        if self._event.wait(seconds):
            raise Stopped


def run_in_thread(work: Callable[[StopFlag], T]) -> T:
    """Return what `work` returns, done in a thread: Ctrl-C is heard at once, however long a call in it blocks.

    Ctrl-C sets the flag and waits for the work to end; a second one leaves it.

    Raises:
        KeyboardInterrupt: Ctrl-C. Also whatever the work raises.
    """
    flag = StopFlag()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work(flag))
        except BaseException as error:  # purity: handed on to the caller's thread, which raises it
            outcome.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
        return outcome.result()
    except KeyboardInterrupt:
        flag.stop()
        if thread.ident is not None:
            outcome.exception()
        raise


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
    return f"{started}-{label}-{os.getpid():x}"


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


def settle_memory(*, young: int = 2_000_000) -> None:
    """Take what is loaded by now out of the garbage collector's sight, and let it run less often.

    The engine makes many small objects and no cycles; collecting them by counting is enough.

    Args:
        young: so many objects more than before, and the newest are looked through: few where a pause matters.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(young, 50, 50)
