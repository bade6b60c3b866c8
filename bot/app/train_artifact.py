"""What a training says of itself: how its folds were judged, how it is calibrated, and the artefact that holds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bot.app import training_data
from bot.app.train_folds import Prepared, Splits
from bot.core.features.schema import FeatureSchema
from bot.domain.errors import ConfigError
from bot.domain.market import I64
from bot.runtime.env import utc_now
from bot.runtime.train_settings import TrainSettings
from models.artifact import RawInputs, save
from models.evaluation.bootstrap import Sampling
from models.evaluation.conformal import fit_offsets
from models.evaluation.forecast_set import ForecastSet
from models.evaluation.results import compare
from models.evaluation.scores import pinball
from models.manifest import (
    Calibration,
    Data,
    DataFile,
    Golden,
    Identity,
    Labels,
    Limits,
    Manifest,
    Model,
    Normaliser,
    Training,
    features_of,
    finite,
)
from models.manifest import Split as SplitBlock
from models.training.panel import Panel
from models.training.segments import ScaleArrays
from models.training.session import Fold, Session, kernels_of, machine, streaming_of
from models.training.teaching import forecasting_head
from models.training.trainer import Trained

_TOLERANCE = {"float32": (1e-4, 1e-5), "float64": (1e-9, 1e-10), "bfloat16": (2e-2, 2e-2)}
_REGISTRY = 1  # of the systems: a change that old weights cannot mean gets a new number


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finished:
    """A fold whose model is trained."""

    prepared: Prepared
    done: Trained
    model: Any  # on the CPU, in evaluation mode


def fold_report(settings: TrainSettings, session: Session, finished: Finished) -> dict[str, Any]:
    """Return what a fold's model scored on its own test, beside its baselines: mean pinball in log returns."""
    fold, done, model = finished.prepared.fold, finished.done, finished.model
    report: dict[str, Any] = {
        "fold": fold.number,
        "test": [
            int(fold.samples.known_ns[fold.split.test].min()),
            int(fold.samples.known_ns[fold.split.test].max()) + 1,
        ],
        "samples": {name: len(getattr(fold.split, name)) for name in ("train", "validation", "test")},
        "steps": done.steps,
        "best_step": done.best_step,
        "validation": done.best_score,
    }
    if forecasting_head(session.config.heads) is None:
        return report
    threads = settings.train.threads
    residual = session.residual(model, fold, fold.split.validation, threads=threads)
    said = session.forecasts("model", model, fold, fold.split.test, residual=residual, threads=threads)
    report["pinball"] = {each.model: _pinball(each) for each in (said, *session.baselines(fold, fold.split.test))}
    return report


def _pinball(forecasts: ForecastSet) -> list[float]:
    """Return the mean pinball loss of each horizon."""
    return [
        float(pinball(forecasts.target_NH[:, h], forecasts.quantiles_NHQ[:, h], forecasts.levels).mean())
        for h in range(len(forecasts.horizons_ns))
    ]


def write_artefact(
    settings: TrainSettings,
    out: Path,
    *,
    schema: FeatureSchema,
    session: Session,
    panel: Panel,
    splits: Splits,
    newest: Finished,
    folds: list[dict[str, Any]],
    files: tuple[DataFile, ...],
    device: str,
    world: int,
) -> Path:
    """Calibrate and judge the newest fold's model, and write the artefact."""
    prepared, done, model = newest.prepared, newest.done, newest.model
    fold = prepared.fold
    calibration, results = _judge(settings, session, fold, splits, model)
    batch, at = session.gather_golden(fold, fold.split.test)
    golden = RawInputs(
        scales={
            name: ScaleArrays(
                values_BLF=panel.raw(name, at[name]), close_ns_BL=arrays.close_ns_BL, known_ns_BL=arrays.known_ns_BL
            )
            for name, arrays in batch.scales.items()
        },
        decision_ns_BT=batch.decision_ns_BT,
        asset_B=batch.asset_B,
    )
    samples, split, config, syllabus = fold.samples, fold.split, session.config, session.syllabus
    known_ns = samples.known_ns
    seen_ns = int(known_ns[split.train].min()), int(known_ns[split.train].max()) + 1
    facts = machine()
    instruments = tuple(asset.instrument.name for asset in panel.assets)
    expires = settings.train.expires
    draft = Manifest(
        identity=Identity(
            system=config.system,
            registry=_REGISTRY,
            code_commit=training_data.source_commit(),
            code_sha256=training_data.source_hash("bot/core", "bot/domain", "models"),
            is_dirty=None,
            parent=None,
            created_ns=int(utc_now().timestamp()) * 1_000_000_000,
        ),
        model=Model(config=config, parameters=0, tensors={}),
        features=features_of(schema),
        normaliser=Normaliser(fits=prepared.fits, limit=settings.normaliser.limit, tensors_sha256=""),
        labels=Labels(
            horizons_ns=syllabus.horizons_ns,
            price="close of the last bar",
            unit=prepared.unit,
            hole_max_ns=settings.labels.hole_max,
            gap_ns=0,
            costs={"fee_rate": settings.labels.fee_rate, "spread_bps": settings.labels.spread_bps}
            if syllabus.wants_barriers
            else {},
            barriers={"profit": settings.labels.barrier, "stop": settings.labels.barrier / 2}
            if syllabus.wants_barriers
            else {},
            regimes=prepared.regimes,
        ),
        data=Data(
            source=settings.market.source,
            instruments=instruments,
            from_ns=int(known_ns.min()),
            to_ns=int(known_ns[np.concatenate([split.train, split.validation, split.test, splits.calibration])].max()),
            bars="trades" if settings.market.source == "sample" else "files",
            scales=panel.scales,
            rows={scale: sum(len(asset.scales[scale].known_ns) for asset in panel.assets) for scale in panel.scales},
            files=files,
            merkle_root=training_data.merkle_root(files),
        ),
        split=SplitBlock(
            train=seen_ns,
            validation=_stretch(known_ns, split.validation),
            test=_stretch(known_ns, split.test),
            calibration=_stretch(known_ns, splits.calibration),
            hold_out_from_ns=splits.hold_out_from_ns,
            embargo_ns=settings.split.embargo,
            purge_ns=max(syllabus.horizons_ns),
            fold=fold.number,
            folds=len(splits.folds),
            samples={name: len(getattr(split, name)) for name in ("train", "validation", "test", "purged", "embargoed")}
            | {"calibration": len(splits.calibration)},
        ),
        training=Training(
            seed=settings.train.seed,
            steps=done.steps,
            best_step=done.best_step,
            plan=settings.train.model_dump(
                mode="json", exclude={"cache", "signing_key", "checkpoint_every", "checkpoint_interval", "log_every"}
            ),
            settings_sha256=settings.hash(),
            torch=facts["torch"],
            cuda=facts["cuda"],
            cudnn=facts["cudnn"],
            device=facts["device"] if device.startswith("cuda") else "cpu",
            precision=settings.train.precision,
            processes=world,
            attention=kernels_of(model),
            seconds=round(done.seconds, 3),
        ),
        results=finite({"folds": folds, "test": results, "validation": done.best_score, "trials": 0}),
        streaming=streaming_of(model, config),
        limits=Limits(
            ranges={scale: _ranges(panel, scale, seen_ns) for scale in panel.scales},
            instruments=instruments,
            expires_ns=None if expires is None else int(known_ns.max()) + expires,
        ),
        calibration=calibration,
        golden=Golden(rows=0, tolerance=_TOLERANCE),
        files={},
    )
    return save(
        out, draft, model=model, normalizers=prepared.normalizers, golden=golden, private_key=_private_key(settings)
    )


def _judge(
    settings: TrainSettings, session: Session, fold: Fold, splits: Splits, model: Any
) -> tuple[Calibration | None, dict[str, Any] | None]:
    """Return how the model is calibrated, and what it scored on its test before that."""
    head = forecasting_head(session.config.heads)
    if head is None:
        return None, None
    threads = settings.train.threads
    validation = fold.split.validation
    residual = session.residual(model, fold, validation, threads=threads)
    offsets = None
    if len(splits.calibration):
        aside = session.forecasts("model", model, fold, splits.calibration, residual=residual, threads=threads)
        offsets = fit_offsets(aside)
    said = session.forecasts("model", model, fold, fold.split.test, residual=residual, threads=threads)
    found = compare(
        [said],
        session.baselines(fold, fold.split.test),
        sampling=Sampling(resamples=settings.train.resamples, seed=settings.train.seed),
    )
    calibration = Calibration(
        levels=head.quantiles,
        residual=residual,
        residual_range=None if residual is None else _stretch(fold.samples.known_ns, validation),
        offsets=offsets,
        decisions=len(splits.calibration),
    )
    results: dict[str, Any] = msgspec.to_builtins(found)
    return calibration, results


def _stretch(known_ns: I64, rows: I64) -> tuple[int, int] | None:
    return (int(known_ns[rows].min()), int(known_ns[rows].max()) + 1) if len(rows) else None


def _ranges(panel: Panel, scale: str, seen_ns: tuple[int, int]) -> list[tuple[float | None, float | None]]:
    low, high = panel.ranges(scale, from_ns=seen_ns[0], to_ns=seen_ns[1])
    return [
        (float(a) if np.isfinite(a) else None, float(b) if np.isfinite(b) else None)
        for a, b in zip(low, high, strict=True)
    ]


def _private_key(settings: TrainSettings) -> bytes | None:
    path = settings.train.signing_key
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"train.signing_key = {path}: {error.strerror}") from error
