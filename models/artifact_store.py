"""The directory of artefacts: which there are, and which one is in use.

`CURRENT` is one line, the name of the artefact in use; `PREVIOUS` the one before, to go back to. Both are replaced in
one step, so a reader sees the old name or the new one. Whoever loads keeps what it has until another has been loaded
whole (`models.artifact.Serving`): a bad artefact leaves the old one serving.
"""

import re
from pathlib import Path

from bot.domain.errors import ConfigError, DataError
from models.durable import write_file

CURRENT, PREVIOUS = "CURRENT", "PREVIOUS"
_NAME = re.compile(r"[a-z0-9_]{1,64}-[0-9a-f]{12}")


def names(store: Path) -> list[str]:
    """Return the artefacts in a store, whole or not, by name.

    Raises:
        DataError: the directory cannot be read.
    """
    if not store.exists():
        return []
    try:
        return sorted(each.name for each in store.iterdir() if _NAME.fullmatch(each.name) and each.is_dir())
    except OSError as error:
        raise DataError(f"{store}: cannot be read ({error.strerror})") from error


def check_name(name: str) -> str:
    """Return a name if it can be an artefact's: nothing that leads out of the store.

    Raises:
        ConfigError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:80]!r} is no name of an artefact, such as flagship-0123456789ab")
    return name


def locate(store: Path, model: str) -> Path:
    """Return the directory of a model: its name in the store, the beginning of one, a path, or "current".

    Raises:
        ConfigError: there is none, or several begin so.
    """
    if model == "current":
        chosen = current(store)
        if chosen is None:
            raise ConfigError(f"{store}: no model is in use; choose one with bot models use")
        return store / chosen
    if "/" in model:
        return Path(model)
    found = [name for name in names(store) if name.startswith(model)]
    if len(found) == 1:
        return store / found[0]
    if found:
        raise ConfigError(f"{model}: {len(found)} models begin so: {', '.join(found)}; write more of the name")
    raise ConfigError(f"{model}: no such model in {store}; there are {', '.join(names(store)) or 'none'}")


def current(store: Path) -> str | None:
    """Return the name of the artefact in use, None where none was chosen.

    Raises:
        DataError: the pointer is damaged.
    """
    return _pointer(store / CURRENT)


def use(store: Path, name: str) -> None:
    """Let an artefact be the one in use; the caller has verified it.

    Raises:
        ConfigError: it is not there. StorageError: the disk refuses.
    """
    if not (store / check_name(name)).is_dir():
        raise ConfigError(f"{name}: no such model in {store}; there are {', '.join(names(store)) or 'none'}")
    before = current(store)
    if before == name:
        return
    if before is not None:
        write_file(store / PREVIOUS, f"{before}\n".encode())
    write_file(store / CURRENT, f"{name}\n".encode())


def rollback_target(store: Path) -> str:
    """Return the artefact that was in use before.

    Raises:
        ConfigError: there was none.
    """
    before = _pointer(store / PREVIOUS)
    if before is None:
        raise ConfigError(f"{store}: no model was in use before this one; choose one with bot models use")
    return before


def _pointer(path: Path) -> str | None:
    if not path.exists() and not path.is_symlink():
        return None
    try:
        with path.open("rb") as file:
            text = file.read(256).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read; choose a model with bot models use") from error
    name = text.removesuffix("\n")
    if not _NAME.fullmatch(name):
        raise DataError(f"{path}: {name[:80]!r} is no name of an artefact; choose a model with bot models use")
    return name
