"""A lock that one process of a host can hold: a second copy of the bot is refused, by name."""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from bot.domain.errors import ConfigError, StorageError


class HostLock:
    """Holds a lock file until closed, or until the process is gone, however it went.

    The lock is the kernel's (flock), not the file: a file that was left behind locks nobody out.

    Args:
        path: the lock file; made where it is absent, and left there.
        what: what is locked, for the message.

    Raises:
        ConfigError: another process holds it; the message names the process and the file.
        StorageError: the file cannot be made.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageError(f"{path}: the lock file cannot be made ({error.strerror})") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise ConfigError(
                f"{what} is in use by {who}, which holds {path}; stop it first: two on one account would trade twice"
            ) from None
        except OSError as error:
            os.close(self._file)
            raise StorageError(f"{path}: the lock cannot be taken ({error.strerror})") from error

    def close(self) -> None:
        """Let go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "HostLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
