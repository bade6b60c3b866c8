"""The `flash-attn` 2 library, where it is installed: dense, packed, windows, ALiBi, and a growing cache of keys.

Still the best kernel on Ampere and Ada. Written from the library's interface and not yet run on a GPU: the test that
compares it with the reference skips without one.
"""

import importlib
from typing import Any

import torch
from torch import Tensor

from models.attention.masks import to_cu_seqlens, to_flash_window
from models.attention.spec import HALVES, AttnContext, AttnSpec, Caps, register


class Flash2:
    """flash-attn 2."""

    name = "flash2"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if caps.device != "cuda" or caps.sm < (8, 0):
            return "needs CUDA with compute capability 8.0"
        if caps.flash2 is None:
            return "needs flash-attn, which is not installed"
        if spec.kernel == "linear":
            return "the linear kernel is another function"
        if spec.dtype not in HALVES:
            return f"takes bfloat16 and float16, not {spec.dtype}"
        if spec.d % 8 or spec.d > 256:
            return f"takes heads of 8, 16 ... 256, not {spec.d}"
        if spec.mask == "pairs":
            return "takes no mask"
        if spec.mask == "keys" and (spec.layout != "ring" or spec.needs_grad):
            return "takes no mask; pack the real tokens"
        if spec.layout == "ring" and spec.bias != "none":
            return "knows no distances in a ring"
        return None

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        module = importlib.import_module("flash_attn")
        slopes = None if ctx.slopes_H is None or spec.bias == "none" else ctx.slopes_H.float()
        options: dict[str, Any] = {
            "softmax_scale": ctx.scale,
            "causal": spec.causal and spec.layout != "ring",
            "window_size": (-1, -1) if spec.layout == "ring" else to_flash_window(spec),
            "alibi_slopes": slopes,
        }
        if spec.layout == "ring" and ctx.valid_BM is not None:
            # A ring fills from its first slot on, so which keys are real is how many are.
            counts = ctx.valid_BM.sum(dim=1, dtype=torch.int32)
            cached: Tensor = module.flash_attn_with_kvcache(q, k, v, cache_seqlens=counts, **options)
            return cached, None
        options |= {"dropout_p": spec.dropout, "deterministic": spec.deterministic}
        if spec.layout == "packed":
            cu, longest = to_cu_seqlens(ctx.offsets, q.device)
            packed: Tensor = module.flash_attn_varlen_func(q, k, v, cu, cu, longest, longest, **options)
            return packed, None
        dense: Tensor = module.flash_attn_func(q, k, v, **options)
        return dense, None


register(Flash2())
