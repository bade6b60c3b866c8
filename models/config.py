"""What a network is made of, as frozen data: the one description that training, artefacts and trading share.

A configuration checks itself when it is made, from Python or from JSON alike, and says which field is wrong and why.
Its JSON is canonical (sorted keys, no spaces, every field written), so equal configurations have equal hashes.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import msgspec

from bot.core.durations import parse_duration
from bot.domain.errors import ConfigError

SCHEMA = 1  # of `ModelConfig`; a change that old files cannot mean gets a new number
_JSON_BYTES_MAX = 1 << 20
_WIDTH_MAX, _DEPTH_MAX, _HEADS_MAX, _LENGTH_MAX, _FEATURES_MAX = 8192, 128, 256, 10_000_000, 4096
_ERAS = ("day", "week", "month", "year", "funding")


class _Refused(ConfigError, ValueError):
    """A field that cannot be. msgspec adds the place to a ValueError while it decodes."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every configuration: unknown fields are errors, and nothing changes after it is made."""

    def _need(self, holds: bool, field: str, reason: str) -> None:
        if not holds:
            raise _Refused(f"{type(self).__name__}.{field} = {getattr(self, field)!r}: {reason}")


class AttnConfig(_Part, frozen=True, kw_only=True):
    """How tokens look at one another.

    Attributes:
        heads: query heads; `heads * d` is the width of the tokens.
        kv_heads: heads of keys and values, shared by groups of query heads; None is one for each.
        d: width of a head: 64 or 128 on a GPU, where narrower ones wait for the exponential.
        causal: a token sees itself and older ones.
        window: how many newest tokens it sees, itself included; None is all.
        kernel: softmax, or the linear kernel with phi = elu + 1 and a state of constant size.
        backend: "auto", or the name of the one kernel that must be used.
        dropout: of attention weights; few kernels can, so prefer `BlockConfig.drop`.
        pre: what is done to tokens before they are compared; this and the next two name a hook of
            `models.attention.hooks`.
        bias: what a key's features add to its scores.
        gate: what scales what a token has gathered.
    """

    heads: int
    kv_heads: int | None = None
    d: int = 64
    causal: bool = True
    window: int | None = None
    kernel: Literal["softmax", "linear"] = "softmax"
    backend: str = "auto"
    dropout: float = 0.0
    pre: str = "none"
    bias: str = "none"
    gate: str = "none"

    def __post_init__(self) -> None:
        self._need(1 <= self.heads <= _HEADS_MAX, "heads", f"must be 1 to {_HEADS_MAX}")
        self._need(2 <= self.d <= 256 and self.d % 2 == 0, "d", "must be even, 2 to 256")
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        self._need(kv_heads >= 1 and self.heads % kv_heads == 0, "kv_heads", f"must divide {self.heads} heads")
        if self.window is not None:
            self._need(1 <= self.window <= _LENGTH_MAX, "window", f"must be 1 to {_LENGTH_MAX}, or none")
            self._need(self.causal, "window", "looks back, so it needs causal = true")
        self._need(0 <= self.dropout < 1, "dropout", "must be 0 or more, and less than 1")
        if self.kernel == "linear":
            self._need(self.window is None, "window", "the linear kernel sees everything before; leave it out")
            self._need(self.dropout == 0, "dropout", "the linear kernel has no weights to drop")
            self._need(self.bias == "none", "bias", "the linear kernel has no scores to add to")


class PosConfig(_Part, frozen=True, kw_only=True):
    """How tokens know their place: any of the kinds of `models.position`, at most one of them a rotation.

    Attributes:
        kinds: such as ("calendar", "rotary"); none is allowed, and then order alone is what causality tells.
        periods: harmonics by period, for the kinds that know the clock; a period is "day", "week", "month", "year",
            "funding" (eight hours), or a duration such as "4h".
        rope_base: the slowest rotation turns once in about 2 pi times this many tokens.
        length_max: the longest sequence of the kinds that number their tokens from the first.
    """

    kinds: tuple[str, ...] = ("rotary",)
    periods: dict[str, int] = msgspec.field(default_factory=lambda: {"day": 8, "week": 3})
    rope_base: float = 10_000.0
    length_max: int = 4096

    def __post_init__(self) -> None:
        self._need(len(set(self.kinds)) == len(self.kinds), "kinds", "names one twice")
        self._need(2 <= self.rope_base <= 1e9, "rope_base", "must be 2 to 1e9")
        self._need(1 <= self.length_max <= _LENGTH_MAX, "length_max", f"must be 1 to {_LENGTH_MAX}")
        for period, harmonics in self.periods.items():
            self._need(1 <= harmonics <= 256, "periods", f"{period!r} needs 1 to 256 harmonics")
            self._need(_is_period(period), "periods", f"{period!r} is none of {', '.join(_ERAS)}, and no duration")


class BlockConfig(_Part, frozen=True, kw_only=True):
    """One layer: attention and a feed-forward part, each added to what it reads.

    Attributes:
        mlp_ratio: width of the feed-forward part in widths of a token; swiglu has three matrices, so it takes two
            thirds of that and costs the same.
        norm: normalise before each part (trains without warm-up) or after the sum (as the first transformers did).
        norm_kind: by mean and deviation, or by the root mean square, which on the CPU costs four times as much a step.
        drop: of what each part adds, by element.
        drop_path: of what each part adds, by sample; grows linearly from 0 in the first layer to this in the last.
    """

    attn: AttnConfig
    mlp: Literal["gelu", "swiglu"] = "swiglu"
    mlp_ratio: float = 4.0
    norm: Literal["pre", "post"] = "pre"
    norm_kind: Literal["layer", "rms"] = "layer"
    drop: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        self._need(0.25 <= self.mlp_ratio <= 16, "mlp_ratio", "must be 0.25 to 16")
        self._need(0 <= self.drop < 1, "drop", "must be 0 or more, and less than 1")
        self._need(0 <= self.drop_path < 1, "drop_path", "must be 0 or more, and less than 1")


class _Inputs(_Part, frozen=True, kw_only=True):
    """What every encoder reads and how wide it speaks.

    Attributes:
        features: the names of the inputs, in order; their number is the width of the input.
        in_norm: "revin" and "gated" normalise by the window's own mean and deviation, so they cannot stream; "ewma"
            by those of the past alone, and streams.
        halflife: bars until an observation weighs half, for "ewma".
    """

    depth: int
    width: int
    features: tuple[str, ...]
    in_norm: Literal["none", "revin", "gated", "ewma"] = "none"
    halflife: float = 1440.0

    def __post_init__(self) -> None:
        self._need(1 <= self.depth <= _DEPTH_MAX, "depth", f"must be 1 to {_DEPTH_MAX}")
        self._need(1 <= self.width <= _WIDTH_MAX, "width", f"must be 1 to {_WIDTH_MAX}")
        self._need(1 <= len(self.features) <= _FEATURES_MAX, "features", f"must be 1 to {_FEATURES_MAX} names")
        self._need(len(set(self.features)) == len(self.features), "features", "names one twice")
        self._need(1 <= self.halflife <= _LENGTH_MAX, "halflife", f"must be 1 to {_LENGTH_MAX} bars")


class EncoderConfig(_Inputs, frozen=True, kw_only=True, tag_field="encoder", tag="attention"):
    """A transformer encoder."""

    block: BlockConfig
    pos: PosConfig = msgspec.field(default_factory=PosConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        attn = self.block.attn
        made = attn.heads * attn.d
        self._need(self.width == made, "width", f"must be heads * d, which is {attn.heads} * {attn.d} = {made}")


class RecurrentConfig(_Inputs, frozen=True, kw_only=True, tag_field="encoder", tag="recurrent"):
    """An LSTM or GRU; its streamed state is carried for ever, as in one pass over all history."""

    cell: Literal["lstm", "gru"] = "lstm"
    drop: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need(0 <= self.drop < 1, "drop", "must be 0 or more, and less than 1")


class ConvConfig(_Inputs, frozen=True, kw_only=True, tag_field="encoder", tag="conv"):
    """A causal temporal convolution network: layer i looks back in steps of `2**i` bars."""

    kernel_size: int = 3
    drop: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need(2 <= self.kernel_size <= 64, "kernel_size", "must be 2 to 64")
        self._need(0 <= self.drop < 1, "drop", "must be 0 or more, and less than 1")
        reach = (self.kernel_size - 1) * (2**self.depth - 1) + 1
        self._need(reach <= _LENGTH_MAX, "depth", f"the network would look back {reach} bars; at most {_LENGTH_MAX}")


AnyEncoder = EncoderConfig | RecurrentConfig | ConvConfig


class ScaleConfig(_Part, frozen=True, kw_only=True):
    """One time scale of a model.

    Attributes:
        bar: the stream's name: a duration such as "5m", or an event rule such as "volume:100".
        length: bars in a window, or the history that a banded encoder must have seen before it speaks.
        share_with: the bar of an earlier scale whose encoder serves this one as well.
    """

    bar: str
    length: int
    encoder: AnyEncoder
    share_with: str | None = None

    def __post_init__(self) -> None:
        self._need(bool(self.bar), "bar", "must not be empty")
        self._need(1 <= self.length <= _LENGTH_MAX, "length", f"must be 1 to {_LENGTH_MAX}")


class FusionConfig(_Part, frozen=True, kw_only=True):
    """How the scales become one.

    Attributes:
        kind: "cross" lets the decision scale attend to the others; "sum" and "concat" gate what each scale says.
        memory_tags: the streams that are attended to, by name; each has an embedding of its own.
        pool: what a window says as a whole, where a system needs that.
        recent: how many newest known tokens of each memory are seen; None is all of them.
        absent: what stands for a memory that knows nothing yet: an error, or a learned token.
    """

    kind: Literal["none", "cross", "sum", "concat", "cross+sum", "cross+concat"] = "cross+sum"
    memory_tags: tuple[str, ...] = ()
    pool: Literal["last", "mean", "attention"] = "last"
    heads: int = 2
    recent: int | None = None
    absent: Literal["error", "token"] = "error"

    def __post_init__(self) -> None:
        self._need(1 <= self.heads <= _HEADS_MAX, "heads", f"must be 1 to {_HEADS_MAX}")
        self._need(len(set(self.memory_tags)) == len(self.memory_tags), "memory_tags", "names one twice")
        if self.recent is not None:
            self._need(1 <= self.recent <= _LENGTH_MAX, "recent", f"must be 1 to {_LENGTH_MAX}, or none")


class HeadConfig(_Part, frozen=True, kw_only=True):
    """One thing the model is asked.

    Attributes:
        kind: one of `models.heads`.
        horizons: how far ahead, as durations; the head answers for each.
        quantiles: levels within (0, 1), ascending: of the return for "quantile", of the loss for "risk" and "drawdown".
        loss: the name of what it is trained by; None is the kind's own.
        weight: of its loss beside the others'.
        hidden: widths between the trunk and the answer.
        classes: how many regimes, for "regime".
        factors: what the correlation of assets is made of, for "correlation".
        gross: the most that the absolute weights may sum to, for "allocation".
        side: whether weights may be short, for "allocation".
    """

    kind: str
    horizons: tuple[str, ...] = ("1h",)
    quantiles: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    loss: str | None = None
    weight: float = 1.0
    hidden: tuple[int, ...] = ()
    classes: int = 3
    factors: int = 3
    gross: float = 1.0
    side: Literal["long_only", "signed"] = "long_only"

    def __post_init__(self) -> None:
        self._need(1 <= len(self.horizons) <= 64, "horizons", "must be 1 to 64 durations")
        for horizon in self.horizons:
            self._need(_is_duration(horizon), "horizons", f"{horizon!r} is no duration; write it like 5m, 4h or 1d")
        self._need(_ascends([parse_duration(each) for each in self.horizons]), "horizons", "must ascend")
        levels = self.quantiles
        self._need(1 <= len(levels) <= 99, "quantiles", "must be 1 to 99 levels")
        self._need(all(0 < level < 1 for level in levels), "quantiles", "must lie between 0 and 1")
        self._need(_ascends(levels), "quantiles", "must ascend")
        self._need(0 <= self.weight <= 1e6, "weight", "must be 0 to 1e6")
        self._need(len(self.hidden) <= 8, "hidden", "must be 8 layers at most")
        self._need(all(1 <= width <= _WIDTH_MAX for width in self.hidden), "hidden", f"must be 1 to {_WIDTH_MAX}")
        self._need(2 <= self.classes <= 64, "classes", "must be 2 to 64")
        self._need(1 <= self.factors <= 64, "factors", "must be 1 to 64")
        self._need(0 < self.gross <= 100, "gross", "must be more than 0, and at most 100")


class ModelConfig(_Part, frozen=True, kw_only=True):
    """A whole model: which system puts together which parts."""

    schema: int = SCHEMA
    system: str
    scales: tuple[ScaleConfig, ...]
    fusion: FusionConfig | None = None
    heads: tuple[HeadConfig, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        self._need(self.schema == SCHEMA, "schema", f"this version reads {SCHEMA}; convert the model, or use its own")
        self._need(bool(self.system), "system", "must not be empty")
        self._need(1 <= len(self.scales) <= 64, "scales", "must be 1 to 64")
        self._need(1 <= len(self.heads) <= 64, "heads", "must be 1 to 64")
        self._need(0 <= self.seed < 2**63, "seed", "must be 0 or more, and below 2**63")
        earlier: dict[str, AnyEncoder] = {}
        for scale in self.scales:
            self._need(scale.bar not in earlier, "scales", f"{scale.bar!r} is named twice")
            if scale.share_with is not None:
                shared = earlier.get(scale.share_with)
                self._need(shared is not None, "scales", f"{scale.bar!r} shares with {scale.share_with!r}: none before")
                same = shared == scale.encoder
                self._need(same, "scales", f"{scale.bar!r} and {scale.share_with!r} share an encoder but differ in it")
            earlier[scale.bar] = scale.encoder


def to_json(config: ModelConfig) -> bytes:
    """Return the canonical JSON: sorted keys, no spaces, every field."""
    return msgspec.json.encode(config, order="sorted")


def from_json(text: bytes | str) -> ModelConfig:
    """Return the configuration that `text` describes.

    Raises:
        ConfigError: it is no JSON, has a field that is unknown, missing or of another type, or one that cannot be.
    """
    if len(text) > _JSON_BYTES_MAX:
        raise ConfigError(f"model configuration: {len(text)} bytes; {_JSON_BYTES_MAX} are allowed")
    try:
        return msgspec.json.decode(text, type=ModelConfig)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ConfigError(f"model configuration: {error}") from error


def band(length: int, depth: int) -> int:
    """Return the window a layer needs for `depth` layers to see `length` bars: ceil((length - 1) / depth) + 1."""
    return -(-(length - 1) // depth) + 1


def _ascends(values: Sequence[float]) -> bool:
    return all(left < right for left, right in itertools.pairwise(values))


def _is_duration(text: str) -> bool:
    try:
        return parse_duration(text) > 0
    except ValueError:
        return False


def _is_period(text: str) -> bool:
    return text in _ERAS or _is_duration(text)
