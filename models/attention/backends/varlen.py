"""Torch's `varlen_attn`: flash-attn 2 over packed sequences, with windows.

Written from the library's interface and not yet run on a GPU: the test that compares it with the reference skips
without one.
"""

import importlib

from torch import Tensor

from models.attention.masks import even_offsets, to_cu_seqlens, to_flash_window
from models.attention.spec import HALVES, AttnContext, AttnSpec, Caps, register


class Varlen:
    """Packed sequences, and dense batches as sequences of one length."""

    name = "varlen"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if caps.device != "cuda" or caps.sm < (8, 0):
            return "needs CUDA with compute capability 8.0"
        if caps.torch_version < (2, 11):
            return "needs torch 2.11, where it learned windows"
        if spec.heads != spec.kv_heads and caps.torch_version < (2, 12):
            return "shares heads of keys from torch 2.12 on"
        return _lacks(spec)

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        module = importlib.import_module("torch.nn.attention.varlen")
        offsets_q, offsets_k = ctx.offsets, ctx.offsets
        flat = [q, k, v]
        if spec.layout != "packed":
            offsets_q, offsets_k = even_offsets(q.shape[0], q.shape[1]), even_offsets(k.shape[0], k.shape[1])
            flat = [each.reshape(-1, *each.shape[2:]) for each in flat]
        cu_q, longest_q = to_cu_seqlens(offsets_q, q.device)
        cu_k, longest_k = to_cu_seqlens(offsets_k, q.device)
        more = {"enable_gqa": True} if spec.heads != spec.kv_heads else {}
        out: Tensor = module.varlen_attn(
            *flat, cu_q, cu_k, longest_q, longest_k, scale=ctx.scale, window_size=to_flash_window(spec), **more
        )
        return out.reshape(q.shape), None


def _lacks(spec: AttnSpec) -> str | None:
    if spec.kernel == "linear":
        return "the linear kernel is another function"
    if spec.dtype not in HALVES:
        return f"takes bfloat16 and float16, not {spec.dtype}"
    if spec.d % 8 or spec.d > 256:
        return f"takes heads of 8, 16 ... 256, not {spec.d}"
    if spec.mask != "none" or spec.bias != "none":
        return "takes no mask and no bias; pack the real tokens"
    if spec.dropout:
        return "has no dropout"
    return "its gradient is not deterministic" if spec.deterministic and spec.needs_grad else None


register(Varlen())
