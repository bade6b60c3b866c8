"""Price and whatever else is known: modalities that arrive at their own times, or not at all (S1's transformer)."""

from bot.domain.errors import ConfigError
from models.config import ModelConfig
from models.registry import register
from models.systems.causal import CausalSystem


@register("trading", label="research", reads="stretches", about="price attends to modalities that may be missing")
class Trading(CausalSystem):
    """The first stream is the price; the others (volume, news, book) are attended to by when they were known.

    The traps it avoids: modalities are joined by row in the source, here by time; one that is missing has a learned
    token, not zeros. There is no forecast of n steps by feeding forecasts back, because that would invent the features
    of bars that have not been. A risk is a quantile of the loss, with a unit.

    Raises:
        ConfigError: there is no modality beside the price, or fusion leaves no room for a missing one.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__(cfg, optional=[scale.bar for scale in cfg.scales[1:]])
        if self.fusion is None:
            raise ConfigError(f"{cfg.system}: needs a modality beside the price; for the price alone, there is longctx")
