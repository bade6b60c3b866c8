"""Market data: bringing files into the native store, and listing what it holds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bot.domain.errors import ConfigError, DataError
from bot.runtime.env import read_ahead
from bot.store.importing.options import ImportOptions
from bot.store.importing.sources import is_candidate, recognise
from bot.store.market_store import REJECTED, Listed, MarketStore, Written


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDone:
    """What became of one file.

    Attributes:
        path: the file.
        status: "failed" where it should have been read and could not be.
        what: what it was recognised as, "" if it was not.
        reason: why it was skipped or failed, one line.
        written: what it did to the store, by dataset.
    """

    path: Path
    status: Literal["imported", "skipped", "failed"]
    what: str = ""
    reason: str = ""
    written: tuple[Written, ...] = ()


def import_files(
    paths: Sequence[Path],
    *,
    store: Path,
    options: ImportOptions,
    strict: bool = False,
    on_progress: Callable[[float, str], None] = lambda done, at: None,
) -> Iterator[FileDone]:
    """Import files, and all files of folders, into the store; yield each as it is done.

    A file is imported whole or not at all. One that fails does not keep the others out.

    Args:
        paths: files and folders.
        store: the store's folder.
        options: what the user says of all these files.
        strict: refuse a file if one of its rows cannot be right.
        on_progress: told how much is done, from 0 to 1, and what is being read.

    Raises:
        ConfigError: a path does not exist.
        StorageError: the disk refuses.
    """
    files = list(_walk(paths, store))
    bytes_all = max(1, sum(size for _, size, _ in files))
    bytes_done = 0
    market = MarketStore(store)
    for path, size, is_named in files:

        def tell(part: float, done: int = bytes_done, size: int = size, name: str = path.name) -> None:
            on_progress((done + size * part) / bytes_all, name)

        tell(0.0)
        why_not = None if is_named else _why_not(path)
        if why_not is not None:
            yield FileDone(path=path, status="skipped", reason=why_not)
        else:
            yield _import_file(path, market, replace(options, on_read=tell, ahead=read_ahead), strict)
        bytes_done += size
    on_progress(1.0, "done")


def list_store(store: Path) -> list[Listed]:
    """Return the datasets of a store.

    Raises:
        ConfigError: there is no such folder.
        DataError: a file of it is damaged.
    """
    if not store.is_dir():
        raise ConfigError(f"{store}: no such folder; import something first, or say where the store is with --store")
    return MarketStore(store).datasets()


def _import_file(path: Path, market: MarketStore, options: ImportOptions, strict: bool) -> FileDone:
    what = ""
    try:
        found = recognise(path, options)
        what = found.what
        written = market.write(found.read(), name=path.name, strict=strict)
        if not any(each.new + each.repeated + each.replaced + each.rejected for each in written):
            raise DataError(f"{path}: no rows in it")
    except DataError as error:
        message = str(error)
        reason = message if str(path) in message else f"{path}: {message}"
        return FileDone(path=path, status="failed", what=what, reason=reason)
    return FileDone(path=path, status="imported", what=what, written=tuple(written))


def _why_not(path: Path) -> str | None:
    """Return why a file that was found in a folder is passed over, None if it is not."""
    if path.parent.name == REJECTED:
        return "rows that an import has refused"
    return None if is_candidate(path) else "not market data"


def _walk(paths: Sequence[Path], store: Path) -> Iterator[tuple[Path, int, bool]]:
    """Yield every file with its size, and whether it was named rather than found in a folder; none twice."""
    seen: set[Path] = set()
    own = store.resolve()
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
        is_named = not path.is_dir()
        for file in [path] if is_named else sorted(path.rglob("*")):
            inside = file.relative_to(path).parts
            hidden = any(part.startswith(".") for part in inside)
            real = file.resolve()
            if not file.is_file() or real in seen or (not is_named and (hidden or real.is_relative_to(own))):
                continue
            seen.add(real)
            yield file, file.stat().st_size, is_named
