"""Many instruments streamed by one network: each bar is encoded once, each decision costs a step.

Rows of a state are instruments. Their bars need not come together: whoever has a new bar takes a step, alone or with
others. An instrument whose bars have a hole, or a bar that is no number, begins anew and is silent until it is warm.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bot.core.inference_frames import NewRows
from bot.domain.market import I64
from models.attention.cache import KVRing
from models.memory import Keys, Memory
from models.normalizer import F32
from models.output import ModelOutput
from models.serving.engine import Engine
from models.serving.rows import Mask
from models.serving.traced import Program, Traced, cross_of, tokens_kept
from models.systems.causal import CausalSystem

# Shape letters in this file: R instrument, B instrument that has news, K kept token, L bar, F feature, D width.
_CHUNK = 512  # bars of a history that are encoded together


class _Stream:
    """One scale of every instrument."""

    def __init__(
        self, model: CausalSystem, bar: str, rows: int, keep: int, scale_ns: int, program: Program | None
    ) -> None:
        self.encoder = model.encoders.of(bar)
        self._cross, self._number = cross_of(model, bar)
        self._bar, self._program = bar, program
        self.state = self.encoder.start(rows)
        self.scale_ns = scale_ns
        like = next(self.encoder.parameters())
        self.tokens_RKD = like.new_zeros(rows, keep, self.encoder.width)
        self.known_ns_RK = torch.zeros(rows, keep, dtype=torch.int64, device=like.device)
        self.keys = self._keys_of(self.tokens_RKD, self.known_ns_RK)
        self.streak_R = np.zeros(rows, dtype=np.int64)  # whole bars in a row
        self.close_ns_R = np.zeros(rows, dtype=np.int64)  # of the newest
        self.known_ns_R = np.zeros(rows, dtype=np.int64)  # by when all that has been seen was known

    def reset(self, row: int) -> None:
        self.state.reset(torch.tensor([row]))
        self.streak_R[row] = 0

    def step(self, x_RLF: Tensor, close_ns_R1: Tensor, known_ns_R1: Tensor) -> None:
        """Take in one more bar of every instrument."""
        ring, count_R = self.state.cache, self.state.count_R
        if self._program is None or not isinstance(ring, KVRing) or int(count_R.min()) < ring.capacity:
            self.keep(None, self.encoder.prefill(x_RLF, close_ns_R1, self.state), known_ns_R1)
            return
        slot_R = count_R % ring.capacity
        rings = [*ring.k, *ring.v]
        made = self._program(x_RLF, close_ns_R1, known_ns_R1, count_R[:, None], slot_R, rings, self.tail())
        self.tokens_RKD, self.known_ns_RK = made[:2]
        self.keys = None if self.keys is None else Keys(*made[2:])
        count_R += 1

    def tail(self) -> list[Tensor]:
        """Return what is kept of the newest tokens."""
        return [self.tokens_RKD, self.known_ns_RK, *(self.keys or ())]

    def keep(self, rows_B: Tensor | None, tokens_BLD: Tensor, known_ns_BL: Tensor) -> None:
        """Move new tokens into the tail, and what the decisions' attention makes of them beside."""
        at = None if rows_B is None else rows_B.to(self.tokens_RKD.device)
        self.tokens_RKD = _moved(self.tokens_RKD, tokens_BLD, at)
        self.known_ns_RK = _moved(self.known_ns_RK, known_ns_BL, at)
        if self.keys is not None:
            count = self.tokens_RKD.shape[1]
            new = self._keys_of(tokens_BLD[:, -count:], known_ns_BL[:, -count:])
            assert new is not None
            self.keys = Keys(_moved(self.keys.k, new.k, at), _moved(self.keys.v, new.v, at))

    def memory(self, rows_B: Tensor | None) -> Memory:
        """Return the tail of some rows; None: of all."""
        keys = self.keys
        return Memory(
            tag=self._bar,
            tokens_BMD=_picked(self.tokens_RKD, rows_B),
            known_ns_BM=_picked(self.known_ns_RK, rows_B),
            keys=None if keys is None else Keys(_picked(keys.k, rows_B), _picked(keys.v, rows_B)),
        )

    @torch.no_grad()
    def _keys_of(self, tokens_BLD: Tensor, known_ns_BL: Tensor) -> Keys | None:
        if self._cross is None:
            return None
        return self._cross.keys_of(Memory(tag=self._bar, tokens_BMD=tokens_BLD, known_ns_BM=known_ns_BL), self._number)


def _moved(tail_RK: Tensor, new_BL: Tensor, at: Tensor | None) -> Tensor:
    """Return a tail with something new at its end, of all rows or of those at `at`, as long as before."""
    count = tail_RK.shape[1]
    if at is None:
        return torch.cat([tail_RK, new_BL], dim=1)[:, -count:]
    tail_RK[at] = torch.cat([tail_RK[at], new_BL], dim=1)[:, -count:]
    return tail_RK


def _picked(tail_RK: Tensor, rows_B: Tensor | None) -> Tensor:
    return tail_RK if rows_B is None else tail_RK[rows_B]


class Streams:
    """The streamed state of all instruments of a banded model.

    Args:
        traced: its programs for so many instruments, used where they can be; None: the network itself does all.
    """

    def __init__(self, engine: Engine, instruments: int, traced: Traced | None = None) -> None:
        model, told = engine.model, engine.told
        assert isinstance(model, CausalSystem)
        self._model, self._told, self._instruments = model, told, instruments
        self._traced = traced
        steps = {} if traced is None else traced.steps
        self._streams = [
            _Stream(model, scale.bar, instruments, tokens_kept(model), scale.length_ns, steps.get(scale.bar))
            for scale in told.scales
        ]
        self._device = engine.device

    @torch.inference_mode()
    def absorb(self, scale: int, news: Sequence[tuple[NewRows, F32]]) -> None:
        """Remember bars of one scale.

        Args:
            news: at most one stretch of each instrument, with its features as the network reads them.
        """
        stream = self._streams[scale]
        single: list[tuple[int, F32, int, int]] = []
        for rows, x_LF in sorted(news, key=lambda each: each[0].instrument):
            for start, stop in stretches(stream, rows, x_LF):
                if stop - start == 1 and len(rows.close_ns) == 1:
                    single.append((rows.instrument, x_LF, int(rows.close_ns[0]), int(rows.known_ns[0])))
                else:
                    self._prefill(stream, rows, x_LF, start, stop)
        if single:
            self._step(stream, single)

    def ready(self, instrument: int, close_ns: int) -> bool:
        """Return whether all that a decision at this bar needs has been seen."""
        return all(
            stream.streak_R[instrument] >= scale.need
            and stream.close_ns_R[instrument] == close_ns // scale.length_ns * scale.length_ns
            for stream, scale in zip(self._streams, self._told.scales, strict=True)
        )

    @torch.inference_mode()
    def decide(self, instruments: Sequence[int], known_ns: Sequence[int], assets: Sequence[int]) -> ModelOutput:
        """Return the answers [B, ...] of some instruments after their newest bars."""
        is_all = list(instruments) == list(range(self._instruments))
        times = torch.tensor(list(known_ns), device=self._device)[:, None]
        numbers = torch.tensor(list(assets), device=self._device)
        if is_all and self._traced is not None and self._traced.decide is not None and self._all_known(known_ns):
            tails = [each for stream in self._streams for each in stream.tail()]
            made = self._traced.decide(times, numbers, tails)
            return ModelOutput(**dict(zip(self._traced.names, made, strict=True)))  # type: ignore[arg-type]
        rows = None if is_all else torch.tensor(list(instruments), device=self._device)
        memories = [stream.memory(rows) for stream in self._streams]
        output = self._model.decide(memories, times, numbers)
        said = {name: value[:, 0] for name, value in output.asked().items()}
        return ModelOutput(**said)  # type: ignore[arg-type]  # `aux` is not among them

    def _all_known(self, known_ns: Sequence[int]) -> bool:
        """Return whether all that was ever seen of each instrument is known at its decision."""
        return all((stream.known_ns_R <= known_ns).all() for stream in self._streams)

    def _prefill(self, stream: _Stream, rows: NewRows, x_LF: F32, start: int, stop: int) -> None:
        row_B = torch.tensor([rows.instrument])
        for first in range(start, stop, _CHUNK):
            part = slice(first, min(first + _CHUNK, stop))
            close_ns, known_ns = (self._times(times[part])[None] for times in (rows.close_ns, rows.known_ns))
            stream.known_ns_R[rows.instrument] = max(stream.known_ns_R[rows.instrument], rows.known_ns[part].max())
            x_BLF = torch.from_numpy(np.array(x_LF[part]))[None].to(self._device)
            stream.keep(row_B, stream.encoder.prefill(x_BLF, close_ns, stream.state, row_B), known_ns)

    def _step(self, stream: _Stream, single: Sequence[tuple[int, F32, int, int]]) -> None:
        instruments = [each[0] for each in single]
        is_all = instruments == list(range(self._instruments))
        x_BLF = torch.from_numpy(np.stack([each[1] for each in single])).to(self._device)
        close_ns = torch.tensor([[each[2]] for each in single], device=self._device)
        known_ns = torch.tensor([[each[3]] for each in single], device=self._device)
        for number, _, _, known in single:
            stream.known_ns_R[number] = max(stream.known_ns_R[number], known)
        if is_all:
            stream.step(x_BLF, close_ns, known_ns)
            return
        row_B = torch.tensor(instruments)
        stream.keep(row_B, stream.encoder.prefill(x_BLF, close_ns, stream.state, row_B), known_ns)

    def _times(self, times: I64) -> Tensor:
        return torch.from_numpy(np.array(times, dtype=np.int64)).to(self._device)


class Streak(Protocol):
    """How many bars of each instrument have followed one another whole, in one scale."""

    scale_ns: int
    streak_R: I64
    close_ns_R: I64

    def reset(self, row: int) -> None:
        """Begin an instrument anew."""


def stretches(stream: Streak, rows: NewRows, x_LF: F32) -> list[tuple[int, int]]:
    """Return from where to where bars follow one another whole, and begin anew where they do not."""
    row = rows.instrument
    is_whole_L: Mask = np.asarray(np.isfinite(x_LF).all(axis=1))
    found: list[tuple[int, int]] = []
    start = None
    for at, close_ns in enumerate(rows.close_ns.tolist()):
        follows = stream.streak_R[row] and close_ns == stream.close_ns_R[row] + stream.scale_ns
        if not (follows and is_whole_L[at]):
            if start is not None and start < at:
                found.append((start, at))
            found.clear()  # what lies before a hole is of no use to anybody
            stream.reset(row)
            start = at if is_whole_L[at] else None
        elif start is None:
            start = at
        if is_whole_L[at]:
            stream.streak_R[row] += 1
        stream.close_ns_R[row] = close_ns
    if start is not None:
        found.append((start, len(rows.close_ns)))
    return found


def group_by_scale(rows: Sequence[NewRows]) -> Mapping[int, list[NewRows]]:
    """Return rows by scale."""
    found: dict[int, list[NewRows]] = {}
    for each in rows:
        found.setdefault(each.scale, []).append(each)
    return found
