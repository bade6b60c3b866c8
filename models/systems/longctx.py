"""One long context: a deep causal encoder, and its newest token answers (S2's trader)."""

from bot.domain.errors import ConfigError
from models.config import ModelConfig
from models.registry import register
from models.systems.base import one_scale
from models.systems.causal import CausalSystem


@register("longctx", label="research", reads="stretches", about="one scale, deep causal transformer")
class LongContext(CausalSystem):
    """Regression, direction or allocation from one long sequence.

    The traps it avoids: the source looks both ways, so that nothing can be reused when a bar comes, and it makes one
    answer of a window; causal, each bar of the context is an answer. Its allocation has no cost in the loss;
    `models.losses` charges turnover.

    Raises:
        ConfigError: there are several scales.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        one_scale(cfg)
        if len(cfg.heads) == 0:
            raise ConfigError(f"{cfg.system}: needs a head")
        super().__init__(cfg)
