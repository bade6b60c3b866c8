"""Files that are there whole or not at all, and the hashes that say they still are what they were."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from bot.domain.errors import DataError, StorageError

_CHUNK = 1 << 22


def write_file(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk; a file of that name is replaced in one step.

    Raises:
        StorageError: the disk refuses.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def write_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a directory appear with all that `fill` writes into it, or not at all.

    One of that name that is there already is left as it is: callers name directories by content. What a crash left of
    an earlier attempt is removed.

    Raises:
        StorageError: the disk refuses.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if part.exists():
            shutil.rmtree(part)
        part.mkdir()
        fill(part)
        for each in sorted(part.iterdir()):
            _sync(each)
        sync_directory(part)
        if path.exists():
            shutil.rmtree(part)
            return
        part.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    _sync(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
