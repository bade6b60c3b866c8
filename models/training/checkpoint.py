"""Where training was: tensors in safetensors, numbers in JSON, each checkpoint there whole or not at all.

A checkpoint is a directory `step-000001200`. Its state names the hash of its tensors, so one that a crash or a disk has
damaged is told from a whole one and passed over: training is a function of its settings, and goes from the one before
to the very same weights. Nothing here can run code.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bot.domain.errors import ConfigError, DataError, StorageError
from models.durable import sha256_of, write_directory

FORMAT = 1
_STATE, _TENSORS = "state.json", "tensors.safetensors"
_STATE_BYTES_MAX = 1 << 20
_KEEP = 2  # the newest, and the one before in case a disk fails


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything but tensors."""

    format: int = FORMAT
    fingerprint: str  # of all that the weights depend on: settings, samples, fold
    torch: str  # its version: another one rounds otherwise
    world: int  # processes
    step: int  # steps done
    epoch: int  # the position in the order of the data: the next batch
    batch: int
    mean_steps: int
    best_score: float | None
    best_step: int
    stale: int  # evaluations since the best one
    owes_validation: bool = False  # it was stopped within the evaluation of this step, which begins anew
    seconds: float  # spent so far
    tensors_sha256: str = ""


def save(root: Path, state: State, tensors: Mapping[str, Tensor]) -> Path:
    """Write a checkpoint, and remove all but the newest two.

    Raises:
        StorageError: the disk refuses.
    """
    path = root / f"step-{state.step:09d}"

    def fill(directory: Path) -> None:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, directory / _TENSORS)
        hashed = msgspec.structs.replace(state, tensors_sha256=sha256_of(directory / _TENSORS))
        (directory / _STATE).write_bytes(msgspec.json.encode(hashed, order="sorted"))

    try:
        if path.exists():
            shutil.rmtree(path)  # a damaged one, or the same again
        write_directory(path, fill)
        for old in _found(root)[_KEEP:]:
            shutil.rmtree(old)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def load_newest(root: Path, *, fingerprint: str, world: int) -> tuple[State, dict[str, Tensor]] | None:
    """Return the newest whole checkpoint, None where there is none.

    Raises:
        ConfigError: it is of other settings, other data, another torch or another number of processes.
    """
    for path in _found(root):
        read = _read(path)
        if read is None:
            continue
        state, tensors = read
        wrong = (
            "settings or data have changed since"
            if state.fingerprint != fingerprint
            else f"it was made by torch {state.torch}, this is {torch.__version__}"
            if state.torch != torch.__version__
            else f"it is of {state.world} processes, these are {world}"
            if state.world != world
            else None
        )
        if wrong is not None:
            raise ConfigError(f"{path}: cannot be resumed: {wrong}; undo that, or begin anew with another --out")
        return state, tensors
    return None


def newest_step(root: Path) -> int | None:
    """Return the step of the newest checkpoint, whole or not; None where there is none."""
    found = _found(root)
    return int(found[0].name.removeprefix("step-")) if found else None


def _found(root: Path) -> list[Path]:
    """Return checkpoints, the newest first."""
    return sorted((path for path in root.glob("step-*") if path.name[5:].isdigit()), reverse=True)


def _read(path: Path) -> tuple[State, dict[str, Tensor]] | None:
    try:
        with (path / _STATE).open("rb") as file:
            state = msgspec.json.decode(file.read(_STATE_BYTES_MAX), type=State)
        if state.format != FORMAT or sha256_of(path / _TENSORS) != state.tensors_sha256:
            return None
        return state, load_file(path / _TENSORS)
    except (OSError, DataError, msgspec.MsgspecError, UnicodeDecodeError, SafetensorError):
        return None
