"""Variables by time on two axes, to quantiles that cannot cross (S3's MIGT-TVDT)."""

from models.attention.masks import Padding
from models.bar_encoder import InputNorm
from models.config import ModelConfig
from models.inputs import ModelInput
from models.memory import Pool, VariableEmbed
from models.output import ModelOutput
from models.registry import register
from models.systems.axial import Along, AxialTrunk
from models.systems.base import System, need_transformer, one_scale
from models.systems.window_scale import WindowScale

# Shape letters in this file: B row, L bar, V variable (a feature), D width.


@register("migt", label="research", reads="windows", about="variables by time on two axes, pooled by attention")
class Migt(System):
    """Each variable of each bar is a token: `depth` blocks along time, half as many along the variables, pooled.

    The traps it avoids: the number of variables is that of the feature names, never typed; places are whole harmonics
    of exact phases, so that the 31st meets the 1st; masks say True for what is real. A window that is normalised by
    itself has forgotten how wild it was, so its mean and deviation are told to the heads; the output is not brought
    back by an input's statistics, because the target is a return.

    Raises:
        ConfigError: there are several scales, or the encoder is no transformer.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        encoder = need_transformer(cfg, self.scale.encoder)
        super().__init__(cfg, encoder.width)
        variables = len(encoder.features)
        self.in_norm = InputNorm(encoder.in_norm, variables, encoder.halflife)
        self.embed = VariableEmbed(variables, encoder.width)
        along: tuple[list[Along], list[Along]] = (["time"], ["other"])
        order = along[0] * encoder.depth + along[1] * max(1, encoder.depth // 2)
        self.trunk = AxialTrunk(encoder, axis="var", order=order)
        self.pool = Pool("attention", encoder.width)
        self.window = WindowScale(variables, encoder.width)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.window(self.scale)
        padding, x_BLV = given.padding, given.filled()
        z_BLV, _ = self.in_norm(x_BLV, padding, None)
        h_BLVD = self.trunk(self.embed(z_BLV), given.close_ns_BL, padding=padding)
        tokens = None if padding is None else Padding(padding.valid_BL.repeat_interleave(h_BLVD.shape[2], dim=1))
        h_BD = self.pool(h_BLVD.flatten(1, 2), tokens) + self.window(x_BLV, padding)
        return self.answer(h_BD[:, None])
