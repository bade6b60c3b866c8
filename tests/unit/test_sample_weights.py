"""What a label counts where others tell the same story."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.training.labels import returns_after
from models.training.weights import average_uniqueness, time_decay
from tests.support.training import HOUR, random_walk

I64S = NDArray[np.int64]


def times(*pairs: tuple[int, int]) -> tuple[I64S, I64S]:
    start, end = zip(*pairs, strict=True)
    return np.array(start), np.array(end)


def test_a_label_alone_is_unique_and_twins_share() -> None:
    np.testing.assert_array_equal(average_uniqueness(*times((0, 10))), [1.0])
    np.testing.assert_array_equal(average_uniqueness(*times((0, 10), (0, 10))), [0.5, 0.5])
    np.testing.assert_array_equal(average_uniqueness(*times((0, 10), (10, 20))), [1.0, 1.0])


def test_half_overlapping_labels() -> None:
    """(0, 10] and (5, 20]: the first is alone for half its time, the second for two thirds."""
    np.testing.assert_allclose(average_uniqueness(*times((0, 10), (5, 20))), [0.75, 2 / 3 + 1 / 6])


def test_day_long_labels_at_every_hour_count_a_24th() -> None:
    """The labels of a whole day tell of one day: their weights add up to about the days there are."""
    bars = random_walk(24 * 50, seed=1, scale_ns=HOUR)
    labels = returns_after(bars, bars, horizons_ns=[24 * HOUR], hole_max_ns=0)
    start_ns, end_ns = labels.known_ns[:-24], labels.label_end_ns[:-24, 0]
    unique = average_uniqueness(start_ns, end_ns)
    np.testing.assert_allclose(unique[24:-24], 1 / 24)
    assert unique.sum() == pytest.approx(50, rel=0.1)


@given(
    spans=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(0, 1)), min_size=1, max_size=25),
)
def test_uniqueness_agrees_with_its_definition_on_a_grid(spans: list[tuple[int, int, int]]) -> None:
    """Bar by bar: 1 / concurrency wherever the label runs, averaged; other groups do not count."""
    start = np.array([span[0] for span in spans])
    end = start + [span[1] for span in spans]
    group = np.array([span[2] for span in spans])
    bar = np.arange(1, 30)
    active = (bar > start[:, None]) & (bar <= end[:, None])
    expected = []
    for row in range(len(spans)):
        concurrency = active[group == group[row]].sum(axis=0)
        expected.append((1 / concurrency[active[row]]).mean())
    np.testing.assert_allclose(average_uniqueness(start * 10**9, end * 10**9, group), expected, rtol=1e-12)


def test_a_label_must_last() -> None:
    with pytest.raises(ValueError, match="label 1 does not end"):
        average_uniqueness(*times((0, 10), (5, 5)))


def test_time_decay_is_linear_in_what_was_learned() -> None:
    unique, at = np.array([0.5, 0.5, 1.0, 1.0, 1.0]), np.array([1, 2, 3, 4, 5])
    np.testing.assert_allclose(time_decay(unique, at, oldest=1.0), 1.0)
    np.testing.assert_allclose(time_decay(unique, at, oldest=0.0), np.array([0.5, 1, 2, 3, 4]) / 4)
    np.testing.assert_allclose(time_decay(unique, at, oldest=0.5), 0.5 + np.array([0.5, 1, 2, 3, 4]) / 8)
    # The older half of what was learned weighs nothing: 2 of 4.
    np.testing.assert_allclose(time_decay(unique, at, oldest=-0.5), [0, 0, 0, 0.5, 1.0], atol=1e-15)
    assert len(time_decay(np.empty(0), np.empty(0, dtype=np.int64), oldest=0.0)) == 0


def test_time_decay_goes_by_time_whatever_the_order() -> None:
    """Two instruments one after another: samples of one time have one weight."""
    unique, at = np.array([1.0, 1.0, 1.0, 1.0]), np.array([1, 2, 1, 2])
    np.testing.assert_allclose(time_decay(unique, at, oldest=0.0), [0.5, 1.0, 0.5, 1.0])


@pytest.mark.parametrize("oldest", [-1.0, 1.5, float("nan")])
def test_impossible_decay(oldest: float) -> None:
    with pytest.raises(ValueError, match="oldest"):
        time_decay(np.ones(2), np.array([1, 2]), oldest=oldest)
