"""How much memory `bot train` takes for a year of minutes with 64 features, from a file of bars to the artefact.

The bars are 527,040 minutes from the project's seeded generator, written as Parquet and read as anybody's would be.
Nothing is cut short but the number of steps: the panel, normalisers, the labels of every minute, a training, the choice
on validation, the test, the calibration and the artefact with its recorded answers. The flagship is stopped by Ctrl-C
after its first steps, which is all before the test. Memory is the most that the process held, by the kernel's own count
(VmHWM, pages of mapped files included), and that of each process that it started. `python -m
benchmarks.bench_training NAME` measures one.
"""

import json
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import market
from benchmarks.measure import Figure, main
from bot.core.features.presets import FULL
from bot.runtime.env import seeded_generator

START_MS = 1_704_067_200_000  # 2024-01-01
# Without what a file of bars does not tell: funding, turnover, and trades.
NOT_TOLD = ("funding_rate", "orderflow_imbalance", "trade_intensity", "realised_volatility")
NOT_TOLD += ("vwap_distance(1)", "vwap_distance(20)")
CONFIG = """
[market]
source = "files"
[[market.instruments]]
name = "YEARUSDT"
base = "YEAR"
quote = "USDT"
tick_size = 0.01
qty_step = 0.001
qty_min = 0.001
qty_max = 1000
bars = "{work}/year.parquet"
bar_interval = "1m"
off_grid = "round"
[bars]
scales = ["1m", "5m", "15m", "1h"]
[features]
use = {use}
[model]
preset = "{preset}"
scales = ["1m", "5m", "15m", "1h"]
horizons = ["5m", "1h"]
[labels]
unit = "ewma_volatility_0_94"
[split]
train = "300d"
validation = "7d"
test = "7d"
calibration = "7d"
[train]
epochs = 1
cache = "{work}/panels"
threads = 1
evaluate_every = 1_000
resamples = 100
{plan}
"""


def flagship() -> Figure:
    """Tell the peak of the flagship at its full size: stretches of 1,024 decisions, two at a time, a dozen steps."""
    return _train("flagship-full", "batch = 2\nsegment = 1_024\nlog_every = 1", steps=12)


def windows() -> Figure:
    """Tell the peak of a network that reads a window anew for each decision, 1,440 minutes and three other scales."""
    return _train("multiscale", "batch = 16\nthin = 2_000")


def _train(preset: str, plan: str, *, steps: int | None = None) -> Figure:
    """Train as a user does, to the artefact or to a step after which Ctrl-C is pressed."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "year.toml")
        _write_year(Path(work, "year.parquet"))
        use = json.dumps([*(name for name in FULL if name not in NOT_TOLD), "volatility(50)"])
        path.write_text(CONFIG.format(work=work, preset=preset, plan=plan, use=use))
        command = [sys.executable, "-m", "bot", "train", "--config", str(path), "--out", f"{work}/artifacts", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=market.ROOT, text=True) as process:
            peaks, is_stopped = {}, False
            while True:
                if steps is not None and not is_stopped and _steps_in(Path(work)) >= steps:
                    process.send_signal(signal.SIGINT)
                    is_stopped = True
                peaks |= {pid: peak for pid in _family(process.pid) if (peak := _peak_bytes(pid))}
                try:
                    said, _ = process.communicate(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    continue
        if process.returncode and not is_stopped:
            raise SystemExit(f"bot train ended with {process.returncode}")
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = f"{_steps_in(Path(work))} steps" if is_stopped else json.loads(said)["model"]
    gigabytes = sum(peaks.values()) / 1e9
    name = f"{preset}, a year of minutes x 64 features: {done}, {cpu.ru_utime + cpu.ru_stime:,.0f} s of CPU; peak"
    return {"name": name, "unit": "GB", "best": gigabytes, "median": gigabytes}


def _steps_in(work: Path) -> int:
    """Return how many steps a training has noted."""
    return sum(path.read_text().count('"loss"') for path in work.glob("artifacts/training/*/fold-1/metrics.jsonl"))


def _write_year(path: Path) -> None:
    """Write 366 days of minutes: a walk whose volatility changes by the hour, and volumes."""
    dice = seeded_generator(7, "a year of minutes")
    count = 366 * 1440
    size = 0.0006 * np.exp(np.repeat(0.5 * dice.standard_normal(count // 60), 60))
    close = 20_000 * np.exp(np.cumsum(size * dice.standard_normal(count)))
    opened = np.concatenate([[20_000.0], close[:-1]])
    reach = 0.5 * np.abs(size * dice.standard_normal((2, count)))
    columns = {
        "ts": START_MS + 60_000 * np.arange(count),
        "open": opened,
        "high": np.maximum(opened, close) * (1 + reach[0]),
        "low": np.minimum(opened, close) * (1 - reach[1]),
        "close": close,
        "volume": np.exp(dice.standard_normal(count)),
    }
    pq.write_table(pa.table({name: np.round(c, 3) if name != "ts" else c for name, c in columns.items()}), path)


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _peak_bytes(pid: int) -> int:
    try:
        told = Path(f"/proc/{pid}/status").read_text()
        return 1024 * int(told.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return 0


BENCHMARKS = {"flagship": flagship, "windows": windows}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
