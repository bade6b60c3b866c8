"""The order book's levels through time (S2's order book network, which had no body)."""

import math

import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.config import ModelConfig
from models.inputs import ModelInput
from models.memory import Memory, take_asof
from models.output import ModelOutput
from models.registry import register
from models.systems.axial import AxialTrunk
from models.systems.base import System, need_transformer, one_scale

# Shape letters in this file: B row, L snapshot, V level (all bids from the best down, then all asks), F feature.

_WAVES = 4  # of a level's depth


@register("orderbook", label="research", reads="stretches", about="levels of the book by time, on two axes")
class OrderBook(System):
    """Attention among the levels of a snapshot, then along time at each level; twice `depth` blocks.

    The traps it avoids: a sequence of levels times snapshots (100,000 tokens) costs a hundred times as much for the
    same sight. Attention knows no order of levels, so side and depth are told by an embedding. Snapshots are causal.

    Raises:
        ConfigError: there are several scales, or the encoder is no causal transformer.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        encoder = need_transformer(cfg, self.scale.encoder)
        if not encoder.block.attn.causal or encoder.in_norm != "none":
            raise ConfigError(f'{cfg.system}: answers at every snapshot: set causal = true and in_norm = "none"')
        super().__init__(cfg, encoder.width)
        self.embed = nn.Linear(len(encoder.features), encoder.width)
        self.place = nn.Linear(1 + 2 * _WAVES, encoder.width)
        self.trunk = AxialTrunk(encoder, axis="level", order=["other", "time"] * encoder.depth)
        self.score = nn.Linear(encoder.width, 1, bias=False)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.need(self.scale.bar, self.scale.length).grid(self.scale.bar, len(self.embed.weight[0]))
        levels = given.x_BLF.shape[2]
        if levels % 2:
            raise ValueError(f"{self.scale.bar}: {levels} levels; give equally many bids and asks, bids first")
        x_BLVF = given.filled()
        h_BLVD = self.embed(x_BLVF) + self.place(_places(levels, x_BLVF))
        h_BLVD = self.trunk(h_BLVD, given.close_ns_BL, padding=given.padding, present_BLV=given.there_BLV)
        scores = self.score(h_BLVD)
        if given.there_BLV is not None:
            scores = scores.masked_fill(~given.there_BLV[..., None], -torch.inf)
        pooled = (torch.softmax(scores, dim=2) * h_BLVD).sum(dim=2)
        memory = Memory(tag=self.scale.bar, tokens_BMD=pooled, known_ns_BM=given.seen_ns_BL)
        return self.answer(take_asof(memory, inputs.decision_ns_BT))


def _places(levels: int, like: Tensor) -> Tensor:
    """Return [V, 1 + 2 * waves]: the side, and waves of how deep a level lies."""
    depth = torch.arange(levels // 2, dtype=like.dtype, device=like.device).repeat(2)
    side = torch.ones_like(depth)
    side[: levels // 2] = -1
    rates = 2.0 ** -torch.arange(_WAVES, dtype=like.dtype, device=like.device) * (math.pi / 2)
    angles = depth[:, None] * rates
    return torch.cat([side[:, None], angles.sin(), angles.cos()], dim=1)
