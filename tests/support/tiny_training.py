"""A training small enough for a test: two random walks, two scales, a flagship of a few hundred weights.

    python -m tests.support.tiny_training DIRECTORY [EPOCHS]

trains it in a process of its own, to be killed: it says each step it has done, and at the end the hash of its weights.
Started by torchrun, it trains with the others.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor, nn

from models.config import (
    AttnConfig,
    BlockConfig,
    EncoderConfig,
    FusionConfig,
    HeadConfig,
    ModelConfig,
    RecurrentConfig,
    ScaleConfig,
)
from models.registry import build
from models.training.labels import join_labels, returns_after, volatility_after
from models.training.processes import Processes, join_processes
from models.training.samples import SampleSet, Source, build_samples
from models.training.segments import Gatherer, Order, lengths_needed
from models.training.session import stream_lengths
from models.training.teaching import Syllabus, Teacher
from models.training.trainer import Trained, Trainer, TrainPlan, reproducible
from tests.support.batches import INSTRUMENT
from tests.support.training import HOUR, MINUTE, features_of, fold, instrument, random_walk

FIVE = 5 * MINUTE
NAMES = ("log_return", "abs_return")
HEADS = (
    HeadConfig(kind="quantile", horizons=("5m", "15m")),
    HeadConfig(kind="direction", horizons=("5m", "15m")),
)
SYLLABUS = Syllabus(HEADS, decision_ns=FIVE)
PLAN = TrainPlan(
    seed=3,
    epochs=2,
    batch=4,
    segment=16,
    rate=1e-2,
    evaluate_every=3,
    checkpoint_every=2,
    checkpoint_seconds=1e9,
    log_every=1,
)


def streaming_config(seed: int = 3, *, drop: float = 0.1) -> ModelConfig:
    """Return a flagship with dropout, so that the generator's state matters."""
    block = BlockConfig(attn=AttnConfig(heads=2, d=4, window=4), drop=drop)
    encoder = EncoderConfig(depth=2, width=8, features=NAMES, block=block)
    return ModelConfig(
        system="flagship",
        scales=(
            ScaleConfig(bar="5m", length=7, encoder=encoder),
            ScaleConfig(bar="15m", length=7, encoder=encoder),
        ),
        fusion=FusionConfig(kind="cross+sum", recent=3),
        heads=HEADS,
        seed=seed,
    )


def window_config(seed: int = 3) -> ModelConfig:
    """Return an LSTM over windows that gives a point."""
    encoder = RecurrentConfig(depth=1, width=8, features=NAMES)
    head = HeadConfig(kind="point", horizons=("5m", "15m"))
    scales = (ScaleConfig(bar="5m", length=6, encoder=encoder),)
    return ModelConfig(system="lstm", scales=scales, heads=(head,), seed=seed)


def make_samples(config: ModelConfig, *, segment: int, rows: int = 280) -> SampleSet:
    """Return samples of two random walks, targets in units of about 1."""

    def sources() -> list[Source]:
        made = []
        for number, of in enumerate((INSTRUMENT, instrument("BBBUSDT"))):
            bars = fold(random_walk(rows, seed=number, scale_ns=FIVE, of=of), FIVE, 3 * FIVE)
            columns = {}
            for name, scale_ns in (("5m", FIVE), ("15m", 3 * FIVE)):
                steps = np.diff(np.log(bars[scale_ns].close_ticks), prepend=np.nan) * 1000
                columns[name] = features_of(bars[scale_ns], name, [steps, np.abs(steps)])
            horizons_ns = [FIVE, 3 * FIVE]
            labels = join_labels(
                [
                    make(bars[FIVE], bars[FIVE], horizons_ns=horizons_ns, hole_max_ns=0)
                    for make in (returns_after, volatility_after)
                ]
            )
            wanted = {scale.bar for scale in config.scales}
            made.append(Source(features={k: v for k, v in columns.items() if k in wanted}, labels=labels))
        return made

    samples = build_samples(sources(), lengths=lengths_needed(stream_lengths(config), segment=segment))
    targets = samples.targets.copy()
    targets[:, :2] *= 1000
    targets[:, 2:] += np.log(1000)
    return SampleSet(**{name: getattr(samples, name) for name in samples.__slots__} | {"targets": targets})


@dataclass(kw_only=True)
class Heard:
    """What the trainer said; stops it after a step, or when it has asked so often, if asked to."""

    stop_after: int | None = None
    stop_when_asked: int | None = None  # from 1 on
    steps: list[int] = field(default_factory=list)
    figures: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)
    on_step: Callable[[int], None] = lambda step: None
    asked: int = 0

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.figures.append((step, dict(values)))
        if "loss" in values:
            self.steps.append(step)
            self.on_step(step)

    def progress(self, done: float, text: str) -> None:
        assert 0 <= done <= 1
        assert text

    def should_stop(self) -> bool:
        self.asked += 1
        if self.stop_when_asked is not None:
            return self.asked >= self.stop_when_asked
        return self.stop_after is not None and bool(self.steps) and self.steps[-1] >= self.stop_after


def train_tiny(
    directory: Path,
    *,
    plan: TrainPlan = PLAN,
    config: ModelConfig | None = None,
    heard: Heard | None = None,
    processes: Processes | None = None,
    fingerprint: str = "tests",
) -> Trained:
    """Train to the end, from whatever checkpoint is there."""
    config = config or streaming_config()
    heard = heard or Heard()
    segment = plan.segment if config.system == "flagship" else 1
    samples = make_samples(config, segment=segment)
    rows = np.arange(len(samples))
    # The last third in time of both instruments validates.
    late = samples.known_ns >= np.quantile(samples.known_ns, 0.66)
    early = samples.label_end_ns < samples.known_ns[late].min() - HOUR
    syllabus = Syllabus(config.heads, decision_ns=FIVE)
    with reproducible(plan.seed, threads=1):
        teacher = Teacher(config.heads, syllabus, samples.target_names)
        return Trainer(
            build(config),
            teacher,
            teacher.score,
            plan=plan,
            gatherer=Gatherer(samples, stream_lengths(config), segment=segment, decision_ns=FIVE),
            train=Order(samples, rows[early], batch=plan.batch, segment=segment, decision_ns=FIVE, seed=plan.seed),
            validation=Order(samples, rows[late], batch=plan.batch, segment=segment, decision_ns=FIVE, seed=None),
            directory=directory,
            fingerprint=fingerprint,
            told=heard,
            clock=_Ticks().read,
            should_stop=heard.should_stop,
            processes=processes,
        ).run()


class _Ticks:
    """A clock that advances when it is read."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def read(self) -> float:
        self._seconds += 0.01
        return self._seconds


def hash_of(weights: Mapping[str, Tensor]) -> str:
    """Return a hash of all bits of some weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode() + value.numpy().tobytes())
    return digest.hexdigest()


def same_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Return whether a model has these weights, bit for bit."""
    return hash_of(model.state_dict()) == hash_of(weights)


def main() -> None:
    """Train in this process; see the top of the file."""
    directory, epochs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else PLAN.epochs
    processes = join_processes(os.environ, on_gpu=False)

    def say(text: str) -> None:
        if processes.is_first:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    plan = TrainPlan(**{name: getattr(PLAN, name) for name in PLAN.__struct_fields__} | {"epochs": epochs})
    # Without dropout where several train: each process drops other elements than one alone would.
    config = streaming_config(drop=0.1 if processes.world == 1 else 0.0)
    done = train_tiny(
        directory, plan=plan, config=config, heard=Heard(on_step=lambda step: say(f"step {step}")), processes=processes
    )
    if processes.is_first:
        save_file({name: value.contiguous() for name, value in done.weights.items()}, directory / "weights.safetensors")
    say(f"weights {hash_of(done.weights)}")
    processes.leave()


if __name__ == "__main__":
    main()
