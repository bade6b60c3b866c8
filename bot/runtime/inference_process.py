"""One life of an inference process, as the trading process sees it: starting, warming up, ready, gone.

Nothing here waits: a message either fits into the shared memory now, or stays in a queue until the process has taken
one. All methods are called from one event loop, with the time.
"""

from collections import deque
from enum import StrEnum

import msgspec

from bot.core.inference_frames import (
    SLOTS,
    WAKE,
    WAKE_MAGIC,
    Answered,
    Opening,
    Request,
    Shape,
    decode_answers,
    encode_request,
    slot_at,
    unseal,
)
from bot.domain.errors import DataError
from bot.runtime.processes import SharedProcess

MODULE = "models.serving.process"
QUEUE_MAX = 4_096  # messages that wait for room before the process is taken for stuck
_REFUSED = 2**64 - 1


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient to be. Times in ns."""

    deadline_ns: int = 2_000_000_000  # after which an answer is late: at most half the decision period
    hang_ns: int = 10_000_000_000  # without any answer to a question, from which on it is taken for dead
    start_ns: int = 120_000_000_000  # to load, pass the recorded answers and warm up
    backoff_first_ns: int = 500_000_000
    backoff_max_ns: int = 60_000_000_000
    resident_bytes_max: int = 4 << 30  # above, it is replaced between bars
    faults_max: int = 3  # wrong answers in a row, after which the model is off until another takes its place
    threads: int = 1
    device: str = "cpu"
    trusted: tuple[str, ...] = ()


class Phase(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"  # it loads, and checks the recorded answers
    WARMING = "warming"  # it is told the past
    READY = "ready"
    GONE = "gone"


class InferenceProcess:
    """One life of an inference process.

    Args:
        path: the artefact.
        shape: its sizes, as the trading process has read them from its manifest.
        settings: how patient to be.
        now_ns: on a clock that never goes back.
        module: what is run; another for tests of what may go wrong.
    """

    def __init__(
        self, path: str, shape: Shape, settings: InferenceSettings, *, now_ns: int, module: str = MODULE
    ) -> None:
        self.path, self.shape, self._settings = path, shape, settings
        self.phase = Phase.STARTING
        self.reason = ""  # why it is gone
        self._started_ns = now_ns
        self._waiting: deque[Request] = deque()  # written when there is room: a long past takes its time
        self._flight: dict[int, int] = {}  # slot of a request, its id
        self._sent_ns = now_ns  # when it was last given something, or said something
        self._partial = b""
        self._free = deque(range(SLOTS))

        def make_opening(memory: int, answers: int) -> bytes:
            opening = Opening(
                shape=shape,
                path=path,
                threads=settings.threads,
                device=settings.device,
                trusted=settings.trusted,
                memory=memory,
            )
            return msgspec.json.encode({"opening": opening, "answers": answers})

        self._child = SharedProcess(
            module, memory_bytes=shape.memory_bytes, make_opening=make_opening, threads=settings.threads
        )

    @property
    def pid(self) -> int:
        """Return its number."""
        return self._child.pid

    def fileno(self) -> int:
        """Return what to wait on."""
        return self._child.fileno()

    def resident_bytes(self) -> int:
        """Return how much memory it holds."""
        return self._child.resident_bytes()

    def send(self, request: Request, now_ns: int) -> None:
        """Hand over a request, or keep it until there is room."""
        if self.phase is Phase.GONE:
            return
        if len(self._waiting) >= QUEUE_MAX:
            self.kill("it takes nothing any more")
            return
        self._waiting.append(request)
        self._pump(now_ns)

    def read(self, now_ns: int) -> list[tuple[int, list[Answered]]]:
        """Return the answers that have come, by the id of their request. What is garbled ends the process."""
        found: list[tuple[int, list[Answered]]] = []
        if self.phase is Phase.GONE:
            return found
        chunk = self._child.read(WAKE.size * SLOTS * 4)
        if chunk is None:
            self.kill("it died")
            return found
        self._partial += chunk
        while len(self._partial) >= WAKE.size and not self.is_gone:
            wake, self._partial = self._partial[: WAKE.size], self._partial[WAKE.size :]
            answer = self._open(wake, now_ns)
            if answer is not None:
                found.append(answer)
        self._pump(now_ns)
        return found

    def is_stuck(self, now_ns: int) -> bool:
        """Return whether it has been silent for too long for what it has to do."""
        if self.phase is Phase.STARTING:
            return now_ns - self._started_ns > self._settings.start_ns
        return bool(self._flight) and now_ns - self._sent_ns > self._settings.hang_ns

    @property
    def is_gone(self) -> bool:
        """Return whether it has ended, or was ended."""
        return self.phase is Phase.GONE

    @property
    def is_idle(self) -> bool:
        """Return whether it has answered all it was given."""
        return not self._flight and not self._waiting

    def kill(self, reason: str) -> None:
        """End it."""
        if self.phase is not Phase.GONE:
            self.phase, self.reason = Phase.GONE, reason
            self._child.kill()

    def is_reaped(self, *, wait: bool = False) -> bool:
        """Return whether nothing of it is left."""
        return self._child.is_reaped(wait=wait)

    def _pump(self, now_ns: int) -> None:
        while self._waiting and self._free and self.phase in (Phase.WARMING, Phase.READY):
            request, slot = self._waiting.popleft(), self._free.popleft()
            content = encode_request(request)
            if len(content) > self.shape.slot_bytes:
                raise ValueError(f"a request of {len(content)} bytes; a slot holds {self.shape.slot_bytes}")
            at = slot * self.shape.slot_bytes
            self._child.memory[at : at + len(content)] = content
            if not self._flight:
                self._sent_ns = now_ns
            self._flight[slot] = request.request_id
            if not self._child.wake(WAKE.pack(WAKE_MAGIC, slot, request.request_id, 0)):
                self.kill("it cannot be reached")

    def _open(self, wake: bytes, now_ns: int) -> tuple[int, list[Answered]] | None:
        magic, slot, request_id, rest = WAKE.unpack(wake)
        if magic != WAKE_MAGIC or slot >= SLOTS or rest:
            self.kill("it said something that is no wake-up")
            return None
        at = (SLOTS + slot) * self.shape.slot_bytes
        content = slot_at(self._child.memory, at, self.shape.slot_bytes)
        try:
            if request_id == _REFUSED:
                said = unseal(content)[1].decode("utf-8", "replace")
                self.kill(f"it refuses the artefact: {said}")
                return None
            found_id, answers = decode_answers(content, self.shape)
        except DataError as error:
            self.kill(f"it wrote {error}")
            return None
        if found_id != request_id:
            self.kill("a slot of another request than its wake-up's")
            return None
        self._sent_ns = now_ns
        if self.phase is Phase.STARTING:
            if request_id:
                self.kill("it answered before it was ready")
                return None
            self.phase = Phase.WARMING
            return None
        taken = next((number for number, asked in self._flight.items() if asked == request_id), None)
        if taken is None:
            self.kill(f"an answer to a question that was not asked: {request_id}")
            return None
        del self._flight[taken]
        self._free.append(taken)
        return request_id, answers
