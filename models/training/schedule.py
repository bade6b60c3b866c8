"""How fast weights may move, step by step, and which of them may shrink."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def learning_rate(step: int, *, peak: float, warm_up: int, steps: int, floor: float) -> float:
    """Return the rate of step 0, 1, ..., steps - 1: linear up to the peak, then half a cosine down to floor * peak."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - 1 - warm_up)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def make_optimizer(
    modules: Iterable[nn.Module], *, rate: float, decay: float, betas: tuple[float, float], fused: bool
) -> torch.optim.AdamW:
    """Return AdamW that lets only matrices decay.

    A norm's gain, a bias, an embedding of a tag, a gate: none of them grows without need, and pulling them towards zero
    changes what the network is, not how smooth it is. They are told by having one dimension; embeddings by their class
    or, where they are bare parameters of a module, by not being a weight of a linear map, a convolution or a cell.
    """
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in modules:
        for part in module.modules():
            is_map = isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.RNNBase))
            for parameter in part.parameters(recurse=False):
                if parameter.requires_grad:
                    (decaying if is_map and parameter.dim() >= 2 else others).append(parameter)
    groups = [{"params": decaying, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    kept = [group for group in groups if group["params"]]
    return torch.optim.AdamW(kept, lr=rate, betas=betas, fused=fused)
