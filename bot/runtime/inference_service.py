"""The trading process's side of inference: keep an artefact answering, never wait, believe nothing.

An `InferenceService` restarts a process that has died, after a wait that grows; replaces what has grown too large, or
what another artefact is to take the place of, by a successor that takes over once it is warm; and hands out answers
only if they are those to the newest question, in time, and beyond reproach.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog

from bot.core.inference_frames import (
    ROWS_MAX,
    TOGETHER_MAX,
    Answered,
    Decision,
    NewRows,
    Outcome,
    Request,
    Shape,
    fault_of,
    joined,
    part_of,
)
from bot.domain.errors import DataError
from bot.runtime.inference_process import MODULE, QUEUE_MAX, InferenceProcess, InferenceSettings, Phase

log = structlog.get_logger()

_WEIGH_NS = 1_000_000_000  # between two looks at how much memory a process holds: a file of the kernel each
NEWS = ("died", "switched_off", "swapped", "successor_failed")


@dataclass(kw_only=True, slots=True)
class Counts:
    """What has happened, for metrics."""

    answered: int = 0
    late: int = 0
    wrong: int = 0
    discarded: int = 0  # answers to questions that were given up
    deaths: int = 0
    restarts: int = 0
    swaps: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def blame(self, reason: str) -> None:
        """Count a reason."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


@dataclass(kw_only=True, slots=True)
class _Question:
    """What is being asked, and until when an answer counts."""

    decisions: Sequence[Decision]
    asked_ns: int
    model_id: str


class History:
    """The newest rows of features of every instrument and scale: what a process that starts is told."""

    def __init__(self, shape: Shape, *, margin: int = 64) -> None:
        self._shape = shape
        self._keep = [min(need + margin, ROWS_MAX) for need in shape.needs]
        self._rows: dict[tuple[int, int], NewRows] = {}

    def add(self, rows: NewRows) -> None:
        """Remember rows."""
        key = rows.instrument, rows.scale
        before, keep = self._rows.get(key), self._keep[rows.scale]
        if before is not None:
            rows = joined([before, rows])[0]
        count = len(rows.close_ns)
        self._rows[key] = part_of(rows, max(0, count - keep), count)

    def all(self) -> list[NewRows]:
        """Return what there is, a stretch for each instrument and scale."""
        return [self._rows[key] for key in sorted(self._rows)]

    def count(self, instrument: int, scale: int) -> int:
        """Return how many of the newest rows of a scale of an instrument are whole, one after another."""
        rows = self._rows.get((instrument, scale))
        if rows is None:
            return 0
        broken = np.flatnonzero(~np.isfinite(rows.values).all(axis=1))
        return len(rows.close_ns) - (int(broken[-1]) + 1 if len(broken) else 0)

    def suffices(self, shape: Shape) -> bool:
        """Return whether what is kept would warm an artefact of this shape up."""
        return all(need <= keep for need, keep in zip(shape.needs, self._keep, strict=True))


class InferenceService:
    """Keeps one artefact answering.

    Args:
        path, shape: the artefact.
        settings: how patient to be.
        history: what a process that starts is told; the caller adds rows before it asks.
        now_ns: the time.
        on_process: told of each process that starts and ends, to have its descriptor watched.
        on_news: told what an operator should hear: a word of `NEWS`, and a line about it.
        module: what is run.
    """

    def __init__(
        self,
        path: str,
        shape: Shape,
        settings: InferenceSettings,
        *,
        history: History,
        now_ns: int,
        on_process: Callable[[InferenceProcess, bool], None] = lambda process, is_there: None,
        on_news: Callable[[str, str], None] = lambda what, text: None,
        module: str = MODULE,
    ) -> None:
        self.counts = Counts()
        self._settings, self._module, self._history = settings, module, history
        self._on_process, self._on_news = on_process, on_news
        self.last_reason = ""  # why the last process died, or the last answer was refused
        self._next_id = 1
        self._questions: dict[int, _Question] = {}
        self._given_up: dict[int, None] = {}  # in the order in which they were
        self._outcomes: list[Outcome] = []
        self._dying: list[InferenceProcess] = []
        self._path, self._shape = path, shape
        self._faults = 0
        self.is_off = False  # too many wrong answers
        self._backoff_ns = settings.backoff_first_ns
        self._start_again_ns: int | None = None
        self._weigh_ns = now_ns  # when the process's memory is looked at next
        self._process: InferenceProcess | None = None
        self._successor: InferenceProcess | None = None
        self._process = self._start(path, shape, now_ns)

    @property
    def model_id(self) -> str:
        """Return the artefact that answers now."""
        return self._shape.model_id

    @property
    def is_ready(self) -> bool:
        """Return whether a question would be answered."""
        return not self.is_off and self._process is not None and self._process.phase is Phase.READY

    @property
    def trouble(self) -> str:
        """Return why no question would be answered now, "" if one would."""
        if self.is_off:
            return f"switched off after {self._faults} wrong answers in a row ({self.last_reason})"
        if self._process is None:
            return f"{self.last_reason}; it is started again"
        match self._process.phase:
            case Phase.STARTING:
                return "it is being loaded"
            case Phase.WARMING:
                return "it is told the past"
            case Phase.GONE:
                return self._process.reason
            case Phase.READY:
                return ""

    @property
    def is_loaded(self) -> bool:
        """Return whether the artefact has passed its recorded answers, in a process that lives."""
        return self._process is not None and self._process.phase in (Phase.WARMING, Phase.READY)

    @property
    def processes(self) -> list[InferenceProcess]:
        """Return those that live."""
        return [each for each in (self._process, self._successor) if each is not None]

    def remember(self, rows: NewRows) -> None:
        """Keep rows for whoever has to be told the past."""
        self._history.add(rows)

    def ask(self, rows: Sequence[NewRows], decisions: Sequence[Decision], now_ns: int) -> int | None:
        """Hand over new rows, remembered as history already, and ask; return the question's id.

        None where nobody can answer now: then there is no forecast, which is always safe.
        """
        rows = joined(rows)
        for each in self.processes:
            # Who has not started will be told with all the rest; who serves is told with the question.
            is_serving = each is self._process and each.phase is Phase.READY
            if each.phase in (Phase.WARMING, Phase.READY) and not is_serving and rows:
                self._tell(each, rows, now_ns)
        process = self._process
        if process is None or process.phase is not Phase.READY:
            return None
        if self.is_off or not decisions:
            self._tell(process, rows, now_ns)
            return None
        if any(len(each.close_ns) > TOGETHER_MAX for each in rows):
            self._tell(process, rows, now_ns)
            process.phase = Phase.WARMING  # it answers when it has taken so much in
            return None
        request_id = self._take_id()
        self._questions[request_id] = _Question(
            decisions=tuple(decisions), asked_ns=now_ns, model_id=process.shape.model_id
        )
        process.send(Request(request_id=request_id, rows=rows, decisions=decisions), now_ns)
        return request_id

    def replace_by(self, path: str, shape: Shape, now_ns: int) -> None:
        """Let another artefact take over once it is loaded, has passed its recorded answers, and is warm.

        Raises:
            DataError: it reads other features or scales than those that are computed, or needs more of the past.
        """
        for name in ("schema_hash", "features", "scales", "scale_ns", "instruments"):
            if getattr(shape, name) != getattr(self._shape, name):
                raise DataError(
                    f"{shape.model_id}: its {name.replace('_', ' ')} differ from those that {self._shape.model_id} is "
                    "served with; restart with it instead"
                )
        if not self._history.suffices(shape):
            raise DataError(
                f"{shape.model_id}: needs more of the past than is kept for {self._shape.model_id}; restart with it"
            )
        self._drop_successor("another one is wanted")
        self._successor = self._start(path, shape, now_ns)

    def poll(self, now_ns: int) -> list[Outcome]:
        """Look at everything: what has been said, what is late, who has died; return what became of questions."""
        self._dying = [each for each in self._dying if not each.is_reaped()]
        for process in self.processes:
            self._look(process, now_ns)
        self._give_up_late(now_ns)
        self._mind(now_ns)
        made, self._outcomes = self._outcomes, []
        return made

    def next_ns(self) -> int | None:
        """Return the time at which `poll` has to look again, whether or not anything is said by then."""
        times = [each.asked_ns + self._settings.deadline_ns for each in self._questions.values()]
        if self._start_again_ns is not None:
            times.append(self._start_again_ns)
        return min(times, default=None)

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            self._bury(process, "closed")
        self._process = self._successor = None
        self._start_again_ns = None
        for process in self._dying:
            process.is_reaped(wait=True)
        self._dying.clear()

    # --- one process ---

    def _start(self, path: str, shape: Shape, now_ns: int) -> InferenceProcess:
        process = InferenceProcess(path, shape, self._settings, now_ns=now_ns, module=self._module)
        self._on_process(process, True)
        return process

    def _look(self, process: InferenceProcess, now_ns: int) -> None:
        before = process.phase
        answers = process.read(now_ns)
        if before is Phase.STARTING and process.phase is Phase.WARMING:
            self._warm(process, now_ns)
        elif process.phase is Phase.WARMING and process.is_idle:
            process.phase = Phase.READY
            self._backoff_ns = self._settings.backoff_first_ns
            log.info("inference.ready", model_id=process.shape.model_id, pid=process.pid)
        for request_id, each in answers:
            self._answered(process, request_id, each, now_ns)
        if process.is_stuck(now_ns):
            process.kill("it has been silent for too long")

    def _warm(self, process: InferenceProcess, now_ns: int) -> None:
        """Tell a process the past, one scale of one instrument at a time."""
        self._tell(process, self._history.all(), now_ns)
        if process.is_idle:
            process.phase = Phase.READY

    def _tell(self, process: InferenceProcess, rows: Sequence[NewRows], now_ns: int) -> None:
        """Hand rows over without a question, one stretch at a time."""
        for each in rows:
            for start in range(0, len(each.close_ns), ROWS_MAX):
                request_id = self._take_id()
                self._given_up[request_id] = None  # nobody waits for what is said to it
                part = part_of(each, start, start + ROWS_MAX)
                process.send(Request(request_id=request_id, rows=[part], decisions=()), now_ns)

    def _answered(self, process: InferenceProcess, request_id: int, answers: Sequence[Answered], now_ns: int) -> None:
        question = self._questions.pop(request_id, None)
        if question is None or process is not self._process:
            self.counts.discarded += request_id in self._given_up and bool(answers)
            self._given_up.pop(request_id, None)
            return
        fault = fault_of(question.decisions, answers)
        if fault is None:
            self._faults = 0
            self.counts.answered += 1
            self._settle(request_id, question, answers, "", now_ns)
            return
        self._faults += 1
        self.last_reason = fault
        self.counts.wrong += 1
        self.counts.blame(fault)
        self._settle(request_id, question, (), fault, now_ns)
        log.warning("inference.refused", model_id=self.model_id, reason=fault, in_a_row=self._faults)
        if self._faults >= self._settings.faults_max:
            self.is_off = True
            log.error("inference.switched_off", model_id=self.model_id, reason=fault, in_a_row=self._faults)
            self._on_news("switched_off", f"{self.model_id} was wrong {self._faults} times in a row: {fault}")

    def _settle(
        self, request_id: int, question: _Question, answers: Sequence[Answered], reason: str, now_ns: int
    ) -> None:
        self._outcomes.append(
            Outcome(
                request_id=request_id,
                answers=answers,
                reason=reason,
                model_id=question.model_id,
                took_ns=now_ns - question.asked_ns,
            )
        )

    def _give_up_late(self, now_ns: int) -> None:
        late = [
            number for number, each in self._questions.items() if now_ns - each.asked_ns >= self._settings.deadline_ns
        ]
        for request_id in late:
            question = self._questions.pop(request_id)
            self._given_up[request_id] = None
            self.counts.late += 1
            self._settle(request_id, question, (), "late", now_ns)
        while len(self._given_up) > QUEUE_MAX:
            self._given_up.pop(next(iter(self._given_up)))

    # --- who serves ---

    def _mind(self, now_ns: int) -> None:
        successor, process = self._successor, self._process
        if successor is not None and successor.phase is Phase.GONE:
            self._drop_successor(successor.reason)
        elif successor is not None and successor.phase is Phase.READY and not self._questions:
            self._take_over(successor)
        process = self._process
        if process is not None and process.phase is Phase.GONE:
            self._mourn(process, now_ns)
        elif process is not None and self._successor is None and process.phase is Phase.READY:
            self._weigh(process, now_ns)
        if self._process is None and self._start_again_ns is not None and now_ns >= self._start_again_ns:
            self._start_again_ns = None
            self.counts.restarts += 1
            self._process = self._start(self._path, self._shape, now_ns)

    def _weigh(self, process: InferenceProcess, now_ns: int) -> None:
        """Start a successor of a process that has grown too large, between two questions."""
        if self._questions or now_ns < self._weigh_ns:
            return
        self._weigh_ns = now_ns + _WEIGH_NS
        held = process.resident_bytes()
        if held > self._settings.resident_bytes_max:
            log.warning("inference.outgrown", pid=process.pid, resident_bytes=held)
            self._successor = self._start(self._path, self._shape, now_ns)

    def _take_over(self, successor: InferenceProcess) -> None:
        before = self._process
        self._successor, self._process = None, successor
        if successor.path != self._path:
            self._path, self._shape = successor.path, successor.shape
            self.is_off = False
        self._faults = 0
        self.counts.swaps += 1
        log.info("inference.swapped", model_id=successor.shape.model_id, pid=successor.pid)
        if before is None or before.path != successor.path:
            self._on_news("swapped", f"{successor.shape.model_id} answers from now on")
        if before is not None:
            self._bury(before, "another took its place")

    def _drop_successor(self, reason: str) -> None:
        if self._successor is not None:
            model_id = self._successor.shape.model_id
            log.error("inference.successor_failed", model_id=model_id, reason=reason)
            self._on_news("successor_failed", f"{model_id} does not take over: {reason}; {self.model_id} answers on")
            self._bury(self._successor, reason)
            self.counts.blame(reason)
            self._successor = None

    def _mourn(self, process: InferenceProcess, now_ns: int) -> None:
        log.error("inference.died", model_id=self.model_id, pid=process.pid, reason=process.reason)
        self._on_news("died", f"{self.model_id}: {process.reason}")
        self.last_reason = process.reason
        self.counts.deaths += 1
        self.counts.blame(process.reason)
        self._bury(process, process.reason)
        self._process = None
        for request_id in list(self._questions):
            self._settle(request_id, self._questions.pop(request_id), (), "gone", now_ns)
        self._start_again_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, self._settings.backoff_max_ns)

    def _bury(self, process: InferenceProcess, reason: str) -> None:
        self._on_process(process, False)
        process.kill(reason)
        self._dying.append(process)

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id
