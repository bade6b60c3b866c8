"""A paper run in a process of its own that tells what it holds: for trials of hours.

`python -m tests.support.long_run CONFIG WATCH_S` trades until SIGTERM, and writes a line of JSON at every look: the
venue's time, memory of this process and of its children, tasks of the loop, entries of the ledger. The last line tells
the tasks that outlived the run.
"""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from bot.app.trading import Trading
from bot.domain.operation import Phase
from bot.runtime import logs
from bot.runtime.trade_settings import load_trade
from bot.venues.bybit.credentials import Credentials


def main() -> None:
    """Trade."""
    settings = load_trade(Path(sys.argv[1]), [])
    watch_s = float(sys.argv[2])
    logs.configure("warning")
    credentials = Credentials(key=settings.emulator.key, secret=settings.emulator.secret)

    async def run() -> None:
        trading = Trading(settings, "paper", credentials, tell)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, trading.stop)
        watching = asyncio.create_task(watch(trading, watch_s))
        watching.add_done_callback(lambda task: trading.stop())  # it ends only by an error
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


async def watch(trading: Trading, every_s: float) -> None:
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
        )


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
