"""What the model of an artefact says over a stretch of a panel: the same way that training judges its own folds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bot.core.durations import parse_duration
from bot.domain.errors import DataError
from bot.domain.market import I64
from models.artifact import Loaded
from models.evaluation.forecast_set import ForecastSet
from models.manifest import Manifest
from models.training.panel import Panel
from models.training.samples import build_samples
from models.training.segments import lengths_needed
from models.training.session import Fold, Session, reads_stretches, stream_lengths, unit_of
from models.training.splits import Split
from models.training.teaching import Syllabus, forecasting_head
from models.training.trainer import TrainPlan

_BATCH_WINDOWS, _BATCH_STRETCHES, _SEGMENT = 256, 8, 288
_NOBODY: I64 = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asked:
    """An artefact beside all decisions of a panel."""

    loaded: Loaded
    session: Session
    fold: Fold  # all samples, in the artefact's units; without roles

    def rows_between(self, from_ns: int, to_ns: int) -> I64:
        """Return the samples decided in [from, to)."""
        known_ns = self.fold.samples.known_ns
        return np.flatnonzero((known_ns >= from_ns) & (known_ns < to_ns))

    def forecasts(self, name: str, rows: I64, *, threads: int = 1) -> ForecastSet:
        """Return what the model says at some samples, calibrated as the artefact has it, beside what happened.

        Raises:
            DataError: it forecasts no returns.
        """
        manifest = self.loaded.manifest
        told = manifest.calibration
        if forecasting_head(manifest.model.config.heads) is None:
            raise DataError(f"{self.loaded.name}: has no head that forecasts returns, so there is nothing to judge")
        return self.session.forecasts(
            name,
            self.loaded.model,
            self.fold,
            rows,
            residual=None if told is None else told.residual,
            offsets=None if told is None else told.offsets,
            threads=threads,
        )

    def outcomes(self, rows: I64, levels: tuple[float, ...], horizons_ns: tuple[int, ...]) -> ForecastSet:
        """Return what happened after some samples, beside forecasts of zero: for whoever has forecasts of its own."""
        samples, fold = self.fold.samples, self.fold
        rows = self.in_order(rows)
        columns = [self.session.syllabus.horizons_ns.index(each) for each in horizons_ns]
        return ForecastSet(
            model="outcomes",
            horizons_ns=horizons_ns,
            levels=levels,
            start_ns=samples.close_ns[rows],
            target_NH=fold.returns_NH[rows][:, columns],
            quantiles_NHQ=np.zeros((len(rows), len(columns), len(levels))),
            instrument_N=samples.instrument[rows].astype(np.int64) if len(samples.instruments) > 1 else None,
            realised_variance_NH=fold.variance_NH[rows][:, columns],
        )

    def in_order(self, rows: I64) -> I64:
        """Return the rows in the order of a `ForecastSet`: by time, then by instrument."""
        samples = self.fold.samples
        return rows[np.lexsort((samples.instrument[rows], samples.close_ns[rows]))]


def syllabus_of(manifest: Manifest) -> Syllabus:
    """Return what the artefact's network was taught."""
    config = manifest.model.config
    return Syllabus(config.heads, decision_ns=parse_duration(config.scales[0].bar))


def ask(loaded: Loaded, panel: Panel, *, check: Callable[[], None] = lambda: None) -> Asked:
    """Return an artefact beside a panel of its own features; `check` is that of its `Session`.

    Raises:
        DataError: the panel has other features, instruments that the artefact does not know, or no decision that the
            network could answer.
    """
    manifest = loaded.manifest
    if panel.schema_hash != manifest.features.hash:
        raise DataError(
            f"{loaded.name}: was trained on features {manifest.features.hash[:12]}, these data were prepared with "
            f"{panel.schema_hash[:12]}"
        )
    instruments = tuple(asset.instrument.name for asset in panel.assets)
    if instruments != manifest.limits.instruments:
        raise DataError(
            f"{loaded.name}: tells its instruments by number, {', '.join(manifest.limits.instruments)}, and the data "
            f"are of {', '.join(instruments)}; name the same in [[market.instruments]], in that order"
        )
    config, syllabus = manifest.model.config, syllabus_of(manifest)
    batch = _BATCH_STRETCHES if reads_stretches(config) else _BATCH_WINDOWS
    plan = TrainPlan(seed=config.seed, epochs=1, batch=batch, segment=_SEGMENT, rate=1e-3)
    session = Session(config, syllabus, plan, fingerprint="", check=check)
    lengths = lengths_needed(stream_lengths(config), segment=session.segment)
    samples = build_samples(panel.sources(loaded.normalizers), lengths=lengths)
    taught, returns_NH, variance_NH, unit_NH = unit_of(syllabus, samples, manifest.labels.unit, manifest.labels.regimes)
    split = Split(train=_NOBODY, validation=_NOBODY, test=_NOBODY, purged=_NOBODY, embargoed=_NOBODY)
    fold = Fold(number=1, samples=taught, returns_NH=returns_NH, variance_NH=variance_NH, unit_NH=unit_NH, split=split)
    return Asked(loaded=loaded, session=session, fold=fold)


def seen(manifest: Manifest, from_ns: int, to_ns: int) -> list[str]:
    """Return which of an artefact's own stretches decisions in [from, to) share an outcome with; none is out of sample.

    What was tested on is no such stretch: nothing was chosen by it.
    """
    reach_ns = max(manifest.labels.horizons_ns)
    split = manifest.split
    stretches = {"training": split.train, "selection": split.validation, "calibration": split.calibration}
    return [
        name
        for name, stretch in stretches.items()
        if stretch is not None and from_ns < stretch[1] + reach_ns and stretch[0] < to_ns + reach_ns
    ]
