"""Where runs are."""

from contextlib import suppress
from pathlib import Path


def point_latest_at(directory: Path) -> None:
    """Let `runs/latest` mean this run; where links cannot be made, do without."""
    link = directory.parent / "latest"
    with suppress(OSError):
        if link.is_symlink() or not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(directory.name, target_is_directory=True)
