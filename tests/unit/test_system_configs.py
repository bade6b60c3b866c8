"""Configurations of whole networks: what cannot be is refused by its name."""

from typing import Any

import msgspec
import pytest

from bot.domain.errors import ConfigError
from models.config import FusionConfig, HeadConfig, ModelConfig, ScaleConfig
from models.registry import build, describe
from tests.support.systems import (
    QUANTILE,
    transformer,
)


def _scale(**more: Any) -> ScaleConfig:
    return ScaleConfig(bar="1m", length=20, encoder=transformer(**more))


def _model(system_name: str, *scales: ScaleConfig, heads: tuple[HeadConfig, ...] = (QUANTILE,), **more: Any) -> Any:
    return ModelConfig(system=system_name, scales=scales, heads=heads, **more)


FIVE = ScaleConfig(bar="5m", length=20, encoder=transformer(window=4))
BANDED = _scale(window=4)


@pytest.mark.parametrize(
    ("cfg", "reason"),
    [
        (_model("magic", BANDED), "choose of dlinear"),
        (_model("flagship", BANDED), "fuses two scales at least"),
        (_model("flagship", BANDED, FIVE, fusion=FusionConfig()), "recent must say"),
        (_model("flagship", _scale(), FIVE, fusion=FusionConfig(recent=4)), "give attention a window"),
        (_model("flagship", _scale(causal=False), FIVE, fusion=FusionConfig(recent=4)), "looks ahead"),
        (_model("flagship", BANDED, FIVE, fusion=FusionConfig(recent=4, memory_tags=("9m",))), "no scale 9m"),
        (_model("trading", BANDED, FIVE, fusion=FusionConfig(kind="cross", recent=4)), 'absent = "token"'),
        (_model("longctx", BANDED, FIVE), "reads one scale"),
        (_model("multiscale", BANDED, FIVE, fusion=FusionConfig(kind="none")), "must join"),
        (_model("lstm", BANDED), "is recurrent"),
        (_model("orderbook", _scale(causal=False)), "set causal = true"),
        (
            _model("portfolio", _scale(kinds=("calendar",)), heads=(HeadConfig(kind="regime"),)),
            "cannot answer 'regime'",
        ),
        (_model("portfolio", _scale(kinds=("cyclical",))), "on two axes use"),
        (_model("patchtst", ScaleConfig(bar="1m", length=9, encoder=transformer())), "a patch is 16 bars"),
        (_model("dlinear", BANDED, heads=(QUANTILE, QUANTILE)), "both give quantiles"),
    ],
)
def test_configurations_that_cannot_be_are_refused_by_name(cfg: ModelConfig, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build(cfg)


def test_scales_may_share_an_encoder() -> None:
    shared = msgspec.structs.replace(FIVE, share_with="1m", encoder=BANDED.encoder)
    both = _model("flagship", BANDED, shared, fusion=FusionConfig(recent=4))
    apart = _model("flagship", BANDED, FIVE, fusion=FusionConfig(recent=4))
    assert describe(apart).parameters - describe(both).parameters == sum(
        each.numel() for each in build(both).get_submodule("encoders.made.0").parameters()
    )
