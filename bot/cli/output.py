"""What the commands share: their options, results on stdout, progress on stderr."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bot.runtime.env import Stopwatch

err = Console(stderr=True, highlight=False)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings; config/default.toml lists all.")]
Set = Annotated[list[str], typer.Option("--set", help="Override a setting: key=value, such as run.seed=7.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Run = Annotated[Path, typer.Argument(help="A run's directory, such as runs/latest.")]
_PLAIN_PROGRESS_EVERY_S = 5.0


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on a terminal, a line now and then elsewhere."""
    with progresses([what]) as tell:
        yield lambda done, at: tell(what, done, at)


@contextmanager
def progresses(names: Sequence[str]) -> Iterator[Callable[[str, float, str], None]]:
    """Show several bars, each with its name; see `progress`."""
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[at]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            tasks = {name: bar.add_task(name, total=1.0, at="") for name in names}
            yield lambda name, done, at: bar.update(tasks[name], completed=done, at=at)
        return
    watch = Stopwatch()
    last_s = dict.fromkeys(names, 0.0)

    def tell(name: str, done: float, at: str) -> None:
        if watch.seconds() - last_s[name] >= _PLAIN_PROGRESS_EVERY_S:
            last_s[name] = watch.seconds()
            err.print(f"{name}: {done:.0%}, {at}")

    yield tell


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """Print a result, one line per key or as JSON."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    for key, value in result.items():
        typer.echo(f"{key}: {value}")
