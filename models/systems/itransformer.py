"""Each variable's whole window as one token (iTransformer: Liu et al., ICLR 2024)."""

import msgspec
from torch import nn

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


@register("itransformer", label="baseline", reads="windows", about="each variable's window is a token")
class ITransformer(System):
    """Attention among variables, each said in one vector by a line from all its bars.

    The traps it avoids: variables have no order, so there is neither causality nor a place among them, whatever the
    configuration says of time; and what the window norm took away is told to the heads.

    Raises:
        ConfigError: there are several scales, or the encoder is no transformer.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        encoder = need_transformer(cfg, self.scale.encoder)
        super().__init__(cfg, encoder.width)
        features = len(encoder.features)
        attn = msgspec.structs.replace(encoder.block.attn, causal=False, window=None)
        block = msgspec.structs.replace(encoder.block, attn=attn)
        self.norm_in = RevIN(features)
        self.embed = nn.Linear(self.scale.length, encoder.width)
        self.blocks = nn.ModuleList(
            Block(block, width=encoder.width, layer=layer, depth=encoder.depth) for layer in range(encoder.depth)
        )
        self.norm = make_norm(block.norm_kind, encoder.width)
        self.pool = Pool("attention", encoder.width)
        self.window = WindowScale(features, encoder.width)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.window(self.scale).whole(self.scale.bar)
        z_BLF, _ = self.norm_in(given.x_BLF)
        h_BFD = self.embed(z_BLF.transpose(1, 2))
        for block in self.blocks:
            h_BFD = block(h_BFD, Site())
        return self.answer((self.pool(self.norm(h_BFD)) + self.window(given.x_BLF))[:, None])
