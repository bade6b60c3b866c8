"""One fold from samples to a judged model: what `bot train` does once the panel is there; torch stays behind it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from bot.core.durations import format_duration, parse_duration
from bot.core.offsets import Offsets
from bot.domain.errors import ConfigError
from bot.domain.market import F64, I64
from models.answers import fit_residual, place_and_spread, quantiles_of
from models.bar_encoder import BarEncoder
from models.config import EncoderConfig, HeadConfig, ModelConfig, to_json
from models.evaluation.forecast_set import ForecastSet
from models.manifest import Streaming
from models.normalizer import TargetUnit
from models.output import ModelOutput
from models.regimes import Regimes
from models.registry import build, entry
from models.training import checkpoint
from models.training.events import Journal
from models.training.processes import Processes
from models.training.samples import SampleSet
from models.training.segments import Gatherer, Order, role_weights
from models.training.splits import Split
from models.training.teaching import Syllabus, Teacher, begin, forecasting_head
from models.training.tensors import model_input
from models.training.trainer import Trained, Trainer, TrainPlan, reproducible
from models.training.weights import average_uniqueness

# Shape letters in this file: N sample, H horizon, Q level.
Residual = tuple[tuple[float, ...], ...]  # [H][Q]
_ASKED = ("quantiles", "mean", "log_var", "log_volatility", "dir_logit")  # what forecasts are made of


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fold:
    """What one fold is made of."""

    number: int  # from 1
    samples: SampleSet  # the features normalised, the targets in their unit
    returns_NH: F64  # log returns of all samples, as they are
    variance_NH: F64  # realised variances
    unit_NH: F64
    split: Split


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surroundings:
    """What training is given by whoever calls it."""

    directory: Path
    clock: Callable[[], float]
    progress: Callable[[float, str], None]
    should_stop: Callable[[], bool]
    processes: Processes
    device: str
    threads: int


def stream_lengths(config: ModelConfig) -> dict[str, int]:
    """Return how many bars of each scale lie before and at a decision, so that all a decision sees has warmed up."""
    lengths = {scale.bar: scale.length for scale in config.scales}
    if not reads_stretches(config):
        return lengths
    with torch.device("meta"):
        told: dict[str, int] = getattr(build(config), "warm_up", {})
    return {bar: max(length, told.get(bar, 0)) for bar, length in lengths.items()}


def reads_stretches(config: ModelConfig) -> bool:
    """Return whether the system answers at every decision of a stretch."""
    return entry(config.system).reads == "stretches"


def pick_device(wanted: str) -> str:
    """Return "cuda" or "cpu".

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError('train.device = "cuda": torch sees no GPU here; use "auto" or "cpu"')
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


class Session:
    """Trains folds of one model, and asks what was trained.

    Args:
        config: the network.
        syllabus: what it learns.
        plan: how.
        fingerprint: of the settings and the panel.
        check: called between two batches of answers; what it raises ends the asking.
    """

    def __init__(
        self,
        config: ModelConfig,
        syllabus: Syllabus,
        plan: TrainPlan,
        fingerprint: str,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.config, self.syllabus, self._plan, self._fingerprint = config, syllabus, plan, fingerprint
        self._check = check
        self._lengths = stream_lengths(config)
        self.segment = plan.segment if reads_stretches(config) else 1

    def train(self, fold: Fold, around: Surroundings) -> tuple[Trained, nn.Module]:
        """Train on a fold and return what came of it, and the model with the best weights, on the CPU.

        Raises:
            trainer.Stopped: it was asked to, and has written a checkpoint.
        """
        directory = around.directory / f"fold-{fold.number}"
        rows = fold.split.train
        samples = fold.samples
        weights = average_uniqueness(samples.known_ns[rows], samples.label_end_ns[rows], samples.instrument[rows])
        weighted = role_weights(samples, rows, weights)
        with reproducible(self._plan.seed, threads=around.threads):
            model = build(self.config)
            begin(model, self.syllabus, samples, rows)
            teacher = Teacher(self.config.heads, self.syllabus, samples.target_names)
            from_step = checkpoint.newest_step(directory / "checkpoints") or 0
            journal = Journal(directory, from_step=from_step) if around.processes.is_first else None
            watcher = _Watcher(journal, around.progress)
            try:
                done = Trainer(
                    model.to(around.device),
                    teacher.to(around.device),
                    teacher.score,
                    plan=self._plan,
                    gatherer=self._gatherer(weighted),
                    train=self._order(weighted, rows, seed=self._plan.seed, thin=self._plan.thin),
                    validation=self._order(weighted, fold.split.validation, seed=None, thin=self._plan.thin),
                    directory=directory,
                    fingerprint=self._fold_fingerprint(fold),
                    told=watcher,
                    clock=around.clock,
                    should_stop=around.should_stop,
                    processes=around.processes,
                ).run()
            finally:
                if journal is not None:
                    journal.close()
        trained = build(self.config)
        trained.load_state_dict(done.weights)
        return done, trained.eval()

    def residual(
        self, model: nn.Module, fold: Fold, rows: I64, *, threads: int
    ) -> tuple[tuple[float, ...], ...] | None:
        """Return how wrong a model without quantiles was on some samples; None where it gives its own."""
        head = forecasting_head(self.config.heads)
        if head is None or head.kind == "quantile":
            return None
        said = self._ask(model, fold.samples, rows, threads)
        mean, spread = (each.double().numpy() for each in place_and_spread(said))
        target_NH = (fold.returns_NH / fold.unit_NH)[rows][:, self._horizon_columns(head)]
        return fit_residual(mean, spread, target_NH, head.quantiles)

    def forecasts(
        self,
        name: str,
        model: nn.Module,
        fold: Fold,
        rows: I64,
        *,
        residual: Residual | None,
        offsets: Offsets | None = None,
        threads: int,
    ) -> ForecastSet:
        """Return what the model says at some samples, as log returns, beside what happened."""
        head = self._head()
        unit_NH = fold.unit_NH[rows][:, self._horizon_columns(head)]
        said = self._ask(model, fold.samples, rows, threads)
        made = quantiles_of(said, residual).double().numpy() * unit_NH[:, :, None]
        deviation_NH = up_NH = None
        if said.log_volatility is not None and self._asked_alike("volatility", head):
            deviation_NH = np.exp(said.log_volatility.double().numpy()) * unit_NH
        if said.dir_logit is not None and self._asked_alike("direction", head):
            up_NH = torch.sigmoid(said.dir_logit.double()).numpy()
        return self._set(
            name,
            fold,
            rows,
            made if offsets is None else offsets.apply(made),
            deviation_NH=deviation_NH,
            up_probability_NH=up_NH,
        )

    def _asked_alike(self, kind: str, head: HeadConfig) -> bool:
        """Return whether a head of that kind answers for the horizons of the forecasts."""
        return any(each.kind == kind and each.horizons == head.horizons for each in self.config.heads)

    def baselines(self, fold: Fold, rows: I64) -> list[ForecastSet]:
        """Return what the training returns alone would say: their quantiles, plain, and in units of the volatility."""
        head = self._head()
        columns = self._horizon_columns(head)
        train = fold.split.train
        levels = np.array(head.quantiles)
        plain = np.quantile(fold.returns_NH[train][:, columns], levels, axis=0).T
        sets = [self._set("naive", fold, rows, np.broadcast_to(plain, (len(rows), *plain.shape)).copy())]
        unit_NH = fold.unit_NH[:, columns]
        if (unit_NH[train] != unit_NH[train][0]).any():
            scaled = np.quantile((fold.returns_NH[:, columns] / unit_NH)[train], levels, axis=0).T
            sets.append(self._set("naive_by_volatility", fold, rows, scaled * unit_NH[rows][:, :, None]))
        return sets

    def gather_golden(self, fold: Fold, rows: I64) -> tuple[Any, dict[str, I64]]:
        """Return a batch of 8 rows spread over some samples, and which rows of each stream it holds."""
        segment = 1 if self.segment == 1 else min(4, self.segment)
        batches = Order(
            fold.samples, rows, batch=8, segment=segment, decision_ns=self.syllabus.decision_ns, seed=1
        ).epoch(0)
        chosen = max(batches, key=lambda each: each.rows_BT.size)
        gatherer = Gatherer(fold.samples, self._lengths, segment=segment, decision_ns=self.syllabus.decision_ns)
        return gatherer.gather(chosen), gatherer.bars_of(chosen)

    def _set(self, name: str, fold: Fold, rows: I64, quantiles_NHQ: F64, **columns_NH: F64 | None) -> ForecastSet:
        head, samples = self._head(), fold.samples
        columns = self._horizon_columns(head)
        order = np.lexsort((samples.instrument[rows], samples.close_ns[rows]))
        rows = rows[order]
        return ForecastSet(
            model=name,
            horizons_ns=tuple(parse_duration(each) for each in head.horizons),
            levels=head.quantiles,
            start_ns=samples.close_ns[rows],
            target_NH=fold.returns_NH[rows][:, columns],
            quantiles_NHQ=np.ascontiguousarray(quantiles_NHQ[order]),
            instrument_N=samples.instrument[rows].astype(np.int64) if len(samples.instruments) > 1 else None,
            realised_variance_NH=fold.variance_NH[rows][:, columns],
            **{name: None if each is None else each[order] for name, each in columns_NH.items()},
        )

    @torch.no_grad()
    def _ask(self, model: nn.Module, samples: SampleSet, rows: I64, threads: int) -> ModelOutput:
        """Return the model's answers at some samples, in the order of `rows`: [N, ...]."""
        gatherer, order = self._gatherer(samples), self._order(samples, rows, seed=None)
        place = np.full(len(samples), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        answers: dict[str, torch.Tensor] = {}
        with reproducible(self._plan.seed, threads=threads):
            for chosen in order.epoch(0):
                self._check()
                said = model(model_input(gatherer.gather(chosen))).asked()
                counts = torch.from_numpy(chosen.counts_BT)
                at = torch.from_numpy(place[chosen.rows_BT[chosen.counts_BT]])
                for name in _ASKED:
                    if name in said:
                        picked = said[name][counts]
                        if name not in answers:
                            answers[name] = picked.new_full((len(rows), *picked.shape[1:]), float("nan"))
                        answers[name][at] = picked
        return ModelOutput(**answers)  # type: ignore[arg-type]  # `aux` is no tensor, and none is called so

    def _gatherer(self, samples: SampleSet) -> Gatherer:
        return Gatherer(samples, self._lengths, segment=self.segment, decision_ns=self.syllabus.decision_ns)

    def _order(self, samples: SampleSet, rows: I64, *, seed: int | None, thin: int = 1) -> Order:
        return Order(
            samples,
            rows,
            batch=self._plan.batch,
            segment=self.segment,
            decision_ns=self.syllabus.decision_ns,
            seed=seed,
            thin=thin,
        )

    def _head(self) -> HeadConfig:
        head = forecasting_head(self.config.heads)
        if head is None:
            raise ConfigError("the model has no head that forecasts returns")
        return head

    def _horizon_columns(self, head: HeadConfig) -> list[int]:
        return [self.syllabus.horizons.index(each) for each in head.horizons]

    def _fold_fingerprint(self, fold: Fold) -> str:
        digest = hashlib.sha256(self._fingerprint.encode() + to_json(self.config))
        changes = {"log_every": 0, "checkpoint_every": 0, "checkpoint_seconds": 0.0}
        digest.update(msgspec.json.encode({**msgspec.structs.asdict(self._plan), **changes}, order="sorted"))
        for part in (fold.split.train, fold.split.validation, fold.samples.targets, fold.samples.ends):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


class _Watcher:
    def __init__(self, journal: Journal | None, progress: Callable[[float, str], None]) -> None:
        self._journal = journal
        self.progress = progress

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if self._journal is not None:
            self._journal.metrics(step, values)


def unit_of(
    syllabus: Syllabus, samples: SampleSet, unit: TargetUnit, regimes: Regimes | None
) -> tuple[SampleSet, F64, F64, F64]:
    """Return the samples in units of their targets; returns and realised variances as they are; and the units."""
    returns_NH = syllabus.rows_of(samples, "return")
    variance_NH = np.exp(2 * syllabus.rows_of(samples, "log_volatility"))
    unit_NH = np.asarray(unit.of(syllabus.volatility_of(samples, unit.columns), len(samples)))
    return syllabus.taught(samples, unit, regimes), returns_NH, variance_NH, unit_NH


def streaming_of(model: nn.Module, config: ModelConfig) -> dict[str, Streaming]:
    """Return how each scale of a model may be fed."""
    made = {}
    encoders = getattr(model, "encoders", None)
    for scale in config.scales:
        encoder = encoders.of(scale.bar) if encoders is not None and hasattr(encoders, "of") else None
        if not isinstance(encoder, BarEncoder) or not reads_stretches(config):
            made[scale.bar] = Streaming(
                kind="none", window=scale.length, receptive_field=scale.length, warm_up=scale.length, rebase=None
            )
            continue
        cfg = scale.encoder
        window = cfg.block.attn.window if isinstance(cfg, EncoderConfig) else None
        rebase = cfg.pos.length_max if isinstance(cfg, EncoderConfig) and encoder.streams == "anchored" else None
        made[scale.bar] = Streaming(
            kind=encoder.streams,
            window=window,
            receptive_field=encoder.receptive_field,
            warm_up=stream_lengths(config)[scale.bar],
            rebase=rebase,
        )
    return made


def kernels_of(model: nn.Module) -> tuple[str, ...]:
    """Return the attention kernels that a model has used."""
    used = set()
    for part in model.modules():
        decided: dict[Any, Any] = getattr(part, "_decided", {})
        used |= {backend.name for _, backend in decided.values()}
    return tuple(sorted(used))


def machine() -> dict[str, Any]:
    """Return what computed: versions and the device's name."""
    has_gpu = torch.cuda.is_available()
    return {
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if has_gpu else None,  # type: ignore[no-untyped-call]
        "device": torch.cuda.get_device_name(0) if has_gpu else "cpu",
    }


def describe(config: ModelConfig) -> str:
    """Return a line about a network."""
    scales = ", ".join(f"{scale.length} x {scale.bar}" for scale in config.scales)
    return f"{config.system}: {scales}; {', '.join(head.kind for head in config.heads)}"


def spans(horizons_ns: tuple[int, ...]) -> str:
    """Return horizons as a person writes them."""
    return ", ".join(map(format_duration, horizons_ns))
