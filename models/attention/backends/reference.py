"""Attention as it is written down: every score in memory. What the other kernels are compared with.

It can do all that a spec can ask for, in the dtype it is given, float64 included; halves are computed in float32.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention.masks import score_bias, stands, visible_mask
from models.attention.spec import HALVES, AttnContext, AttnSpec, Caps, register


class Reference:
    """Softmax attention, spelled out."""

    name = "reference"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        return "the linear kernel is another function" if spec.kernel == "linear" else None

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        if spec.layout != "packed":
            return _attend(q, k, v, spec, ctx)
        # The sequences of a packed batch know nothing of one another.
        parts = [
            _attend(q[None, start:stop], k[None, start:stop], v[None, start:stop], spec, ctx)
            for start, stop in itertools.pairwise(ctx.offsets)
        ]
        return torch.cat([out[0] for out, _ in parts]), None


def _attend(q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor]:
    wide = torch.float32 if q.dtype in HALVES else q.dtype
    q_BHLd, k_BHMd, v_BHMd = (each.transpose(1, 2).to(wide) for each in (q, k, v))
    groups = spec.heads // spec.kv_heads
    if groups > 1:
        k_BHMd, v_BHMd = k_BHMd.repeat_interleave(groups, 1), v_BHMd.repeat_interleave(groups, 1)
    scores = q_BHLd @ k_BHMd.transpose(2, 3) * ctx.scale
    at_L = stands(q.shape[1], k.shape[1], q.device)
    bias = score_bias(spec, ctx, at_L, k.shape[1])
    if bias is not None:
        scores = scores + bias
    allowed = visible_mask(spec, ctx, at_L, k.shape[1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    lse_BHL = torch.logsumexp(scores, dim=-1)
    weights = F.dropout(torch.exp(scores - lse_BHL[..., None]), spec.dropout)
    return (weights @ v_BHMd).transpose(1, 2).to(q.dtype), lse_BHL


register(Reference())
