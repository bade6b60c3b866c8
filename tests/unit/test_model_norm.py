"""Norms of inputs: against their definitions, at their edges, and in pieces."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention.masks import Padding
from models.norm import CausalStandardizer, GatedInstanceNorm, RevIN, make_norm
from tests.support.attention_reference import ewma_slowly
from tests.support.examples import examples


def drawn(rows: int, length: int, features: int = 3, *, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, length, features))) * 5 + 40


def test_token_norms() -> None:
    x = drawn(2, 4, 8)
    rms = make_norm("rms", 8).double()(x)
    torch.testing.assert_close(rms.square().mean(-1), torch.ones(2, 4, dtype=torch.float64), rtol=1e-6, atol=0)
    layer = make_norm("layer", 8).double()(x)
    torch.testing.assert_close(layer.mean(-1), torch.zeros(2, 4, dtype=torch.float64), rtol=0, atol=1e-9)


def test_revin_there_and_back() -> None:
    """The window has mean 0 and deviation 1; a forecast of one feature comes back in its units."""
    norm, x = RevIN(3).double(), drawn(2, 50)
    with torch.no_grad():
        norm.gain_F.copy_(torch.tensor([2.0, 1.0, 0.5]))
        norm.shift_F.copy_(torch.tensor([1.0, 0.0, -1.0]))
        z, stats = norm(x)
        plain = (z - norm.shift_F) / norm.gain_F
        torch.testing.assert_close(plain.mean(1), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=1e-12)
        torch.testing.assert_close(plain.std(1, correction=0), torch.ones(2, 3, dtype=torch.float64), rtol=1e-9, atol=0)
        for feature in range(3):
            torch.testing.assert_close(norm.inverse(z[:, :, feature], stats, feature), x[:, :, feature])


def test_a_dead_feature_becomes_zeros() -> None:
    """A constant window is zeros, not noise blown up by a deviation of nothing."""
    x = drawn(1, 20)
    x[..., 1] = 7.25
    z, _ = RevIN(3).double()(x)
    assert not z[..., 1].any()


def test_padding_counts_for_nothing() -> None:
    """A padded window, NaN in its padding, is normalised as the same window without."""
    x = drawn(1, 20)
    valid = torch.ones(1, 20, dtype=torch.bool)
    valid[0, :6] = False
    poisoned = torch.where(valid[..., None], x, torch.nan)
    for norm in (RevIN(3).double(), GatedInstanceNorm(3).double()):
        z, stats = norm(poisoned, Padding(valid))
        alone, own = norm(x[:, 6:])
        torch.testing.assert_close(z[:, 6:], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(stats.std_B1F, own.std_B1F, rtol=0, atol=1e-12)


def test_the_gate_chooses() -> None:
    """Open it passes the value, closed the normalised one; half of each at first."""
    norm, x = GatedInstanceNorm(3).double(), drawn(2, 9)
    normed, _ = norm.norm(x)
    with torch.no_grad():
        torch.testing.assert_close(norm(x)[0], (x + normed) / 2)
        norm.gate.bias.fill_(50.0)
        torch.testing.assert_close(norm(x)[0], x)
        norm.gate.bias.fill_(-50.0)
        torch.testing.assert_close(norm(x)[0], normed)


@pytest.mark.parametrize("halflife", [1.0, 7.5, 400.0])
def test_the_standardizer_is_its_definition(halflife: float) -> None:
    """Weighted mean and deviation of all until then, across the blocks it computes in."""
    x = drawn(2, 600, 2)
    made, _ = CausalStandardizer(2, halflife=halflife)(x)
    for row, feature in itertools.product(range(2), range(2)):
        mean, deviation = ewma_slowly(x[row, :, feature].numpy(), halflife)
        expected = (x[row, :, feature].numpy() - mean) / np.maximum(deviation, 1e-8)
        np.testing.assert_allclose(made[row, 1:, feature].numpy(), expected[1:], rtol=0, atol=1e-9)


def test_the_first_bar_is_zero_and_a_flat_one_stays_zero() -> None:
    for halflife in (1.0, 10.0, 4000.0):
        made, _ = CausalStandardizer(1, halflife=halflife)(torch.full((1, 600, 1), 123_456.7, dtype=torch.float64))
        assert float(made.abs().max()) < 1e-6


def test_large_levels_keep_their_spread() -> None:
    """A price of 60 000 that moves by 0.01 keeps its deviation: squares are taken after the mean is away."""
    x = drawn(1, 500, 1) * 0.01 / 5
    near, _ = CausalStandardizer(1, halflife=50.0)(x)
    far, _ = CausalStandardizer(1, halflife=50.0)(x + 60_000)
    torch.testing.assert_close(near[:, 20:], far[:, 20:], rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=examples(40))
@given(cuts=st.lists(st.integers(1, 320), max_size=5, unique=True))
def test_the_standardizer_in_pieces(cuts: list[int]) -> None:
    """However the bars are cut, the values are the same to rounding."""
    norm, x = CausalStandardizer(2, halflife=30.0), drawn(2, 321, 2)
    whole, last = norm(x)
    state, parts = norm.empty(2, x.device), []
    for start, stop in itertools.pairwise([0, *sorted(cuts), 321]):
        made, state = norm(x[:, start:stop], state)
        parts.append(made)
    torch.testing.assert_close(torch.cat(parts, dim=1)[:, 1:], whole[:, 1:], rtol=0, atol=1e-10)
    torch.testing.assert_close(state.spread_RF, last.spread_RF, rtol=1e-10, atol=0)
