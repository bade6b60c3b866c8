"""Rows of the attention matrix on demand, from the queries and keys that a model computes anyway.

There is no second path through a model to explain it: the weights of query i are exp(q_i k' * scale + bias - lse_i),
exact whatever kernel made the output, in O(rows * keys). Attention says where a layer looked, not what decided.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.attention.masks import score_bias, stands, visible_mask
from models.attention.spec import HALVES, AttnContext, AttnSpec


def attention_rows(
    q: Tensor, k: Tensor, spec: AttnSpec, ctx: AttnContext, rows: Sequence[int] = (-1,), lse_BHL: Tensor | None = None
) -> Tensor:
    """Return the weights of some queries over all keys, [B, H, rows, M]; each row sums to one.

    Args:
        q: [B, L, H, d], as the kernel was given it.
        k: [B, M, G, d].
        rows: queries, by number; negative ones count from the newest.
        lse_BHL: the logarithms of the sums, where the kernel told them.

    Raises:
        IndexError: there is no such query.
    """
    length, keys = q.shape[1], k.shape[1]
    if not all(-length <= row < length for row in rows):
        raise IndexError(f"rows {list(rows)} of {length} queries")
    picked = torch.tensor([row % length for row in rows], device=q.device)
    wide = torch.float32 if q.dtype in HALVES else q.dtype
    q_BHRd = q[:, picked].transpose(1, 2).to(wide)
    k_BHMd = k.transpose(1, 2).to(wide).repeat_interleave(spec.heads // spec.kv_heads, dim=1)
    scores = q_BHRd @ k_BHMd.transpose(2, 3) * ctx.scale
    if ctx.visible_BLM is not None:
        ctx = replace(ctx, visible_BLM=ctx.visible_BLM[:, picked])
    at_R = stands(length, keys, q.device)[picked]
    bias = score_bias(spec, ctx, at_R, keys)
    if bias is not None:
        scores = scores + bias
    allowed = visible_mask(spec, ctx, at_R, keys)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    lse = torch.logsumexp(scores, dim=-1) if lse_BHL is None else lse_BHL[:, :, picked].to(wide)
    return torch.exp(scores - lse[..., None])
