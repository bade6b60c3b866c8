"""Patches of each channel by itself (PatchTST: Nie et al., ICLR 2023)."""

import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.attention.site import Site
from models.block import Block
from models.config import ModelConfig
from models.inputs import ModelInput
from models.memory import Pool
from models.norm import RevIN, make_norm
from models.output import ModelOutput
from models.registry import register
from models.systems.base import System, need_transformer, one_scale
from models.systems.window_scale import WindowScale

# Shape letters in this file: B row, L bar, F channel (a feature), N patch, P bar of a patch, D width.

_PATCH, _STRIDE = 16, 8  # bars; the paper's


@register("patchtst", label="baseline", reads="windows", about="patches of each channel by itself")
class PatchTst(System):
    """One transformer for all channels, each a sequence of patches; channels meet in the pool alone.

    The traps it avoids: patches are counted from the newest bar back, so that it is in the last one whatever the
    length; the oldest bar is repeated where bars lack. The paper forecasts each channel by itself and undoes the norm
    by its own statistics; we ask for a return, so channels are pooled, and the heads are told what the norm took away.

    Raises:
        ConfigError: there are several scales, the encoder is no transformer, or the window is shorter than a patch.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        encoder = need_transformer(cfg, self.scale.encoder)
        if self.scale.length < _PATCH:
            raise ConfigError(f"{cfg.system}: {self.scale.bar}: a patch is {_PATCH} bars, a window of length less")
        super().__init__(cfg, encoder.width)
        features, self.patches = len(encoder.features), 1 + -(-(self.scale.length - _PATCH) // _STRIDE)
        self.norm_in = RevIN(features)
        self.embed = nn.Linear(_PATCH, encoder.width)
        self.place_ND = nn.Parameter(torch.randn(self.patches, encoder.width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(encoder.block, width=encoder.width, layer=layer, depth=encoder.depth)
            for layer in range(encoder.depth)
        )
        self.norm = make_norm(encoder.block.norm_kind, encoder.width)
        self.flat = nn.Linear(self.patches * encoder.width, encoder.width)
        self.pool = Pool("attention", encoder.width)
        self.window = WindowScale(features, encoder.width)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.window(self.scale).whole(self.scale.bar)
        z_BLF, _ = self.norm_in(given.x_BLF)
        h = self.embed(self._cut(z_BLF)) + self.place_ND
        rows = h.flatten(0, 1)
        for block in self.blocks:
            rows = block(rows, Site())
        channels_BFD = self.flat(self.norm(rows).flatten(1)).view(*h.shape[:2], -1)
        return self.answer((self.pool(channels_BFD) + self.window(given.x_BLF))[:, None])

    def _cut(self, z_BLF: Tensor) -> Tensor:
        """Return [B, F, N, P]."""
        lacking = _PATCH + (self.patches - 1) * _STRIDE - z_BLF.shape[1]
        full = torch.cat([z_BLF[:, :1].expand(-1, lacking, -1), z_BLF], dim=1) if lacking else z_BLF
        return full.transpose(1, 2).unfold(2, _PATCH, _STRIDE)
