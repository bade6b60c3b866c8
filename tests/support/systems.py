"""Every network, tiny, and inputs to feed it: bars of several scales on one clock, known a little after their close."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from models.config import (
    AttnConfig,
    BlockConfig,
    EncoderConfig,
    FusionConfig,
    HeadConfig,
    ModelConfig,
    PosConfig,
    RecurrentConfig,
    ScaleConfig,
    band,
)
from models.inputs import ModelInput, ScaleInput
from models.registry import build
from models.systems.base import System

MINUTE = 60 * 10**9
START_NS = 1_709_164_800 * 10**9  # 2024-02-29T00:00:00Z
LATE_NS = 2 * 10**9
FEATURES = ("a", "b", "c")
SCALES = {"1m": 1, "5m": 5, "15m": 15}  # minutes a bar
FIRST, END = 90, 120  # minutes of the stretch in which decisions are taken
ASSETS = 4  # also the levels of a book
HORIZONS = ("5m", "1h")
QUANTILE = HeadConfig(kind="quantile", horizons=HORIZONS)
DIRECTION = HeadConfig(kind="direction", horizons=HORIZONS)
REGIME = HeadConfig(kind="regime", classes=3)
RISK = HeadConfig(kind="risk", horizons=HORIZONS, quantiles=(0.95, 0.99))
DRAWDOWN = HeadConfig(kind="drawdown", horizons=HORIZONS, quantiles=(0.5, 0.95))
ALLOCATION = HeadConfig(kind="allocation")
CORRELATION = HeadConfig(kind="correlation", horizons=HORIZONS)


def transformer(*, window: int | None = None, causal: bool = True, depth: int = 2, **more: Any) -> EncoderConfig:
    """Return a transformer of width 16."""
    attn = AttnConfig(heads=2, d=8, causal=causal, window=window)
    kinds = more.pop("kinds", ("calendar", "rotary"))
    pos = PosConfig(kinds=kinds, periods={"day": 2, "week": 1}, length_max=512)
    return EncoderConfig(
        depth=depth, width=16, features=FEATURES, block=BlockConfig(attn=attn, mlp_ratio=2.0), pos=pos, **more
    )


def _bands(*lengths: int) -> tuple[ScaleConfig, ...]:
    """Return scales whose encoders look back exactly as far as they are long."""
    return tuple(
        ScaleConfig(bar=bar, length=n, encoder=transformer(window=band(n, 2)))
        for bar, n in zip(SCALES, lengths, strict=True)
    )


def _scales(encoder: Any, *lengths: int) -> tuple[ScaleConfig, ...]:
    return tuple(ScaleConfig(bar=bar, length=n, encoder=encoder) for bar, n in zip(SCALES, lengths, strict=False))


_BACK = transformer()
_GRID = transformer(kinds=("calendar",), depth=1)
_BOTH = transformer(causal=False)
_PLAIN = transformer(causal=False, kinds=())
_SEEN = FusionConfig(kind="cross+sum", recent=3)
_ABSENT = FusionConfig(kind="cross", recent=3, absent="token")

CONFIGS: dict[str, ModelConfig] = {
    "flagship": ModelConfig(system="flagship", scales=_bands(7, 5, 3), fusion=_SEEN, heads=(QUANTILE, DIRECTION)),
    "flagship concat": ModelConfig(
        system="flagship",
        scales=_bands(7, 5, 3),
        fusion=FusionConfig(kind="cross+concat", recent=2, memory_tags=("5m", "15m")),
        heads=(QUANTILE,),
    ),
    "trading": ModelConfig(
        system="trading", scales=_bands(7, 5, 3), fusion=_ABSENT, heads=(QUANTILE, REGIME, RISK, DRAWDOWN)
    ),
    "longctx": ModelConfig(system="longctx", scales=_scales(_BACK, 8), heads=(QUANTILE, DIRECTION, ALLOCATION)),
    "orderbook": ModelConfig(system="orderbook", scales=_scales(_GRID, 4), heads=(QUANTILE, DIRECTION)),
    "portfolio": ModelConfig(system="portfolio", scales=_scales(_GRID, 4), heads=(QUANTILE, ALLOCATION, CORRELATION)),
    "multiscale": ModelConfig(
        system="multiscale", scales=_scales(_BOTH, 30, 8, 3), fusion=FusionConfig(kind="cross+sum"), heads=(QUANTILE,)
    ),
    "multiscale attention": ModelConfig(
        system="multiscale", scales=_scales(_BOTH, 30, 8, 3), fusion=FusionConfig(kind="cross"), heads=(QUANTILE,)
    ),
    "multiscale gates": ModelConfig(
        system="multiscale",
        scales=_scales(_BOTH, 30, 8, 3),
        fusion=FusionConfig(kind="concat", pool="attention"),
        heads=(QUANTILE,),
    ),
    "hierarchical": ModelConfig(system="hierarchical", scales=_scales(_BOTH, 13), heads=(QUANTILE,)),
    "migt": ModelConfig(
        system="migt",
        scales=_scales(transformer(causal=False, kinds=("calendar",), in_norm="gated"), 13),
        heads=(QUANTILE,),
    ),
    "lstm": ModelConfig(
        system="lstm", scales=_scales(RecurrentConfig(depth=2, width=16, features=FEATURES), 13), heads=(QUANTILE,)
    ),
    "patchtst": ModelConfig(system="patchtst", scales=_scales(_PLAIN, 27), heads=(QUANTILE,)),
    "itransformer": ModelConfig(system="itransformer", scales=_scales(_PLAIN, 13), heads=(QUANTILE,)),
    "dlinear": ModelConfig(system="dlinear", scales=_scales(_PLAIN, 13), heads=(QUANTILE,)),
}
STREAMING = ("flagship", "flagship concat", "trading", "longctx", "orderbook", "portfolio")
GRIDS = ("orderbook", "portfolio")


def system(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> System:
    """Return a network in evaluation mode; parameters that begin as zeros are drawn, or they would hide mistakes."""
    made = build(CONFIGS[name])
    draws = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3, generator=draws)
    return made.to(dtype).eval()


def scale(bar: str, length: int, *, rows: int = 2, seed: int = 0, grid: bool = False, end: int | None = None) -> Any:
    """Return `length` bars of random features, the last of which closes at minute `end` (default: the first such)."""
    minutes = SCALES[bar]
    last = length if end is None else end // minutes
    closes = START_NS + MINUTE * minutes * torch.arange(last - length + 1, last + 1)
    shape = (rows, length, ASSETS, len(FEATURES)) if grid else (rows, length, len(FEATURES))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed + 7919 * minutes))
    close_ns = closes.repeat(rows, 1)
    return ScaleInput(x_BLF=x, close_ns_BL=close_ns, known_ns_BL=close_ns + LATE_NS)


def inputs(name: str, *, minutes: int = END, rows: int = 2, seed: int = 0, **more: Any) -> ModelInput:
    """Return what a network reads: a stretch with a decision at each minute from the 90th on, or windows."""
    cfg = CONFIGS[name]
    grid = cfg.system in GRIDS
    if name not in STREAMING:
        scales = {each.bar: scale(each.bar, each.length, rows=rows, seed=seed, end=minutes) for each in cfg.scales}
        at = torch.full((rows, 1), START_NS + MINUTE * minutes + LATE_NS)
        return ModelInput(scales=scales, decision_ns_BT=at, **more)
    scales = {
        each.bar: scale(each.bar, minutes // SCALES[each.bar], rows=rows, seed=seed, grid=grid) for each in cfg.scales
    }
    at = START_NS + MINUTE * torch.arange(FIRST, minutes + 1) + LATE_NS
    return ModelInput(scales=scales, decision_ns_BT=at.repeat(rows, 1), **more)


def with_x(given: ModelInput, changed: Mapping[str, Tensor]) -> ModelInput:
    """Return the input with other features of some streams."""
    scales = {
        bar: ScaleInput(
            x_BLF=changed.get(bar, each.x_BLF),
            close_ns_BL=each.close_ns_BL,
            known_ns_BL=each.known_ns_BL,
            valid_BL=each.valid_BL,
            present_BLV=each.present_BLV,
        )
        for bar, each in given.scales.items()
    }
    return replace(given, scales=scales)


def cut(given: ModelInput, start_ns: int, stop_ns: int) -> ModelInput:
    """Return the bars that close, and the decisions that are taken, after `start_ns` and up to `stop_ns`.

    Streams without such a bar are left out.
    """
    scales = {}
    for bar, each in given.scales.items():
        inside = (each.close_ns_BL[0] > start_ns) & (each.close_ns_BL[0] <= stop_ns)
        if inside.any():
            scales[bar] = ScaleInput(
                x_BLF=each.x_BLF[:, inside],
                close_ns_BL=each.close_ns_BL[:, inside],
                known_ns_BL=each.known_ns_BL[:, inside],
            )
    at = given.decision_ns_BT[0]
    taken = (at - LATE_NS > start_ns) & (at - LATE_NS <= stop_ns)
    return replace(given, scales=scales, decision_ns_BT=given.decision_ns_BT[:, taken])
