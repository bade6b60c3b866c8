"""Configurations with names: every system at a size to train, and the flagship at two.

A preset is a function of the features of each scale, because their names are the model's inputs; all else has a
default that suits it. Head widths are 64 where a GPU may run it, and smaller where a CPU does.
"""

from collections.abc import Callable, Mapping, Sequence

from bot.domain.errors import ConfigError
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

Features = Mapping[str, Sequence[str]]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SEVEN = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)  # S3 asks for seven and does not say which


def preset(name: str, features: Features, *, horizons: Sequence[str] = ("1h",), seed: int = 0) -> ModelConfig:
    """Return the configuration of that name.

    Args:
        features: the names of the inputs by stream, the decisions' own stream first; as many streams as the preset has
            scales. Streams may be called anything.
        horizons: what the forecasts are of, ascending.

    Raises:
        ConfigError: there is no such preset, or it has another number of streams.
    """
    if name not in _PRESETS:
        raise ConfigError(f"preset {name!r}: there is none; choose of {', '.join(_PRESETS)}")
    system, lengths, make, fusion, heads = _PRESETS[name]
    if len(features) != len(lengths):
        raise ConfigError(f"preset {name!r}: has {len(lengths)} scales of {list(lengths)} bars; got {list(features)}")
    scales = tuple(
        ScaleConfig(bar=bar, length=length, encoder=make(tuple(names), length, number))
        for number, ((bar, names), length) in enumerate(zip(features.items(), lengths, strict=True))
    )
    asked = tuple(head(tuple(horizons)) for head in heads)
    return ModelConfig(system=system, scales=scales, fusion=fusion, heads=asked, seed=seed)


def names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return tuple(_PRESETS)


def lengths(name: str) -> tuple[int, ...]:
    """Return how many bars each scale of a preset has."""
    return _PRESETS[name][1]


_Encoder = Callable[[tuple[str, ...], int, int], EncoderConfig | RecurrentConfig]
_Head = Callable[[tuple[str, ...]], HeadConfig]


def _transformer(
    *, width: int, heads: int, depth: int | Sequence[int], ways: str, kinds: tuple[str, ...], in_norm: str = "none"
) -> _Encoder:
    """Return a maker of transformers that look back in a band, back to the start, or both ways."""

    def make(features: tuple[str, ...], length: int, number: int) -> EncoderConfig:
        layers = depth if isinstance(depth, int) else depth[number]
        attn = AttnConfig(
            heads=heads,
            d=width // heads,
            causal=ways != "both",
            window=band(length, layers) if ways == "band" else None,
        )
        return EncoderConfig(
            depth=layers,
            width=width,
            features=features,
            in_norm="gated" if in_norm == "gated" else "none",
            block=BlockConfig(attn=attn, drop=0.1),
            pos=PosConfig(kinds=kinds, length_max=max(4096, length)),
        )

    return make


def _recurrent(features: tuple[str, ...], length: int, number: int) -> RecurrentConfig:
    return RecurrentConfig(depth=3, width=256, features=features, cell="lstm", drop=0.2)


def _recurrent_small(features: tuple[str, ...], length: int, number: int) -> RecurrentConfig:
    return RecurrentConfig(depth=1, width=48, features=features, cell="lstm", drop=0.0)


def _quantile(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="quantile", horizons=horizons, quantiles=LEVELS)


def _seven(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="quantile", horizons=horizons, quantiles=SEVEN)


def _point(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="point", horizons=horizons)


def _deep_point(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="point", horizons=horizons, hidden=(128, 64))


def _gaussian(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="gaussian", horizons=horizons, loss="qlike")


def _direction(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="direction", horizons=horizons)


def _volatility(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="volatility", horizons=horizons)


def _faint_direction(horizons: tuple[str, ...]) -> HeadConfig:
    # Its gradient is almost all noise: beside heads that can learn something it must not lead the trunk.
    return HeadConfig(kind="direction", horizons=horizons, weight=0.05)


def _signal(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="signal3", horizons=horizons)


def _regime(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="regime", horizons=horizons, classes=7)


def _risk(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="risk", horizons=horizons, quantiles=(0.95, 0.99))


def _drawdown(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="drawdown", horizons=horizons, quantiles=(0.5, 0.95, 0.99))


def _correlation(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="correlation", horizons=horizons)


def _exposure(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="allocation", horizons=horizons, side="signed")


def _long_only(horizons: tuple[str, ...]) -> HeadConfig:
    return HeadConfig(kind="allocation", horizons=horizons)


_STREAMED = ("calendar", "rotary")
_FOUR = (1440, 288, 168, 252)  # a day of minutes and of five minutes, a week of hours, a year of days
_BAND = _transformer(width=128, heads=2, depth=(2, 3, 4, 4), ways="band", kinds=_STREAMED)
_BAND_SMALL = _transformer(width=32, heads=2, depth=2, ways="band", kinds=_STREAMED)
_BOTH = _transformer(width=64, heads=1, depth=2, ways="both", kinds=_STREAMED)
_ANCHORED = _transformer(width=256, heads=4, depth=6, ways="back", kinds=_STREAMED)
_GRID = _transformer(width=64, heads=1, depth=2, ways="back", kinds=("calendar",))
_TABULAR = _transformer(width=64, heads=1, depth=3, ways="both", kinds=())
_MIGT = _transformer(width=64, heads=1, depth=4, ways="both", kinds=("calendar",), in_norm="gated")
# At the source's width; heads of 64 where it has eight of 32.
_MIGT_FULL = _transformer(width=256, heads=4, depth=4, ways="both", kinds=("calendar",), in_norm="gated")
_PRICE = _transformer(width=256, heads=4, depth=4, ways="back", kinds=_STREAMED)
_NARROW = _transformer(width=32, heads=2, depth=2, ways="both", kinds=_STREAMED)
_NARROW_BACK = _transformer(width=32, heads=2, depth=3, ways="back", kinds=_STREAMED)
_NARROW_MIGT = _transformer(width=16, heads=1, depth=2, ways="both", kinds=("calendar",), in_norm="gated")
_NARROW_TABULAR = _transformer(width=32, heads=2, depth=2, ways="both", kinds=())
_SEEN = FusionConfig(kind="cross+sum", heads=2, recent=16)
_ABSENT = FusionConfig(kind="cross", heads=2, recent=32, absent="token")

_ALL = (_quantile, _volatility, _faint_direction)

_Preset = tuple[str, tuple[int, ...], _Encoder, FusionConfig | None, tuple[_Head, ...]]
_PRESETS: dict[str, _Preset] = {
    "flagship-full": ("flagship", _FOUR, _BAND, _SEEN, _ALL),
    "flagship-small": ("flagship", (96, 48, 24), _BAND_SMALL, _SEEN, _ALL),
    "multiscale": ("multiscale", _FOUR, _BOTH, FusionConfig(kind="cross+sum"), (_point, _direction)),
    "multiscale-attention": ("multiscale", _FOUR, _BOTH, FusionConfig(kind="cross"), (_point, _direction)),
    "multiscale-gates": ("multiscale", _FOUR, _BOTH, FusionConfig(kind="concat"), (_point, _direction)),
    "hierarchical": ("hierarchical", (252,), _BOTH, None, (_quantile,)),
    "longctx-regression": ("longctx", (1024,), _ANCHORED, None, (_point,)),
    "longctx-direction": ("longctx", (1024,), _ANCHORED, None, (_direction,)),
    "longctx-allocation": ("longctx", (1024,), _ANCHORED, None, (_exposure,)),
    "trading": ("trading", (288, 288, 288), _BAND_SMALL, _ABSENT, (_point, _quantile, _regime, _risk)),
    "orderbook": ("orderbook", (100,), _GRID, None, (_direction, _quantile)),
    "portfolio": ("portfolio", (288,), _GRID, None, (_exposure, _quantile)),
    "portfolio-risk": ("portfolio", (288,), _GRID, None, (_correlation, _quantile, _volatility, _drawdown)),
    "migt": ("migt", (288,), _MIGT, None, (_seven,)),
    "migt-full": ("migt", (288,), _MIGT_FULL, None, (_seven,)),
    "lstm": ("lstm", (48,), _recurrent, None, (_deep_point,)),
    "patchtst": ("patchtst", (288,), _TABULAR, None, (_quantile,)),
    "itransformer": ("itransformer", (288,), _TABULAR, None, (_quantile,)),
    "dlinear": ("dlinear", (288,), _TABULAR, None, (_quantile,)),
    # For a CPU: minutes of one core, on a few hundred thousand decisions.
    "multiscale-small": ("multiscale", (48, 48, 24), _NARROW, FusionConfig(kind="cross+sum"), _ALL),
    "longctx-small": ("longctx", (192,), _NARROW_BACK, None, _ALL),
    "migt-small": ("migt", (16,), _NARROW_MIGT, None, _ALL),
    "lstm-small": ("lstm", (48,), _recurrent_small, None, _ALL),
    "patchtst-small": ("patchtst", (96,), _NARROW_TABULAR, None, _ALL),
    "dlinear-small": ("dlinear", (48,), _NARROW_TABULAR, None, _ALL),
    "price-predictor": ("longctx", (128,), _PRICE, None, (_gaussian, _quantile)),
    "signal-generator": ("longctx", (128,), _PRICE, None, (_signal,)),
    "risk-assessor": ("longctx", (128,), _PRICE, None, (_risk, _drawdown, _quantile)),
    "portfolio-optimizer": ("portfolio", (30,), _GRID, None, (_long_only, _point)),
}
