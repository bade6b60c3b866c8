"""The real inference process, except that it does something wrong: `python -m tests.support.faulty_serving`.

What goes wrong at a question is a function of BOT_TEST_FAULTS, a JSON list of faults, and of the question's id. History
is never answered wrongly.
"""

import json
import os
import resource
import signal
import time
import zlib
from dataclasses import replace

import numpy as np

from bot.core.inference_frames import Answered, Shape, decode_answers, encode_answers
from models.serving import process

FAULTS = (
    "nan",
    "crossing",
    "same",
    "huge",
    "wrong bar",
    "wrong instrument",
    "wrong id",
    "torn",
    "oversized",
    "garbage",
    "flood",
    "late",
    "hang",
    "kill",
    "memory",
)
LATE_S = float(os.environ.get("BOT_TEST_LATE_S", "0.6"))  # more on a machine that is short of time


def fault_of(request_id: int, faults: list[str]) -> str | None:
    """Return what goes wrong at a question."""
    if not faults:
        return None
    return faults[zlib.crc32(str(request_id).encode()) % len(faults)] or None


class _Mailbox(process._Mailbox):
    """Posts what it should not."""

    shape: Shape

    def post(self, request_id: int, content: bytes) -> None:
        answers: list[Answered] = []
        if request_id not in (0, process.REFUSED):
            _, answers = decode_answers(content.ljust(self._size, b"\0"), self.shape)
        fault = fault_of(request_id, json.loads(os.environ["BOT_TEST_FAULTS"])) if answers else None
        first = answers[0] if answers else None
        match fault:
            case "hang":
                time.sleep(3600)
            case "late":
                time.sleep(LATE_S)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "memory":
                resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
                try:
                    np.ones(1 << 31)
                except MemoryError:
                    os._exit(1)
            case "garbage":
                os.write(self._answers, b"x" * 24)
                return
            case "flood":
                os.write(self._answers, b"\0" * (4 << 20))
                return
            case "torn":
                content = content[:-1] + bytes([content[-1] ^ 255])
            case "oversized":
                content = content[:12] + (2**31).to_bytes(4, "little") + content[16:]
            case "wrong id":
                request_id += 10_000
                content = encode_answers(request_id, answers)
            case str() if first is not None:
                content = encode_answers(request_id, [spoiled(first, fault), *answers[1:]])
        super().post(request_id, content)


def spoiled(answer: Answered, fault: str) -> Answered:
    """Return an answer that is wrong in one way."""
    quantiles = answer.quantiles_HQ.copy()
    match fault:
        case "nan":
            quantiles[0, 0] = np.nan
        case "crossing":
            quantiles = quantiles[:, ::-1]
        case "same":
            quantiles[:] = quantiles[0, 0]
        case "huge":
            quantiles = quantiles * 1e9
        case "wrong bar":
            return replace(answer, close_ns=answer.close_ns - 60 * 10**9)
        case "wrong instrument":
            return replace(answer, instrument=answer.instrument + 1)
    return replace(answer, quantiles_HQ=quantiles)


def _make(memory: object, shape: Shape, answers: int) -> _Mailbox:
    made = _Mailbox(memory, shape, answers)  # type: ignore[arg-type]
    made.shape = shape
    return made


if __name__ == "__main__":
    process._Mailbox = _make  # type: ignore[misc, assignment]
    process.main()
