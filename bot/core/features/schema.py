"""Which features, in which order, on which scales, by which formulas: a schema, and its hash.

A model's artefact names the hash of the schema it was trained with. What computes another formula, or the same ones in
another order, or counts another funding interval or other smallest bars, has another hash.
"""

import hashlib
import re
import tokenize
from ast import literal_eval
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Final, Self

import msgspec

from bot.core.durations import parse_duration
from bot.core.event_rules import format_scale, parse_scale
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.decomposition import make_method
from bot.core.features.expression import Node, clip
from bot.core.features.inputs import INPUTS
from bot.core.features.presets import PRESETS

FORMAT: Final = 2
FUNDING_INTERVAL_NS: Final = 8 * 3_600_000_000_000
_PARAMETER_MAX: Final = 1e6


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One column: what it is, on which scale, and all that follows from its formula."""

    name: str  # the column's name on its scale, such as "volatility_20"
    scale: str  # "5m", or what closes the bars, such as "volume:100"
    inputs: tuple[str, ...]
    formula_id: str  # the catalogue's name
    formula: str  # the canonical text
    params: dict[str, float | int | str]
    warmup: int  # bars before the first value
    is_recursive: bool  # whether a value depends, ever more faintly, on all before it
    from_klines: bool  # whether the venue's klines suffice
    dtype: str = "float64"
    unit: str
    clip: tuple[float, float] | None = None


class _Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """What a schema of any format is as JSON."""

    format: int


class _Document(_Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a schema is as JSON."""

    features: tuple[FeatureSpec, ...]
    finest_ns: int | None
    funding_interval_ns: int


class FeatureSchema:
    """An ordered list of features for one or more scales, and what they take for granted.

    Args:
        features: calls of the catalogue's entries, such as "log_return", "volatility(20)" or
            "bollinger(band='upper')"; the name of a set in `PRESETS` stands for all of its features.
        scales: durations such as "5m", or rules such as "volume:100"; each gets every feature.
        clips: by column name, the least and the greatest value.
        funding_interval_ns: the time between two settlements, for `funding_clock`.
        finest_ns: the length of the bars that `realised_volatility` is made of; the smallest of `scales` if left out. A
            scale that is no multiple of it has none.

    Raises:
        ValueError: a feature, parameter, scale or length is unknown or impossible, or two columns have one name.
    """

    def __init__(
        self,
        features: Sequence[str],
        scales: Sequence[str],
        clips: Mapping[str, tuple[float, float]] | None = None,
        *,
        funding_interval_ns: int = FUNDING_INTERVAL_NS,
        finest_ns: int | None = None,
    ) -> None:
        if not features or not scales:
            raise ValueError("a feature schema needs at least one feature and one scale")
        wanted = [each for text in features for each in PRESETS.get(text, (text,))]
        made = [_make(text) for text in dict.fromkeys(wanted)]
        limits = {name: (float(low), float(high)) for name, (low, high) in (clips or {}).items()}
        names = [name for name, _, _, _ in made]
        _refuse_twice(names, "columns")
        unknown = sorted(set(limits) - set(names))
        if unknown:
            raise ValueError(f"clips for {', '.join(unknown)}: no such column; there are {', '.join(names)}")
        self.scales = tuple(map(_check_scale, scales))
        _refuse_twice(self.scales, "scales")
        lengths_ns = [parse_duration(scale) for scale in self.scales if ":" not in scale]
        self.finest_ns = min(lengths_ns, default=None) if finest_ns is None else finest_ns
        self.funding_interval_ns = funding_interval_ns
        for what, length_ns in (("funding interval", self.funding_interval_ns), ("smallest bars", self.finest_ns)):
            if length_ns is not None and not 0 < length_ns < 2**63:
                raise ValueError(f"{what} of {length_ns} ns: use a length above zero")
        self.names = tuple(names)
        self.formulas = tuple(clip(node, *limits[name]) if name in limits else node for name, _, _, node in made)
        self.specs = tuple(
            FeatureSpec(
                name=name,
                scale=scale,
                inputs=tuple(sorted(node.inputs)),
                formula_id=formula_id,
                formula=str(node),
                params=params,
                warmup=node.warmup,
                is_recursive=node.is_recursive,
                from_klines=all(INPUTS[each].origin.from_klines for each in node.inputs),
                unit=CATALOGUE[formula_id].unit_of(params),
                clip=limits.get(name),
            )
            for scale in self.scales
            for name, formula_id, params, node in made
        )
        read = frozenset[str]().union(*(formula.inputs for formula in self.formulas))
        self.inputs = tuple(name for name in INPUTS if name in read)
        # Bars before all of a scale's features are there.
        self.warmup = max(formula.warmup for formula in self.formulas)
        self.hash = hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Return the canonical JSON that the hash is of."""
        document = _Document(
            features=self.specs,
            finest_ns=self.finest_ns,
            format=FORMAT,
            funding_interval_ns=self.funding_interval_ns,
        )
        return msgspec.json.encode(document, order="sorted")

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the schema that `to_json` wrote.

        Raises:
            ValueError: it is no schema, or one whose columns this program would compute otherwise.
        """
        try:
            version = msgspec.json.decode(text, type=_Versioned).format
            if version != FORMAT:
                raise ValueError(f"a feature schema of format {version}; this program reads format {FORMAT}")
            told = msgspec.json.decode(text, type=_Document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"no feature schema: {error}") from error
        made = cls(
            list(dict.fromkeys(map(_call, told.features))),
            list(dict.fromkeys(spec.scale for spec in told.features)),
            {spec.name: spec.clip for spec in told.features if spec.clip is not None},
            funding_interval_ns=told.funding_interval_ns,
            finest_ns=told.finest_ns,
        )
        for theirs, ours in zip(told.features, made.specs, strict=False):
            if theirs != ours:
                raise ValueError(f"a feature schema whose {theirs.name} at {theirs.scale} is computed otherwise here")
        if made.to_json() != text:
            raise ValueError("a feature schema that is not in the form in which it was written")
        return made


def _call(spec: FeatureSpec) -> str:
    """Return a column as the call that makes it."""
    return f"{spec.formula_id}({', '.join(f'{name}={value!r}' for name, value in spec.params.items())})"


def _make(text: str) -> tuple[str, str, dict[str, Any], Node]:
    """Return column name, catalogue name, parameters and formula of a call such as "volatility(20)"."""
    if len(text) > 200:
        raise ValueError(f"feature {text[:40]!r}...: too long")
    match = re.fullmatch(r"\s*([a-z][a-z0-9_]*)\s*(?:\((.*)\))?\s*", text)
    if match is None:
        raise ValueError(f"feature {text!r}: write a name, with parameters in brackets if you like: volatility(20)")
    entry = CATALOGUE.get(match[1])
    if entry is None:
        near = sorted(CATALOGUE, key=lambda name: -_likeness(name, match[1]))[:3]
        raise ValueError(f"no feature is named {match[1]}; near it: {', '.join(near)}; `bot features show` lists all")
    params = _parameters(text, match[2] or "", entry.defaults)
    try:
        node = entry.build(**params)
        for part in node.walk():
            if part.op == "trailing":  # what it cannot do is said now, not at the first bar
                name, bars, *options = part.params
                make_method(str(name), int(bars), options)
    except ArithmeticError as error:
        raise ValueError(f"feature {text!r}: a parameter is impossible") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"feature {text!r}: {error}") from error
    if not all(name in INPUTS for name in node.inputs):
        raise ValueError(f"feature {text!r} reads an input that does not exist: {sorted(node.inputs - set(INPUTS))}")
    return _column_name(match[1], entry.defaults, params), match[1], params, node


def _parameters(text: str, arguments: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    names = list(defaults)
    given: dict[str, str] = {}
    for position, part in enumerate(_split(text, arguments) if arguments.strip() else []):
        name, equals, value = (side.strip() for side in part.partition("="))
        if not equals:
            if len(given) > position or position >= len(names):
                raise ValueError(f"feature {text!r} takes {len(names)} parameters: {', '.join(names) or 'none'}")
            if any(key not in names[:position] for key in given):
                raise ValueError(f"feature {text!r}: a value without a name cannot follow one with a name")
            name, value = names[position], name
        if name not in defaults:
            raise ValueError(f"feature {text!r} has no parameter {name!r}; it has {', '.join(names) or 'none'}")
        if name in given:
            raise ValueError(f"feature {text!r} gives {name} twice")
        given[name] = value
    return {**defaults, **{name: _literal(text, value, defaults[name]) for name, value in given.items()}}


def _literal(text: str, value: str, default: Any) -> Any:
    """Return a parameter's value, of its default's type."""
    try:
        read = literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        read = value  # a bare word is a text
    if isinstance(default, str):
        return str(read)
    is_number = isinstance(read, (int, float)) and not isinstance(read, bool) and abs(read) < _PARAMETER_MAX
    if not is_number or (isinstance(default, int) and read != int(read)):
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"feature {text!r}: {value} is not {kind} that can be used")
    return type(default)(read)


def _split(text: str, arguments: str) -> list[str]:
    """Split at the commas that stand outside quotes."""
    parts, start = [], 0
    try:
        for token in tokenize.generate_tokens(StringIO(arguments).readline):
            if token.type == tokenize.OP and token.string == ",":
                parts.append(arguments[start : token.start[1]])
                start = token.end[1]
    except tokenize.TokenError as error:
        raise ValueError(f"feature {text!r}: a bracket or a quote is not closed") from error
    return [*parts, arguments[start:]]


def _column_name(name: str, defaults: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """Return the catalogue's name followed by its parameters, up to the last that differs from its default.

    The first parameter is always there, because "volatility" alone says too little.
    """
    keys = list(defaults)
    last = max((i for i, key in enumerate(keys) if params[key] != defaults[key]), default=0)
    return "_".join([name, *(_plain(params[key]) for key in keys[: last + 1])])


def _plain(value: float | int | str) -> str:
    text = value if isinstance(value, str) else f"{value:g}"
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _check_scale(scale: str) -> str:
    """Return the scale in its one spelling."""
    parsed = parse_scale(scale)
    if parsed == 0:
        raise ValueError(f"scale {scale!r}: bars need a length")
    return format_scale(parsed)


def _refuse_twice(names: Sequence[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two {what} are named {', '.join(twice)}")


def _likeness(name: str, wanted: str) -> int:
    return sum(1 for a, b in zip(name, wanted, strict=False) if a == b) + 3 * sum(
        part in name for part in wanted.split("_")
    )
