"""From recorded markets to a panel: the features of every instrument by the live code, and the labels beside them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bot.app.features import compute_features, feature_source, schema_of
from bot.app.replay_market import open_data
from bot.core.durations import format_duration, parse_duration
from bot.core.features.schema import FeatureSchema
from bot.core.sample_market.spec import SampleMarketSpec
from bot.domain.errors import ConfigError, DataError
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, FeatureBatch
from bot.ports import Histories
from bot.runtime.env import seeded_generator
from bot.runtime.settings import Settings
from bot.runtime.train_settings import TrainSettings
from bot.store.sample_store import ensure_sample
from models.durable import sha256_of
from models.manifest import DataFile
from models.training.barriers import Costs, triple_barrier
from models.training.labels import Labels, drawdown_after, ewma_volatility, join_labels, returns_after, volatility_after
from models.training.panel import AssetPanel, Rows, write_panel
from models.training.regimes import regime_measures
from models.training.teaching import STEP, UNIT, Syllabus

_SOURCE = Path(__file__).resolve().parents[2]


def training_schema(settings: TrainSettings) -> FeatureSchema:
    """Return the features of the model's scales.

    Raises:
        ConfigError: a feature or a scale is unknown or impossible.
    """
    chosen = settings.features
    if chosen.scales:
        raise ConfigError("features.scales: leave it out; a training computes features at model.scales")
    try:
        return schema_of(settings.replay(), chosen.use, settings.model.scales, chosen.clips)
    except ValueError as error:
        raise ConfigError(f"features: {error}") from error


def data_files(settings: TrainSettings, on_sample_day: Callable[[int, int], None]) -> tuple[DataFile, ...]:
    """Return the files that market data is read from, each with its hash; the sample market is made now.

    Raises:
        DataError: one cannot be read.
    """
    market = settings.market
    if market.source == "sample":
        sample = market.sample
        spec = SampleMarketSpec(days=sample.days, trades_per_day=sample.trades_per_day)
        paths: list[Path | None] = list(
            ensure_sample(
                sample.cache, spec, lambda stream: seeded_generator(sample.seed, stream), sample.seed, on_sample_day
            )
        )
    else:
        paths = [
            path
            for each in market.instruments
            for path in (each.trades, each.bars, each.funding, each.marks, each.book)
        ]
    return tuple(told for path in dict.fromkeys(paths) if path is not None for told in _files_of(path))


def merkle_root(files: Sequence[DataFile]) -> str:
    """Return one hash of all files: of a binary tree over their hashes, in the order of their names.

    Leaves and inner nodes are told apart by a first byte, and a node without a partner moves up as it is.
    """
    level = [
        hashlib.sha256(b"\0" + msgspec.json.encode(each, order="sorted")).digest()
        for each in sorted(files, key=lambda each: (each.name, each.sha256))
    ]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0].hex() if level else ""


def source_hash(*rooms: str) -> str:
    """Return a hash of the program's own source files in these directories."""
    digest = hashlib.sha256()
    for room in rooms:
        for path in sorted((_SOURCE / room).rglob("*.py")):
            digest.update(f"{path.relative_to(_SOURCE)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def source_commit() -> str:
    """Return the commit of the checkout that this program runs from, "" where it is none."""
    git = _SOURCE / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head[:40]
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text().strip()[:40]
        for line in (git / "packed-refs").read_text().splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                return commit[:40]
    except (OSError, UnicodeDecodeError):
        return ""
    return ""


def make_panel(
    settings: TrainSettings,
    schema: FeatureSchema,
    syllabus: Syllabus,
    files: Sequence[DataFile],
    *,
    progress: Callable[[float, str], None],
) -> Path:
    """Return the directory of the panel, computed now unless it is there already.

    Raises:
        DataError: what is recorded is damaged. ConfigError: the bars asked for cannot be made of it.
    """
    identity = {
        "schema": schema.hash,
        "data": merkle_root(files),
        "from": settings.run.start,
        "to": settings.run.end,
        "instruments": [_plain(each) for each in settings.market.instruments],
        "bars": settings.bars.model_dump(mode="json"),
        "reference": settings.features.reference,
        "labels": settings.labels.model_dump(mode="json"),
        "horizons_ns": syllabus.horizons_ns,
        "columns": [syllabus.wants_barriers, syllabus.wants_steps, syllabus.wants_drawdowns, syllabus.classes > 0],
        "source": source_hash("bot/core", "bot/store", "models/training"),
    }
    base = settings.replay()
    market = open_data(base)

    def assets() -> Iterator[AssetPanel]:
        for number, (instrument, history) in enumerate(market):
            span_ns = history.span_ns()

            def tell(at_ns: int, number: int = number, span_ns: tuple[int, int] = span_ns) -> None:
                part = (at_ns - span_ns[0]) / max(1, span_ns[1] - span_ns[0])
                progress((number + min(1.0, part)) / len(market), market[number][0].name)

            yield _asset(settings, base, market, instrument, schema, syllabus, tell)

    return write_panel(
        settings.train.cache,
        identity,
        assets(),
        names=schema.names,
        scales=schema.scales,
        schema_hash=schema.hash,
    )


def _asset(
    settings: TrainSettings,
    base: Settings,
    market: Histories,
    instrument: Instrument,
    schema: FeatureSchema,
    syllabus: Syllabus,
    tell: Callable[[int], None],
) -> AssetPanel:
    source = feature_source(base, market, instrument.name, schema)
    finest_ns = min([*base.bars.scales, syllabus.decision_ns])
    values: dict[str, list[FeatureBatch]] = {scale: [] for scale in schema.scales}
    bars: dict[int, list[BarBatch]] = {finest_ns: [], syllabus.decision_ns: []}
    for slab, made in compute_features(base, schema, source):
        for scale, batch in made.items():
            values[scale].append(_narrow(batch))
        for scale_ns, kept in bars.items():
            if scale_ns in slab.bars:
                kept.append(slab.bars[scale_ns])
        tell(slab.watermark_ns)
    for scale_ns, kept in bars.items():
        if not kept:
            raise DataError(f"{instrument.name}: no bar of {format_duration(scale_ns)} has closed; load a longer range")
    scales = {scale: _rows(parts) for scale, parts in values.items() if parts}
    decisions, path = (BarBatch.join(bars[scale_ns]) for scale_ns in (syllabus.decision_ns, finest_ns))
    decision_rows = scales[settings.model.scales[0]]
    if not np.array_equal(decision_rows.close_ns, decisions.close_ns):
        raise DataError(f"{instrument.name}: features and bars of the decisions are not of the same closes")
    labels = _labels(settings, schema, syllabus, decisions, path, decision_rows)
    return AssetPanel(instrument=instrument, scales=scales, labels=labels)


def _labels(
    settings: TrainSettings,
    schema: FeatureSchema,
    syllabus: Syllabus,
    decisions: BarBatch,
    path: BarBatch,
    rows: Rows,
) -> Labels:
    """Return every column that the heads learn, the unit beside them."""
    told = settings.labels
    common: dict[str, Any] = {"horizons_ns": syllabus.horizons_ns, "hole_max_ns": told.hole_max}
    try:
        parts = [returns_after(decisions, path, **common), volatility_after(decisions, path, **common)]
        if syllabus.wants_barriers:
            deviation = ewma_volatility(decisions, half_life=288, warm_up=50)
            for horizon_ns in syllabus.horizons_ns:
                width = told.barrier * deviation * np.sqrt(horizon_ns / syllabus.decision_ns)
                outcome = triple_barrier(
                    decisions,
                    path,
                    horizon_ns=horizon_ns,
                    profit=width,
                    stop=width / 2,
                    costs=Costs(fee_rate=told.fee_rate, spread_bps=told.spread_bps),
                    hole_max_ns=told.hole_max,
                )
                parts.append(outcome.labels())
        if syllabus.wants_drawdowns:
            parts.append(drawdown_after(decisions, path, **common))
        if syllabus.classes:
            parts.append(regime_measures(decisions, span_ns=told.regime_span))
        if syllabus.wants_steps:
            step = returns_after(decisions, path, horizons_ns=[syllabus.decision_ns], hole_max_ns=told.hole_max)
            parts.append(_renamed(step, STEP, step.values[:, 0]))
    except ValueError as error:
        raise ConfigError(f"model.horizons: {error}") from error
    for number, name in enumerate(told.units):
        column = schema.names.index(name)
        parts.append(_renamed(parts[0], f"{UNIT}_{number}", rows.values[:, column].astype(np.float64)))
    return join_labels(parts)


def _renamed(like: Labels, name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> Labels:
    """Return one column of the same decisions, known when the first of `like` is."""
    return Labels(
        instrument=like.instrument,
        names=(name,),
        bar_row=like.bar_row,
        close_ns=like.close_ns,
        known_ns=like.known_ns,
        values=values[:, None],
        label_end_ns=like.label_end_ns[:, :1],
    )


def _narrow(batch: FeatureBatch) -> FeatureBatch:
    """Return the same as float32: what training and trading read, at half the memory."""
    with np.errstate(over="ignore"):
        narrow = batch.values.astype(np.float32)
    return FeatureBatch(
        instrument=batch.instrument,
        first_row=batch.first_row,
        scale=batch.scale,
        schema_hash=batch.schema_hash,
        close_ns=batch.close_ns,
        known_ns=batch.known_ns,
        values=narrow,  # type: ignore[arg-type]  # float32 from here on
    )


def _rows(parts: Sequence[FeatureBatch]) -> Rows:
    return Rows(
        close_ns=np.concatenate([part.close_ns for part in parts]),
        known_ns=np.concatenate([part.known_ns for part in parts]),
        values=np.concatenate([np.asarray(part.values, dtype=np.float32) for part in parts]),
    )


def _files_of(path: Path) -> Iterator[DataFile]:
    """Yield a file, or the files of a folder of the market store."""
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            if each.is_file() and not each.name.endswith(".part"):
                name = "/".join((*path.parts[-2:], *each.relative_to(path).parts))
                yield DataFile(name=name, size=each.stat().st_size, sha256=sha256_of(each))
    elif path.is_file():
        yield DataFile(name=path.name, size=path.stat().st_size, sha256=sha256_of(path))
    else:
        raise DataError(f"{path}: no such file; check the paths in [market]")


def _plain(instrument: Any) -> Mapping[str, Any]:
    values: dict[str, Any] = instrument.model_dump(mode="json", exclude={"trades", "bars", "funding", "marks", "book"})
    return values


def decision_ns(settings: TrainSettings) -> int:
    """Return the length of the decision bars.

    Raises:
        ConfigError: the market decides it.
    """
    try:
        return parse_duration(settings.model.scales[0])
    except ValueError as error:
        raise ConfigError(
            f"model.scales: decisions are taken on a time scale, so the first is a duration; {error}"
        ) from error
