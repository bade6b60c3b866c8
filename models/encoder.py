"""The encoders: a transformer, a recurrent network, a causal convolution; `models.bar_encoder` says how to use one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.domain.errors import ConfigError, DataError
from models.attention.cache import KVRing, RowsCursor, RowTensors
from models.attention.masks import Padding
from models.attention.module import own_keys
from models.attention.rows import attention_rows
from models.attention.site import Site
from models.bar_encoder import AnyCursor, BarEncoder, Streams
from models.block import Block
from models.config import AnyEncoder, ConvConfig, EncoderConfig, RecurrentConfig
from models.norm import make_norm
from models.position import Sizes, Tokens, build_position

# Shape letters in this file: B batch, L bar, F feature, D width, H head.


class Encoder(BarEncoder):
    """A transformer over the bars of one time scale.

    Raises:
        ConfigError: a kind of position or a hook does not exist.
    """

    def __init__(self, cfg: EncoderConfig) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        attn = cfg.block.attn
        sizes = Sizes(width=cfg.width, heads=attn.heads, d=attn.d, features=self.features)
        self.embed = nn.Linear(self.features, cfg.width)
        self.position = build_position(cfg.pos, sizes, kernel=attn.kernel)
        shape = {"width": cfg.width, "features": self.features, "depth": cfg.depth, "terms": self.position.terms}
        self.blocks = nn.ModuleList(Block(cfg.block, layer=layer, **shape) for layer in range(cfg.depth))
        self.norm = make_norm(cfg.block.norm_kind, cfg.width) if cfg.block.norm == "pre" else nn.Identity()

    @property
    def streams(self) -> Streams:
        attn = self.cfg.block.attn
        if not attn.causal or not self.in_norm.streams:
            return "none"
        return "anchored" if attn.window is None or self.position.counts_from_start else "banded"

    @property
    def receptive_field(self) -> int | None:
        window = self.cfg.block.attn.window
        if window is None or not self.in_norm.streams:
            return None
        return self.cfg.depth * (window - 1) + 1

    def encode(self, tokens: Tokens, cursor: AnyCursor) -> Tensor:
        """Return the vectors [B, L, D] of normalised bars, for whoever keeps a cache without a state of ours."""
        return self._encode(tokens, None, cursor)

    @torch.no_grad()
    def attention_rows(self, x_BLF: Tensor, time_ns_BL: Tensor, *, layer: int, rows: tuple[int, ...] = (-1,)) -> Tensor:
        """Return the weights [B, H, rows, L] with which some bars look at all bars in one layer.

        Raises:
            ConfigError: the linear kernel has no weights.
        """
        if self.cfg.block.attn.kernel == "linear":
            raise ConfigError("the linear kernel has no attention weights to show")
        self._check(x_BLF, time_ns_BL)
        h_BLD, site = self._enter(self._tokens(x_BLF, time_ns_BL, None), None, None)
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        for block in blocks[:layer]:
            h_BLD = block(h_BLD, site)
        attn = blocks[layer].attn
        q, k, v = attn.project(blocks[layer].before(h_BLD), site)
        keys = own_keys(k, v, site)
        return attention_rows(q, k, attn.spec(q, keys, site.placement), attn.context(keys, site), rows)

    def _cache(self, rows: int) -> KVRing | RowTensors:
        attn, like = self.cfg.block.attn, self.embed.weight
        if attn.kernel == "linear":
            wide = torch.promote_types(like.dtype, torch.float32)
            shapes = [(attn.heads, attn.d, attn.d + 1)] * self.cfg.depth
            return RowTensors(shapes, rows=rows, dtype=wide, device=like.device)
        first = next(block.attn for block in self.blocks if isinstance(block, Block))
        return KVRing(
            layers=self.cfg.depth,
            rows=rows,
            capacity=attn.window or self.cfg.pos.length_max,
            heads=first.kv_heads,
            d=first.d_kernel,
            wraps=attn.window is not None,
            like=like,
        )

    def _enter(self, tokens: Tokens, padding: Padding | None, cursor: AnyCursor | None) -> tuple[Tensor, Site]:
        """Return the tokens of the first layer, and what surrounds them in every layer."""
        h_BLD: Tensor = self.embed(tokens.features_BLF)
        placed = self.position.embed(tokens)
        if placed is not None:
            h_BLD = h_BLD + placed
        place = self.position.place(tokens)
        return h_BLD, Site(placement=place, padding=padding, features_BLF=tokens.features_BLF, cursor=cursor)

    def _encode(self, tokens: Tokens, padding: Padding | None, cursor: AnyCursor | None) -> Tensor:
        h_BLD, site = self._enter(tokens, padding, cursor)
        for block in self.blocks:
            h_BLD = block(h_BLD, site)
        made: Tensor = self.norm(h_BLD)
        return made


class RecurrentEncoder(BarEncoder):
    """An LSTM or GRU whose state is carried from the first bar on."""

    def __init__(self, cfg: RecurrentConfig) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        cell = nn.LSTM if cfg.cell == "lstm" else nn.GRU
        drop = cfg.drop if cfg.depth > 1 else 0.0  # it stands between layers
        self.cells = cell(self.features, cfg.width, cfg.depth, batch_first=True, dropout=drop)

    @property
    def streams(self) -> Streams:
        return "anchored" if self.in_norm.streams else "none"

    @property
    def receptive_field(self) -> None:
        return None

    def _cache(self, rows: int) -> RowTensors:
        like = next(self.parameters())
        shapes = [(self.cfg.depth, self.cfg.width)] * (2 if self.cfg.cell == "lstm" else 1)
        return RowTensors(shapes, rows=rows, dtype=like.dtype, device=like.device)

    def _encode(self, tokens: Tokens, padding: Padding | None, cursor: AnyCursor | None) -> Tensor:
        # Padding comes after the real bars or before all of them; zeros before the first bar would move the state.
        if padding is not None and not bool(padding.valid_BL[:, 0].all()):
            raise DataError("a recurrent encoder takes padding after the bars, not before them")
        if not isinstance(cursor, RowsCursor):
            made: Tensor = self.cells(tokens.features_BLF)[0]
            return made
        before = [
            cursor.get(number).transpose(0, 1).contiguous() for number in range(2 if self.cfg.cell == "lstm" else 1)
        ]
        made, after = self.cells(tokens.features_BLF, tuple(before) if self.cfg.cell == "lstm" else before[0])
        for number, tensor in enumerate(after if self.cfg.cell == "lstm" else (after,)):
            cursor.put(number, tensor.transpose(0, 1))
        return made


class ConvEncoder(BarEncoder):
    """A causal temporal convolution network: residual layers that look back in steps of 1, 2, 4 ... bars.

    Source: Bai, Kolter, Koltun (2018), An Empirical Evaluation of Generic Convolutional and Recurrent Networks.
    """

    def __init__(self, cfg: ConvConfig) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        self.embed = nn.Linear(self.features, cfg.width)
        self.norms = nn.ModuleList(make_norm("rms", cfg.width) for _ in range(cfg.depth))
        self.convs = nn.ModuleList(
            nn.Conv1d(cfg.width, cfg.width, cfg.kernel_size, dilation=2**layer) for layer in range(cfg.depth)
        )
        self.mixes = nn.ModuleList(nn.Linear(cfg.width, cfg.width) for _ in range(cfg.depth))

    @property
    def streams(self) -> Streams:
        return "banded" if self.in_norm.streams else "none"

    @property
    def receptive_field(self) -> int | None:
        return (self.cfg.kernel_size - 1) * (2**self.cfg.depth - 1) + 1 if self.in_norm.streams else None

    def _cache(self, rows: int) -> RowTensors:
        like = self.embed.weight
        shapes = [(self.cfg.width, self._reach(layer)) for layer in range(self.cfg.depth)]
        return RowTensors(shapes, rows=rows, dtype=like.dtype, device=like.device)

    def _encode(self, tokens: Tokens, padding: Padding | None, cursor: AnyCursor | None) -> Tensor:
        h_BLD: Tensor = self.embed(tokens.features_BLF)
        for layer, (norm, conv, mix) in enumerate(zip(self.norms, self.convs, self.mixes, strict=True)):
            x_BLD = norm(h_BLD)
            # What is before the first bar is zeros, and so is padding.
            x_BDL = (x_BLD if padding is None else padding.fill(x_BLD)).transpose(1, 2)
            old = x_BDL.new_zeros(*x_BDL.shape[:2], self._reach(layer))
            if isinstance(cursor, RowsCursor):
                old = cursor.get(layer)
            x_BDL = torch.cat([old, x_BDL], dim=-1)
            if isinstance(cursor, RowsCursor):
                cursor.put(layer, x_BDL[..., -self._reach(layer) :])
            h_BLD = h_BLD + F.dropout(mix(F.gelu(conv(x_BDL).transpose(1, 2))), self.cfg.drop, self.training)
        return h_BLD

    def _reach(self, layer: int) -> int:
        steps: int = 2**layer
        return (self.cfg.kernel_size - 1) * steps


def build_encoder(cfg: AnyEncoder) -> BarEncoder:
    """Return the encoder that a configuration describes."""
    match cfg:
        case EncoderConfig():
            return Encoder(cfg)
        case RecurrentConfig():
            return RecurrentEncoder(cfg)
        case ConvConfig():
            return ConvEncoder(cfg)
