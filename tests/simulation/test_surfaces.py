"""A bot under everybody's eyes and a hostile Telegram, beside the same bot alone: benchmarks/bench_surfaces.py, judged.

The suite has its smaller sister, a run whose Telegram answers garbage: tests/integration/test_trading_surfaces.py.
"""

import pytest

from benchmarks.bench_surfaces import MODES, compare, faults_of


@pytest.mark.soak
@pytest.mark.parametrize("mode", MODES)
def test_queues_hold_and_every_order_leaves(mode: str) -> None:
    """Whatever ails Telegram: no inbox is half full, no order is lost on its way, and everybody was served."""
    found = compare(pairs=1, block_s=20.0, slow_s=25.0, modes=(mode,))
    assert faults_of(found) == []
    assert {each.mode for each in found.blocks} == {mode, None}
    for each in found.blocks:
        assert len(each.orders) > 50, "hardly an order was sent: this shows nothing"
