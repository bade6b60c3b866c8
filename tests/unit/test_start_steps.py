"""A start tells how long each of its steps took."""

import pytest

from bot.app import start_steps
from bot.app.start_steps import StartSteps

SECOND = 10**9


def test_steps_are_counted_from_the_start_of_the_process_and_small_ones_are_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_ns = [100 * SECOND]
    monkeypatch.setattr(start_steps, "monotonic_ns", lambda: now_ns[0])
    monkeypatch.setattr(start_steps, "process_age_ns", lambda: 2 * SECOND)
    steps = StartSteps()
    now_ns[0] += SECOND // 2
    steps.done("imports")
    now_ns[0] += SECOND // 100
    steps.done("clock")
    now_ns[0] += 3 * SECOND
    steps.done("ledger")
    now_ns[0] += SECOND
    steps.done("imports")
    assert steps.took_s == {"imports": 3.5, "clock": 0.01, "ledger": 3.0}
    assert steps.told() == "6.5 s since the process began: imports 3.5, ledger 3.0"


def test_this_process_has_an_age() -> None:
    """By the kernel's own books: it has run for longer than its tests have, and for less than a day."""
    first = StartSteps().so_far_s
    assert 0.1 < first < 86_400
    assert StartSteps().so_far_s >= first - 0.02  # the kernel counts in hundredths
