"""Streaming: what is said bar by bar, in chunks, or in one pass is the same; and what would not be the same is shown.

Bounds, relative to the size of the vectors: 1e-12 in float64, 1e-5 in float32, 1e-2 in bfloat16.
"""

import itertools

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.bar_encoder import BarEncoder, EncoderState
from tests.support.encoders import STREAMING, bars, encoder, relative_error, transformer
from tests.support.shared_data import shared_file

BOUNDS = [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)]
LENGTH = 60
cuts = st.lists(st.integers(1, LENGTH - 1), max_size=8, unique=True)


def streamed(made: BarEncoder, x: Tensor, time: Tensor, edges: list[int], state: EncoderState) -> Tensor:
    """Return what is said in these pieces; pieces of one bar are steps."""
    parts = []
    for start, stop in itertools.pairwise(edges):
        if stop - start == 1:
            parts.append(made.step(x[:, start], time[:, start], state)[:, None])
        else:
            parts.append(made.prefill(x[:, start:stop], time[:, start:stop], state))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize(("dtype", "bound"), BOUNDS, ids=["float64", "float32", "bfloat16"])
def test_pieces_are_the_whole(name: str, dtype: torch.dtype, bound: float) -> None:
    """Two chunks, steps past the end of the ring, and a chunk again: the one pass over all."""
    made = encoder(STREAMING[name], dtype=dtype)
    x, time = bars(2, LENGTH, dtype=dtype)
    with torch.no_grad():
        whole = made(x, time)
    found = streamed(made, x, time, [0, 3, 20, *range(21, 45), LENGTH], made.start(2))
    assert relative_error(found, whole) < bound


@pytest.mark.parametrize("name", STREAMING)
@settings(deadline=None, max_examples=6)
@given(edges=cuts)
def test_any_cut(name: str, edges: list[int]) -> None:
    """However the bars are cut."""
    made = encoder(STREAMING[name])
    x, time = bars(2, LENGTH)
    with torch.no_grad():
        whole = made(x, time)
    found = streamed(made, x, time, [0, *sorted(edges), LENGTH], made.start(2))
    assert relative_error(found, whole) < 1e-12


@pytest.mark.parametrize("name", STREAMING)
@settings(deadline=None, max_examples=5)
@given(script=st.lists(st.tuples(st.sampled_from([(0,), (1,), (2,), (0, 2), (2, 1), (0, 1, 2)]), st.integers(1, 9))))
def test_rows_go_their_own_way(name: str, script: list[tuple[tuple[int, ...], int]]) -> None:
    """Instruments that get bars at different times, in any order, each hear their own history and no other's."""
    made = encoder(STREAMING[name])
    x, time = bars(3, 60)
    with torch.no_grad():
        whole = made(x, time)
    state, at = made.start(3), [0, 0, 0]
    for rows, count in script:
        count = min(count, 60 - max(at[row] for row in rows))
        if count == 0:
            continue
        part_x = torch.stack([x[row, at[row] : at[row] + count] for row in rows])
        part_time = torch.stack([time[row, at[row] : at[row] + count] for row in rows])
        found = made.prefill(part_x, part_time, state, torch.tensor(rows))
        for number, row in enumerate(rows):
            expected = whole[row, at[row] : at[row] + count]
            torch.testing.assert_close(found[number], expected, rtol=0, atol=1e-11)
            at[row] += count
    assert state.count_R.tolist() == at


@pytest.mark.parametrize("name", STREAMING)
def test_the_future_changes_nothing(name: str) -> None:
    """Other features and times after bar t move not one bit of what is said until t; and they do move what follows."""
    made = encoder(STREAMING[name], dtype=torch.float32)
    x, time = bars(2, 200, dtype=torch.float32)
    with torch.no_grad():
        whole = made(x, time)
        for at in (1, 64, 96, 150):
            other_x, other_time = x.clone(), time.clone()
            other_x[:, at:] = other_x[:, at:] * -3 + 1
            other_time[:, at:] += 5 * 3_600_000_000_000
            other = made(other_x, other_time)
            assert torch.equal(other[:, :at], whole[:, :at])
            assert not torch.equal(other[:, at:], whole[:, at:])


@pytest.mark.parametrize("name", STREAMING)
def test_a_peek_leaves_no_trace(name: str) -> None:
    """A forming bar is answered as if it were closed, and then it never was; also before and after the ring is full."""
    made = encoder(STREAMING[name])
    x, time = bars(2, 30)
    state, other = made.start(2), made.start(2)
    for at in range(30):
        forming = made.peek(x[:, at] * 2 + 1, time[:, at], state)
        expected = made.step(x[:, at], time[:, at], other)
        if at or state.norm is None:  # the first bar is what it is standardised by
            assert not torch.equal(forming, expected)
        assert torch.equal(made.peek(x[:, at], time[:, at], state), expected)
        assert torch.equal(made.step(x[:, at], time[:, at], state), expected)


@pytest.mark.parametrize("name", STREAMING)
def test_a_reset_row_is_new(name: str) -> None:
    """After a reset a row hears only what comes then, beside rows that have heard more."""
    made = encoder(STREAMING[name])
    x, time = bars(2, 50)
    state = made.start(2)
    made.prefill(x[:, :20], time[:, :20], state)
    state.reset(torch.tensor([1]))
    found = made.prefill(x[:, 20:], time[:, 20:], state)
    torch.testing.assert_close(found[1:], made(x[1:, 20:], time[1:, 20:]).detach(), rtol=0, atol=1e-11)
    torch.testing.assert_close(found[:1], made(x[:1], time[:1])[:, 20:].detach(), rtol=0, atol=1e-11)


def test_a_scan_is_the_pass() -> None:
    """Chunks of equal length give the same bits wherever a history is cut between them, and the pass to rounding."""
    made = encoder(STREAMING["clock"], dtype=torch.float32)
    x, time = bars(2, 300, dtype=torch.float32)
    found = made.scan(x, time, chunk=50)
    assert relative_error(found, made(x, time).detach()) < 1e-5
    state = made.start(2)
    parts = [made.prefill(x[:, at : at + 50], time[:, at : at + 50], state) for at in range(0, 300, 50)]
    assert torch.equal(found, torch.cat(parts, dim=1))


BANDED = transformer(window=12)  # three layers, rotary: it reaches over 34 bars


def test_the_receptive_field_is_enough_and_less_is_not() -> None:
    """Fed its receptive field alone, a banded encoder says what it says after all history; one bar less is wrong."""
    made = encoder(BANDED)
    x, time = bars(1, 200)
    reach = made.receptive_field
    assert reach == 34
    last = made(x, time)[:, -1].detach()
    for fed, bound in ((reach, (0.0, 1e-12)), (reach - 1, (1e-9, 1.0))):
        state = made.start(1)
        made.prefill(x[:, -fed:-1], time[:, -fed:-1], state)
        error = relative_error(made.step(x[:, -1], time[:, -1], state), last)
        assert bound[0] <= error <= bound[1], fed


def test_a_ring_is_not_a_window_read_again() -> None:
    """The mistake this design avoids: a cache of the newest W bars is not the model read anew on those W bars.

    With more than one layer a bar's deeper vectors know what it could see then; dropping old bars from the cache does
    not take that back, reading the window anew does. Only with one layer are they the same.
    """
    x, time = bars(1, 200)
    for depth, same in ((3, False), (1, True)):
        made = encoder(transformer(depth=depth, window=12))
        state = made.start(1)
        made.prefill(x[:, :-1], time[:, :-1], state)
        ring = made.step(x[:, -1], time[:, -1], state)
        window = made(x[:, -12:], time[:, -12:])[:, -1].detach()
        error = relative_error(ring, window)
        assert error < 1e-12 if same else error > 1e-2, (depth, error)


def test_positions_that_count_need_their_anchor() -> None:
    """The same bars, numbered from another first bar, are another message: why such kinds are "anchored"."""
    made = encoder(STREAMING["sinusoidal"])
    assert made.streams == "anchored"
    x, time = bars(1, 60)
    later = made(x[:, 20:], time[:, 20:])[:, -1]
    assert relative_error(later.detach(), made(x, time)[:, -1].detach()) > 1e-3


def test_on_real_bars() -> None:
    """Five days of real minutes, two instruments, features that are not standardised: chunks, steps and pass agree."""
    columns = []
    for symbol in ("btcusdt", "ethusdt"):
        table = pq.read_table(shared_file(f"data/{symbol}_bybit_linear_1m_2025-05_2025-06.parquet"))
        close, volume = (table[name].to_numpy()[:7200].astype(np.float64) for name in ("close", "volume"))
        high, low = (table[name].to_numpy()[:7200].astype(np.float64) for name in ("high", "low"))
        returns = np.diff(np.log(close), prepend=np.log(close[0])) * 1e3
        columns.append(np.stack([returns, np.log1p(volume), (high - low) / close * 1e3, returns**2, close / 1e5], 1))
        closes = table["ts"].to_numpy()[:7200] * 1_000_000 + 60_000_000_000
    x = torch.from_numpy(np.stack(columns)).float()
    time = torch.from_numpy(np.stack([closes, closes]).astype(np.int64))
    cfg = transformer(window=200, in_norm="ewma", halflife=500.0, kinds=("rotary", "calendar", "cyclical"), depth=2)
    made = encoder(cfg, dtype=torch.float32)
    with torch.no_grad():
        whole = made(x, time)
    state = made.start(2)
    found = streamed(made, x, time, [0, 500, 4000, 7100, *range(7101, 7201)], state)
    assert relative_error(found, whole) < 1e-5
