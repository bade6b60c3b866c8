"""In hedge mode, whatever the venue does: never both legs by our own doing, never an order that it must refuse."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.execution.policy import ExecutionPolicy
from bot.domain.orders import Target
from tests.property.test_execution import POLICIES
from tests.support.examples import examples
from tests.support.hedged import HedgedWorld
from tests.support.money import NAME

ACTS = st.tuples(
    st.sampled_from(
        (
            *("target", "target", "fill", "fill", "fill", "accept", "accept", "cancel"),
            *("end", "end", "reject", "amend", "time", "time", "price", "doubt"),
        )
    ),
    st.integers(-9, 9),
    st.integers(0, 99),
)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(first=st.integers(-9, 9), acts=st.lists(ACTS, max_size=30))
@settings(max_examples=examples(60), deadline=None)
def test_one_leg_at_a_time(policy: ExecutionPolicy, first: int, acts: list[tuple[str, int, int]]) -> None:
    """Fills in parts, late answers, refusals, doubts, executions told after the end of their order, targets that cross
    zero: the venue never holds both legs, nothing that reduces asks for more than there is, no order reaches beyond the
    target, and once everything has been answered the target is held, or it was said that it was dropped.
    """
    _live_through(policy, first, acts)


@pytest.mark.soak
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(first=st.integers(-9, 9), acts=st.lists(ACTS, max_size=60))
@settings(max_examples=examples(2_000), deadline=None)
def test_one_leg_at_a_time_in_long_lives(policy: ExecutionPolicy, first: int, acts: list[tuple[str, int, int]]) -> None:
    """The same, longer and more often."""
    _live_through(policy, first, acts)


def _live_through(policy: ExecutionPolicy, first: int, acts: list[tuple[str, int, int]]) -> None:
    world = HedgedWorld(policy)
    world.aim(first)
    for what, number, pick in acts:
        world.act(what, number, pick)
    world.settle()
    assert world.position == world.target or world.is_dropped


@given(wishes=st.lists(st.tuples(st.sampled_from(("a", "b", "c")), st.integers(-9, 9), ACTS), max_size=25))
@settings(max_examples=examples(40), deadline=None)
def test_strategies_that_share_the_account_hold_one_leg(wishes: list[tuple[str, int, tuple[str, int, int]]]) -> None:
    """What several want is netted first, then comes the leg: opposite wishes never become two positions."""
    world = HedgedWorld(ExecutionPolicy(), ("a", "b", "c"))
    for strategy, qty, (what, number, pick) in wishes:
        world.see(world.desk.wish(Target(instrument=NAME, qty=Decimal(qty)), strategy=strategy))
        for each in ("time", "accept", what):
            if each != "target":
                world.act(each, number, pick)
    world.settle()
