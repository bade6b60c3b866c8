"""Where numba keeps what it compiled, and by what it knows that it is out of date.

Numba compares the file of a function alone. But a compiled function holds what it calls, and the constants it uses, of
other files too: after a change in one of those it would go on running the old code. So here the stamp of a function is
that of its file and of everything of this project that the file imports, directly or not.

`bot/__init__.py` names these classes in NUMBA_CACHE_LOCATOR_CLASSES, which is how numba is told of them.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator

_ROOT = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([\w., \t]+))", re.MULTILINE
)


class ByEverythingImported:
    """Mixed into a locator of numba's: the stamp of a function's source is `stamp` of its file."""

    def get_source_stamp(self) -> str:
        """Return what differs as soon as the compiled code could."""
        return stamp(Path(self._py_file))  # type: ignore[attr-defined]


class WhereTold(ByEverythingImported, UserProvidedCacheLocator):
    """In NUMBA_CACHE_DIR, if that is set."""


class BesideTheSource(ByEverythingImported, InTreeCacheLocator):
    """In `__pycache__`, if that may be written."""


class OfTheUser(ByEverythingImported, UserWideCacheLocator):
    """In the user's cache directory."""


@cache
def stamp(path: Path, root: Path = _ROOT) -> str:
    """Return a hash of a file and of all files under `root` that it imports, directly or through others."""
    seen: dict[Path, bytes] = {}
    open_ = [path.resolve()]
    while open_:
        each = open_.pop()
        if each not in seen:
            seen[each], imported = _read(each, root)
            open_.extend(imported)
    told = hashlib.sha256()
    for each in sorted(seen):
        told.update(str(each).encode() + b"\0" + seen[each])
    return told.hexdigest()


@cache
def _read(path: Path, root: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Return the hash of a file, and the files under `root` that it imports."""
    body = path.read_bytes()
    imported = tuple(file for name in _names(body.decode("utf-8", "replace")) if (file := _file(name, root)))
    return hashlib.sha256(body).digest(), imported


def _names(source: str) -> Iterator[str]:
    """Yield the modules that a source imports, and what could be one."""
    for match in _IMPORT.finditer(source):
        module, taken, plain = match.groups()
        if module is None:
            yield from (each.split()[0] for each in plain.split(",") if each.strip())
            continue
        yield module
        for each in re.sub(r"#[^\n]*", "", taken).strip("()").split(","):
            if each.strip():
                yield f"{module}.{each.split()[0]}"


@cache
def _file(module: str, root: Path) -> Path | None:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts) or not (root / parts[0]).is_dir():
        return None
    place = root.joinpath(*parts)
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None
