"""Folds of a training: who has which role, and the samples in the units of a fold's own training stretch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bot.domain.market import I64
from bot.runtime.train_settings import TrainSettings
from models.normalizer import Normalizer, TargetUnit, fit_unit
from models.regimes import Regimes, fit_regimes
from models.training.panel import Panel
from models.training.samples import SampleSet, build_samples
from models.training.segments import lengths_needed
from models.training.session import Fold, Session, stream_lengths, unit_of
from models.training.splits import Split, Timeline, walk_forward
from models.training.teaching import forecasting_head


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """A fold, and by what its features and targets were divided."""

    fold: Fold
    normalizers: dict[str, Normalizer]
    fits: dict[str, Any]  # their records
    unit: TargetUnit
    regimes: Regimes | None  # None where none is learned


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """Who has which role; row numbers are of the sample set, which is the same for all folds."""

    folds: list[Split]
    calibration: I64
    hold_out_from_ns: int | None
    known_ns: I64  # of all samples

    @classmethod
    def of(cls, settings: TrainSettings, session: Session, panel: Panel) -> "Splits":
        """Return the splits of all samples that the panel allows.

        Raises:
            ConfigError: the data do not last for them.
        """
        told = settings.split
        samples = _samples(session, panel, None)
        timeline = samples.timeline()
        if told.hold_out is not None:
            development, held = timeline.hold_out(from_ns=told.hold_out, embargo_ns=told.embargo)
            hold_out_from_ns: int | None = held.from_ns
        else:
            development, hold_out_from_ns = timeline.without_hold_out(), None
        calibration: I64 = np.empty(0, dtype=np.int64)
        rows = development.rows
        if told.calibration and forecasting_head(session.config.heads) is not None:
            inner = Timeline(start_ns=development.start_ns, end_ns=development.end_ns)
            from_ns = int(development.start_ns.max()) + 1 - told.calibration
            open_, set_aside = inner.hold_out(from_ns=from_ns, embargo_ns=told.embargo)
            calibration = rows[set_aside.open("calibration")]
        else:
            open_ = Timeline(start_ns=development.start_ns, end_ns=development.end_ns).without_hold_out()
        folds = walk_forward(
            open_,
            train_ns=told.train,
            test_ns=told.test,
            validation_ns=told.validation,
            expanding=told.expanding,
            embargo_ns=told.embargo,
        )
        chosen = [_mapped(split, rows) for split in folds[-told.folds :]]
        return cls(folds=chosen, calibration=calibration, hold_out_from_ns=hold_out_from_ns, known_ns=samples.known_ns)


def _mapped(split: Split, rows: I64) -> Split:
    """Return a split of a part of the samples with the row numbers of all."""
    parts = {name: rows[getattr(split, name)] for name in ("train", "validation", "test", "purged", "embargoed")}
    return Split(**parts)


def _samples(session: Session, panel: Panel, normalizers: Mapping[str, Normalizer] | None) -> SampleSet:
    """Return all samples; without normalisers their values are as computed."""
    lengths = lengths_needed(stream_lengths(session.config), segment=session.segment)
    if normalizers is None:
        plain = {
            scale: Normalizer(
                names=panel.names,
                center_F=np.zeros(len(panel.names), dtype=np.float32),
                scale_F=np.ones(len(panel.names), dtype=np.float32),
                limit=3e38,
            )
            for scale in panel.scales
        }
        return build_samples(panel.sources(plain), lengths=lengths)
    return build_samples(panel.sources(normalizers), lengths=lengths)


def prepare_fold(
    settings: TrainSettings, session: Session, panel: Panel, splits: Splits, number: int, columns: Sequence[str]
) -> Prepared:
    """Return a fold, by number from 1, with features and targets in the units of its own training stretch.

    Args:
        columns: the features that the unit of targets is made of; none for a fixed unit.
    """
    split, syllabus = splits.folds[number - 1], session.syllabus
    trained_ns = splits.known_ns[split.train]
    from_ns, to_ns = int(trained_ns.min()), int(trained_ns.max()) + 1
    told = settings.normaliser
    normalizers, fits = panel.fit(from_ns=from_ns, to_ns=to_ns, kind=told.kind, limit=told.limit)
    samples = _samples(session, panel, normalizers)
    returns_NH = syllabus.rows_of(samples, "return")[split.train]
    volatility_NK = syllabus.volatility_of(samples, columns)
    unit = fit_unit(
        returns_NH,
        horizons_ns=syllabus.horizons_ns,
        bar_ns=syllabus.decision_ns,
        columns=columns,
        volatility_NK=None if volatility_NK is None else volatility_NK[split.train],
        variance_NH=np.exp(2 * syllabus.rows_of(samples, "log_volatility")[split.train]),
    )
    regimes = None
    if syllabus.classes:
        measures_N2 = syllabus.measures_of(samples)[split.train]
        regimes = fit_regimes(measures_N2, classes=syllabus.classes, span_ns=settings.labels.regime_span)
    taught, all_returns_NH, variance_NH, unit_NH = unit_of(syllabus, samples, unit, regimes)
    fold = Fold(
        number=number,
        samples=taught,
        returns_NH=all_returns_NH,
        variance_NH=variance_NH,
        unit_NH=unit_NH,
        split=split,
    )
    return Prepared(fold=fold, normalizers=normalizers, fits=fits, unit=unit, regimes=regimes)
