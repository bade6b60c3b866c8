"""How fast attention, forecasts and training are on a GPU, after a warm-up: `python -m benchmarks.bench_gpu NAME`.

* attention_*: every kernel that can do a shape is timed by the device's own clock; told is how fast the one that is
  chosen by itself is beside the best of them. 90 % is what we mean to keep.
* forecast_*: the flagship as one graph, captured once; from pinned memory to pinned memory, by the machine's clock.
* decision_*: a whole live decision of the inference process, from the bytes of a request to its answer's.
* train_*: a training step in bfloat16, and the most memory that it took.

Needs a CUDA device and says so without one. It was written on a machine without: no figure of it has been published. A
test runs all of it on a CPU, at sizes that tell nothing.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from benchmarks.bench_decision import decide
from benchmarks.measure import RUNS, Benchmarks, Figure, figure, main
from bot.domain.errors import ConfigError
from models.attention.select import attend, kernels, select
from models.attention.spec import AttnContext, AttnSpec, detect
from models.config import ModelConfig, band
from models.export import trace
from models.inputs import ModelInput
from models.inspect import example_input
from models.presets import preset
from models.registry import build
from models.training.trainer import recompute_blocks

Case = Literal["causal", "window", "train"]

FEATURES = tuple(f"f{number}" for number in range(16))
VARIABLES = tuple(f"v{number}" for number in range(24))  # of the source of `migt`
LENGTHS = (168, 288, 1440, 2048, 8192)
TOKENS = 16_384  # of all rows of a batch together
WIDTH = 256  # heads times their width
ROUNDS = 50  # timed calls of each run
CALLS = 2_000  # of forecasts and decisions, each timed by itself


def attention(length: int, d: int, case: Case, *, device: str = "cuda", tokens: int = TOKENS) -> Figure:
    """Tell the speed of the chosen kernel in parts of the best one's: one layer, forward, or there and back."""
    heads, rows = WIDTH // d, max(1, tokens // length)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    spec = AttnSpec(
        heads=heads,
        kv_heads=heads,
        d=d,
        causal=True,
        window=band(length, 2) if case == "window" else None,
        square=True,
        length=1 << (length - 1).bit_length(),
        dtype=dtype,
        needs_grad=case == "train",
    )
    caps, ctx = detect(torch.device(device)), AttnContext(scale=d**-0.5)
    q, k, v = (torch.randn(rows, length, heads, d, device=device, dtype=dtype) for _ in range(3))
    for each in (q, k, v):
        each.requires_grad_(case == "train")

    def run(name: str) -> None:
        out, _ = attend(q, k, v, spec, ctx, caps=caps, name=name)
        if case == "train":
            out.backward(torch.ones_like(out))  # type: ignore[no-untyped-call]

    taken: dict[str, float] = {}
    for name in kernels():
        try:
            select(spec, caps, name)
        except ConfigError:
            continue
        taken[name] = float(np.median(_timed(partial(run, name), device)))
    chosen, best = select(spec, caps).backend.name, min(taken, key=taken.__getitem__)
    operations = 4 * rows * heads * length * (spec.window or length / 2) * d * (3.5 if case == "train" else 1)
    told = ", ".join(f"{name} {operations / taken[name] / 1e12:,.1f}" for name in sorted(taken, key=taken.__getitem__))
    name = f"attention, {case}, {rows} x {length} bars, d {d}: {chosen} beside {best} (TFLOP/s: {told})"
    return figure(name, "% of the best", [taken[chosen]], lambda s: 100 * taken[best] / s)


def forecast(rows: int, *, device: str = "cuda", config: ModelConfig | None = None, calls: int = CALLS) -> Figure:
    """Tell how long so many forecasts at once take, 99 of 100 times."""
    config = config or preset("flagship-full", dict.fromkeys(("1m", "5m", "1h", "1d"), FEATURES))
    given = _to(example_input(config, rows=rows), device)
    traced = trace(build(config).to(device), [given])
    module, tensors = traced.program.module(), traced.examples[0]
    with torch.no_grad():
        run, answers = _captured(module, tensors) if device == "cuda" else _called(module, tensors)
        taken = _from_pinned(run, list(tensors), answers, device, calls)
    name = f"flagship-full, {rows} forecasts, pinned to pinned, p99 (p50 {1e3 * np.median(taken):.3f})"
    return figure(name, "ms", [float(np.quantile(taken, 0.99))], lambda s: 1e3 * s)


def decision(count: int, *, device: str = "cuda", calls: int = 500) -> Figure:
    """Tell how long a whole live decision of so many instruments takes, 99 of 100 times: new bars in, answers out."""
    taken = decide(count, calls, device=device, clock=time.perf_counter)
    name = f"flagship-full, a decision of {count} through models.serving, p99 (p50 {1e3 * np.median(taken):.2f})"
    return figure(name, "ms", [float(np.quantile(taken, 0.99))], lambda s: 1e3 * s)


def train_longctx(length: int) -> Figure:
    """Tell how long a training step of the long context takes, 16 windows."""
    made = preset("longctx-regression", {"1h": FEATURES})
    scales = tuple(msgspec.structs.replace(scale, length=length) for scale in made.scales)
    return train(msgspec.structs.replace(made, scales=scales), 16)


def train_migt(*, recompute: bool) -> Figure:
    """Tell the same of 128 windows of 24 variables by 288 bars at the source's width of 256."""
    return train(preset("migt-full", {"5m": VARIABLES}), 128, recompute=recompute)


def train(config: ModelConfig, rows: int, *, device: str = "cuda", recompute: bool = False) -> Figure:
    """Tell how long a training step takes, and the most memory that the GPU held."""
    model = build(config).to(device).train()
    if recompute:
        recompute_blocks(model)
    given = _to(example_input(config, rows=rows), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16):
            answers = list(model(given).asked().values())
        loss = torch.stack([each.float().square().mean() for each in answers if each.requires_grad]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = _timed(step, device)
    peak = f", peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if device == "cuda" else ""
    length = config.scales[0].length
    how = ", recomputed" if recompute else ""
    return figure(f"{config.system}, a step of {rows} x {length} bars{how}{peak}", "ms", seconds, lambda s: 1e3 * s)


def _captured(module: Any, tensors: Any) -> tuple[Callable[[], Any], list[Tensor]]:
    """Return what replays the network on these very tensors, and where its answers lie."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            module(*tensors)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answers = module(*tensors)
    return graph.replay, list(answers)


def _called(module: Any, tensors: Any) -> tuple[Callable[[], Any], list[Tensor]]:
    answers = [each.clone() for each in module(*tensors)]

    def run() -> None:
        for kept, each in zip(answers, module(*tensors), strict=True):
            kept.copy_(each)

    return run, answers


def _from_pinned(
    run: Callable[[], Any], inputs: list[Tensor], answers: list[Tensor], device: str, calls: int
) -> list[float]:
    """Return the seconds of each call, from inputs in pinned memory to answers in pinned memory."""
    is_gpu = device == "cuda"
    here = [torch.empty(each.shape, dtype=each.dtype, pin_memory=is_gpu).copy_(each) for each in inputs]
    there = [torch.empty(each.shape, dtype=each.dtype, pin_memory=is_gpu) for each in answers]
    taken = []
    for _ in range(calls + calls // 10):
        began = time.perf_counter()
        for pinned, each in zip(here, inputs, strict=True):
            each.copy_(pinned, non_blocking=True)
        run()
        for pinned, each in zip(there, answers, strict=True):
            pinned.copy_(each, non_blocking=True)
        if is_gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return taken[calls // 10 :]


def _to(given: ModelInput, device: str) -> ModelInput:
    scales = {
        bar: replace(
            each,
            x_BLF=each.x_BLF.to(device),
            close_ns_BL=each.close_ns_BL.to(device),
            known_ns_BL=each.known_ns_BL.to(device),
        )
        for bar, each in given.scales.items()
    }
    return replace(given, scales=scales, decision_ns_BT=given.decision_ns_BT.to(device))


def _timed(work: Callable[[], Any], device: str) -> list[float]:
    """Return the median seconds of a call, of several runs: by the device's clock, so that launching does not count."""
    if device != "cuda":
        return [_by_clock(work) for _ in range(2)]
    for _ in range(ROUNDS // 5):
        work()
    made = []
    for _ in range(RUNS):
        pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(ROUNDS)]  # type: ignore[no-untyped-call]
        for start, end in pairs:
            start.record()
            work()
            end.record()
        torch.cuda.synchronize()
        made.append(sorted(start.elapsed_time(end) for start, end in pairs)[ROUNDS // 2] / 1e3)
    return made


def _by_clock(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def has_gpu() -> bool:
    """Return whether there is anything to measure on."""
    return torch.cuda.is_available()


_CASES: tuple[Case, ...] = ("causal", "window", "train")
ATTENTION: Benchmarks = {
    f"attention_{case}_{length}_{d}": partial(attention, length, d, case)
    for case in _CASES
    for length in LENGTHS
    for d in (64, 128)
}
INFERENCE: Benchmarks = {
    "forecast_1": partial(forecast, 1),
    "forecast_64": partial(forecast, 64),
    "decision_1": partial(decision, 1),
    "decision_64": partial(decision, 64),
}
TRAIN: Benchmarks = {
    "train_longctx_2048": partial(train_longctx, 2048),
    "train_longctx_8192": partial(train_longctx, 8192),
    "train_migt": partial(train_migt, recompute=False),
    "train_migt_recomputed": partial(train_migt, recompute=True),
}

if __name__ == "__main__":
    if not has_gpu():
        raise SystemExit("bench_gpu: torch sees no GPU here; nothing was measured")
    main({**ATTENTION, **INFERENCE, **TRAIN}, __doc__)
