"""Many instruments on a GPU: every decision reads its windows anew, as one captured graph for each size of batch.

A streamed step is a few hundred small kernels, and on a GPU their launches cost more than their work. So there the bars
of every instrument lie on the device, and a decision is one replay of a graph that was captured when the process
started: no Python, no allocation, no launch but one. What is asked comes out of pinned memory and goes back into it.

The network is the same, traced by `torch.export` without its own checks, so that it answers as `forward` does: a
streamed step agrees to rounding. Questions are as in `streams.Streams`, which serves the CPU. On a CPU this class works
too, untraced and uncaptured, and far slower than steps: for tests of all but the capture.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bot.core.inference_frames import NewRows
from models.export import Flat, trace
from models.inputs import ModelInput
from models.inspect import example_input
from models.normalizer import F32
from models.output import ModelOutput
from models.serving.engine import Engine
from models.serving.streams import stretches
from models.systems.causal import CausalSystem

# Shape letters in this file: R instrument, B row of a batch, L bar, F feature.
BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # rows of a captured batch; more instruments are asked about in parts
_WARM_UP = 3  # runs before a capture, in which kernels are chosen and workspaces made


class _Window:
    """The newest bars of one scale of every instrument, on the device."""

    def __init__(self, rows: int, length: int, features: int, scale_ns: int, device: torch.device) -> None:
        self.scale_ns = scale_ns
        self.x_RLF = torch.zeros(rows, length, features, device=device)
        self.close_ns_RL = torch.zeros(rows, length, dtype=torch.int64, device=device)
        self.known_ns_RL = torch.zeros(rows, length, dtype=torch.int64, device=device)
        self.streak_R = np.zeros(rows, dtype=np.int64)  # whole bars in a row
        self.close_ns_R = np.zeros(rows, dtype=np.int64)  # of the newest

    def reset(self, row: int) -> None:
        """Begin an instrument anew; what lies there is not read until it is full again."""
        self.streak_R[row] = 0

    def push(self, rows: Sequence[int], x_BLF: Tensor, close_ns_BL: Tensor, known_ns_BL: Tensor) -> None:
        """Move equally many new bars of some instruments in, and the oldest out."""
        at = _to(torch.tensor(rows), self.x_RLF.device)
        for kept, new in ((self.x_RLF, x_BLF), (self.close_ns_RL, close_ns_BL), (self.known_ns_RL, known_ns_BL)):
            kept[at] = torch.cat([kept[at], _to(new, kept.device)], dim=1)[:, -kept.shape[1] :]


class GraphedStreams:
    """The bars of all instruments, and a captured graph for each size of batch.

    Args:
        buckets: sizes of batches; those larger than any batch can be are not captured.
    """

    def __init__(self, engine: Engine, instruments: int, buckets: Sequence[int] = BUCKETS) -> None:
        model, told = engine.model, engine.told
        assert isinstance(model, CausalSystem)
        self._told, self._device = told, engine.device
        features = len(told.schema.names)
        self._windows = [
            _Window(instruments, scale.need, features, scale.length_ns, engine.device) for scale in told.scales
        ]
        self._buckets = [_Bucket(model, size) for size in sizes_for(instruments, buckets)]

    @torch.inference_mode()
    def absorb(self, scale: int, news: Sequence[tuple[NewRows, F32]]) -> None:
        """Remember bars of one scale; see `streams.Streams.absorb`."""
        window = self._windows[scale]
        single: list[tuple[int, F32, NewRows]] = []
        for rows, x_LF in sorted(news, key=lambda each: each[0].instrument):
            for start, stop in stretches(window, rows, x_LF):
                if stop - start == 1 and len(rows.close_ns) == 1:
                    single.append((rows.instrument, x_LF, rows))
                    continue
                part = slice(max(start, stop - window.x_RLF.shape[1]), stop)
                times = (torch.from_numpy(np.array(each[part]))[None] for each in (rows.close_ns, rows.known_ns))
                window.push([rows.instrument], torch.from_numpy(np.array(x_LF[part]))[None], *times)
        if single:
            window.push(
                [number for number, _, _ in single],
                torch.from_numpy(np.stack([x_LF for _, x_LF, _ in single])),
                torch.from_numpy(np.stack([np.array(rows.close_ns) for _, _, rows in single])),
                torch.from_numpy(np.stack([np.array(rows.known_ns) for _, _, rows in single])),
            )

    def ready(self, instrument: int, close_ns: int) -> bool:
        """Return whether all that a decision at this bar needs has been seen."""
        return all(
            window.streak_R[instrument] >= scale.need
            and window.close_ns_R[instrument] == close_ns // scale.length_ns * scale.length_ns
            for window, scale in zip(self._windows, self._told.scales, strict=True)
        )

    @torch.inference_mode()
    def decide(self, instruments: Sequence[int], known_ns: Sequence[int], assets: Sequence[int]) -> ModelOutput:
        """Return the answers [B, ...], on the CPU, of some instruments after their newest bars."""
        parts: list[dict[str, Tensor]] = []
        most = self._buckets[-1].rows
        for at in range(0, len(instruments), most):
            count = min(most, len(instruments) - at)
            bucket = next(each for each in self._buckets if each.rows >= count)
            part = slice(at, at + count)
            parts.append(bucket.ask(self._windows, instruments[part], known_ns[part], assets[part]))
        said = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return ModelOutput(**said)  # type: ignore[arg-type]  # `aux` is not among them


def sizes_for(instruments: int, buckets: Sequence[int] = BUCKETS) -> list[int]:
    """Return the sizes of batches that so many instruments can fill: none is made that is larger than all of them."""
    enough = next((size for size in buckets if size >= instruments), buckets[-1])
    return [size for size in buckets if size <= enough]


class _Bucket:
    """The network for one size of batch: where its inputs lie, and, on a GPU, the graph that reads them."""

    @torch.no_grad()
    def __init__(self, model: CausalSystem, rows: int) -> None:
        self.rows = rows
        device = next(model.parameters()).device
        example = _example(model, rows, device)
        flat = Flat(model, example)
        self._module: nn.Module = flat  # a CPU captures nothing, so there nothing need be traced
        self._inputs = [each.clone() for each in flat.pack(example)]
        self._names = tuple(model(example).asked())
        if device.type == "cuda":
            self._module = trace(model, [example]).program.module()
        self._graph: torch.cuda.CUDAGraph | None = None
        # What changes with every question beside the bars: rows, times, assets; from pinned memory in one copy.
        self._asked = torch.zeros(3, rows, dtype=torch.int64, pin_memory=device.type == "cuda")
        self._asked_there = self._asked.to(device)
        self._answers: Sequence[Tensor] = ()
        self._out: list[Tensor] = []
        if device.type == "cuda":
            self._capture()

    def ask(
        self, windows: Sequence[_Window], instruments: Sequence[int], known_ns: Sequence[int], assets: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the answers of at most `rows` instruments."""
        count = len(instruments)
        for row, values in enumerate((instruments, known_ns, assets)):
            # What is left over asks the first question again: whatever the rows say, none depends on another.
            self._asked[row] = torch.tensor([*values, *[values[0]] * (self.rows - count)])
        self._asked_there.copy_(self._asked, non_blocking=True)
        at, times, numbers = self._asked_there.unbind()
        left = list(self._inputs)
        for window in windows:
            for kept in (window.x_RLF, window.close_ns_RL, window.known_ns_RL):
                torch.index_select(kept, 0, at, out=left.pop(0))
        left.pop(0).copy_(times[:, None])
        left.pop(0).copy_(numbers)
        if self._graph is None:
            made = [each.clone() for each in self._module(*self._inputs)]
        else:
            self._graph.replay()
            for host, there in zip(self._out, self._answers, strict=True):
                host.copy_(there, non_blocking=True)
            torch.cuda.current_stream().synchronize()
            made = [host.clone() for host in self._out]
        return {name: each[:count, 0] for name, each in zip(self._names, made, strict=True)}

    @torch.inference_mode()
    def _capture(self) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._module(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._answers = self._module(*self._inputs)
        self._out = [torch.empty(each.shape, dtype=each.dtype, pin_memory=True) for each in self._answers]


def _example(model: CausalSystem, rows: int, device: torch.device) -> ModelInput:
    """Return an input of the shapes that a decision has: just the bars it needs of every scale."""
    given = example_input(model.cfg, rows=rows)
    scales = {
        bar: replace(
            each,
            x_BLF=each.x_BLF.to(device),
            close_ns_BL=each.close_ns_BL.to(device),
            known_ns_BL=each.known_ns_BL.to(device),
        )
        for bar, each in given.scales.items()
    }
    assets = torch.zeros(rows, dtype=torch.int64, device=device)
    return replace(given, scales=scales, decision_ns_BT=given.decision_ns_BT.to(device), asset_B=assets)


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; to a GPU through pinned memory, so that nobody waits for the copy."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
