"""Faults beneath the very SQLite that Python uses: a write or a sync that fails, and what a power cut leaves.

SQLite does all it does to files through a table of functions (a VFS). Here the default one is copied, in the library
that `sqlite3` has loaded, and the entries that write, sync and truncate are replaced by functions that may fail, and
that keep book of what was synced. Nothing of it needs a compiler.
"""

import ctypes
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_OK = 0
_METHODS = 22  # entries of sqlite3_io_methods, version 3, each of a pointer's size; the first is the version
_CLOSE, _WRITE, _TRUNCATE, _SYNC = 1, 3, 4, 5
_WORD = ctypes.sizeof(c_void_p)

# A name stays the pointer it is: SQLite keeps it as long as the file is open.
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_Write = CFUNCTYPE(c_int, c_void_p, POINTER(c_char), c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)
_Close = CFUNCTYPE(c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", c_int),
        ("file_size", c_int),
        ("path_max", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("others", c_void_p * 13),
    ]


@dataclass
class Disk:
    """What of one file a power cut would leave."""

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and bytes, or a new length

    def settle(self) -> None:
        """Take what was not synced for durable."""
        self.durable = self.image(self.unsynced)
        self.unsynced = []

    def image(self, kept: list[tuple[int, bytes | None]]) -> bytearray:
        """Return the file with these of the unsynced operations."""
        content = bytearray(self.durable)
        for offset, data in kept:
            if data is None:
                del content[offset:]
                continue
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            content[offset : offset + len(data)] = data
        return content


class Faults:
    """Counts writes and syncs, fails the one it is told to, and knows what is on the disk.

    Attributes:
        operations: writes, syncs and truncations so far.
        fail_at: the operation, counted from 1, that fails; 0 for none.
        code: SQLite's code that it fails with.
        fail_next: the kind of operation, "write", "truncate" or "sync", whose next one fails.
        is_short: a failing write writes its first half.
        at: called before an operation of this number.
    """

    def __init__(self) -> None:
        self.operations = 0
        self.fail_at = 0
        self.code = sqlite3.SQLITE_IOERR_WRITE
        self.is_short = False
        self.failed = ""
        self.fail_next = ""
        self.disks: dict[str, Disk] = {}
        self.at: dict[int, Callable[[], None]] = {}

    def arm(self, fail_at: int, code: int = sqlite3.SQLITE_IOERR_WRITE, *, is_short: bool = False) -> None:
        """Count from now on, and fail once."""
        self.operations, self.fail_at, self.code, self.is_short, self.failed = 0, fail_at, code, is_short, ""

    def step(self, what: str) -> bool:
        """Count an operation; return whether it fails."""
        self.operations += 1
        if self.operations in self.at:
            self.at.pop(self.operations)()
        if self.operations == self.fail_at or what == self.fail_next:
            self.fail_next = ""
            self.failed = what
            return True
        return False

    def power_cut(self, to: Path, chance: random.Random) -> None:
        """Write into a directory what a power cut now may leave: of the unsynced writes some, in any order, torn."""
        to.mkdir()
        for path, disk in self.disks.items():
            kept = [each for each in disk.unsynced if chance.random() < 0.5]
            if chance.random() < 0.3:
                chance.shuffle(kept)
            if kept and chance.random() < 0.5:
                offset, data = kept[-1]
                if data is not None:
                    kept[-1] = offset, data[: chance.randrange(len(data)) // 512 * 512]
            (to / Path(path).name).write_bytes(disk.image(kept))


def _library() -> Any:
    """Return the library that `sqlite3` uses; skip where it is built into the interpreter."""
    sqlite3.connect(":memory:").close()
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.is_file() else []
    paths = sorted({line.split()[-1] for line in lines if "libsqlite3" in line})
    if not paths:
        pytest.skip("sqlite3 is built into this interpreter: its files cannot be reached from beneath")
    library = ctypes.CDLL(paths[0])
    library.sqlite3_vfs_find.restype = POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = [c_char_p]
    library.sqlite3_vfs_register.argtypes = [POINTER(_Vfs), c_int]
    library.sqlite3_vfs_unregister.argtypes = [POINTER(_Vfs)]
    library.sqlite3_libversion.restype = c_char_p
    assert library.sqlite3_libversion().decode() == sqlite3.sqlite_version
    return library


@contextmanager
def faulty_sqlite() -> Iterator[Faults]:
    """Make every database that is opened meanwhile one whose files may fail. Close them all before leaving."""
    library = _library()
    faults = Faults()
    real = library.sqlite3_vfs_find(None)
    ours = _Vfs()
    ctypes.memmove(ctypes.byref(ours), real, ctypes.sizeof(_Vfs))
    ours.name = b"faulty"
    hooks = _Hooks(faults, real)
    ours.open = ctypes.cast(hooks.open, c_void_p)
    ours.delete = ctypes.cast(hooks.delete, c_void_p)
    library.sqlite3_vfs_register(ctypes.byref(ours), 1)
    try:
        yield faults
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(ours))
        library.sqlite3_vfs_register(real, 1)


class _Hooks:
    """The functions that stand in for the default VFS's. A file is the default's own; only its method table differs."""

    def __init__(self, faults: Faults, real: Any) -> None:
        self._faults = faults
        self._real = real
        self._real_open = ctypes.cast(real.contents.open, _Open)
        self._real_delete = ctypes.cast(real.contents.delete, _Delete)
        self._tables: dict[int, Any] = {}  # our copy, by the address of the default's
        self._names: dict[int, str] = {}  # of open files that keep something, by address
        self.open = _Open(self._open)
        self.delete = _Delete(self._delete)

    def _open(self, _vfs: int, name: int | None, file: int, flags: int, out_flags: Any) -> int:
        code = int(self._real_open(ctypes.cast(self._real, c_void_p).value, name, file, flags, out_flags))
        methods = ctypes.cast(file, POINTER(c_void_p))
        if code != _OK or not methods[0] or name is None:
            return code
        path = ctypes.string_at(name).decode()
        self._names[file] = path
        if path not in self._faults.disks:
            self._faults.disks[path] = Disk(bytearray(Path(path).read_bytes()))
        table = methods[0]
        if table not in self._tables:
            self._tables[table] = self._replaced(table)
        methods[0] = ctypes.cast(self._tables[table][0], c_void_p).value
        return code

    def _delete(self, _vfs: int, name: int, sync: int) -> int:
        self._faults.disks.pop(ctypes.string_at(name).decode(), None)
        return int(self._real_delete(ctypes.cast(self._real, c_void_p).value, name, sync))

    def _replaced(self, table: int) -> Any:
        """Return a copy of a method table whose writing entries are ours, with what must be kept alive."""
        version = ctypes.cast(table, POINTER(c_int))[0]
        size = {1: 13, 2: 17}.get(version, 19)
        copy = (c_void_p * _METHODS)()
        ctypes.memmove(copy, table, size * _WORD)
        write, truncate = ctypes.cast(copy[_WRITE] or 0, _Write), ctypes.cast(copy[_TRUNCATE] or 0, _Truncate)
        sync, close = ctypes.cast(copy[_SYNC] or 0, _Sync), ctypes.cast(copy[_CLOSE] or 0, _Close)
        faults, names = self._faults, self._names

        def on_write(file: int, data: Any, count: int, offset: int) -> int:
            if faults.step("write"):
                if faults.is_short:
                    write(file, data, count // 2, offset)
                    faults.disks[names[file]].unsynced.append((offset, ctypes.string_at(data, count // 2)))
                return faults.code
            faults.disks[names[file]].unsynced.append((offset, ctypes.string_at(data, count)))
            return int(write(file, data, count, offset))

        def on_truncate(file: int, length: int) -> int:
            if faults.step("truncate"):
                return faults.code
            faults.disks[names[file]].unsynced.append((length, None))
            return int(truncate(file, length))

        def on_sync(file: int, flags: int) -> int:
            if faults.step("sync"):
                return sqlite3.SQLITE_IOERR_FSYNC
            code = int(sync(file, flags))
            if code == _OK:
                faults.disks[names[file]].settle()
            return code

        def on_close(file: int) -> int:
            names.pop(file, None)
            return int(close(file))

        ours = _Write(on_write), _Truncate(on_truncate), _Sync(on_sync), _Close(on_close)
        for place, function in zip((_WRITE, _TRUNCATE, _SYNC, _CLOSE), ours, strict=True):
            copy[place] = ctypes.cast(function, c_void_p).value
        return copy, ours
