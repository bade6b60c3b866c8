"""How several streams become one: attention over what the others know, gates, pyramids and pools.

The rule of every part that joins streams: a token counts for a query only if it was known by then. A memory carries
when each of its tokens was known, and nothing here takes a row number for a time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.domain.errors import DataError
from models.attention.masks import Padding
from models.attention.module import rotate
from models.attention.rows import attention_rows
from models.attention.select import attend
from models.attention.site import Site
from models.attention.spec import AttnContext, AttnSpec, detect
from models.block import Block
from models.config import BlockConfig
from models.norm import make_norm
from models.position import rotation_of

# Shape letters in this file: B batch, L query, M token of a memory, S stream, R newest tokens of each, D width, H head,
# d its width, N queries of all rows, one after another.

_NEAREST_NS, _FARTHEST_NS = 60 * 10**9, 60 * 86_400 * 10**9  # ages told apart: a minute to sixty days
_CHUNK = 4096  # queries that are gathered for at once


class Keys(NamedTuple):
    """Keys and values [B, M, H, d] of a stream's tokens: they never change, as tokens do not."""

    k: Tensor
    v: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What one stream has said, oldest first.

    Attributes:
        known_ns_BM: int64, ascending: from when on each token may be seen.
        keys: what a `CrossAttend` made of the tokens, by its `keys_of`, where somebody kept that; None: made anew.
    """

    tag: str
    tokens_BMD: Tensor
    known_ns_BM: Tensor
    keys: "Keys | None" = None

    def __post_init__(self) -> None:
        known = self.known_ns_BM
        if known.shape != self.tokens_BMD.shape[:2] or known.dtype != torch.int64:
            raise ValueError(f"{self.tag}: {list(self.tokens_BMD.shape)} tokens, known at {list(known.shape)}")
        if not torch.compiler.is_compiling() and bool((known[:, 1:] < known[:, :-1]).any()):
            raise DataError(f"{self.tag}: tokens are not in the order in which they were known")


def asof(memory: Memory, query_ns_BL: Tensor) -> Tensor:
    """Return [B, L], the newest token known at each time; -1 for none."""
    return torch.searchsorted(memory.known_ns_BM.contiguous(), query_ns_BL.contiguous(), right=True) - 1


def take_asof(memory: Memory, query_ns_BL: Tensor) -> Tensor:
    """Return [B, L, D], what the stream had said last at each time.

    Raises:
        DataError: it had said nothing.
    """
    index_BL = asof(memory, query_ns_BL)
    if not torch.compiler.is_compiling() and bool((index_BL < 0).any()):
        raise DataError(f"{memory.tag}: nothing is known of it at some of the times asked for; begin later")
    return memory.tokens_BMD.gather(1, index_BL[..., None].expand(-1, -1, memory.tokens_BMD.shape[-1]))


class CrossAttend(nn.Module):
    """Let each query gather from several memories what was known by its time; added to the query.

    A key is told by its stream (an embedding) and its age (queries and keys turn by their times, so that scores depend
    on the difference). All streams compete in one softmax.

    Args:
        tags: the streams, by name; `forward` takes one memory of each.
        recent: see this many newest known tokens of each stream; None: all. Needed for queries over long histories,
            where a mask of all pairs would not fit in memory.
        absent: what stands for a stream of which nothing is known: "error", or "token", a learned one of each stream
            that every query sees.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        tags: Sequence[str],
        recent: int | None = None,
        absent: Literal["error", "token"] = "error",
        norm: Literal["layer", "rms"] = "layer",
    ) -> None:
        super().__init__()
        if width % heads or width // heads % 2:
            raise ValueError(f"{heads} heads of {width} columns: heads must be equal, and even to be turned")
        self.tags, self.recent = tuple(tags), recent
        self.heads, self.d = heads, width // heads
        self.norm_query, self.norm_memory = make_norm(norm, width), make_norm(norm, width)
        self.tag_SD = nn.Parameter(torch.randn(len(self.tags), width) * 0.02)
        self.absent_SD = nn.Parameter(torch.randn(len(self.tags), width) * 0.02) if absent == "token" else None
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        growth = (_FARTHEST_NS / _NEAREST_NS) ** (1 / max(1, self.d // 2 - 1))
        periods = [round(2 * math.pi * _NEAREST_NS * growth**plane) for plane in range(self.d // 2)]
        self.register_buffer("periods", torch.tensor(periods), persistent=False)

    def forward(self, query_BLD: Tensor, query_ns_BL: Tensor, memories: Sequence[Memory]) -> Tensor:
        """Return the queries with what they gathered, [B, L, D].

        Args:
            query_ns_BL: when each decision is taken, int64: nothing known later is seen.

        Raises:
            DataError: at some time nothing is known of a stream, and nothing stands for it.
            ValueError: the memories are not those of `tags`, in that order.
        """
        parts = []
        for pairs in self._chunks(query_BLD, query_ns_BL, memories):
            out, _ = attend(pairs.q, pairs.k, pairs.v, pairs.spec, pairs.ctx, caps=detect(query_BLD.device))
            parts.append(out[..., : self.d].reshape(query_BLD.shape[0], -1, query_BLD.shape[-1]))
        gathered = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        made: Tensor = query_BLD + self.out(gathered)
        return made

    @torch.no_grad()
    def importance(self, query_BLD: Tensor, query_ns_BL: Tensor, memories: Sequence[Memory]) -> Tensor:
        """Return [B, L, S], the share of each query's attention that each stream gets, the mean of all heads."""
        parts = []
        for pairs in self._chunks(query_BLD, query_ns_BL, memories):
            weights = attention_rows(pairs.q, pairs.k, pairs.spec, pairs.ctx, range(pairs.q.shape[1])).mean(dim=1)
            owner_M = self._owners(pairs)
            shares = weights.new_zeros(*weights.shape[:2], len(self.tags)).index_add(2, owner_M, weights)
            parts.append(shares.view(query_BLD.shape[0], -1, len(self.tags)))
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def weights(
        self, query_BLD: Tensor, query_ns_BL: Tensor, memories: Sequence[Memory]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return by stream how a query's attention falls on its tokens, the mean of all heads, and when each was known.

        Both are [B, L, N], N tokens of the stream; a token that is not seen has weight 0. Absent tokens are left out.
        """
        rows, length = query_ns_BL.shape
        parts = [
            attention_rows(pairs.q, pairs.k, pairs.spec, pairs.ctx, range(pairs.q.shape[1]))
            .mean(dim=1)
            .reshape(rows, -1, pairs.k.shape[1])
            for pairs in self._chunks(query_BLD, query_ns_BL, memories)
        ]
        whole, made, start = torch.cat(parts, dim=1), {}, 0
        for memory in memories:
            known_BM = memory.known_ns_BM
            count = known_BM.shape[1] if self.recent is None else self.recent
            if self.recent is None:
                known_BLN = known_BM[:, None].expand(-1, length, -1)
            else:
                back = torch.arange(1 - count, 1, device=known_BM.device)
                at_BLN = (asof(memory, query_ns_BL)[..., None] + back).clamp(min=0)
                known_BLN = known_BM.gather(1, at_BLN.flatten(1)).view(at_BLN.shape)
            made[memory.tag] = whole[..., start : start + count], known_BLN
            start += count
        return made

    def _chunks(self, query_BLD: Tensor, query_ns_BL: Tensor, memories: Sequence[Memory]) -> Iterator["_Pairs"]:
        """Yield queries with the keys that they may see: all at once, or some queries with the recent keys of each."""
        if tuple(memory.tag for memory in memories) != self.tags:
            raise ValueError(f"memories of {[memory.tag for memory in memories]}, and tags are {list(self.tags)}")
        newest = [asof(memory, query_ns_BL) for memory in memories]
        for memory, index_BL in zip(memories, newest, strict=True):
            is_needed = self.absent_SD is None and not torch.compiler.is_compiling()
            if is_needed and bool((index_BL < 0).any()):
                raise DataError(f"{memory.tag}: nothing is known of it at some of the times asked for; begin later")
        q_BLHd = self.query(self.norm_query(query_BLD)).unflatten(-1, (self.heads, self.d))
        q = rotate(q_BLHd, self._rotation(query_ns_BL, q_BLHd.dtype))
        if self.absent_SD is not None:
            q = torch.cat([q, q_BLHd], dim=-1)  # the second half meets the absent tokens, which have no age
        keys = [
            self.keys_of(memory, number) if memory.keys is None else memory.keys
            for number, memory in enumerate(memories)
        ]
        if self.recent is not None:
            yield from self._recent(q, newest, keys, self.recent)
            return
        known = torch.cat([memory.known_ns_BM for memory in memories], dim=1)
        k, v = torch.cat([k for k, _ in keys], dim=1), torch.cat([v for _, v in keys], dim=1)
        sizes = [memory.known_ns_BM.shape[1] for memory in memories]
        yield self._pairs(q, k, v, known[:, None, :] <= query_ns_BL[..., None], sizes)

    def _recent(self, q: Tensor, newest: Sequence[Tensor], keys: Sequence[Keys], recent: int) -> Iterator["_Pairs"]:
        if not torch.compiler.is_compiling() and q.shape[1] == 1 and all(k.shape[1] == recent for k, _ in keys):
            # A live step: the tails hold what is seen, and nothing has to be looked for unless a bar is not known yet.
            if all(bool((index_BL == recent - 1).all()) for index_BL in newest):
                k, v = torch.cat([k for k, _ in keys], dim=1), torch.cat([v for _, v in keys], dim=1)
                yield self._pairs(q, k, v, None, [recent] * len(keys))
                return
        back = torch.arange(1 - recent, 1, device=q.device)
        row_B11 = torch.arange(q.shape[0], device=q.device)[:, None, None]
        for start in range(0, q.shape[1], _CHUNK):
            at = [index_BL[:, start : start + _CHUNK, None] + back for index_BL in newest]
            visible = torch.cat([each >= 0 for each in at], dim=-1).flatten(0, 1)[:, None]
            picked = [(row_B11, each.clamp(min=0)) for each in at]
            k = torch.cat([k[where].flatten(0, 1) for where, (k, _) in zip(picked, keys, strict=True)], dim=1)
            v = torch.cat([v[where].flatten(0, 1) for where, (_, v) in zip(picked, keys, strict=True)], dim=1)
            yield self._pairs(q[:, start : start + _CHUNK].flatten(0, 1)[:, None], k, v, visible, [recent] * len(keys))

    def _rotation(self, time_ns_BL: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the rotation by whole nanoseconds: exact phases, so that a difference of large times is no loss."""
        periods = self.get_buffer("periods")
        phase = (time_ns_BL[..., None] % periods).double() / periods
        return rotation_of(2 * math.pi * phase, dtype)

    def keys_of(self, memory: Memory, number: int) -> Keys:
        """Return keys and values of stream `number`; twice as wide where there are absent tokens."""
        tokens = self.norm_memory(memory.tokens_BMD) + self.tag_SD[number]
        k, v = self.key_value(tokens).unflatten(-1, (2 * self.heads, self.d)).chunk(2, dim=2)
        k = rotate(k, self._rotation(memory.known_ns_BM, k.dtype))
        if self.absent_SD is None:
            return Keys(k, v)
        return Keys(F.pad(k, (0, self.d)), F.pad(v, (0, self.d)))

    def _absent(self, absent_SD: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Return keys and values [rows, S, H, 2 d] of the absent tokens."""
        k, v = self.key_value(absent_SD + self.tag_SD).unflatten(-1, (2 * self.heads, self.d)).chunk(2, dim=1)
        k, v = F.pad(k, (self.d, 0)), F.pad(v, (0, self.d))
        return k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)

    def _owners(self, pairs: "_Pairs") -> Tensor:
        """Return [M], the number of each key's stream."""
        sizes = [*pairs.sizes, *((1,) * len(self.tags) if self.absent_SD is not None else ())]
        numbers = [number % len(self.tags) for number in range(len(sizes))]
        return torch.tensor(numbers, device=pairs.q.device).repeat_interleave(
            torch.tensor(sizes, device=pairs.q.device)
        )

    def _pairs(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, sizes: Sequence[int]) -> "_Pairs":
        """Return queries, the keys they may see (None: all), and how many are of each stream."""
        if self.absent_SD is not None:
            more_k, more_v = self._absent(self.absent_SD, q.shape[0])
            k, v = torch.cat([k, more_k], dim=1), torch.cat([v, more_v], dim=1)
            visible = None if visible is None else F.pad(visible, (0, len(self.tags)), value=True)
        spec = AttnSpec(
            heads=self.heads,
            kv_heads=self.heads,
            d=q.shape[-1],
            mask="none" if visible is None else "pairs",
            square=False,
            length=1 << (int(k.shape[1]) - 1).bit_length(),
            dtype=q.dtype,
            needs_grad=torch.is_grad_enabled() and q.requires_grad,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )
        return _Pairs(q, k, v, spec, AttnContext(scale=1 / math.sqrt(self.d), visible_BLM=visible), sizes)


class _Pairs(NamedTuple):
    q: Tensor
    k: Tensor
    v: Tensor
    spec: AttnSpec
    ctx: AttnContext
    sizes: Sequence[int]  # keys of each stream, those of absent tokens left out


class Fused(NamedTuple):
    """Several streams as one, and what each had to do with it."""

    h: Tensor  # [..., D]
    gates: Tensor  # [..., S], sums to one


class GatedFusion(nn.Module):
    """Weigh streams by what they say and by a learned weight of each.

    Args:
        mode: "sum": gates compete, and the result is their weighted sum; "concat": each gate is its own stream's, and
            the result is made of all that passes.
    """

    def __init__(self, *, width: int, streams: int, mode: Literal["sum", "concat"]) -> None:
        super().__init__()
        self.mode = mode
        self.weight_S = nn.Parameter(torch.zeros(streams))
        self.gate: nn.Module
        if mode == "sum":
            self.gate = nn.Linear(streams * width, streams)
            self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        else:
            hidden = max(1, width // 4)
            self.gate = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1))
            self.mix = nn.Sequential(nn.Linear(streams * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, parts_XSD: Tensor) -> Fused:
        """Return [..., D] and gates [..., S] of parts [..., S, D]."""
        share_S = torch.softmax(self.weight_S, dim=0)
        if self.mode == "sum":
            gates = torch.softmax(self.gate(parts_XSD.flatten(-2)), dim=-1) * share_S
            gates = gates / gates.sum(dim=-1, keepdim=True)
            total = (gates[..., None] * parts_XSD).sum(dim=-2)
            return Fused(self.norm(total + self.mix(total)), gates)
        gates = torch.sigmoid(self.gate(parts_XSD)[..., 0]) * share_S
        passed = (gates[..., None] * parts_XSD).flatten(-2)
        return Fused(self.norm(self.mix(passed)), gates / gates.sum(dim=-1, keepdim=True))


class Pyramid(nn.Module):
    """Look at a window at several resolutions: attend, keep the newest token, halve by pairs, and again.

    Pairs are counted from the newest token back, so that it is always in one; an oldest token without a partner stands
    for itself.
    """

    def __init__(self, cfg: BlockConfig, *, width: int, levels: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(cfg, width=width) for _ in range(levels))
        self.join = nn.Linear(levels * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, h_BLD: Tensor) -> Tensor:
        """Return [B, D]."""
        newest = []
        for block in self.blocks:
            h_BLD = block(h_BLD, Site())
            newest.append(h_BLD[:, -1])
            if h_BLD.shape[1] % 2:
                h_BLD = torch.cat([h_BLD[:, :1], h_BLD], dim=1)
            h_BLD = (h_BLD[:, 0::2] + h_BLD[:, 1::2]) / 2
        made: Tensor = self.norm(self.join(torch.cat(newest, dim=-1)))
        return made


class Pool(nn.Module):
    """Say a window in one vector: its newest token, their mean, or a mean weighted by what they say."""

    def __init__(self, kind: Literal["last", "mean", "attention"], width: int) -> None:
        super().__init__()
        self.kind = kind
        # A constant added to every score would cancel in the softmax, so there is none.
        self.score = nn.Linear(width, 1, bias=False) if kind == "attention" else None

    def forward(self, h_BLD: Tensor, padding: Padding | None = None) -> Tensor:
        """Return [B, D]; padding counts for nothing."""
        if self.kind == "last" and padding is None:
            return h_BLD[:, -1]
        if padding is not None:
            h_BLD = padding.fill(h_BLD)
        return (self.weights(h_BLD, padding)[..., None] * h_BLD).sum(dim=1)

    def weights(self, h_BLD: Tensor, padding: Padding | None = None) -> Tensor:
        """Return [B, L], what each token counts for; sums to one, zero for padding."""
        valid = torch.ones_like(h_BLD[..., 0], dtype=torch.bool) if padding is None else padding.valid_BL
        if self.kind == "last":
            after = valid.flip(1).cumsum(dim=1).flip(1)  # real tokens from here on
            return (valid & (after == 1)).to(h_BLD.dtype)
        scores = h_BLD.new_zeros(valid.shape) if self.score is None else self.score(h_BLD)[..., 0]
        return torch.softmax(scores.masked_fill(~valid, -torch.inf), dim=1)


class VariableEmbed(nn.Module):
    """Make each variable of each bar a token of its own: [B, T, V] to [B, T, V, D], by a line for each variable."""

    def __init__(self, variables: int, width: int) -> None:
        super().__init__()
        self.weight_VD = nn.Parameter(torch.randn(variables, width) / math.sqrt(width))
        self.bias_VD = nn.Parameter(torch.zeros(variables, width))

    def forward(self, x_BTV: Tensor) -> Tensor:
        """Return the tokens."""
        return x_BTV[..., None] * self.weight_VD + self.bias_VD
