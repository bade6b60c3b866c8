"""Whatever the venue does, an order is never sent that could carry a position beyond its target."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.execution.policy import AtEnd, ExecutionPolicy, Passive, Slices, Style
from bot.core.order import Status
from bot.domain.instrument import Side
from bot.domain.orders import CancelOpen, OrderType
from tests.support.examples import examples
from tests.support.executing import World
from tests.support.money import NAME, SECOND_NS

PASSIVE = ExecutionPolicy(
    style=Style.PASSIVE,
    passive=Passive(reprice_ticks=1, reprice_after_ns=3 * SECOND_NS, reprices_max=4),
    exit_within_ns=5 * SECOND_NS,
)
POLICIES = {
    "marketable": ExecutionPolicy(),
    "passive": PASSIVE,
    "improving": replace(PASSIVE, passive=replace(PASSIVE.passive, improve_ticks=1)),
    "giving up": replace(PASSIVE, passive=replace(PASSIVE.passive, at_end=AtEnd.GIVE_UP, reprices_max=2)),
    "sliced": ExecutionPolicy(slices=Slices(count=4, total_ns=20 * SECOND_NS), exit_within_ns=5 * SECOND_NS),
    "sliced, passive": replace(PASSIVE, slices=Slices(count=3, total_ns=12 * SECOND_NS, jitter=1.0)),
}
ACTS = st.tuples(
    st.sampled_from(
        ("target", "fill", "fill", "fill", "accept", "cancel", "reject", "amend", "time", "time", "price", "doubt")
    ),
    st.integers(-9, 9),
    st.integers(0, 99),
)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(first=st.integers(-9, 9), acts=st.lists(ACTS, max_size=25))
@settings(max_examples=20, deadline=None)
def test_no_order_can_carry_a_position_beyond_its_target(
    policy: ExecutionPolicy, first: int, acts: list[tuple[str, int, int]]
) -> None:
    """Fills in parts, late answers, refusals, doubts, prices that move and targets that change, in any order: of each
    side alone, all that may still fill never reaches beyond the target when something is sent; and once everything has
    been answered the target is held, or it was said that it was dropped.
    """
    _live_through(policy, first, acts)


@pytest.mark.soak
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(first=st.integers(-9, 9), acts=st.lists(ACTS, max_size=60))
@settings(max_examples=examples(2_000), deadline=None)
def test_no_order_can_carry_a_position_beyond_its_target_in_long_lives(
    policy: ExecutionPolicy, first: int, acts: list[tuple[str, int, int]]
) -> None:
    """The same, longer and more often."""
    _live_through(policy, first, acts)


def _live_through(policy: ExecutionPolicy, first: int, acts: list[tuple[str, int, int]]) -> None:
    world = World(policy)
    world.aim(first)
    for what, number, pick in acts:
        world.act(what, number, pick)
    world.settle()
    assert world.position == world.target or world.is_dropped


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@given(held=st.integers(-9, 9).filter(bool), price=st.integers(-3, 3), seconds=st.integers(0, 4))
@settings(max_examples=5, deadline=None)
def test_leaving_a_position_waits_no_longer_than_it_may(
    policy: ExecutionPolicy, held: int, price: int, seconds: int
) -> None:
    """An exit that nobody takes goes to the market once `exit_within` has passed, whatever patience the policy has."""
    world = World(policy)
    side = Side.BUY if held > 0 else Side.SELL
    world.desk.fill(world.desk.place(side, qty=str(abs(held)), limit=None), trade="before")
    world.aim(0)
    for _ in range(40):
        for order in world.live:
            if order.status is Status.SUBMITTED:
                world.answer("accept", order, 1)
            elif order.cancel_requested:
                world.answer("cancel", order, 1)
            elif order.amend_requested is not None:
                world.amend(order, is_taken=True)
        world.act("price", price, 0)
        world.wait(SECOND_NS // 4)
    sent = [order for order in world.live if order.request.order_type is OrderType.MARKET]
    assert sum((order.remaining_qty for order in sent), Decimal(0)) == abs(held)
    assert all(order.request.side is not side for order in sent)
    assert policy.style is Style.MARKETABLE or all(order.request.reduce_only for order in sent)
    assert not any(order.request.order_type is OrderType.LIMIT for order in world.live)


def test_a_strategys_own_cancel_ends_the_work_on_its_target() -> None:
    """What the strategy cancels does not come back."""
    world = World(PASSIVE)
    world.aim(3)
    (order,) = world.live
    world.answer("accept", order, 1)
    world.see(world.desk.wish(CancelOpen(instrument=NAME)))
    (order,) = world.live
    assert order.cancel_requested
    world.answer("cancel", order, 1)
    world.wait(60 * SECOND_NS)
    assert not world.live
    assert not world.desk.orders.targets.is_working(NAME)
