"""Which kernel does what is asked: decided once per spec and machine, with the reason why each other one was not taken.

`ORDER` is policy, a table to be changed by measurement; what a kernel can do is said by the kernel. A new kernel is a
new file in `backends/`: it is found there, can be asked for by name, and is chosen by itself once a row names it.
"""

import functools
import importlib
import pkgutil
from dataclasses import dataclass

import torch
from torch import Tensor

from bot.domain.errors import ConfigError
from models.attention import backends
from models.attention.masks import need_keys
from models.attention.spec import AttnContext, AttnSpec, Backend, Caps, registered

# From this many keys on flash-attn 4 is ahead of cuDNN by published figures; to be replaced by a measurement.
LONG = 1024

# For each case the kernels to try, first to last; see `case_of`.
ORDER: dict[str, tuple[str, ...]] = {
    "linear": ("linear",),
    "cpu": ("sdpa-flash", "sdpa-math", "reference"),
    "cpu window": ("sdpa-banded", "reference"),
    "packed": ("fa4", "fa3", "varlen", "flash2", "reference"),
    "ring": ("sdpa-cudnn", "sdpa-flash", "sdpa-efficient", "flash2", "sdpa-math", "reference"),
    "window": ("fa4", "fa3", "varlen", "flash2", "flex", "sdpa-banded", "reference"),
    "bias": ("flash2", "flex", "sdpa-banded", "sdpa-efficient", "sdpa-math", "reference"),
    "deterministic": ("sdpa-flash", "fa4", "flash2", "sdpa-banded", "sdpa-math", "reference"),
    "long": ("fa4", "fa3", "sdpa-cudnn", "sdpa-flash", "flash2", "sdpa-efficient", "sdpa-math", "reference"),
    "dense": ("sdpa-cudnn", "fa4", "fa3", "sdpa-flash", "flash2", "sdpa-efficient", "sdpa-math", "reference"),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The kernel that was chosen, and why not the others."""

    backend: Backend
    rejected: tuple[tuple[str, str], ...]  # (name, reason), in the order they were asked

    def __str__(self) -> str:
        return "; ".join([self.backend.name, *(f"not {name}: it {reason}" for name, reason in self.rejected)])


def case_of(spec: AttnSpec, caps: Caps) -> str:
    """Return the row of `ORDER` that a spec falls into."""
    if spec.kernel == "linear":
        return "linear"
    if spec.layout == "packed":
        return "packed"
    if caps.device == "cpu":
        return "cpu window" if spec.window is not None and spec.layout == "dense" else "cpu"
    if spec.layout == "ring":
        return "ring"
    if spec.deterministic and spec.needs_grad:
        return "deterministic"
    if spec.bias != "none":
        return "bias"
    if spec.window is not None:
        return "window"
    return "long" if spec.length > LONG else "dense"


@functools.cache
def select(spec: AttnSpec, caps: Caps, name: str = "auto") -> Selection:
    """Return the kernel for `spec` on the machine that `caps` describes.

    Args:
        name: "auto" for the first of the table that can, or the one that must be used.

    Raises:
        ConfigError: there is none of that name, or it cannot, or none of the table can.
    """
    known = _discover()
    if name != "auto":
        if name not in known:
            raise ConfigError(f"attention backend {name!r}: there is none; choose auto or one of {', '.join(known)}")
        reason = known[name].supports(spec, caps)
        if reason is not None:
            raise ConfigError(f"attention backend {name!r} {reason}; choose another, or auto")
        return Selection(known[name], ())
    rejected: list[tuple[str, str]] = []
    for candidate in ORDER[case_of(spec, caps)]:
        reason = known[candidate].supports(spec, caps)
        if reason is None:
            return Selection(known[candidate], tuple(rejected))
        rejected.append((candidate, reason))
    raise ConfigError("no attention kernel can do this: " + "; ".join(f"{each} {why}" for each, why in rejected))


def attend(
    q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext, *, caps: Caps, name: str = "auto"
) -> tuple[Tensor, Tensor | None]:
    """Return what the chosen kernel makes of the tensors: the output, and each row's log-sum where it is told.

    Raises:
        ConfigError: no kernel can.
        DataError: `visible_BLM` leaves a query without a key.
    """
    if ctx.visible_BLM is not None and not torch.compiler.is_compiling():
        need_keys(ctx.visible_BLM)
    return select(spec, caps, name).backend.run(q, k, v, spec, ctx)


def kernels() -> tuple[str, ...]:
    """Return the names of all kernels there are, whether or not this machine can run them."""
    return tuple(_discover())


def _discover() -> dict[str, Backend]:
    """Return every kernel in `backends/`, and whatever else has been registered, by name."""
    for module in pkgutil.iter_modules(backends.__path__):
        importlib.import_module(f"{backends.__name__}.{module.name}")
    return dict(sorted(registered().items()))
