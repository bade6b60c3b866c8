"""Look into a network without touching it: where it looked, what moved its answer, what it costs, whether it is finite.

Where it looked is attention, computed again for one decision from the queries and keys that the network computes
anyway. What moved the answer is integrated gradients. The two are not the same, and only the second adds up to the
answer.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bot.core.durations import parse_duration
from bot.domain.errors import ConfigError
from bot.domain.market import F64, I64
from models.answers import can_forecast, place_and_spread
from models.config import ModelConfig
from models.encoder import Encoder
from models.inputs import ModelInput, ScaleInput
from models.memory import CrossAttend
from models.output import ModelOutput
from models.registry import build
from models.training.session import reads_stretches, stream_lengths
from models.training.trainer import recompute_blocks

# Shape letters in this file: B row, T decision, L bar, F feature, H head, S stream, N token that attention sees.

_STEPS = 64  # of the path that gradients are integrated along
_GRID = 8  # assets or levels of an example
_END_NS = 1_704_067_200 * 10**9  # 2024-01-01
_EVENT_BAR_NS = 60 * 10**9  # how far apart an example's event bars close


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Look:
    """One stream's part in one decision: where attention fell, oldest first.

    Attributes:
        own_HL: weights of the newest known bar over all bars in the last layer of the stream's encoder; None where it
            is no transformer, or its kernel has no weights.
        fused_N, fused_ns_N: weights of the decision over the stream's tokens, and when those were known; None where
            nothing is fused by attention.
    """

    bar: str
    close_ns_L: I64
    own_HL: F64 | None
    fused_N: F64 | None
    fused_ns_N: I64 | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Attribution:
    """What moved one answer.

    Attributes:
        by_bar: [L, F] of each stream; all of them add up to `answer - at_zero`.
        lacking: what they lack to that, from taking finitely many steps.
    """

    by_bar: dict[str, F64]
    answer: float
    at_zero: float
    lacking: float


@torch.no_grad()
def attention_of(model: nn.Module, given: ModelInput) -> dict[str, Look]:
    """Return where attention fell at the last decision of the first row, by stream, in the order of the input.

    The network is run once with its cross-attention watched, off any live path; nothing of it is kept or changed.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        each.register_forward_pre_hook(lambda module, args: seen.update(module.weights(*args)))
        for each in model.modules()
        if isinstance(each, CrossAttend)
    ]
    try:
        model(given)
    finally:
        for handle in handles:
            handle.remove()
    return {bar: _look(model, given, bar, seen.get(bar)) for bar in given.scales}


def _look(model: nn.Module, given: ModelInput, bar: str, fused: tuple[Tensor, Tensor] | None) -> Look:
    scale = given.scales[bar]
    newest = int(scale.known_by(given.decision_ns_BT)[0, -1]) - 1
    encoder = _encoder_of(model, bar)
    own = None
    if isinstance(encoder, Encoder) and encoder.cfg.block.attn.kernel == "softmax" and newest >= 0:
        layer = encoder.cfg.depth - 1
        rows = encoder.attention_rows(scale.x_BLF[:1], scale.close_ns_BL[:1], layer=layer, rows=(newest,))
        own = rows[0, :, 0].double().numpy()
    weights = times = None
    if fused is not None:
        # A window system asks with the vectors of all its streams: the mean of the last decision's.
        asked = fused[0].shape[1] // given.decision_ns_BT.shape[1]
        weights = fused[0][0, -asked:].mean(dim=0).double().numpy()
        times = fused[1][0, -1].numpy()
    return Look(
        bar=bar,
        close_ns_L=scale.close_ns_BL[0].numpy(),
        own_HL=own,
        fused_N=weights,
        fused_ns_N=times,
    )


def _encoder_of(model: nn.Module, bar: str) -> nn.Module | None:
    encoders: Any = getattr(model, "encoders", None)
    if encoders is not None:
        found: nn.Module = encoders.of(bar)
        return found
    single = getattr(model, "encoder", None)
    return single if isinstance(single, nn.Module) else None


def integrated_gradients(model: nn.Module, given: ModelInput, *, horizon: int = 0, steps: int = _STEPS) -> Attribution:
    """Return what each feature of each bar added to the answer of the last decision of the first row.

    The answer is the median (or mean) of a horizon, in units of the targets; without a forecast, the first number of
    the first answer there is. The path begins at normalised zero: a market of which every feature is at its training
    median. Source: Sundararajan, Taly and Yan (2017), by the midpoint rule.
    """
    rows = {bar: _row(scale) for bar, scale in given.scales.items()}
    one = replace(
        given,
        scales=rows,
        decision_ns_BT=given.decision_ns_BT[:1],
        asset_B=None if given.asset_B is None else given.asset_B[:1],
        current_weights_BTA=None if given.current_weights_BTA is None else given.current_weights_BTA[:1],
    )
    totals = {bar: torch.zeros_like(scale.x_BLF, dtype=torch.float64) for bar, scale in rows.items()}
    for step in range(steps):
        x = {bar: (scale.x_BLF * ((step + 0.5) / steps)).requires_grad_() for bar, scale in rows.items()}
        made = torch.autograd.grad(_answer(model(_with(one, x)), horizon), tuple(x.values()), allow_unused=True)
        for bar, gradient in zip(x, made, strict=True):
            if gradient is not None:
                totals[bar] += gradient.double() / steps
    by_bar = {bar: (totals[bar] * rows[bar].x_BLF.double())[0].numpy() for bar in rows}
    with torch.no_grad():
        answer = float(_answer(model(one), horizon))
        zero = float(_answer(model(_with(one, {bar: torch.zeros_like(s.x_BLF) for bar, s in rows.items()})), horizon))
    found = sum(float(each.sum()) for each in by_bar.values())
    return Attribution(by_bar=by_bar, answer=answer, at_zero=zero, lacking=answer - zero - found)


def _row(scale: ScaleInput) -> ScaleInput:
    return ScaleInput(
        x_BLF=scale.x_BLF[:1],
        close_ns_BL=scale.close_ns_BL[:1],
        known_ns_BL=scale.known_ns_BL[:1],
        valid_BL=None if scale.valid_BL is None else scale.valid_BL[:1],
        present_BLV=None if scale.present_BLV is None else scale.present_BLV[:1],
    )


def _with(given: ModelInput, x: Mapping[str, Tensor]) -> ModelInput:
    return replace(given, scales={bar: replace(scale, x_BLF=x[bar]) for bar, scale in given.scales.items()})


def _answer(output: ModelOutput, horizon: int) -> Tensor:
    """Return one number: the middle of the forecast at the last decision, or the first of what else is said."""
    if output.quantiles is not None:
        levels = output.quantiles.shape[-1]  # of a panel, the first asset is asked about
        return output.quantiles[0, -1].reshape(-1, *output.quantiles.shape[-2:])[0, horizon, levels // 2]
    if can_forecast(output):
        mean = place_and_spread(output)[0]
        return mean[0, -1].reshape(-1, mean.shape[-1])[0, horizon]
    said = next(
        (value for value in output.asked().values() if value.requires_grad or not torch.is_grad_enabled()), None
    )
    if said is None:
        raise ConfigError("the model says nothing that its inputs could move")
    return said[0, -1].flatten()[0]


def finite(model: nn.Module, output: ModelOutput | None = None) -> list[str]:
    """Return the names of weights, gradients and answers that hold NaN or infinity; read from the device once."""
    named: list[tuple[str, Tensor]] = [*model.named_parameters(), *model.named_buffers()]
    named += [(f"gradient of {name}", each.grad) for name, each in model.named_parameters() if each.grad is not None]
    named += [] if output is None else [(f"answer {name}", value) for name, value in output.asked().items()]
    named = [(name, value) for name, value in named if value.is_floating_point() and value.numel()]
    if not named:
        return []
    good = torch.stack([torch.isfinite(value).all() for _, value in named])
    return [name for (name, _), is_good in zip(named, good.tolist(), strict=True) if not is_good]


def count_flops(config: ModelConfig) -> int:
    """Return the floating-point operations of one decision from nothing, two for each multiplication and sum.

    Only products of matrices and attention are counted. The history that a streaming network has to read before its
    first decision is among them: a step of its stream costs less.
    """
    model = build(config).eval()
    counter = FlopCounterMode(display=False)
    given = example_input(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # switching the fused kernels off also sets what is for Intel's GPUs alone
        # A fused recurrent kernel is one operation of no known cost; without it, it is products of matrices.
        with torch.backends.mkldnn.flags(enabled=False), counter, torch.no_grad():
            model(given)
    return int(counter.get_total_flops())


def kept_bytes(config: ModelConfig, *, rows: int, recompute: bool = False) -> int:
    """Return the memory that a training step of `rows` examples keeps for its backward pass, beside the weights.

    Measured on the CPU in float32, whose kernels keep what a GPU's of the same kind keep; half of it in bfloat16. It
    grows with the rows, so that a few tell of many. Weights, gradients and both moments of AdamW are 16 bytes each
    parameter beside it, and kernels want room to work.

    Args:
        recompute: forget what is inside blocks, as `TrainPlan.recompute` does.
    """
    model = build(config).train()
    if recompute:
        recompute_blocks(model)
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        # The graph holds what it was given until the end, so an address stands for one piece of memory.
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answers = model(example_input(config, rows=rows)).asked()
    assert answers
    return sum(kept.values())


def example_input(config: ModelConfig, *, rows: int = 1, decisions: int = 1, seed: int = 0) -> ModelInput:
    """Return drawn features of the shapes and times that a network reads: enough for each decision.

    Args:
        decisions: one after each of the newest bars of the first scale; more than one for systems that read stretches.

    Raises:
        ConfigError: several decisions are asked of a system that reads windows.
    """
    if decisions > 1 and not reads_stretches(config):
        raise ConfigError(f"{config.system}: reads windows, so it answers one decision of each")
    draws = torch.Generator().manual_seed(seed)
    lengths = stream_lengths(config)
    first_ns = _bar_ns(config.scales[0].bar)
    scales = {}
    for scale in config.scales:
        bar_ns = _bar_ns(scale.bar)
        count = lengths[scale.bar] + (-(-(decisions - 1) * first_ns // bar_ns) if decisions > 1 else 0)
        closes = _END_NS // bar_ns * bar_ns - bar_ns * torch.arange(count - 1, -1, -1)
        features = len(scale.encoder.features)
        shape = (
            (rows, count, _GRID, features) if config.system in ("portfolio", "orderbook") else (rows, count, features)
        )
        times = closes.repeat(rows, 1)
        scales[scale.bar] = ScaleInput(x_BLF=torch.randn(shape, generator=draws), close_ns_BL=times, known_ns_BL=times)
    at = _END_NS - first_ns * torch.arange(decisions - 1, -1, -1)
    return ModelInput(scales=scales, decision_ns_BT=at.repeat(rows, 1))


def input_of(
    scales: Mapping[str, tuple[np.ndarray, I64, I64]], decision_ns: Sequence[int], asset: int | None
) -> ModelInput:
    """Return one row from arrays: of each stream normalised features [L, F], closes and known times."""
    made = {
        bar: ScaleInput(
            x_BLF=torch.from_numpy(np.ascontiguousarray(values))[None],
            close_ns_BL=torch.from_numpy(np.ascontiguousarray(close_ns))[None],
            known_ns_BL=torch.from_numpy(np.ascontiguousarray(known_ns))[None],
        )
        for bar, (values, close_ns, known_ns) in scales.items()
    }
    return ModelInput(
        scales=made,
        decision_ns_BT=torch.tensor([list(decision_ns)], dtype=torch.int64),
        asset_B=None if asset is None else torch.tensor([asset]),
    )


def _bar_ns(bar: str) -> int:
    return _EVENT_BAR_NS if ":" in bar else parse_duration(bar)
