"""Torch's own kernels, through `scaled_dot_product_attention`; and windows, which it lacks, in blocks of it.

On CUDA: cuDNN (Hopper instructions), FLASH (flash-attn 2), EFFICIENT (masks and float32) and MATH. On the CPU, FLASH is
torch's blocked kernel and takes masks as well.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.attention.masks import band_mask, score_bias, stands, to_sdpa, visible_mask
from models.attention.spec import HALVES, AttnContext, AttnSpec, Caps, register

_CUDNN_MIN = 91500  # from here on torch itself prefers it on Hopper


class Sdpa:
    """One of torch's fused kernels, by name."""

    def __init__(self, name: str, kernel: SDPBackend) -> None:
        self.name = name
        self._kernel = kernel

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if spec.kernel == "linear":
            return "the linear kernel is another function"
        if spec.layout == "packed":
            return "packed sequences would see one another"
        if spec.window is not None and spec.layout != "ring":
            return "has no windows; sdpa-banded has"
        needs_mask = spec.mask != "none" or spec.bias != "none" or (spec.causal and not spec.square)
        match self._kernel:
            case SDPBackend.CUDNN_ATTENTION:
                return _cudnn_lacks(spec, caps)
            case SDPBackend.FLASH_ATTENTION:
                return _flash_lacks(spec, caps, needs_mask=needs_mask)
            case SDPBackend.EFFICIENT_ATTENTION:
                return _efficient_lacks(spec, caps)
        return None

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        # A square causal triangle has a flag of its own, which costs no mask and leaves more kernels.
        triangle = spec.causal and spec.square and spec.mask == "none" and spec.bias == "none" and spec.layout != "ring"
        mask = None if triangle else _mask(spec, ctx, q, k)
        if q.device.type == "cpu" and self._kernel is SDPBackend.FLASH_ATTENTION:
            return _sdpa(q, k, v, spec, ctx, mask=mask, is_causal=triangle), None  # torch's first choice here anyway
        with sdpa_kernel(self._kernel):
            return _sdpa(q, k, v, spec, ctx, mask=mask, is_causal=triangle), None


class Banded:
    """Windows by blocks: queries in blocks, each with the keys of its own block and of those it looks back to.

    Costs O(L * W) arithmetic and, beside the outputs, the memory of one block.
    """

    name = "sdpa-banded"

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        if spec.kernel == "linear":
            return "the linear kernel is another function"
        if spec.window is None:
            return "is for windows"
        if spec.layout != "dense":
            return "is for dense batches"
        if spec.mask == "pairs":
            return "cuts the keys into blocks, and a mask of pairs does not say where"
        if caps.device == "cpu" and spec.dropout:
            return "torch's CPU kernel has no dropout"
        return None

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        queries, keys = q.shape[1], k.shape[1]
        window = spec.window or keys
        block, pieces = _block_of(window)
        blocks = _Blocks(k, v, ctx.valid_BM, first=keys - queries, block=block, pieces=pieces, reach=window - 1)
        if spec.needs_grad:
            blocks.split()
        mask = _BandMask(spec, ctx, q)
        outs = []
        for number, q_block in enumerate(_split(q, block)):
            k_block, v_block, valid = blocks.of(number, q_block.shape[1])
            allowed = mask.of(q_block.shape[1], k_block.shape[1], valid)
            outs.append(_sdpa(q_block, k_block, v_block, spec, ctx, mask=allowed, is_causal=False))
        return torch.cat(outs, dim=1) if len(outs) > 1 else outs[0], None


class _Blocks:
    """The keys that each block of queries can see: slices, or whole pieces once they are split."""

    def __init__(
        self, k: Tensor, v: Tensor, valid_BM: Tensor | None, *, first: int, block: int, pieces: int, reach: int
    ) -> None:
        self._k, self._v, self._valid = k, v, valid_BM
        self._first = first  # the key at which the first query stands
        self._block, self._back, self._reach = block, pieces, reach
        self._before = -(-first // block)  # pieces before the first query
        self._pieces: list[tuple[Tensor, Tensor]] = []

    def split(self) -> None:
        """Cut all keys into pieces once, and join blocks of those from now on.

        The gradient of a slice is as long as all the keys, so slices would make the backward pass quadratic.
        """
        keys, ahead = self._k.shape[1], self._first % self._block
        cuts = [0] * bool(ahead) + list(range(ahead, keys, self._block)) + [keys]
        sizes = [stop - start for start, stop in itertools.pairwise(cuts)]
        self._pieces = list(zip(_split(self._k, sizes), _split(self._v, sizes), strict=True))

    def of(self, number: int, queries: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return keys, values and which are real, for block `number` of `queries` queries."""
        stop = self._first + number * self._block + queries
        start = max(0, stop - queries - self._reach)
        if self._pieces:
            own = self._before + number
            pieces = self._pieces[max(0, own - self._back) : own + 1]
            k = torch.cat([piece for piece, _ in pieces], dim=1)
            v = torch.cat([piece for _, piece in pieces], dim=1)
            start = stop - k.shape[1]
        else:
            k, v = self._k[:, start:stop], self._v[:, start:stop]
        return k, v, None if self._valid is None else self._valid[:, start:stop]


class _BandMask:
    """The mask of a block, which is the same for all blocks of one shape as long as every key is real."""

    def __init__(self, spec: AttnSpec, ctx: AttnContext, q: Tensor) -> None:
        self._spec, self._ctx, self._like = spec, ctx, q
        self._made: dict[tuple[int, int], Tensor | None] = {}

    def of(self, queries: int, keys: int, valid_BM: Tensor | None) -> Tensor | None:
        """Return what is added to the scores."""
        at_L = stands(queries, keys, self._like.device)
        if (queries, keys) not in self._made:
            allowed = band_mask(self._spec, at_L, keys)
            bias = score_bias(self._spec, self._ctx, at_L, keys)
            zero = self._like.new_zeros((queries, keys))
            # Added to the scores rather than chosen by: the CPU kernel turns a mask of bool into this on every call.
            self._made[queries, keys] = to_sdpa(allowed, zero if bias is None else _like(bias, self._like))
        made = self._made[queries, keys]
        if valid_BM is None:
            return made
        context = AttnContext(scale=self._ctx.scale, valid_BM=valid_BM)
        return to_sdpa(visible_mask(self._spec, context, at_L, keys), made)


def _block_of(window: int) -> tuple[int, int]:
    """Return how many queries a block has, and how many blocks of keys before its own it needs.

    Small blocks waste less of the keys' square on masked corners, large ones do more per call; measured on two cores,
    windows of 43 to 721, anything between 96 and 256 is within a fifth of the best.
    """
    pieces = max(1, -(-(window - 1) // 256))
    block = max(96, -(-(window - 1) // pieces))
    return block, pieces


def _split(x_BLHd: Tensor, sizes: int | list[int]) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = x_BLHd.split(sizes, dim=1)  # type: ignore[no-untyped-call]
    return parts


def _mask(spec: AttnSpec, ctx: AttnContext, q: Tensor, k: Tensor) -> Tensor | None:
    if spec.mask == "none" and spec.bias == "none" and (spec.layout == "ring" or not spec.causal):
        return None
    at_L = stands(q.shape[1], k.shape[1], q.device)
    bias = score_bias(spec, ctx, at_L, k.shape[1])
    return to_sdpa(visible_mask(spec, ctx, at_L, k.shape[1]), None if bias is None else _like(bias, q))


def _like(bias: Tensor, q: Tensor) -> Tensor:
    """Return the bias in the dtype that the kernels take beside `q`: on CUDA that of `q`."""
    return bias.to(q.dtype) if q.device.type == "cuda" else bias


def _sdpa(
    q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext, *, mask: Tensor | None, is_causal: bool
) -> Tensor:
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    share = spec.heads != spec.kv_heads
    if share and q.device.type == "cpu":  # its fused kernel wants as many heads of keys as of queries
        groups = spec.heads // spec.kv_heads
        k, v, share = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), False
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=spec.dropout, is_causal=is_causal, scale=ctx.scale, enable_gqa=share
    )
    return out.transpose(1, 2)


def _cudnn_lacks(spec: AttnSpec, caps: Caps) -> str | None:
    if caps.device != "cuda":
        return "needs CUDA"
    if caps.sm < (8, 0):
        return f"needs compute capability 8.0, this is {caps.sm[0]}.{caps.sm[1]}"
    if caps.cudnn < _CUDNN_MIN:
        return f"needs cuDNN {_CUDNN_MIN}, this is {caps.cudnn}; another one may shadow torch's own"
    if spec.dtype not in HALVES:
        return f"takes bfloat16 and float16, not {spec.dtype}"
    if spec.d % 8 or spec.d > 128:
        return f"takes heads of 8, 16 ... 128, not {spec.d}"
    return "is not deterministic" if spec.deterministic else None


def _flash_lacks(spec: AttnSpec, caps: Caps, *, needs_mask: bool) -> str | None:
    if caps.device == "cpu":
        return "torch's CPU kernel has no dropout" if spec.dropout else None
    if caps.device != "cuda" or caps.sm < (8, 0):
        return "needs a CPU, or CUDA with compute capability 8.0"
    if spec.dtype not in HALVES:
        return f"takes bfloat16 and float16, not {spec.dtype}"
    if spec.d > 256 or spec.d % 8:
        return f"takes heads of 8, 16 ... 256, not {spec.d}"
    return "takes no mask, no bias, and causality of a square alone" if needs_mask else None


def _efficient_lacks(spec: AttnSpec, caps: Caps) -> str | None:
    if caps.device != "cuda":
        return "needs CUDA"
    if spec.dtype == torch.float64:
        return "takes no float64"
    if spec.d % 8:
        return f"takes heads of a multiple of 8, not {spec.d}"
    if spec.heads != spec.kv_heads:
        return "has no shared heads of keys"
    return "its gradient is not deterministic" if spec.deterministic and spec.needs_grad else None


register(Sdpa("sdpa-cudnn", SDPBackend.CUDNN_ATTENTION))
register(Sdpa("sdpa-flash", SDPBackend.FLASH_ATTENTION))
register(Sdpa("sdpa-efficient", SDPBackend.EFFICIENT_ATTENTION))
register(Sdpa("sdpa-math", SDPBackend.MATH))
register(Banded())
