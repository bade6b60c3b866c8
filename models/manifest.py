"""What an artefact says of itself: one JSON document, canonical, in which nothing unknown may stand.

Canonical means sorted keys, no spaces, and every field that there was when it was written. The artefact is named by the
hash of these bytes, so two spellings of one manifest cannot both be right. A field that came later has a default, which
says what artefacts from before meant; so they still open.
"""

import hashlib
import math
from typing import Any, Literal

import msgspec

from bot.core.features.normalise import FittedNormalizer
from bot.core.features.schema import FORMAT as FEATURES_FORMAT
from bot.core.features.schema import FeatureSchema, FeatureSpec
from bot.core.offsets import Offsets
from bot.domain.errors import DataError
from models.config import ModelConfig
from models.normalizer import TargetUnit
from models.regimes import Regimes

FORMAT = 2
MANIFEST_BYTES_MAX = 32 << 20
WEIGHTS, GOLDEN, MANIFEST, SIGNATURE = "weights.safetensors", "golden.safetensors", "manifest.json", "manifest.sig"


class _Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every part: unknown fields are errors."""


class Identity(_Block, frozen=True, kw_only=True):
    """Where it comes from."""

    format: int = FORMAT
    system: str
    registry: int  # version of the systems' registry
    code_commit: str  # of the source, "" where it is no checkout
    code_sha256: str  # of the source of models, core and domain
    is_dirty: bool | None  # whether the checkout differed from the commit; None: nobody looked
    parent: str | None  # the artefact that training began with
    created_ns: int  # ns since the epoch, UTC
    signer: str | None = None  # Ed25519 public key, 64 hex digits, where there is a signature


class TensorOf(_Block, frozen=True, kw_only=True):
    """One tensor."""

    dtype: str
    shape: tuple[int, ...]


class Model(_Block, frozen=True, kw_only=True):
    """The network."""

    config: ModelConfig
    parameters: int
    tensors: dict[str, TensorOf]  # all of weights.safetensors, what belongs to norms and calibration included


class Features(_Block, frozen=True, kw_only=True):
    """What it reads, in order; as `FeatureSchema` writes it."""

    features: tuple[FeatureSpec, ...]
    finest_ns: int | None
    format: int
    funding_interval_ns: int
    hash: str

    def schema(self) -> FeatureSchema:
        """Return the schema.

        Raises:
            DataError: it is none, this program computes it otherwise, or its hash is not its own.
        """
        document = {
            "features": self.features,
            "finest_ns": self.finest_ns,
            "format": self.format,
            "funding_interval_ns": self.funding_interval_ns,
        }
        try:
            made = FeatureSchema.from_json(msgspec.json.encode(document, order="sorted"))
        except ValueError as error:
            raise DataError(f"features: {error}") from error
        if made.hash != self.hash:
            raise DataError(f"features: the hash is {made.hash[:12]}, and the manifest says {self.hash[:12]}")
        return made


def features_of(schema: FeatureSchema) -> Features:
    """Return a schema as a manifest holds it."""
    return Features(
        features=schema.specs,
        finest_ns=schema.finest_ns,
        format=FEATURES_FORMAT,
        funding_interval_ns=schema.funding_interval_ns,
        hash=schema.hash,
    )


class Normaliser(_Block, frozen=True, kw_only=True):
    """What inputs are divided by; the float32 numbers that are used lie in the tensors `norm/*`."""

    fits: dict[str, FittedNormalizer]  # by scale
    limit: float
    tensors_sha256: str


class Labels(_Block, frozen=True, kw_only=True):
    """What it was taught."""

    horizons_ns: tuple[int, ...]
    price: str  # which price returns are counted from, and to
    unit: TargetUnit
    hole_max_ns: int
    gap_ns: int  # from the decision to where targets begin
    costs: dict[str, float]  # in labels that know costs; empty where none does
    barriers: dict[str, float]
    regimes: Regimes | None = None  # by what they are told apart; None where none is learned


class DataFile(_Block, frozen=True, kw_only=True):
    """A file that market data was read from; no folders, which are a machine's own."""

    name: str
    size: int
    sha256: str


class Data(_Block, frozen=True, kw_only=True):
    """What it was trained on."""

    source: str  # "sample" or "files"
    instruments: tuple[str, ...]
    from_ns: int  # the first decision
    to_ns: int  # the last
    bars: str  # what bars are made of
    scales: tuple[str, ...]
    rows: dict[str, int]  # by scale, of all instruments
    files: tuple[DataFile, ...]
    merkle_root: str


class Split(_Block, frozen=True, kw_only=True):
    """Who saw what: stretches [from, to) of decision time, ns; labels reach a horizon further."""

    train: tuple[int, int]
    validation: tuple[int, int] | None
    test: tuple[int, int] | None
    calibration: tuple[int, int] | None
    hold_out_from_ns: int | None
    embargo_ns: int
    purge_ns: int  # the longest horizon
    fold: int
    folds: int
    samples: dict[str, int]


class Training(_Block, frozen=True, kw_only=True):
    """How."""

    seed: int
    steps: int
    best_step: int
    plan: dict[str, Any]
    settings_sha256: str
    torch: str
    cuda: str | None
    cudnn: int | None
    device: str
    precision: str
    processes: int
    attention: tuple[str, ...]  # kernels that were used
    seconds: float


class Streaming(_Block, frozen=True, kw_only=True):
    """How one scale may be fed bar by bar."""

    kind: Literal["none", "banded", "anchored"]
    window: int | None  # bars that a layer sees
    receptive_field: int | None  # bars that decide an answer; None: all since the first
    warm_up: int  # bars before an answer is what training meant
    rebase: int | None  # bars after which a bounded context is begun anew


class Limits(_Block, frozen=True, kw_only=True):
    """Where it is at home."""

    ranges: dict[str, list[tuple[float | None, float | None]]]  # by scale and feature, least and greatest in training
    instruments: tuple[str, ...]
    expires_ns: int | None


class Calibration(_Block, frozen=True, kw_only=True):
    """How its answers become quantiles that hold what they say."""

    levels: tuple[float, ...]
    # [H][Q] quantiles of (y - mean) / scale; None where it gives its own.
    residual: tuple[tuple[float, ...], ...] | None
    residual_range: tuple[int, int] | None
    offsets: Offsets | None
    decisions: int  # that the offsets were fitted on


class Golden(_Block, frozen=True, kw_only=True):
    """How exactly recorded answers must come again, by type of number: relative, absolute."""

    rows: int
    tolerance: dict[str, tuple[float, float]]


class FileOf(_Block, frozen=True, kw_only=True):
    """A file of the artefact."""

    size: int
    sha256: str


class Manifest(_Block, frozen=True, kw_only=True):
    """Everything that is known of a model."""

    identity: Identity
    model: Model
    features: Features
    normaliser: Normaliser
    labels: Labels
    data: Data
    split: Split
    training: Training
    results: dict[str, Any]
    streaming: dict[str, Streaming]
    limits: Limits
    calibration: Calibration | None
    golden: Golden
    files: dict[str, FileOf]


class _Format(msgspec.Struct):
    format: int


class _Head(msgspec.Struct):
    identity: _Format


def to_json(manifest: Manifest) -> bytes:
    """Return the canonical bytes."""
    return msgspec.json.encode(manifest, order="sorted")


def from_json(content: bytes) -> Manifest:
    """Return the manifest that these bytes are.

    Raises:
        DataError: they are no manifest, of another version, not canonical, or a key is unknown or impossible.
    """
    try:
        version = msgspec.json.decode(content, type=_Head).identity.format
        if version != FORMAT:
            raise DataError(f"{MANIFEST}: format {version}; this program reads {FORMAT}: use the one that wrote it")
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, ValueError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{MANIFEST}: {error}") from error
    if not _is_canonical(content, manifest):
        raise DataError(f"{MANIFEST}: not in the form in which it is written: a key is unknown, repeated or elsewhere")
    if set(manifest.files) != {WEIGHTS, GOLDEN}:
        raise DataError(f"{MANIFEST}: files are {WEIGHTS} and {GOLDEN}; it names {', '.join(sorted(manifest.files))}")
    if manifest.identity.system != manifest.model.config.system:
        raise DataError(f"{MANIFEST}: of {manifest.identity.system}, but its model is {manifest.model.config.system}")
    return manifest


def _is_canonical(content: bytes, manifest: Manifest) -> bool:
    """Return whether these bytes are the only ones that say what they say, and all of it is known."""
    if to_json(manifest) == content:
        return True
    try:
        written = msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # where `Manifest` has no field, nothing was looked at
        return False
    return msgspec.json.encode(written, order="sorted") == content and _is_part(written, msgspec.to_builtins(manifest))


def _is_part(written: Any, known: Any) -> bool:
    """Return whether `known` says everything that is written, and the same; of objects it may say more."""
    if isinstance(written, dict) and isinstance(known, dict):
        return all(key in known and _is_part(value, known[key]) for key, value in written.items())
    if isinstance(written, list) and isinstance(known, list | tuple):
        return len(written) == len(known) and all(map(_is_part, written, known))
    return type(written) is type(known) and bool(written == known)


def name_of(system: str, content: bytes) -> str:
    """Return the name of the artefact with this manifest."""
    return f"{system}-{hashlib.sha256(content).hexdigest()[:12]}"


def finite(value: Any) -> Any:
    """Return plain data with None in place of what JSON cannot say: NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value
