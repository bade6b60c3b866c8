"""The flagship: several time scales, each encoded causally in a band, fused at every decision."""

from bot.domain.errors import ConfigError
from models.config import ModelConfig
from models.registry import register
from models.systems.causal import CausalSystem


@register("flagship", label="research", reads="stretches", about="causal multi-scale transformer that streams")
class Flagship(CausalSystem):
    """A causal system whose tokens depend on a fixed number of bars alone, so that it streams from any start.

    The trap it avoids: a cache that re-reads a sliding window is another function than the one trained. A band in every
    layer, with places told by distance and clock, is the same function however the bars arrive.

    Raises:
        ConfigError: there is one scale only, or an encoder's tokens depend on where the stretch began.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__(cfg)
        if self.fusion is None:
            raise ConfigError(f"{cfg.system}: fuses two scales at least; for one, there is longctx")
        for bar in self.encoders.bars:
            if self.encoders.of(bar).streams != "banded":
                raise ConfigError(f"{cfg.system}: {bar}: give attention a window, and places by distance or clock")
