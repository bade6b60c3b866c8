"""How fast attention, forecasts and training are on a GPU: medians by the device's own clock, after a warm-up.

    python -m benchmarks.bench_gpu attention_1440|attention_2048|train_longctx|train_migt
    python -m benchmarks.bench_gpu forecast_1|forecast_64|decision_1|decision_64

Needs a CUDA device and says so without one. It was written on a machine without: no figure of it has been published.
Forecasts are of the network as one graph (`models.export.trace`), captured once and replayed, inputs already there;
decisions are those of the inference process (`models.serving.graphed`), from the bytes of a request to its answer's.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.bench_decision import decide
from benchmarks.measure import RUNS, Figure, figure, main
from models.attention.select import attend
from models.attention.spec import AttnContext, AttnSpec, detect
from models.config import ModelConfig
from models.export import trace
from models.inputs import ModelInput
from models.inspect import example_input
from models.presets import preset
from models.registry import build

FEATURES = tuple(f"f{number}" for number in range(16))
HEADS, WIDTH, BATCH = 4, 64, 16
ROUNDS = 50  # timed calls of each run


def attention_1440() -> Figure:
    """Tell the speed of one causal layer over a day of minutes."""
    return _attention(1440)


def attention_2048() -> Figure:
    """Tell the same over 2048 bars."""
    return _attention(2048)


def forecast_1() -> Figure:
    """Tell how long one forecast of the flagship takes."""
    return _forecast(1)


def forecast_64() -> Figure:
    """Tell how long 64 at once take."""
    return _forecast(64)


def decision_1() -> Figure:
    """Tell how long a whole live decision of one instrument takes, by the clock: new bars in, answers out."""
    return _decision(1)


def decision_64() -> Figure:
    """Tell the same of 64 instruments, whose bars close together."""
    return _decision(64)


def train_longctx() -> Figure:
    """Tell how long a training step of the long context takes, bfloat16, 16 windows of 1024."""
    return _train(preset("longctx-regression", {"1h": FEATURES}), 16)


def train_migt() -> Figure:
    """Tell the same of 128 windows of variables by time."""
    return _train(preset("migt", {"5m": FEATURES}), 128)


def _attention(length: int) -> Figure:
    device = torch.device("cuda")
    q, k, v = (torch.randn(BATCH, length, HEADS, WIDTH, device=device, dtype=torch.bfloat16) for _ in range(3))
    spec = AttnSpec(
        heads=HEADS,
        kv_heads=HEADS,
        d=WIDTH,
        causal=True,
        square=True,
        length=1 << (length - 1).bit_length(),
        dtype=torch.bfloat16,
    )
    caps, ctx = detect(device), AttnContext(scale=WIDTH**-0.5)
    seconds = _timed(lambda: attend(q, k, v, spec, ctx, caps=caps))
    operations = 2 * 2 * BATCH * HEADS * length * length * WIDTH / 2
    return figure(f"attention, causal, {length} bars, d {WIDTH}", "TFLOP/s", seconds, lambda s: operations / s / 1e12)


def _forecast(rows: int) -> Figure:
    config = preset("flagship-full", dict.fromkeys(("1m", "5m", "1h", "1d"), FEATURES))
    given = _on_device(example_input(config, rows=rows))
    traced = trace(build(config).cuda(), [given])
    module, tensors = traced.program.module(), traced.examples[0]
    with torch.no_grad():
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                module(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            module(*tensors)
    return figure(f"flagship-full, {rows} forecasts from nothing", "ms", _timed(graph.replay), lambda s: 1e3 * s)


def _decision(count: int) -> Figure:
    taken = decide(count, 500, device="cuda", clock=time.perf_counter)
    p99 = float(np.quantile(taken, 0.99))
    name = f"flagship-full, a decision of {count} through models.serving, p99 (p50 {1e3 * np.median(taken):.2f})"
    return figure(name, "ms", [p99], lambda s: 1e3 * s)


def _train(config: ModelConfig, rows: int) -> Figure:
    model = build(config).cuda().train()
    given = _on_device(example_input(config, rows=rows))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    torch.cuda.reset_peak_memory_stats()

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            answers = list(model(given).asked().values())
        loss = torch.stack([each.float().square().mean() for each in answers if each.requires_grad]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = _timed(step)
    peak = torch.cuda.max_memory_allocated() / 2**30
    return figure(f"{config.system}, a training step of {rows}, peak {peak:.1f} GiB", "ms", seconds, lambda s: 1e3 * s)


def _on_device(given: ModelInput) -> ModelInput:
    def move(tensor: Tensor) -> Tensor:
        return tensor.cuda()

    scales = {
        bar: replace(
            each, x_BLF=move(each.x_BLF), close_ns_BL=move(each.close_ns_BL), known_ns_BL=move(each.known_ns_BL)
        )
        for bar, each in given.scales.items()
    }
    return replace(given, scales=scales, decision_ns_BT=move(given.decision_ns_BT))


def _timed(work: Callable[[], Any]) -> list[float]:
    """Return the median seconds of a call, of several runs."""
    for _ in range(ROUNDS // 5):
        work()
    made = []
    for _ in range(RUNS):
        events = [_event_pair() for _ in range(ROUNDS)]
        for start, end in events:
            start.record()
            work()
            end.record()
        torch.cuda.synchronize()
        taken = sorted(start.elapsed_time(end) for start, end in events)
        made.append(taken[ROUNDS // 2] / 1e3)
    return made


def _event_pair() -> tuple[Any, Any]:
    """Return two marks in the device's own queue that know when they were passed."""
    return tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[return-value, no-untyped-call]


def has_gpu() -> bool:
    """Return whether there is anything to measure on."""
    return torch.cuda.is_available()


ATTENTION = {"attention_1440": attention_1440, "attention_2048": attention_2048}
INFERENCE = {
    "forecast_1": forecast_1,
    "forecast_64": forecast_64,
    "decision_1": decision_1,
    "decision_64": decision_64,
}
TRAIN = {"train_longctx": train_longctx, "train_migt": train_migt}

if __name__ == "__main__":
    if not has_gpu():
        raise SystemExit("bench_gpu: torch sees no GPU here; nothing was measured")
    main({**ATTENTION, **INFERENCE, **TRAIN}, __doc__)
