"""The `flash-attn-4` library (`flash_attn.cute`, written in CuTe DSL), where it is installed.

Called directly and by keyword: its arguments have moved between versions, and torch's own switch to it breaks with
every version after 4.0.0b18. Kernels are compiled at their first use, so warm up before trading.

Written from the library's interface and not yet run on a GPU: the test that compares it with the reference skips
without one.
"""

import importlib
from typing import Any

from torch import Tensor

from models.attention.masks import to_cu_seqlens, to_cute_window
from models.attention.spec import HALVES, AttnContext, AttnSpec, Caps, register


class Flash4:
    """flash-attn 4."""

    name = "fa4"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if caps.device != "cuda" or caps.sm < (9, 0):
            return "needs CUDA with compute capability 9.0"
        if caps.fa4 is None:
            return "needs flash-attn-4, which is not installed"
        if spec.kernel == "linear":
            return "the linear kernel is another function"
        if spec.dtype not in HALVES:
            return f"takes bfloat16 and float16, not {spec.dtype}"
        if spec.d % 8 or spec.d > 128:
            return f"takes heads of 8, 16 ... 128, not {spec.d}"
        if spec.mask != "none":
            return "takes no mask; pack the real tokens"
        if spec.bias != "none":
            return "has ALiBi as a compiled score function alone; flex has it"
        return "has no dropout" if spec.dropout else None

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        module = importlib.import_module("flash_attn.cute")
        ring = spec.layout == "ring"
        options: dict[str, Any] = {
            "softmax_scale": ctx.scale,
            "causal": spec.causal and not ring,
            "window_size": (None, None) if ring else to_cute_window(spec),
            "deterministic": spec.deterministic,
        }
        if spec.layout == "packed":
            cu, longest = to_cu_seqlens(ctx.offsets, q.device)
            options |= {"cu_seqlens_q": cu, "cu_seqlens_k": cu, "max_seqlen_q": longest, "max_seqlen_k": longest}
            return _first(module.flash_attn_varlen_func(q, k, v, **options)), None
        return _first(module.flash_attn_func(q, k, v, **options)), None


def _first(made: Any) -> Tensor:
    """Return the output alone: some versions return the logarithms of the sums beside it."""
    out: Tensor = made[0] if isinstance(made, tuple) else made
    return out


register(Flash4())
