"""How fast market data comes into the native store, and out of it again."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import market
from benchmarks.archive_day import archive_day
from benchmarks.measure import RUNS, figure, main
from bot.app.data import import_files
from bot.runtime.env import Stopwatch, peak_memory_bytes
from bot.store.importing.options import ImportOptions
from bot.store.store_history import StoreHistory

COUNT = 2_000_000


@contextmanager
def imported() -> Iterator[Path]:
    """Give the dataset of the archive's day in a store of its own."""
    with tempfile.TemporaryDirectory() as store:
        _import(Path(store))
        yield Path(store) / "bybit-linear" / "BTCUSDT" / "trades"


def _import(store: Path) -> None:
    (done,) = import_files([archive_day(COUNT)], store=store, options=ImportOptions())
    assert done.status == "imported", done.reason


def import_day() -> dict[str, Any]:
    """Import a packed archive day of two million trades into an empty store."""
    seconds = []
    for _ in range(RUNS + 1):
        with tempfile.TemporaryDirectory() as store:
            watch = Stopwatch()
            _import(Path(store))
            seconds.append(watch.seconds())
    return figure("import an archive day of 2 M trades, csv.gz", "s", seconds[1:], lambda s: s)


def import_day_again() -> dict[str, Any]:
    """Import it into a store that holds it: nothing changes."""
    seconds = []
    with tempfile.TemporaryDirectory() as store:
        _import(Path(store))
        for _ in range(RUNS):
            watch = Stopwatch()
            _import(Path(store))
            seconds.append(watch.seconds())
    return figure("import it again", "s", seconds, lambda s: s)


def import_command() -> dict[str, Any]:
    """Import it by `bot data import`, the interpreter's start included."""
    seconds = []
    path = archive_day(COUNT)
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as store:
            watch = Stopwatch()
            command = [sys.executable, "-m", "bot", "data", "import", str(path), "--store", store]
            subprocess.run(command, check=True, capture_output=True, cwd=market.ROOT)
            seconds.append(watch.seconds())
    return figure("the same by `bot data import`, start included", "s", seconds, lambda s: s)


def import_memory() -> dict[str, Any]:
    """Tell the peak memory of a process that imports it."""
    with tempfile.TemporaryDirectory() as store:
        _import(Path(store))
    return figure("peak memory of that import", "MB", [peak_memory_bytes() / 1e6], lambda x: x)


def read_trades() -> dict[str, Any]:
    """Read the day as a replay does: ticks, steps, all checks, slabs of 65,536 rows."""
    seconds = []
    with imported() as directory:
        for _ in range(RUNS + 1):
            watch = Stopwatch()
            history = StoreHistory(market.INSTRUMENT, directory)
            rows = sum(len(slab) for slab in history.slabs(65_536))
            seconds.append(watch.seconds())
            assert rows == COUNT
    return figure("read 2 M trades from the store", "trades/s", seconds[1:], lambda s: COUNT / s)


def read_hour() -> dict[str, Any]:
    """Read one hour out of the day."""
    seconds = []
    hour_ns = 3_600_000_000_000
    start_ns = 1_723_075_200 * 10**9 + 12 * hour_ns
    with imported() as directory:
        for _ in range(RUNS + 1):
            watch = Stopwatch()
            history = StoreHistory(market.INSTRUMENT, directory, from_ns=start_ns, to_ns=start_ns + hour_ns)
            assert sum(len(slab) for slab in history.slabs(65_536))
            seconds.append(watch.seconds())
    return figure("read one hour of it", "ms", seconds[1:], lambda s: s * 1e3)


BENCHMARKS = {
    function.__name__: function
    for function in (import_day, import_day_again, import_command, import_memory, read_trades, read_hour)
}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
