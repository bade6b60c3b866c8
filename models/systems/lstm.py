"""A recurrent network over one window, pooled by attention (S4's network)."""

from bot.domain.errors import ConfigError
from models.config import ModelConfig, RecurrentConfig
from models.encoder import build_encoder
from models.inputs import ModelInput
from models.memory import Pool
from models.output import ModelOutput
from models.registry import register
from models.systems.base import System, one_scale


@register("lstm", label="baseline", reads="windows", about="LSTM or GRU over a window, pooled")
class Lstm(System):
    """A recurrent encoder begun anew for each window.

    The traps it avoids: carrying the state on is another function than beginning anew for each window; this one begins
    anew, in training and in trading. The source keeps the last weights on the module, which races between requests;
    ask `Pool.weights`. Its scores have a bias that cancels in the softmax; here there is none.

    Raises:
        ConfigError: there are several scales, or the encoder is not recurrent.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        self.scale = one_scale(cfg)
        encoder = self.scale.encoder
        if not isinstance(encoder, RecurrentConfig):
            raise ConfigError(f'{cfg.system}: is recurrent; use an encoder of kind "recurrent"')
        super().__init__(cfg, encoder.width)
        self.encoder = build_encoder(encoder)
        self.pool = Pool("attention" if cfg.fusion is None else cfg.fusion.pool, encoder.width)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        given = inputs.window(self.scale)
        h_BLD = self.encoder(given.x_BLF, given.close_ns_BL, given.padding)
        return self.answer(self.pool(h_BLD, given.padding)[:, None])
