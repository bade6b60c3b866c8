"""Who may see whom: one convention inside, and what each library makes of it.

Inside, True means a real token, or a query that may see a key. `scaled_dot_product_attention` means the same,
`nn.MultiheadAttention` the opposite, the flash kernels speak of windows, flex of functions; the translations are all
here, each with its test, because the wrong sense does not crash: it attends to the padding, or to nothing at all.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from bot.domain.errors import DataError
from models.attention.spec import HALVES, AttnContext, AttnSpec

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Padding:
    """Which tokens of a batch are real.

    Raises:
        DataError: a row has no real token: attention over nothing has no value, and zeros would look like one.
    """

    __slots__ = ("valid_BL",)

    def __init__(self, valid_BL: Tensor) -> None:
        if valid_BL.dtype != torch.bool or valid_BL.dim() != 2:
            raise ValueError(f"padding is [B, L] of bool, True for a real token; got {valid_BL.dtype}")
        empty = (~valid_BL.any(dim=1)).nonzero()
        if len(empty):
            raise DataError(f"row {int(empty[0])} of the batch has no real token; leave it out")
        self.valid_BL = valid_BL

    @classmethod
    def from_lengths(cls, lengths_B: Tensor, length: int) -> "Padding":
        """Return the padding of rows whose first `lengths_B` tokens of `length` are real.

        Raises:
            DataError: a row has none, or more than there is room for.
        """
        if int(lengths_B.max()) > length:
            raise DataError(f"a row is {int(lengths_B.max())} tokens long, the batch {length}")
        return cls(torch.arange(length, device=lengths_B.device)[None] < lengths_B[:, None])

    def fill(self, x_BLX: Tensor) -> Tensor:
        """Return `x_BLX` with zeros in place of whatever the padding held, NaN included."""
        return torch.where(self.valid_BL[(...,) + (None,) * (x_BLX.dim() - 2)], x_BLX, x_BLX.new_zeros(()))


def stands(queries: int, keys: int, device: torch.device) -> Tensor:
    """Return [L], the key at which each query stands: the newest of both stand together."""
    return torch.arange(keys - queries, keys, device=device)


def visible_mask(spec: AttnSpec, ctx: AttnContext, at_L: Tensor, keys: int) -> Tensor | None:
    """Return which query may see which key, True = may, broadcastable to [B, H, L, M]; None if all may see all.

    Which keys are real is asked in self-attention, where a padding token sees itself alone, so that no row is empty;
    other attention says which pairs are visible.

    Args:
        at_L: the key at which each query stands, see `stands`.
    """
    allowed = band_mask(spec, at_L, keys)
    if ctx.visible_BLM is not None:
        allowed = ctx.visible_BLM[:, None] if allowed is None else allowed & ctx.visible_BLM[:, None]
    if ctx.valid_BM is not None:
        real = ctx.valid_BM[:, None, None, :]
        if spec.layout == "dense":
            real = real | (_distance(at_L, keys) == 0)
        allowed = real if allowed is None else allowed & real
    return allowed


def band_mask(spec: AttnSpec, at_L: Tensor, keys: int) -> Tensor | None:
    """Return [L, M], True where causality and the window let a query see a key; None if they always do."""
    if not spec.causal or spec.layout == "ring":
        return None
    distance = _distance(at_L, keys)
    allowed = distance >= 0
    return allowed if spec.window is None else allowed & (distance < spec.window)


def score_bias(spec: AttnSpec, ctx: AttnContext, at_L: Tensor, keys: int) -> Tensor | None:
    """Return what ALiBi adds to the scores, -slope * distance: [1, H, L, M], or [B, H, 1, M] of a ring; else None.

    In float32 at least: bfloat16 cannot count beyond 256.
    """
    if spec.bias == "none":
        return None
    if ctx.slopes_H is None:
        raise ValueError("the spec asks for ALiBi and the context has no slopes")
    slopes = _slopes(spec, ctx.slopes_H)[None, :, None, None]
    if ctx.age_BM is not None:
        return -slopes * ctx.age_BM[:, None, None, :]
    return -slopes * _distance(at_L, keys).abs()


def need_keys(allowed: Tensor) -> None:
    """Check that every query sees a key.

    Raises:
        DataError: one sees none.
    """
    empty = (~allowed.any(dim=-1)).nonzero()
    if len(empty):
        raise DataError(
            f"the query at {empty[0].tolist()} of [batch, query] sees no key; wait until something is known"
        )


def to_sdpa(allowed: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """Return the `attn_mask` of `scaled_dot_product_attention`: of bool, True = attend, or added to the scores."""
    if bias is None or allowed is None:
        return allowed if bias is None else bias
    return torch.where(allowed, bias, bias.new_full((), -torch.inf))


def to_mha(allowed: Tensor) -> Tensor:
    """Return the masks of `nn.MultiheadAttention` (`key_padding_mask`, `attn_mask`): True = ignore."""
    return ~allowed


def to_flash_window(spec: AttnSpec) -> tuple[int, int]:
    """Return (left, right) of flash-attn 2 and 3 and of `varlen_attn`: keys beside one's own, -1 = without end."""
    if not spec.causal:
        return (-1, -1)
    return (-1 if spec.window is None else spec.window - 1, 0)


def to_cute_window(spec: AttnSpec) -> tuple[int | None, int | None]:
    """Return (left, right) of flash-attn 4, which says None where the others say -1."""
    left, right = to_flash_window(spec)
    return (None if left < 0 else left, None if right < 0 else right)


def to_flex(spec: AttnSpec, ctx: AttnContext, queries: int, keys: int) -> tuple[ScoreMod | None, MaskMod | None]:
    """Return flex attention's functions of (batch, head, query, key); the mask's True = attend."""
    offset, valid, window = keys - queries, ctx.valid_BM, spec.window
    slopes = torch.zeros(0) if ctx.slopes_H is None else _slopes(spec, ctx.slopes_H)

    def mask(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = query + offset - key
        allowed = distance >= (0 if spec.causal else -keys - queries)
        if window is not None:
            allowed = allowed & (distance < window)
        if valid is not None:
            real = valid[batch, key]
            allowed = allowed & (real | (distance == 0))
        return allowed

    def score(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = (query + offset - key).abs()
        return score - slopes[head] * distance

    masked = spec.causal or valid is not None
    return score if spec.bias == "alibi" else None, mask if masked else None


def to_cu_seqlens(offsets: tuple[int, ...], device: torch.device) -> tuple[Tensor, int]:
    """Return where packed sequences start and end, as the flash kernels take it (int32), and the longest's length."""
    lengths = [stop - start for start, stop in itertools.pairwise(offsets)]
    return torch.tensor(offsets, dtype=torch.int32, device=device), max(lengths)


def even_offsets(rows: int, length: int) -> tuple[int, ...]:
    """Return the offsets of `rows` sequences of one length."""
    return tuple(range(0, rows * length + 1, length))


def _distance(at_L: Tensor, keys: int) -> Tensor:
    """Return [L, M], how many tokens before the query the key stands."""
    return at_L[:, None] - torch.arange(keys, device=at_L.device)[None]


def _slopes(spec: AttnSpec, slopes_H: Tensor) -> Tensor:
    return slopes_H.to(torch.float32 if spec.dtype in HALVES else spec.dtype)
