"""How tokens know their place, one class a kind.

A kind may add to the tokens, turn queries and keys, or add to scores. What matters for streaming is what it depends on:
a token's own time, its features, or the distance between two tokens never change as bars go by; its number since the
first token is right only while the first token stays the same. Each kind says which (`counts_from_start`).

To add one, subclass `Position` and register it; its name then works in `PosConfig.kinds`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.core.durations import parse_duration
from bot.domain.errors import ConfigError, DataError
from models.attention.site import Placement
from models.config import PosConfig

# Shape letters in this file: B batch (1 where all rows are alike), L token, D width, H head, d its width, F feature,
# P period, K harmonic.

_DAY_NS = 86_400_000_000_000
_MONDAY_NS = 4 * _DAY_NS  # 1970-01-05
_FUNDING_NS = _DAY_NS // 3  # Bybit settles at 00:00, 08:00 and 16:00 UTC
_YEARS = ("1970", "2200")  # of the calendar that months and years are looked up in


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a position may be made of."""

    index_BL: Tensor  # int64, number since the first token
    end: int  # one more than the largest index
    time_ns_BL: Tensor  # int64, the bar's close
    features_BLF: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What a position must fit."""

    width: int
    heads: int
    d: int
    features: int


class Position(nn.Module):
    """The base: a kind that says nothing."""

    counts_from_start: bool = False  # True: exact only while the first token stays the same
    rotates: bool = False
    slopes: bool = False  # it takes from scores by distance
    terms: int = 0  # columns that it adds to queries and keys
    needs_period: bool = False
    reads_features: bool = False  # of the bar

    @property
    def is_between(self) -> bool:
        """Return whether it speaks of two tokens at once, and not of each by itself."""
        return self.rotates or self.slopes or self.terms > 0

    def embed(self, tokens: Tokens) -> Tensor | None:
        """Return what is added to the tokens, [B, L, D]; None for nothing."""
        return None

    def place(self, tokens: Tokens) -> Placement:
        """Return what queries, keys and scores are told."""
        return Placement()


class Sinusoidal(Position):
    """Sines and cosines of the token's number. Source: Vaswani et al. (2017)."""

    counts_from_start = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        _keep(self, "rates", _rates(cfg.rope_base, -(-sizes.width // 2)))
        self._width = sizes.width

    def embed(self, tokens: Tokens) -> Tensor:
        angles = tokens.index_BL[..., None] * _kept(self, "rates")
        return torch.cat([angles.sin(), angles.cos()], dim=-1)[..., : self._width].to(tokens.features_BLF.dtype)


class Learned(Position):
    """A vector for each number up to a longest."""

    counts_from_start = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        self.table = nn.Embedding(cfg.length_max, sizes.width)
        nn.init.normal_(self.table.weight, std=0.02)

    def embed(self, tokens: Tokens) -> Tensor:
        if tokens.end > self.table.num_embeddings:
            raise DataError(f"{tokens.end} tokens, and learned positions for {self.table.num_embeddings}")
        made: Tensor = self.table(tokens.index_BL)
        return made


class Rotary(Position):
    """Turn queries and keys by angles that grow with the token's number: scores then depend on distance alone.

    Angles are float64: in float32 scores are off by 1e-2 after 1e5 tokens and by half after 1e7, in float64 by 1e-6
    after 1e9, thirty years of seconds. So keys can stay as they are for ever, and nothing needs a new base.

    Source: Su et al. (2021), RoFormer.
    """

    rotates = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        _keep(self, "rates", _rates(cfg.rope_base, sizes.d // 2))

    def place(self, tokens: Tokens) -> Placement:
        return Placement(
            rotation=rotation_of(tokens.index_BL[..., None] * _kept(self, "rates"), tokens.features_BLF.dtype)
        )


class Alibi(Position):
    """Take from a score in proportion to the distance, in each head at its own rate. Source: Press et al. (2022)."""

    slopes = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        slopes = 2.0 ** (-8.0 * torch.arange(1, sizes.heads + 1, dtype=torch.float64) / sizes.heads)
        _keep(self, "slopes_H", slopes)

    def place(self, tokens: Tokens) -> Placement:
        return Placement(slopes_H=_kept(self, "slopes_H"))


class CalendarHarmonics(Position):
    """Sines and cosines of whole multiples of the exact phase of each period, so that every period closes on itself."""

    needs_period = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        self.clock = Clock(tuple(cfg.periods))
        orders = [k for harmonics in cfg.periods.values() for k in range(1, harmonics + 1)]
        owners = [number for number, harmonics in enumerate(cfg.periods.values()) for _ in range(harmonics)]
        self.register_buffer("orders_K", torch.tensor(orders), persistent=False)
        self.register_buffer("owners_K", torch.tensor(owners), persistent=False)
        self.project = nn.Linear(2 * len(orders), sizes.width, bias=False)

    def embed(self, tokens: Tokens) -> Tensor:
        phase_BLK = self.clock(tokens.time_ns_BL)[..., self.owners_K]
        angles = 2 * math.pi * phase_BLK * self.orders_K
        made: Tensor = self.project(torch.cat([angles.cos(), angles.sin()], -1).to(self.project.weight.dtype))
        return made


class Time2Vec(Position):
    """Sines of learned multiples of the phases, and the phases themselves.

    Learned multiples do not close on themselves: the last hour of a day and its first may be far apart. Prefer
    "calendar". Source: Kazemi et al. (2019), on phases instead of unbounded time.
    """

    needs_period = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        self.clock = Clock(tuple(cfg.periods))
        waves = sum(cfg.periods.values())
        self.waves = nn.Linear(len(cfg.periods), waves)
        nn.init.normal_(self.waves.weight, std=2 * math.pi)
        self.project = nn.Linear(len(cfg.periods) + waves, sizes.width, bias=False)

    def embed(self, tokens: Tokens) -> Tensor:
        phase_BLP = self.clock(tokens.time_ns_BL).to(self.waves.weight.dtype)
        made: Tensor = self.project(torch.cat([phase_BLP, torch.sin(self.waves(phase_BLP))], dim=-1))
        return made


class Cyclical(Position):
    """Add to a score, for each period P and head, w * cos(2 pi dt / P): yesterday's same hour may count for more.

    The cosine of a difference is a product of the two ends' cosines and sines, so it costs two columns of queries and
    keys a period, works in every kernel, learns, and stays right in a cache.
    """

    needs_period = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        self.clock = Clock(tuple(cfg.periods))
        self.terms = 2 * len(cfg.periods)
        self.weights_HP = nn.Parameter(torch.zeros(sizes.heads, len(cfg.periods)))

    def place(self, tokens: Tokens) -> Placement:
        angles = 2 * math.pi * self.clock(tokens.time_ns_BL)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)[:, :, None].to(self.weights_HP.dtype)
        return Placement(q_terms_BLHE=waves * torch.cat([self.weights_HP, self.weights_HP], dim=-1), k_terms_BL1E=waves)


class ContextMLP(Position):
    """Let the features themselves say where a token stands."""

    reads_features = True

    def __init__(self, cfg: PosConfig, sizes: Sizes) -> None:
        super().__init__()
        self.read = nn.Linear(sizes.features, sizes.width)
        self.say = nn.Linear(sizes.width, sizes.width)

    def embed(self, tokens: Tokens) -> Tensor:
        made: Tensor = self.say(F.gelu(self.read(tokens.features_BLF)))
        return made


class Composite(Position):
    """Several kinds at once."""

    def __init__(self, kinds: Sequence[Position]) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(kinds)
        self.terms = sum(kind.terms for kind in kinds)
        self.counts_from_start = any(kind.counts_from_start for kind in kinds)
        self.slopes = any(kind.slopes for kind in kinds)
        self.reads_features = any(kind.reads_features for kind in kinds)

    def _each(self) -> list[Position]:
        return [kind for kind in self.kinds if isinstance(kind, Position)]

    def embed(self, tokens: Tokens) -> Tensor | None:
        """Return the sum of what the kinds add."""
        total: Tensor | None = None
        for kind in self._each():
            made = kind.embed(tokens)
            if made is not None:
                total = made if total is None else total + made
        return total

    def place(self, tokens: Tokens) -> Placement:
        """Return all that the kinds say of queries, keys and scores."""
        said = [kind.place(tokens) for kind in self._each()]
        queries = [each.q_terms_BLHE for each in said if each.q_terms_BLHE is not None]
        keys = [each.k_terms_BL1E for each in said if each.k_terms_BL1E is not None]
        return Placement(
            rotation=next((each.rotation for each in said if each.rotation is not None), None),
            q_terms_BLHE=torch.cat(queries, dim=-1) if queries else None,
            k_terms_BL1E=torch.cat(keys, dim=-1) if keys else None,
            slopes_H=next((each.slopes_H for each in said if each.slopes_H is not None), None),
        )


class Clock(nn.Module):
    """Phases in [0, 1) of times within periods: exact, because whole nanoseconds are divided by whole nanoseconds.

    Args:
        periods: "day" (from 00:00 UTC), "week" (from Monday), "month" and "year" (of the calendar, whatever their
            length), "funding" (eight hours), or a duration.
    """

    def __init__(self, periods: Sequence[str]) -> None:
        super().__init__()
        uneven = [period for period in periods if period in ("month", "year")]
        even = [period for period in periods if period not in uneven]
        self.register_buffer(
            "even", torch.tensor([_length_of(period) for period in even]).view(-1, 2), persistent=False
        )
        self._uneven = [f"starts_{period}" for period in uneven]
        for name, period in zip(self._uneven, uneven, strict=True):
            self.register_buffer(name, _starts(period), persistent=False)
        found = [*even, *uneven]
        self._order = [found.index(period) for period in periods]

    def forward(self, time_ns_BL: Tensor) -> Tensor:
        """Return [B, L, P] of float64.

        Raises:
            DataError: a time is not of this calendar, which has the years 1970 to 2199.
        """
        length_P, start_P = _buffer(self, "even").unbind(1)
        phases = ((time_ns_BL[..., None] - start_P) % length_P).double() / length_P
        if self._uneven:
            more = [self._look_up(time_ns_BL, _buffer(self, name))[..., None] for name in self._uneven]
            phases = torch.cat([phases, *more], dim=-1)[..., self._order]
        return phases

    def _look_up(self, time_ns_BL: Tensor, starts: Tensor) -> Tensor:
        number = torch.searchsorted(starts, time_ns_BL.contiguous(), right=True)
        if not torch.compiler.is_compiling() and not bool(((number > 0) & (number < len(starts))).all()):
            raise DataError(
                f"a time lies outside the years {_YEARS[0]} to {int(_YEARS[1]) - 1}: are these nanoseconds?"
            )
        start = starts[number - 1]
        return (time_ns_BL - start).double() / (starts[number] - start).double()


_KEPT = "kept_constants"  # the names of those buffers whose bits are float64
_KINDS: dict[str, Callable[[PosConfig, Sizes], Position]] = {}


def register_position(name: str, make: Callable[[PosConfig, Sizes], Position]) -> None:
    """Make a kind known by its name.

    Raises:
        ValueError: the name is taken.
    """
    if name in _KINDS:
        raise ValueError(f"two kinds of position are called {name!r}")
    _KINDS[name] = make


def kinds() -> tuple[str, ...]:
    """Return the names of all kinds."""
    return tuple(sorted(_KINDS))


def build_position(cfg: PosConfig, sizes: Sizes, *, kernel: str = "softmax") -> Composite:
    """Return the kinds that a configuration names.

    Args:
        kernel: what they are for; the linear one has no scores that a kind could change.

    Raises:
        ConfigError: there is none of a name, two of them turn the same heads, one needs a period and there is none, or
            one speaks of scores and there are none.
    """
    made: list[Position] = []
    for kind in cfg.kinds:
        if kind not in _KINDS:
            raise ConfigError(f"PosConfig.kinds: there is no {kind!r}; choose of {', '.join(kinds())}")
        if getattr(_KINDS[kind], "needs_period", False) and not cfg.periods:
            raise ConfigError(f"PosConfig.periods: {kind!r} needs one at least")
        made.append(_KINDS[kind](cfg, sizes))
    if sum(kind.rotates for kind in made) > 1:
        raise ConfigError(f"PosConfig.kinds: {', '.join(cfg.kinds)} turn the same heads twice; choose one of them")
    between = [name for name, kind in zip(cfg.kinds, made, strict=True) if kind.is_between]
    if kernel == "linear" and between:
        raise ConfigError(f"PosConfig.kinds: the linear kernel has no scores between tokens for {', '.join(between)}")
    return Composite(made)


def rotation_of(angles_BLd: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines of angles [B, L, d / 2], in float32 at least; see `Placement.rotation`."""
    wide = torch.promote_types(dtype, torch.float32)
    cos, sin = angles_BLd.cos(), angles_BLd.sin()
    return torch.cat([cos, cos], dim=-1).to(wide)[:, :, None], torch.cat([-sin, sin], dim=-1).to(wide)[:, :, None]


def _rates(base: float, count: int) -> Tensor:
    return base ** (-torch.arange(count, dtype=torch.float64) / count)


def _length_of(period: str) -> tuple[int, int]:
    match period:
        case "day":
            return _DAY_NS, 0
        case "week":
            return 7 * _DAY_NS, _MONDAY_NS
        case "funding":
            return _FUNDING_NS, 0
    return parse_duration(period), 0


def _starts(period: str) -> Tensor:
    """Return when each month or year of the calendar starts, in ns."""
    unit = "datetime64[M]" if period == "month" else "datetime64[Y]"
    starts = np.arange(_YEARS[0], str(int(_YEARS[1]) + 1), dtype=unit).astype("datetime64[ns]")
    return torch.from_numpy(starts.astype(np.int64))


def _keep(module: nn.Module, name: str, values: Tensor) -> None:
    """Give a module a float64 constant that follows it to a device but not to a dtype: a float32 angle would be off."""
    module.register_buffer(name, values.view(torch.int64), persistent=False)
    setattr(module, _KEPT, (*getattr(module, _KEPT, ()), name))


def _kept(module: nn.Module, name: str) -> Tensor:
    found = _buffer(module, name)
    return found if found.dtype == torch.float64 else found.view(torch.float64)


def unpack_constants(model: nn.Module) -> None:
    """Store the float64 constants of a network as float64: in a copy for formats that cannot read an integer's bits."""
    for module in model.modules():
        for name in getattr(module, _KEPT, ()):
            setattr(module, name, _kept(module, name))


def _buffer(module: nn.Module, name: str) -> Tensor:
    found = getattr(module, name)
    if not isinstance(found, Tensor):
        raise TypeError(f"{name} of {type(module).__name__} is no tensor")
    return found


register_position("sinusoidal", Sinusoidal)
register_position("learned", Learned)
register_position("rotary", Rotary)
register_position("alibi", Alibi)
register_position("calendar", CalendarHarmonics)
register_position("time2vec", Time2Vec)
register_position("cyclical", Cyclical)
register_position("context", ContextMLP)
