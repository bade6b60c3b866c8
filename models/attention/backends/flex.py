"""Flex attention: a kernel that torch compiles for the mask and the bias at hand; blocks without a pair are skipped.

On the CPU torch 2.13 runs it uncompiled, without a backward pass and with every score in memory: good enough to test
these functions, so it is used there only by name.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from models.attention.masks import to_flex
from models.attention.spec import AttnContext, AttnSpec, Caps, register


class Flex:
    """Masks and ALiBi by their formula."""

    name = "flex"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if spec.kernel == "linear":
            return "the linear kernel is another function"
        if spec.layout != "dense":
            return "is for dense batches"
        if spec.mask == "pairs":
            return "a mask of pairs would have to be made into blocks on every call"
        if spec.dropout:
            return "has no dropout"
        if caps.device == "cpu":
            return "has no backward pass on the CPU" if spec.needs_grad else None
        if caps.device != "cuda" or caps.sm < (8, 0):
            return "needs CUDA with compute capability 8.0"
        if spec.dtype == torch.float64:
            return "takes no float64"
        if spec.d < 16 or spec.d & (spec.d - 1):
            return f"takes heads of a power of two from 16, not {spec.d}"
        return "its gradient is not deterministic" if spec.deterministic and spec.needs_grad else None

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        score, mask = to_flex(spec, ctx, q.shape[1], k.shape[1])
        block_mask: BlockMask | None = None
        if mask is not None:
            rows = None if ctx.valid_BM is None else q.shape[0]
            block_mask = create_block_mask(mask, rows, None, q.shape[1], k.shape[1], device=q.device)
        kernel = _compiled() if q.device.type == "cuda" else _uncompiled
        out: Tensor = kernel(
            *(each.transpose(1, 2) for each in (q, k, v)),
            score_mod=score,
            block_mask=block_mask,
            scale=ctx.scale,
            enable_gqa=spec.heads != spec.kv_heads,
        )
        return out.transpose(1, 2), None


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False)


def _uncompiled(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")  # as said above
        return flex_attention(q.detach(), k.detach(), v.detach(), **options)


register(Flex())
