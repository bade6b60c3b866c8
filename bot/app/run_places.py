"""Where runs are."""

from contextlib import suppress
from pathlib import Path

from bot.domain.errors import ConfigError


def make_run_directory(out: Path, name: str, config: str) -> Path:
    """Make a directory for a run, with its settings in it; where the name is taken, one with a number behind it.

    Whoever makes a directory has it to himself: two runs that begin within a second never share one, be they of two
    processes, or of two machines with one disk.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        directory = _make_free(out, name)
        (directory / "config.toml").write_text(config, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"run.out = {out}: {error.strerror}; choose a directory you may write") from error
    return directory


def _make_free(out: Path, name: str) -> Path:
    number = 1
    while True:
        directory = out / (name if number == 1 else f"{name}.{number}")
        try:
            directory.mkdir()
        except FileExistsError:
            number += 1
        else:
            return directory


def point_latest_at(directory: Path) -> None:
    """Let `runs/latest` mean this run; where links cannot be made, do without."""
    link = directory.parent / "latest"
    with suppress(OSError):
        if link.is_symlink() or not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(directory.name, target_is_directory=True)
