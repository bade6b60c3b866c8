"""What the commands share: their options, results on stdout, progress on stderr."""

import sys
from collections.abc import Callable, Iterator
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
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[at]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(what, total=1.0, at="")
            yield lambda done, at: bar.update(task, completed=done, at=at)
        return
    watch = Stopwatch()
    last_s = [0.0]

    def tell(done: float, at: str) -> None:
        if watch.seconds() - last_s[0] >= _PLAIN_PROGRESS_EVERY_S:
            last_s[0] = watch.seconds()
            err.print(f"{what}: {done:.0%}, {at}")

    yield tell


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """Print a result, one line per key or as JSON."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    for key, value in result.items():
        typer.echo(f"{key}: {value}")
