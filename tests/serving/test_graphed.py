"""Decisions over whole windows say what streamed steps say: on a GPU a captured graph, here the network itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bot.core.inference_frames import Answered, NewRows, Request
from models.serving.engine import Engine, open_engine
from models.serving.graphed import GraphedStreams, sizes_for
from models.serving.process import Server
from models.serving.told import shape_of
from tests.support.served import write_served
from tests.support.serving import START_NS, Bars

NAMES = ("AUSDT", "BUSDT", "CUSDT")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artefact that streams."""
    return write_served(tmp_path_factory.mktemp("graphed"), instruments=NAMES)


@pytest.fixture(scope="module")
def graphed(path: Path) -> Server:
    """Return a server that answers at most two instruments at once; bars that begin again begin it anew."""
    engine = open_engine(path)
    server = _server(engine)
    server._streams = GraphedStreams(engine, len(NAMES), (2,))
    return server


def _server(engine: Engine) -> Server:
    return Server(engine, shape_of(engine.told, NAMES))


def _answers(server: Server, *, minutes: int = 110, hole: int = 86) -> list[list[Answered]]:
    """Return what a server says minute by minute; the second instrument lacks a bar, the third begins late."""
    bars = Bars(server._shape)
    found = []
    for number in range(1, minutes + 1):
        at = START_NS + number * server._shape.scale_ns[0]
        rows = [each for each in bars.rows(at) if not (each.instrument == 1 and number == hole)]
        rows = [each for each in rows if each.instrument != 2 or number > 4]
        asked = [each for each in bars.decisions(at) if any(row.instrument == each.instrument for row in rows)]
        found.append(server.answer(Request(request_id=number, rows=rows, decisions=asked)))
    return found


def _same(one: Sequence[Answered], two: Sequence[Answered]) -> int:
    assert [(each.instrument, each.is_there) for each in one] == [(each.instrument, each.is_there) for each in two]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.quantiles_HQ, b.quantiles_HQ, rtol=1e-4, atol=5e-7)
        np.testing.assert_allclose(a.answers_A, b.answers_A, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(a.importance_S, b.importance_S, rtol=1e-4, atol=1e-6)
    return sum(each.is_there for each in one)


def test_it_says_what_streamed_steps_say(path: Path, graphed: Server) -> None:
    """Also after a hole, with fewer instruments than a batch has rows, and with more than the largest batch."""
    streamed = _answers(_server(open_engine(path)))
    there = [_same(one, two) for one, two in zip(streamed, _answers(graphed), strict=True)]
    assert there[-1] == 3
    assert 2 in there[86:]
    assert there[0] == 0


def test_a_history_in_one_piece_is_the_same_as_bar_by_bar(path: Path, graphed: Server) -> None:
    """A process that starts is told the past at once."""
    one = _server(open_engine(path))
    bars, step_ns = Bars(one._shape), one._shape.scale_ns[0]
    apart: dict[tuple[int, int], list[NewRows]] = {}
    for number in range(1, 101):
        for each in bars.rows(START_NS + number * step_ns):
            apart.setdefault((each.instrument, each.scale), []).append(each)
        one.answer(Request(request_id=number, rows=bars.rows(START_NS + number * step_ns), decisions=[]))
    history = [
        NewRows(
            instrument=instrument,
            scale=scale,
            close_ns=np.concatenate([each.close_ns for each in parts]),
            known_ns=np.concatenate([each.known_ns for each in parts]),
            values=np.concatenate([each.values for each in parts]),
        )
        for (instrument, scale), parts in apart.items()
    ]
    graphed.answer(Request(request_id=1, rows=history, decisions=[]))
    at = START_NS + 101 * step_ns
    last = Request(request_id=101, rows=bars.rows(at), decisions=bars.decisions(at))
    assert _same(one.answer(last), graphed.answer(last)) == 3


def test_batches_larger_than_all_instruments_are_not_made() -> None:
    assert sizes_for(3) == [1, 2, 4]
    assert sizes_for(1) == [1]
    assert sizes_for(500) == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.gpu
def test_captured_graphs_say_what_the_cpu_says(path: Path) -> None:
    """The very path of the inference process on a GPU: pinned memory in, one replay, pinned memory out."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    on_cpu, on_gpu = (open_engine(path, device=each) for each in ("cpu", "cuda"))
    server = Server(on_gpu, shape_of(on_gpu.told, NAMES))
    assert isinstance(server._streams, GraphedStreams)
    there = [_same(one, two) for one, two in zip(_answers(_server(on_cpu)), _answers(server), strict=True)]
    assert there[-1] == 3
