"""How fast the flagship forecasts on this CPU: a long stretch in one pass, and bar by bar.

The full preset: minutes, five minutes, hours and days; 1440, 288, 168 and 252 bars; width 128; 16 features a scale,
drawn, since values make no difference to time. A decision every five minutes. One thread: a step is so short that more
of them wait for one another, and on a busy machine for long. `python -m benchmarks.bench_models NAME`
measures one figure.
"""

import torch

from benchmarks.measure import Figure, figure, main
from bot.runtime.env import Stopwatch
from models.inputs import ModelInput, ScaleInput
from models.presets import preset
from models.registry import build
from models.systems.causal import CausalSystem

MINUTE_NS = 60 * 10**9
START_NS = 1_640_995_200 * 10**9  # 2022-01-01
MINUTES = {"1m": 1, "5m": 5, "1h": 60, "1d": 1440}
STRETCH = 20_000  # minutes with decisions
STEPS = 200
RUNS = 3
FEATURES = 16


def one_pass() -> Figure:
    """Tell how many decisions a second one pass makes over 20,000 minutes."""
    model = _model()
    told = _stretch(model, STRETCH)
    decisions = told.decision_ns_BT.shape[1]
    seconds = []
    with torch.no_grad():
        for _ in range(RUNS):
            watch = Stopwatch()
            model(told)
            seconds.append(watch.seconds())
    name = f"flagship-full, one pass over {STRETCH:,} minutes, {decisions:,} decisions"
    return figure(name, "decisions/s", seconds, lambda s: decisions / s)


def step_p50() -> Figure:
    """Tell the median time from the bars of a decision to its forecast: a minute and a five-minute bar."""
    return _steps(0.5)


def step_p99() -> Figure:
    """Tell the 99th percentile of the same."""
    return _steps(0.99)


def _steps(level: float) -> Figure:
    model = _model()
    told = _stretch(model, 5 * (RUNS * STEPS + 20))
    start = int(told.decision_ns_BT[0, 0])
    state = model.start(1)
    model.prefill(_piece(told, 0, start), state)
    seconds: list[float] = []
    for number in range(RUNS * STEPS + 10):
        now = start + 5 * (number + 1) * MINUTE_NS
        for minute in range(4, 0, -1):
            at = now - minute * MINUTE_NS
            model.absorb(_piece(told, at - MINUTE_NS, at).scales, state)
        piece = _piece(told, now - MINUTE_NS, now)
        watch = Stopwatch()
        model.prefill(piece, state)
        seconds.append(watch.seconds())
    rounds = [sorted(seconds[at : at + STEPS]) for at in range(10, 10 + RUNS * STEPS, STEPS)]
    name = f"flagship-full, one decision streamed, p{100 * level:.0f} of {STEPS}"
    return figure(name, "ms", [each[int(level * STEPS)] for each in rounds], lambda s: 1e3 * s)


def _model() -> CausalSystem:
    torch.set_num_threads(1)
    names = tuple(f"f{number}" for number in range(FEATURES))
    model = build(preset("flagship-full", dict.fromkeys(MINUTES, names))).eval()
    assert isinstance(model, CausalSystem)
    return model


def _stretch(model: CausalSystem, minutes: int) -> ModelInput:
    """Return decisions over the last `minutes`, and of every scale the bars that they need."""
    end = 500 * 1440
    draws = torch.Generator().manual_seed(0)
    scales = {}
    for bar, each in MINUTES.items():
        count = model.warm_up[bar] + minutes // each + 1
        closes = START_NS + MINUTE_NS * each * torch.arange(end // each - count + 1, end // each + 1)[None]
        x = torch.randn(1, count, FEATURES, generator=draws)
        scales[bar] = ScaleInput(x_BLF=x, close_ns_BL=closes, known_ns_BL=closes)
    at = START_NS + MINUTE_NS * torch.arange(end - minutes + 5, end + 1, 5)[None]
    return ModelInput(scales=scales, decision_ns_BT=at)


def _piece(told: ModelInput, after_ns: int, until_ns: int) -> ModelInput:
    """Return the bars that close in between, and a decision at the end."""
    scales = {}
    for bar, each in told.scales.items():
        first, last = (int(torch.searchsorted(each.close_ns_BL[0], at, right=True)) for at in (after_ns, until_ns))
        if last > first:
            scales[bar] = ScaleInput(
                x_BLF=each.x_BLF[:, first:last],
                close_ns_BL=each.close_ns_BL[:, first:last],
                known_ns_BL=each.known_ns_BL[:, first:last],
            )
    return ModelInput(scales=scales, decision_ns_BT=torch.full((1, 1), until_ns))


BENCHMARKS = {"one_pass": one_pass, "step_p50": step_p50, "step_p99": step_p99}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__)
