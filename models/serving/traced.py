"""A network's steps and decisions as traced programs: the same operations, with no Python between them.

On a CPU a step is some hundred small operations, and more than half of its time is the interpreter's. Where all
instruments step together, whose rings are full, every shape is known before: so the network is traced once, when the
process starts, and run without it from then on. Bars that come alone, rings that are not full and networks that keep
something else than rings go through the network itself.

A program is believed only after it has said, bit for bit, what the network says.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.attention.cache import FullRingCursor, KVRing
from models.encoder import Encoder
from models.memory import CrossAttend, Keys, Memory
from models.position import Tokens, unpack_constants
from models.systems.causal import CausalSystem

# Shape letters in this file: R instrument, L bar, F feature, K kept token, D width, H head, d its width.

Program = Callable[..., tuple[Tensor, ...]]
_RUNS = 3  # after which the executor has specialised a program
_MINUTE_NS, _SOME_NS = 60 * 10**9, 1_700_000_000 * 10**9


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Traced:
    """The programs of one network, for a number of instruments.

    Attributes:
        steps: by bar, those that there are. Takes features [R, 1, F], close and time known [R, 1], count [R, 1], slot
            [R], the rings' keys and then values, which it writes, and the tail; returns the tail after the step.
        decide: takes times [R, 1], assets [R] and the tails of all streams, one list; returns the answers [R, ...] of
            `names`. Every token of the tails must be known by then.
    """

    steps: dict[str, Program]
    decide: Program | None
    names: tuple[str, ...]


def trace_network(model: CausalSystem, rows: int) -> Traced:
    """Return the programs of a network on the CPU; what cannot be traced here is left out."""
    unpack_constants(model)  # a tracer cannot read an integer's bits
    keep = tokens_kept(model)
    steps: dict[str, Program] = {}
    modules = [_Step(model, scale.bar) for scale in model.cfg.scales]
    for scale, module in zip(model.cfg.scales, modules, strict=True):
        encoder = model.encoders.of(scale.bar)
        if isinstance(encoder, Encoder) and encoder.in_norm.norm is None:
            program = _trace(module, partial(module.example, rows, keep))
            if program is not None:
                steps[scale.bar] = program
    decide = _Decide(model)

    def asked(number: int) -> tuple[Any, ...]:
        chance = torch.Generator().manual_seed(number)
        tails = [each for module in modules for each in module.tail(rows, keep, chance)]
        times = torch.full((rows, 1), _SOME_NS + (1 + number) * _MINUTE_NS)
        return times, torch.zeros(rows, dtype=torch.int64), tails

    program = _trace(decide, asked)
    return Traced(steps=steps, decide=program, names=decide.names)


def tokens_kept(model: CausalSystem) -> int:
    """Return how many newest tokens of each stream a decision sees."""
    fusion = model.cfg.fusion
    return 1 if fusion is None else fusion.recent or 1


def cross_of(model: CausalSystem, bar: str) -> tuple[CrossAttend | None, int]:
    """Return the attention that reads a stream's tokens, and the stream's number there; None where nothing does."""
    fusion = model.fusion
    if fusion is None or bar not in fusion.tags:
        return None, 0
    return fusion.cross, fusion.tags.index(bar)


class _Step(nn.Module):
    """One bar of every instrument."""

    def __init__(self, model: CausalSystem, bar: str) -> None:
        super().__init__()
        self._bar = bar
        self.encoder = model.encoders.of(bar)
        self.cross, self._number = cross_of(model, bar)

    def forward(
        self,
        x_RLF: Tensor,
        close_ns_R1: Tensor,
        known_ns_R1: Tensor,
        count_R1: Tensor,
        slot_R: Tensor,
        rings: list[Tensor],
        tail: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """See `Traced.steps`."""
        layers = len(rings) // 2
        cursor = FullRingCursor(rings[:layers], rings[layers:], slot_R)
        tokens = Tokens(index_BL=count_R1, end=0, time_ns_BL=close_ns_R1, features_BLF=x_RLF)
        assert isinstance(self.encoder, Encoder)
        new = self._made_of(self.encoder.encode(tokens, cursor), known_ns_R1)
        return tuple(torch.cat([old, each], dim=1)[:, 1:] for old, each in zip(tail, new, strict=True))

    def _made_of(self, tokens_RKD: Tensor, known_ns_RK: Tensor) -> list[Tensor]:
        """Return what a tail keeps of some tokens."""
        if self.cross is None:
            return [tokens_RKD, known_ns_RK]
        memory = Memory(tag=self._bar, tokens_BMD=tokens_RKD, known_ns_BM=known_ns_RK)
        return [tokens_RKD, known_ns_RK, *self.cross.keys_of(memory, self._number)]

    @torch.no_grad()
    def tail(self, rows: int, keep: int, chance: torch.Generator) -> list[Tensor]:
        """Return a made-up tail."""
        known_ns_K = _SOME_NS - _MINUTE_NS * torch.arange(keep - 1, -1, -1)
        return self._made_of(torch.randn(rows, keep, self.encoder.width, generator=chance), known_ns_K.repeat(rows, 1))

    def example(self, rows: int, keep: int, number: int) -> tuple[Any, ...]:
        """Return made-up arguments, always the same for one number, in tensors of their own."""
        chance = torch.Generator().manual_seed(number)
        ring = self.encoder.start(rows).cache
        assert isinstance(ring, KVRing)
        rings = [torch.randn(each.shape, generator=chance) for each in (*ring.k, *ring.v)]
        count_R1 = torch.arange(rows)[:, None] + 5 * ring.capacity + 3 * number
        times = torch.full((rows, 1), _SOME_NS + (1 + number) * _MINUTE_NS)
        x_RLF = torch.randn(rows, 1, self.encoder.features, generator=chance)
        return x_RLF, times, times + 1, count_R1, count_R1[:, 0] % ring.capacity, rings, self.tail(rows, keep, chance)


class _Decide(nn.Module):
    """One decision of every instrument."""

    def __init__(self, model: CausalSystem) -> None:
        super().__init__()
        self.model = model
        self._streams = [(scale.bar, cross_of(model, scale.bar)[0] is not None) for scale in model.cfg.scales]
        self.names: tuple[str, ...] = ()

    def forward(self, times_R1: Tensor, assets_R: Tensor, tails: list[Tensor]) -> tuple[Tensor, ...]:
        """See `Traced.decide`."""
        left, memories = list(tails), []
        for bar, has_keys in self._streams:
            tokens, known = left.pop(0), left.pop(0)
            keys = Keys(left.pop(0), left.pop(0)) if has_keys else None
            memories.append(Memory(tag=bar, tokens_BMD=tokens, known_ns_BM=known, keys=keys))
        said = self.model.decide(memories, times_R1, assets_R).asked()
        self.names = tuple(said)
        return tuple(each[:, 0] for each in said.values())


@torch.no_grad()
def _trace(module: nn.Module, example: Callable[[int], tuple[Any, ...]]) -> Program | None:
    """Return a module's program, None where there is none that says, and writes, the same.

    Args:
        example: arguments by number: those that it is tried on are others than those that it was traced with, so that
            no number is taken for constant that is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer names each number that it takes for constant: they are
        try:
            traced = torch.jit.trace(module.eval(), example(0), check_trace=False)  # type: ignore[no-untyped-call]
        except RuntimeError:
            return None
        program: Program = torch.jit.freeze(traced)
        for _ in range(_RUNS):
            program(*example(0))
    ours, theirs = example(1), example(1)
    said = [*program(*ours), *_tensors(ours)]
    meant = [*module(*theirs), *_tensors(theirs)]
    return program if all(torch.equal(one, other) for one, other in zip(said, meant, strict=True)) else None


def _tensors(given: Sequence[Any]) -> list[Tensor]:
    """Return all tensors among some arguments, one after another."""
    return [each for one in given for each in ([one] if isinstance(one, Tensor) else one)]
