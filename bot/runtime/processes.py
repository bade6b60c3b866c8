"""Other processes: a worker fed through pipes, a pool of jobs, a command that is watched, one that shares memory.

With `env.py` the only place that starts any (`tests/support/purity_lint.py`).
"""

import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog

from bot.runtime.env import core_count, monotonic_ns
from bot.runtime.spawning import spawn

log = structlog.get_logger()


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
        end = _now_s() + seconds
        while True:
            for line in self.said.splitlines():
                if words in line:
                    return line
            left = end - _now_s()
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
        end = _now_s() + seconds
        while self._listen(max(end - _now_s(), 0.0)):
            if _now_s() >= end:
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

    To start a program takes as long as the system likes, tens of milliseconds on a busy machine: one thread, made at
    the first, does it for all of them, without the interpreter's lock (`spawning.py`). Until then the process has no
    number. One that cannot be started is seen as one that has ended.

    Args:
        module: run as `python -m module`; it finds what this process finds.
        memory_bytes: how much memory to share.
        make_opening: returns the opening, told the descriptors of the memory and of the pipe for answers.
        threads: of the numerical libraries.
    """

    def __init__(
        self, module: str, *, memory_bytes: int, make_opening: Callable[[int, int], bytes], threads: int
    ) -> None:
        memory_file = os.memfd_create("inference")  # like the ends below the thread's, to be closed by it
        os.ftruncate(memory_file, memory_bytes)
        self.memory = mmap.mmap(memory_file, memory_bytes)
        self._answers, answers_end = os.pipe()
        requests_end, self._requests = os.pipe()
        os.set_blocking(self._answers, False)
        os.set_blocking(self._requests, False)
        opening = make_opening(memory_file, answers_end) + b"\n"
        if os.write(self._requests, opening) < len(opening):
            raise ValueError(f"an opening of {len(opening)} bytes does not fit into a pipe")
        self._pid = 0  # nobody's
        self._is_reaped = self._is_killed = False
        self._lock = threading.Lock()  # of the three above
        limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
        self._started = _STARTER.submit(
            self._start, module, _child_environment() | limits, requests_end, answers_end, memory_file
        )

    @property
    def pid(self) -> int:
        """Return its number, 0 while it has none."""
        return self._pid

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when it has said something, or has ended."""
        return self._answers

    def wake(self, frame: bytes) -> bool:
        """Send a wake-up; return False where it cannot be sent, because the process has gone or does not read."""
        try:
            return os.write(self._requests, frame) == len(frame)
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
        with self._lock:
            if self._is_killed:
                return
            self._is_killed = True
            if self._pid and not self._is_reaped:
                os.kill(self._pid, signal.SIGKILL)
        os.close(self._requests)
        os.close(self._answers)
        with suppress(BufferError):  # somebody still looks at it; it goes with them
            self.memory.close()

    def is_reaped(self, *, wait: bool = False) -> bool:
        """Return whether nothing of a killed process is left; the system may take a while to take it apart."""
        if wait:
            self._started.result()
        if not self._started.done():
            return False
        with self._lock:
            if self._pid and not self._is_reaped:
                self._is_reaped = os.waitpid(self._pid, 0 if wait else os.WNOHANG)[0] == self._pid
            return self._is_reaped or not self._pid

    def _start(self, module: str, environment: dict[str, str], requests: int, answers: int, memory: int) -> None:
        command = [sys.executable, "-m", module]
        try:
            pid = spawn(command, environment, stdin=requests, keep=(memory, answers))
        except OSError as refused:
            log.error("process.not_started", command=command, reason=str(refused))
            return
        finally:
            for each in (requests, answers, memory):
                os.close(each)
        with self._lock:
            self._pid = pid
            if self._is_killed:
                os.kill(pid, signal.SIGKILL)


class LinkedProcess:
    """A Python module in a process of its own, at the other end of a socket, which is its standard input.

    Make it, end it and wait for it in a thread: the system takes its time for each (`spawning.py`).

    Args:
        module: run as `python -m module`; it finds what this process finds.
        without: variables of the environment that it is not given.

    Attributes:
        end: this process's end of the socket; whoever made it closes it.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, module: str, *, without: Sequence[str] = ()) -> None:
        self.end, theirs = socket.socketpair()
        environment = {name: value for name, value in _child_environment().items() if name not in without}
        try:
            self.pid = spawn([sys.executable, "-m", module], environment, stdin=theirs.fileno(), keep=())
        except OSError:
            self.end.close()
            raise
        finally:
            theirs.close()

    def kill(self) -> None:
        """End it at once; `wait` is still to be called."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> None:
        """Wait until it has ended; end it after so many seconds."""
        deadline_s = _now_s() + seconds
        while os.waitpid(self.pid, os.WNOHANG)[0] != self.pid:
            if _now_s() > deadline_s:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return
            select.select([], [], [], _LOOK_S)


_LOOK_S = 0.01  # between two looks whether a process has ended

_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


def _child_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _now_s() -> float:
    return monotonic_ns() / 1e9
