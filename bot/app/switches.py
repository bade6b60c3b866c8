"""The durable switches of a trading account: kill, and what else a person asks of a running bot, by files.

They need neither the event loop of the bot nor a network nor the database: a file in the ledger's directory, written
and synced by another process on the host, is what counts. The kill switch is the presence of a file; it outlives every
restart, and is opened by `bot resume --re-arm` on the host alone.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from bot.domain.errors import StorageError
from bot.domain.operation import Flatten, Kill, OperatorCommand, Pause, Resume

KILL_FILE = "KILL"
_COMMANDS = "commands"
_COMMAND_BYTES_MAX = 4_096

_DECODER = msgspec.json.Decoder(Kill | Pause | Resume | Flatten)


class Switches:
    """The switches of one account.

    Args:
        directory: the ledger's; made where it is not there.

    Raises:
        StorageError: here and in every method that writes: the disk refuses.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._kill = directory / KILL_FILE
        self._commands = directory / _COMMANDS
        try:
            self._commands.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"{self._commands}: {error.strerror}; choose a directory you may write") from error

    @property
    def is_killed(self) -> bool:
        """Return whether the kill switch is closed: one look at the disk's cache, cheap enough for every order."""
        return self._kill.exists()

    def why_killed(self) -> str:
        """Return what was written down when the kill switch was closed."""
        with suppress(OSError, UnicodeDecodeError):
            return self._kill.read_text(encoding="utf-8")[:200].strip()
        return ""

    def kill(self, why: str) -> None:
        """Close the kill switch, durably."""
        _write_durably(self._kill, why.encode())

    def re_arm(self) -> bool:
        """Open the kill switch; return whether it was closed."""
        was_closed = self._kill.exists()
        self._kill.unlink(missing_ok=True)
        _sync_directory(self._kill.parent)
        return was_closed

    def ask(self, command: OperatorCommand, name: str) -> Path:
        """Leave a command for the running bot; return where its answer will be.

        Args:
            name: of the command's file, never used before.
        """
        path = self._commands / f"{name}.json"
        _write_durably(path, msgspec.json.encode(command))
        return path.with_suffix(".answer")

    def take(self) -> list[tuple[OperatorCommand, Callable[[str], None]]]:
        """Return the commands that were left, each with what answers it, and remove them: none is carried out twice."""
        taken: list[tuple[OperatorCommand, Callable[[str], None]]] = []
        for path in sorted(self._commands.glob("*.json")):
            body = b""
            with suppress(OSError):
                if path.is_file() and not path.is_symlink() and path.stat().st_size <= _COMMAND_BYTES_MAX:
                    body = path.read_bytes()
                path.unlink(missing_ok=True)
            try:
                command = _DECODER.decode(body)
            except msgspec.DecodeError:
                _answer(path, "that is no command")
                continue
            taken.append((command, lambda text, path=path: _answer(path, text)))  # type: ignore[misc]
        return taken


def _answer(path: Path, text: str) -> None:
    with suppress(OSError):  # nobody may be waiting, and nothing depends on it
        part = path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path.with_suffix(".answer"))


def _write_durably(path: Path, body: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, body)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; free space, or make it by hand: touch {path}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
