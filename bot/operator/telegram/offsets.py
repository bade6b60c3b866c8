"""How far Telegram's updates have been taken: written down durably before anything of them is carried out.

So that a crash between the two loses a command, which its sender sees, and never repeats one, which nobody would.
"""

import os
from pathlib import Path

import msgspec

from bot.domain.errors import StorageError

# After a week without updates Telegram may go on with any number, also a lower one: a mark is good for less than that.
_GOOD_FOR_NS = 6 * 86_400_000_000_000


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The last update that was taken."""

    update_id: int
    taken_ns: int

    def is_good(self, now_ns: int) -> bool:
        """Return whether numbers up to it are old news still."""
        return 0 <= now_ns - self.taken_ns < _GOOD_FOR_NS


class OffsetFile:
    """One token's mark, in a file. Its methods block: call them off the event loop.

    Raises:
        StorageError: here and in `save`: the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"{path.parent}: {error.strerror}; choose a directory you may write") from error

    def load(self) -> Mark | None:
        """Return the mark; None where there is none, or none that can be read: then age alone tells old from new."""
        try:
            return msgspec.json.decode(self._path.read_bytes()[:1_024], type=Mark)
        except (OSError, msgspec.DecodeError):
            return None

    def save(self, mark: Mark) -> None:
        """Make the mark durable."""
        part = self._path.with_name(self._path.name + ".part")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, msgspec.json.encode(mark))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}; no command is taken before it is written") from error
