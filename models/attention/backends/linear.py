"""Linear attention: phi(q) (phi(k)' v) / phi(q) (phi(k)' 1) with phi = elu + 1, another function than softmax.

Causal, it is a running sum of d * d numbers a head, so it streams exactly in constant memory. The sums are kept in
float32 at least: in bfloat16 a thousand small terms would vanish beside their sum.

Source: Katharopoulos et al. (2020), Transformers are RNNs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention.spec import HALVES, AttnContext, AttnSpec, Caps, register

_BLOCK = 64  # queries that are compared with one another directly; what is older comes from the sums


class Linear:
    """The linear kernel, forward and causal."""

    name = "linear"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if spec.kernel != "linear":
            return "is another function than softmax"
        if spec.layout != "dense":
            return "is for dense batches"
        if spec.window is not None or spec.bias != "none" or spec.dropout:
            return "has no scores to mask, add to or drop"
        if spec.mask == "pairs":
            return "sums over keys, the same for all queries"
        return "a causal query needs its own key" if spec.causal and not spec.square else None

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        if not spec.causal:
            return _full(q, k, v, spec, ctx), None
        out, _ = causal(q, k, v, empty_sums(q.shape[0], spec, q), valid_BL=ctx.valid_BM)
        return out, None


def empty_sums(rows: int, spec: AttnSpec, like: Tensor) -> Tensor:
    """Return the running sums of nothing: [B, H, d, d + 1], the last column being the normaliser's."""
    wide = torch.float32 if like.dtype in HALVES else like.dtype
    return torch.zeros(rows, spec.heads, spec.d, spec.d + 1, dtype=wide, device=like.device)


def causal(q: Tensor, k: Tensor, v: Tensor, sums: Tensor, *, valid_BL: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the output [B, L, H, d] of new tokens, and the sums after them.

    Args:
        sums: [B, H, d, d + 1] of the tokens before.
        valid_BL: a padding token adds nothing to the sums.
    """
    q_BHLd, k_BHLd, v_BHLe = _prepare(q, k, v, sums.dtype, valid_BL)
    length, block = q.shape[1], min(q.shape[1], _BLOCK)
    older = torch.ones(block, block, dtype=sums.dtype, device=q.device).tril()
    outs = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        q_b, k_b, v_b = q_BHLd[:, :, start:stop], k_BHLd[:, :, start:stop], v_BHLe[:, :, start:stop]
        scores = (q_b @ k_b.transpose(2, 3)) * older[: stop - start, : stop - start]
        outs.append(scores @ v_b + q_b @ sums)
        sums = sums + k_b.transpose(2, 3) @ v_b
    out = torch.cat(outs, dim=2) if len(outs) > 1 else outs[0]
    return _divide(out).to(q.dtype), sums


def _full(q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> Tensor:
    q_BHLd, k_BHMd, v_BHMe = _prepare(q, k, v, empty_sums(0, spec, q).dtype, ctx.valid_BM)
    return _divide(q_BHLd @ (k_BHMd.transpose(2, 3) @ v_BHMe)).to(q.dtype)


def _prepare(q: Tensor, k: Tensor, v: Tensor, wide: torch.dtype, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return phi(q), phi(k) and v with a one beside it, heads first, as many of keys as of queries."""
    groups = q.shape[2] // k.shape[2]
    q, k, v = (each.transpose(1, 2).to(wide) for each in (q, k, v))
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    phi_k = F.elu(k) + 1
    if valid is not None:
        phi_k = phi_k * valid[:, None, :, None]
    return F.elu(q) + 1, phi_k, F.pad(v, (0, 1), value=1.0)


def _divide(out_BHLe: Tensor) -> Tensor:
    # A padding token before the first real one has nothing to divide by; what it says is not read.
    total = out_BHLe[..., -1:]
    return (out_BHLe[..., :-1] / torch.where(total > 0, total, torch.ones_like(total))).transpose(1, 2)


register(Linear())
