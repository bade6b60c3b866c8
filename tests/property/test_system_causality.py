"""Streaming systems know nothing later than the decision, and say the same in one pass as bar by bar."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.inputs import ModelInput
from models.output import ModelOutput
from models.systems.causal import CausalSystem
from tests.support.encoders import relative_error
from tests.support.systems import CONFIGS, END, FIRST, LATE_NS, MINUTE, START_NS, STREAMING, cut, inputs, system, with_x

STREAMED = ("flagship", "flagship concat", "trading", "longctx")


def _same(left: ModelOutput, right: ModelOutput, count: int) -> bool:
    """Tell whether the first `count` decisions have the same answers, to the bit."""
    mine, theirs = left.asked(), right.asked()
    return mine.keys() == theirs.keys() and all(
        torch.equal(mine[name][:, :count], theirs[name][:, :count]) for name in mine
    )


@pytest.mark.parametrize("name", STREAMING)
@settings(max_examples=5, deadline=None)
@given(first=st.integers(FIRST + 1, END), which=st.integers(0, 2), seed=st.integers(0, 99))
def test_changing_a_bar_changes_no_decision_before_it_is_known(name: str, first: int, which: int, seed: int) -> None:
    """Whatever bars of a stream become after a minute, answers at decisions before are the same to the bit."""
    model, told = system(name), inputs(name, seed=seed)
    bar = CONFIGS[name].scales[which % len(CONFIGS[name].scales)].bar
    scale = told.scales[bar]
    later = scale.close_ns_BL[0] >= START_NS + first * MINUTE
    if not later.any():
        return
    x = scale.x_BLF.clone()
    x[:, later] = 100 * torch.randn(x[:, later].shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        before, after = model(told), model(with_x(told, {bar: x}))
    unseen = int((told.decision_ns_BT[0] < scale.known_ns_BL[0, later][0]).sum())
    assert _same(before, after, unseen)
    assert not _same(before, after, told.decision_ns_BT.shape[1])


@pytest.mark.parametrize("name", ["flagship", "flagship concat", "trading"])
def test_a_coarse_bar_counts_from_when_it_is_known_and_not_from_its_close(name: str) -> None:
    """The 15-minute bar of minute 105 is known 2 s later: the decision at its close is blind to it, the next is not."""
    model, told = system(name), inputs(name)
    at = START_NS + 105 * MINUTE
    early = torch.tensor([[at, at + LATE_NS - 1, at + LATE_NS]]).repeat(2, 1)
    told = ModelInput(scales=told.scales, decision_ns_BT=early)
    x = told.scales["15m"].x_BLF.clone()
    x[:, 6:] += 1.0
    with torch.no_grad():
        before, after = model(told), model(with_x(told, {"15m": x}))
    assert _same(before, after, 2)
    assert not _same(before, after, 3)


def _walk(model: CausalSystem, name: str, cuts: list[int]) -> dict[str, torch.Tensor]:
    """Return the answers of a stream that is cut after these minutes."""
    whole, state = _doubled(name), model.start(2)
    parts: list[dict[str, torch.Tensor]] = []
    edges = [0, FIRST, *sorted(set(cuts) - {FIRST, END}), END]
    for start, stop in itertools.pairwise(edges):
        piece = cut(whole, START_NS + start * MINUTE, START_NS + stop * MINUTE)
        parts.append(model.prefill(piece, state).asked())
    return {key: torch.cat([part[key] for part in parts], dim=1) for key in parts[0]}


def _doubled(name: str) -> ModelInput:
    told = inputs(name)
    return with_x(told, {bar: scale.x_BLF.double() for bar, scale in told.scales.items()})


@pytest.mark.parametrize("name", STREAMED)
@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(FIRST + 1, END - 1), max_size=20))
def test_however_the_stretch_is_cut_streaming_says_what_one_pass_says(name: str, cuts: list[int]) -> None:
    """Single steps, chunks, and one pass agree to rounding, in float64."""
    model = system(name, dtype=torch.float64)
    assert isinstance(model, CausalSystem)
    with torch.no_grad():
        once = model(_doubled(name)).asked()
    streamed = _walk(model, name, cuts)
    for key, value in once.items():
        assert relative_error(streamed[key], value) < 1e-12, key


@pytest.mark.parametrize("name", STREAMED)
def test_minute_by_minute(name: str) -> None:
    model = system(name, dtype=torch.float64)
    assert isinstance(model, CausalSystem)
    with torch.no_grad():
        once = model(_doubled(name)).asked()
    for key, value in _walk(model, name, list(range(FIRST + 1, END))).items():
        assert relative_error(value, once[key]) < 1e-12, key


def test_what_a_banded_system_says_does_not_depend_on_where_the_stretch_began() -> None:
    """The flagship needs its receptive field and nothing before, so a stretch may begin anywhere."""
    model, told = system("flagship", dtype=torch.float64), _doubled("flagship")
    late = cut(told, START_NS + 15 * MINUTE, START_NS + END * MINUTE)
    with torch.no_grad():
        whole, part = model(told).asked(), model(late).asked()
    for key, value in whole.items():
        assert relative_error(part[key], value) < 1e-12, key
