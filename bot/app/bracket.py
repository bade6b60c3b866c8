"""The same replay under pessimistic, neutral and optimistic fills, each in a process of its own.

The neutral one is the run proper, whose report gets the bracket; the other two are runs beside it. A process is this
module's `serve`: it reads a `Job` and answers with a line of JSON for each message.
"""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bot.app import runs
from bot.app.outcomes import Interrupted, RunFailed
from bot.app.replay import Progress, Replayed, replay
from bot.app.replay_market import open_market
from bot.app.run_places import point_latest_at
from bot.domain.errors import BotError, ConfigError, DataError, StorageError
from bot.report.run_data import PRESETS, PresetFigures
from bot.runtime import logs
from bot.runtime.env import answer_pipe
from bot.runtime.processes import ProcessPool
from bot.runtime.settings import Settings

PROPER = "neutral"
_ORDER = (PROPER, "pessimistic", "optimistic")  # the one that matters most begins first
_STEP = 0.005  # progress is told when so much more is done
_ERRORS: dict[str, type[BotError]] = {error.__name__: error for error in (ConfigError, DataError, StorageError)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bracketed:
    """Three replays that reached their end.

    Attributes:
        proper: the neutral one.
        metrics: its metrics, the bracket among them.
        rounded: how many of an instrument's prices and quantities lay between two ticks, where any did.
    """

    proper: Replayed
    metrics: dict[str, Any]
    rounded: dict[str, int]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One replay to be made."""

    settings: dict[str, Any]
    draws_report: bool


class Advanced(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replay is so far; see `Progress`."""

    done: float
    at_ns: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replay has reached its end; see `Replayed`."""

    directory: str
    ledger_hash: str
    rows_in: int
    engine_seconds: float
    rounded: dict[str, int]
    figures: PresetFigures


class Cut(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replay was told to stop, and did."""

    directories: list[str]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replay cannot be made."""

    kind: str  # the error's class
    message: str


Message = Advanced | Finished | Cut | Failed


def replay_bracket(
    settings: Settings, *, on_progress: Callable[[str, Progress], None] = lambda preset, progress: None
) -> Bracketed:
    """Replay under each preset of fills, whatever the settings say of them; `on_progress` is told the preset.

    The market must be there: a sample market is made before, by `open_market`.

    Raises:
        BotError: something the user can mend.
        RunFailed: the strategy, or a process, ended by an error.
        Interrupted: Ctrl-C.
    """
    return _Bracket(settings, on_progress).run()


class _Bracket:
    """Three replays under way."""

    def __init__(self, settings: Settings, on_progress: Callable[[str, Progress], None]) -> None:
        jobs = [Job(settings=_with_fills(settings, preset), draws_report=preset != PROPER) for preset in _ORDER]
        self._pool = ProcessPool("bot.app.bracket", [msgspec.json.encode(job) for job in jobs])
        self._on_progress = on_progress
        self._decoder = msgspec.json.Decoder(Message)
        self._finished: dict[str, Finished] = {}
        self._cut: dict[str, Cut] = {}
        self._failure: BotError | RunFailed | None = None

    def run(self) -> Bracketed:
        """Replay, then draw the report of the neutral one."""
        try:
            self._listen()
        except KeyboardInterrupt:
            self._pool.stop()
            self._listen()
            raise self._interrupted() from None
        finally:
            self._pool.close()
        if self._failure is not None:
            raise self._failure
        proper = self._finished[PROPER]
        directory = Path(proper.directory)
        runs.keep_bracket(directory, {preset: self._finished[preset].figures for preset in PRESETS})
        metrics = runs.write_report(directory)
        point_latest_at(directory)
        done = Replayed(
            directory=directory,
            ledger_hash=proper.ledger_hash,
            rows_in=proper.rows_in,
            engine_seconds=proper.engine_seconds,
        )
        return Bracketed(proper=done, metrics=metrics, rounded=proper.rounded)

    def _listen(self) -> None:
        """Hear the processes until all have ended; one that fails ends the others."""
        for number, line in self._pool.lines():
            preset = _ORDER[number]
            if line is not None:
                self._hear(preset, self._decoder.decode(line))
            elif preset not in self._finished and preset not in self._cut:
                self._fail(RunFailed(f"the replay with {preset} fills ended without a word; what it said is above"))

    def _hear(self, preset: str, message: Message) -> None:
        match message:
            case Advanced(done=done, at_ns=at_ns):
                self._on_progress(preset, Progress(done=done, at_ns=at_ns))
            case Finished():
                self._finished[preset] = message
            case Cut():
                self._cut[preset] = message
            case Failed(kind=kind, message=text):
                self._cut[preset] = Cut(directories=[])
                self._fail(_ERRORS.get(kind, RunFailed)(f"with {preset} fills: {text}"))

    def _fail(self, failure: BotError | RunFailed) -> None:
        """Keep the first failure, and end the others: what they would find is of no use without this one."""
        if self._failure is None:
            self._failure = failure
            self._pool.stop()

    def _interrupted(self) -> Interrupted:
        cut = [Path(directory) for each in self._cut.values() for directory in each.directories]
        return Interrupted(*cut, finished=[Path(each.directory) for each in self._finished.values()])


def _with_fills(settings: Settings, preset: str) -> dict[str, Any]:
    values = settings.model_dump(mode="json")
    values["venue"]["fills"] = preset
    return values


def serve(job: Job, answers: BinaryIO) -> None:
    """Make one replay and tell how it goes."""

    def tell(message: Message) -> None:
        answers.write(msgspec.json.encode(message) + b"\n")
        answers.flush()

    told = 0.0

    def advance(progress: Progress) -> None:
        nonlocal told
        if progress.done >= told + _STEP:
            told = progress.done
            try:
                tell(Advanced(done=progress.done, at_ns=progress.at_ns))
            except BrokenPipeError:  # nobody listens any more
                signal.raise_signal(signal.SIGINT)

    try:
        settings = Settings(**job.settings)
        logs.configure(settings.log.level)
        market = open_market(settings)
        done = replay(settings, market, on_progress=advance, is_latest=False)
        if job.draws_report:
            runs.write_report(done.directory)
        rounded = {instrument.name: int(getattr(history, "rounded_count", 0)) for instrument, history in market}
        tell(
            Finished(
                directory=str(done.directory),
                ledger_hash=done.ledger_hash,
                rows_in=done.rows_in,
                engine_seconds=done.engine_seconds,
                rounded={name: count for name, count in rounded.items() if count},
                figures=runs.measure_run(done.directory),
            )
        )
    except (BotError, RunFailed) as error:
        tell(Failed(kind=type(error).__name__, message=str(error)))
    except Interrupted as stop:
        tell(Cut(directories=[str(directory) for directory in stop.cut]))
    except KeyboardInterrupt:
        tell(Cut(directories=[]))


def _main() -> None:
    answers = answer_pipe()
    # Until here, and while modules are read, SIGTERM ends the process without a word; from now on it is a Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` lets all it starts ignore it
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    job = sys.stdin.buffer.read()
    if job:
        serve(msgspec.json.decode(job, type=Job), answers)


if __name__ == "__main__":
    _main()
