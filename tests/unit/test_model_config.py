"""Configurations: canonical text, strict reading, and refusals that name the field."""

import hashlib
import json
from typing import Any

import msgspec
import pytest

from bot.domain.errors import ConfigError
from models.config import (
    AttnConfig,
    BlockConfig,
    ConvConfig,
    EncoderConfig,
    FusionConfig,
    HeadConfig,
    ModelConfig,
    PosConfig,
    RecurrentConfig,
    ScaleConfig,
    band,
    from_json,
    to_json,
)
from models.encoder import build_encoder

ATTN = AttnConfig(heads=2, window=721)
ENCODER = EncoderConfig(depth=2, width=128, features=("log_return", "volume"), block=BlockConfig(attn=ATTN))
MODEL = ModelConfig(
    system="multiscale",
    scales=(
        ScaleConfig(bar="1m", length=1440, encoder=ENCODER),
        ScaleConfig(bar="5m", length=288, encoder=ENCODER, share_with="1m"),
        ScaleConfig(bar="1h", length=168, encoder=RecurrentConfig(depth=1, width=32, features=("log_return",))),
        ScaleConfig(bar="1d", length=252, encoder=ConvConfig(depth=3, width=32, features=("log_return",))),
    ),
    fusion=FusionConfig(memory_tags=("1m", "1h")),
    heads=(HeadConfig(kind="quantile", horizons=("5m", "1h", "1d")),),
)


def test_text_and_back() -> None:
    assert from_json(to_json(MODEL)) == MODEL
    assert to_json(from_json(to_json(MODEL))) == to_json(MODEL)


def test_the_text_is_canonical() -> None:
    """Sorted keys, no spaces, every field: the order in which somebody wrote them changes no hash."""
    text = to_json(MODEL)
    plain = json.loads(text)
    assert json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() == text
    shuffled = json.dumps(dict(reversed(plain.items())), indent=2)
    assert hashlib.sha256(to_json(from_json(shuffled))).digest() == hashlib.sha256(text).digest()
    assert set(plain["fusion"]) == set(FusionConfig.__struct_fields__)


def edited(**changes: Any) -> bytes:
    """Return the text with fields changed by dotted path, "-" for a new or removed one."""
    plain = json.loads(to_json(MODEL))
    for path, value in changes.items():
        *way, last = path.split("__")
        place = plain
        for step in way:
            place = place[int(step)] if step.isdigit() else place[step]
        if value == "-":
            del place[last]
        else:
            place[last] = value
    return json.dumps(plain).encode()


REFUSED: list[tuple[bytes, str]] = [
    (edited(speed=1), r"unknown field `speed`"),
    (edited(scales__0__encoder__block__attn__widnow=3), r"`widnow` - at `\$.scales\[0\].encoder.block.attn`"),
    (edited(system="-"), r"missing required field `system`"),
    (edited(seed="7"), r"Expected `int`, got `str` - at `\$.seed`"),
    (edited(seed=-1), r"ModelConfig.seed = -1: must be 0 or more"),
    (edited(schema=2), r"ModelConfig.schema = 2: this version reads 1"),
    (edited(scales__0__encoder__width=100), r"EncoderConfig.width = 100: must be heads \* d, which is 2 \* 64 = 128"),
    (edited(scales__0__encoder__block__attn__window=0), r"AttnConfig.window = 0: .* - at `\$.scales\[0\]"),
    (edited(scales__0__encoder__block__attn__heads=10**9), r"AttnConfig.heads = 1000000000: must be 1 to 256"),
    (edited(scales__0__encoder__depth=100_000), r"EncoderConfig.depth = 100000: must be 1 to 128"),
    (edited(scales__3__encoder__depth=40), r"ConvConfig.depth = 40: the network would look back"),
    (edited(scales__0__encoder__encoder="mamba"), r"Invalid value 'mamba'"),
    (edited(scales__1__bar="1m"), r"'1m' is named twice"),
    (edited(scales__1__share_with="1d"), r"'5m' shares with '1d': none before"),
    (edited(scales__1__encoder__depth=3), r"'5m' and '1m' share an encoder but differ in it"),
    (edited(heads=[]), r"ModelConfig.heads = \(\): must be 1 to 64"),
    (b"", r"Input data was truncated"),
    (b"[]", r"Expected `object`, got `array`"),
    (b"\xff\xfe", r"malformed"),
    (b"[" * 100_000, r"Expected `object`"),
    (b" " * (2 << 20), r"2097152 bytes; 1048576 are allowed"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_refused(text: bytes, message: str) -> None:
    """One line, with the field and the reason, and where it stands."""
    with pytest.raises(ConfigError, match=message) as refusal:
        from_json(text)
    assert "\n" not in str(refusal.value)


BUILT: list[tuple[type[msgspec.Struct], dict[str, Any], str]] = [
    (AttnConfig, {"heads": 0}, "heads = 0: must be 1 to 256"),
    (AttnConfig, {"heads": 4, "kv_heads": 3}, "kv_heads = 3: must divide 4 heads"),
    (AttnConfig, {"heads": 4, "kv_heads": 0}, "kv_heads = 0"),
    (AttnConfig, {"heads": 4, "d": 7}, "d = 7: must be even"),
    (AttnConfig, {"heads": 4, "window": 5, "causal": False}, "window = 5: looks back, so it needs causal"),
    (AttnConfig, {"heads": 4, "dropout": 1.0}, "dropout = 1.0"),
    (AttnConfig, {"heads": 4, "dropout": float("nan")}, "dropout = nan"),
    (AttnConfig, {"heads": 4, "kernel": "linear", "window": 9}, "window = 9: the linear kernel"),
    (AttnConfig, {"heads": 4, "kernel": "linear", "bias": "key"}, "bias = 'key': the linear kernel"),
    (PosConfig, {"kinds": ("rotary", "rotary")}, "names one twice"),
    (PosConfig, {"periods": {"fortnight": 1}}, "'fortnight' is none of day, week"),
    (PosConfig, {"periods": {"day": 0}}, "'day' needs 1 to 256 harmonics"),
    (BlockConfig, {"attn": ATTN, "drop_path": 1.0}, "drop_path = 1.0"),
    (BlockConfig, {"attn": ATTN, "mlp_ratio": 0.0}, "mlp_ratio = 0.0"),
    (RecurrentConfig, {"depth": 1, "width": 8, "features": ()}, "must be 1 to 4096 names"),
    (RecurrentConfig, {"depth": 1, "width": 8, "features": ("a", "a")}, "names one twice"),
    (ScaleConfig, {"bar": "", "length": 3, "encoder": ENCODER}, "bar = ''"),
    (FusionConfig, {"recent": 0}, "recent = 0"),
    (HeadConfig, {"kind": "point", "horizons": ("soon",)}, "'soon' is no duration"),
    (HeadConfig, {"kind": "point", "horizons": ("1h", "5m")}, "must ascend"),
    (HeadConfig, {"kind": "quantile", "quantiles": (0.5, 0.1)}, "must ascend"),
    (HeadConfig, {"kind": "quantile", "quantiles": (0.5, 1.0)}, "must lie between 0 and 1"),
    (HeadConfig, {"kind": "allocation", "gross": 0.0}, "gross = 0.0"),
]


@pytest.mark.parametrize(("part", "fields", "message"), BUILT, ids=[message for _, _, message in BUILT])
def test_parts_check_themselves(part: type[msgspec.Struct], fields: dict[str, Any], message: str) -> None:
    """Made in Python, a part refuses with the same words, as a ConfigError."""
    with pytest.raises(ConfigError) as refusal:
        part(**fields)
    assert str(refusal.value).startswith(part.__name__ + ".")
    assert message in str(refusal.value)


def test_a_linear_kernel_has_no_scores_between_tokens() -> None:
    attn = AttnConfig(heads=2, kernel="linear")
    cfg = EncoderConfig(depth=1, width=128, features=("a",), block=BlockConfig(attn=attn))
    with pytest.raises(ConfigError, match="no scores between tokens for rotary"):
        build_encoder(cfg)


def test_nothing_changes_afterwards() -> None:
    with pytest.raises(AttributeError):
        ATTN.heads = 3  # type: ignore[misc]


@pytest.mark.parametrize(("length", "depth", "window"), [(1440, 2, 721), (288, 3, 97), (168, 4, 43), (252, 4, 64)])
def test_bands(length: int, depth: int, window: int) -> None:
    """The window is the least whose layers together reach over the length."""
    assert band(length, depth) == window
    assert depth * (window - 1) + 1 >= length > depth * (window - 2) + 1
