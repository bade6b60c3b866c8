"""What the trading process and its inference process say to one another: fixed layouts in shared memory, and wake-ups.

The memory is two rows of slots of one size, requests and answers. A slot is written whole, then its number goes through
a pipe as a wake-up of 24 bytes; nothing else ever does. The reader copies the slot, checks its sum, and decodes it with
every length checked: a process that has lost its mind can say something wrong, never something that is too long.

    request   rows of features that are new since the last, by instrument and scale, and the decisions to answer
    answer    for each decision: whether there is one, and then quantiles, named answers and importance

Numbers are little-endian. Shape letters: F feature, H horizon, Q level, A named answer, S scale.
"""

import math
import mmap
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from bot.domain.errors import DataError
from bot.domain.market import F64, I64

WAKE = struct.Struct("<4sIQQ")  # magic, slot, request id, 0
WAKE_MAGIC = b"MSB1"
SLOTS = 8  # of requests, and as many of answers
Memory = mmap.mmap | memoryview | bytes  # shared, or a copy of it
_HEAD = struct.Struct("<QIIII")  # request id, kind, length of the body, its checksum, 0
_COUNTS = struct.Struct("<II")
_ROWS = struct.Struct("<HHI")
_DECISION = struct.Struct("<HHIqq")
_ANSWER = struct.Struct("<HHIq")
ROWS_MAX = 4_096  # of one scale of one instrument in a request
TOGETHER_MAX = 64  # of each, where a request holds those of several
_RETURN_MAX = 3.0  # a log return beyond this is no forecast
_ANSWER_MAX = 1e6


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sizes that both sides must agree on, and the names, so that they know they do."""

    model_id: str
    schema_hash: str
    features: int
    scales: tuple[str, ...]  # that of the decisions first
    scale_ns: tuple[int, ...]
    needs: tuple[int, ...]  # rows of each scale that decide an answer
    horizons: int
    levels: int
    answers: int
    instruments: tuple[str, ...]

    @property
    def answer_bytes(self) -> int:
        """Return the size of one decision's answer."""
        return _ANSWER.size + 8 * (self.horizons * self.levels + self.answers + len(self.scales))

    @property
    def row_bytes(self) -> int:
        """Return the size of one row of features."""
        return 16 + 4 * self.features

    @property
    def slot_bytes(self) -> int:
        """Return the size of a slot: of the largest request, which is the history of one scale of one instrument."""
        history = _ROWS.size + ROWS_MAX * self.row_bytes
        together = len(self.instruments) * (
            len(self.scales) * (_ROWS.size + TOGETHER_MAX * self.row_bytes) + _DECISION.size
        )
        answers = len(self.instruments) * self.answer_bytes
        size = _HEAD.size + _COUNTS.size + max(history, together, answers)
        return -(-size // 4096) * 4096

    @property
    def memory_bytes(self) -> int:
        """Return the size of the shared memory."""
        return 2 * SLOTS * self.slot_bytes


class Opening(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an inference process is told when it starts."""

    shape: Shape
    path: str  # the artefact
    threads: int
    device: str
    trusted: tuple[str, ...]
    memory: int  # the file descriptor of the shared memory


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NewRows:
    """Rows of one scale of one instrument, oldest first, features as computed."""

    instrument: int
    scale: int
    close_ns: I64
    known_ns: I64
    values: np.ndarray  # [N, F], float32


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One decision to be answered."""

    instrument: int
    close_ns: int
    known_ns: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """What is asked."""

    request_id: int
    rows: Sequence[NewRows]
    decisions: Sequence[Decision]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answered:
    """What is answered of one decision; the arrays are empty where there is no answer."""

    instrument: int
    close_ns: int
    is_there: bool
    quantiles_HQ: F64
    answers_A: F64
    importance_S: F64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """What has become of one question."""

    request_id: int
    answers: Sequence[Answered]  # empty where there is no opinion
    reason: str = ""  # why there is none: late, wrong, gone
    model_id: str = ""  # whom it was asked of
    took_ns: int = 0  # from the question to what became of it


def seal(request_id: int, body: bytes, kind: int = 0) -> bytes:
    """Return a slot's content."""
    return _HEAD.pack(request_id, kind, len(body), zlib.crc32(body), 0) + body


def slot_at(memory: Memory, at: int, size: int) -> bytes:
    """Return a copy of what a slot of `size` bytes holds: as much as its head says, and never more than the slot."""
    length: int = _HEAD.unpack_from(memory, at)[2]
    return bytes(memory[at : at + min(size, _HEAD.size + length)])


def unseal(slot: bytes) -> tuple[int, bytes]:
    """Return the request id and the body of a slot.

    Raises:
        DataError: it is torn or garbled.
    """
    request_id, _, length, checksum, _ = _HEAD.unpack_from(slot)
    if length > len(slot) - _HEAD.size:
        raise DataError(f"a frame of {length} bytes in a slot of {len(slot)}")
    body = slot[_HEAD.size : _HEAD.size + length]
    if zlib.crc32(body) != checksum:
        raise DataError("a frame whose checksum is wrong")
    return request_id, body


def joined(rows: Sequence[NewRows]) -> list[NewRows]:
    """Return the same rows, those of one scale of one instrument as one stretch, in the order in which they came."""
    found: dict[tuple[int, int], list[NewRows]] = {}
    for each in rows:
        found.setdefault((each.instrument, each.scale), []).append(each)
    return [
        parts[0]
        if len(parts) == 1
        else NewRows(
            instrument=parts[0].instrument,
            scale=parts[0].scale,
            close_ns=np.concatenate([part.close_ns for part in parts]),
            known_ns=np.concatenate([part.known_ns for part in parts]),
            values=np.concatenate([part.values for part in parts]),
        )
        for parts in found.values()
    ]


def part_of(rows: NewRows, start: int, stop: int) -> NewRows:
    """Return some of the rows."""
    return replace(
        rows, close_ns=rows.close_ns[start:stop], known_ns=rows.known_ns[start:stop], values=rows.values[start:stop]
    )


def encode_request(request: Request) -> bytes:
    """Return a request as bytes."""
    parts = [_COUNTS.pack(len(request.rows), len(request.decisions))]
    for rows in request.rows:
        parts.append(_ROWS.pack(rows.instrument, rows.scale, len(rows.close_ns)))
        parts += [rows.close_ns.astype("<i8").tobytes(), rows.known_ns.astype("<i8").tobytes()]
        parts.append(np.ascontiguousarray(rows.values, dtype="<f4").tobytes())
    for each in request.decisions:
        parts.append(_DECISION.pack(each.instrument, 0, 0, each.close_ns, each.known_ns))
    return seal(request.request_id, b"".join(parts))


def decode_request(slot: bytes, shape: Shape) -> Request:
    """Return the request that a slot holds.

    Raises:
        DataError: it is none.
    """
    request_id, body = unseal(slot)
    reader = _Reader(body)
    row_count, decision_count = reader.unpack(_COUNTS)
    rows = []
    for _ in range(row_count):
        instrument, scale, count = reader.unpack(_ROWS)
        if instrument >= len(shape.instruments) or scale >= len(shape.scales) or count > ROWS_MAX:
            raise DataError(f"rows of instrument {instrument}, scale {scale}, {count} of them")
        close_ns, known_ns = (reader.array("<i8", count) for _ in range(2))
        values = reader.array("<f4", count * shape.features).reshape(count, shape.features)
        rows.append(NewRows(instrument=instrument, scale=scale, close_ns=close_ns, known_ns=known_ns, values=values))
    decisions = []
    for _ in range(decision_count):
        instrument, _, _, close, known = reader.unpack(_DECISION)
        if instrument >= len(shape.instruments):
            raise DataError(f"a decision of instrument {instrument}")
        decisions.append(Decision(instrument=instrument, close_ns=close, known_ns=known))
    reader.end()
    return Request(request_id=request_id, rows=rows, decisions=decisions)


def encode_answers(request_id: int, answers: Sequence[Answered]) -> bytes:
    """Return answers as bytes."""
    parts = [_COUNTS.pack(len(answers), 0)]
    for each in answers:
        parts.append(_ANSWER.pack(each.instrument, int(each.is_there), 0, each.close_ns))
        parts += [
            np.ascontiguousarray(values, dtype="<f8").tobytes()
            for values in (each.quantiles_HQ, each.answers_A, each.importance_S)
        ]
    return seal(request_id, b"".join(parts))


def decode_answers(slot: bytes, shape: Shape) -> tuple[int, list[Answered]]:
    """Return the request id and the answers of a slot.

    Raises:
        DataError: it holds none of that shape.
    """
    request_id, body = unseal(slot)
    reader = _Reader(body)
    count, _ = reader.unpack(_COUNTS)
    if count > len(shape.instruments):
        raise DataError(f"{count} answers for {len(shape.instruments)} instruments")
    found = []
    for _ in range(count):
        instrument, is_there, _, close_ns = reader.unpack(_ANSWER)
        quantiles = reader.array("<f8", shape.horizons * shape.levels).reshape(shape.horizons, shape.levels)
        found.append(
            Answered(
                instrument=instrument,
                close_ns=close_ns,
                is_there=is_there == 1,
                quantiles_HQ=quantiles,
                answers_A=reader.array("<f8", shape.answers),
                importance_S=reader.array("<f8", len(shape.scales)),
            )
        )
    reader.end()
    return request_id, found


def fault_of(asked: Sequence[Decision], answers: Sequence[Answered]) -> str | None:
    """Return what is wrong with the answers to a request, None if they may be traded on.

    Each decision has one answer, of its own instrument and bar; numbers are finite and of a size that a market can
    have; quantiles ascend and are not all the same; importance is shares.
    """
    if [(each.instrument, each.close_ns) for each in answers] != [(each.instrument, each.close_ns) for each in asked]:
        return "an answer of another instrument or bar"
    for each in answers:
        if not each.is_there:
            continue
        values = (each.quantiles_HQ, each.answers_A, each.importance_S)
        if not all(np.isfinite(part).all() for part in values):
            return "a number that is none"
        if (np.abs(each.quantiles_HQ) > _RETURN_MAX).any() or (np.abs(each.answers_A) > _ANSWER_MAX).any():
            return "a number beyond any market"
        steps = np.diff(each.quantiles_HQ, axis=1)
        if (steps < 0).any():
            return "quantiles that cross"
        if steps.size and not (each.quantiles_HQ[:, -1] > each.quantiles_HQ[:, 0]).all():
            return "quantiles that are all the same"
        shares = each.importance_S
        if (shares < 0).any() or not math.isclose(float(shares.sum()), 1.0, abs_tol=1e-3):
            return "an importance that is no share"
    return None


class _Reader:
    """Takes a body apart, never beyond its end."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        self._need(layout.size)
        found = layout.unpack_from(self._body, self._at)
        self._at += layout.size
        return found

    def array(self, dtype: str, count: int) -> np.ndarray:
        size = count * int(dtype[-1])
        self._need(size)
        made = np.frombuffer(self._body, dtype=dtype, count=count, offset=self._at)
        self._at += size
        return made

    def end(self) -> None:
        if self._at != len(self._body):
            raise DataError(f"{len(self._body) - self._at} bytes too many in a frame")

    def _need(self, size: int) -> None:
        if self._at + size > len(self._body):
            raise DataError("a frame that ends too soon")
