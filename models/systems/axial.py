"""Tokens on two axes, time and something without order: assets, levels of a book, variables.

Attention along one axis and then the other costs L + V comparisons a token instead of L * V.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.attention.masks import Padding
from models.attention.site import Site
from models.block import AxialBlock
from models.config import EncoderConfig
from models.norm import make_norm
from models.position import Sizes, Tokens, build_position

# Shape letters in this file: B row, L bar, V asset, level or variable, F feature, D width.

Axis = Literal["var", "asset", "level"]
Along = Literal["time", "other"]


class AxialTrunk(nn.Module):
    """Blocks along time and along the other axis of [B, L, V, D].

    Args:
        order: "time" or "other" for each block.

    Raises:
        ConfigError: a hook, or a kind of position that tells lines apart, is asked for; lines are told by the clock,
            by features of the bar, or by distance.
    """

    def __init__(self, cfg: EncoderConfig, *, axis: Axis, order: Sequence[Along]) -> None:
        super().__init__()
        attn = cfg.block.attn
        if (attn.pre, attn.bias, attn.gate) != ("none", "none", "none"):
            raise ConfigError("AttnConfig: hooks read the features of a bar, and on two axes a token is not a bar")
        sizes = Sizes(width=cfg.width, heads=attn.heads, d=attn.d, features=len(cfg.features))
        self.position = build_position(cfg.pos, sizes, kernel=attn.kernel)
        if self.position.terms or self.position.slopes or self.position.reads_features:
            raise ConfigError(
                f"PosConfig.kinds = {list(cfg.pos.kinds)}: on two axes use calendar, rotary or sinusoidal"
            )
        unordered = msgspec.structs.replace(
            cfg.block, attn=msgspec.structs.replace(attn, causal=False, window=None, kernel="softmax")
        )
        depth = len(order)
        self.order = tuple(order)
        self.blocks = nn.ModuleList(
            AxialBlock(cfg.block, axis="time", width=cfg.width, layer=layer, depth=depth)
            if along == "time"
            else AxialBlock(unordered, axis=axis, width=cfg.width, layer=layer, depth=depth)
            for layer, along in enumerate(order)
        )
        self.norm = make_norm(cfg.block.norm_kind, cfg.width)

    def forward(
        self, h_BLVD: Tensor, time_ns_BL: Tensor, *, padding: Padding | None = None, present_BLV: Tensor | None = None
    ) -> Tensor:
        """Return the tokens after all blocks.

        Args:
            padding: which bars are real.
            present_BLV: which tokens of the other axis are there, one at least at every bar.
        """
        length, count = h_BLVD.shape[1:3]
        index = torch.arange(length, device=h_BLVD.device)[None]
        tokens = Tokens(index_BL=index, end=length, time_ns_BL=time_ns_BL, features_BLF=h_BLVD[:, :, 0])
        placed = self.position.embed(tokens)
        if placed is not None:
            h_BLVD = h_BLVD + placed[:, :, None]
        lines = None if padding is None else Padding(padding.valid_BL.repeat_interleave(count, dim=0))
        along_time = Site(placement=self.position.place(tokens), padding=lines)
        across = Site(padding=None if present_BLV is None else Padding(present_BLV.flatten(0, 1)))
        for block, along in zip(self.blocks, self.order, strict=True):
            h_BLVD = block(h_BLVD, along_time if along == "time" else across)
        made: Tensor = self.norm(h_BLVD)
        return made
