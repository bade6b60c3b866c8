"""`bot train`: from recorded markets to an artefact, resumable at every step.

In order of time: [train | validation | test] of each fold, then the stretch that the offsets are calibrated on, then
the hold-out, which is never opened here. The newest fold's model becomes the artefact; what it scored on its own test
is what the artefact says of itself, beside what the training returns alone would have scored.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bot.app import training_data
from bot.app.train_artifact import Finished, fold_report, write_artefact
from bot.app.train_folds import Splits, prepare_fold
from bot.core.features.schema import FeatureSchema
from bot.domain.errors import ConfigError, StorageError
from bot.runtime.train_settings import TrainSettings
from models import presets, registry
from models.artifact import load
from models.config import ModelConfig, from_json
from models.manifest import DataFile, Manifest
from models.training.panel import open_panel
from models.training.processes import Processes, join_processes
from models.training.session import Session, Surroundings, pick_device
from models.training.teaching import Syllabus
from models.training.trainer import Stopped, TrainPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainDone:
    """What came of it."""

    artefact: Path
    manifest: Manifest
    seconds: float


class TrainStopped(Exception):
    """Someone asked the training to stop; the message says where it was, and what to do to go on."""


@dataclass(kw_only=True, slots=True)
class Watch:
    """Who watches, and who may stop it."""

    clock: Callable[[], float]  # seconds since some moment
    tell: Callable[[str, float, str], None]  # stage, part done, words
    should_stop: Callable[[], bool] = lambda: False
    stage: str = "reading the settings"
    work: Path | None = None  # where checkpoints are, once that is known

    def progress(self, stage: str, part: float, text: str) -> None:
        """Tell how far a stage is."""
        self.stage = stage
        self.tell(stage, part, text)

    def check(self) -> None:
        """Raise TrainStopped if asked to stop: between two parts of whatever can be computed again."""
        if self.should_stop():
            raise TrainStopped(self.stopped())

    def stopped(self) -> str:
        """Return where it was stopped, and what to do to go on."""
        has_begun = self.work is not None and _has_begun(self.work)
        kept = "its checkpoint is kept: add --resume" if has_begun else "no step is done yet: give the same command"
        return f"stopped at {self.stage}; {kept} to go on"


def train(settings: TrainSettings, *, out: Path, is_resumed: bool, watch: Watch) -> TrainDone | None:
    """Train, calibrate, judge and write the artefact; None in every process but the first.

    Raises:
        TrainStopped: asked to stop; what was done is kept.
        ConfigError, DataError, StorageError: the message says what to do.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without, a GPU refuses to be deterministic
    device = pick_device(settings.train.device)
    processes = join_processes(os.environ, on_gpu=device == "cuda")
    if device == "cuda" and processes.world > 1:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"  # torchrun's number of the process on its machine
    try:
        return _train(settings, out, is_resumed, watch, device, processes)
    finally:
        processes.leave()


def model_config(settings: TrainSettings, schema: FeatureSchema) -> ModelConfig:
    """Return the network that the settings describe.

    Raises:
        ConfigError: it cannot be.
    """
    told, seed = settings.model, settings.train.seed
    features = dict.fromkeys(told.scales, schema.names)
    if told.preset is not None:
        made = presets.preset(told.preset, features, horizons=told.horizons, seed=seed)
        if told.lengths:
            made = _with_lengths(made, told.lengths)
    else:
        values = {"seed": seed, **told.config}
        for scale in values.get("scales", ()):
            encoder = scale.get("encoder") if isinstance(scale, dict) else None
            if isinstance(encoder, dict):
                encoder.setdefault("features", list(schema.names))
        made = from_json(msgspec.json.encode(values))
    if tuple(scale.bar for scale in made.scales) != told.scales:
        raise ConfigError(
            f"model.scales: the config has {[scale.bar for scale in made.scales]}; write the same, in order"
        )
    for scale in made.scales:
        if scale.encoder.features != schema.names:
            raise ConfigError(f"model.config: {scale.bar} reads other features than features.use makes, in that order")
    return made


def _with_lengths(made: ModelConfig, lengths: tuple[int, ...]) -> ModelConfig:
    if len(lengths) != len(made.scales):
        raise ConfigError(f"model.lengths: {len(lengths)} for {len(made.scales)} scales; give one for each, or none")
    pairs = zip(made.scales, lengths, strict=True)
    scales = tuple(msgspec.structs.replace(scale, length=length) for scale, length in pairs)
    return msgspec.structs.replace(made, scales=scales)


def _train(
    settings: TrainSettings, out: Path, is_resumed: bool, watch: Watch, device: str, processes: Processes
) -> TrainDone | None:
    started = watch.clock()
    schema = training_data.training_schema(settings)
    config = model_config(settings, schema)
    registry.describe(config)  # what cannot be built is said before anything is computed
    syllabus = Syllabus(config.heads, decision_ns=training_data.decision_ns(settings))
    columns = tuple(_the_column(schema, each) for each in settings.labels.units)
    settings = settings.model_copy(update={"labels": settings.labels.model_copy(update={"unit": columns})})
    work = watch.work = out / "training" / f"{config.system}-{settings.hash()[:12]}"

    def tell_days(done: int, days: int) -> None:
        watch.progress("sample market", done / days, "made")
        watch.check()

    files = training_data.data_files(settings, tell_days)
    path = _panel_path(settings, schema, syllabus, files, watch, processes)
    panel = open_panel(path)
    fingerprint = f"{settings.hash()} {path.name}"
    watch.check()
    _prepare(work, is_resumed, processes)
    session = Session(config, syllabus, _plan(settings), fingerprint, check=watch.check)
    splits = Splits.of(settings, session, panel)
    folds: list[dict[str, Any]] = []
    newest: Finished | None = None
    for number in range(1, len(splits.folds) + 1):
        stage = f"fold {number} of {len(splits.folds)}"
        watch.progress(stage, 0.0, "samples")
        prepared = prepare_fold(settings, session, panel, splits, number, columns)
        watch.check()
        around = Surroundings(
            directory=work,
            clock=watch.clock,
            progress=lambda part, text, stage=stage: watch.progress(stage, part, text),  # type: ignore[misc]
            should_stop=watch.should_stop,
            processes=processes,
            device=device,
            threads=settings.train.threads,
        )
        try:
            done, model = session.train(prepared.fold, around)
        except Stopped as stopped:
            raise TrainStopped(
                f"stopped after step {stopped.step} of {stage}; its checkpoint is kept: add --resume to go on"
            ) from stopped
        newest = Finished(prepared=prepared, done=done, model=model)
        if processes.is_first:
            folds.append(fold_report(settings, session, newest))
    if newest is None or not processes.is_first:
        return None
    watch.progress("judging", 0.0, "test and calibration")
    watch.check()
    artefact = write_artefact(
        settings,
        out,
        schema=schema,
        session=session,
        panel=panel,
        splits=splits,
        newest=newest,
        folds=folds,
        files=files,
        device=device,
        world=processes.world,
    )
    loaded = load(artefact, live_schema_hash=schema.hash)
    _tidy(work)
    return TrainDone(artefact=artefact, manifest=loaded.manifest, seconds=watch.clock() - started)


def _panel_path(
    settings: TrainSettings,
    schema: FeatureSchema,
    syllabus: Syllabus,
    files: tuple[DataFile, ...],
    watch: Watch,
    processes: Processes,
) -> Path:
    """Return the panel's directory, computed by the first process while the others wait."""
    path = Path()

    def progress(part: float, text: str) -> None:
        watch.progress("features", part, text)
        watch.check()

    for turn in (True, False):
        if processes.is_first == turn:
            path = training_data.make_panel(settings, schema, syllabus, files, progress=progress)
        processes.any(False)
    return path


def _prepare(work: Path, is_resumed: bool, processes: Processes) -> None:
    """Refuse to train over what is half done.

    Raises:
        ConfigError: there is such a thing, and nobody asked to go on; or the other way round.
    """
    has_begun = _has_begun(work)
    processes.any(False)  # all have looked before the first one writes
    if has_begun and not is_resumed:
        raise ConfigError(f"{work}: a training of these settings is half done; add --resume to go on, or remove it")
    if is_resumed and not has_begun:
        raise ConfigError(f"{work}: nothing to resume; leave --resume out, or undo what was changed in the settings")
    if processes.is_first:
        if not has_begun and work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)


def _has_begun(work: Path) -> bool:
    return any(work.glob("fold-*/checkpoints/step-*"))


def _tidy(work: Path) -> None:
    """Remove checkpoints of a training that has become an artefact; its figures stay."""
    try:
        for path in work.glob("fold-*/checkpoints"):
            shutil.rmtree(path)
    except OSError as error:
        raise StorageError(
            f"{work}: checkpoints cannot be removed ({error.strerror}); the artefact is whole"
        ) from error


def _plan(settings: TrainSettings) -> TrainPlan:
    told = settings.train
    return TrainPlan(
        seed=told.seed,
        epochs=told.epochs,
        batch=told.batch,
        segment=told.segment,
        thin=told.thin,
        rate=told.rate,
        rate_floor=told.rate_floor,
        warm_up=told.warm_up,
        decay=told.decay,
        clip=told.clip,
        mean_decay=told.mean_decay,
        patience=told.patience,
        precision=told.precision,
        recompute=told.recompute,
        evaluate_every=told.evaluate_every,
        checkpoint_every=told.checkpoint_every,
        checkpoint_seconds=told.checkpoint_interval / 1e9,
        log_every=told.log_every,
    )


def _the_column(schema: FeatureSchema, wanted: str) -> str:
    """Return the column of that name, or the one that begins with it; parameters belong to a column's name.

    Raises:
        ConfigError: there is none, or several.
    """
    if wanted in schema.names:
        return wanted
    found = [name for name in schema.names if name.startswith(f"{wanted}_")]
    if len(found) != 1:
        raise ConfigError(
            f"labels.unit = {wanted!r}: {len(found) or 'no'} columns are called so; name one of "
            f'{", ".join(found or schema.names)}, or "" for a fixed unit'
        )
    return found[0]
