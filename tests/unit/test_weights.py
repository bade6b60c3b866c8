"""Shares of the risk, against numbers worked out by hand."""

import numpy as np
import pytest

from strategies.weights import correlations, inverse_volatility, risk_contributions, risk_parity


def test_inverse_volatility() -> None:
    """1 / 0.1 to 1 / 0.2 is two to one."""
    assert inverse_volatility([0.1, 0.2]) == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.5, 0.99])
def test_two_instruments_share_by_their_volatility_alone(correlation: float) -> None:
    """w1 (s1^2 w1 + c w2) = w2 (s2^2 w2 + c w1), so s1 w1 = s2 w2, whatever the correlation."""
    cross = correlation * 0.1 * 0.2
    assert risk_parity(np.array([[0.01, cross], [cross, 0.04]])) == pytest.approx([2 / 3, 1 / 3], abs=1e-11)


def test_three_instruments_of_which_two_move_alike() -> None:
    """With x1 = x2 = a: a (a + a / 2) = x3^2, so a = x3 / sqrt(1.5) = 0.816497 x3; of 2.632993 that is 0.310102."""
    covariance = np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1.0]])
    weights = risk_parity(covariance)
    assert weights == pytest.approx([0.310102, 0.310102, 0.379796], abs=1e-6)
    assert risk_contributions(weights, covariance) == pytest.approx([1 / 3] * 3, abs=1e-11)


def test_budgets() -> None:
    """Uncorrelated, w^2 s^2 goes as the budget: sqrt(3) to 1, and sqrt(3) / (1 + sqrt(3)) = 0.633975."""
    assert risk_parity(np.eye(2), [0.3, 0.1]) == pytest.approx([0.633975, 0.366025], abs=1e-6)


def test_a_perfect_hedge_has_no_answer_but_gets_one() -> None:
    """Two that cancel each other: finite, positive, half each."""
    assert risk_parity(np.array([[1.0, -1.0], [-1.0, 1.0]])) == pytest.approx([0.5, 0.5], abs=1e-2)


@pytest.mark.parametrize(
    ("covariance", "budgets", "word"),
    [
        (np.ones((2, 3)), None, "square"),
        (np.ones((0, 0)), None, "square"),
        (np.array([[1.0, 0.5], [0.2, 1.0]]), None, "symmetric"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), None, "finite"),
        (np.array([[0.0, 0.0], [0.0, 1.0]]), None, "above zero"),
        (np.eye(2), [1.0, -1.0], "above zero"),
        (np.eye(2), [1.0], "1 budgets for 2"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: np.ndarray, budgets: list[float] | None, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        risk_parity(covariance, budgets)


def test_correlations() -> None:
    """(1, 2, 3) and (1, 3, 2) less their means: (-1, 0, 1) and (-1, 1, 0), so 1 of 2. What rests has none."""
    found = correlations(np.array([[1.0, 1.0, 7.0], [2.0, 3.0, 7.0], [3.0, 2.0, 7.0]]))
    assert found == pytest.approx(np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]))
