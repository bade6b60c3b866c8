"""What `benchmarks.bench_surfaces` says of two sets of runs, against differences that were put in."""

from typing import Any

import numpy as np
import pytest

from benchmarks.bench_surfaces import difference, verdict


def runs_of(extra_ms: float, *, orders: int = 400, pairs: int = 4) -> list[dict[str, Any]]:
    """Return pairs of runs, the watched one slower by so much; both slow down together now and then."""
    generator, made = np.random.default_rng(5), []
    for pair in range(pairs):
        at_s = np.sort(generator.uniform(0, 28, orders))
        for mode in ("slow", None):
            slow = 1 + 0.5 * ((at_s // 4).astype(int) % 2)
            took_ms = generator.gamma(4.0, 0.5, orders) * slow + (extra_ms if mode else 0.0)
            made.append({"pair": pair, "mode": mode, "out_us": took_ms * 1e3, "out_at_s": at_s})
    return made


@pytest.mark.parametrize("extra_ms", [0.0, 5.0])
def test_the_interval_holds_what_was_put_in(extra_ms: float) -> None:
    grown, low, high = difference(runs_of(extra_ms), draws=500)
    assert low <= grown <= high
    assert low <= extra_ms <= high
    assert high - low < 4


def test_few_orders_are_not_taken_for_proof() -> None:
    few, many = (difference(runs_of(0.0, orders=orders), draws=300) for orders in (40, 4_000))
    assert few[2] - few[1] > 2 * (many[2] - many[1])


def test_the_verdict_says_no_more_than_the_interval() -> None:
    assert "no more than 1 ms" in verdict(0.1, -0.4, 0.9)
    assert "MORE than 1 ms" in verdict(2.0, 1.1, 3.0)
    assert "cannot tell" in verdict(0.1, -1.0, 1.2)
