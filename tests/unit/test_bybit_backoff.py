"""Waits before connecting again, and the budget of connections."""

import pytest

from bot.venues.bybit.backoff import Backoff, ConnectBudget

MS = 1_000_000
S = 1_000 * MS


def test_waits_are_functions_of_seed_and_attempt() -> None:
    one, same, other = Backoff(seed=1, stream=0), Backoff(seed=1, stream=0), Backoff(seed=2, stream=0)
    waits = [one.wait_ns(attempt) for attempt in range(20)]
    assert waits == [same.wait_ns(attempt) for attempt in range(20)]
    assert waits != [other.wait_ns(attempt) for attempt in range(20)]
    assert waits != [one.wait_ns(attempt, salt=1) for attempt in range(20)]


def test_each_wait_lies_between_nothing_and_its_limit_and_fills_it() -> None:
    """250 ms, 500 ms, 1 s, 2 s, ... 30 s, over many series: spread evenly."""
    backoff = Backoff(seed=3, stream=1)
    limits = [250 * MS, 500 * MS, 1 * S, 2 * S, 4 * S, 8 * S, 16 * S, 30 * S, 30 * S]
    for attempt, limit in enumerate(limits):
        waits = [backoff.wait_ns(attempt, salt=salt) for salt in range(2_000)]
        assert 0 <= min(waits) < limit * 0.01
        assert limit * 0.99 < max(waits) <= limit
        assert sum(waits) / len(waits) == pytest.approx(limit / 2, rel=0.05)
    assert backoff.wait_ns(10**9) <= 30 * S


def test_a_budget_is_never_exceeded_within_its_window() -> None:
    budget = ConnectBudget(count=3, window_ns=10 * S)
    for now_ns in (0, 1 * S, 2 * S):
        assert budget.free_ns(now_ns) == now_ns
        budget.take(now_ns)
    assert budget.free_ns(2 * S) == 10 * S
    with pytest.raises(ValueError, match="beyond the budget"):
        budget.take(9 * S)
    budget.take(10 * S)
    assert budget.free_ns(10 * S) == 11 * S


def test_the_default_keeps_within_the_venue_s_limit() -> None:
    """500 connections in five minutes; some are left to others at the same address."""
    budget = ConnectBudget()
    taken = 0
    while budget.free_ns(300 * S - 1) < 300 * S:
        budget.take(300 * S - 1)
        taken += 1
    assert taken == 400


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="lets nobody connect"):
        ConnectBudget(count=0)
