"""A paper run in a process of its own that tells what it holds: for trials of hours.

`python -m tests.support.long_run CONFIG WATCH_S` trades until SIGTERM, and writes a line of JSON at every look: the
venue's time, memory of this process and of its children, tasks of the loop, entries of the ledger. The last line tells
the tasks that outlived the run.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.domain.operation import Phase
from bot.runtime import logs
from bot.runtime.memory import give_memory_back
from bot.runtime.trade_settings import load_trade
from bot.venues.bybit.credentials import Credentials

if TYPE_CHECKING:
    from bot.app.trading import Trading


def main() -> None:
    """Trade, as the command line does."""
    give_memory_back()
    from bot.app.trading import Trading

    settings = load_trade(Path(sys.argv[1]), [])
    watch_s = float(sys.argv[2])
    logs.configure("warning")
    credentials = Credentials(key=settings.emulator.key, secret=settings.emulator.secret)

    async def run() -> None:
        trading = Trading(settings, "paper", credentials, tell)
        watching = asyncio.create_task(watch(trading, watch_s))
        watching.add_done_callback(lambda task: trading.stop())  # by the signal, or by an error
        # From then on the run lets go of what it holds: that is not looked at.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watching.cancel)
        await trading.run()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        left = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        say(left=left, directory=str(trading.directory))

    asyncio.run(run())


def tell(phase: Phase, text: str) -> None:
    """Write that the run is in another phase."""
    say(phase=phase.value, text=text)


def say(**fields: Any) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def watch(trading: "Trading", every_s: float) -> None:
    """Look at what the run holds, again and again."""
    while True:
        await asyncio.sleep(every_s)
        view = trading.view
        if view is None:
            continue
        children = children_of(os.getpid())
        say(
            at_ns=view._clock.now_ns(),
            own_mib=resident_mib(os.getpid()),
            children_mib=sum(map(resident_mib, children)),
            tasks=len(asyncio.all_tasks()),
            entries=view._store.head.seq,
            blocks=sys.getallocatedblocks(),
            **heap(),
        )


class _Heap(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    )


def heap() -> dict[str, float]:
    """Return what the C library holds: in use, free in its arenas, and mapped block by block, in MiB."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Heap
    said = ask()
    return {
        "heap_used_mib": said.uordblks / 2**20,
        "heap_free_mib": said.fordblks / 2**20,
        "heap_mapped_mib": said.hblkhd / 2**20,
    }


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started, by any of its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text(encoding="ascii").split()]


def resident_mib(pid: int) -> float:
    """Return how much memory of its own a process holds: libraries are mapped in as they are used, and shared."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) / 1024


if __name__ == "__main__":
    main()
