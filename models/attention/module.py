"""Multi-head attention as a layer: project, place, let a kernel compare, project back.

The layer knows what it wants; `select` knows which kernel does it. Nothing here depends on which.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention.backends import linear
from models.attention.cache import Keys, RowsCursor
from models.attention.hooks import Bias, Gate, Pre, make_hook
from models.attention.select import Selection, select
from models.attention.site import Placement, Site
from models.attention.spec import AttnContext, AttnSpec, Backend, detect
from models.config import AttnConfig


class Attention(nn.Module):
    """Self-attention over [B, L, D].

    Shape letters: B batch, L token, D width, H head, G head of keys, d its width, E further columns of both.

    Args:
        width: D, which is `heads * d`.
        features: F of the hooks' features.
        layer: which layer of a cache is this one's.
        terms: E, how many columns the placement adds to queries and keys.
    """

    def __init__(self, cfg: AttnConfig, *, width: int, features: int = 0, layer: int = 0, terms: int = 0) -> None:
        super().__init__()
        self.cfg = cfg
        self.layer = layer
        self.kv_heads = cfg.kv_heads or cfg.heads
        hook = {"width": width, "features": features, "kv_heads": self.kv_heads}
        self.pre = make_hook("pre", cfg.pre, **hook)
        self.bias = make_hook("bias", cfg.bias, **hook)
        self.gate = make_hook("gate", cfg.gate, **hook)
        self.qkv = nn.Linear(width, (cfg.heads + 2 * self.kv_heads) * cfg.d, bias=False)
        self.out = nn.Linear(cfg.heads * cfg.d, width, bias=False)
        self.d_kernel = padded_width(cfg.d, terms + (self.bias is not None))
        self._decided: dict[tuple[object, ...], tuple[AttnSpec, Backend]] = {}

    def forward(self, x_BLD: Tensor, site: Site) -> Tensor:
        """Return what each token gathers from those it can see, [B, L, D].

        What padding holds, NaN included, reaches no real token; what is returned there is not to be read.
        """
        if site.padding is not None:
            x_BLD = site.padding.fill(x_BLD)
        q, k, v = self.project(x_BLD, site)
        gathered = self._sums(q, k, v, site) if self.cfg.kernel == "linear" else self._softmax(q, k, v, site)
        out_BLD = (gathered if self.d_kernel == self.cfg.d else gathered[..., : self.cfg.d]).flatten(2)
        if self.gate is not None:
            out_BLD = cast(Gate, self.gate)(out_BLD)
        made: Tensor = self.out(out_BLD)
        return made

    def project(self, x_BLD: Tensor, site: Site) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, L, H, d + E], keys and values [B, L, G, d + E] as the kernels compare them."""
        if self.pre is not None:
            x_BLD = cast(Pre, self.pre)(x_BLD, _features(site))
        heads, both = self.cfg.heads, self.cfg.heads + self.kv_heads
        qkv = self.qkv(x_BLD).unflatten(-1, (both + self.kv_heads, self.cfg.d))
        placed, v = qkv[:, :, :both], qkv[:, :, both:]
        if site.placement.rotation is not None:
            placed = rotate(placed, site.placement.rotation)
        q, k = placed[:, :, :heads], placed[:, :, heads:]
        if self.d_kernel != self.cfg.d:
            q, k = self._add_terms(q, k, site)
            v = F.pad(v, (0, self.d_kernel - self.cfg.d))  # the kernels want one width of all three
        return q, k, v

    def spec(self, q: Tensor, keys: Keys, placement: Placement) -> AttnSpec:
        """Return what is asked of a kernel for these queries and keys."""
        return AttnSpec(
            heads=self.cfg.heads,
            kv_heads=self.kv_heads,
            d=self.d_kernel,
            causal=self.cfg.causal,
            window=self.cfg.window,
            kernel=self.cfg.kernel,
            bias="none" if placement.slopes_H is None else "alibi",
            mask="none" if keys.valid_BM is None else "keys",
            layout=keys.layout,
            square=int(q.shape[1]) == int(keys.k_BMGd.shape[1]),
            length=_bucket(keys),
            dtype=q.dtype,
            dropout=self.cfg.dropout if self.training else 0.0,
            needs_grad=torch.is_grad_enabled() and q.requires_grad,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )

    def choose(self, x_BLD: Tensor, site: Site) -> Selection:
        """Return which kernel `forward` would use for these tokens, and why not the others."""
        q, k, v = self.project(x_BLD, site)
        keys = own_keys(k, v, site)
        return select(self.spec(q, keys, site.placement), detect(q.device), self.cfg.backend)

    def context(self, keys: Keys, site: Site) -> AttnContext:
        """Return the tensors that go with the spec."""
        slopes = site.placement.slopes_H
        ages = None
        if slopes is not None and site.cursor is not None and not isinstance(site.cursor, RowsCursor):
            ages = site.cursor.ages()
        return AttnContext(scale=1 / math.sqrt(self.cfg.d), slopes_H=slopes, valid_BM=keys.valid_BM, age_BM=ages)

    def _softmax(self, q: Tensor, k: Tensor, v: Tensor, site: Site) -> Tensor:
        cursor = site.cursor
        if cursor is None or isinstance(cursor, RowsCursor):
            keys = own_keys(k, v, site)
        else:
            keys = cursor.extend(self.layer, k, v)
        spec, backend = self._decide(q, keys, site.placement)
        out, _ = backend.run(q, keys.k_BMGd, keys.v_BMGd, spec, self.context(keys, site))
        return out

    def _decide(self, q: Tensor, keys: Keys, placement: Placement) -> tuple[AttnSpec, Backend]:
        """Return the spec and the kernel, looked up by what may differ between calls: a step has no time to spare."""
        asked = (
            placement.slopes_H is None,
            keys.valid_BM is None,
            keys.layout,
            int(q.shape[1]) == int(keys.k_BMGd.shape[1]),  # a tracer's sizes are tensors
            _bucket(keys),
            q.dtype,
            q.device,
            self.training,
            torch.is_grad_enabled() and q.requires_grad,
            torch.are_deterministic_algorithms_enabled(),
        )
        found = self._decided.get(asked)
        if found is None:
            spec = self.spec(q, keys, placement)
            found = spec, select(spec, detect(q.device), self.cfg.backend).backend
            self._decided[asked] = found
        return found

    def _sums(self, q: Tensor, k: Tensor, v: Tensor, site: Site) -> Tensor:
        if not isinstance(site.cursor, RowsCursor):
            return self._softmax(q, k, v, site)  # one kernel there is that can: the linear one
        out, sums = linear.causal(q, k, v, site.cursor.get(self.layer))
        site.cursor.put(self.layer, sums)
        return out

    def _add_terms(self, q: Tensor, k: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        """Widen queries and keys by columns whose products add to the scores, and by zeros up to `d_kernel`."""
        rows, length = q.shape[:2]
        q_parts, k_parts, used = [q], [k], self.cfg.d
        terms_q, terms_k = site.placement.q_terms_BLHE, site.placement.k_terms_BL1E
        if terms_q is not None and terms_k is not None:
            # The kernel scales all scores; these terms are meant as they are.
            q_parts.append((terms_q * math.sqrt(self.cfg.d)).to(q.dtype).expand(rows, length, q.shape[2], -1))
            k_parts.append(terms_k.to(k.dtype).expand(rows, length, k.shape[2], -1))
            used += terms_q.shape[-1]
        if self.bias is not None:
            q_parts.append(q.new_full((), math.sqrt(self.cfg.d)).expand(rows, length, q.shape[2], 1))
            k_parts.append(cast(Bias, self.bias)(_features(site))[..., None].to(k.dtype))
            used += 1
        if self.d_kernel > used:
            q_parts.append(q.new_zeros(()).expand(rows, length, q.shape[2], self.d_kernel - used))
            k_parts.append(k.new_zeros(()).expand(rows, length, k.shape[2], self.d_kernel - used))
        return torch.cat(q_parts, dim=-1), torch.cat(k_parts, dim=-1)


def rotate(x_BLHd: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Return every head turned by its token's angles: the halves of d are the two coordinates of d / 2 planes."""
    cos, sin = rotation
    wide = x_BLHd.to(cos.dtype)
    return torch.addcmul(wide * cos, wide.roll(wide.shape[-1] // 2, dims=-1), sin).to(x_BLHd.dtype)


def padded_width(d: int, terms: int) -> int:
    """Return the width of heads with `terms` more columns, a multiple of 8 as the kernels want it."""
    return d if terms == 0 else -(-(d + terms) // 8) * 8


def own_keys(k: Tensor, v: Tensor, site: Site) -> Keys:
    """Return the keys of a pass that remembers nothing: the tokens' own."""
    return Keys(k_BMGd=k, v_BMGd=v, valid_BM=None if site.padding is None else site.padding.valid_BL, layout="dense")


def _bucket(keys: Keys) -> int:
    """Return how many keys there are, rounded up to a power of two."""
    return 1 << (int(keys.k_BMGd.shape[1]) - 1).bit_length()


def _features(site: Site) -> Tensor:
    if site.features_BLF is None:
        raise ValueError("a hook of this layer reads the tokens' features, and none were given")
    return site.features_BLF
