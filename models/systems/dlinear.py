"""Two lines: one through the trend of a window, one through what is left (DLinear: Zeng et al., AAAI 2023)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ModelConfig
from models.inputs import ModelInput
from models.output import ModelOutput
from models.registry import register
from models.systems.base import System, one_scale

# Shape letters in this file: B row, L bar, F feature, D width.

_KERNEL = 25  # bars of the moving mean; the paper's


@register("dlinear", label="baseline", reads="windows", about="a line through trend and remainder of every feature")
class DLinear(System):
    """Every bar of every feature has a weight; there is nothing else between the input and the heads.

    The traps it avoids: the moving mean is centred, which looks ahead within the window and never beyond its end, since
    a window ends at the decision. Heads without hidden layers keep the median linear in the input.

    Raises:
        ConfigError: there are several scales.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        width = self.scale.encoder.width
        super().__init__(cfg, width)
        inputs = self.scale.length * len(self.scale.encoder.features)
        self.trend = nn.Linear(inputs, width)
        self.rest = nn.Linear(inputs, width, bias=False)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.window(self.scale).whole(self.scale.bar)
        trend_BLF = _moving_mean(given.x_BLF)
        h_BD = self.trend(trend_BLF.flatten(1)) + self.rest((given.x_BLF - trend_BLF).flatten(1))
        return self.answer(h_BD[:, None])


def _moving_mean(x_BLF: Tensor) -> Tensor:
    """Return the centred mean, the first and last bars repeated beyond the ends."""
    side = _KERNEL // 2
    padded = F.pad(x_BLF.transpose(1, 2), (side, side), mode="replicate")
    return F.avg_pool1d(padded, _KERNEL, stride=1).transpose(1, 2)
