"""Hedge mode through a bad network, bad disks and crashes: never both legs, and the books are the venue's."""

from dataclasses import replace

import pytest

from tests.simulation.test_submission import CRASHES, DEAF, HARD, MILD, SLOW_DISK
from tests.support.hedged_sim import HedgedSim
from tests.support.live_sim import Sizes
from tests.support.toy_venue import Faults

KINDS = {"mild": MILD, "hard": HARD, "crashes": CRASHES, "deaf": DEAF, "slow disk": SLOW_DISK}


@pytest.mark.parametrize("kind", KINDS)
def test_never_both_legs_whatever_is_lost(kind: str) -> None:
    """Targets that cross zero, orders that rest, answers and streams that are lost, late and repeated, and crashes."""
    _live(KINDS[kind], range(2), Sizes(intents=60, instruments=4))


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_never_both_legs_in_long_lives(kind: str) -> None:
    """The same, longer and more often."""
    _live(KINDS[kind], range(100, 140), Sizes(intents=300, instruments=6))


def _live(faults: Faults, seeds: range, sizes: Sizes) -> None:
    turned = 0
    for seed in seeds:
        bot = HedgedSim(seed, replace(faults, refused=min(faults.refused, 0.05)), sizes)
        verdict = bot.run()
        assert verdict.violations == [], f"seed {seed}"
        assert bot.venue.both == [] or verdict.resurfaced, f"seed {seed}"
        turned += sum(len({leg for name, leg in bot.venue.legs if name == each}) == 2 for each in bot.instruments)
    assert turned > len(seeds), "hardly anything has crossed zero"
