"""What a training leaves to look at: `metrics.jsonl`, and TensorBoard events where that is installed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.errors import StorageError
from models.durable import write_file

_LINE_MAX = 1 << 20


class Journal:
    """Figures of the steps of one fold.

    What an earlier run wrote after the step that is gone on from is taken back, so that no step is told twice.

    Args:
        directory: of the fold.
        from_step: the step that is gone on from.
    """

    def __init__(self, directory: Path, *, from_step: int) -> None:
        self._path = directory / "metrics.jsonl"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._take_back(from_step)
            self._file = self._path.open("ab")
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._board = _open_board(directory / "events", from_step)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            self._file.write(msgspec.json.encode({"step": step, **values}) + b"\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror})") from error
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what waits."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _take_back(self, from_step: int) -> None:
        if not self._path.exists():
            return
        kept = []
        with self._path.open("rb") as file:
            while line := file.readline(_LINE_MAX):
                try:
                    step = msgspec.json.decode(line, type=dict[str, Any]).get("step")
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    break  # a line that a crash cut short
                if not isinstance(step, int) or step > from_step or not line.endswith(b"\n"):
                    break
                kept.append(line)
        write_file(self._path, b"".join(kept))


def _open_board(directory: Path, from_step: int) -> Any:
    """Return TensorBoard's writer, None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(directory), purge_step=from_step + 1)
