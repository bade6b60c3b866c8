"""Training goes on from any step to the same bits, and does what its plan says."""

import contextlib
import itertools
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bot.domain.errors import ConfigError, DataError
from models.registry import build
from models.training import checkpoint
from models.training.ema import WeightMean
from models.training.schedule import learning_rate, make_optimizer
from models.training.trainer import Stopped, TrainPlan, recompute_blocks
from tests.support.cli import ROOT
from tests.support.tiny_training import (
    PLAN,
    Heard,
    hash_of,
    streaming_config,
    train_tiny,
    window_config,
)


def changed(**values: object) -> TrainPlan:
    return TrainPlan(**{name: getattr(PLAN, name) for name in PLAN.__struct_fields__} | values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """Return the weights' hash of an undisturbed training, and its steps."""
    done = train_tiny(tmp_path_factory.mktemp("whole"))
    assert done.steps == done.steps_planned >= 8
    return hash_of(done.weights), done.steps


def test_same_settings_same_bits(tmp_path: Path, whole: tuple[str, int]) -> None:
    """Two trainings are one; another seed is another."""
    assert hash_of(train_tiny(tmp_path / "again").weights) == whole[0]
    other = train_tiny(tmp_path / "other", plan=changed(seed=4), config=streaming_config(4))
    assert hash_of(other.weights) != whole[0]


def test_stopped_after_every_step_and_resumed(tmp_path: Path, whole: tuple[str, int]) -> None:
    """A training that is stopped after each of its steps comes to the same bits; no step is done twice."""
    done = None
    seen: list[int] = []
    for step in range(1, whole[1] + 2):
        heard = Heard(stop_after=step)
        with contextlib.suppress(Stopped):
            done = train_tiny(tmp_path, heard=heard)
        assert checkpoint.newest_step(tmp_path / "checkpoints") == min(step, whole[1])
        seen += heard.steps
    assert done is not None
    assert hash_of(done.weights) == whole[0]
    assert seen == list(range(1, whole[1] + 1))


def test_stopped_within_an_evaluation_and_resumed(tmp_path: Path, whole: tuple[str, int]) -> None:
    """Stopped wherever it asks, also between two batches of validation, before the first step as well: the same bits.

    No evaluation is left out, and none is half done.
    """
    scores = []
    for number in range(1, 12):
        directory = tmp_path / str(number)
        with pytest.raises(Stopped) as stopped:
            train_tiny(directory, heard=Heard(stop_when_asked=number))
        scores.append(stopped.value.step)
        heard = Heard()
        assert hash_of(train_tiny(directory, heard=heard).weights) == whole[0]
        assert not heard.steps or heard.steps[0] == stopped.value.step + 1
    assert scores[0] == 0
    assert scores.count(0) >= 2, "the validation before the first step has several batches"
    assert scores.count(3) >= 2, "so has that of the third"


@pytest.mark.slow
def test_killed_at_a_random_step_and_resumed(tmp_path: Path) -> None:
    """A real process is killed by SIGKILL while it trains; the next one comes to the same bits."""
    undisturbed = run_process(tmp_path / "whole", kill_at=None)
    killed_at = int(torch.randint(3, 20, (1,), generator=torch.Generator().manual_seed(5)))
    assert run_process(tmp_path / "killed", kill_at=killed_at) is None
    assert run_process(tmp_path / "killed", kill_at=None) == undisturbed


def run_process(directory: Path, *, kill_at: int | None) -> str | None:
    """Train in a process; kill it as soon as it says that step, wherever it is by then. Return the weights' hash."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.tiny_training", str(directory), "4"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as said:
        for line in said:
            word, value = line.split()
            if word == "weights":
                assert process.wait() == 0
                return value
            if kill_at is not None and int(value) >= kill_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return None
    raise AssertionError(f"it ended by itself: {process.wait()}")


@pytest.mark.soak
def test_two_processes_are_as_one(tmp_path: Path) -> None:
    """torchrun with two processes on the CPU: the same weights as one process, to rounding, and the same steps."""
    alone = train_tiny(tmp_path / "one", plan=changed(epochs=1), config=streaming_config(drop=0.0))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *("-m", "tests.support.tiny_training", str(tmp_path / "two"), "1"),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    together = load_file(tmp_path / "two" / "weights.safetensors")
    assert together.keys() == alone.weights.keys()
    for name, value in alone.weights.items():
        torch.testing.assert_close(together[name], value, rtol=2e-3, atol=2e-4)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, whole: tuple[str, int]) -> None:
    """A byte flipped in the newest checkpoint: training goes on from the one before, to the same bits."""
    with pytest.raises(Stopped):
        train_tiny(tmp_path, heard=Heard(stop_after=5))
    newest = max((tmp_path / "checkpoints").iterdir())
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    tensors = newest / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-5] ^= 1
    tensors.write_bytes(content)
    heard = Heard()
    assert hash_of(train_tiny(tmp_path, heard=heard).weights) == whole[0]
    assert heard.steps[0] == 5


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train_tiny(tmp_path, heard=Heard(stop_after=2))
    with pytest.raises(ConfigError, match="settings or data have changed"):
        train_tiny(tmp_path, fingerprint="others")


def test_finished_training_is_not_done_again(tmp_path: Path, whole: tuple[str, int]) -> None:
    train_tiny(tmp_path)
    heard = Heard()
    assert hash_of(train_tiny(tmp_path, heard=heard).weights) == whole[0]
    assert not heard.steps


def test_it_learns_and_the_best_is_kept(tmp_path: Path) -> None:
    """Validation falls, and what is returned is the evaluation with the least of it."""
    heard = Heard()
    done = train_tiny(tmp_path, plan=changed(epochs=6), heard=heard)
    scores = {step: values["validation"] for step, values in heard.figures if "validation" in values}
    assert done.best_score == min(scores.values()) == scores[done.best_step]
    assert done.best_score < scores[min(scores)]


def test_patience_ends_training(tmp_path: Path) -> None:
    """With a rate that cannot help, training ends after so many evaluations without improvement."""
    done = train_tiny(tmp_path, plan=changed(epochs=20, rate=1.0, patience=2))
    assert done.steps < done.steps_planned
    assert done.steps >= done.best_step + 2 * PLAN.evaluate_every


def test_windows_train_too(tmp_path: Path) -> None:
    """A window system with a point head is chosen by its plain loss."""
    done = train_tiny(tmp_path, plan=changed(batch=64, epochs=1), config=window_config())
    assert math.isfinite(done.best_score)
    assert done.steps == done.steps_planned


def test_recomputing_blocks_changes_no_bit(tmp_path: Path) -> None:
    plain = train_tiny(tmp_path / "plain", plan=changed(epochs=1))
    assert hash_of(train_tiny(tmp_path / "again", plan=changed(epochs=1, recompute=True)).weights) == hash_of(
        plain.weights
    )


def test_recomputing_reaches_the_blocks() -> None:
    model = build(streaming_config())
    recompute_blocks(model)
    assert sum("forward" in vars(module) for module in model.modules()) == 4


def test_a_loss_that_is_no_number_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lower train\.rate"):
        train_tiny(tmp_path, plan=changed(rate=1e30, warm_up=0.0, clip=1e30))


def test_learning_rate() -> None:
    """Linear to the peak at the end of the warm-up, the floor at the last step, never above or below."""
    rates = [learning_rate(step, peak=2.0, warm_up=10, steps=100, floor=0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[99] == pytest.approx(0.2)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_only_matrices_of_maps_decay() -> None:
    """Norms, biases, embeddings, tags and gates are left alone."""
    model = build(streaming_config())
    optimizer = make_optimizer([model], rate=1.0, decay=0.5, betas=(0.9, 0.99), fused=False)
    decaying = {id(each) for group in optimizer.param_groups if group["weight_decay"] for each in group["params"]}
    names = dict(model.named_parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    for name, parameter in names.items():
        is_map = parameter.dim() >= 2 and not any(word in name for word in ("table", "tag_SD", "norm"))
        assert (id(parameter) in decaying) == is_map, name


def test_mean_of_weights() -> None:
    """The mean follows the recursion, and applying it leaves the weights as they were."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    mean = WeightMean(layer, decay=0.9)
    expected = 1.0
    for step in range(1, 30):
        nn.init.constant_(layer.weight, float(step))
        mean.update(layer)
        keep = min(0.9, step / (10 + step))
        expected = keep * expected + (1 - keep) * step
    assert mean.values["weight"].item() == pytest.approx(expected, rel=1e-5)
    with mean.applied(layer):
        assert layer.weight.item() == pytest.approx(expected, rel=1e-5)
    assert layer.weight.item() == 29.0


def test_checkpoints_are_read_without_running_anything(tmp_path: Path) -> None:
    """A state with an unknown key, or no JSON at all, is no checkpoint."""
    with pytest.raises(Stopped):
        train_tiny(tmp_path, heard=Heard(stop_after=2))
    root = tmp_path / "checkpoints"
    for path in root.iterdir():
        (path / "state.json").write_bytes(b'{"format":1,"extra":2}')
    assert checkpoint.load_newest(root, fingerprint="tests", world=1) is None
