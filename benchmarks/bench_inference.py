"""How fast an artefact forecasts: a replay's blocks, the same depth window by window, and live through its process.

The full flagship preset, untrained: minutes, five minutes, hours and days; 1440, 288, 168 and 252 bars; width 128.

    python -m benchmarks.bench_inference replay|windows|live_1|live_32
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import main
from bot.core.features.schema import FeatureSchema
from bot.core.inference_frames import NewRows
from models.config import EncoderConfig
from models.encoder import build_encoder
from models.presets import preset
from models.serving.engine import Engine, open_engine
from models.serving.rows import ScaleRows, cut_block
from tests.support.served import write_config
from tests.support.serving import START_NS, Loop

BARS = ("1m", "5m", "1h", "1d")
FEATURES = ("log_return", "volatility(5)", "ewma_volatility(0.6)")
BLOCKS, WINDOWS, STEPS = 3, 8, 400


def replay() -> dict[str, Any]:
    """Return decisions, each a bar, a second: blocks as a replay asks for them."""
    engine = _engine()
    told, generator = engine.told, np.random.default_rng(0)
    at = START_NS // (told.block * told.decision_ns) + 1
    rows = {}
    for scale in told.scales:
        span = (scale.need + 3) * scale.length_ns + 3 * told.block * told.decision_ns
        last = (at + BLOCKS + 1) * told.block * told.decision_ns // scale.length_ns
        count = span // scale.length_ns + BLOCKS * told.block * told.decision_ns // scale.length_ns
        close_ns = scale.length_ns * np.arange(last - count + 1, last + 1, dtype=np.int64)
        rows[scale.bar] = ScaleRows.empty(len(told.schema.names))
        values = generator.normal(0, 1, (count, len(told.schema.names))).astype(np.float32)
        rows[scale.bar].extend(values, close_ns, close_ns)
    seconds = []
    unit_TH = np.full((told.block, len(told.unit.horizons_ns)), 1e-3)
    for number in range(at, at + BLOCKS + 1):
        start = time.perf_counter()
        block = cut_block(number, rows, told)
        assert block.is_answerable_T.all()
        engine.ask(block, 0, unit_TH)
        seconds.append(time.perf_counter() - start)
    return _rate("replay, flagship-full, one thread", "bars/s", [told.block / each for each in seconds[1:]])


def windows() -> dict[str, Any]:
    """Return decisions a second where equally deep encoders read each decision's windows anew, in batches."""
    torch.set_num_threads(1)
    config = preset("flagship-full", dict.fromkeys(BARS, FEATURES))
    rates = []
    for _ in range(3):
        seconds = 0.0
        for scale in config.scales:
            assert isinstance(scale.encoder, EncoderConfig)
            encoder = build_encoder(scale.encoder).eval()
            x = torch.randn(WINDOWS, scale.length, len(FEATURES))
            times = torch.arange(scale.length).repeat(WINDOWS, 1) * 60_000_000_000
            start = time.perf_counter()
            with torch.no_grad():
                encoder(x, times)
            seconds += time.perf_counter() - start
        rates.append(WINDOWS / seconds)
    return _rate(f"windows read anew, batches of {WINDOWS}, encoders alone", "bars/s", rates)


def live_1() -> dict[str, Any]:
    """Return the 99th percentile of a step of one instrument through the process, transport included."""
    return _live(1)


def live_32() -> dict[str, Any]:
    """Return the same of 32 instruments at once."""
    return _live(32)


def _live(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as store:
        names = tuple(f"COIN{number}USDT" for number in range(count))
        path = write_config(Path(store), preset("flagship-full", _features()), instruments=names)
        loop = Loop(path, instruments=names, warm=0)
        _remember(loop)
        try:
            loop.until_ready(600)
            seconds = []
            (pid,) = [each.pid for each in loop.service.processes]
            spent = _processor_seconds(pid) + time.process_time()
            for _ in range(STEPS):
                start = time.perf_counter()
                request_id = loop.ask()
                assert request_id is not None
                made = loop.outcome(request_id)
                seconds.append(time.perf_counter() - start)
                assert made.answers
                assert made.answers[-1].is_there
            spent = _processor_seconds(pid) + time.process_time() - spent
        finally:
            loop.close()
    taken = np.sort(np.array(seconds[20:])) * 1e3
    beside = f"median {np.median(taken):.1f}, processor {1e3 * spent / STEPS:.1f}"
    return {
        "name": f"live, flagship-full, {count} instruments, p99 ({beside})",
        "unit": "ms",
        "best": float(np.quantile(taken, 0.99)),
        "median": float(np.quantile(taken, 0.99)),
    }


def _processor_seconds(pid: int) -> float:
    """Return how much of a processor a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _remember(loop: Loop) -> None:
    """Give every scale the history that it needs, up to the loop's own time."""
    generator = np.random.default_rng(0)
    for number in range(len(loop.shape.instruments)):
        for scale, (scale_ns, need) in enumerate(zip(loop.shape.scale_ns, loop.shape.needs, strict=True)):
            last = loop.close_ns // scale_ns
            close_ns = scale_ns * np.arange(last - need - 3, last + 1, dtype=np.int64)
            values = np.abs(generator.normal(0.0005, 0.0003, (len(close_ns), loop.shape.features)))
            loop.history.add(
                NewRows(
                    instrument=number,
                    scale=scale,
                    close_ns=close_ns,
                    known_ns=close_ns,
                    values=values.astype(np.float32),
                )
            )


def _engine() -> Engine:
    with tempfile.TemporaryDirectory() as store:
        return open_engine(write_config(Path(store), preset("flagship-full", _features())))


def _features() -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(BARS, FeatureSchema(FEATURES, ["1m"]).names)


def _rate(name: str, unit: str, rates: list[float]) -> dict[str, Any]:
    return {"name": name, "unit": unit, "best": max(rates), "median": statistics.median(rates)}


BENCHMARKS = {"replay": replay, "windows": windows, "live_1": live_1, "live_32": live_32}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
