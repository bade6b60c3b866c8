"""One layer of a transformer: attention, then a feed-forward part, each added to what it read."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.attention.module import Attention
from models.attention.site import Site
from models.config import BlockConfig
from models.norm import make_norm


class Block(nn.Module):
    """Attention and feed-forward over [B, L, D].

    Args:
        features: F of the hooks' features, see `Attention`.
        layer: its number, for the cache and for the depth of `drop_path`.
        depth: how many layers there are.
        terms: columns that the placement adds, see `Attention`.
    """

    def __init__(
        self, cfg: BlockConfig, *, width: int, features: int = 0, layer: int = 0, depth: int = 1, terms: int = 0
    ) -> None:
        super().__init__()
        self.pre_norm = cfg.norm == "pre"
        self.attn = Attention(cfg.attn, width=width, features=features, layer=layer, terms=terms)
        self.mlp = make_mlp(cfg.mlp, width, cfg.mlp_ratio)
        self.norm_attn = make_norm(cfg.norm_kind, width)
        self.norm_mlp = make_norm(cfg.norm_kind, width)
        self.drop = cfg.drop
        self.drop_path = cfg.drop_path * layer / max(1, depth - 1)

    def forward(self, x_BLD: Tensor, site: Site) -> Tensor:
        """Return the tokens after this layer."""
        x_BLD = x_BLD + self._lose(self.attn(self.before(x_BLD), site))
        if self.pre_norm:
            return x_BLD + self._lose(self.mlp(self.norm_mlp(x_BLD)))
        x_BLD = self.norm_attn(x_BLD)
        made: Tensor = self.norm_mlp(x_BLD + self._lose(self.mlp(x_BLD)))
        return made

    def before(self, x_BLD: Tensor) -> Tensor:
        """Return the tokens as attention reads them."""
        read: Tensor = self.norm_attn(x_BLD) if self.pre_norm else x_BLD
        return read

    def _lose(self, part_BLD: Tensor) -> Tensor:
        """Drop elements and whole samples in training, so that the expectation stays; nothing otherwise."""
        if not self.training:
            return part_BLD
        part_BLD = F.dropout(part_BLD, self.drop)
        if self.drop_path:
            kept = part_BLD.new_empty(part_BLD.shape[0], 1, 1).bernoulli_(1 - self.drop_path)
            part_BLD = part_BLD * kept / (1 - self.drop_path)
        return part_BLD


class AxialBlock(nn.Module):
    """A block along one of the two inner axes of [B, T, V, D], every line of the other a sequence of its own.

    Along time the block may be causal; along variables, assets or levels there is no order to respect, so neither
    causality nor a window may be asked for.

    Raises:
        ConfigError: they are.
    """

    def __init__(
        self,
        cfg: BlockConfig,
        *,
        axis: Literal["time", "var", "asset", "level"],
        width: int,
        layer: int = 0,
        depth: int = 1,
        terms: int = 0,
    ) -> None:
        super().__init__()
        if axis != "time" and cfg.attn.causal:
            raise ConfigError(f"AttnConfig.causal: tokens along {axis!r} have no order; set it to false")
        self.along_time = axis == "time"
        self.block = Block(cfg, width=width, layer=layer, depth=depth, terms=terms)

    def forward(self, x_BTVD: Tensor, site: Site | None = None) -> Tensor:
        """Return the tokens after this layer.

        Args:
            site: of the lines: B * V rows of T tokens along time, B * T rows of V tokens otherwise; its placement may
                be of one row, where all lines are alike.
        """
        x = x_BTVD.transpose(1, 2) if self.along_time else x_BTVD
        made: Tensor = self.block(x.flatten(0, 1), site or Site()).view(x.shape)
        return made.transpose(1, 2) if self.along_time else made


class GeluMLP(nn.Module):
    """W2 gelu(W1 x + b1) + b2."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        made: Tensor = self.down(F.gelu(self.up(x_BLD)))
        return made


class SwiGLU(nn.Module):
    """W3 (silu(W1 x) * W2 x). Source: Shazeer (2020), GLU Variants Improve Transformer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        gate, value = self.up(x_BLD).chunk(2, dim=-1)
        made: Tensor = self.down(F.silu(gate) * value)
        return made


def make_mlp(kind: Literal["gelu", "swiglu"], width: int, ratio: float) -> nn.Module:
    """Return the feed-forward part; both kinds have about 2 * ratio * width ** 2 weights."""
    if kind == "gelu":
        return GeluMLP(width, round(ratio * width))
    return SwiGLU(width, -(-round(ratio * width * 2 / 3) // 8) * 8)
