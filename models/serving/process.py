"""The inference process: one artefact and the newest bars of its instruments, in a process of its own.

Run as `python -m models.serving.process`. Its opening and the frames are those of `bot.core.inference_frames`. It ends
when its standard input does, and never writes anything but wake-ups and slots.
"""

import gc
import mmap
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from bot.core.inference_frames import (
    ROWS_MAX,
    SLOTS,
    WAKE,
    WAKE_MAGIC,
    Answered,
    Decision,
    NewRows,
    Opening,
    Request,
    Shape,
    decode_request,
    encode_answers,
    seal,
    slot_at,
)
from bot.domain.errors import BotError, DataError
from bot.domain.market import F64
from models.output import ModelOutput
from models.serving.engine import Answers, Engine, open_engine
from models.serving.rows import ScaleRows, block_number, context_ns, cut_block, cut_windows
from models.serving.streams import Streams, group_by_scale
from models.serving.told import Told, shape_of
from models.serving.traced import Traced, trace_network
from models.systems.causal import CausalSystem

_REHEARSED_NS = 1_700_000_000 * 10**9  # some time
REFUSED = 2**64 - 1  # the request id of the answer that says why the artefact is not served


class Server:
    """Answers requests for one artefact.

    Args:
        traced: see `programs_of`.
    """

    def __init__(self, engine: Engine, shape: Shape, traced: Traced | None = None) -> None:
        check_shape(engine.told, shape)
        self._engine, self._shape, told = engine, shape, engine.told
        self._assets = [told.instruments.index(name) for name in shape.instruments]
        count = len(shape.instruments)
        self._units: list[tuple[int, F64]] = [(0, np.empty(0))] * count  # close of the newest decision bar, its unit
        self._streams = _streams_of(engine, count, traced) if told.how == "banded" else None
        self._rows = [{scale.bar: ScaleRows.empty(shape.features) for scale in told.scales} for _ in shape.instruments]

    def answer(self, request: Request) -> list[Answered]:
        """Take new rows in, and answer the decisions."""
        told = self._engine.told
        for scale, group in group_by_scale(request.rows).items():
            bar = told.scales[scale].bar
            news = [(rows, self._engine.normalize(bar, rows.values)) for rows in group]
            if self._streams is not None:
                self._streams.absorb(scale, news)
            else:
                for rows, x_LF in news:
                    self._rows[rows.instrument][bar].extend(x_LF, rows.close_ns, rows.known_ns)
            if scale == 0:
                self._read_units(group)
        if not request.decisions:
            return []
        by_streams = self._streams is not None
        found = self._decide_streamed(request.decisions) if by_streams else self._decide_cut(request.decisions)
        return [found.get(number, _silence(each, self._shape)) for number, each in enumerate(request.decisions)]

    def _read_units(self, group: list[NewRows]) -> None:
        for rows in group:
            with np.errstate(invalid="ignore"):
                unit_H = self._engine.unit_at(np.asarray(rows.values[-1:], dtype=np.float32))[0]
            self._units[rows.instrument] = int(rows.close_ns[-1]), unit_H

    def _decide_streamed(self, decisions: Any) -> dict[int, Answered]:
        assert self._streams is not None
        ready = [n for n, each in enumerate(decisions) if self._streams.ready(each.instrument, each.close_ns)]
        if not ready:
            return {}
        chosen = [decisions[n] for n in ready]
        output = self._streams.decide(
            [each.instrument for each in chosen],
            [each.known_ns for each in chosen],
            [self._assets[each.instrument] for each in chosen],
        )
        return self._answered(ready, chosen, output)

    def _decide_cut(self, decisions: Any) -> dict[int, Answered]:
        """Answer by the very blocks of a replay, one instrument after another; windows alone, in one pass."""
        told, found = self._engine.told, {}
        for number, each in enumerate(decisions):
            rows = self._rows[each.instrument]
            block_at = int(block_number(np.array([each.close_ns]), told)[0])
            for scale in told.scales:
                rows[scale.bar].forget(context_ns(scale, block_at, told))
            block = cut_block(block_at, rows, told)
            place = (each.close_ns // told.decision_ns - 1) % told.block
            close_ns, unit_H = self._units[each.instrument]
            if not block.is_answerable_T[place] or close_ns != each.close_ns:
                continue
            asset = self._assets[each.instrument]
            if told.how == "windows":
                windows = {
                    bar: type(arrays)(
                        values_BLF=arrays.values_BLF[place : place + 1],
                        close_ns_BL=arrays.close_ns_BL[place : place + 1],
                        known_ns_BL=arrays.known_ns_BL[place : place + 1],
                    )
                    for bar, arrays in cut_windows(block, told).items()
                }
                answers = self._engine.ask_arrays(
                    windows, block.decision_ns_T[place : place + 1, None], asset, unit_H[None]
                )
                found[number] = _answered(each, answers, 0)
            else:
                unit_TH = np.broadcast_to(unit_H, (told.block, len(unit_H)))
                found[number] = _answered(each, self._engine.ask(block, asset, unit_TH), place)
        return found

    def _answered(self, numbers: list[int], chosen: list[Decision], output: ModelOutput) -> dict[int, Answered]:
        unit_NH = np.stack([self._units[each.instrument][1] for each in chosen])
        answers = self._engine.answers(output, unit_NH)
        pairs = zip(numbers, chosen, strict=True)
        return {number: _answered(each, answers, row) for row, (number, each) in enumerate(pairs)}


def programs_of(engine: Engine, shape: Shape) -> Traced | None:
    """Return the programs of a banded model that is served on the CPU, None for others: made once, kept by a server."""
    if engine.told.how != "banded" or engine.device.type != "cpu":
        return None
    assert isinstance(engine.model, CausalSystem)
    return trace_network(engine.model, len(shape.instruments))


def _streams_of(engine: Engine, instruments: int, traced: Traced | None) -> Any:
    """Return what serves a banded model on the engine's device: steps on the CPU, captured graphs on a GPU."""
    if engine.device.type != "cuda":
        return Streams(engine, instruments, traced)
    from models.serving.graphed import GraphedStreams  # what traces networks is nothing for a CPU

    return GraphedStreams(engine, instruments)


def rehearse(engine: Engine, shape: Shape, traced: Traced | None = None) -> None:
    """Answer a made-up question, so that the first real one is as quick as any: torch does much for the first time.

    That was half a second of a processor, which on a busy machine made the first forecast of each life late. On a GPU
    capturing the graphs is a rehearsal already.
    """
    if engine.device.type != "cpu":
        return
    server, at = Server(engine, shape, traced), _REHEARSED_NS // shape.scale_ns[0] * shape.scale_ns[0]
    for scale, (scale_ns, need) in enumerate(zip(shape.scale_ns, shape.needs, strict=True)):
        close_ns = at // scale_ns * scale_ns - scale_ns * np.arange(min(need, ROWS_MAX), -1, -1, dtype=np.int64)
        for part in (slice(None, -1), slice(-1, None)):  # the past, then the newest bar, as a market tells them
            values = np.full((len(close_ns[part]), shape.features), 1e-3, dtype=np.float32)
            rows = NewRows(instrument=0, scale=scale, close_ns=close_ns[part], known_ns=close_ns[part], values=values)
            server.answer(Request(request_id=0, rows=[rows], decisions=()))
    asked = Decision(instrument=0, close_ns=at, known_ns=at)
    encode_answers(0, server.answer(Request(request_id=0, rows=[], decisions=[asked])))


def check_shape(told: Told, shape: Shape) -> None:
    """Raise DataError unless the artefact has this shape."""
    ours = shape_of(told, shape.instruments)
    for field in Shape.__struct_fields__:
        if getattr(ours, field) != getattr(shape, field):
            raise DataError(f"{told.name}: {field} is {getattr(ours, field)} and {getattr(shape, field)} was expected")


def serve(requests: int, answers: int, opening: Opening, wrap: Callable[[Server], Any] = lambda server: server) -> None:
    """Answer until nobody asks any more.

    Args:
        requests, answers: descriptors that wake-ups come from, and go to.
        opening: what to serve.
        wrap: puts something between the server and whoever asks it; for tests of what may go wrong.
    """
    shape = opening.shape
    memory = mmap.mmap(opening.memory, shape.memory_bytes)
    mailbox = _Mailbox(memory, shape, answers)
    try:
        engine = open_engine(
            Path(opening.path),
            threads=opening.threads,
            device=opening.device,
            trusted=frozenset(opening.trusted) if opening.trusted else None,
        )
        traced = programs_of(engine, shape)
        rehearse(engine, shape, traced)
        server = wrap(Server(engine, shape, traced))
    except BotError as refused:
        mailbox.post(REFUSED, seal(REFUSED, str(refused).encode()[:2000]))
        return
    gc.collect()
    gc.freeze()  # torch and the network stay: looking them through again would hold an answer up
    mailbox.post(0, encode_answers(0, []))  # ready
    while (wake := _read_exactly(requests, WAKE.size)) is not None:
        magic, slot, request_id, _ = WAKE.unpack(wake)
        if magic != WAKE_MAGIC or slot >= SLOTS:
            return
        request = decode_request(mailbox.request(slot), shape)
        if request.request_id != request_id:
            return
        mailbox.post(request_id, encode_answers(request_id, server.answer(request)))


class _Mailbox:
    """The shared memory, and the pipe that says where to look."""

    def __init__(self, memory: mmap.mmap, shape: Shape, answers: int) -> None:
        self._memory, self._size, self._answers = memory, shape.slot_bytes, answers
        self._next = 0

    def request(self, slot: int) -> bytes:
        """Return what a slot of requests holds."""
        return slot_at(self._memory, slot * self._size, self._size)

    def post(self, request_id: int, content: bytes) -> None:
        """Put an answer into the next slot, and say so."""
        at = (SLOTS + self._next) * self._size
        self._memory[at : at + len(content)] = content
        os.write(self._answers, WAKE.pack(WAKE_MAGIC, self._next, request_id, 0))
        self._next = (self._next + 1) % SLOTS


def _read_exactly(pipe: int, size: int) -> bytes | None:
    """Return so many bytes, None where the other side has gone."""
    found = b""
    while len(found) < size:
        part = os.read(pipe, size - len(found))
        if not part:
            return None
        found += part
    return found


def _answered(decision: Decision, answers: Answers, row: int) -> Answered:
    return Answered(
        instrument=decision.instrument,
        close_ns=decision.close_ns,
        is_there=True,
        quantiles_HQ=answers.quantiles_NHQ[row],
        answers_A=answers.named_NA[row],
        importance_S=answers.importance_NS[row],
    )


def _silence(decision: Decision, shape: Shape) -> Answered:
    return Answered(
        instrument=decision.instrument,
        close_ns=decision.close_ns,
        is_there=False,
        quantiles_HQ=np.zeros((shape.horizons, shape.levels)),
        answers_A=np.zeros(shape.answers),
        importance_S=np.zeros(len(shape.scales)),
    )


def main(wrap: Callable[[Server], Any] = lambda server: server) -> None:
    """Serve what the opening names."""
    for each in (signal.SIGINT, signal.SIGTERM):  # the parent's to answer: this process ends with it
        signal.signal(each, signal.SIG_IGN)
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1)  # byte by byte: wake-ups follow in the same pipe
        if not part:
            os._exit(0)
        line += part
    told = msgspec.json.decode(line, type=_Told)
    torch.set_num_threads(told.opening.threads)
    torch.set_num_interop_threads(1)
    with suppress(BrokenPipeError):  # the parent has gone
        serve(0, told.answers, told.opening, wrap)
    os._exit(0)  # nothing here needs to be put in order


class _Told(msgspec.Struct, frozen=True):
    opening: Opening
    answers: int


if __name__ == "__main__":
    main()
