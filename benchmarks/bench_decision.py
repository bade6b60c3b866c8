"""What one live decision costs of a processor, whoever else is at work: the inference process's own steps.

    python -m benchmarks.bench_decision step_1|step_32|profile

From the bytes of a request to the bytes of its answer: unpack, normalise, encode the new bars of every scale that
closed, decide, calibrate, pack. The full flagship preset, untrained, one thread; every fifth decision has a five-minute
bar beside the minute's. Times are the thread's own (`time.thread_time`): others at work do not lengthen them by the
waiting, though they do by colder caches.
"""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_inference import _features as features_of
from benchmarks.measure import main
from bot.core.inference_frames import NewRows, Request, decode_request, encode_answers, encode_request
from models.presets import preset
from models.serving.engine import open_engine
from models.serving.process import Server, programs_of
from models.serving.told import shape_of
from tests.support.served import write_config
from tests.support.serving import START_NS, Bars

STEPS, WARM = 600, 40


def step_1() -> dict[str, Any]:
    """Return the 99th percentile of a decision of one instrument."""
    return _steps(1, STEPS)


def step_32() -> dict[str, Any]:
    """Return the same of 32 instruments, whose bars close together."""
    return _steps(32, STEPS // 3)


def profile() -> None:
    """Print where the time of a decision goes, by function."""
    made = cProfile.Profile()
    decide(1, 200, profiler=made)
    pstats.Stats(made).sort_stats("cumtime").print_stats(60)


def _steps(count: int, steps: int) -> dict[str, Any]:
    taken = decide(count, steps) * 1e3
    p10, p50, p99 = (float(np.quantile(taken, level)) for level in (0.1, 0.5, 0.99))
    return {
        "name": f"one decision, flagship-full, {count} instruments, p99, processor (p10 {p10:.2f}, p50 {p50:.2f})",
        "unit": "ms",
        "best": p99,
        "median": p99,
    }


def decide(
    count: int,
    steps: int,
    *,
    device: str = "cpu",
    clock: Callable[[], float] = time.thread_time,
    profiler: cProfile.Profile | None = None,
) -> np.ndarray:
    """Return the seconds of each of `steps` decisions of `count` instruments, those of the warm-up left out."""
    names = tuple(f"COIN{number}USDT" for number in range(count))
    with tempfile.TemporaryDirectory() as store:
        path = write_config(Path(store), preset("flagship-full", features_of()), instruments=names)
        engine = open_engine(path, threads=1, device=device)
    shape = shape_of(engine.told, names)
    server, bars = Server(engine, shape, programs_of(engine, shape)), Bars(shape)
    server.answer(Request(request_id=0, rows=_history(shape), decisions=()))
    seconds = []
    for number in range(1, steps + WARM + 1):
        at = START_NS + number * shape.scale_ns[0]
        asked = encode_request(Request(request_id=number, rows=bars.rows(at), decisions=bars.decisions(at)))
        if profiler is not None and number > WARM:
            profiler.enable()
        start = clock()
        answers = server.answer(decode_request(asked, shape))
        encode_answers(number, answers)
        seconds.append(clock() - start)
        if profiler is not None:
            profiler.disable()
        assert all(each.is_there for each in answers)
    return np.array(seconds[WARM:])


def _history(shape: Any) -> list[NewRows]:
    generator = np.random.default_rng(0)
    made = []
    for number in range(len(shape.instruments)):
        for scale, (scale_ns, need) in enumerate(zip(shape.scale_ns, shape.needs, strict=True)):
            last = START_NS // scale_ns
            close_ns = scale_ns * np.arange(last - need - 3, last + 1, dtype=np.int64)
            values = np.abs(generator.normal(0.0005, 0.0003, (len(close_ns), shape.features))).astype(np.float32)
            made.append(NewRows(instrument=number, scale=scale, close_ns=close_ns, known_ns=close_ns, values=values))
    return made


BENCHMARKS = {"step_1": step_1, "step_32": step_32}

if __name__ == "__main__":
    import sys

    if sys.argv[1:] == ["profile"]:
        profile()
    else:
        main(BENCHMARKS, __doc__)
