"""Drives the real inference process as the live loop does: never waiting inside a call, and timing each."""

import select
import time
from pathlib import Path

import numpy as np

from bot.core.inference_frames import Decision, NewRows, Outcome, Shape
from bot.runtime.inference_process import MODULE, InferenceSettings
from bot.runtime.inference_service import History, InferenceService
from models.serving.told import read_told, shape_of
from tests.support.own_time import Slowest

START_NS = 28_401_120 * 60 * 10**9
LATE_NS = 250_000_000


def shape_at(path: Path, instruments: tuple[str, ...]) -> Shape:
    """Return an artefact's shape."""
    return shape_of(read_told(path), instruments)


class Bars:
    """Rows of features of made-up bars, the same for every run."""

    def __init__(self, shape: Shape, *, seed: int = 0) -> None:
        self.shape, self._seed = shape, seed

    def rows(self, close_ns: int) -> list[NewRows]:
        """Return what closes at a time, of all instruments."""
        made = []
        for number in range(len(self.shape.instruments)):
            for scale, scale_ns in enumerate(self.shape.scale_ns):
                if close_ns % scale_ns == 0:
                    made.append(self.row(number, scale, close_ns))
        return made

    def row(self, number: int, scale: int, close_ns: int) -> NewRows:
        """Return one bar's row."""
        generator = np.random.default_rng([self._seed, number, scale, close_ns // 10**9])
        values = np.abs(generator.normal(0.0005, 0.0003, (1, self.shape.features))).astype(np.float32)
        times = np.array([close_ns], dtype=np.int64)
        return NewRows(instrument=number, scale=scale, close_ns=times, known_ns=times + LATE_NS, values=values)

    def decisions(self, close_ns: int) -> list[Decision]:
        """Return a decision of each instrument."""
        return [
            Decision(instrument=number, close_ns=close_ns, known_ns=close_ns + LATE_NS)
            for number in range(len(self.shape.instruments))
        ]


class Loop:
    """A service with a loop of its own: `ask` a bar, `wait` for what becomes of it."""

    def __init__(
        self,
        path: Path,
        *,
        instruments: tuple[str, ...] = ("SAMPLEUSDT",),
        warm: int = 200,
        module: str = MODULE,
        seed: int = 0,
        **settings: object,
    ) -> None:
        self.shape = shape_at(path, instruments)
        self.bars = Bars(self.shape, seed=seed)
        self.step_ns = self.shape.scale_ns[0]
        self.close_ns = START_NS
        self.history = History(self.shape)
        self.slowest = Slowest()
        for _ in range(warm):
            self.close_ns += self.step_ns
            for rows in self.bars.rows(self.close_ns):
                self.history.add(rows)
        self.service = InferenceService(
            str(path),
            self.shape,
            # Patient where a test does not ask for less: other work shares the machine.
            InferenceSettings(**{"deadline_ns": 20 * 10**9, "hang_ns": 60 * 10**9, **settings}),  # type: ignore[arg-type]
            history=self.history,
            now_ns=time.monotonic_ns(),
            module=module,
        )

    def poll(self) -> list[Outcome]:
        """Look once, and note how long that took."""
        with self.slowest:
            return self.service.poll(time.monotonic_ns())

    def wait(self, seconds: float = 0.02) -> None:
        """Sleep until a process says something, at most so long."""
        watched = [each.fileno() for each in self.service.processes]
        select.select(watched, [], [], seconds)

    def until_ready(self, seconds: float = 120.0) -> None:
        """Return when a question would be answered."""
        end = time.monotonic() + seconds
        while not self.service.is_ready:
            assert time.monotonic() < end, self.service.counts
            self.poll()
            self.wait()

    def ask(self) -> int | None:
        """Let the next bars close, and ask about them."""
        self.close_ns += self.step_ns
        rows = self.bars.rows(self.close_ns)
        for each in rows:
            self.service.remember(each)
        with self.slowest:
            return self.service.ask(rows, self.bars.decisions(self.close_ns), time.monotonic_ns())

    def outcome(self, request_id: int, seconds: float = 30.0) -> Outcome:
        """Return what becomes of a question."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for made in self.poll():
                if made.request_id == request_id:
                    return made
            self.wait()
        raise AssertionError(f"nothing became of question {request_id}: {self.service.counts}")

    def close(self) -> None:
        """End it."""
        self.service.close()
