"""Training: steps of AdamW over an order of batches, judged by the mean of the weights, ready to be killed at any step.

What the weights become is a function of settings, samples and the number of processes: after a kill, training goes on
from the newest checkpoint to the same bits (on one CPU, with one number of threads; other hardware rounds otherwise).
Time decides only when a checkpoint is written, never what is in it.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint as recompute

from bot.domain.errors import ConfigError, DataError
from models.block import Block
from models.inputs import ModelInput
from models.output import ModelOutput
from models.training import checkpoint
from models.training.ema import WeightMean
from models.training.processes import Processes
from models.training.schedule import learning_rate, make_optimizer
from models.training.segments import Chosen, Gatherer, Order, Segments
from models.training.tensors import model_input, targets_of, weights_of

# Shape letters in this file: B row, T decision, K label.
Loss = Callable[[ModelOutput, Tensor, Tensor], tuple[Tensor, Mapping[str, Tensor]]]
"""Of the answers, targets [B, T, K] and weights [B, T]: the weighted mean, and its parts for the eye."""


class TrainPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train; every field changes the weights but the last three."""

    seed: int
    epochs: int
    batch: int
    segment: int
    rate: float
    thin: int = 1  # windows: one of so many in an epoch
    rate_floor: float = 0.02
    warm_up: float = 0.05  # of all steps
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    mean_decay: float = 0.999
    patience: int = 0  # evaluations without improvement before training ends; 0: never
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    recompute: bool = False  # activations of blocks anew in the backward pass: less memory, a third more time
    evaluate_every: int = 200  # steps
    checkpoint_every: int = 500  # steps
    checkpoint_seconds: float = 300.0
    log_every: int = 20  # steps


class Told(Protocol):
    """Who watches."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Hear figures of a step."""

    def progress(self, done: float, text: str) -> None:
        """Hear how far it is."""


class Stopped(Exception):
    """Training was asked to stop, and has written a checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trained:
    """What came of it."""

    weights: dict[str, Tensor]  # the model's, of the best evaluation, means over steps, on the CPU
    best_score: float
    best_step: int
    steps: int  # done
    steps_planned: int
    seconds: float


class Objective(nn.Module):
    """Model and loss as one module: one forward pass is one number, so several processes can share the work."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, inputs: ModelInput, targets: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and its parts for the eye."""
        output = self.model(inputs)
        for name, value in output.asked().items():
            if not bool(torch.isfinite(value).all()):
                raise DataError(f"the network answers {name} with what is no number; lower train.rate")
        total, parts = self.loss(output, targets, weights)
        return total, {name: value.detach() for name, value in parts.items()}


class Trainer:
    """Trains one model on one fold.

    Args:
        model, loss: on their device already; a loss with parameters of its own is trained along.
        score: of the answers, targets and weights, the sum and the number of what is to be made small on validation.
        gatherer: makes batches of all samples.
        train, validation: the orders of the two roles; without validation the newest mean of the weights is kept.
        directory: of this fold: `checkpoints/` is made in it.
        fingerprint: of everything that the weights depend on.
        clock: seconds since some moment.
        should_stop: asked after every step.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        score: Callable[[ModelOutput, Tensor, Tensor], tuple[Tensor, Tensor]] | None,
        *,
        plan: TrainPlan,
        gatherer: Gatherer,
        train: Order,
        validation: Order | None,
        directory: Path,
        fingerprint: str,
        told: Told,
        clock: Callable[[], float],
        should_stop: Callable[[], bool] = lambda: False,
        processes: Processes | None = None,
    ) -> None:
        self._plan, self._gatherer, self._told = plan, gatherer, told
        self._train, self._validation, self._score = train, validation, score
        self._root, self._fingerprint = directory / "checkpoints", fingerprint
        self._clock, self._should_stop = clock, should_stop
        self._processes = processes or Processes()
        self._device = next(model.parameters()).device
        self._is_half = _is_half(plan.precision, self._device)
        self._objective = Objective(model, loss)
        if plan.recompute:
            recompute_blocks(model)
        self._optimizer = make_optimizer(
            [self._objective], rate=plan.rate, decay=plan.decay, betas=plan.betas, fused=self._device.type == "cuda"
        )
        self._mean = WeightMean(self._objective, decay=plan.mean_decay)
        self._best = {name: value.clone() for name, value in self._mean.values.items()}
        self._steps = sum(len(train.epoch(epoch)) for epoch in range(plan.epochs))
        self._step = self._epoch = self._batch = self._best_step = self._stale = 0
        self._best_score: float | None = None
        self._owes_validation = True  # what training begins with is the first that may be best
        self._seconds_before = 0.0

    def run(self) -> Trained:
        """Train to the end, from the newest checkpoint if there is one, and return the best weights.

        Raises:
            Stopped: asked to; a checkpoint has been written.
            DataError: the loss is no number.
            ConfigError: the checkpoint is of something else.
        """
        self._resume()
        started = written = self._clock()
        # A wrapper per run: it copies the first process's weights to all, which resuming has just made equal.
        step_module: nn.Module = self._objective
        if self._processes.world > 1:
            step_module = DistributedDataParallel(self._objective, find_unused_parameters=True)
        self._objective.train()
        if self._owes_validation and not self._evaluate():
            self._write(started)
            raise Stopped(self._step)
        while not self._is_over():
            for chosen in self._batches():
                self._learn(step_module, chosen, started)
                is_due = self._step % self._plan.evaluate_every == 0 or self._step == self._steps
                stop = is_due and not self._evaluate()
                stop = stop or self._processes.any(self._should_stop())
                due = self._step % self._plan.checkpoint_every == 0 or self._is_over() or stop
                if self._processes.any(due or self._clock() - written >= self._plan.checkpoint_seconds):
                    self._write(started)
                    written = self._clock()
                if stop:
                    raise Stopped(self._step)
                if self._is_over():
                    break
        return Trained(
            weights=self._model_weights(),
            best_score=float("nan") if self._best_score is None else self._best_score,
            best_step=self._best_step,
            steps=self._step,
            steps_planned=self._steps,
            seconds=self._seconds_before + self._clock() - started,
        )

    def _is_over(self) -> bool:
        patience = self._plan.patience
        return self._step >= self._steps or (patience > 0 and self._stale >= patience)

    def _batches(self) -> Iterator[Chosen]:
        """Yield what is left of this epoch, the position already behind each batch when it is handed out."""
        batches = self._train.epoch(self._epoch)
        for number in range(self._batch, len(batches)):
            last = number + 1 == len(batches)
            self._epoch, self._batch = (self._epoch + 1, 0) if last else (self._epoch, number + 1)
            yield batches[number]

    def _learn(self, module: nn.Module, chosen: Chosen, started: float) -> None:
        plan = self._plan
        rate = learning_rate(
            self._step, peak=plan.rate, warm_up=round(plan.warm_up * self._steps), steps=self._steps,
            floor=plan.rate_floor,
        )  # fmt: skip
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        processes = self._processes
        inputs, targets, weights = self._tensors(self._gatherer.gather(chosen.shard(processes.rank, processes.world)))
        own = weights.sum()
        share = 1.0
        if processes.world > 1:
            # Gradients are averaged over processes, and each loss is a mean over its own weights: make the mean of
            # means the mean of all. A process whose rows count nothing takes part with any weights, times zero.
            share = float(processes.world * own / processes.total(own.clone()))
            weights = weights if share > 0 else torch.ones_like(weights)
        with self._autocast():
            loss, parts = module(inputs, targets, weights)
        self._optimizer.zero_grad(set_to_none=True)
        (loss * share).backward()
        norm = nn.utils.clip_grad_norm_(self._objective.parameters(), plan.clip)
        value = float(loss.detach())
        if not (torch.isfinite(norm) and value == value and abs(value) != float("inf")):
            raise DataError(
                f"step {self._step + 1}: the loss is {value:g} and its gradient {float(norm):g}; lower train.rate, or "
                "look for what the features have there (bot features check)"
            )
        self._optimizer.step()
        self._step += 1
        self._mean.update(self._objective)
        if self._step % plan.log_every == 0 or self._step == self._steps:
            self._tell(value, parts, rate, float(norm), started)

    def _tell(self, loss: float, parts: Mapping[str, Tensor], rate: float, norm: float, started: float) -> None:
        if not self._processes.is_first:
            return
        seconds = self._seconds_before + self._clock() - started
        left = seconds / self._step * (self._steps - self._step)
        figures = {"loss": loss, "rate": rate, "gradient": norm, "seconds": seconds, "epoch": float(self._epoch)}
        self._told.metrics(self._step, figures | {f"loss/{name}": float(part.mean()) for name, part in parts.items()})
        best = "" if self._best_score is None else f", best {self._best_score:.5f} at {self._best_step}"
        text = f"step {self._step} of {self._steps}, loss {loss:.4f}{best}, {left / 60:.0f} min left"
        self._told.progress(self._step / self._steps, text)

    def _evaluate(self) -> bool:
        """Score the mean of the weights and keep it if it is the best; return False if asked to stop meanwhile."""
        self._owes_validation = False
        if self._validation is None or self._score is None:
            self._keep_best(None)
            return True
        processes = self._processes
        sums = torch.zeros(2, dtype=torch.float64)
        with self._mean.applied(self._objective), torch.no_grad(), self._autocast():
            self._objective.eval()
            for number, chosen in enumerate(self._validation.epoch(0)):
                if processes.any(self._should_stop()):
                    self._owes_validation = True
                    return False
                if number % processes.world == processes.rank:
                    inputs, targets, weights = self._tensors(self._gatherer.gather(chosen))
                    made = self._score(self._objective.model(inputs), targets, weights)
                    sums += torch.stack([each.detach().double().cpu() for each in made])
            self._objective.train()
        total, count = processes.total(sums).tolist()
        if not count > 0:
            raise ConfigError("validation counts no decision; make split.validation longer")
        score = total / count
        if self._best_score is None or score < self._best_score:
            self._keep_best(score)
        else:
            self._stale += 1
        if processes.is_first:
            self._told.metrics(self._step, {"validation": score})
        return True

    def _keep_best(self, score: float | None) -> None:
        self._best = {name: value.clone() for name, value in self._mean.values.items()}
        self._best_score, self._best_step, self._stale = score, self._step, 0

    def _tensors(self, segments: Segments) -> tuple[ModelInput, Tensor, Tensor]:
        device = self._device
        return (
            model_input(segments, device=device),
            targets_of(segments, device=device),
            weights_of(segments, device=device),
        )

    def _autocast(self) -> Any:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._is_half)

    def _model_weights(self) -> dict[str, Tensor]:
        like = self._objective.model.state_dict()
        return {name: self._best[f"model.{name}"].to("cpu", like[name].dtype, copy=True) for name in like}

    def _write(self, started: float) -> None:
        processes = self._processes
        random = processes.gather(torch.get_rng_state())
        if not processes.is_first:
            return
        tensors = {f"random/{rank}": state for rank, state in enumerate(random)}
        if self._device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self._device)
        tensors |= {f"weights/{name}": value for name, value in self._objective.state_dict().items()}
        tensors |= {f"mean/{name}": value for name, value in self._mean.values.items()}
        tensors |= {f"best/{name}": value for name, value in self._best.items()}
        for number, values in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in values.items()}
        state = checkpoint.State(
            fingerprint=self._fingerprint,
            torch=str(torch.__version__),
            world=processes.world,
            step=self._step,
            epoch=self._epoch,
            batch=self._batch,
            mean_steps=self._mean.steps,
            best_score=self._best_score,
            best_step=self._best_step,
            stale=self._stale,
            owes_validation=self._owes_validation,
            seconds=self._seconds_before + self._clock() - started,
        )
        # Copies: weights that share memory, such as tied ones, are refused by the format.
        checkpoint.save(self._root, state, {name: value.detach().cpu().clone() for name, value in tensors.items()})

    def _resume(self) -> None:
        found = checkpoint.load_newest(self._root, fingerprint=self._fingerprint, world=self._processes.world)
        if found is None:
            return
        state, tensors = found
        self._step, self._epoch, self._batch = state.step, state.epoch, state.batch
        self._best_score, self._best_step, self._stale = state.best_score, state.best_step, state.stale
        self._mean.steps, self._seconds_before = state.mean_steps, state.seconds
        self._owes_validation = state.owes_validation
        self._objective.load_state_dict(_under(tensors, "weights/"))
        for name, target in ((each, store[each]) for store in (self._mean.values,) for each in store):
            target.copy_(tensors[f"mean/{name}"])
        for name, value in self._best.items():
            value.copy_(tensors[f"best/{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, "optimizer/").items():
            number, _, name = key.partition("/")
            moments.setdefault(int(number), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(tensors[f"random/{self._processes.rank}"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self._device)


@contextmanager
def reproducible(seed: int, *, threads: int) -> Iterator[None]:
    """Seed torch's generators, fix the number of threads, and refuse operations that differ from run to run."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def recompute_blocks(model: nn.Module) -> None:
    """Let every block of a model forget its activations and compute them anew in the backward pass."""
    for block in model.modules():
        if isinstance(block, Block):
            block.forward = functools.partial(recompute, block.forward, use_reentrant=False)  # type: ignore[method-assign]


def _is_half(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bfloat16: on a GPU that has it, unless told otherwise; a CPU is not faster by it."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
