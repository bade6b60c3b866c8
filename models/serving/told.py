"""What an artefact says that trading has to know, read from its manifest: no torch, so any process may ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.core.durations import format_duration, parse_duration
from bot.core.features.schema import FeatureSchema
from bot.core.inference_frames import Shape
from bot.core.offsets import Offsets
from bot.domain.errors import ConfigError, DataError
from bot.domain.forecast_names import answer_name
from models import artifact_store
from models.artifact_files import read_files
from models.config import HeadConfig
from models.manifest import MANIFEST, Manifest
from models.normalizer import TargetUnit

How = Literal["banded", "anchored", "windows"]
_WINDOWS = 32  # decisions answered together by a system that reads windows
_BLOCK_MIN, _BLOCK_MAX = 128, 4096
_SEGMENT = 256  # of an artefact that does not say how long its stretches were
_FORECASTING = ("quantile", "student", "gaussian", "point")
GRIDS = ("portfolio", "orderbook")  # their rows are several assets, or levels of the book


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """One time scale that a model reads."""

    bar: str  # as the model calls it, such as "5m"
    length_ns: int
    need: int  # bars that a decision must know


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One artefact, as whoever trades by it sees it.

    Attributes:
        name: the artefact's, by which forecasts are signed.
        schema: the features it reads.
        scales: the time scales, that of the decisions first.
        how: "banded" streams exactly from any start; "anchored" answers stretches that begin where training began
            them; "windows" re-reads its window for each decision.
        block: decisions that are computed together, always equally many, so that no cut of the data shows.
        horizons_ns, levels: of the quantiles; none where no head forecasts returns.
        answer_names: what else it answers, in the order in which it is given: see `bot.domain.forecast_names`.
        instruments: whom it knows, in the order of their numbers.
    """

    name: str
    schema: FeatureSchema
    scales: tuple[Scale, ...]
    how: How
    block: int
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    residual: tuple[tuple[float, ...], ...] | None
    offsets: Offsets | None
    unit: TargetUnit
    answer_names: tuple[str, ...]
    instruments: tuple[str, ...]
    seen: tuple[tuple[int, int], ...]  # stretches of decision time that it was fitted, chosen or calibrated on
    purge_ns: int  # how much further their outcomes reach
    expires_ns: int | None

    @property
    def decision_ns(self) -> int:
        """Return the length of the decision bars."""
        return self.scales[0].length_ns

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """Return the lengths of the bars it reads, those that a feature is folded from among them."""
        read = {scale.length_ns for scale in self.scales}
        if "realised_variance" in self.schema.inputs and self.schema.finest_ns is not None:
            read.add(self.schema.finest_ns)
        return tuple(sorted(read))

    def in_sample(self, first_ns: int, last_ns: int) -> bool:
        """Return whether decisions of this stretch, or what came of them, overlap what the model has been shown."""
        until_ns = last_ns + max(self.horizons_ns, default=0)
        return any(first_ns < to_ns + self.purge_ns and from_ns <= until_ns for from_ns, to_ns in self.seen)


def read_told(path: Path, *, trusted: frozenset[str] | None = None) -> Told:
    """Return what an artefact says, after every file of it was hashed.

    Raises:
        DataError: it is refused, or computes features that this program does not. ConfigError: nothing here feeds it.
    """
    return told_of(path.name, read_files(path, trusted=trusted).manifest)


def find_artifact(path: Path) -> Path:
    """Return the directory of an artefact: `path` itself, or where it is a store, the one in use.

    Raises:
        ConfigError: there is none.
    """
    if (path / MANIFEST).exists():
        return path.resolve()
    if not path.is_dir():
        raise ConfigError(f"predictor.path = {path}: there is no artefact and no store of them; bot train makes one")
    return artifact_store.locate(path, "current").resolve()


def told_of(name: str, manifest: Manifest) -> Told:
    """Return what a manifest says.

    Raises:
        DataError: features are asked for that this program computes otherwise. ConfigError: nothing here feeds it.
    """
    config, calibration = manifest.model.config, manifest.calibration
    if config.system in GRIDS:
        raise ConfigError(
            f"{name}: {config.system} reads several assets or levels as one row, and nothing here gathers them; use a "
            "model of one instrument at a time"
        )
    scales = tuple(
        Scale(bar=scale.bar, length_ns=_length_ns(name, scale.bar), need=_need(manifest, scale.bar))
        for scale in config.scales
    )
    how = _how(manifest)
    head = next((head for kind in _FORECASTING for head in config.heads if head.kind == kind), None)
    if head is not None and calibration is None:
        raise DataError(f"{name}: it forecasts returns, and how it is calibrated is not said; train it anew")
    return Told(
        name=name,
        schema=manifest.features.schema(),
        scales=scales,
        how=how,
        block=_block(manifest, how, scales[0].need),
        horizons_ns=() if head is None else tuple(map(parse_duration, head.horizons)),
        levels=() if head is None or calibration is None else calibration.levels,
        residual=None if calibration is None else calibration.residual,
        offsets=None if calibration is None else calibration.offsets,
        unit=manifest.labels.unit,
        answer_names=tuple(each for head in config.heads for each in _answers(head)),
        instruments=manifest.data.instruments,
        seen=_seen(manifest),
        purge_ns=manifest.split.purge_ns,
        expires_ns=manifest.limits.expires_ns,
    )


def _length_ns(name: str, bar: str) -> int:
    try:
        return parse_duration(bar)
    except ValueError:
        raise ConfigError(
            f"{name}: reads bars of {bar}, which the market closes; trading by such a model is not wired yet"
        ) from None


def _need(manifest: Manifest, bar: str) -> int:
    told = manifest.streaming.get(bar)
    length = next(scale.length for scale in manifest.model.config.scales if scale.bar == bar)
    return length if told is None else max(length, told.warm_up)


def _how(manifest: Manifest) -> How:
    kinds = {each.kind for each in manifest.streaming.values()}
    if "none" in kinds or not kinds:
        return "windows"
    return "anchored" if "anchored" in kinds else "banded"


def _block(manifest: Manifest, how: How, need: int) -> int:
    """Return how many decisions are computed together: a matter of the artefact alone, never of a run's settings."""
    if how == "windows":
        return _WINDOWS
    if how == "anchored":
        # Another length would be another function: how much an answer knows depends on where its stretch began.
        return int(manifest.training.plan.get("segment", _SEGMENT))
    return min(max(1 << (need - 1).bit_length(), _BLOCK_MIN), _BLOCK_MAX)


def _seen(manifest: Manifest) -> tuple[tuple[int, int], ...]:
    split, calibration = manifest.split, manifest.calibration
    residual = None if calibration is None else calibration.residual_range
    return tuple(each for each in (split.train, split.validation, split.calibration, residual) if each is not None)


def _answers(head: HeadConfig) -> Sequence[str]:
    """Return the names of what a head answers beside returns, in the order of `ModelOutput`'s numbers."""
    spans = [format_duration(parse_duration(each)) for each in head.horizons]
    match head.kind:
        case "direction":
            return [answer_name("up", span) for span in spans]
        case "volatility":
            return [answer_name("volatility", span) for span in spans]
        case "signal3":
            return [answer_name(side, span) for span in spans for side in ("sell", "hold", "buy")]
        case "regime":
            return [answer_name("regime", str(number)) for number in range(head.classes)]
        case "risk":
            return [answer_name("loss", span, level) for span in spans for level in head.quantiles]
        case "drawdown":
            return [answer_name("drawdown", span, level) for span in spans for level in head.quantiles]
        case "allocation":
            return [answer_name("weight")]
        case _:
            return []


def shape_of(told: Told, instruments: tuple[str, ...]) -> Shape:
    """Return the sizes and names that an artefact and these instruments make."""
    return Shape(
        model_id=told.name,
        schema_hash=told.schema.hash,
        features=len(told.schema.names),
        scales=tuple(scale.bar for scale in told.scales),
        scale_ns=tuple(scale.length_ns for scale in told.scales),
        needs=tuple(_told_rows(scale, told) for scale in told.scales),
        horizons=len(told.horizons_ns),
        levels=len(told.levels),
        answers=len(told.answer_names),
        instruments=instruments,
    )


def _told_rows(scale: Scale, told: Told) -> int:
    """Return how many rows of history decide an answer: of a block, those from where it begins."""
    block_ns = 0 if told.how == "banded" else told.block * told.decision_ns
    return scale.need + -(-block_ns // scale.length_ns) + 1
