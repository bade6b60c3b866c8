"""Encoders of every kind, small, with weights that leave nothing at zero, and bars to feed them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.bar_encoder import BarEncoder
from models.config import AnyEncoder, AttnConfig, BlockConfig, ConvConfig, EncoderConfig, PosConfig, RecurrentConfig
from models.encoder import build_encoder

# Tensors this small gain nothing from threads, and on busy cores those wait for one another: ten times slower.
torch.set_num_threads(1)

FEATURES = ("a", "b", "c", "d", "e")
HOUR_NS = 3_600_000_000_000
START_NS = 1_709_164_800_000_000_000  # 2024-02-29T00:00:00Z
_ATTN = ("heads", "kv_heads", "kernel", "pre", "bias", "gate", "causal", "window", "backend", "d")
_BLOCK = ("mlp", "norm", "norm_kind", "drop", "drop_path")


def transformer(*, kinds: tuple[str, ...] = ("rotary",), depth: int = 3, **more: Any) -> EncoderConfig:
    """Return a small causal transformer with windows of 7; `more` sets fields of any of its parts."""
    attn = AttnConfig(**{"heads": 4, "d": 8, "window": 7} | {key: more.pop(key) for key in _ATTN if key in more})
    block = BlockConfig(attn=attn, **{key: more.pop(key) for key in _BLOCK if key in more})
    pos = PosConfig(kinds=kinds, length_max=256, periods={"day": 2, "week": 1, "month": 1})
    return EncoderConfig(depth=depth, width=attn.heads * attn.d, features=FEATURES, block=block, pos=pos, **more)


# Every kind that can stream: each hook, each position, each norm, every encoder.
STREAMING: dict[str, AnyEncoder] = {
    "rotary": transformer(),
    "alibi": transformer(kinds=("alibi",)),
    "clock": transformer(kinds=("rotary", "cyclical", "calendar", "time2vec", "context")),
    "shared keys": transformer(kv_heads=2, mlp="gelu", norm="post", norm_kind="rms"),
    "hooks": transformer(pre="state", bias="key", gate="output"),
    "ewma": transformer(in_norm="ewma", halflife=20.0),
    "window of one": transformer(window=1),
    "anchored": transformer(window=None),
    "anchored alibi": transformer(window=None, kinds=("alibi", "cyclical")),
    "sinusoidal": transformer(kinds=("sinusoidal",)),
    "learned": transformer(kinds=("learned",)),
    "linear": transformer(window=None, kernel="linear", kinds=("calendar",)),
    "lstm": RecurrentConfig(depth=2, width=16, features=FEATURES),
    "gru": RecurrentConfig(depth=2, width=16, features=FEATURES, cell="gru", in_norm="ewma", halflife=9.0),
    "convolution": ConvConfig(depth=3, width=16, features=FEATURES),
}


def encoder(cfg: AnyEncoder, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> BarEncoder:
    """Return the encoder in evaluation mode; parameters that begin as zeros are drawn, or they would hide mistakes."""
    torch.manual_seed(seed)
    made = build_encoder(cfg)
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return made.to(dtype).eval()


def bars(rows: int, length: int, *, dtype: torch.dtype = torch.float64, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return features [B, L, F] and hourly closes [B, L]."""
    values = np.random.default_rng(seed).standard_normal((rows, length, len(FEATURES)))
    closes = START_NS + HOUR_NS * torch.arange(1, length + 1)
    return torch.from_numpy(values).to(dtype), closes.repeat(rows, 1)


def relative_error(left: Tensor, right: Tensor) -> float:
    """Return |left - right| / |right|, over all numbers."""
    return float((left.double() - right.double()).norm() / right.double().norm())
