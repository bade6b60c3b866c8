"""`bot train`."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from bot.app import models as modelling
from bot.app import train as training
from bot.app.outcomes import RunFailed
from bot.cli.output import Json, Set, err, print_result, progress
from bot.runtime import logs
from bot.runtime.env import StopFlag, Stopwatch, run_in_thread
from bot.runtime.train_settings import load_train

PATIENCE_S = 10.0  # that somebody who asked for the end waits for a step that is long


def train(
    config: Annotated[Path, typer.Option("--config", help="TOML file of a training, such as config/train-demo.toml.")],
    out: Annotated[Path, typer.Option("--out", help="Where artefacts are kept.")] = Path("artifacts"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Train a model on recorded markets, calibrate and judge it, and write it as an artefact.

    It may be stopped (Ctrl-C, SIGTERM) or killed at any moment: --resume goes on to the very same weights.
    """
    settings = load_train(config, overrides)
    logs.configure(settings.log.level)
    stages = Stages(is_quiet=os.environ.get("RANK", "0") != "0")
    watch = training.Watch(clock=Stopwatch().seconds, tell=stages.tell)

    def work(flag: StopFlag) -> training.TrainDone | None:
        watch.should_stop = lambda: flag.is_set
        return training.train(settings, out=out, is_resumed=resume, watch=watch)

    try:
        with stages:
            done = run_in_thread(work, patience_s=PATIENCE_S)
    except KeyboardInterrupt:  # within one long step: whatever is on the disk is whole, as after a kill
        raise RunFailed(watch.stopped()) from None
    except training.TrainStopped as stopped:
        raise RunFailed(str(stopped)) from None
    if done is None:
        return  # another process tells
    result = {"model": done.artefact.name, "path": str(done.artefact), "seconds": round(done.seconds, 1)}
    if not as_json:
        result |= modelling.summary(done.manifest)
    else:
        result |= {"results": done.manifest.results}
    print_result(result, as_json)


class Stages:
    """A bar for each stage, one after another; on a terminal the one before vanishes."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._stack = ExitStack()
        self._stage: str | None = None

    def tell(self, stage: str, part: float, text: str) -> None:
        """Show how far a stage is."""
        if self._is_quiet:
            return
        if stage != self._stage:
            self._stack.close()
            if not err.is_terminal:
                err.print(f"{stage} ...")
            self._stage, self._tell = stage, self._stack.enter_context(progress(stage))
        self._tell(part, text)

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
