"""Several streams as one vector at every decision: attention over what is known, gates over what was said last."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.config import FusionConfig
from models.memory import CrossAttend, GatedFusion, Memory

# Shape letters in this file: B row, T decision, S stream, K query of a decision, D width.


class Said(NamedTuple):
    """One vector for each decision, and what each stream had to do with it."""

    h_BTD: Tensor
    importance_BTS: Tensor


class ScaleFusion(nn.Module):
    """Fuse streams as a configuration says.

    Attention and gates differ in what they see: attention sees many tokens of each stream, told by stream and age,
    competing in one softmax, so that the longest stream wins by what it says and not by its length; gates see the
    newest token of each.

    Args:
        bars: every stream, in order.
        queries: K, how many vectors of a decision attend: one of the decision's own stream, or one of each.
    """

    def __init__(self, cfg: FusionConfig, *, bars: Sequence[str], queries: int, width: int) -> None:
        super().__init__()
        unknown = [tag for tag in cfg.memory_tags if tag not in bars]
        if unknown:
            raise ConfigError(f"FusionConfig.memory_tags: there is no scale {', '.join(unknown)}")
        tags = tuple(bar for bar in bars if not cfg.memory_tags or bar in cfg.memory_tags)
        self.bars, self.tags = tuple(bars), tags
        self.cross: CrossAttend | None = None
        self.gates: GatedFusion | None = None
        self.join: nn.Linear | None = None
        if cfg.kind.startswith("cross"):
            self.cross = CrossAttend(width=width, heads=cfg.heads, tags=tags, recent=cfg.recent, absent=cfg.absent)
            self.join = nn.Linear(queries * width, width) if queries > 1 else None
        if cfg.kind.endswith("sum"):
            self.gates = GatedFusion(width=width, streams=len(bars), mode="sum")
        elif cfg.kind.endswith("concat"):
            self.gates = GatedFusion(width=width, streams=len(bars), mode="concat")
        self.norm = nn.LayerNorm(width)

    def forward(
        self, query_BTKD: Tensor, newest_BTSD: Tensor | None, memories: Sequence[Memory], decision_ns_BT: Tensor
    ) -> Said:
        """Return one vector for each decision.

        Args:
            newest_BTSD: what each stream had said last; only the gates need it.
            memories: one of every stream, in the order of `bars`.
        """
        total: Tensor | None = None
        importance: Tensor | None = None
        if self.gates is not None and newest_BTSD is not None:
            total, importance = self.gates(newest_BTSD)
        if self.cross is not None:
            count = query_BTKD.shape[2]
            query_BLD = query_BTKD.flatten(1, 2)
            query_ns_BL = decision_ns_BT.repeat_interleave(count, dim=1)
            seen = [memory for memory in memories if memory.tag in self.tags]
            gathered = self.cross(query_BLD, query_ns_BL, seen).unflatten(1, (-1, count))
            gathered = gathered[:, :, 0] if self.join is None else self.join(gathered.flatten(2))
            total = gathered if total is None else total + gathered
            if importance is None:
                importance = self._shares(query_BLD, query_ns_BL, seen, count)
        if total is None or importance is None:
            raise ConfigError("FusionConfig.kind = 'none' joins nothing; choose another")
        return Said(self.norm(total), importance)

    def _shares(self, query_BLD: Tensor, query_ns_BL: Tensor, seen: Sequence[Memory], count: int) -> Tensor:
        """Return [B, T, S] attention by stream, the mean of `count` queries; 0 for streams that are not attended to."""
        assert self.cross is not None
        shares = self.cross.importance(query_BLD, query_ns_BL, seen)
        shares = shares.reshape(len(shares), -1, count, shares.shape[-1]).mean(dim=2)
        where = torch.tensor([self.bars.index(tag) for tag in self.tags], device=shares.device)
        return shares.new_zeros(*shares.shape[:2], len(self.bars)).index_copy(2, where, shares)
