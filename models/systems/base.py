"""What all networks share: the way from a trunk's vectors to answers, and what a configuration may not ask of them."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError, DataError
from models.bar_encoder import BarEncoder
from models.config import AnyEncoder, EncoderConfig, ModelConfig, ScaleConfig
from models.correlation import among
from models.encoder import build_encoder
from models.heads import Heads
from models.inputs import ModelInput
from models.output import ModelOutput

# Shape letters in this file: B row, T decision, A asset, D width, S stream.

_BETWEEN = ("allocation", "correlation")  # heads that read all assets of a row at once
ASSETS_MAX = 64  # instruments that one set of weights can tell apart


class System(nn.Module):
    """A whole network.

    Args:
        width: of the vector that the heads read.

    Attributes:
        has_assets: whether its rows are several assets, so that one may ask how they move together.
    """

    has_assets = False

    def __init__(self, cfg: ModelConfig, width: int) -> None:
        super().__init__()
        self.cfg = cfg
        if not self.has_assets:
            refuse_heads(
                cfg, *(kind for kind in _BETWEEN if kind != "allocation"), reason="its rows are one asset each"
            )
        self.plain = Heads([head for head in cfg.heads if head.kind not in _BETWEEN], width)
        self.allocation = Heads([head for head in cfg.heads if head.kind == "allocation"], width)
        self.correlation = Heads([head for head in cfg.heads if head.kind == "correlation"], width)

    def forward(self, inputs: ModelInput) -> ModelOutput:
        """Return the answers at every decision, [B, T, ...].

        Raises:
            DataError: the input lacks what the system needs; the message names the stream.
        """
        raise NotImplementedError

    def answer(self, h_BTD: Tensor, importance_BTS: Tensor | None = None) -> ModelOutput:
        """Return what the heads make of [B, T, D]; an allocation is between the instrument and cash, [B, T, 1]."""
        made: ModelOutput = self.plain(h_BTD, importance=importance_BTS)
        return replace(made, weights=self.allocation(h_BTD[..., None, :]).weights)

    def answer_assets(self, h_BTAD: Tensor, there_BTA: Tensor | None = None) -> ModelOutput:
        """Return what the heads make of each asset's vector, [B, T, A, ...]; allocations and correlations are between.

        Args:
            there_BTA: 1 for assets that there are, 0 for those that get no weight and correlate with none.
        """
        made: ModelOutput = self.plain(h_BTAD)
        weights = self.allocation(h_BTAD).weights
        correlation = self.correlation(h_BTAD).correlation
        if there_BTA is not None:
            weights = None if weights is None else weights * there_BTA
            correlation = None if correlation is None else among(correlation, there_BTA)
        return replace(made, weights=weights, correlation=correlation)


class AssetEmbedding(nn.Module):
    """Tell rows by their instrument; all are alike at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(ASSETS_MAX, width)
        nn.init.zeros_(self.table.weight)

    def forward(self, h_BTD: Tensor, asset_B: Tensor | None) -> Tensor:
        """Return the vectors, told apart; the same as before where nothing is said of instruments."""
        if asset_B is None:
            return h_BTD
        if not torch.compiler.is_compiling() and not bool(((asset_B >= 0) & (asset_B < ASSETS_MAX)).all()):
            raise DataError(f"instruments are numbered from 0 to {ASSETS_MAX - 1}; got {asset_B.tolist()}")
        told: Tensor = h_BTD + self.table(asset_B)[:, None]
        return told


class ScaleEncoders(nn.Module):
    """The encoder of each stream; streams that share one share its weights."""

    def __init__(self, scales: Iterable[ScaleConfig]) -> None:
        super().__init__()
        self.made = nn.ModuleList()
        self._number: dict[str, int] = {}
        for scale in scales:
            if scale.share_with is not None:
                self._number[scale.bar] = self._number[scale.share_with]
                continue
            self._number[scale.bar] = len(self.made)
            self.made.append(build_encoder(scale.encoder))

    def of(self, bar: str) -> BarEncoder:
        """Return the encoder of a stream."""
        found = self.made[self._number[bar]]
        assert isinstance(found, BarEncoder)
        return found

    @property
    def bars(self) -> tuple[str, ...]:
        """Return the streams' names, in order."""
        return tuple(self._number)


def one_width(cfg: ModelConfig) -> int:
    """Return the width of all encoders.

    Raises:
        ConfigError: they differ.
    """
    widths = {scale.encoder.width for scale in cfg.scales}
    if len(widths) > 1:
        raise ConfigError(f"{cfg.system}: the scales' encoders must have one width; these have {sorted(widths)}")
    return widths.pop()


def one_scale(cfg: ModelConfig) -> ScaleConfig:
    """Return the only stream.

    Raises:
        ConfigError: there are several.
    """
    if len(cfg.scales) != 1:
        raise ConfigError(f"{cfg.system}: reads one scale; {', '.join(each.bar for each in cfg.scales)} are given")
    if cfg.fusion is not None and cfg.fusion.kind != "none":
        raise ConfigError(f"{cfg.system}: has nothing to fuse; leave fusion out, or say kind = 'none'")
    return cfg.scales[0]


def need_transformer(cfg: ModelConfig, encoder: AnyEncoder) -> EncoderConfig:
    """Return the encoder's configuration.

    Raises:
        ConfigError: it is no transformer.
    """
    if not isinstance(encoder, EncoderConfig):
        raise ConfigError(f'{cfg.system}: is made of attention; use an encoder of kind "attention"')
    return encoder


def refuse_heads(cfg: ModelConfig, *kinds: str, reason: str) -> None:
    """Refuse heads that this system cannot answer.

    Raises:
        ConfigError: one is asked for.
    """
    for head in cfg.heads:
        if head.kind in kinds:
            raise ConfigError(f"{cfg.system}: cannot answer {head.kind!r}: {reason}")
