"""A window at several resolutions: encode, attend, keep the newest, halve, and again (S0's hierarchy)."""

from models.config import ModelConfig
from models.encoder import build_encoder
from models.inputs import ModelInput
from models.memory import Pyramid
from models.output import ModelOutput
from models.registry import register
from models.systems.base import System, need_transformer, one_scale


@register("hierarchical", label="research", reads="windows", about="one scale, halved again and again")
class Hierarchical(System):
    """An encoder and a pyramid over its tokens.

    The traps it avoids: the source fails on odd lengths (252 and 30 are its own), and pairs counted from the oldest bar
    would drop the newest; here pairs are counted from the newest back.

    Raises:
        ConfigError: there are several scales, or the encoder is no transformer.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        encoder = need_transformer(cfg, self.scale.encoder)
        super().__init__(cfg, encoder.width)
        self.encoder = build_encoder(encoder)
        self.pyramid = Pyramid(encoder.block, width=encoder.width)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.window(self.scale).whole(self.scale.bar)
        h_BD = self.pyramid(self.encoder(given.x_BLF, given.close_ns_BL))
        return self.answer(h_BD[:, None])
