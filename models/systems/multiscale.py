"""Windows of several scales, each with its encoder, joined by attention and by gates (S0's network)."""

import torch
from torch import nn

from bot.domain.errors import ConfigError
from models.config import FusionConfig, ModelConfig
from models.inputs import ModelInput
from models.memory import Memory, Pool
from models.output import ModelOutput
from models.registry import register
from models.systems.base import ScaleEncoders, System, one_width
from models.systems.fusing import ScaleFusion


@register("multiscale", label="research", reads="windows", about="windows of several scales; attention, gates or both")
class MultiScale(System):
    """One query of each scale attends to the tokens of all; gates weigh what each scale says as a whole.

    The traps it avoids: scales with a softmax each cannot compete, and keys without a tag let the longest scale win by
    its length; here all keys carry scale and age and share one softmax. The source's attention weights are 1/L always;
    `importance` here is what was attended to, or the gates that depend on the data. Each horizon has its own target.

    Raises:
        ConfigError: fusion is missing.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        width = one_width(cfg)
        super().__init__(cfg, width)
        fusion = cfg.fusion or FusionConfig()
        if fusion.kind == "none":
            raise ConfigError(f"{cfg.system}: FusionConfig.kind must join the scales")
        self.encoders = ScaleEncoders(cfg.scales)
        self.pools = nn.ModuleList(Pool(fusion.pool, width) for _ in cfg.scales)
        self.fusion = ScaleFusion(fusion, bars=self.encoders.bars, queries=len(cfg.scales), width=width)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        memories, pooled = [], []
        for scale, pool in zip(self.cfg.scales, self.pools, strict=True):
            given = inputs.window(scale)
            tokens = self.encoders.of(scale.bar)(given.x_BLF, given.close_ns_BL, given.padding)
            memories.append(Memory(tag=scale.bar, tokens_BMD=tokens, known_ns_BM=given.seen_ns_BL))
            pooled.append(pool(tokens, given.padding))
        newest_BTSD = torch.stack(pooled, dim=1)[:, None]
        said = self.fusion(newest_BTSD, newest_BTSD, memories, inputs.decision_ns_BT)
        return self.answer(said.h_BTD, said.importance_BTS)
