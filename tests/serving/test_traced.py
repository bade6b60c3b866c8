"""Traced programs say, bit for bit, what the network says, and are left where they cannot be used."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bot.core.inference_frames import Answered, Decision, Request
from models.config import EncoderConfig, ModelConfig
from models.serving.engine import open_engine
from models.serving.process import Server, programs_of
from models.serving.streams import Streams
from models.serving.told import shape_of
from models.serving.traced import Traced, _trace
from tests.support.served import config_of, write_config
from tests.support.serving import START_NS, Bars

NAMES = ("AUSDT", "BUSDT")


def _with_attention(config: ModelConfig, **changed: object) -> ModelConfig:
    scales = []
    for scale in config.scales:
        encoder = scale.encoder
        assert isinstance(encoder, EncoderConfig)
        attn = msgspec.structs.replace(encoder.block.attn, **changed)
        block = msgspec.structs.replace(encoder.block, attn=attn)
        scales.append(msgspec.structs.replace(scale, encoder=msgspec.structs.replace(encoder, block=block)))
    return msgspec.structs.replace(config, scales=tuple(scales))


def _placed(config: ModelConfig, *kinds: str) -> ModelConfig:
    scales = []
    for scale in config.scales:
        encoder = scale.encoder
        assert isinstance(encoder, EncoderConfig)
        placed = msgspec.structs.replace(encoder, pos=msgspec.structs.replace(encoder.pos, kinds=kinds))
        scales.append(msgspec.structs.replace(scale, encoder=placed))
    return msgspec.structs.replace(config, scales=tuple(scales))


CONFIGS: dict[str, Callable[[], ModelConfig]] = {
    "flagship": lambda: config_of("flagship"),
    "concat": lambda: config_of("flagship concat"),
    "trading": lambda: config_of("trading"),
    "hooks": lambda: _with_attention(config_of("flagship"), pre="state", bias="key", gate="output"),
    "alibi": lambda: _placed(config_of("flagship"), "alibi", "calendar"),
    "cyclical": lambda: _placed(config_of("flagship"), "rotary", "cyclical", "context"),
}


class Counting:
    """A program, and how often it was run."""

    def __init__(self, program: Callable[..., tuple[Tensor, ...]]) -> None:
        self.program, self.times = program, 0

    def __call__(self, *given: object) -> tuple[Tensor, ...]:
        self.times += 1
        return self.program(*given)


def _servers(directory: Path, config: ModelConfig) -> tuple[Server, Server, dict[str, Counting]]:
    """Return the network by itself, the one with programs, and those."""
    path = write_config(directory, config, instruments=NAMES)
    plain, fast = open_engine(path), open_engine(path)
    shape = shape_of(fast.told, NAMES)
    made = programs_of(fast, shape)
    assert made is not None
    assert made.decide is not None
    counted = {bar: Counting(program) for bar, program in made.steps.items()} | {"decide": Counting(made.decide)}
    steps = {bar: counted[bar] for bar in made.steps}
    traced = Traced(steps=dict(steps), decide=counted["decide"], names=made.names)
    return Server(plain, shape), Server(fast, shape, traced), counted


def _assert_same(one: Sequence[Answered], two: Sequence[Answered]) -> int:
    assert [each.is_there for each in one] == [each.is_there for each in two]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.quantiles_HQ, b.quantiles_HQ)
        np.testing.assert_array_equal(a.answers_A, b.answers_A)
        np.testing.assert_array_equal(a.importance_S, b.importance_S)
    return sum(each.is_there for each in one)


@pytest.mark.parametrize("name", CONFIGS)
def test_programs_say_what_the_network_says(tmp_path: Path, name: str) -> None:
    """Through warm-up, a hole, bars that come alone, and an instrument that begins later than the other."""
    plain, fast, counted = _servers(tmp_path, CONFIGS[name]())
    bars, minute_ns = Bars(plain._shape), plain._shape.scale_ns[0]
    answered = 0
    for number in range(1, 181):
        at = START_NS + number * minute_ns
        rows = [each for each in bars.rows(at) if each.instrument == 0 or (number > 3 and number != 100)]
        decisions = [each for each in bars.decisions(at) if each.instrument == 0 or number % 7]
        asked = Request(request_id=number, rows=rows, decisions=decisions)
        answered += _assert_same(plain.answer(asked), fast.answer(asked))
    assert answered > 100
    assert all(each.times > 3 for each in counted.values()), {bar: each.times for bar, each in counted.items()}
    assert set(counted) == {scale.bar for scale in fast._engine.told.scales} | {"decide"}


def test_a_bar_that_is_not_known_yet_is_not_decided_upon_by_a_program(tmp_path: Path) -> None:
    """A program takes all that it is given for known."""
    plain, fast, counted = _servers(tmp_path, config_of("flagship"))
    bars, minute_ns = Bars(plain._shape), plain._shape.scale_ns[0]
    for number in range(1, 129):
        at = START_NS + number * minute_ns
        late = [replace(each, known_ns=each.known_ns + 50 * minute_ns * (number == 128)) for each in bars.rows(at)]
        asked = Request(request_id=number, rows=late, decisions=bars.decisions(at))
        before = counted["decide"].times
        there = _assert_same(plain.answer(asked), fast.answer(asked))
        if number >= 127:
            assert (there, counted["decide"].times - before) == (2, number == 127)


def test_only_a_program_that_says_the_same_is_believed() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (x * 3 + 1,)

    class Other(nn.Module):
        """The tracer keeps the way that was taken when it looked."""

        looks = 0

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            self.looks += 1
            return (x + self.looks,)

    class Untraceable(nn.Module):
        def forward(self, x: Tensor) -> object:
            return (object(), x)

    class Bound(nn.Module):
        """What is made a number while the tracer looks is a constant to it."""

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (x * float(x.sum()),)

    class Writing(nn.Module):
        """Says the same, and writes what it saw first."""

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            said = x + 1
            x.fill_(float(x.sum()))
            return (said,)

    def example(number: int) -> tuple[Tensor]:
        return (torch.arange(4.0) + number,)

    assert _trace(Same(), example) is not None
    assert _trace(Other(), example) is None
    assert _trace(Untraceable(), example) is None
    assert _trace(Bound(), example) is None
    assert _trace(Writing(), example) is None


def test_what_keeps_no_ring_has_no_program(tmp_path: Path) -> None:
    """An encoder whose inputs are standardised as they pass remembers more than a ring."""
    config = config_of("flagship")
    scales = tuple(
        msgspec.structs.replace(scale, encoder=msgspec.structs.replace(scale.encoder, in_norm="ewma", halflife=4.0))
        for scale in config.scales
    )
    engine = open_engine(write_config(tmp_path, msgspec.structs.replace(config, scales=scales), instruments=NAMES))
    made = programs_of(engine, shape_of(engine.told, NAMES))
    assert made is not None
    assert made.steps == {}
    assert made.decide is not None
    server = Server(engine, shape_of(engine.told, NAMES), made)
    assert isinstance(server._streams, Streams)
    bars = Bars(server._shape)
    there = []
    for number in range(1, 400):
        at = START_NS + number * server._shape.scale_ns[0]
        decision = Decision(instrument=0, close_ns=at, known_ns=bars.decisions(at)[0].known_ns)
        asked = Request(request_id=number, rows=bars.rows(at), decisions=[decision])
        there += [each.is_there for each in server.answer(asked)]
    assert there[-1]


def test_a_network_over_windows_has_none(tmp_path: Path) -> None:
    engine = open_engine(write_config(tmp_path, config_of("multiscale"), instruments=NAMES))
    assert programs_of(engine, shape_of(engine.told, NAMES)) is None
