"""An exponential mean of the weights: what is evaluated and kept, while training wanders around it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightMean:
    """The mean of a module's weights over the steps, in float32 at least.

    It begins as the weights themselves, and early steps weigh by how few there were, so that it does not remember the
    random beginning: after n steps the newest counts at least 10 / (10 + n) of itself.

    Args:
        module: whose weights.
        decay: how much of the mean stays at each step, 0 for the newest weights alone.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay = {decay} is not within 0 and 1")
        self._decay = decay
        self.steps = 0
        self.values: dict[str, Tensor] = {
            name: value.detach().clone().to(torch.promote_types(value.dtype, torch.float32))
            if value.is_floating_point()
            else value.detach().clone()
            for name, value in module.state_dict().items()
        }

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        keep = min(self._decay, self.steps / (10 + self.steps))
        for name, value in module.state_dict().items():
            mean = self.values[name]
            if mean.is_floating_point():
                mean.lerp_(value.detach().to(mean.dtype), 1 - keep)
            else:
                mean.copy_(value)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Put the mean in place of the module's weights for a while."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict({name: self.values[name].to(own[name].dtype) for name in own})
        try:
            yield
        finally:
            module.load_state_dict(own)
