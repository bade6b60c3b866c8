"""Many instruments at once: what to hold of each (S2's portfolio network, S1's cross-asset attention)."""

import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.config import ModelConfig
from models.inputs import ModelInput
from models.memory import Memory, take_asof
from models.output import ModelOutput
from models.registry import register
from models.systems.axial import AxialTrunk
from models.systems.base import System, need_transformer, one_scale, refuse_heads

# Shape letters in this file: B row, L bar, T decision, A asset, F feature, D width.


@register("portfolio", label="research", reads="stretches", about="assets by time, on two axes; allocates")
class Portfolio(System):
    """Attention along time for each asset, then among the assets of a bar; twice `depth` blocks.

    Assets have no number: listings come and go, so an asset is told by its features, and a shuffled panel gives
    shuffled answers. One that is absent is seen by none and gets no weight; what it would have got stays cash.

    The traps it avoids: assets are aligned by time and not by row from the end; all assets times all bars in one
    sequence costs two hundred times as much; attention weights are no correlations and are not offered as such; what is
    held already is an input, because moving away from it costs (`models.losses`).

    Raises:
        ConfigError: there are several scales, or the encoder is no causal transformer.
    """

    has_assets = True

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        encoder = need_transformer(cfg, self.scale.encoder)
        if not encoder.block.attn.causal or encoder.in_norm != "none":
            raise ConfigError(f'{cfg.system}: answers at every bar: set causal = true and in_norm = "none"')
        refuse_heads(cfg, "regime", reason="it answers for each asset, and a regime is the market's")
        super().__init__(cfg, encoder.width)
        self.embed = nn.Linear(len(encoder.features), encoder.width)
        self.absent_D = nn.Parameter(torch.randn(encoder.width) * 0.02)
        self.trunk = AxialTrunk(encoder, axis="asset", order=["time", "other"] * encoder.depth)
        self.held = nn.Linear(1, encoder.width, bias=False)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.need(self.scale.bar, self.scale.length).grid(self.scale.bar, len(self.embed.weight[0]))
        assets, present = given.x_BLF.shape[2], given.there_BLV
        h_BLAD = self.embed(given.filled())
        if present is not None:
            h_BLAD = torch.where(present[..., None], h_BLAD, self.absent_D)
        h_BLAD = self.trunk(h_BLAD, given.close_ns_BL, padding=given.padding, present_BLV=present)
        h_BTX = self._at(h_BLAD.flatten(2), inputs, given.seen_ns_BL)
        h_BTAD = h_BTX.view(*h_BTX.shape[:2], assets, -1)
        held = inputs.current_weights_BTA
        if held is not None:
            if held.shape[2] != assets:
                raise ValueError(f"{self.scale.bar}: {assets} assets, and current weights of {held.shape[2]}")
            h_BTAD = h_BTAD + self.held(held[..., None].to(h_BTAD.dtype))
        if present is None:
            return self.answer_assets(h_BTAD)
        there_BTA = self._at(present.to(h_BLAD.dtype), inputs, given.seen_ns_BL)
        return self.answer_assets(h_BTAD, there_BTA)

    def _at(self, x_BLX: Tensor, inputs: ModelInput, seen_ns_BL: Tensor) -> Tensor:
        memory = Memory(tag=self.scale.bar, tokens_BMD=x_BLX, known_ns_BM=seen_ns_BL)
        return take_asof(memory, inputs.decision_ns_BT)
