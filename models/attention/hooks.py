"""Places where a model may say more to attention, by name: before it, in its scores, and after it.

A hook is a module made from (width, features, kv_heads). To add one, register it here or anywhere that is imported:

    register_hook("gate", "mine", Mine)

and write its name in `AttnConfig`. There is nothing to subclass.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError

Slot = Literal["pre", "bias", "gate"]


class Pre(Protocol):
    """Before: from the tokens and their features, the tokens that are compared."""

    def __call__(self, x_BLD: Tensor, features_BLF: Tensor) -> Tensor: ...


class Bias(Protocol):
    """In the scores: from a key's features, what is added to its score in each head of keys, [B, L, G]."""

    def __call__(self, features_BLF: Tensor) -> Tensor: ...


class Gate(Protocol):
    """After: from what a token has gathered, what of it counts."""

    def __call__(self, out_BLD: Tensor) -> Tensor: ...


class StateShift(nn.Module):
    """Add a projection of the features; nothing at first."""

    def __init__(self, width: int, features: int, kv_heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, width, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self, x_BLD: Tensor, features_BLF: Tensor) -> Tensor:
        shifted: Tensor = x_BLD + self.project(features_BLF)
        return shifted


class KeyBias(nn.Module):
    """Let features such as volatility or volume draw attention to a key; nothing at first."""

    def __init__(self, width: int, features: int, kv_heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, kv_heads, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self, features_BLF: Tensor) -> Tensor:
        score: Tensor = self.project(features_BLF)
        return score


class OutputGate(nn.Module):
    """Scale what was gathered by a sigmoid of itself; nearly open at first."""

    def __init__(self, width: int, features: int, kv_heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        nn.init.zeros_(self.project.weight)
        nn.init.constant_(self.project.bias, 3.0)

    def forward(self, out_BLD: Tensor) -> Tensor:
        return out_BLD * torch.sigmoid(self.project(out_BLD))


_HOOKS: dict[tuple[Slot, str], Callable[[int, int, int], nn.Module]] = {}


def register_hook(slot: Slot, name: str, make: Callable[[int, int, int], nn.Module]) -> None:
    """Make a hook known by its name.

    Raises:
        ValueError: the name is taken, or is "none".
    """
    if name == "none" or (slot, name) in _HOOKS:
        raise ValueError(f"a {slot} hook cannot be called {name!r}: that is taken")
    _HOOKS[slot, name] = make


def make_hook(slot: Slot, name: str, *, width: int, features: int, kv_heads: int) -> nn.Module | None:
    """Return the hook of that name; None for "none".

    Raises:
        ConfigError: there is none of that name.
    """
    if name == "none":
        return None
    if (slot, name) not in _HOOKS:
        known = ", ".join(sorted(each for where, each in _HOOKS if where == slot))
        raise ConfigError(f"AttnConfig.{slot} = {name!r}: there is no such hook; choose none, {known}")
    return _HOOKS[slot, name](width, features, kv_heads)


register_hook("pre", "state", StateShift)
register_hook("bias", "key", KeyBias)
register_hook("gate", "output", OutputGate)
