"""What the machine did to a process while it worked: whether its core was taken from it, and by whom.

Two witnesses, neither of which looks at how long the work took. `python -m benchmarks.surfaces_marks CORE` is a process
with real-time priority on the watched core that wants to wake each millisecond: nothing of ours can hold it up, so
where it wakes late nobody could run there, because the host (or the kernel) had the core. It also follows the core's
stolen time in /proc/stat, whose grain is 10 ms. `Readings` tells how long threads of a process were ready to run and
did not, less what their own process used of the core meanwhile: what is left was another program.
"""

import contextlib
import json
import os
import select
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LATE_NS = 1_000_000  # a core that was away for so long was taken; the rule for both arms
BEFORE_NS = 200_000_000  # what was held up before a wish is still being caught up with when it comes
BUSY_BEFORE_NS = 5_000_000  # another program's share of the time between two wishes that counts as such
SLOW_SYNC_NS = 10_000_000  # a write and sync of the ledger that takes so long waited for the disk
_STEP_S = 0.001
_STAT_EVERY = 10  # steps between two looks at stolen time
_TICK_NS = 10_000_000  # of stolen time: it may be booked so late
_PRIORITY = 10

Span = tuple[int, int]  # from and to, by `time.perf_counter_ns`, which all processes of a machine share


class Reading(NamedTuple):
    """How far the clocks of two threads and their process had come."""

    loop_cpu_ns: int
    loop_wait_ns: int
    disk_cpu_ns: int
    disk_wait_ns: int
    process_cpu_ns: int


class Readings:
    """Reads how long the event loop's thread and the disk's waited for a core; take readings in the loop's thread."""

    def __init__(self) -> None:
        self._loop = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._disk: int | None = None

    def watch_disk(self, thread: int) -> None:
        """Take that thread for the one that writes the ledger."""
        if self._disk is None:
            self._disk = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)

    def take(self) -> Reading:
        """Return how things stand."""
        loop_wait_ns = _schedstat(self._loop)[1]
        disk_cpu_ns, disk_wait_ns = (0, 0) if self._disk is None else _schedstat(self._disk)
        return Reading(time.thread_time_ns(), loop_wait_ns, disk_cpu_ns, disk_wait_ns, time.process_time_ns())


def _schedstat(file: int) -> tuple[int, int]:
    cpu, wait, _ = os.pread(file, 96, 0).split()
    return int(cpu), int(wait)


def foreign_ns(before: Reading, after: Reading) -> int:
    """Return how long another program kept the core from a thread that was ready to run."""
    used_ns = after.process_cpu_ns - before.process_cpu_ns
    of_loop = after.loop_wait_ns - before.loop_wait_ns - (used_ns - (after.loop_cpu_ns - before.loop_cpu_ns))
    of_disk = after.disk_wait_ns - before.disk_wait_ns - (used_ns - (after.disk_cpu_ns - before.disk_cpu_ns))
    return max(0, of_loop, of_disk)


class Away:
    """When a core was away."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = sorted(spans)
        self._ends = [0] * len(self._spans)
        latest = 0
        for number, (_, to_ns) in enumerate(self._spans):
            latest = self._ends[number] = max(latest, to_ns)

    @property
    def length_ns(self) -> int:
        """Return for how long it was away in all."""
        total = until = 0
        for from_ns, to_ns in self._spans:
            total += max(0, to_ns - max(from_ns, until))
            until = max(until, to_ns)
        return total

    def touches(self, from_ns: int, to_ns: int) -> bool:
        """Return whether any of it lies in this window."""
        first = bisect_left(self._ends, from_ns)
        return first < len(self._spans) and self._spans[first][0] <= to_ns


def _stolen(file: int, name: bytes) -> int:
    for line in os.pread(file, 8_192, 0).splitlines():
        if line.startswith(name):
            return int(line.split()[8])
    return 0


def watch(core: int) -> dict[str, object]:
    """Watch a core until standard input closes; return when it was away, and for how much of the time.

    Returns:
        "spans", see `Span`; "stolen_s" of "seconds"; "real_time" whether the wakes could be timed at all: without the
        right to it only stolen time is followed, from another core.
    """
    is_real_time = False
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
        os.sched_setaffinity(0, {core})
        is_real_time = True
    if not is_real_time and len(others := os.sched_getaffinity(0) - {core}):
        os.sched_setaffinity(0, others)
    file, name = os.open("/proc/stat", os.O_RDONLY), b"cpu%d " % core
    spans: list[Span] = []
    began_ns = looked_ns = time.perf_counter_ns()
    first = stolen = _stolen(file, name)
    step = 0
    print("watching", flush=True)
    while True:
        slept_ns = time.perf_counter_ns()
        time.sleep(_STEP_S)
        now_ns = time.perf_counter_ns()
        if is_real_time and now_ns - slept_ns - int(_STEP_S * 1e9) > LATE_NS:
            spans.append((slept_ns + int(_STEP_S * 1e9), now_ns))
        step += 1
        if step % _STAT_EVERY == 0:
            newest = _stolen(file, name)
            if newest != stolen:
                spans.append((looked_ns - _TICK_NS, now_ns))
            stolen, looked_ns = newest, now_ns
            if select.select([sys.stdin], [], [], 0)[0]:
                break
    seconds = (time.perf_counter_ns() - began_ns) / 1e9
    hertz = os.sysconf("SC_CLK_TCK")
    return {"spans": spans, "stolen_s": (stolen - first) / hertz, "seconds": seconds, "real_time": is_real_time}


def main(core: str, to: str) -> None:
    """Watch that core; write what was seen to a file once standard input closes."""
    Path(to).write_text(json.dumps(watch(int(core))), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
