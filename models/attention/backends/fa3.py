"""The `flash_attn_interface` library (flash-attn 3, Hopper), where somebody has installed it; it is not on PyPI.

Written from the library's interface and not yet run on a GPU: the test that compares it with the reference skips
without one.
"""

import importlib
from typing import Any

from torch import Tensor

from models.attention.masks import to_cu_seqlens, to_flash_window
from models.attention.spec import HALVES, AttnContext, AttnSpec, Caps, register


class Flash3:
    """flash-attn 3."""

    name = "fa3"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if caps.device != "cuda" or caps.sm[0] != 9:
            return "needs CUDA with compute capability 9"
        if not caps.fa3:
            return "needs flash_attn_interface, which is not installed"
        return _lacks(spec)

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        module = importlib.import_module("flash_attn_interface")
        ring = spec.layout == "ring"
        options: dict[str, Any] = {
            "softmax_scale": ctx.scale,
            "causal": spec.causal and not ring,
            "window_size": (-1, -1) if ring else to_flash_window(spec),
            "deterministic": spec.deterministic,
        }
        if spec.layout == "packed":
            cu, longest = to_cu_seqlens(ctx.offsets, q.device)
            return _first(module.flash_attn_varlen_func(q, k, v, cu, cu, longest, longest, **options)), None
        return _first(module.flash_attn_func(q, k, v, **options)), None


def _first(made: Any) -> Tensor:
    """Return the output alone: some versions return the logarithms of the sums beside it, in shapes that differ."""
    out: Tensor = made[0] if isinstance(made, tuple) else made
    return out


def _lacks(spec: AttnSpec) -> str | None:
    if spec.kernel == "linear":
        return "the linear kernel is another function"
    if spec.dtype not in HALVES:
        return f"takes bfloat16 and float16, not {spec.dtype}"
    if spec.d % 8 or spec.d > 256:
        return f"takes heads of 8, 16 ... 256, not {spec.d}"
    if spec.mask != "none":
        return "takes no mask; pack the real tokens"
    if spec.bias != "none":
        return "has no ALiBi"
    return "has no dropout" if spec.dropout else None


register(Flash3())
