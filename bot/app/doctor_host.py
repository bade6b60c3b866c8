"""What of this machine would hurt a bot that runs for weeks: disk, file systems, limits, who may read what it keeps."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

Said = tuple[str, bool, str, str]
"""Check, whether it is fatal, what is wrong, how to mend it."""

FREE_BYTES_MIN = 2 << 30
FREE_INODES_MIN = 10_000
FILES_MIN = 1_024
_NETWORK_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph")


def check_host(out: Path, *, is_real: bool) -> Iterator[Said]:
    """Yield what is wrong with the place where runs are kept, and with what this process may use."""
    there = _nearest(out)
    if not os.access(there, os.W_OK | os.X_OK):
        yield "disk.read_only", True, f"run.out = {out}: you may not write there", "choose a directory of your own"
    yield from check_room(there, shutil.disk_usage(there).free, os.statvfs(there).f_favail)
    system = file_system(there, _mounts())
    if system in _NETWORK_SYSTEMS:
        yield (
            "disk.network",
            True,
            f"{there} is on {system}: SQLite's locks and syncs do not hold there",
            "keep run.out on a local disk, or the ledger in Postgres",
        )
    if out.is_dir() and out.stat().st_mode & 0o077 and is_real:
        yield "disk.readable", False, f"{out}: others may read it", f"run: chmod 700 {out}"
    yield from check_limits(
        resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_CORE)[0], is_real=is_real
    )


def check_room(there: Path, free_bytes: int, free_inodes: int) -> Iterator[Said]:
    """Yield whether a disk fills soon."""
    if free_bytes < FREE_BYTES_MIN:
        room = f"{free_bytes / 2**30:.1f} GiB"
        yield "disk.full", True, f"{there}: {room} left; a full disk halts trading", "free some, or move run.out"
    if 0 < free_inodes < FREE_INODES_MIN:
        yield "disk.inodes", True, f"{there}: room for {free_inodes} files", "remove files, or move run.out"


def check_limits(files: int, core_bytes: int, *, is_real: bool) -> Iterator[Said]:
    """Yield whether the process may open enough files, and whether a crash would write its memory, keys in it, out."""
    if files != resource.RLIM_INFINITY and files < FILES_MIN:
        yield "limits.files", False, f"this process may open {files} files", f"run: ulimit -n {FILES_MIN * 8}"
    if is_real and core_bytes:
        yield "limits.core", False, "a crash would write memory, keys in it, to disk", "run: ulimit -c 0"


def file_system(path: Path, mounts: str) -> str:
    """Return the kind of file system that a path is on, "" if it cannot be told; `mounts` is /proc/mounts."""
    best, kind = "", ""
    place = str(path.resolve())
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        at = parts[1].replace("\\040", " ")
        is_above = place == at or place.startswith(at.rstrip("/") + "/")
        if is_above and len(at) >= len(best):
            best, kind = at, parts[2]
    return kind


def _mounts() -> str:
    with suppress(OSError):
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    return ""


def _nearest(path: Path) -> Path:
    """Return what there is of a path."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
